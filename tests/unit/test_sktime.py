"""`SktimeForecaster` under sktime's own checks; skipped by name where sktime is not installed."""

import warnings

import numpy as np
import pytest

from rosenblatt.errors import MissingExtraError
from rosenblatt.estimators import sktime_adapter
from rosenblatt.estimators.forecaster import Forecaster

SMALL = {"horizon": 3, "window": 6, "hidden_size": 4, "epochs": 1, "season": 4, "random_state": 0}


def test_without_sktime_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(sktime_adapter, "_Base", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'rosenblatt\[sktime\]'"):
        sktime_adapter.SktimeForecaster()


@pytest.mark.filterwarnings("ignore")  # sktime's own
def test_forecasts_are_those_of_the_forecaster():
    pytest.importorskip("sktime", reason="needs the package sktime")
    import pandas as pd

    index = pd.period_range("2000-01", periods=60, freq="M")
    y = pd.Series(10 + np.sin(np.arange(60) * np.pi / 2), index=index)
    model = sktime_adapter.SktimeForecaster(**SMALL).fit(y, fh=[1, 3])
    wanted = (
        Forecaster(verbose=0, quantiles=(0.05, 0.25, 0.5, 0.75, 0.95), **SMALL)
        .fit(y.to_numpy())
        .predict(y=y.to_numpy())
    )
    assert model.predict().to_numpy() == pytest.approx(wanted[[0, 2]])
    assert (model.predict_interval(coverage=0.9).diff(axis=1).iloc[:, -1] >= 0).all()


@pytest.mark.slow
def test_passes_every_check_of_sktime():
    pytest.importorskip("sktime", reason="needs the package sktime")
    from sktime.utils.estimator_checks import check_estimator

    world = np.random.get_state()  # sktime's checks seed numpy's global state themselves
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check_estimator(sktime_adapter.SktimeForecaster, raise_exceptions=False, verbose=False)
    np.random.set_state(world)
    assert len(found) > 300
    assert {name: result for name, result in found.items() if result != "PASSED"} == {}
