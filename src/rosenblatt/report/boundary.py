"""What a network answers around a sample: the plane through it, its adversarial point and one more direction.

The picture's idea: the "church windows" of Warde-Farley & Goodfellow 2016, Adversarial perturbations of deep neural networks, in
Perturbations, optimization, and statistics (MIT Press).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rosenblatt._types import ArrayLike
from rosenblatt._validate import Number, parameter
from rosenblatt.attacks import AttackResult
from rosenblatt.attacks.model import victim
from rosenblatt.attacks.streams import keys_of, normal
from rosenblatt.errors import DataError, ParameterError
from rosenblatt.report.canvas import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    VERMILION,
    as_shown,
    bare,
    new_figure,
    plain,
    show_signed,
    word,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_REACH = (-1.0, 3.0)
"""Ends of the plane along the attack, in lengths of it; across it reaches as far around zero."""
_DARK = "#222222"
"""Of what stands on the map, which stays pale where the page is dark."""
_COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, "#56b4e9", "#f0e442", "#999999")


@dataclass(frozen=True)
class Plane:
    """Answers on a plane.

    Attributes:
        along: Places in the direction of the attack (A,); 0 is the sample, 1 the adversarial point.
        across: Places in a random direction at right angles to it (B,), in the same unit.
        logits: Of the points (B, A, K).
        classes: Labels of the logits (K,).
        length: l2 distance of sample and adversarial point, the unit of both axes.
    """

    along: np.ndarray
    across: np.ndarray
    logits: np.ndarray
    classes: np.ndarray
    length: float

    @property
    def answers(self) -> np.ndarray:
        """Numbers of the classes (B, A)."""
        return self.logits.argmax(2)

    @property
    def margins(self) -> np.ndarray:
        """Highest logit less the second (B, A)."""
        ordered = np.sort(self.logits, axis=2)
        return ordered[..., -1] - ordered[..., -2]


def boundary_plane(
    model: Any,
    X: ArrayLike,
    found: AttackResult,
    *,
    row: int | None = None,
    cells: int = 61,
    bounds: tuple[float, float] | None = None,
    mean: Any = None,
    std: Any = None,
    random_state: int = 0,
    batch_size: int = 256,
) -> Plane:
    """What the network answers on the plane of a sample, its adversarial point and a random direction.

    The points are not clipped to the bounds, or the plane would not be flat: far out they may be no pictures.

    Args:
        model: What was attacked; see `rosenblatt.attacks.model.victim`.
        X: The samples of the attack.
        found: Its result.
        row: Of the sample; None: the one that was broken at the smallest distance.
        cells: Points along each side.
        bounds: As of the attack.
        mean: As of the attack.
        std: As of the attack.
        random_state: Seed of the second direction.
        batch_size: Points at a time.

    Raises:
        DataError: No sample was broken, or the one asked for was not moved.
        ParameterError: A row that is none, or a table.
    """
    parameter("boundary_map", "cells", cells, Number(2, integer=True))
    judge = victim(model, bounds=bounds, mean=mean, std=std)
    judge.refuse_table("boundary_map")
    chosen = _row(found, row)
    x = judge.encode(X[chosen : chosen + 1])
    step = judge.again(found.adversarial[chosen : chosen + 1]).to(x.dtype).view_as(x) - x
    length = float(torch.linalg.vector_norm(step.double()))
    if not length:
        raise DataError(f"boundary_map: sample {chosen} was not moved; expected one that was attacked. Leave row= out.")
    side = _across(step, length, random_state)
    along, across = np.linspace(*_REACH, cells), np.linspace(*_REACH, cells) - sum(_REACH) / 2
    a, b = (torch.as_tensor(v, dtype=x.dtype, device=x.device) for v in (along, across))
    grid = torch.stack(torch.meshgrid(a, b, indexing="xy"), -1).view(-1, 2)
    shape = (-1, *[1] * (x.ndim - 1))
    with judge.at_rest(), torch.no_grad():
        logits = torch.cat([
            judge.logits(x + part[:, 0].view(shape) * step + part[:, 1].view(shape) * side)
            for part in grid.split(batch_size)
        ])  # fmt: skip
    classes = np.arange(logits.shape[1]) if judge.classes is None else np.asarray(judge.classes)
    return Plane(along, across, logits.cpu().numpy().reshape(cells, cells, -1), classes, length)


def _row(found: AttackResult, row: int | None) -> int:
    if row is not None:
        if not 0 <= row < len(found.success):
            raise ParameterError(f"boundary_map: row={row}; expected a number from 0 to {len(found.success) - 1}.")
        return int(row)
    broken = np.flatnonzero(found.success)
    if not len(broken):
        raise DataError("boundary_map: the attack broke no sample; expected one at least, or row=.")
    return int(broken[found.norms[broken].argmin()])


def _across(step: torch.Tensor, length: float, random_state: int) -> torch.Tensor:
    """A random direction as long as the step and at right angles to it."""
    keys = keys_of(random_state, torch.zeros(1, dtype=torch.int64, device=step.device))
    side = normal(keys, 0, step.shape[1:]).double()
    unit = step.double() / length
    side = side - (side * unit).sum() * unit
    return (side * (length / torch.linalg.vector_norm(side).clamp_min(1e-300))).to(step.dtype)


def boundary_map(model: Any, X: ArrayLike, found: AttackResult, **options: Any) -> Figure:
    """Where the network's answer changes around a sample, on the plane of `boundary_plane`.

    Each colour is a class, the paler the smaller the margin of its logit. The circle is the sample, the cross its adversarial
    point; lines are boundaries.

    Args:
        model: What was attacked.
        X: The samples of the attack.
        found: Its result.
        **options: As of `boundary_plane`: row, cells, bounds, mean, std, random_state, batch_size.

    Raises:
        DataError: No sample was broken, or the one asked for was not moved.
        ParameterError: A row that is none, or a table.
    """
    plane = boundary_plane(model, X, found, **options)
    figure = new_figure(5.2, 4.6)
    _draw(figure.add_subplot(), plane)
    return figure


def _draw(axes: Axes, plane: Plane) -> None:
    from matplotlib.colors import to_rgb

    answers, margins = plane.answers, plane.margins
    own, other = (answers[abs(plane.across).argmin(), abs(plane.along - at).argmin()] for at in (0, 1))
    order = [own, other, *np.argsort(-np.bincount(answers.ravel(), minlength=plane.logits.shape[2]), kind="stable")]
    order = list(dict.fromkeys(int(c) for c in order if (answers == c).any()))
    strength = 0.12 + 0.5 * np.clip(margins / (np.quantile(margins, 0.9) or 1.0), 0, 1)[..., None]
    picture = np.ones((*answers.shape, 3))
    for place, number in enumerate(order):
        colour = np.array(to_rgb(_COLOURS[min(place, len(_COLOURS) - 1)]))
        here = answers == number
        picture[here] = (1 - strength[here]) + strength[here] * colour
    half = (plane.along[1] - plane.along[0]) / 2
    edges = (plane.along[0] - half, plane.along[-1] + half, plane.across[0] - half, plane.across[-1] + half)
    axes.imshow(picture, origin="lower", extent=edges, interpolation="nearest", aspect="equal")
    for number in order:
        rest = np.delete(plane.logits, number, axis=2).max(2)
        axes.contour(plane.along, plane.across, plane.logits[..., number] - rest, [0.0], colors=_DARK, linewidths=0.9)
        _name(axes, plane, answers == number, word(plane.classes[number], 12))
    axes.plot([0, 1], [0, 0], color=_DARK, linewidth=0.8, linestyle=":")
    axes.plot(0, 0, marker="o", color=_DARK, markersize=7, markerfacecolor="white")
    axes.plot(1, 0, marker="X", color=_DARK, markersize=8, markerfacecolor="white")
    axes.set_xlabel(f"along the attack (1 is l2 {plane.length:.3g})")
    axes.set_ylabel("across, at random")
    plain(axes, frame=())


def _name(axes: Axes, plane: Plane, here: np.ndarray, name: str) -> None:
    """A class's name in the middle of its widest part, if that has room."""
    from scipy.ndimage import distance_transform_edt

    deep = distance_transform_edt(np.pad(here, 1))[1:-1, 1:-1]
    # the sample and its adversarial point keep some air
    a, b = np.meshgrid(plane.along, plane.across)
    free = np.minimum(np.hypot(a, b), np.hypot(a - 1, b)) > 0.3
    deep = deep * free
    if deep.max() < 0.05 * len(plane.along):
        return
    row, column = np.unravel_index(deep.argmax(), deep.shape)
    axes.text(
        plane.along[column],
        plane.across[row],
        name,
        ha="center",
        va="center",
        color=_DARK,
        fontsize=12,
        parse_math=False,
    )


