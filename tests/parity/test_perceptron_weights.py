"""Our Perceptron against scikit-learn's: the same seed must give the same weights; and Novikoff's bound."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import Perceptron as Theirs

import rosenblatt as rb
from rosenblatt.errors import NonFiniteError, NotFittedError, ParameterError

DIGITS = load_digits(return_X_y=True)
IRIS = load_iris(return_X_y=True)

OPTIONS = [
    {},
    {"penalty": "l2"},
    {"penalty": "l1", "alpha": 1e-3},
    {"penalty": "elasticnet", "l1_ratio": 0.4},
    {"eta0": 0.1, "fit_intercept": False},
    {"shuffle": False},
    {"early_stopping": True, "validation_fraction": 0.2, "n_iter_no_change": 3},
    {"class_weight": "balanced"},
    {"tol": None, "max_iter": 7},
]


def pair(options, X, y, weight=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [kind(random_state=5, **options).fit(X, y, sample_weight=weight) for kind in (rb.Perceptron, Theirs)]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("data", [DIGITS, IRIS, (IRIS[0], IRIS[1] == 1)], ids=["digits", "iris", "binary"])
def test_weights_are_equal(options, data):
    ours, theirs = pair(options, *data)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-9, atol=1e-12)
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_array_equal(ours.predict(data[0]), theirs.predict(data[0]))


def test_sparse_and_weighted_input():
    weight = np.random.RandomState(0).uniform(0, 2, len(DIGITS[0]))
    for X in (DIGITS[0], sp.csr_matrix(DIGITS[0])):
        ours, theirs = pair({}, X, DIGITS[1], weight)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.floats(0.05, 1.0))
def test_novikoff_bound(seed, features, margin):
    """On data with margin gamma inside a ball of radius R the rule errs at most (R / gamma)^2 times (Novikoff 1962)."""
    source = np.random.RandomState(seed)
    w = source.normal(size=features)
    w /= np.linalg.norm(w)
    X = source.normal(size=(60, features))
    side = np.where(X @ w >= 0, 1, -1)
    X += (side * margin)[:, None] * w  # now every sample is at least `margin` on its own side
    if len(np.unique(side)) < 2:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = rb.Perceptron(fit_intercept=False, shuffle=False, tol=None, max_iter=2000).fit(X, side)
    bound = (np.linalg.norm(X, axis=1).max() / (side * (X @ w)).min()) ** 2
    assert np.sum(model.mistakes_) <= bound
    assert model.score(X, side) == 1.0


def test_model_file_pickle_and_bad_input(tmp_path):
    model = rb.Perceptron(random_state=0).fit(*IRIS)
    again = rb.load(model.save(tmp_path / "p.safetensors"))
    np.testing.assert_array_equal(again.decision_function(IRIS[0]), model.decision_function(IRIS[0]))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(IRIS[0]), model.predict(IRIS[0]))
    bad = IRIS[0].copy()
    bad[4, 1] = np.nan
    with pytest.raises(NonFiniteError, match="NaN at row 4, column 1"):
        rb.Perceptron().fit(bad, IRIS[1])
    with pytest.raises(ParameterError, match="penalty='l3'"):
        rb.Perceptron(penalty="l3").fit(*IRIS)
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        rb.Perceptron().predict(IRIS[0])
