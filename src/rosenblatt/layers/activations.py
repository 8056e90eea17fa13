"""Activation functions: one table of names, formulas, derivatives, ranges and references, and one way to ask for one.

>>> import torch
>>> from rosenblatt.layers.activations import activation
>>> activation("relu")(torch.tensor([-1.0, 2.0]))
tensor([0., 2.])

Every written derivative is checked against central differences and against autograd (``tests/unit``). Each function is
the numerically stable form; ``formula`` is the one of the paper.
"""

from __future__ import annotations

import copy
import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rosenblatt._types import Float
from rosenblatt.errors import ParameterError

INF = math.inf
LEAK = 0.01
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


@dataclass(frozen=True)
class ActivationSpec:
    """What is known of one activation function.

    Attributes:
        name: The name that every estimator, file and command takes.
        aliases: Other names that are accepted and mean the same.
        formula: The function as its paper writes it.
        derivative_formula: Its derivative, with the value taken where the function has a corner.
        low: Infimum of the values.
        high: Supremum of the values.
        reference: Authors and year.
        function: Tensor to tensor of the same shape, differentiable by autograd.
        derivative: Tensor of inputs to tensor of derivatives; for softmax to the Jacobian ``... K K``.
        output_only: True where the function couples the units of a layer and so only suits the last one.
    """

    name: str
    aliases: tuple[str, ...]
    formula: str
    derivative_formula: str
    low: float
    high: float
    reference: str
    function: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]
    output_only: bool = False

    @property
    def range(self) -> str:
        """The range as an interval in words of mathematics, such as ``(0, 1)``."""
        if self.name in _DISCRETE:
            return _DISCRETE[self.name]
        left = "[" if self.name in _CLOSED_LOW else "("
        right = "]" if self.name in _CLOSED_HIGH else ")"
        return f"{left}{_number(self.low)}, {_number(self.high)}{right}"


_DISCRETE = {"step": "{0, 1}", "sign": "{-1, 0, 1}"}
_CLOSED_LOW = {"relu", "gelu", "silu", "mish", "hard_sigmoid"}
_CLOSED_HIGH = {"hard_sigmoid"}


def _number(value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.4g}"


# --- functions whose stable or differentiable form is not one torch call ---


def _step(x: Tensor) -> Tensor:
    # `(x >= 0).float()` is cut off from the graph and backward() raises; sign keeps it, with gradient zero.
    return torch.sign(torch.sign(x) + 1)


def _linear(x: Tensor) -> Tensor:
    return x


def _softplus(x: Tensor) -> Tensor:
    # torch turns linear above 20, which is off by 2e-9; above 40 the two forms agree in float64.
    return F.softplus(x, threshold=40.0)


def _hard_sigmoid(x: Tensor) -> Tensor:
    return F.relu6(x + 3) / 6  # torch's own holds 1/6 in float32, off by 5e-9 in float64


def _softmax(x: Tensor) -> Tensor:
    return torch.softmax(x, dim=-1)


# --- derivatives, by hand ---


def _zero(x: Tensor) -> Tensor:
    return torch.zeros_like(x)


def _d_logistic(x: Tensor) -> Tensor:
    return torch.sigmoid(x) * torch.sigmoid(-x)  # σ(x) (1 - σ(x)) without cancellation


def _d_tanh(x: Tensor) -> Tensor:
    return 4 * _d_logistic(2 * x)  # 1 - tanh² without cancellation


def _d_relu(x: Tensor) -> Tensor:
    return (x > 0).to(x.dtype)


def _d_leaky_relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, torch.ones_like(x), LEAK)


def _d_elu(x: Tensor) -> Tensor:
    return torch.exp(x.clamp(max=0))


def _d_selu(x: Tensor) -> Tensor:
    return SELU_SCALE * torch.where(x > 0, torch.ones_like(x), SELU_ALPHA * torch.exp(x.clamp(max=0)))


def _d_gelu(x: Tensor) -> Tensor:
    density = torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return 0.5 * torch.erfc(-x / math.sqrt(2)) + x * density


def _d_silu(x: Tensor) -> Tensor:
    s = torch.sigmoid(x)
    return s * (1 + x * torch.sigmoid(-x))


def _d_mish(x: Tensor) -> Tensor:
    t = torch.tanh(_softplus(x))
    return t + x * _d_tanh(_softplus(x)) * torch.sigmoid(x)


def _d_hard_sigmoid(x: Tensor) -> Tensor:
    return (x.abs() < 3).to(x.dtype) / 6


