import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone

import rosenblatt as rb
from rosenblatt.data.label_maps import paint
from rosenblatt.errors import (
    DataError,
    DivergedError,
    FetchError,
    LabelError,
    NonFiniteError,
    NotFittedError,
    ParameterError,
    ShapeError,
    TrainingWarning,
)
from rosenblatt.estimators.semantic_inputs import PRESETS, perceptual_of, preset_of
from rosenblatt.losses.features import feature_matching, relative_difference
from rosenblatt.models import semantic_gan as models
from rosenblatt.train.seeds import PrivateRandom
from rosenblatt.train.segmenter import train_segmenter
from rosenblatt.train.semantic import diagnose_semantic

pytestmark = pytest.mark.filterwarnings("ignore::rosenblatt.errors.TrainingWarning")
SMALL = {"width": 4, "code_size": 4, "perceptual": None, "epochs": 2, "random_state": 0, "verbose": 0, "device": "cpu"}
COLOURS = np.uint8([[210, 60, 40], [30, 70, 220], [40, 200, 60]])


def scenes(count=24, side=16):
    """Rectangles of two classes on a third, in colours of their own with noise."""
    rng = np.random.default_rng(0)
    labels = np.zeros((count, side, side), int)
    for one in labels:
        for label in (1, 2):
            top, left = rng.integers(0, side - 4, 2)
            one[top : top + rng.integers(4, side), left : left + rng.integers(4, side)] = label
    photos = COLOURS[labels].astype(int) + rng.integers(-20, 21, (count, side, side, 1))
    return labels, photos.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)
        return rb.SemanticGAN(**SMALL).fit(*scenes())


# ---------------------------------------------------------------------------------------------------- networks, losses


@pytest.mark.parametrize("groups", [None, 1, 2])
def test_normalisation_is_the_closed_form_with_its_gradient(groups):
    with PrivateRandom(0):
        x = torch.randn(2, 4, 4, 5, dtype=torch.float64).requires_grad_()
    parts = x.view(2, groups or 4, -1)
    mean, variance = parts.mean(2, keepdim=True), parts.var(2, correction=0, keepdim=True)
    expected = ((parts - mean) / (variance + 1e-5).sqrt()).view(x.shape)
    torch.testing.assert_close(models.by_picture(x, groups), expected)
    assert torch.autograd.gradcheck(lambda t: models.by_picture(t, groups), (x,))
    last = x.detach().contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(models.by_picture(last, groups), expected.detach())
    alone = models.by_picture(last[:1], groups)
    assert torch.equal(alone, models.by_picture(last, groups)[:1])  # nothing of the other pictures
    torch.testing.assert_close(models.by_picture(x, 2), torch.nn.functional.group_norm(x, 2))


def test_modulation_is_the_papers_equation():
    with PrivateRandom(0):
        layer = models.SpatiallyAdaptive(32, 2, 8)
        x, maps = torch.randn(2, 32, 6, 6), torch.randint(0, 2, (2, 6, 6))
    labels = models.label_channels(maps, 1)
    h = torch.nn.functional.relu(torch.nn.functional.conv2d(labels, layer.shared.weight, layer.shared.bias, padding=1))
    said = torch.nn.functional.conv2d(h, layer.modulation.weight, layer.modulation.bias, padding=1)
    gamma, beta = said[:, :32], said[:, 32:]
    expected = (1 + gamma) * torch.nn.functional.group_norm(x, 2) + beta
    torch.testing.assert_close(layer(x, labels), expected, rtol=1e-4, atol=1e-5)
    assert [models.groups_of(c) for c in (4, 8, 16, 24, 64, 1024)] == [1, 1, 1, 3, 4, 64]


@pytest.mark.parametrize("shape", [(16, 16), (64, 64), (96, 128), (128, 64)])
@pytest.mark.parametrize("code", [0, 4])
def test_all_sides_have_their_networks(shape, code):
    with PrivateRandom(0), torch.no_grad():
        net = models.SemanticGenerator(shape, 5, width=2, hidden=4, code=code).eval()
        critic = models.MultiscaleCritic(5, width=4, layers=3)
        maps = torch.randint(0, 6, (2, *shape))
        x = net(maps, torch.randn(2, code) if code else None)
        assert x.shape == (2, 3, *shape)
        assert float(x.abs().max()) <= 1
        found = critic(maps, x)
    assert [len(scale) for scale in found] == [4, 4]
    assert all(scale[-1].shape[1] == 1 for scale in found)
    with pytest.raises(ValueError, match="shape"):
        models.SemanticGenerator((64, 72), 5, width=2, hidden=4, code=0)


