"""The compiled pieces of `rosenblatt.backprop.engine`: dropout, outputs, losses, gradients, updates and the epoch.

An epoch may run on several threads at once, all inside `run_epoch`: each takes its shares of every batch, sums their gradients,
and then moves its shares of the parameters. They meet twice a step. The result depends on how many shares there are, but neither
on how many threads take them nor on which is faster.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from rosenblatt.backprop.functions import FAST, RELU, activate, bias_relu, exp
from rosenblatt.backprop.meeting import meet

OUT_IDENTITY, OUT_LOGISTIC, OUT_SOFTMAX, OUT_EXP = range(4)
SQUARED, LOG, POISSON = range(3)
SGD, NESTEROV, ADAM, RMSPROP = range(4)
FAN_IN, FAN_OUT, COEF, INTERCEPT, WIDTH_BEFORE, FUNCTION = range(6)


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
def scale_and_sum(delta, slope, out):
    """Multiply (N, K) by the derivatives, flat, in place, and sum it over its rows into (K,), in one pass."""
    out[:] = 0
    width = delta.shape[1]
    for i in range(delta.shape[0]):
        row, factor = delta[i], slope[i * width : (i + 1) * width]
        for j in range(row.size):
            v = row[j] * factor[j]
            row[j] = v
            out[j] += v


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def spoiled(values):
    """0, or NaN where any value is infinite or NaN."""
    zero = values.dtype.type(0)
    check = zero
    for i in range(values.size):
        check += values[i] * zero
    return np.float64(check)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def add_to(total, part):
    """Add one flat array to another."""
    for i in range(total.size):
        total[i] += part[i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def finish(flat, gradient, alpha, inverse, decay):
    """Turn summed gradients into those of the mean loss with its penalty: (g + alpha W) / n + decay W.

    Args:
        flat: Parameters that take the penalty.
        gradient: Their summed gradients, changed in place.
        alpha: L2 penalty of the summed loss.
        inverse: One over the weight of the batch.
        decay: L2 penalty of the mean loss (an optimizer's weight decay).

    Returns:
        The sum of the squared parameters.
    """
    kind = flat.dtype.type
    a, n, d, square = kind(alpha), kind(inverse), kind(decay), kind(0)
    for i in range(flat.size):
        w = flat[i]
        square += w * w
        gradient[i] = (gradient[i] + a * w) * n + d * w
    return np.float64(square)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def layer_norms(flat, gradient, table, alpha, total, norms):
    """Euclidean norm of each layer's gradient of the mean loss, penalty included, weights and biases together.

    Args:
        flat: Parameters.
        gradient: Summed over the batch.
        table: As of `forward`.
        alpha: L2 penalty of the summed loss.
        total: Weight of the batch.
        norms: Where they go, one a layer.
    """
    a = flat.dtype.type(alpha)
    for layer in range(table.shape[0]):
        inner, outer, at, bias = table[layer, :4]
        square = 0.0
        for i in range(at, at + inner * outer):
            g = np.float64(gradient[i] + a * flat[i])
            square += g * g
        for i in range(bias, bias + outer):
            g = np.float64(gradient[i])
            square += g * g
        norms[layer] = math.sqrt(square) / total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
def move(kind_of, flat, gradient, first, second, rates, penalty, step):
    """One step of the optimizer over some parameters, in one pass: g = (gradient + alpha W) / n + decay W, then its rule.

    Args:
        kind_of: ``SGD``, ``NESTEROV``, ``ADAM`` or ``RMSPROP``.
        flat: Parameters, changed in place.
        gradient: Summed over the batch.
        first: First moment, or the one that there is.
        second: Second moment; unused without ``ADAM``.
        rates: Learning rate, momentum, beta 1, beta 2, epsilon, decoupled decay, smoothing of rmsprop.
        penalty: alpha, 1 / n, decay, and what the decoupled decay leaves of each parameter.
        step: Number of this step, from 1.

    Returns:
        The sum of the squared parameters, before they moved.
    """
    kind = flat.dtype.type
    rate, momentum, epsilon = kind(rates[0]), kind(rates[1]), kind(rates[4])
    a, n, d, keep, square = kind(penalty[0]), kind(penalty[1]), kind(penalty[2]), kind(penalty[3]), kind(0)
    if kind_of == ADAM:
        b1, b2, c1, c2 = kind(rates[2]), kind(rates[3]), kind(1 - rates[2]), kind(1 - rates[3])
        corrected = kind(rates[0] * math.sqrt(1 - rates[3] ** step) / (1 - rates[2] ** step))
        for i in range(flat.size):
            w = flat[i]
            square += w * w
            g = (gradient[i] + a * w) * n + d * w
            m = b1 * first[i] + c1 * g
            v = b2 * second[i] + c2 * g * g
            first[i] = m
            second[i] = v
            flat[i] = keep * w - corrected * m / (np.sqrt(v) + epsilon)
    elif kind_of == RMSPROP:
        smooth, fresh = kind(rates[6]), kind(1 - rates[6])
        for i in range(flat.size):
            w = flat[i]
            square += w * w
            g = (gradient[i] + a * w) * n + d * w
            v = smooth * first[i] + fresh * g * g
            first[i] = v
            flat[i] = keep * w - rate * g / (np.sqrt(v) + epsilon)
    else:
        ahead = momentum if kind_of == NESTEROV else kind(1)
        pull = rate if kind_of == NESTEROV else kind(0)
        for i in range(flat.size):
            w = flat[i]
            square += w * w
            g = (gradient[i] + a * w) * n + d * w
            v = momentum * first[i] - rate * g
            first[i] = v
            flat[i] = keep * w + ahead * v - pull * g
    return np.float64(square)


@njit(cache=True, nogil=True, error_model="numpy")
def forward(flat, table, codes, x, post, slope, share, seed, step):
    """Outputs of all layers for a batch, one behind the other in ``post``; derivatives of the hidden ones in ``slope``.

    Args:
        flat: Parameters.
        table: A row a layer: fan in, fan out, start of weights, start of biases, widths of the layers before, activation.
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
        if layer == layers - 1:
            add_bias(wide, flat[bias : bias + outer])
            emit(codes[1], wide)
        else:
            d = slope[start : start + size]
            if table[layer, FUNCTION] == RELU:
                bias_relu(wide, flat[bias : bias + outer], d)
            else:
                add_bias(wide, flat[bias : bias + outer])
                activate(table[layer, FUNCTION], z, d)
            if share > 0.0:
                drop(z, d, share, mix(seed, step, layer))
        h = wide


@njit(cache=True, nogil=True, error_model="numpy")
def summed_gradient(flat, gradient, table, codes, x, y, weight, post, slope, numbers, seed, step):
    """Loss and gradient of a batch, or of a thread's share of it, summed over samples; see `forward` for the rest.

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
        The summed loss without penalty.
    """
    rows, last, loss = x.shape[0], table.shape[0] - 1, 0.0
    if rows == 0:  # more threads than samples in the last batch
        gradient[:] = 0
        return loss
    forward(flat, table, codes, x, post, slope, numbers[1], seed, step)
    start, outer = rows * table[last, WIDTH_BEFORE], table[last, FAN_OUT]
    delta = post[start : start + rows * outer].reshape(rows, outer)
    epsilon = flat.dtype.type(numbers[3])
    for i in range(rows):
        each = row_loss(codes[2], codes[1], y[i], delta[i], epsilon)
        loss += each * weight[i] if weight.size else each
    error_of(delta, y, weight)
    column_sums(delta, gradient[table[last, INTERCEPT] : table[last, INTERCEPT] + outer])
    for layer in range(last, -1, -1):
        inner, outer, at = table[layer, :3]
        into = gradient[at : at + inner * outer].reshape(inner, outer)
        if layer == 0:
            np.dot(x.T, delta, into)
        else:
            start, bias = rows * table[layer - 1, WIDTH_BEFORE], table[layer - 1, INTERCEPT]
            before = post[start : start + rows * inner].reshape(rows, inner)
            np.dot(before.T, delta, into)
            np.dot(delta, flat[at : at + inner * outer].reshape(inner, outer).T, before)  # its values are used up
            scale_and_sum(before, slope[start : start + rows * inner], gradient[bias : bias + inner])
            delta = before
    return loss


@njit(cache=True, nogil=True, error_model="numpy")
def batch_gradient(flat, gradient, table, codes, x, y, weight, post, slope, numbers, seed, step):
    """Mean loss of one batch with its penalty, and the gradient of it; arguments as of `summed_gradient`."""
    total = np.float64(weight.sum()) if weight.size else np.float64(x.shape[0])
    loss = summed_gradient(flat, gradient, table, codes, x, y, weight, post, slope, numbers, seed, step)
    decayed = table[0, INTERCEPT]
    square = finish(flat[:decayed], gradient[:decayed], numbers[0], 1 / total, numbers[2])
    finish(flat[decayed:], gradient[decayed:], 0.0, 1 / total, 0.0)
    return (loss + 0.5 * numbers[0] * square) / total


@njit(cache=True, nogil=True, error_model="numpy")
def gather(X, y, weight, order, rows_x, rows_y, rows_w):
    """Copy the rows named by ``order`` out of the table, its targets and its weights, where there are any."""
    width, outputs = X.shape[1], y.shape[1]
    for i in range(order.size):
        row = order[i]
        for j in range(width):
            rows_x[i, j] = X[row, j]
        for j in range(outputs):
            rows_y[i, j] = y[row, j]
        if weight.size:
            rows_w[i] = weight[row]


@njit(cache=True, nogil=True, error_model="numpy")
def weigh(weight, order):
    """Weight of the samples named by ``order``: the sum of theirs, or how many they are."""
    if weight.size == 0:
        return np.float64(order.size)
    total = weight.dtype.type(0)
    for i in range(order.size):
        total += weight[order[i]]
    return np.float64(total)


@njit(cache=True, nogil=True, error_model="numpy")
def step_part(low, high, decayed, flat, gradients, first, second, numbers, rates, kind_of, total, steps):
    """Sum the threads' gradients of the parameters from ``low`` to ``high`` and move these; the sum of their squares.

    Args:
        low: First parameter.
        high: One behind the last.
        decayed: So many, from the first of all, are weights and not biases.
        gradients: One row a thread; the first is changed.
        total: Weight of the batch.
        flat: As of `run_epoch`.
        first: As of `run_epoch`.
        second: As of `run_epoch`.
        numbers: As of `run_epoch`.
        rates: As of `run_epoch`.
        kind_of: As of `run_epoch`.
        steps: As of `run_epoch`.
    """
    square = 0.0
    for part in range(2):
        a, b = (low, min(high, decayed)) if part == 0 else (max(low, decayed), high)
        if a >= b:
            continue
        g = gradients[0, a:b]
        for other in range(1, gradients.shape[0]):
            add_to(g, gradients[other, a:b])
        if part == 0:
            penalty = (numbers[0], 1 / total, numbers[2], 1 - rates[0] * rates[5])
        else:
            penalty = (0.0, 1 / total, 0.0, 1.0)
        found = move(kind_of, flat[a:b], g, first[a:b], second[a : min(b, second.size)], rates, penalty, steps)
        square += found if part == 0 else 0.0
    return square


@njit(cache=True, nogil=True, error_model="numpy")
def run_epoch(
    flat, gradients, first, second, table, codes, numbers, rates, kind_of, X, y, weight, order, batch_size,
    rows_x, rows_y, rows_w, post, slope, seed, step, steps, thread, threads, start, notes, meeting,
):  # fmt: skip
    """One pass over the rows named by ``order``; called by each thread with its number and its own buffers.

    Args:
        gradients: One row a share of the batch.
        X: The whole table.
        y: Its targets.
        weight: Its sample weights, or none at all.
        order: Row numbers.
        batch_size: Samples a step.
        rows_x: Buffer of one share of a batch of X.
        rows_y: Buffer of one share of y.
        rows_w: Buffer of one share of the weights.
        kind_of: As of `move`.
        rates: As of `move`.
        first: As of `move`.
        second: As of `move`; empty where the optimizer has one moment.
        steps: Steps that the optimizer has made.
        thread: Number of this thread, from 0.
        threads: How many there are; each takes as many shares.
        start: Row of the order with which to begin.
        notes: A row a share, on cache lines of their own: 0 or NaN, sum of losses.
        meeting: Of `rosenblatt.backprop.meeting.meet`.
        flat: As of `summed_gradient`.
        table: As of `summed_gradient`.
        codes: As of `summed_gradient`.
        numbers: As of `summed_gradient`.
        post: As of `summed_gradient`.
        slope: As of `summed_gradient`.
        seed: As of `summed_gradient`.
        step: As of `summed_gradient`.

    Returns:
        Row of the order that comes next; number of the bad batch from 1 (0: none), dropout steps and optimizer steps so far.
    """
    count, shares = order.size, gradients.shape[0]
    decayed, size, batch = table[0, INTERCEPT], flat.size, start // batch_size
    own, end = shares * thread // threads, shares * (thread + 1) // threads
    for begin in range(start, count, batch_size):
        rows = min(batch_size, count - begin)
        batch += 1
        total = weigh(weight, order[begin : begin + rows])
        if total == 0.0:
            continue
        for share in range(own, end):
            chosen = order[begin + rows * share // shares : begin + rows * (share + 1) // shares]
            n = chosen.size
            gather(X, y, weight, chosen, rows_x, rows_y, rows_w)
            w = rows_w[:n] if weight.size else rows_w[:0]
            gradient, key = gradients[share], step * shares + share  # each share drops units of its own
            loss = summed_gradient(
                flat, gradient, table, codes, rows_x[:n], rows_y[:n], w, post, slope, numbers, seed, key
            )
            notes[share, 0] = spoiled(gradient) + 0.0 * loss
            notes[share, 3] = loss
        meet(meeting, threads)
        bad = False
        for share in range(shares):
            bad |= notes[share, 0] != 0.0
        if bad:
            return begin, batch, step, steps
        step += 1
        steps += kind_of == ADAM  # only its bias correction counts them
        for share in range(own, end):
            low, high = size * share // shares, size * (share + 1) // shares
            square = step_part(
                low, high, decayed, flat, gradients, first, second, numbers, rates, kind_of, total, steps
            )
            notes[share, 1] += (notes[share, 3] + 0.5 * numbers[0] * square) / total * rows
        meet(meeting, threads)
    return count, 0, step, steps
