r"""Tables: which columns may change, in which units, between which bounds, and which hold whole numbers.

Every attack runs unchanged on :math:`z_j = x_j / s_j`, so that its ball is in units of each column. Held columns have no slope
and come back as they were; whole numbers are rounded in the forward pass, and the gradient passes as if they were not (the
straight-through estimator: Bengio, Leonard & Courville 2013, arXiv:1308.3432, section 3).
What is reported is the row that comes back: its answer, and its distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rosenblatt import _validate
from rosenblatt.attacks.model import Bounds, Victim, victim
from rosenblatt.attacks.projection import Box, size
from rosenblatt.data.recipe import Recipe
from rosenblatt.errors import ColumnError, DataError, ParameterError, ShapeError

Name = str | int
_WHOLE = 1e-3
"""How far from a whole number a value of an integer column may be: a recipe's features are float32."""


@dataclass(frozen=True)
class Table:
    """A classifier of tables with what an attacker may change; given to an attack in the classifier's place.

    Columns are named as ``fit`` saw them or as in the rules of a model file, or numbered. With such rules (a model that
    ``rosenblatt train`` wrote) bounds, scales and whole numbers are meant in the units of the data, the scale of a column is
    its deviation in training unless said otherwise, and categories, true or false, and marks of missing values are held:
    a part of a category is nothing that a table can hold.

    Args:
        model: One of our classifiers of tables, a module of tables or a function.
        fixed: Columns that do not change, bit for bit.
        integer: Columns of whole numbers, which they stay.
        scale: What one unit of the attack's norm is in each column: a number, one a column, or by name; usually deviations.
        bounds: Lowest and highest value by column; the attack's ``bounds`` hold for the others.

    Example:
        >>> from torch import nn
        >>> from rosenblatt.attacks import FGSM
        >>> net = nn.Linear(3, 2, bias=False).requires_grad_(False)
        >>> _ = net.weight.copy_(torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
        >>> rows = torch.tensor([[-3.0, 1.5, 1.0]])
        >>> FGSM(eps=0.5)(Table(net, fixed=[1], integer=[0], scale=[4, 1, 2]), rows, [0]).adversarial
        tensor([[-1.0000,  1.5000,  2.0000]])
    """

    model: Any
    fixed: Sequence[Name] = ()
    integer: Sequence[Name] = ()
    scale: Any = None
    bounds: Mapping[Name, tuple[float, float]] | None = None

    def _victim(self, bounds: Bounds) -> TableVictim:
        return TableVictim(self, victim(self.model), bounds)


