"""Checkpoints: whole or not at all, and a run that was killed ends in the same weights, bit for bit."""

import errno
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import rosenblatt as rb
from rosenblatt.data.resident import Resident
from rosenblatt.errors import (
    CheckpointError,
    CheckpointWarning,
    DamagedFileError,
    NewerFormatError,
    OutputError,
    ParameterError,
)
from rosenblatt.train import checkpoint
from rosenblatt.train.checkpoint import Keeper, fingerprint, read_latest, write
from rosenblatt.train.follow import follow
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.seeds import PrivateRandom
from rosenblatt.train.supervised import keeper_of, supervised

STATE = {
    "module": {"a.b": torch.arange(6.0).view(2, 3).T, "a": {"b": torch.tensor(1.5, dtype=torch.bfloat16)}},
    "optimizer": {0: {"step": torch.tensor(3), "big": 2**70}, "groups": [("lr", 0.1), None, True]},
    "random": (torch.tensor([1, 255], dtype=torch.uint8), None, np.arange(4, dtype=np.uint32)),
    "odd": torch.tensor([True, False, True]),
    "rows": [{"loss": 0.1 + 0.2, "score": float("nan"), "best": float("-inf")}],
    "empty": torch.zeros(0, 4),
}


def same(a, b):
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and (a == b).all()
    return type(a) is type(b) and (a == b or a != a)


# ----------------------------------------------------------------------------------------------------- the file


def test_a_state_comes_back_as_it_was(tmp_path):
    assert read_latest(tmp_path / "none") is None
    path = write(tmp_path / "deep" / "run", STATE, 3, identity={"rate": 0.1})
    found = read_latest(tmp_path / "deep" / "run", identity={"rate": 0.1})
    assert (found.epoch, found.path) == (3, path)
    assert same(STATE, found.state)
    import safetensors.torch

    assert torch.equal(safetensors.torch.load_file(path)["module.a.b"], STATE["module"]["a.b"])


def test_the_newest_stay(tmp_path):
    for epoch in (1, 2, 3, 10):
        write(tmp_path, {"n": epoch}, epoch, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"checkpoint-{n:08d}.safetensors" for n in (3, 10)]
    assert read_latest(tmp_path).state == {"n": 10}


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "header", "foreign"])
def test_a_damaged_newest_is_refused_and_the_one_before_is_used(tmp_path, damage):
    first, second = (write(tmp_path, {"w": torch.full((100,), float(n))}, n) for n in (1, 2))
    whole = bytearray(second.read_bytes())
    if damage == "flipped":
        whole[-50] ^= 1
    if damage == "header":
        whole = whole.replace(b'\\"epoch\\": 2', b'\\"epoch\\": 7')
    made = {"cut": whole[: len(whole) // 2], "empty": b"", "foreign": b"PK\x03\x04" + bytes(99)}
    second.write_bytes(bytes(made.get(damage, whole)))
    with pytest.warns(
        CheckpointWarning, match=r"00000002.safetensors is .*damaged.* The one before it is used: epoch 1"
    ):
        found = read_latest(tmp_path)
    assert found.path == first
    assert float(found.state["w"][0]) == 1
    first.write_bytes(b"short")
    with pytest.raises(
        DamagedFileError, match=r"none of its 2 checkpoints can be used .* Delete the folder to start anew"
    ):
        read_latest(tmp_path)


def test_a_checkpoint_of_another_run_is_refused_by_name(tmp_path):
    write(tmp_path, {}, 1, identity={"learning_rate": 0.1, "data": "ab"})
    with pytest.raises(
        CheckpointError, match=r"belongs to another run: learning_rate 0.1 there and 0.2 here; expected"
    ):
        read_latest(tmp_path, identity={"learning_rate": 0.2, "data": "ab"})
    with pytest.raises(CheckpointError, match=r"data 'ab' there and None here, seed None there and 3 here"):
        read_latest(tmp_path, identity={"learning_rate": 0.1, "seed": 3})


def test_a_newer_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    write(tmp_path, {}, 1)
    monkeypatch.undo()
    with pytest.raises(NewerFormatError, match="has format 2; this rosenblatt reads up to 1"):
        read_latest(tmp_path)


def test_what_cannot_be_described_is_refused(tmp_path):
    with pytest.raises(ParameterError, match=r"a.1 is a function; expected tensors"):
        write(tmp_path, {"a": [1, fingerprint]}, 1)
    with pytest.raises(ParameterError, match="names is an array of <U1; expected numbers"):
        write(tmp_path, {"names": np.array(["a"])}, 1)
    with pytest.raises(ParameterError, match=r"z is a tensor of torch.complex64"):
        write(tmp_path, {"z": torch.zeros(1, dtype=torch.complex64)}, 1)
    assert not list(tmp_path.iterdir())


def test_fingerprints():
    x = torch.arange(12.0)
    assert fingerprint(x) == fingerprint(x.clone())
    others = [x.view(3, 4), x.double(), x + 1e-6, None, x[:11]]
    assert len({fingerprint(x), *map(fingerprint, others)}) == 6


def test_files_of_killed_writers_are_taken_away(tmp_path):
    old, new = tmp_path / ".checkpoint-00000001.safetensors.abc", tmp_path / ".checkpoint-00000002.safetensors.def"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 3600,) * 2)
    write(tmp_path, {}, 1)
    assert not old.exists()
    assert new.exists()


