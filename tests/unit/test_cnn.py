import pickle
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

import rosenblatt as rb
from rosenblatt.errors import (
    DataError,
    DivergedError,
    LabelError,
    NonFiniteError,
    ParameterError,
    ShapeError,
    TrainingInterrupted,
)

DIGITS = load_digits()
X, Y = (DIGITS.images * 15).astype(np.uint8), DIGITS.target


def cnn(**options):
    return rb.CNNClassifier(**{"epochs": 2, "batch_size": 32, "random_state": 0, "verbose": 0, **options})


@pytest.mark.parametrize(("network", "epochs", "least"), [("quick", 4, 0.95), ("lenet5", 12, 0.9)])
def test_learns_digits(network, epochs, least):
    model = cnn(network=network, epochs=epochs).fit(X[:1400], Y[:1400])
    assert model.score(X[1400:], Y[1400:]) > least
    assert model.n_iter_ == epochs == len(model.history_)
    assert model.precision_ in ("fp32", "bf16")
    assert model.device_ in ("cpu", "cuda", "mps")


def test_same_seed_same_result_and_another_seed_another():
    one, two, three = (
        cnn(random_state=seed, epochs=1).fit(X[:200], Y[:200]).decision_function(X[:9]) for seed in (1, 1, 2)
    )
    assert (one == two).all()
    assert not (one == three).all()


def test_fit_twice_is_fit_once():
    model = cnn(epochs=1).fit(X[:200], Y[:200])
    first = model.decision_function(X[:9])
    assert (model.fit(X[:200], Y[:200]).decision_function(X[:9]) == first).all()


@pytest.mark.parametrize("augment", ["shift", "flip", "shift+flip"])
def test_augmentation_is_seeded(augment):
    one, two = (
        cnn(epochs=1, plan=rb.Plan(augment=augment)).fit(X[:200], Y[:200]).decision_function(X[:5]) for _ in "ab"
    )
    assert (one == two).all()


@pytest.mark.parametrize(
    "pictures",
    [
        X[:60],
        X[:60, ..., None],
        np.repeat(X[:60, ..., None], 3, 3),
        X[:60].astype(np.float64) / 255,
        torch.from_numpy(X[:60]),
        list(X[:60]),
        X[:60].astype(np.int64),
        X[:60] > 100,
        np.pad(X[:60], ((0, 0), (3, 3), (5, 5))),
    ],
    ids=["NHW", "NHWC", "colour", "float", "tensor", "list", "int64", "bool", "oblong"],
)
@pytest.mark.parametrize("network", ["quick", "lenet5"])
def test_takes_pictures_of_all_forms(network, pictures):
    model = cnn(network=network, epochs=1).fit(pictures, Y[:60])
    assert model.predict(pictures).shape == (60,)
    proba = model.predict_proba(pictures)
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-6)


def test_read_only_arrays_are_taken():
    pictures = np.frombuffer(X[:60].tobytes(), np.uint8).reshape(60, 8, 8)
    assert not pictures.flags.writeable
    assert cnn(epochs=1).fit(pictures, Y[:60]).predict(pictures).shape == (60,)


def test_text_labels_class_weights_and_sample_weights():
    names = np.array(["even", "odd"])[Y[:300] % 2]
    model = cnn(epochs=3, class_weight={"even": 1.0, "odd": 1e-6}).fit(X[:300], names)
    assert (model.predict(X[:300]) == "even").mean() > 0.95
    weight = (names == "odd").astype(float)
    model = cnn(epochs=3).fit(X[:300], names, sample_weight=weight)
    assert (model.predict(X[:300]) == "odd").mean() > 0.95
    assert cnn(epochs=1, class_weight="balanced").fit(X[:300], names).classes_.tolist() == ["even", "odd"]


def test_early_stopping_keeps_the_best_epoch():
    model = cnn(epochs=30, plan=rb.Plan(early_stopping=True, patience=3, validation_fraction=0.2)).fit(X[:500], Y[:500])
    scores = [row["validation_score"] for row in model.history_]
    assert model.best_epoch_ == int(np.argmax(scores)) + 1
    assert model.n_iter_ < 30


def test_clone_pickle_repr_and_grid_search():
    model = cnn(epochs=1, plan=rb.Plan(ema=0.9))
    assert clone(model).get_params() == model.get_params()
    assert "Plan(ema=0.9)" in repr(model)
    model.fit(X[:100], Y[:100])
    again = pickle.loads(pickle.dumps(model))
    assert (again.predict_proba(X[:9]) == model.predict_proba(X[:9])).all()
    search = GridSearchCV(cnn(epochs=1), {"plan": [None, rb.Plan(optimizer="sgd")]}, cv=2).fit(X[:200], Y[:200])
    assert "plan" in search.best_params_


