"""The compiled engine by itself: gradients, dropout, what is not finite, states, several networks."""

import os
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from rosenblatt.backprop import compiling, engine, functions, kernels
from rosenblatt.backprop.engine import CompiledChain, CompiledOptimizer, covers, epoch, one_blas_thread


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


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_share_a_batch(monkeypatch, threads, kind, weighted):
    X, y = table(61)
    weight = np.random.default_rng(1).uniform(0.1, 2, 61) if weighted else None
    ends = []
    for count in (1, threads, threads):
        monkeypatch.setattr(CompiledChain, "threads", lambda self, batch, count=count: count)
        chain = network()
        optimizer = CompiledOptimizer(kind, chain, learning_rate=0.01, weight_decay=0.1)
        losses = [
            epoch(chain, optimizer, X, y, weight, np.arange(61), 20)[0] for _ in range(3)
        ]  # the last batch is one row
        ends.append((losses, chain.flat))
    np.testing.assert_allclose(ends[1][0], ends[0][0], rtol=1e-12)
    np.testing.assert_allclose(ends[1][1], ends[0][1], rtol=1e-10)
    assert (ends[1][1] == ends[2][1]).all()  # whichever thread is faster
    assert ends[1][0] == ends[2][0]


def test_threads_stop_together(monkeypatch):
    monkeypatch.setattr(CompiledChain, "threads", lambda self, batch: 2)
    chain, (X, y) = network(), table()
    X[17] = np.inf  # in the second half of the third batch
    optimizer = CompiledOptimizer("adam", chain, learning_rate=0.01)
    assert epoch(chain, optimizer, X, y, None, np.arange(30), 7)[1:] == (3, "layers.0")
    assert np.isfinite(chain.flat).all()
    assert optimizer.steps == 2


def test_who_takes_the_shares_changes_no_bit(monkeypatch):
    monkeypatch.setattr(CompiledChain, "threads", lambda self, batch: 3)
    X, y = table(61)
    ends = []
    for numbers in ((1, 1, 1), (3, 3, 3), (2, 1, 3)):
        chain = network(dropout=0.2)
        optimizer = CompiledOptimizer("adam", chain, learning_rate=0.01)
        losses = []
        for number in numbers:
            monkeypatch.setattr(engine._Pace, "next", lambda self, shares, number=number: (number, 100))
            losses.append(epoch(chain, optimizer, X, y, None, np.arange(61), 5)[0])
        ends.append((losses, chain.flat))
    for losses, flat in ends[1:]:
        assert losses == ends[0][0]
        assert (flat == ends[0][1]).all()


def test_an_epoch_in_parts_is_the_epoch(monkeypatch):
    monkeypatch.setattr(CompiledChain, "threads", lambda self, batch: 2)
    X, y = table(61)
    ends = []
    for parts in ([(2, 100)], [(2, 1), (1, 5), (2, 3), (1, 100)]):
        chain, turns = network(dropout=0.2), iter(parts * 2)
        monkeypatch.setattr(engine._Pace, "next", lambda self, shares, turns=turns: next(turns))
        optimizer = CompiledOptimizer("adam", chain, learning_rate=0.01)
        ends.append(([epoch(chain, optimizer, X, y, None, np.arange(61), 5)[0] for _ in range(2)], chain.flat))
    assert ends[0][0] == ends[1][0]
    assert (ends[0][1] == ends[1][1]).all()


def test_the_faster_number_of_threads_is_kept_and_the_other_tried_again():
    trial, long = engine._TRIAL, engine._LONG
    cost = {1: 3.0, 2: 2.0}
    pace, seen = engine._Pace(), []
    for turn in range(8):
        threads, steps = pace.next(2)
        seen.append((threads, steps))
        pace.note(threads, steps, steps * (100.0 if turn == 0 else cost[threads]))  # the first one compiles
        if turn == 4:
            cost[2] = 4.0  # another program began
    assert seen[:5] == [(2, trial), (1, trial), (2, trial), (2, long), (1, trial)]
    assert seen[5:] == [(2, long), (1, long), (2, trial)]
    assert engine._Pace().next(1) == (1, long)


def test_threads_by_work():
    assert network().threads(30) == 1
    assert network((784, 128, 10)).threads(128) >= 1
    assert network((784, 128, 10)).threads(4) == 1


def test_one_blas_thread_is_given_back_in_any_order():
    def limits():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    with threadpool_limits(2, "blas"):
        first, second = one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        assert limits() == {1}
        first.__exit__(None, None, None)
        assert limits() == {1}
        second.__exit__(None, None, None)
        assert limits() == {2}


@pytest.mark.slow
def test_compiling_says_so(tmp_path):
    code = (
        "import numpy as np; from rosenblatt.backprop import compiling, engine; engine.compile_for(np.dtype('float32'))"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    said = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        said.append(done.stderr.count("compiling the engine of dense networks for float32"))
    assert said == [1, 0]


def test_announced_only_where_it_takes_long(monkeypatch, capsys):
    monkeypatch.setattr(compiling, "PATIENCE", 0.05)
    with compiling.announced("quickly"):
        pass
    with compiling.announced("slowly"):
        time.sleep(0.3)
    said = capsys.readouterr().err
    assert said.count("compiling slowly; about ten seconds, once") == 1
    assert "quickly" not in said


def test_covers():
    assert covers("swish", "softmax", "log_loss", np.float32)
    assert not covers("softmax", "softmax", "log_loss", np.float32)
    assert not covers(np.tanh, "softmax", "log_loss", np.float32)
    assert not covers("relu", "softmax", "squared_error", np.float32)
    assert not covers("relu", "softmax", "log_loss", np.float16)
    assert not covers("no such", "softmax", "log_loss", np.float32)
