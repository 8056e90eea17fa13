"""A chain of dense layers on the CPU, each epoch one compiled call over one flat parameter vector.

The mathematics is scikit-learn's: gradient of the mean loss plus ``alpha W / n``, momentum with the rate inside, Adam
with the bias correction in the rate (Kingma & Ba 2015, end of section 2).

Shape letters: N samples, D features, K outputs.
"""

from __future__ import annotations

import ctypes
import math
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from threadpoolctl import ThreadpoolController

from rosenblatt.backprop import functions, kernels, meeting
from rosenblatt.backprop.compiling import announced
from rosenblatt.layers.activations import find

ACTIVATIONS = {
    "step": functions.STEP, "sign": functions.SIGN, "linear": functions.LINEAR, "logistic": functions.LOGISTIC,
    "tanh": functions.TANH, "relu": functions.RELU, "leaky_relu": functions.LEAKY, "elu": functions.ELU, "selu": functions.SELU,
    "softplus": functions.SOFTPLUS, "gelu": functions.GELU, "silu": functions.SILU, "mish": functions.MISH,
    "hard_sigmoid": functions.HARD,
}  # fmt: skip
OUTPUTS = {
    "identity": kernels.OUT_IDENTITY, "logistic": kernels.OUT_LOGISTIC, "softmax": kernels.OUT_SOFTMAX,
    "exp": kernels.OUT_EXP,
}  # fmt: skip
LOSSES = {"squared_error": kernels.SQUARED, "log_loss": kernels.LOG, "poisson": kernels.POISSON}
_PAIRS = {("identity", "squared_error"), ("logistic", "log_loss"), ("softmax", "log_loss"), ("exp", "poisson")}
_BLOCK = 1024
_THREAD_WORK = 4e6
"""Multiplications and additions of a step's matrix products, over all layers, that another thread is worth."""
_THREAD_ROWS = 16
_TRIAL, _LONG = 48, 1024
"""Steps in which another number of threads is tried, and after which it is tried again."""
_SMOOTHING = 0.99
"""Decay of the squared gradients in "rmsprop", as PyTorch has it."""


def covers(activation: Any, output: str, loss: str, dtype: Any) -> bool:
    """Whether the compiled engine has what a network needs.

    Args:
        activation: Name of the hidden layers' function; a callable is never covered.
        output: Name of the output unit.
        loss: Name of the loss.
        dtype: Of the table.
    """
    if not isinstance(activation, str) or (output, loss) not in _PAIRS:
        return False
    try:
        name = find(activation).name
    except ValueError:
        return False
    return name in ACTIVATIONS and np.dtype(dtype) in (np.float32, np.float64)


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    """Looking for the BLAS libraries of the process takes a millisecond, so it is done once."""
    return ThreadpoolController()


class _Pace:
    """How many threads take the shares of a batch: as many as were faster when last tried.

    Where others use the cores, threads that wait for each other are slower than one. The result is the same: the shares
    stay, whoever takes them.
    """

    def __init__(self) -> None:
        self.seconds: dict[int, float] = {}
        self.steps, self.trials = 0, 0

    def next(self, shares: int) -> tuple[int, int]:
        """Threads, and the steps for which to keep them."""
        if shares == 1:
            return 1, _LONG
        if self.trials < 3:  # the first one fills the caches, and may compile
            return (shares, 1, shares)[self.trials], _TRIAL
        best, other = sorted(self.seconds, key=self.seconds.__getitem__)
        return (other, _TRIAL) if self.steps >= _LONG else (best, _LONG - self.steps)

    def note(self, threads: int, steps: int, seconds: float) -> None:
        """What that took."""
        before = min(self.seconds, key=self.seconds.__getitem__, default=threads)
        self.seconds[threads] = seconds / steps
        now = min(self.seconds, key=self.seconds.__getitem__)
        self.trials += 1
        self.steps = self.steps + steps if threads == before == now else 0


