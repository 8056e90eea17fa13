"""The plane around an attacked sample, and pictures of what was trained for many."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import rosenblatt as rb
from rosenblatt.attacks import PGD, DeepFool, Patch, Table, Universal, eot
from rosenblatt.errors import DataError, ParameterError
from rosenblatt.report import boundary_map, boundary_plane, robustness_report, shared_pictures


def three_classes():
    """Logits x, y and 0 of the first two of five numbers: boundaries are straight and known."""
    net = nn.Linear(5, 3).double().requires_grad_(False)
    net.weight.copy_(torch.tensor([[1.0, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]))
    net.bias.zero_()
    return net


@pytest.fixture
def attacked():
    with torch.random.fork_rng():
        net = three_classes()
    x = torch.tensor([[3.0, 1, 0, 0, 0], [1, 0.5, 0, 0, 0]], dtype=torch.float64)
    return net, x, DeepFool(norm="l2", bounds=(-9, 9))(net, x, [0, 0])


def test_the_plane_of_a_linear_net_by_hand(attacked):
    net, x, found = attacked
    plane = boundary_plane(net, x, found, row=0, cells=41, bounds=(-9, 9))
    assert plane.logits.shape == (41, 41, 3)
    assert (plane.along[0], plane.along[-1], plane.across[0], plane.across[-1]) == (-1, 3, -2, 2)
    assert plane.length == pytest.approx(2**0.5, rel=0.01)  # from (3, 1) to the line x = y
    start, end = (int(np.abs(plane.along - at).argmin()) for at in (0, 1))
    middle = int(np.abs(plane.across).argmin())
    np.testing.assert_allclose(plane.logits[middle, start], [3, 1, 0], atol=1e-9)
    np.testing.assert_allclose(plane.logits[middle, end], net(found.adversarial[:1])[0], atol=1e-9)
    assert plane.margins[middle, start] == pytest.approx(2)
    assert plane.answers[middle, start] == 0
    assert plane.answers[middle, -1] == 1
    # the second direction is at right angles and as long: the pair of logits moves by the same length, at most
    moved = plane.logits[:, start, :2] - plane.logits[middle, start, :2]
    slope = moved[-1] / plane.across[-1]
    assert abs(slope @ [-1.0, 1.0]) < 1e-6
    assert np.linalg.norm(slope) <= plane.length + 1e-9
    # a linear net on a plane is linear
    np.testing.assert_allclose(np.diff(plane.logits, 2, axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(np.diff(plane.logits, 2, axis=1), 0, atol=1e-9)
    for other in ({"batch_size": 7}, {"random_state": 0}):
        again = boundary_plane(net, x, found, row=0, cells=41, bounds=(-9, 9), **other)
        np.testing.assert_allclose(again.logits, plane.logits, atol=1e-12)
    nearest = boundary_plane(net, x, found, cells=5, bounds=(-9, 9))  # the second sample is nearer to a wrong class
    assert nearest.length == pytest.approx(0.5 / 2**0.5, rel=0.01)


def test_the_map_names_classes_and_draws_boundaries(attacked):
    net, x, found = attacked
    figure = boundary_map(net, x, found, row=0, bounds=(-9, 9))
    (axes,) = figure.axes
    assert {"0", "1"} <= {text.get_text() for text in axes.texts}
    picture = axes.images[0].get_array()
    assert picture.shape == (61, 61, 3)
    sure, unsure = picture[30, 0], picture[30, 30]  # far from the boundary the colour is stronger
    assert sure.min() < unsure.min()
    assert "l2 1.4" in axes.get_xlabel()
    world = torch.get_rng_state()
    boundary_map(eot(net, 2), x, PGD(eps=1.5, bounds=(-9, 9))(net, x, [0, 0]), bounds=(-9, 9), cells=7)
    boundary_map(lambda v: net(v), x, found, bounds=(-9, 9), cells=7)
    assert torch.equal(torch.get_rng_state(), world)


def test_bad_requests_are_named(attacked):
    net, x, found = attacked
    with pytest.raises(ParameterError, match="boundary_map: row=2; expected a number from 0 to 1"):
        boundary_map(net, x, found, row=2)
    with pytest.raises(ParameterError, match="boundary_map: cells=1"):
        boundary_map(net, x, found, cells=1)
    with pytest.raises(ParameterError, match="boundary_map around a Table"):
        boundary_map(Table(net), x, found)
    held = PGD(eps=1e-3, bounds=(-9, 9))(net, x, [0, 1])
    with pytest.raises(DataError, match="the attack broke no sample"):
        boundary_map(net, x, held, bounds=(-9, 9))
    with pytest.raises(DataError, match="sample 1 was not moved"):
        boundary_map(net, x, held, bounds=(-9, 9), row=1)
    with pytest.raises(ParameterError, match="expected what Universal or Patch found on pictures"):
        shared_pictures(found)
    with pytest.raises(ParameterError, match="shared_pictures: n=0"):
        shared_pictures(found, 0)


def test_reports_and_pictures_of_an_estimator(tmp_path):
    X, y = load_digits(return_X_y=True)
    pictures = (X.reshape(-1, 8, 8) / 16 * 255).round().astype(np.uint8)
    cnn = rb.CNNClassifier(epochs=3, batch_size=32, random_state=0, verbose=0).fit(pictures[:200], y[:200])
    found = robustness_report(cnn, pictures[400:408], y[400:408], eps=0.2, steps=5, queries=10)
    (axes,) = found.boundary().axes
    row = int(np.flatnonzero(found._found.success)[found._found.norms[found._found.success].argmin()])
    plane = boundary_plane(cnn, pictures[400:408], found._found, cells=5)
    assert cnn.predict(pictures[400 + row : 401 + row])[0] == plane.classes[plane.answers[2, 1]]
    assert "along the attack" in axes.get_xlabel()
    assert "Around the least changed" in found.write(tmp_path / "a.html").read_text()
    assert "_model" not in found.as_dict()
    unbroken = robustness_report(cnn, pictures[400:402], y[400:402], eps=1e-5, norm="l2", steps=2, queries=2)
    assert unbroken.boundary() is None
    for attack in (Universal(eps=0.3, steps=5), Patch(size=0.2, steps=5)):
        drawn = shared_pictures(attack(cnn, pictures[:50], y[:50]), 4)
        assert len(drawn.axes) <= 5
        assert {axes.get_title(loc="left") for axes in drawn.axes[1:]} <= {"wrong", "holds"}
        assert drawn.axes[1].images[0].get_array().shape == (8, 8)
    tensors = torch.tensor(pictures[:50] / 255, dtype=torch.float32)[:, None]
    with torch.random.fork_rng():
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    for inputs in (tensors, tensors.numpy()):
        found = Universal(eps=0.3, steps=5)(net, inputs, net(tensors).argmax(1))
        assert shared_pictures(found, 4).axes[1].images[0].get_array().shape == (8, 8)
