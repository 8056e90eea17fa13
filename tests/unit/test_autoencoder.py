import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import rosenblatt as rb
from rosenblatt.data.corrupt import corrupt
from rosenblatt.errors import DataError, NonFiniteError, NotFittedError, ParameterError, ShapeError
from rosenblatt.losses.code import estimated_contraction, exact_contraction, kl_sparsity
from rosenblatt.train.autoencoder import Objective, Recipe

DIGITS = load_digits()
X = (DIGITS.data[:400] / 16).astype(np.float32)
PICTURES = (DIGITS.images[:300] / 16 * 255).astype(np.uint8)
QUICK = {"code_size": 6, "hidden_layer_sizes": (24,), "epochs": 3, "batch_size": 32, "random_state": 0, "verbose": 0}
SWITCHES = [
    {},
    {"corruption": "masking"},
    {"corruption": "gaussian"},
    {"corruption": "salt"},
    {"corruption": "pixels", "epochs": 12},
    {"sparse": "l1"},
    {"sparse": "kl"},
    {"sparse": "top-k", "sparsity": 0.5},
    {"contract": 0.1},
    {"contract": 0.1, "hidden_layer_sizes": (), "code_activation": "tanh"},
    {"tied": True},
    {"loss": "log_loss"},
    {"output": "logistic"},
    {"corruption": "masking", "sparse": "l1", "contract": 0.01, "tied": True},
    {"plan": rb.Plan(precision="bf16", ema=0.9)},
]


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_every_switch_learns_repeats_itself_and_is_saved(switches, tmp_path):
    model = rb.Autoencoder(**{**QUICK, **switches}).fit(X)
    assert model.history_[-1]["loss"] < model.history_[0]["loss"]
    codes = model.transform(X)
    assert codes.shape == (400, 6)
    assert (clone(model).fit(X).transform(X) == codes).all()
    assert (model.fit(X).transform(X) == codes).all()  # fit twice is fit once
    restored = rb.load(model.save(tmp_path / "m.safetensors"))
    assert (restored.transform(X) == codes).all()
    assert (restored.score_samples(X) == model.score_samples(X)).all()
    assert restored.inverse_transform(codes).shape == X.shape
    if switches.get("sparse") == "top-k":
        assert ((codes != 0).sum(1) <= 3).all()


def test_both_engines_reach_the_same_and_say_who_ran():
    fast = rb.Autoencoder(**{**QUICK, "epochs": 40}).fit(X)
    slow = rb.Autoencoder(**{**QUICK, "epochs": 40}, plan=rb.Plan(precision="fp32", gradient_clip=1e9)).fit(X)
    assert (fast.engine_, slow.engine_) == ("compiled", "torch")
    assert fast.reconstruction_error_ == pytest.approx(slow.reconstruction_error_, rel=0.05)
    assert fast.history_[-1]["loss"] == pytest.approx(slow.history_[-1]["loss"], rel=0.05)


def test_the_loss_of_the_compiled_loop_is_the_objective():
    """Both loops report half the squared error summed over features, so weights of penalties mean the same."""
    options = {**QUICK, "epochs": 1, "learning_rate": 1e-12}
    model = rb.Autoencoder(**options).fit(X)
    half = 0.5 * np.square((model.predict(X) - X) * model.scale_).sum(1).mean()
    assert model.history_[0]["loss"] == pytest.approx(half, rel=1e-5)
    other = rb.Autoencoder(**options, plan=rb.Plan(precision="fp32", gradient_clip=1e9)).fit(X)
    assert other.history_[0]["loss"] == pytest.approx(half, rel=1e-5)


def test_a_linear_autoencoder_comes_close_to_pca_and_the_summary_compares():
    model = rb.Autoencoder(
        code_size=3, hidden_layer_sizes=(), epochs=100, batch_size=32, learning_rate=1e-2, random_state=0, verbose=0
    ).fit(X)
    assert model.pca_error_ <= model.reconstruction_error_ < 1.03 * model.pca_error_
    said = str(model.summary())
    assert "PCA" in said
    assert "LOSES to PCA" in said
    assert "compiled loop" in said
    mean = X.mean(0)
    centred = X - mean
    axes = np.linalg.svd(centred, full_matrices=False)[2][:3]
    assert model.pca_error_ == pytest.approx(np.square(centred - centred @ axes.T @ axes).sum(1).mean(), rel=1e-4)


