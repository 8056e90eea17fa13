"""`Defence`: what a network is to withstand, as a switch of `rosenblatt.Plan`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from rosenblatt._validate import NONE, Choice, Number, Rule, nearest, parameter
from rosenblatt.errors import ParameterError

METHODS = ("pgd", "trades", "fast", "noise")
_OPEN = Number(0, open_low=True)
_RULES: dict[str, tuple[Rule, ...]] = {
    "method": (Choice(METHODS),),
    "eps": (_OPEN,),
    "norm": (Choice(("l1", "l2", "linf")),),
    "steps": (Number(1, integer=True), NONE),
    "step_size": (_OPEN, NONE),
    "beta": (_OPEN,),
    "ramp": (Number(0, 1),),
    "low": (Number(), NONE),
    "high": (Number(), NONE),
}


@dataclass(frozen=True, kw_only=True)
class Defence:
    """How a network learns to withstand changes of its inputs: ``Plan(defence="fast,eps=0.3")``.

    Each makes training dearer: "pgd" by its steps, "trades" by its steps and one pass more, "fast" twice, "noise" not at all.
    What it brings is a question for `rosenblatt.attacks.Ensemble` or, for "noise", `rosenblatt.attacks.Smoothed`.

    Args:
        method: "pgd" (learn from the worst inputs that projected gradient descent finds; Madry et al. 2018), "trades" (the
            loss of the clean input and ``beta`` times the distance of the answers to it and to the worst input; Zhang et al.
            2019), "fast" (one step from a random start; Wong et al. 2020) or "noise" (Gaussian noise, for randomized
            smoothing; Cohen et al. 2019).
        eps: Radius, on the scale of the inputs (pictures of 8 bits: 0 to 1); of "noise" its standard deviation.
        norm: Of the ball: "linf", "l2" or "l1".
        steps: Gradient steps of "pgd" and "trades"; None: 7 and 10.
        step_size: Length of a step; None: 2.5 eps / steps, for "fast" 1.25 eps.
        beta: Weight of robustness in "trades".
        ramp: Share of the run over which eps grows from near zero to its value; a large ball is hard to begin with.
        low: Lowest value of an input; None: 0 for pictures of 8 bits, else none.
        high: Highest value; None: 1 for pictures of 8 bits, else none.

    Raises:
        ParameterError: A value outside its range, or an option that the method does not have.

    References:
        Madry, Makelov, Schmidt, Tsipras & Vladu 2018, arXiv:1706.06083, eq. 2.1; Zhang, Yu, Jiao, Xing, El Ghaoui & Jordan
        2019, arXiv:1901.08573, eq. 5; Wong, Rice & Kolter 2020, arXiv:2001.03994, algorithm 3; Cohen, Rosenfeld & Kolter
        2019, arXiv:1902.02918, section 3.3.

    Example:
        >>> Defence.parse("trades,eps=0.3,beta=4")
        Defence('trades,eps=0.3,beta=4.0')
    """

    method: str = "pgd"
    eps: float
    norm: str = "linf"
    steps: int | None = None
    step_size: float | None = None
    beta: float = 6.0
    ramp: float = 0.0
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        for name, rules in _RULES.items():
            parameter("Defence", name, getattr(self, name), rules)
        if self.method in ("fast", "noise") and self.steps not in (None, 1):
            raise ParameterError(f"Defence: steps={self.steps} of {self.method!r}; expected None, it has none to take.")
        if self.method == "noise" and (self.norm != "linf" or self.step_size is not None):
            raise ParameterError(
                "Defence: norm or step_size of 'noise'; expected neither. eps is the noise's deviation."
            )
        if (self.low is None) != (self.high is None) or (self.low is not None and self.low >= self.high):
            raise ParameterError(f"Defence: low={self.low}, high={self.high}; expected low < high, or neither.")

    @property
    def walk(self) -> tuple[int, float]:
        """Number of gradient steps, and the length of one as a share of eps."""
        steps = self.steps or {"pgd": 7, "trades": 10, "fast": 1, "noise": 0}[self.method]
        own = {"fast": 1.25, "noise": 0.0}.get(self.method, 2.5 / max(steps, 1))
        return steps, own if self.step_size is None else self.step_size / self.eps

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Lowest and highest value of an input, or None."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def __str__(self) -> str:
        """As `parse` takes it; what is as usual is left out."""
        usual = {f.name: f.default for f in fields(self)}
        said = [f"{name}={value}" for name, value in self.said().items() if value != usual[name]]
        return ",".join([self.method, *said])

    def __repr__(self) -> str:
        return f"Defence({str(self)!r})"

    def said(self) -> dict[str, Any]:
        """All options but the method."""
        return {f.name: getattr(self, f.name) for f in fields(self)[1:]}

    @classmethod
    def parse(cls, text: str) -> Defence:
        """A defence of its text: the method, then name=value with commas.

        Raises:
            ParameterError: See the class; an unknown name gets the nearest suggestion.
        """
        method, *pairs = (part.strip() for part in text.split(","))
        parameter("Defence", "method", method, (Choice(METHODS),))
        known, options = [f.name for f in fields(cls)[1:]], {}
        for pair in pairs:
            name, sign, value = (part.strip() for part in pair.partition("="))
            if not sign or name not in known:
                raise ParameterError(
                    f"Defence: {pair!r}; expected name=value, name one of {', '.join(known)}.{nearest(name, known)}"
                )
            options[name] = value if name == "norm" else _number(name, value)
        if "eps" not in options:
            raise ParameterError(f"Defence: {text!r} has no eps; expected a radius, as '{method},eps=0.1'.")
        return cls(method=method, **options)


def _number(name: str, text: str) -> float | int | None:
    if text == "None":
        return None
    try:
        return int(text) if name == "steps" else float(text)
    except ValueError as error:
        raise ParameterError(f"Defence: {name}={text!r}; expected a number.") from error
