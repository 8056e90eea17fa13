"""Figures of translations: where each word of the translation looked in the sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rosenblatt.report.canvas import INK, new_figure, plain, word

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_PICTURES = 6


def attention_picture(alignment: Any) -> Figure:
    """The attention of one translation: a row a word of it, a column a word of the sentence, dark where it looked.

    Args:
        alignment: An `rosenblatt.estimators.translator.Alignment`.

    Reference:
        Bahdanau, Cho & Bengio 2015, figure 3.
    """
    rows, columns = ([word(label) for label in side] for side in (alignment.target, alignment.source))
    figure = new_figure(2.8 + 0.42 * len(columns), 2.2 + 0.3 * len(rows))
    axes = figure.add_subplot()
    axes.imshow(alignment.weights, cmap="Greys", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="left", parse_math=False)
    axes.set_yticks(range(len(rows)), rows, parse_math=False)
    axes.xaxis.tick_top()
    plain(axes, frame=())
    axes.set_title("Attention: each row sums to 1", loc="left", color=INK, fontsize=10)
    return figure


def attention_pictures(translator: Any, X: Any) -> dict[str, Figure]:
    """Pictures of the first six sentences, by number.

    Args:
        translator: A fitted `Translator`.
        X: Sentences, as its ``align`` takes them.

    Raises:
        NotFittedError, FileNotFoundError, DataError: As ``align``.
    """
    found = translator.align(X)[:_MOST_PICTURES]
    return {f"attention_{n}": attention_picture(one) for n, one in enumerate(found, start=1) if one.target}