def test_pictures_of_any_size_go_through_the_convolutions(tmp_path):
    odd = np.random.default_rng(0).integers(0, 256, (20, 7, 10, 3), np.uint8)
    options = {"network": "convolutional", "hidden_layer_sizes": (4, 8), "code_size": 3, "epochs": 2, "verbose": 0}
    for kind in (None, "patches"):
        model = rb.Autoencoder(**options, corruption=kind, random_state=0).fit(odd)
        assert model.inverse_transform(model.transform(odd)).shape == odd.shape
        assert (rb.load(model.save(tmp_path / "m")).predict(odd) == model.predict(odd)).all()
    dense = rb.Autoencoder(**{**QUICK, "epochs": 60}).fit(PICTURES)
    flat = rb.Autoencoder(**{**QUICK, "epochs": 60}).fit(PICTURES.reshape(300, -1).astype(np.float32))
    assert dense.predict(PICTURES).shape == PICTURES.shape
    assert dense.reconstruction_error_ == pytest.approx(flat.reconstruction_error_, rel=1e-3)


def test_the_exact_and_the_estimated_contraction_are_the_jacobian():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 5, generator=generator)
    x = torch.randn(3, 5, generator=generator).requires_grad_()
    code = torch.tanh(x @ weight.T)
    rows = [torch.autograd.functional.jacobian(lambda v: torch.tanh(weight @ v), row) for row in x.detach()]
    wanted = torch.stack(rows).square().sum((1, 2)).mean()
    torch.testing.assert_close(exact_contraction(1 - code.square(), weight), wanted)
    draws = [estimated_contraction(code, x, torch.randn(3, 4, generator=generator)).item() for _ in range(4000)]
    assert np.mean(draws) == pytest.approx(wanted.item(), rel=0.05)
    loose = rb.Autoencoder(**{**QUICK, "epochs": 30}).fit(X)
    tight = rb.Autoencoder(**{**QUICK, "epochs": 30}, contract=10.0).fit(X)
    assert tight.contraction_ == "estimated"
    assert rb.Autoencoder(**{**QUICK, "hidden_layer_sizes": ()}, contract=1.0).fit(X).contraction_ == "exact"
    assert (
        np.square(np.diff(tight.transform(X), axis=0)).sum()
        < 0.5 * np.square(np.diff(loose.transform(X), axis=0)).sum()
    )


def test_the_kl_penalty_is_zero_at_its_target_and_the_divergence_elsewhere():
    assert kl_sparsity(torch.full((4, 3), 0.25), 0.25).item() == pytest.approx(0, abs=1e-6)
    wanted = 0.1 * np.log(0.1 / 0.5) + 0.9 * np.log(0.9 / 0.5)
    assert kl_sparsity(torch.full((4, 1), 0.5), 0.1).item() == pytest.approx(wanted, rel=1e-5)
    sparse = rb.Autoencoder(**{**QUICK, "epochs": 60}, sparse="kl", sparse_weight=20.0).fit(X)
    assert sparse.transform(X).mean() == pytest.approx(0.1, abs=0.03)


def test_a_hidden_number_alone_counts_in_a_masked_loss():
    x = torch.rand(6, 64, generator=torch.Generator().manual_seed(0))
    model = rb.Autoencoder(**QUICK).fit(X)
    objective = Objective(model.module_, Recipe(corruption="pixels", level=0.5))
    parts = objective(x, torch.Generator().manual_seed(1))
    assert parts.hidden.any()
    changed = parts._replace(raw=torch.where(parts.hidden, parts.raw, parts.raw + 100))
    assert objective.loss(changed) == objective.loss(parts)
    squares = corrupt(torch.ones(2, 3 * 14 * 14), "patches", 0.5, torch.Generator().manual_seed(0), shape=(3, 14, 14))[
        1
    ]
    squares = squares.view(2, 3, 14, 14)
    assert (squares[:, 0] == squares[:, 2]).all()
    assert (squares[..., ::2, ::2] == squares[..., 1::2, 1::2]).all()
    assert 0 < squares.float().mean() < 1