def test_a_region_that_is_repainted_changes_most_there():
    with PrivateRandom(0):
        net = models.SemanticGenerator((64, 64), 3, width=4, hidden=8, code=0).eval()
    maps = scenes(1, 64)[0]
    other = paint(maps, 2 - maps[0, 12, 12], box=(8, 8, 8, 8))
    with torch.no_grad():
        one, two = (net(torch.from_numpy(m)) for m in (maps, other))
    change = (one - two).abs().mean(1)[0]
    assert float(change[8:16, 8:16].mean()) > 3 * float(change[32:, 32:].mean())


def test_feature_losses():
    with PrivateRandom(0):
        one, two = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    value = feature_matching([[one, two, one], [two, one]], [[two, two, two], [one, two]])
    expected = ((one - two).abs().mean() + 0 + (one - two).abs().mean()) / 3
    torch.testing.assert_close(value, expected)
    real = one.clone().requires_grad_()
    fake = two.clone().requires_grad_()
    feature_matching([[fake, fake]], [[real, real]]).backward()
    assert real.grad is None
    assert relative_difference([3 * one], [one]).item() == pytest.approx(2, rel=1e-5)
    assert relative_difference([300 * two], [100 * one]).item() == pytest.approx(
        float(relative_difference([3 * two], [one])), rel=1e-5
    )


# ---------------------------------------------------------------------------------------------------------- estimator


def test_renderings_are_like_the_photographs_in_type_and_shape(model):
    labels, photos = scenes()
    drawn = model.transform(labels[:3])
    assert drawn.shape == (3, 16, 16, 3)
    assert drawn.dtype == photos.dtype
    assert len(model.history_) == 2
    assert {"feature_loss", "kl", "validation_score", "style_variety"} <= set(model.history_[0])
    assert "8 maps against 24 photographs" in model.judged_by_
    assert "of 3 classes at 16 x 16 pixels, with style encoder" in str(model.summary())


def test_a_rendering_does_not_depend_on_the_others_or_the_call(model):
    labels, _ = scenes()
    whole = model.transform(labels, random_state=3)
    np.testing.assert_array_equal(model.transform(labels[:1], random_state=3)[0], whole[0])
    codes = np.random.default_rng(0).normal(size=(5, 4))
    np.testing.assert_array_equal(model.render(labels[2:3], codes[2:3])[0], model.render(labels[:5], codes)[2])
    assert not np.array_equal(model.transform(labels[:1], random_state=4)[0], whole[0])


def test_styles_follow_a_reference(model):
    labels, photos = scenes()
    one = model.transform(labels[:2], style=photos[5])
    np.testing.assert_array_equal(one, model.render(labels[:2], model.encode_style(photos[[5, 5]])))
    each = model.transform(labels[:2], style=photos[5:7])
    np.testing.assert_array_equal(each[0], one[0])
    assert model.encode_style(photos[:3]).shape == (3, 4)
    with pytest.raises(ShapeError, match="3 styles for 2 maps"):
        model.transform(labels[:2], style=photos[:3])
    with pytest.raises(ShapeError, match=r"codes of shape \(2, 3\); expected \(2, 4\)"):
        model.render(labels[:2], np.zeros((2, 3)))
    with pytest.raises(ShapeError, match="expected uint8 of"):
        model.encode_style(photos[:2] / 255)


def test_ids_channels_and_dont_care_render_the_same(model):
    labels, _ = scenes()
    maps = labels[:1].copy()
    maps[0, :3] = 255
    channels = maps[..., None] == np.arange(3)
    np.testing.assert_array_equal(model.transform(maps), model.transform(channels))
    assert not np.array_equal(model.transform(maps), model.transform(labels[:1]))


