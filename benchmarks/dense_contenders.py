"""The fits that benchmarks/dense.py compares, one contender a process: reads one JSON order a line, answers with one.

Equal epochs, batches, float32, relu, Adam at 1e-3, no penalty but scikit-learn's default. Each is written as its own manual
does it; PyTorch and JAX as fast as they go: resident arrays, fused Adam, the whole epoch in one lax.scan.
"""

import ctypes
import gc
import json
import logging
import sys
import time
import warnings
from itertools import pairwise

import numpy as np

# rows, features, hidden, batch, classes, epochs
SHAPES = (
    (569, 30, (100,), 32, 2, 40),
    (1797, 64, (100,), 64, 10, 40),
    (32561, 14, (100,), 256, 2, 10),
    (60000, 784, (128,), 128, 10, 3),
    (60000, 784, (512, 256), 256, 10, 2),
)


def data(shape):
    rows, features, _, _, classes, _ = shape
    X = np.random.default_rng(0).standard_normal((rows, features), dtype=np.float32)
    y = X[:, :classes].argmax(1) if classes > 2 else X[:, 0] > 0
    return X, y.astype(np.int64)


def options_of(shape):
    _, _, hidden, batch, _, epochs = shape
    return {
        "hidden_layer_sizes": hidden, "batch_size": batch, "max_iter": epochs, "random_state": 0, "n_iter_no_change": 10**6,
    }  # fmt: skip


def rosenblatt(X, y, shape):
    from rosenblatt import MLPClassifier

    return lambda: MLPClassifier(**options_of(shape)).fit(X, y).loss_


def scikit_learn(X, y, shape):
    from sklearn.neural_network import MLPClassifier

    return lambda: MLPClassifier(**options_of(shape)).fit(X, y).loss_


def layers_of(shape):
    import torch

    widths, layers = [shape[1], *shape[2]], []
    for inner, outer in pairwise(widths):
        layers += [torch.nn.Linear(inner, outer), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], shape[4]))


def torch(X, y, shape):
    import torch

    x, target, batch, epochs = torch.from_numpy(X), torch.from_numpy(y), shape[3], shape[5]

    def fit():
        generator, model = torch.Generator().manual_seed(0), layers_of(shape)
        optimizer, total = torch.optim.Adam(model.parameters(), 1e-3, fused=True), 0.0
        for _ in range(epochs):
            order, total = torch.randperm(len(x), generator=generator), torch.zeros(())
            for start in range(0, len(x), batch):
                rows = order[start : start + batch]
                loss = torch.nn.functional.cross_entropy(model(x.index_select(0, rows)), target.index_select(0, rows))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += loss.detach() * len(rows)
        return float(total) / len(x)

    return fit


def jax(X, y, shape):
    import jax
    import jax.numpy as jnp

    batch, epochs, widths = shape[3], shape[5], [shape[1], *shape[2], shape[4]]
    steps = len(X) // batch  # lax.scan needs equal batches: what is left over is skipped, in JAX's favour
    X, y = jnp.asarray(X), jnp.asarray(y)

    def loss_of(parameters, x, target):
        for w, b in parameters[:-1]:
            x = jax.nn.relu(x @ w + b)
        w, b = parameters[-1]
        return -jnp.take_along_axis(jax.nn.log_softmax(x @ w + b), target[:, None], 1).mean()

    def step(state, rows):
        parameters, first, second, count = state
        loss, gradient = jax.value_and_grad(loss_of)(parameters, X[rows], y[rows])
        count += 1
        tree = jax.tree.map
        first = tree(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
        second = tree(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
        rate = 1e-3 * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        parameters = tree(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), parameters, first, second)
        return (parameters, first, second, count), loss

    @jax.jit
    def epoch(state, key):
        rows = jax.random.permutation(key, len(X))[: steps * batch].reshape(steps, batch)
        state, losses = jax.lax.scan(step, state, rows)
        return state, losses.mean()

    def fit():
        keys = jax.random.split(jax.random.key(0), len(widths) + epochs)
        parameters = [
            (jax.random.normal(k, (a, b)) * (2 / a) ** 0.5, jnp.zeros(b))
            for k, (a, b) in zip(keys, pairwise(widths), strict=False)
        ]
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        state = (parameters, zeros, zeros, jnp.float32(0))
        for key in keys[len(widths) :]:
            state, loss = epoch(state, key)
        return float(loss)

    return fit


def skorch(X, y, shape):
    import torch
    from skorch import NeuralNetClassifier

    def fit():
        net = NeuralNetClassifier(
            layers_of(shape), criterion=torch.nn.CrossEntropyLoss, optimizer=torch.optim.Adam, lr=1e-3, max_epochs=shape[5],
            batch_size=shape[3], iterator_train__shuffle=True, train_split=None, verbose=0,
        )  # fmt: skip
        return float(net.fit(X, y).history[-1, "train_loss"])

    return fit


def keras(X, y, shape):
    import os

    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    def fit():
        model = keras.Sequential([keras.Input((shape[1],))])
        for width in shape[2]:
            model.add(keras.layers.Dense(width, activation="relu"))
        model.add(keras.layers.Dense(shape[4]))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer=keras.optimizers.Adam(1e-3), loss=loss)
        return float(model.fit(X, y, batch_size=shape[3], epochs=shape[5], verbose=0).history["loss"][-1])

    return fit


