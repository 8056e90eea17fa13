"""Our estimators as victims of `rosenblatt.attacks`: raw inputs to logits or forecasts, differentiable, in own precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt import _validate
from rosenblatt.attacks.forecast import SeriesVictim
from rosenblatt.attacks.model import Bounds, Victim
from rosenblatt.attacks.tokens import STAYS, TokenVictim
from rosenblatt.data.pictures import as_pictures
from rosenblatt.data.sequences import UNKNOWN, Sequences, encode_texts, exchanged, is_word, read_sequences
from rosenblatt.data.sources import PictureSource
from rosenblatt.errors import DataError, ParameterError, ShapeError
from rosenblatt.estimators.cnn_inputs import blocks
from rosenblatt.estimators.members import Member
from rosenblatt.train.forecast import scale_of
from rosenblatt.train.precision import autocast
from rosenblatt.train.rollout import Rollout


def table_victim(estimator: Any, module: nn.Module, bounds: Bounds) -> Victim:
    """A network of tables; its module gives logits, one of two classes.

    Args:
        estimator: The fitted classifier.
        module: Its logits.
        bounds: Of the columns, or None for no bounds.

    Raises:
        ParameterError: Several labels a sample.
    """
    if getattr(estimator, "multilabel_", False):
        raise ParameterError("attack: the classifier gives several labels a sample; expected one class a sample.")
    dtype = next(module.parameters()).dtype

    def encode(X: Any) -> Tensor:
        table = _validate.table(estimator, "attack", X, reset=False)
        return torch.from_numpy(np.array(table)).to(dtype)

    return Victim(
        module, bounds=bounds, module=module, classes=estimator.classes_, encode=encode,
        decode=lambda x: x.cpu().numpy(), name=type(estimator).__name__,
    )  # fmt: skip


def picture_victim(
    estimator: Any, prepare: Callable[[Tensor], Tensor], read: Callable[[Any], Any], bounds: Bounds
) -> Victim:
    """A convolutional network of pictures; those of 8 bits are attacked on the scale 0 to 1.

    Args:
        estimator: The fitted classifier.
        prepare: Raw pixels (N, C, H, W) to what the network takes.
        read: X to pictures as fit saw them.
        bounds: Of float pictures; None is refused for them, since nothing says what a pixel may be.

    Raises:
        ParameterError: Float pictures without bounds, or 8-bit ones with others than (0, 1).
    """
    scale = 255.0 if estimator.integer_input_ else 1.0
    if estimator.integer_input_:
        if bounds not in (None, (0, 1)):
            raise ParameterError(
                f"attack: bounds={bounds!r} for pictures of 8 bits; expected None or (0, 1), their scale here."
            )
        bounds = (0.0, 1.0)
    elif bounds is None:
        raise ParameterError(
            "attack: the classifier was fitted on floats, and nothing says what a pixel may be; "
            "expected bounds=(lowest, highest)."
        )
    device = torch.device(estimator.device_)

    def encode(X: Any) -> Tensor:
        pictures = read(X)
        if isinstance(pictures, PictureSource):
            pictures = torch.cat(list(blocks(pictures, None, 256))).permute(0, 2, 3, 1).numpy()
        return torch.from_numpy(np.array(as_pictures(pictures, who="attack"))).permute(0, 3, 1, 2).float() / scale

    def forward(x: Tensor) -> Tensor:
        with autocast(device, estimator.precision_):
            return estimator.module_(prepare(x * scale)).float()

    return Victim(
        forward, bounds=bounds, module=estimator.module_, classes=estimator.classes_, encode=encode, device=device,
        decode=lambda x: x.permute(0, 2, 3, 1).cpu().numpy(), name=type(estimator).__name__,
    )  # fmt: skip


def text_victim(estimator: Any, bounds: Bounds) -> TokenVictim:
    """A recurrent classifier of texts. Words stand for words and signs for signs; of bytes only printable ASCII changes.

    So each changed text is read as the tokens that it was made of.

    Args:
        estimator: The fitted classifier.
        bounds: None.

    Raises:
        ParameterError: Bounds, which mean nothing here.
    """
    if bounds is not None:
        raise ParameterError(f"attack: bounds={bounds!r} of texts; expected None.")
    units, symbols, module = estimator.units, estimator.symbols_, estimator.module_
    if units == "bytes":
        kinds = [0 if 32 <= byte < 127 else STAYS for byte in range(256)]
        number = {chr(byte): byte + 2 for byte in range(128)} | {byte: byte + 2 for byte in range(256)}
    else:
        kinds = [int(units == "words" and is_word(symbol)) for symbol in symbols]
        number = {symbol: place for place, symbol in enumerate(symbols, UNKNOWN + 1)}

    def encode(X: Any) -> Tensor:
        texts = read_sequences(X, None, who="attack")
        if not isinstance(texts[0], str):
            raise DataError("attack: X holds numbers, fit saw texts; expected the same.")
        data = Sequences.of(encode_texts(texts, units, symbols))
        return data.padded(torch.arange(len(data)))

    def write(tokens: Tensor, X: Any) -> list[str]:
        clean = encode(X)
        return [
            exchanged(text, units, symbols, {int(i): int(row[i]) for i in (row != own).nonzero()[:, 0]})
            for text, row, own in zip(read_sequences(X, None, who="attack"), tokens.cpu(), clean, strict=True)
        ]

    return TokenVictim(
        _without_cudnn(module), embedding=module.embedding, kinds=torch.tensor([STAYS, STAYS, *kinds]),
        token=number.__getitem__, module=module, classes=estimator.classes_, encode=encode, write=write,
        name=type(estimator).__name__,
    )  # fmt: skip


def sequence_victim(estimator: Any, bounds: Bounds) -> Victim:
    """A recurrent classifier of series of numbers, which must be of one length here.

    Args:
        estimator: The fitted classifier.
        bounds: Of the numbers, or None for no bounds.
    """
    device = torch.device(estimator.device_)
    mean, deviation = (torch.from_numpy(v).to(device) for v in (estimator.input_mean_, estimator.input_deviation_))
    forward = _without_cudnn(estimator.module_)

    def encode(X: Any) -> Tensor:
        parts = read_sequences(X, None, who="attack")
        if isinstance(parts[0], str):
            raise DataError("attack: X holds texts, fit saw numbers; expected the same.")
        if len({len(part) for part in parts}) > 1 or parts[0].shape[1] != estimator.n_inputs_:
            raise ShapeError(
                f"attack: sequences of shapes {parts[0].shape}, {parts[-1].shape} ...; expected all of one length and "
                f"{estimator.n_inputs_} numbers a step. Attack those of each length by themselves."
            )
        x = np.stack(parts)
        return torch.from_numpy(x[:, :, 0] if np.ndim(X) == 2 else x)

    def logits(x: Tensor) -> Tensor:
        return forward(((x[:, :, None] if x.ndim == 2 else x) - mean) / deviation)

    return Victim(
        logits, bounds=bounds, module=estimator.module_, classes=estimator.classes_, encode=encode, device=device,
        decode=lambda x: x.cpu().numpy(), name=type(estimator).__name__,
    )  # fmt: skip


def _without_cudnn(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """The fused recurrent kernels of CUDA have no gradient in eval mode; PyTorch's own have."""

    def forward(x: Tensor) -> Tensor:
        with torch.backends.cudnn.flags(enabled=False):
            return module(x).float()

    return forward