class TableVictim(Victim):
    """A victim on scaled columns; its geometry is known once it has seen rows.

    Args:
        table: What may change.
        base: The victim on the columns themselves.
        bounds: Of the columns that the table has none for, or None.
    """

    def __init__(self, table: Table, base: Victim, bounds: Bounds):
        super().__init__(
            self._ask, bounds=None, module=base.module, differentiable=base.differentiable, classes=base.classes,
            device=base.device, name=base.name,
        )  # fmt: skip
        if base.random:
            raise ParameterError("Table: the model is random, made by attacks.eot; expected one that is not.")
        if base.tokens:
            raise ParameterError(f"Table: {base.name} takes tokens; expected a classifier of tables.")
        self._table, self._base, self._common = table, base, bounds
        self.notes, self.masked, self.remarks = base.notes, base.masked, base.remarks
        base.bounds = None  # they are looked after here, column by column
        self._columns = _Columns(getattr(table.model, "preprocessing_", None), table.model)

    def _ask(self, z: Tensor) -> Tensor:
        return self._base._forward(self._features(torch.where(self._held, z.detach(), z)))

    # ------------------------------------------------------------------------------------------- rows to columns

    def encode(self, X: Any) -> Tensor:
        """Rows as scaled columns (N, D), float64.

        Raises:
            ShapeError: Not a table, or as many scales as it has no columns.
            ColumnError: A column that is not there.
            ParameterError: A scale that is not positive, bounds that are none, or nothing left to change.
            DataError: Values out of the bounds, or parts in a column of whole numbers.
        """
        x = self._base.encode(X)
        if x.ndim != 2:
            raise ShapeError(f"attack: X has shape {tuple(x.shape)}; expected a table (n_samples, n_columns).")
        self._learn(x)
        self._check(x)
        z = self._scaled(x)
        return torch.where(self._integer, (self._whole(z) - self._offset) / self._scale, z)

    def _learn(self, x: Tensor) -> None:
        table, columns, width = self._table, self._columns.of(x.shape[1]), x.shape[1]
        self._dtype = x.dtype
        tensor = lambda values: torch.as_tensor(values, device=x.device)  # noqa: E731
        self._unit, self._offset = (tensor(v) for v in (columns.unit, columns.offset))
        held = columns.mask("fixed", table.fixed) | columns.held
        self._held, self._integer = tensor(held), tensor(columns.mask("integer", table.integer) & ~held)
        if held.all():
            raise ParameterError("attack: every column is fixed; expected one at least that may change.")
        self._scale = tensor(columns.scales(table.scale, held))
        low, high = columns.limits(table.bounds, self._common)
        low, high = (tensor(np.where(held, end, v)) for end, v in ((-np.inf, low), (np.inf, high)))
        self._low = torch.where(self._integer, low.ceil(), low)
        self._high = torch.where(self._integer, high.floor(), high)
        # as the model's numbers have it: 0.1 in float32 lies a little above 0.1
        ends = [(((end - self._offset) / self._unit).to(self._dtype)) for end in (self._low, self._high)]
        self._ends = ends[0].expand(width), ends[1].expand(width)
        steps = torch.where(self._integer, 1 / self._scale, 0.0)
        self.bounds = Box(self._scaled(ends[0]), self._scaled(ends[1]), held=self._held, step=steps)

    def _check(self, x: Tensor) -> None:
        raw = self._offset + self._unit * x.double()
        parts = self._integer & ((raw - raw.round()).abs() > _WHOLE)
        outside = ~self._held & ((x < self._ends[0]) | (x > self._ends[1]))
        for bad, said in ((parts, "a whole number"), (outside, "a value in its bounds")):
            if bad.any():
                row, column = (int(v) for v in bad.nonzero()[0])
                raise DataError(
                    f"attack: {self._columns.name(column)} holds {float(raw[row, column]):g} in row {row}; expected {said}"
                    + (f" ({float(self._low[column]):g} to {float(self._high[column]):g})." if bad is outside else
                       ". Leave it out of integer=, or mend it.")
                )  # fmt: skip

    def _scaled(self, x: Tensor) -> Tensor:
        return x.double() * (self._unit / self._scale)

    def _whole(self, z: Tensor) -> Tensor:
        """Values of the data (N, D), rounded where they are whole numbers."""
        raw = self._offset + z * self._scale
        return torch.where(self._integer, raw + (raw.round() - raw).detach(), raw)

    def _features(self, z: Tensor) -> Tensor:
        """What the model sees, in its own precision."""
        x = torch.where(self._integer, (self._whole(z) - self._offset) / self._unit, z * (self._scale / self._unit))
        return x.to(self._dtype)

    # ------------------------------------------------------------------------------------------- what comes back

    def difference(self, z: Tensor, x: Tensor) -> Tensor:
        """In units of the scale (N, D), of the rows that `decode` gives."""
        parts = (self._features(z).double() - self._features(x).double()) * (self._unit / self._scale)
        return torch.where(self._integer, (self._whole(z) - self._whole(x)) / self._scale, parts)

    def settle(self, z: Tensor, x: Tensor, eps: float | None, norm: str) -> Tensor:
        """Points as they come back: held columns as before, whole numbers rounded, and within the ball.

        Args:
            z: What an attack found (N, D).
            x: Samples.
            eps: Radius, or None.
            norm: Of the ball.
        """
        z = torch.where(self._held, x, z)
        if eps is not None:
            exact, careful = (self.bounds.turned(z, x, radius, norm) for radius in (eps, eps * (1 - 1e-12)))
            # a sum of floats may miss the ball by a bit
            z = torch.where((size(self.difference(exact, x), norm) > eps)[:, None], careful, exact)
        whole = (self._whole(z) - self._offset) / self._scale
        z = torch.where(self._integer, whole, self._at(self._within(self._features(z)), z))
        return z if eps is None else self._inside(z, x, eps, norm)

    def _at(self, features: Tensor, z: Tensor) -> Tensor:
        """The point of what the model shall see, z itself in columns where it sees that already."""
        return torch.where(features == self._features(z), z, self._scaled(features))

    def _within(self, features: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(features, self._ends[0]), self._ends[1])

    def _inside(self, z: Tensor, x: Tensor, eps: float, norm: str) -> Tensor:
        """The model's precision may put a row outside by a bit: float by float towards the sample."""
        clean = self._features(x)
        for pull in range(1, 6):
            out = size(self.difference(z, x), norm) > eps
            if not out.any():
                return z
            moved = self._features(z)
            moved = moved + (clean - moved) * (pull * 4e-16)  # where the point is nearer to 0 than the sample
            for _ in range(pull):
                moved = torch.nextafter(moved, clean)
            z = torch.where(out[:, None] & ~self._integer, self._at(moved, z), z)
        return torch.where(out[:, None], x, z)

    def decode(self, x: Tensor, X: Any) -> Any:
        """Rows as X was; what did not change has X's own bits."""
        features, clean = self._features(x).cpu(), self._features(self.encode(X)).cpu()
        if isinstance(X, Tensor):
            kept = X.detach().cpu()
            dtype = torch.promote_types(kept.dtype, features.dtype)
            return torch.where(features == clean, kept.to(dtype), features.to(dtype)).to(X.device)
        kept = np.asarray(X)
        dtype = np.promote_types(kept.dtype, features.numpy().dtype)
        return np.where((features == clean).numpy(), kept.astype(dtype), features.numpy().astype(dtype))