def test_divergence_is_named_and_leaves_a_usable_model():
    model = cnn(learning_rate=1e38, plan=rb.Plan(optimizer="sgd", schedule="constant"))
    with pytest.raises(DivergedError, match=r"diverged in epoch 1.*Try a learning rate"):
        model.fit(X[:100], Y[:100])
    assert all(bool(torch.isfinite(p).all()) for p in model.module_.parameters())


def test_interruption_keeps_the_last_whole_epoch(monkeypatch):
    from rosenblatt.train import supervised as loop

    calls = {"n": 0}
    original = loop._Run.one_step

    def interrupt(self, *batch):
        calls["n"] += 1
        if calls["n"] == 6:
            raise KeyboardInterrupt
        return original(self, *batch)

    monkeypatch.setattr(loop._Run, "one_step", interrupt)
    with pytest.warns(TrainingInterrupted, match="interrupted after 1 of 5 epochs; the weights of epoch 1 are kept"):
        model = cnn(epochs=5).fit(X[:128], Y[:128])
    assert model.stopped_ == "interrupted"
    monkeypatch.undo()
    # one epoch of a five-epoch schedule is not a one-epoch fit, but it is a fitted model
    assert model.predict(X[:5]).shape == (5,)


BAD = [
    (X[:0], Y[:0], ShapeError, "X is empty"),
    (X[:50], np.zeros(50, int), LabelError, r"y has 1 class \(.*0.*\); expected at least 2 classes"),
    (X[:50].reshape(50, -1), Y[:50], ShapeError, r"2 axes .*Use X.reshape\(-1, 8, 8\)"),
    (X[0, 0], Y[:50], ShapeError, "has 1 axes"),
    (np.zeros((9, 3, 8, 8), np.uint8), Y[:9], ShapeError, r"looks like N C H W; .*transpose\(0, 2, 3, 1\)"),
    (
        np.where(np.arange(64).reshape(8, 8) == 9, np.nan, X[:50] / 255),
        Y[:50],
        NonFiniteError,
        r"contains NaN at index",
    ),
    (np.full((50, 8, 8), "a"), Y[:50], DataError, "expected uint8 or floats"),
    (X[:50].astype(int) - 9, Y[:50], DataError, "holds integers from -9"),
    ([X[0], X[1, :4]], Y[:2], ShapeError, "pictures of 2 sizes"),
    (X[:50], Y[:49], ShapeError, "50 pictures and y 49 labels"),
    (X[:50], Y[:50] + 0.5, DataError, "y holds fractions"),
    (X[:50, :3, :3], Y[:50], ShapeError, "at least 4 x 4"),
]


@pytest.mark.parametrize(("pictures", "labels", "error", "message"), BAD, ids=[b[3][:12] for b in BAD])
def test_bad_data_is_refused(pictures, labels, error, message):
    with pytest.raises(error, match=message):
        cnn().fit(pictures, labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "lenet"}, r"network='lenet'; expected one of 'quick', 'lenet5'.*Did you mean 'lenet5'\?"),
        ({"epochs": 0}, "epochs=0; expected an integer >= 1"),
        ({"epochs": 1.5}, "epochs=1.5"),
        ({"learning_rate": -1}, "learning_rate=-1; expected a number > 0"),
        ({"plan": "fast"}, "expected a rosenblatt.Plan"),
    ],
)
def test_bad_parameters_are_refused_at_fit(options, message):
    with pytest.raises(ParameterError, match=message):
        cnn(**options).fit(X[:50], Y[:50])


def test_prediction_wants_the_pictures_of_fit():
    model = cnn(epochs=1).fit(X[:50], Y[:50])
    with pytest.raises(ShapeError, match="pictures of shape"):
        model.predict(X[:5, :6])
    with pytest.raises(DataError, match="X holds floats, fit saw uint8"):
        model.predict(X[:5] / 255)
    with pytest.raises(NotFittedError, match=r"CNNClassifier.predict: this CNNClassifier is not fitted yet"):
        cnn().predict(X[:5])


def test_constant_pictures_do_not_divide_by_zero():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = cnn(epochs=1).fit(np.full((20, 8, 8), 7, np.uint8), np.arange(20) % 2)
    assert np.isfinite(model.decision_function(np.full((2, 8, 8), 7, np.uint8))).all()


