"""Memory that a training step frees stays with the process until the next one asks for it."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

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
