"""The objective of a variational autoencoder, as a module for the visible loop, and the bound that judges it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rosenblatt._types import Float
from rosenblatt.losses.elbo import (
    bernoulli_log_likelihood,
    elbo,
    gaussian_log_likelihood,
    importance_bound,
    log_weights,
    standard_normal_kl,
)
from rosenblatt.models.vae import VAE
from rosenblatt.train.precision import autocast

_AT_ONCE = 4096
"""Codes that pass through the decoder together in evaluation."""


@dataclass(frozen=True)
class Bound:
    """What is maximised.

    Attributes:
        beta: Weight of the KL term.
        free_bits: Nats of KL that each code unit has free, with one sample only.
        samples: Codes a sample, k: 1 is the ELBO, more the importance-weighted bound.
        warmup: Steps over which beta rises from a tenth of a hundredth of itself; 0 for none.
    """

    beta: float = 1.0
    free_bits: float = 0.0
    samples: int = 1
    warmup: int = 0


class VariationalObjective(nn.Module):
    """A VAE with its bound, as the supervised loop wants it.

    The number of steps is a buffer, so that the KL warm-up goes on where a checkpoint left it.

    Args:
        network: What learns.
        bound: What is maximised.
    """

    def __init__(self, network: VAE, bound: Bound):
        super().__init__()
        self.network, self.bound = network, bound
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """The bound of each sample in training: beta on its way up, randomness torch's own."""
        beta = self.bound.beta
        if self.bound.warmup:
            beta *= min(1.0, (int(self.steps) + 1) / self.bound.warmup)
        self.steps += 1
        return self.of(x, beta)

    def of(self, x: Float[Tensor, "N D"], beta: float, generator: torch.Generator | None = None) -> Float[Tensor, " N"]:
        """The bound of each sample at a weight of the KL term; the same function for training and validation."""
        network, k = self.network, self.bound.samples
        x, c = split(x, network)
        mean, log_variance = network.encode(x, c)
        noise = torch.randn(k, *mean.shape, generator=generator, device=x.device)
        with torch.autocast(x.device.type, enabled=False):
            z = mean + noise * torch.exp(0.5 * log_variance)
        likelihood = log_likelihood(network, z, x, c)
        with torch.autocast(x.device.type, enabled=False):
            if k == 1:
                kl = standard_normal_kl(mean, log_variance)
                return elbo(likelihood[0], kl, beta=beta, free_bits=self.bound.free_bits)
            return self._many(likelihood, z, mean, log_variance, beta)

    def _many(self, likelihood: Tensor, z: Tensor, mean: Tensor, log_variance: Tensor, beta: float) -> Tensor:
        """The importance-weighted bound, with the doubly reparameterised gradient.

        Its plain gradient for the encoder drowns in noise as k grows. Tucker et al. 2019 (arXiv:1810.04152, eq. 8) leave the
        same expectation: weights squared on the way to the encoder, none through the parameters of q.
        """
        if not z.requires_grad:
            return importance_bound(log_weights(likelihood, z, mean, log_variance, beta=beta))
        weights = log_weights(likelihood, z, mean.detach(), log_variance.detach(), beta=beta)
        share = torch.softmax(weights.detach(), 0)
        z.register_hook(lambda gradient: gradient * share[..., None])
        value = importance_bound(weights.detach())
        through = (share * weights).sum(0)
        return value + through - through.detach()

    def loss(self, bound: Tensor, _: Any = None, weight: Tensor | None = None) -> Tensor:
        """Minus the mean bound."""
        return -(bound.mean() if weight is None else (bound * weight).sum() / weight.sum())

    @torch.no_grad()
    def score(self, x: Tensor, seed: int, precision: str, block: int = 1000) -> float:
        """The training objective, warm-up over, on held-out samples, with noise that is the same after each epoch."""
        source, total = torch.Generator(x.device).manual_seed(seed), 0.0
        for part in x.split(block):
            with autocast(x.device, precision):
                total += float(self.of(part, self.bound.beta, source).double().sum())
        return total / len(x)


def split(x: Tensor, network: VAE) -> tuple[Tensor, Tensor | None]:
    """Features and one-hot labels of rows that hold both."""
    return (x[:, : network.features], x[:, network.features :]) if network.labels else (x, None)


def log_likelihood(network: VAE, z: Float[Tensor, "S N Z"], x: Tensor, c: Tensor | None) -> Float[Tensor, "S N"]:
    """Log p(x | z), or p(x | z, c), of each code."""
    count = len(z)
    labels = None if c is None else c.expand(count, *c.shape).flatten(0, 1)
    out = network.decode(z.flatten(0, 1), labels).view(count, len(x), -1)  # SN D -> S N D
    with torch.autocast(x.device.type, enabled=False):
        if hasattr(network, "log_noise"):
            return gaussian_log_likelihood(out, network.log_noise, x)
        return bernoulli_log_likelihood(out, x)


@torch.no_grad()
def importance_weighted(
    network: VAE, x: Float[Tensor, "N D"], samples: int, generator: torch.Generator, precision: str = "fp32"
) -> Float[Tensor, " N"]:
    """The importance-weighted bound of each sample with exactly ``samples`` codes, in nats.

    Args:
        network: In eval mode.
        x: Prepared rows, with their labels where the network takes them.
        samples: k; memory does not grow with it.
        generator: Source of the codes, on the device of x.
        precision: Arithmetic of the matrix products.
    """
    bounds = []
    rows = max(1, min(len(x), _AT_ONCE // min(samples, 256)))
    for part in x.split(rows):
        features, labels = split(part, network)
        with autocast(x.device, precision):
            mean, log_variance = network.encode(features, labels)
        total = torch.full((len(part),), -math.inf, device=x.device)
        for done in range(0, samples, 256):
            noise = torch.randn(
                min(256, samples - done), *mean.shape, generator=generator, device=x.device, dtype=mean.dtype
            )
            z = mean + noise * torch.exp(0.5 * log_variance)
            with autocast(x.device, precision):
                likelihood = log_likelihood(network, z, features, labels)
            total = torch.logaddexp(total, torch.logsumexp(log_weights(likelihood, z, mean, log_variance), 0))
        bounds.append(total - math.log(samples))
    return torch.cat(bounds)
