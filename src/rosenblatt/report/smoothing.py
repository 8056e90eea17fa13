"""What randomized smoothing proves about a classifier, and whether an attack refutes it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rosenblatt._types import ArrayLike, PathLike
from rosenblatt.attacks.smoothing import Certificate, Smoothed
from rosenblatt.metrics.share import wilson
from rosenblatt.report.canvas import BLUE, new_figure, plain
from rosenblatt.report.html import Section, write_report
from rosenblatt.report.robustness import radii_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class SmoothingReport:
    """What `smoothing_report` found; ``print`` shows it.

    Attributes:
        samples: Inputs judged.
        curve: A row for each radius: eps, certified accuracy, low, high (95 % interval over samples).
        certificate: The proofs, a row a sample.
        refuted: Proofs that the attack refuted; a share of 1 - confidence may be wrong.
        seconds: Of all of it.
    """

    samples: int
    curve: list[dict[str, float]]
    certificate: Certificate
    refuted: int
    seconds: float
    _radii: np.ndarray = field(repr=False, compare=False)

    @property
    def headline(self) -> str:
        """Certified accuracy at the largest radius, or that it was refuted."""
        proofs = int(self.certificate.proven.sum())
        if self.refuted > max(1, 10 * (1 - self.certificate.confidence) * proofs):
            return f"Certified accuracy withheld: an attack refuted {self.refuted} of {proofs} proofs."
        last = self.curve[-1]
        return (
            f"Certified accuracy {last['certified_accuracy']:.1%} ({last['low']:.1%} to {last['high']:.1%}) at l2 eps "
            f"{last['eps']:g}, n={self.samples}; noise {self.certificate.sigma:g}, {self.certificate.draws} draws."
        )

    def as_dict(self) -> dict[str, Any]:
        """All numbers, for JSON."""
        made = self.certificate
        return {
            "headline": self.headline, "samples": self.samples, "sigma": made.sigma, "draws": made.draws,
            "confidence": made.confidence, "proven": float(made.proven.mean()), "curve": self.curve,
            "refuted": self.refuted, "seconds": self.seconds,
        }  # fmt: skip

    def __str__(self) -> str:
        rows = [
            f"  eps {r['eps']:<8g} {r['certified_accuracy']:.1%} ({r['low']:.1%} to {r['high']:.1%})"
            for r in self.curve
        ]
        proofs = int(self.certificate.proven.sum())
        last = f"  {self.refuted} of {proofs} proofs refuted by attack, {self.seconds:.1f} s"
        return "\n".join([self.headline, *rows, last])

    def figure(self) -> Figure:
        """Certified accuracy against the radius."""
        figure = new_figure(6.0, 3.2)
        axes = plain(figure.add_subplot(), grid="y")
        at = np.linspace(0, max(1e-9, float(self._radii.max(initial=0.0)) * 1.05), 200)
        axes.plot(at, [self.certificate.accuracy_at(e) for e in at], color=BLUE)
        axes.set(ylim=(0, 1.02), xlabel="eps (l2)", ylabel="certified accuracy")
        return figure

    def write(self, path: PathLike, *, overwrite: bool = False) -> Path:
        """Write the report, by its suffix: a page (.html) or the numbers (.json).

        Raises:
            ParameterError: Another suffix.
            OutputError: The path exists and ``overwrite`` is False, or it cannot be written.
        """
        return write_report(
            path, "smoothing", "Randomized smoothing", self.as_dict(), self._sections, overwrite=overwrite
        )

    def _sections(self) -> list[Section]:
        rows = [(r["eps"], f"{r['certified_accuracy']:.1%}", f"{r['low']:.1%} to {r['high']:.1%}") for r in self.curve]
        said = "Certified accuracy falls as the radius grows; the table has it."
        return [
            Section(text=(self.headline,)),
            Section("Certified accuracy by radius", figure=self.figure(), alt=said,
                    head=("eps", "certified accuracy", "95 % interval"), rows=rows),
            Section("Attack on the proofs", text=str(self).splitlines()[-1:]),
        ]  # fmt: skip


def smoothing_report(
    model: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    sigma: float,
    eps: float | Sequence[float],
    bounds: tuple[float, float] | None = None,
    mean: Any = None,
    std: Any = None,
    draws: int = 1000,
    confidence: float = 0.999,
    random_state: int = 0,
) -> SmoothingReport:
    """Prove a classifier's answers by randomized smoothing, and attack the proofs.

    Args:
        model: One of our classifiers or a module, best trained with noise of the same deviation.
        X: Inputs.
        y: Labels.
        sigma: Deviation of the noise, in units of the input (8-bit pictures: of the scale 0 to 1).
        eps: l2 radius, or several.
        bounds: Of the inputs; see `rosenblatt.attacks.model.victim`.
        mean: Of a module's normalisation.
        std: Its deviation.
        draws: Noisy copies a sample; see `rosenblatt.attacks.Smoothed.certify`.
        confidence: Chance that a proof holds.
        random_state: Seed.

    Raises:
        ParameterError: A radius that is not positive, or a model that cannot be asked or gives no gradients.
        ShapeError, DataError, NonFiniteError, LabelError: As the attacks.
    """
    radii = radii_of("smoothing_report", eps)
    started = time.perf_counter()
    smoothed = Smoothed(model, sigma=sigma, bounds=bounds, mean=mean, std=std, random_state=random_state)
    made = smoothed.certify(X, y, draws=draws, confidence=confidence)
    refuted = int(smoothed.attack(X, made).sum())
    curve = []
    for row in made.curve(radii):
        low, high = wilson(round(row["certified_accuracy"] * len(made.labels)), len(made.labels))
        curve.append({**row, "low": low, "high": high})
    return SmoothingReport(len(made.labels), curve, made, refuted, time.perf_counter() - started, made.radii)
