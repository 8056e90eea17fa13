"""The loop of two players, visible: a generator that trains one epoch at a time and yields a frozen record of it.

As in `rosenblatt.train.supervised`, whoever iterates decides what happens between epochs. Whenever the loop yields, the
module's generator holds its averaged weights (Yaz et al. 2018, arXiv:1806.04498), which are what is judged and kept.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rosenblatt.data.differentiable import DifferentiableAugment
from rosenblatt.data.resident import Resident
from rosenblatt.errors import DivergedError
from rosenblatt.losses.adversarial import AdversarialLoss, unit_gradient_penalty, zero_centred_penalty
from rosenblatt.train.checkpoint import Keeper
from rosenblatt.train.memory import keep_freed
from rosenblatt.train.numbers import finite
from rosenblatt.train.optimizer import make_optimizer, same_layout
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import autocast, choose_precision, synchronize
from rosenblatt.train.schedule import factor
from rosenblatt.train.seeds import PrivateRandom
from rosenblatt.train.supervised import EpochRecord

EVERY = 4
"""Steps of the critic for one penalty, which then counts so many times (Karras et al. 2019, section 3.1)."""

AVERAGE = 0.999
"""Decay a step of the averaged generator, where the plan names none."""


def adversarial(
    players: nn.Module,
    data: Resident,
    loss: AdversarialLoss,
    *,
    code_size: int,
    plan: Plan = STANDARD,
    epochs: int,
    learning_rate: float,
    prepare: Callable[[Tensor], Tensor] | None = None,
    augment: DifferentiableAugment | None = None,
    adaptive: bool = False,
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    keeper: Keeper | None = None,
) -> Iterator[EpochRecord]:
    """Train a generator against a critic; one record an epoch.

    A record's ``loss`` is the critic's; its metrics hold the generator's (``generator_loss``), the mean logits at data and
    samples, the share of pairs that the critic orders right (``critic_accuracy``), how much samples differ from each other
    compared with data (``variety``) and the augmentation's probability.

    Args:
        players: ``generator(z, y)`` and ``critic(x, y)``, on their device.
        data: Batches (x, y, None); y is not used where the players have no classes.
        loss: The game.
        code_size: Z.
        plan: Optimizer, schedule, clipping, averaging, precision.
        epochs: Passes over the data.
        learning_rate: Top of the schedule, of both.
        prepare: Raw batch -> what the critic sees.
        augment: What both sides of the critic's input go through.
        adaptive: The probability of the augmentation follows the critic's overfitting.
        evaluate: Called with the players in eval mode after each epoch; its numbers go into the record.
        keeper: Of the run's checkpoints; the game goes on after the epoch whose state it found.

    Yields:
        One `EpochRecord` an epoch.

    Raises:
        DivergedError: A loss or weight turned non-finite; the players hold the weights of the last good epoch.
        KeyboardInterrupt: Passed on; the players hold the weights of the last whole epoch.
    """
    game = Game(
        players, data, loss, code_size=code_size, plan=plan.over(STANDARD), epochs=epochs,
        learning_rate=learning_rate, prepare=prepare, augment=augment or DifferentiableAugment(), adaptive=adaptive,
    )  # fmt: skip
    yield from play(game, epochs=epochs, evaluate=evaluate, keeper=keeper)


def play(
    game: Game,
    *,
    epochs: int,
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    keeper: Keeper | None = None,
) -> Iterator[EpochRecord]:
    """Play a game to its end; see `adversarial`, which makes one.

    Args:
        game: Both players, and everything that changes with a turn.
        epochs: Passes over the data.
        evaluate: Called with the players in eval mode after each epoch; its numbers go into the record.
        keeper: Of the run's checkpoints.

    Yields:
        One `EpochRecord` an epoch.

    Raises:
        DivergedError, KeyboardInterrupt: See `adversarial`.
    """
    players = game.players
    for number in range(game.resume(keeper, epochs) + 1, epochs + 1):
        good, started = game.state(), time.perf_counter()
        players.train()
        try:
            with keep_freed():
                metrics = game.epoch()
        except KeyboardInterrupt:
            game.undo(good)
            raise
        synchronize(game.device)
        seconds = time.perf_counter() - started
        value = metrics.pop("loss")
        if not all(math.isfinite(v) for v in (value, *metrics.values())) or not finite(players):
            game.undo(good)
            raise DivergedError.at(number, advice=game.advice)
        del good  # the consumer may keep a copy of its own
        live = game.show_average()
        players.eval()
        metrics |= dict(evaluate(players)) if evaluate is not None else {}
        yield EpochRecord(number, value, game.rate, seconds, metrics, partial(game.between, live))
        if number < epochs:
            game.hide_average(live)
    players.eval()


class Game:
    """The state of one game: both optimizers, the averaged generator, step count, random state, augmentation.

    Another kind of game has its own `turn` and says in ``NAMES`` what numbers a turn gives.
    """

    NAMES: tuple[str, ...] = (
        "loss", "generator_loss", "real_logit", "fake_logit", "critic_accuracy", "real_sign", "variety",
    )  # fmt: skip
    RATES: Mapping[str, float] = {"generator": 1.0, "critic": 1.0}
    """Learning rate of each player, as multiples of the game's."""

    def __init__(
        self,
        players: nn.Module,
        data: Resident,
        loss: AdversarialLoss,
        *,
        code_size: int,
        plan: Plan,
        epochs: int,
        learning_rate: float,
        prepare: Callable[[Tensor], Tensor] | None,
        augment: DifferentiableAugment,
        adaptive: bool,
    ):
        self.players, self.data, self.loss, self.plan = players, data, loss, plan
        self.code_size, self.prepare, self.augment, self.adaptive = code_size, prepare, augment, adaptive
        self.generator, self.critic = players.generator, players.critic
        self.device = next(players.parameters()).device
        self.precision = choose_precision(plan.precision, self.device)
        self.optimizers = {
            name: make_optimizer(part, plan, learning_rate)
            for name, part in (("generator", self.generator), ("critic", self.critic))
        }
        self.learning_rate = self.rate = learning_rate
        seed = int(torch.randint(2**31, (1,), generator=data.generator, device=data.generator.device))
        self.random = PrivateRandom(seed, self.device)
        self.step, self.steps = 0, epochs * len(data)
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)

    @property
    def advice(self) -> str:
        """What to try where the game diverged."""
        return (
            f"Try a learning rate 4 times smaller (now {self.learning_rate:g}), loss='relativistic', or "
            "Plan(precision='fp32')."
        )

    def epoch(self) -> dict[str, float]:
        """One pass over the data; means over its batches, read from the device once."""
        noted: list[Tensor] = []
        with self.random:
            for x, y, _ in self.data:
                noted.append(self.turn(x, y))
        found = torch.stack(noted).double().nanmean(0).tolist()
        metrics = dict(zip(self.NAMES, found, strict=True))
        sign = metrics.pop("real_sign")
        if self.adaptive:
            self.augment.steer(sign, len(self.data.x))
        return {**metrics, "augment_p": self.augment.p if self.augment.steps else 0.0}

    def turn(self, x: Tensor, y: Tensor) -> Tensor:
        """A step of the critic, and where it is due one of the generator, which is judged by the same samples."""
        self.set_rate()
        real = x if self.prepare is None else self.prepare(x)
        due = self.step % self.loss.critic_steps == 0
        with autocast(self.device, self.precision), torch.set_grad_enabled(due):
            samples = self.generator(torch.randn(len(real), self.code_size, device=self.device), y).float()
        fake = samples.detach()
        value, logits_real, logits_fake = self.critic_step(real, fake, y)
        nothing = torch.full((), float("nan"), device=self.device)
        other = self.generator_step(samples, logits_real, y) if due else nothing
        self.step += 1
        return torch.stack(
            [
                value, other, logits_real.mean(), logits_fake.mean(), (logits_real > logits_fake).float().mean(),
                logits_real.sign().mean(), spread(fake) / spread(real).clamp_min(1e-8),
            ]
        )  # fmt: skip

    def set_rate(self) -> None:
        """The learning rate of this turn."""
        self.rate = self.learning_rate * factor(
            self.plan.schedule or "constant", self.step, self.steps, warmup=self.plan.warmup or 0.0
        )

    def critic_step(self, real: Tensor, fake: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step of the critic; its loss, and the logits at data and samples."""
        due = self.step % EVERY == 0
        strength = EVERY * self.loss.weight
        extra: Any = 0.0
        with autocast(self.device, self.precision):
            a, b = self.augment(real), self.augment(fake)

            def judge(pictures: Tensor) -> Tensor:
                return self.critic(pictures, y).float()

            if self.loss.penalty == "zero" and due:
                first, logits_real = zero_centred_penalty(judge, a)
                second, logits_fake = zero_centred_penalty(judge, b)
                extra = strength * (first + second)
            else:
                logits_real, logits_fake = judge(a), judge(b)
                if self.loss.penalty == "one":
                    extra = self.loss.weight * unit_gradient_penalty(judge, a, b)
            value = self.loss.critic(logits_real, logits_fake)
        self._descend("critic", value + extra)
        return value.detach(), logits_real.detach(), logits_fake.detach()

    def generator_step(self, samples: Tensor, logits_real: Tensor, y: Tensor) -> Tensor:
        """One step of the generator, which made the samples, against the critic as it stands; its loss.

        Where a sample is compared with data, it is with the logits from the critic's own step: they only weigh the gradient,
        and the critic moved once since.
        """
        self.critic.requires_grad_(False)
        with autocast(self.device, self.precision):
            logits = self.critic(self.augment(samples), y).float()
            value = self.loss.generator(logits, logits_real)
        self._descend("generator", value)
        self.critic.requires_grad_(True)
        self._average_in()
        return value.detach()

    def _descend(self, name: str, value: Tensor) -> None:
        optimizer = self.optimizers[name]
        for group in optimizer.param_groups:
            group["lr"] = self.rate * self.RATES[name]
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        if self.plan.gradient_clip is not None:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self.plan.gradient_clip)
        optimizer.step()

    @torch.no_grad()
    def _average_in(self) -> None:
        # a ramp, so that the average does not lag behind from a random start
        decay = min(self.plan.ema or AVERAGE, (1 + self.step) / (10 + self.step))
        ours, theirs = list(self.average.parameters()), list(self.generator.parameters())
        torch._foreach_lerp_(ours, theirs, 1 - decay)
        for mine, other in zip(self.average.buffers(), self.generator.buffers(), strict=True):
            mine.copy_(other)

    def show_average(self) -> dict[str, Tensor]:
        """Put the averaged weights into the generator; returns the ones that were there."""
        live = {name: tensor.detach().clone() for name, tensor in self.generator.state_dict().items()}
        self.generator.load_state_dict(self.average.state_dict())
        return live

    def hide_average(self, live: Mapping[str, Tensor]) -> None:
        """Put the weights back that `show_average` returned."""
        self.generator.load_state_dict(live)

    def state(self) -> dict[str, Any]:
        """Copies of everything that a turn changes: what a resumed run needs, and what a bad epoch is undone to."""
        return {
            "players": _copied(self.players.state_dict()),
            "average": _copied(self.average.state_dict()),
            "optimizers": {name: copy.deepcopy(o.state_dict()) for name, o in self.optimizers.items()},
            "order": self.data.generator.get_state(),
            "random": self.random.state,
            "step": self.step,
            "augment_p": self.augment.p,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.players.load_state_dict(state["players"])
        self.average.load_state_dict(state["average"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(copy.deepcopy(state["optimizers"][name]))
            same_layout(optimizer)
        self.data.generator.set_state(state["order"])
        self.random.state = state["random"]
        self.step, self.augment.p = state["step"], state["augment_p"]

    def between(self, live: Mapping[str, Tensor]) -> dict[str, Any]:
        """Everything that the next epoch depends on, while the players show the average; nothing is copied."""
        return {
            "players": self.players.state_dict(),
            "live": dict(live),
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
            "order": self.data.generator.get_state(),
            "random": self.random.state,
            "step": self.step,
            "augment_p": self.augment.p,
        }

    def resume(self, keeper: Keeper | None, epochs: int) -> int:
        """Go on from the state that was found; returns the number of epochs that it has behind it."""
        if keeper is None or not keeper.state:
            return 0
        state = keeper.state["loop"]
        prefix = "generator."
        average = {k.removeprefix(prefix): v for k, v in state["players"].items() if k.startswith(prefix)}
        self.restore({**state, "average": average})
        if not keeper.finished:
            self.hide_average(state["live"])
        return epochs if keeper.finished else keeper.epoch

    def undo(self, good: Mapping[str, Any]) -> None:
        """Leave the players as they were when the last good epoch ended: averaged, in eval mode, without gradients."""
        self.restore(good)
        self.critic.requires_grad_(True)
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        self.show_average()
        self.players.eval()


def _copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def spread(x: Tensor) -> Tensor:
    """Mean distance of neighbours in a batch: zero where all are alike."""
    flat = x.detach().float().flatten(1)
    return (flat - flat.roll(1, 0)).norm(dim=1).mean()


def diagnose(rows: list[dict[str, float]], best_epoch: int) -> list[str]:
    """What went wrong in a game, in words, from its history; an empty list where nothing did.

    Args:
        rows: The history, one row an epoch.
        best_epoch: The epoch whose weights are kept, counted from 1.
    """
    found, last = [], rows[-1]
    if last["variety"] < 0.3:
        found.append(
            f"Mode collapse: samples differ from each other only {last['variety']:.2f} times as much as data. Try "
            "loss='relativistic', a smaller learning rate, or augment='adaptive'."
        )
    recent = rows[-3:]
    if len(recent) == 3 and min(row["critic_accuracy"] for row in recent) > 0.98:
        found.append(
            f"The critic has won: it puts data above samples in {100 * last['critic_accuracy']:.1f} % of pairs, so the "
            "generator learns little. Try augment='adaptive' (the usual cause is too little data), or a wider generator."
        )
    scored = [row["validation_score"] for row in rows if "validation_score" in row]
    if len(scored) > 3 and best_epoch < len(rows) and scored[-1] < 2 * max(scored) < 0:
        found.append(
            f"Divergence: samples became worse after epoch {best_epoch} of {len(rows)}; the weights of that epoch are "
            "kept. Try fewer epochs or a smaller learning rate."
        )
    return found