def test_fit_twice_is_fit_once_and_a_clone_the_same(model):
    labels, photos = scenes()
    again = clone(model).fit(labels, photos).fit(labels, photos)
    for (name, a), b in zip(model.module_.state_dict().items(), again.module_.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    other = rb.SemanticGAN(**SMALL | {"random_state": 1, "epochs": 1}).fit(labels, photos)
    assert not np.array_equal(other.transform(labels[:1]), model.transform(labels[:1]))


def test_saved_and_loaded_it_renders_the_same(model, tmp_path):
    labels, photos = scenes()
    again = rb.load(model.save(tmp_path / "m.safetensors"), device="cpu")
    np.testing.assert_array_equal(again.transform(labels), model.transform(labels))
    np.testing.assert_array_equal(again.encode_style(photos[:2]), model.encode_style(photos[:2]))
    assert again.class_names_ == ["0", "1", "2"]


def test_colours_floats_and_no_style(tmp_path):
    labels, photos = scenes(8)
    palette = tuple(tuple(map(int, c)) for c in COLOURS)
    model = rb.SemanticGAN(**SMALL | {"style": False, "palette": palette, "epochs": 1, "augment": "none"})
    model.fit(COLOURS[labels], photos / np.float32(255))
    drawn = model.transform(COLOURS[labels[:2]])
    assert drawn.dtype == np.float32
    assert 0 <= drawn.min() <= drawn.max() <= 1
    np.testing.assert_array_equal(model.transform(labels[:2], random_state=9), drawn)  # no seed without styles
    np.testing.assert_array_equal(rb.load(model.save(tmp_path / "m.safetensors")).transform(labels[:2]), drawn)
    for call in (lambda: model.transform(labels[:1], style=photos[:1]), lambda: model.render(labels[:1], [[0.0] * 4])):
        with pytest.raises(ParameterError, match="no style encoder; expected style=True"):
            call()


@pytest.mark.slow
def test_it_learns_which_colour_a_class_has():
    labels, photos = scenes(64)
    model = rb.SemanticGAN(**SMALL | {"width": 8, "epochs": 25, "style": False}).fit(labels[:48], photos[:48])
    drawn = model.transform(labels[48:]).astype(int)
    error = np.abs(drawn - COLOURS[labels[48:]]).mean()
    assert error < 25  # other classes' colours are more than 90 away
    segment = model.segmenter_of(labels[:48], photos[:48], epochs=10)
    found = model.judge(labels[48:], photos[48:], by="random", segmenter=segment)
    assert found.labels.pixels > 0.9
    assert "label agreement" in str(found)
    assert model.score(labels[48:], photos[48:]) < 1


def test_the_segmenter_reads_classes():
    labels, photos = scenes(24)
    segment = train_segmenter(photos[:16], labels[:16], classes=3, epochs=20, width=8)
    assert (segment(photos[16:]) == labels[16:]).mean() > 0.9
    np.testing.assert_array_equal(segment(photos[16:17])[0], segment(photos[16:])[0])
    with pytest.raises(ShapeError, match="multiples of 8"):
        train_segmenter(photos[:, :12], labels[:, :12], classes=3)


def test_resumed_after_a_kill_at_a_random_moment_it_is_the_same_run(tmp_path):
    code = f"""
import sys, warnings
sys.path.insert(0, {str(os.path.dirname(__file__))!r})
warnings.simplefilter("ignore")
import torch; torch.set_num_threads(1)
from test_semantic_gan import SMALL, scenes
import rosenblatt as rb
model = rb.SemanticGAN(**SMALL | {{"epochs": 5, "plan": rb.Plan(checkpoint=sys.argv[1])}})
model.fit(*scenes())
model.save(sys.argv[2])
"""
    whole = [sys.executable, "-c", code, str(tmp_path / "a"), str(tmp_path / "a.safetensors")]
    subprocess.run(whole, check=True)
    cut = [sys.executable, "-c", code, str(tmp_path / "b"), str(tmp_path / "b.safetensors")]
    killed = subprocess.Popen(cut)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "b").glob("checkpoint-*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.3))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    subprocess.run(cut, check=True)
    one, two = (rb.load(tmp_path / f"{name}.safetensors") for name in "ab")
    for (name, a), b in zip(one.module_.state_dict().items(), two.module_.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in m.history_] for m in (one, two)]
    assert json.dumps(rows[0]) == json.dumps(rows[1])


