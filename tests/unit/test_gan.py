import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import rosenblatt as rb
from rosenblatt.data.differentiable import STEPS, DifferentiableAugment
from rosenblatt.errors import (
    DataError,
    DivergedError,
    LabelError,
    NonFiniteError,
    NotFittedError,
    ParameterError,
    ShapeError,
    TrainingWarning,
)
from rosenblatt.losses.adversarial import LOSSES, unit_gradient_penalty, zero_centred_penalty
from rosenblatt.models import gan as models
from rosenblatt.train.adversarial import diagnose
from rosenblatt.train.seeds import PrivateRandom

pytestmark = pytest.mark.filterwarnings("ignore::rosenblatt.errors.TrainingWarning")
SMALL = {"width": 8, "code_size": 8, "epochs": 2, "batch_size": 32, "random_state": 0, "verbose": 0}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROSENBLATT_CACHE", str(tmp_path / "cache"))


def digits(count=128):
    """Digits of 8 x 8 pixels as uint8; 8 halves down to 4."""
    X, y = load_digits(return_X_y=True)
    return (X[:count].reshape(-1, 8, 8) * 15.9).astype(np.uint8), y[:count]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROSENBLATT_CACHE", str(tmp_path_factory.mktemp("cache")))
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TrainingWarning)
            return rb.GAN(**SMALL).fit(*digits())


# ------------------------------------------------------------------------------------------------------------ losses


def test_losses_are_the_papers():
    real, fake = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    sigmoid = torch.sigmoid
    game = LOSSES["non-saturating"]
    expected = -(sigmoid(real).log().mean() + (1 - sigmoid(fake)).log().mean())
    assert float(game.critic(real, fake)) == pytest.approx(float(expected), rel=1e-5)
    assert float(game.generator(fake, None)) == pytest.approx(float(-sigmoid(fake).log().mean()), rel=1e-5)
    game = LOSSES["hinge"]
    assert float(game.critic(real, fake)) == pytest.approx((0 + 3) / 2 + (1.5 + 4) / 2)
    game = LOSSES["relativistic"]
    expected = -(sigmoid(real - fake)).log().mean()
    assert float(game.critic(real, fake)) == pytest.approx(float(expected), rel=1e-5)
    assert float(game.generator(fake, real)) == pytest.approx(float(-sigmoid(fake - real).log().mean()), rel=1e-5)
    game = LOSSES["wasserstein"]
    assert float(game.critic(real, fake)) == pytest.approx(1.75 + 0.5)
    assert game.critic_steps == 5


def test_penalties_equal_closed_forms_of_a_quadratic_critic():
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))

    def critic(batch):
        return batch.square().sum(1)

    penalty, logits = zero_centred_penalty(critic, x)
    assert penalty.item() == pytest.approx(float((4 * x.square().sum(1)).mean() / 2), rel=1e-5)
    assert torch.equal(logits, critic(x))
    with PrivateRandom(0):
        # at one point only, whatever the share of the way
        value = unit_gradient_penalty(critic, x, x).item()
    assert value == pytest.approx(float((2 * x.norm(dim=1) - 1).square().mean()), rel=1e-5)


def test_the_penalty_has_a_gradient_for_the_critic():
    with PrivateRandom(0):
        net = nn.Linear(3, 1)
    penalty, _ = zero_centred_penalty(lambda x: net(x)[:, 0], torch.ones(4, 3))
    penalty.backward()
    torch.testing.assert_close(net.weight.grad, net.weight.detach())  # d/dw of |w|^2 / 2


# ---------------------------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize("side", [28, 32, 48, 64, 128, 256])
@pytest.mark.parametrize(
    "pair", [(models.StyleGenerator, models.ResidualCritic), (models.DCGenerator, models.DCCritic)]
)
def test_all_sides_have_their_networks(side, pair):
    with PrivateRandom(0):
        generator, critic = pair[0](side, 3, 8, 4, 5), pair[1](side, 3, 4, 5)
        z, y = torch.randn(4, 8), torch.tensor([0, 1, 2, 4])
        with torch.no_grad():
            x = generator(z, y)
            assert x.shape == (4, 3, side, side)
            assert critic(x, y).shape == (4,)


def test_dcgan_has_the_papers_widths_at_64_pixels():
    with torch.device("meta"):
        net = models.DCGenerator(64, 3, 100, 64)
    maps = [layer for layer in net.layers if isinstance(layer, nn.ConvTranspose2d)]
    assert [layer.in_channels for layer in maps] == [1024, 512, 256, 128]  # figure 1
    assert net.first.out_features == 1024 * 4 * 4


