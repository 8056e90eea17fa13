"""Pretrained perceptual networks: which file, where it belongs, its checksum, and the normalisation of its weights."""

from __future__ import annotations

import os
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rosenblatt import _validate
from rosenblatt.data.catalogue import File
from rosenblatt.data.fetch import TIMEOUT, cache_folder, check_file, download
from rosenblatt.data.pretrained import read_weights
from rosenblatt.errors import FetchError
from rosenblatt.models.perceptual import Perceptual
from rosenblatt.models.squeezenet import SQUEEZE, SqueezeNet
from rosenblatt.models.vgg import IMAGENET_MEAN, IMAGENET_STD, VGG19

_FOLDER = "pretrained_imagenet"


@dataclass(frozen=True)
class Weights:
    """A weight file and the normalisation that its network was trained with: ``(pixel - mean) / std``, pixels 0 to 1.

    ``file.sha256`` may be the beginning of the checksum, where its authors publish no more.
    """

    file: File
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    licence: str


_CAFFE = tuple(level / 255 for level in (123.0, 117.0, 104.0))  # RGB means of the original training, unscaled pixels
FILES: dict[str, tuple[Weights, ...]] = {
    "vgg19": (
        Weights(
            File(
                "vgg19-dcbb9e9d.pth",
                574_673_361,
                "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
                ("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",),
            ),
            IMAGENET_MEAN,
            IMAGENET_STD,
            "BSD-3-Clause (torchvision); ImageNet's terms of use",
        ),
    ),
    "squeezenet": (
        Weights(
            File(
                "squeezenet_v1.0_decoded_float32.npz",
                926_061,
                "daa6da2dd9beb71bd431e790f956f47af3ad1a5c58a5365d834421d07f1dee09",
            ),
            _CAFFE,  # type: ignore[arg-type]
            (1 / 255,) * 3,
            "BSD-2-Clause (SqueezeNet v1.0 of its authors); ImageNet's terms of use",
        ),
        Weights(
            File(
                "squeezenet1_0-b66bff10.pth",
                5_010_000,
                "b66bff10",
                ("https://download.pytorch.org/models/squeezenet1_0-b66bff10.pth",),
            ),
            IMAGENET_MEAN,
            IMAGENET_STD,
            "BSD-3-Clause (torchvision); ImageNet's terms of use",
        ),
    ),
}


def places(file: File, cache: str | Path | None = None) -> list[Path]:
    """Where a weight file is looked for, in order."""
    root = os.environ.get("ROSENBLATT_DATA")
    local = [Path(root).expanduser() / _FOLDER / file.name] if root else []
    return [*local, cache_folder(cache) / _FOLDER / file.name]


def available(name: str, cache: str | Path | None = None) -> bool:
    """Whether a weight file of the network lies on this machine."""
    return any(place.is_file() for weights in FILES[name] for place in places(weights.file, cache))


def find_weights(name: str, *, cache: str | Path | None = None, download: bool = True) -> tuple[Weights, Path]:
    """The weight file of a network, checked.

    Args:
        name: "vgg19" or "squeezenet".
        cache: Folder of downloads; else ROSENBLATT_CACHE, else the user's cache folder.
        download: False never asks the network.

    Returns:
        What the file is, and its path.

    Raises:
        ParameterError: Another name.
        FetchError: No file of it is here, and none was downloaded; or the checksum is wrong.
    """
    _validate.parameter("find_weights", "name", name, _validate.Choice(tuple(FILES)))
    for weights in FILES[name]:
        for place in places(weights.file, cache):
            if place.is_file():
                check_file(place, weights.file)
                return weights, place
    failures = []
    for weights in FILES[name]:
        if download and weights.file.urls:
            try:
                return weights, _fetched(weights.file, places(weights.file, cache)[-1])
            except FetchError as error:
                failures.append(str(error))
    wanted = "; or ".join(
        f"{w.file.name} ({w.file.size:,} bytes, SHA-256 {_digest_words(w.file.sha256)}) as {places(w.file, cache)[0]}"
        + "".join(f", from {url}" for url in w.file.urls)
        for w in FILES[name]
    )
    why = f" The download failed: {failures[0]}" if failures else ""
    raise FetchError(
        f"the weights of {name} are not on this machine; expected {wanted}. Put one of them there, or use "
        f"network='small', which learns from your own pictures.{why}"
    )


