"""Style transfer: losses, networks, loop, estimator."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_sample_images
from torch.nn import functional as F

import rosenblatt as rb
from rosenblatt.data import weights as weight_files
from rosenblatt.data.photo import encode_photo, random_crops, read_photo
from rosenblatt.errors import (
    DataError,
    DivergedError,
    FetchError,
    NonFiniteError,
    NotFittedError,
    OutputError,
    ParameterError,
    PictureError,
    ShapeError,
)
from rosenblatt.losses.style import (
    channel_statistics,
    content_distance,
    gram_matrix,
    relative_distance,
    style_distance,
    total_variation,
)
from rosenblatt.models.adain import AdaIN, adain, blend
from rosenblatt.models.johnson import InstanceNorm, Johnson, held_statistics
from rosenblatt.models.perceptual import Small
from rosenblatt.models.squeezenet import SqueezeNet
from rosenblatt.models.tiles import by_tiles, padded
from rosenblatt.models.vgg import VGG19
from rosenblatt.train.pixels import pixels
from rosenblatt.train.seeds import PrivateRandom
from rosenblatt.train.style import Look, paint, painting_objective, scales, style_targets


def made(build, *args, **options):
    """A network from a private seed: the global random state must stay as it is."""
    with PrivateRandom(0):
        return build(*args, **options)


@pytest.fixture(scope="module")
def pictures():
    china, flower = load_sample_images().images
    return np.array(china[::8, ::8]), np.array(flower[::8, ::8])  # 54 x 80


@pytest.fixture(scope="module")
def painter(pictures):
    return rb.StyleTransfer(network="small", steps=12, random_state=0, verbose=0, device="cpu").fit(
        pictures[1], pictures[0]
    )


@pytest.fixture(scope="module")
def quick(pictures):
    """Networks that paint, trained for two steps."""
    return {
        method: rb.StyleTransfer(
            method=method, network="small", steps=2, size=32, random_state=0, verbose=0, device="cpu"
        ).fit([pictures[1], pictures[0]], [pictures[0]])
        for method in ("johnson", "adain")
    }


# ------------------------------------------------------------------------------------------------------ losses


def test_gram_matrix_equals_the_sum_over_pixels():
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = torch.stack([sum(torch.outer(p, p) for p in one.flatten(1).T) / 20 for one in x])
    assert torch.allclose(gram_matrix(x), wanted)


def test_gram_matrix_with_a_mask_equals_that_of_the_cut_out_pixels():
    x = torch.randn(1, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 4, 6)
    mask[..., :2] = 1
    assert torch.allclose(gram_matrix(x, mask), gram_matrix(x[..., :2]), atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_of_a_gram_matrix_is_autograds(masked):
    source = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=source, requires_grad=True)
    mask = torch.rand(1, 1, 4, 5, dtype=torch.float64, generator=source) if masked else None
    assert torch.autograd.gradcheck(lambda x: gram_matrix(x, mask), (x,))
    flat, weight = x.flatten(2), torch.ones(1, 1, 20) if mask is None else mask.flatten(2)
    plain = (flat * weight) @ flat.mT / weight.sum()
    seen = torch.randn(2, 3, 3, dtype=torch.float64, generator=source)  # not symmetric
    (ours,), (theirs,) = (torch.autograd.grad((g * seen).sum(), x) for g in (gram_matrix(x, mask), plain))
    assert torch.allclose(ours, theirs)


def test_gram_matrix_is_fp32_inside_bf16():
    x = torch.full((1, 4, 64, 64), 200.0, dtype=torch.bfloat16)  # 4096 * 40000 overflows fp16, sums lose digits in bf16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gram = gram_matrix(x)
    assert gram.dtype == torch.float32
    assert torch.equal(gram, torch.full((1, 4, 4), 40000.0))


def test_gram_matrix_refuses_other_shapes():
    with pytest.raises(ShapeError, match=r"features \(3, 4, 5\)"):
        gram_matrix(torch.zeros(3, 4, 5))
    with pytest.raises(ShapeError, match="one weight a pixel"):
        gram_matrix(torch.zeros(1, 3, 4, 5), torch.ones(1, 1, 2, 5))


def test_distances_are_relative_and_zero_at_the_target():
    x = {"a": torch.randn(1, 3, 4, 5, generator=torch.Generator().manual_seed(0))}
    assert content_distance(x, x).item() == 0
    assert content_distance({"a": 0 * x["a"]}, x).item() == pytest.approx(1)
    assert style_distance(x, {"a": gram_matrix(x["a"])}).item() == 0
    assert relative_distance(10 * x["a"], 5 * x["a"]).item() == pytest.approx(1, rel=1e-5)


def test_a_blended_gram_has_the_gradient_of_the_blended_distances():
    source = torch.Generator().manual_seed(0)
    x = torch.randn(1, 3, 4, 4, generator=source, requires_grad=True)
    a, b = (gram_matrix(torch.randn(1, 3, 4, 4, generator=source)) for _ in range(2))
    gram = gram_matrix(x)
    both = 0.3 * (gram - a).square().sum() + 0.7 * (gram - b).square().sum()
    one = (gram - (0.3 * a + 0.7 * b)).square().sum()
    (left,), (right,) = torch.autograd.grad(both, x, retain_graph=True), torch.autograd.grad(one, x)
    assert torch.allclose(left, right, atol=1e-5)


def test_total_variation():
    assert total_variation(torch.ones(1, 3, 4, 4)).item() == 0
    assert total_variation(torch.zeros(1, 3, 1, 1)).item() == 0
    ramp = torch.arange(4.0).view(1, 1, 1, 4)
    assert total_variation(ramp).item() == pytest.approx(1)


def test_adain_gives_the_style_statistics_and_alpha_keeps_the_content():
    source = torch.Generator().manual_seed(0)
    x, y = torch.randn(1, 4, 6, 6, generator=source), 3 + 2 * torch.randn(1, 4, 5, 7, generator=source)
    mean, deviation = channel_statistics(adain(x, channel_statistics(y)))
    assert torch.allclose(mean, y.mean((2, 3), keepdim=True), atol=1e-5)
    assert torch.allclose(deviation, y.std((2, 3), keepdim=True, correction=0), atol=1e-3)
    assert torch.equal(adain(x, channel_statistics(y), alpha=0.0), x)
    mean, _ = blend([channel_statistics(x), channel_statistics(y)], [1, 3])
    assert torch.allclose(mean, 0.25 * x.mean((2, 3), keepdim=True) + 0.75 * y.mean((2, 3), keepdim=True), atol=1e-6)


# ---------------------------------------------------------------------------------------------------- networks


def test_vgg_is_truncated_and_keeps_torchvisions_numbers():
    assert sum(p.numel() for p in made(VGG19, "relu5_4").parameters()) == 20_024_384
    assert [k for k in made(VGG19, "relu2_1").state_dict() if k.endswith("weight")] == [
        f"layers.{i}.weight" for i in (0, 2, 5)
    ]
    found = made(VGG19).features(torch.zeros(1, 3, 33, 47), (*VGG19.STYLE_LAYERS, "relu4_2"))
    assert {k: tuple(v.shape[1:]) for k, v in found.items()} == {
        "relu1_1": (64, 33, 47), "relu2_1": (128, 17, 24), "relu3_1": (256, 9, 12), "relu4_1": (512, 5, 6),
        "relu4_2": (512, 5, 6), "relu5_1": (512, 3, 3),
    }  # fmt: skip


def test_squeezenet_has_the_papers_sizes():
    net = made(SqueezeNet)
    assert sum(p.numel() for p in net.parameters()) == 1_248_424  # table 1: 1,248,424
    found = net.features(torch.zeros(1, 3, 227, 227), ("conv1", "fire4", "fire8", "fire9"))
    # figure 2 of the published definition at 227 pixels
    assert [tuple(v.shape[1:]) for v in found.values()] == [(96, 111, 111), (256, 55, 55), (512, 27, 27), (512, 13, 13)]
    assert net(torch.zeros(2, 3, 227, 227)).shape == (2, 1000)
    assert made(SqueezeNet, padding=3, last="fire3").features(torch.zeros(1, 3, 32, 64), ("fire3",))["fire3"].shape[
        2:
    ] == (
        8,
        16,
    )


def test_equalise_keeps_the_function_and_levels_the_filters():
    net = made(Small, 8)
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = net(x)
    net.equalise(x)
    assert torch.allclose(net(x), before, rtol=1e-3, atol=1e-4)
    strength = net.features(x, ("relu3",))["relu3"].square().mean((0, 2, 3)).sqrt()
    assert strength.max().item() == pytest.approx(1, rel=1e-3)


def test_johnson_has_the_known_size_and_keeps_the_shape():
    net = made(Johnson)
    assert sum(p.numel() for p in net.parameters()) == 1_679_235
    assert net(torch.zeros(1, 3, 32, 40)).shape == (1, 3, 32, 40)


def test_instance_norm_equals_torchs():
    x = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0)) * 3 + 1
    assert torch.allclose(made(InstanceNorm, 3)(x), F.instance_norm(x), atol=1e-5)


def test_tiles_of_johnson_have_no_seams():
    net = made(Johnson, 8).eval()
    x = torch.rand(1, 3, 272, 320, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = net(x)
        with held_statistics(net, x):
            tiled = by_tiles(net, x, tile=128, halo=96)
    assert torch.allclose(tiled, whole, atol=1e-4)
    assert all(part.held is None for part in net.modules() if isinstance(part, InstanceNorm))


@pytest.mark.parametrize("kind", ["small", "squeezenet", "vgg19"])
def test_tiles_of_adain_have_no_seams(kind):
    encoder = made(weight_files.blank, kind) if kind != "small" else made(Small)
    net = made(AdaIN, encoder).eval()
    x = torch.rand(1, 3, 216, 232, generator=torch.Generator().manual_seed(1))

    def run(x, own):
        code = encoder.features(x, (net.layer,))[net.layer]
        return net.decode(adain(code, style, own=own))

    with torch.no_grad():
        code = encoder.features(x, (net.layer,))[net.layer]
        own, style = channel_statistics(code), channel_statistics(1 + 2 * code)
        whole = run(x, None)
        tiled = by_tiles(lambda part: run(part, own), x, tile=112, halo=96)
    assert torch.allclose(tiled, whole, atol=1e-4)


def test_padded_repeats_the_edge():
    x = padded(torch.arange(3.0).view(1, 1, 1, 3), multiple=4, least=4)
    assert x.shape == (1, 1, 4, 4)
    assert x[0, 0, 3].tolist() == [0, 1, 2, 2]


# ------------------------------------------------------------------------------------------------- the pixels' loop


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_pixels_find_a_known_minimum_and_hold_the_best_point(optimizer):
    target = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    x = torch.zeros_like(target)
    records = list(pixels(x, lambda p: {"away": (p - target).square().sum()}, steps=300, optimizer=optimizer))
    assert torch.allclose(x, target, atol=1e-2)
    assert [r.epoch for r in records] == list(range(1, 301))
    assert (x - target).square().sum().item() == pytest.approx(min(r.loss for r in records), abs=1e-6)


def test_pixels_survive_a_step_that_leads_astray():
    x = torch.full((1, 1, 1, 2), 3.0)
    losses = [r.loss for r in pixels(x, lambda p: {"steep": p.pow(4).sum()}, steps=60, learning_rate=8.0)]
    assert losses[-1] < losses[0] / 100


def test_pixels_say_when_they_diverge_and_keep_the_best_point():
    x = torch.ones(1, 1, 1, 1)

    def objective(p):
        return {"trap": p.sum() if float(p.detach().sum()) > 0.9 else p.sum() * float("nan")}

    with pytest.raises(DivergedError, match="the loss is nan"):
        list(pixels(x, objective, steps=50, optimizer="adam", learning_rate=0.1))
    assert x.item() == pytest.approx(1.0)


def test_stopping_early_keeps_the_best_point():
    x = torch.zeros(1, 1, 2, 2)
    for record in pixels(x, lambda p: {"away": (p - 1).square().sum()}, steps=100):
        if record.epoch == 5:
            break
    assert (x - 1).abs().max() < 1


def test_scales_spend_all_steps():
    for size, steps in (((400, 512), 100), ((40, 40), 7), ((3000, 120), 2), ((1, 1), 1)):
        rows = scales(*size, steps)
        assert sum(row[2] for row in rows) == steps
        assert rows[-1][:2] == size


def test_the_objective_equals_a_plain_one(pictures):
    """Parity: gradient of our objective against the formulas written out."""
    look = Look(made(Small).eval())
    content, style = (read_photo(p).tensor() for p in pictures)
    targets = style_targets(look, [style], [1.0])
    objective = painting_objective(look, content, [targets], None, 3.0)
    x = torch.rand(content.shape, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    ours = torch.autograd.grad(sum(objective(x).values()), x)[0]
    layers = look.network.STYLE_LAYERS
    f, p, s = (look.network.features(y, layers) for y in (x, content, style))
    loss = (f["relu4"] - p["relu4"]).square().sum() / p["relu4"].square().sum()
    for name in layers:
        a, b = (y[name][0].flatten(1) for y in (f, s))
        g, t = a @ a.T / a.shape[1], b @ b.T / b.shape[1]
        loss = loss + 3.0 / 5 * (g - t).square().sum() / t.square().sum()
    loss = loss + 0.3 * ((x[..., 1:] - x[..., :-1]).square().mean() + (x[..., 1:, :] - x[..., :-1, :]).square().mean())
    assert torch.allclose(ours, torch.autograd.grad(loss, x)[0], rtol=1e-3, atol=1e-7)


def test_bf16_paints_without_nan_and_as_well(pictures):
    network = made(Small).eval().requires_grad_(False)
    content, style = (read_photo(p).tensor() for p in pictures)
    losses = {}
    for precision in ("fp32", "bf16"):
        *_, record = paint(Look(network, precision), content, [style], weights=[1.0], style_weight=5.0, steps=15)
        assert torch.isfinite(record.picture).all()
        losses[precision] = record.loss
    # two walks of 15 steps that round differently, on some processors more than on others
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.25)


# --------------------------------------------------------------------------------------------------- estimator


def test_gatys_brings_the_style_nearer(painter, pictures):
    china, _ = pictures
    painted = painter.transform(china)
    assert painted.shape == china.shape
    assert painted.dtype == np.uint8
    before, after = painter.distances(china, china), painter.distances(china, painted)
    assert before["content"] == 0
    assert after["style"] < 0.5 * before["style"]
    assert len(painter.history_) == 12
    assert painter.history_[-1].keys() >= {"epoch", "loss", "content", "style", "smooth"}


def test_the_seed_fixes_the_result_and_fit_twice_is_fit_once(painter, pictures):
    again = clone(painter).fit(pictures[1], pictures[0])
    assert np.array_equal(again.transform(pictures[0]), painter.transform(pictures[0]))
    assert np.array_equal(again.fit(pictures[1], pictures[0]).transform(pictures[0]), painter.transform(pictures[0]))


def test_saved_in_one_process_and_loaded_in_another(painter, pictures, quick, tmp_path):
    np.save(tmp_path / "content.npy", pictures[0])
    models = {"gatys": painter, **quick}
    for name, model in models.items():
        model.save(tmp_path / f"{name}.safetensors")
    code = (
        "import sys, numpy as np, torch, rosenblatt as rb; torch.set_num_threads(1)\n"
        "folder = sys.argv[1]\n"
        f"for name in {list(models)}:\n"
        "    model = rb.load(f'{folder}/{name}.safetensors', device='cpu')\n"
        "    np.save(f'{folder}/{name}.npy', model.transform(np.load(f'{folder}/content.npy')))\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(tmp_path)], check=True)
    for name, model in models.items():
        got = np.load(tmp_path / f"{name}.npy").astype(int)
        assert np.abs(got - model.transform(pictures[0])).max() <= 1, name


def test_alpha_color_and_masks(painter, pictures):
    china, _ = pictures
    assert np.array_equal(painter.transform(china, alpha=0), china)
    kept = painter.transform(china, color="luminance").astype(float)
    chroma = (kept - kept.mean(2, keepdims=True)) - (china - china.mean(2, keepdims=True))
    inside = (kept.min(2) > 0) & (kept.max(2) < 255)
    assert np.abs(chroma[inside]).max() < 1.5  # the differences of the channels stay; the rest is rounding
    left = np.zeros(china.shape[:2])
    left[:, :40] = 1
    half = painter.transform(china, masks=[left])
    assert np.array_equal(half[:, 42:], china[:, 42:])
    assert not np.array_equal(half[:, :40], china[:, :40])
    assert not np.array_equal(painter.transform(china, color="match"), painter.transform(china))


def test_several_styles_with_weights(pictures, painter):
    china, flower = pictures
    both = clone(painter).fit([flower, china], weights=[1, 0])
    assert both.style_weights_ == [1.0, 0.0]
    a, b = both.transform(china, weights=[0, 1]), both.transform(china)
    assert both.distances(china, b)["style"] < both.distances(china, a)["style"]
    masks = [np.eye(54, 80), 1 - np.eye(54, 80)]
    assert both.transform(china, masks=masks, weights=[1, 1]).shape == china.shape


def kinds_of_pictures(folder):
    source = np.random.default_rng(0)
    grey, cmyk = source.integers(0, 256, (40, 50), np.uint8), source.integers(0, 256, (40, 50, 4), np.uint8)
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(cmyk, mode=None).convert("RGB").convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(cmyk).save(folder / "transparent.png")
    Image.fromarray(grey[:1, :1]).save(folder / "pixel.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "sixteen.png")
    Image.fromarray(grey).convert("P").save(folder / "palette.gif")
    return {"grey.png": 3, "cmyk.jpg": 3, "transparent.png": 4, "pixel.png": 3, "sixteen.png": 3, "palette.gif": 3}


def test_every_kind_of_picture(quick, painter, tmp_path):
    for name, channels in kinds_of_pictures(tmp_path).items():
        for model in (painter, *quick.values()):
            painted = model.transform(tmp_path / name)
            height, width = read_photo(tmp_path / name).pixels.shape[:2]
            assert painted.shape == (height, width, channels), (name, model.method)


def test_a_style_of_one_pixel_and_a_list_of_contents(pictures):
    model = rb.StyleTransfer(network="small", steps=2, random_state=0, verbose=0).fit(pictures[1][:1, :1])
    painted = model.transform([pictures[0], pictures[0][:7, :5]])
    assert [p.shape for p in painted] == [(54, 80, 3), (7, 5, 3)]
    assert np.isfinite(model.score(pictures[0]))


def test_one_pass_by_tiles_has_no_seams(quick, pictures):
    """The statistics of patches are nearly those of the whole; what a seam would be is a jump at the tile's edge."""
    big = np.tile(pictures[0][:48, :48], (6, 6, 1))[:256, :256]
    for model in quick.values():
        whole, tiled = (model.transform(big, tile=tile).astype(int) for tile in (1024, 128))
        steps = np.abs(np.diff(tiled, axis=1)).mean((0, 2))
        assert steps[127] <= steps.max()
        assert np.abs(whole - tiled).mean() < 15, model.method


