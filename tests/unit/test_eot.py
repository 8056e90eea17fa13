"""Random victims: attacked through means, judged by a vote."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import rosenblatt as rb
from rosenblatt.attacks import APGD, FGSM, PGD, DeepFool, Ensemble, Square, Table, bit_depth, bpda, eot
from rosenblatt.attacks.gradients import ascent
from rosenblatt.attacks.model import victim
from rosenblatt.attacks.objectives import margin
from rosenblatt.errors import ParameterError


class Noisy(nn.Module):
    """A network whose input is shaken in eval mode too."""

    def __init__(self, net, amount):
        super().__init__()
        self.net, self.amount = net, amount

    def forward(self, x):
        return self.net(x + self.amount * torch.randn_like(x))


class Coin(nn.Module):
    """Right in seven of ten draws, whatever the input."""

    def forward(self, x):
        wrong = (torch.rand(len(x), 1) < 0.3).to(x.dtype)
        return torch.cat([1 - wrong, wrong], 1) + 0 * x.sum(1, keepdim=True)


def linear(seed=0, n=12):
    """Two classes of 20 numbers: the net, inputs, labels, and the linf distance of each to the plane."""
    source = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        net = nn.Linear(20, 2).double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=source, dtype=torch.float64))
    x = torch.rand(n, 20, generator=source, dtype=torch.float64)
    logits = net(x).detach()
    w = (net.weight[0] - net.weight[1]).detach()
    return copy.deepcopy(net), x, logits.argmax(1), (logits[:, 0] - logits[:, 1]).abs() / w.abs().sum()


@pytest.fixture(scope="module")
def digits(digits_net):
    net, x, y = digits_net
    return net, x[1400:1440], y[1400:1440]


def test_means_of_logits_and_gradients_are_the_expectation():
    net, x, y, _ = linear()
    same = victim(eot(net, 3))
    torch.testing.assert_close(same.logits(x), net(x))
    shaken = victim(eot(Noisy(net, 0.1), 400))
    with shaken.at_rest():
        g, logits = ascent(shaken.logits, x, y, None, margin)
    spread = 0.1 * torch.linalg.vector_norm(net.weight.detach(), dim=1)
    assert ((logits - net(x).detach()).abs() < 4 * spread / 20).all()
    w = (net.weight[1] - net.weight[0]).detach()
    torch.testing.assert_close(g, torch.where(y[:, None] == 0, w, -w))  # of a linear net: w, whatever the noise


def test_on_a_linear_net_the_vote_is_the_net_without_noise():
    """Symmetric noise: the majority falls where the plane lies, so the distance has a closed form."""
    net, x, y, distance = linear()
    for attack in (PGD, APGD):
        far = eot(Noisy(net, 0.05), 32)
        rows = distance < 0.2
        found = attack(eps=float(1.5 * distance[rows].max()), bounds=(-9, 9))(far, x[rows], y[rows])
        assert found.success[found.correct].mean() > 0.8  # those at the plane itself may go either way
        held = attack(eps=float(0.5 * distance.min()), bounds=(-9, 9))(far, x, y)
        assert not held.success.any()
    near = DeepFool(norm="linf", bounds=(-9, 9))(eot(Noisy(net, 0.02), 32), x, y)
    assert near.success[near.correct].mean() > 0.9  # the boundary itself may go either way, and bisections end there
    assert (near.norms[near.success] > 0.5 * distance.numpy()[near.success]).all()
    assert np.median(near.norms / distance.numpy()) < 1.4


def test_an_answer_that_is_wrong_by_chance_is_no_success():
    x, y = torch.rand(40, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(40, dtype=torch.int64)
    assert PGD(eps=0.1, steps=10)(Coin(), x, y).success.any()
    for attack in (PGD(eps=0.1, steps=10), Square(eps=0.1, queries=20)):
        found = attack(eot(Coin(), 16, judges=201), x, y)
        assert found.accuracy == 1
        assert not found.success.any()
    nothing = PGD(eps=0.1, steps=3)(eot(Coin()), x, y + 1)
    assert (nothing.accuracy, nothing.success.any()) == (0, False)


def test_means_break_a_shaken_network_where_single_draws_do_not(digits):
    net, x, y = digits
    shaken = Noisy(net, 0.3)
    judge = victim(eot(shaken))
    attack = PGD(eps=0.15, steps=10)
    single = (judge.judge(attack(shaken, x, y).adversarial).argmax(1) != y).sum()
    found = attack(eot(shaken), x, y)
    assert found.success.sum() >= single + 5
    # new draws, which neither the attack nor its judgement saw, agree
    again = judge.judge(found.adversarial, 7).argmax(1) != y
    assert (again.numpy() == (found.success | ~found.correct)).mean() > 0.85


def test_an_attack_survives_the_transformations_it_averaged_over(digits):
    net, x, y = digits

    def shifted(batch):
        down, right = torch.randint(-1, 2, (2,)).tolist()
        return batch.roll((down, right), (2, 3)) * (0.8 + 0.4 * torch.rand(1))

    seen = eot(net, 12, transform=shifted)
    attack = PGD(eps=0.2, steps=10)
    judge, plain = victim(seen), attack(net, x, y)
    found = attack(seen, x, y)
    right = judge.judge(x).argmax(1) == y
    survives = (judge.judge(plain.adversarial).argmax(1) != y)[right]
    assert found.success.sum() > int(survives.sum())


@pytest.mark.parametrize(
    "attack", [FGSM(), PGD(steps=3), DeepFool(steps=3), Square(queries=5)], ids=lambda a: type(a).__name__
)
def test_the_seed_fixes_the_result_and_the_world_stays(digits, attack):
    net, x, y = digits
    shaken = Noisy(nn.Sequential(net, nn.Dropout(0.3)), 0.1).train()
    state, world = copy.deepcopy(shaken.state_dict()), torch.get_rng_state()
    first, second = (attack(eot(shaken, 3, judges=5), x[:6], y[:6]) for _ in range(2))
    assert torch.equal(first.adversarial, second.adversarial)
    assert (first.success == second.success).all()
    assert torch.equal(torch.get_rng_state(), world)
    assert all(m.training for m in shaken.modules())
    assert all(torch.equal(a, b) for a, b in zip(state.values(), shaken.state_dict().values(), strict=True))
    assert all(p.requires_grad and p.grad is None for p in shaken.parameters())


def test_a_target_is_the_majority(digits):
    net, x, y = digits
    wanted = (y + 1) % 10
    seen = eot(Noisy(net, 0.1), 8)
    found = Ensemble(eps=0.5, steps=8, targets=1, queries=10)(seen, x[:10], y[:10], target=wanted[:10])
    assert found.success.sum() >= 5
    votes = victim(seen).judge(found.adversarial, 3).argmax(1)
    assert (votes == wanted[:10]).numpy()[found.success].mean() > 0.8


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_estimators_functions_and_other_victims(digits):
    net, x, y = digits

    def shaken(batch):
        return batch + 0.05 * torch.randn_like(batch)

    x, y = x[:20], y[:20]
    X = x.flatten(1).numpy()
    mlp = rb.MLPClassifier((16,), max_iter=30, learning_rate_init=0.02, random_state=0).fit(X, y.numpy())
    found = PGD(eps=0.3, steps=8, bounds=(0, 1))(eot(mlp, 4, transform=shaken), X, y.numpy())
    assert found.adversarial.shape == X.shape
    assert found.success.any()

    def ask(batch):
        return net(shaken(batch)).detach().numpy()

    assert Square(eps=0.3, queries=40)(eot(ask, 4, judges=9), x[:8], y[:8]).success.any()
    with pytest.raises(ParameterError, match=r"ask gives no gradients"):
        PGD()(eot(ask, 4), x[:8], y[:8])
    for seen in (bpda(eot(Noisy(net, 0.05), 4), bit_depth), eot(bpda(net, bit_depth), 4, transform=shaken)):
        found = PGD(eps=0.2, steps=8)(seen, x, y)
        assert found.success.sum() >= 5
        assert victim(seen).random
    soft = eot(nn.Sequential(Noisy(net, 0.05), nn.Softmax(1)), 4)
    assert "probabilities, not logits" in PGD(eps=0.1, steps=3)(soft, x[:4], y[:4]).notes[0]
    scaled = eot(Noisy(net, 0.1), 4, mean=[0.0], std=[1.0])
    assert PGD(eps=0.1, steps=3)(scaled, x[:4], y[:4]).correct.any()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"samples": 0}, r"eot: samples=0; expected an integer >= 1"),
        ({"judges": 0.5}, r"eot: judges=0\.5"),
        ({"random_state": -1}, r"eot: random_state=-1"),
        ({"transform": 3}, r"eot: transform=3; expected a callable or"),
    ],
)
def test_bad_parameters_are_named(options, said):
    with pytest.raises(ParameterError, match=said):
        eot(nn.Identity(), **options)


def test_tables_go_around_what_is_not_random():
    net, x, y, _ = linear()
    rows = x.numpy()
    around = Table(bpda(net, partial(bit_depth, bits=6)), scale=np.ones(20))
    assert victim(around).remarks[0].startswith("bit_depth was attacked by BPDA")
    assert PGD(eps=0.5)(around, rows, y.numpy()).success.any()
    with pytest.raises(ParameterError, match="Table: the model is random"):
        PGD()(Table(eot(net)), rows, y.numpy())
    for make in (eot, lambda model: bpda(model, bit_depth)):
        with pytest.raises(ParameterError, match=r"around a Table; expected a model\. .* Table\(bpda"):
            PGD()(make(Table(net)), rows, y.numpy())
