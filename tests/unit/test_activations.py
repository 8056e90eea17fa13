"""Every activation: formula, derivative, range; names, aliases and a user's own function."""

import math
import pickle
import re
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

from rosenblatt.errors import ParameterError
from rosenblatt.layers import ACTIVATIONS, activation, find

NAMES = [
    "step", "sign", "linear", "logistic", "tanh", "relu", "leaky_relu",
    "elu", "selu", "softplus", "gelu", "silu", "mish", "hard_sigmoid", "softmax",
]  # fmt: skip
HIDDEN = [name for name in NAMES if name != "softmax"]
KINKS = torch.tensor([-3.0, 0.0, 3.0], dtype=torch.float64)


def grid(low=-8.0, high=8.0, n=801, dtype=torch.float64):
    """Points that keep away from the corners, where a central difference means nothing."""
    x = torch.linspace(low, high, n, dtype=dtype)
    return x[(x[:, None] - KINKS).abs().min(dim=1).values > 1e-3]


# The formula of each paper in plain Python, written apart from the source.
BY_HAND = {
    "step": lambda v: 1.0 if v >= 0 else 0.0,
    "sign": lambda v: (v > 0) - (v < 0),
    "linear": lambda v: v,
    "logistic": lambda v: 1 / (1 + math.exp(-v)),
    "tanh": math.tanh,
    "relu": lambda v: max(0.0, v),
    "leaky_relu": lambda v: v if v > 0 else 0.01 * v,
    "elu": lambda v: v if v > 0 else math.exp(v) - 1,
    "selu": lambda v: 1.0507009873554805 * (v if v > 0 else 1.6732632423543772 * (math.exp(v) - 1)),
    "softplus": lambda v: math.log(1 + math.exp(v)),
    "gelu": lambda v: v * 0.5 * (1 + math.erf(v / math.sqrt(2))),
    "silu": lambda v: v / (1 + math.exp(-v)),
    "mish": lambda v: v * math.tanh(math.log(1 + math.exp(v))),
    "hard_sigmoid": lambda v: min(1.0, max(0.0, v / 6 + 0.5)),
}


def test_the_table_holds_the_announced_names():
    assert list(ACTIVATIONS) == NAMES


