"""The compiled pieces of `rosenblatt.backprop.engine`: dropout, outputs, losses, gradients, updates and the epoch."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from rosenblatt.backprop.functions import FAST, activate, exp

OUT_IDENTITY, OUT_LOGISTIC, OUT_SOFTMAX, OUT_EXP = range(4)
SQUARED, LOG, POISSON = range(3)
SGD, NESTEROV, ADAM, RMSPROP = range(4)
FAN_IN, FAN_OUT, COEF, INTERCEPT, WIDTH_BEFORE = range(5)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def drop(values, slope, share, key):
    """Inverted dropout of a layer, by a hash of (key, position), so that a seed always gives the same masks.

    The hash is the 32-bit finalizer of MurmurHash3, twice around the key.

    Args:
        values: Activations, flat, changed in place.
        slope: Derivatives, likewise.
        share: What is dropped.
        key: Number of layer and step, mixed.
    """
    kind = values.dtype.type
    limit = np.uint32(min(share * 4294967296.0, 4294967295.0))
    scale, zero = kind(1 / (1 - share)), kind(0)
    low, high = np.uint32(key), np.uint32(key >> np.uint64(32))
    for i in range(values.size):
        h = np.uint32(np.uint32(i) * np.uint32(0x9E3779B1)) ^ low
        h = np.uint32(np.uint32(h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
        h = np.uint32(np.uint32(h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)) ^ high
        h = np.uint32(np.uint32(h ^ (h >> np.uint32(16))) * np.uint32(0x7FEB352D))
        h = np.uint32(np.uint32(h ^ (h >> np.uint32(15))) * np.uint32(0x846CA68B))
        h = np.uint32(h ^ (h >> np.uint32(16)))
        factor = zero if h < limit else scale
        values[i] *= factor
        slope[i] *= factor


@njit(cache=True, nogil=True, error_model="numpy")
def mix(seed, step, layer):
    """A 64-bit key out of seed, step and layer (splitmix64)."""
    h = (
        np.uint64(seed)
        + np.uint64(step) * np.uint64(0x9E3779B97F4A7C15)
        + np.uint64(layer) * np.uint64(0xD1B54A32D192ED03)
    )
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def emit(code, z):
    """Apply the output unit in place.

    Args:
        code: Its number, such as ``OUT_SOFTMAX``.
        z: Raw outputs (N, K).
    """
    kind = z.dtype.type
    one = kind(1)
    if code == OUT_SOFTMAX:
        for i in range(z.shape[0]):
            row = z[i]
            top = row[0]
            for j in range(row.size):
                top = row[j] if row[j] > top else top
            total = kind(0)
            for j in range(row.size):
                e = exp(row[j] - top)
                row[j] = e
                total += e
            scale = one / total
            for j in range(row.size):
                row[j] *= scale
    elif code != OUT_IDENTITY:
        flat = z.reshape(z.size)
        for i in range(flat.size):
            e = exp(-flat[i] if code == OUT_LOGISTIC else flat[i])
            flat[i] = one / (one + e) if code == OUT_LOGISTIC else e


@njit(cache=True, nogil=True, error_model="numpy")
def row_loss(loss, output, y, out, epsilon):
    """Loss of one sample; probabilities are clipped by one machine epsilon, as scikit-learn reports it."""
    total = 0.0
    for j in range(y.size):
        t, p = y[j], out[j]
        if loss == SQUARED:
            total += 0.5 * np.float64((t - p) * (t - p)) / y.size
        elif loss == POISSON:
            total += np.float64(p - t) + (t * math.log(t / p) if t != 0 else 0.0)
        elif t != 0 or output == OUT_LOGISTIC:
            p = epsilon if p < epsilon else p
            p = 1 - epsilon if p > 1 - epsilon else p
            if t != 0:
                total -= t * math.log(p)
            if output == OUT_LOGISTIC and t != 1:
                total -= (1 - t) * math.log(1 - p)
    return total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def error_of(out, y, weight):
    """Turn outputs into the error of the last layer, (output - y) times the sample's weight, in place.

    With the canonical pairs of output and loss that is the derivative: Bishop 2006, section 5.3.1.
    """
    for i in range(out.shape[0]):
        row, target = out[i], y[i]
        if weight.size:
            w = weight[i]
            for j in range(row.size):
                row[j] = (row[j] - target[j]) * w
        else:
            for j in range(row.size):
                row[j] -= target[j]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def add_bias(z, bias):
    """Add a bias (K,) to every row of (N, K)."""
    for i in range(z.shape[0]):
        row = z[i]
        for j in range(row.size):
            row[j] += bias[j]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def column_sums(delta, out):
    """Sum (N, K) over its rows into (K,)."""
    out[:] = 0
    for i in range(delta.shape[0]):
        row = delta[i]
        for j in range(row.size):
            out[j] += row[j]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def finish_gradient(flat, gradient, decayed, alpha, total, decay):
    """Add the penalty's gradient, divide by the batch, and look for what is not finite.

    Args:
        flat: Parameters.
        gradient: Summed gradients, changed in place.
        decayed: So many, from the first, are weights and not biases.
        alpha: L2 penalty of the summed loss.
        total: Weight of the batch.
        decay: L2 penalty of the mean loss (an optimizer's weight decay).

    Returns:
        The sum of squared weights, and 0 or NaN.
    """
    kind = flat.dtype.type
    a, inverse, d, zero = kind(alpha), kind(1 / total), kind(decay), kind(0)
    square, check = zero, zero
    for i in range(decayed):
        w = flat[i]
        square += w * w
        g = (gradient[i] + a * w) * inverse + d * w
        gradient[i] = g
        check += g * zero  # 0, or NaN where g is infinite or NaN
    for i in range(decayed, flat.size):
        g = gradient[i] * inverse
        gradient[i] = g
        check += g * zero
    return np.float64(square), np.float64(check)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def move(kind_of, flat, gradient, first, second, decayed, rates, step):
    """One step of the optimizer over all parameters, in one pass.

    Args:
        kind_of: ``SGD``, ``NESTEROV``, ``ADAM`` or ``RMSPROP``.
        flat: Parameters, changed in place.
        gradient: Of the mean loss.
        first: First moment, or the one that there is.
        second: Second moment, or empty.
        decayed: So many parameters take the decoupled decay.
        rates: Learning rate, momentum, beta 1, beta 2, epsilon, decoupled decay, smoothing of rmsprop.
        step: Number of this step, from 1.
    """
    kind = flat.dtype.type
    rate, momentum = kind(rates[0]), kind(rates[1])
    if rates[5] != 0.0:
        keep = kind(1 - rates[0] * rates[5])
        for i in range(decayed):
            flat[i] *= keep
    epsilon = kind(rates[4])
    if kind_of == ADAM:
        b1, b2, c1, c2 = kind(rates[2]), kind(rates[3]), kind(1 - rates[2]), kind(1 - rates[3])
        corrected = kind(rates[0] * math.sqrt(1 - rates[3] ** step) / (1 - rates[2] ** step))
        for i in range(flat.size):
            g = gradient[i]
            m = b1 * first[i] + c1 * g
            v = b2 * second[i] + c2 * g * g
            first[i] = m
            second[i] = v
            flat[i] -= corrected * m / (np.sqrt(v) + epsilon)
    elif kind_of == RMSPROP:
        smooth, rest = kind(rates[6]), kind(1 - rates[6])
        for i in range(flat.size):
            g = gradient[i]
            v = smooth * first[i] + rest * g * g
            first[i] = v
            flat[i] -= rate * g / (np.sqrt(v) + epsilon)
    elif kind_of == NESTEROV:
        for i in range(flat.size):
            v = momentum * first[i] - rate * gradient[i]
            first[i] = v
            flat[i] += momentum * v - rate * gradient[i]
    else:
        for i in range(flat.size):
            v = momentum * first[i] - rate * gradient[i]
            first[i] = v
            flat[i] += v


@njit(cache=True, nogil=True, error_model="numpy")
def forward(flat, table, codes, x, post, slope, share, seed, step):
    """Outputs of all layers for a batch, one behind the other in ``post``; derivatives of the hidden ones in ``slope``.

    Args:
        flat: Parameters.
        table: A row a layer: fan in, fan out, start of weights, start of biases, widths of the layers before.
        codes: Numbers of activation, output and loss.
        x: (N, D).
        post: Buffer for N rows at least.
        slope: Buffer for N rows at least.
        share: Dropout; 0 outside training.
        seed: Of the dropout masks.
        step: Of the dropout masks.
    """
    rows, layers, h = x.shape[0], table.shape[0], x
    for layer in range(layers):
        inner, outer, at, bias = table[layer, :4]
        start, size = rows * table[layer, WIDTH_BEFORE], rows * outer
        z = post[start : start + size]
        wide = z.reshape(rows, outer)
        np.dot(h, flat[at : at + inner * outer].reshape(inner, outer), wide)
        add_bias(wide, flat[bias : bias + outer])
        if layer == layers - 1:
            emit(codes[1], wide)
        else:
            d = slope[start : start + size]
            activate(codes[0], z, d)
            if share > 0.0:
                drop(z, d, share, mix(seed, step, layer))
        h = wide


@njit(cache=True, nogil=True, error_model="numpy")
def batch_gradient(flat, gradient, table, codes, x, y, weight, post, slope, numbers, seed, step):
    """Loss and gradient of one batch; see `forward` for the arguments.

    Args:
        y: Targets (N, K).
        weight: Sample weights (N,), or none at all.
        gradient: Where the gradient goes.
        numbers: L2 penalty, dropout, L2 decay of the mean loss, machine epsilon.
        flat: As of `forward`.
        table: As of `forward`.
        codes: As of `forward`.
        x: As of `forward`.
        post: As of `forward`.
        slope: As of `forward`.
        seed: As of `forward`.
        step: As of `forward`.

    Returns:
        The mean loss with its penalty, and whether loss and gradient are finite.
    """
    rows, last = x.shape[0], table.shape[0] - 1
    forward(flat, table, codes, x, post, slope, numbers[1], seed, step)
    start, outer = rows * table[last, WIDTH_BEFORE], table[last, FAN_OUT]
    delta = post[start : start + rows * outer].reshape(rows, outer)
    total, loss = np.float64(rows), 0.0
    if weight.size:
        total = np.float64(weight.sum())
    epsilon = flat.dtype.type(numbers[3])
    for i in range(rows):
        each = row_loss(codes[2], codes[1], y[i], delta[i], epsilon)
        loss += each * weight[i] if weight.size else each
    loss /= total
    error_of(delta, y, weight)
    for layer in range(last, -1, -1):
        inner, outer, at, bias = table[layer, :4]
        into = gradient[at : at + inner * outer].reshape(inner, outer)
        column_sums(delta, gradient[bias : bias + outer])
        if layer == 0:
            np.dot(x.T, delta, into)
        else:
            start = rows * table[layer - 1, WIDTH_BEFORE]
            below = post[start : start + rows * inner]
            before = below.reshape(rows, inner)
            np.dot(before.T, delta, into)
            np.dot(delta, flat[at : at + inner * outer].reshape(inner, outer).T, before)  # its values are used up
            _scale(below, slope[start : start + rows * inner])
            delta = before
    decayed = table[0, INTERCEPT]
    square, check = finish_gradient(flat, gradient, decayed, numbers[0], total, numbers[2])
    return loss + 0.5 * numbers[0] * square / total, math.isfinite(loss) and check == 0.0


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def _scale(values, factors):
    for i in range(values.size):
        values[i] *= factors[i]


@njit(cache=True, nogil=True, error_model="numpy")
def run_epoch(
    flat, gradient, first, second, table, codes, numbers, rates, kind_of, X, y, weight, order, batch_size,
    rows_x, rows_y, rows_w, post, slope, seed, step, steps,
):  # fmt: skip
    """One pass over the rows named by ``order``.

    Args:
        X: The whole table.
        y: Its targets.
        weight: Its sample weights, or none at all.
        order: Row numbers.
        batch_size: Samples a step.
        rows_x: Buffer of one batch of X.
        rows_y: Buffer of one batch of y.
        rows_w: Buffer of one batch of weights.
        kind_of: As of `move`.
        rates: As of `move`.
        first: As of `move`.
        second: As of `move`.
        steps: Steps that the optimizer has made.
        flat: As of `batch_gradient`.
        gradient: As of `batch_gradient`.
        table: As of `batch_gradient`.
        codes: As of `batch_gradient`.
        numbers: As of `batch_gradient`.
        post: As of `batch_gradient`.
        slope: As of `batch_gradient`.
        seed: As of `batch_gradient`.
        step: As of `batch_gradient`.

    Returns:
        Sum of losses, number of the bad batch from 1 (0: none), dropout steps and optimizer steps so far.
    """
    total, count, batch = 0.0, order.size, 0
    for start in range(0, count, batch_size):
        rows = min(batch_size, count - start)
        batch += 1
        any_weight = weight.size == 0
        for i in range(rows):
            row = order[start + i]
            rows_x[i, :] = X[row]
            rows_y[i, :] = y[row]
            if weight.size:
                rows_w[i] = weight[row]
                any_weight |= weight[row] != 0
        if not any_weight:
            continue
        w = rows_w[:rows] if weight.size else rows_w[:0]
        loss, good = batch_gradient(
            flat, gradient, table, codes, rows_x[:rows], rows_y[:rows], w, post, slope, numbers, seed, step
        )
        if not good:
            return total, batch, step, steps
        step += 1
        steps += kind_of == ADAM  # only its bias correction counts them
        move(kind_of, flat, gradient, first, second, table[0, INTERCEPT], rates, steps)
        total += loss * rows
    return total, 0, step, steps
