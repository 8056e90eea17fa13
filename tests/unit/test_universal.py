"""One perturbation for a set, and for what it never saw."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import rosenblatt as rb
from rosenblatt.attacks import PGD, Table, Transformed, Universal, bit_depth, bpda, eot
from rosenblatt.attacks.projection import size
from rosenblatt.attacks.universal import batches
from rosenblatt.errors import DataError, LabelError, ParameterError


@pytest.fixture(scope="module")
def digits(digits_net):
    net, x, y = digits_net
    return copy.deepcopy(net), x[:400], y[:400], x[1400:], y[1400:]


def linear(n=20):
    source = torch.Generator().manual_seed(2)
    with torch.random.fork_rng():
        net = nn.Linear(6, 2).double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=source, dtype=torch.float64))
    x = torch.randn(n, 6, generator=source, dtype=torch.float64)
    return net, x, net(x).argmax(1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_on_one_side_of_a_plane_the_optimum_is_known(norm):
    """All samples of one class of a linear net: straight across, and the dual norm says which fall."""
    net, x, y = linear()
    x = x[y == 0]
    w = (net.weight[1] - net.weight[0]).detach()
    eps, dual = (0.4, w.abs().sum()) if norm == "linf" else (0.9, w.norm())
    best = eps * w.sign() if norm == "linf" else eps * w / w.norm()
    found = Universal(eps=eps, norm=norm, steps=60, bounds=(-50, 50))(net, x, [0] * len(x))
    torch.testing.assert_close(found.perturbation, best, atol=1e-3, rtol=1e-3)
    logits = net(x).detach()
    falls = (logits[:, 0] - logits[:, 1]) < eps * dual
    assert (found.success == falls.numpy()).all()
    assert 0 < found.success.sum() < len(x)


def test_it_holds_on_samples_it_never_saw_as_no_random_one_does(digits):
    net, x, y, test, truth = digits
    found = Universal(eps=0.25, steps=60)(net, x, y)
    held = found.on(net, test, truth)
    share, low, high = held.success_rate
    assert share > 0.3
    assert low < share < high
    assert share == pytest.approx(held.success.sum() / held.correct.sum())
    random = (torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.5) * 0.5 - 0.25
    wrong = (net((test + random).clamp(0, 1)).argmax(1) != truth).numpy() & held.correct
    assert held.success.sum() > 2 * wrong.sum()
    sums = (test + found.perturbation).clamp(0, 1)
    torch.testing.assert_close(held.adversarial[held.correct], sums[held.correct])
    assert (held.norms <= 0.25).all()
    assert held.perturbation is found.perturbation
    assert f"{int(held.success.sum())} of {int(held.correct.sum())} broken" in repr(held)
    each = PGD(eps=0.25, steps=20)(net, test[:60], truth[:60])  # who may choose for each sample does better
    assert each.success_rate[0] >= share


def test_a_target_draws_all_classes_there(digits):
    net, x, y, test, truth = digits
    found = Universal(eps=0.35, steps=60)(net, x, y, target=8)
    assert not found.tried[(y == 8).numpy()].any()
    held = found.on(net, test, truth)  # the target is remembered
    answers = net(held.adversarial).argmax(1).numpy()
    assert (held.success == (held.tried & (answers == 8))).all()
    assert held.success_rate[0] > 0.5
    other = found.on(net, test, truth, target=1)
    assert other.success_rate[0] < held.success_rate[0]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_batch_size_changes_nothing_and_the_seed_fixes_it(digits, norm):
    net, x, y, _, _ = digits
    net = copy.deepcopy(net).double()
    x, y = x[:50].double(), y[:50]
    make = partial(Universal, eps=0.3, norm=norm, steps=8, minibatch=20)
    first, second, third = (make(batch_size=n)(net, x, y) for n in (256, 7, 256))
    assert torch.equal(first.adversarial, third.adversarial)
    torch.testing.assert_close(first.perturbation, second.perturbation)
    assert (first.success == second.success).all()
    assert (first.queries == second.queries).all()
    assert float(size(first.perturbation[None], norm)) <= 0.3
    assert not torch.equal(first.perturbation, make()(net, x[:40], y[:40]).perturbation)
    assert not torch.equal(first.perturbation, make(random_state=1)(net, x, y).perturbation)


def test_a_pixel_below_black_comes_back():
    """Clipping has no slope there: without another one a first step that was wrong would be for good."""
    with torch.random.fork_rng():
        net = nn.Linear(1, 2).requires_grad_(False)
    net.weight.copy_(torch.tensor([[0.0], [1.0]]))
    net.bias.copy_(torch.tensor([0.45, 0.0]))
    x, y = torch.zeros(10, 1), torch.zeros(10, dtype=torch.int64)
    first = int(next(batches(10, 1, 0)))  # the one that wants less, while the others want more
    x[first], y[first] = 0.9, 1
    found = Universal(eps=0.5, steps=60, minibatch=1)(net, x, y)
    assert found.perturbation.item() == pytest.approx(0.5)
    assert found.success.sum() == 9


def test_each_sample_has_its_turn():
    order = batches(10, 4, 0)
    rows = torch.cat([next(order) for _ in range(3)])
    assert rows.sort().values.tolist() == list(range(10))
    assert rows.tolist() != torch.cat([next(order) for _ in range(3)]).tolist()


def test_the_victim_and_the_world_stay_as_they_were(digits):
    net, x, y, _, _ = digits
    shaken = nn.Sequential(net, nn.Dropout(0.4)).train()
    state, world, before = copy.deepcopy(net.state_dict()), torch.get_rng_state(), x.clone()
    Universal(steps=2)(shaken, x, y)
    assert all(torch.equal(a, b) for a, b in zip(state.values(), net.state_dict().values(), strict=True))
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert all(m.training for m in shaken.modules())
    assert torch.equal(torch.get_rng_state(), world)
    assert torch.equal(x, before)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_estimators_and_other_victims(digits):
    net, x, y, test, truth = digits
    shown = (x.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    cnn = rb.CNNClassifier(epochs=2, batch_size=32, random_state=0, verbose=0).fit(shown, y.numpy())
    found = Universal(eps=0.3, steps=20)(cnn, shown, y.numpy())
    assert found.perturbation.shape == (8, 8, 1)
    assert np.abs(found.perturbation).max() <= 0.3
    assert found.success.any()
    assert found.on(net, test, truth).success.any()  # carried over to another network
    table = rb.MLPClassifier((16,), max_iter=20, random_state=0).fit(x.flatten(1).numpy(), y.numpy())
    assert Universal(steps=3, bounds=(0, 1))(table, x.flatten(1).numpy(), y.numpy()).perturbation.shape == (64,)
    coarse = Transformed(net, partial(bit_depth, bits=2))
    assert "through its own gradient" in Universal(steps=2)(coarse, x, y).notes[0]
    rounded = Universal(eps=0.3, steps=20)(bpda(net, partial(bit_depth, bits=2)), x, y)
    assert rounded.success_rate[0] > 0.2
    noisy = eot(net, 2, transform=lambda v: v + 0.1 * torch.randn_like(v), judges=9)
    assert Universal(eps=0.3, steps=10)(noisy, x, y).success_rate[0] > 0.2
    with pytest.raises(ParameterError, match="Universal around a Table"):
        Universal()(Table(table), x.flatten(1).numpy(), y.numpy())


def test_bad_input_is_named(digits):
    net, x, y, _, _ = digits
    with pytest.raises(DataError, match="Universal: none of 400 samples is right before; expected some to train on"):
        Universal()(net, x, (net(x).argmax(1) + 1) % 10)
    with pytest.raises(DataError, match="none of 400 samples is right before and of another class"):
        Universal()(net, x, y, target=y)
    with pytest.raises(ParameterError, match="gives no gradients"):
        Universal()(lambda v: net(v).detach(), x, y)
    with pytest.raises(LabelError, match="target holds 10"):
        Universal()(net, x, y, target=10)
    for options, said in (
        ({"norm": "l1"}, "Universal: norm='l1'"),
        ({"eps": 0}, "Universal: eps=0"),
        ({"steps": 0}, "Universal: steps=0"),
        ({"minibatch": 0}, "Universal: minibatch=0"),
        ({"step_size": 0}, "Universal: step_size=0"),
    ):
        with pytest.raises(ParameterError, match=said):
            Universal(**options)
    with pytest.raises(ParameterError, match="eps=2 is more than all of bounds"):
        Universal(eps=2)(net, x, y)
