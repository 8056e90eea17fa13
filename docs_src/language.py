"""A language model of the standard library's own source, and how far back in time each cell's gradient reaches.

`python docs_src/language.py` learns 1.1 million characters (about two minutes on two cores), writes Python-like text, and draws
docs/img/gradient_through_time.png.
"""

import sys
import sysconfig
from pathlib import Path

from rosenblatt import LanguageModel
from rosenblatt.report.canvas import write_figure
from rosenblatt.report.recurrent import gradient_sizes, gradient_through_time


def sources(characters=1_100_000):
    """Modules of the standard library, smallest names first, up to so many characters."""
    text = ""
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        text += path.read_text("utf-8", "replace") + "\n"
        if len(text) > characters:
            break
    return text[:characters]


def learn(text, **options):
    model = LanguageModel(random_state=0, **options).fit(text)
    print(model.summary())
    print(f"{model.bits_per_character(text[-len(text) // 10 :]):.3f} bits a character on the held-out tenth")
    return model


def compare(text, path, **options):
    """The same small model with each cell, and the picture of their gradients."""
    models = {
        cell: LanguageModel(cell=cell, random_state=0, verbose=0, **options).fit(text)
        for cell in ("elman", "gru", "lstm")
    }
    write_figure(gradient_through_time(models, text[-20_000:]), path, dpi=120, overwrite=True)
    return {cell: gradient_sizes(model, text[-20_000:]) for cell, model in models.items()}


if __name__ == "__main__":
    text = sources()
    for piece in learn(text).stream("def main(", 600, temperature=0.7):
        sys.stdout.write(piece)
        sys.stdout.flush()
    sizes = compare(text[:300_000], Path("docs/img/gradient_through_time.png"), hidden_size=128, context=64, epochs=4)
    print(
        {cell: f"{found[0] / found[-1]:.1e}" for cell, found in sizes.items()}, "of the gradient is left after 63 steps"
    )