def test_modulation_equals_modulated_filters():
    with PrivateRandom(0):
        layer, x, w = models.Modulated(3, 5, 4), torch.randn(2, 3, 6, 6), torch.randn(2, 4)
    out = layer(x, w)
    for n in range(2):
        filters = layer.conv.weight * layer.affine(w)[n].view(1, -1, 1, 1)
        filters = filters * (filters.square().sum((1, 2, 3), keepdim=True) + 1e-8).rsqrt()
        expected = torch.nn.functional.conv2d(x[n : n + 1], filters, padding=1)
        torch.testing.assert_close(out[n : n + 1], expected, rtol=1e-4, atol=1e-5)


def test_deviation_map_is_low_where_samples_are_alike():
    same = torch.ones(8, 3, 4, 4)
    assert float(models.deviation_map(same).max()) < 1e-3
    with PrivateRandom(0):
        assert float(models.deviation_map(torch.randn(8, 3, 4, 4)).mean()) > 0.5


def test_spectral_critics_are_bounded():
    with PrivateRandom(0):
        critic = models.TableCritic(6, 16, spectral=True).train()
        x = torch.randn(64, 6)
        for _ in range(20):
            critic(x)  # power iterations
    norm = torch.linalg.matrix_norm(critic.two.weight.detach(), 2)
    assert float(norm) == pytest.approx(1, abs=0.05)


# ------------------------------------------------------------------------------------------------------ augmentation


@pytest.mark.parametrize("name", list(STEPS))
def test_steps_keep_the_shape_and_pass_the_gradient(name):
    with PrivateRandom(0):
        x = torch.randn(6, 3, 16, 16).requires_grad_()
        y = STEPS[name](x)
    assert y.shape == x.shape
    assert not torch.equal(y, x)
    y.sum().backward()
    assert float(x.grad.abs().sum()) > 0


def test_translation_moves_whole_pictures():
    x = torch.arange(16.0 * 16).view(1, 1, 16, 16).expand(20, 1, 16, 16)
    with PrivateRandom(0):
        moved = STEPS["translate"](x)
    shifts = set()
    for picture in moved:
        row, column = np.argwhere(picture[0].numpy() == 8 * 16 + 8)[0] - 8
        shifts.add((row, column))
        inner = picture[0][max(0, row) : 16 + min(0, row), max(0, column) : 16 + min(0, column)]
        expected = x[0, 0][max(0, -row) : 16 - max(0, row), max(0, -column) : 16 - max(0, column)]
        assert torch.equal(inner, expected)
    assert len(shifts) > 5


def test_probability_is_a_share_of_pictures_and_follows_the_critic():
    augment = DifferentiableAugment("flip", 0.5)
    x = torch.arange(4.0).view(1, 1, 1, 4).expand(4000, 1, 1, 4)
    with PrivateRandom(0):
        changed = float((augment(x) != x).flatten(1).any(1).float().mean())
    assert changed == pytest.approx(0.25, abs=0.03)  # flips half of the half
    augment.steer(0.9, 50_000)
    assert augment.p == 1.0
    augment.steer(0.1, 20_000)
    assert augment.p == pytest.approx(0.8)
    with pytest.raises(ParameterError, match="names 'flop'"):
        DifferentiableAugment("flop")


# ---------------------------------------------------------------------------------------------------------- estimator


def test_samples_are_like_the_data_in_type_and_shape(model):
    X, _ = digits()
    drawn = model.sample(5, random_state=1)
    assert drawn.shape == (5, 8, 8)
    assert drawn.dtype == X.dtype
    assert len(model.history_) == 2
    assert {"generator_loss", "critic_accuracy", "variety", "validation_score"} <= set(model.history_[0])
    assert "random filters" in model.judged_by_
    assert "best epoch" in str(model.summary())


def test_a_sample_does_not_depend_on_how_many_are_drawn(model):
    codes = model.draw_codes(70, random_state=0)
    y = model.classes_[np.arange(70) % 10]
    whole = model.decode(codes, y)
    parts = np.concatenate([model.decode(codes[i : i + 1], y[i]) for i in range(0, 70, 23)])
    np.testing.assert_array_equal(whole[::23], parts)
    np.testing.assert_array_equal(model.sample(3, random_state=5), model.sample(3, random_state=5))


