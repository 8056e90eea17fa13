"""What `CNNClassifier` learns from: arrays in memory, or pictures on disk that are streamed where they do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from rosenblatt.data.pictures import as_pictures
from rosenblatt.data.resident import Resident
from rosenblatt.data.sources import SHARE, PictureSource, open_pictures
from rosenblatt.data.streamed import Streamed
from rosenblatt.errors import DataError
from rosenblatt.train.plan import Plan

Pictures = np.ndarray | PictureSource
_SAMPLE = 10_000


def inputs_of(who: str, X: Any, y: Any, **options: Any) -> tuple[Pictures, Any]:
    """Pictures and labels of an array, of a path or of a source; on disk stays what does not fit into memory.

    Raises:
        DataError: Labels where the path has its own, or none with an array.
        PictureError, LabelError, ShapeError: See `open_pictures` and `as_pictures`.
    """
    if isinstance(X, (str, Path)):
        if y is not None and not isinstance(y, str):
            raise DataError(
                f"{who}: y is given with a folder; expected y=None, the sub-folders name the classes (or the name of a "
                "list's column of labels)."
            )
        X, y = open_pictures(X, target=y, who=who, **options), None
    if isinstance(X, PictureSource):
        if y is not None:
            raise DataError(f"{who}: y is given with a picture source; expected y=None, it has its own labels.")
        if not X.fits():
            return X, X.labels
        pictures, rows = X.load()
        return pictures, X.labels[rows]
    if y is None:
        raise DataError(f"{who}: y is None; expected labels (N,). Only a folder of pictures has its own.")
    return as_pictures(X, who=who), y


def shape_of(pictures: Pictures) -> tuple[int, int, int]:
    """(H, W, C)."""
    height, width, channels = pictures.form if isinstance(pictures, PictureSource) else pictures.shape[1:]
    return int(height), int(width), int(channels)


def sample_of(pictures: Pictures, rows: np.ndarray) -> np.ndarray:
    """Some ten thousand pictures, evenly spaced, to learn the scale of the pixels from."""
    rows = rows[:: max(1, len(rows) // _SAMPLE)]
    if isinstance(pictures, PictureSource):
        return pictures.take(rows[:: max(1, len(rows) // 1000)]).load()[0]
    return pictures[rows]


def batches(
    pictures: Pictures,
    codes: np.ndarray,
    weight: np.ndarray | None,
    rows: np.ndarray,
    *,
    device: str,
    batch_size: int,
    generator: torch.Generator,
    part: tuple[int, int] = (0, 1),
    mirror: bool = False,
) -> Resident | Streamed:
    """Batches of the rows: resident on the device where they fit there, else streamed to it; arguments as `Resident`.

    With ``mirror`` resident ones are mirrored in turns; streamed ones are not.
    """
    y, w = torch.from_numpy(codes[rows]), None if weight is None else torch.from_numpy(weight[rows])
    options: dict[str, Any] = {"device": device, "batch_size": batch_size, "generator": generator, "part": part}
    if isinstance(pictures, PictureSource):
        return Streamed(pictures.take(rows).read, y, w, **options)
    if not _fits_device(pictures, device):

        def read(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return pictures[rows[part]], part

        return Streamed(read, y, w, **options)
    return Resident(
        torch.from_numpy(pictures).permute(0, 3, 1, 2)[torch.from_numpy(rows)], y, w, mirror=mirror, **options
    )


def _fits_device(pictures: np.ndarray, device: str) -> bool:
    chosen = torch.device(device)
    return chosen.type != "cuda" or pictures.nbytes <= SHARE * torch.cuda.mem_get_info(chosen)[0]


def blocks(pictures: Pictures, rows: np.ndarray | None, size: int) -> Iterator[Tensor]:
    """Pictures (n, C, H, W) in order, a block at a time, for evaluation."""
    if isinstance(pictures, PictureSource):
        source = pictures if rows is None else pictures.take(rows)
        for start in range(0, len(source), size):
            part, kept = source.read(np.arange(start, min(start + size, len(source))))
            if len(kept) < len(part) or not len(kept):
                raise DataError(f"{source.who}: pictures that cannot be read cannot be scored; remove them first.")
            yield torch.from_numpy(part).permute(0, 3, 1, 2)
        return
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    yield from (x if rows is None else x[torch.from_numpy(rows)]).split(size)


def split(plan: Plan, codes: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows to train on and, where the plan stops early or at a target, rows held out, stratified where the classes allow it.

    Raises:
        DataError: Too few pictures to hold any out.
    """
    rows = np.arange(len(codes))
    if not plan.early_stopping and plan.target is None:
        return rows, None
    stratify = codes if np.bincount(codes).min() > 1 else None
    try:
        train, held = train_test_split(
            rows, test_size=plan.validation_fraction, random_state=seed % 2**32, stratify=stratify
        )
    except ValueError as error:
        raise DataError(
            f"early stopping: {len(codes)} pictures cannot be split with "
            f"validation_fraction={plan.validation_fraction} ({error})"
        ) from error
    return train, held
