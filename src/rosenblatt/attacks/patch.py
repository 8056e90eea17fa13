r"""A patch that makes a network err wherever it lies in a picture.

.. math:: \max_p \; E_{x, \, t, \, l} \; L\big( A(p, x, l, t), \, y \big)

where A lays the patch p on the picture x at the place l, turned, scaled and lit by t. The rest of the picture stays, and the
patch may be of any colours: it can be printed, which a perturbation of all pixels cannot.

Reference: Brown, Mane, Roy, Abadi & Gilmer 2017, arXiv:1712.09665, eq. 1; expectation over transformations: Athalye et al. 2018,
arXiv:1707.07397.
Departures: signed gradient steps with momentum in place of stochastic gradient descent, and no term that keeps the patch near a
given picture. The light changes the patch alone, as a print seldom has that of the scene. The patch lies within the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rosenblatt._types import Float, PathLike
from rosenblatt._validate import NONE, Choice, Number, write_whole
from rosenblatt.attacks.model import Victim
from rosenblatt.attacks.streams import keys_of, uniform
from rosenblatt.attacks.universal import SharedResult, Trained, climb
from rosenblatt.data.photo import encode_photo
from rosenblatt.errors import ParameterError, ShapeError

_SHAPES = ("round", "square")


@dataclass(frozen=True, kw_only=True)
class Placing:
    """Where a patch may lie, and how.

    Args:
        size: Share of the picture that it covers at scale 1.
        shape: "round" or "square".
        rotation: Turned by up to so many degrees, either way.
        scale: Least and greatest factor of its sides.
        brightness: Lighter or darker by up to this share of the range of values.
    """

    size: float = 0.1
    shape: str = "round"
    rotation: float = 20.0
    scale: tuple[float, float] = (0.8, 1.2)
    brightness: float = 0.1

    def half(self, height: int, width: int) -> float:
        """Half its side, or its radius, in pixels at scale 1.

        Example:
            >>> Placing(size=0.25, shape="square").half(8, 8)
            2.0
        """
        area = self.size * height * width
        return math.sqrt(area) / 2 if self.shape == "square" else math.sqrt(area / math.pi)


def placed(
    patch: Float[Tensor, "1 C S S"], x: Float[Tensor, "N C H W"], u: Float[Tensor, "N 5"], placing: Placing, bounds: Any
) -> Float[Tensor, "N C H W"]:
    """Pictures with the patch on them; differentiable in the patch.

    Args:
        patch: Its values, bilinear between them.
        x: Pictures.
        u: Five numbers from 0 to 1 for each: the angle, the scale, the place across and down, the light; 0.5 is the middle.
        placing: Their ranges.
        bounds: Lowest and highest value.
    """
    low, high = bounds
    height, width = x.shape[2:]
    u = u.to(x.dtype)
    angle = math.radians(placing.rotation) * (2 * u[:, 0] - 1)
    cos, sin = angle.cos(), angle.sin()
    least, most = placing.scale
    half = placing.half(height, width) * (least + (most - least) * u[:, 1])
    reach = half * (cos.abs() + sin.abs()) if placing.shape == "square" else half
    across = (2 * u[:, 2] - 1) * (width / 2 - reach).clamp_min(0)  # of its middle, in pixels from the picture's
    down = (2 * u[:, 3] - 1) * (height / 2 - reach).clamp_min(0)
    # from the picture's coordinates, -1 to 1, to the patch's own
    rows = [
        torch.stack([cos * width / 2, sin * height / 2, -(cos * across + sin * down)], 1),
        torch.stack([-sin * width / 2, cos * height / 2, sin * across - cos * down], 1),
    ]
    theta = torch.stack(rows, 1) / half[:, None, None]
    grid = F.affine_grid(theta, [len(x), 1, height, width], align_corners=False)  # (N, H, W, 2)
    covers = grid.abs().amax(3) <= 1 if placing.shape == "square" else grid.square().sum(3) <= 1
    shown = F.grid_sample(patch.expand(len(x), -1, -1, -1), grid, padding_mode="border", align_corners=False)
    light = placing.brightness * (high - low) * (2 * u[:, 4] - 1)
    return torch.where(covers[:, None], (shown + light[:, None, None, None]).clamp(low, high), x)


def patch(
    model: Any,
    x: Float[Tensor, "N C H W"],
    y: Tensor,
    *,
    placing: Placing,
    steps: int = 200,
    step_size: float | None = None,
    minibatch: int = 128,
    bounds: tuple[float, float] = (0.0, 1.0),
    target: Tensor | None = None,
    batch_size: int = 256,
    seed: int = 0,
    keys: Tensor | None = None,
) -> tuple[Float[Tensor, "1 C S S"], Tensor]:
    """A patch for all pictures, and how often each was looked at (N,).

    Args:
        model: Pictures to logits (N, K).
        x: Pictures, within the bounds.
        y: Labels (N,).
        placing: Where it may lie, and how.
        steps: Gradient steps; at each every picture has the patch at another place.
        step_size: Of each value at the first step, which falls to zero; None: a tenth of the range of values.
        minibatch: Pictures of one step.
        bounds: Lowest and highest value.
        target: Wanted labels (N,), or None.
        batch_size: Of a step's pictures at a time; changes nothing.
        seed: Of the start and of the pictures' order.
        keys: Of the pictures' random numbers; None: their rows.
    """
    keys = keys_of(seed, torch.arange(len(x), device=x.device)) if keys is None else keys
    low, high = bounds
    length = 0.1 * (high - low) if step_size is None else step_size
    side = max(2, math.ceil(2 * placing.half(*x.shape[2:]) * placing.scale[1]))
    own = keys_of(seed, torch.full((1,), -1, dtype=torch.int64, device=x.device))
    start = low + (high - low) * uniform(own, 0, (x.shape[1], side, side)).to(x.dtype)

    def lay(made: Tensor, part: Tensor, part_keys: Tensor, draw: int) -> Tensor:
        return placed(made, part, uniform(part_keys, draw, (5,)), placing, bounds)

    def move(made: Tensor, slope: Tensor, left: float) -> Tensor:
        return (made + length * left * slope.sign()).clamp(low, high)

    return climb(
        model, x, y, target, start, lay=lay, move=move, steps=steps, minibatch=minibatch, batch_size=batch_size,
        seed=seed, keys=keys,
    )  # fmt: skip


@dataclass(frozen=True, repr=False)
class PatchResult(SharedResult):
    """A patch, and what it does to pictures.

    Attributes:
        patch: Its values as X is, a square; of a round one what is outside of the circle is not used.
        shape: "round" or "square".
        range: Lowest and highest value.
    """

    patch: Any = None
    shape: str = "round"
    range: tuple[float, float] = (0.0, 1.0)

    def picture(self, side: int = 256) -> np.ndarray:
        """The patch in 8 bits (side, side, 4), transparent around a round one.

        Args:
            side: Pixels, bilinear between the patch's values.
        """
        values = torch.as_tensor(self.patch).detach().cpu().float()
        values = values if self.channels_first else values.permute(2, 0, 1)
        values = (values - self.range[0]) / (self.range[1] - self.range[0])
        large = F.interpolate(values[None], size=(side, side), mode="bilinear", align_corners=False)[0]
        colours = large[:3] if len(large) >= 3 else large[:1].expand(3, -1, -1)
        place = (torch.arange(side) + 0.5) / side * 2 - 1
        inside = (place[:, None] ** 2 + place**2 <= 1) if self.shape == "round" else torch.ones(side, side)
        return (torch.cat([colours, inside[None].float()]) * 255).round().byte().permute(1, 2, 0).numpy()

    def write(self, path: PathLike, *, side: int = 256, overwrite: bool = False) -> Path:
        """Write the patch as a picture, as for a printer.

        Args:
            path: Ends in .png (transparent around a round one), .jpg or another suffix of pictures.
            side: Pixels.
            overwrite: False refuses a path that exists.

        Raises:
            OutputError: The path exists and ``overwrite`` is False, or it cannot be written.
        """
        return write_whole(path, encode_photo(self.picture(side), path), overwrite=overwrite)


@dataclass(frozen=True, kw_only=True)
class Patch(Trained):
    """A patch for a whole set of pictures; see `patch`.

    Each picture has it at a random place, turn, scale and light of its own; judge it on pictures that it was not trained on, with
    ``result.on(model, X, y).success_rate``. It depends on which pictures it was given, and on their order; not on the batch size.
    ``norms`` of the result count the values that were changed.

    Args:
        size: Share of the picture that the patch covers at scale 1.
        shape: "round" or "square".
        rotation: Turned by up to so many degrees, either way.
        scale: Least and greatest factor of its sides.
        brightness: Lighter or darker by up to this share of the range of values.
        steps: Gradient steps.
        minibatch: Pictures of one step.
        step_size: Of each value at the first step; None: a tenth of the range of values.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(1, 2, bias=False)).requires_grad_(False)
        >>> _ = net[2].weight.copy_(torch.tensor([[0.0], [1.0]]) - 0.1)
        >>> found = Patch(size=0.2, steps=40)(net, torch.zeros(4, 1, 8, 8), [0] * 4, target=1)
        >>> float(found.patch.min())
        1.0
    """

    norm: str = "l0"
    size: float = 0.1
    shape: str = "round"
    rotation: float = 20.0
    scale: tuple[float, float] = (0.8, 1.2)
    brightness: float = 0.1
    step_size: float | None = None

    _NORMS: ClassVar[tuple[str, ...]] = ("l0",)
    _RULES: ClassVar[dict[str, Any]] = {
        **Trained._RULES, "size": (Number(0, 0.5, open_low=True),), "shape": (Choice(_SHAPES),), "rotation": (Number(0, 180),),
        "brightness": (Number(0, 1),), "step_size": (Number(0, open_low=True), NONE),
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.scale, tuple) and len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1] <= 2):
            raise ParameterError(
                f"Patch: scale={self.scale!r}; expected (least, greatest), both above 0 and at most 2."
            )

    @property
    def placing(self) -> Placing:
        """Where it may lie, and how."""
        return Placing(**{f.name: getattr(self, f.name) for f in fields(Placing)})

    def train(
        self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A patch (1, C, S, S)."""
        if x.ndim != 4:
            raise ShapeError(
                f"Patch: inputs of shape {tuple(x.shape)}; expected pictures (n_samples, channels, height, width)."
            )
        if found.bounds is None:
            raise ParameterError("Patch: bounds=None; expected (lowest, highest), which a patch's colours lie between.")
        return patch(
            found.logits, x, y, placing=self.placing, steps=self.steps, step_size=self.step_size, minibatch=self.minibatch,
            bounds=found.bounds, target=target, batch_size=self.batch_size, seed=self.random_state, keys=keys,
        )  # fmt: skip

    def layer(self, shared: Tensor) -> Callable[[Tensor, Tensor, Any], Tensor]:
        """Lays it at a place that training did not use."""
        placing = self.placing

        def lay(x: Tensor, keys: Tensor, bounds: Any) -> Tensor:
            return placed(shared.to(x.device, x.dtype), x, uniform(keys, 0, (5,)), placing, bounds)

        return lay

    def result(self, found: Victim, shared: Tensor, X: Any, fields_: dict[str, Any]) -> PatchResult:
        """With the patch as X is."""
        return PatchResult(
            **fields_, patch=found.decode(shared, X)[0], shape=self.shape, range=found.bounds,
        )  # fmt: skip
