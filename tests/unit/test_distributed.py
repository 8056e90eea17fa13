"""One run on several devices. Two processes are started once, and do everything that needs two: two_processes.py."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import rosenblatt as rb
import rosenblatt.errors
from rosenblatt.data.layouts import Member
from rosenblatt.data.resident import Resident
from rosenblatt.data.sources import PictureSource, open_pictures
from rosenblatt.data.streamed import Streamed
from rosenblatt.errors import DeviceError, MemoryWarning, ParameterError, PictureError, WorkerError
from rosenblatt.estimators import devices
from rosenblatt.train import distributed
from rosenblatt.train.checkpoint import read_latest, write
from rosenblatt.train.distributed import joined, launch, number_of_process, under_torchrun
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.seeds import PrivateRandom

SCRIPT = Path(__file__).with_name("two_processes.py")


def script():
    spec = importlib.util.spec_from_file_location("two_processes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Outcome:
    """What the two processes found, and what became of the run in which one was killed."""

    def __init__(self, folder):
        self.folder, self.killed_at, watch = folder, None, distributed._watch

        def kill_the_second(workers, *rest):
            def kill():
                while not len(list((folder / "killed").glob("checkpoint-*"))) and workers[1].poll() is None:
                    time.sleep(0.05)
                self.killed_at = time.monotonic()
                workers[1].send_signal(signal.SIGKILL)

            threading.Thread(target=kill, daemon=True).start()
            watch(workers, *rest)

        distributed._watch = kill_the_second
        try:
            launch([str(SCRIPT), str(folder)], 2, folder=folder)
        except WorkerError as error:
            self.error, self.seconds = error, time.monotonic() - self.killed_at
        finally:
            distributed._watch = watch
        text = folder / "found.json"
        said = "".join(path.read_text() for path in folder.glob("*.err"))
        assert text.is_file(), said
        self.found = json.loads(text.read_text())


def test_two_processes(tmp_path):
    """One test, so that several pytest workers do not each start two processes."""
    outcome = Outcome(tmp_path)
    for name in ("lenet5", "weighted", "parts", "normalised", "stopped", "sharded", "sharded, averaged"):
        assert outcome.found[name]["weights"] < 2e-6, f"{name}: two processes do not end where one does"
        assert outcome.found[name]["losses"] < 1e-6, name
    first, second = outcome.found["random"]
    assert first == second, "what is random does not follow from the seed"
    assert outcome.found["same in both"] == [first, first], "the processes hold different weights"
    assert "Training diverged in epoch" in outcome.found["diverged"]
    assert "see different numbers of pictures (40 to 41); expected the same" in outcome.found["unequal"]
    assert outcome.found["read back"] == [True, True], "checkpoints, whole and in pieces"
    # one was killed: an error by name within seconds ...
    assert str(outcome.error) == "worker 1 of 2 was killed (SIGKILL)"
    assert outcome.error.number == 1
    assert outcome.seconds < 10
    # ... and the run goes on from the last checkpoint, here on one device
    one, folder = script(), tmp_path / "killed"
    assert 1 <= read_latest(folder).epoch < one.LONG
    model = one.fit("lenet5", checkpoint=str(folder), epochs=one.LONG)
    whole = one.fit("lenet5", epochs=one.LONG)
    assert [row["epoch"] for row in model.history_] == list(range(1, one.LONG + 1))
    np.testing.assert_allclose([r["loss"] for r in model.history_], [r["loss"] for r in whole.history_], rtol=1e-3)


# --------------------------------------------------------------------------------------------- without processes


def small(**options):
    return rb.CNNClassifier(
        **{"epochs": 1, "batch_size": 8, "random_state": 0, "device": "cpu", "verbose": 0, **options}
    )


def test_a_process_alone_is_not_one_of_several(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert not under_torchrun()
    assert number_of_process() == 0
    with joined(STANDARD, "cpu") as rank:
        assert rank is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert number_of_process() == 1
    with joined(Plan(devices=1), "cpu") as rank:
        assert rank is None


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["resident", "streamed"])
def test_batches_are_cut_among_the_processes(kind, weighted):
    x, y = torch.arange(11.0), torch.arange(11)
    w = torch.rand(11, generator=torch.Generator().manual_seed(0)) if weighted else None

    def batches(part):
        options = {"device": "cpu", "batch_size": 4, "generator": torch.Generator().manual_seed(1), "part": part}
        if kind == "resident":
            data = Resident(x, y, w, **options)
        else:
            data = Streamed(lambda rows: (x.numpy()[rows].reshape(-1, 1, 1, 1), rows), y, w, **options)
        return [(y.tolist(), data.share, data.whole) for _, y, _ in data]

    alone, parts = batches((0, 1)), [batches((n, 3)) for n in range(3)]
    for one, several in zip(alone, zip(*parts, strict=True), strict=True):
        assert [row for part in several for row in part[0]] == one[0]
        assert sum(part[1] for part in several) == pytest.approx(1)
        assert {part[2] for part in several} == {len(one[0])}
    few = [batches((n, 4)) for n in range(4)]
    assert {tuple(part[-1][0]) for part in few} == {tuple(alone[-1][0])}  # 3 rows for 4 processes: all take all
    assert sum(part[-1][1] for part in few) == 1


def test_a_picture_that_cannot_be_read_is_an_error_on_several_devices():
    data = Streamed(
        lambda rows: (np.zeros((len(rows) - 1, 1, 1, 1), np.uint8), rows[1:]), torch.arange(8), device="cpu",
        batch_size=4, part=(0, 2),
    )  # fmt: skip
    with pytest.raises(
        PictureError, match=r"1 of 2 pictures of a batch cannot be read; expected all of them on several"
    ):
        list(data)


def test_what_cannot_be_shared_is_refused(monkeypatch):
    X, y, _ = script().pictures()
    with PrivateRandom(0):
        own = nn.Sequential(nn.Flatten(), nn.Linear(144, 3))
    with pytest.raises(ParameterError, match=r"a network of your own.*torchrun --nproc-per-node 2 SCRIPT"):
        small(network=own, plan=Plan(devices=2)).fit(X, y)
    with pytest.raises(ParameterError, match="random_state=None; expected an integer"):
        small(random_state=None, plan=Plan(devices=2, checkpoint="runs")).fit(X, y)
    series = np.sin(np.arange(60) / 3)
    with pytest.raises(ParameterError, match=r"Plan\(devices=2\): this system learns on one device"):
        rb.Forecaster(horizon=2, window=6, epochs=1, plan=Plan(devices=2), verbose=0).fit(series)
    with pytest.raises(
        ParameterError, match=r"Plan\(sharded=True\) on one device; expected Plan\(devices=N\) or torchrun"
    ):
        small(plan=Plan(sharded=True)).fit(X, y)
    with pytest.raises(ParameterError, match=r"it turns whole matrices, which no process holds"):
        small(plan=Plan(sharded=True, optimizer="muon")).fit(X, y)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match="2 or more processes want a GPU each, this machine has 1"):
        distributed._device_of("cuda", 1)
    with pytest.raises(DeviceError, match=r"device='cuda:1' with several devices; expected 'auto', 'cpu' or 'cuda'"):
        distributed._device_of("cuda:1", 0)


def test_two_named_devices_are_not_cut_among_processes():
    X, y = np.random.default_rng(0).integers(0, 256, (12, 77, 77, 3), np.uint8), np.arange(12) % 2
    with pytest.raises(DeviceError, match=r"device='cpu,cpu' with Plan\(devices=2\); expected one of them"):
        small(network="alexnet-2012", device="cpu,cpu", plan=Plan(devices=2)).fit(X, y)


def run_here(monkeypatch):
    """The task of several processes, done by this one."""

    def here(arguments, count, *, folder, aloud):
        assert (arguments[:2], count) == (["-m", "rosenblatt.estimators.devices"], 2)
        monkeypatch.setattr(devices, "Plan", lambda **said: Plan(**{**said, "devices": 1}))
        devices.work(Path(arguments[2]))

    monkeypatch.setattr(devices, "launch", here)


def test_the_task_and_its_result_go_through_files(monkeypatch, tmp_path):
    X, y, weight = script().pictures()
    y = np.array(["a", "b", "c"])[y]
    options = {"network": "lenet5", "epochs": 2, "class_weight": {"a": 2.0, "b": 1.0, "c": 1.0}}
    alone = small(**options).fit(X, y, weight)
    run_here(monkeypatch)
    shared = small(**options, plan=Plan(devices=2)).fit(X, y, weight)
    assert shared.classes_.tolist() == ["a", "b", "c"]
    assert (shared.decision_function(X) == alone.decision_function(X)).all()
    assert [r["loss"] for r in shared.history_] == [r["loss"] for r in alone.history_]
    assert shared.n_iter_ == 2
    path = shared.save(tmp_path / "m.safetensors")
    assert (rb.load(path).predict(X) == alone.predict(X)).all()


def test_pictures_on_disk_are_named_to_the_processes(monkeypatch, tmp_path):
    from PIL import Image

    X, y, _ = script().pictures()
    for i, (picture, label) in enumerate(zip(X, y, strict=True)):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / str(label) / f"{i}.png")
    monkeypatch.setattr(PictureSource, "fits", lambda self: False)
    alone = small().fit(tmp_path)
    run_here(monkeypatch)
    shared = small(plan=Plan(devices=2)).fit(tmp_path)
    assert (shared.predict(tmp_path / "1") == alone.predict(tmp_path / "1")).all()
    assert "data_wait" in shared.history_[0]
    source = open_pictures(tmp_path)
    members = [Member(Path("a.tar"), "x.png", 512, 9), *source.items[1:]]
    described = devices._described(PictureSource(members, source.names, y, (12, 12, 1), True, [], "x"))
    again = devices._pictures(tmp_path, {"source": json.loads(json.dumps(described)), "y": y})
    assert again.items == members
    assert again.form == (12, 12, 1)


def test_warnings_and_errors_of_the_processes_are_heard(monkeypatch, tmp_path):
    X, y, _ = script().pictures()

    def fail(kind, message, left=True):
        def launch(_arguments, _count, *, folder, aloud):
            if left:
                (folder / "1.json").write_text(json.dumps([kind, message]))
            state = {
                "module": small().fit(X, y).module_.state_dict(),
                "fitted": {},
                "warnings": [["MemoryWarning", "tight"]],
            }
            write(folder / "result", state, 1)
            raise WorkerError("worker 1 of 2 failed (exit code 1)", number=1)

        monkeypatch.setattr(devices, "launch", launch)

    fail("DivergedError", "Training diverged in epoch 3")
    model = small(plan=Plan(devices=2))
    with (
        pytest.warns(MemoryWarning, match="tight"),
        pytest.raises(rb.errors.DivergedError, match="diverged in epoch 3"),
    ):
        model.fit(X, y)
    assert (model.decision_function(X) == small().fit(X, y).decision_function(X)).all()  # what was good is kept
    fail("", "", left=False)
    with (
        pytest.warns(MemoryWarning),
        pytest.raises(
            WorkerError,
            match=r"CNNClassifier.fit: worker 1 of 2 failed \(exit code 1\)\. Plan\(checkpoint=FOLDER\) would have kept",
        ),
    ):
        model.fit(X, y)
    with (
        pytest.warns(MemoryWarning),
        pytest.raises(WorkerError, match=f"goes on after the last checkpoint in {tmp_path}"),
    ):
        model.set_params(plan=Plan(devices=2, checkpoint=tmp_path)).fit(X, y)


def test_a_process_that_fails_says_so(tmp_path, capfd):
    code = "import os, sys, time; print('hello', file=sys.stderr, flush=True); time.sleep(0.3)\n"
    code += "sys.exit('no ' + os.environ['RANK'] if os.environ['RANK'] == '1' else time.sleep(60))"
    started = time.monotonic()
    with pytest.raises(WorkerError, match=r"worker 1 of 2 failed \(exit code 1\): no 1$"):
        launch(["-c", code], 2, folder=tmp_path, aloud=True)
    assert time.monotonic() - started < 30
    assert "hello" in capfd.readouterr().err


def test_processes_end_with_the_one_that_started_them(tmp_path):
    work = "from rosenblatt.estimators.devices import _end_with_parent; import threading, time, pathlib;"
    work += f"threading.Thread(target=_end_with_parent, daemon=True).start(); pathlib.Path({str(tmp_path / 'here')!r}).touch();"
    work += "time.sleep(60)"
    start = f"subprocess.Popen([sys.executable, '-c', {work!r}], stdin=subprocess.PIPE).wait()"
    parent = subprocess.Popen([sys.executable, "-c", f"import subprocess, sys; {start}"], stdout=subprocess.PIPE)
    while not (tmp_path / "here").exists() and parent.poll() is None:
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    started = time.monotonic()
    assert parent.stdout.read() == b""  # ends when the grandchild, which holds the pipe too, has ended
    assert time.monotonic() - started < 30
    parent.stdout.close()


@pytest.mark.slow
def test_two_devices_from_python_and_from_the_command_line(tmp_path):
    X, y, _ = script().pictures()
    alone = small(network="lenet5", plan=Plan(precision="fp32")).fit(X, y)
    shared = small(network="lenet5", plan=Plan(precision="fp32", devices=2)).fit(X, y)
    np.testing.assert_allclose(shared.decision_function(X), alone.decision_function(X), rtol=1e-4, atol=1e-4)
    from PIL import Image

    for i, (picture, label) in enumerate(zip(X, y, strict=True)):
        (tmp_path / "p" / str(label)).mkdir(exist_ok=True, parents=True)
        Image.fromarray(picture).save(tmp_path / "p" / str(label) / f"{i}.png")
    command = [
        "-c",
        "from rosenblatt.cli import main; main()",
        "train",
        "cnn",
        str(tmp_path / "p"),
        "--json",
        "--epochs",
        "1",
    ]
    command += ["--random-state", "0", "--device", "cpu"]
    own = [sys.executable, *command, "-o", str(tmp_path / "a.safetensors"), "--devices", "2"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--no-python", sys.executable]
    for started in (own, [*torchrun, *command, "-o", str(tmp_path / "b.safetensors")]):
        done = subprocess.run(started, capture_output=True, text=True, check=False, env=os.environ)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.strip().splitlines()) == 1  # one process speaks
    models = [rb.load(tmp_path / f"{name}.safetensors", device="cpu") for name in "ab"]
    np.testing.assert_array_equal(models[0].decision_function(X), models[1].decision_function(X))
