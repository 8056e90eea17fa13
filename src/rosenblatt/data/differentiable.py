"""Augmentation that a gradient passes through, for both sides of an adversarial game.

What the critic sees, data and samples alike, is augmented, so that a small data set does not leave it anything to learn by
heart; since the gradient passes, the generator learns the pictures from before the augmentation.

References: Zhao, Liu, Lin, Zhu & Han 2020, arXiv:2006.10738 (the steps); Karras et al. 2020, arXiv:2006.06676 (each step with a
probability, which follows the critic's overfitting).

Shapes: pictures (N, C, H, W) in -1 to 1. Draws come from torch's own generators, which a `PrivateRandom` stands in for.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rosenblatt.errors import ParameterError

TARGET = 0.6
"""What the mean sign of the critic's logits at data is steered to (Karras et al. 2020, section 3)."""


def brighten(x: Tensor) -> Tensor:
    """Add up to half of the range's half to all pixels of a picture."""
    return x + _draw(x) - 0.5


def saturate(x: Tensor) -> Tensor:
    """Colours up to twice as far from grey, or not at all."""
    grey = x.mean(1, keepdim=True)
    return grey + (x - grey) * 2 * _draw(x)


def contrast(x: Tensor) -> Tensor:
    """Half to one and a half times as far from the picture's mean."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (0.5 + _draw(x))


def translate(x: Tensor) -> Tensor:
    """Move each picture by up to an eighth of the side; what comes in is as dark as can be."""
    count, _, height, width = x.shape
    down, right = (torch.randint(-(s // 8), s // 8 + 1, (count, 1), device=x.device) for s in (height, width))
    rows = torch.arange(height, device=x.device) - down  # N H
    columns = torch.arange(width, device=x.device) - right  # N W
    inside = ((rows >= 0) & (rows < height))[:, None, :, None] & ((columns >= 0) & (columns < width))[:, None, None, :]
    picture = torch.arange(count, device=x.device)[:, None, None]
    moved = x.permute(0, 2, 3, 1)[picture, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None]]
    return torch.where(inside, moved.permute(0, 3, 1, 2), -1.0)


def cutout(x: Tensor) -> Tensor:
    """Make a square of half the side grey; its centre may lie anywhere."""
    count, _, height, width = x.shape
    places = torch.rand((count, 2), device=x.device)
    rows = (torch.arange(height, device=x.device) + 0.5 - places[:, :1] * height).abs() <= height / 4
    columns = (torch.arange(width, device=x.device) + 0.5 - places[:, 1:] * width).abs() <= width / 4
    return torch.where(rows[:, None, :, None] & columns[:, None, None, :], 0.0, x)


def flip(x: Tensor) -> Tensor:
    """Mirror half of the pictures."""
    return torch.where(_draw(x) < 0.5, x.flip(3), x)


STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "flip": flip,
    "colour": lambda x: contrast(saturate(brighten(x))),
    "translate": translate,
    "cutout": cutout,
}
"""All steps, in the order in which they run whatever the order of the words is."""


def _draw(x: Tensor) -> Tensor:
    return torch.rand((len(x), 1, 1, 1), device=x.device)


class DifferentiableAugment:
    """Steps that each happen to a picture with probability ``p``.

    Args:
        words: Steps joined by "+", or "none".
        p: The probability, which `steer` changes.

    Raises:
        ParameterError: An unknown step.
    """

    def __init__(self, words: str = "none", p: float = 1.0):
        wanted = [] if words == "none" else words.split("+")
        if unknown := [word for word in wanted if word not in STEPS]:
            raise ParameterError(f"augment={words!r} names {unknown[0]!r}; expected 'none' or {', '.join(STEPS)}.")
        self.steps = [STEPS[name] for name in STEPS if name in wanted]
        self.p = p

    def __call__(self, x: Tensor) -> Tensor:
        """Augment a batch."""
        for step in self.steps:
            if self.p >= 1:
                x = step(x)
            elif self.p > 0:
                x = torch.where(_draw(x) < self.p, step(x), x)
        return x

    def steer(self, sign: float, samples: int, *, reach: int = 100_000) -> None:
        """Raise p where the critic knows the data by heart, lower it otherwise.

        Args:
            sign: Mean sign of the logits at data: 1 where every picture is called real.
            samples: Pictures seen since the last call.
            reach: Pictures over which p may go from 0 to 1.
        """
        self.p = min(1.0, max(0.0, self.p + (1 if sign > TARGET else -1) * samples / reach))
