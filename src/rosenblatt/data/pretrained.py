"""Published weights of a network: from a file, or downloaded once; checked, and read without running anything in them."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from rosenblatt._types import PathLike
from rosenblatt.data.catalogue import File
from rosenblatt.data.fetch import find
from rosenblatt.errors import DamagedFileError, FetchError, ForeignFileError, UnsafeFileError

# Its publisher states the first eight digits of the SHA-256, in the name of the file, and no more.
PUBLISHED = {
    "alexnet": File(
        "alexnet-owt-7be5be79.pth",
        244_408_911,
        "7be5be79",
        ("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",),
    )
}
"""Networks with published weights; "imagenet" stands for them."""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Colours of the pictures, on a scale of 0 to 1, that published weights were learned on."""


def read_weights(source: PathLike, *, network: str = "alexnet", sha256: str | None = None) -> dict[str, Tensor]:
    """Named tensors of a weight file.

    Args:
        source: A ``.safetensors`` file; a ``.pth`` or ``.pt`` file as PyTorch writes it, which is read by its reader of
            plain tensors (code in it is refused, not run); or "imagenet" for the published weights of ``network``,
            looked for under ROSENBLATT_DATA and in the cache, else downloaded.
        network: Whose published weights "imagenet" are.
        sha256: The file's SHA-256, or its first eight digits or more; None checks nothing of a local file.

    Raises:
        FileNotFoundError: There is no such file.
        FetchError: No weights are published, they are not here and cannot be fetched, or a checksum is wrong.
        ForeignFileError: Another kind of file.
        DamagedFileError: Cut short.
        UnsafeFileError: It holds more than tensors.
    """
    if source == "imagenet":
        if network not in PUBLISHED:
            raise FetchError(f"weights: no weights of {network!r} are published; expected {', '.join(PUBLISHED)}.")
        file = PUBLISHED[network]
        path, sha256 = find(network, file), sha256 or file.sha256
    else:
        path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such weight file. Check the path.")
    if sha256 is not None:
        _check(path, sha256)
    if path.suffix == ".safetensors":
        return _safetensors(path)
    if path.suffix in (".pth", ".pt"):
        return _torch(path)
    raise ForeignFileError(f"{path} has the suffix {path.suffix!r}; expected .safetensors, .pth or .pt.")


def _check(path: Path, sha256: str) -> None:
    with path.open("rb") as stream:
        got = hashlib.file_digest(stream, "sha256").hexdigest()
    if len(sha256) < 8 or not got.startswith(sha256.lower()):
        raise FetchError(
            f"{path} has the SHA-256 {got}; expected {sha256}. It is damaged or another file; nothing was loaded."
        )


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise DamagedFileError(f"{path} is cut short or damaged ({error}). Get a fresh copy.") from error


def _torch(path: Path) -> dict[str, Tensor]:
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UnsafeFileError(
            f"{path} holds more than tensors, or is no file of PyTorch's; nothing of it was run. Save its state_dict as "
            ".safetensors where it came from."
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedFileError(f"{path} is cut short or damaged ({reason}). Get a fresh copy.") from error
    if not isinstance(held, dict) or not all(isinstance(value, Tensor) for value in held.values()):
        raise ForeignFileError(f"{path} holds a {type(held).__name__}; expected a state_dict of tensors.")
    return held


def start_from(module: nn.Module, weights: dict[str, Tensor], *, who: str = "weights") -> list[str]:
    """Copy weights into a network by name; the last layer keeps its own where it has another number of classes.

    Args:
        module: The network.
        weights: As `read_weights` gave them.
        who: Start of the messages.

    Returns:
        Names of what was left as it was: the tensors of the last layer, or nothing.

    Raises:
        ForeignFileError: The weights belong to another network.
    """
    own = module.state_dict()
    last = next(reversed([name for name in own if name.endswith(".weight")]), "").removesuffix("weight")
    missing = sorted(own.keys() - weights.keys())
    unknown = sorted(weights.keys() - own.keys())
    if missing or unknown:
        what = f"lack {missing[0]!r}" if missing else f"hold {unknown[0]!r}, which it does not have"
        raise ForeignFileError(f"{who}: these weights {what}; expected those of a {type(module).__name__}.")
    odd = [name for name in own if own[name].shape != weights[name].shape]
    if wrong := [name for name in odd if not name.startswith(last)]:
        raise ForeignFileError(
            f"{who}: {wrong[0]!r} has the shape {tuple(weights[wrong[0]].shape)}; expected {tuple(own[wrong[0]].shape)}."
        )
    kept = [name for name in own if name.startswith(last)] if odd else []
    module.load_state_dict({name: own[name] if name in kept else weights[name] for name in own})
    return kept