def test_adain_takes_new_styles_and_blends(quick, pictures):
    china, flower = pictures
    model = quick["adain"]
    a = model.transform(china, style=flower)
    assert not np.array_equal(a, model.transform(china, style=255 - flower))
    assert np.array_equal(
        model.transform(china, weights=[1, 0]), model.transform(china, style=[flower, china], weights=[1, 0])
    )
    assert model.transform(china, masks=[np.ones((3, 3)), np.zeros((3, 3))], alpha=0.5).shape == china.shape


def test_summary_and_inspect_say_which_network(painter, quick, pictures):
    text = str(painter.summary())
    assert "small, trained on your own pictures" in text
    figures = painter.inspect(pictures[0])
    assert set(figures) >= {"styles", "painted"}
    assert "painter" in str(quick["johnson"].summary())


def test_auto_without_weights_warns_and_learns_its_own(pictures, monkeypatch, tmp_path):
    monkeypatch.delenv("ROSENBLATT_DATA", raising=False)
    monkeypatch.setenv("ROSENBLATT_CACHE", str(tmp_path))
    with pytest.warns(UserWarning, match="no pretrained weights"):
        model = rb.StyleTransfer(steps=1, verbose=0, random_state=0).fit(pictures[1])
    assert model.network_ == "small"


def test_a_missing_weight_file_is_named_with_place_and_checksum(monkeypatch, tmp_path):
    monkeypatch.delenv("ROSENBLATT_DATA", raising=False)
    monkeypatch.setenv("ROSENBLATT_CACHE", str(tmp_path))
    with pytest.raises(
        FetchError, match=r"squeezenet_v1.0_decoded_float32.npz .*SHA-256 daa6da2dd9.* as .*pretrained_imagenet"
    ):
        weight_files.find_weights("squeezenet", download=False)
    place = tmp_path / "pretrained_imagenet" / "vgg19-dcbb9e9d.pth"
    place.parent.mkdir()
    place.write_bytes(b"other")
    with pytest.raises(FetchError, match=r"has the SHA-256 .*; expected dcbb9e9dad"):
        weight_files.pretrained("vgg19")
    with pytest.raises(ParameterError, match="name='resnet'"):
        weight_files.find_weights("resnet")


