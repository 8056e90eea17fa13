"""Our classifiers as victims of `rosenblatt.attacks`: raw inputs to logits, differentiable, in the classifier's own precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt import _validate
from rosenblatt.attacks.model import Bounds, Victim
from rosenblatt.data.pictures import as_pictures
from rosenblatt.data.sources import PictureSource
from rosenblatt.errors import ParameterError
from rosenblatt.estimators.cnn_inputs import blocks
from rosenblatt.train.precision import autocast


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
