"""Memory of a training step: what it frees stays with the process until the next one; and which errors say that there is none."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_MOST = 2**31 - 1
_KEPT = 64 * 2**20
"""Larger blocks go back at once: few, seldom asked for in another size, and holes of their size are what costs memory."""
_LARGEST_BY_ITSELF = 32 * 2**20
"""Where glibc's own threshold ends up in a process that frees large blocks; it cannot be read, so this is put back."""

_lock, _inside = threading.Lock(), 0


@contextmanager
def keep_freed() -> Iterator[None]:
    """Context in which the C library keeps freed blocks up to 64 MiB; at its end they go back to the system.

    Each step makes and frees the same activations and gradients. Blocks above 32 MiB, and whatever lies on top of the
    heap, go back to the system at once, which hands them out again page by page and zeroed. Only glibc can be told;
    elsewhere nothing happens. The setting is the process's: it lasts until the last context is left.
    """
    global _inside
    libc = _glibc()
    if libc is None:
        yield
        return
    with _lock:
        _inside += 1
        if _inside == 1:
            libc.mallopt(_MMAP, _KEPT)
            libc.mallopt(_TRIM, _MOST)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                libc.mallopt(_MMAP, _LARGEST_BY_ITSELF)
                libc.mallopt(_TRIM, 2 * _LARGEST_BY_ITSELF)
                libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that there was no more memory."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    said = str(error).lower()
    return any(words in said for words in ("not enough memory", "can't allocate memory", "out of memory"))
