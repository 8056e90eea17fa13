"""How renderings of label maps are scored: after every epoch of the training, and against photographs that are new."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt.metrics.distribution import kernel_distance
from rosenblatt.metrics.extractors import extractor
from rosenblatt.metrics.generated import Judgement
from rosenblatt.metrics.segmentation import Agreement
from rosenblatt.train.adversarial import spread

BETWEEN = 1000
"""Pairs that are seen from one scoring to the next."""

_LEAST_HELD, _FEWEST, _STYLES = 8, 20, 16


@dataclass(frozen=True)
class SemanticJudgement:
    """How good renderings are; ``print`` shows both parts.

    Attributes:
        pictures: Distances of the renderings from the photographs.
        labels: Agreement of a segmenter's reading of the renderings with the maps; None without a segmenter.
    """

    pictures: Judgement
    labels: Agreement | None

    def __str__(self) -> str:
        if self.labels is None:
            return str(self.pictures)
        said = f"label agreement: {100 * self.labels.pixels:.1f} % of pixels, mean IoU {self.labels.mean_iou:.3f}"
        return f"{self.pictures}\n{said}"


def hold_out(order: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Rows to learn from, and rows to judge epochs by: the same ones where there are fewer than 20.

    Args:
        order: All rows in random order.
        share: Of the rows that is held out, 8 at least.
    """
    if len(order) < _FEWEST:
        return order, order
    held = max(_LEAST_HELD, round(share * len(order)))
    return order[held:], order[:held]


class EpochScore:
    """What a network is worth after an epoch: called with it, it gives numbers for the record.

    The score is minus the kernel distance of renderings of held-out maps, in styles that are always the same, to all
    photographs; ``style_variety`` is the distance of two styles of a map beside that of two photographs. Both are measured anew
    where 1,000 pairs were seen since.

    Args:
        photos: All photographs (N, 3, H, W) in -1 to 1.
        maps: Ids (M, H, W) that are rendered.
        render: (ids, seed of the styles) -> renderings in -1 to 1.
        epochs: Of the run; the last is always measured.
        styles: Whether there are styles.
        rows: History of the epochs that a resumed run has behind it.

    Attributes:
        name: What the score is measured with.
    """

    def __init__(
        self,
        photos: Tensor,
        maps: Tensor,
        render: Callable[[Tensor, int], Tensor],
        *,
        epochs: int,
        styles: bool,
        rows: Sequence[dict[str, float]],
    ):
        self.by, self.maps, self.render, self.epochs, self.styles = extractor("random"), maps, render, epochs, styles
        self.name = f"{self.by.name} [{self.by.fingerprint}], {len(maps)} maps against {len(photos)} photographs"
        self.real, self.apart = self.by(as_bytes((photos + 1) / 2)), float(spread(photos[:100]))
        self.every, self.epoch = -(-BETWEEN // len(photos)), len(rows)
        names = ("validation_score", "style_variety") if styles else ("validation_score",)
        self.value = {name: rows[-1][name] for name in names} if rows else {}

    def __call__(self, _: nn.Module) -> dict[str, float]:
        """The numbers, of this epoch or of the last one that was measured."""
        self.epoch += 1
        if (self.epoch - 1) % self.every == 0 or self.epoch == self.epochs:
            drawn = self.render(self.maps, 0)
            distance, _ = kernel_distance(self.real, self.by(as_bytes((drawn + 1) / 2)))
            self.value = {"validation_score": -distance}
            if self.styles:
                others = self.render(self.maps[:_STYLES], 1)
                between = (drawn[:_STYLES] - others).flatten(1).norm(dim=1).mean()
                self.value["style_variety"] = float(between) / max(self.apart, 1e-8)
        return self.value


def as_bytes(x: Tensor) -> np.ndarray:
    """uint8 (N, H, W, 3) of pictures (N, 3, H, W), uint8 or from 0 to 1."""
    x: Any = x if x.dtype == torch.uint8 else (x.clamp(0, 1) * 255).round().byte()
    return x.permute(0, 2, 3, 1).contiguous().numpy()