@pytest.mark.parametrize("kind", ["masking", "salt", "gaussian"])
def test_denoising_undoes_its_corruption_better_than_a_plain_one(kind):
    level = 1.0 if kind == "gaussian" else 0.4
    plain = rb.Autoencoder(**{**QUICK, "epochs": 60}).fit(X)
    denoising = rb.Autoencoder(**{**QUICK, "epochs": 60}, corruption=kind, level=level).fit(X)
    assert denoising.engine_ == "compiled"
    low, high = (X - plain.offset_).min() * plain.scale_, (X - plain.offset_).max() * plain.scale_
    prepared = torch.from_numpy((X - plain.offset_) * np.float32(plain.scale_))
    seen = corrupt(prepared, kind, level, torch.Generator().manual_seed(5), low=float(low), high=float(high))[0]
    noisy = seen.numpy() / np.float32(plain.scale_) + plain.offset_
    errors = [np.square(model.predict(noisy) - X).sum(1).mean() for model in (plain, denoising)]
    assert errors[1] < 0.95 * errors[0]


def test_what_it_was_not_trained_on_scores_lower():
    known, strange = DIGITS.data[DIGITS.target != 1] / 16, DIGITS.data[DIGITS.target == 1] / 16
    noise = np.random.default_rng(0).permuted(known, axis=1)
    model = rb.Autoencoder(**{**QUICK, "epochs": 30}).fit(known[:800])
    assert np.median(model.score_samples(noise)) < np.quantile(model.score_samples(known[800:]), 0.05)
    assert model.score_samples(strange).shape == (len(strange),)
    held = known[800:]
    explained = 1 - np.square(model.predict(held) - held).sum() / np.square(held - held.mean(0)).sum()
    assert model.score(held) == pytest.approx(explained, abs=1e-5)
    assert explained > 0.4


class Killed(Exception):
    pass


@pytest.mark.parametrize("switches", [{}, {"corruption": "masking"}, {"tied": True, "corruption": "gaussian"}], ids=str)
def test_a_killed_run_goes_on_to_the_same_bits(switches, tmp_path, monkeypatch):
    options = {**QUICK, "epochs": 5, **switches}
    whole = rb.Autoencoder(**options, plan=rb.Plan(early_stopping=True)).fit(X)
    resumed = rb.Autoencoder(**options, plan=rb.Plan(early_stopping=True, checkpoint=str(tmp_path / "c")))
    scores = Objective.score

    def die(self, *arguments):
        die.count += 1
        if die.count == 3:
            raise Killed
        return scores(self, *arguments)

    die.count = 0
    monkeypatch.setattr(Objective, "score", die)
    with pytest.raises(Killed):
        resumed.fit(X)
    monkeypatch.setattr(Objective, "score", scores)
    resumed.fit(X)
    assert resumed.n_iter_ == 5
    assert (resumed.transform(X) == whole.transform(X)).all()
    assert (resumed.fit(X).transform(X) == whole.transform(X)).all()  # a finished run is read back


def test_the_validation_objective_is_the_training_objective():
    model = rb.Autoencoder(**QUICK, corruption="pixels").fit(X)
    objective = Objective(model.module_, model._recipe(model._prepare(X)))
    x = torch.from_numpy(model._prepare(X))
    training = objective.loss(objective(x, torch.Generator().manual_seed(7)))
    assert -objective.score(x, 7) == pytest.approx(training.item(), rel=1e-6)


def test_it_is_a_transformer_of_scikit_learn():
    pipeline = make_pipeline(StandardScaler(), rb.Autoencoder(**QUICK)).fit(X)
    assert list(pipeline.get_feature_names_out())[:2] == ["autoencoder0", "autoencoder1"]
    assert rb.Autoencoder(**QUICK).fit_transform(X).shape == (400, 6)