class _Columns:
    """Names and units of the matrix's columns."""

    def __init__(self, recipe: Recipe | None, model: Any):
        self._recipe, self._names = recipe, list(getattr(model, "feature_names_in_", ()))

    def of(self, width: int) -> _Columns:
        """With as many columns as the data has."""
        self.unit, self.offset, self.held = np.ones(width), np.zeros(width), np.zeros(width, bool)
        self._places = {name: [i] for i, name in enumerate(self._names)} | {i: [i] for i in range(width)}
        self._plain = True
        if self._recipe is not None:
            self._by_recipe(self._recipe)
        return self

    def _by_recipe(self, recipe: Recipe) -> None:
        self._names, start = recipe.feature_names, 0
        for column in recipe.columns:
            places = list(range(start, start + len(column.features)))
            self._places[column.name], start = places, start + len(places)
            if column.kind in ("number", "date"):
                self.unit[places[0]], self.offset[places[0]] = column.deviation, column.mean
                self.held[places[1:]] = True
            else:
                self.held[places] = True

    def name(self, place: int) -> str:
        return f"column {self._names[place]!r}" if self._names else f"column {place}"

    def places(self, option: str, name: Name) -> list[int]:
        if isinstance(name, (int, np.integer)) and not isinstance(name, bool) and int(name) < 0:
            name = int(name) + len(self.unit)
        if name not in self._places:
            words = [known for known in self._places if isinstance(known, str)]
            few = ", ".join(repr(word) for word in words[:5]) or "no names, which the model does not know"
            raise ColumnError(
                f"attack: {option} names {name!r}; expected numbers from 0 to {len(self.unit) - 1} or names of columns ({few})."
                f"{_validate.nearest(name, words)}"
            )
        return self._places[name]

    def mask(self, option: str, names: Sequence[Name]) -> np.ndarray:
        if isinstance(names, (str, int)):
            raise ParameterError(f"attack: {option}={names!r}; expected a list of columns, as [{names!r}].")
        found = np.zeros(len(self.unit), bool)
        for name in names:
            found[self.places(option, name)] = True
        return found

    def scales(self, given: Any, held: np.ndarray) -> np.ndarray:
        """One a column; 1 where it is held."""
        found = self.unit.copy()
        if isinstance(given, Mapping):
            for name, value in given.items():
                found[self.places("scale", name)] = value
        elif given is not None:
            values = np.asarray(given, np.float64)
            if values.shape not in ((), (len(found),)):
                raise ShapeError(
                    f"attack: scale has shape {values.shape}; expected a number or {len(found)}, one a column."
                )
            found[:] = values
        found[held] = 1.0
        bad = ~(np.isfinite(found) & (found > 0))
        if bad.any():
            place = int(bad.argmax())
            raise ParameterError(
                f"attack: the scale of {self.name(place)} is {found[place]:g}; expected a positive number. "
                "A column that never varies belongs into fixed=."
            )
        return found

    def limits(self, given: Mapping[Name, tuple[float, float]] | None, common: Bounds) -> tuple[np.ndarray, np.ndarray]:
        low, high = common or (-np.inf, np.inf)
        low, high = np.full(len(self.unit), float(low)), np.full(len(self.unit), float(high))
        for name, pair in (given or {}).items():
            if not (len(pair) == 2 and pair[0] < pair[1]):
                raise ParameterError(f"attack: bounds of {name!r} are {pair!r}; expected (lowest, highest), as (0, 1).")
            places = self.places("bounds", name)
            low[places], high[places] = pair
        return low, high
