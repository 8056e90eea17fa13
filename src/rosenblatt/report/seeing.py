"""Figures of what a convolutional network sees: receptive fields, what an answer hangs on, what a class looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rosenblatt._types import ArrayLike
from rosenblatt.errors import ParameterError
from rosenblatt.metrics.receptive_field import receptive_fields
from rosenblatt.report.canvas import BLUE, VERMILION, as_shown, bare, new_figure, reach_of, word
from rosenblatt.train.saliency import grad_cam, gradient, integrated_gradients, maximise
from rosenblatt.train.seeds import generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 4
_CLASSES = 10


def _network(estimator: Any, who: str) -> Any:
    if not hasattr(estimator, "picture_shape_"):
        raise ParameterError(f"{who}: got a {type(estimator).__name__}; expected a fitted CNNClassifier.")
    return estimator.module_


def saliency(estimator: Any, X: ArrayLike) -> Figure:
    """What the answers to some pictures hang on: gradient, integrated gradients and Grad-CAM of the predicted class.

    Args:
        estimator: A fitted `CNNClassifier`.
        X: Pictures like those of ``fit``; the first four are shown.

    Raises:
        ParameterError: Not a convolutional network.
        ShapeError, NonFiniteError, DataError: Not pictures like those of ``fit``.
    """
    module = _network(estimator, "saliency")
    pictures = estimator._same_kind("saliency", np.asarray(X)[:_MOST])
    x = estimator._preparation()(torch.from_numpy(pictures).permute(0, 3, 1, 2).to(estimator.device_))
    with torch.no_grad():
        target = module.eval()(x).argmax(1)
    shown = x.detach().cpu().permute(0, 2, 3, 1).numpy()
    slopes = gradient(module, x, target).abs().amax(1).cpu().numpy()
    shares = integrated_gradients(module, x, target).sum(1).cpu().numpy()
    places = torch.nn.functional.interpolate(grad_cam(module, x, target)[:, None], x.shape[2:], mode="bilinear")
    figure = new_figure(6.6, 1.75 * len(shown))
    for row, label in enumerate(estimator.classes_[target.cpu().numpy()]):
        axes = [figure.add_subplot(len(shown), 4, 4 * row + column + 1) for column in range(4)]
        axes[0].imshow(as_shown(shown[row]), cmap="gray")
        axes[1].imshow(slopes[row], cmap="magma")
        axes[2].imshow(shares[row], cmap="RdBu_r", vmin=-reach_of(shares[row]), vmax=reach_of(shares[row]))
        axes[3].imshow(as_shown(shown[row]), cmap="gray")
        axes[3].imshow(places[row, 0].cpu().numpy(), cmap="inferno", alpha=0.6)
        titles = (f"said {word(label, 12)}", "gradient", "integrated gradients", "Grad-CAM")
        for axis, title in zip(axes, titles, strict=True):
            bare(axis, title if row == 0 or axis is axes[0] else "").title.set_fontsize(8)
    return figure


def class_pictures(estimator: Any, *, steps: int = 100) -> Figure:
    """Inputs that drive the logit of each class up (the first ten); see `rosenblatt.train.saliency.maximise`.

    Args:
        estimator: A fitted `CNNClassifier`.
        steps: Gradient steps.

    Raises:
        ParameterError: Not a convolutional network.
    """
    module = _network(estimator, "class_pictures")
    count = min(_CLASSES, len(estimator.classes_))
    shape = tuple(estimator._example_input().shape[1:])
    target = torch.arange(count, device=estimator.device_)
    made = maximise(module, target, shape, generator=generator(0), steps=steps).cpu().permute(0, 2, 3, 1).numpy()
    columns = min(count, 5)
    lines = -(-count // columns)
    figure = new_figure(1.35 * columns, 1.6 * lines)
    for place, picture in enumerate(made):
        axes = figure.add_subplot(lines, columns, place + 1)
        axes.imshow(as_shown(picture), cmap="gray", interpolation="nearest")
        bare(axes, word(estimator.classes_[place], 12))
    return figure


def fields(estimator: Any, picture: ArrayLike | None = None) -> Figure:
    """How much of the picture one unit of each layer sees, as squares around the middle.

    Args:
        estimator: A fitted `CNNClassifier`.
        picture: Shown behind; None leaves it white.

    Raises:
        ParameterError: Not a convolutional network.
        ShapeError, NonFiniteError, DataError: Not a picture like those of ``fit``.
    """
    from matplotlib.patches import Rectangle

    module = _network(estimator, "fields")
    example = estimator._example_input()
    found = receptive_fields(module, example)
    height, width = example.shape[2:]
    shown = np.ones((height, width))
    if picture is not None:
        batch = estimator._same_kind("fields", np.asarray(picture)[None])
        x = estimator._preparation()(torch.from_numpy(batch).permute(0, 3, 1, 2).to(estimator.device_))
        shown = as_shown(x[0].cpu().permute(1, 2, 0).numpy())
    figure = new_figure(6.6, 3.4)
    axes = bare(figure.add_subplot(1, 2, 1), f"Receptive fields on {height} x {width} pixels")
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, alpha=0.6)
    for number, field in enumerate(found):
        corner = (width / 2 - 0.5 - field.side / 2, height / 2 - 0.5 - field.side / 2)
        color = BLUE if number % 2 else VERMILION
        axes.add_patch(Rectangle(corner, field.side, field.side, fill=False, edgecolor=color, linewidth=1.4))
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    lines = [f"{field.layer}: {field.side} px, every {field.step}" for field in found[:18]]
    text = bare(figure.add_subplot(1, 2, 2), "A unit of each layer sees")
    text.text(0, 0.98, "\n".join(lines), va="top", fontsize=8, parse_math=False, transform=text.transAxes)
    return figure


def seen(estimator: Any, X: ArrayLike | None, y: ArrayLike | None = None) -> dict[str, Figure]:
    """All figures of this file, and with labels the confusion and the worst mistakes.

    Args:
        estimator: A fitted `CNNClassifier`.
        X: Pictures like those of ``fit``, or None.
        y: Their labels, or None.
    """
    from rosenblatt.report.plots import confusion, worst_mistakes

    drawn = {"receptive_fields": fields(estimator, None if X is None else np.asarray(X)[0])}
    drawn["class_pictures"] = class_pictures(estimator)
    if X is not None:
        drawn["saliency"] = saliency(estimator, X)
    if X is not None and y is not None:
        drawn["confusion"] = confusion(y, estimator.predict(X))
        drawn["worst_mistakes"] = worst_mistakes(estimator, X, y)
    return drawn