def test_weight_files_of_either_author_fill_the_network(monkeypatch, tmp_path):
    """A file with torchvision's names and one with the authors' names give the same network, colours in order."""
    own = made(SqueezeNet, padding=3).state_dict()
    caffe, vision = {}, {}
    numbers = {f"fire{v}": k for k, v in weight_files._TORCHVISION_FIRES.items()}
    for key, value in own.items():
        if key in ("mean", "std"):
            continue
        first, *rest = key.split(".")
        if first == "conv1":
            caffe[key] = value.flip(1).numpy() if rest == ["weight"] else value.numpy()
            vision[f"features.0.{rest[-1]}"] = value
        elif first == "conv_final":
            caffe[key], vision[f"classifier.1.{rest[-1]}"] = value.numpy(), value
        else:
            names = {
                "squeeze": ("conv1x1_1", "squeeze"),
                "expand1": ("conv1x1_2", "expand1x1"),
                "expand3": ("conv3x3_2", "expand3x3"),
            }
            caffe[f"{first}/{names[rest[0]][0]}.{rest[1]}"] = value.numpy()
            vision[f"features.{numbers[first]}.{names[rest[0]][1]}.{rest[1]}"] = value
    np.savez(tmp_path / "a.npz", **caffe)
    torch.save(vision, tmp_path / "b.pth")
    for file, weights in (
        ("a.npz", weight_files.FILES["squeezenet"][0]),
        ("b.pth", weight_files.FILES["squeezenet"][1]),
    ):
        monkeypatch.setattr(weight_files, "find_weights", lambda *_, w=weights, f=file, **__: (w, tmp_path / f))
        got = weight_files.pretrained("squeezenet").state_dict()
        assert all(torch.equal(got[k], own[k]) for k in got if k not in ("mean", "std"))
        assert torch.allclose(got["mean"].flatten(), torch.tensor(weights.mean))
    del caffe["fire4/conv1x1_1.weight"]
    np.savez(tmp_path / "a.npz", **caffe)
    monkeypatch.setattr(
        weight_files, "find_weights", lambda *_, **__: (weight_files.FILES["squeezenet"][0], tmp_path / "a.npz")
    )
    with pytest.raises(FetchError, match=r"fire4.squeeze.weight has the shape nothing"):
        weight_files.pretrained("squeezenet")


