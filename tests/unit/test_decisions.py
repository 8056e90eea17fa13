"""Attacks that see the answered class alone: queries, starting points, and how near they come."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn

from rosenblatt.attacks import Boundary, HopSkipJump, boundary, hop_skip_jump
from rosenblatt.attacks.decisions import Answers, directions
from rosenblatt.attacks.projection import size
from rosenblatt.attacks.streams import keys_of, uniform
from rosenblatt.errors import DataError, ShapeError

EACH = pytest.mark.parametrize(
    "attack", [HopSkipJump(queries=300, probes=20), HopSkipJump(norm="linf", queries=300, probes=20), Boundary(queries=120)],
    ids=["hop-l2", "hop-linf", "boundary"],
)  # fmt: skip


def linear(width, seed=0):
    """Two classes that a plane through the middle of the box divides."""
    source = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        net = nn.Linear(width, 2).double().requires_grad_(False)
    net.weight.copy_(torch.randn(2, width, generator=source, dtype=torch.float64))
    net.bias.copy_(-net.weight.sum(1) / 2)
    return net, 0.3 + 0.4 * torch.rand(4, width, generator=source, dtype=torch.float64)


class Counter:
    """A function of scores that counts its rows."""

    def __init__(self, net):
        self.net, self.rows = net, 0

    def __call__(self, x):
        self.rows += len(x)
        return self.net(x).numpy()


@pytest.mark.parametrize(
    ("attack", "ratio"),
    [(HopSkipJump(queries=2500), 1.02), (HopSkipJump(queries=4000, norm="linf"), 1.05), (Boundary(queries=1200), 1.05)],
    ids=["hop-l2", "hop-linf", "boundary"],
)
def test_near_the_optimum_on_a_linear_model(attack, ratio):
    net, x = linear(24)
    found = attack(net, x, net(x).argmax(1))
    gap = (net(x)[:, 0] - net(x)[:, 1]).abs()
    w = net.weight[0] - net.weight[1]
    least = gap / (w.norm() if attack.norm == "l2" else w.abs().sum())
    assert found.success.all()
    assert (found.norms >= least.numpy() * (1 - 1e-9)).all()
    assert (found.norms <= least.numpy() * ratio).all()


@EACH
def test_every_query_is_counted_and_none_is_above_the_budget(attack):
    net, x = linear(6)
    y = net(x).argmax(1)
    found = {}
    for batch_size in (1, 3, 4):
        black = Counter(net)
        found[batch_size] = type(attack)(**{**vars(attack), "batch_size": batch_size})(black, x, y)
        assert black.rows == found[batch_size].queries.sum()
        assert found[batch_size].queries.max() <= attack.queries + 2  # and the first and the last look
    for other in (found[1], found[3]):
        assert (other.queries == found[4].queries).all()
        torch.testing.assert_close(other.adversarial, found[4].adversarial, rtol=0, atol=1e-9)
    assert float(found[4].adversarial.min()) >= 0
    assert float(found[4].adversarial.max()) <= 1


@EACH
@pytest.mark.parametrize("queries", [1, 2, 15, 40])
def test_small_budgets_hold(attack, queries):
    net, x = linear(6)
    black = Counter(net)
    found = type(attack)(**{**vars(attack), "queries": queries})(black, x, net(x).argmax(1))
    assert black.rows == found.queries.sum()
    assert found.queries.max() <= queries + 2
    assert (found.success == (net(found.adversarial).argmax(1) != net(x).argmax(1)).numpy()).all()


@EACH
def test_the_answer_alone_is_used(attack):
    net, x = linear(6)
    y = net(x).argmax(1)
    hard = attack(lambda z: np.eye(2)[net(z).argmax(1).numpy()], x, y)
    assert torch.equal(hard.adversarial, attack(net, x, y).adversarial)
    assert hard.notes == ()


@EACH
def test_without_a_starting_point_a_sample_stays_and_is_counted(attack):
    found = type(attack)(**{**vars(attack), "tries": 7})(
        lambda z: np.eye(3)[np.zeros(len(z), int)], torch.full((3, 5), 0.5), [0] * 3
    )
    assert not found.success.any()
    assert found.queries.tolist() == [2 + 7] * 3
    assert (found.norms == 0).all()
    assert found.robust_accuracy == 1


@EACH
def test_starting_points_of_a_set(attack):
    """A class in a small ball that no noise meets; one of the set lies in it."""
    spot = torch.tensor([0.2, 0.9, 0.4] * 4)

    def answers(z):
        return np.eye(2)[((z - spot).norm(dim=1) < 0.3).long().numpy()]

    x = 0.5 + 0.1 * uniform(keys_of(0, torch.arange(3)), 0, (12,))
    assert not attack(answers, x, [0] * 3, target=1).success.any()
    known = torch.stack([x[0], x[1], spot])
    found = type(attack)(**{**vars(attack), "starts": known})(answers, x, [0] * 3, target=1)
    assert found.success.all()
    plain = size(spot - x, attack.norm).numpy()
    assert (found.norms < plain).all()
    pure = {"boundary": boundary, "hopskipjump": hop_skip_jump}[type(attack).__name__.lower()]
    own = pure(lambda z: torch.from_numpy(answers(z)), x, torch.zeros(3).long(), queries=60, start=spot.expand(3, 12))
    assert answers(own.adversarial).argmax(1).all()
    with pytest.raises(ShapeError, match=r"starts holds samples of shape \(3,\); expected \(12,\), as X has them"):
        type(attack)(starts=torch.ones(2, 3))(answers, x, [0] * 3)
    with pytest.raises(DataError, match="expected values in bounds"):
        type(attack)(starts=known + 1)(answers, x, [0] * 3)


@EACH
def test_without_bounds_noise_goes_further_and_further(attack):
    net, x = linear(6)
    answers = boundary if isinstance(attack, Boundary) else hop_skip_jump
    found = answers(net, 50 * x, net(50 * x).argmax(1), queries=300, bounds=None)
    assert (net(found.adversarial).argmax(1) != net(50 * x).argmax(1)).all()


def test_bisection_ends_on_the_wrong_side_and_near():
    net, x = linear(8)
    y = net(x).argmax(1)
    for norm in ("l2", "linf"):
        asked = Answers(net, x, y, None, norm=norm, most=100, bounds=(0.0, 1.0))
        z, rows = asked.begin(None, None, 50, keys_of(0, torch.arange(4)))
        near = asked.bisect(z, rows, 0.01)
        assert (net(near).argmax(1) != y).all()
        assert (net(asked.between(near, rows, torch.full((4,), 0.98))).argmax(1) == y).all()
        assert (asked.nearest.queries <= 100).all()
    half = asked.between(z, rows, torch.full((4,), 0.5))
    torch.testing.assert_close(size(half - x, "linf"), size(z - x, "linf") / 2)


def test_a_number_of_the_draw_for_each_sample():
    keys, draws = keys_of(1, torch.arange(4)), torch.tensor([7, 3, 2**40, -5])
    mixed = uniform(keys, draws, (3,))
    for row, draw in enumerate(draws.tolist()):
        assert torch.equal(mixed[row], uniform(keys[row : row + 1], draw, (3,))[0])
    u = directions(keys, draws, torch.zeros(4, 2, 3))
    torch.testing.assert_close(size(u, "l2"), torch.ones(4, dtype=torch.float64))


def test_digits_of_a_classifier_that_only_answers():
    """scikit-learn's, through ``predict``; its planes give a bound that no point can be nearer than."""
    X, y = load_digits(return_X_y=True)
    X = X / 16
    linear = LogisticRegression(max_iter=300).fit(X[:1000], y[:1000])
    test, truth = torch.from_numpy(X[1000:1010]), y[1000:1010]
    scores, w = linear.decision_function(X[1000:1010]), linear.coef_
    own = w[truth]
    apart = np.linalg.norm(w[None] - own[:, None], axis=2)
    gaps = scores[np.arange(10), truth][:, None] - scores
    least = np.where(apart > 0, gaps / np.where(apart > 0, apart, 1), np.inf).min(1)
    for attack in (HopSkipJump(queries=1500), Boundary(queries=700)):
        found = attack(lambda x: np.eye(10)[linear.predict(x.numpy())], test, truth)
        assert found.success.sum() == found.correct.sum()
        ratio = found.norms[found.success] / least[found.success]
        assert ratio.min() >= 1 - 1e-9
        assert np.median(ratio) < 1.6
