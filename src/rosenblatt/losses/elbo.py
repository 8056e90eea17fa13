r"""The bounds of variational autoencoders, with all constants, in nats.

.. math:: \log p(x) \ge E_q \log p(x | z) - KL(q(z | x) \| p(z)),
    \qquad \log p(x) \ge E \log \frac1K \sum_k \frac{p(x | z_k)\, p(z_k)}{q(z_k | x)}

Shape letters: S samples of the code (leading axis), N samples, D features, Z code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from rosenblatt._types import Float

LOG_2PI = math.log(2 * math.pi)


def bernoulli_log_likelihood(logits: Float[Tensor, "*S N D"], x: Float[Tensor, "N D"]) -> Float[Tensor, "*S N"]:
    """Log p(x | z) of zeros and ones, summed over features: Σ x a - log(1 + eᵃ).

    Example:
        >>> round(float(bernoulli_log_likelihood(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]])).exp()), 4)
        0.25
    """
    return (x * logits - F.softplus(logits)).sum(-1)


def gaussian_log_likelihood(
    mean: Float[Tensor, "*S N D"], log_deviation: Tensor, x: Float[Tensor, "N D"]
) -> Float[Tensor, "*S N"]:
    """Log N(x; mean, deviation²) summed over features, the constant -½ log 2π for each included.

    Args:
        mean: Of each feature.
        log_deviation: Logarithm of the standard deviation; one number, or one a feature.
        x: The data.

    Example:
        >>> round(float(gaussian_log_likelihood(torch.zeros(1, 1), torch.tensor(0.0), torch.zeros(1, 1))), 4)
        -0.9189
    """
    scaled = (x - mean) * torch.exp(-log_deviation)
    return (-0.5 * (scaled.square() + LOG_2PI) - log_deviation).sum(-1)


def standard_normal_kl(mean: Float[Tensor, "N Z"], log_variance: Float[Tensor, "N Z"]) -> Float[Tensor, "N Z"]:
    """KL(N(mean, variance) || N(0, 1)) of each code unit: ½ (μ² + σ² - 1 - log σ²) (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def elbo(
    log_likelihood: Float[Tensor, " N"], kl: Float[Tensor, "N Z"], *, beta: float = 1.0, free_bits: float = 0.0
) -> Float[Tensor, " N"]:
    """Evidence lower bound of each sample, with its two usual changes; beta 1 and no free bits are the bound itself.

    Args:
        log_likelihood: log p(x | z) of one z a sample.
        kl: Of each code unit.
        beta: Weight of the KL term (Higgins et al. 2017).
        free_bits: KL in nats below which a unit is not pushed: its batch mean is replaced by this (Kingma et al. 2016,
            arXiv:1606.04934, eq. 15, one unit a group).
    """
    if free_bits:
        return log_likelihood - beta * kl.mean(0).clamp(min=free_bits).sum()
    return log_likelihood - beta * kl.sum(1)


def log_weights(
    log_likelihood: Float[Tensor, "S N"],
    z: Float[Tensor, "S N Z"],
    mean: Float[Tensor, "N Z"],
    log_variance: Float[Tensor, "N Z"],
    *,
    beta: float = 1.0,
) -> Float[Tensor, "S N"]:
    """Log p(x | z) + beta (log p(z) - log q(z | x)); the 2π of prior and posterior cancel."""
    prior = -0.5 * z.square()
    posterior = -0.5 * ((z - mean).square() * torch.exp(-log_variance) + log_variance)
    return log_likelihood + beta * (prior - posterior).sum(-1)


def importance_bound(weights: Float[Tensor, "S N"]) -> Float[Tensor, " N"]:
    """Log of the mean of S importance weights given as logarithms (Burda, Grosse & Salakhutdinov 2016, eq. 8).

    Example:
        >>> importance_bound(torch.tensor([[-1.0], [-1.0]]))
        tensor([-1.])
    """
    return torch.logsumexp(weights, 0) - math.log(len(weights))
