"""ONNX: a fitted estimator as one graph, from raw inputs to its answer, compared with onnxruntime before it is written.

The batch size is free, of a `Forecaster` and an `RNNClassifier` the length of the series too. Needs
``pip install 'rosenblatt[onnx]'``.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt import _validate
from rosenblatt._types import PathLike
from rosenblatt.errors import MissingExtraError, ModelFileError
from rosenblatt.models.baselines import last_season, last_value, linear
from rosenblatt.train.dense import output_activation

OPSET = 17
TOLERANCE = 1e-4
"""Largest difference from the estimator, as a share of the largest answer (at least 1), that is accepted."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: The file.
        inputs: Names and shapes of the inputs, free axes by name.
        outputs: Names of the outputs.
        difference: Largest difference from PyTorch on random inputs, as a share of the largest answer.
    """

    path: Path
    inputs: list[str]
    outputs: list[str]
    difference: float


@dataclass(frozen=True)
class _Graph:
    """A module of raw inputs; ``draw(source, batch, more)`` makes random ones, ``more`` steps longer than needed."""

    module: nn.Module
    inputs: dict[str, dict[int, str]]
    output: str
    draw: Callable[[np.random.Generator, int, int], list[np.ndarray]]


def export(estimator: Any, path: PathLike, *, overwrite: bool = True) -> Exported:
    """Write a fitted estimator as ONNX.

    What the graph takes and gives: `MLPClassifier` and `MLPRegressor` features (N, D) and probabilities or predictions;
    `CNNClassifier` raw pixels (N, H, W, C) as float32 and probabilities, in fp32; `RNNClassifier` sequences of any length,
    tokens (N, T) padded with 0 or numbers (N, T, F) padded with NaN, and probabilities; `Forecaster` series (N, T, K) of
    any length T from the window on, without missing values, its covariates "past" (N, T, P) and "future" (N, T + H, F)
    where it has such, and the sorted quantiles (N, H, K, Q) in the units of the data.

    Args:
        estimator: A fitted estimator.
        path: The file.
        overwrite: False refuses a path that exists.

    Raises:
        NotFittedError: Before ``fit``.
        MissingExtraError: onnx or onnxruntime is not installed.
        ModelFileError: An estimator without an export, an operation that ONNX has not, or answers that differ.
        OutputError: The path exists and ``overwrite`` is False, or it cannot be written.

    Reference:
        ONNX operators, https://onnx.ai/onnx/operators, version 17.
    """
    _require()
    if not hasattr(estimator, "_check_fitted"):
        raise ModelFileError(f"export: got a {type(estimator).__name__}; expected a fitted estimator of rosenblatt.")
    estimator._check_fitted("export")
    graph = _graph_of(estimator)
    data = _traced(type(estimator).__name__, graph)
    difference = compare(data, graph)
    if not difference <= TOLERANCE:
        raise ModelFileError(
            f"export: onnxruntime differs from {type(estimator).__name__} by {difference:.2g} of the largest answer; expected "
            f"at most {TOLERANCE:g}. Nothing was written; please report the versions of torch and onnxruntime."
        )
    written = _validate.write_whole(path, data, overwrite=overwrite)
    return Exported(written, list(graph.inputs), [graph.output], difference)


def _require() -> None:
    try:
        import onnx
        import onnxruntime  # noqa: F401

        _ = onnx.__version__
    except ImportError as error:
        raise MissingExtraError(
            f"export: {error}; expected onnx and onnxruntime. pip install 'rosenblatt[onnx]'"
        ) from error


def _traced(name: str, graph: _Graph) -> bytes:
    """The file's bytes; weights stay inside."""
    example = [torch.from_numpy(x) for x in graph.draw(np.random.default_rng(0), 2, 3)]
    axes = {**graph.inputs, graph.output: {0: "batch"}}
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # the tracing exporter is announced to go; the other one fixes the length of plain recurrent networks
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph.module, tuple(example), buffer, dynamo=False, opset_version=OPSET, input_names=list(graph.inputs),
                output_names=[graph.output], dynamic_axes=axes,
            )  # fmt: skip
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelFileError(f"export: {name} cannot be written as ONNX ({first}). Nothing was written.") from error
    return buffer.getvalue()


