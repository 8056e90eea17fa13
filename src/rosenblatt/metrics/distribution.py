r"""How far a set of samples is from the data: distances between two sets of feature vectors (N, D).

Shapes: real and fake features (N, D) and (M, D), any float; all sums in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rosenblatt import _validate
from rosenblatt.errors import DataError, ShapeError


@dataclass(frozen=True)
class Moments:
    """Mean (D,), covariance (D, D) with N - 1, and the number of samples that they were taken from."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int

    @classmethod
    def of(cls, features: np.ndarray) -> Moments:
        """Moments of features (N, D), N at least 2."""
        features = _features("Moments.of", features)
        centred = features - features.mean(0)
        return cls(features.mean(0), centred.T @ centred / (len(features) - 1), len(features))


def frechet_distance(real: Moments, fake: Moments) -> float:
    r"""Squared Frechet distance of two Gaussians, :math:`|m - m'|^2 + tr(C + C' - 2 (C C')^{1/2})`; over features, the FID.

    It has a bias that falls with the number of samples, so only values of equal counts compare.

    Raises:
        ShapeError: Features of different lengths.

    Reference:
        Heusel, Ramsauer, Unterthiner, Nessler & Hochreiter 2017, arXiv:1706.08500, eq. 6.

    Example:
        >>> one, two = Moments(np.zeros(2), np.eye(2), 9), Moments(np.array([3.0, 4.0]), 4 * np.eye(2), 9)
        >>> round(frechet_distance(one, two), 9)
        27.0
    """
    if real.mean.shape != fake.mean.shape:
        raise ShapeError(
            f"frechet_distance: {fake.mean.size} features against {real.mean.size}; expected as many. "
            "Use one extractor for both."
        )
    # tr (C C')^(1/2) = tr (C^(1/2) C' C^(1/2))^(1/2), where everything is symmetric and no root turns complex
    values, vectors = np.linalg.eigh(real.covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ fake.covariance @ root).clip(0)).sum()
    shift = real.mean - fake.mean
    return float(max(0.0, shift @ shift + np.trace(real.covariance) + np.trace(fake.covariance) - 2 * cross))


def kernel_distance(
    real: np.ndarray, fake: np.ndarray, *, subsets: int = 100, size: int = 1000, random_state: int = 0
) -> tuple[float, float]:
    r"""Kernel distance (KID): the unbiased squared maximum mean discrepancy with the kernel :math:`(x \cdot y / D + 1)^3`.

    It has no bias in the number of samples and may be negative.

    Args:
        real: Features of the data.
        fake: Features of the samples.
        subsets: Draws that the mean is taken over.
        size: Samples a draw; all where there are fewer, and then one draw says everything.
        random_state: Seed of the draws.

    Returns:
        Mean, and standard error of the mean over the draws (0 with one draw).

    Raises:
        ShapeError, DataError: Other shapes, or fewer than 2 samples.

    Reference:
        Binkowski, Sutherland, Arbel & Gretton 2018, arXiv:1801.01401, eq. 4 and section 3.
    """
    real, fake = _pair("kernel_distance", real, fake)
    size = min(size, len(real), len(fake))
    subsets = 1 if size == len(real) == len(fake) else subsets
    source = np.random.default_rng(random_state)
    draws = []
    for _ in range(subsets):
        x = real[source.choice(len(real), size, replace=False)]
        y = fake[source.choice(len(fake), size, replace=False)]
        within = sum(_kernel(a, a).sum() - _kernel_diagonal(a).sum() for a in (x, y)) / (size * (size - 1))
        draws.append(within - 2 * _kernel(x, y).mean())
    return float(np.mean(draws)), float(np.std(draws) / np.sqrt(len(draws)))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _kernel_diagonal(x: np.ndarray) -> np.ndarray:
    return (np.einsum("nd,nd->n", x, x) / x.shape[1] + 1) ** 3


@dataclass(frozen=True)
class Coverage:
    """Shares, 1 at best; ``density`` may pass 1.

    Attributes:
        precision: Samples that lie among the data: how many look right.
        recall: Data that lies among the samples: how much of the variety is there.
        density: As precision, each sample counting by how many data neighbourhoods it lies in.
        coverage: Data points with a sample in their neighbourhood.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall(real: np.ndarray, fake: np.ndarray, *, k: int = 5) -> Coverage:
    """Precision, recall, density and coverage by neighbourhoods that reach to the k-th nearest neighbour.

    Args:
        real: Features of the data.
        fake: Features of the samples.
        k: Neighbours.

    Raises:
        ShapeError, DataError: Other shapes, or not more than k samples.

    Reference:
        Kynkaanniemi et al. 2019, arXiv:1904.06991, eq. 1 and 2; Naeem et al. 2020, arXiv:2002.09797, eq. 3 and 5.
    """
    real, fake = _pair("precision_recall", real, fake)
    if min(len(real), len(fake)) <= k:
        raise DataError(
            f"precision_recall: {len(real)} real and {len(fake)} generated samples; expected more than k={k} of each."
        )
    between = _distances(real, fake)  # N M
    reach_real, reach_fake = _reach(real, k), _reach(fake, k)
    inside = between <= reach_real[:, None]
    return Coverage(
        float(inside.any(0).mean()),
        float((between <= reach_fake[None]).any(1).mean()),
        float(inside.sum(0).mean() / k),
        float((between.min(1) <= reach_real).mean()),
    )


def _reach(x: np.ndarray, k: int) -> np.ndarray:
    """Squared distance to the k-th neighbour; the nearest of all is the point itself."""
    return np.partition(_distances(x, x), k, axis=1)[:, k]


def _distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    square = np.einsum("nd,nd->n", x, x)[:, None] + np.einsum("nd,nd->n", y, y)[None] - 2 * (x @ y.T)
    return square.clip(0)


def _features(who: str, value: np.ndarray) -> np.ndarray:
    features = np.asarray(value, dtype=np.float64)
    if features.ndim != 2:
        raise ShapeError(f"{who}: features of shape {features.shape}; expected N D.")
    if len(features) < 2:
        raise DataError(f"{who}: {len(features)} sample; expected at least 2, better thousands.")
    _validate.finite(who, features)
    return features


def _pair(who: str, real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    real, fake = _features(who, real), _features(who, fake)
    if real.shape[1] != fake.shape[1]:
        raise ShapeError(f"{who}: {fake.shape[1]} features against {real.shape[1]}; expected as many.")
    return real, fake
