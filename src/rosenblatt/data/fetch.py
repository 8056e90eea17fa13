"""Data sets by name: from the folder ROSENBLATT_DATA, else from the cache, else downloaded once and checked."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rosenblatt import _validate
from rosenblatt.data.catalogue import BUNDLED, CATALOGUE, Entry, File
from rosenblatt.errors import FetchError, OutputError, ParameterError

TIMEOUT = 30.0
"""Seconds that a server may stay silent."""

_BLOCK = 1 << 18


@dataclass(frozen=True)
class DataSet:
    """A data set; ``X_test`` and ``y_test`` are None where there is no test split, or one split was asked for.

    Attributes:
        name: Name in the catalogue.
        X: Pictures as uint8 (N, H, W, C); tables as float64 (N, D), or as an Arrow table where columns hold text or
            miss values.
        y: Targets (N,): class numbers, class names, or float64.
        X_test: As X.
        y_test: As y.
        feature_names: Names of the columns of a table, else None.
        target_names: Names of the classes in the order of their numbers; None for regression.
        description: What it is.
        licence: As its authors state it.
        citation: Whom to cite.
    """

    name: str
    X: Any
    y: np.ndarray
    X_test: Any = None
    y_test: np.ndarray | None = None
    feature_names: tuple[str, ...] | None = None
    target_names: tuple[str, ...] | None = None
    description: str = ""
    licence: str = ""
    citation: str = ""


def datasets() -> list[str]:
    """Names of all data sets, sorted.

    Example:
        >>> "mnist" in datasets()
        True
    """
    return sorted([*CATALOGUE, *BUNDLED])


def fetch(name: str, *, split: str | None = None, cache: str | Path | None = None) -> DataSet:
    """Get a data set by its name.

    Each file is looked for below the folder that ROSENBLATT_DATA names (``<name>/<file>``; its format is checked, its
    checksum is not), then in the cache, and then downloaded into the cache. Cache and download must have the known
    SHA-256. The sets that come with scikit-learn need no file.

    Args:
        name: One of `datasets()`.
        split: "train" or "test" for that split alone as X and y; None for both.
        cache: Folder of downloads; else ROSENBLATT_CACHE, else the user's cache folder.

    Returns:
        The data set.

    Raises:
        ParameterError: An unknown name or split.
        FetchError: A file is neither here nor to be downloaded, or has a wrong checksum.
        DataError: A file is damaged or of another format.

    Example:
        >>> fetch("iris").X.shape
        (150, 4)
    """
    _validate.parameter("fetch", "name", name, _validate.Choice(tuple(datasets())))
    _validate.parameter("fetch", "split", split, _validate.Choice((None, "train", "test")))
    if name in BUNDLED:
        return _bundled(name, split)
    entry = CATALOGUE[name]
    _has_split(name, split, "test" in entry.splits)
    parts = [_part(name, entry, s, cache) for s in ([split] if split else entry.splits)]
    (X, y), (X_test, y_test) = [*parts, (None, None)][:2]
    names = entry.feature_names or (tuple(X.column_names) if hasattr(X, "column_names") else None)
    about = (entry.description, entry.licence, entry.citation)
    return DataSet(name, X, y, X_test, y_test, names, entry.target_names, *about)


def _has_split(name: str, split: str | None, tested: bool) -> None:
    if split == "test" and not tested:
        raise ParameterError(f"fetch: {name!r} has no test split; expected split=None. Split it yourself.")


def _bundled(name: str, split: str | None) -> DataSet:
    from sklearn import datasets as bundled

    _has_split(name, split, False)
    data = getattr(bundled, BUNDLED[name])()
    X = data.data
    if name == "digits":  # pictures as everywhere: levels 0 to 16 become 0 to 255
        X = np.rint(data.images * (255 / 16)).astype(np.uint8)[..., None]
    features = tuple(map(str, data.feature_names)) if name != "digits" else None
    targets = tuple(map(str, data.target_names)) if name != "diabetes" else None
    y = data.target.astype(np.float64 if targets is None else np.int64)
    return DataSet(name, X, y, None, None, features, targets, data.DESCR, "BSD-3-Clause (scikit-learn)", "scikit-learn")


def _part(name: str, entry: Entry, split: str, cache: str | Path | None) -> tuple[Any, np.ndarray]:
    return entry.read(split, [find(name, file, cache) for file in entry.splits[split]])


# ---------------------------------------------------------------------------------------------------------- files


def cache_folder(cache: str | Path | None = None) -> Path:
    """The folder of downloads: as given, else ROSENBLATT_CACHE, else the user's cache folder of this system.

    Raises:
        FetchError: The user has no home folder.
    """
    try:
        if cache or os.environ.get("ROSENBLATT_CACHE"):
            return Path(cache or os.environ["ROSENBLATT_CACHE"]).expanduser()
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "rosenblatt"
        base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
        return (Path(base) if base else Path.home() / ".cache") / "rosenblatt"
    except RuntimeError as error:
        raise FetchError(f"fetch: no home folder ({error}). Name a folder in ROSENBLATT_CACHE.") from error


def find(name: str, file: File, cache: str | Path | None = None) -> Path:
    """Path of a file of a data set, downloaded where it must be.

    Raises:
        FetchError: It is neither here nor to be downloaded, or has a wrong checksum.
    """
    if root := os.environ.get("ROSENBLATT_DATA"):
        for place in (f"{name}/{file.name}", *file.also):
            if (Path(root).expanduser() / place).is_file():
                return Path(root).expanduser() / place
    path = cache_folder(cache) / name / file.name
    if path.exists():
        check_file(path, file)
        return path
    return download(name, file, path)


def check_file(path: Path, file: File) -> None:
    """Compare a file's checksum.

    Raises:
        FetchError: It is another one, or the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            got = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise FetchError(f"fetch: {path} cannot be read ({error.strerror or error}). Delete it.") from error
    if not got.startswith(file.sha256):  # of some files only the first digits are published
        raise FetchError(
            f"fetch: {path} has the SHA-256 {got}; expected {file.sha256}. It is damaged or another file. Delete it, and "
            "it is downloaded again."
        )


