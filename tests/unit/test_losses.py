"""Losses against closed forms, torch, scikit-learn and central differences; extreme logits; weights; bad shapes."""

import math

import numpy as np
import pytest
import sklearn.neural_network._base as theirs
import torch
import torch.nn.functional as F
from jaxtyping import TypeCheckError

from rosenblatt.errors import LabelError, ParameterError, ShapeError
from rosenblatt.losses import (
    absolute,
    class_weights,
    cross_entropy,
    huber,
    logistic,
    perceptron_criterion,
    poisson,
    squared,
)

CHECKED_BY_JAXTYPING = hasattr(squared, "__wrapped__")  # `make shapes`: its own check comes before ours
N, K = 6, 4
_source = torch.Generator().manual_seed(0)
Z = torch.randn(N, K, dtype=torch.float64, generator=_source)
LABELS = torch.tensor([0, 3, 1, 1, 2, 0])
MANY = (torch.rand(N, K, generator=_source) > 0.5).double()
SIGNS = 2 * MANY - 1
RATES = Z.exp()
COUNTS = torch.tensor([[0, 1, 2, 5], [3, 0, 1, 1], [7, 2, 0, 0], [1, 1, 1, 1], [0, 0, 2, 9], [4, 3, 2, 1]]).double()
WEIGHT = torch.tensor([1.0, 2.0, 0.0, 0.5, 3.0, 1.0], dtype=torch.float64)
OF_CLASS = torch.tensor([1.0, 2.0, 0.5, 4.0], dtype=torch.float64)

# name -> (loss, output, target); outputs stay off the corners, where a central difference means nothing
CASES = {
    "cross_entropy": (cross_entropy, Z, LABELS),
    "cross_entropy of probabilities": (cross_entropy, Z, torch.softmax(2 * Z, 1)),
    "cross_entropy smoothed": (lambda *a, **k: cross_entropy(*a, label_smoothing=0.1, **k), Z, LABELS),
    "cross_entropy, class weights": (lambda *a, **k: cross_entropy(*a, class_weight=OF_CLASS, **k), Z, LABELS),
    "logistic": (logistic, Z[:, 0], MANY[:, 0]),
    "logistic, several labels": (logistic, Z, MANY),
    "logistic smoothed, positives weighted": (
        lambda *a, **k: logistic(*a, label_smoothing=0.2, positive_weight=OF_CLASS, **k), Z, MANY,
    ),
    "squared": (squared, Z, COUNTS),
    "absolute": (absolute, Z, COUNTS),
    "huber": (huber, Z, COUNTS),
    "huber, small delta": (lambda *a, **k: huber(*a, delta=0.1, **k), Z, COUNTS),
    "poisson": (poisson, RATES, COUNTS),
    "poisson from logarithms": (lambda *a, **k: poisson(*a, log_input=True, **k), Z, COUNTS),
    "perceptron": (perceptron_criterion, Z, SIGNS),
    "perceptron, one unit": (perceptron_criterion, Z[:, 0], SIGNS[:, 0]),
}  # fmt: skip
ALL = pytest.mark.parametrize(("loss", "output", "target"), CASES.values(), ids=list(CASES))


@ALL
def test_gradient_equals_central_differences(loss, output, target):
    assert torch.autograd.gradcheck(lambda z: loss(z, target, WEIGHT), output.clone().requires_grad_())


@ALL
def test_reductions(loss, output, target):
    each = loss(output, target, reduction="none")
    assert each.shape == (N,)
    assert (each >= 0).all()
    torch.testing.assert_close(loss(output, target, reduction="sum"), each.sum())
    torch.testing.assert_close(loss(output, target), loss(output, target, torch.full_like(WEIGHT, 7.0)))