class _OneThread:
    """BLAS on one thread while anyone is inside: the engine has its own threads, and several fits may run at once.

    threadpoolctl's own limit, left by two threads in another order than they came, would stay for good.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.limit = threading.Lock(), 0, None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.limit = _blas().limit(limits=1, user_api="blas")
        try:
            yield
        finally:
            with self.lock:
                self.inside -= 1
                if self.inside == 0:
                    self.limit.restore_original_limits()
                    self.limit = None


one_blas_thread = _OneThread()
"""Context manager that a run enters once, since setting the limit costs as much as a small step."""


def threads_for(shapes: list[tuple[int, int]], batch_size: int) -> int:
    """How many threads share a batch: as many as Numba may use, where each has enough to do.

    Args:
        shapes: (fan in, fan out) of each layer.
        batch_size: Samples a step.
    """
    work = 6 * batch_size * sum(inner * outer for inner, outer in shapes)
    wanted = min(int(work / _THREAD_WORK), batch_size // _THREAD_ROWS, numba.config.NUMBA_NUM_THREADS)
    return max(1, wanted)


class CompiledChain:
    """Parameters, forward and backward pass of a chain of dense layers, compiled.

    Args:
        coefs: Weight matrices (fan_in, fan_out) of one number type, float32 or float64; copied.
        intercepts: Biases (fan_out,); copied.
        activation: Name of the function between the layers; or one name for each hidden layer.
        output: "identity", "logistic", "softmax" or "exp".
        loss: "squared_error", "log_loss" or "poisson".
        alpha: L2 penalty of the weights, divided by the batch's (weighted) size.
        dropout: Share of each hidden layer dropped in training.
        seed: Of the dropout masks.
    """

    def __init__(
        self,
        coefs: list[np.ndarray],
        intercepts: list[np.ndarray],
        *,
        activation: str | Sequence[str],
        output: str,
        loss: str,
        alpha: float,
        dropout: float = 0.0,
        seed: int = 0,
    ):
        self.flat = np.concatenate([a.ravel() for a in [*coefs, *intercepts]])
        self.gradients = np.zeros((1, len(self.flat)), self.flat.dtype)
        self.shapes = [c.shape for c in coefs]
        names = [activation] * (len(coefs) - 1) if isinstance(activation, str) else activation
        functions = [ACTIVATIONS[find(name).name] for name in names]
        self.table = _table(self.shapes, functions)
        self.codes = np.array([functions[0] if functions else 0, OUTPUTS[output], LOSSES[loss]])
        self.alpha, self.dropout, self.seed, self.step = float(alpha), float(dropout), np.int64(seed), 0
        self.norms, self.pace = np.zeros(len(self.shapes)), _Pace()
        self._buffers: list[tuple[np.ndarray, ...]] = []

    @property
    def gradient(self) -> np.ndarray:
        """The last gradient, flat."""
        return self.gradients[0]

    def threads(self, batch_size: int) -> int:
        """How many threads share a batch."""
        return threads_for(self.shapes, batch_size)

    def gradient_norms(self) -> dict[str, float]:
        """Norm of each layer's gradient in the last batch of the last epoch."""
        return {f"layers.{layer}": float(norm) for layer, norm in enumerate(self.norms)}

    def snapshot(self) -> np.ndarray:
        """A copy of all parameters, for `restore`."""
        return self.flat.copy()

    def restore(self, parameters: np.ndarray) -> None:
        """Set all parameters."""
        self.flat[:] = parameters

    def arrays(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Copies of the weights and biases as numpy arrays."""
        return tuple([v.copy() for v in part] for part in self._views(self.flat))

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Outputs (N, K) after the output activation, without dropout."""
        x = np.ascontiguousarray(x, dtype=self.flat.dtype)
        out = np.empty((len(x), self.shapes[-1][1]), self.flat.dtype)
        for start in range(0, len(x), _BLOCK):
            part = x[start : start + _BLOCK]
            out[start : start + _BLOCK] = self._layers(part, dropout=0.0)[-1]
        return out

    def loss_and_gradient(self, X: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> tuple[float, np.ndarray]:
        """Mean loss with its penalty, and the flat gradient, which the next call overwrites.

        Args:
            X: (N, D) of the parameters' number type, C-ordered.
            y: Targets (N, K) of that type.
            weight: (N,) of that type, or None.
        """
        post, slope = self._room(len(X))[:2]
        loss = kernels.batch_gradient(
            self.flat, self.gradient, self.table, self.codes, _plain(X), _plain(y), _weights(weight, self.flat.dtype),
            post, slope, self._numbers(0.0), self.seed, self.step,
        )  # fmt: skip
        return float(loss), self.gradient

    def bad_layer(self, x: np.ndarray) -> str:
        """The first layer whose values for a batch, or else the last whose gradient, are not finite."""
        inputs, (coefs, intercepts) = x, self._views(self.flat)
        layers = self._layers(np.ascontiguousarray(x), dropout=self.dropout)
        with np.errstate(all="ignore"):
            for layer, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
                if not np.isfinite(inputs @ coef + intercept).all():
                    return f"layers.{layer}"
                inputs = layers[layer]
        shares = [self._views(row)[0] for row in self.gradients]
        for layer in range(len(coefs) - 1, -1, -1):
            if not all(np.isfinite(share[layer]).all() for share in shares):
                return f"layers.{layer}"
        return f"layers.{len(coefs) - 1}"

    def _layers(self, x: np.ndarray, dropout: float) -> list[np.ndarray]:
        post, slope = self._room(len(x))[:2]
        kernels.forward(self.flat, self.table, self.codes, _plain(x), post, slope, float(dropout), self.seed, self.step)
        starts = len(x) * self.table[:, kernels.WIDTH_BEFORE]
        shapes = [(len(x), width) for _, width in self.shapes]
        return [post[s : s + math.prod(shape)].reshape(shape) for s, shape in zip(starts, shapes, strict=True)]

    def _views(self, vector: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        coefs = [vector[r[2] : r[2] + r[0] * r[1]].reshape(r[0], r[1]) for r in self.table]
        return coefs, [vector[r[3] : r[3] + r[1]] for r in self.table]

    def _room(self, rows: int, thread: int = 0) -> tuple[np.ndarray, ...]:
        """A thread's buffers: activations, derivatives, rows of the table, of the targets and of the weights."""
        if len(self._buffers) <= thread:
            self._buffers.append(())
        if not self._buffers[thread] or len(self._buffers[thread][4]) < rows:
            widths, kind = [b for _, b in self.shapes], self.flat.dtype
            sizes = (rows * sum(widths), rows * sum(widths[:-1]), (rows, self.shapes[0][0]), (rows, widths[-1]), rows)
            self._buffers[thread] = tuple(np.empty(size, kind) for size in sizes)
        return self._buffers[thread]

    def _numbers(self, decay: float) -> np.ndarray:
        return np.array([self.alpha, self.dropout, decay, np.finfo(self.flat.dtype).eps])


class CompiledOptimizer:
    """SGD with momentum, Adam, AdamW or RMSprop over a flat vector.

    Args:
        kind: "sgd", "adam", "adamw" or "rmsprop".
        chain: What it moves; None for a vector of float64.
        size: Length of that vector.
        learning_rate: Step size; schedules change ``self.learning_rate``.
        momentum, nesterov: Of "sgd".
        beta_1, beta_2, epsilon: Of "adam" and "adamw"; "rmsprop" takes epsilon alone.
        weight_decay: Of weights, not biases: decoupled in "adamw" (Loshchilov & Hutter 2019), else added to the gradient.

    Reference:
        Kingma & Ba 2015, arXiv:1412.6980, algorithm 1 and the remark below it.
    """

    def __init__(
        self,
        kind: str,
        chain: CompiledChain | None = None,
        *,
        size: int = 0,
        learning_rate: float,
        momentum: float = 0.9,
        nesterov: bool = True,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        self.kind, self.learning_rate, self.momentum, self.nesterov = kind, learning_rate, momentum, nesterov
        self.beta_1, self.beta_2, self.epsilon, self.weight_decay = beta_1, beta_2, epsilon, weight_decay
        self.first = np.zeros(size) if chain is None else np.zeros_like(chain.flat)
        self.second = np.zeros_like(self.first) if kind in ("adam", "adamw") else None
        self.steps = 0

    def state(self) -> dict[str, Any]:
        """Moments, step count and rate, as arrays and numbers."""
        return {
            "kind": self.kind,
            "learning_rate": float(self.learning_rate),
            "steps": self.steps,
            "first": self.first.copy(),
            "second": None if self.second is None else self.second.copy(),
        }

    def load(self, state: dict[str, Any]) -> bool:
        """Continue from a state; False where it belongs to another optimizer or network."""
        if state["kind"] != self.kind or state["first"].shape != self.first.shape:
            return False
        self.learning_rate, self.steps = state["learning_rate"], state["steps"]
        self.first[:] = state["first"]
        if self.second is not None:
            self.second[:] = state["second"]
        return True

    def update(self, flat: np.ndarray, gradient: np.ndarray) -> None:
        """Move a vector one step by the gradient at it; all of it takes the decay."""
        self.steps += self._code() == kernels.ADAM
        coupled = 0.0 if self.kind == "adamw" else float(self.weight_decay)
        penalty = (0.0, 1.0, coupled, 1 - self.learning_rate * (self.weight_decay if self.kind == "adamw" else 0.0))
        second = self.first if self.second is None else self.second  # unused then
        kernels.move(self._code(), flat, gradient, self.first, second, self._rates(), penalty, self.steps)

    def _code(self) -> int:
        if self.kind == "sgd":
            return kernels.NESTEROV if self.nesterov else kernels.SGD
        return kernels.RMSPROP if self.kind == "rmsprop" else kernels.ADAM

    def _rates(self) -> np.ndarray:
        decoupled = self.weight_decay if self.kind == "adamw" else 0.0
        rates = [self.learning_rate, self.momentum, self.beta_1, self.beta_2, self.epsilon, decoupled, _SMOOTHING]
        return np.array(rates, dtype=np.float64)


def epoch(
    chain: CompiledChain,
    optimizer: CompiledOptimizer,
    X: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray | None,
    order: np.ndarray,
    batch_size: int,
) -> tuple[float, int | None, str | None]:
    """One pass in the given order.

    Args:
        chain: What learns.
        optimizer: How it moves.
        X: (N, D) of the chain's number type, C-ordered; never copied.
        y: Targets (N, K) of that type.
        weight: Sample weights (N,) of that type, or None; a batch without any weight is passed over.
        order: Row numbers.
        batch_size: Samples a step; the last batch may be smaller.

    Returns:
        Mean loss of the samples, penalty included; number of the batch, from 1, where loss or gradient turned
        non-finite, before it moved anything, or None; name of the first bad layer or None.
    """
    compile_for(chain.flat.dtype)
    return _epoch(chain, optimizer, X, y, weight, order, batch_size)


_compiling = threading.Lock()
_compiled: set[np.dtype] = set()


def compile_for(kind: np.dtype) -> None:
    """Have the engine ready for a number type: from Numba's cache, or compiled, which a line on stderr then says."""
    with _compiling:
        if kind in _compiled:
            return
        chain = CompiledChain(
            [np.ones((1, 1), kind)],
            [np.ones(1, kind)],
            activation="linear",
            output="identity",
            loss="squared_error",
            alpha=0.0,
        )
        one = np.ones((1, 1), kind)
        with announced(f"the engine of dense networks for {kind}"):
            _epoch(chain, CompiledOptimizer("adam", chain, learning_rate=0.1), one, one, None, np.arange(1), 1)
        _compiled.add(kind)


def _epoch(
    chain: CompiledChain,
    optimizer: CompiledOptimizer,
    X: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray | None,
    order: np.ndarray,
    batch_size: int,
) -> tuple[float, int | None, str | None]:
    order = np.ascontiguousarray(order, dtype=np.int64)
    batch_size = int(min(batch_size, len(order)))
    shares, kind = chain.threads(batch_size), chain.flat.dtype
    if len(chain.gradients) != shares:
        chain.gradients = np.zeros((shares, len(chain.flat)), kind)
    second = optimizer.second if optimizer.second is not None else np.empty(0, kind)
    coupled = 0.0 if optimizer.kind == "adamw" else float(optimizer.weight_decay)
    numbers, rates, code = chain._numbers(coupled), optimizer._rates(), optimizer._code()
    data, notes = (_plain(X), _plain(y), _weights(weight, kind)), np.zeros((shares, 8))
    start, bad = 0, 0
    with one_blas_thread():
        while start < len(order) and not bad:
            threads, steps = chain.pace.next(shares)
            part, place = order[: start + steps * batch_size], np.zeros(meeting.SIZE, np.int64)
            rooms = [chain._room(-(-batch_size // shares), thread) for thread in range(threads)]

            def run(
                thread: int,
                threads: int = threads,
                place: Any = place,
                rooms: Any = rooms,
                part: Any = part,
                at: int = start,
            ) -> Any:
                post, slope, rows_x, rows_y, rows_w = rooms[thread]
                return kernels.run_epoch(
                    chain.flat, chain.gradients, optimizer.first, second, chain.table, chain.codes, numbers, rates, code,
                    *data, part, batch_size, rows_x, rows_y, rows_w, post, slope, chain.seed, chain.step,
                    optimizer.steps, thread, threads, at, notes, place,
                )  # fmt: skip

            began = time.perf_counter()
            done = [run(0)] if threads == 1 else _together(run, threads)
            steps = -(-(len(part) - start) // batch_size)
            chain.pace.note(threads, steps, time.perf_counter() - began)
            start, bad, chain.step, optimizer.steps = done[0]
    total = float(notes[:, 1].sum())
    last = order[(len(order) - 1) // batch_size * batch_size :]
    weight_of_last = kernels.weigh(data[2], last)
    if weight_of_last:
        kernels.layer_norms(chain.flat, chain.gradient, chain.table, chain.alpha, weight_of_last, chain.norms)
    if bad:
        return total / len(order), bad, chain.bad_layer(X[order[(bad - 1) * batch_size : bad * batch_size]])
    return total / len(order), None, None


def _together(run: Any, threads: int) -> list[Any]:
    """``run(0)`` here and the others each on a thread of its own, since they wait for each other."""
    with ThreadPoolExecutor(threads - 1, "rosenblatt-epoch") as pool:
        others = [pool.submit(run, thread) for thread in range(1, threads)]
        return [run(0), *(other.result() for other in others)]


def side_by_side(jobs: list[Any]) -> list[Any]:
    """Call functions that leave Python's lock while they train, on as many threads as Numba may use.

    Args:
        jobs: Functions without arguments.

    Returns:
        What they return, in order; an exception that one raised stands in its place.
    """

    def attempt(job: Any) -> Any:
        try:
            return job()
        except Exception as error:  # handed back: one network that diverges must not cost the others
            return error

    with one_blas_thread(), ThreadPoolExecutor(min(len(jobs), numba.config.NUMBA_NUM_THREADS) or 1) as pool:
        try:
            return list(pool.map(attempt, jobs))
        except BaseException:  # Ctrl-C: what has not begun never will
            pool.shutdown(cancel_futures=True)
            raise


def _table(shapes: list[tuple[int, int]], functions: list[int]) -> np.ndarray:
    at, bias, before, rows = 0, sum(a * b for a, b in shapes), 0, []
    for (inner, outer), function in zip(shapes, [*functions, 0], strict=True):
        rows.append((inner, outer, at, bias, before, function))
        at, bias, before = at + inner * outer, bias + outer, before + outer
    return np.array(rows, dtype=np.int64)


def _weights(weight: np.ndarray | None, kind: np.dtype) -> np.ndarray:
    return np.empty(0, kind) if weight is None else _plain(weight)


def _plain(array: np.ndarray) -> np.ndarray:
    """The array itself, or a view that calls itself writable: Numba would compile everything again for a read-only one.

    Nothing writes to it, and the caller holds the array while the view lives.
    """
    if array.flags.writeable or not array.size:
        return array
    memory = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
    return np.frombuffer(memory, array.dtype).reshape(array.shape)
