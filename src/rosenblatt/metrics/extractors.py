"""What turns pictures into the features that distances between sets of pictures are measured in.

A distance means nothing without its extractor: each has a name and a fingerprint of its weights, and two distances compare
only where both are the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt import _validate
from rosenblatt.data.catalogue import File
from rosenblatt.data.fetch import cache_folder, find
from rosenblatt.data.pictures import as_pictures
from rosenblatt.data.pretrained import read_weights, start_from
from rosenblatt.data.weights import available, pretrained
from rosenblatt.errors import DataError, FetchError, ParameterError
from rosenblatt.models.inception import SIDE, Inception
from rosenblatt.models.random_features import RandomFeatures

EXTRACTORS = ("auto", "inception", "squeezenet", "random")
_INCEPTION = File(
    "pt_inception-2015-12-05-6726825d.pth",
    95_628_359,
    "6726825d",
    ("https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",),
)
_FOLDER, _BATCH = "inception", 100


@dataclass(frozen=True)
class Extractor:
    """A named function from pictures to features.

    Attributes:
        name: What it is, for people.
        fingerprint: First 16 hexadecimal digits of the SHA-256 of its weights.
        resizer: What brings pictures to its size, in words.
        function: uint8 pictures (N, H, W, C) -> features (N, D).
    """

    name: str
    fingerprint: str
    resizer: str
    function: Callable[[np.ndarray], np.ndarray]

    def __call__(self, pictures: Any) -> np.ndarray:
        """Features (N, D) in float32 of uint8 pictures, N H W or N H W C.

        Raises:
            DataError: Pictures that are not uint8: a scale would have to be guessed.
            ShapeError: Other axes.
        """
        array = as_pictures(pictures, who=self.name)
        if array.dtype != np.uint8:
            raise DataError(
                f"{self.name}: the pictures are {array.dtype}; expected uint8, so that no scale is guessed. "
                "Use (255 * X).round().astype('uint8')."
            )
        parts = [self.function(array[start : start + _BATCH]) for start in range(0, len(array), _BATCH)]
        return np.concatenate(parts).astype(np.float32)


def extractor(source: Any = "auto", *, device: str = "cpu") -> Extractor:
    """An extractor by name, or made of a trained classifier.

    Args:
        source: "inception" (what published FIDs are measured in; its weights are looked for under ROSENBLATT_DATA and in
            the cache, and downloaded), "squeezenet" (the same way), "random" (fixed random filters, always there), "auto"
            (the first of these whose weights are on this machine; it never downloads); an `Extractor`, which is returned;
            or a fitted classifier with a ``module_``: what its last dense layer sees.
        device: Where a named one runs.

    Raises:
        ParameterError: Another source.
        FetchError: The weights are neither here nor to be fetched.
    """
    if isinstance(source, Extractor):
        return source
    if hasattr(source, "module_") and hasattr(source, "predict"):
        return _of_classifier(source)
    _validate.parameter("extractor", "source", source, _validate.Choice(EXTRACTORS))
    if source == "auto":
        source = _nearest_to_hand()
    if source == "random":
        return _of_module("random filters", RandomFeatures(), side=64, device=device)
    if source == "squeezenet":
        network = pretrained("squeezenet", last="fire9")
        return _of_module("SqueezeNet 1.0, fire9", _Pooled(network), side=128, device=device)
    with torch.device("meta"):  # nothing is drawn at random only to be overwritten
        network = Inception()
    network.to_empty(device="cpu")
    # files from before PyTorch counted batches lack the counts, which only training would read
    counts = {name: torch.tensor(0) for name in network.state_dict() if name.endswith("num_batches_tracked")}
    start_from(network, counts | read_weights(find(_FOLDER, _INCEPTION), sha256=_INCEPTION.sha256), who="inception")
    return _of_module("Inception v3 (2015-12-05)", network, side=SIDE, device=device)


def _nearest_to_hand() -> str:
    try:
        here = (cache_folder() / _FOLDER / _INCEPTION.name).is_file()
    except FetchError:
        here = False
    return "inception" if here else "squeezenet" if available("squeezenet") else "random"


class _Pooled(nn.Module):
    """Mean of each map of a perceptual network's last layer."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x).mean((2, 3))


def _of_module(name: str, module: nn.Module, *, side: int, device: str) -> Extractor:
    module = module.to(device).eval().requires_grad_(False)

    @torch.no_grad()
    def function(pictures: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 255  # N C H W
        x = x[:, :3] if x.shape[1] > 2 else x[:, :1].expand(-1, 3, -1, -1)
        if x.shape[2:] != (side, side):
            x = F.interpolate(x, (side, side), mode="bilinear", antialias=True)
        return module(x).cpu().numpy()

    resizer = f"bilinear with antialiasing to {side} x {side}"
    return Extractor(name, fingerprint(module), resizer, function)


def _of_classifier(estimator: Any) -> Extractor:
    layers = [part for part in estimator.module_.modules() if isinstance(part, nn.Linear)]
    if not layers:
        raise ParameterError(
            f"extractor: a {type(estimator).__name__} without a dense layer; expected one whose input are its features."
        )

    def function(pictures: np.ndarray) -> np.ndarray:
        seen: list[Tensor] = []
        hook = layers[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float().cpu()))
        try:
            estimator.predict(pictures if pictures.shape[3] > 1 else pictures[..., 0])
        finally:
            hook.remove()
        return torch.cat(seen).flatten(1).numpy()

    name = f"{type(estimator).__name__} of {len(estimator.classes_)} classes, input of its last layer"
    return Extractor(name, fingerprint(estimator.module_), "none", function)


def fingerprint(module: nn.Module) -> str:
    """First 16 hexadecimal digits of the SHA-256 over names and bytes of all weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.detach().cpu().float().numpy()).tobytes())
    return digest.hexdigest()[:16]
