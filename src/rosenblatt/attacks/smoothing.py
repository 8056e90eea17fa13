r"""Randomized smoothing: a classifier whose answer is proven not to change within a radius.

.. math:: g(x) = \arg\max_c P\big(f(x + \delta) = c\big), \quad \delta \sim N(0, \sigma^2 I), \qquad
          R = \sigma \, \Phi^{-1}(\underline{p_A})

where the lower bound of the likeliest answer's share is that of Clopper & Pearson for the draws that were made.

Reference: Cohen, Rosenfeld & Kolter 2019, arXiv:1902.02918, eq. 1, theorem 1 and the algorithms of section 3.2.

DEPARTS: eq. 3 has the second likeliest answer too; as in the paper's algorithm, its share is bounded by the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import beta, norm
from torch import Tensor
from torch.nn import functional as F

from rosenblatt._types import ArrayLike
from rosenblatt._validate import Number, parameter
from rosenblatt.attacks.inner import worst
from rosenblatt.attacks.model import Victim, victim
from rosenblatt.attacks.streams import keys_of
from rosenblatt.errors import ParameterError
from rosenblatt.train.seeds import PrivateRandom, generator

_OPEN = Number(0, open_low=True)
_DRAWN = 1000
"""Copies that are drawn together: what torch draws depends on how many numbers are asked for at once."""


@dataclass(frozen=True)
class Certificate:
    """What `Smoothed.certify` proves; a row a sample.

    Attributes:
        labels: The answer (N,).
        radii: l2 radius (N,) within which it does not change, in units of the input; 0 where there is no proof.
        proven: (N,) bool: whether there is one; else the classifier abstains.
        correct: (N,) bool: proven, and the true label; None without labels.
        sigma: Deviation of the noise.
        draws: Noisy copies a sample that the proof rests on.
        confidence: Chance that a proof holds.
    """

    labels: np.ndarray
    radii: np.ndarray
    proven: np.ndarray
    correct: np.ndarray | None
    sigma: float
    draws: int
    confidence: float

    def accuracy_at(self, eps: float) -> float:
        """Share of samples that are proven right within this radius; a lower bound of the robust accuracy.

        Raises:
            ValueError: There are no labels to be right about.
        """
        if self.correct is None:
            raise ValueError("Certificate: no labels were given; expected certify(X, y).")
        return float((self.correct & (self.radii >= eps)).mean())

    def curve(self, eps: Sequence[float]) -> list[dict[str, float]]:
        """A row for each radius: eps and certified accuracy."""
        return [{"eps": float(e), "certified_accuracy": self.accuracy_at(e)} for e in eps]

    def __repr__(self) -> str:
        right = "" if self.correct is None else f", {self.correct.mean():.1%} right"
        middle = f", median radius {np.median(self.radii[self.proven]):.3g}" if self.proven.any() else ""
        return (
            f"Certificate({self.proven.mean():.1%} proven{right}{middle}; sigma {self.sigma:g}, {self.draws} draws, "
            f"confidence {self.confidence:g})"
        )


class Smoothed:
    """A classifier made robust, provably, by asking it about many noisy copies of an input.

    Train the classifier with noise of the same deviation (``Plan(defence="noise,eps=0.25")``), or its answers to noisy copies
    are worth little. The same answers come for any batch size.

    Args:
        model: One of our classifiers, a module that gives logits, or a function.
        sigma: Deviation of the noise, on the scale of the inputs (pictures of 8 bits: 0 to 1).
        bounds: Of clean inputs; see `rosenblatt.attacks.model.victim`.
        mean: Normalisation of a module's input.
        std: Its deviation.
        batch_size: Noisy copies at a time.
        random_state: Seed of the noise.

    Raises:
        ParameterError: sigma is not positive, or the model cannot be asked.

    Example:
        >>> module = torch.nn.Linear(2, 2, bias=False)
        >>> _ = module.requires_grad_(False).weight.copy_(torch.eye(2))
        >>> found = Smoothed(module, sigma=0.2).certify(torch.tensor([[0.9, 0.1]]), [0])
        >>> bool(found.correct[0]), round(float(found.radii[0]), 1)
        (True, 0.4)
    """

    def __init__(
        self,
        model: Any,
        *,
        sigma: float,
        bounds: tuple[float, float] | None = None,
        mean: Any = None,
        std: Any = None,
        batch_size: int = 1000,
        random_state: int = 0,
    ):
        parameter("Smoothed", "sigma", sigma, (_OPEN,))
        parameter("Smoothed", "batch_size", batch_size, (Number(1, integer=True),))
        parameter("Smoothed", "random_state", random_state, (Number(0, integer=True),))
        self.model, self.sigma, self.batch_size, self.random_state = model, float(sigma), batch_size, random_state
        self._options = {"bounds": bounds, "mean": mean, "std": std}

    def predict(self, X: ArrayLike | Tensor, *, draws: int = 1000) -> np.ndarray:
        """The answer (N,) that most noisy copies get.

        Args:
            X: Inputs (N, ...).
            draws: Copies a sample.
        """
        parameter("Smoothed.predict", "draws", draws, (Number(1, integer=True),))
        found = self._victim()
        x = found.encode(X)
        return self._labels(found, self._counts(found, x, draws, 0).argmax(1))

    def certify(
        self, X: ArrayLike | Tensor, y: ArrayLike | None = None, *, draws: int = 1000, first: int = 100,
        confidence: float = 0.999,
    ) -> Certificate:  # fmt: skip
        """Prove the answers: ``first`` draws choose one, ``draws`` others bound its share.

        Args:
            X: Inputs (N, ...).
            y: True labels (N,), or None.
            draws: Copies a sample; the largest radius that they can prove is sigma times the quantile of
                (1 - confidence) ** (1 / draws): 2.5 sigma for 1,000, 3.8 sigma for 100,000 (the paper's).
            first: Copies that choose the answer.
            confidence: Chance that a proof holds, for each sample.
        """
        for name, count in (("draws", draws), ("first", first)):
            parameter("Smoothed.certify", name, count, (Number(1, integer=True),))
        parameter("Smoothed.certify", "confidence", confidence, (Number(0, 1, open_low=True, open_high=True),))
        found = self._victim()
        x = found.encode(X)
        chosen = self._counts(found, x, first, 1).argmax(1)
        hits = self._counts(found, x, draws, 2).gather(1, chosen[:, None])[:, 0].numpy()
        radii = radius(hits, draws, self.sigma, confidence)
        labels = self._labels(found, chosen)
        correct = None
        if y is not None:
            codes = found.codes(y, len(x), self._classes(found, x)).cpu()
            correct = (radii > 0) & (chosen == codes).numpy()
        return Certificate(labels, radii, radii > 0, correct, self.sigma, draws, confidence)

    def attack(
        self, X: ArrayLike | Tensor, certificate: Certificate, *, share: float = 0.99, steps: int = 20, draws: int = 32,
    ) -> np.ndarray:  # fmt: skip
        """Try to refute the proofs: whether (N,) the smoothed answer changed at the worst point found within each radius.

        Projected gradient descent against the mean probability over noisy copies (Salman et al. 2019, arXiv:1906.04584, eq. 7).
        A change means a wrong proof, which a share of (1 - confidence) may be, or a defect.

        Args:
            X: The inputs that were certified.
            certificate: Of `certify`.
            share: Of the radius that the attack may use.
            steps: Gradient steps.
            draws: Noisy copies a step.

        Raises:
            ParameterError: The model is a function without gradients.
        """
        found = self._victim()
        if not found.differentiable:
            raise ParameterError(
                f"Smoothed.attack: {found.name} gives no gradients; expected a torch.nn.Module or an estimator."
            )
        x = found.encode(X)
        kept = torch.from_numpy(certificate.proven)
        moved = x[kept]
        before = self._counts(found, moved, certificate.draws, 3).argmax(1)
        eps = share * torch.from_numpy(certificate.radii)[kept].to(x.device)
        with found.at_rest(), PrivateRandom(self.random_state, x.device):
            after = []
            for rows in torch.arange(len(moved)).split(max(1, self.batch_size // draws)):
                part, code, reach = moved[rows], before[rows].to(x.device), eps[rows]
                after.append(
                    worst(
                        lambda z, code=code: self._smooth_loss(found, z, code, draws), part, eps=reach, norm="l2",
                        steps=steps, bounds=found.bounds,
                    )
                )  # fmt: skip
        changed = np.zeros(len(x), dtype=bool)
        if after:
            changed[certificate.proven] = (
                self._counts(found, torch.cat(after), certificate.draws, 4).argmax(1) != before
            ).numpy()
        return changed

    def _smooth_loss(self, found: Victim, z: Tensor, code: Tensor, draws: int) -> Tensor:
        noisy = z.repeat_interleave(draws, 0)
        logits = found.logits(noisy + self.sigma * torch.randn_like(noisy))
        share = torch.softmax(logits, 1).view(len(z), draws, -1).mean(1)
        return F.nll_loss(share.clamp_min(1e-12).log(), code)

    def _victim(self) -> Victim:
        found = victim(self.model, **self._options)
        found.refuse_table("Smoothed")  # its noise would fall on what is held
        if found.tokens:
            raise ParameterError(f"Smoothed: {found.name} takes tokens, which have no noisy copies; expected values.")
        return found

    def _labels(self, found: Victim, codes: Tensor) -> np.ndarray:
        return codes.numpy() if found.classes is None else np.asarray(found.classes)[codes.numpy()]

    def _classes(self, found: Victim, x: Tensor) -> int:
        with found.at_rest(), torch.no_grad():
            return found.logits(x[:1]).shape[1]

    def _counts(self, found: Victim, x: Tensor, draws: int, stream: int) -> Tensor:
        """How often (N, K) each class is the answer to noisy copies, int64; a generator a sample, so for any batch."""
        keys = keys_of(self.random_state, torch.arange(len(x)) * 8 + stream).tolist()
        counts = torch.zeros(len(x), self._classes(found, x), dtype=torch.int64)
        with found.at_rest(), torch.no_grad():
            for row, key in enumerate(keys):
                source = generator(key % 2**63)
                for start in range(0, draws, _DRAWN):
                    count = min(_DRAWN, draws - start)
                    noise = torch.randn((count, *x.shape[1:]), generator=source, dtype=x.dtype)
                    for part in noise.to(x.device).split(self.batch_size):
                        answers = found.logits(x[row] + self.sigma * part).argmax(1)
                        counts[row] += answers.bincount(minlength=counts.shape[1]).cpu()
        return counts


def radius(hits: np.ndarray, draws: int, sigma: float, confidence: float) -> np.ndarray:
    """Radii (N,) proven by the answer's hits (N,) among the draws; 0 where its share may be a half or less.

    Example:
        >>> radius(np.array([500, 999, 1000]), 1000, 0.5, 0.999).round(3).tolist()
        [0.0, 1.179, 1.232]
    """
    hits = np.asarray(hits, dtype=np.float64)
    low = beta.ppf(1 - confidence, hits, draws - hits + 1)  # Clopper & Pearson 1934, one-sided
    low = np.where(hits > 0, low, 0.0)
    return np.where(low > 0.5, sigma * norm.ppf(np.where(low > 0.5, low, math.nan)), 0.0)
