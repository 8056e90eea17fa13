import contextlib
import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rosenblatt.data.idx import TYPES, read_idx
from rosenblatt.errors import DataError

CODES = {kind: code for code, kind in TYPES.items()}
ARRAYS = st.sampled_from(list(CODES)).flatmap(
    lambda kind: hnp.arrays(np.dtype(kind), hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
)


def packed(array):
    code = CODES[array.dtype.newbyteorder(">").str.replace("|", ">")]
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@settings(max_examples=60, deadline=None)
@given(array=ARRAYS, zipped=st.booleans())
def test_round_trip(tmp_path_factory, array, zipped):
    path = tmp_path_factory.mktemp("idx") / "a"
    path.write_bytes(gzip.compress(packed(array)) if zipped else packed(array))
    got = read_idx(path)
    assert got.dtype == array.dtype.newbyteorder("=")
    assert got.shape == array.shape
    assert got.tobytes() == array.astype(got.dtype).tobytes()


HEADS = st.sampled_from([b"", b"\x1f\x8b", b"\x1f\x8b\x08\x00", b"\0\0\x08\x01", b"\0\0\x0e\x03", b"\0\0\x08\x20"])


@settings(max_examples=150, deadline=None)
@given(data=st.builds(lambda a, b: a + b, HEADS, st.binary(max_size=80)), zipped=st.booleans())
def test_arbitrary_bytes_raise_only_dataerror(tmp_path_factory, data, zipped):
    path = tmp_path_factory.mktemp("idx") / "a"
    path.write_bytes(gzip.compress(data) if zipped else data)
    with contextlib.suppress(DataError):
        read_idx(path)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d[:-1], "cut short"),
        (lambda d: d + b"x", "follow"),
        (lambda d: d[:6], "header"),
        (lambda d: b"", "is empty"),
        (lambda d: b"\0\0\x08\x03" + b"\xff" * 12, "bytes"),
        (lambda d: b"PK" + d[2:], "50 4b"),
    ],
)
def test_damage_is_named(tmp_path, change, words, zipped):
    data = change(packed(np.arange(12, dtype=">u1").reshape(3, 4)))
    (tmp_path / "a").write_bytes(gzip.compress(data) if zipped else data)
    with pytest.raises(DataError, match=words):
        read_idx(tmp_path / "a")


def test_damaged_gzip(tmp_path):
    data = gzip.compress(packed(np.arange(200, dtype=">i4")))
    for name, bad in [("cut", data[:-9]), ("tail", data + b"xx"), ("crc", data[:-8] + b"\0" * 8)]:
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(DataError):
            read_idx(tmp_path / name)


def test_missing_and_folder(tmp_path):
    (tmp_path / "train-labels").write_bytes(b"")
    with pytest.raises(DataError, match="Did you mean 'train-labels'"):
        read_idx(tmp_path / "train-label")
    with pytest.raises(DataError, match="is a folder"):
        read_idx(tmp_path)
