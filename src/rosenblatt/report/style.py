"""Figures of `StyleTransfer`: the styles, and the content beside its painting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rosenblatt.data.photo import is_one_picture, read_photo
from rosenblatt.report.canvas import bare, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def style_pictures(estimator: Any, X: Any = None) -> dict[str, Figure]:
    """The styles of a fitted estimator and, where X is given, its first picture before and after.

    Args:
        estimator: A fitted `StyleTransfer`.
        X: A content picture, or several.
    """
    shown = {"styles": _row([(pixels, f"style {i}") for i, pixels in enumerate(estimator.styles_, start=1)])}
    if X is not None:
        photo = read_photo(X if is_one_picture(X) else X[0], who="inspect")
        painted = estimator.transform(photo)
        shown["painted"] = _row([(photo.pixels, "content"), (painted, f"painted by {estimator.method}")])
    return shown


def _row(pictures: list[tuple[Any, str]]) -> Figure:
    figure = new_figure(3.2 * len(pictures), 2.8)
    for place, (pixels, title) in enumerate(pictures, start=1):
        axes = figure.add_subplot(1, len(pictures), place)
        axes.imshow(pixels)
        bare(axes, title)
    return figure
