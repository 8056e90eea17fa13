"""Attacks on forecasts: closed forms of the baselines, the ball, and the forecaster left as it was."""

import numpy as np
import pytest
import torch
from torch import nn

import rosenblatt as rb
from rosenblatt.attacks import PGD, ForecastAttack
from rosenblatt.attacks.forecast import ascend
from rosenblatt.attacks.projection import Ball
from rosenblatt.errors import DataError, NonFiniteError, NotFittedError, ParameterError, ShapeError

T = np.arange(150)
NOISE = np.random.default_rng(0).normal(0, 0.1, (300, 2))
LONG = 10 + 2 * np.sin(np.arange(300) * 2 * np.pi / 12) + NOISE[:, 0]
WAVE = LONG[:150]
QUICK = {"horizon": 6, "window": 14, "season": 12, "hidden_size": 8, "epochs": 2, "random_state": 0, "verbose": 0}


@pytest.fixture(scope="module")
def trained():
    return rb.Forecaster(**{**QUICK, "hidden_size": 16, "epochs": 30, "learning_rate": 0.01}).fit(LONG[:294])


@pytest.fixture
def quick():
    return rb.Forecaster(**QUICK).fit(WAVE)


def by(model, name):
    model.selected_ = name
    return model


def test_the_last_value_moves_the_forecast_by_itself(quick):
    """f = y_T: in every norm the forecast moves by eps deviations, and where the kept model is no network the result says so."""
    model, deviation = by(quick, "last value"), WAVE.std()
    for norm in ("l1", "l2", "linf"):
        found = ForecastAttack(eps=0.2, norm=norm)(model, WAVE)
        assert found.error == (0.0, pytest.approx(0.2 * deviation, rel=1e-6))
        assert found.distance <= 0.2
        assert np.abs(found.adversarial - WAVE)[-1] == pytest.approx(0.2 * deviation)
    assert found.source == "last value"
    assert "the forecast is the baseline 'last value', not a network" in found.notes[0]
    assert "not a network" in repr(found)
    up, down = (ForecastAttack(eps=0.5, unit="value")(model, WAVE, towards=way) for way in ("up", "down"))
    np.testing.assert_allclose([up.attacked - up.clean, down.attacked - down.clean], [[0.5] * 6, [-0.5] * 6], rtol=1e-6)


def test_the_last_season_moves_step_by_step(quick):
    """Six steps from six values: linf moves each by eps, l2 by eps / sqrt(6), l1 by eps / 6 in the mean."""
    model, deviation = by(quick, "seasonal naive"), WAVE.std()
    for norm, share in (("linf", 1), ("l2", 6**-0.5), ("l1", 1 / 6)):
        found = ForecastAttack(eps=0.2, norm=norm, steps=100)(model, WAVE)
        assert found.error[1] == pytest.approx(0.2 * deviation * share, rel=1e-3), norm
    found = ForecastAttack(eps=0.2, rows=10, unit="value")(model, WAVE)  # two of the six values are held
    assert found.error[1] == pytest.approx(0.2 * 4 / 6)
    assert (found.adversarial[:-10] == WAVE[:-10]).all()


def test_the_linear_layer_moves_by_the_dual_norm(quick):
    """Without offset f = W (y - y_T) + y_T: the mean forecast moves by eps times the dual norm of its slope."""
    model = by(quick, "linear")
    model.linear_intercept_[:] = 0
    slope = model.linear_coef_.mean(0)
    slope[-1] = 1 - slope[:-1].sum()
    for norm, dual in (("linf", np.abs(slope).sum()), ("l2", np.linalg.norm(slope)), ("l1", np.abs(slope).max())):
        found = ForecastAttack(eps=0.3, norm=norm, unit="value")(model, WAVE, towards="up")
        assert (found.attacked - found.clean).mean() == pytest.approx(0.3 * dual, rel=1e-4), norm


