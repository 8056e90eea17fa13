"""`Forecaster`: recurrent networks for time series, always beside three baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor, nn

from rosenblatt._validate import NONE, SEED, Choice, Number, Of
from rosenblatt.data.resident import Resident
from rosenblatt.data.series import season_of, times_of
from rosenblatt.errors import DataError, ParameterError, ShapeError
from rosenblatt.estimators.backtest import BASELINES, NETWORK, Backtest, ForecastSummary
from rosenblatt.estimators.base import Estimator, expect_shape
from rosenblatt.estimators.members import Member, covariates, is_panel, read_members
from rosenblatt.estimators.summary import summarize
from rosenblatt.metrics.forecast import naive_scale
from rosenblatt.models.forecaster import CELLS, RecurrentForecaster
from rosenblatt.train.checkpoint import fingerprint
from rosenblatt.train.follow import follow
from rosenblatt.train.forecast import Windows, fill_forward, scale_of, solve_linear, window_loss
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import choose_device, choose_precision
from rosenblatt.train.rollout import Rollout
from rosenblatt.train.seeds import PrivateRandom, draw_seed, generator
from rosenblatt.train.supervised import keeper_of, supervised

_MOST_CHECKED = 512
"""Validation windows looked at after an epoch; more of them only cost time."""


class Forecaster(Estimator):
    """Recurrent forecaster of one or several series, with quantiles, always fitted beside three baselines.

    Use it for regular series of a hundred steps or more; `summary` says plainly when last value, seasonal naive or a
    linear layer does better on the validation part, and ``select="best"`` then forecasts with that. What an origin's
    future holds never reaches its forecast: series are standardised by their own past alone.

    Args:
        horizon: Steps to forecast.
        window: Steps that the network reads; None takes two seasons, at least 24, or less where the series is short.
        cell: "lstm", "gru" or "elman".
        hidden_size: Width of the recurrent layers.
        layers: Recurrent layers.
        quantiles: Levels between 0 and 1 that are forecast beside the median.
        strategy: "direct" (one output a step) or "recursive" (one step, fed back; bands by sampled paths).
        subtract: "last" (network forecasts the change from the last value) or "season" (from one season before).
        transform: "none", or "log" for positive series that grow by shares.
        season: Steps of a season; None takes the frequency's usual one (12 for months, 7 for days, 24 for hours).
        select: "network", or "best" of network and baselines on the validation part.
        dropout: Share of the state dropped in training.
        epochs: Passes over the windows at most.
        batch_size: Windows a step.
        learning_rate: Top of the schedule.
        random_state: Seed of weights, order and paths.
        device: "auto", "cpu", "cuda", ...
        verbose: 0 silent, 1 a progress bar on a terminal, 2 one line an epoch.
        plan: Everything else; own choices: Adam, fp32, gradients clipped at 1, early stopping with patience 15 on the
            last fifth of each series; then the network is trained again on everything for the epochs found.

    Attributes:
        module_: The network, a plain ``nn.Module``.
        scores_: MAE on the validation part by model: "network", "last value", "seasonal naive", "linear".
        selected_: The model that ``predict`` uses.
        window_, season_, frequency_, names_, levels_: What was chosen or found.
        history_, n_iter_, best_epoch_, device_, precision_: The training record.

    Reference:
        Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; the others stand in `rosenblatt.models.forecaster`.

    Example:
        >>> import numpy as np
        >>> wave = np.sin(np.arange(120) * 2 * np.pi / 12)
        >>> model = Forecaster(horizon=6, window=12, season=12, hidden_size=8, epochs=5, random_state=0, verbose=0).fit(wave)
        >>> model.predict().shape, model.predict_quantiles(8).shape
        ((6,), (8, 3))
    """

    _rules: ClassVar[Mapping[str, Any]] = {
        "horizon": Number(1, integer=True),
        "window": (Number(2, integer=True), NONE),
        "cell": Choice(CELLS),
        "hidden_size": Number(1, integer=True),
        "layers": Number(1, integer=True),
        "quantiles": Of((tuple, list), "a sequence of levels between 0 and 1"),
        "strategy": Choice(("direct", "recursive")),
        "subtract": Choice(("last", "season")),
        "transform": Choice(("none", "log")),
        "season": (Number(1, integer=True), NONE),
        "select": Choice((NETWORK, "best")),
        "dropout": Number(0, 1, open_high=True),
        "epochs": Number(1, integer=True),
        "batch_size": Number(1, integer=True),
        "learning_rate": Number(0, open_low=True),
        "random_state": SEED,
        "device": Of((str, torch.device), "a device name"),
        "verbose": Of((bool, int), "0, 1 or 2"),
        "plan": (Of(Plan, "a rosenblatt.Plan"), NONE),
    }
    _own_plan = Plan(
        optimizer="adam", precision="fp32", gradient_clip=1.0, early_stopping=True, patience=15, validation_fraction=0.2
    ).over(STANDARD)

    def __init__(
        self,
        *,
        horizon: int = 12,
        window: int | None = None,
        cell: str = "lstm",
        hidden_size: int = 32,
        layers: int = 1,
        quantiles: Any = (0.1, 0.5, 0.9),
        strategy: str = "direct",
        subtract: str = "last",
        transform: str = "none",
        season: int | None = None,
        select: str = "network",
        dropout: float = 0.0,
        epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 0.005,
        random_state: int | np.random.RandomState | None = None,
        device: str = "auto",
        verbose: int = 1,
        plan: Plan | None = None,
    ):
        self.horizon = horizon
        self.window = window
        self.cell = cell
        self.hidden_size = hidden_size
        self.layers = layers
        self.quantiles = quantiles
        self.strategy = strategy
        self.subtract = subtract
        self.transform = transform
        self.season = season
        self.select = select
        self.dropout = dropout
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.plan = plan

    # ------------------------------------------------------------------------------------------------- fit

    def fit(self, y: Any, *, past: Any = None, future: Any = None, frequency: str | None = None) -> Forecaster:
        """Train from scratch, beside the baselines.

        Args:
            y: A series: (T,) or (T, K), a Series or data frame of any library, the path of a table (see
                `rosenblatt.data.series.read_series`); or a dict or list of series, a panel that shares one network.
            past: Covariates that are known up to now only, in step with y.
            future: Covariates known beforehand (calendar, prices), in step with y; rows after its end are kept for
                ``predict``.
            frequency: What the frequency must be; None finds it.

        Raises:
            ParameterError, DeviceError: A constructor argument is wrong, or the device is not there.
            DataError: A series is irregular, too short, or not positive for ``transform="log"``; covariates out of step.
            DivergedError: Training turned non-finite.
        """
        self._check_parameters()
        members = read_members("Forecaster.fit", y, past, future, frequency=frequency)
        return self._fit(members, panel=is_panel(y))

    def _fit(self, members: list[Member], *, panel: bool) -> Forecaster:
        plan = (self.plan or Plan()).over(self._own_plan)
        self._learn_sizes(members, panel)
        self._refuse_short(members)
        seed = draw_seed(self.random_state)
        device = choose_device(self.device)
        self.device_, self.precision_ = str(device), choose_precision(plan.precision, device)
        self.seed_ = seed % 2**32
        cuts = [self._cut(len(m), plan) for m in members]
        # the validation part is forecast by models that know only what comes before it ...
        done = self._train(members, cuts, plan, self.epochs, seed, part="selection")
        self.history_, self.best_epoch_, self.n_iter_ = done.rows, done.best_epoch, len(done.rows)
        self.stopped_ = done.stopped
        self.scores_ = self._score(members, cuts)
        self.selected_ = NETWORK if self.select == NETWORK else min(self.scores_, key=lambda name: self.scores_[name])
        # ... and all of it is learned from afterwards, for as long as was best
        ends = [len(m) for m in members]
        again = replace(plan, early_stopping=False, target=None)
        self._train(members, ends, again, max(1, done.best_epoch), seed, part="final")
        self._keep_tails(members)
        return self

    def _learn_sizes(self, members: list[Member], panel: bool) -> None:
        first = members[0]
        self.panel_, self.series_names_ = panel, [m.name for m in members]
        self.names_, self.frequency_ = list(first.names), first.frequency
        self.n_targets_, self.n_known_ = len(first.names), first.ahead.shape[1]
        self.n_past_ = first.table.shape[1] - self.n_targets_ - self.n_known_
        self.season_ = self.season or season_of(first.frequency)
        self.step_ = self.horizon if self.strategy == "direct" else 1
        self.masked_ = any(bool(np.isnan(m.table[:, : self.n_targets_]).any()) for m in members)
        levels = [float(q) for q in self.quantiles]
        if not all(0 < q < 1 for q in levels):
            raise ParameterError(f"Forecaster: quantiles={self.quantiles!r}; expected levels between 0 and 1.")
        self.levels_ = sorted({*levels, 0.5})
        shortest = min(len(m) for m in members)
        wanted = max(2 * self.season_, 24)
        self.window_ = self.window or max(2, self.season_ + 2, min(wanted, shortest - 3 * self.horizon))
        if self.subtract == "season" and self.window_ < self.season_ + 2:
            raise ParameterError(
                f"Forecaster: window={self.window_}; expected at least {self.season_ + 2} for subtract='season'."
            )

    def _refuse_short(self, members: list[Member]) -> None:
        needed = self.window_ + 2 * self.horizon
        for m in members:
            named = f" {m.name!r}" if m.name else ""
            if len(m) < needed:
                raise DataError(
                    f"Forecaster.fit: the series{named} has {len(m)} steps; expected at least {needed}: a window of "
                    f"{self.window_} and twice the horizon of {self.horizon}. Choose a smaller window or horizon."
                )
            self._transformed(m.table[:, : self.n_targets_], f"Forecaster.fit: the series{named}")

    def _cut(self, length: int, plan: Plan) -> int:
        held = max(self.horizon, round((plan.validation_fraction or 0.2) * length))
        return max(length - held, self.window_ + self.horizon)

    def _train(self, members: list[Member], ends: list[int], plan: Plan, epochs: int, seed: int, *, part: str) -> Any:
        """Network, linear layer and bands from what comes before each ``end``; what comes after only says when to stop."""
        device = torch.device(self.device_)
        self._learn_covariate_scale(members, ends)
        self.n_extra_ = self.n_targets_ * self.masked_ + self.n_past_
        scales = [
            scale_of(self._transformed(m.table[:e, : self.n_targets_])) for m, e in zip(members, ends, strict=True)
        ]
        train, held = self._windows(members, scales, ends)
        self.linear_coef_, self.linear_intercept_ = solve_linear(train, self.n_targets_)
        with PrivateRandom(seed, device):
            self.module_ = self._place(self._rebuild(), device)
        moved = train.to(device)
        levels = torch.tensor(self.levels_, device=device)
        source = generator(seed)
        data = Resident(moved.starts, moved.starts, device=device, batch_size=self.batch_size, generator=source)
        checked = held.starts[:: max(1, len(held.starts) // _MOST_CHECKED)]
        run: dict[str, Any] = {"plan": plan, "epochs": epochs}
        series = fingerprint(moved.table, moved.truth)
        keeper = keeper_of(
            **run, module=self.module_, data=data, learning_rate=self.learning_rate, part=part,
            random_state=self.random_state, series=series,
        )  # fmt: skip
        records = supervised(
            self.module_,
            data,
            window_loss(moved, levels),
            **run,
            learning_rate=self.learning_rate,
            keeper=keeper,
            prepare=lambda starts: moved.inputs(starts, ahead=self.n_known_ > 0),
            evaluate=None if not len(checked) else lambda _: {"validation_score": -self._scaled_error(held, checked)},
        )
        done = follow(records, self.module_, **run, label="Forecaster", verbose=self.verbose, keeper=keeper)
        self._learn_bands(train)
        return done

    def _learn_covariate_scale(self, members: list[Member], ends: list[int]) -> None:
        seen = np.vstack([m.table[:e, self.n_targets_ :] for m, e in zip(members, ends, strict=True)])
        self.covariate_mean_, self.covariate_deviation_ = scale_of(seen)

    def _windows(self, members: list[Member], scales: list[Any], ends: list[int]) -> tuple[Windows, Windows]:
        """Windows whose targets end before ``end``, and those whose targets begin there or later."""
        tables, truths, train, held, row = [], [], [], [], 0
        length, ahead = self.window_, self.horizon
        for member, scale, end in zip(members, scales, ends, strict=True):
            inputs, truth = self._scaled(member.table, scale)
            tables.append(inputs)
            truths.append(truth)
            train.append(row + np.arange(0, end - length - ahead + 1))
            held.append(row + np.arange(end - length, len(inputs) - length - ahead + 1))
            row += len(inputs)
        table = torch.from_numpy(np.vstack(tables).astype(np.float32))
        truth = torch.from_numpy(np.vstack(truths).astype(np.float32))
        make = lambda starts, h: Windows(table, truth, torch.from_numpy(np.concatenate(starts)), length, h)  # noqa: E731
        return make(train, self.step_), make(held, self.horizon)

    @torch.no_grad()
    def _scaled_error(self, held: Windows, starts: Tensor) -> float:
        point = self._roll(NETWORK, held.inputs(starts, ahead=self.n_known_ > 0), self.horizon, bands=False)
        return float((point[..., 0] - held.targets(starts)).abs().nanmean())

    def _learn_bands(self, train: Windows) -> None:
        """Quantiles of the baselines' own training errors, step by step."""
        starts = train.starts[:: max(1, len(train.starts) // 4096)]
        whole = Windows(train.table, train.truth, starts, self.window_, self.horizon)
        x, truth = whole.inputs(starts, ahead=self.n_known_ > 0), whole.targets(starts)
        self.bands_ = {}
        for name in BASELINES:
            error = truth - self._roll(name, x, self.horizon, bands=False)[..., 0]
            band = torch.nanquantile(error, torch.tensor(self.levels_), dim=0).permute(1, 2, 0)  # H K Q
            band[..., self.levels_.index(0.5)] = 0.0
            self.bands_[name] = torch.nan_to_num(band).numpy()

    def _score(self, members: list[Member], cuts: list[int]) -> dict[str, float]:
        found: dict[str, list[np.ndarray]] = {name: [] for name in (NETWORK, *BASELINES)}
        for member, cut in zip(members, cuts, strict=True):
            origins = np.arange(cut, len(member) - self.horizon + 1)
            origins = origins[:: max(1, len(origins) // 64)]
            truth = _truth(member, origins, self.horizon, self.n_targets_)
            for name, errors in found.items():
                errors.append(
                    np.abs(self._at_origins(name, member, origins, self.horizon, bands=False)[..., 0] - truth)
                )
        return {name: float(np.nanmean(np.concatenate(errors))) for name, errors in found.items()}

    def _keep_tails(self, members: list[Member]) -> None:
        """What ``predict`` goes on from: the last rows of each series and the numbers that standardise it."""
        rows = max(self.window_, 4 * self.horizon)
        targets = self.n_targets_
        self.tails_ = [np.ascontiguousarray(m.table[-rows:]) for m in members]
        self.ahead_ = [np.ascontiguousarray(m.ahead) for m in members]
        self.tail_starts_ = [
            _as_start(m.times(len(m) - len(t), 1)[0]) for m, t in zip(members, self.tails_, strict=True)
        ]
        self.scales_ = [np.stack(scale_of(self._transformed(m.table[:, :targets]))) for m in members]
        seasonal = [naive_scale(m.table[:, :targets], self.season_) for m in members]
        self.naive_scales_ = [s if np.isfinite(s) and s > 0 else 1.0 for s in seasonal]

    # ------------------------------------------------------------------------------------------- scaled values

    def _transformed(self, values: np.ndarray, who: str = "Forecaster") -> np.ndarray:
        if self.transform == "none":
            return values
        if (values <= 0).any():
            raise DataError(f"{who}: has {np.nanmin(values):g}; expected values > 0 for transform='log'. Use 'none'.")
        return np.log(values)

    def _scaled(self, table: np.ndarray, scale: Any) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (T, C) without a missing value, and the scaled targets (T, K) with them."""
        targets = self.n_targets_
        truth = (self._transformed(table[:, :targets]) - scale[0]) / scale[1]
        parts = [fill_forward(truth)]
        if self.masked_:
            parts.append(np.isnan(truth).astype(np.float64))
        parts.append((table[:, targets:] - self.covariate_mean_) / self.covariate_deviation_)
        return np.hstack(parts), truth

    def _at_origins(self, name: str, member: Member, origins: Any, horizon: int, *, bands: bool) -> np.ndarray:
        """Forecasts (N, H, K, Q) of a model; each origin sees the rows before it alone, and is scaled by them alone."""
        windows, scales = [], []
        for origin in origins:
            seen = member.until(int(origin))
            scale = scale_of(self._transformed(seen.table[:, : self.n_targets_]))
            windows.append(self._window(seen, scale, horizon))
            scales.append(np.stack(scale))
        return self._finish(name, windows, np.stack(scales), horizon, bands=bands)

    def _window(self, seen: Member, scale: Any, horizon: int) -> np.ndarray:
        """The last window of a series, and after it the known covariates of the horizon."""
        if len(seen) < self.window_:
            raise DataError(
                f"Forecaster: {len(seen)} steps are known; expected at least the window of {self.window_}. Give more of y."
            )
        inputs = self._scaled(seen.table, scale)[0][-self.window_ :]
        if not self.n_known_:
            return inputs
        if len(seen.ahead) < horizon:
            raise ShapeError(
                f"Forecaster: {len(seen.ahead)} rows of future covariates after the series; expected {horizon}, one a step. "
                "Pass them as future=."
            )
        after = np.zeros((horizon, inputs.shape[1]))
        known = slice(self.n_past_, None)
        after[:, -self.n_known_ :] = (seen.ahead[:horizon] - self.covariate_mean_[known]) / self.covariate_deviation_[
            known
        ]
        return np.vstack([inputs, after])

    def _finish(
        self, name: str, windows: list[np.ndarray], scales: np.ndarray, horizon: int, *, bands: bool
    ) -> np.ndarray:
        x = torch.from_numpy(np.stack(windows).astype(np.float32))
        out = self._roll(name, x, horizon, bands=bands).double().numpy()  # N H K Q
        out = out * scales[:, 1][:, None, :, None] + scales[:, 0][:, None, :, None]
        return np.exp(out) if self.transform == "log" else out

    def _roll(self, name: str, x: Tensor, horizon: int, *, bands: bool) -> Tensor:
        return Rollout(self, name).run(x, horizon, bands=bands)

    # --------------------------------------------------------------------------------------------- predict

    def predict(self, horizon: int | None = None, *, y: Any = None, past: Any = None, future: Any = None) -> Any:
        """Medians of the next steps.

        Args:
            horizon: Steps; None takes the fitted one. More than that are forecast by feeding forecasts back.
            y: Go on from the end of these series instead of the fitted ones, with ``past`` and ``future`` in step with
                them; a series is standardised by what is given of it.
            past: Covariates in step with y; needed where fit had some and y is given.
            future: Known covariates: of y and the horizon where y is given, else of the steps after the fitted series.

        Returns:
            (H,), or (H, K) of several targets; of a panel a dict name -> array.

        Raises:
            NotFittedError: Before ``fit``.
            DataError, ShapeError: Fewer steps than the window, or too few covariates.
        """
        return self._answer("predict", horizon, y, past, future, point=True)

    def predict_quantiles(
        self, horizon: int | None = None, *, y: Any = None, past: Any = None, future: Any = None
    ) -> Any:
        """Quantiles of the next steps, in the order of ``levels_``; arguments as `predict`.

        Returns:
            (H, Q), or (H, K, Q) of several targets; of a panel a dict name -> array. Rising along Q always.
        """
        return self._answer("predict_quantiles", horizon, y, past, future, point=False)

    def _answer(self, method: str, horizon: Any, y: Any, past: Any, future: Any, *, point: bool) -> Any:
        self._check_fitted(method)
        horizon = self._horizon(method, horizon)
        who = f"Forecaster.{method}"
        if y is None:
            members, scales = self._known_members(who, future, horizon), np.stack(self.scales_)
        else:
            members = read_members(who, y, past, future)
            self._refuse_other(who, members)
            scales = np.stack(
                [np.stack(scale_of(self._transformed(m.table[:, : self.n_targets_], who))) for m in members]
            )
        windows = [self._window(m, s, horizon) for m, s in zip(members, scales, strict=True)]
        out = self._finish(self.selected_, windows, scales, horizon, bands=not point)
        out = out[..., 0] if point else out
        out = out[:, :, 0] if self.n_targets_ == 1 else out
        panel = self.panel_ if y is None else is_panel(y)
        return dict(zip([m.name for m in members], out, strict=True)) if panel else out[0]

    def _series_victims(self, y: Any, past: Any, future: Any, horizon: int | None) -> list[Any]:
        """Differentiable forecasts for `rosenblatt.attacks`, one a series."""
        from rosenblatt.estimators.attackable import series_victim

        self._check_fitted("predict")
        members = read_members("ForecastAttack", y, past, future)
        self._refuse_other("ForecastAttack", members)
        return [series_victim(self, member, self._horizon("predict", horizon)) for member in members]

    def _horizon(self, method: str, horizon: Any) -> int:
        if horizon is None:
            return self.horizon
        if not Number(1, integer=True).accepts(horizon):
            raise ParameterError(f"Forecaster.{method}: horizon={horizon!r}; expected an integer >= 1.")
        return int(horizon)

    def _known_members(self, who: str, future: Any, horizon: int) -> list[Member]:
        parts = list(future.values()) if isinstance(future, Mapping) else future
        given = parts if is_panel(future) else [future] * len(self.tails_)
        if len(given) != len(self.tails_):
            raise DataError(f"{who}: future of {len(given)} series; expected {len(self.tails_)}, as in fit.")
        found = []
        for i, (tail, known) in enumerate(zip(self.tails_, given, strict=True)):
            ahead = self.ahead_[i]
            if known is not None:
                after = _as_start(times_of(self.frequency_, self.tail_starts_[i], len(tail), 1)[0])
                ahead = covariates(f"{who}: future", known, self.frequency_, after, None, least=horizon)
                if ahead.shape[1] != self.n_known_:
                    raise ShapeError(f"{who}: future has {ahead.shape[1]} columns; expected {self.n_known_} as in fit.")
            found.append(
                Member(self.series_names_[i], tail, ahead, self.frequency_, self.tail_starts_[i], tuple(self.names_))
            )
        return found

    def _refuse_other(self, who: str, members: list[Member]) -> None:
        first = members[0]
        got = (len(first.names), first.table.shape[1] - len(first.names) - first.ahead.shape[1], first.ahead.shape[1])
        wanted = (self.n_targets_, self.n_past_, self.n_known_)
        if got != wanted:
            words = "{} targets, {} past and {} future covariates"
            raise ShapeError(f"{who}: {words.format(*got)}; expected {words.format(*wanted)} as in fit.")
        if "index" not in (first.frequency, self.frequency_) and first.frequency != self.frequency_:
            raise DataError(
                f"{who}: the frequency is {first.frequency!r}; expected {self.frequency_!r} as in fit. Resample."
            )

    def times(self, horizon: int | None = None) -> Any:
        """Stamps of the steps that ``predict(horizon)`` forecasts; of a panel a dict name -> stamps."""
        self._check_fitted("times")
        horizon = self._horizon("times", horizon)
        found = [
            times_of(self.frequency_, start, len(tail), horizon)
            for start, tail in zip(self.tail_starts_, self.tails_, strict=True)
        ]
        return dict(zip(self.series_names_, found, strict=True)) if self.panel_ else found[0]

    # -------------------------------------------------------------------------------------------- backtest

    def backtest(
        self, y: Any, *, past: Any = None, future: Any = None, horizon: int | None = None, origins: int = 10,
        stride: int | None = None, start: int | None = None, refit: bool = False,
    ) -> Backtest:  # fmt: skip
        """Forecast from a rolling origin, as if each origin were today, beside the baselines.

        A copy of this estimator is trained on what comes before the first origin (``refit=True``: before each origin);
        at each origin the series is standardised by its past alone. This estimator is not changed.

        Args:
            y: As in `fit`.
            past: As in `fit`.
            future: As in `fit`.
            horizon: Steps of each forecast; None takes the constructor's.
            origins: Number of origins, the last of which has a whole horizon of true values after it.
            stride: Steps between origins; None takes the horizon.
            start: Rows known at the first origin; then every ``stride`` rows to the end, and ``origins`` does not count.
            refit: Train again at each origin.

        Raises:
            DataError: The series leaves too few steps before the first origin.
            ParameterError: A number below 1.
        """
        self._check_parameters()
        who = "Forecaster.backtest"
        horizon = self._horizon("backtest", horizon)
        stride = horizon if stride is None else stride
        for name, value in (("origins", origins), ("stride", stride), ("start", start)):
            if value is not None and not Number(1, integer=True).accepts(value):
                raise ParameterError(f"{who}: {name}={value!r}; expected an integer >= 1.")
        members = read_members(who, y, past, future)
        rows = [_origins(len(m), horizon, origins, stride, start, who) for m in members]
        if refit and len({len(r) for r in rows}) > 1:
            raise DataError(f"{who}: refit=True needs as many origins in each series. Leave start out.")
        rounds = range(len(rows[0])) if refit else [slice(None)]
        parts: list[Any] = []
        for chosen in rounds:
            now = [np.atleast_1d(r[chosen]) for r in rows]
            known = [m.until(int(n[0])) for m, n in zip(members, now, strict=True)]
            model = clone(self)._fit(known, panel=is_panel(y))
            for member, origin, past_part, scale in zip(members, now, known, model.naive_scales_, strict=True):
                parts.append(_part(model, member, origin, horizon, scale))
                del past_part
        return _joined(parts, tuple(model.levels_))

    # ------------------------------------------------------------------------------- summary and model file

    def summary(self) -> ForecastSummary:
        """Layers, and whether the network beats the baselines; print it."""
        self._check_fitted("summary")
        table = summarize(self.module_, self._example_input(), title=self._title())
        return ForecastSummary(table.title, table.rows, self.scores_, self.selected_)

    def _title(self) -> str:
        return f"Forecaster(cell={self.cell!r}, horizon={self.horizon}, window={self.window_})"

    def _example_input(self) -> Tensor:
        columns = self.n_targets_ + self.n_extra_ + self.n_known_
        rows = self.window_ + (self.step_ if self.n_known_ else 0)
        return torch.zeros(1, rows, columns, device=self.device_)

    def _rebuild(self) -> nn.Module:
        return RecurrentForecaster(
            self.n_targets_, self.n_extra_, self.n_known_, self.step_, len(self.levels_), cell=self.cell,
            hidden_size=self.hidden_size, layers=self.layers, dropout=self.dropout,
            season=self.season_ if self.subtract == "season" else 0,
        )  # fmt: skip

    def _check_restored(self) -> None:
        expect_shape("linear_coef_", self.linear_coef_, (self.step_, self.window_))
        expect_shape("linear_intercept_", self.linear_intercept_, (self.step_,))
        columns = self.n_targets_ + self.n_past_ + self.n_known_
        for name in BASELINES:
            expect_shape(f"bands_[{name}]", self.bands_[name], (self.horizon, self.n_targets_, len(self.levels_)))
        for tail, scale in zip(self.tails_, self.scales_, strict=True):
            expect_shape("tails_", tail, (None, columns))
            expect_shape("scales_", scale, (2, self.n_targets_))


def _as_start(stamp: Any) -> int:
    return int(stamp.astype("M8[us]").astype(np.int64)) if stamp.dtype.kind == "M" else int(stamp)


def _truth(member: Member, origins: np.ndarray, horizon: int, targets: int) -> np.ndarray:
    return np.stack([member.table[o : o + horizon, :targets] for o in origins])


def _origins(length: int, horizon: int, count: int, stride: int, start: int | None, who: str) -> np.ndarray:
    last = length - horizon
    first = last - (count - 1) * stride if start is None else start
    if first < 1 or first > last:
        raise DataError(
            f"{who}: {length} steps leave no {count} origins {stride} steps apart with {horizon} true steps each"
            + (f" from row {start}" if start is not None else "")
            + ". Take fewer origins, a smaller stride or a shorter horizon."
        )
    return np.arange(first, last + 1, stride)


def _part(model: Forecaster, member: Member, origins: np.ndarray, horizon: int, scale: float) -> tuple[Any, ...]:
    forecasts = {n: model._at_origins(n, member, origins, horizon, bands=True) for n in (NETWORK, *BASELINES)}
    times = np.array([member.times(int(o), 1)[0] for o in origins])
    truth = _truth(member, origins, horizon, model.n_targets_)
    return [member.name] * len(origins), origins, times, truth, forecasts, [scale] * len(origins)


def _joined(parts: list[Any], levels: tuple[float, ...]) -> Backtest:
    names, origins, times, truth, forecasts, scale = zip(*parts, strict=True)
    together = {name: np.concatenate([f[name] for f in forecasts]) for name in forecasts[0]}
    return Backtest(
        np.concatenate(names), np.concatenate(origins), np.concatenate(times), np.concatenate(truth), together, levels,
        np.concatenate(scale),
    )  # fmt: skip
