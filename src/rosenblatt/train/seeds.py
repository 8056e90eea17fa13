"""Randomness that never touches the global random state."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import torch


class PrivateRandom:
    """A random state of torch's own functions (initialisation, dropout) that is swapped in for a ``with`` block.

    Layers such as ``nn.Dropout`` draw from torch's global generators and cannot be given another. Inside the block
    those generators run from this object's state; at its end they stand exactly where they stood before.

    Args:
        seed: Start of the private state.
        device: The CPU generator is always swapped; a CUDA device's own as well.

    Example:
        >>> before = torch.get_rng_state()
        >>> with PrivateRandom(0):
        ...     _ = torch.rand(3)
        >>> bool((torch.get_rng_state() == before).all())
        True
    """

    def __init__(self, seed: int, device: torch.device | None = None):
        self.cuda = device if device is not None and device.type == "cuda" else None
        outside = self._read()
        torch.default_generator.manual_seed(seed)
        if self.cuda is not None:
            with torch.cuda.device(self.cuda):
                torch.cuda.manual_seed(seed)
        self.state = self._read()
        self._write(outside)

    def _read(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        return torch.get_rng_state(), torch.cuda.get_rng_state(self.cuda) if self.cuda is not None else None

    def _write(self, state: tuple[torch.Tensor, torch.Tensor | None]) -> None:
        torch.set_rng_state(state[0])
        if state[1] is not None and self.cuda is not None:
            torch.cuda.set_rng_state(state[1], self.cuda)

    def __enter__(self) -> PrivateRandom:
        self._outside = self._read()
        self._write(self.state)
        return self

    def __exit__(self, *_: Any) -> None:
        self.state = self._read()
        self._write(self._outside)


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """An integer seed for torch from scikit-learn's ``random_state``.

    None draws from the operating system, an integer stands for itself, a RandomState is drawn from (and so advances, as
    scikit-learn's does).
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint32)[0])
    if isinstance(random_state, numbers.Integral):
        return int(random_state)
    return int(random_state.randint(np.iinfo(np.int32).max))


def random_source(random_state: int | np.random.RandomState | None) -> np.random.RandomState:
    """scikit-learn's ``check_random_state``, but None is a fresh source and never numpy's global one."""
    if isinstance(random_state, np.random.RandomState):
        return random_state
    return np.random.RandomState(draw_seed(random_state))


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on a device, started from a seed."""
    return torch.Generator(device).manual_seed(seed)
