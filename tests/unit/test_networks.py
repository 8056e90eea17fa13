"""The networks of CNNClassifier beyond quick and LeNet-5: builds, weights, own modules, files."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.base import clone
from torch import nn

import rosenblatt as rb
from rosenblatt.data.pretrained import read_weights, start_from
from rosenblatt.errors import (
    DamagedFileError,
    DeviceError,
    FetchError,
    ForeignFileError,
    ModelFileError,
    ParameterError,
    ShapeError,
    UnsafeFileError,
)
from rosenblatt.metrics.ranking import top_k_accuracy
from rosenblatt.models.airbench import Airbench
from rosenblatt.models.alexnet import AlexNet
from rosenblatt.models.resnet import ResNet
from rosenblatt.models.robust import Robust, Window
from rosenblatt.train.seeds import PrivateRandom

RNG = np.random.default_rng(0)
Y = np.arange(16) % 2
PICTURES = np.clip(RNG.normal(0, 20, (16, 77, 77, 3)) + 60 + 120 * Y[:, None, None, None], 0, 255).astype(np.uint8)


def cnn(**options):
    return rb.CNNClassifier(**{"epochs": 1, "batch_size": 8, "random_state": 0, "verbose": 0, **options})


@pytest.mark.parametrize("side", [8, 28, 32, 64, 224])
def test_resnet_takes_all_sides(side):
    with PrivateRandom(0):
        assert ResNet(3, 5, side=side)(torch.zeros(2, 3, side, side)).shape == (2, 5)


def test_resnet_learns_digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    model = cnn(network="resnet", epochs=3, batch_size=32).fit(digits.images[:900], digits.target[:900])
    assert model.score(digits.images[900:], digits.target[900:]) > 0.9


@pytest.fixture(scope="module")
def published():
    """AlexNet as published, trained for one step on patches of 67 of 77 pixels."""
    return cnn(network="alexnet-2012", epochs=2, learning_rate=1e-3).fit(PICTURES, Y)


def test_alexnet_2012_trains_on_patches_and_is_tested_on_ten(published, tmp_path):
    assert published.crop_ == (67, 67)
    assert published.input_offset_.shape == (67, 67, 3)
    mean = PICTURES.mean(0)[5:72, 5:72]
    np.testing.assert_allclose(published.input_offset_, -mean, rtol=1e-5)
    assert [row["learning_rate"] for row in published.history_] == pytest.approx([1e-4, 1e-6])
    proba = published.predict_proba(PICTURES[:3])
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-5)
    by_hand = np.zeros((3, 2))
    for top, left in ((0, 0), (0, 10), (10, 0), (10, 10), (5, 5)):
        for step in (1, -1):
            patch = PICTURES[:3, top : top + 67, left : left + 67][:, :, ::step].copy()
            x = torch.from_numpy(patch).permute(0, 3, 1, 2).float() + torch.from_numpy(published.input_offset_).permute(
                2, 0, 1
            )
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=published.precision_ == "bf16"):
                by_hand += torch.softmax(published.module_(x).float(), 1).numpy() / 10
    np.testing.assert_allclose(proba, by_hand, atol=2e-3)
    path = published.save(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(rb.load(path).predict_proba(PICTURES[:3]), proba)


def test_two_devices_from_the_estimator(published):
    two = cnn(network="alexnet-2012", epochs=2, learning_rate=1e-3, device="cpu,cpu").fit(PICTURES, Y)
    np.testing.assert_array_equal(two.predict_proba(PICTURES), published.predict_proba(PICTURES))
    with pytest.raises(DeviceError, match=r"names two; expected one, except for network='alexnet-2012'"):
        cnn(device="cpu,cpu").fit(PICTURES, Y)


@pytest.mark.parametrize(
    ("network", "need"), [("alexnet-2012", "77 x 77"), ("alexnet", "63 x 63"), ("resnet", "8 x 8")]
)
def test_pictures_below_the_receptive_field_are_refused(network, need):
    with pytest.raises(ShapeError, match=f"pictures of 7 x 7 pixels; expected at least {need}|Resize them"):
        cnn(network=network).fit(PICTURES[:, :7, :7], Y)


# ------------------------------------------------------------------------------------------------------- weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    with PrivateRandom(7):
        state = AlexNet(3, 5).state_dict()
    safetensors.torch.save_file(state, folder / "a.safetensors")
    torch.save(state, folder / "a.pth")
    return folder, state


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_alexnet_starts_from_published_weights(weights, suffix, tmp_path):
    folder, state = weights
    model = cnn(network="alexnet", weights=str(folder / f"a.{suffix}"), learning_rate=1e-12).fit(PICTURES, Y)
    got = model.module_.state_dict()
    torch.testing.assert_close(got["features.10.weight"], state["features.10.weight"], atol=1e-6, rtol=0)
    assert got["classifier.6.weight"].shape == (2, 4096)  # two classes here: the last layer is new
    np.testing.assert_allclose(model.input_scale_ * 255 * [0.229, 0.224, 0.225], 1, rtol=1e-5)
    np.testing.assert_allclose(model.input_offset_ * [0.229, 0.224, 0.225], [-0.485, -0.456, -0.406], rtol=1e-5)
    if suffix == "pth":
        path = model.save(tmp_path / "m.safetensors")
        assert (rb.load(path).predict(PICTURES) == model.predict(PICTURES)).all()


def test_checksums_of_weights(weights):
    path = weights[0] / "a.pth"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_weights(path, sha256=digest).keys() == read_weights(path, sha256=digest[:8]).keys()
    with pytest.raises(FetchError, match="expected 0000"):
        read_weights(path, sha256="0" * 64)
    with pytest.raises(FetchError, match="has the SHA-256"):
        read_weights(path, sha256=digest[:4])


def test_published_weights_are_looked_for_and_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("ROSENBLATT_DATA", str(tmp_path))
    (tmp_path / "alexnet").mkdir()
    (tmp_path / "alexnet" / "alexnet-owt-7be5be79.pth").write_bytes(b"another file")
    with pytest.raises(FetchError, match="expected 7be5be79"):
        read_weights("imagenet")
    with pytest.raises(FetchError, match="no weights of 'quick' are published; expected alexnet"):
        cnn(weights="imagenet").fit(PICTURES, Y)


class Nasty:
    def __reduce__(self):
        return (print, ("code ran",))


def test_weight_files_that_are_refused(weights, tmp_path, capsys):
    torch.save({"a": Nasty()}, tmp_path / "nasty.pth")
    with pytest.raises(UnsafeFileError, match="nothing of it was run"):
        read_weights(tmp_path / "nasty.pth")
    assert "code ran" not in capsys.readouterr().out
    for suffix in ("safetensors", "pth"):
        whole = (weights[0] / f"a.{suffix}").read_bytes()
        (tmp_path / f"cut.{suffix}").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DamagedFileError, match="cut short or damaged"):
            read_weights(tmp_path / f"cut.{suffix}")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ForeignFileError, match="holds a list"):
        read_weights(tmp_path / "list.pth")
    (tmp_path / "a.bin").write_bytes(b"x")
    with pytest.raises(ForeignFileError, match=r"the suffix '\.bin'"):
        read_weights(tmp_path / "a.bin")
    with pytest.raises(FileNotFoundError, match="no such weight file"):
        read_weights(tmp_path / "none.pth")


def test_weights_of_another_network_are_refused():
    with PrivateRandom(0):
        net, other = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), nn.Sequential(nn.Linear(9, 3), nn.Linear(3, 2))
    assert start_from(net, dict(other.state_dict()) | {"0.weight": net[0].weight.detach()}) == []
    with pytest.raises(ForeignFileError, match=r"'0.weight' has the shape \(3, 9\); expected \(3, 2\)"):
        start_from(net, other.state_dict())
    with pytest.raises(ForeignFileError, match=r"lack '0\.bias'"):
        start_from(net, {"0.weight": torch.zeros(3, 2)})
    with pytest.raises(ForeignFileError, match="hold '9', which"):
        start_from(net, {**net.state_dict(), "9": torch.zeros(1)})


# ------------------------------------------------------------------------------------------------- a user's own


def own(classes=2):
    with PrivateRandom(3):
        return nn.Sequential(
            nn.Conv2d(3, 4, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, classes)
        )


def test_a_users_own_module_is_copied_and_trained(tmp_path):
    net = own()
    before = net[0].weight.detach().clone()
    model = cnn(network=net, epochs=20, learning_rate=1e-2).fit(PICTURES, Y)
    assert torch.equal(net[0].weight, before)
    assert not torch.equal(model.module_[0].weight, before)
    assert model.score(PICTURES, Y) > 0.9
    first = model.decision_function(PICTURES)
    assert (clone(model).fit(PICTURES, Y).decision_function(PICTURES) == first).all()
    assert "network=Sequential" in str(model.summary())
    with pytest.raises(ModelFileError, match=r"network is your own Sequential.*Keep model.module_.state_dict\(\)"):
        model.save(tmp_path / "m.safetensors")


def test_a_module_that_does_not_fit_is_refused():
    with PrivateRandom(0):
        narrow = nn.Conv2d(1, 2, 3)
    with pytest.raises(ShapeError, match=r"network gives \(1, 9\) for one picture; expected \(1, 2\)"):
        cnn(network=own(9)).fit(PICTURES, Y)
    with pytest.raises(ShapeError, match="network does not take a batch of pictures"):
        cnn(network=narrow).fit(PICTURES, Y)
    with pytest.raises(ParameterError, match=r"expected one of .* or a torch module"):
        cnn(network=nn.Conv2d).fit(PICTURES, Y)


# ------------------------------------------------------------------------------------------------------- ranking


def test_top_k():
    scores = np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [0.2, 0.5, 0.3]])
    assert top_k_accuracy([2, 1, 0], scores, [0, 1, 2], k=1) == pytest.approx(1 / 3)
    assert top_k_accuracy([2, 1, 0], scores, [0, 1, 2], k=2) == pytest.approx(2 / 3)
    assert top_k_accuracy([2, 1, 0], scores, [0, 1, 2], k=5) == 1
    with pytest.raises(ShapeError, match="for 2 labels of 3 classes"):
        top_k_accuracy([2, 1], scores, [0, 1, 2])
    with pytest.raises(ParameterError, match="k=0"):
        top_k_accuracy([2, 1, 0], scores, [0, 1, 2], k=0)


def test_top_k_of_the_estimator():
    model = cnn(epochs=2).fit(PICTURES, Y)
    assert model.top_k_score(PICTURES, Y, k=1) == model.score(PICTURES, Y)
    assert model.top_k_score(PICTURES, Y, k=2) == 1


@pytest.mark.data("imagenet_photos")
def test_imagenet_recipe_end_to_end(tmp_path):
    """The command as a user types it, on real photographs, killed after the first epoch and typed again.

    Two steps of training learn nothing, but all of it runs.
    """
    import json
    import os
    import time
    from pathlib import Path

    from rosenblatt.train.checkpoint import read_latest

    photos = Path(os.environ["ROSENBLATT_DATA"]) / "imagenet_photos" / "labels.csv"
    command = [
        sys.executable, "-c", "from rosenblatt.cli import main; main()", "train", "cnn", str(photos), "--json",
        "--target", "wnid", "--network", "alexnet-2012", "--size", "80", "--epochs", "2", "--batch-size", "25",
        "--holdout", "0", "--random-state", "0", "--plan", f"checkpoint={tmp_path / 'run'}",
        "-o", str(tmp_path / "m.safetensors"),
    ]  # fmt: skip
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not list((tmp_path / "run").glob("checkpoint-*")) and killed.poll() is None:
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    assert not (tmp_path / "m.safetensors").exists()
    first = read_latest(tmp_path / "run")
    assert (first.epoch, first.state["finished"]) == (1, False)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 49
    model = rb.load(tmp_path / "m.safetensors")
    assert [row["epoch"] for row in model.history_] == [1, 2]
    assert model.history_[0] == first.state["followed"]["rows"][0]  # to the nanosecond: it was not run again
    assert model.crop_ == (70, 70)
    assert len(model.classes_) == 49
    assert model.top_k_score(photos, "wnid", k=49) == 1
    assert 0 <= model.score(photos, "wnid") <= model.top_k_score(photos, "wnid") <= 1


# ------------------------------------------------------------------------------------------------------ airbench


@pytest.mark.parametrize("side", [4, 8, 28, 32, 64, 130])
@pytest.mark.parametrize("channels", [1, 3])
def test_airbench_takes_all_sides(side, channels):
    with PrivateRandom(0):
        assert Airbench(channels, 5, side=side)(torch.zeros(2, channels, side, side)).shape == (2, 5)


def test_whitening_gives_patches_without_correlation():
    x = torch.from_numpy(PICTURES).permute(0, 3, 1, 2).float() / 64 - 2
    with PrivateRandom(0):
        net = Airbench(3, 2, side=32)
    net.whiten(x)
    maps = net.white(x)[:, :12].permute(1, 0, 2, 3).flatten(1).detach()
    values = torch.linalg.eigvalsh(maps @ maps.T / maps.shape[1])
    assert (values - 1).abs().max() < 0.05  # every direction has variance one
    torch.testing.assert_close(net.white.weight[:12], -net.white.weight[12:])
    assert not net.white.weight.requires_grad


def test_airbench_learns_keeps_its_filters_and_goes_into_a_file(tmp_path):
    model = cnn(network="airbench", epochs=4).fit(PICTURES[:, :32, :32], Y)
    assert model.score(PICTURES[:, :32, :32], Y) > 0.9
    again = rb.load(model.save(tmp_path / "a.safetensors"))
    assert (again.predict_proba(PICTURES[:, :32, :32]) == model.predict_proba(PICTURES[:, :32, :32])).all()
    with PrivateRandom(0):
        fresh = Airbench(3, 2, side=32)
    x = model._preparation()(torch.from_numpy(PICTURES[:, :32, :32].copy()).permute(0, 3, 1, 2))
    fresh.whiten(x)
    torch.testing.assert_close(model.module_.white.weight, fresh.white.weight)


def test_a_window_is_a_line_between_two_thresholds_and_rises_everywhere():
    x = torch.tensor([-1.0, 0.0, 0.2, 0.5, 0.8, 1.0, 2.0])
    h = Window(1)(x.view(1, 1, 1, -1)).flatten()
    torch.testing.assert_close(h[2:5], torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(h[1], torch.tensor(-0.2 / 0.6 * 0.01))
    assert (h.diff() > 0).all()


@pytest.mark.parametrize("shape", [(28, 28), (8, 8), (32, 32), (4, 4), (5, 9), (40, 64)])
def test_robust_takes_pictures_of_any_size(shape):
    with PrivateRandom(0):
        assert Robust(3, 7, shape=shape)(torch.zeros(2, 3, *shape)).shape == (2, 7)


def test_robust_sees_pixels_from_0_to_1(tmp_path):
    X = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    model = cnn(network="robust").fit(X, np.arange(60) % 3)
    x = model._preparation()(torch.from_numpy(X)[:, None])
    torch.testing.assert_close(x, torch.from_numpy(X)[:, None] / 255)
    again = rb.load(model.save(tmp_path / "m.safetensors"))
    assert (again.predict(X) == model.predict(X)).all()