@ALL
def test_weight_two_is_the_sample_twice_and_weight_zero_is_its_absence(loss, output, target):
    weight = torch.tensor([2.0, 0.0, 1.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    rows = [0, 0, 2, 3, 5]
    torch.testing.assert_close(loss(output, target, weight), loss(output[rows], target[rows]))


@ALL
def test_all_weights_zero_give_zero_and_not_nan(loss, output, target):
    assert loss(output, target, torch.zeros_like(WEIGHT)) == 0


def test_cross_entropy_is_torchs():
    torch.testing.assert_close(cross_entropy(Z, LABELS), F.cross_entropy(Z, LABELS))
    torch.testing.assert_close(
        cross_entropy(Z, LABELS, class_weight=OF_CLASS), F.cross_entropy(Z, LABELS, weight=OF_CLASS)
    )
    torch.testing.assert_close(
        cross_entropy(Z, LABELS, label_smoothing=0.3), F.cross_entropy(Z, LABELS, label_smoothing=0.3)
    )
    one_hot = F.one_hot(LABELS, K).double()
    torch.testing.assert_close(cross_entropy(Z, one_hot), cross_entropy(Z, LABELS))
    torch.testing.assert_close(
        cross_entropy(Z, one_hot, class_weight=OF_CLASS), cross_entropy(Z, LABELS, class_weight=OF_CLASS)
    )


def test_cross_entropy_of_equal_logits_is_the_logarithm_of_k():
    for k in (2, 10, 1000):
        assert cross_entropy(torch.zeros(3, k), torch.zeros(3)).item() == pytest.approx(math.log(k), rel=1e-6)


def test_two_class_cross_entropy_is_the_logistic_loss_of_the_difference():
    two = Z[:, :2]
    torch.testing.assert_close(
        cross_entropy(two, LABELS.clamp(max=1)), logistic(two[:, 1] - two[:, 0], LABELS.clamp(max=1))
    )


def test_logistic_is_torchs():
    torch.testing.assert_close(
        logistic(Z, MANY, positive_weight=OF_CLASS),
        F.binary_cross_entropy_with_logits(Z, MANY, pos_weight=OF_CLASS, reduction="none").sum(1).mean(),
    )


@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_scikit_learns_losses(weight):
    w = None if weight is None else weight.numpy()
    one_hot = F.one_hot(LABELS, K).numpy()
    pairs = [
        (cross_entropy(Z, LABELS, weight), theirs.log_loss(one_hot, torch.softmax(Z, 1).numpy(), w)),
        (logistic(Z, MANY, weight), theirs.binary_log_loss(MANY.numpy(), torch.sigmoid(Z).numpy(), w)),
        (squared(Z, COUNTS, weight), theirs.squared_loss(COUNTS.numpy(), Z.numpy(), w)),
        (poisson(RATES, COUNTS, weight), theirs.poisson_loss(COUNTS.numpy(), RATES.numpy(), w)),
        (poisson(Z, COUNTS, weight, log_input=True), theirs.poisson_loss(COUNTS.numpy(), RATES.numpy(), w)),
    ]
    for ours, scikit in pairs:
        np.testing.assert_allclose(ours.item(), scikit, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits_stay_finite_and_exact(dtype):
    z = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], dtype=dtype, requires_grad=True)
    each = cross_entropy(z, torch.tensor([0, 0]), reduction="none")
    assert each.tolist() == [0.0, 2e4]
    each.sum().backward()
    assert z.grad.tolist() == [[0.0, 0.0], [-1.0, 1.0]]
    s = torch.tensor([1e4, -1e4, 1e4, -1e4], dtype=dtype, requires_grad=True)
    each = logistic(s, torch.tensor([1, 1, 0, 0]), reduction="none")
    assert each.tolist() == [0.0, 1e4, 1e4, 0.0]
    each.sum().backward()
    assert s.grad.tolist() == [0.0, -1.0, 1.0, 0.0]


def test_logistic_keeps_its_digits_for_sure_and_right_answers():
    for z in (30.0, 100.0, 700.0):
        loss = logistic(torch.tensor([z], dtype=torch.float64), torch.tensor([1]))
        assert loss.item() == pytest.approx(math.exp(-z), rel=1e-12)


def test_probability_zero_times_logarithm_of_zero_is_zero():
    z = torch.tensor([[0.0, -math.inf]])
    assert cross_entropy(z, torch.tensor([[1.0, 0.0]])) == 0
    assert poisson(torch.tensor([0.5]), torch.tensor([0.0])) == 0.5


def test_regression_is_torchs_up_to_the_stated_factors():
    torch.testing.assert_close(squared(Z, COUNTS), F.mse_loss(Z, COUNTS) / 2)
    torch.testing.assert_close(absolute(Z, COUNTS), F.l1_loss(Z, COUNTS))
    for delta in (0.1, 1.0, 3.0):
        torch.testing.assert_close(huber(Z, COUNTS, delta=delta), F.huber_loss(Z, COUNTS, delta=delta))
    assert huber(torch.tensor([1e30]), torch.tensor([0.0])) == torch.tensor(1e30)  # its square would overflow


def test_perceptron_criterion_steps_by_rosenblatts_rule():
    f = torch.tensor([2.0, -3.0, 0.0], requires_grad=True)
    perceptron_criterion(f, torch.tensor([1, 1, -1]), reduction="sum").backward()
    assert f.grad.tolist() == [0.0, -1.0, 1.0]  # right: no step; wrong or on the threshold: against -y


def test_class_weights_balance():
    weights = class_weights(LABELS, K)
    torch.testing.assert_close(torch.bincount(LABELS) * weights, torch.full((K,), N / K))
    with pytest.raises(LabelError, match="class 4 has no sample"):
        class_weights(LABELS, 5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: squared(Z, COUNTS, reduction="average"),
            ParameterError,
            "reduction='average'; expected one of 'mean'",
        ),
        (lambda: squared(Z[:, :1], COUNTS[:, 0]), ShapeError, r"targets have shape \(6,\); expected \(6, 1\)"),
        (lambda: squared(Z, COUNTS, WEIGHT[:3]), ShapeError, r"weights have shape \(3,\); expected \(6,\)"),
        (lambda: squared(Z, COUNTS, WEIGHT[:, None]), ShapeError, r"weights have shape \(6, 1\)"),
        (lambda: cross_entropy(Z, LABELS[:3]), ShapeError, r"logits \(6, 4\) and target \(3,\) do not belong together"),
        (lambda: cross_entropy(Z, LABELS, label_smoothing=1.0), ParameterError, r"label_smoothing=1.0; expected"),
        (lambda: logistic(Z, MANY, label_smoothing=-0.1), ParameterError, "label_smoothing=-0.1; expected"),
        (lambda: huber(Z, COUNTS, delta=0.0), ParameterError, "delta=0.0; expected a number > 0"),
    ],
)
def test_wrong_use_is_refused(call, error, message):
    if error is ShapeError and CHECKED_BY_JAXTYPING:
        error, message = (ShapeError, TypeCheckError), "Type-check error|expected"
    with pytest.raises(error, match=message):
        call()
