"""How the three methods of style transfer learn: a picture (Gatys), a network for a style (Johnson), a decoder (AdaIN)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt.data.photo import Photo, random_crops
from rosenblatt.data.resident import Resident
from rosenblatt.losses.classification import cross_entropy
from rosenblatt.losses.style import (
    channel_statistics,
    content_distance,
    gram_matrix,
    statistics_distance,
    style_distance,
    total_variation,
)
from rosenblatt.models.adain import AdaIN, adain
from rosenblatt.models.perceptual import Perceptual, Small
from rosenblatt.train.pixels import Objective, StepRecord, pixels
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import autocast
from rosenblatt.train.seeds import PrivateRandom, generator
from rosenblatt.train.supervised import EpochRecord, supervised

SMOOTH = 0.3
"""Weight of the total variation beside a content distance of weight 1."""

IN_RANGE = 2000.0
"""Weight of the mean squared distance of the pixels from 0 to 1. What lies beyond is cut off at the end, and most of the last
hundred steps with it where nothing holds the pixels: a loss of 0.83 becomes 1.49 on SqueezeNet."""

COARSE = ((0.25, 0.6), (0.5, 0.24), (1.0, 0.16))
"""Scales of the side and shares of the steps: the coarsest step costs a sixteenth and moves the picture furthest."""

LEAST = 96
"""Side in pixels below which no coarser scale is worth painting."""

BATCH = 4
_POOL = 512


@dataclass(frozen=True)
class Look:
    """How a picture is looked at: network, precision, layers."""

    network: Perceptual
    precision: str = "fp32"

    def __call__(self, picture: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Responses by layer."""
        picture = picture.contiguous(memory_format=torch.channels_last)
        with autocast(picture.device, self.precision):
            return self.network.features(picture, layers)

    def grams(self, picture: Tensor) -> dict[str, Tensor]:
        """Gram matrices of the style layers."""
        layers = self.network.STYLE_LAYERS
        found = self(picture, layers)
        return {name: gram_matrix(found[name]) for name in layers}


@torch.no_grad()
def style_targets(look: Look, styles: Sequence[Tensor], weights: Sequence[float]) -> dict[str, Tensor]:
    """Weighted means of the styles' Gram matrices by layer.

    The gradient of the distance to the mean is that of the weighted mean of the distances (they differ by a constant), so
    several styles cost no more than one.
    """
    total = float(sum(weights))
    each = [look.grams(style) for style in styles]
    return {
        name: sum(weight / total * grams[name] for weight, grams in zip(weights, each, strict=True))
        for name in look.network.STYLE_LAYERS
    }


