"""Figures that say what a network has learned, and one self-contained page to show them.

All functions that draw return a matplotlib ``Figure`` and touch neither pyplot nor any global state.
"""

from __future__ import annotations

from rosenblatt.report.boundary import Plane, boundary_map, boundary_plane, shared_pictures
from rosenblatt.report.gradients import gradient_flow, gradient_norms
from rosenblatt.report.html import Section, write_html
from rosenblatt.report.networks import activations, dead_units, feature_maps, filters, inspect_pictures
from rosenblatt.report.plots import confusion, ladder, learning_curves, most_confident_mistakes, worst_mistakes
from rosenblatt.report.robustness import RobustnessReport, robustness_report
from rosenblatt.report.smoothing import SmoothingReport, smoothing_report
from rosenblatt.report.story import demo_report

__all__ = [
    "Plane",
    "RobustnessReport",
    "Section",
    "SmoothingReport",
    "activations",
    "boundary_map",
    "boundary_plane",
    "confusion",
    "dead_units",
    "demo_report",
    "feature_maps",
    "filters",
    "gradient_flow",
    "gradient_norms",
    "inspect_pictures",
    "ladder",
    "learning_curves",
    "most_confident_mistakes",
    "robustness_report",
    "shared_pictures",
    "smoothing_report",
    "worst_mistakes",
    "write_html",
]
