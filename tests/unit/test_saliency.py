import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import rosenblatt as rb
from rosenblatt.errors import ParameterError
from rosenblatt.metrics.receptive_field import receptive_fields
from rosenblatt.models.resnet import ResNet
from rosenblatt.report.seeing import class_pictures, fields, saliency
from rosenblatt.train.saliency import grad_cam, gradient, integrated_gradients, maximise
from rosenblatt.train.seeds import PrivateRandom


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    pictures = (data.images * 15).astype(np.uint8)
    model = rb.CNNClassifier(epochs=3, batch_size=32, random_state=0, verbose=0).fit(pictures[:900], data.target[:900])
    return model, pictures, data.target


@pytest.fixture
def net():
    with PrivateRandom(0):
        return nn.Sequential(
            nn.Conv2d(1, 3, 3),
            nn.ReLU(inplace=True),
            nn.Conv2d(3, 4, 3),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(64, 2),
        )


X = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
T = torch.tensor([0, 1, 0])


def untouched(net):
    return net.training and all(p.grad is None and p.requires_grad for p in net.parameters())


def test_gradient_is_the_finite_difference(net):
    got, x = gradient(net, X, T), X.double()
    wide = net.double()
    for place in ((0, 0, 3, 4), (1, 0, 0, 7)):
        step = torch.zeros_like(x)
        step[place] = 1e-5
        with torch.no_grad():
            slope = (wide(x + step) - wide(x - step))[place[0], T[place[0]]] / 2e-5
        assert got[place].item() == pytest.approx(slope.item(), rel=1e-3, abs=1e-5)
    assert untouched(net)


def test_integrated_gradients_sum_to_the_difference(net):
    shares = integrated_gradients(net, X, T, steps=400)
    with torch.no_grad():
        difference = (net(X) - net(torch.zeros_like(X))).gather(1, T[:, None])[:, 0]
    torch.testing.assert_close(shares.flatten(1).sum(1), difference, atol=5e-3, rtol=1e-2)
    assert untouched(net)
    with pytest.raises(ParameterError, match="steps=0"):
        integrated_gradients(net, X, T, steps=0)


def test_grad_cam_is_its_equation(net):
    got = grad_cam(net, X, T)
    with torch.no_grad():
        maps = net[2](net[1](net[0](X)))
    leaf = maps.clone().requires_grad_()
    score = net[5](torch.relu(leaf).flatten(1)).gather(1, T[:, None]).sum()
    alpha = torch.autograd.grad(score, leaf)[0].mean((2, 3), keepdim=True)
    torch.testing.assert_close(got, torch.relu((alpha * maps).sum(1)))
    assert grad_cam(net, X, T, layer=net[0]).shape == (3, 6, 6)
    assert untouched(net)
    with pytest.raises(ParameterError, match="has no convolution"):
        grad_cam(net[5], X, T)


def test_maximise_finds_what_the_network_takes_for_the_class(digits):
    module, target = digits[0].module_, torch.arange(10)
    one, two = (maximise(module, target, (1, 8, 8), generator=torch.Generator().manual_seed(5), steps=60) for _ in "ab")
    assert torch.equal(one, two)
    with torch.no_grad():
        assert int((module(one).argmax(1) == target).sum()) >= 8
    assert all(p.requires_grad for p in module.parameters())


def test_receptive_fields_are_what_a_gradient_reaches():
    """The field of the middle unit, found by which pixels change it."""
    with PrivateRandom(0):
        net = ResNet(1, 2, side=32).eval()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)  # blocks start as their shortcuts, which see less
    found = {field.layer: field for field in receptive_fields(net, torch.zeros(1, 1, 32, 32))}
    wanted = "features.0.1.conv2"
    x = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    kept = []
    part = net.features[0][1].conv2
    part.register_forward_hook(lambda _m, _i, output: kept.append(output) and None)
    net(x)
    kept[0][0, :, 16, 16].sum().backward()
    rows = torch.nonzero(x.grad[0, 0].abs().sum(1)).flatten()
    assert int(rows.max() - rows.min()) + 1 == found[wanted].side == 11
    with pytest.raises(ParameterError, match="has no convolution"):
        receptive_fields(nn.Sequential(nn.Flatten()), torch.zeros(1, 1, 4, 4))


def test_figures(digits, tmp_path):
    model, pictures, _ = digits
    for name, figure in {
        "saliency": saliency(model, pictures[900:]),
        "classes": class_pictures(model, steps=30),
        "fields": fields(model, pictures[0]),
        "blank": fields(model),
    }.items():
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 4000
    for draw in (lambda m: saliency(m, pictures), class_pictures, fields):
        with pytest.raises(ParameterError, match="expected a fitted CNNClassifier"):
            draw(rb.Perceptron())


def test_a_frozen_layer_stays_frozen():
    with PrivateRandom(0):
        net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2)).train()
    net[1].eval()
    gradient(net, torch.ones(2, 1, 4, 4), torch.tensor([0, 1]))
    assert [m.training for m in net.modules()] == [True, True, False, True, True]
