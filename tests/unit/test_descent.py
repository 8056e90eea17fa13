"""`descend`: the optimizers' paths against PyTorch's own, and what is refused."""

import numpy as np
import pytest
import torch

from rosenblatt.backprop import descend
from rosenblatt.backprop.descent import OPTIMIZERS, SURFACES
from rosenblatt.errors import NonFiniteError, ParameterError, ShapeError

REFERENCE = {
    "sgd": lambda p: torch.optim.SGD(p, 0.001),
    "momentum": lambda p: torch.optim.SGD(p, 0.001, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, 0.001, momentum=0.9, nesterov=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.001),
    "adam": lambda p: torch.optim.Adam(p, 0.001, eps=1e-12),
    "adamw": lambda p: torch.optim.AdamW(p, 0.001, eps=1e-12),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("surface", SURFACES)
def test_paths_are_those_of_torch(name, surface):
    found = descend(surface, [-1.5, 1.2], optimizer=name, learning_rate=0.001, steps=40)
    point = torch.tensor([-1.5, 1.2], dtype=torch.float64, requires_grad=True)
    reference = REFERENCE[name]([point])
    for step in range(41):
        np.testing.assert_allclose(found.paths[name][step], point.detach().numpy(), rtol=1e-5, atol=1e-8)
        value = SURFACES[surface](point)
        assert found.values[name][step] == pytest.approx(float(value.detach()), rel=1e-4, abs=1e-7)
        reference.zero_grad()
        value.backward()
        reference.step()


def test_momentum_is_first_along_a_long_valley():
    found = descend("valley", [9.0, 1.0], learning_rate=0.1, steps=100)
    assert list(found.paths) == list(OPTIMIZERS)
    assert found.values["momentum"][-1] < 0.1 * found.values["sgd"][-1]
    assert found.diverged == ()
    assert "momentum" in str(found)


def test_a_rate_too_high_diverges_and_is_named():
    found = descend("rosenbrock", [-1.0, 1.0], optimizer=["sgd", "adam"], learning_rate={"sgd": 0.1, "adam": 0.1})
    assert found.diverged == ("sgd",)
    assert len(found.paths["sgd"]) < len(found.paths["adam"]) == 201
    assert np.isfinite(found.paths["sgd"]).all()
    assert "DIVERGED" in str(found)
    found.figure()


def test_a_function_of_your_own_in_more_dimensions():
    target = torch.arange(5, dtype=torch.float64)
    found = descend(lambda p: ((p - target) ** 2).sum(), np.zeros(5), optimizer="adam", learning_rate=0.1, steps=400)
    np.testing.assert_allclose(found.paths["adam"][-1], target.numpy(), atol=1e-3)
    assert len(found.figure().axes) == 1
    flat = descend(lambda p: torch.tensor(2.0), [1.0], optimizer="sgd")
    assert (flat.paths["sgd"] == 1).all()


def test_the_figure_has_the_surface_and_a_line_for_each():
    above, curves = descend("himmelblau", [0.0, 0.0], learning_rate=0.01).figure().axes
    assert [text.get_text() for text in curves.get_legend().get_texts()] == list(OPTIMIZERS)
    assert len(above.lines) == 2 * len(OPTIMIZERS) + 1
    assert len(above.collections) == 1


def test_what_is_refused():
    for arguments, error, words in (
        (("vally", [0, 0]), ParameterError, "Did you mean 'valley'"),
        ((lambda p: p * 2, [1.0, 2.0]), ShapeError, r"f gave shape \(2,\)"),
        ((lambda p: 3.0, [1.0]), ShapeError, "f gave a float"),
        (("valley", [[0.0, 1.0]]), ShapeError, r"start has shape \(1, 2\)"),
        (("valley", [np.nan, 1.0]), NonFiniteError, "start is"),
        ((lambda p: torch.log(p).sum(), [-1.0]), NonFiniteError, "the surface is nan"),
    ):
        with pytest.raises(error, match=words):
            descend(*arguments)
    for options, words in (
        ({"optimizer": "adan"}, "Did you mean 'adam"),
        ({"optimizer": []}, "optimizer=''"),
        ({"steps": 0}, "steps=0"),
        ({"learning_rate": -1}, "learning_rate of sgd=-1"),
        ({"learning_rate": {"sgd": 0.1}, "optimizer": "adam"}, "learning_rate of adam=None"),
    ):
        with pytest.raises(ParameterError, match=words):
            descend("valley", [1.0, 1.0], **options)
