import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_iris

import rosenblatt as rb
from rosenblatt.backprop import check, explain
from rosenblatt.errors import LabelError, NonFiniteError, NotFittedError, ParameterError, ShapeError
from rosenblatt.layers.activations import ACTIVATIONS

X, Y = load_iris(return_X_y=True)
X = (X - X.mean(0)) / X.std(0)


def classifier(hidden=(4, 3), activation="tanh", **options):
    options = {"solver": "lbfgs", "tol": 1.0, "random_state": 0, **options}
    return rb.MLPClassifier(hidden, activation, **options).fit(X, Y)


class Wrong(torch.autograd.Function):
    """tanh with the derivative of a beginner: 1 - y in place of 1 - y²."""

    @staticmethod
    def forward(ctx, z):
        y = torch.tanh(z)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, error):
        (y,) = ctx.saved_tensors
        return error * (1 - y)


SMOOTH = [name for name in ACTIVATIONS if name not in ("softmax", "step", "sign")]


@pytest.mark.parametrize("name", SMOOTH)
def test_every_activation_passes_by_autograd_and_by_hand(name):
    found = check(classifier(activation=name), X[:12], Y[:12])
    assert found.passed, str(found)
    assert found.compiled is not None
    assert set(found.layers) == {f"layers.{i}.{kind}" for i in range(3) for kind in ("weight", "bias")}


def test_regression_binary_and_multilabel_pass():
    data, target = load_diabetes(return_X_y=True)
    options = {"hidden_layer_sizes": (5,), "activation": "logistic", "solver": "lbfgs", "tol": 1.0, "random_state": 0}
    assert check(rb.MLPRegressor(**options).fit(data, target / 100), data[:9], target[:9] / 100).passed
    assert check(rb.MLPRegressor(loss="poisson", **options).fit(data, target / 100), data[:9], target[:9] / 100).passed
    assert check(rb.MLPClassifier(**options).fit(X, Y == 1), X[:9], (Y == 1)[:9]).passed
    labels = np.stack([Y == 0, Y > 0, X[:, 0] > 0], 1).astype(int)
    assert check(rb.MLPClassifier(**options).fit(X, labels), X[:9], labels[:9]).passed


def test_a_wrong_derivative_of_your_own_is_found():
    right = check(classifier(activation=torch.tanh), X[:12], Y[:12])
    assert right.passed
    assert right.compiled is None
    wrong = check(classifier(activation=Wrong.apply), X[:12], Y[:12])
    assert not wrong.passed
    assert wrong.layers["layers.2.weight"] < 1e-6 < wrong.layers["layers.0.weight"]
    assert "WRONG" in str(wrong)


def test_check_refuses_what_it_cannot_check():
    with pytest.raises(NotFittedError, match="not fitted yet"):
        check(rb.MLPClassifier(), X, Y)
    with pytest.raises(ParameterError, match="a Perceptron; expected an MLPClassifier"):
        check(rb.Perceptron(random_state=0).fit(X, Y), X, Y)
    model = classifier()
    with pytest.raises(ShapeError, match=r"expected \(n, 4\)"):
        check(model, X[:, :3], Y)
    with pytest.raises(ShapeError, match="X has 5 rows and y 4"):
        check(model, X[:5], Y[:4])
    with pytest.raises(LabelError, match="unseen at fit"):
        check(model, X[:2], [0, 7])
    before = model.coefs_[0].copy()
    check(model, X[:5], Y[:5])
    np.testing.assert_array_equal(model.coefs_[0], before)
    model.coefs_[0][0, 0] = np.nan
    with pytest.raises(NonFiniteError, match="the loss is nan"):
        check(model, X[:5], Y[:5])


@pytest.mark.parametrize("weight", [(0, 0, 0), (0, 3, 2), (1, 1, 2), (2, 2, 1)])
def test_all_paths_sum_to_the_gradient(weight):
    found = explain(classifier(), X[60], Y[60], weight=weight)
    assert found.count == math.prod((4, 4, 3, 3)[weight[0] + 2 :])
    assert len(found.paths) == found.count
    assert found.covered == pytest.approx(1.0)
    assert sum(p.value for p in found.paths) == pytest.approx(found.gradient, rel=1e-12, abs=1e-15)
    assert all(p.value == pytest.approx(math.prod(p.factors)) for p in found.paths)
    sizes = [abs(p.value) for p in found.paths]
    assert sizes == sorted(sizes, reverse=True)
    assert len({p.units for p in found.paths}) == found.count


def test_the_strongest_of_many_are_the_strongest_of_all():
    model = classifier(hidden=(12, 10, 8))
    everything = explain(model, X[60], Y[60], weight=(0, 1, 5), most=10**6)
    few = explain(model, X[60], Y[60], weight=(0, 1, 5), most=20)
    assert everything.count == 10 * 8 * 3 == len(everything.paths)
    assert [p.units for p in few.paths] == [p.units for p in everything.paths[:20]]
    sizes = [abs(p.value) for p in everything.paths]
    assert few.covered == pytest.approx(sum(sizes[:20]) / sum(sizes))
    assert everything.paths[0].units[:2] == (1, 5)


def test_a_hand_made_network():
    model = classifier(hidden=(2,), activation="linear")
    first = explain(model, X[0], Y[0], weight=(0, 1, 0))
    outputs = [p.units[-1] for p in first.paths]
    assert sorted(outputs) == [0, 1, 2]
    p = model.predict_proba(X[:1])[0]
    for path in first.paths:
        k = path.units[-1]
        wanted = X[0, 1] * model.coefs_[1][0, k] * (p[k] - (k == Y[0]))
        assert path.value == pytest.approx(wanted, rel=1e-6)


def test_the_flow_names_what_vanishes_and_what_is_dead():
    deep = classifier(hidden=(6,) * 8, activation="logistic")
    assert "vanishing" in explain(deep, X[0], Y[0]).verdict or "no gradient" in explain(deep, X[0], Y[0]).verdict
    model = classifier(hidden=(5,), activation="relu")
    model.intercepts_[0][2] = -100.0
    found = explain(model, X[0], Y[0])
    assert 2 in found.layers[0].dead
    assert "dead" in str(found)


def test_the_figure_draws_paths():
    for hidden in ((4, 3), (40,)):
        figure = explain(classifier(hidden=hidden), X[0], Y[0]).figure()
        assert len(figure.axes[0].lines) > 10


def test_explain_refuses_weights_that_are_not_there():
    model = classifier()
    for weight, words in (
        ((3, 0, 0), "layer 3; expected 0 to 2"),
        ((0, 4, 0), "below 4 and 4"),
        ((0, 0), "expected .layer"),
    ):
        with pytest.raises(ParameterError, match=words):
            explain(model, X[0], Y[0], weight=weight)
    with pytest.raises(ParameterError, match="most=0"):
        explain(model, X[0], Y[0], most=0)
