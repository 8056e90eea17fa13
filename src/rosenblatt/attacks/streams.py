"""Random numbers of a sample that depend on its key alone, so that a result does not depend on the batch it came in.

A number is a hash of (key of the sample, number of the draw, place), as in counter-based generators.

Reference: Salmon, Moraes, Dror & Shaw 2011, doi:10.1145/2063384.2063405 (counters in place of states); the mixing is
splitmix64's (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195, figure 16).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed integer of 64 bits
_FIRST, _SECOND = -4658895280553007687, -7723592293110705685  # 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _shift(z: Tensor, bits: int) -> Tensor:
    """To the right, zeros from the left; torch's own shift copies the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _wrapped(number: int) -> int:
    """An integer as 64 bits with a sign, as a product of tensors wraps."""
    return (number + 2**63) % 2**64 - 2**63


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _FIRST
    z = (z ^ _shift(z, 27)) * _SECOND
    return z ^ _shift(z, 31)


def keys_of(seed: int, rows: Tensor) -> Tensor:
    """Keys (N,) of samples by their rows in the whole data set.

    Args:
        seed: Of the attack.
        rows: Their numbers (N,), int64.
    """
    return _mix(_mix(rows * _GOLDEN + 1) ^ _mix(torch.tensor(_wrapped(seed * _GOLDEN), device=rows.device)))


def uniform(keys: Tensor, draw: int | Tensor, shape: Sequence[int]) -> Tensor:
    """Numbers (N, *shape) in [0, 1), float32.

    Args:
        keys: Of the samples (N,).
        draw: Number of the draw, one for all or one a sample (N,); another one gives other numbers.
        shape: Of one sample's numbers.

    Example:
        >>> keys = keys_of(0, torch.arange(3))
        >>> bool((uniform(keys, 5, (2, 2))[1:] == uniform(keys[1:], 5, (2, 2))).all())
        True
    """
    places = torch.arange(math.prod(shape), device=keys.device)
    moved = draw * _GOLDEN if isinstance(draw, Tensor) else _wrapped(draw * _GOLDEN)
    z = _mix(_mix(keys + moved)[:, None] + places * _GOLDEN)
    return (_shift(z, 40).float() * 2.0**-24).view(-1, *shape)


def normal(keys: Tensor, draw: int | Tensor, shape: Sequence[int]) -> Tensor:
    """Standard normal numbers (N, *shape), float32 (Box & Muller 1958)."""
    places = (2, *shape)
    u = uniform(keys, draw, places)
    return (-2 * torch.log1p(-u[:, 0])).sqrt() * torch.cos(2 * math.pi * u[:, 1])


def signs(keys: Tensor, draw: int, shape: Sequence[int]) -> Tensor:
    """-1 or 1, (N, *shape), float32."""
    return torch.where(uniform(keys, draw, shape) < 0.5, -1.0, 1.0)