def lightning(X, y, shape):
    from lightning_utilities.core.imports import RequirementCache

    # torchvision is not needed here, and one that does not fit this torch would break the import
    whole = RequirementCache.__bool__
    RequirementCache.__bool__ = lambda self: "torchvision" not in str(self.requirement) and whole(self)
    import lightning as L
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    table = TensorDataset(torch.from_numpy(X), torch.from_numpy(y))

    class Net(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.layers, self.losses = layers_of(shape), []

        def training_step(self, batch, _):
            loss = torch.nn.functional.cross_entropy(self.layers(batch[0]), batch[1])
            self.losses.append(loss.detach())
            return loss

        def on_train_epoch_start(self):
            self.losses = []

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-3)

    def fit():
        trainer = L.Trainer(
            max_epochs=shape[5], accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False,
        )  # fmt: skip
        net = Net()
        trainer.fit(net, DataLoader(table, batch_size=shape[3], shuffle=True))
        return float(torch.stack(net.losses).mean())

    return fit


def fit_many(X, y, shape, count=16):
    """Pair of functions: one network, and ``count`` with seeds of their own in one call."""
    from rosenblatt import MLPClassifier
    from rosenblatt import fit_many as many

    model = MLPClassifier(**options_of(shape))
    return lambda: model.fit(X, y), lambda: many(model, X, y, random_state=range(count))


def resident(name):
    """MiB of memory from /proc/self/status."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(name))


def memory(fit):
    """MiB that a fit takes at its peak above what was there before; the code is loaded by a fit before that."""
    fit()
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what that fit freed would hide what the next one takes
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak counts from here
    before = resident("VmRSS")
    fit()
    return resident("VmHWM") - before


CONTENDERS = {
    "rosenblatt": rosenblatt, "scikit-learn": scikit_learn, "torch": torch, "jax": jax, "skorch": skorch, "keras": keras,
    "lightning": lightning,
}  # fmt: skip


def timed(fit):
    started = time.perf_counter()
    loss = fit()
    return {"seconds": time.perf_counter() - started, "loss": loss if isinstance(loss, float) else None}


def main():
    warnings.simplefilter("ignore")
    name, fits, answer_to = sys.argv[1], (), sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints is no answer
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "prepare":
            shape = SHAPES[order["shape"]]
            shape = (*shape[:5], max(1, int(shape[5] * order["share"])))
            X, y = data(shape)
            fits = fit_many(X, y, shape) if order.get("many") else (CONTENDERS[name](X, y, shape),)
            answer = [timed(fit) for fit in fits]
        elif order["do"] == "run":
            answer = [timed(fit) for fit in fits]
        else:
            answer = memory(fits[0])
        print(json.dumps(answer), file=answer_to, flush=True)


if __name__ == "__main__":
    main()