def compare(data: bytes, graph: _Graph) -> float:
    """Largest difference between the file in onnxruntime and the module in PyTorch, over batch sizes and lengths."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    source, worst = np.random.default_rng(1), 0.0
    for batch, more in ((1, 0), (3, 7), (8, 1)):
        given = graph.draw(source, batch, more)
        with torch.no_grad():
            wanted = graph.module(*(torch.from_numpy(x) for x in given)).numpy()
        got = session.run(None, dict(zip(graph.inputs, given, strict=True)))[0]
        if got.shape != wanted.shape:
            return float("inf")
        worst = max(worst, float(np.abs(got - wanted).max() / max(1.0, float(np.abs(wanted).max()))))
    return worst


# ------------------------------------------------------------------------------------------------ the estimators


def _graph_of(estimator: Any) -> _Graph:
    if hasattr(estimator, "tails_"):
        return _forecaster(estimator)
    if hasattr(estimator, "picture_shape_"):
        return _cnn(estimator)
    if hasattr(estimator, "symbols_") and hasattr(estimator, "classes_"):
        return _sequences(estimator)
    if hasattr(estimator, "coefs_"):
        return _dense(estimator)
    raise ModelFileError(
        f"export: there is no ONNX export of {type(estimator).__name__}; expected MLPClassifier, MLPRegressor, CNNClassifier, "
        "RNNClassifier or Forecaster."
    )


def _plain(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).to("cpu", torch.float32).eval()


class _Dense(nn.Module):
    def __init__(self, module: nn.Module, output: str, both: bool):
        super().__init__()
        self.module, self.output, self.both = module, output, both

    def forward(self, x: Tensor) -> Tensor:
        out = output_activation(self.output, self.module(x))
        return torch.cat([1 - out, out], 1) if self.both else out


def _dense(estimator: Any) -> _Graph:
    classes = hasattr(estimator, "classes_")
    module = _Dense(_plain(estimator.module_), estimator.out_activation_, classes and estimator.n_outputs_ == 1)
    width = estimator.n_features_in_
    draw = lambda source, batch, more: [source.normal(size=(batch, width)).astype(np.float32)]  # noqa: E731
    return _Graph(module.eval(), {"X": {0: "batch"}}, "probabilities" if classes else "prediction", draw)


class _Pictures(nn.Module):
    def __init__(self, estimator: Any):
        super().__init__()
        self.module, self.field = _plain(estimator.module_), estimator.network == "lenet5"
        self.register_buffer("scale", torch.from_numpy(estimator.input_scale_).view(1, -1, 1, 1))
        self.register_buffer("offset", torch.from_numpy(estimator.input_offset_).view(1, -1, 1, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        from rosenblatt.estimators.cnn import _to_field

        x = pictures.permute(0, 3, 1, 2) * self.scale + self.offset
        return torch.softmax(self.module(_to_field(x) if self.field else x), 1)


def _cnn(estimator: Any) -> _Graph:
    shape, high = estimator.picture_shape_, 255.0 if estimator.integer_input_ else 1.0

    def draw(source: np.random.Generator, batch: int, more: int) -> list[np.ndarray]:
        return [(high * source.random((batch, *shape))).astype(np.float32)]

    return _Graph(_Pictures(estimator).eval(), {"pictures": {0: "batch"}}, "probabilities", draw)


class _Steps(nn.Module):
    """Probabilities of sequences: tokens, or numbers as they come."""

    def __init__(self, estimator: Any):
        super().__init__()
        self.module, self.tokens = _plain(estimator.module_), estimator.symbols_ is not None
        if not self.tokens:
            self.register_buffer("mean", torch.from_numpy(estimator.input_mean_))
            self.register_buffer("deviation", torch.from_numpy(estimator.input_deviation_))

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.module(x if self.tokens else (x - self.mean) / self.deviation), 1)


def _sequences(estimator: Any) -> _Graph:
    def draw(source: np.random.Generator, batch: int, more: int) -> list[np.ndarray]:
        steps = 4 + more
        padding = np.arange(steps) >= source.integers(1, steps + 1, batch)[:, None]
        if estimator.symbols_ is not None:
            return [np.where(padding, 0, source.integers(1, estimator.n_inputs_, (batch, steps)))]
        x = estimator.input_mean_ + estimator.input_deviation_ * source.normal(size=(batch, steps, estimator.n_inputs_))
        return [np.where(padding[:, :, None], np.nan, x).astype(np.float32)]

    return _Graph(_Steps(estimator).eval(), {"X": {0: "batch", 1: "time"}}, "probabilities", draw)


class _Forecast(nn.Module):
    """What ``predict_quantiles(y=...)`` does, as one graph: standardise by the series' own past, forecast, sort."""

    def __init__(self, estimator: Any):
        super().__init__()
        self.module, self.name = _plain(estimator.module_), estimator.selected_
        self.log, self.masked = estimator.transform == "log", estimator.masked_
        self.window, self.horizon = estimator.window_, estimator.step_
        self.past, self.known, self.season = estimator.n_past_, estimator.n_known_, estimator.season_
        as_tensor = lambda values: torch.from_numpy(np.asarray(values, dtype=np.float32))  # noqa: E731
        self.register_buffer("mean", as_tensor(estimator.covariate_mean_))
        self.register_buffer("deviation", as_tensor(estimator.covariate_deviation_))
        self.register_buffer("coef", as_tensor(estimator.linear_coef_))
        self.register_buffer("intercept", as_tensor(estimator.linear_intercept_))
        band = None if self.name == "network" else estimator.bands_[self.name][: self.horizon]
        self.register_buffer("band", None if band is None else as_tensor(band))

    def forward(self, y: Tensor, *covariates: Tensor) -> Tensor:
        y = torch.log(y) if self.log else y
        mean = y.mean(1, keepdim=True)
        deviation = (y - mean).square().mean(1, keepdim=True).sqrt()
        deviation = torch.where(deviation > 1e-9 * mean.abs(), deviation, torch.ones_like(deviation))
        scaled = ((y - mean) / deviation)[:, -self.window :]
        out = self._network(scaled, covariates) if self.band is None else self._baseline(scaled)[..., None] + self.band
        out = out.sort(-1).values * deviation[..., None] + mean[..., None]
        return torch.exp(out) if self.log else out

    def _network(self, scaled: Tensor, covariates: tuple[Tensor, ...]) -> Tensor:
        parts = [scaled, torch.zeros_like(scaled)] if self.masked else [scaled]
        if self.past:
            past = (covariates[0] - self.mean[: self.past]) / self.deviation[: self.past]
            parts.append(past[:, -self.window :])
        if not self.known:
            return self.module(torch.cat(parts, -1))
        known = (covariates[-1] - self.mean[self.past :]) / self.deviation[self.past :]
        known = known[:, -(self.window + self.horizon) :]
        inside = torch.cat(parts, -1)
        blank = torch.zeros_like(inside[:, :1]).expand(-1, self.horizon, -1)
        return self.module(torch.cat([torch.cat([inside, blank], 1), known], -1))

    def _baseline(self, scaled: Tensor) -> Tensor:
        if self.name == "linear":
            return linear(scaled, self.coef, self.intercept)
        if self.name == "last value":
            return last_value(scaled, self.horizon)
        return last_season(scaled, self.horizon, min(self.season, self.window))


def _forecaster(estimator: Any) -> _Graph:
    inputs = {"y": {0: "batch", 1: "time"}}
    if estimator.n_past_:
        inputs["past"] = {0: "batch", 1: "time"}
    if estimator.n_known_:
        inputs["future"] = {0: "batch", 1: "time_and_horizon"}

    def draw(source: np.random.Generator, batch: int, more: int) -> list[np.ndarray]:
        steps = estimator.window_ + more
        given = [np.exp(0.2 * source.normal(size=(batch, steps, estimator.n_targets_))) * 5]
        if estimator.n_past_:
            given.append(source.normal(size=(batch, steps, estimator.n_past_)))
        if estimator.n_known_:
            given.append(source.normal(size=(batch, steps + estimator.step_, estimator.n_known_)))
        return [x.astype(np.float32) for x in given]

    return _Graph(_Forecast(estimator).eval(), inputs, "quantiles", draw)
