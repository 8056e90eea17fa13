"""The idx format of MNIST and its kin: a header of big-endian lengths, then the numbers, plain or packed with gzip."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rosenblatt import _validate
from rosenblatt.errors import DataError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""The third byte of an idx file, and the numbers that it announces."""

_MOST_AXES = 32  # of an array in numpy 1
_BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"
_PACKING = 1040  # deflate packs at most 1032 bytes into one; a header may lie by no more than that


def read_idx(path: str | Path, *, who: str = "read_idx") -> np.ndarray:
    """Read an idx file, plain or packed with gzip (told by its first bytes, not by its name).

    Nothing is allocated before the lengths in the header agree with the length of the file.

    Args:
        path: The file, such as ``train-images-idx3-ubyte.gz``.
        who: Start of the messages.

    Returns:
        An array of the shape in the header, of the file's type (uint8, int8, int16, int32, float32 or float64) in the
        byte order of this machine.

    Raises:
        DataError: No such file, no idx file, cut short, or followed by bytes that do not belong to it.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "labels-idx1-ubyte"
        ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        ...     read_idx(path)
        array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    _exists(path, who)
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            length = path.stat().st_size
            if not packed:
                return _read(raw, length, None, f"{who}: {path}")
            with gzip.open(raw) as stream:
                return _read(stream, None, length * _PACKING, f"{who}: {path}")
    except (OSError, EOFError, zlib.error) as error:  # BadGzipFile is an OSError
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{who}: {path} cannot be read ({reason}). It is cut short, damaged or not open to you; expected an idx "
            "file, plain or packed with gzip. Fetch it again."
        ) from error


def _exists(path: Path, who: str) -> None:
    if path.is_dir():
        raise DataError(f"{who}: {path} is a folder; expected an idx file.")
    if not path.is_file():
        near = _validate.nearest(path.name, (p.name for p in path.parent.glob("*"))) if path.parent.is_dir() else ""
        raise DataError(f"{who}: there is no file {path}; expected an idx file, plain or packed with gzip.{near}")


def _read(stream: BinaryIO, length: int | None, most: int | None, start: str) -> np.ndarray:
    """Header, then numbers; ``length`` of a plain file is known, of a packed one only a bound."""
    kind, shape = _header(stream, start)
    count = math.prod(shape)
    wanted, head = count * kind.itemsize, 4 + 4 * len(shape)
    told = f"{start} announces {' x '.join(map(str, shape))} numbers of {kind.name} ({wanted} bytes after the header)"
    if length is not None and length != head + wanted:
        raise DataError(
            f"{told}, but {length - head} bytes follow; it is cut short or not an idx file. Fetch it again."
        )
    if (most is not None and wanted > most) or math.prod(n for n in shape if n) * kind.itemsize >= 1 << 62:
        raise DataError(f"{told}, more than the file can hold; it is damaged or not an idx file. Fetch it again.")
    data = _exactly(stream, wanted)
    if len(data) < wanted:
        raise DataError(f"{told}, but only {len(data)} bytes follow; it is cut short. Fetch it again.")
    if stream.read(1):
        raise DataError(f"{told}, but more bytes follow; expected the end of the file. It is not an idx file.")
    return np.frombuffer(data, kind).reshape(shape).astype(kind.newbyteorder("="))


def _header(stream: BinaryIO, start: str) -> tuple[np.dtype, tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or not 1 <= magic[3] <= _MOST_AXES:
        got = f"begins with the bytes {magic.hex(' ')}" if magic else "is empty"
        raise DataError(
            f"{start} {got}; expected an idx file: 00 00, the type (08, 09, 0b, 0c, 0d or 0e) and the number of axes "
            f"(1 to {_MOST_AXES}), as in train-images-idx3-ubyte."
        )
    lengths = stream.read(4 * magic[3])
    if len(lengths) < 4 * magic[3]:
        raise DataError(f"{start} ends within its header; expected {magic[3]} lengths. Fetch it again.")
    return np.dtype(TYPES[magic[2]]), tuple(int(n) for n in np.frombuffer(lengths, ">u4"))


def _exactly(stream: BinaryIO, wanted: int) -> bytearray:
    """Up to ``wanted`` bytes in small steps: one big read would allocate them all for a header that lies."""
    data = bytearray()
    while len(data) < wanted and (block := stream.read(min(_BLOCK, wanted - len(data)))):
        data += block
    return data