@pytest.mark.parametrize("name", HIDDEN)
def test_value_is_the_formula(name):
    x = torch.cat([grid(n=97), KINKS])
    expected = torch.tensor([float(BY_HAND[name](v)) for v in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(activation(name)(x), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", HIDDEN)
def test_derivative_equals_central_differences(name):
    f, d = ACTIVATIONS[name].function, ACTIVATIONS[name].derivative
    x, h = grid(), 1e-5
    torch.testing.assert_close((f(x + h) - f(x - h)) / (2 * h), d(x), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", HIDDEN)
def test_derivative_equals_autograd_also_in_the_corners_and_far_out(name):
    far = torch.tensor([-1e4, -745.0, -100.0, 100.0, 745.0, 1e4], dtype=torch.float64)
    x = torch.cat([grid(), KINKS, far]).requires_grad_()
    (by_autograd,) = torch.autograd.grad(activation(name)(x).sum(), x)
    torch.testing.assert_close(by_autograd, ACTIVATIONS[name].derivative(x.detach()), rtol=1e-10, atol=1e-12)


def test_softmax_jacobian():
    x = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    written = ACTIVATIONS["softmax"].derivative(x)
    for row, jacobian in zip(x, written, strict=True):
        torch.testing.assert_close(torch.autograd.functional.jacobian(ACTIVATIONS["softmax"].function, row), jacobian)
        h, eye = 1e-6, torch.eye(5, dtype=torch.float64)
        f = ACTIVATIONS["softmax"].function
        differences = torch.stack([(f(row + h * e) - f(row - h * e)) / (2 * h) for e in eye], dim=1)
        torch.testing.assert_close(differences, jacobian, rtol=1e-6, atol=1e-9)


def test_softmax_sums_to_one_at_extreme_inputs():
    y = activation("softmax", output=True)(torch.tensor([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]]))
    torch.testing.assert_close(y, torch.tensor([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]))


@pytest.mark.parametrize("name", HIDDEN)
def test_range_is_kept_and_reached(name):
    spec = ACTIVATIONS[name]
    y = activation(name)(torch.linspace(-1e3, 1e3, 2_000_001, dtype=torch.float64))
    slack = 1e-10
    assert spec.low - slack <= y.min()
    assert y.max() <= spec.high + slack
    for bound, reached in ((spec.low, y.min()), (spec.high, y.max())):
        if math.isinf(bound):
            assert abs(reached) >= 10  # leaky_relu(-1000) = -10
        else:
            assert abs(reached - bound) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", HIDDEN)
def test_extreme_inputs_stay_finite_and_keep_the_type(name, dtype):
    x = torch.tensor([-1e4, -100.0, -0.0, 0.0, 100.0, 1e4], dtype=dtype, requires_grad=True)
    y = activation(name)(x)
    y.float().sum().backward()
    assert y.dtype == dtype
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", ["step", "sign"])
def test_threshold_units_have_derivative_zero_and_stay_in_the_graph(name):
    x = torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    activation(name)(x).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.0]
    assert "0 (everywhere" in ACTIVATIONS[name].derivative_formula


@pytest.mark.parametrize("spec", ACTIVATIONS.values(), ids=lambda s: s.name)
def test_aliases_mean_the_same_and_every_field_is_filled(spec):
    assert all(find(alias) is spec for alias in spec.aliases)
    assert re.search(r"\b(18|19|20)\d\d\b", spec.reference)
    assert spec.formula
    assert spec.derivative_formula
    assert spec.range


@pytest.mark.parametrize("name", NAMES)
def test_module_prints_its_name_and_pickles(name):
    module = activation(name, output=True)
    assert repr(module) == f"Activation({name})"
    assert pickle.loads(pickle.dumps(module)).name == name


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("rellu", "unknown name 'rellu'; did you mean 'relu'"),
        ("Sigmoid", "did you mean 'sigmoid'"),
        ("xyzzy", r"unknown name 'xyzzy'\. Known: step, sign"),
        ("softmax", "for the output layer only"),
        (3, r"got 3 \(int\)"),
        (None, r"got None \(NoneType\)"),
        (nn.ReLU, r"pass an instance, ReLU\(\)"),
        (lambda x: x.sum(), r"returned shape \(\) for an input of shape \(2, 7\)"),
        (lambda x: x[:, :3], r"returned shape \(2, 3\)"),
        (lambda x: x.log(), r"returned nan at x = -3"),
        (lambda x: x.numpy(), "returned ndarray; expected a torch tensor"),
        (lambda x: x.double(), "returned torch.float64 for torch.float32"),
        (lambda x, y: x, "raised TypeError on a float32 tensor"),
        (nn.Linear(3, 3), "raised RuntimeError"),
    ],
)
def test_wrong_choices_are_refused(wrong, message):
    with pytest.raises(ParameterError, match=message):
        activation(wrong)


def test_own_function_is_used():
    def half(x):
        return x.mul_(0.5)

    x = torch.ones(3)
    assert activation(half)(x.clone()).tolist() == [0.5] * 3
    assert repr(activation(half)) == "CustomActivation(half)"


def test_own_module_is_copied_so_layers_do_not_share_weights():
    mine = nn.PReLU()
    first, second = activation(mine), activation(mine)
    assert first.weight is not second.weight
    assert first.weight is not mine.weight


def test_documentation_page_holds_the_table_and_the_picture_is_drawn(tmp_path):
    root = Path(__file__).parents[2]
    drawing = runpy.run_path(str(root / "docs_src" / "activations.py"))
    assert "\n".join(drawing["table"]()) in (root / "docs" / "activations.md").read_text(encoding="utf-8")
    drawing["draw"](tmp_path / "activations.png")
    assert (tmp_path / "activations.png").stat().st_size > 50_000