def test_the_ascent_on_a_linear_function_is_the_dual_norm():
    w = torch.tensor([[[1.0], [-3.0], [0.5]]], dtype=torch.float64)
    for norm, dual in (("linf", 4.5), ("l2", float(w.norm())), ("l1", 3.0)):
        zero = torch.zeros(1, 3, 1, dtype=torch.float64)
        best, gain = ascend(
            lambda d: (w * d).sum(1, keepdim=True), zero, lambda f: f[:, 0, 0], Ball(zero, 0.4, norm, None), steps=100
        )
        assert float(gain) == pytest.approx(0.4 * dual, rel=1e-3)
        assert float((w * best).sum()) == pytest.approx(float(gain))


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_an_attack_does_much_more_than_noise(trained, norm):
    history, truth = LONG[:294], LONG[294:]
    eps = {"linf": 0.1, "l2": 0.3, "l1": 0.5}[norm]
    found = ForecastAttack(eps=eps, norm=norm)(trained, history)
    assert found.error[1] > {"linf": 2.5, "l2": 10, "l1": 100}[norm] * found.noise
    assert found.source == "network"
    assert found.notes == ()
    known = ForecastAttack(eps=eps, norm=norm)(trained, history, truth=truth)
    assert known.error[0] == pytest.approx(np.abs(trained.predict(y=history) - truth).mean())
    assert known.error[1] - known.error[0] > 3 * abs(known.noise - known.error[0])
    # what was reported is what the forecaster says of the changed history
    np.testing.assert_allclose(found.clean, trained.predict(y=history), rtol=1e-6)
    np.testing.assert_allclose(found.attacked, trained.predict(y=found.adversarial), rtol=1e-6)
    order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    assert found.distance == pytest.approx(np.linalg.norm((found.adversarial - history) / history.std(), order))
    assert 0.9 * eps < found.distance <= eps


def test_towards_a_path(trained):
    history = LONG[:294]
    clean = trained.predict(y=history)
    wanted = clean + np.linspace(0, 0.2, 6)
    found = ForecastAttack(eps=0.2, steps=100)(trained, history, towards=wanted)
    assert found.gap[0] == pytest.approx(0.1)
    assert found.gap[1] < 0.1 * found.gap[0]
    up = ForecastAttack(eps=0.1)(trained, history, towards="up")
    assert (up.attacked - up.clean).mean() > 0.1
    assert up.gap is None


def test_more_radius_and_more_rows_do_more(trained):
    small, large = (ForecastAttack(eps=e)(trained, WAVE).error[1] for e in (0.05, 0.2))
    assert small < large
    few, all_ = (ForecastAttack(eps=0.1, rows=r)(trained, WAVE) for r in (3, None))
    assert few.error[1] < all_.error[1]
    assert (few.adversarial[:-3] == WAVE[:-3]).all()
    # rows before the window act through the mean and the deviation alone
    assert (all_.adversarial[: -trained.window_] != WAVE[: -trained.window_]).any()
    boxed = ForecastAttack(eps=0.5, bounds=(WAVE.min(), WAVE.max()))(trained, WAVE)
    assert (boxed.adversarial.min(), boxed.adversarial.max()) == (WAVE.min(), WAVE.max())


def test_the_forecaster_and_the_world_stay_as_they_were(trained):
    trained.module_.train()
    series, world, old = WAVE.copy(), torch.get_rng_state(), np.random.get_state()[1].copy()
    grads = [(p.requires_grad, None if p.grad is None else p.grad.clone()) for p in trained.module_.parameters()]
    state = {name: value.clone() for name, value in trained.module_.state_dict().items()}
    first = ForecastAttack(restarts=3)(trained, series)
    assert trained.module_.training
    for p, (wanted, grad) in zip(trained.module_.parameters(), grads, strict=True):
        assert p.requires_grad == wanted
        assert p.grad is None if grad is None else torch.equal(p.grad, grad)
    assert all(torch.equal(state[name], value) for name, value in trained.module_.state_dict().items())
    assert torch.equal(torch.get_rng_state(), world)
    assert (np.random.get_state()[1] == old).all()
    assert (series == WAVE).all()
    assert (ForecastAttack(restarts=3)(trained, series).adversarial == first.adversarial).all()
    # a start is a walk of its own: fewer of them find no more
    assert ForecastAttack(restarts=0)(trained, series).error[1] <= first.error[1] + 1e-12


def test_panels_covariates_and_missing_values():
    holed = np.stack([WAVE, 3 * WAVE + NOISE[:150, 1]], 1)
    holed[[0, 40, 41, 147], 0] = np.nan
    extra = {"past": [T[:, None]] * 2, "future": [np.arange(170.0)[:, None]] * 2}
    model = rb.Forecaster(**QUICK).fit([holed, 2 * holed], **extra)
    found = ForecastAttack(eps=0.2, steps=10)(model, [holed, 2 * holed], horizon=9, **extra)
    clean = model.predict(9, y=[holed, 2 * holed], **extra)
    changed = model.predict(9, y=[result.adversarial for result in found.values()], **extra)
    for number, name in enumerate(("0", "1")):
        np.testing.assert_allclose(found[name].clean, clean[name], rtol=1e-6)
        np.testing.assert_allclose(found[name].attacked, changed[name], rtol=1e-6)
        assert (np.isnan(found[name].adversarial) == np.isnan(holed)).all()
        deviation = np.nanstd(holed, axis=0) * (1 + number)
        assert np.nanmax(np.abs(found[name].adversarial - (1 + number) * holed) / deviation) <= 0.2 + 1e-12
        assert found[name].clean.shape == (9, 2)
        assert found[name].error[1] > found[name].noise