def painting_objective(
    look: Look,
    content: Tensor,
    targets: Sequence[dict[str, Tensor]],
    masks: Sequence[Tensor] | None,
    style_weight: float,
) -> Objective:
    """The loss of Gatys et al. 2016, equation 7, with all targets computed once.

    Args:
        look: Network and precision.
        content: The picture (1, 3, H, W) whose content is kept.
        targets: Gram matrices by layer, one dict for each region.
        masks: Weights (1, 1, H, W) of the regions, or None where the only region is the whole picture.
        style_weight: Weight of the style beside 1 of the content.
    """
    network = look.network
    with torch.no_grad():
        wanted = {name: value.detach() for name, value in look(content, network.CONTENT_LAYERS).items()}
    layers = tuple({*network.STYLE_LAYERS, *network.CONTENT_LAYERS})
    regions = None if masks is None else [float(mask.mean()) for mask in masks]
    fitted: dict[str, list[Tensor]] = {}

    def masks_at(found: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        for name in network.STYLE_LAYERS:
            if name not in fitted:
                fitted[name] = [F.adaptive_avg_pool2d(mask, found[name].shape[-2:]) for mask in masks or ()]
        return [{name: fitted[name][i] for name in network.STYLE_LAYERS} for i in range(len(targets))]

    def objective(picture: Tensor) -> dict[str, Tensor]:
        found = look(picture, layers)
        if masks is None:
            style = style_distance(found, targets[0])
        else:
            parts = zip(targets, masks_at(found), regions, strict=True)
            style = sum(share * style_distance(found, target, mask) for target, mask, share in parts if share > 0)
        return {
            "content": content_distance(found, wanted),
            "style": style_weight * style,
            "smooth": SMOOTH * total_variation(picture.float()),
            "range": IN_RANGE * (picture - picture.clamp(0, 1)).float().square().mean(),
        }

    return objective


@dataclass(frozen=True)
class Anchor:
    """What a frame of a film is held to: the painting of the frame before, where nothing moved.

    Attributes:
        picture: (1, 3, H, W) the painting before.
        still: (1, 1, H, W) from 1, where the content stayed as it was, to 0.
        weight: Of the mean squared difference, in units of a twentieth of the range squared.
    """

    picture: Tensor
    still: Tensor
    weight: float = 1.0

    def distance(self, picture: Tensor) -> Tensor:
        """Mean over the pixels of still * (picture - before)^2, weighted (Ruder et al. 2016, arXiv:1604.08610, eq. 5)."""
        return self.weight * 400 * (self.still * (picture.float() - self.picture).square()).mean()


def stillness(before: Tensor, now: Tensor, *, reach: float = 0.04) -> Tensor:
    """Where two frames (1, 3, H, W) are alike: 1 for the same pixels, near 0 for differences beyond ``reach``; (1, 1, H, W)."""
    change = (now - before).square().mean(1, keepdim=True)
    change = F.avg_pool2d(
        change, 5, stride=1, padding=2, count_include_pad=False
    )  # noise of single pixels is no motion
    return torch.exp(-change / reach**2)


def scales(
    height: int, width: int, steps: int, coarse: Sequence[tuple[float, float]] = COARSE
) -> list[tuple[int, int, int]]:
    """Height, width and steps of each scale, coarse to fine; scales that are too small give their steps to the next.

    Example:
        >>> scales(400, 512, 100)
        [(100, 128, 60), (200, 256, 24), (400, 512, 16)]
        >>> scales(40, 40, 100)
        [(40, 40, 100)]
    """
    plan, left, owed = [], steps, 0.0
    for scale, share in coarse:
        owed += share
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        if scale < 1 and (max(size) < LEAST or steps < 3):
            continue
        count = left if scale == 1 else min(left, round(steps * owed))
        plan.append((*size, count))
        left, owed = left - count, 0.0
    return [row for row in plan if row[2] > 0]


def paint(
    look: Look,
    content: Tensor,
    styles: Sequence[Tensor],
    *,
    weights: Sequence[float],
    masks: Sequence[Tensor] | None = None,
    style_weight: float,
    steps: int,
    optimizer: str = "lbfgs",
    learning_rate: float | None = None,
    coarse: Sequence[tuple[float, float]] = COARSE,
    anchor: Anchor | None = None,
) -> Iterator[StepRecord]:
    """Paint a picture coarse to fine from the content, as Gatys et al. 2016 and 2017 (section 6).

    Args:
        look: Network and precision.
        content: (1, 3, H, W) from 0 to 1.
        styles: Pictures (1, 3, h, w); they are reduced along with the content.
        weights: Of the styles. With masks each style rules its own region and its weight is that region's.
        masks: One (1, 1, H, W) a style, from 0 to 1, or None.
        style_weight: Weight of the style beside 1 of the content.
        steps: Steps of all scales together.
        optimizer: "lbfgs" or "adam".
        learning_rate: As `pixels`.
        coarse: Scales and shares of the steps.
        anchor: The frame before, of a film: painting begins with it where nothing moved, at full size.

    Yields:
        A `StepRecord` a step; the picture of the last one is the result, to be clamped.
    """
    height, width = content.shape[2:]
    picture, number = None, 1
    if anchor is not None:
        coarse, picture = ((1.0, 1.0),), torch.lerp(content, anchor.picture, anchor.still)
    for h, w, count in scales(height, width, steps, coarse):
        small = _scaled(content, h, w)
        picture = small.clone() if picture is None else _scaled(picture, h, w)
        # a style loses as many pixels as the content, so that strokes stay as large relative to it
        looked = [
            _scaled(s, max(1, round(s.shape[2] * h / height)), max(1, round(s.shape[3] * w / width))) for s in styles
        ]
        if masks is None:
            targets, fitted = [style_targets(look, [_at_least(s) for s in looked], weights)], None
        else:
            targets = [style_targets(look, [_at_least(s)], [1.0]) for s in looked]
            fitted = [F.adaptive_avg_pool2d(m, (h, w)) * weight for m, weight in zip(masks, weights, strict=True)]
        objective = painting_objective(look, small, targets, fitted, style_weight)
        if anchor is not None:
            objective = _anchored(objective, anchor)
        yield from pixels(
            picture, objective, steps=count, optimizer=optimizer, learning_rate=learning_rate, first=number
        )
        number += count


def _anchored(objective: Objective, anchor: Anchor) -> Objective:
    return lambda picture: {**objective(picture), "time": anchor.distance(picture)}


def _scaled(x: Tensor, height: int, width: int) -> Tensor:
    if x.shape[2:] == (height, width):
        return x
    return F.interpolate(x, (height, width), mode="bilinear", antialias=True).clamp(0, 1)


def _at_least(x: Tensor, side: int = 32) -> Tensor:
    """Repeated at the edges until it has a size that every layer can look at."""
    return F.pad(x, (0, max(0, side - x.shape[3]), 0, max(0, side - x.shape[2])), mode="replicate")


# ------------------------------------------------------------------------------------------- the networks that paint


def _pool(photos: Sequence[Photo], steps: int, side: int, random: np.random.RandomState) -> tuple[Tensor, int]:
    """Crops to train on, and passes over them that make about so many steps."""
    count = min(_POOL, steps * BATCH)
    crops, _ = random_crops(photos, count, side, random)
    return crops, max(1, round(steps / -(-count // BATCH)))


def _levels(batch: Tensor) -> Tensor:
    return batch.float().div(255).contiguous(memory_format=torch.channels_last)


def train_johnson(
    painter: nn.Module,
    look: Look,
    targets: dict[str, Tensor],
    photos: Sequence[Photo],
    *,
    style_weight: float,
    steps: int,
    side: int,
    plan: Plan,
    learning_rate: float,
    seed: int,
) -> tuple[Iterator[EpochRecord], int]:
    """The loop of Johnson et al. 2016 (section 3.3), and its number of epochs.

    Args:
        painter: The network that learns to paint.
        look: Perceptual network, which stands still.
        targets: Gram matrices of the style by layer.
        photos: Pictures to learn on.
        style_weight: Beside 1 of the content.
        steps: Batches of 4 crops.
        side: Of the crops.
        plan: As `supervised`.
        learning_rate: Top of the schedule.
        seed: Of crops and order.
    """
    crops, epochs = _pool(photos, steps, side, np.random.RandomState(seed % 2**32))
    device = next(painter.parameters()).device
    data = Resident(crops, crops, device=device, batch_size=BATCH, generator=generator(seed))
    layers = tuple({*look.network.STYLE_LAYERS, *look.network.CONTENT_LAYERS})

    def loss(output: Tensor, y: Tensor, _weight: Tensor | None) -> Tensor:
        with torch.no_grad():
            wanted = look(_levels(y), look.network.CONTENT_LAYERS)
        found = look(output, layers)
        style = style_distance(found, targets)
        return content_distance(found, wanted) + style_weight * style + SMOOTH * total_variation(output)

    return supervised(
        painter, data, loss, plan=plan, epochs=epochs, learning_rate=learning_rate, prepare=_levels
    ), epochs


class _Trainee(nn.Module):
    """Content and style crops, one above the other in the channels, to picture, code and statistics."""

    def __init__(self, look: Look, painter: AdaIN):
        super().__init__()
        self.look, self.painter = look, painter

    def forward(self, pair: Tensor) -> tuple[Tensor, Tensor, dict[str, tuple[Tensor, Tensor]]]:
        content, style = pair[:, :3], pair[:, 3:]
        layer, layers = self.painter.layer, self.look.network.STYLE_LAYERS
        with torch.no_grad():
            code = self.look(content, (layer,))[layer]
            seen = self.look(style, (*layers, layer))
            statistics = {name: channel_statistics(seen[name]) for name in layers}
            target = adain(code, channel_statistics(seen[layer]))
        return self.painter.decode(target).float(), target, statistics


def train_adain(
    painter: AdaIN,
    look: Look,
    styles: Sequence[Photo],
    photos: Sequence[Photo],
    *,
    style_weight: float,
    steps: int,
    side: int,
    plan: Plan,
    learning_rate: float,
    seed: int,
) -> tuple[Iterator[EpochRecord], int]:
    """The loop of Huang & Belongie 2017 (equations 11 to 13), and its number of epochs; arguments as `train_johnson`."""
    random = np.random.RandomState(seed % 2**32)
    contents, epochs = _pool(photos, steps, side, random)
    paints, _ = random_crops(styles, len(contents), side, random)
    pairs = torch.cat([contents, paints], 1)  # N 6 H W
    device = next(painter.parameters()).device
    data = Resident(pairs, pairs[:, :1, 0, 0], device=device, batch_size=BATCH, generator=generator(seed))
    layers = tuple({*look.network.STYLE_LAYERS, painter.layer})

    def loss(output: tuple[Tensor, Tensor, dict], _y: Tensor, _weight: Tensor | None) -> Tensor:
        picture, target, statistics = output
        found = look(picture, layers)
        content = content_distance(found, {painter.layer: target})
        return content + style_weight * statistics_distance(found, statistics) + SMOOTH * total_variation(picture)

    module = _Trainee(look, painter)
    return supervised(
        module, data, loss, plan=plan, epochs=epochs, learning_rate=learning_rate, prepare=_levels
    ), epochs


def train_small(photos: Sequence[Photo], *, seed: int, device: torch.device, follow: Callable | None = None) -> Small:
    """A perceptual network from the user's own pictures: which turn of which picture is this crop?

    Args:
        photos: Any pictures.
        seed: Of everything random.
        device: Where it learns.
        follow: Passes the epoch records through, for a progress bar.
    """
    count, side, epochs = 384, 32, 5
    random = np.random.RandomState(seed % 2**32)
    crops, numbers = random_crops(photos, count, side, random)
    turns = random.randint(4, size=count)
    for row, turn in enumerate(turns):
        crops[row] = torch.rot90(crops[row], int(turn), (1, 2))
    answers = torch.from_numpy(4 * numbers + turns)
    with PrivateRandom(seed, device):
        network = Small(4 * len(photos)).to(device)
    data = Resident(crops, answers, device=device, batch_size=32, generator=generator(seed))
    plan = Plan(schedule="onecycle", precision="fp32").over(STANDARD)

    def loss(output: Tensor, y: Tensor, _weight: Tensor | None) -> Tensor:
        return cross_entropy(output, y)

    records = supervised(network, data, loss, plan=plan, epochs=epochs, learning_rate=3e-3, prepare=_levels)
    for _ in records if follow is None else follow(records):
        pass
    network.equalise(_levels(data.x[:128]))
    return network.eval().requires_grad_(False)