# ------------------------------------------------------------------------------------------------ no space, no right


def full_disk(*_args, **_options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    write(tmp_path, {"n": 1}, 1)
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OutputError, match=r"00000002.safetensors cannot be written \(No space left on device\)"):
        write(tmp_path, {"n": 2}, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-00000001.safetensors"]
    assert read_latest(tmp_path).state == {"n": 1}


def test_training_goes_on_over_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.warns(CheckpointWarning, match=r"No space left.* Training goes on without the checkpoint of epoch 1"):
        run = train(Plan(checkpoint=str(tmp_path)), epochs=1)
    assert len(run.rows) == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be written to \(.*\); expected a folder for checkpoints"):
        Keeper(tmp_path / "file" / "run", {})
    with pytest.raises(OutputError, match="cannot be made"):
        write(tmp_path / "file" / "run", {}, 1)

    def refuse(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(OutputError, match=r"Read-only file system"):
        rb.CNNClassifier(epochs=1, random_state=0, verbose=0, plan=Plan(checkpoint=tmp_path)).fit(*pictures())


# ------------------------------------------------------------------------------------------------------- the loop


def blobs(count=60):
    g = torch.Generator().manual_seed(0)
    y = torch.arange(count) % 3
    return torch.randn(count, 4, generator=g) + F.one_hot(y, 4) * 4, y


def train(plan, epochs=6, stop_after=None, seen=None, module=None):
    """A run that ends after an epoch as if it had been killed: nothing is done after the checkpoint."""
    x, y = blobs()
    if module is None:
        with PrivateRandom(0):
            module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3))
    plan = plan.over(Plan(precision="fp32").over(STANDARD))
    data = Resident(x, y, device="cpu", batch_size=16, generator=torch.Generator().manual_seed(1))
    keeper = keeper_of(plan, module, data, epochs=epochs, learning_rate=0.01, random_state=0)

    def score(net):
        with torch.no_grad():
            return {"validation_score": -float(F.cross_entropy(net(x), y))}

    def loss(output, y, _):
        return F.cross_entropy(output, y)

    def records():
        for record in supervised(
            module, data, loss, plan=plan, epochs=epochs, learning_rate=0.01, evaluate=score, keeper=keeper
        ):
            yield record
            if record.epoch == stop_after:
                raise Killed

    run = follow(records(), module, plan=plan, epochs=epochs, label="x", verbose=2 if seen else 0, keeper=keeper)
    run.module = module
    return run


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "sgd", "schedule": "onecycle", "gradient_clip": 0.5},
        {"optimizer": "adamw", "ema": 0.9, "weight_decay": 0.1},
        {"early_stopping": True, "patience": 9, "min_delta": 0.05, "ema": 0.5},
        {"optimizer": "rmsprop", "checkpoint_every": 2, "accumulate": 3},
    ],
)
def test_a_run_goes_on_bit_for_bit(tmp_path, options):
    plain = train(Plan(**options))
    plan = Plan(checkpoint=str(tmp_path), **options)
    with pytest.raises(Killed):
        train(plan, stop_after=3)
    again = train(plan)
    assert [row["epoch"] for row in again.rows] == [1, 2, 3, 4, 5, 6]
    for a, b in zip(plain.rows, again.rows, strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}
    assert again.best_epoch == plain.best_epoch
    for (name, a), b in zip(plain.module.state_dict().items(), again.module.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("options", [{"early_stopping": True, "patience": 1, "min_delta": 10.0}, {"target": -1.0}, {}])
def test_a_finished_run_is_read_back(tmp_path, options, monkeypatch):
    plan = Plan(checkpoint=str(tmp_path), ema=0.5, **options)
    first = train(plan)
    assert len(first.rows) == (6 if not options else len(first.rows)) >= 1
    before = sorted((p.name, p.stat().st_mtime_ns) for p in tmp_path.iterdir())
    second = train(plan)
    assert second.rows == first.rows
    assert second.stopped == first.stopped
    assert same(dict(first.module.state_dict()), dict(second.module.state_dict()))
    assert not second.module.training
    assert sorted((p.name, p.stat().st_mtime_ns) for p in tmp_path.iterdir()) == before


def test_another_plan_or_start_is_refused_by_name(tmp_path):
    train(Plan(checkpoint=str(tmp_path)), epochs=1)
    with pytest.raises(CheckpointError, match=r"plan.ema None there and 0.9 here"):
        train(Plan(checkpoint=str(tmp_path), ema=0.9), epochs=1)
    with pytest.raises(CheckpointError, match=r"epochs 1 there and 2 here"):
        train(Plan(checkpoint=str(tmp_path)), epochs=2)
    with PrivateRandom(9), pytest.raises(CheckpointError, match=r"starting weights '\w+' there and '\w+' here"):
        train(Plan(checkpoint=str(tmp_path)), epochs=1, module=nn.Linear(4, 3))


def test_where_it_goes_on_is_said(tmp_path, capsys):
    with pytest.raises(Killed):
        train(Plan(checkpoint=str(tmp_path)), stop_after=2)
    train(Plan(checkpoint=str(tmp_path)), seen=True)
    assert f"goes on after epoch 2/6, from {tmp_path}" in capsys.readouterr().err


def test_a_loop_without_a_keeper_says_so(tmp_path):
    x, y = blobs()
    data = Resident(x, y, device="cpu", batch_size=16)
    with PrivateRandom(0):
        net = nn.Linear(4, 3)
    loop = supervised(net, data, F.cross_entropy, plan=Plan(checkpoint=tmp_path), epochs=1, learning_rate=0.1)
    with pytest.raises(ParameterError, match=r"given no keeper; expected keeper=keeper_of"):
        next(loop)


# ------------------------------------------------------------------------------------------------- the estimators


def pictures(count=48):
    rng = np.random.default_rng(0)
    y = np.arange(count) % 3
    return np.clip(rng.normal(60 + 50 * y[:, None, None], 30, (count, 12, 12)), 0, 255).astype(np.uint8), y


def killed_fit(arguments):
    """A fit in another process, killed with SIGKILL somewhere after its second checkpoint."""
    code = (
        "import sys, torch, rosenblatt as rb, time; torch.set_num_threads(int(sys.argv[1])); sys.path.insert(0, sys.argv[2])\n"
        "from test_checkpoint import pictures\n"
        f"rb.CNNClassifier({arguments}).fit(*pictures())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(torch.get_num_threads()), str(Path(__file__).parent)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_a_fit_killed_at_a_random_moment_ends_in_the_same_weights(tmp_path):
    words = "augment='shift+cutout+mixup', ema=0.9, early_stopping=True, patience=99, validation_fraction=0.25"
    arguments = "epochs={}, batch_size=8, random_state=0, verbose=0, plan=rb.Plan({}{})"
    process = killed_fit(arguments.format(40, words, f", checkpoint={str(tmp_path)!r}"))
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("checkpoint-*"))) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    time.sleep(np.random.default_rng().uniform(0, 0.15))
    process.kill()
    said = process.communicate()[0].decode()
    assert process.returncode == -9, said
    reached = read_latest(tmp_path)
    assert 1 <= reached.epoch < 40
    resumed = eval(f"rb.CNNClassifier({arguments.format(40, words, f', checkpoint={str(tmp_path)!r}')})").fit(
        *pictures()
    )
    plain = eval(f"rb.CNNClassifier({arguments.format(40, words, '')})").fit(*pictures())
    assert [r["epoch"] for r in resumed.history_] == list(range(1, 41))
    assert [r["validation_score"] for r in resumed.history_] == [r["validation_score"] for r in plain.history_]
    for (name, a), b in zip(plain.module_.state_dict().items(), resumed.module_.state_dict().values(), strict=True):
        assert torch.equal(a, b), f"{name} differs after a kill in epoch {reached.epoch + 1}"


