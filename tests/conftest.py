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


@pytest.fixture(scope="session")
def digits_net():
    """A small convnet that has learned 1,400 of scikit-learn's digits, and all of them: pixels of 0 to 1, labels."""
    import torch
    from sklearn.datasets import load_digits
    from torch import nn

    X, y = load_digits(return_X_y=True)
    x, y = torch.tensor(X / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(y)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10))
        optimizer = torch.optim.Adam(net.parameters(), 0.005)
        for _ in range(4):
            for rows in torch.randperm(1400).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
                optimizer.step()
    net.zero_grad()
    return net, x, y


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
