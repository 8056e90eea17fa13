import json
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris

from rosenblatt import eras
from rosenblatt.eras import History, Rung, history
from rosenblatt.errors import DataError, LabelError, NonFiniteError, ParameterError, ShapeError, TrainingInterrupted

FEW = {"mlp": 3, "lenet5": 1, "quick": 1}


def pictures(n=90, classes=3, channels=None):
    """A bright bar in one of a few rows, in noise."""
    random = np.random.default_rng(0)
    y = np.arange(n) % classes
    X = random.uniform(0, 0.3, (n, 8, 8))
    X[np.arange(n), 2 * y + 1] += 0.7
    return (X if channels is None else np.repeat(X[..., None], channels, -1)), y


@pytest.fixture(scope="module")
def small():
    X, y = pictures()
    return history(X, y, seeds=2, epochs=FEW, verbose=0)


def test_the_rungs_in_order(small):
    assert [(row.key, row.year) for row in small.rows] == list(
        zip(eras.KEYS, (1958, 1986, 1995, 1998, 2018), strict=True)
    )
    assert [row.runs for row in small.rows] == [2, 2, 1, 2, 2]
    assert [row.deterministic for row in small.rows] == [False, False, True, False, False]
    assert {row.n for row in small.rows} == {72}
    assert (small.n_train, small.n_test, small.shape) == (72, 18, (8, 8, 1))
    assert np.bincount(small.y_test).tolist() == [6, 6, 6]
    assert small.left_out == ()


def test_parameters_are_counted(small):
    counts = {row.key: row.parameters for row in small.rows}
    assert counts["perceptron"] == 64 * 3 + 3
    assert counts["mlp"] == 64 * 100 + 100 + 100 * 3 + 3
    machine = small.estimators["svm"].named_steps["svm"]
    assert counts["svm"] == len(machine.support_) * 2 + 3
    # C1 156, S2 12, C3 1,516, S4 32, C5 48,120, F6 10,164: the output codes are fixed, so classes do not count
    assert counts["lenet5"] == 60_000


def test_errors_are_those_of_the_kept_estimators(small):
    for row in small.rows:
        model = small.estimators[row.key]
        assert row.errors[-1] == np.mean(model.predict(small.test_input(row.key)) != small.y_test)


def test_statistics_of_a_rung():
    row = Rung("mlp", 1986, "x", "x", 5, 2, (0.1, 0.3), 7, (1.0, 3.0))
    assert (row.error, row.seconds) == (0.2, 2.0)
    assert row.error_std == pytest.approx(np.std([0.1, 0.3], ddof=1))
    assert row.seconds_std == pytest.approx(2**0.5)
    one = Rung("svm", 1995, "x", "x", 5, 1, (0.1,), 7, (1.0,), True)
    assert (one.error_std, one.seconds_std) == (None, None)


def test_the_same_random_state_gives_the_same_ladder(small):
    X, y = pictures()
    again = history(X, y, seeds=2, epochs=FEW, verbose=0)
    assert [row.errors for row in again.rows] == [row.errors for row in small.rows]
    for key in ("perceptron", "mlp"):
        one, two = (h.estimators[key].decision_function if key == "perceptron" else h.estimators[key].predict_proba
                    for h in (small, again))  # fmt: skip
        np.testing.assert_array_equal(one(small.test_input(key)), two(small.test_input(key)))
    np.testing.assert_array_equal(
        small.estimators["lenet5"].decision_function(small.X_test),
        again.estimators["lenet5"].decision_function(small.X_test),
    )
    other = history(X, y, seeds=1, epochs=FEW, random_state=1, verbose=0)
    assert not np.array_equal(other.X_test, small.X_test)
    assert other.random_state == 1


def test_scaler_has_seen_the_training_split_alone():
    X, y = pictures()
    X_test = X[:9] + 100
    found = history(X[9:], y[9:], X_test=X_test, y_test=y[:9], seeds=1, epochs=FEW, verbose=0)
    np.testing.assert_allclose(found.scaler.mean_, X[9:].reshape(81, -1).mean(0), rtol=1e-5)
    assert found.n_train == 81
    np.testing.assert_allclose(found.X_test[..., 0], X_test, rtol=1e-6)


def test_a_table_has_no_convolutional_rungs():
    found = history(*load_iris(return_X_y=True), seeds=1, epochs={"mlp": 5}, verbose=0)
    assert [row.key for row in found.rows] == ["perceptron", "mlp", "svm"]
    assert [text.split(",")[0] for text in found.left_out] == ["LeNet-5 (1998)", "Modern CNN (2018)"]
    assert "Left out: LeNet-5 (1998), which needs pictures" in found.table()
    assert "one seed, so no spread is known" in found.table()


