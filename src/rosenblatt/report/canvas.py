"""The look of all figures: one ink, colours that the colour-blind tell apart, tiles in a grid.

Colours: Okabe & Ito 2008, "Color universal design".
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rosenblatt._validate import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1b1d22"
"""Colour of text and lines; `rosenblatt.report.html` makes it light where the page is dark."""

BLUE, VERMILION, GREEN, PURPLE, ORANGE = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that lays itself out."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def plain(axes: Axes, *, frame: Sequence[str] = ("left", "bottom"), grid: str | None = None) -> Axes:
    """Ink on all lines and texts of the axes, no frame but the named sides, a faint grid along one axis."""
    for side, spine in axes.spines.items():
        spine.set_edgecolor(INK)
        spine.set_visible(side in frame)
    axes.tick_params(colors=INK, labelsize=9)
    for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
        text.set_color(INK)
        text.set_fontsize(10)
    if grid is not None:
        axes.grid(axis=grid, color=INK, alpha=0.13, linewidth=0.7)
        axes.set_axisbelow(True)
    return axes


def bare(axes: Axes, title: str = "") -> Axes:
    """Axes for a picture: neither ticks nor frame, the title on the left."""
    axes.set_xticks([])
    axes.set_yticks([])
    plain(axes, frame=())
    axes.set_title(title, loc="left", color=INK, fontsize=10, parse_math=False)
    return axes


def word(label: Any, most: int = 18) -> str:
    r"""A class label as a short text; what cannot be printed is spelt out.

    Example:
        >>> word("two  words"), word("a\x0fb")
        ('two words', 'a\\x0fb')
    """
    text = " ".join(str(label).split())
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= most else text[: most - 1] + "…"


def say(axes: Axes, text: str) -> Axes:
    """One sentence in the middle of otherwise empty axes."""
    bare(axes)
    axes.text(0.5, 0.5, text, ha="center", va="center", color=INK, parse_math=False, transform=axes.transAxes)
    return axes


def mosaic(tiles: np.ndarray, columns: int) -> np.ndarray:
    """Tiles (N, H, W) or (N, H, W, 3) side by side in rows, one pixel of nothing (NaN) between them.

    Example:
        >>> mosaic(np.ones((3, 2, 2)), 2).shape
        (5, 5)
    """
    count, height, width = tiles.shape[:3]
    rows = math.ceil(count / columns)
    whole = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, *tiles.shape[3:]), np.nan)
    for index, tile in enumerate(tiles):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        whole[top : top + height, left : left + width] = tile
    return whole


def reach_of(values: np.ndarray) -> float:
    """End of a scale around zero: one value in a hundred may lie beyond, so that a few giants do not pale the rest.

    Example:
        >>> reach_of(np.array([-2.0, 1.0, np.nan])), reach_of(np.zeros(3))
        (2.0, 1.0)
    """
    sizes = np.abs(values[~np.isnan(values)])
    return float(np.quantile(sizes, 0.99, method="higher")) or float(sizes.max()) or 1.0


def show_signed(axes: Axes, values: np.ndarray, reach: float | None = None) -> Any:
    """Numbers around zero: blue below, white at zero, red above."""
    reach = reach or reach_of(values)
    return axes.imshow(values, cmap="RdBu_r", vmin=-reach, vmax=reach, interpolation="nearest")


def as_shown(picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, C) in 0 to 1, grey as (H, W); a second or fourth channel is not shown."""
    picture = np.asarray(picture, dtype=np.float64)
    low, high = picture.min(), picture.max()
    scaled = (picture - low) / ((high - low) or 1.0)
    return scaled[..., :3] if scaled.shape[-1] >= 3 else scaled[..., 0]


def picture_shape(size: int) -> tuple[int, int, int] | None:
    """(H, W, C) of a flat square picture, grey or of three colours, or None.

    Example:
        >>> picture_shape(784), picture_shape(3072), picture_shape(13), picture_shape(4)
        ((28, 28, 1), (32, 32, 3), None, None)
    """
    for channels in (1, 3):
        side = math.isqrt(size // channels)
        if side * side * channels == size and side >= 4:
            return side, side, channels
    return None


def write_figure(figure: Figure, path: Path, *, dpi: int, overwrite: bool) -> Path:
    """Write a figure whole or not at all, in the format of the path's suffix (.png, .svg, .pdf).

    Raises:
        OutputError: The path exists and ``overwrite`` is False, or it cannot be written.
    """
    drawn = drawing_of(figure, format=path.suffix[1:].lower(), dpi=dpi)
    return write_whole(path, drawn, overwrite=overwrite)


def drawing_of(figure: Figure, **options: Any) -> bytes:
    """What ``figure.savefig`` writes with these options, as bytes."""
    drawn = io.BytesIO()
    with warnings.catch_warnings():
        # labels may be in a script that the font lacks: a box stands there, and the figure is worth having
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(drawn, **options)
    return drawn.getvalue()
