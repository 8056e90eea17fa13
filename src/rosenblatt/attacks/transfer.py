r"""Points that are to break other models than the one attacked: momentum, diverse inputs, smoothed gradients.

Three switches of one walk of gradient steps, each alone or with the others:

.. math:: g_{t+1} = \mu g_t + \frac{G}{\|G\|_1}, \quad G = W * \nabla_x L\big(T(x_t), y\big), \quad
          x_{t+1} = \Pi\big(x_t + \alpha \, s(g_{t+1})\big)

momentum :math:`\mu` (MI), with probability p a picture T made smaller and placed at random on zeros (DI), and a Gaussian window W
over the gradient (TI), which stands for the mean gradient of shifted pictures. On `several` models it is the strongest.

References: MI: Dong et al. 2018, arXiv:1710.06081, algorithm 1; DI: Xie et al. 2019, arXiv:1803.06978, eq. 5 and section 4.1;
TI: Dong, Pang, Su & Zhu 2019, arXiv:1904.02884, eq. 6 to 8.
Departures: pictures of DI are made smaller, not larger, as networks here take one size, by parts of pixels, and all
samples have their own; TI's window ends at three deviations. A sample that is broken already goes on to the last step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from rosenblatt._validate import NONE, Choice, Number
from rosenblatt.attacks.gradients import accumulated, ascent
from rosenblatt.attacks.model import Victim
from rosenblatt.attacks.objectives import OBJECTIVES
from rosenblatt.attacks.projection import Ball, radii, spread, steepest
from rosenblatt.attacks.result import EPS, STEPS, Attack, Found
from rosenblatt.attacks.streams import keys_of, uniform
from rosenblatt.errors import ParameterError, ShapeError

_DRAW = 7000


def smaller(x: Tensor, keys: Tensor, draw: int, probability: float, least: float) -> Tensor:
    """Pictures (N, C, H, W), some made smaller and placed at random on zeros.

    Args:
        x: Pictures.
        keys: Of the samples' random numbers.
        draw: Number of the draw.
        probability: Of a picture to be changed.
        least: Smallest side, as a share of the picture's.
    """
    u = uniform(keys, draw, (4,)).to(x.dtype)
    side = least + (1 - least) * u[:, 0]
    across, down = ((2 * u[:, axis] - 1) * (1 - side) for axis in (1, 2))  # centres, in halves of the picture
    zero = torch.zeros_like(side)
    back = torch.stack([1 / side, zero, -across / side, zero, 1 / side, -down / side], 1).view(-1, 2, 3)
    grid = F.affine_grid(back, list(x.shape), align_corners=False)
    placed = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return torch.where(spread(u[:, 3] < probability, x).bool(), placed, x)


def smoothed(g: Tensor, width: int) -> Tensor:
    """Gradients (N, C, H, W) under a Gaussian window of that width (odd), whose ends are three deviations out; 1 changes nothing.

    Example:
        >>> smoothed(torch.eye(3)[None, None], 1)[0, 0, 0]
        tensor([1., 0., 0.])
    """
    if width == 1:
        return g
    places = torch.linspace(-3, 3, width, dtype=g.dtype, device=g.device)
    line = torch.exp(-(places**2) / 2)
    window = torch.outer(line, line) / line.sum() ** 2
    return F.conv2d(g, window.expand(g.shape[1], 1, -1, -1), padding=width // 2, groups=g.shape[1])


def transfer(
    model: Any,
    x: Tensor,
    y: Tensor,
    *,
    eps: Tensor | float,
    norm: str = "linf",
    steps: int = 10,
    step_size: float | None = None,
    momentum: float = 1.0,
    diversity: float = 0.7,
    least: float = 0.9,
    kernel: int = 7,
    objective: str = "ce",
    bounds: tuple[float, float] | None = (0.0, 1.0),
    target: Tensor | None = None,
    keys: Tensor | None = None,
) -> Found:
    """Walk all steps from the sample, whether it is broken before or not.

    Args:
        model: Inputs (N, ...) to logits (N, K); with ``each`` the objectives of several are averaged.
        x: Inputs; pictures (N, C, H, W) where ``diversity`` or ``kernel`` is on.
        y: Labels (N,).
        eps: Radius, in units of the input; one or one a sample.
        norm: "l2" or "linf".
        steps: Gradient steps.
        step_size: Length of a step in the norm; None: eps / steps.
        momentum: Share of the running sum of gradients that is kept; 0 switches MI off.
        diversity: Probability that a step sees a smaller picture; 0 switches DI off.
        least: Its smallest side, as a share of the picture's.
        kernel: Width of the window over the gradient, odd, about a quarter of the picture's; 1 switches TI off.
        objective: "ce", "dlr" or "margin".
        bounds: Of the inputs, or None.
        target: Wanted labels (N,), or None.
        keys: Of the samples' random numbers; None: their rows.

    Raises:
        ShapeError: Diverse inputs or a window for what are no pictures.
    """
    if x.ndim != 4 and (diversity or kernel > 1):
        raise ShapeError(
            f"Transfer: inputs have shape (n_samples, {', '.join(map(str, x.shape[1:]))}); expected pictures "
            "(n_samples, channels, height, width) for diversity and kernel. Switch them off: diversity=0, kernel=1."
        )
    keys = keys_of(0, torch.arange(len(x), device=x.device)) if keys is None else keys
    eps = radii(eps, x)
    length = eps / steps if step_size is None else torch.full_like(eps, step_size)
    z, sum_, ball = x, torch.zeros_like(x), Ball(x, eps, norm, bounds)
    for step in range(steps):

        def varied(seen: Tensor, draw: int = _DRAW + step) -> Tensor:
            return smaller(seen, keys, draw, diversity, least) if diversity else seen

        g, _ = ascent(model, z, y, target, OBJECTIVES[objective], before=varied)
        g = sum_ = accumulated(sum_, smoothed(g, kernel), momentum)
        z = ball.nearest(z + spread(length, z) * steepest(g, norm))
    return Found(z, torch.full((len(x),), steps, dtype=torch.int64, device=x.device))


@dataclass(frozen=True, kw_only=True)
class Transfer(Attack):
    """Momentum, diverse inputs and smoothed gradients; see `transfer`. Measure it on other models with `transferred`.

    Args:
        eps: Radius of the ball, in units of the input.
        steps: Gradient steps.
        step_size: Length of a step in the norm; None: eps / steps.
        momentum: Share of the running sum of gradients that is kept; 0 switches MI off.
        diversity: Probability that a step sees a smaller picture; 0 switches DI off.
        least: Its smallest side, as a share of the picture's.
        kernel: Width of the window over the gradient, odd, about a quarter of the picture's; 1 switches TI off.
        objective: "ce", "dlr" or "margin".

    Raises:
        ParameterError: An even kernel.
    """

    eps: float = 0.1
    steps: int = 10
    step_size: float | None = None
    momentum: float = 1.0
    diversity: float = 0.7
    least: float = 0.9
    kernel: int = 7
    objective: str = "ce"

    _NORMS: ClassVar[tuple[str, ...]] = ("l2", "linf")
    _RULES: ClassVar[dict[str, Any]] = {
        **EPS, **STEPS, "step_size": (Number(0, open_low=True), NONE), "momentum": (Number(0, 1),),
        "diversity": (Number(0, 1),), "least": (Number(0, 1, open_low=True),), "kernel": (Number(1, integer=True),),
        "objective": (Choice(tuple(OBJECTIVES)),),
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel % 2 == 0:
            raise ParameterError(f"Transfer: kernel={self.kernel}; expected an odd number, whose window has a middle.")

    def run(self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor) -> Found:
        """Attack samples that are right."""
        return transfer(
            found.logits, x, y, eps=self.eps, norm=self.norm, steps=self.steps, step_size=self.step_size,
            momentum=self.momentum, diversity=self.diversity, least=self.least, kernel=self.kernel,
            objective=self.objective, bounds=found.bounds, target=target, keys=keys,
        )  # fmt: skip