@pytest.mark.parametrize("size", [3, 16, 40])
def test_codes_do_not_depend_on_how_many_are_drawn(size):
    gan = rb.GAN(code_size=size)
    assert np.array_equal(gan.draw_codes(1, 5), gan.draw_codes(70, 5)[:1])


def test_fit_twice_is_fit_once(model):
    again = rb.GAN(**SMALL).fit(*digits()).fit(*digits())
    np.testing.assert_array_equal(again.sample(4, random_state=0), model.sample(4, random_state=0))


def test_saved_and_loaded_it_draws_the_same(model, tmp_path):
    path = model.save(tmp_path / "gan.safetensors")
    code = (
        "import rosenblatt as rb, sys, hashlib;"
        f"print(hashlib.sha256(rb.load({str(path)!r}).sample(6, random_state=3).tobytes()).hexdigest())"
    )
    import hashlib

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(model.sample(6, random_state=3).tobytes()).hexdigest()


@pytest.mark.parametrize("loss", ["non-saturating", "wasserstein", "hinge"])
@pytest.mark.parametrize("network", ["style", "dcgan"])
def test_every_game_trains(loss, network, tmp_path):
    X, _ = digits(64)
    found = rb.GAN(**SMALL | {"loss": loss, "network": network, "epochs": 1}).fit(X / 255.0)
    drawn = found.sample(3, random_state=0)
    assert drawn.dtype == np.float32
    assert 0 <= drawn.min() <= drawn.max() <= 1
    again = rb.load(found.save(tmp_path / "m.safetensors"))
    np.testing.assert_array_equal(again.sample(3, random_state=0), drawn)


def test_a_table_is_learned():
    rng = np.random.default_rng(0)
    means = np.array([[-4.0, 0.0], [4.0, 0.0], [0.0, 6.0]])
    rows = np.concatenate([rng.normal(m, 0.3, (400, 2)) for m in means]) * [1, 10] + [100, 0]
    model = rb.GAN(epochs=60, code_size=8, width=64, random_state=0, verbose=0).fit(rows)
    drawn = model.sample(600, random_state=0)
    standard = (drawn - [100, 0]) / [1, 10]
    near = np.linalg.norm(standard[:, None] - means[None], axis=2)
    shares = np.bincount(near.argmin(1), minlength=3) / 600
    assert shares.min() > 0.15, "a mode is missing"
    assert np.mean(near.min(1) < 1.5) > 0.6  # an untrained one: 0.3
    assert model.judge(rows).coverage > 0.5
    assert model.score(rows) > -0.5


def test_labels_condition(model):
    a, b = model.sample(8, 3, random_state=0), model.sample(8, 7, random_state=0)
    assert not np.array_equal(a, b)
    with pytest.raises(LabelError, match="17"):
        model.sample(2, 17)
    with pytest.raises(ShapeError, match="3 labels for 2 samples"):
        model.sample(2, [1, 2, 3])


def test_truncation_pulls_to_the_mean(model):
    spread = [model.sample(40, 3, truncation=t, random_state=0).astype(float).std(0).mean() for t in (1.0, 0.3)]
    assert spread[1] < spread[0]
    with pytest.raises(ParameterError, match="truncation"):
        model.sample(2, truncation=2.0)
    dcgan = rb.GAN(**SMALL | {"network": "dcgan", "epochs": 1}).fit(digits(64)[0])
    with pytest.raises(ParameterError, match="without a mapping network"):
        dcgan.sample(2, truncation=0.5)
    with pytest.raises(ParameterError, match="no mapping network"):
        dcgan.mix_styles(dcgan.draw_codes(1), dcgan.draw_codes(1))
    with pytest.raises(ParameterError, match="trained without labels"):
        dcgan.sample(2, 3)


def test_interpolation_and_mixing(model):
    codes = model.draw_codes(2, random_state=0)
    path = model.interpolate(*codes, steps=5, y=2)
    assert path.shape == (5, 8, 8)
    np.testing.assert_array_equal(path[0], model.decode(codes[:1], 2)[0])
    np.testing.assert_array_equal(path[-1], model.decode(codes[1:], 2)[0])
    assert model.interpolate(codes[0], codes[0], steps=2).shape == (2, 8, 8)
    mixed = model.mix_styles(codes[:1], codes[1:], at=1)
    assert mixed.shape == (1, 8, 8)
    with pytest.raises(ParameterError, match="at"):
        model.mix_styles(codes[:1], codes[1:], at=9)
    with pytest.raises(ShapeError, match=r"codes of shape \(1, 3\); expected \(N, 8\)"):
        model.decode(np.zeros((1, 3)))