def test_divergence_keeps_the_last_good_weights():
    model = rb.SemanticGAN(**SMALL | {"learning_rate": 1e30, "plan": rb.Plan(precision="fp32")})
    with pytest.raises(DivergedError, match=r"epoch 1.*learning rate 4 times smaller"):
        model.fit(*scenes(8))
    assert all(torch.isfinite(t).all() for t in model.module_.state_dict().values())


def row(**changes):
    return {"variety": 1.0, "validation_score": -1.0, "style_variety": 0.3, **changes}


def test_diagnosis_in_words():
    assert diagnose_semantic([row()], 1) == []
    assert "Collapse" in diagnose_semantic([row(variety=0.05)], 1)[0]
    assert "style is ignored" in diagnose_semantic([row(style_variety=0.001)], 1)[0]
    rows = [row(), row(validation_score=-0.5), row(), row(validation_score=-4.0)]
    assert "worse after epoch 2 of 4" in diagnose_semantic(rows, 2)[0]
    with pytest.warns(TrainingWarning, match="Collapse"):
        rb.SemanticGAN(**SMALL | {"epochs": 1, "learning_rate": 1e-9}).fit(*scenes(8))


def test_presets():
    assert preset_of((64, 64), None) == PRESETS[64]
    assert preset_of((96, 128), None) == PRESETS[128]
    assert preset_of((512, 1024), None) == PRESETS[512]
    assert preset_of((64, 64), 256) == PRESETS[256]
    with pytest.raises(ParameterError, match="preset=65"):
        rb.SemanticGAN(preset=65).fit(*scenes(4))


def test_the_perceptual_loss_takes_what_is_at_hand(monkeypatch, tmp_path):
    monkeypatch.delenv("ROSENBLATT_DATA", raising=False)
    monkeypatch.setenv("ROSENBLATT_CACHE", str(tmp_path))
    assert perceptual_of("auto") == (None, None)
    model = rb.SemanticGAN(**SMALL | {"epochs": 1, "perceptual": "auto"}).fit(*scenes(4))
    assert model.perceptual_ is None
    monkeypatch.setattr("rosenblatt.data.weights._fetched", lambda *_: (_ for _ in ()).throw(FetchError("offline")))
    with pytest.raises(FetchError, match="vgg19 are not on this machine"):
        rb.SemanticGAN(**SMALL | {"perceptual": "vgg19"}).fit(*scenes(4))


@pytest.mark.data("pretrained_imagenet")
def test_the_perceptual_loss_is_used_and_not_trained():
    model = rb.SemanticGAN(**SMALL | {"epochs": 1, "perceptual": "squeezenet"}).fit(*scenes(8, 32))
    assert model.perceptual_ == "squeezenet"
    assert model.history_[0]["perceptual_loss"] > 0.1
    assert not [name for name in model.module_.state_dict() if "fire" in name]


# ---------------------------------------------------------------------------------------------------------- bad input


def test_bad_data_is_refused_before_training():
    labels, photos = scenes(4)
    gan = rb.SemanticGAN(**SMALL | {"classes": 3})
    wrong = labels.copy()
    wrong[2, 5, 7] = 300
    cases = [
        (wrong, photos, LabelError, r"the label 300 in map 2 at row 5, column 7.*expected 0 to 2, or 255"),
        (labels[:3], photos, ShapeError, "3 label maps and 4 photographs; expected as many"),
        (labels[:, :8], photos, ShapeError, r"maps of 8 x 16 pixels and photographs of 16 x 16.*resize_label_maps"),
        (labels[:1], photos[:1], DataError, "1 pair; expected at least 2"),
        (labels, np.repeat(photos[:1], 4, 0), DataError, "all 4 photographs are equal"),
        (labels, photos.astype(float), DataError, r"values from \d+ to \d+; expected floats from 0 to 1, or uint8"),
        (labels, photos[..., :1], ShapeError, "expected N H W 3"),
        (labels, np.where(photos > 99, np.nan, 0.5), NonFiniteError, "NaN"),
        (labels[:, :15, :15], photos[:, :15, :15], ShapeError, "15 x 15 pixels; expected a shorter side that halves"),
        (labels[:, :, :13], photos[:, :, :13], ShapeError, "16 x 13 pixels; expected a shorter side"),
    ]
    for maps, pictures, error, message in cases:
        with pytest.raises(error, match=message):
            gan.fit(maps, pictures)
    assert not hasattr(gan, "module_")
    with pytest.raises(ParameterError, match="expected three numbers"):
        rb.SemanticGAN(weights=(1.0, -1.0, 0.0)).fit(labels, photos)
    with pytest.raises(ParameterError, match="palette='facade'"):
        rb.SemanticGAN(palette="facade").fit(labels, photos)
    with pytest.raises(NotFittedError, match="not fitted"):
        gan.transform(labels)


