"""The compiled engine by itself: gradients, dropout, what is not finite, states, several networks."""

from itertools import pairwise

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from rosenblatt.backprop import functions, kernels
from rosenblatt.backprop.engine import CompiledChain, CompiledOptimizer, covers, epoch, epochs_many


@pytest.fixture(autouse=True)
def _one_blas_thread():
    with threadpool_limits(1, "blas"):
        yield


def network(sizes=(5, 8, 3), seed=0, dtype=np.float64, **options):
    random = np.random.default_rng(seed)
    coefs = [random.normal(size=s).astype(dtype) for s in pairwise(sizes)]
    chosen = {"activation": "tanh", "output": "softmax", "loss": "log_loss", "alpha": 0.1, "dropout": 0.0, **options}
    return CompiledChain(coefs, [np.zeros(s, dtype) for s in sizes[1:]], **chosen)


def table(rows=30, dtype=np.float64):
    random = np.random.default_rng(5)
    return random.normal(size=(rows, 5)).astype(dtype), np.eye(3, dtype=dtype)[random.integers(0, 3, rows)]


def test_gradient_against_central_differences():
    chain, (X, y) = network(), table()
    gradient = chain.loss_and_gradient(X, y, None)[1].copy()
    for i in range(0, len(chain.flat), 5):
        sides = []
        for h in (1e-6, -1e-6):
            chain.flat[i] += h
            sides.append(chain.loss_and_gradient(X, y, None)[0])
            chain.flat[i] -= h
        assert gradient[i] == pytest.approx((sides[0] - sides[1]) / 2e-6, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_far_out_and_near_zero(dtype):
    x = np.concatenate([np.linspace(-86, 86, 2001), np.geomspace(1e-7, 1, 50), -np.geomspace(1e-7, 1, 50)]).astype(
        dtype
    )
    exact = {
        functions.TANH: np.tanh,
        functions.LOGISTIC: lambda v: 1 / (1 + np.exp(-v)),
        functions.SOFTPLUS: lambda v: np.logaddexp(0, v),
        functions.ELU: lambda v: np.where(v > 0, v, np.expm1(np.minimum(v, 0))),
    }
    for code, function in exact.items():
        z = x.copy()
        functions.activate(code, z, np.empty_like(z))
        tolerance = 40 * np.finfo(dtype).eps
        np.testing.assert_allclose(z, function(x.astype(np.float64)), rtol=tolerance, atol=1e-37)


@pytest.mark.parametrize("code", range(2, 14))
def test_nan_passes_through(code):
    z = np.array([1.0, np.nan])
    functions.activate(code, z, np.empty(2))
    assert np.isnan(z).tolist() == [False, True]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_dropout_share_and_scale(share):
    values, slope = np.ones(100_000), np.ones(100_000)
    kernels.drop(values, slope, share, kernels.mix(3, 4, 5))
    assert (values == 0).mean() == pytest.approx(share, abs=0.006)
    assert values.max() == pytest.approx(1 / (1 - share))
    assert (values == slope).all()
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.015


def test_dropout_by_seed():
    X, y = table()
    runs = []
    for seed in (1, 1, 2):
        chain = network(dropout=0.5)
        chain.seed = np.int64(seed)
        optimizer = CompiledOptimizer("adam", chain, learning_rate=0.01)
        for _ in range(3):
            epoch(chain, optimizer, X, y, None, np.arange(30), 7)
        runs.append(chain.flat)
    assert (runs[0] == runs[1]).all()
    assert (runs[0] != runs[2]).any()


@pytest.mark.parametrize("function", ["relu", "tanh"])
def test_the_batch_and_layer_that_are_not_finite(function):
    chain, (X, y) = network(activation=function), table()
    optimizer = CompiledOptimizer("adam", chain, learning_rate=0.01)
    X[17] = np.inf
    loss, bad, layer = epoch(chain, optimizer, X, y, None, np.arange(30), 7)
    assert np.isfinite(loss)
    assert (bad, layer) == (3, "layers.0")
    assert np.isfinite(chain.flat).all()
    assert optimizer.steps == 2
    X, y = table()
    chain.flat[chain.table[1, kernels.COEF]] = np.nan
    assert epoch(chain, optimizer, X, y, None, np.arange(30), 7)[1:] == (1, "layers.1")


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw", "rmsprop"])
def test_state_continues(kind):
    X, y = table()
    straight, broken = network(), network()
    one = CompiledOptimizer(kind, straight, learning_rate=0.01)
    two = CompiledOptimizer(kind, broken, learning_rate=0.01)
    for _ in range(4):
        epoch(straight, one, X, y, None, np.arange(30), 8)
    for _ in range(4):
        epoch(broken, two, X, y, None, np.arange(30), 8)
        fresh = CompiledOptimizer(kind, broken, learning_rate=1.0)
        assert fresh.load(two.state())
        two = fresh
    assert (straight.flat == broken.flat).all()
    assert not CompiledOptimizer("adam" if kind == "sgd" else "sgd", broken, learning_rate=1.0).load(two.state())


def test_a_read_only_table_compiles_nothing_more():
    chain, (X, y) = network(), table()
    epoch(chain, CompiledOptimizer("adam", chain, learning_rate=0.01), X, y, None, np.arange(30), 8)
    before = len(kernels.run_epoch.signatures)
    X.flags.writeable = False
    epoch(chain, CompiledOptimizer("adam", chain, learning_rate=0.01), X, y, None, np.arange(30), 8)
    assert len(kernels.run_epoch.signatures) == before


def test_many_are_each_alone():
    X, y = table()
    order = np.random.default_rng(0).permutation(30)
    alone = [network(seed=s) for s in range(3)]
    many = [network(seed=s) for s in range(3)]
    expected = [epoch(c, CompiledOptimizer("adam", c, learning_rate=0.01), X, y, None, order, 8) for c in alone]
    optimizers = [CompiledOptimizer("adam", c, learning_rate=0.01) for c in many]
    assert epochs_many(many, optimizers, X, y, [order] * 3, 8) == expected
    for a, b in zip(alone, many, strict=True):
        assert (a.flat == b.flat).all()


def test_covers():
    assert covers("swish", "softmax", "log_loss", np.float32)
    assert not covers("softmax", "softmax", "log_loss", np.float32)
    assert not covers(np.tanh, "softmax", "log_loss", np.float32)
    assert not covers("relu", "softmax", "squared_error", np.float32)
    assert not covers("relu", "softmax", "log_loss", np.float16)
    assert not covers("no such", "softmax", "log_loss", np.float32)