def test_a_truth_for_each_series_of_a_panel(quick):
    panel = {"a": WAVE, "b": 2 * WAVE}
    truth = {"a": np.full(6, 9.0), "b": np.full(6, 22.0)}
    found = ForecastAttack(steps=5)(quick, panel, truth=truth, towards={"a": "up", "b": [20.0] * 6})
    clean = quick.predict(y=panel)
    for name in panel:
        assert found[name].error[0] == pytest.approx(np.abs(clean[name] - truth[name]).mean())
    assert (found["a"].attacked.mean() > clean["a"].mean(), found["b"].gap is not None) == (True, True)
    with pytest.raises(DataError, match="truth has nothing for the series 'b'"):
        ForecastAttack()(quick, panel, truth={"a": truth["a"]})


@pytest.mark.parametrize("options", [{"strategy": "recursive"}, {"transform": "log"}, {"subtract": "season"}], ids=str)
def test_every_way_of_forecasting(options):
    model = rb.Forecaster(**QUICK, **options).fit(WAVE)
    found = ForecastAttack(eps=0.2, norm="l2", steps=10)(model, WAVE, horizon=8)
    np.testing.assert_allclose(found.clean, model.predict(8, y=WAVE), rtol=1e-6)
    np.testing.assert_allclose(found.attacked, model.predict(8, y=found.adversarial), rtol=1e-6)
    assert found.error[1] > 2 * found.noise
    if "transform" in options:  # a ball that holds 0 and less: the logarithm stays defined
        wide = ForecastAttack(eps=100.0, unit="value", steps=3)(model, WAVE)
        assert wide.adversarial.min() >= 0.0099 * WAVE.min()
        assert np.isfinite(wide.attacked).all()


def test_a_constant_series():
    model = rb.Forecaster(**QUICK).fit(WAVE)
    found = ForecastAttack(eps=0.2, steps=5)(model, np.full(60, 3.0))
    assert found.error[1] > 0
    assert np.abs(found.adversarial - 3).max() <= 0.2 + 1e-12


@pytest.mark.parametrize(
    ("options", "call", "error", "said"),
    [
        ({"eps": 0}, {}, ParameterError, "ForecastAttack: eps=0"),
        ({"norm": "l0"}, {}, ParameterError, "ForecastAttack: norm='l0'"),
        ({"unit": "std"}, {}, ParameterError, "unit='std'; expected"),
        ({"rows": 0}, {}, ParameterError, "rows=0"),
        ({"bounds": (1, 0)}, {}, ParameterError, r"bounds=\(1, 0\); expected \(lowest, highest\)"),
        ({"bounds": (0, 9)}, {}, DataError, r"the series holds .* in row \d+; expected values in bounds=\(0, 9\)"),
        ({}, {"towards": "left"}, ParameterError, "towards='left'; expected 'up', 'down' or a path"),
        ({}, {"towards": [1, 2]}, ShapeError, r"towards has shape \(2,\); expected one value a step and target, \(6, 1\)"),
        ({}, {"truth": [[1.0, 2.0]] * 6}, ShapeError, r"truth has shape \(6, 2\)"),
        ({}, {"towards": [np.nan] * 6}, NonFiniteError, "towards holds NaN"),
        ({}, {"horizon": 0}, ParameterError, "horizon=0"),
    ],
)  # fmt: skip
def test_bad_input_is_named(trained, options, call, error, said):
    with pytest.raises(error, match=said):
        ForecastAttack(**options)(trained, WAVE, **call)


def test_forecasters_alone(trained):
    with pytest.raises(ParameterError, match="the model is a Linear; expected a fitted Forecaster"):
        ForecastAttack()(nn.Linear(2, 2), WAVE)
    with pytest.raises(NotFittedError):
        ForecastAttack()(rb.Forecaster(), WAVE)
    with pytest.raises(DataError, match="expected at least the window of 14"):
        ForecastAttack()(trained, WAVE[:9])
    with pytest.raises(ParameterError, match="the model is a Forecaster"):
        PGD()(trained, WAVE, [0])
