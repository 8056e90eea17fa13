import numpy as np
import pytest
from sklearn.base import clone

import rosenblatt as rb
from rosenblatt.errors import DataError, NonFiniteError, ParameterError, ShapeError
from rosenblatt.export import export

T = np.arange(140)
WAVE = 5 + np.sin(T * 2 * np.pi / 12) + 0.01 * T
QUICK = {"horizon": 4, "window": 14, "season": 12, "hidden_size": 8, "epochs": 2, "random_state": 0, "verbose": 0}


def test_what_comes_after_an_origin_never_reaches_its_forecast():
    poisoned = WAVE.copy()
    poisoned[120:] = 1e6
    clean = rb.Forecaster(**QUICK).backtest(WAVE, start=110, stride=2)
    dirty = rb.Forecaster(**QUICK).backtest(poisoned, start=110, stride=2)
    before = clean.origins <= 120
    for name, forecast in clean.forecasts.items():
        assert (forecast[before] == dirty.forecasts[name][before]).all(), name
        assert not (forecast[~before] == dirty.forecasts[name][~before]).all(), name


def test_baselines_are_exact_and_the_summary_says_who_wins():
    line = np.arange(100.0)
    model = rb.Forecaster(**QUICK, select="best").fit(line)
    assert model.selected_ == "linear"
    assert model.predict() == pytest.approx([100, 101, 102, 103], abs=0.1)
    assert model.scores_["last value"] == pytest.approx(2.5)
    assert "LOSES" in str(model.summary())


@pytest.mark.parametrize("strategy", ["direct", "recursive"])
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_save_seed_and_quantiles(cell, strategy, tmp_path):
    model = rb.Forecaster(**QUICK, cell=cell, strategy=strategy).fit(WAVE)
    again = clone(model).fit(WAVE)
    quantiles = model.predict_quantiles(7)
    assert (np.diff(quantiles) >= 0).all()
    assert (quantiles == again.predict_quantiles(7)).all()
    assert (rb.load(model.save(tmp_path / "m")).predict_quantiles(7) == quantiles).all()


def test_covariates_panel_and_missing_values():
    holed = WAVE.copy()
    holed[[40, 41]] = np.nan
    extra = {"past": [T[:, None]] * 2, "future": [np.arange(150.0)[:, None]] * 2}
    model = rb.Forecaster(**QUICK).fit([holed, 3 * WAVE], **extra)
    assert np.isfinite(model.predict(10)["1"]).all()
    with pytest.raises(DataError, match="expected 11, one a step"):
        model.predict(11)
    assert export(model, _temporary()).difference < 1e-4


def _temporary():
    import tempfile
    from pathlib import Path

    return Path(tempfile.mkdtemp()) / "m.onnx"


def test_dense_and_convolutional_networks_export_too():
    from sklearn.datasets import load_digits

    digits = load_digits()
    assert export(rb.MLPClassifier(max_iter=99, tol=10).fit(digits.data, digits.target), _temporary()).difference < 1e-4
    assert (
        export(rb.CNNClassifier(epochs=1, verbose=0).fit(digits.images, digits.target), _temporary()).difference < 1e-4
    )


def test_bad_input():
    with pytest.raises(DataError, match="has 20 steps; expected at least 22"):
        rb.Forecaster(**QUICK).fit(WAVE[:20])
    with pytest.raises(DataError, match="expected values > 0"):
        rb.Forecaster(**QUICK, transform="log").fit(WAVE - 9)
    with pytest.raises(ParameterError, match="levels between 0 and 1"):
        rb.Forecaster(**QUICK, quantiles=(0, 1.0)).fit(WAVE)
    assert rb.Forecaster(**QUICK).fit(np.full(60, 7.0)).predict() == pytest.approx(7, abs=0.5)


@pytest.mark.parametrize(
    ("y", "options", "error", "match"),
    [
        ({}, {}, DataError, "the panel is empty"),
        ([WAVE, np.column_stack([WAVE, WAVE])], {}, DataError, "differ in columns or frequency"),
        ([WAVE, WAVE], {"past": WAVE}, DataError, "past covariates of a panel; expected a dict or list of 2"),
        ({"a": WAVE, "b": WAVE}, {"future": {"a": WAVE, "c": WAVE}}, DataError, "no covariates of the series 'b'"),
        (WAVE, {"past": WAVE[:50]}, ShapeError, "50 rows of covariates; expected at least 140"),
        (WAVE, {"past": np.r_[np.nan, WAVE[1:]]}, NonFiniteError, "the first row has a missing value"),
        (WAVE, {"frequency": "D"}, DataError, "frequency"),
        ("absent.csv", {}, DataError, "there is no file absent.csv"),
    ],
)
def test_bad_series_and_covariates(y, options, error, match):
    with pytest.raises(error, match=match):
        rb.Forecaster(**QUICK).fit(y, **options)


def test_bad_horizons_origins_and_windows():
    with pytest.raises(ParameterError, match="expected at least 14 for subtract='season'"):
        rb.Forecaster(**{**QUICK, "window": 10}, subtract="season").fit(WAVE)
    with pytest.raises(DataError, match="leave no 99 origins"):
        rb.Forecaster(**QUICK).backtest(WAVE, origins=99)
    with pytest.raises(ParameterError, match="stride=0; expected an integer >= 1"):
        rb.Forecaster(**QUICK).backtest(WAVE, stride=0)
    model = rb.Forecaster(**QUICK).fit(WAVE)
    with pytest.raises(ParameterError, match="horizon=0; expected an integer >= 1"):
        model.predict(0)
    with pytest.raises(DataError, match="5 steps are known; expected at least the window of 14"):
        model.predict(y=WAVE[:5])
    with pytest.raises(ShapeError, match="2 targets, 0 past and 0 future covariates; expected 1 targets"):
        model.predict(y=np.column_stack([WAVE, WAVE]))


def test_several_targets_at_once():
    model = rb.Forecaster(**QUICK).fit(np.column_stack([WAVE, 2 * WAVE]))
    assert model.predict().shape == (4, 2)
    assert model.predict_quantiles(6).shape == (6, 2, 3)
    assert set(model.backtest(np.column_stack([WAVE, 2 * WAVE]), origins=2).errors) == set(model.scores_)
