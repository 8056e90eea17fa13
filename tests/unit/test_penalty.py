import pytest
import torch

from rosenblatt.losses.penalty import map_criterion


def test_equals_equation_nine():
    y = torch.tensor([[1.0, 3.0, 7.0], [2.0, 0.5, 9.0]], dtype=torch.float64)
    target, j = torch.tensor([0, 2]), 0.1
    expected = [y[p, t] + torch.log(torch.exp(torch.tensor(-j)) + torch.exp(-y[p]).sum()) for p, t in enumerate(target)]
    assert map_criterion(-y, target, j=j).item() == pytest.approx(float(sum(expected)) / 2, rel=1e-6)


def test_weighted_mean_and_extreme_penalties():
    logits = -torch.tensor([[0.0, 1e4], [1e4, 0.0]])
    target = torch.tensor([0, 0])
    assert torch.isfinite(map_criterion(logits, target))
    only_first = map_criterion(logits, target, torch.tensor([1.0, 0.0]))
    assert only_first.item() == pytest.approx(map_criterion(logits[:1], target[:1]).item())


def test_gradient_against_central_differences():
    logits = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: map_criterion(z, torch.tensor([0, 1, 2, 3])), logits)
