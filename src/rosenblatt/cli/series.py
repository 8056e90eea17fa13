"""``train forecaster`` and forecasts from a model file: tables with a column of times."""

from __future__ import annotations

import time
from typing import Any

from rosenblatt.cli.signatures import Parameter, parse_plan, parse_value
from rosenblatt.cli.train import check_output, show, words
from rosenblatt.data.series import read_panel, read_series
from rosenblatt.data.tables import read_table
from rosenblatt.errors import ColumnError, ParameterError
from rosenblatt.estimators.forecaster import Forecaster


def train(system: str, parameters: list[Parameter], given: dict[str, Any]) -> None:
    """Train a forecaster on a table, with a backtest before it where one is asked for, and write the model file."""
    check_output(given["out"], force=given["force"])
    chosen = {p.name: parse_value(p, given[p.name]) for p in parameters}
    model = Forecaster(**chosen, plan=parse_plan(given["plan"] or []))
    roles = {
        "time": given["time"], "series": given["series"], "target": words(given["target"]),
        "past": words(given["past"]), "future": words(given["future"]),
    }  # fmt: skip
    y, past, future = read_roles(given["data"], roles, frequency=given["frequency"])
    tested = None
    if given["backtest"]:
        tested = model.backtest(y, past=past, future=future, origins=given["backtest"], stride=given["stride"])
    started = time.perf_counter()
    model.fit(y, past=past, future=future)
    seconds = time.perf_counter() - started
    roles["target"] = list(model.names_)
    model.columns_ = roles
    model.save(given["out"], overwrite=given["force"])
    result = {
        "model": str(given["out"]), "estimator": "Forecaster", "seconds": round(seconds, 3), "scores": model.scores_,
        "selected": model.selected_, "frequency": model.frequency_,
        "backtest": None if tested is None else tested.errors,
    }  # fmt: skip
    lines = [] if tested is None else [str(tested), ""]
    summary = str(model.summary()).splitlines()
    lines += [
        *summary[summary.index("") + 1 :],
        f"{given['out']}: trained in {seconds:.1f} s, steps of {model.frequency_}",
    ]
    show(result, as_json=given["as_json"], lines=lines)


def read_roles(data: str, roles: dict[str, Any], *, frequency: str | None = None) -> tuple[Any, Any, Any]:
    """Series, past and future covariates out of the columns of one table; dicts of them where it holds a panel.

    Raises:
        ColumnError: A column has two parts to play, or is not there.
        DataError: See `rosenblatt.data.series.read_series`.
    """
    table = read_table(data, who=data)
    named = [*(roles["past"] or []), *(roles["future"] or [])]
    taken = {roles["time"], roles["series"], *named}
    target = roles["target"]
    if target is None and (named or roles["series"]) and roles["time"] is None:
        raise ParameterError("--time or --target is missing; expected one of them beside --past, --future or --series.")
    target = [c for c in table.column_names if c not in taken] if target is None and roles["time"] else target
    if twice := sorted(set(target or []) & {c for c in taken if c}):
        raise ColumnError(f"{data}: the column {twice[0]!r} is a target and something else too; expected one of them.")

    def part(columns: list[str] | None, *, trim: bool) -> Any:
        if columns is not None and not columns:
            return None
        if roles["series"]:
            return read_panel(
                table, series=roles["series"], time=roles["time"], target=columns, frequency=frequency, who=data
            )
        return read_series(table, time=roles["time"], target=columns, frequency=frequency, trim=trim, who=data)

    return part(target, trim=not named), part(roles["past"] or [], trim=False), part(roles["future"] or [], trim=False)


def _roles(model: Forecaster) -> dict[str, Any]:
    return getattr(model, "columns_", None) or dict.fromkeys(("time", "series", "target", "past", "future"))


def predict(model: Forecaster, data: str, horizon: int | None) -> dict[str, list[Any]]:
    """Forecast the steps after the series of a table: columns of times, medians and the other quantiles.

    Raises:
        ColumnError, DataError: The table has not the columns of training, or too few rows.
    """
    from rosenblatt.estimators.members import is_panel, read_members

    y, past, future = read_roles(data, _roles(model))
    found = model.predict_quantiles(horizon, y=y, past=past, future=future)
    found = found if is_panel(y) else {"": found}
    rows: dict[str, list[Any]] = {"series": [], "time": []}
    levels = model.levels_
    heads = [name if q == 0.5 else f"{name} q{q:g}" for name in model.names_ for q in levels]
    rows |= {head: [] for head in heads}
    for member in read_members(data, y, past, future):
        values = found[member.name]
        stamps = member.times(len(member), len(values))
        rows["series"] += [member.name] * len(values)
        rows["time"] += [str(stamp).removesuffix("T00:00:00") for stamp in stamps]
        for head, column in zip(heads, values.reshape(len(values), -1).T, strict=True):
            rows[head] += column.tolist()
    return rows if is_panel(y) else {name: column for name, column in rows.items() if name != "series"}


def attack(
    model: Forecaster, data: str, *, eps: list[float], norm: str, bounds: tuple[float, float] | None, steps: int,
    seed: int, **_: Any,
) -> tuple[dict[str, Any], list[str]]:  # fmt: skip
    """How far a small change of the history moves the forecast after it, beside noise of the same size."""
    from rosenblatt.attacks import ForecastAttack

    y, past, future = read_roles(data, _roles(model))
    rows = []
    for radius in eps:
        found = ForecastAttack(eps=radius, norm=norm, bounds=bounds, steps=steps, random_state=seed)(
            model, y, past=past, future=future
        )
        for name, one in (found if isinstance(found, dict) else {"": found}).items():
            rows.append(
                {"series": name, "eps": radius, "norm": norm, "moved": one.error[1], "by_noise": one.noise,
                 "forecast_by": one.source, "notes": list(one.notes)}
            )  # fmt: skip
    lines = [
        f"{row['series'] and row['series'] + ': '}eps {row['eps']:g} deviations ({norm}): the forecast by {row['forecast_by']} "
        f"moves by {row['moved']:.4g}, under noise of that size by {row['by_noise']:.4g}"
        for row in rows
    ]
    return {"attacks": rows}, lines + sorted({note for row in rows for note in row["notes"]})
