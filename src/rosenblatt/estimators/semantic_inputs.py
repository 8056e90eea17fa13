"""What a `SemanticGAN` takes: label maps and photographs checked together, and the sizes of network that fit their side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from rosenblatt import _validate
from rosenblatt.data.label_maps import Palette, as_label_maps
from rosenblatt.data.pictures import as_pictures
from rosenblatt.data.weights import available, pretrained
from rosenblatt.errors import DataError, FetchError, ParameterError, ShapeError
from rosenblatt.models.gan import stages
from rosenblatt.models.perceptual import Perceptual


@dataclass(frozen=True)
class Preset:
    """Sizes that fit a side of photographs.

    Attributes:
        width: Channels of the generator at full size.
        hidden: Channels between label map and modulation.
        critic: Channels of each critic's first layer.
        layers: Convolutions of each critic before its last.
        scales: Critics.
        learning_rate: Of the generator.
    """

    width: int
    hidden: int
    critic: int
    layers: int
    scales: int
    learning_rate: float


PRESETS = {
    64: Preset(16, 32, 32, 3, 2, 4e-4),
    128: Preset(24, 64, 48, 3, 2, 2e-4),
    256: Preset(64, 128, 64, 4, 2, 1e-4),
    512: Preset(64, 128, 64, 4, 3, 1e-4),
}
"""By the shorter side. 64 learns on two cores in minutes; 256 is the published network (Park et al. 2019, appendix A)."""

PERCEPTUAL = {
    "vgg19": ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
    "squeezenet": ("conv1", "fire2", "fire3", "fire5"),
}
"""Perceptual networks with the layers that are compared."""


def preset_of(shape: tuple[int, int], chosen: int | None) -> Preset:
    """The preset that was chosen, or that whose side is nearest to the shorter one of ``shape``."""
    side = min(shape)
    return PRESETS[min(PRESETS, key=lambda s: abs(np.log2(s / side))) if chosen is None else chosen]


def perceptual_of(wanted: str | None) -> tuple[str | None, Perceptual | None]:
    """Name and network of the perceptual loss; "auto" takes the first whose weights are on this machine.

    Raises:
        FetchError: It was asked for by name, and its weights are neither here nor to be fetched.
    """
    if wanted == "auto":
        try:
            wanted = next((name for name in PERCEPTUAL if available(name)), None)
        except FetchError:  # no home for a cache
            wanted = None
    if wanted is None:
        return None, None
    return wanted, pretrained(wanted, last=PERCEPTUAL[wanted][-1])


def read_photos(photos: Any, who: str) -> np.ndarray:
    """Photographs (N, H, W, 3), uint8 or float32 from 0 to 1.

    Raises:
        ShapeError, NonFiniteError, DataError: Other axes, NaN, no colours, or values outside the range.
    """
    pictures = as_pictures(photos, who=who)
    if pictures.shape[3] != 3:
        raise ShapeError(
            f"{who}: photographs of shape {pictures.shape}; expected N H W 3. Use np.repeat(photos[..., None], 3, axis=3) "
            "for grey ones."
        )
    if pictures.dtype != np.uint8:
        low, high = float(pictures.min()), float(pictures.max())
        if low < 0 or high > 1:
            raise DataError(
                f"{who}: photographs hold values from {low:g} to {high:g}; expected floats from 0 to 1, or uint8. Use "
                "(photos - low) / (high - low) with the ends of your scale."
            )
    return pictures


def read_both(
    labels: Any, photos: Any, *, classes: int | None, colours: Palette | None, ignore: int, who: str
) -> tuple[np.ndarray, np.ndarray, int]:
    """Label maps, photographs and K, checked before any training.

    Raises:
        ShapeError: Unequal numbers or sizes.
        LabelError: See `rosenblatt.data.label_maps.as_label_maps`.
        DataError: See `read_photos`.
    """
    pictures = read_photos(photos, who)
    maps, count = as_label_maps(labels, classes=classes, colours=colours, ignore=ignore, who=who)
    if len(maps) != len(pictures):
        raise ShapeError(f"{who}: {len(maps)} label maps and {len(pictures)} photographs; expected as many.")
    if maps.shape != pictures.shape[:3]:
        raise ShapeError(
            f"{who}: label maps of {maps.shape[1]} x {maps.shape[2]} pixels and photographs of {pictures.shape[1]} x "
            f"{pictures.shape[2]}; expected one size. Use rosenblatt.data.label_maps.resize_label_maps(labels, "
            f"{pictures.shape[1:3]})."
        )
    return maps, pictures, count


def refuse_unlearnable(pictures: np.ndarray, who: str) -> None:
    """Refuse a single photograph, photographs that are all equal, and sides that do not halve down to 4 to 7.

    Raises:
        DataError, ShapeError: With what is the matter.
    """
    if len(pictures) < 2:
        raise DataError(f"{who}: {len(pictures)} pair; expected at least 2, better hundreds.")
    if (pictures == pictures[:1]).all():
        raise DataError(f"{who}: all {len(pictures)} photographs are equal; there is nothing to learn. Check photos.")
    height, width = pictures.shape[1:3]
    try:
        _, count = stages(min(height, width))
        fits = max(height, width) % (1 << count) == 0
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            f"{who}: photographs of {height} x {width} pixels; expected a shorter side that halves down to 4 to 7, such as "
            "64, 96, 128, 256 or 512, and a longer one that halves as often. Resize or crop photographs and maps."
        )


def as_batch(pictures: np.ndarray) -> Tensor:
    """(N, 3, H, W) of pictures (N, H, W, 3)."""
    import torch

    return torch.from_numpy(pictures).permute(0, 3, 1, 2)


def check_weights(weights: Any) -> tuple[float, float, float]:
    """The three weights of the generator's losses.

    Raises:
        ParameterError: Not three numbers from 0 up.
    """
    number = _validate.Number(0)
    if not isinstance(weights, tuple) or len(weights) != 3 or not all(number.accepts(w) for w in weights):
        raise ParameterError(
            f"SemanticGAN: weights={weights!r}; expected three numbers >= 0, of feature matching, perceptual loss and "
            "divergence, such as (10.0, 2.0, 0.05)."
        )
    return weights
