"""PyTorch's optimizers without its compiler.

Every optimizer of torch names `torch._dynamo` in its first call, so that a compiled training loop knows where to stop. Loading
that takes 1.5 to 3 s, more than many a fit; nothing here is compiled.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import TypeVar

import torch

Kind = TypeVar("Kind", bound=type[torch.optim.Optimizer])

_SHIELDED = ("add_param_group", "state_dict", "load_state_dict", "zero_grad")


@cache
def eager(kind: Kind) -> Kind:
    """The same optimizer, bit for bit, whose methods are those below torch's wrappers.

    Args:
        kind: Class of an optimizer.

    Example:
        >>> weight = torch.ones(1, requires_grad=True)
        >>> optimizer = eager(torch.optim.SGD)([weight], lr=0.5)
        >>> (3 * weight).sum().backward()
        >>> optimizer.step()
        >>> weight.item()
        -0.5
    """
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in _SHIELDED}
    # of the wrappers around a step only this one does anything outside a compiled loop
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), methods)  # type: ignore[return-value]
