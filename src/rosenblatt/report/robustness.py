"""How robust a classifier is, and whether the figure can be believed.

A number that comes from a broken attack is worse than none (Athalye, Carlini & Wagner 2018, arXiv:1802.00420, section 3.1;
Carlini et al. 2019, arXiv:1902.06705, section 4): what looks like one is flagged, and then the headline is withheld.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rosenblatt._types import ArrayLike, PathLike
from rosenblatt._validate import Number, parameter
from rosenblatt.attacks import APGD, FAB, PGD, AttackResult, Ensemble, Square, Table, Transformed
from rosenblatt.attacks.gradients import ascent
from rosenblatt.attacks.model import victim
from rosenblatt.attacks.objectives import margin
from rosenblatt.attacks.projection import Box
from rosenblatt.errors import ParameterError
from rosenblatt.metrics.share import wilson
from rosenblatt.report.boundary import boundary_map
from rosenblatt.report.canvas import BLUE, INK, as_shown, bare, new_figure, plain, show_signed, word
from rosenblatt.report.html import Section, write_report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOUBT = 0.01
"""Share of the samples on which two attacks may differ before it is flagged."""
_WORST = 6
_LIVE = ("_found", "_clean", "_model", "_common")
"""What a report keeps for its pictures."""


@dataclass(frozen=True)
class RobustnessReport:
    """What `robustness_report` found; ``print`` shows it.

    Attributes:
        samples: Inputs judged.
        norm: Of the ball.
        accuracy: Share right, and its 95 % interval.
        curve: A row for each radius: eps, robust accuracy, low, high. All but the largest radius are upper bounds from the
            nearest points found.
        flags: What makes the figures doubtful, in words.
        median_norm: Of the nearest wrong points.
        queries: Mean forward passes a sample.
        seconds: Of all attacks.
        survival: Share of the broken pictures that are still wrong as 8 bits; None where inputs are not in 0 to 1.
        remarks: How a random or transformed victim was attacked, in words.
    """

    samples: int
    norm: str
    accuracy: tuple[float, float, float]
    curve: list[dict[str, float]]
    flags: tuple[str, ...]
    median_norm: float | None
    queries: float
    seconds: float
    survival: float | None
    remarks: tuple[str, ...]
    _found: AttackResult = field(repr=False, compare=False)
    _clean: ArrayLike = field(repr=False, compare=False)
    _model: Any = field(repr=False, compare=False)
    _common: dict[str, Any] = field(repr=False, compare=False)

    @property
    def headline(self) -> str:
        """The robust accuracy at the largest radius, or why there is none."""
        if self.flags:
            return "Robust accuracy withheld: " + "; ".join(self.flags) + "."
        last = self.curve[-1]
        return (
            f"Robust accuracy {last['robust_accuracy']:.1%} ({last['low']:.1%} to {last['high']:.1%}) at {self.norm} eps "
            f"{last['eps']:g}, n={self.samples}; accuracy {self.accuracy[0]:.1%}."
        )

    def as_dict(self) -> dict[str, Any]:
        """All numbers, for JSON; with a flag the robust accuracies are None."""
        fields = {k: v for k, v in asdict(replace(self, **dict.fromkeys(_LIVE))).items() if not k.startswith("_")}
        if self.flags:
            fields["curve"] = [{**row, "robust_accuracy": None, "low": None, "high": None} for row in self.curve]
        return {"headline": self.headline, **fields}

    def __str__(self) -> str:
        lines = [self.headline, *(f"  {remark}" for remark in self.remarks)]
        if not self.flags:
            lines += [
                f"  eps {r['eps']:<8g} {r['robust_accuracy']:.1%} ({r['low']:.1%} to {r['high']:.1%})"
                for r in self.curve
            ]
        if self.median_norm is not None:
            lines.append(f"  nearest wrong point: median {self.norm} {self.median_norm:.4g}")
        if self.survival is not None:
            lines.append(f"  still wrong as 8 bits: {self.survival:.1%}")
        lines.append(f"  {self.queries:.0f} queries a sample, {self.seconds:.1f} s")
        return "\n".join(lines)

    def figure(self) -> Figure:
        """Accuracy against the radius, with 95 % intervals."""
        figure = new_figure(6.0, 3.2)
        axes = plain(figure.add_subplot(), grid="y")
        eps = [0.0, *(r["eps"] for r in self.curve)]
        shares = [self.accuracy[0], *(r["robust_accuracy"] for r in self.curve)]
        axes.plot(eps, shares, color=BLUE, marker="o", markersize=3)
        low, high = ([self.accuracy[i], *(r[name] for r in self.curve)] for i, name in ((1, "low"), (2, "high")))
        axes.fill_between(eps, low, high, color=BLUE, alpha=0.2, linewidth=0)
        axes.set(ylim=(0, 1.02), xlabel=f"eps ({self.norm})", ylabel="accuracy")
        if self.flags:
            axes.set_title("Doubtful: see the flags", loc="left", color=INK, fontsize=10)
        return figure

    def pictures(self) -> Figure | None:
        """The least changed pictures that are wrong, beside what was added; None for tables or where none was broken."""
        clean, bad = (np.asarray(torch.as_tensor(a).cpu()) for a in (self._clean, self._found.adversarial))
        if bad.ndim != 4 or not self._found.success.any():
            return None
        if isinstance(self._clean, torch.Tensor):
            clean, bad = clean.transpose(0, 2, 3, 1), bad.transpose(0, 2, 3, 1)
        clean = clean / 255 if clean.dtype == np.uint8 else clean
        clean = clean.reshape(bad.shape)  # grey pictures may come without an axis of colours
        order = np.flatnonzero(self._found.success)
        order = order[self._found.norms[order].argsort(kind="stable")][:_WORST]
        figure = new_figure(1.5 * len(order), 4.2)
        grid = figure.subplots(3, len(order), squeeze=False)
        for column, row in enumerate(order):
            bare(grid[0, column], word(f"picture {row}", 12)).imshow(as_shown(clean[row]), cmap="gray")
            show_signed(bare(grid[1, column], "added"), (bad[row] - clean[row]).mean(-1))
            bare(grid[2, column], f"{self.norm} {self._found.norms[row]:.3g}").imshow(as_shown(bad[row]), cmap="gray")
        return figure

    def boundary(self) -> Figure | None:
        """What the network answers around the least changed input; see `rosenblatt.report.boundary_map`.

        None for a `rosenblatt.attacks.Table`, and where none was broken.
        """
        if isinstance(self._model, Table) or not self._found.success.any():
            return None
        return boundary_map(self._model, self._clean, self._found, cells=41, **self._common)

    def write(self, path: PathLike, *, overwrite: bool = False) -> Path:
        """Write the report, by its suffix: a page (.html) or the numbers (.json).

        Raises:
            ParameterError: Another suffix.
            OutputError: The path exists and ``overwrite`` is False, or it cannot be written.
        """
        return write_report(path, "robustness", "Robustness", self.as_dict(), self._sections, overwrite=overwrite)

    def _sections(self) -> list[Section]:
        sections = [Section(text=(self.headline, *self.remarks))]
        if not self.flags:
            rows = [(r["eps"], f"{r['robust_accuracy']:.1%}", f"{r['low']:.1%} to {r['high']:.1%}") for r in self.curve]
            sections.append(
                Section("Accuracy by radius", figure=self.figure(), alt="Accuracy falls as the radius grows; the table has it.",
                        head=("eps", "robust accuracy", "95 % interval"), rows=rows)
            )  # fmt: skip
        if (drawn := self.pictures()) is not None:
            said = "Pictures, what was added to them in red and blue, and the sums, which the network gets wrong."
            sections.append(Section("Least changed, and wrong", figure=drawn, alt=said))
        if (drawn := self.boundary()) is not None:
            said = "Regions of the classes on a plane; the sample and its adversarial point lie on two sides of a boundary."
            caption = (
                "A plane through the least changed input (circle) and its wrong point (cross). Colours are the answers, paler "
                "where the margin is small. Points are not clipped to the bounds."
            )
            sections.append(Section("Around the least changed", figure=drawn, alt=said, caption=caption))
        sections.append(Section("Cost", text=str(self).splitlines()[-1:]))
        return sections


def radii_of(who: str, eps: float | Sequence[float]) -> list[float]:
    """The radii of a curve, each once, the smallest first.

    Raises:
        ParameterError: None, or one that is not positive.
    """
    radii = sorted({float(e) for e in np.atleast_1d(eps)})
    for radius in radii:
        parameter(who, "eps", radius, Number(0, open_low=True))
    if not radii:
        raise ParameterError(f"{who}: eps is empty; expected one radius or more.")
    return radii


def robustness_report(
    model: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    eps: float | Sequence[float],
    norm: str = "linf",
    bounds: tuple[float, float] | None = None,
    mean: Any = None,
    std: Any = None,
    steps: int = 100,
    queries: int = 1000,
    random_state: int = 0,
) -> RobustnessReport:
    """Judge a classifier by the ensemble of attacks at the largest radius, and by the nearest points found at the others.

    Args:
        model: One of our classifiers, a module, a function (a black box, judged by Square alone), a random victim of
            `rosenblatt.attacks.eot`, a `rosenblatt.attacks.Transformed` one, which is attacked by BPDA; of a table also an
            `rosenblatt.attacks.Table`, which says what may change.
        X: Inputs.
        y: Labels.
        eps: Radius, or several, in units of the input (8-bit pictures: of the scale 0 to 1).
        norm: "l1", "l2" or "linf".
        bounds: Of the inputs; see `rosenblatt.attacks.model.victim`.
        mean: Of a module's normalisation.
        std: Its deviation.
        steps: Gradient steps of each attack.
        queries: Of Square.
        random_state: Seed.

    Raises:
        ParameterError: A radius that is not positive, or a model that cannot be attacked.
        ShapeError, DataError, NonFiniteError, LabelError: As the attacks.
    """
    radii = radii_of("robustness_report", eps)
    common = {"norm": norm, "bounds": bounds, "mean": mean, "std": std, "random_state": random_state}
    started = time.perf_counter()
    defended, model = model, model.through() if isinstance(model, Transformed) else model
    white = victim(model, bounds=bounds, mean=mean, std=std).differentiable
    if white:
        found = Ensemble(eps=radii[-1], steps=steps, queries=queries, **common)(model, X, y)
        near = FAB(steps=max(10, steps // 4), **common)(model, X, y)
    else:
        found = near = Square(eps=radii[-1], queries=queries, **common)(model, X, y)
    distance = np.minimum(_distance(found), _distance(near))
    remarks = victim(model, bounds=bounds, mean=mean, std=std).remarks
    if defended is not model and white:
        plain = APGD(eps=radii[-1], steps=steps, **common)(defended, X, y)
        distance = np.minimum(distance, _distance(plain))
        masked = _flags_of_gradients(defended, X, y, plain, common)
        remarks += (
            f"without it {plain.robust_accuracy:.1%} would seem to hold: {'; '.join(masked) or 'no sign of why'}",
        )
    flags = [*found.notes, *(_flags(model, X, y, found, near, radii[-1], steps, queries, common) if white else ())]
    count, right = len(found.correct), found.correct
    curve = []
    for radius in radii:
        held = int((right & ~(distance <= radius)).sum())
        low, high = wilson(held, count)
        curve.append({"eps": radius, "robust_accuracy": held / count, "low": low, "high": high})
    asked = float((found.queries + (near.queries if near is not found else 0)).mean())
    hits = int(right.sum())
    wrong = np.isfinite(distance)
    return RobustnessReport(
        samples=count, norm=norm, accuracy=(hits / count, *wilson(hits, count)), curve=curve, flags=tuple(flags),
        median_norm=float(np.median(distance[wrong])) if wrong.any() else None, queries=asked,
        seconds=time.perf_counter() - started, survival=_survival(model, y, found, common),
        remarks=remarks, _found=found, _clean=X, _model=model, _common={"bounds": bounds, "mean": mean, "std": std},
    )  # fmt: skip


def _distance(found: AttackResult) -> np.ndarray:
    return np.where(found.success, found.norms, np.inf)


def _survival(model: Any, y: ArrayLike, found: AttackResult, common: dict[str, Any]) -> float | None:
    """Share of broken pictures that stay broken as 8 bits."""
    judge = victim(model, **{name: common[name] for name in ("bounds", "mean", "std")})
    shape = np.shape(found.adversarial)
    if judge.bounds is None or tuple(judge.bounds) != (0, 1) or len(shape) != 4 or not found.success.any():
        return None
    pictures = found.rounded()[found.success]
    x = torch.from_numpy(pictures).double().div(255).float().to(judge.device)
    x = judge.again(x)
    with judge.at_rest(), torch.no_grad():
        logits = judge.judge(x)
        codes = judge.codes(_array(y)[found.success], len(x), logits.shape[1])
    return float((logits.argmax(1) != codes).double().mean())


def _array(y: ArrayLike) -> np.ndarray:
    return y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else np.asarray(y)


def _flags(
    model: Any, X: ArrayLike, y: ArrayLike, found: AttackResult, near: AttackResult, eps: float, steps: int,
    queries: int, common: dict[str, Any],
) -> list[str]:  # fmt: skip
    """Signs that the attacks, not the model, failed."""
    flags = _flags_of_gradients(model, X, y, found, common)
    count = max(1, int(found.correct.sum()))
    short, long = (APGD(eps=eps, steps=s, **common)(model, X, y).success for s in (max(5, steps // 2), steps))
    if (long & ~short).sum() > max(_DOUBT * count, 1):
        flags.append(f"not converged: {steps} steps break {int((long & ~short).sum())} samples more than half of them")
    if common["norm"] != "l1":
        black = Square(eps=eps, queries=queries, **common)(model, X, y).success
        missed = black & ~long & ~(_distance(near) <= eps)
        if missed.sum() > max(_DOUBT * count, 1):
            flags.append(f"a black-box attack breaks {int(missed.sum())} samples that gradients do not")
    return flags


def _reach(bounds: Any, x: torch.Tensor) -> float | None:
    """How far a value may go at all; None where columns of a table are held, so that some samples cannot be broken."""
    if isinstance(bounds, Box) and bounds.held.any():
        return None
    low, high = bounds or (-math.inf, math.inf)
    whole = float(torch.as_tensor(high - low).max())
    return whole if math.isfinite(whole) else float(x.max() - x.min())


def _flags_of_gradients(
    model: Any, X: ArrayLike, y: ArrayLike, found: AttackResult, common: dict[str, Any]
) -> list[str]:
    flags = []
    judge = victim(model, **{name: common[name] for name in ("bounds", "mean", "std")})
    x = judge.encode(X)
    right = np.flatnonzero(found.correct)[:256]
    if not len(right):
        return flags
    rows = torch.from_numpy(right).to(x.device)
    with judge.at_rest():
        with torch.no_grad():
            first, second = judge.logits(x[rows]), judge.logits(x[rows])
        if not judge.random and not torch.allclose(first, second, rtol=1e-3, atol=1e-3 * float(first.abs().max())):
            flags.append(
                "random output: two looks at the same inputs differ; the attacks would have to average over it, as they do "
                "over attacks.eot(model)"
            )
        g, _ = ascent(judge.logits, x[rows], first.argmax(1), None, margin)
    flat = int((g.flatten(1) == 0).all(1).sum())
    if flat > max(_DOUBT * len(right), 1):
        flags.append(f"zero gradients at {flat} of {len(right)} inputs")
    reach = _reach(judge.bounds, x)
    if common["norm"] == "linf" and reach is not None:
        chosen = X[rows.to(X.device)] if isinstance(X, torch.Tensor) else np.asarray(X)[right]
        whole = PGD(eps=reach, steps=40, **common)(model, chosen, _array(y)[right])
        left = int((whole.correct & ~whole.success).sum())
        if left > max(0.05 * len(right), 1):
            flags.append(
                f"gradients are masked: {left} of {len(right)} inputs hold though every value may change freely"
            )
    return flags
