"""One call that judges generated samples against data, and says with each number what it was measured with."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from rosenblatt import _validate
from rosenblatt.data.fetch import cache_folder
from rosenblatt.data.pictures import as_pictures
from rosenblatt.errors import DataError, ShapeError
from rosenblatt.metrics.distribution import Moments, frechet_distance, kernel_distance, precision_recall
from rosenblatt.metrics.extractors import Extractor, extractor


@dataclass(frozen=True)
class Judgement:
    """Distances of generated samples from data; ``print`` shows them with all that they depend on.

    Attributes:
        fid: Frechet distance of the features; lower is better.
        kid, kid_error: Kernel distance and its standard error; lower is better.
        precision, recall, density, coverage: See `rosenblatt.metrics.distribution.Coverage`.
        n_real, n_generated: Samples on both sides.
        split: Which data, in the caller's words.
        extractor, fingerprint, resizer: What the features are.
    """

    fid: float
    kid: float
    kid_error: float
    precision: float
    recall: float
    density: float
    coverage: float
    n_real: int
    n_generated: int
    split: str
    extractor: str
    fingerprint: str
    resizer: str

    def row(self) -> dict[str, Any]:
        """All of it as a dict."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"FID {self.fid:.3f}  KID {self.kid:.5f} +- {self.kid_error:.5f}  precision {self.precision:.3f}  recall "
            f"{self.recall:.3f}  density {self.density:.3f}  coverage {self.coverage:.3f}\n"
            f"{self.n_generated} generated against {self.n_real} real ({self.split}); features: {self.extractor} "
            f"[{self.fingerprint}], resized: {self.resizer}. Comparable only where all of this is the same."
        )


def judge(
    real: Any,
    generated: Any,
    *,
    by: Any = "auto",
    split: str = "unnamed split",
    k: int = 5,
    random_state: int = 0,
    cache: str | Path | None = None,
) -> Judgement:
    """Judge generated pictures, or rows of a table, against real ones.

    Args:
        real: uint8 pictures N H W or N H W C; or rows (N, D) of numbers, which are their own features after each column
            was standardised by the real ones.
        generated: The same kind.
        by: The extractor of pictures; see `rosenblatt.metrics.extractors.extractor`.
        split: What the real data is, for the record, such as "test".
        k: Neighbours of precision and recall.
        random_state: Seed of the draws of the kernel distance.
        cache: Folder for the features of the real pictures, or None for the user's cache; they are computed once.

    Raises:
        ShapeError, DataError: The two are not of one kind, or too few.
        FetchError: As `extractor`.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(400, 3))
        >>> good, bad = judge(rows[:200], rows[200:]), judge(rows[:200], rows[200:] + 2)
        >>> good.fid < 0.3 < bad.fid, good.coverage > 0.9
        (True, True)
    """
    array = np.asarray(real)
    if array.ndim == 2:
        x, y = _standardised(array, np.asarray(generated))
        name, mark, resizer = "the columns themselves, standardised", "none", "none"
    else:
        a, b = as_pictures(real, who="judge: real"), as_pictures(generated, who="judge: generated")
        if a.shape[1:] != b.shape[1:]:
            raise ShapeError(f"judge: generated pictures {b.shape[1:]} against {a.shape[1:]}; expected one shape.")
        chosen = extractor(by)
        x, y = real_features(a, chosen, cache=cache), chosen(b)
        name, mark, resizer = chosen.name, chosen.fingerprint, chosen.resizer
    kid, error = kernel_distance(x, y, random_state=random_state)
    shares = precision_recall(x, y, k=k)
    fid = frechet_distance(Moments.of(x), Moments.of(y))
    return Judgement(
        fid, kid, error, **asdict(shares), n_real=len(x), n_generated=len(y), split=split, extractor=name,
        fingerprint=mark, resizer=resizer,
    )  # fmt: skip


def _standardised(real: np.ndarray, generated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if generated.ndim != 2 or generated.shape[1] != real.shape[1]:
        raise ShapeError(f"judge: generated rows {generated.shape} against {real.shape}; expected as many columns.")
    real, generated = real.astype(np.float64), generated.astype(np.float64)
    _validate.finite("judge", real)
    _validate.finite("judge", generated)
    deviation = real.std(0)
    deviation[deviation == 0] = 1.0
    return (real - real.mean(0)) / deviation, (generated - real.mean(0)) / deviation


def real_features(pictures: np.ndarray, by: Extractor, *, cache: str | Path | None = None) -> np.ndarray:
    """Features of real pictures, read from the cache where the same pictures met the same extractor before.

    Args:
        pictures: uint8 (N, H, W, C).
        by: The extractor.
        cache: Folder; None takes the user's cache.
    """
    digest = hashlib.sha256(f"{by.name}{by.fingerprint}{by.resizer}{pictures.shape}".encode())
    digest.update(np.ascontiguousarray(pictures).tobytes())
    path = cache_folder(cache) / "features" / f"{digest.hexdigest()[:32]}.safetensors"
    if path.is_file():
        try:
            return safetensors.numpy.load_file(path)["features"]
        except (safetensors.SafetensorError, KeyError):
            path.unlink()  # cut short by something outside; it is made anew
    features = by(pictures)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{path.parent} cannot be made ({error.strerror}). Pass cache=FOLDER.") from error
    _validate.write_whole(path, safetensors.numpy.save({"features": features}))
    return features
