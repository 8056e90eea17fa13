"""The picture of the page on attacks with a forecast: a history that looks the same, and where it leads.

Run: python docs_src/attacked_forecast.py
"""

from pathlib import Path

import numpy as np

import rosenblatt as rb
from rosenblatt.attacks import ForecastAttack
from rosenblatt.report.canvas import BLUE, INK, VERMILION, new_figure, plain, write_figure

HORIZON, SHOWN = 12, 36


def series():
    """300 months with a season and noise."""
    months = np.arange(300)
    return 10 + 2 * np.sin(months * 2 * np.pi / 12) + np.random.default_rng(0).normal(0, 0.1, 300)


def draw(path):
    """Attack a network's forecast of the last year, and draw it."""
    y = series()
    history, truth = y[:-HORIZON], y[-HORIZON:]
    model = rb.Forecaster(
        horizon=HORIZON, window=24, season=12, epochs=40, learning_rate=0.02, random_state=0, verbose=0
    ).fit(history)
    found = ForecastAttack(eps=0.1)(model, history, truth=truth)
    figure = new_figure(7.0, 3.2)
    axes = plain(figure.add_subplot(), grid="y")
    past, ahead = np.arange(-SHOWN, 0), np.arange(HORIZON)
    axes.plot(past, history[-SHOWN:], color=INK, label="history")
    axes.plot(past, found.adversarial[-SHOWN:], color=VERMILION, linewidth=1, label="changed by 0.1 deviations at most")
    axes.plot(ahead, truth, color=INK, linestyle=":", label="what came")
    axes.plot(ahead, found.clean, color=BLUE, label="forecast")
    axes.plot(ahead, found.attacked, color=VERMILION, linestyle="--", label="forecast of the changed history")
    axes.set(xlabel="month", ylim=(6.5, 16))
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
    write_figure(figure, path, dpi=110, overwrite=True)
    return found


if __name__ == "__main__":
    print(draw(Path(__file__).parents[1] / "docs" / "img" / "attacked_forecast.png"))
