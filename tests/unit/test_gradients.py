"""Recorded gradient norms and the figures of backpropagation, in the library and on the command line."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits, load_iris

import rosenblatt as rb
from rosenblatt import report
from rosenblatt.backprop import explain

X, Y = load_iris(return_X_y=True)
X = (X - X.mean(0)) / X.std(0)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def norms(model):
    return np.array([list(row["gradient_norms"].values()) for row in model.history_])


@pytest.mark.parametrize("weighted", [False, True])
def test_norms_of_the_last_batch_on_both_paths(weighted):
    weight = np.random.default_rng(0).uniform(0.5, 2, len(X)) if weighted else None
    options = {"alpha": 0.5, "max_iter": 4, "batch_size": 40, "random_state": 0, "learning_rate_init": 1e-9}
    compiled = rb.MLPClassifier((6, 5), "tanh", **options).fit(X, Y, weight)
    on_torch = rb.MLPClassifier((6, 5), torch.tanh, **options).fit(X, Y, weight)
    assert (compiled.engine_, on_torch.engine_) == ("compiled", "torch")
    np.testing.assert_allclose(norms(compiled), norms(on_torch), rtol=1e-6)
    assert list(compiled.history_[0]["gradient_norms"]) == ["layers.0", "layers.1", "layers.2"]


def test_norms_are_those_of_autograd():
    model = rb.MLPRegressor(
        hidden_layer_sizes=(5,), max_iter=1, batch_size=150, alpha=0, random_state=0, learning_rate_init=1e-12
    )
    target = X @ np.arange(4)
    model.fit(X, target)
    module = model.module_
    loss = 0.5 * (module(torch.from_numpy(X))[:, 0] - torch.from_numpy(target)).square().mean()
    loss.backward()
    for name, layer in zip(("layers.0", "layers.1"), module.layers, strict=True):
        wanted = torch.cat([layer.weight.grad.ravel(), layer.bias.grad]).norm().item()
        assert model.history_[0]["gradient_norms"][name] == pytest.approx(wanted, rel=1e-6)


def test_norms_of_the_supervised_loop_and_the_model_file(tmp_path):
    digits = load_digits()
    model = rb.CNNClassifier(epochs=2, random_state=0, verbose=0).fit(digits.images[:200], digits.target[:200])
    for row in model.history_:
        assert len(row["gradient_norms"]) >= 3
        assert all(value > 0 for value in row["gradient_norms"].values())
    loaded = rb.load(model.save(tmp_path / "m.safetensors"))
    assert loaded.history_ == model.history_
    assert "gradient_norms" in loaded.inspect()
    drawn = report.gradient_norms(model.history_)
    assert len(drawn.axes[0].lines) == len(model.history_[0]["gradient_norms"])


def test_a_figure_without_gradients_says_so():
    assert report.gradient_norms([{"epoch": 1, "loss": 2.0}]).axes[0].texts


def test_vanishing_shows():
    deep = rb.MLPClassifier((6,) * 7, "logistic", max_iter=2, random_state=0).fit(X, Y)
    found = norms(deep)
    assert (found[:, 0] < found[:, -1] / 100).all()
    title = report.gradient_flow(deep, X, Y).axes[0].get_title(loc="left")
    assert "vanishing" in title or "no gradient" in title


def test_inspect_draws_paths_of_small_networks_and_the_flow_of_all():
    small = rb.MLPClassifier((5, 4), max_iter=3, random_state=0).fit(X, Y)
    assert list(small.inspect(X, Y)) == ["activations", "gradient_norms", "gradient_flow", "paths", "learning_curves"]
    assert list(small.inspect(X)) == ["activations", "gradient_norms", "learning_curves"]
    assert list(small.inspect()) == ["gradient_norms", "learning_curves"]
    large = rb.MLPClassifier((40,), max_iter=3, random_state=0).fit(X, Y)
    assert "paths" not in large.inspect(X, Y)
    assert "40 units" in large.inspect(X, Y)["gradient_flow"].axes[0].get_xticklabels()[0].get_text()
    data, target = load_diabetes(return_X_y=True)
    regressor = rb.MLPRegressor(hidden_layer_sizes=(4,), max_iter=3, random_state=0).fit(data, target)
    assert "paths" in regressor.inspect(data, target)


def test_explain_takes_the_weight_with_the_largest_gradient():
    model = rb.MLPClassifier((5, 4), "tanh", solver="lbfgs", tol=1.0, random_state=0).fit(X, Y)
    found = explain(model, X[70], Y[70], weight=None)
    others = [abs(explain(model, X[70], Y[70], weight=(0, i, j)).gradient) for i in range(4) for j in range(5)]
    assert abs(found.gradient) == max(others)
    assert found.weight[0] == 0
    assert sum(path.value for path in found.paths) == pytest.approx(found.gradient, rel=1e-12)
