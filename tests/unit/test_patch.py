"""A patch lies where it should, and breaks pictures that it never saw."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import rosenblatt as rb
from rosenblatt.attacks import Patch
from rosenblatt.attacks.patch import Placing, placed
from rosenblatt.attacks.streams import keys_of, uniform
from rosenblatt.errors import OutputError, ParameterError, ShapeError

STILL = {"rotation": 0.0, "scale": (1.0, 1.0), "brightness": 0.0}
MIDDLE = torch.full((1, 5), 0.5)


def values(side=4, channels=1):
    return torch.rand(1, channels, side, side, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def digits(digits_net):
    net, x, y = digits_net
    return copy.deepcopy(net), x[:400], y[:400], x[1400:], y[1400:]


def test_placing_by_hand():
    """On the pixel grid nothing is mixed: the patch itself, moved by whole pixels, turned by right angles."""
    x, p = torch.zeros(1, 2, 8, 8), values(channels=2)
    placing = Placing(size=0.25, shape="square", **STILL)
    expected = torch.zeros(1, 2, 8, 8)
    expected[:, :, 2:6, 2:6] = p
    torch.testing.assert_close(placed(p, x, MIDDLE, placing, (0, 1)), expected)
    corner = torch.tensor([[0.5, 0.5, 1.0, 0.0, 0.5]])  # as far right, as far up as it goes
    torch.testing.assert_close(placed(p, x, corner, placing, (0, 1))[:, :, :4, 4:], p)
    turning = Placing(size=0.25, shape="square", rotation=90.0, scale=(1.0, 1.0), brightness=0.0)
    for end, turns in ((0.0, 1), (1.0, -1)):
        u = MIDDLE.clone()
        u[0, 0] = end
        got = placed(p, x, u, turning, (0, 1))[:, :, 2:6, 2:6]
        torch.testing.assert_close(got, torch.rot90(p, turns, (2, 3)))
    half = placed(
        p, x, torch.tensor([[0.5, 0.0, 0.5, 0.5, 0.5]]), Placing(size=0.25, shape="square", scale=(0.5, 1.0)), (0, 1)
    )
    assert int((half[0, 0] != 0).sum()) == 4
    lit = placed(
        p, x, torch.tensor([[0.5, 0.5, 0.5, 0.5, 1.0]]), Placing(size=0.25, shape="square", brightness=0.3), (0, 1)
    )
    torch.testing.assert_close(lit[:, :, 2:6, 2:6], (p + 0.3).clamp(0, 1))


@pytest.mark.parametrize("shape", ["round", "square"])
def test_it_covers_its_share_and_stays_whole(shape):
    x = torch.zeros(60, 1, 40, 60)
    placing = Placing(size=0.1, shape=shape, rotation=180.0, scale=(0.7, 1.2), brightness=0.0)
    u = uniform(keys_of(0, torch.arange(60)), 0, (5,))
    covered = placed(torch.ones(1, 1, 4, 4), x, u, placing, (0, 1)).flatten(1).mean(1)
    expected = 0.1 * (0.7 + 0.5 * u[:, 1]) ** 2
    torch.testing.assert_close(covered, expected, rtol=0.12, atol=0)
    middles = [
        placed(torch.ones(1, 1, 2, 2), x[:1], u[i : i + 1], placing, (0, 1)).nonzero()[:, 2:].float() for i in range(60)
    ]
    rows, columns = torch.stack([m.mean(0) for m in middles]).T
    assert rows.std() > 4
    assert columns.std() > 7  # all over the picture


def test_it_is_differentiable_in_the_patch_alone_where_it_lies():
    p = values().double().requires_grad_()
    x = torch.rand(3, 1, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    u = uniform(keys_of(1, torch.arange(3)), 0, (5,))
    laid = partial(placed, x=x, u=u, placing=Placing(size=0.3, brightness=0.0), bounds=(-1, 2))
    assert torch.autograd.gradcheck(laid, (p,))
    out = laid(p)
    assert ((out != x).flatten(1).sum(1) > 10).all()


@pytest.mark.parametrize(("target", "bias"), [(None, 2.0), (1, 0.0)])
def test_the_best_patch_for_a_net_that_sums_is_white(target, bias):
    with torch.random.fork_rng():
        net = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        net[2].weight.copy_(torch.tensor([[0.0], [1.0]]))
        net[2].bias.copy_(torch.tensor([bias, 0.0]))
    found = Patch(size=0.2, steps=40, brightness=0.0)(net, torch.zeros(6, 1, 8, 8), [0] * 6, target=target)
    assert (found.patch == 1).all()
    assert found.success.all() == (bias == 0)
    assert (found.norms > 4).all()


def test_it_breaks_pictures_that_it_never_saw(digits):
    net, x, y, test, truth = digits
    found = Patch(size=0.15, steps=80)(net, x, y)
    held = found.on(net, test, truth)
    share, low, high = held.success_rate
    assert low < share < high
    grey = placed(
        torch.full((1, 1, 4, 4), 0.5),
        test,
        uniform(keys_of(0, torch.arange(len(test))), 0, (5,)),
        Placing(size=0.15),
        (0, 1),
    )
    plain = (net(grey).argmax(1) != truth).numpy() & held.correct
    assert held.success.sum() > 1.2 * plain.sum()
    answers = net(held.adversarial).argmax(1) != truth
    assert (answers.numpy() == (held.success | ~held.correct)).all()
    # outside of the patch every pixel stays
    same = (held.adversarial == test).flatten(1).float().mean(1)
    assert (same[held.correct] > 0.7).all()


def test_a_target_draws_all_classes_there(digits):
    net, x, y, test, truth = digits
    found = Patch(size=0.3, steps=80, shape="square")(net, x, y, target=3)
    held = found.on(net, test, truth)
    before = Patch(size=0.3, steps=1, shape="square")(net, x, y, target=3).on(net, test, truth)
    assert held.success_rate[0] > 0.3 > 3 * before.success_rate[0]
    assert (net(held.adversarial).argmax(1).numpy() == 3)[held.success].all()


def test_the_batch_size_changes_nothing_and_the_seed_fixes_it(digits):
    net, x, y, _, _ = digits
    net, x, y = copy.deepcopy(net).double(), x[:40].double(), y[:40]
    make = partial(Patch, size=0.2, steps=6, minibatch=16)
    world = torch.get_rng_state()
    first, second, third = (make(batch_size=n)(net, x, y) for n in (256, 5, 256))
    assert torch.equal(torch.get_rng_state(), world)
    assert torch.equal(first.adversarial, third.adversarial)
    torch.testing.assert_close(first.patch, second.patch)
    assert (first.success == second.success).all()
    assert (first.queries == second.queries).all()
    assert not torch.equal(first.patch, make(random_state=1)(net, x, y).patch)


def test_estimators_and_pictures_of_it(digits, tmp_path):
    net, x, y, _, _ = digits
    shown = (x.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    cnn = rb.CNNClassifier(epochs=2, batch_size=32, random_state=0, verbose=0).fit(shown, y.numpy())
    found = Patch(size=0.2, steps=10)(cnn, shown, y.numpy())
    assert found.patch.shape[2] == 1
    assert found.adversarial.shape == (400, 8, 8, 1)
    drawn = found.picture(64)
    assert (drawn.shape, drawn.dtype) == ((64, 64, 4), np.uint8)
    assert drawn[0, 0, 3] == 0
    assert drawn[32, 32, 3] == 255
    path = found.write(tmp_path / "patch.png", side=64)
    np.testing.assert_array_equal(np.array(Image.open(path)), drawn)
    with pytest.raises(OutputError, match="exists already"):
        found.write(path)
    square = Patch(size=0.2, steps=2, shape="square", bounds=(-1, 1))(
        net, 2 * x[:30] - 1, net(2 * x[:30] - 1).argmax(1)
    )
    assert (square.picture(8)[:, :, 3] == 255).all()
    levels = ((square.patch[0] + 1) / 2 * 255).round().byte().numpy()
    np.testing.assert_allclose(square.picture(square.patch.shape[1])[:, :, 0], levels, atol=1)


def test_bad_input_is_named(digits):
    x = digits[1]
    for options, said in (
        ({"size": 0}, "Patch: size=0"),
        ({"size": 0.6}, "Patch: size=0.6"),
        ({"shape": "oval"}, "Patch: shape='oval'"),
        ({"rotation": 190}, "Patch: rotation=190"),
        ({"scale": (1.2, 0.8)}, r"Patch: scale=\(1\.2, 0\.8\); expected \(least, greatest\)"),
        ({"scale": 1.0}, r"Patch: scale=1\.0"),
        ({"norm": "linf"}, "Patch: norm='linf'"),
        ({"brightness": 2}, "Patch: brightness=2"),
    ):
        with pytest.raises(ParameterError, match=said):
            Patch(**options)
    with torch.random.fork_rng():
        flat = nn.Linear(64, 10)
    rows = x[:9].flatten(1)
    with pytest.raises(ShapeError, match=r"Patch: inputs of shape \(9, 64\); expected pictures"):
        Patch()(flat, rows, flat(rows).argmax(1))
