"""The numbers of LeCun et al. 1998, section II.B."""

import torch

from rosenblatt.estimators.summary import summarize
from rosenblatt.models.lenet5 import LeNet5, SparseConvolution, class_codes, digit_codes, squash, trainable_parameters
from rosenblatt.train.seeds import PrivateRandom


def lenet5(**options):
    with PrivateRandom(0):
        return LeNet5(**options)


def test_trainable_parameters_layer_by_layer():
    # C1 156, S2 12, C3 1,516 (the sparse table I), S4 32, C5 48,120, F6 10,164; in all "60,000 trainable free parameters"
    counts = trainable_parameters(lenet5())
    assert counts == {"C1": 156, "S2": 12, "C3": 1516, "S4": 32, "C5": 48120, "F6": 10164, "output": 0}
    assert sum(counts.values()) == 60_000


def test_summary_counts_the_published_connections_and_shapes():
    summary = summarize(lenet5(), torch.zeros(1, 1, 32, 32), title="LeNet-5")
    assert summary.trainable == 60_000
    shapes = {row.name: row.shape for row in summary.rows}
    assert shapes["C1"] == (6, 28, 28)
    assert shapes["S2"] == (6, 14, 14)
    assert shapes["C3"] == (16, 10, 10)
    assert shapes["S4"] == (16, 5, 5)
    assert shapes["C5"] == (120, 1, 1)
    assert shapes["F6"] == (84,)
    assert "60,000 trainable parameters" in str(summary)


def test_table_one_has_six_maps_of_three_nine_of_four_and_one_of_six():
    with PrivateRandom(0):
        mask = SparseConvolution().mask[:, :, 0, 0]
    assert mask.sum(1).int().tolist() == [3] * 6 + [4] * 9 + [6]
    assert mask.sum(0).int().tolist() == [10] * 6


def test_absent_connections_get_no_gradient():
    net = lenet5()
    net(torch.ones(1, 1, 32, 32)).sum().backward()
    absent = net.C3.mask.expand_as(net.C3.weight) == 0
    assert bool((net.C3.weight.grad[absent] == 0).all())
    assert bool((net.C3.weight.grad[~absent] != 0).any())


def test_squashing_function_passes_through_plus_and_minus_one():
    assert torch.allclose(squash(torch.tensor([1.0, -1.0])), torch.tensor([1.0, -1.0]), atol=1e-4)


def test_radial_units_are_squared_distances():
    net = lenet5()
    x = torch.linspace(-1, 1, 84).repeat(2, 1)
    expected = ((x[:, None, :] - digit_codes()[None]) ** 2).sum(2)
    assert torch.allclose(net.output(x), expected, atol=1e-3)


def test_codes_are_signs_and_differ():
    for classes in (2, 10, 26):
        codes = class_codes(classes)
        assert codes.shape == (classes, 84)
        assert set(codes.unique().tolist()) == {-1.0, 1.0}
        assert len({tuple(code.tolist()) for code in codes}) == classes