def series_victim(estimator: Any, member: Member, horizon: int) -> SeriesVictim:
    """A forecaster at the end of one series: what ``predict(y=...)`` does, as a function of the history that has a gradient.

    Args:
        estimator: The fitted forecaster.
        member: The series with its covariates.
        horizon: Steps.

    Raises:
        DataError, ShapeError: As ``predict``.
    """
    targets, length, log = estimator.n_targets_, estimator.window_, estimator.transform == "log"
    values = estimator._transformed(member.table[:, :targets], f"ForecastAttack: the series {member.name!r}")
    # all of the window that does not hang on the values: marks of missing ones, covariates
    rest = torch.from_numpy(estimator._window(member, scale_of(values), horizon))
    there = torch.from_numpy(~np.isnan(values))
    source = _last_there(there)
    rollout = Rollout(estimator, estimator.selected_)

    def forecast(history: Tensor) -> Tensor:
        v = (torch.where(there, history, 1.0)).log() if log else history
        mean, deviation = _scale_of(torch.where(there, v, 0.0), there)
        scaled = torch.where(there, (v - mean) / deviation, 0.0)
        filled = scaled.gather(1, source.expand(len(v), -1, -1))[:, -length:]
        window = torch.cat([filled, rest[:length, targets:].expand(len(v), -1, -1)], -1)
        x = torch.cat([window, rest[length:].expand(len(v), -1, -1)], 1).float()
        with torch.backends.cudnn.flags(enabled=False):
            out = rollout.medians(x, horizon).double() * deviation + mean
        return out.exp() if log else out

    return SeriesVictim(
        name=member.name, history=member.table[:, :targets], forecast=forecast, horizon=horizon,
        source=estimator.selected_, module=estimator.module_, positive=log,
    )  # fmt: skip


def _last_there(there: Tensor) -> Tensor:
    """Row (T, K) that each value comes from once gaps are filled forwards, and leading ones backwards."""
    rows = torch.where(there, torch.arange(len(there))[:, None], -1).cummax(0).values
    return torch.where(rows < 0, there.int().argmax(0), rows)


def _scale_of(values: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (N, 1, K) as of `rosenblatt.train.forecast.scale_of`."""
    count = there.sum(0).clamp_min(1)
    mean = values.sum(1, keepdim=True) / count
    square = torch.where(there, values - mean, 0.0).square().sum(1, keepdim=True) / count
    varies = square.detach().sqrt() > 1e-9 * mean.detach().abs().clamp_min(1e-30)
    return mean, torch.where(varies, square, 1.0).sqrt()
