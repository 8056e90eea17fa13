"""Where the threads of a compiled epoch wait for each other.

A step takes 30 microseconds to some milliseconds, so a lock of the operating system would cost a good part of it. Threads
spin on one number instead, and leave their core to others when that takes long: on a busy machine the one that is waited
for may not be running at all.
"""

from __future__ import annotations

import os
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

ARRIVED, ROUND, SIZE = 0, 8, 16
"""Places in the array of a meeting, on cache lines of their own, and its length (int64, zeros at the start)."""
_PATIENCE = 4000
_LEAVE = "SwitchToThread" if os.name == "nt" else "sched_yield"


def _place(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = make_array(signature.args[0])(context, builder, args[0])
    return builder.gep(array.data, [args[1]])


@intrinsic
def _fetch_add(_context, array, place):
    """Add one and return what was there, atomically."""

    def write(context, builder, signature, args):
        one = ir.Constant(ir.IntType(64), 1)
        return builder.atomic_rmw("add", _place(context, builder, signature, args), one, "seq_cst")

    return types.int64(array, types.intp), write


@intrinsic
def _read(_context, array, place):
    def write(context, builder, signature, args):
        return builder.load_atomic(_place(context, builder, signature, args), "acquire", 8)

    return types.int64(array, types.intp), write


@intrinsic
def _write(_context, array, place, value):
    def write(context, builder, signature, args):
        builder.store_atomic(args[2], _place(context, builder, signature, args[:2]), "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), write


@intrinsic
def _leave(_context):
    """Let another thread have this core."""

    def write(context, builder, signature, args):
        kind = ir.FunctionType(ir.IntType(32), [])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, _LEAVE), [])

    return types.int32(), write


@njit(cache=True, nogil=True, error_model="numpy")
def meet(meeting, threads):
    """Return when all threads have called this.

    Args:
        meeting: int64 array of length ``SIZE``, shared by all, zeros at first.
        threads: How many there are.
    """
    if threads == 1:
        return
    now = _read(meeting, ROUND)
    if _fetch_add(meeting, ARRIVED) == threads - 1:
        _write(meeting, ARRIVED, 0)
        _write(meeting, ROUND, now + 1)
        return
    waited = 0
    while _read(meeting, ROUND) == now:
        waited += 1
        if waited > _PATIENCE:
            _leave()
