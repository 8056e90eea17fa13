"""The model file: one safetensors file, with the description of the estimator as JSON in its header.

Nothing in it is code, and loading runs none: the description names one of this package's estimators, its parameters
and its fitted attributes in a closed set of types; arrays are tensors of the file. What does not fit is refused.
"""

from __future__ import annotations

import json
import math
import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import sklearn
import torch

import rosenblatt
from rosenblatt import _validate
from rosenblatt._types import PathLike
from rosenblatt.data.recipe import Recipe
from rosenblatt.errors import (
    DamagedFileError,
    ForeignFileError,
    ModelFileError,
    NewerFormatError,
    RosenblattError,
    UnsafeFileError,
)
from rosenblatt.estimators.base import Estimator
from rosenblatt.train.plan import Plan
from rosenblatt.train.precision import choose_device

FORMAT = 1
"""Version of the file's layout; a reader refuses a higher one."""

ESTIMATORS = (
    "Perceptron",
    "MLPClassifier",
    "MLPRegressor",
    "CNNClassifier",
    "Forecaster",
    "StyleTransfer",
    "FaceSwap",
    "LanguageModel",
    "RNNClassifier",
    "Autoencoder",
    "VariationalAutoencoder",
    "GAN",
    "SemanticGAN",
    "Translator",
    "Composer",
)
"""The only estimators that a file may name."""

_KEY = "rosenblatt"
_FITTED = re.compile(r"[a-z][a-z0-9_]*_")


# ---------------------------------------------------------------------------------------------------------- save


def save(estimator: Estimator, path: PathLike, *, overwrite: bool = True) -> Path:
    """Write a fitted estimator into one file, whole or not at all.

    The header holds: format version, estimator, parameters, fitted attributes (class labels, training record,
    preprocessing among them) and library versions. A ``random_state`` that is a generator object is stored as None.

    Args:
        estimator: A fitted estimator of this package.
        path: The file; ``.safetensors`` is the customary suffix.
        overwrite: False refuses a path that exists.

    Returns:
        The path.

    Raises:
        NotFittedError: Before ``fit``.
        ModelFileError: Something cannot be described without code, such as a callable activation.
        OutputError: The path exists and ``overwrite`` is False, or it cannot be written.

    Example:
        >>> import tempfile, pathlib, numpy as np, rosenblatt as rb
        >>> pictures = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
        >>> model = rb.CNNClassifier(epochs=1, verbose=0).fit(pictures, ["off", "on"] * 10)
        >>> path = model.save(pathlib.Path(tempfile.mkdtemp()) / "switch.safetensors")
        >>> bool((rb.load(path).predict(pictures) == model.predict(pictures)).all())
        True
    """
    name = type(estimator).__name__
    if name not in ESTIMATORS:
        raise ModelFileError(
            f"save: {name} is not an estimator of rosenblatt; expected one of {', '.join(ESTIMATORS)}."
        )
    estimator._check_fitted("save")
    estimator._check_preprocessing()
    tensors: dict[str, np.ndarray] = {}
    parameters = estimator.get_params(deep=False)
    if isinstance(parameters.get("random_state"), np.random.RandomState):
        parameters["random_state"] = None
    description = {
        "format": FORMAT,
        "estimator": name,
        "parameters": {key: _encode(f"parameter {key}", value, tensors) for key, value in parameters.items()},
        "fitted": {key: _encode(key, value, tensors) for key, value in _fitted(estimator).items()},
        "versions": versions(),
    }
    module = vars(estimator).get("module_")
    if module is not None:
        for key, tensor in module.state_dict().items():
            tensors[f"module.{key}"] = _plain(tensor.detach().cpu().numpy())
    text = json.dumps(description, allow_nan=False, ensure_ascii=False)
    return _validate.write_whole(path, safetensors.numpy.save(tensors, {_KEY: text}), overwrite=overwrite)


def versions() -> dict[str, str]:
    """Versions of the libraries that a result depends on."""
    return {
        "rosenblatt": rosenblatt.__version__,
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _fitted(estimator: Estimator) -> dict[str, Any]:
    return {
        key: value
        for key, value in vars(estimator).items()
        if key != "module_"
        and ((_FITTED.fullmatch(key) and not key.endswith("__")) or key in estimator._private_fitted)
    }


def _plain(array: np.ndarray) -> np.ndarray:
    """Contiguous and in the machine's byte order, as safetensors wants it."""
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False)).reshape(array.shape)


