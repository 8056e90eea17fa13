"""Randomized smoothing: the radius against the closed form of a linear classifier, and what refutes a wrong proof."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, norm
from torch import nn

from rosenblatt import MLPClassifier, Plan
from rosenblatt.attacks import Certificate, Smoothed
from rosenblatt.attacks.smoothing import radius
from rosenblatt.errors import LabelError, ParameterError
from rosenblatt.report import smoothing_report
from rosenblatt.train.seeds import PrivateRandom


@pytest.fixture(autouse=True)
def private():
    with PrivateRandom(1):
        yield


def linear(weight=((1.0, 0.0), (0.0, 1.0))):
    module = nn.Linear(len(weight[0]), len(weight), bias=False)
    module.requires_grad_(False).weight.copy_(torch.tensor(weight))
    return module


def test_the_radius_is_that_of_the_binomial_bound():
    for hits in (501, 700, 990, 1000):
        low = binomtest(hits, 1000, alternative="greater").proportion_ci(0.999).low
        expected = 0.25 * norm.ppf(low) if low > 0.5 else 0.0
        assert radius(np.array([hits]), 1000, 0.25, 0.999)[0] == pytest.approx(expected)
    assert radius(np.array([0]), 1000, 0.25, 0.999)[0] == 0.0


def test_a_linear_classifier_is_proven_almost_to_its_boundary():
    """Its smoothed form is itself, and the true radius is the distance to the boundary."""
    x = torch.tensor([[0.6, 0.4], [0.55, 0.45], [0.2, 0.7], [0.5, 0.5]])
    found = Smoothed(linear(), sigma=0.25).certify(x, [0, 0, 1, 0], draws=20_000, first=500)
    distance = (x[:, 0] - x[:, 1]).abs().numpy() / 2**0.5
    assert (found.radii <= distance).all()
    assert (found.radii[:3] > distance[:3] - 0.01).all()
    assert found.correct.tolist() == [True, True, True, False]
    assert not found.proven[3]  # on the boundary it abstains
    assert found.accuracy_at(0.1) == pytest.approx(0.5)
    assert [row["certified_accuracy"] for row in found.curve([0.0, 0.3])] == [0.75, 0.25]
    assert "75.0% proven, 75.0% right" in repr(found)


def test_an_attack_refutes_a_wrong_proof_and_no_right_one():
    x = torch.rand(12, 2, generator=torch.Generator().manual_seed(3))
    smoothed = Smoothed(linear(), sigma=0.1)
    found = smoothed.certify(x, draws=2000)
    assert found.proven.sum() > 8
    assert not smoothed.attack(x, found).any()
    distance = (x[:, 0] - x[:, 1]).abs().numpy() / 2**0.5
    wrong = Certificate(found.labels, 1.5 * distance, found.proven, None, 0.1, 2000, 0.999)
    # only where the box leaves room for it
    assert smoothed.attack(x, wrong)[found.proven].mean() > 0.6


def test_answers_do_not_depend_on_the_batch_and_do_on_the_seed():
    x = torch.full((5, 2), 0.5) + torch.linspace(-0.1, 0.1, 5)[:, None] * torch.tensor([1.0, -1.0])
    one, other = (Smoothed(linear(), sigma=0.5, batch_size=b).certify(x, draws=300) for b in (7, 1000))
    assert np.array_equal(one.radii, other.radii)
    part = Smoothed(linear(), sigma=0.5).certify(x[:2], draws=300)
    assert np.array_equal(part.radii, one.radii[:2])
    assert not np.array_equal(one.radii, Smoothed(linear(), sigma=0.5, random_state=1).certify(x, draws=300).radii)


def test_nothing_of_the_model_or_outside_it_changes():
    module = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2)).train()
    module[1].eval()
    before, state = {k: v.clone() for k, v in module.state_dict().items()}, torch.get_rng_state()
    smoothed = Smoothed(module, sigma=0.1)
    smoothed.attack(torch.rand(4, 2, generator=torch.Generator()), smoothed.certify(torch.zeros(4, 2), draws=50))
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert [m.training for m in module] == [True, False, True, True]
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_our_own_classifiers_keep_their_labels():
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(0, 1, (80, 3)), rng.normal(4, 1, (80, 3))]).astype(np.float32)
    y = np.array(["low"] * 80 + ["high"] * 80)
    model = MLPClassifier(8, max_iter=60, random_state=0, solver="lbfgs").fit(X, y)
    smoothed = Smoothed(model, sigma=0.5)
    found = smoothed.certify(X[::10], y[::10], draws=500)
    assert found.correct.mean() > 0.9
    assert set(found.labels) == {"low", "high"}
    assert (smoothed.predict(X[::10], draws=100) == y[::10]).mean() > 0.9
    with pytest.raises(LabelError, match="holds 'middle'"):
        smoothed.certify(X[:2], ["middle", "low"])


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_training_with_noise_helps():
    rng = np.random.default_rng(0)
    X = rng.normal(0, 1, (600, 20)).astype(np.float32)
    y = (np.sin(3 * X[:, 0]) + X[:, 1] > 0).astype(int)
    score = {}
    for text in (None, "noise,eps=0.5"):
        plan = None if text is None else Plan(defence=text)
        model = MLPClassifier(64, max_iter=60, n_iter_no_change=100, random_state=0, plan=plan).fit(X[:500], y[:500])
        score[text] = Smoothed(model, sigma=0.5).certify(X[500:], y[500:], draws=200).accuracy_at(0.2)
    assert score["noise,eps=0.5"] > score[None]


@pytest.mark.parametrize(
    ("options", "match"),
    [({"sigma": 0}, "sigma=0; expected"), ({"sigma": 0.1, "batch_size": 0}, "batch_size=0")],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(ParameterError, match=match):
        Smoothed(linear(), **options)


def test_bad_calls_are_refused():
    smoothed = Smoothed(linear(), sigma=0.1)
    with pytest.raises(ParameterError, match="confidence=1"):
        smoothed.certify(torch.zeros(1, 2), confidence=1.0)
    with pytest.raises(ParameterError, match="draws=0"):
        smoothed.predict(torch.zeros(1, 2), draws=0)
    with pytest.raises(ValueError, match="no labels were given"):
        smoothed.certify(torch.zeros(1, 2), draws=10).accuracy_at(0.1)


def test_a_function_is_proven_and_not_attacked():
    smoothed = Smoothed(lambda x: x, sigma=0.1)
    found = smoothed.certify(torch.tensor([[0.9, 0.1]]), draws=200)
    assert found.proven.all()
    with pytest.raises(ParameterError, match="gives no gradients"):
        smoothed.attack(torch.tensor([[0.9, 0.1]]), found)


def test_the_report_has_the_curve_and_says_when_proofs_are_refuted(tmp_path, monkeypatch):
    x = torch.rand(20, 2, generator=torch.Generator().manual_seed(0))
    y = (x[:, 1] > x[:, 0]).long()
    found = smoothing_report(linear(), x, y, sigma=0.1, eps=[0.1, 0.05], draws=300)
    assert [row["eps"] for row in found.curve] == [0.05, 0.1]
    assert found.curve[0]["certified_accuracy"] >= found.curve[1]["certified_accuracy"] > 0
    assert found.refuted == 0
    assert found.headline.startswith("Certified accuracy ")
    assert "at l2 eps 0.1, n=20; noise 0.1, 300 draws" in found.headline
    page = found.write(tmp_path / "page.html").read_text()
    assert "Certified accuracy by radius" in page
    assert json.loads(found.write(tmp_path / "page.json").read_text())["curve"] == found.curve
    with pytest.raises(ParameterError, match=r"html or \.json"):
        found.write(tmp_path / "page.txt")
    with pytest.raises(ParameterError, match=r"eps=0\.0"):
        smoothing_report(linear(), x, y, sigma=0.1, eps=[0.0])
    monkeypatch.setattr(Smoothed, "attack", lambda self, X, made: made.proven)
    assert "withheld: an attack refuted" in smoothing_report(linear(), x, y, sigma=0.1, eps=0.1, draws=300).headline