def test_bad_input():
    model = rb.Autoencoder(**QUICK)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        model.transform(X)
    with pytest.raises(DataError, match="one sample; expected at least two"):
        model.fit(X[:1])
    with pytest.raises(DataError, match="all 5 samples are equal"):
        model.fit(np.ones((5, 4)))
    with pytest.raises(DataError, match="all 3 samples are equal"):
        model.fit(np.repeat(PICTURES[:1], 3, 0))
    with pytest.raises(NonFiniteError, match="row 2, column 3"):
        broken = X.copy()
        broken[2, 3] = np.nan
        model.fit(broken)
    for switch, why in (({"loss": "log_loss"}, "loss='log_loss'"), ({"output": "logistic"}, "output='logistic'")):
        with pytest.raises(DataError, match=rf"from 0 to 16; expected 0 to 1 for {why}. Use X / 255"):
            rb.Autoencoder(**QUICK, **switch).fit(DIGITS.data)
        with pytest.raises(DataError, match="MinMaxScaler"):
            rb.Autoencoder(**QUICK, **switch).fit(X - 1)
    bounded = rb.Autoencoder(**QUICK, output="logistic").fit(X)
    with pytest.raises(DataError, match="expected 0 to 1"):
        bounded.transform(X * 2)
    model.fit(X)
    with pytest.raises(ShapeError, match=r"codes of shape \(2, 5\); expected \(n_samples, 6\)"):
        model.inverse_transform(np.zeros((2, 5)))
    with pytest.raises(ShapeError, match="reshape"):
        model.inverse_transform(np.zeros(6))
    with pytest.raises(DataError, match="codes are not numbers"):
        model.inverse_transform([["a"] * 6])
    with pytest.raises(NonFiniteError, match="Z contains NaN"):
        model.inverse_transform(np.full((1, 6), np.nan))
    with pytest.raises(ShapeError, match="X holds pictures; expected a table"):
        model.transform(PICTURES)
    with pytest.raises(ShapeError, match="expected pictures N H W"):
        rb.Autoencoder(network="convolutional").fit(X)
    with pytest.raises(ShapeError, match="expected pictures for corruption='patches'"):
        rb.Autoencoder(corruption="patches").fit(X)
    seen = rb.Autoencoder(**QUICK).fit(PICTURES)
    with pytest.raises(ShapeError, match="X is a table; expected pictures"):
        seen.transform(X)
    with pytest.raises(ShapeError, match=r"shape \(9, 9, 1\); expected \(8, 8, 1\)"):
        seen.transform(np.zeros((2, 9, 9), np.uint8))
    with pytest.raises(DataError, match="X holds floats, fit saw uint8"):
        seen.transform(PICTURES / 255)


def test_switches_that_mean_nothing_together():
    for options, said in (
        ({"sparse": "kl", "code_activation": "relu"}, "expected 'logistic'"),
        ({"loss": "log_loss", "output": "linear"}, "expected 'logistic'"),
        ({"tied": True, "network": "convolutional"}, "expected 'dense'"),
        ({"corruption": "masking", "level": 1.5}, "expected a share between 0 and 1"),
        ({"network": "convolutional", "hidden_layer_sizes": (3,)}, "expected two integers"),
        ({"hidden_layer_sizes": (0,)}, "integers >= 1"),
        ({"plan": rb.Plan(label_smoothing=0.1)}, "is not used here"),
        ({"plan": rb.Plan(augment="flip+cutout")}, "'cutout'; expected shift, rotate, flip, joined by"),
        ({"code_size": 0}, "integer >= 1"),
    ):
        with pytest.raises(ParameterError, match=said):
            rb.Autoencoder(**options).fit(PICTURES)
    with pytest.raises(ParameterError, match="with a table; expected pictures"):
        rb.Autoencoder(plan=rb.Plan(augment="shift")).fit(X)
    with pytest.raises(DataError, match="2 samples, of which 1 would be held out"):
        rb.Autoencoder(plan=rb.Plan(early_stopping=True), verbose=0).fit(X[:2])


@pytest.mark.parametrize("kind", [rb.Autoencoder, rb.VariationalAutoencoder])
def test_augmented_pictures_are_their_own_answer(kind):
    def fit(augment):
        return kind(**{**QUICK, "epochs": 20}, plan=rb.Plan(augment=augment)).fit(PICTURES)

    moved, again, still = fit("shift"), fit("shift"), fit("none")
    np.testing.assert_array_equal(moved.transform(PICTURES), again.transform(PICTURES))
    assert (moved.transform(PICTURES) != still.transform(PICTURES)).any()
    if kind is rb.VariationalAutoencoder:  # which cannot learn so much from so little
        return
    elsewhere = np.pad(PICTURES[:, :, 1:], ((0, 0), (0, 0), (0, 1)), mode="edge")
    assert moved.score_samples(elsewhere).mean() > still.score_samples(elsewhere).mean()