def test_colour_integers_and_two_text_labels():
    X, y = pictures(40, 2, channels=3)
    labels = np.array(["no", "yes"])[y]
    found = history((X * 200).astype(np.uint8), labels, seeds=1, epochs=FEW, verbose=0)
    assert found.classes.tolist() == ["no", "yes"]
    assert found.rows[0].parameters == 8 * 8 * 3 + 1


def test_the_svm_may_see_a_sample_only():
    X, y = pictures()
    found = history(X, y, seeds=1, svm_samples=30, epochs=FEW, verbose=0)
    assert {row.key: row.n for row in found.rows} == dict.fromkeys(eras.KEYS, 72) | {"svm": 30}
    assert "SVM: trained on a sample of 30" in found.table()


def test_table_dict_and_figure(small):
    lines = small.table().splitlines()
    assert lines[0].split() == ["year", "system", "test", "error", "parameters", "training", "n"]
    assert [line.split()[0] for line in lines[2:7]] == ["1958", "1986", "1995", "1998", "2018"]
    assert len({line.rindex("72") for line in lines[2:7]}) == 1, "columns are aligned"
    assert "SVM: deterministic, run once." in lines
    back = json.loads(json.dumps(small.to_dict()))
    assert back["rows"][3]["parameters"] == 60_000
    assert back["rows"][2]["error_std"] is None
    assert back["n_test"] == 18
    figure = small.figure()
    assert len(figure.axes) == 3
    figure.canvas.draw()
    ticks = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert ticks[0] == "1958\nPerceptron"


def test_frozen(small):
    with pytest.raises(AttributeError):
        small.rows[0].year = 2000
    with pytest.raises(AttributeError):
        small.n_test = 0
    assert isinstance(small, History)


def test_data_that_cannot_be_learned():
    X, y = pictures()
    with pytest.raises(LabelError, match="y has 1 class"):
        history(X, np.zeros(len(X), int), verbose=0)
    with pytest.raises(DataError, match="3 samples of 3 classes cannot be split"):
        history(X[:3], y[:3], verbose=0)
    with pytest.raises(ShapeError, match="looks like N C H W"):
        history(np.zeros((6, 3, 8, 8)), np.arange(6) % 2, verbose=0)
    with pytest.raises(ShapeError, match="X has 90 samples and y 5 labels"):
        history(X, y[:5], verbose=0)
    with pytest.raises(DataError, match="y holds fractions"):
        history(X, y + 0.5, verbose=0)
    with pytest.raises(DataError, match="something else than numbers"):
        history(np.array([["a", "b"]] * 6), np.arange(6) % 2, verbose=0)
    bad = X.copy()
    bad[4, 2, 3] = np.nan
    with pytest.raises(NonFiniteError, match="NaN"):
        history(bad, y, verbose=0)
    with pytest.raises(NonFiniteError, match="NaN at row 4, column 19"):
        history(bad.reshape(90, -1), y, verbose=0)


def test_bad_arguments():
    X, y = pictures()
    with pytest.raises(ParameterError, match="seeds=0; expected an integer >= 1"):
        history(X, y, seeds=0)
    with pytest.raises(ParameterError, match=r"epochs has the rung 'lenet'; .*Did you mean 'lenet5'"):
        history(X, y, epochs={"lenet": 3})
    with pytest.raises(ParameterError, match="one of X_test and y_test is missing"):
        history(X, y, X_test=X)
    with pytest.raises(ShapeError, match="X_test has samples of shape"):
        history(X, y, X_test=X[:, :6], y_test=y)
    with pytest.raises(LabelError, match="the label 9"):
        history(X, y, X_test=X[:1], y_test=[9])
    with pytest.raises(DataError, match="one number type and scale"):
        history(X, y, X_test=np.zeros((1, 8, 8), np.uint8), y_test=[0])


def test_a_failing_rung_is_not_swallowed(monkeypatch):
    def fail(seed, n, epochs):
        raise RuntimeError("out of steam")

    recipe = eras._RECIPES["mlp"]
    monkeypatch.setitem(eras._RECIPES, "mlp", eras._Recipe(recipe.year, recipe.name, recipe.trained, fail))
    with pytest.raises(RuntimeError, match="out of steam"):
        history(*pictures(), seeds=1, epochs=FEW, verbose=0)


def test_an_interrupted_rung_ends_the_ladder():
    with pytest.raises(KeyboardInterrupt, match="half"), eras._own_warnings():
        warnings.warn("half way", TrainingInterrupted, stacklevel=1)


def test_lines_on_request(capsys):
    history(*load_iris(return_X_y=True), seeds=1, epochs={"mlp": 1}, verbose=2)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["1958", "1986", "1995"]


@pytest.mark.slow
def test_digits_climb():
    digits = load_digits()
    found = history(digits.images, digits.target, verbose=0)
    error = {row.key: row.error for row in found.rows}
    assert error["quick"] < error["mlp"] < error["perceptron"]
    assert error["quick"] < 0.015
    assert error["lenet5"] < 0.04
