"""`find_learning_rate`: the range test on the compiled engine, the PyTorch chain and the supervised loop."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_iris

import rosenblatt as rb
from rosenblatt.errors import NonFiniteError, ParameterError
from rosenblatt.train.range_test import Enough, RangeTest, current, running

DIGITS = load_digits()
X, Y = DIGITS.data[:600] / 16, DIGITS.target[:600]


def test_the_rates_grow_by_one_factor_and_the_test_ends():
    test = RangeTest(1e-3, 10.0, 5)
    for _ in range(4):
        test.note(1.0)
    with pytest.raises(Enough):
        test.note(1.0)
    np.testing.assert_allclose(test.rates, [1e-3, 1e-2, 0.1, 1.0, 10.0])
    for losses in ([2.0, 1.0, 5.1], [2.0, float("nan")], [float("inf")]):
        test = RangeTest(1e-3, 10.0, 50)
        for loss in losses[:-1]:
            test.note(loss)
        with pytest.raises(Enough):
            test.note(losses[-1])
        assert np.isfinite(test.losses).all()


def test_only_inside():
    assert current() is None
    test = RangeTest(1e-3, 1.0, 5)
    with running(test):
        assert current() is test
        raise Enough
    assert current() is None


@pytest.mark.parametrize("activation", ["relu", torch.relu], ids=["compiled", "torch"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_the_suggestion_trains_better_than_ten_times_less_and_the_end_of_the_curve(solver, activation):
    model = rb.MLPClassifier((30,), activation, solver=solver, random_state=0, max_iter=3, n_iter_no_change=9)
    found = rb.find_learning_rate(model, X, Y)
    assert found.parameter == "learning_rate_init"
    assert found.suggested < found.lowest < found.rates[-1]
    assert len(found.rates) == len(found.losses) == len(found.smoothed) > 40
    assert not hasattr(model, "coefs_")
    assert "the loss falls most steeply" in str(found)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        models = rb.fit_many(
            model,
            X,
            Y,
            learning_rate_init=[found.suggested, found.suggested / 30, found.rates[-1]],
            on_divergence="warn",
        )
    scores = [m.score(X, Y) for m in models]
    assert scores[0] > max(scores[1:])


def test_both_paths_of_the_perceptron_see_the_same_curve():
    curves = [
        rb.find_learning_rate(rb.MLPClassifier((20,), kind, random_state=0), X, Y, steps=30).losses
        for kind in ("tanh", torch.tanh)
    ]
    np.testing.assert_allclose(*curves, rtol=1e-6)


def test_the_supervised_loop():
    model = rb.CNNClassifier(random_state=0, batch_size=64, device="cpu")
    images = DIGITS.images[:320]
    found = rb.find_learning_rate(model, images, DIGITS.target[:320], low=1e-5, steps=24)
    assert found.parameter == "learning_rate"
    assert 1e-4 < found.suggested < 1
    assert len(found.rates) > 10
    again = rb.find_learning_rate(model, images, DIGITS.target[:320], low=1e-5, steps=24)
    np.testing.assert_array_equal(found.losses, again.losses)


def test_a_system_without_targets():
    wave = np.sin(np.arange(150) * 2 * np.pi / 12)
    model = rb.Forecaster(horizon=6, window=12, season=12, hidden_size=8, batch_size=16, random_state=0)
    assert rb.find_learning_rate(model, wave, low=1e-5, steps=20).suggested > 1e-5


def test_the_figure_shows_the_suggestion():
    iris, target = load_iris(return_X_y=True)
    figure = rb.find_learning_rate(rb.MLPClassifier(random_state=0), iris, target).figure()
    assert figure.axes[0].get_xscale() == "log"
    assert any("steepest" in text.get_text() for text in figure.axes[0].get_legend().get_texts())


def test_what_is_refused():
    model = rb.MLPClassifier(random_state=0)
    for options, words in (
        ({"low": 0}, "low=0"),
        ({"low": 1.0, "high": 0.5}, r"high=0\.5"),
        ({"steps": 3}, "steps=3"),
    ):
        with pytest.raises(ParameterError, match=words):
            rb.find_learning_rate(model, X, Y, **options)
    with pytest.raises(ParameterError, match="MLPClassifier with solver=lbfgs has no learning rate"):
        rb.find_learning_rate(rb.MLPClassifier(solver="lbfgs"), X, Y)
    with pytest.raises(ParameterError, match="a Perceptron has no learning rate of gradient steps"):
        rb.find_learning_rate(rb.Perceptron(), X, Y)
    with pytest.raises(ParameterError, match="took 1 gradient steps before the loss was not finite"):
        rb.find_learning_rate(
            rb.MLPRegressor(random_state=0, solver="sgd", activation="identity"), X, Y, low=1e200, high=1e201
        )
    with pytest.raises(NonFiniteError, match="row 0"):
        rb.find_learning_rate(model, X * np.nan, Y)