def test_other_data_than_that_of_fit_is_refused(model):
    labels, photos = scenes(8)
    with pytest.raises(ShapeError, match=r"maps of 8 x 16 pixels; expected 16 x 16"):
        model.transform(labels[:, :8])
    with pytest.raises(LabelError, match="the label 7 in map 0"):
        model.transform(np.where(labels == 1, 7, labels))
    with pytest.raises(ShapeError, match="8 label maps and 7 photographs"):
        model.judge(labels, photos[:7])
    with pytest.raises(DataError, match="expected more than k=5"):
        model.judge(labels[:3], photos[:3], by="random")


# --------------------------------------------------------------------------------------------- pictures, command line


def test_inspection_draws(model):
    labels, photos = scenes()
    assert set(model.inspect()) == {"game"}
    assert set(model.inspect(labels, photos)) == {"game", "renderings", "styles"}


def test_the_commands_train_render_repaint_and_judge(run, tmp_path):
    labels, photos = scenes(8)
    folder = tmp_path / "scenes"
    for name in ("labels", "photos"):
        (folder / name).mkdir(parents=True)
    for number, (one, photo) in enumerate(zip(labels, photos, strict=True)):
        Image.fromarray(COLOURS[one]).save(folder / f"labels/{number}.png")
        Image.fromarray(photo).save(folder / f"photos/{number}.png")
    table = tmp_path / "palette.csv"
    table.write_text(
        "".join(f"{n},{r},{g},{b}\n" for n, (r, g, b) in zip(("ground", "sea", "tree"), COLOURS, strict=True))
    )
    path, out = tmp_path / "m.safetensors", tmp_path / "r.png"
    settings = ("--width", 4, "--code-size", 4, "--epochs", 1, "--perceptual", "none", "--random-state", 0)
    said = run("train", "semantic-gan", folder, "--size", 16, "--palette", table, "--json", "-o", path, *settings)
    assert said.code == 0, said.err
    assert json.loads(said.out)["classes"] == 3
    said = run("sample", path, "--prompt", folder / "labels/0.png", "--random-state", 3, "--out", out)
    assert said.code == 0, said.err
    model = rb.load(path, device="cpu")
    np.testing.assert_array_equal(np.asarray(Image.open(out)), model.transform(labels[:1], random_state=3)[0])
    words = ("--option", "paint=sea:2,3,4,5", "--option", f"style={folder / 'photos/1.png'}", "--force")
    said = run("sample", path, "--prompt", folder / "labels/0.png", "--out", out, *words)
    assert said.code == 0, said.err
    painted = paint(labels[:1], 1, box=(2, 3, 4, 5))
    np.testing.assert_array_equal(np.asarray(Image.open(out)), model.transform(painted, style=photos[1])[0])
    said = run("sample", path, "--prompt", folder, "--count", 2, "--out", tmp_path / "sheet.jpg")
    assert said.code == 0, said.err
    said = run("evaluate", path, folder, "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["n_real"] == 8
    said = run("inspect", path, folder, "--out", tmp_path / "pictures")
    assert said.code == 0, said.err
    assert len(list((tmp_path / "pictures").iterdir())) == 3
    for words, message in [
        (("sample", path, "--out", out, "--force"), "expected --prompt with a label map"),
        (
            ("sample", path, "--prompt", folder, "--option", "paint=se:1,1,1,1", "--out", tmp_path / "x.png"),
            "Did you mean 'sea'",
        ),
        (("sample", path, "--prompt", folder, "--label", "1", "--out", tmp_path / "x.png"), "--label: means nothing"),
        (("train", "semantic-gan", folder, "--size", 16, "-o", tmp_path / "n"), "has colours; expected ids"),
    ]:
        said = run(*words)
        assert said.code == 2, said.err
        assert message in said.err
