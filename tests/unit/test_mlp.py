import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import rosenblatt as rb
from rosenblatt.errors import (
    DataError,
    DivergedError,
    LabelError,
    ModelFileError,
    NonFiniteError,
    NotFittedError,
    ParameterError,
    ShapeError,
    TrainingInterrupted,
)
from rosenblatt.layers.activations import ACTIVATIONS

X, Y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)


def quick(kind=rb.MLPClassifier, **options):
    return kind(
        **{"hidden_layer_sizes": (8,), "solver": "lbfgs", "max_iter": 300, "tol": 1e-2, "random_state": 0, **options}
    )


@pytest.mark.parametrize("name", sorted(n for n, spec in ACTIVATIONS.items() if not spec.output_only))
def test_every_activation_trains(name):
    model = quick(
        activation=name, solver="adam", max_iter=60, learning_rate_init=0.05, tol=1.0, n_iter_no_change=60, alpha=0
    )
    with pytest.warns(ConvergenceWarning):
        assert model.fit(X, Y).score(X, Y) > (0.5 if name in ("step", "sign") else 0.8)


def test_a_callable_activation_equals_the_named_one():
    named = quick(activation="tanh").fit(X, Y)
    own = quick(activation=torch.tanh).fit(X, Y)
    assert (named.engine_, own.engine_) == ("compiled", "torch")
    np.testing.assert_allclose(named.coefs_[0], own.coefs_[0], rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(named.predict(X), own.predict(X))
    with pytest.raises(ModelFileError, match="which a model file cannot hold"):
        own.save("never.safetensors")
    with pytest.raises(ParameterError, match="activation"):
        quick(activation=lambda z: z[:, :1]).fit(X, Y)
    with pytest.raises(ParameterError, match="tanh"):
        quick(activation="tanhh").fit(X, Y)


def test_the_module_is_the_same_network():
    for model in (quick().fit(X, Y), quick(rb.MLPRegressor).fit(X, X[:, :2])):
        raw = model.module_(torch.from_numpy(X)).detach()
        if isinstance(model, rb.MLPClassifier):
            np.testing.assert_allclose(torch.softmax(raw, 1).numpy(), model.predict_proba(X), rtol=1e-10)
        else:
            np.testing.assert_allclose(raw.numpy(), model.predict(X), rtol=1e-10)
    assert "63 trainable" not in str(quick().fit(X, Y).summary())
    assert quick().fit(X, Y).summary().trainable == 4 * 8 + 8 + 8 * 3 + 3


@pytest.mark.parametrize(
    "labels", [Y, np.array(["a", "b", "c"])[Y], Y > 0, np.eye(3, dtype=int)[Y]], ids=["int", "str", "bool", "multi"]
)
def test_model_file_round_trip(labels, tmp_path):
    model = quick(hidden_layer_sizes=[8]).fit(X, labels)
    again = rb.load(model.save(tmp_path / "m.safetensors"))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.predict(X).dtype == model.predict(X).dtype


def test_partial_fit_goes_on_after_loading_as_if_never_saved(tmp_path):
    model = rb.MLPClassifier((5,), random_state=np.random.RandomState(0), shuffle=False)
    model.partial_fit(X, Y, classes=[0, 1, 2])
    again = rb.load(model.save(tmp_path / "m.safetensors"))
    for one in (model, again):
        one.partial_fit(X, Y)
    np.testing.assert_array_equal(model.coefs_[0], again.coefs_[0])


def test_regressor_round_trip_in_single_precision(tmp_path):
    model = quick(rb.MLPRegressor).fit(X.astype(np.float32), Y)
    again = rb.load(model.save(tmp_path / "m.safetensors"))
    assert again.coefs_[0].dtype == np.float32
    np.testing.assert_array_equal(again.predict(X.astype(np.float32)), model.predict(X.astype(np.float32)))


def test_damaged_sizes_are_refused(tmp_path):
    from rosenblatt.errors import DamagedFileError

    model = quick().fit(X, Y)
    model.coefs_[0] = model.coefs_[0][:, :5]
    with pytest.raises(DamagedFileError, match=r"coefs_\[0\] has shape \(4, 5\); expected \(4, 8\)"):
        rb.load(model.save(tmp_path / "m.safetensors"))


def test_dropout_is_seeded_and_changes_training_only():
    options = {"solver": "adam", "max_iter": 5, "dropout": 0.5}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        one, two = quick(**options).fit(X, Y), quick(**options).fit(X, Y)
        none = quick(**{**options, "dropout": 0.0}).fit(X, Y)
    np.testing.assert_array_equal(one.coefs_[0], two.coefs_[0])
    assert not np.array_equal(one.coefs_[0], none.coefs_[0])
    np.testing.assert_array_equal(one.predict_proba(X), one.predict_proba(X))


def test_divergence_names_the_place_and_keeps_the_last_good_epoch():
    model = rb.MLPRegressor(
        hidden_layer_sizes=(8,),
        activation="identity",
        solver="sgd",
        learning_rate_init=1e3,
        random_state=0,
        max_iter=50,
    )
    with pytest.raises(
        DivergedError, match=r"diverged in epoch \d+, batch \d+; .* layer 'layers.\d'.*10 times smaller"
    ) as caught:
        model.fit(X, Y * 1e3)
    assert caught.value.layer.startswith("layers.")
    assert all(np.isfinite(c).all() for c in model.coefs_)


def test_interruption_keeps_whole_epochs(monkeypatch):
    from rosenblatt.train import dense_loops

    calls, original = {"n": 0}, dense_loops.compiled_epoch

    def interrupt(chain, *rest):
        calls["n"] += 1
        done = original(chain, *rest)
        if calls["n"] == 3:  # Ctrl-C during the third epoch is heard when it ends: it is undone
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(dense_loops, "compiled_epoch", interrupt)
    with pytest.warns(TrainingInterrupted, match="interrupted after 2 of 200 epochs; the weights of epoch 2 are kept"):
        model = rb.MLPClassifier((8,), random_state=0, batch_size=50).fit(X, Y)
    monkeypatch.undo()
    with pytest.warns(ConvergenceWarning):
        whole = rb.MLPClassifier((8,), random_state=0, batch_size=50, max_iter=2).fit(X, Y)
    np.testing.assert_array_equal(model.coefs_[0], whole.coefs_[0])
    # the moments are those of epoch 2 too, so that partial_fit goes on from it
    for name in ("first", "second", "steps"):
        np.testing.assert_array_equal(model._optimizer_state[name], whole._optimizer_state[name])


def test_clone_pickle_grid_search_pipeline():
    model = quick(plan=rb.Plan(precision="fp32"))
    assert clone(model).get_params() == model.get_params()
    model.fit(X, Y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    search = GridSearchCV(make_pipeline(StandardScaler(), quick()), {"mlpclassifier__alpha": [1e-3, 1.0]}, cv=2).fit(
        X, Y
    )
    assert search.best_score_ > 0.8


def test_verbose_speaks_as_scikit_learn(capsys):
    with pytest.warns(ConvergenceWarning):
        rb.MLPClassifier((3,), max_iter=1, verbose=True, random_state=0).fit(X, Y)
    assert capsys.readouterr().out.startswith("Iteration 1, loss = 1.")


def test_digits_in_one_line():
    digits, target = load_digits(return_X_y=True)
    model = rb.MLPClassifier(random_state=0, early_stopping=True, max_iter=60).fit(digits[:1400] / 16, target[:1400])
    assert model.score(digits[1400:] / 16, target[1400:]) > 0.85


NAN = X.copy()
NAN[7, 2] = np.nan
INF = X.copy()
INF[3, 0] = -np.inf
BAD = [
    (NAN, Y, NonFiniteError, r"MLPClassifier.fit: X contains NaN at row 7, column 2; expected finite numbers"),
    (INF, Y, NonFiniteError, r"X contains -infinity at row 3, column 0"),
    (X.reshape(150, 2, 2), Y, ShapeError, r"X has 3 axes \(150, 2, 2\); .*Use X.reshape\(len\(X\), -1\)"),
    (X[:, 0], Y, ShapeError, "has 1 axis .*Reshape your data"),
    (X[:0], Y[:0], DataError, "0 sample"),
    (X, np.zeros(150), LabelError, "y has 1 class"),
    (X, Y[:-1], DataError, "inconsistent numbers of samples"),
    (np.full((150, 2), "red"), Y, DataError, "could not convert string to float.*Encode text columns"),
    (X, Y + 0.5, LabelError, "Unknown label type: continuous"),
]


@pytest.mark.parametrize(("data", "labels", "error", "message"), BAD, ids=[b[3][:20] for b in BAD])
def test_bad_data_is_refused(data, labels, error, message):
    with pytest.raises(error, match=message):
        quick().fit(data, labels)


def test_named_columns_are_named_in_messages():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(NAN, columns=["a", "b", "c", "d"])
    with pytest.raises(NonFiniteError, match=r"row 7, column 2 \('c'\)"):
        quick().fit(frame, Y)
    model = quick().fit(pd.DataFrame(X, columns=["a", "b", "c", "d"]), Y)
    with pytest.raises(DataError, match="Feature names"):
        model.predict(pd.DataFrame(X, columns=["a", "b", "c", "x"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "adamw"}, r"solver='adamw'; expected one of 'lbfgs', 'sgd', 'adam'. Did you mean 'adam'\?"),
        ({"hidden_layer_sizes": (0,)}, r"hidden_layer_sizes=\(0,\); expected widths"),
        ({"learning_rate_init": 0}, "learning_rate_init=0; expected a number > 0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"plan": rb.Plan(ema=0.9)}, r"Plan\(ema=...\) is not used here"),
    ],
)
def test_bad_parameters_are_refused(options, message):
    with pytest.raises(ParameterError, match=message):
        quick(**options).fit(X, Y)


def test_use_before_fit_and_wrong_sequence():
    with pytest.raises(NotFittedError, match=r"MLPClassifier.predict: this MLPClassifier is not fitted yet"):
        rb.MLPClassifier().predict(X)
    with pytest.raises(AttributeError, match="partial_fit"):
        rb.MLPClassifier(solver="lbfgs").partial_fit(X, Y)
    model = rb.MLPClassifier((3,)).partial_fit(X, Y, classes=[0, 1, 2])
    with pytest.raises(LabelError, match="unseen at fit"):
        model.partial_fit(X, Y + 1)
    with pytest.raises(DataError, match="y >= 0 for loss='poisson'"):
        quick(rb.MLPRegressor, loss="poisson").fit(X, X[:, 0])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_universal_approximation():
    """Cybenko 1989: one hidden layer of sigmoids comes as near to a continuous function as one likes, given units."""
    x = np.linspace(-1, 1, 200)[:, None]
    target = np.sin(6 * x[:, 0]) + 0.5 * np.abs(x[:, 0])
    errors = []
    for units in (1, 4, 30):
        model = rb.MLPRegressor(
            hidden_layer_sizes=(units,),
            activation="logistic",
            solver="lbfgs",
            alpha=0,
            max_iter=3000,
            tol=1e-9,
            random_state=0,
        )
        errors.append(np.abs(model.fit(x, target).predict(x) - target).max())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.06