def shared_pictures(found: Any, n: int = 7) -> Figure:
    """What `rosenblatt.attacks.Universal` or `rosenblatt.attacks.Patch` made, and some samples with it.

    Args:
        found: The result, or what its ``on`` gave for other pictures.
        n: Pictures at most; as large a share of them is broken as of all.

    Raises:
        ParameterError: The result of another attack, or not of pictures.
    """
    parameter("shared_pictures", "n", n, Number(1, integer=True))
    made = getattr(found, "perturbation", getattr(found, "patch", None))
    shown = np.asarray(torch.as_tensor(found.adversarial).cpu())
    if made is None or shown.ndim != 4:
        raise ParameterError("shared_pictures: expected what Universal or Patch found on pictures.")
    made = np.asarray(torch.as_tensor(made).cpu())
    if (shown.shape[1] in (1, 3) and shown.shape[3] not in (1, 3)) or isinstance(found.adversarial, torch.Tensor):
        shown, made = shown.transpose(0, 2, 3, 1), made.transpose(1, 2, 0)
    broken, held = np.flatnonzero(found.success), np.flatnonzero(found.tried & ~found.success)
    share = round(n * len(broken) / max(1, len(broken) + len(held)))
    rows = np.sort(np.concatenate([broken[:share], held[: n - share]]))
    figure = new_figure(1.3 * (len(rows) + 1), 1.7)
    grid = figure.subplots(1, len(rows) + 1, squeeze=False)[0]
    if hasattr(found, "perturbation"):
        show_signed(bare(grid[0], "added"), made.mean(-1))
    else:
        # a frame, or a white patch would not be seen
        plain(bare(grid[0], "patch"), frame=("left", "right", "top", "bottom")).imshow(found.picture(128))
    for axes, row in zip(grid[1:], rows, strict=True):
        bare(axes, "wrong" if found.success[row] else "holds").imshow(as_shown(shown[row]), cmap="gray")
    return figure
