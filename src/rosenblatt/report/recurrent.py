"""Figures of sequence models: how far back in time the gradient reaches, which is why the LSTM has gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rosenblatt.errors import DataError
from rosenblatt.report.canvas import BLUE, INK, VERMILION, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = (VERMILION, BLUE, INK, "#009E73")
_MOST_WINDOWS = 64


def gradient_through_time(models: Any, text: str | None = None) -> Figure:
    """Size of the gradient of the last step's loss by the step that it reaches, on a logarithmic scale.

    An Elman network's gradient shrinks by a like share each step back; a cell with gates can carry it, and attention reaches
    every step in one jump.

    Args:
        models: A fitted `LanguageModel`, or a dict name -> model to compare several on the same text.
        text: What they read; None takes what the (first) model writes.

    Raises:
        NotFittedError: Before ``fit``.
        DataError: The text is shorter than the context, or has characters that training had not.

    Reference:
        Bengio, Simard & Frasconi 1994, doi:10.1109/72.279181; Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735.
    """
    named = dict(models) if isinstance(models, Mapping) else {models.cell: models}
    first = next(iter(named.values()))
    if text is None:
        text = first.sample("", 4 * first.context)
    figure = new_figure(6.4, 3.2)
    axes = figure.add_subplot()
    for place, (name, model) in enumerate(named.items()):
        sizes = gradient_sizes(model, text)
        back, colour = np.arange(len(sizes))[::-1], _COLOURS[place % len(_COLOURS)]
        axes.plot(back, np.maximum(sizes, 1e-12), color=colour, linewidth=2, label=name)
    axes.set_yscale("log")
    axes.invert_xaxis()
    axes.set_xlabel(f"{first._noun()} before the predicted one")
    if len(named) > 1:
        axes.legend(frameon=False)
    plain(axes, grid="y")
    axes.set_title("Gradient of the last step's loss, by the step it reaches", loc="left", color=INK)
    return figure


def gradient_sizes(model: Any, text: str) -> np.ndarray:
    """Euclidean norm (T,) of d(loss of the last token) / d(embedding of each token), the mean over windows of the text.

    Args:
        model: A fitted `LanguageModel`.
        text: Of at least its context and one more.

    Raises:
        NotFittedError, DataError: As `gradient_through_time`.
    """
    import torch
    from torch.nn import functional as F

    model._check_fitted("gradient_through_time")
    tokens = torch.from_numpy(model._units().encode(text, who="gradient_through_time")).long().to(model.device_)
    steps = model.context
    count = min((len(tokens) - 1) // steps, _MOST_WINDOWS)
    if count < 1:
        raise DataError(
            f"gradient_through_time: {len(tokens)} {model._noun()}; expected more than {steps}, the context."
        )
    windows, targets = tokens[: count * steps].view(count, steps), tokens[steps : count * steps + 1 : steps]
    seen: list[Any] = []

    def note(_module: Any, _inputs: Any, output: Any) -> Any:
        seen.append(output.detach().requires_grad_(True))
        return seen[-1]

    module = model.module_.eval()
    hook = module.embedding.register_forward_hook(note)
    try:
        losses = F.cross_entropy(module(windows)[0][:, -1].float(), targets, reduction="sum")
        (gradient,) = torch.autograd.grad(losses, seen[0])
    finally:
        hook.remove()
    return gradient.norm(dim=-1).mean(0).double().cpu().numpy()