def pretrained(name: str, *, last: str | None = None, cache: str | Path | None = None) -> Perceptual:
    """A perceptual network with its pretrained weights and their normalisation.

    Args:
        name: "vgg19" or "squeezenet".
        last: Last layer to build; None takes all that style transfer uses. "classifier" builds SqueezeNet whole, with the
            paper's padding.
        cache: As `find_weights`.

    Raises:
        FetchError: As `find_weights`; or the file does not hold this network.
    """
    weights, path = find_weights(name, cache=cache)
    with torch.device("meta"):  # nothing is drawn at random only to be overwritten
        network = blank(name, last=last)
    state = _state(path)
    wanted = network.state_dict()
    renamed = {_own_name(name, key): value for key, value in state.items()}
    if path.suffix == ".npz" and "conv1.weight" in renamed:
        # Caffe's networks read blue first; turned once here, they read RGB like all others
        renamed["conv1.weight"] = renamed["conv1.weight"].flip(1)
    for key in wanted:
        if key in ("mean", "std"):
            wanted[key] = torch.tensor(getattr(weights, key)).view(1, 3, 1, 1)
        elif key in renamed and renamed[key].shape == wanted[key].shape:
            wanted[key] = renamed[key].float()
        else:
            got = tuple(renamed[key].shape) if key in renamed else "nothing"
            raise FetchError(f"{path}: {key} has the shape {got}; expected {tuple(wanted[key].shape)} of {name}.")
    network.load_state_dict(wanted, assign=True)
    return network.eval().requires_grad_(False)


def blank(name: str, *, last: str | None = None) -> Perceptual:
    """An untrained network of the shape that `pretrained` fills."""
    if name == "vgg19":
        return VGG19(last or "relu5_1")
    if last == "classifier":
        return SqueezeNet()
    return SqueezeNet(padding=3, last=last or SqueezeNet.STYLE_LAYERS[-1])


# ---------------------------------------------------------------------------------------------------------- files


def _digest_words(digest: str) -> str:
    return digest if len(digest) == 64 else f"beginning with {digest}"


def _fetched(file: File, path: Path) -> Path:
    """Download; where only the beginning of the checksum is known, it is compared afterwards."""
    if len(file.sha256) == 64:
        return download(_FOLDER, file, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(file.urls[0], timeout=TIMEOUT) as reply:
            _validate.write_whole(path, iter(lambda: reply.read(1 << 18), b""))
    except (OSError, ValueError) as error:
        raise FetchError(f"{file.urls[0]}: {getattr(error, 'reason', None) or error}") from error
    try:
        check_file(path, file)
    except FetchError:
        path.unlink(missing_ok=True)
        raise
    return path


def _state(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {key: torch.from_numpy(arrays[key]) for key in arrays.files}
        return read_weights(path)
    except (OSError, ValueError, RuntimeError, EOFError, KeyError) as error:  # ModelFileError is a ValueError
        raise FetchError(f"{path} cannot be read ({error}). Delete it and get a fresh copy.") from error


_TORCHVISION_FIRES = {3: 2, 4: 3, 5: 4, 7: 5, 8: 6, 9: 7, 10: 8, 12: 9}
_PARTS: dict[str, str] = {
    "conv1x1_1": "squeeze",
    "conv1x1_2": "expand1",
    "conv3x3_2": "expand3",
    "squeeze": "squeeze",
    "expand1x1": "expand1",
    "expand3x3": "expand3",
}


def _own_name(name: str, key: str) -> str:
    """The name of a tensor in our networks, from its name in the authors' or in torchvision's file."""
    if name == "vgg19":
        return key.replace("features.", "layers.", 1)
    pieces: list[Any] = key.replace("/", ".").split(".")
    if pieces[0] == "features" and pieces[1] == "0":
        return f"conv1.{pieces[-1]}"
    if pieces[0] == "features" and int(pieces[1]) in _TORCHVISION_FIRES:
        pieces = [f"fire{_TORCHVISION_FIRES[int(pieces[1])]}", *pieces[2:]]
    if pieces[0] == "classifier":
        return f"conv_final.{pieces[-1]}"
    if pieces[0] in {f"fire{n}" for n in SQUEEZE}:
        return ".".join([pieces[0], _PARTS.get(pieces[1], pieces[1]), pieces[-1]])
    return key