def test_a_fit_twice_reads_the_first_one_back(tmp_path):
    X, y = pictures()
    model = rb.CNNClassifier(network="lenet5", epochs=2, random_state=0, verbose=0, plan=Plan(checkpoint=tmp_path))
    first = model.fit(X, y).decision_function(X)
    assert (model.fit(X, y).decision_function(X) == first).all()
    with pytest.raises(CheckpointError, match=r"data '\w+' there and '\w+' here"):
        model.fit(X[::-1].copy(), y)
    with pytest.raises(CheckpointError, match="batch_size 48 there and 16 here"):
        model.set_params(batch_size=16).fit(X, y)
    with pytest.raises(ParameterError, match=r"random_state=None; expected an integer.*Set random_state=0"):
        model.set_params(random_state=None).fit(X, y)


def test_a_forecaster_goes_on(tmp_path, monkeypatch):
    y = 10 + np.sin(np.arange(80) / 3) + np.arange(80) / 40
    options = {"epochs": 4, "window": 12, "horizon": 4, "random_state": 0, "verbose": 0}
    plain = rb.Forecaster(**options).fit(y).predict()
    plan = Plan(checkpoint=tmp_path)
    calls, ours = [], Keeper.write

    def third_time_killed(self, *args, **named):
        ours(self, *args, **named)
        calls.append(self.folder.name)
        if len(calls) == 3:
            raise Killed

    monkeypatch.setattr(Keeper, "write", third_time_killed)
    with pytest.raises(Killed):
        rb.Forecaster(plan=plan, **options).fit(y)
    assert (rb.Forecaster(plan=plan, **options).fit(y).predict() == plain).all()
    assert set(calls) == {"selection", "final"}


def test_plans_with_paths(tmp_path):
    plan = Plan(checkpoint=tmp_path)
    assert plan == Plan(checkpoint=str(tmp_path))
    with pytest.raises(ParameterError, match="checkpoint=3; expected the path of a folder"):
        Plan(checkpoint=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Keeper.of(STANDARD, {}) is None
