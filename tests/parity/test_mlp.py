"""Our MLP against scikit-learn's: the same seed must give the same weights."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.neural_network as theirs
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

import rosenblatt as rb

IRIS = load_iris(return_X_y=True)
CANCER = load_breast_cancer(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)
MULTI = make_multilabel_classification(120, 8, n_classes=4, random_state=0)


def compare(kind, data, rtol=1e-6, weight=None, dtype=np.float64, **options):
    X, y = data
    X = X if sp.issparse(X) else StandardScaler().fit_transform(X).astype(dtype)
    pair = []
    for library in (rb, theirs):
        model = getattr(library, kind)(**{"hidden_layer_sizes": (7, 5), "max_iter": 12, "random_state": 3, **options})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            pair.append(model.fit(X, y) if weight is None else model.fit(X, y, sample_weight=weight))
    ours, other = pair
    for a, b in zip(ours.coefs_ + ours.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        assert a.dtype == b.dtype == X.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
    assert ours.loss_ == pytest.approx(other.loss_, rel=max(rtol, 1e-6))
    assert ours.n_iter_ == other.n_iter_
    assert ours.out_activation_ == other.out_activation_
    np.testing.assert_allclose(ours.predict(X), other.predict(X), rtol=1e-4, atol=1e-5)
    if kind == "MLPClassifier":
        np.testing.assert_allclose(ours.predict_proba(X), other.predict_proba(X), rtol=1e-4, atol=1e-6)
    if options.get("solver", "adam") != "lbfgs":
        np.testing.assert_allclose(ours.loss_curve_, other.loss_curve_, rtol=max(rtol, 1e-6))
        assert ours.t_ == other.t_
    if options.get("early_stopping"):
        np.testing.assert_allclose(ours.validation_scores_, other.validation_scores_, rtol=1e-6)
        assert ours.best_validation_score_ == pytest.approx(other.best_validation_score_)


@pytest.mark.parametrize("data", [IRIS, CANCER, MULTI], ids=["multiclass", "binary", "multilabel"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_classifier_by_activation(data, activation):
    compare("MLPClassifier", data, activation=activation)


@pytest.mark.parametrize(
    "options",
    [
        {"solver": "sgd"},
        {"solver": "sgd", "nesterovs_momentum": False},
        {"solver": "sgd", "momentum": 0.0},
        {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1},
        {
            "solver": "sgd",
            "learning_rate": "adaptive",
            "learning_rate_init": 0.5,
            "tol": 0.1,
            "max_iter": 60,
            "n_iter_no_change": 2,
        },
        {"alpha": 1.0, "batch_size": 17},
        {"shuffle": False, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
        {"early_stopping": True, "validation_fraction": 0.3, "max_iter": 40, "n_iter_no_change": 3},
        {"tol": 1.0, "n_iter_no_change": 2, "max_iter": 50},
        {"hidden_layer_sizes": ()},
        {"hidden_layer_sizes": 9},
        {"solver": "lbfgs", "max_iter": 8},
    ],
    ids=str,
)
def test_classifier_by_option(options):
    compare("MLPClassifier", IRIS, **{"activation": "tanh", **options})


@pytest.mark.parametrize(
    "options", [{}, {"solver": "sgd"}, {"solver": "lbfgs", "max_iter": 6}, {"loss": "poisson"}], ids=str
)
def test_regressor(options):
    compare("MLPRegressor", (DIABETES[0], DIABETES[1] / 100), activation="tanh", **options)


def test_several_targets():
    y = np.column_stack([DIABETES[1] / 100, -DIABETES[1] / 50])
    compare("MLPRegressor", (DIABETES[0], y), activation="tanh")
    compare("MLPRegressor", (DIABETES[0], y), activation="tanh", early_stopping=True)


def test_sample_weights():
    weight = np.random.RandomState(0).uniform(0.1, 2, 150)
    compare("MLPClassifier", IRIS, weight=weight)
    compare("MLPClassifier", IRIS, weight=weight, early_stopping=True)


def test_single_precision_stays_single():
    compare("MLPClassifier", IRIS, rtol=2e-4, dtype=np.float32)


def test_sparse_input():
    compare("MLPClassifier", (sp.csr_matrix(IRIS[0]), IRIS[1]))
    compare("MLPClassifier", (sp.csc_matrix(IRIS[0]), IRIS[1]))


def test_partial_fit_and_warm_start():
    X, y = StandardScaler().fit_transform(IRIS[0]), IRIS[1]
    pair = []
    for library in (rb, theirs):
        model = library.MLPClassifier((6,), random_state=1)
        for part in range(3):
            model.partial_fit(X[part::3], y[part::3], classes=[0, 1, 2])
        warm = library.MLPClassifier((6,), random_state=1, warm_start=True, max_iter=3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warm.fit(X, y).fit(X, y)
        pair.append((model, warm))
    for ours, other in zip(*pair, strict=True):
        for a, b in zip(ours.coefs_, other.coefs_, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)
