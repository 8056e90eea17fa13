"""An attack as an object, and what it finds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rosenblatt._validate import Choice, Number, parameter
from rosenblatt.attacks.model import Victim, victim
from rosenblatt.attacks.objectives import reached
from rosenblatt.attacks.projection import size
from rosenblatt.attacks.streams import keys_of
from rosenblatt.errors import ParameterError
from rosenblatt.metrics.share import wilson


class Found(NamedTuple):
    """What an attack gives for a batch."""

    adversarial: Tensor
    """Points (N, ...); of a sample that no attack broke, the last one tried or the sample itself."""
    queries: Tensor
    """Forward passes (N,) of each sample, int64; one with a gradient counts once."""


@dataclass(frozen=True)
class AttackResult:
    """What an attack found.

    Attributes:
        adversarial: As X; samples that were wrong before are as they were. For an estimator that was fitted on 8-bit pictures
            floats in 0 to 1; `rounded` gives pictures.
        success: (N,) bool: right before, and now wrong (or with a target: now the wanted class).
        correct: (N,) bool: right before the attack.
        norms: (N,) distance from the sample in the attack's norm; 0 where nothing was tried.
        queries: (N,) forward passes of the sample; of a random victim (`eot`) looks, each the mean of several.
        norm: Of ``norms``.
        notes: What makes the figures doubtful, in words.
        tried: (N,) bool: right before and, with a target, of another class.
    """

    adversarial: Any
    success: np.ndarray
    correct: np.ndarray
    norms: np.ndarray
    queries: np.ndarray
    norm: str
    notes: tuple[str, ...] = ()
    tried: np.ndarray | None = None

    @property
    def success_rate(self) -> tuple[float, float, float]:
        """Share of the tried samples that were broken, and its 95 % interval; NaN where none was tried."""
        count, hits = int((self.correct if self.tried is None else self.tried).sum()), int(self.success.sum())
        return (hits / count, *wilson(hits, count)) if count else (math.nan,) * 3

    @property
    def accuracy(self) -> float:
        """Share of samples that were right before."""
        return float(self.correct.mean())

    @property
    def robust_accuracy(self) -> float:
        """Share of samples that were right before and still are."""
        return float((self.correct & ~self.success).mean())

    def rounded(self) -> np.ndarray:
        """Adversarial pictures of 0 to 1 as 8 bits, uint8."""
        array = self.adversarial.detach().cpu().numpy() if isinstance(self.adversarial, Tensor) else self.adversarial
        return np.clip(np.rint(np.asarray(array, np.float64) * 255), 0, 255).astype(np.uint8)

    def __repr__(self) -> str:
        tried = int((self.correct if self.tried is None else self.tried).sum())
        middle = f", median {self.norm} {np.median(self.norms[self.success]):.4g}" if self.success.any() else ""
        doubts = f"; {'; '.join(self.notes)}" if self.notes else ""
        return (
            f"AttackResult({int(self.success.sum())} of {tried} broken{middle}; accuracy {self.accuracy:.4f} -> "
            f"{self.robust_accuracy:.4f}; {int(self.queries.sum())} queries{doubts})"
        )


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Base of the attacks: stores parameters; a call validates, leaves out what is wrong already, and counts.

    Args:
        norm: Of the distance.
        bounds: Lowest and highest value of an input; see `rosenblatt.attacks.model.victim`.
        mean: Normalisation of a module's input, one a channel; inputs of the attack are before it.
        std: Its deviation.
        batch_size: Samples at a time; the result does not depend on it.
        random_state: Seed.
    """

    norm: str = "linf"
    bounds: tuple[float, float] | None = None
    mean: Any = field(default=None, repr=False)
    std: Any = field(default=None, repr=False)
    batch_size: int = 256
    random_state: int = 0

    gradient: ClassVar[bool] = True
    """Whether it needs gradients of the victim."""
    ball: ClassVar[bool] = True
    """Whether ``eps``, where there is one, is the radius of a ball that holds the result."""
    scores: ClassVar[bool] = True
    """Whether it uses more of the logits than which is the highest."""
    tokens: ClassVar[bool] = False
    """Whether it changes tokens, and not values."""
    _NORMS: ClassVar[tuple[str, ...]] = ("l1", "l2", "linf")
    _RULES: ClassVar[dict[str, Any]] = {}

    def __post_init__(self) -> None:
        who = type(self).__name__
        parameter(who, "norm", self.norm, Choice(self._NORMS))
        parameter(who, "batch_size", self.batch_size, Number(1, integer=True))
        parameter(who, "random_state", self.random_state, Number(0, integer=True))
        for name, rules in self._RULES.items():
            parameter(who, name, getattr(self, name), rules)

    def __call__(self, model: Any, X: Any, y: Any, *, target: Any = None) -> AttackResult:
        """Attack the samples that the model has right.

        Args:
            model: One of our classifiers, a module or a function; see `rosenblatt.attacks.model.victim`.
            X: Samples (N, ...), within the bounds.
            y: Their labels (N,).
            target: The wanted class, one or one a sample; None wants any wrong answer. Samples whose answer it is already are
                left out.

        Raises:
            ParameterError: A model that cannot be attacked this way.
            ShapeError, DataError, NonFiniteError, LabelError: Samples or labels that do not fit the model, or logits that do not.
        """
        found, x = self._enter(model, X)
        with found.at_rest():
            codes, wanted, correct = self._first(found, x, y, target)
            tried = correct if wanted is None else correct & (wanted != codes)
            adversarial, queries = x.clone(), torch.ones(len(x), dtype=torch.int64, device=x.device)
            success = torch.zeros_like(correct)
            keys = keys_of(self.random_state, torch.arange(len(x), device=x.device))
            for rows, seen in self._batches(found, tried, codes, wanted):
                goal = None if wanted is None else wanted[rows]
                given = self.run(seen, x[rows], codes[rows], target=goal, keys=keys[rows])
                radius = getattr(self, "eps", None) if self.ball else None
                adversarial[rows] = found.settle(given.adversarial.detach(), x[rows], radius, self.norm)
                with torch.no_grad():
                    success[rows] = reached(found.judge(adversarial[rows]), codes[rows], goal)
                queries[rows] += given.queries + 1
        return AttackResult(
            adversarial=found.decode(adversarial, X),
            success=success.cpu().numpy(),
            correct=correct.cpu().numpy(),
            norms=size(found.difference(adversarial, x), self.norm).cpu().numpy(),
            queries=queries.cpu().numpy(),
            norm=self.norm,
            notes=found.notes + (found.masked if self.gradient else ()),
            tried=tried.cpu().numpy(),
        )

    def _enter(self, model: Any, X: Any) -> tuple[Victim, Tensor]:
        """The victim and its inputs."""
        found = victim(model, bounds=self.bounds, mean=self.mean, std=self.std)
        if found.tokens != self.tokens:
            takes, gets = ("tokens", "values") if found.tokens else ("values", "tokens")
            raise ParameterError(
                f"{type(self).__name__}: {found.name} takes {takes}, this attack changes {gets}; expected "
                + ("attacks.HotFlip." if found.tokens else "an RNNClassifier of texts, or a module in attacks.Tokens.")
            )
        if self.gradient and not found.differentiable:
            raise ParameterError(
                f"{type(self).__name__}: {found.name} gives no gradients; expected a torch.nn.Module or one of our networks. "
                "Attack a black box with attacks.Square, or by its answers alone with attacks.HopSkipJump."
            )
        self._check_reach(found.bounds)
        return found, found.encode(X)

    def _first(self, found: Victim, x: Tensor, y: Any, target: Any) -> tuple[Tensor, Tensor | None, Tensor]:
        """Labels and wanted labels as numbers, and which samples are right."""
        with torch.no_grad():
            clean = torch.cat([found.logits(part) for part in x.split(self.batch_size)])
            clean = found.look(clean) if self.scores else clean
            if found.random:
                clean = torch.cat([found.judge(part) for part in x.split(self.batch_size)])
        codes = found.codes(y, len(x), clean.shape[1])
        wanted = None if target is None else found.codes(target, len(x), clean.shape[1], name="target")
        return codes, wanted, clean.argmax(1) == codes

    def _batches(
        self, found: Victim, tried: Tensor, codes: Tensor, wanted: Tensor | None
    ) -> Iterator[tuple[Tensor, Victim]]:
        """Batches of rows and the victim for them; of a random one each batch has one label and one goal."""
        rows = tried.nonzero()[:, 0]
        groups = [(rows, found)]
        if found.random:
            pairs = torch.stack([codes, codes if wanted is None else wanted], 1)[rows]
            groups = [
                (rows[(pairs == pair).all(1)], found.guarded(int(pair[0]), None if wanted is None else int(pair[1])))
                for pair in pairs.unique(dim=0)
            ]
        for group, seen in groups:
            # splitting nothing gives one part of nothing
            yield from ((part, seen) for part in group.split(self.batch_size) if len(part))

    def _check_reach(self, bounds: tuple[float, float] | None) -> None:
        """Refuse a ball that holds the whole box: who means eps on the scale 0 to 255 would find everything broken."""
        eps = getattr(self, "eps", None)
        if eps is None or self.norm != "linf" or bounds is None:
            return
        if eps > bounds[1] - bounds[0]:
            raise ParameterError(
                f"{type(self).__name__}: eps={eps:g} is more than all of bounds=({bounds[0]:g}, {bounds[1]:g}); expected a "
                "radius on that scale. Pixels of 0 to 255 are attacked on the scale 0 to 1: write 8 / 255 for 8."
            )

    def run(self, found: Victim, x: Tensor, y: Tensor, *, target: Tensor | None, keys: Tensor) -> Found:
        """Attack samples that are right; of a subclass."""
        raise NotImplementedError


EPS = {"eps": (Number(0, math.inf, open_low=True, open_high=True),)}
STEPS = {"steps": (Number(1, integer=True),)}
