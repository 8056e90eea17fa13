import numpy as np
import pytest
import torch

import rosenblatt as rb
from rosenblatt.data import augment as module
from rosenblatt.data.augment import IN_TURNS, STEPS, Augment, Colours, Mixup, centre, ten_crops
from rosenblatt.errors import ParameterError
from rosenblatt.train.plan import AUGMENTATIONS


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(count=64, channels=3, side=16):
    return torch.randint(0, 256, (count, channels, side, side), generator=source(9), dtype=torch.uint8)


COLOURS = Colours.of(noise().permute(0, 2, 3, 1).numpy())


def test_the_plan_knows_all_steps():
    assert set(AUGMENTATIONS) == {*STEPS, IN_TURNS}


@pytest.mark.parametrize("name", STEPS)
def test_each_step_changes_the_batch_and_is_seeded(name):
    x = noise()
    size = (12, 12) if name == "crop" else (16, 16)
    one, two, three = (Augment(name, source(seed), size=size, colours=COLOURS)(x) for seed in (1, 1, 2))
    assert one.shape == (64, 3, *size)
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert bool(torch.isfinite(one.float()).all())


def test_flip_mirrors_about_half_and_nothing_else():
    x = noise(400)
    out = Augment("flip", source())(x)
    same = (out == x).all((1, 2, 3))
    assert bool((same | (out == x.flip(3)).all((1, 2, 3))).all())
    assert 150 < int(same.sum()) < 250


def test_crops_are_patches_of_their_pictures_and_reach_every_corner():
    x = torch.arange(64).view(1, 1, 8, 8).repeat(500, 1, 1, 1).to(torch.uint8)
    out = Augment("crop", source(), size=(7, 7))(x)
    assert set(out[:, 0, 0, 0].tolist()) == {0, 1, 8, 9}
    for patch, corner in zip(out, out[:, 0, 0, 0].tolist(), strict=True):
        row, column = divmod(corner, 8)
        assert torch.equal(patch[0], x[0, 0, row : row + 7, column : column + 7])


def test_ten_crops_are_corners_centre_and_mirror_images():
    x = noise(2, 3, 8)
    crops = list(ten_crops(x, (6, 6)))
    assert len(crops) == 10
    assert torch.equal(crops[0], x[:, :, :6, :6])
    assert torch.equal(crops[6], x[:, :, 2:, 2:])
    assert torch.equal(crops[8], centre(x, (6, 6)))
    assert torch.equal(crops[9], crops[8].flip(3))
    assert torch.equal(centre(x, (6, 6)), x[:, :, 1:7, 1:7])


def test_rotation_by_a_known_angle(monkeypatch):
    monkeypatch.setattr(module, "DEGREES", 90.0)
    monkeypatch.setattr(torch, "rand", lambda *a, **k: torch.ones(1))  # the largest angle
    x = noise(1)
    torch.testing.assert_close(module.rotate(x, source()), x.rot90(1, (2, 3)).float(), atol=1e-2, rtol=0)
    oblong = noise(1, 3, 16)[:, :, :8]
    turned = module.rotate(oblong, source())
    # a quarter turn keeps the middle square, whatever the ratio of the sides
    torch.testing.assert_close(turned[..., 4:12], oblong[..., 4:12].rot90(1, (2, 3)).float(), atol=1e-2, rtol=0)


def test_pca_adds_one_colour_a_picture_with_the_papers_spread():
    x = torch.zeros(20_000, 3, 1, 2)
    added = module.pca(x, source(), colours=COLOURS)
    assert torch.equal(added[..., 0], added[..., 1])
    along = (added[:, :, 0, 0] / 255) @ torch.from_numpy(COLOURS.vectors).float()
    np.testing.assert_allclose(along.std(0).numpy(), 0.1 * COLOURS.values, rtol=0.03)


def test_colours_stay_in_range_and_grey_stays_grey():
    out = module.colour(noise(), source(), colours=COLOURS)
    assert 0 <= float(out.min()) <= float(out.max()) <= 255
    grey = module.colour(noise(8, 1).expand(8, 3, 16, 16), source(), colours=COLOURS)
    torch.testing.assert_close(grey[:, 0], grey[:, 2])
    assert Augment("colour+pca", source(), colours=Colours.of(noise(4, 1).permute(0, 2, 3, 1).numpy()))(
        noise(4, 1)
    ).shape == (4, 1, 16, 16)


def test_cutout_fills_a_square_with_the_mean():
    x = noise(200, 1)
    out = module.cutout(x, source())
    holes = (out != x.float()).flatten(1).sum(1)
    assert int(holes.max()) <= 16
    assert int(holes.max()) >= 14  # a noisy pixel can equal the mean
    changed = out[0][out[0] != x[0].float()]
    torch.testing.assert_close(changed, x[0].float().mean().expand_as(changed))


def test_mixup_mixes_pictures_and_loss_in_the_same_shares():
    mix, x = Mixup(), noise(8).float()
    mixed = mix(x, source(3))
    torch.testing.assert_close(mixed, mix.share * x + (1 - mix.share) * x[mix.partner], atol=1e-3, rtol=1e-5)

    def loss(output, y, weight):
        return (output * y * (1 if weight is None else weight)).sum()

    y, output, weight = torch.arange(8.0), torch.ones(8), torch.rand(8, generator=source())
    wanted = mix.share * loss(output, y, weight) + (1 - mix.share) * loss(output, y[mix.partner], weight[mix.partner])
    torch.testing.assert_close(mix.loss(loss)(output, y, weight), wanted)
    assert Augment("flip", source()).loss(loss) is loss


@pytest.mark.parametrize(
    ("words", "message"), [("spin", "names 'spin'"), ("crop", "without a size"), ("pca", "without colours")]
)
def test_wrong_words_are_refused(words, message):
    with pytest.raises(ParameterError, match=message):
        Augment(words, source())
    with pytest.raises(ParameterError, match=r"augment='flap'.*Did you mean 'flip'\?"):
        rb.Plan(augment="flap")
    with pytest.raises(ParameterError, match="augment='flip\\+flip'"):
        rb.Plan(augment="flip+flip")