@pytest.mark.slow
@pytest.mark.data("mnist")
def test_mnist_after_two_epochs():
    import gzip
    import os
    from pathlib import Path

    folder = Path(os.environ["ROSENBLATT_DATA"]) / "mnist"

    def idx(name, offset):
        return np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8)[offset:]

    x, y = idx("train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28), idx("train-labels-idx1-ubyte.gz", 8)
    xt, yt = idx("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28), idx("t10k-labels-idx1-ubyte.gz", 8)
    assert rb.CNNClassifier(epochs=2, random_state=0, verbose=0).fit(x, y).score(xt, yt) > 0.985


def test_folders_of_pictures(tmp_path):
    for name, level in (("dark", 20), ("light", 220)):
        (tmp_path / name).mkdir()
        for i in range(12):
            Image.new("L", (8, 8), level + i).save(tmp_path / name / f"{i}.png")
    model = rb.CNNClassifier(epochs=3, batch_size=8, random_state=0, verbose=0).fit(tmp_path)
    assert list(model.classes_) == ["dark", "light"]
    assert model.score(tmp_path) == 1.0
    assert set(model.predict(tmp_path / "light")) == {"light"}
    with pytest.raises(DataError, match="y is given with a folder"):
        model.fit(tmp_path, [0, 1])
    with pytest.raises(DataError, match="y is None; expected labels"):
        model.fit(np.zeros((4, 8, 8), np.uint8))


def test_inspect_draws_what_it_can():
    model = cnn(epochs=1).fit(X[:200], Y[:200])
    always = {"filters", "receptive_fields", "class_pictures", "learning_curves", "gradient_norms"}
    assert set(model.inspect()) == always
    assert set(model.inspect(X[:2])) == always | {"feature_maps", "saliency"}
    assert set(model.inspect(X[:20], Y[:20])) == always | {"feature_maps", "saliency", "confusion", "worst_mistakes"}
    with pytest.raises(NotFittedError, match="not fitted yet"):
        rb.CNNClassifier().inspect()


def test_a_target_holds_pictures_out_and_stops():
    model = cnn(epochs=20, plan=rb.Plan(target=0.8)).fit(X[:600], Y[:600])
    assert model.stopped_ == "target"
    scores = [row["validation_score"] for row in model.history_]
    assert scores[-1] >= 0.8 > max([0, *scores[:-1]])
    assert len(scores) < 20


def test_views_in_prediction_are_averaged():
    plan = rb.Plan(augment="altflip+shift", test_views="flip+shift", precision="fp32")
    model = cnn(epochs=2, plan=plan).fit(X[:300], Y[:300])
    plain = clone(model).set_params(plan=rb.Plan(augment="altflip+shift", precision="fp32")).fit(X[:300], Y[:300])
    assert torch.equal(model.module_.output.weight, plain.module_.output.weight)  # views change nothing in training
    pictures = X[300:340]
    padded = np.pad(pictures, ((0, 0), (1, 1), (1, 1)), mode="reflect")
    shown = [(0.5, pictures), (0.25, padded[:, :8, :8]), (0.25, padded[:, 2:, 2:])]
    by_hand = sum(
        share / 2 * (plain.decision_function(view) + plain.decision_function(view[:, :, ::-1].copy()))
        for share, view in shown
    )
    np.testing.assert_allclose(model.decision_function(pictures), by_hand, rtol=1e-4, atol=1e-4)
    flipped = clone(model).set_params(plan=rb.Plan(test_views="flip")).fit(X[:300], Y[:300])
    both = flipped.decision_function(pictures), flipped.decision_function(pictures[:, :, ::-1].copy())
    np.testing.assert_allclose(both[0], both[1], atol=1e-2)


def test_mirroring_in_turns_is_resumed_bit_for_bit(tmp_path, monkeypatch):
    from rosenblatt.train import supervised as loop

    options = {"epochs": 3, "plan": rb.Plan(augment="altflip", optimizer="muon")}
    whole = cnn(**options).fit(X[:200], Y[:200]).decision_function(X[:9])
    folder = str(tmp_path / "run")
    kept = rb.Plan(augment="altflip", optimizer="muon", checkpoint=folder)
    original, epochs = loop._Run.epoch, []

    def interrupt(self):
        epochs.append(self.step)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(loop._Run, "epoch", interrupt)
    with pytest.warns(TrainingInterrupted, match="after 1 of 3"):
        cnn(**{**options, "plan": kept}).fit(X[:200], Y[:200])
    again = cnn(**{**options, "plan": kept}).fit(X[:200], Y[:200]).decision_function(X[:9])
    assert epochs == [0, 7, 7, 14]
    assert (again == whole).all()
