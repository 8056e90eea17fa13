"""Several models as one victim: what breaks all of them is more likely to break another.

Reference: Dong et al. 2018, arXiv:1710.06081, section 3.4 (fusion of logits, eq. 10, and of losses), with equal weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rosenblatt._validate import Choice, parameter
from rosenblatt.attacks.model import Bounds, Victim, victim
from rosenblatt.errors import DataError, ParameterError, ShapeError


@dataclass(frozen=True)
class Several:
    """Models that are attacked at once; made by `several`.

    Attributes:
        models: Classifiers of ours, modules or functions.
        average: "logits" or "losses".
    """

    models: tuple[Any, ...]
    average: str = "logits"

    def _victim(self, bounds: Bounds) -> Joint:
        return Joint([victim(model, bounds=bounds) for model in self.models], self.average)


def several(models: Sequence[Any], average: str = "logits") -> Several:
    """Several models as one victim for every attack; its answer is the highest mean logit.

    Args:
        models: Classifiers of ours, modules or functions, of the same classes and bounds. A module whose input is normalised
            holds its normalisation, as ``nn.Sequential(Normalised(), net)``.
        average: Of "logits", or of "losses": then FGSM, PGD, APGD and Transfer climb the mean of the models' objectives. Other
            attacks, and a `rosenblatt.attacks.Table` around it, see mean logits all the same.

    Raises:
        ParameterError: No model, or another average; and when it is attacked, bounds, devices or classes that differ.

    Example:
        >>> from torch import nn
        >>> from rosenblatt.attacks import PGD
        >>> nets = [nn.Sequential(nn.Flatten(), nn.Linear(4, 2)) for _ in range(2)]
        >>> PGD(eps=0.1, steps=5)(several(nets), torch.full((3, 4), 0.5), [0, 0, 0]).success.shape
        (3,)
    """
    parameter("several", "average", average, Choice(("logits", "losses")))
    models = tuple(models)
    if not models:
        raise ParameterError("several: no models; expected one at least, as several([first, second]).")
    return Several(models, average)


class Joint(Victim):
    """A victim of several; their logits are averaged.

    Args:
        parts: The victims.
        average: "logits" or "losses".

    Raises:
        ParameterError: Bounds, devices or classes that differ, or tokens, a random victim or a table among them.
    """

    def __init__(self, parts: Sequence[Victim], average: str):
        for part in parts:
            if part.random or part.tokens or hasattr(part, "_table"):
                raise ParameterError(
                    f"several: {part.name} takes tokens or is made by attacks.eot or attacks.Table; expected models of values. "
                    "A Table goes around all: Table(several(models), ...)."
                )
        for what in ("bounds", "device"):
            values = [getattr(part, what) for part in parts]
            if any(value != values[0] for value in values):
                raise ParameterError(
                    f"several: the models have {what} {', '.join(str(value) for value in values)}; expected the same."
                )
        first = parts[0]
        super().__init__(
            self._mean, bounds=first.bounds, differentiable=all(part.differentiable for part in parts),
            classes=_same_classes(parts), device=first.device, name=f"several ({', '.join(part.name for part in parts)})",
        )  # fmt: skip
        self.remarks = tuple(remark for part in parts for remark in part.remarks)
        self._parts, self._dtypes, self._seen = list(parts), [torch.float32] * len(parts), False
        if average == "losses":
            self.logits = _Losses(super().logits, self.each)  # type: ignore[method-assign]

    def refuse_table(self, who: str) -> None:
        """What goes before a model goes before each, whose losses could not be told apart otherwise.

        Args:
            who: What asks; what only shares a perturbation may.

        Raises:
            ParameterError: `rosenblatt.attacks.eot`, or a transformation.
        """
        if who.startswith("eot"):
            raise ParameterError(
                f"attack: {who} around several models; expected a model. A transformation goes before each: "
                "several([bpda(a, t), bpda(b, t)])."
            )

    def each(self, x: Tensor) -> list[Tensor]:
        """Logits of each model (N, K).

        Raises:
            ShapeError: Models of other numbers of classes.
        """
        outs = [part.logits(x.to(dtype)) for part, dtype in zip(self._parts, self._dtypes, strict=True)]
        if any(out.shape != outs[0].shape for out in outs):
            raise ShapeError(
                f"attack: the models of {self.name} give {', '.join(str(out.shape[1]) for out in outs)} classes; "
                "expected the same."
            )
        if not self._seen:
            self._seen = True
            outs = [part.look(out) for part, out in zip(self._parts, outs, strict=True)]
            self.notes = tuple(f"{part.name}: {note}" for part in self._parts for note in part.notes)
        return outs

    def _mean(self, x: Tensor) -> Tensor:
        outs = self.each(x)
        return sum(out.to(torch.promote_types(out.dtype, outs[0].dtype)) for out in outs) / len(outs)  # type: ignore

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """All of them in eval mode and without gradients of parameters for a while."""
        with ExitStack() as stack:
            for part in self._parts:
                stack.enter_context(part.at_rest())
            yield

    def encode(self, X: Any) -> Tensor:
        """X as the tensor that all models read.

        Raises:
            ShapeError: They read tensors of different shapes.
            DataError: They read different values.
        """
        read = [part.encode(X) for part in self._parts]
        if any(x.shape != read[0].shape for x in read):
            raise ShapeError(
                f"attack: the models of {self.name} read X as {', '.join(str(tuple(x.shape)) for x in read)}; "
                "expected the same."
            )
        self._dtypes = [x.dtype for x in read]
        widest = max(read, key=lambda x: torch.finfo(x.dtype).bits)
        if any(not torch.allclose(x.to(widest.dtype), widest, atol=1e-5) for x in read):
            raise DataError(f"attack: the models of {self.name} read X on different scales; expected the same.")
        return widest

    def decode(self, x: Tensor, X: Any) -> Any:
        """The tensor as X was, as the first model has it."""
        return self._parts[0].decode(x, X)


class _Losses:
    """Logits whose losses are averaged: `rosenblatt.attacks.gradients.ascent` takes those of ``each``."""

    def __init__(self, logits: Any, each: Any):
        self._logits, self.each = logits, each

    def __call__(self, x: Tensor) -> Tensor:
        return self._logits(x)


def _same_classes(parts: Sequence[Victim]) -> np.ndarray | None:
    """Labels of all; a module's are numbers from 0."""
    known = [part.classes for part in parts if part.classes is not None]
    if not known:
        return None
    numbers = [np.arange(len(known[0]))] * any(part.classes is None for part in parts)
    for classes in [*known, *numbers]:
        if len(classes) != len(known[0]) or not np.array_equal(classes, known[0]):
            raise ParameterError(
                f"several: the models know {len(known[0])} classes from {known[0].tolist()[0]!r} and {len(classes)} from "
                f"{classes.tolist()[0]!r}; expected the same, in the same order."
            )
    return known[0]
