"""The compiled engine against the PyTorch chain: the same numbers, step by step."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from rosenblatt.backprop.engine import ACTIVATIONS, CompiledChain, CompiledOptimizer, epoch
from rosenblatt.layers.activations import activation as torch_activation
from rosenblatt.train.dense import DenseChain, FlatOptimizer
from rosenblatt.train.dense_loops import train_epoch

PAIRS = [("identity", "squared_error"), ("logistic", "log_loss"), ("softmax", "log_loss"), ("exp", "poisson")]


@pytest.fixture(autouse=True)
def _one_blas_thread():
    with threadpool_limits(1, "blas"):
        yield


def targets(random, rows, outputs, output):
    if output == "softmax":
        return np.eye(outputs)[random.integers(0, outputs, rows)]
    if output == "logistic":
        return random.integers(0, 2, (rows, outputs)).astype(float)
    return random.poisson(2, (rows, outputs)).astype(float)


def compare(
    function="tanh", output="softmax", loss="log_loss", dtype=np.float64, rows=45, batch=8, sizes=(6, 7, 5, 3),
    kind="adam", weight=None, epochs=4, **options,
):  # fmt: skip
    random = np.random.default_rng(1)
    coefs = [(0.5 * random.normal(size=s)).astype(dtype) for s in pairwise(sizes)]
    intercepts = [(0.5 * random.normal(size=s)).astype(dtype) for s in sizes[1:]]
    X = random.normal(size=(rows, sizes[0])).astype(dtype)
    y = targets(random, rows, sizes[-1], output).astype(dtype)
    weight = None if weight is None else weight.astype(dtype)
    shared = {"output": output, "loss": loss, "alpha": 0.01, "dropout": 0.0}
    rates = {"learning_rate": 0.01, "momentum": 0.9, "nesterov": True, "beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-8}
    ours = CompiledChain(coefs, intercepts, activation=function, **shared)
    cpu = torch.device("cpu")
    theirs = DenseChain(
        coefs, intercepts, activation=torch_activation(function), device=cpu, generator=torch.Generator(), **shared
    )
    mine, other = (
        CompiledOptimizer(kind, ours, **{**rates, **options}),
        FlatOptimizer(kind, theirs.flat, **{**rates, **options}),
    )
    tolerance = {"rtol": 1e-10, "atol": 1e-10} if dtype == np.float64 else {"rtol": 1e-4, "atol": 1e-4}
    for number in range(epochs):
        order = random.permutation(rows)
        found, bad, layer = epoch(ours, mine, X, y, weight, order, batch)
        expected = train_epoch(theirs, other, X, y, weight, order, batch, number=number, start=0.01)
        assert bad is None
        assert layer is None
        np.testing.assert_allclose(found, expected, **tolerance)
        np.testing.assert_allclose(ours.flat, theirs.flat.numpy(), **tolerance)
    state, theirs_state = mine.state(), other.state()
    assert state.keys() == theirs_state.keys()
    assert state["steps"] == theirs_state["steps"]
    np.testing.assert_allclose(state["first"], theirs_state["first"], **tolerance)
    np.testing.assert_allclose(ours.forward(X), theirs.forward(torch.from_numpy(X)).numpy(), **tolerance)
    loss_now, gradient = ours.loss_and_gradient(X, y, weight)
    step = theirs.loss_and_gradient(
        torch.from_numpy(X), torch.from_numpy(y), None if weight is None else torch.from_numpy(weight)
    )
    np.testing.assert_allclose(loss_now, step.loss, **tolerance)
    np.testing.assert_allclose(gradient, theirs.gradient.numpy(), **tolerance)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: p[0])
@pytest.mark.parametrize("function", ACTIVATIONS)
def test_by_activation_and_output(function, pair, dtype):
    compare(function, *pair, dtype=dtype)


@pytest.mark.parametrize("options", [{"nesterov": True}, {"nesterov": False}, {"momentum": 0.0}], ids=str)
def test_sgd(options):
    compare(kind="sgd", **options)


def test_weights_and_a_batch_without_any():
    weight = np.random.default_rng(0).uniform(0.1, 2, 45)
    compare(weight=weight)
    weight[:] = 0
    weight[3] = 1.5
    compare(weight=weight, kind="sgd")


@pytest.mark.parametrize(("rows", "batch"), [(45, 7), (45, 45), (45, 100), (1, 1), (1, 8)])
def test_batches(rows, batch):
    compare(rows=rows, batch=batch)


@pytest.mark.parametrize("sizes", [(6, 3), (6, 1, 1), (1, 4, 1), (6, 300, 3)], ids=str)
def test_shapes(sizes):
    compare(output="identity", loss="squared_error", sizes=sizes)


def test_ten_thousand_classes():
    compare(sizes=(5, 4, 10_000), epochs=2)


@pytest.mark.parametrize("kind", ["adamw", "rmsprop"])
def test_the_other_optimizers_against_torch(kind):
    random = np.random.default_rng(2)
    coefs, intercepts = [random.normal(size=(4, 3)), random.normal(size=(3, 2))], [np.ones(3), np.ones(2)]
    X, y = random.normal(size=(20, 4)), random.normal(size=(20, 2))
    chain = CompiledChain(
        coefs, intercepts, activation="tanh", output="identity", loss="squared_error", alpha=0.0, dropout=0.0
    )
    optimizer = CompiledOptimizer(kind, chain, learning_rate=0.01, weight_decay=0.1, epsilon=1e-12)
    weights = [torch.tensor(c, requires_grad=True) for c in coefs]
    biases = [torch.tensor(b, requires_grad=True) for b in intercepts]
    groups = [{"params": weights, "weight_decay": 0.1}, {"params": biases, "weight_decay": 0.0}]
    make = torch.optim.AdamW if kind == "adamw" else torch.optim.RMSprop
    reference = make(groups, lr=0.01, eps=1e-12)
    for _ in range(5):
        epoch(chain, optimizer, X, y, None, np.arange(20), 20)
        reference.zero_grad()
        out = torch.tanh(torch.from_numpy(X) @ weights[0] + biases[0]) @ weights[1] + biases[1]
        (0.5 * (out - torch.from_numpy(y)).square().sum() / 20).backward()
        reference.step()
    for ours, theirs in zip([a for part in chain.arrays() for a in part], [*weights, *biases], strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-8)