@pytest.mark.data("pretrained_imagenet")
@pytest.mark.data("imagenet_photos")
def test_squeezenet_knows_imagenet_photographs():
    """Proof of weights, order of colours and normalisation: with the colours turned, 20 of 49 would be right."""
    import csv
    import os
    from pathlib import Path

    folder = Path(os.environ["ROSENBLATT_DATA"]) / "imagenet_photos"
    network = weight_files.pretrained("squeezenet", last="classifier")
    right, rows = 0, list(csv.DictReader((folder / "labels.csv").read_text().splitlines()))[::3]
    for row in rows:
        image = Image.open(folder / row["file"]).convert("RGB")
        scale = 256 / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
        left, top = (image.width - 256) // 2, (image.height - 256) // 2
        x = read_photo(image.crop((left, top, left + 256, top + 256))).tensor()
        with torch.no_grad():
            right += int(network(x).argmax()) == int(row["class_index"])
    assert right / len(rows) > 0.55, f"{right} of {len(rows)}; the published top-1 is 57.5 %"


@pytest.mark.data("pretrained_imagenet")
def test_squeezenet_paints(pictures):
    model = rb.StyleTransfer(network="squeezenet", steps=6, random_state=0, verbose=0).fit(pictures[1])
    assert model.network_note_ == "pretrained on ImageNet"
    painted = model.transform(pictures[0])
    assert model.distances(pictures[0], painted)["style"] < model.distances(pictures[0], pictures[0])["style"]


