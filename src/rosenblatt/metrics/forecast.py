"""Errors of forecasts: numbers of the field, over all forecast values that are not missing.

Shapes: truth and forecast alike, any axes; NaN in the truth is left out.
"""

from __future__ import annotations

import numpy as np


def mae(truth: np.ndarray, forecast: np.ndarray) -> float:
    """Mean absolute error, in the units of the data."""
    return float(np.nanmean(np.abs(truth - forecast)))


def rmse(truth: np.ndarray, forecast: np.ndarray) -> float:
    """Root of the mean squared error, in the units of the data."""
    return float(np.sqrt(np.nanmean((truth - forecast) ** 2)))


def mape(truth: np.ndarray, forecast: np.ndarray) -> float:
    """Mean absolute error in percent of the truth; NaN where a true value is zero, because it has no percent.

    Example:
        >>> mape(np.array([100.0, 200.0]), np.array([110.0, 180.0]))
        10.0
    """
    if (truth == 0).any():
        return float("nan")
    return float(100 * np.nanmean(np.abs(truth - forecast) / np.abs(truth)))


def naive_scale(past: np.ndarray, season: int = 1) -> float:
    """Mean absolute step of one season in the past: what an error is divided by to give the MASE.

    Reference:
        Hyndman & Koehler 2006, doi:10.1016/j.ijforecast.2006.03.001.
    """
    season = season if len(past) > season else 1
    if len(past) < 2:
        return float("nan")
    return float(np.nanmean(np.abs(past[season:] - past[:-season])))


def coverage(truth: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """Share of the true values between two quantiles."""
    there = ~np.isnan(truth)
    return float(((truth >= low) & (truth <= high))[there].mean())
