"""Fixtures and hooks of all tests."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import pytest

matplotlib.use("Agg")


def pytest_configure(config):
    """One thread a worker: two workers with two threads each only get into each other's way."""
    if hasattr(config, "workerinput"):
        import torch

        torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Skip tests that need a data set which ROSENBLATT_DATA does not have, by name."""
    root = os.environ.get("ROSENBLATT_DATA")
    for item in items:
        for mark in item.iter_markers("data"):
            name = mark.args[0]
            if not root or not (Path(root) / name).exists():
                item.add_marker(pytest.mark.skip(reason=f"needs the data set {name!r} under ROSENBLATT_DATA"))


@pytest.fixture(autouse=True)
def _global_random_state_stays(request):
    """No test may leave numpy's or torch's global random state changed by the library."""
    if "contract" in request.path.parts:  # scikit-learn's own checks seed numpy's global state themselves
        yield
        return
    import numpy as np
    import torch

    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    yield
    assert (np.random.get_state()[1] == numpy_before).all(), "numpy's global random state was touched"
    assert bool((torch.get_rng_state() == torch_before).all()), "torch's global random state was touched"


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process: words -> code, out, err."""
    import warnings

    from rosenblatt.cli import main

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["rosenblatt", *map(str, words)])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        said = capsys.readouterr()
        return SimpleNamespace(code=code, out=said.out, err=said.err)

    return call
