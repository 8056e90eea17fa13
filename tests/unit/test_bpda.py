"""Transformations of the input: exact forward, passable backward, and never a figure without it."""

import copy
import json
from functools import partial

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter
from torch import nn

import rosenblatt as rb
from rosenblatt.attacks import FGSM, PGD, Square, Transformed, bit_depth, bpda, jpeg, median
from rosenblatt.attacks.gradients import ascent
from rosenblatt.attacks.model import victim
from rosenblatt.attacks.objectives import margin
from rosenblatt.errors import ParameterError, ShapeError
from rosenblatt.report import robustness_report

COARSE = partial(bit_depth, bits=2)


@pytest.fixture(scope="module")
def digits(digits_net):
    net, x, y = digits_net
    return copy.deepcopy(net), x[1400:1460], y[1400:1460]


def pictures(n=3, channels=1, height=7, width=9):
    return torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(0))


def test_the_transformations_by_hand():
    x = torch.tensor([[0.0, 0.12, 0.2, 0.49, 0.51, 0.9, 1.0]])
    torch.testing.assert_close(bit_depth(x, 2), torch.tensor([[0.0, 0, 1, 1, 2, 3, 3]]) / 3)
    torch.testing.assert_close(bit_depth(2 * x - 1, 1, (-1, 1)), torch.tensor([[-1.0, -1, -1, -1, 1, 1, 1]]))
    for side in (1, 3, 5):
        x = pictures(channels=2)
        expected = median_filter(x.numpy(), size=(1, 1, side, side), mode="mirror")
        np.testing.assert_array_equal(median(x, side).numpy(), expected)
    smooth = torch.linspace(0, 1, 16).expand(2, 3, 16, 16)
    near = jpeg(smooth, 95)
    assert near.shape == smooth.shape
    assert float((near - smooth).abs().max()) < 0.02
    assert float((jpeg(smooth * 2 - 1, 95, (-1, 1)) - (smooth * 2 - 1)).abs().max()) < 0.04
    flat = torch.full((1, 1, 8, 8), 102 / 255)
    torch.testing.assert_close(jpeg(flat, 50), flat)
    rough = pictures(height=16, width=16)
    assert float((jpeg(rough, 10) - rough).abs().mean()) > float((jpeg(rough, 95) - rough).abs().mean())


def test_forward_is_exact_and_backward_the_stand_in():
    with torch.random.fork_rng():
        net = nn.Linear(5, 3).double()
    x, y = torch.rand(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 0])
    plain = victim(net)
    for backward, factor in ((None, 1.0), (lambda v: 3 * v, 3.0)):
        seen = victim(bpda(net, COARSE, backward))
        assert torch.equal(seen.logits(x), plain.logits(COARSE(x)))
        g, logits = ascent(seen.logits, x, y, None, margin)
        expected, _ = ascent(plain.logits, COARSE(x), y, None, margin)
        assert torch.equal(logits, plain.logits(COARSE(x)).detach())
        torch.testing.assert_close(g, factor * expected)
    # a stand-in that bends is differentiated at x itself
    seen = victim(bpda(net, COARSE, lambda v: v**2))
    g, _ = ascent(seen.logits, x, y, None, margin)
    torch.testing.assert_close(g, 2 * x * ascent(plain.logits, COARSE(x), y, None, margin)[0])
    still = victim(bpda(net, lambda v: v))
    torch.testing.assert_close(ascent(still.logits, x, y, None, margin)[0], ascent(plain.logits, x, y, None, margin)[0])
    wide = victim(bpda(net, lambda v: v[:, ::2].repeat_interleave(2, 1)[:, :5], lambda v: v))
    assert wide.logits(x).shape == (4, 3)


@pytest.mark.parametrize("transform", [COARSE, partial(jpeg, quality=50)], ids=["bit_depth", "jpeg"])
def test_what_seems_robust_falls_to_bpda(digits, transform):
    net, x, y = digits
    attack = PGD(eps=0.2, steps=15)
    bare = attack(net, x, y)
    seeming, true = attack(Transformed(net, transform), x, y), attack(bpda(net, transform), x, y)
    assert seeming.robust_accuracy > seeming.accuracy - 0.2
    assert "was attacked through its own gradient, which may be none" in seeming.notes[0]
    assert true.notes == ()
    assert Square(eps=0.2, queries=5)(Transformed(net, transform), x[:5], y[:5]).notes == ()  # it needs no gradient
    assert true.robust_accuracy < bare.robust_accuracy + 0.15
    assert true.success.sum() > 3 * seeming.success.sum()
    # success is of the whole: transformation and network
    wrong = net(transform(true.adversarial)).argmax(1) != y
    assert (wrong.numpy() == (true.success | ~true.correct)).all()


