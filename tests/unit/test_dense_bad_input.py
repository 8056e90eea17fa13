"""What the compiled engine does with data and settings that are not as one would wish."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.datasets import load_iris

import rosenblatt as rb
from rosenblatt.errors import DivergedError, ParameterError

X, Y = load_iris(return_X_y=True)
SHORT = {"hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def same(a, b, rtol=0.0):
    for mine, other in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        np.testing.assert_allclose(mine, other, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("activation", ["identity", torch.nn.Identity()], ids=["compiled", "torch"])
def test_a_diverging_rate_leaves_the_weights_of_the_last_good_epoch(activation):
    options = {
        "activation": activation,
        "solver": "sgd",
        "learning_rate_init": 30.0,
        "batch_size": 50,
        "random_state": 0,
    }
    model = rb.MLPRegressor(hidden_layer_sizes=(8,), max_iter=200, **options)
    with pytest.raises(DivergedError, match=r"diverged in epoch \d+, batch \d+; .* layer 'layers\.\d'") as error:
        model.fit(X, X[:, 0])
    good = error.value.epoch - 1
    assert good >= 1
    assert len(model.history_) == model.n_iter_ == good
    assert all(np.isfinite(c).all() for c in model.coefs_ + model.intercepts_)
    same(model, rb.MLPRegressor(hidden_layer_sizes=(8,), max_iter=good, **options).fit(X, X[:, 0]))


def test_constant_features_change_nothing_but_the_bias():
    constant = np.hstack([X, np.full((150, 2), 3.0)])
    model = rb.MLPClassifier(**{**SHORT, "max_iter": 300, "learning_rate_init": 0.02}).fit(constant, Y)
    assert model.engine_ == "compiled"
    assert model.score(constant, Y) > 0.8
    assert np.isfinite(
        rb.MLPClassifier(**SHORT).fit(np.zeros((20, 3)), np.arange(20) % 2).predict_proba(np.zeros((1, 3)))
    ).all()


def test_one_sample():
    model = rb.MLPRegressor(**{**SHORT, "max_iter": 2000, "learning_rate_init": 0.02, "n_iter_no_change": 2000})
    model.fit(X[:1], [3.0])
    assert model.predict(X[:1])[0] == pytest.approx(3.0, abs=0.05)
    with pytest.raises(rb.errors.DataError, match="y has 1 class"):
        rb.MLPClassifier(**SHORT).fit(X[:1], Y[:1])


def test_a_batch_larger_than_the_data_is_the_data():
    with pytest.warns(UserWarning, match="larger than sample size"):
        large = rb.MLPClassifier(batch_size=1000, **SHORT).fit(X, Y)
    same(large, rb.MLPClassifier(batch_size=150, **SHORT).fit(X, Y))


def test_the_precision_is_that_of_the_table():
    double, single = rb.MLPClassifier(**SHORT).fit(X, Y), rb.MLPClassifier(**SHORT).fit(X.astype(np.float32), Y)
    assert (double.precision_, single.precision_) == ("fp64", "fp32")
    assert {c.dtype for c in double.coefs_} == {np.dtype(np.float64)}
    assert {c.dtype for c in single.coefs_} == {np.dtype(np.float32)}
    same(double, single, rtol=1e-4)
    whole = rb.MLPClassifier(**SHORT).fit((X * 10).astype(int), Y)
    assert whole.precision_ == "fp64"


def test_sparse_tables_take_the_torch_path_to_the_same_weights():
    thin = np.where(X > 3, X, 0.0)
    dense, sparse = rb.MLPClassifier(**SHORT).fit(thin, Y), rb.MLPClassifier(**SHORT).fit(sp.csr_matrix(thin), Y)
    assert (dense.engine_, sparse.engine_) == ("compiled", "torch")
    same(dense, sparse, rtol=1e-9)


@pytest.mark.parametrize("change", [np.asfortranarray, lambda x: np.repeat(x, 2, 1)[:, ::2], lambda x: x[::-1][::-1]])
def test_memory_in_another_order(change):
    same(rb.MLPClassifier(**SHORT).fit(change(X), Y), rb.MLPClassifier(**SHORT).fit(X, Y))


def test_a_read_only_table_stays_as_it_is():
    frozen = X.copy()
    frozen.flags.writeable = False
    same(rb.MLPClassifier(**SHORT).fit(frozen, Y), rb.MLPClassifier(**SHORT).fit(X, Y))
    np.testing.assert_array_equal(frozen, X)


def test_targets_without_variance():
    scaled = (X - X.mean(0)) / X.std(0)
    model = rb.MLPRegressor(**{**SHORT, "max_iter": 400, "learning_rate_init": 0.01}).fit(scaled, np.full(150, 2.5))
    np.testing.assert_allclose(model.predict(scaled), 2.5, atol=0.5)
    zeros = rb.MLPRegressor(**SHORT).fit(X, np.zeros(150))
    assert np.isfinite(zeros.predict(X)).all()


def test_ten_thousand_classes():
    table = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    model = rb.MLPClassifier(hidden_layer_sizes=(4,), batch_size=100, random_state=0)
    model.partial_fit(table, np.arange(300) * 33, classes=np.arange(10_000))
    assert model.engine_ == "compiled"
    assert model.loss_ == pytest.approx(np.log(10_000), rel=0.1)
    assert model.predict_proba(table[:2]).shape == (2, 10_000)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda z: z.sum(1), "shape"),
        (lambda z: torch.log(z), "returned nan at x = -3; expected finite values"),
        (lambda z: z.numpy(), "tensor"),
        (lambda z: (_ for _ in ()).throw(RuntimeError("mine")), "mine"),
    ],
    ids=["shape", "nan", "kind", "raises"],
)
def test_a_callable_that_is_no_activation(function, words):
    model = rb.MLPClassifier(activation=function, **{**SHORT, "hidden_layer_sizes": (3,)})
    with pytest.raises(ParameterError, match=words):
        model.fit(X, Y)
    assert not hasattr(model, "coefs_") or all(np.isfinite(c).all() for c in model.coefs_)


def test_a_callable_that_turns_nan_later():
    model = rb.MLPClassifier(activation=lambda z: torch.sqrt(3.5 - z), **SHORT)
    with pytest.raises(DivergedError, match=r"layer 'layers\.1'"), warnings.catch_warnings():
        model.fit(X * 100, Y)
    assert all(np.isfinite(c).all() for c in model.coefs_)
