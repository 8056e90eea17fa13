"""Pictures of label maps, what was rendered of them, and the signals of the game."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rosenblatt.data.label_maps import palette
from rosenblatt.report.canvas import BLUE, VERMILION, new_figure, plain
from rosenblatt.report.samples import sheet, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS = 6


def colour_of(maps: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Label maps in colours, uint8 (N, H, W, 3); black where nobody cares.

    Args:
        maps: Ids (N, H, W).
        colours: uint8 (K, 3).

    Example:
        >>> colour_of(np.array([[[1, 2]]]), np.uint8([[9, 9, 9], [200, 0, 0]])).tolist()
        [[[[200, 0, 0], [0, 0, 0]]]]
    """
    table = np.concatenate([colours, np.zeros((1, 3), np.uint8)])
    return table[np.minimum(maps, len(colours))]


def colours_of(model: Any) -> np.ndarray:
    """The model's palette, or colours around the circle of hues, uint8 (K, 3)."""
    said = palette(model.palette)
    if said is not None:
        return np.uint8(said.colours)
    import matplotlib

    return np.uint8(255 * matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, model.n_classes_))[:, :3])


def semantic_figures(model: Any, X: Any = None, y: Any = None) -> dict[str, Figure]:
    """The signals by epoch and, of label maps X, the maps beside renderings (and photographs y), and several styles."""
    found = {"game": _signals(model.history_, model.best_epoch_)}
    if X is None:
        return found
    maps = model._maps("inspect", X)[:_ROWS].numpy()
    drawn = _eight(model.transform(maps_with_ignore(model, maps)))
    parts = [colour_of(maps, colours_of(model)), drawn]
    if y is not None:
        parts.append(_eight(np.asarray(y)[: len(maps)]))
    rows = np.stack(parts, 1).reshape(-1, *drawn.shape[1:])
    said = "label map, rendering" + ("" if y is None else ", photograph")
    found["renderings"] = shown(sheet(rows, columns=len(parts) * 2 if len(maps) > 1 else len(parts)), said)
    if model.style:
        one = np.repeat(maps[:1], 8, 0)
        found["styles"] = shown(
            sheet(_eight(model.transform(maps_with_ignore(model, one)))), "One map in eight drawn styles"
        )
    return found


def maps_with_ignore(model: Any, maps: np.ndarray) -> np.ndarray:
    """Ids as a user writes them: the model's own number of don't-care back into its ``ignore``."""
    return np.where(maps == model.n_classes_, model.ignore, maps.astype(np.int64))


def _eight(pictures: np.ndarray) -> np.ndarray:
    return pictures if pictures.dtype == np.uint8 else (pictures.clip(0, 1) * 255).round().astype(np.uint8)


def _signals(rows: list[dict[str, float]], best: int) -> Figure:
    figure = new_figure(6.4, 4.4)
    epochs = [row["epoch"] for row in rows]
    top, bottom = figure.subplots(2, 1, sharex=True)
    top.plot(epochs, [-row["validation_score"] for row in rows], color=BLUE)
    top.axvline(best, color=VERMILION, linewidth=0.8)
    top.set_title("Kernel distance of renderings to photographs; the line marks the epoch that is kept", loc="left")
    bottom.plot(epochs, [row["critic_accuracy"] for row in rows], color=BLUE, label="pairs the critic puts right")
    bottom.plot(epochs, [row["feature_loss"] for row in rows], color=VERMILION, label="feature matching")
    bottom.set_ylim(bottom=0)
    bottom.set_xlabel("epoch")
    bottom.legend(frameon=False, fontsize=8)
    for axes in (top, bottom):
        plain(axes, grid="y")
    return figure
