"""Attacks that are to break other models, and several models as one."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import rosenblatt as rb
from rosenblatt.attacks import (
    FGSM,
    PGD,
    DeepFool,
    HopSkipJump,
    Square,
    Table,
    Transfer,
    Universal,
    bpda,
    eot,
    several,
    transfer,
    transferred,
)  # fmt: skip
from rosenblatt.attacks.gradients import accumulated, ascent
from rosenblatt.attacks.model import victim
from rosenblatt.attacks.objectives import OBJECTIVES, cross_entropy
from rosenblatt.attacks.streams import keys_of
from rosenblatt.attacks.transfer import smaller, smoothed
from rosenblatt.errors import DataError, ParameterError, ShapeError


def net(seed=0, classes=3, side=6):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(4 * side**2, classes))
    return made.double().eval()


def pictures(n=5, side=6, seed=0):
    return torch.rand(n, 2, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def right(model, x):
    with torch.no_grad():
        return model(x).argmax(1)


# --- the three switches ---


@pytest.mark.parametrize("momentum", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_momentum_is_that_of_a_plain_loop(momentum, norm):
    """Dong et al. 2018, algorithm 1; the mean in place of the sum changes no direction."""
    model, x = net(), pictures()
    y = right(model, x)
    found = transfer(model, x, y, eps=0.1, norm=norm, steps=7, momentum=momentum, diversity=0, kernel=1)
    z, g = x.clone(), torch.zeros_like(x)
    for _ in range(7):
        leaf = z.clone().requires_grad_()
        F.cross_entropy(model(leaf), y, reduction="sum").backward()
        slope = leaf.grad / leaf.grad.abs().mean((1, 2, 3), keepdim=True)
        g = momentum * g + slope
        unit = g.sign() if norm == "linf" else g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        z = z + 0.1 / 7 * unit
        if norm == "linf":
            z = torch.minimum(torch.maximum(z, x - 0.1), x + 0.1)
        z = z.clamp(0, 1)
    torch.testing.assert_close(found.adversarial, z, rtol=0, atol=1e-6)
    assert (found.queries == 7).all()  # those broken before go on


def test_momentum_by_hand():
    first = accumulated(torch.zeros(1, 2), torch.tensor([[3.0, -1.0]]), 0.5)
    assert first.tolist() == [[1.5, -0.5]]
    assert accumulated(first, torch.tensor([[0.0, 8.0]]), 0.5).tolist() == [[0.75, 1.75]]


def test_a_smoothed_gradient_is_the_mean_of_those_of_shifted_pictures():
    source = torch.Generator().manual_seed(2)
    w = torch.randn(1, 2, 7, 7, generator=source, dtype=torch.float64)
    got = smoothed(w, 3)
    edge = math.exp(-4.5)
    line = torch.tensor([edge, 1.0, edge], dtype=torch.float64) / (1 + 2 * edge)
    around, expected = F.pad(w, (1, 1, 1, 1)), torch.zeros_like(w)
    for down in range(3):
        for across in range(3):
            expected += line[down] * line[across] * around[..., down : down + 7, across : across + 7]
    torch.testing.assert_close(got, expected)
    spot = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    spot[..., 4, 4] = 1
    assert float(smoothed(spot, 7).sum()) == pytest.approx(1)
    assert torch.equal(smoothed(w, 1), w)


def test_diverse_inputs_are_smaller_pictures_on_zeros():
    x, keys = torch.ones(200, 1, 12, 12, dtype=torch.float64), keys_of(0, torch.arange(200))
    assert torch.equal(smaller(x, keys, 1, 0.0, 0.5), x)
    torch.testing.assert_close(smaller(x, keys, 1, 1.0, 1.0), x)
    got = smaller(x, keys, 1, 0.7, 0.5)
    changed = (got != x).flatten(1).any(1)
    assert float(changed.double().mean()) == pytest.approx(0.7, abs=0.1)
    area = got[changed].mean((1, 2, 3))  # side squared, for sides from a half to one
    assert float(area.min()) == pytest.approx(0.25, abs=0.03)
    assert float(area.mean()) == pytest.approx(7 / 12, abs=0.05)
    assert (got[changed].amax((1, 2, 3)) > 1 - 1e-9).all()
    middle = (got[changed] * torch.arange(12.0)).sum((1, 2, 3)) / got[changed].sum((1, 2, 3))
    assert float(middle.mean()) == pytest.approx(5.5, abs=0.3)
    assert float(middle.std()) > 0.5
    torch.testing.assert_close(smaller(x[3:5], keys[3:5], 1, 0.7, 0.5), got[3:5])


@pytest.mark.parametrize(
    "switch", [{"diversity": 0.5, "kernel": 1}, {"diversity": 0, "kernel": 3}], ids=["diversity", "kernel"]
)
def test_what_is_no_picture_is_refused(switch):
    with torch.random.fork_rng():
        model = nn.Linear(4, 2)
    with pytest.raises(ShapeError, match=r"Transfer: inputs have shape \(n_samples, 4\).*diversity=0, kernel=1"):
        Transfer(**switch)(model, torch.full((2, 4), 0.5), right(model, torch.full((2, 4), 0.5)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kernel": 4}, "Transfer: kernel=4; expected an odd number"),
        ({"kernel": 0}, "Transfer: kernel=0"),
        ({"diversity": 1.5}, "Transfer: diversity=1.5"),
        ({"least": 0}, "Transfer: least=0"),
        ({"momentum": 2}, "Transfer: momentum=2"),
        ({"norm": "l1"}, "Transfer: norm='l1'"),
    ],
)
def test_bad_parameters_are_named(options, said):
    with pytest.raises(ParameterError, match=said):
        Transfer(**options)


# --- several models ---


def test_several_models_answer_by_their_mean_logits():
    one, two, x = net(0), net(1), pictures()
    joint = victim(several([one, two]))
    with joint.at_rest():
        torch.testing.assert_close(joint.logits(x), (one(x) + two(x)).detach() / 2)
    y = right(lambda z: one(z) + two(z), x)
    alone, both = PGD(eps=0.1, steps=5)(one, x, right(one, x)), PGD(eps=0.1, steps=5)(several([one]), x, right(one, x))
    assert torch.equal(alone.adversarial, both.adversarial)
    assert (alone.queries == both.queries).all()
    found = DeepFool(norm="l2")(several([one, two], "losses"), x, y)
    assert found.correct.all()
    assert (right(lambda z: one(z) + two(z), found.adversarial) != y)[found.success].all()


def test_the_mean_of_losses_has_the_mean_of_gradients():
    one, two, x = net(0), net(1), pictures()
    y = torch.tensor([0, 1, 2, 0, 1])
    joint = victim(several([one, two], "losses"))
    g, logits = ascent(joint.logits, x, y, None, cross_entropy)
    each = [ascent(model, x, y, None, cross_entropy) for model in (one, two)]
    torch.testing.assert_close(g, (each[0][0] + each[1][0]) / 2)
    torch.testing.assert_close(logits, (each[0][1] + each[1][1]) / 2)
    mean, _ = ascent(victim(several([one, two])).logits, x, y, None, cross_entropy)
    assert float((mean - g).abs().max()) > 1e-3
    for objective in OBJECTIVES.values():  # one model alone: no difference
        a, b = (ascent(victim(several([one], how)).logits, x, y, None, objective)[0] for how in ("logits", "losses"))
        torch.testing.assert_close(a, b)
    y = right(lambda z: one(z) + two(z), x)
    for attack in (FGSM(eps=0.1), PGD(eps=0.1, steps=3), Transfer(eps=0.1, steps=3)):
        losses = attack(several([one, two], "losses"), x, y)
        assert not torch.equal(losses.adversarial, attack(several([one, two]), x, y).adversarial)


def test_several_models_stay_as_they_were():
    models = [net(0).train(), nn.Sequential(nn.Dropout(0.5), net(1)).train()]
    models[1][1][0].eval()
    modes = [m.training for model in models for m in model.modules()]
    x = pictures()
    Transfer(eps=0.1, steps=2)(several(models), x, [0] * 5)
    assert [m.training for model in models for m in model.modules()] == modes
    assert all(p.grad is None and p.requires_grad for model in models for p in model.parameters())


def test_one_perturbation_and_answers_alone_for_several_models():
    one, two, x = net(0), net(1), pictures(12)
    y = right(lambda z: one(z) + two(z), x)
    shared = Universal(eps=0.2, steps=3)(several([one, two]), x, y)
    assert shared.correct.all()
    found = HopSkipJump(queries=60, probes=10, starts=pictures(20, seed=4))(several([one, two]), x, y)
    assert (right(lambda z: one(z) + two(z), found.adversarial) != y)[found.success].all()
    assert found.success.any()


def test_several_black_boxes_and_probabilities():
    one, two, x = net(0), net(1), pictures()
    y = right(lambda z: one(z) + two(z), x)
    boxes = several([lambda z: one(z).detach().numpy(), lambda z: two(z).detach()])
    assert Square(eps=0.3, queries=60)(boxes, x, y).success.any()
    with pytest.raises(ParameterError, match=r"several \(.*gives no gradients"):
        PGD()(boxes, x, y)
    soft = nn.Sequential(one, nn.Softmax(1))
    found = PGD(eps=0.1, steps=3)(several([soft, two]), x, y)
    assert found.notes == ("Sequential: the model gives probabilities, not logits: their logarithms were attacked",)
    plain = several([nn.Sequential(one, nn.LogSoftmax(1)), two])
    torch.testing.assert_close(found.adversarial, PGD(eps=0.1, steps=3)(plain, x, y).adversarial)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_and_a_table_around_them():
    X, y = load_digits(return_X_y=True)
    X, module = X / 16, nn.Flatten()
    models = [rb.Perceptron(random_state=seed, max_iter=5).fit(X[:300], y[:300]) for seed in (0, 1)]
    found = PGD(eps=0.2, steps=5, bounds=(0, 1))(several(models), X[1000:1040], y[1000:1040])
    assert found.adversarial.shape == (40, 64)
    assert found.success.any()
    held = FGSM(eps=0.2)(Table(several(models), fixed=range(32)), X[1000:1040], y[1000:1040])
    assert (held.adversarial[:, :32] == X[1000:1040, :32]).all()
    other = rb.Perceptron(max_iter=5).fit(X[:300], np.array(list("abcdefghij"))[y[:300]])
    with pytest.raises(ParameterError, match=r"know 10 classes from 0 and 10 from 'a'; expected the same"):
        PGD(bounds=(0, 1))(several([models[0], other]), X[:3], y[:3])
    with pytest.raises(ParameterError, match=r"bounds None, \(0.0, 1.0\); expected the same"):
        PGD()(several([models[0], module]), X[:3], y[:3])
    high = rb.Perceptron(max_iter=5).fit(X[:300][y[:300] > 0], y[:300][y[:300] > 0])
    with pytest.raises(ParameterError, match="9 classes from 1"):
        PGD(bounds=(0, 1))(several([high, module]), X[:3], y[:3])


class Reads(nn.Module):
    """A model that says how it reads X."""

    def __init__(self, read):
        super().__init__()
        self.read = read

    def _victim(self, bounds):
        from rosenblatt.attacks.model import Victim

        return Victim(lambda x: x.flatten(1)[:, :3], bounds=(0.0, 1.0), encode=self.read)


@pytest.mark.parametrize(
    ("models", "error", "said"),
    [
        ([net(0), net(0, classes=4)], ShapeError, "give 3, 4 classes; expected the same"),
        ([net(0), eot(net(1), 2)], ParameterError, r"made by attacks.eot or attacks.Table; expected models of values"),
        ([Table(net(0)), net(1)], ParameterError, r"A Table goes around all"),
        ([Reads(lambda X: X), Reads(lambda X: X.flatten(1))], ShapeError, r"read X as \(5, 2, 6, 6\), \(5, 72\)"),
        ([Reads(lambda X: X), Reads(lambda X: X / 255)], DataError, "read X on different scales"),
    ],
    ids=["classes", "random", "table", "shape", "scale"],
)
def test_models_that_do_not_belong_together_are_refused(models, error, said):
    with pytest.raises(error, match=said):
        PGD()(several(models), pictures(), [0] * 5)


def test_bad_use_of_several_is_named():
    with pytest.raises(ParameterError, match="several: no models"):
        several([])
    with pytest.raises(ParameterError, match="several: average='votes'; expected"):
        several([net()], "votes")
    with pytest.raises(
        ParameterError, match=r"bpda or Transformed around several models.*before each: several\(\[bpda"
    ):
        PGD()(bpda(several([net()]), torch.round), pictures(), [0] * 5)
    with pytest.raises(ParameterError, match="eot around several models; expected a model"):
        PGD()(eot(several([net()]), 2), pictures(), [0] * 5)
    inside = several([bpda(net(0), torch.round), net(1)])
    assert PGD(eps=0.3, steps=3)(inside, pictures(), [0] * 5).correct.shape == (5,)


# --- on other models ---


def test_transfer_counts_what_the_other_had_right_and_was_attacked():
    with torch.random.fork_rng():
        one = nn.Linear(2, 2, bias=False).requires_grad_(False)
    one.weight.copy_(torch.eye(2))
    x, y = torch.tensor([[0.5, 0.4], [0.5, 0.4], [0.4, 0.5], [0.9, 0.1]]), [0, 1, 1, 0]
    found = FGSM(eps=0.2)(one, x, y)
    assert found.correct.tolist() == [True, False, True, True]
    got = transferred(found, one, x, y)
    assert got.tried.tolist() == found.correct.tolist()
    assert got.success.tolist() == found.success.tolist() == [True, False, True, False]
    assert got.success_rate[0] == pytest.approx(2 / 3)
    assert (got.accuracy, got.robust_accuracy, got.queries.sum()) == (0.75, 0.25, 8)
    assert torch.equal(got.adversarial, found.adversarial)

    def always(z):
        return np.eye(2)[np.zeros(len(z), int)]

    got = transferred(found, always, x, y)
    assert got.tried.tolist() == got.correct.tolist() == [True, False, False, True]
    assert got.success_rate[0] == 0
    assert math.isnan(transferred(found, always, x, [1, 1, 1, 1]).success_rate[0])
    aimed = transferred(found, one, x, y, target=1)
    assert (aimed.tried.tolist(), aimed.success.tolist()) == ([True, False, False, True], [True, False, False, False])
    with pytest.raises(ShapeError, match=r"X is read as \(3, 2\), the points as \(4, 2\)"):
        transferred(found, one, x[:3], y[:3])


def trained(seed, x, y):
    """A small convnet of digits."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(12 * 64, 10))
    optimizer = torch.optim.Adam(made.parameters(), 0.01)
    for _ in range(30):
        loss = F.cross_entropy(made(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return made


def test_digits_of_other_seeds():
    """More transfers than of PGD, which stops at the boundary of the attacked model; from several models as well."""
    X, y = load_digits(return_X_y=True)
    x, y = torch.from_numpy(X / 16).float().view(-1, 1, 8, 8), torch.from_numpy(y)
    models = [trained(seed, x[:400], y[:400]) for seed in range(3)]
    test, truth = x[1000:1100], y[1000:1100]
    plain, full = PGD(eps=0.1, steps=10), Transfer(eps=0.1, kernel=3, momentum=1.0, diversity=0.7)
    rates = [
        transferred(attack(models[0], test, truth), models[2], test, truth).success_rate[0] for attack in (plain, full)
    ]
    both = transferred(full(several(models[:2]), test, truth), models[2], test, truth)
    assert rates[1] > rates[0]
    assert both.success_rate[0] > rates[0]
    assert both.tried.sum() > 80


def test_pictures_of_eight_bits_are_rounded_for_another():
    X, y = load_digits(return_X_y=True)
    X = (X[:120].reshape(-1, 8, 8) / 16 * 255).round().astype(np.uint8)
    models = [rb.CNNClassifier(epochs=3, batch_size=16, random_state=s, verbose=0).fit(X, y[:120]) for s in range(2)]
    truth = y[:40]
    found = FGSM(eps=0.3)(several(models), X[:40], truth)
    got = transferred(found, models[1], X[:40], truth)
    before, after = models[1].predict(X[:40]), models[1].predict(found.rounded())
    assert (got.tried == (before == truth) & found.correct).all()
    assert (got.success == got.tried & (after != truth)).all()
    assert got.success.any()
