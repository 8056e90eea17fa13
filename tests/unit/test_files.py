import json
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import rosenblatt as rb
from rosenblatt.errors import (
    DamagedFileError,
    ForeignFileError,
    ModelFileError,
    NewerFormatError,
    NotFittedError,
    OutputError,
    UnsafeFileError,
)
from rosenblatt.files import describe

DIGITS = load_digits()
X, Y = (DIGITS.images * 15).astype(np.uint8), DIGITS.target


@pytest.fixture(scope="module")
def model():
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    options = {"epochs": 1, "batch_size": 32, "random_state": 0, "verbose": 0, "plan": rb.Plan(ema=0.5)}
    return rb.CNNClassifier(**options).fit(X[:300], names[Y[:300]])


@pytest.fixture
def path(model, tmp_path):
    return model.save(tmp_path / "model.safetensors")


def rewrite(path, change):
    """Change the JSON description of a model file, as an attacker would."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    description = json.loads(header["__metadata__"]["rosenblatt"])
    change(description, header)
    header["__metadata__"]["rosenblatt"] = json.dumps(description)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return path


def test_round_trip_is_exact(model, path):
    again = rb.load(path)
    assert (again.predict_proba(X) == model.predict_proba(X)).all()
    assert again.get_params() == model.get_params()
    assert again.history_ == model.history_
    assert (again.classes_ == model.classes_).all()
    assert again.classes_.dtype == model.classes_.dtype


def test_a_fresh_process_predicts_bit_for_bit_the_same(model, path, tmp_path):
    np.save(tmp_path / "x.npy", X[:64])
    code = (
        "import sys, numpy as np, rosenblatt as rb; m = rb.load(sys.argv[1]);"
        "np.save(sys.argv[3], m.decision_function(np.load(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "x.npy"), str(tmp_path / "p.npy")]
    subprocess.run(command, check=True)
    assert (np.load(tmp_path / "p.npy") == model.decision_function(X[:64])).all()


def test_the_description_tells_what_is_inside(path):
    description = describe(path)
    assert description["estimator"] == "CNNClassifier"
    assert description["format"] == 1
    assert set(description["versions"]) >= {"rosenblatt", "torch", "numpy"}


def test_every_cut_is_refused(path):
    data = path.read_bytes()
    for length in sorted({0, 1, 7, 8, 9, 100, len(data) // 2, len(data) - 1}):
        path.write_bytes(data[:length])
        with pytest.raises(ModelFileError, match=r"cut short|damaged|empty|is not a rosenblatt"):
            rb.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + b"x" * 60, "a zip archive"),
        (b"\x80\x04\x95" + b"x" * 60, "a pickle"),
        (b"hello, I am text and nothing else", "something else"),
    ],
)
def test_strangers_are_named(tmp_path, content, message):
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(ForeignFileError, match=message):
        rb.load(path)


def test_a_plain_safetensors_file_is_foreign(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "m.safetensors")
    with pytest.raises(ForeignFileError, match="not a rosenblatt model"):
        rb.load(tmp_path / "m.safetensors")
    with pytest.raises(FileNotFoundError, match="no such model file"):
        rb.load(tmp_path / "nothing")
    with pytest.raises(ForeignFileError, match="is a folder"):
        rb.load(tmp_path)


def _set(*keys, value):
    def change(description, _header):
        place = description
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


HOSTILE = [
    (_set("format", value=99), NewerFormatError, "format 99"),
    (_set("format", value="1"), DamagedFileError, "format version is '1'"),
    (_set("estimator", value="os.system"), UnsafeFileError, "asks for an estimator 'os.system'"),
    (_set("estimator", value="Plan"), UnsafeFileError, "asks for an estimator"),
    (_set("parameters", "shell", value="rm"), UnsafeFileError, "parameter 'shell'"),
    (_set("parameters", "epochs", value=-5), DamagedFileError, "epochs=-5"),
    (_set("fitted", "__class__", value="x"), UnsafeFileError, "no fitted attribute"),
    (_set("fitted", "predict", value="x"), UnsafeFileError, "no fitted attribute"),
    (_set("fitted", "_rebuild", value="x"), UnsafeFileError, "no fitted attribute"),
    (_set("fitted", "classes_", value={"$pickle": "gASV"}), UnsafeFileError, "uses the tag"),
    (_set("fitted", "classes_", value={"$tensor": "nowhere"}), DamagedFileError, "tensor 'nowhere' is missing"),
    (_set("fitted", "classes_", value=3), DamagedFileError, "does not hold together"),
    (_set("fitted", "picture_shape_", value={"$tuple": [8, 8, 10**9]}), DamagedFileError, "has shape"),
    (_set("fitted", "picture_shape_", value={"$tuple": []}), DamagedFileError, "does not hold together"),
    (_set("fitted", "input_scale_", value=[1]), DamagedFileError, "input_scale_"),
    (_set("parameters", "plan", value={"$plan": {"optimizer": "evil"}}), DamagedFileError, "optimizer='evil'"),
    (_set("parameters", "network", value="lenet5"), DamagedFileError, "has shape"),
]


@pytest.mark.parametrize(("change", "error", "message"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_descriptions_are_refused(path, change, error, message):
    with pytest.raises(error, match=message):
        rb.load(rewrite(path, change))


def test_saving_refuses_what_it_should(model, tmp_path):
    path = model.save(tmp_path / "m.safetensors")
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        model.save(path, overwrite=False)
    with pytest.raises(OutputError, match="cannot be written"):
        model.save(tmp_path / "no" / "folder" / "m.safetensors")
    with pytest.raises(OutputError, match="is a folder"):
        model.save(tmp_path)
    with pytest.raises(NotFittedError, match=r"CNNClassifier.save: this CNNClassifier is not fitted yet"):
        rb.CNNClassifier().save(path)
    with pytest.raises(ModelFileError, match="is not an estimator of rosenblatt"):
        rb.save(object(), path)
    assert path.read_bytes() == before


def test_a_failed_write_leaves_the_old_file_and_no_rest(model, tmp_path, monkeypatch):
    path = model.save(tmp_path / "m.safetensors")
    before = path.read_bytes()

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        model.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