def test_a_report_on_a_transformed_network_runs_bpda(digits, tmp_path):
    net, x, y = digits
    small = {"eps": [0.1, 0.2], "steps": 8, "queries": 20}
    hidden = robustness_report(nn.Sequential(_Module(COARSE), net), x[:20], y[:20], **small)
    assert any("zero gradients at" in flag for flag in hidden.flags)
    found = robustness_report(Transformed(net, COARSE), x[:20], y[:20], **small)
    assert not any("zero gradients" in flag for flag in found.flags)
    assert found.remarks[0] == "bit_depth was attacked by BPDA with the identity backward"
    assert "would seem to hold: zero gradients at" in found.remarks[1]
    assert found.curve[-1]["robust_accuracy"] < 0.3
    assert found.remarks[0] in str(found)
    assert found.remarks[0] in found.write(tmp_path / "a.html").read_text()
    assert json.loads(found.write(tmp_path / "a.json").read_text())["remarks"] == list(found.remarks)


class _Module(nn.Module):
    def __init__(self, transform):
        super().__init__()
        self.transform = transform

    def forward(self, x):
        return self.transform(x)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_estimators_and_black_boxes_behind_a_transformation(digits):
    net, x, y = digits
    shown = (x.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    cnn = rb.CNNClassifier(epochs=6, batch_size=8, random_state=0, verbose=0).fit(shown, y.numpy())
    defended = Transformed(cnn, partial(median, side=3))
    assert PGD(eps=0.1, steps=3)(defended, shown[:9], y[:9].numpy()).adversarial.shape == (9, 8, 8, 1)
    assert PGD(eps=0.5, steps=8)(defended.through(), shown, y.numpy()).success.any()
    assert Square(eps=0.3, queries=50)(bpda(lambda b: net(b).detach(), COARSE), x, y).success.any()
    normal = bpda(net, COARSE, mean=[0.5], std=[0.5])
    torch.testing.assert_close(victim(normal).logits(x), net((COARSE(x) - 0.5) / 0.5))
    with pytest.raises(ParameterError, match="an estimator normalises by itself"):
        PGD(mean=[0.5])(normal, x, y)


def test_bad_transformations_are_named():
    with torch.random.fork_rng():
        net, narrow, x, y = nn.Linear(4, 2), nn.Linear(2, 2), torch.rand(2, 4), [0, 1]

    def half(v):
        return v[:, :2]

    with pytest.raises(
        ParameterError, match=r"bpda: half makes \(2, 2\) of \(2, 4\), which the identity cannot stand in"
    ):
        victim(bpda(narrow, half)).logits(x)
    for wrong, said in (
        (half, r"backward gives \(2, 2\); expected \(2, 4\)"),
        (torch.zeros_like, "without a gradient"),
    ):
        seen = victim(bpda(net, COARSE, wrong))
        with pytest.raises(ParameterError, match=said):
            ascent(seen.logits, x, torch.tensor(y), None, margin)
    for make in (bpda, Transformed):
        with pytest.raises(ParameterError, match="transform=3; expected a callable"):
            make(net, 3)
        with pytest.raises(ParameterError, match="backward=3; expected a callable or"):
            make(net, COARSE, 3)
    for call, error, said in (
        (lambda: bit_depth(x, 0), ParameterError, "bit_depth: bits=0"),
        (lambda: jpeg(pictures(), 96), ParameterError, "jpeg: quality=96"),
        (lambda: jpeg(x), ShapeError, r"jpeg: inputs of shape \(2, 4\); expected pictures"),
        (lambda: jpeg(pictures(channels=2)), ShapeError, "jpeg: pictures of 2 channels; expected 1 or 3"),
        (lambda: median(pictures(), 2), ParameterError, "median: side=2; expected an odd integer"),
        (
            lambda: median(pictures(height=2), 5),
            ShapeError,
            r"median: pictures of \(2, 9\) pixels; expected more than 2",
        ),
    ):
        with pytest.raises(error, match=said):
            call()


def test_one_step_through_a_stand_in_that_smooths():
    """A stand-in with its own slope: of the 3 x 3 mean it is the mean of the slopes around."""
    with torch.random.fork_rng():
        net = nn.Sequential(nn.Flatten(), nn.Linear(63, 2)).double()
    x = pictures().double()
    blur = partial(nn.functional.avg_pool2d, kernel_size=3, stride=1, padding=1)
    g, logits = ascent(victim(bpda(net, median, blur)).logits, x, torch.zeros(3, dtype=torch.int64), None, margin)
    w = (net[1].weight[1] - net[1].weight[0]).detach().view(1, 1, 7, 9)
    torch.testing.assert_close(g, blur(w).expand(3, 1, 7, 9))
    torch.testing.assert_close(logits, net(median(x)).detach())
    assert FGSM(eps=0.01)(bpda(net, median, blur), x, logits.argmax(1)).correct.all()
