"""Shape letters and aliases used across the package.

The letters are the field's: N batch or samples, T time, C channels, H height, W width, D features, K classes or
outputs, Z code. ``Float[Tensor, "N C H W"]`` is read by people; ``make shapes`` lets jaxtyping and beartype check it.
Where jaxtyping is not installed the names are inert, so users pay nothing for them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Shaped
else:
    try:
        from jaxtyping import Bool, Float, Int, Shaped
    except ImportError:

        class _Inert:
            def __class_getitem__(cls, item: Any) -> Any:
                return item[0] if isinstance(item, tuple) else item

        Bool = Float = Int = Shaped = _Inert

ArrayLike: TypeAlias = Any
PathLike: TypeAlias = str | Path
Activation: TypeAlias = str | Callable[..., Any]

__all__ = ["Activation", "ArrayLike", "Bool", "Float", "Int", "PathLike", "Shaped"]