def test_projection_finds_a_drawn_picture(model):
    picture = model.decode(model.draw_codes(1, random_state=4), 0)
    codes, error = model.project(picture, steps=60, y=0)
    assert codes.shape == (1, 8)
    start = model.decode(model.draw_codes(1, random_state=9), 0)
    assert error[0] < np.mean((start / 255.0 - picture / 255.0) ** 2)


def test_nearest_tells_a_copy_from_a_new_picture(model):
    X, _ = digits()
    rows, distance = model.nearest(X[[5, 9]], X)
    assert rows.tolist() == [5, 9]
    assert distance.max() < 1e-3
    _, far = model.nearest(model.sample(4, random_state=0), X)
    assert far.min() > 0.1


def test_resumed_after_a_kill_it_is_the_same_run(tmp_path):
    code = f"""
import sys, warnings
sys.path.insert(0, {str(os.path.dirname(__file__))!r})
warnings.simplefilter("ignore")
import torch; torch.set_num_threads(1)
from test_gan import SMALL, digits
import rosenblatt as rb
model = rb.GAN(**SMALL | {{"epochs": 6, "augment": "adaptive", "plan": rb.Plan(checkpoint=sys.argv[1])}})
model.fit(*digits())
model.save(sys.argv[2])
"""
    environment = {**os.environ, "ROSENBLATT_CACHE": str(tmp_path / "cache")}
    whole = [sys.executable, "-c", code, str(tmp_path / "a"), str(tmp_path / "a.safetensors")]
    subprocess.run(whole, check=True, env=environment)
    cut = [sys.executable, "-c", code, str(tmp_path / "b"), str(tmp_path / "b.safetensors")]
    killed = subprocess.Popen(cut, env=environment)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "b").glob("checkpoint-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "b.safetensors").exists()
    subprocess.run(cut, check=True, env=environment)
    one, two = (rb.load(tmp_path / f"{name}.safetensors") for name in "ab")
    for (name, a), b in zip(one.module_.state_dict().items(), two.module_.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    drop = ("seconds",)
    rows = [[{k: v for k, v in row.items() if k not in drop} for row in m.history_] for m in (one, two)]
    assert json.dumps(rows[0]) == json.dumps(rows[1])


def test_divergence_keeps_the_last_good_weights():
    X, _ = digits(64)
    model = rb.GAN(**SMALL | {"learning_rate": 1e12, "loss": "wasserstein"})
    with pytest.raises(DivergedError, match="epoch 1"):
        model.fit(X)
    assert all(torch.isfinite(t).all() for t in model.module_.state_dict().values())


def test_the_best_epoch_is_kept_and_not_the_last(monkeypatch):
    scores = iter([-5.0, -1.0, -9.0])
    monkeypatch.setattr(rb.GAN, "_judge_epochs", lambda *_: lambda _: {"validation_score": next(scores)})
    model = rb.GAN(**SMALL | {"epochs": 3})
    model.judged_by_ = "a test"
    model.fit(digits(64)[0])
    assert model.best_epoch_ == 2
    assert len(model.history_) == 3


def row(**changes):
    return {"variety": 1.0, "critic_accuracy": 0.7, "validation_score": -1.0, **changes}


def test_diagnosis_in_words():
    assert diagnose([row()], 1) == []
    assert "Mode collapse" in diagnose([row(variety=0.05)], 1)[0]
    assert "critic has won" in diagnose([row(critic_accuracy=0.999)] * 3, 3)[0]
    rows = [row(), row(validation_score=-0.5), row(), row(validation_score=-4.0)]
    assert "worse after epoch 2 of 4" in diagnose(rows, 2)[0]


def test_a_collapsed_run_is_said():
    X, _ = digits(64)
    with pytest.warns(TrainingWarning, match="Mode collapse"):
        rb.GAN(**SMALL | {"epochs": 1, "learning_rate": 1e-9, "network": "dcgan"}).fit(X)


def test_bad_data_is_refused():
    X, y = digits(32)
    gan = rb.GAN(**SMALL)
    with pytest.raises(DataError, match="values from 0 to 254; expected floats from 0 to 1, or uint8"):
        gan.fit(X.astype(float))
    with pytest.raises(DataError, match="1 sample; expected at least 2"):
        gan.fit(X[:1])
    with pytest.raises(DataError, match="all 5 samples are equal"):
        gan.fit(np.repeat(X[:1], 5, 0))
    with pytest.raises(ShapeError, match=r"pictures of 8 x 7 pixels.*Resize or crop them to 8 x 8"):
        gan.fit(X[:, :, :7])
    with pytest.raises(ShapeError, match=r"pictures of 17 x 17 pixels.*to 16 x 16"):
        gan.fit(np.zeros((3, 17, 17), np.uint8) + np.arange(3, dtype=np.uint8)[:, None, None])
    with pytest.raises(NonFiniteError, match="NaN"):
        gan.fit(np.full((4, 3), np.nan))
    with pytest.raises(DataError, match="labels"):
        gan.fit(X, y[:5])
    with pytest.raises(ParameterError, match="with a table; expected None"):
        rb.GAN(**SMALL | {"augment": "flip"}).fit(np.random.default_rng(0).normal(size=(20, 2)))
    with pytest.raises(ParameterError, match="Did you mean 'hinge'"):
        rb.GAN(loss="hing").fit(X)
    with pytest.raises(NotFittedError, match="not fitted"):
        gan.sample(1)


def test_other_data_than_that_of_fit_is_refused(model):
    X, _ = digits(8)
    with pytest.raises(ShapeError, match="expected uint8 of"):
        model.nearest(X / 255.0, X)
    with pytest.raises(ShapeError, match="expected uint8 of"):
        model.judge(X[:, :4, :4])


# --------------------------------------------------------------------------------------------- pictures, command line


def test_sheets_and_animations(model):
    from io import BytesIO

    from PIL import Image

    from rosenblatt.report.samples import animation, sheet

    X, _ = digits(9)
    whole = sheet(X)
    assert whole.shape == (3 * 57 - 1, 3 * 57 - 1, 3)
    np.testing.assert_array_equal(whole[:56:7, :56:7, 0], X[0])
    with Image.open(BytesIO(animation(X))) as film:
        assert film.n_frames == len(X)
    with pytest.raises(ShapeError, match="expected N H W or N H W C"):
        sheet(X[0])
    figures = model.inspect(digits()[0])
    assert set(figures) == {"samples", "game", "nearest"}


def test_the_commands_train_sample_and_judge(run, tmp_path):
    from PIL import Image

    folder = tmp_path / "digits"
    for digit in (0, 1):
        (folder / str(digit)).mkdir(parents=True)
        for i, picture in enumerate(digits()[0][digits()[1] == digit]):
            Image.fromarray(picture).save(folder / str(digit) / f"{i}.png")

    path = tmp_path / "m.safetensors"
    settings = ("--width", 8, "--code-size", 8, "--epochs", 1, "--batch-size", 8, "--random-state", 0)
    said = run("train", "gan", folder, "--labels", "--json", "-o", path, *settings)
    assert said.code == 0, said.err
    assert json.loads(said.out)["samples"] == len(list(folder.rglob("*.png")))
    said = run("sample", path, "--label", "1", "--count", 9, "--random-state", 0, "--out", tmp_path / "s.png")
    assert said.code == 0, said.err
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.size == (170, 170)
    said = run("sample", path, "--out", tmp_path / "walk.gif", "--option", "interpolate=3", "--count", 3)
    with Image.open(tmp_path / "walk.gif") as film:
        assert film.n_frames > 1
    said = run("evaluate", path, folder, "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["n_real"] > 20
    for words, message in [
        (("sample", path), "pictures need a file"),
        (("sample", path, "--prompt", "x", "--out", tmp_path / "x.png"), "--prompt: means nothing for a GAN"),
        (("sample", path, "--label", "7", "--out", tmp_path / "x.png"), "7"),
        (("train", "gan", folder, "--target", "a", "-o", tmp_path / "n"), "a folder has no columns"),
    ]:
        said = run(*words)
        assert said.code == 2
        assert message in said.err


def test_the_commands_draw_rows(run, tmp_path):
    table = tmp_path / "rows.csv"
    rng = np.random.default_rng(0)
    table.write_text("a,b\n" + "\n".join(f"{x:.4f},{y:.4f}" for x, y in rng.normal(size=(64, 2))) + "\n")
    path = tmp_path / "m.safetensors"
    said = run("train", "gan", table, "-o", path, "--epochs", "2", "--width", "8", "--random-state", "0")
    assert said.code == 0, said.err
    said = run("sample", path, "--count", "3")
    assert said.code == 0, said.err
    lines = said.out.strip().splitlines()
    assert lines[0] == "a,b"
    assert len(lines) == 4