def test_the_error_beside_pca_is_that_of_evenly_spaced_samples_of_many():
    rows = np.repeat(np.arange(5000.0), 3).reshape(-1, 3) + np.random.default_rng(0).normal(size=(5000, 3))
    model = rb.Autoencoder(code_size=1, hidden_layer_sizes=(4,), epochs=1, random_state=0, verbose=0).fit(rows)
    assert model.error_on_ == "4,096 of the 5,000 training samples"
    chosen = rows[np.linspace(0, 4999, 4096).astype(int)]
    assert model.reconstruction_error_ == pytest.approx(-model.score_samples(chosen).mean(), rel=1e-5)
    pca = PCA(1).fit(rows)
    theirs = np.square(chosen - pca.inverse_transform(pca.transform(chosen))).sum(1).mean()
    assert model.pca_error_ == pytest.approx(theirs, rel=1e-3)


def test_pictures_of_the_inside():
    model = rb.Autoencoder(**{**QUICK, "code_size": 2}).fit(X)
    assert set(model.inspect(X, DIGITS.target[:400])) == {"learning_curves", "code_map", "reconstructions", "code_grid"}
    assert set(model.inspect()) == {"learning_curves"}
    table = rb.Autoencoder(**QUICK).fit(X[:, :10])
    assert set(table.inspect(X[:, :10])) == {"learning_curves", "code_map"}
    colours = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    assert "reconstructions" in rb.Autoencoder(**QUICK).fit(colours).inspect(colours)
    from rosenblatt.report.codes import code_grid, code_map, reconstructions

    with pytest.raises(ShapeError, match="expected 2, and pictures"):
        code_grid(table)
    with pytest.raises(ShapeError, match="no square picture"):
        reconstructions(table, X[:, :10])
    with pytest.raises(ShapeError, match="expected two or more"):
        code_map(table, X[:1, :10])


def test_command_line(tmp_path):
    import csv
    import json

    from typer.testing import CliRunner

    from rosenblatt.cli import app

    def run(*words):
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    table, out = tmp_path / "t.csv", tmp_path / "m.safetensors"
    rows = [
        [*(f"{v:.4f}" for v in row), f"class {label}"] for row, label in zip(X[:80, :12], DIGITS.target, strict=False)
    ]
    with table.open("w", newline="") as handle:
        csv.writer(handle).writerows([[*(f"c{i}" for i in range(12)), "digit"], *rows])
    quick = ("--epochs", 2, "--random-state", 0, "--verbose", 0, "--hidden-layer-sizes", "8,4")
    done = json.loads(run("train", "autoencoder", table, "-o", out, "--code-size", 3, "--json", *quick))
    assert done["held_out"]["n"] == 16
    lines = run("predict", out, table).splitlines()
    assert lines[0] == "code0,code1,code2,score"
    assert len(lines) == 81
    assert "explained" in run("evaluate", out, table)
    assert (tmp_path / "p" / "code_map.png").exists() or "code_map" in run("inspect", out, table, "-o", tmp_path / "p")
    with pytest.raises(ParameterError, match="has no distribution of codes"):
        run("sample", out)
    from rosenblatt.errors import ColumnError

    other = tmp_path / "other.csv"
    other.write_text("c0,c1\n1,2\n3,4\n")
    with pytest.raises(ColumnError, match="there is no column 'c2'"):
        run("predict", out, other)
    with pytest.raises(ParameterError, match="expected integers with commas"):
        run("train", "autoencoder", table, "-o", tmp_path / "n", "--hidden-layer-sizes", "8,x")
    text = tmp_path / "text.csv"
    text.write_text("a,b\nx,y\nz,w\n")
    with pytest.raises(DataError, match="no column holds numbers"):
        run("train", "autoencoder", text, "-o", tmp_path / "n")
