"""How an autoencoder learns: its objective as a module for the visible loop, and the compiled loop for dense chains."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Float
from rosenblatt.backprop.engine import CompiledChain, CompiledOptimizer
from rosenblatt.backprop.engine import epoch as compiled_epoch
from rosenblatt.data.corrupt import corrupt
from rosenblatt.errors import DivergedError
from rosenblatt.losses.code import absolute_code, estimated_contraction, exact_contraction, kl_sparsity
from rosenblatt.models.autoencoder import ConvAutoencoder, DenseAutoencoder
from rosenblatt.train.checkpoint import Keeper, fingerprint
from rosenblatt.train.plan import Plan
from rosenblatt.train.schedule import factor
from rosenblatt.train.supervised import EpochRecord

_PARTS = 16
"""How often in an epoch the compiled loop looks at its schedule."""


@dataclass(frozen=True)
class Recipe:
    """What is asked of an autoencoder, but for its network.

    Attributes:
        loss: "squared_error" or "log_loss".
        corruption, level: See `rosenblatt.data.corrupt.corrupt`.
        low, high: Ends of the prepared data, for "salt".
        shape: (C, H, W) of pictures, for "patches".
        sparse: None, "l1", "kl" or "top-k" (which is the network's own).
        target: Mean activation that "kl" wants.
        sparse_weight: Of the penalties "l1" and "kl".
        contract: Weight of the contractive penalty.
        exact: The encoder is one dense layer, so the penalty has a closed form.
    """

    loss: str = "squared_error"
    corruption: str | None = None
    level: float = 0.0
    low: float = 0.0
    high: float = 1.0
    shape: tuple[int, int, int] | None = None
    sparse: str | None = None
    target: float = 0.05
    sparse_weight: float = 0.0
    contract: float = 0.0
    exact: bool = False


class Parts(NamedTuple):
    """What the loss is made of: raw reconstruction, clean data, what was hidden (or None), penalty."""

    raw: Tensor
    clean: Tensor
    hidden: Tensor | None
    penalty: Tensor


class Objective(nn.Module):
    """A network with its recipe, as the supervised loop wants it: clean samples in, the parts of the loss out.

    Args:
        network: What learns.
        recipe: What is asked of it.
    """

    def __init__(self, network: DenseAutoencoder | ConvAutoencoder, recipe: Recipe):
        super().__init__()
        self.network, self.recipe = network, recipe

    def forward(self, x: Float[Tensor, "N D"], generator: torch.Generator | None = None) -> Parts:
        """Corrupt, encode, decode; randomness is torch's own unless a generator is given."""
        r = self.recipe
        seen, hidden = corrupt(x, r.corruption, r.level, generator, low=r.low, high=r.high, shape=r.shape)
        if r.contract:
            seen = seen.detach().requires_grad_()
        with torch.set_grad_enabled(torch.is_grad_enabled() or bool(r.contract)):
            code = self.network.encode(seen)
            penalty = self.penalty(code.float(), seen, generator)
        return Parts(self.network.decode(code, raw=True).float(), x, hidden, penalty)

    def penalty(self, code: Tensor, seen: Tensor, generator: torch.Generator | None) -> Tensor:
        """Weighted sparsity and contraction."""
        r, total = self.recipe, code.new_zeros(())
        if r.sparse == "l1":
            total = total + r.sparse_weight * absolute_code(code)
        elif r.sparse == "kl":
            total = total + r.sparse_weight * kl_sparsity(code, r.target)
        if not r.contract:
            return total
        if r.exact:
            before = self.network.before_code(seen).float()
            value = self.network.code_activation(before)
            if value is before:  # a linear code
                slope = torch.ones_like(before)
            else:
                (slope,) = torch.autograd.grad(value.sum(), before, create_graph=True)
            return total + r.contract * exact_contraction(slope, self.network.encoder[0].weight)
        probe = torch.randn(code.shape, generator=generator, device=code.device)
        return total + r.contract * estimated_contraction(code, seen, probe)

    def loss(self, parts: Parts, _: Any = None, weight: Tensor | None = None) -> Tensor:
        """Mean over samples of the loss summed over features, half the squared error or the cross-entropy; plus penalties.

        Where something was hidden only that counts, scaled up to the whole sample.
        """
        raw, clean = parts.raw, parts.clean
        if self.recipe.loss == "log_loss":
            each = F.binary_cross_entropy_with_logits(raw, clean, reduction="none")
        else:
            out = raw if self.network.output is None else self.network.output(raw)
            each = 0.5 * (out - clean).square()
        if parts.hidden is not None:
            share = parts.hidden.sum(1).clamp(min=1) / raw.shape[1]
            each = each * parts.hidden / share[:, None]
        total = each.sum(1)
        mean = total.mean() if weight is None else (total * weight).sum() / weight.sum()
        return mean + parts.penalty

    def score(self, x: Tensor, seed: int, block: int = 2000) -> float:
        """Minus the objective on held-out samples, with randomness that is the same after each epoch."""
        source, total = torch.Generator(x.device).manual_seed(seed), 0.0
        with torch.no_grad():
            for part in x.split(block):
                total -= float(self.loss(self(part, source)).detach()) * len(part)
        return total / len(x)


# ------------------------------------------------------------------------------------------------- the compiled loop


def chain_of(network: DenseAutoencoder, activation: str, code_activation: str, loss: str, output: str) -> CompiledChain:
    """The compiled engine's form of a dense autoencoder that is not tied."""
    layers = [*network.encoder, *network.decoder]
    hidden = len(network.encoder) - 1
    return CompiledChain(
        [layer.weight.detach().numpy().T for layer in layers],
        [layer.bias.detach().numpy() for layer in layers],
        activation=[*[activation] * hidden, code_activation, *[activation] * hidden],
        output=output,
        loss=loss,
        alpha=0.0,
    )


def compiled(
    objective: Objective,
    chain: CompiledChain,
    x: np.ndarray,
    *,
    plan: Plan,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    seed: int,
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    keeper: Keeper | None = None,
) -> Iterator[EpochRecord]:
    """Train a dense autoencoder by the compiled engine; a loop like `rosenblatt.train.supervised.supervised`.

    The schedule moves sixteen times an epoch rather than with every step, and an epoch's corruption is drawn at its start.

    Args:
        objective: Its network has the trained weights whenever the generator yields.
        chain: From `chain_of`, of the same network.
        x: Prepared samples (N, D), float32.
        plan: A complete plan.
        epochs: Passes over the data.
        learning_rate: Top of the schedule.
        batch_size: Samples a step.
        seed: Of order and corruption.
        evaluate: As `supervised`.
        keeper: As `supervised`.

    Yields:
        One `EpochRecord` an epoch.

    Raises:
        DivergedError: Loss or weights turned non-finite; the network holds the weights of the last good epoch.
    """
    momentum = plan.momentum if plan.momentum is not None else 0.9
    optimizer = CompiledOptimizer(
        plan.optimizer or "adam", chain, learning_rate=learning_rate, momentum=momentum, nesterov=bool(plan.nesterov),
        beta_1=momentum, weight_decay=plan.weight_decay or 0.0,
    )  # fmt: skip
    source, r, done = torch.Generator().manual_seed(seed), objective.recipe, 0
    if keeper is not None and keeper.state:
        done = _resume(chain, optimizer, source, keeper)
        _into(objective.network, chain)
    per_part = batch_size * max(1, -(-len(x) // batch_size) // _PARTS)
    for number in range(done + 1, epochs + 1):
        good, started, total = chain.snapshot(), time.perf_counter(), 0.0
        seen = corrupt(torch.from_numpy(x), r.corruption, r.level, source, low=r.low, high=r.high)[0].numpy()
        order = torch.randperm(len(x), generator=source).numpy()
        try:
            for start in range(0, len(x), per_part):
                rows = order[start : start + per_part]
                share = (number - 1 + start / len(x)) * 1000
                optimizer.learning_rate = learning_rate * factor(
                    plan.schedule or "constant", round(share), 1000 * epochs, warmup=plan.warmup or 0.0
                )
                loss, bad, layer = compiled_epoch(chain, optimizer, seen, x, None, rows, batch_size)
                if bad is not None or not np.isfinite(loss) or not np.isfinite(chain.flat).all():
                    chain.restore(good)
                    raise _diverged(number, start // batch_size + (bad or 1), layer, learning_rate)
                # the engine reports squared errors averaged over features, cross-entropies summed
                total += loss * len(rows) * (x.shape[1] if r.loss == "squared_error" else 1)
        except KeyboardInterrupt:
            chain.restore(good)
            raise
        finally:
            _into(objective.network, chain)
        seconds = time.perf_counter() - started
        metrics = dict(evaluate(objective)) if evaluate is not None else {}
        state = partial(_state, objective, chain, optimizer, source)
        yield EpochRecord(number, total / len(x), optimizer.learning_rate, seconds, metrics, state)


def compiled_keeper(plan: Plan, x: np.ndarray, chain: CompiledChain, **identity: Any) -> Keeper | None:
    """The keeper of a compiled run, or None where its plan asks for no checkpoints."""
    if plan.checkpoint is None:
        return None
    threads = chain.threads(int(identity["batch_size"]))
    return Keeper.of(plan, {**identity, "engine": "compiled", "threads": threads, "data": fingerprint(x, chain.flat)})


def _state(objective: Objective, chain: CompiledChain, optimizer: CompiledOptimizer, source: Any) -> dict[str, Any]:
    return {
        "flat": chain.flat,
        "step": chain.step,
        "optimizer": optimizer.state(),
        "generator": source.get_state(),
    }


def _resume(chain: CompiledChain, optimizer: CompiledOptimizer, source: torch.Generator, keeper: Keeper) -> int:
    state = keeper.state["loop"]
    chain.restore(state["flat"])
    chain.step = state["step"]
    optimizer.load(state["optimizer"])
    source.set_state(state["generator"])
    return keeper.epoch if not keeper.finished else 1 << 30


@torch.no_grad()
def _into(network: DenseAutoencoder, chain: CompiledChain) -> None:
    """Copy a chain's numbers into the network."""
    layers = [*network.encoder, *network.decoder]
    for layer, coef, intercept in zip(layers, *chain.arrays(), strict=True):
        layer.weight.copy_(torch.from_numpy(coef).T)
        layer.bias.copy_(torch.from_numpy(intercept))


def _diverged(number: int, batch: int, layer: str | None, rate: float) -> DivergedError:
    return DivergedError.at(
        number,
        batch=batch,
        layer=layer,
        advice=f"Try a learning_rate 10 times smaller (now {rate:g}), or a fixed range: scale X to 0 to 1.",
    )
