"""The numbers of Krizhevsky, Sutskever & Hinton 2012, and of the one-tower layout."""

import pytest
import torch
from torch import nn

from rosenblatt.metrics.receptive_field import receptive_fields
from rosenblatt.models.alexnet import AlexNet
from rosenblatt.models.alexnet_2012 import AlexNet2012, normalise
from rosenblatt.train.seeds import PrivateRandom

# figure 2 and section 3.5: kernels, and the maps that they make; both towers together
LAYERS = {"conv1": (96, 55), "conv2": (256, 27), "conv3": (384, 13), "conv4": (384, 13), "conv5": (256, 13)}


@pytest.fixture(autouse=True)
def _private():
    with PrivateRandom(0):
        yield


def noting(shapes, name):
    def hook(_module, _inputs, output):
        shapes[name] = tuple(output.shape[1:])

    return hook


@pytest.fixture(scope="module")
def traced():
    """Shapes of the layers of one tower for a 224 x 224 picture; nothing is computed."""
    with torch.device("meta"):
        net, shapes = AlexNet2012(), {}
        for name, part in net.towers[0].named_children():
            part.register_forward_hook(noting(shapes, name))
        logits = net.eval()(torch.zeros(1, 3, 224, 224))
    return net, shapes, logits


def test_parameters(traced):
    net, _, logits = traced
    assert sum(p.numel() for p in net.parameters()) == 60_965_224
    assert logits.shape == (1, 1000)


@pytest.mark.parametrize(
    ("layer", "count"),
    [
        ("conv1", 34_944), ("conv2", 307_456), ("conv3", 885_120), ("conv4", 663_936), ("conv5", 442_624),
        ("fc6", 37_752_832), ("fc7", 16_781_312),
    ],
)  # fmt: skip
def test_parameters_of_each_layer(traced, layer, count):
    assert sum(p.numel() for tower in traced[0].towers for p in getattr(tower, layer).parameters()) == count


def test_shapes(traced):
    _, shapes, _ = traced
    for layer, (maps, side) in LAYERS.items():
        assert shapes[layer] == (maps // 2, side, side), layer
    assert shapes["fc6"] == shapes["fc7"] == (2048,)


def test_units(traced):
    """The paper's list of units per layer has 253,440 for the first, which is 96 x 55 x 48; 96 x 55 x 55 is 290,400.

    With the list as printed the sum is 622,312, with the first layer's true size 659,272; the abstract rounds to 650,000.
    """
    _, shapes, _ = traced
    units = [2 * torch.Size(shapes[layer]).numel() for layer in (*LAYERS, "fc6", "fc7")] + [1000]
    assert units == [290_400, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]
    assert sum(units) == 659_272
    assert sum([96 * 55 * 48, *units[1:]]) == 622_312
    assert 3 * 224 * 224 == 150_528


def test_receptive_fields():
    net = AlexNet2012(units=8)
    got = [
        (f.layer.removeprefix("towers.0."), f.side, f.step) for f in receptive_fields(net, torch.zeros(1, 3, 224, 224))
    ]
    assert got == [
        ("conv1", 11, 4), ("pool", 19, 8), ("conv2", 51, 8), ("pool", 67, 16),
        ("conv3", 99, 16), ("conv4", 131, 16), ("conv5", 163, 16), ("pool", 195, 32),
    ]  # fmt: skip


def test_initialisation():
    net = AlexNet2012(units=512)
    for tower in net.towers:
        for layer, bias in (
            ("conv1", 0),
            ("conv2", 1),
            ("conv3", 0),
            ("conv4", 1),
            ("conv5", 1),
            ("fc6", 1),
            ("fc7", 1),
        ):
            part = getattr(tower, layer)
            assert bool((part.bias == bias).all()), layer
            assert part.weight.std().item() == pytest.approx(0.01, rel=0.05)
            assert abs(part.weight.mean().item()) < 1e-3
    assert bool((net.output.bias == 0).all())


def test_normalisation_is_the_papers_equation():
    a = torch.randn(2, 7, 3, 3, generator=torch.Generator().manual_seed(0)) * 40
    wanted = torch.empty_like(a)
    for i in range(7):
        around = a[:, max(0, i - 2) : min(6, i + 2) + 1]
        wanted[:, i] = a[:, i] / (2 + 1e-4 * (around**2).sum(1)) ** 0.75
    torch.testing.assert_close(normalise(a), wanted)
    torch.testing.assert_close(normalise(a), nn.functional.local_response_norm(a, 5, 5e-4, 0.75, 2.0))
    torch.testing.assert_close(normalise(a, beta=0.5), nn.functional.local_response_norm(a, 5, 5e-4, 0.5, 2.0))


def test_dropout_zeroes_in_training_and_halves_in_testing():
    dropped = AlexNet2012(units=8).towers[0].dropout
    x = torch.ones(10_000)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        out = dropped.train()(x)
    assert set(out.tolist()) == {0.0, 1.0}
    assert out.mean().item() == pytest.approx(0.5, abs=0.03)
    assert bool((dropped.eval()(x) == 0.5).all())


def small(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AlexNet2012(3, 10, shape=(99, 99), units=16)


def test_towers_see_each_other_at_layer_3_and_in_the_dense_layers_alone():
    net, x = small().eval(), torch.randn(2, 3, 99, 99, generator=torch.Generator().manual_seed(1))
    crossed = []
    exchange = net._exchange
    net._exchange = lambda parts, device: crossed.append([tuple(p.shape[1:]) for p in parts]) or exchange(parts, device)
    net(x)
    # 99 pixels leave 128 maps of 2 x 2: twice (once for each tower) into conv3, fc6 and fc7, and once into the output
    assert [shapes[0][0] for shapes in crossed] == [128, 128, 512, 512, 8, 8, 8]
    del net._exchange
    early = net.towers[0].early(x)
    with torch.no_grad():
        net.towers[1].conv1.weight.mul_(3)
    torch.testing.assert_close(net.towers[0].early(x), early, rtol=0, atol=0)


def test_two_devices_give_what_one_gives():
    one, two = small(), small().two_devices("cpu:0", "cpu:1")
    x = torch.randn(2, 3, 99, 99, generator=torch.Generator().manual_seed(1))
    for net in (one, two):
        net.eval()(x).sum().backward()
    torch.testing.assert_close(one(x), two(x), rtol=0, atol=0)
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=0, msg=name)


def test_one_tower_goes_to_each_device():
    net = small().two_devices("cpu", "meta")
    assert (
        {p.device.type for p in net.towers[0].parameters()}
        == {"cpu"}
        == {p.device.type for p in net.output.parameters()}
    )
    assert {p.device.type for p in net.towers[1].parameters()} == {"meta"}


def test_one_tower_layout():
    with torch.device("meta"):
        net = AlexNet()
        assert net(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)
    assert sum(p.numel() for p in net.parameters()) == 61_100_840
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    assert list(shapes) == [
        f"{part}.{kind}"
        for part in (*(f"features.{i}" for i in (0, 3, 6, 8, 10)), *(f"classifier.{i}" for i in (1, 4, 6)))
        for kind in ("weight", "bias")
    ]
    assert shapes["features.0.weight"] == (64, 3, 11, 11)
    assert shapes["classifier.6.weight"] == (1000, 4096)
