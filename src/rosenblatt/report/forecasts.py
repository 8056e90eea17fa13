"""Figures of a forecaster: its forecast with the band, and how far back its gradient reaches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rosenblatt.report.canvas import BLUE, INK, VERMILION, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_PANELS = 6


def forecast(model: Any, y: Any = None) -> Figure:
    """The last steps of each series, the medians of the next ones and the band between the outer quantiles.

    Args:
        model: A fitted `Forecaster`.
        y: Series to go on from; None takes those of ``fit``. At most six series are drawn.
    """
    from rosenblatt.estimators.members import read_members

    members = model._known_members("inspect", None, 1) if y is None else read_members("inspect", y, None, None)
    found = model.predict_quantiles(y=y)
    found = list(found.values()) if isinstance(found, dict) else [found]
    tracks = [(m, k, q) for m, q in zip(members, found, strict=True) for k in range(model.n_targets_)][:_MOST_PANELS]
    figure = new_figure(7.0, 0.4 + 2.2 * len(tracks))
    middle = model.levels_.index(0.5)
    for place, (member, k, quantiles) in enumerate(tracks, 1):
        axes = figure.add_subplot(len(tracks), 1, place)
        band = quantiles.reshape(len(quantiles), model.n_targets_, -1)[:, k]
        before = min(len(member), 4 * model.horizon)
        past = member.times(len(member) - before, before)
        ahead = member.times(len(member), len(band))
        axes.plot(past, member.table[-before:, k], color=INK, linewidth=1.5)
        if len(model.levels_) > 1:
            axes.fill_between(ahead, band[:, 0], band[:, -1], color=BLUE, alpha=0.2, linewidth=0)
        axes.plot(ahead, band[:, middle], color=BLUE, linewidth=2, marker="o" if len(band) == 1 else None)
        plain(axes, grid="y")
        named = " ".join(part for part in (member.name, model.names_[k]) if part)
        between = f", band {model.levels_[0]:g} to {model.levels_[-1]:g}" if len(model.levels_) > 1 else ""
        axes.set_title(f"{named}: forecast by {model.selected_}{between}", loc="left", color=INK, parse_math=False)
    return figure


def gradient_through_time(model: Any) -> Figure:
    """Size of the first forecast step's gradient by each step of the window, on a logarithmic scale.

    An Elman network's gradient shrinks from step to step; a cell with gates can carry it (why LSTM).

    Reference:
        Bengio, Simard & Frasconi 1994, doi:10.1109/72.279181.
    """
    sizes = gradient_sizes(model)
    figure = new_figure(6.4, 2.9)
    axes = figure.add_subplot()
    back = np.arange(len(sizes))[::-1]
    axes.plot(back, np.maximum(sizes, 1e-12), color=VERMILION, linewidth=2, marker="o", markersize=3)
    axes.set_yscale("log")
    axes.invert_xaxis()
    axes.set_xlabel("steps before the forecast")
    plain(axes, grid="y")
    axes.set_title(f"Gradient of the first step through the {model.cell} cells", loc="left", color=INK)
    return figure


def gradient_sizes(model: Any) -> np.ndarray:
    """Euclidean norm of d(median of step 1) / d(row of the cells' input), mean over the series' last windows."""
    import torch

    module = model.module_.eval()
    windows = [
        model._window(member, scale, model.step_)
        for member, scale in zip(_with_ahead(model), model.scales_, strict=True)
    ]
    seen: list[Any] = []

    def note(_module: Any, inputs: Any) -> Any:
        x = inputs[0].detach().requires_grad_(True)
        seen.append(x)
        return (x, *inputs[1:])

    hook = module.cells.register_forward_pre_hook(note)
    try:
        x = torch.from_numpy(np.stack(windows).astype(np.float32)).to(model.device_)
        if model.n_known_:
            x = x[:, : model.window_ + model.step_]
        out = module(x)[:, 0, :, model.levels_.index(0.5)].sum()
        (gradient,) = torch.autograd.grad(out, seen[0])
    finally:
        hook.remove()
    return gradient.norm(dim=-1).mean(0).double().cpu().numpy()


def _with_ahead(model: Any) -> list[Any]:
    """The fitted series, known covariates held at their last value where none were given."""
    from dataclasses import replace

    members = model._known_members("inspect", None, 1)
    short = [max(0, model.step_ - len(m.ahead)) for m in members]
    tails = [m.table[-1:, m.table.shape[1] - model.n_known_ :] for m in members]
    return [
        replace(m, ahead=np.vstack([m.ahead, *[tail] * missing])) if missing and model.n_known_ else m
        for m, missing, tail in zip(members, short, tails, strict=True)
    ]
