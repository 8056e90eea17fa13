"""Pictures of samples: sheets, animations, and samples beside the training pictures nearest to them."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from rosenblatt.errors import ShapeError
from rosenblatt.report.canvas import BLUE, VERMILION, as_shown, bare, mosaic, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ENLARGED = 56


def _levels(pictures: np.ndarray) -> np.ndarray:
    """uint8 (N, H, W, 3), enlarged by whole factors until a side has 56 pixels."""
    array = np.asarray(pictures)
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4:
        raise ShapeError(f"pictures of shape {array.shape}; expected N H W or N H W C.")
    if array.dtype != np.uint8:
        array = (array.clip(0, 1) * 255).round().astype(np.uint8)
    array = array[..., :3] if array.shape[3] >= 3 else array[..., :1].repeat(3, 3)
    factor = max(1, _ENLARGED // array.shape[1])
    return array.repeat(factor, 1).repeat(factor, 2)


def sheet(pictures: np.ndarray, *, columns: int | None = None) -> np.ndarray:
    """Pictures side by side in one, uint8 (H, W, 3), white lines between them.

    Args:
        pictures: N H W or N H W C, uint8 or from 0 to 1.
        columns: In a row; None makes it about square.

    Raises:
        ShapeError: Other axes.

    Example:
        >>> sheet(np.zeros((4, 28, 28), np.uint8)).shape
        (113, 113, 3)
    """
    levels = _levels(pictures)
    whole = mosaic(levels.astype(np.float32), columns or math.ceil(math.sqrt(len(levels))))
    return np.nan_to_num(whole, nan=255).astype(np.uint8)


def animation(pictures: np.ndarray, *, seconds: float = 0.08) -> bytes:
    """The bytes of a GIF that shows pictures one after the other, again and again."""
    frames = [Image.fromarray(frame) for frame in _levels(pictures)]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=round(1000 * seconds), loop=0)
    return stream.getvalue()


def game_figures(model: Any, X: Any = None) -> dict[str, Figure]:
    """Samples, the signals of the game by epoch and, beside data X, the pictures nearest to samples."""
    found = {"game": _signals(model.history_, model.best_epoch_)}
    if len(model.sample_shape_) == 1:
        return found
    drawn = model.sample(64, random_state=0)
    found = {"samples": shown(sheet(drawn), "64 samples"), **found}
    if X is not None:
        rows, distance = model.nearest(drawn[:8], X)
        data = np.asarray(X)[rows]
        data = data[..., 0] if data.ndim == 4 and data.shape[3] == 1 else data
        title = "Samples, and below each the training picture nearest to it; far below 1 is a copy: "
        pair = sheet(np.concatenate([drawn[:8], data]), columns=8)
        found["nearest"] = shown(pair, title + ", ".join(f"{d:.2f}" for d in distance))
    return found


def swap_figures(model: Any, X: Any, *, most: int = 8) -> dict[str, Figure]:
    """Aligned faces, and below them the same drawn as each person of a `FaceSwap`.

    Args:
        model: A fitted one.
        X: Faces; of many, evenly spaced ones are shown.
        most: Faces in a row.
    """
    faces = np.asarray(X)
    faces = faces[np.unique(np.linspace(0, len(faces) - 1, most).round().astype(int))]
    rows = [faces, *(model.transform(faces, to=number) for number in range(len(model.identities_)))]
    title = "Faces, and below them the same drawn as " + ", ".join(model.identities_)
    return {"drawn": shown(sheet(np.concatenate(rows), columns=len(faces)), title)}


def shown(pixels: np.ndarray, title: str) -> Figure:
    """A picture with a small title."""
    height, width = pixels.shape[:2]
    figure = new_figure(6.4, 0.5 + 6.2 * height / width)
    axes = bare(figure.add_subplot(), title)
    axes.title.set_fontsize(8)
    axes.imshow(as_shown(pixels))
    return figure


def _signals(rows: list[dict[str, float]], best: int) -> Figure:
    figure = new_figure(6.4, 4.4)
    epochs = [row["epoch"] for row in rows]
    top, bottom = figure.subplots(2, 1, sharex=True)
    top.plot(epochs, [-row["validation_score"] for row in rows], color=BLUE)
    top.axvline(best, color=VERMILION, linewidth=0.8)
    top.set_yscale("log")
    top.set_title("Frechet distance of samples to data; the line marks the epoch that is kept", loc="left")
    bottom.plot(epochs, [row["critic_accuracy"] for row in rows], color=BLUE, label="pairs the critic puts right")
    bottom.plot(epochs, [row["variety"] for row in rows], color=VERMILION, label="variety of samples / of data")
    bottom.set_ylim(0, 1.5)
    bottom.set_xlabel("epoch")
    bottom.legend(frameon=False, fontsize=8)
    for axes in (top, bottom):
        plain(axes, grid="y")
    return figure