class _Transfer(Exception):
    """A download that failed, and why; no OSError, which would look like a failure to write."""


def download(name: str, file: File, path: Path) -> Path:
    """Fetch a file from the first address that has it; it is put in its place whole and checked.

    Raises:
        FetchError: No address gave it, or it cannot be written.
    """
    failures = [] if file.urls else ["there is no address that it could be downloaded from"]
    try:
        if file.urls:
            path.parent.mkdir(parents=True, exist_ok=True)
        for url in file.urls:
            try:
                return _validate.write_whole(path, _blocks(url, file))
            except _Transfer as error:
                failures.append(f"{url}: {error}")
    except (OSError, OutputError) as error:
        raise FetchError(
            f"fetch: {file.name} of {name!r} cannot be kept in {path.parent} ({error}). Name a folder that can be "
            "written in ROSENBLATT_CACHE, or with cache=."
        ) from error
    root = os.environ.get("ROSENBLATT_DATA") or "$ROSENBLATT_DATA"
    raise FetchError(
        f"fetch: {file.name} of {name!r} is not here and was not fetched ({'; '.join(failures)}). Expected it, "
        f"{file.size:,} bytes, as {Path(root) / name / file.name} (ROSENBLATT_DATA names the folder) or as {path}. Put "
        "it there by hand, or try again with a network."
    )


def _blocks(url: str, file: File) -> Iterator[bytes]:
    """The blocks of a download; a wrong length or checksum raises at the end, before the file is put in its place."""
    digest, length = hashlib.sha256(), 0
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as reply:
            while block := reply.read(_BLOCK):
                digest.update(block)
                length += len(block)
                if length > file.size:  # before it fills the disk
                    raise _Transfer(f"more than the expected {file.size:,} bytes came")
                yield block
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Transfer(str(getattr(error, "reason", None) or error) or type(error).__name__) from error
    if length < file.size:
        raise _Transfer(f"cut after {length:,} of {file.size:,} bytes")
    if not digest.hexdigest().startswith(file.sha256):
        raise _Transfer(f"wrong SHA-256 {digest.hexdigest()}; expected {file.sha256}")
