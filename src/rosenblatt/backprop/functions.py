"""Elementary functions of the compiled engine: exp without the C library, and the activations with their derivatives.

Every loop runs over contiguous memory with the choice of function outside, so that it fills the vector registers.
exp is written out because a call into the C library would stop that. NaN always passes through: comparisons are
ordered so that it does, and the fast-math flags never include nnan or ninf.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import float32, njit
from numba.extending import overload

FAST = {"contract", "reassoc", "arcp", "nsz"}
STEP, SIGN, LINEAR, LOGISTIC, TANH, RELU, LEAKY, ELU, SELU, SOFTPLUS, GELU, SILU, MISH, HARD = range(14)
LEAK, SELU_ALPHA, SELU_SCALE = 0.01, 1.6732632423543772, 1.0507009873554805


def _split(x: Any) -> Any:  # compiled code sees the overload below: e^x = power + power * q, as (power, q)
    return 1, np.expm1(x)


def _split_single(x):
    # x = n ln 2 + r; adding 1.5 * 2^23 rounds to the integer n and leaves it in the low bits
    x = np.float32(88.0) if x > np.float32(88.0) else x
    x = np.float32(-87.0) if x < np.float32(-87.0) else x
    t = x * np.float32(1.4426950408889634) + np.float32(12582912.0)
    n = t - np.float32(12582912.0)
    r = x - n * np.float32(0.693359375) - n * np.float32(-2.12194440e-4)
    q = np.float32(1 / 5040)
    q = q * r + np.float32(1 / 720)
    q = q * r + np.float32(1 / 120)
    q = q * r + np.float32(1 / 24)
    q = q * r + np.float32(1 / 6)
    q = q * r + np.float32(0.5)
    q = q * r * r + r
    power = np.int32((np.float32(t).view(np.int32) + np.int32(127)) << np.int32(23)).view(np.float32)
    return power, q


def _split_double(x):
    x = 709.0 if x > 709.0 else x
    x = -708.0 if x < -708.0 else x
    t = x * 1.4426950408889634 + 6755399441055744.0
    n = t - 6755399441055744.0
    r = x - n * 0.693145751953125 - n * 1.42860682030941723212e-6
    q = 1 / 6227020800
    q = q * r + 1 / 479001600
    q = q * r + 1 / 39916800
    q = q * r + 1 / 3628800
    q = q * r + 1 / 362880
    q = q * r + 1 / 40320
    q = q * r + 1 / 5040
    q = q * r + 1 / 720
    q = q * r + 1 / 120
    q = q * r + 1 / 24
    q = q * r + 1 / 6
    q = q * r + 0.5
    q = q * r * r + r
    power = np.int64((np.float64(t).view(np.int64) + np.int64(1023)) << np.int64(52)).view(np.float64)
    return power, q


@overload(_split, jit_options={"fastmath": {"contract"}, "error_model": "numpy"})  # reassoc would undo the rounding
def _split_by_type(x):
    return _split_single if x == float32 else _split_double


def _expm1(x: Any) -> Any:  # compiled code sees the overload below
    return np.expm1(x)


def _expm1_single(x):
    power, q = _split(x)
    return power * q + (power - np.float32(1.0))


def _expm1_double(x):
    power, q = _split(x)
    return power * q + (power - 1.0)


@overload(_expm1, jit_options={"fastmath": {"contract"}, "error_model": "numpy"})
def _expm1_by_type(x):
    return _expm1_single if x == float32 else _expm1_double


def exp(x: Any) -> Any:
    """Exponential of x; compiled code sees the overload below, which vectorises."""
    return np.exp(x)


def _exp_single(x):
    power, q = _split(x)
    return np.float32(np.inf) if x > np.float32(88.0) else power * q + power


def _exp_double(x):
    power, q = _split(x)
    return np.inf if x > 709.0 else power * q + power


@overload(exp, jit_options={"fastmath": {"contract"}, "error_model": "numpy"})
def _exp_by_type(x):
    return _exp_single if x == float32 else _exp_double


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def activate(code, z, slope):
    """Replace pre-activations by activations and write the derivatives, both flat.

    Args:
        code: The function's number, such as ``RELU``.
        z: Values, changed in place.
        slope: Where the derivatives go.
    """
    if code == RELU:
        _relu(z, slope)
    elif code == TANH:
        _tanh(z, slope)
    elif code == LOGISTIC:
        _logistic(z, slope)
    elif code == LINEAR:
        slope[: z.size] = z.dtype.type(1)
    elif code in (STEP, SIGN):
        _threshold(code, z, slope)
    elif code == LEAKY:
        _leaky_relu(z, slope)
    elif code in (ELU, SELU):
        _elu(code, z, slope)
    elif code == SOFTPLUS:
        _softplus(z, slope)
    elif code == GELU:
        _gelu(z, slope)
    elif code == SILU:
        _silu(z, slope)
    elif code == MISH:
        _mish(z, slope)
    else:
        _hard_sigmoid(z, slope)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _relu(z, slope):
    zero, one = z.dtype.type(0), z.dtype.type(1)
    for i in range(z.size):
        v = z[i]
        slope[i] = zero if v <= zero else one
        z[i] = zero if v <= zero else v


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def bias_relu(z, bias, slope):
    """relu(z + bias) in place for (N, K) and a bias (K,), and its derivatives, flat, in one pass: the commonest layer."""
    kind, width = z.dtype.type, z.shape[1]
    zero, one = kind(0), kind(1)
    for i in range(z.shape[0]):
        row, d = z[i], slope[i * width : (i + 1) * width]
        for j in range(row.size):
            v = row[j] + bias[j]
            d[j] = zero if v <= zero else one
            row[j] = zero if v <= zero else v


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _tanh(z, slope):
    kind = z.dtype.type
    one, two, top = kind(1), kind(2), kind(20)
    for i in range(z.size):
        v = top if z[i] > top else z[i]
        v = -top if v < -top else v
        e = _expm1(two * v)
        h = e / (e + two)
        z[i] = h
        slope[i] = one - h * h


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _logistic(z, slope):
    one = z.dtype.type(1)
    for i in range(z.size):
        h = one / (one + exp(-z[i]))
        z[i] = h
        slope[i] = (one - h) * h


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _threshold(code, z, slope):
    kind = z.dtype.type
    zero, one = kind(0), kind(1)
    slope[: z.size] = zero
    if code == STEP:
        for i in range(z.size):
            z[i] = one if z[i] >= zero else zero
    else:
        for i in range(z.size):
            z[i] = one if z[i] > zero else (-one if z[i] < zero else zero)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _leaky_relu(z, slope):
    kind = z.dtype.type
    zero, one, leak = kind(0), kind(1), kind(LEAK)
    for i in range(z.size):
        d = leak if z[i] <= zero else one
        slope[i] = d
        z[i] *= d


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _elu(code, z, slope):
    kind = z.dtype.type
    zero, one = kind(0), kind(1)
    scale = one if code == ELU else kind(SELU_SCALE)
    low = one if code == ELU else kind(SELU_SCALE * SELU_ALPHA)
    for i in range(z.size):
        v = z[i]
        e = low * _expm1(zero if v > zero else v)
        slope[i] = e + low if v <= zero else scale
        z[i] = e if v <= zero else scale * v


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _gelu(z, slope):
    kind = z.dtype.type
    half, width, density = kind(0.5), kind(math.sqrt(0.5)), kind(1 / math.sqrt(2 * math.pi))
    for i in range(z.size):
        v = z[i]
        share = half * kind(math.erfc(-v * width))
        slope[i] = share + v * density * exp(-half * v * v)
        z[i] = v * share


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _silu(z, slope):
    one = z.dtype.type(1)
    for i in range(z.size):
        v = z[i]
        s = one / (one + exp(-v))
        slope[i] = s * (one + v * (one - s))
        z[i] = v * s


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _mish(z, slope):
    kind = z.dtype.type
    one, two, top = kind(1), kind(2), kind(20)
    for i in range(z.size):
        v = z[i]
        e = exp(top if v > top else v)  # tanh(ln(1 + e)) = (e² + 2e) / (e² + 2e + 2)
        a = e * (e + two)
        t = a / (a + two)
        slope[i] = t + v * (one - t * t) * (e / (one + e))
        z[i] = v * t


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _softplus(z, slope):
    kind = z.dtype.type
    zero, one, two = kind(0), kind(1), kind(2)
    for i in range(z.size):
        v = z[i]
        e = exp(v if v < zero else -v)
        s = e / (two + e)  # ln(1 + e) = 2 artanh(s), s at most 1/3
        square, total = s * s, zero
        for k in range(18, 0, -1):
            total = (total + one / kind(2 * k + 1)) * square
        slope[i] = e / (one + e) if v < zero else one / (one + e)
        z[i] = (zero if v < zero else v) + two * s * (one + total)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _hard_sigmoid(z, slope):
    kind = z.dtype.type
    zero, six, three, sixth = kind(0), kind(6), kind(3), kind(1 / 6)
    for i in range(z.size):
        v = z[i] + three
        slope[i] = zero if v <= zero or v >= six else sixth
        v = zero if v < zero else v
        z[i] = (six if v > six else v) / six