def _d_softmax(x: Tensor) -> Tensor:
    s = _softmax(x)
    return torch.diag_embed(s) - s.unsqueeze(-1) * s.unsqueeze(-2)  # ... K -> ... K K


_SPECS = (
    ActivationSpec(
        "step", ("threshold", "heaviside"), "1 if x ≥ 0 else 0", "0 (everywhere, x = 0 included)", 0, 1,
        "McCulloch and Pitts 1943; Rosenblatt 1958", _step, _zero,
    ),
    ActivationSpec(
        "sign", ("signum",), "1 if x > 0, 0 if x = 0, -1 if x < 0", "0 (everywhere, x = 0 included)", -1, 1,
        "Widrow and Hoff 1960", torch.sign, _zero,
    ),
    ActivationSpec(
        "linear", ("identity",), "x", "1", -INF, INF, "Widrow and Hoff 1960", _linear, torch.ones_like,
    ),
    ActivationSpec(
        "logistic", ("sigmoid",), "σ(x) = 1 / (1 + e⁻ˣ)", "σ(x) (1 - σ(x))", 0, 1,
        "Verhulst 1838; Rumelhart, Hinton and Williams 1986", torch.sigmoid, _d_logistic,
    ),
    ActivationSpec(
        "tanh", (), "(eˣ - e⁻ˣ) / (eˣ + e⁻ˣ)", "1 - tanh(x)²", -1, 1,
        "LeCun, Bottou, Orr and Müller 1998", torch.tanh, _d_tanh,
    ),
    ActivationSpec(
        "relu", (), "max(0, x)", "1 if x > 0 else 0 (0 at x = 0)", 0, INF,
        "Fukushima 1969; Nair and Hinton 2010", torch.relu, _d_relu,
    ),
    ActivationSpec(
        "leaky_relu", ("leakyrelu",), "x if x > 0 else 0.01 x", "1 if x > 0 else 0.01 (0.01 at x = 0)", -INF, INF,
        "Maas, Hannun and Ng 2013", F.leaky_relu, _d_leaky_relu,
    ),
    ActivationSpec(
        "elu", (), "x if x > 0 else eˣ - 1", "1 if x > 0 else eˣ", -1, INF,
        "Clevert, Unterthiner and Hochreiter 2015, arXiv:1511.07289", F.elu, _d_elu,
    ),
    ActivationSpec(
        "selu", (), "λ x if x > 0 else λ α (eˣ - 1), λ = 1.0507…, α = 1.6733…", "λ if x > 0 else λ α eˣ (λ α at x = 0)",
        -SELU_SCALE * SELU_ALPHA, INF,
        "Klambauer, Unterthiner, Mayr and Hochreiter 2017, arXiv:1706.02515", F.selu, _d_selu,
    ),
    ActivationSpec(
        "softplus", (), "ln(1 + eˣ)", "σ(x)", 0, INF,
        "Dugas, Bengio, Bélisle, Nadeau and Garcia 2000", _softplus, torch.sigmoid,
    ),
    ActivationSpec(
        "gelu", (), "x Φ(x), Φ the normal distribution function", "Φ(x) + x φ(x)", -0.16997120747, INF,
        "Hendrycks and Gimpel 2016, arXiv:1606.08415", F.gelu, _d_gelu,
    ),
    ActivationSpec(
        "silu", ("swish",), "x σ(x)", "σ(x) (1 + x (1 - σ(x)))", -0.27846454276, INF,
        "Elfwing, Uchibe and Doya 2017, arXiv:1702.03118", F.silu, _d_silu,
    ),
    ActivationSpec(
        "mish", (), "x tanh(ln(1 + eˣ))", "tanh(s) + x σ(x) (1 - tanh(s)²), s = ln(1 + eˣ)", -0.30884341302, INF,
        "Misra 2019, arXiv:1908.08681", F.mish, _d_mish,
    ),
    ActivationSpec(
        "hard_sigmoid", ("hardsigmoid",), "min(1, max(0, x / 6 + 1/2))", "1/6 if |x| < 3 else 0", 0, 1,
        "Howard et al. 2019, arXiv:1905.02244", _hard_sigmoid, _d_hard_sigmoid,
    ),
    ActivationSpec(
        "softmax", (), "eˣᵏ / Σⱼ eˣʲ over the last axis", "∂sₖ/∂xⱼ = sₖ (δₖⱼ - sⱼ)", 0, 1,
        "Bridle 1990", _softmax, _d_softmax, output_only=True,
    ),
)  # fmt: skip

ACTIVATIONS: dict[str, ActivationSpec] = {spec.name: spec for spec in _SPECS}
"""Every activation by its own name, in the order of the documentation page."""

