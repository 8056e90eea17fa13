"""Number words of several languages, without a download: train, test on numbers that training had not, draw the attention.

Run: python docs_src/number_words.py [folder]
"""

import random
import sys
from pathlib import Path

from num2words import num2words

import rosenblatt as rb
from rosenblatt.report.canvas import write_figure

LANGUAGES = {"de": "German", "fr": "French", "es": "Spanish"}


def pairs(language, numbers):
    return [(num2words(n), num2words(n, lang=language)) for n in numbers]


def learn(language, *, below=10_000, count=3000, epochs=20, **options):
    """A translator from English, and the share of new numbers that it translates without a mistake."""
    numbers = random.Random(0).sample(range(below), min(below, count + count // 10))
    test = numbers[: len(numbers) // 10]
    sizes = {
        "hidden_size": 64,
        "layers": 2,
        "dropout": 0.1,
        "vocabulary": 400,
        "batch_size": 600,
        "learning_rate": 4e-3,
    }
    model = rb.Translator(epochs=epochs, random_state=0, **sizes | options)
    model.fit(pairs(language, numbers[len(test) :]))
    asked, meant = zip(*pairs(language, test), strict=True)
    right = [a == b for a, b in zip(model.predict(list(asked)), meant, strict=True)]
    return model, sum(right) / len(right)


def draw(folder, languages=LANGUAGES, **options):
    """Train each language, print its accuracy, draw the attention of one number."""
    shares = {}
    for language in languages:
        model, shares[language] = learn(language, **options)
        asked = num2words(84)
        print(f"{language}: {shares[language]:.1%} of new numbers; {asked} -> {model.predict(asked)[0]}")
        write_figure(model.inspect([asked])["attention_1"], Path(folder) / f"attention_{language}.png", dpi=120)
    return shares


if __name__ == "__main__":
    draw(sys.argv[1] if len(sys.argv) > 1 else ".")