# ------------------------------------------------------------------------------------------------------ wrong use


def test_wrong_use_says_what_to_do(pictures, painter, quick, tmp_path):
    china, flower = pictures
    new = rb.StyleTransfer
    with pytest.raises(NotFittedError, match="not fitted"):
        new().transform(china)
    with pytest.raises(ParameterError, match=r"method='gatis'.*Did you mean 'gatys'"):
        new(method="gatis").fit(flower)
    with pytest.raises(DataError, match=r"learns on photographs"):
        new(method="johnson", network="small").fit(flower)
    with pytest.raises(DataError, match="holds no pictures"):
        new(method="johnson", network="small").fit(flower, tmp_path)
    with pytest.raises(DataError, match="no picture at all"):
        new(network="small").fit([])
    with pytest.raises(ParameterError, match="one number >= 0 each"):
        new(network="small").fit(flower, weights=[1, 2])
    with pytest.raises(ParameterError, match="nothing is held out"):
        new(plan=rb.Plan(early_stopping=True)).fit(flower)
    with pytest.raises(ParameterError, match="optimizer='sgd' for pixels"):
        new(plan=rb.Plan(optimizer="sgd")).fit(flower)
    with pytest.raises(PictureError, match="no such file"):
        painter.transform(tmp_path / "none.png")
    (tmp_path / "cut.png").write_bytes(encode_photo(china, "a.png")[:900])
    with pytest.raises(PictureError, match="cannot be read"):
        painter.transform(tmp_path / "cut.png")
    with pytest.raises(ParameterError, match="alpha=2"):
        painter.transform(china, alpha=2)
    with pytest.raises(ParameterError, match="color='colour'"):
        painter.transform(china, color="colour")
    with pytest.raises(ParameterError, match="2 masks for 1 styles"):
        painter.transform(china, masks=[np.ones((2, 2))] * 2)
    with pytest.raises(ShapeError, match=r"a mask of shape \(2,\)"):
        painter.transform(china, masks=[np.ones(2)])
    with pytest.raises(DataError, match="outside 0 to 1"):
        painter.transform(china, masks=[np.full((2, 2), np.nan)])
    with pytest.raises(ParameterError, match="has learned one"):
        quick["johnson"].transform(china, weights=[1, 0])
    with pytest.raises(OutputError, match=r"suffix '\.txt'"):
        encode_photo(china, "a.txt")


