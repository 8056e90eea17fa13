"""Figures of autoencoders: what they reconstruct, where the codes lie, what the code units mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rosenblatt._types import ArrayLike
from rosenblatt.errors import ShapeError
from rosenblatt.report.canvas import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    VERMILION,
    bare,
    mosaic,
    new_figure,
    picture_shape,
    plain,
    word,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, "#56b4e9", "#8c6d31", "#7f7f7f", "#000000", "#b3b300")
_MARKS = "os^vD"
_GRID = 12


def _shape(model: Any) -> tuple[int, int, int] | None:
    found = getattr(model, "picture_shape_", None)
    return tuple(found) if found is not None else picture_shape(model.n_features_in_)


def _tiles(model: Any, samples: np.ndarray) -> np.ndarray:
    """Samples as pictures (N, H, W) or (N, H, W, 3), brightest white on one scale for all."""
    height, width, channels = _shape(model)
    tiles = np.asarray(samples, dtype=np.float64).reshape(len(samples), height, width, channels)
    low, high = tiles.min(), tiles.max()
    tiles = (tiles - low) / ((high - low) or 1.0)
    return tiles[..., :3] if channels >= 3 else tiles[..., 0]


def _show(tiles: np.ndarray, columns: int, title: str) -> Figure:
    rows = -(-len(tiles) // columns)
    side = 6.4 / columns
    figure = new_figure(6.4, 0.4 + rows * side * tiles.shape[1] / tiles.shape[2])
    whole = mosaic(tiles, columns)
    if whole.ndim == 3:
        shown = ~np.isnan(whole[..., :1])
        whole = np.concatenate([np.nan_to_num(whole), shown.astype(float)], axis=-1)
    bare(figure.add_subplot(), title).imshow(whole, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    return figure


def reconstructions(model: Any, X: ArrayLike, y: ArrayLike | None = None, *, count: int = 10) -> Figure:
    """Samples above, their reconstructions below.

    Args:
        model: A fitted autoencoder of pictures, or of square ones in rows.
        X: Samples.
        y: Labels, of a conditional model.
        count: How many of the first ones.

    Raises:
        ShapeError: The samples are no pictures.
    """
    if _shape(model) is None:
        raise ShapeError(f"reconstructions: {model.n_features_in_} features are no square picture; expected pictures.")
    part = np.asarray(X)[:count]
    label = {"y": np.asarray(y)[:count]} if getattr(model, "conditional", False) else {}
    both = np.concatenate([part.reshape(len(part), -1), model.predict(part, **label).reshape(len(part), -1)])
    return _show(_tiles(model, both), len(part), f"Samples, and their reconstructions from {model.code_size_} numbers")


def code_map(model: Any, X: ArrayLike, y: ArrayLike | None = None) -> Figure:
    """Where samples lie in the code: its two numbers, or the two widest directions of more.

    Args:
        model: A fitted autoencoder.
        X: Samples, two at least.
        y: Labels, which become colours; of a conditional model they are needed.

    Raises:
        ShapeError: Fewer than two samples.
    """
    label = {"y": y} if getattr(model, "conditional", False) else {}
    codes = model.transform(X, **label)
    if len(codes) < 2:
        raise ShapeError(f"code_map: {len(codes)} sample; expected two or more.")
    title, names = "Codes", ("code 0", "code 1")
    if codes.shape[1] == 1:
        codes, names = np.hstack([codes, np.random.default_rng(0).random((len(codes), 1))]), ("code 0", "chance")
    elif codes.shape[1] > 2:
        centred = codes - codes.mean(0)
        _, spread, axes = np.linalg.svd(centred, full_matrices=False)
        share = float((spread[:2] ** 2).sum() / max((spread**2).sum(), 1e-30))
        title = f"Codes along their two widest directions ({share:.0%} of their variance)"
        codes, names = centred @ axes[:2].T, ("first direction", "second direction")
    figure = new_figure(6.4, 5.0)
    axes = plain(figure.add_subplot(), grid="both")
    axes.set_title(title, loc="left", color=INK, fontsize=10)
    axes.set_xlabel(names[0], color=INK)
    axes.set_ylabel(names[1], color=INK)
    classes = np.unique(y) if y is not None else []
    if not 0 < len(classes) <= 2 * len(_COLOURS):
        axes.scatter(*codes[:, :2].T, s=8, color=BLUE, alpha=0.6, linewidths=0)
        return figure
    for i, name in enumerate(classes):
        chosen = np.asarray(y) == name
        axes.scatter(
            *codes[chosen, :2].T, s=10, color=_COLOURS[i % len(_COLOURS)], marker=_MARKS[i % len(_MARKS)], alpha=0.7,
            linewidths=0, label=word(name),
        )  # fmt: skip
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), labelcolor=INK)
    return figure


def code_grid(model: Any, codes: np.ndarray | None = None) -> Figure:
    """What the decoder makes of a grid of two-number codes.

    Args:
        model: A fitted autoencoder of pictures with ``code_size=2``.
        codes: Codes whose range the grid covers; None covers that of a standard normal distribution, as a variational
            autoencoder has it.

    Raises:
        ShapeError: Another code size, or no pictures.
    """
    if model.code_size_ != 2 or _shape(model) is None:
        raise ShapeError(f"code_grid: code_size {model.code_size_}; expected 2, and pictures.")
    low, high = (np.full(2, -2.3), np.full(2, 2.3)) if codes is None else np.quantile(codes, (0.02, 0.98), axis=0)
    sides = [np.linspace(low[i], high[i], _GRID) for i in range(2)]
    grid = np.stack(np.meshgrid(sides[0], sides[1][::-1]), -1).reshape(-1, 2)  # up is more, as in the map
    label = {"y": model.classes_[0]} if getattr(model, "conditional", False) else {}
    return _show(
        _tiles(model, model.inverse_transform(grid, **label)), _GRID, "What the decoder makes of the code's plane"
    )


def sampled(model: Any, *, count: int = 64) -> Figure:
    """Samples of a variational autoencoder of pictures; of a conditional one a line a class."""
    columns = 10
    if getattr(model, "conditional", False):
        lines = model.classes_[:10]
        made = np.concatenate([model.sample(columns, y=name, random_state=i) for i, name in enumerate(lines)])
        return _show(_tiles(model, made), columns, "Samples, a class a line")
    return _show(_tiles(model, model.sample(count, random_state=0)), 8, "Samples")


def traversal(model: Any) -> Figure:
    """What the most used code units of a variational autoencoder do, a unit a line, from -3 to 3."""
    label = {"y": model.classes_[0]} if model.conditional else {}
    made = model.traverse(units=model.used_units()[:8], steps=9, **label)
    return _show(_tiles(model, made.reshape(-1, *made.shape[2:])), 9, "The most used code units, each from -3 to 3")


def coder_pictures(model: Any, X: ArrayLike | None, y: ArrayLike | None = None) -> dict[str, Figure]:
    """All figures of a fitted autoencoder, by name: those of its pictures only where it has such."""
    shown, pictures, conditional = {}, _shape(model) is not None, getattr(model, "conditional", False)
    usable = X is not None and (y is not None or not conditional)
    variational = hasattr(model, "likelihood_")
    if usable:
        shown["code_map"] = code_map(model, X, y)
        if pictures:
            shown["reconstructions"] = reconstructions(model, X, y)
    if pictures and variational:
        shown |= {"samples": sampled(model), "traversal": traversal(model)}
    if pictures and model.code_size_ == 2 and (variational or usable):
        shown["code_grid"] = code_grid(model, None if variational else model.transform(X))
    return shown
