"""`Forecaster` as a forecaster of sktime; needs ``pip install 'rosenblatt[sktime]'``."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from rosenblatt.errors import MissingExtraError
from rosenblatt.estimators.forecaster import Forecaster

try:
    from sktime.forecasting.base import BaseForecaster as _Base
except ImportError:  # the class must exist to say what is missing
    _Base = None


class SktimeForecaster(_Base or object):  # type: ignore[misc]
    """sktime's interface over `Forecaster`: pandas in and out, ``fh`` for the horizon, X for known covariates.

    Args:
        horizon: As `Forecaster`; a longer ``fh`` is forecast by feeding back.
        window: As `Forecaster`.
        cell: As `Forecaster`.
        hidden_size: As `Forecaster`.
        subtract: As `Forecaster`.
        transform: As `Forecaster`.
        season: As `Forecaster`.
        select: As `Forecaster`.
        quantiles: As `Forecaster`; other levels are interpolated.
        epochs: As `Forecaster`.
        random_state: As `Forecaster`.

    Raises:
        MissingExtraError: sktime is not installed.

    Example:
        >>> from sktime.datasets import load_airline  # doctest: +SKIP
        >>> SktimeForecaster(horizon=6, season=12).fit(load_airline()).predict(fh=[1, 2, 3])  # doctest: +SKIP
    """

    _tags: ClassVar[dict[str, Any]] = {
        "scitype:y": "both",
        "y_inner_mtype": "pd.DataFrame",
        "X_inner_mtype": "pd.DataFrame",
        "capability:exogenous": True,
        "capability:insample": False,
        "capability:pred_int": True,
        "capability:pred_int:insample": False,
        "capability:missing_values": True,
        "capability:random_state": True,
        "requires-fh-in-fit": False,
        "X-y-must-have-same-index": True,
        "enforce_index_type": None,
        "authors": ["rosenblatt"],
    }

    def __init__(
        self, horizon: int = 12, window: int | None = None, cell: str = "lstm", hidden_size: int = 32,
        subtract: str = "last", transform: str = "none", season: int | None = None, select: str = "network",
        quantiles: Any = (0.05, 0.25, 0.5, 0.75, 0.95), epochs: int = 100, random_state: Any = None,
    ):  # fmt: skip
        if _Base is None:
            raise MissingExtraError("SktimeForecaster: sktime is not installed. pip install 'rosenblatt[sktime]'")
        self.horizon = horizon
        self.window = window
        self.cell = cell
        self.hidden_size = hidden_size
        self.subtract = subtract
        self.transform = transform
        self.season = season
        self.select = select
        self.quantiles = quantiles
        self.epochs = epochs
        self.random_state = random_state
        super().__init__()
        self.set_config(remember_data=True)  # forecasts go on from the series of fit and update

    def _fit(self, y: Any, X: Any, fh: Any) -> SktimeForecaster:
        settings = self.get_params(deep=False)
        self.forecaster_ = Forecaster(verbose=0, **settings)
        self.forecaster_.fit(y.to_numpy(float), future=None if X is None else X.to_numpy(float))
        return self

    def _quantiles(self, fh: Any, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """All fitted quantiles (H, K, Q) at the relative steps of ``fh``, and those steps."""
        steps = np.asarray(fh.to_relative(self.cutoff).to_numpy(), dtype=int)
        most = int(steps.max())
        known = None if X is None else _each_step(X.to_numpy(float), steps, most)
        start = None if X is None else self._X.to_numpy(float)
        y = self._y.to_numpy(float)
        future = None if X is None else np.vstack([start[: len(y)], known])
        out = self.forecaster_.predict_quantiles(most, y=y, future=future)
        return out.reshape(most, y.shape[1], -1)[steps - 1], steps

    def _predict(self, fh: Any, X: Any) -> Any:
        import pandas as pd

        out, _ = self._quantiles(fh, X)
        middle = self.forecaster_.levels_.index(0.5)
        index = fh.to_absolute_index(self.cutoff)
        return pd.DataFrame(out[..., middle], index=index, columns=self._y.columns)

    def _predict_quantiles(self, fh: Any, X: Any, alpha: list[float]) -> Any:
        import pandas as pd

        out, _ = self._quantiles(fh, X)
        levels = self.forecaster_.levels_
        names = self._get_varnames()
        columns = pd.MultiIndex.from_product([names, alpha])
        values = [[np.interp(a, levels, row[k]) for k in range(len(names)) for a in alpha] for row in out]
        return pd.DataFrame(values, index=fh.to_absolute_index(self.cutoff), columns=columns)

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Small settings for sktime's own checks."""
        small = {"horizon": 2, "window": 4, "hidden_size": 4, "epochs": 1, "season": 2, "random_state": 0}
        return [small, {**small, "cell": "gru", "select": "best"}]


def _each_step(values: np.ndarray, steps: np.ndarray, most: int) -> np.ndarray:
    """Covariates of steps 1 to ``most``: sktime gives the rows of ``fh`` only, those between take the one before."""
    if len(values) >= most:
        return values[:most]
    place = np.clip(np.searchsorted(steps, np.arange(1, most + 1), side="right") - 1, 0, len(values) - 1)
    return values[place]