def test_arrays_of_wrong_kind():
    with pytest.raises(ShapeError, match=r"shape \(2, 2, 5\)"):
        read_photo(np.zeros((2, 2, 5)))
    with pytest.raises(NonFiniteError, match="NaN"):
        read_photo(np.full((2, 2), np.nan))
    with pytest.raises(DataError, match="from 0 to 7"):
        read_photo(np.array([[0.0, 7.0]]))
    with pytest.raises(DataError, match="type"):
        read_photo(np.array([["a"]]))
    assert read_photo(np.array([[True, False]])).pixels[0, :, 0].tolist() == [255, 0]


def test_random_crops_enlarge_small_pictures():
    crops, numbers = random_crops([read_photo(np.zeros((3, 5), np.uint8))], 4, 16, np.random.RandomState(0))
    assert crops.shape == (4, 3, 16, 16)
    assert numbers.tolist() == [0] * 4


def test_the_command_paints_saves_and_paints_again(pictures, tmp_path):
    from typer.testing import CliRunner

    from rosenblatt.cli import app

    for name, array in zip(("china.png", "flower.png"), pictures, strict=True):
        Image.fromarray(array).save(tmp_path / name)
    run = CliRunner().invoke
    common = ["stylize", str(tmp_path / "china.png"), "--out", str(tmp_path / "out.png"), "--json"]
    first = [
        *common,
        "--style",
        str(tmp_path / "flower.png"),
        "--network",
        "small",
        "--steps",
        "3",
        "--random-state",
        "0",
    ]
    done = run(app, [*first, "--save", str(tmp_path / "m.safetensors")])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.strip().splitlines()[-1])
    assert result["size"] == [80, 54]
    assert "your own pictures" in result["network_note"]
    assert np.asarray(Image.open(tmp_path / "out.png")).shape == (54, 80, 3)
    with pytest.raises(OutputError, match="exists already"):
        run(app, first, catch_exceptions=False)
    again = run(app, [*common, "--model", str(tmp_path / "m.safetensors"), "--force", "--color", "luminance"])
    assert again.exit_code == 0, again.output
    with pytest.raises(ParameterError, match="--style is missing"):
        run(app, [*common, "--force"], catch_exceptions=False)


def test_the_page_paints(tmp_path):
    import runpy
    from pathlib import Path

    example = runpy.run_path(str(Path(__file__).parents[2] / "docs_src" / "style.py"))
    found = example["draw"](tmp_path / "style.png", size=64, steps=6)
    assert found["small"]["style"] < found["content as it is"]["style"]
    assert (tmp_path / "style.png").stat().st_size > 10_000
