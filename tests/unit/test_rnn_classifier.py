"""`RNNClassifier`: texts and numbers of unequal length, buckets, files, ONNX, bad input."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

import rosenblatt as rb
from rosenblatt.data.sequences import Buckets, Sequences, encode_texts, learn_symbols, read_sequences
from rosenblatt.errors import DataError, LabelError, NonFiniteError, ShapeError
from rosenblatt.export import export

QUICK = {"hidden_size": 12, "epochs": 8, "learning_rate": 0.02, "random_state": 0, "verbose": 0}
TEXTS = ["good", "bad", "very good", "very bad", "so good indeed", "so bad indeed"] * 10
MOODS = [("good" in text) * 1 for text in TEXTS]


def waves(count=60):
    """Rising or falling series of 3 to 9 steps and 2 features, on a large scale."""
    source = np.random.default_rng(0)
    y = source.integers(0, 2, count)
    return [
        1e4 + 1e3 * np.cumsum(source.random((n, 2)) * (1 if up else -1), 0)
        for n, up in zip(source.integers(3, 10, count), y, strict=True)
    ], y


@pytest.mark.parametrize("units", ["characters", "words", "bytes"])
def test_texts(units, tmp_path):
    model = rb.RNNClassifier(units=units, **QUICK).fit(TEXTS, MOODS)
    assert model.score(TEXTS, MOODS) > 0.95
    shares = model.predict_proba(["good", "bad", "🙂", ""])
    assert shares.sum(1) == pytest.approx(1)
    again = rb.load(model.save(tmp_path / "m"))
    assert (again.predict_proba(TEXTS) == model.predict_proba(TEXTS)).all()
    assert (clone(model).fit(TEXTS, MOODS).predict_proba(TEXTS) == model.predict_proba(TEXTS)).all()
    assert export(model, tmp_path / "m.onnx").difference < 1e-4
    assert "RNNClassifier(cell='lstm')" in str(model.summary())
    assert "learning_curves" in model.inspect()


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_numbers_of_unequal_length(cell, tmp_path):
    X, y = waves()
    model = rb.RNNClassifier(cell=cell, layer_norm=True, layers=2, dropout=0.1, weight_drop=0.1, **QUICK).fit(X, y)
    assert model.score(X, y) > 0.9
    padded, lengths = np.full((len(X), 12, 2), 7.0), [len(one) for one in X]
    for row, one in enumerate(X):
        padded[row, : len(one)] = one
    assert np.allclose(model.predict_proba(padded, lengths=lengths), model.predict_proba(X), atol=1e-5)
    assert model.score(padded, y, lengths=lengths) == model.score(X, y)
    one_by_one = np.concatenate([model.predict_proba([one]) for one in X])
    assert np.allclose(one_by_one, model.predict_proba(X), atol=1e-5)
    assert export(model, tmp_path / "m.onnx").difference < 1e-4
    assert rb.load(model.save(tmp_path / "m")).score(X, y) == model.score(X, y)


def test_the_order_of_the_steps_is_what_is_learned():
    X = [np.arange(6.0), np.arange(6.0)[::-1]] * 20
    assert rb.RNNClassifier(bidirectional=False, **QUICK).fit(X, ["up", "down"] * 20).predict(X[:2]).tolist() == [
        "up",
        "down",
    ]


def test_weights_and_early_stopping():
    X, y = waves()
    model = rb.RNNClassifier(**QUICK, plan=rb.Plan(early_stopping=True, patience=2)).fit(X, y, np.ones(len(y)))
    assert "validation_score" in model.history_[0]
    same = [np.zeros(3)] * 16  # nothing tells them apart, so the weights decide
    assert (rb.RNNClassifier(**QUICK).fit(same, [0, 1] * 8, [1, 9] * 8).predict(same) == 1).all()
    assert (rb.RNNClassifier(**QUICK).fit(same, [0, 1] * 8, [9, 1] * 8).predict(same) == 0).all()


def test_buckets_cover_every_sequence_once_with_little_padding():
    lengths = torch.randint(1, 100, (700,), generator=torch.Generator().manual_seed(0))
    data = Sequences.of([np.zeros(n, np.int32) for n in lengths.tolist()])
    batches = Buckets(data, torch.arange(700), torch.arange(700), batch_size=10, generator=torch.Generator())
    seen, cells = [], 0
    for rows, y, _ in batches:
        assert torch.equal(rows, y)
        seen += rows.tolist()
        cells += data.padded(rows).numel()
    assert sorted(seen) == list(range(700))
    assert len(batches) == 70
    assert cells < 1.1 * lengths.sum()


def test_tokens():
    symbols = learn_symbols(["b a a", "b c a"], "words", 2)
    assert symbols == ["a", "b"]
    assert [t.tolist() for t in encode_texts(["a c", ""], "words", symbols)] == [[2, 1], [1]]
    assert encode_texts(["é"], "bytes", [])[0].tolist() == [0xC3 + 2, 0xA9 + 2]


def bad(match, error, X, y=(0, 1), **options):
    with pytest.raises(error, match=match):
        rb.RNNClassifier(**QUICK).fit(X, list(y), **options)


def test_a_text_of_5000_words_and_an_unknown_script():
    model = rb.RNNClassifier(units="words", **{**QUICK, "epochs": 2}).fit(TEXTS, MOODS)
    assert np.isfinite(model.predict_proba(["good " * 5000, "доброе утро", "\x00\x1b[31m"])).all()


def test_bad_input():
    bad("X is one text; expected a list", DataError, "good")
    bad("X holds no sequence", DataError, [])
    bad(r"X\[1\] is a int; expected text", DataError, ["a", 3])
    bad("lengths of texts", DataError, ["a", "b"], lengths=[1, 1])
    bad("lengths of a list of arrays", DataError, [np.zeros(3), np.zeros(3)], lengths=[1, 1])
    bad(r"X \(2, 3, 4, 5\)", ShapeError, np.zeros((2, 3, 4, 5)))
    bad(r"lengths\[1\] = 4; expected 1 to 3", DataError, np.zeros((2, 3)), lengths=[3, 4])
    bad(r"lengths \(1,\)", ShapeError, np.zeros((2, 3)), lengths=[3])
    bad("sequence 1 has no step", DataError, [np.zeros((3, 2)), np.zeros((0, 2))])
    bad("sequence 1 has shape", ShapeError, [np.zeros((3, 2)), np.zeros((3, 1))])
    bad(r"X\[1\] contains NaN at row 2", NonFiniteError, [np.zeros(3), np.array([0, 0, np.nan])])
    bad("at least 2 classes", LabelError, ["a", "b"], y=(1, 1))
    bad("X has 2 sequences and y 3 labels", ShapeError, ["a", "b"], y=(0, 1, 1))
    bad("expected numbers", ShapeError, np.array([["a", "b"], ["c", "d"]]))


def test_other_data_than_in_fit():
    model = rb.RNNClassifier(**{**QUICK, "epochs": 1}).fit(np.zeros((4, 5, 2)), [0, 1, 0, 1])
    with pytest.raises(DataError, match="X holds texts, fit saw numbers"):
        model.predict(["a"])
    with pytest.raises(ShapeError, match="3 features a step; expected 2 as in fit"):
        model.predict(np.zeros((4, 5, 3)))
    model.n_inputs_ = 3
    with pytest.raises(ValueError, match="input_mean_ has shape"):
        model._check_restored()
    text = rb.RNNClassifier(**{**QUICK, "epochs": 1}).fit(["a", "b"], [0, 1])
    text.n_inputs_ = 9
    with pytest.raises(ValueError, match="wants two less"):
        text._check_restored()
    assert read_sequences(np.zeros((2, 3)), None, who="x")[0].shape == (3, 1)


def test_command_line(tmp_path):
    from typer.testing import CliRunner

    from rosenblatt.cli import app

    def run(*words):
        return CliRunner().invoke(app, [str(word) for word in words])

    table, out = tmp_path / "t.csv", tmp_path / "m.safetensors"
    rows = [f"{text},{'good' if mood else 'bad'}" for text, mood in zip(TEXTS, MOODS, strict=True)]
    table.write_text("said,mood\n" + "\n".join(rows) + "\n")
    options = ["--hidden-size", 12, "--epochs", 8, "--learning-rate", 0.02, "--random-state", 0, "--verbose", 0]
    done = run("train", "rnn", table, "--target", "mood", "--out", out, *options)
    assert done.exit_code == 0, done.exception
    assert "accuracy 1 on 12 held-out rows" in done.output
    assert run("predict", out, table).output.startswith("said,prediction\ngood,good\nbad,bad\n")
    assert "accuracy 1.0000 on 60 rows" in run("evaluate", out, table).output
    assert "--target is missing" in str(run("train", "rnn", table, "--out", tmp_path / "n").exception)
    table.write_text("said,mood,more\na,b,c\nd,e,f\n")
    assert "2 columns hold text" in str(
        run("train", "rnn", table, "--target", "mood", "--out", tmp_path / "n").exception
    )
    table.write_text("said,mood\na,\nd,e\n")
    assert "row 0 has no 'mood'" in str(
        run("train", "rnn", table, "--target", "mood", "--out", tmp_path / "n").exception
    )
    model = rb.RNNClassifier(**{**QUICK, "epochs": 1}).fit(TEXTS, MOODS).save(tmp_path / "k")
    assert "was not trained on a table" in str(run("predict", model, table).exception)