def _encode(name: str, value: Any, tensors: dict[str, np.ndarray]) -> Any:
    """JSON of a value out of the closed set; arrays of numbers go to ``tensors``."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, (list, tuple)):
        items = [_encode(f"{name}.{i}", item, tensors) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, dict) and all(isinstance(key, (str, int)) for key in value):
        return {"$dict": [[_encode(name, k, tensors), _encode(f"{name}.{k}", v, tensors)] for k, v in value.items()]}
    if isinstance(value, np.ndarray):
        return _encode_array(name, value, tensors)
    if isinstance(value, Plan):
        return {"$plan": {key: _encode(f"{name}.{key}", item, tensors) for key, item in value.said().items()}}
    if isinstance(value, Recipe):
        return {"$recipe": value.to_json()}
    if isinstance(value, torch.device):
        return str(value)
    raise ModelFileError(
        f"save: {name} is a {type(value).__name__}, which a model file cannot hold (it stores no code); expected numbers, "
        "text, lists, arrays or a Plan. Use a name instead of a callable, or pickle the estimator yourself."
    )


def _encode_array(name: str, value: np.ndarray, tensors: dict[str, np.ndarray]) -> Any:
    if value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
        key = f"fitted.{name}"
        tensors[key] = _plain(value)
        return {"$tensor": key}
    if value.dtype.kind in "UO":
        items = [_encode(f"{name}[{i}]", item, tensors) for i, item in enumerate(value.ravel().tolist())]
        return {"$array": items, "shape": list(value.shape), "dtype": "object" if value.dtype.kind == "O" else "str"}
    raise ModelFileError(f"save: {name} is an array of {value.dtype}; expected numbers, booleans or text.")


# ---------------------------------------------------------------------------------------------------------- load


def load(path: PathLike, *, device: str | torch.device = "auto") -> Any:
    """Read a fitted estimator back; it predicts bit for bit what the saved one did on the same machine and device.

    Args:
        path: A file written by ``save``.
        device: Where the network is put.

    Returns:
        The fitted estimator.

    Raises:
        FileNotFoundError: There is no such file.
        ForeignFileError: Not a rosenblatt model file.
        DamagedFileError: Cut short, or its parts contradict each other.
        NewerFormatError: Written by a newer version.
        UnsafeFileError: Asks for an unknown estimator, parameter, attribute or type.
    """
    path = Path(path)
    chosen = choose_device(device)
    description, tensors = _read(path)
    try:
        return _restore(path, description, tensors, chosen)
    except RosenblattError as error:
        if isinstance(error, ModelFileError):
            raise
        raise DamagedFileError(f"{path}: its description does not hold together ({error}).") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, OverflowError) as error:
        raise DamagedFileError(
            f"{path}: its description does not hold together ({error}). Get a fresh copy."
        ) from error


def describe(path: PathLike) -> dict[str, Any]:
    """The JSON description of a model file, without restoring anything.

    Raises:
        ModelFileError: As `load`.
    """
    return _read(Path(path))[0]


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such model file. Check the path.")
    if path.is_dir():
        raise ForeignFileError(f"{path} is a folder; expected a model file written by save().")
    _refuse_foreign(path)
    try:
        with safetensors.safe_open(path, framework="np") as opened:
            metadata = opened.metadata() or {}
            if _KEY not in metadata:
                raise ForeignFileError(
                    f"{path} is a safetensors file but not a rosenblatt model; expected a file written by save()."
                )
            description = _header(path, metadata[_KEY])
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - no mapping
    except safetensors.SafetensorError as error:
        raise DamagedFileError(f"{path} is cut short or damaged ({error}). Get a fresh copy.") from error
    return description, tensors


def _refuse_foreign(path: Path) -> None:
    """Name the common strangers before the parser speaks of offsets."""
    with path.open("rb") as handle:
        head = handle.read(16)
    strangers = {
        b"PK\x03\x04": "a zip archive (torch.save writes such files)",
        b"\x80": "a pickle, which can run code when opened",
        b"\x89HDF": "an HDF5 file",
        b"\x1f\x8b": "a gzip file",
    }
    if len(head) < 8:
        raise DamagedFileError(f"{path} has {len(head)} bytes; expected a model file. It is empty or cut short.")
    length = int.from_bytes(head[:8], "little")
    if length > 2**30 or head[8:9] != b"{":
        what = next((words for magic, words in strangers.items() if head.startswith(magic)), "something else")
        raise ForeignFileError(f"{path} is not a rosenblatt model file but {what}; expected a file written by save().")


def _header(path: Path, text: str) -> dict[str, Any]:
    try:
        description = json.loads(text)
        version = description["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedFileError(f"{path}: its description is not readable ({error}). Get a fresh copy.") from error
    if not isinstance(version, int) or isinstance(version, bool):
        raise DamagedFileError(f"{path}: its format version is {version!r}; expected an integer.")
    if version > FORMAT:
        by = description.get("versions", {})
        writer = by.get("rosenblatt", "a newer version") if isinstance(by, dict) else "a newer version"
        raise NewerFormatError(
            f"{path} has format {version}, written by rosenblatt {writer}; this rosenblatt {rosenblatt.__version__} "
            f"reads up to format {FORMAT}. Upgrade with: pip install --upgrade rosenblatt"
        )
    return description


def _restore(
    path: Path, description: dict[str, Any], tensors: dict[str, np.ndarray], device: torch.device
) -> Estimator:
    name = description["estimator"]
    if name not in ESTIMATORS:
        raise UnsafeFileError(f"{path} asks for an estimator {name!r}; expected one of {', '.join(ESTIMATORS)}.")
    kind = getattr(rosenblatt, name)
    known = set(kind._get_param_names())
    used: set[str] = set()
    parameters = description["parameters"]
    if unknown := sorted(set(parameters) - known):
        raise UnsafeFileError(f"{path} sets the parameter {unknown[0]!r}, which {name} does not have.")
    estimator = kind(**{key: _decode(path, value, tensors, used) for key, value in parameters.items()})
    for key, value in description["fitted"].items():
        if not _may_set(kind, key):
            raise UnsafeFileError(f"{path} sets {key!r}, which is no fitted attribute of {name}.")
        setattr(estimator, key, _decode(path, value, tensors, used))
    estimator._check_parameters()
    _restore_module(path, estimator, tensors, used, device)
    if extra := sorted(set(tensors) - used):
        raise DamagedFileError(f"{path} holds the tensor {extra[0]!r}, which its description does not mention.")
    estimator._check_restored()
    estimator._check_preprocessing()
    return estimator


def _may_set(kind: type[Estimator], key: str) -> bool:
    if key in kind._private_fitted:
        return True
    return bool(_FITTED.fullmatch(key)) and not key.endswith("__") and key != "module_" and not hasattr(kind, key)


def _restore_module(
    path: Path, estimator: Estimator, tensors: dict[str, Any], used: set[str], device: torch.device
) -> None:
    prefix = "module."
    state = {key[len(prefix) :]: torch.from_numpy(tensors[key]) for key in tensors if key.startswith(prefix)}
    # on the meta device a network of absurd sizes costs nothing, so shapes are compared before memory is taken
    with torch.device("meta"):
        module = estimator._rebuild()
    if module is None:
        return
    wanted = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
    got = {key: tuple(tensor.shape) for key, tensor in state.items()}
    for key in sorted(wanted.keys() | got.keys()):
        if wanted.get(key) != got.get(key):
            raise DamagedFileError(
                f"{path}: the tensor {key!r} has shape {got.get(key, 'none')}; expected {wanted.get(key, 'no such tensor')}."
            )
    module.load_state_dict(state, assign=True)
    for key, tensor in module.named_buffers():
        if tensor.is_meta:
            raise DamagedFileError(f"{path}: the buffer {key!r} is missing.")
    estimator.module_ = estimator._place(module, device)
    estimator.device_ = str(device)
    used.update(prefix + key for key in state)


def _decode(path: Path, value: Any, tensors: dict[str, np.ndarray], used: set[str]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return [_decode(path, item, tensors, used) for item in value]
    if isinstance(value, dict) and value:
        tag = next(iter(value))
        if tag in _DECODERS:
            return _DECODERS[tag](path, value, tensors, used)
        raise UnsafeFileError(f"{path} uses the tag {tag!r}; expected one of {', '.join(_DECODERS)}.")
    raise UnsafeFileError(f"{path} holds a value of an unknown kind: {str(value)[:60]}.")


def _decode_tensor(path: Path, value: dict[str, Any], tensors: dict[str, np.ndarray], used: set[str]) -> np.ndarray:
    key = value["$tensor"]
    if key not in tensors:
        raise DamagedFileError(f"{path}: the tensor {key!r} is missing. Get a fresh copy.")
    used.add(key)
    return tensors[key]


def _decode_array(path: Path, value: dict[str, Any], tensors: dict[str, np.ndarray], used: set[str]) -> np.ndarray:
    items = [_decode(path, item, tensors, used) for item in value["$array"]]
    if value["dtype"] == "str":
        return np.array(items, dtype=str).reshape(value["shape"])
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(value["shape"])


def _decode_pairs(path: Path, value: dict[str, Any], tensors: dict[str, np.ndarray], used: set[str]) -> dict[Any, Any]:
    return {k: _decode(path, v, tensors, used) for k, v in value["$dict"]}


def _decode_float(path: Path, value: dict[str, Any], *_: Any) -> float:
    if value["$float"] not in ("nan", "inf", "-inf"):
        raise DamagedFileError(f"{path}: {value['$float']!r} is not a number.")
    return float(value["$float"])


_DECODERS: dict[str, Callable[..., Any]] = {
    "$tensor": _decode_tensor,
    "$array": _decode_array,
    "$dict": _decode_pairs,
    "$float": _decode_float,
    "$tuple": lambda path, value, *rest: tuple(_decode(path, item, *rest) for item in value["$tuple"]),
    "$recipe": lambda path, value, *rest: Recipe.from_json(value["$recipe"]),
    "$plan": lambda path, value, *rest: Plan(**{k: _decode(path, v, *rest) for k, v in value["$plan"].items()}),
}
