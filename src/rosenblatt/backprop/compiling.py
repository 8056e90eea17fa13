"""The line that says why a first fit takes ten seconds."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 1.0
"""Seconds that loading compiled code from the cache never takes."""


@contextmanager
def announced(what: str) -> Iterator[None]:
    """Say on stderr that something is being compiled, where it takes long enough to be that.

    Args:
        what: Such as "the dense engine for float32".
    """

    def say() -> None:
        print(  # noqa: T201 - ten silent seconds look like a hang
            f"rosenblatt: compiling {what}; about ten seconds, once (later runs take it from Numba's cache).",
            file=sys.stderr,
            flush=True,
        )

    timer = threading.Timer(PATIENCE, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
