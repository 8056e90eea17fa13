"""`fit_many`: each copy as its single fit, whatever trains them."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_info

import rosenblatt as rb
from rosenblatt.backprop import engine
from rosenblatt.errors import DivergedError, NonFiniteError, ParameterError

X, Y = load_iris(return_X_y=True)
X32 = X.astype(np.float32)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def assert_each_alone(estimator, X, y, weight=None, **values):
    models = rb.fit_many(estimator, X, y, weight, **values)
    for number, model in enumerate(models):
        single = type(estimator)(**{**estimator.get_params(), **{name: v[number] for name, v in values.items()}})
        single.fit(X, y, weight) if weight is not None else single.fit(X, y)
        for mine, alone in zip(model.coefs_ + model.intercepts_, single.coefs_ + single.intercepts_, strict=True):
            np.testing.assert_array_equal(mine, alone)
        assert model.history_ == single.history_
        assert model.get_params() == single.get_params()
        np.testing.assert_array_equal(model.predict(X), single.predict(X))
    return models


@pytest.mark.parametrize("data", [X, X32], ids=["float64", "float32"])
def test_each_is_its_single_fit(data):
    models = assert_each_alone(
        rb.MLPClassifier((12,), max_iter=6), data, Y,
        random_state=range(5), learning_rate_init=[1e-3, 1e-2, 1e-3, 1e-2, 3e-2], alpha=[0, 0, 1, 1, 0.1],
    )  # fmt: skip
    assert {model.engine_ for model in models} == {"compiled"}
    assert len({model.loss_ for model in models}) == 5


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_other_ways_to_train(solver):
    data, target = load_diabetes(return_X_y=True)
    weight = np.random.default_rng(0).uniform(0.1, 1, len(data))
    assert_each_alone(
        rb.MLPRegressor(hidden_layer_sizes=(6, 5), solver=solver, max_iter=8, dropout=0.0 if solver == "lbfgs" else 0.2),
        data, target / 100, weight, random_state=[3, 4, 5], activation=["tanh", "relu", "gelu"],
    )  # fmt: skip


def test_stopping_early_and_each_after_its_own_number_of_epochs():
    models = assert_each_alone(
        rb.MLPClassifier((8,), max_iter=60, early_stopping=True, n_iter_no_change=3), X, Y, random_state=range(4),
        hidden_layer_sizes=[(4,), (8,), (16,), (8, 8)],
    )  # fmt: skip
    assert len({model.n_iter_ for model in models}) > 1
    assert models[3].n_layers_ == 4


def test_losses_that_check_targets_differently():
    y = np.random.default_rng(0).poisson(3, len(X)).astype(float)
    assert_each_alone(rb.MLPRegressor(max_iter=3, random_state=0), X, y, loss=["poisson", "squared_error"])


def test_large_networks_and_those_without_the_engine(monkeypatch):
    monkeypatch.setattr(engine, "_THREAD_WORK", 1e4)
    monkeypatch.setattr(engine.numba.config, "NUMBA_NUM_THREADS", 2)
    model = rb.MLPClassifier((12,), max_iter=3)
    assert engine.threads_for([(4, 12), (12, 3)], 150) == 2
    assert_each_alone(model, X, Y, random_state=[0, 1], batch_size=[100, 16])

    models = assert_each_alone(rb.MLPClassifier((5,), _square, max_iter=2), X, Y, random_state=[0, 1])
    assert models[0].engine_ == "torch"


def _square(z):
    return z * z


def test_other_estimators_one_after_the_other():
    models = rb.fit_many(rb.Perceptron(max_iter=5), X, Y, random_state=[0, 1])
    for seed, model in enumerate(models):
        np.testing.assert_array_equal(model.coef_, rb.Perceptron(max_iter=5, random_state=seed).fit(X, Y).coef_)


def test_one_that_diverges_is_named_and_costs_no_other():
    model = rb.MLPRegressor(activation="identity", solver="sgd", max_iter=5, random_state=0)
    y = X[:, 0] * 1e3
    with pytest.raises(DivergedError, match=r"copy 1 of 2, \{'learning_rate_init': 1e\+100\}"):
        rb.fit_many(model, X, y, learning_rate_init=[1e-9, 1e100])
    with pytest.warns(UserWarning, match="fit_many: copy 1 of 2"):
        models = rb.fit_many(model, X, y, learning_rate_init=[1e-9, 1e100], on_divergence="warn")
    assert all(np.isfinite(c).all() for m in models for c in m.coefs_)
    assert models[0].n_iter_ == 5


def test_what_is_refused():
    model = rb.MLPClassifier(max_iter=2)
    with pytest.raises(ParameterError, match=r"'alhpa' is no parameter of MLPClassifier.*Did you mean 'alpha'"):
        rb.fit_many(model, X, Y, alhpa=[1])
    with pytest.raises(ParameterError, match="got no parameter"):
        rb.fit_many(model, X, Y)
    with pytest.raises(ParameterError, match=r"got \{'alpha': 2, 'random_state': 3\}"):
        rb.fit_many(model, X, Y, alpha=[0, 1], random_state=[0, 1, 2])
    with pytest.raises(ParameterError, match=r"alpha=0\.1; expected a sequence"):
        rb.fit_many(model, X, Y, alpha=0.1)
    with pytest.raises(ParameterError, match="alpha=-1"):
        rb.fit_many(model, X, Y, alpha=[0, -1])
    with pytest.raises(ParameterError, match="on_divergence='stop'"):
        rb.fit_many(model, X, Y, alpha=[0], on_divergence="stop")
    with pytest.raises(NonFiniteError, match="row 3"):
        rb.fit_many(model, np.where(np.arange(150)[:, None] == 3, np.nan, X), Y, alpha=[0])
    assert not hasattr(model, "coefs_")


def test_blas_has_its_threads_back():
    before = [pool["num_threads"] for pool in threadpool_info()]
    rb.fit_many(rb.MLPClassifier(max_iter=2), X, Y, random_state=[0, 1, 2])
    assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_a_grid_search_on_threads_is_the_same():
    from joblib import parallel_config

    grid = {"alpha": [0.0, 1.0], "learning_rate_init": [0.001, 0.01]}
    search = GridSearchCV(rb.MLPClassifier((8,), max_iter=4, random_state=0), grid, cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        alone = search.fit(X32, Y).cv_results_["mean_test_score"].copy()
        with parallel_config("threading", n_jobs=2):
            np.testing.assert_array_equal(search.fit(X32, Y).cv_results_["mean_test_score"], alone)
