"""A small segmenter, trained on real pairs, that reads the classes back off drawn pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rosenblatt.data.resident import Resident
from rosenblatt.errors import ShapeError
from rosenblatt.models.segmenter import HALVINGS, SegmentationNetwork
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.seeds import PrivateRandom, generator
from rosenblatt.train.supervised import supervised

_PLAN = Plan(optimizer="adamw", weight_decay=1e-2, schedule="onecycle")


def train_segmenter(
    photos: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int,
    epochs: int = 30,
    batch_size: int = 16,
    learning_rate: float = 3e-3,
    width: int = 24,
    random_state: int = 0,
    device: str = "cpu",
) -> Callable[[np.ndarray], np.ndarray]:
    """Train a network to say the class of every pixel of a photograph, mirrored ones included.

    Args:
        photos: uint8 (N, H, W, 3), sides multiples of 8.
        labels: Ids (N, H, W); ``classes`` where nobody cares.
        classes: K.
        epochs: Passes over the pairs and their mirror images.
        batch_size: Pairs a step.
        learning_rate: Top of the schedule.
        width: Channels at full size.
        random_state: Seed.
        device: Where it runs.

    Returns:
        A function from photographs, uint8 (N, H, W, 3), to ids (N, H, W).

    Raises:
        ShapeError: Maps and photographs do not fit together, or sides are no multiples of 8.
        DivergedError: As `rosenblatt.train.supervised.supervised`.
    """
    if photos.shape[:3] != labels.shape or any(side % (1 << HALVINGS) for side in labels.shape[1:]):
        raise ShapeError(
            f"train_segmenter: photographs {photos.shape} and label maps {labels.shape}; expected N H W 3 and N H W, sides "
            f"multiples of {1 << HALVINGS}."
        )
    x = torch.from_numpy(np.concatenate([photos, photos[:, :, ::-1]])).permute(0, 3, 1, 2)
    y = torch.from_numpy(np.concatenate([labels, labels[:, :, ::-1]]).astype(np.int64))
    with PrivateRandom(random_state, torch.device(device)):
        network = SegmentationNetwork(classes, width).to(device, memory_format=torch.channels_last)
    data = Resident(x, y, device=device, batch_size=batch_size, generator=generator(random_state))

    def loss(output: Tensor, target: Tensor, _: Tensor | None) -> Tensor:
        return F.cross_entropy(output, target, ignore_index=classes)

    plan = _PLAN.over(STANDARD)
    for _ in supervised(network, data, loss, plan=plan, epochs=epochs, learning_rate=learning_rate, prepare=_prepare):
        pass

    @torch.no_grad()
    def segment(pictures: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).split(32)
        return torch.cat([network(_prepare(part.to(device))).argmax(1).cpu() for part in parts]).numpy()

    return segment


def _prepare(x: Tensor) -> Tensor:
    return (x.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