_BY_ANY_NAME = {name: spec for spec in _SPECS for name in (spec.name, *spec.aliases)}


class Activation(nn.Module):
    """A named activation as a module, so that it prints, hooks and exports under its name.

    Shapes:
        x: any shape; the output has the same one.
    """

    def __init__(self, spec: ActivationSpec):
        super().__init__()
        self.name = spec.name  # the function stays in the table, so the module pickles and copies

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function."""
        return ACTIVATIONS[self.name].function(x)

    def extra_repr(self) -> str:
        """The name alone."""
        return self.name


class CustomActivation(nn.Module):
    """A user's own function as a module.

    Shapes:
        x: any shape; the output has the same one.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.name = _name_of(function)
        self.function = function

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Apply the function."""
        return self.function(x)

    def extra_repr(self) -> str:
        """The function's own name."""
        return self.name


def activation(choice: str | Callable[[Tensor], Tensor], *, output: bool = False) -> nn.Module:
    """Build an activation from its name, or check and wrap a user's own function.

    Each call gives a fresh module; a user's module (``nn.PReLU()``) is copied, so two layers never share its weights.

    Args:
        choice: A name or alias of ``ACTIVATIONS``, a function from tensor to tensor, or an ``nn.Module``.
        output: True for the last layer, the only place where softmax is accepted.

    Raises:
        ParameterError: The name is unknown, the function fails, or it changes shape or type or is not finite on a
            probe of values from -3 to 3.

    Example:
        >>> activation("sigmoid")
        Activation(logistic)
        >>> activation(lambda x: x * x.sigmoid())
        CustomActivation(<lambda>)
    """
    if isinstance(choice, str):
        return Activation(_find_for(choice, output))
    if isinstance(choice, type):
        raise ParameterError(f"activation: got the class {choice.__name__}; pass an instance, {choice.__name__}().")
    if not callable(choice):
        raise ParameterError(
            f"activation: got {choice!r} ({type(choice).__name__}); expected a name, one of {', '.join(ACTIVATIONS)}, "
            "or a function from tensor to tensor."
        )
    _probe(choice)
    return copy.deepcopy(choice) if isinstance(choice, nn.Module) else CustomActivation(choice)


def find(name: str) -> ActivationSpec:
    """The specification under a name or an alias.

    Args:
        name: A name or alias, such as ``"relu"`` or ``"identity"``.

    Raises:
        ParameterError: No activation has that name; the message has the nearest one.

    Example:
        >>> find("swish").name
        'silu'
    """
    spec = _BY_ANY_NAME.get(name)
    if spec is None:
        near = difflib.get_close_matches(name.lower(), _BY_ANY_NAME, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ParameterError(
            f"activation: unknown name {name!r}{hint} Known: {', '.join(ACTIVATIONS)}; or pass your own function."
        )
    return spec


def _find_for(name: str, output: bool) -> ActivationSpec:
    spec = find(name)
    if spec.output_only and not output:
        raise ParameterError(
            f"activation: {spec.name!r} couples all units of a layer and is for the output layer only; "
            "use one of the others in a hidden layer, such as 'relu'."
        )
    return spec


def _probe(function: Callable[[Tensor], Any]) -> None:
    """Refuse a function that does not map a tensor to a finite tensor of the same shape and type."""
    who = f"activation: {_name_of(function)}"
    x = torch.linspace(-3.0, 3.0, 14).reshape(2, 7)
    try:
        with torch.no_grad():
            y = function(x.clone())
    except Exception as error:  # whatever a user's function raises is the answer to the probe
        raise ParameterError(
            f"{who} raised {type(error).__name__} on a float32 tensor of shape (2, 7): {error}. "
            "Expected a function from tensor to tensor of the same shape."
        ) from error
    if not isinstance(y, Tensor):
        raise ParameterError(f"{who} returned {type(y).__name__}; expected a torch tensor. Use torch functions in it.")
    if y.shape != x.shape:
        raise ParameterError(
            f"{who} returned shape {tuple(y.shape)} for an input of shape {tuple(x.shape)}; expected the same shape. "
            "An activation works on each element."
        )
    if y.dtype != x.dtype:
        raise ParameterError(f"{who} returned {y.dtype} for torch.float32; expected the input's. Use .to(x.dtype).")
    if not bool(torch.isfinite(y).all()):
        bad = int((~torch.isfinite(y)).flatten().nonzero()[0])
        raise ParameterError(
            f"{who} returned {y.flatten()[bad].item()} at x = {x.flatten()[bad].item():.3g}; expected finite values "
            "for every x from -3 to 3. Guard the function's domain, for example with clamp."
        )


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
