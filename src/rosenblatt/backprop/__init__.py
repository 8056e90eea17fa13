"""Backpropagation by hand: the compiled engine of dense networks, the gradient check, the chain rule path by path."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_WHERE = {
    "check": "rosenblatt.backprop.gradient_check",
    "check_function": "rosenblatt.backprop.gradient_check",
    "Checked": "rosenblatt.backprop.gradient_check",
    "descend": "rosenblatt.backprop.descent",
    "Descent": "rosenblatt.backprop.descent",
    "explain": "rosenblatt.backprop.paths",
    "Explanation": "rosenblatt.backprop.paths",
}
__all__ = sorted(_WHERE)

if TYPE_CHECKING:
    from rosenblatt.backprop.descent import Descent as Descent
    from rosenblatt.backprop.descent import descend as descend
    from rosenblatt.backprop.gradient_check import Checked as Checked
    from rosenblatt.backprop.gradient_check import check as check
    from rosenblatt.backprop.gradient_check import check_function as check_function
    from rosenblatt.backprop.paths import Explanation as Explanation
    from rosenblatt.backprop.paths import explain as explain


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'rosenblatt.backprop' has no attribute {name!r}")
