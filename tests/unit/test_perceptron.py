"""The Perceptron beyond fit: float32, going on, bad input, history, the module, overflow and Ctrl-C."""

import inspect
import re
import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.linear_model as theirs
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning

import rosenblatt.train.one_vs_rest as training
from rosenblatt import Perceptron
from rosenblatt.errors import (
    DataError,
    DivergedError,
    LabelError,
    NonFiniteError,
    ParameterError,
    ShapeError,
    TrainingInterrupted,
)
from rosenblatt.models.perceptron import ThresholdUnits

X, Y = load_iris(return_X_y=True)
TWO = Y == 0


def both(fit, **options):
    """The same done to our estimator and scikit-learn's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [fit(kind(**options)) for kind in (Perceptron, theirs.Perceptron)]


def assert_equal_weights(ours, scikit, rtol=1e-10):
    np.testing.assert_allclose(ours.coef_, scikit.coef_, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(ours.intercept_, scikit.intercept_, rtol=rtol, atol=rtol)
    assert (ours.n_iter_, ours.t_) == (scikit.n_iter_, scikit.t_)
    assert (ours.coef_.dtype, ours.intercept_.dtype) == (scikit.coef_.dtype, scikit.intercept_.dtype)


@pytest.mark.parametrize("verb", ["__init__", "fit", "partial_fit", "predict", "decision_function", "score"])
def test_signatures_are_scikit_learns(verb):
    def arguments(kind):
        return [(p.name, p.default, p.kind) for p in inspect.signature(getattr(kind, verb)).parameters.values()]

    assert arguments(Perceptron) == arguments(theirs.Perceptron)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix], ids=["dense", "sparse"])
@pytest.mark.parametrize("penalty", [None, "l1", "l2", "elasticnet"])
@pytest.mark.parametrize("y", [Y, TWO], ids=["three", "two"])
def test_float32_equals_scikit_learn_in_float32(kind, penalty, y):
    ours, scikit = both(lambda m: m.fit(kind(X.astype(np.float32)), y), penalty=penalty, max_iter=20, eta0=0.3)
    assert_equal_weights(ours, scikit, rtol=2e-5)
    assert ours.precision_ == "fp32"


@pytest.mark.parametrize("penalty", [None, "elasticnet"])
@pytest.mark.parametrize("y", [Y, TWO], ids=["three", "two"])
def test_partial_fit_equals_scikit_learn(penalty, y):
    def go(model):
        for start in range(0, 150, 30):
            model.partial_fit(X[start : start + 30], y[start : start + 30], classes=np.unique(y))
        return model

    assert_equal_weights(*both(go, penalty=penalty, random_state=1))


def test_warm_start_and_given_start_equal_scikit_learn():
    assert_equal_weights(*both(lambda m: m.fit(X, Y).fit(X, Y), warm_start=True, max_iter=4))
    coef, intercept = np.arange(12.0).reshape(3, 4), np.ones(3)
    ours, scikit = both(lambda m: m.fit(X, Y, coef_init=coef.copy(), intercept_init=intercept.copy()))
    assert_equal_weights(ours, scikit)
    assert coef.sum() == 66  # ours never writes into what it was given


@pytest.mark.parametrize("state", [7, np.random.RandomState(7)], ids=["seed", "generator"])
def test_random_states_are_drawn_in_the_same_order(state):
    def fresh():
        return state if isinstance(state, int) else np.random.RandomState(7)

    for y in (Y, TWO):
        ours = Perceptron(random_state=fresh(), early_stopping=True).fit(X, y)
        assert_equal_weights(ours, theirs.Perceptron(random_state=fresh(), early_stopping=True).fit(X, y))


def test_large_l2_penalty_resets_the_scale_as_scikit_learn_does():
    for alpha in (0.3, 2.0):
        assert_equal_weights(*both(lambda m: m.fit(X, TWO), penalty="l2", alpha=alpha, max_iter=5))


def test_threads_change_nothing():
    digits, labels = load_digits(return_X_y=True)
    one, two = (Perceptron(n_jobs=n).fit(digits, labels) for n in (1, 2))
    np.testing.assert_array_equal(one.coef_, two.coef_)


def test_history_and_mistakes():
    model = Perceptron(early_stopping=True).fit(X, Y)
    assert model.mistakes_.shape == (model.n_iter_, 3)
    assert [row["epoch"] for row in model.history_] == list(range(1, model.n_iter_ + 1))
    assert [row["mistakes"] for row in model.history_] == model.mistakes_.sum(axis=1).tolist()
    assert set(model.history_[0]) == {"epoch", "loss", "mistakes", "seconds", "validation_score"}
    two = Perceptron().fit(X, TWO)
    assert two.mistakes_.shape == (two.n_iter_,)
    two.partial_fit(X, TWO)
    assert len(two.history_) == len(two.mistakes_)
    assert two.history_[-1]["epoch"] == len(two.history_)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.floats(0.1, 1.0), st.floats(0.01, 10.0))
def test_novikoff_bound_with_intercept_holds_on_the_samples_extended_by_one(seed, features, margin, eta0):
    source = np.random.RandomState(seed)
    w = source.normal(size=features + 1)
    w /= np.linalg.norm(w)
    table = source.normal(size=(50, features))
    sums = table @ w[:-1] + w[-1]
    keep = np.abs(sums) > margin / 4
    table, side = table[keep], np.where(sums[keep] > 0, 1, -1)
    if len(np.unique(side)) < 2:
        return
    model = Perceptron(tol=None, max_iter=3000, eta0=eta0).fit(table, side)
    extended = np.hstack([table, np.ones((len(table), 1))])
    bound = (np.linalg.norm(extended, axis=1).max() / (side * (extended @ w)).min()) ** 2
    assert model.mistakes_.sum() <= bound
    if bound < 3000:  # else an epoch may still hold a mistake
        assert model.score(table, side) == 1.0


def test_module_is_the_same_unit():
    for y in (Y, TWO):
        model = Perceptron().fit(X, y)
        sums = model.module_(torch.tensor(X)).detach().numpy()
        np.testing.assert_allclose(sums.squeeze(), model.decision_function(X), rtol=1e-12, atol=1e-12)
    assert isinstance(model.module_, ThresholdUnits)
    fired = model.module_.fire(torch.tensor(X)).squeeze().bool().numpy()
    np.testing.assert_array_equal(fired, model.predict(X))
    assert "ThresholdUnits" in repr(model.module_)
    assert "5" in str(model.summary())


def test_sparsify_and_densify():
    model = Perceptron(penalty="l1").fit(X, Y)
    answers, dense = model.predict(X), model.coef_.copy()
    assert sp.issparse(model.sparsify().coef_)
    np.testing.assert_array_equal(model.predict(X), answers)
    np.testing.assert_array_equal(model.densify().densify().coef_, dense)
    model.sparsify().partial_fit(X, Y)
    assert isinstance(model.coef_, np.ndarray)


def test_too_few_epochs_warn():
    with pytest.warns(ConvergenceWarning, match=r"maximum number of iterations reached \(2\)"):
        Perceptron(max_iter=2).fit(X, Y)
    Perceptron(max_iter=2, tol=None).fit(X, Y)


def test_overflow_keeps_the_last_good_weights():
    model = Perceptron(tol=None, max_iter=50, eta0=1e307)
    with pytest.raises(DivergedError, match=r"under-/overflow occurred at epoch #1.*StandardScaler") as caught:
        model.fit(np.array([[1e200], [2e200], [-1e200]]), [0, 1, 0])
    assert caught.value.epoch == 1
    assert np.isfinite(model.coef_).all()


def test_ctrl_c_keeps_the_weights_so_far(monkeypatch):
    def interrupted(after):
        def records(source, **_):
            for i, record in enumerate(source):
                if i == after:
                    raise KeyboardInterrupt
                yield record

        return records

    monkeypatch.setattr(training, "progress", interrupted(after=2))
    model = Perceptron()
    with pytest.warns(TrainingInterrupted, match="interrupted after 2 of 1000 epochs"):
        model.fit(X, TWO)
    assert len(model.history_) == 2
    monkeypatch.setattr(training, "progress", interrupted(after=0))
    with pytest.raises(KeyboardInterrupt):
        Perceptron().fit(X, TWO)


def holes():
    table = X.copy()
    table[3, 2] = np.nan
    return table


@pytest.mark.parametrize(
    ("options", "arguments", "error", "message"),
    [
        ({"eta0": 0}, (X, Y), ParameterError, r"eta0=0; expected a number > 0"),
        ({"class_weight": "balanse"}, (X, Y), ParameterError, "Did you mean 'balanced'"),
        ({}, (holes(), Y), NonFiniteError, "NaN at row 3, column 2"),
        ({}, (sp.csr_matrix(holes()), Y), NonFiniteError, "NaN at row 3, column 2"),
        ({}, (X.reshape(150, 2, 2), Y), ShapeError, "3 axes"),
        ({}, (X, np.zeros(150)), LabelError, "1 class"),
        ({}, (X, X[:, 0] + 0.123), LabelError, "continuous"),
        ({}, (X[:0], Y[:0]), DataError, "0 sample"),
        ({}, (X, Y, np.zeros((2, 4))), ShapeError, r"coef_init has shape \(2, 4\); expected \(3, 4\)"),
        ({}, (X, Y, None, np.zeros(2)), ShapeError, r"intercept_init has shape \(2,\); expected \(3,\)"),
        ({}, (X, Y, None, None, -np.ones(150)), DataError, r"sample_weight\[0\] = -1"),
        ({"early_stopping": True}, (X[:3], [0, 1, 1]), DataError, "no validation split of 0.1 of 3 samples"),
        ({"early_stopping": True}, (X, Y, None, None, np.eye(150)[1]), DataError, "validation set are all zero"),
    ],
)
def test_bad_input_to_fit(options, arguments, error, message):
    with pytest.raises(error, match=message):
        Perceptron(**options).fit(*arguments)


@pytest.mark.parametrize(
    ("options", "classes", "error", "message"),
    [
        ({"early_stopping": True}, [0, 1, 2], ParameterError, "early_stopping=True; expected False"),
        ({"class_weight": "balanced"}, [0, 1, 2], ParameterError, "needs all data at once"),
        ({}, None, ParameterError, "classes must be passed on the first call"),
        ({}, [0, 1], LabelError, "unseen at fit"),
    ],
)
def test_bad_input_to_partial_fit(options, classes, error, message):
    with pytest.raises(error, match=message):
        Perceptron(**options).partial_fit(X, Y, classes=classes)


def test_no_seed_leaves_the_global_random_state_alone():
    Perceptron(random_state=None, early_stopping=True).fit(X, Y)  # the fixture of all tests compares


def test_documentation_example_runs(capsys):
    runpy.run_path(str(Path(__file__).parents[2] / "docs_src" / "perceptron.py"))
    said = capsys.readouterr().out
    assert "accuracy 1.0" in said
    mistakes, bound = (int(n) for n in re.search(r"mistakes (\d+), bound (\d+)", said).groups())
    assert 0 < mistakes <= bound


def test_engine_says_what_ran():
    assert Perceptron(random_state=0).fit(X, Y).engine_ == "compiled"
