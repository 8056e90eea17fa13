"""Penalties on the code of an autoencoder: sparse and contractive."""

from __future__ import annotations

import torch
from torch import Tensor

from rosenblatt._types import Float


def absolute_code(code: Float[Tensor, "N Z"]) -> Float[Tensor, ""]:
    """Mean over samples of the sum of absolute values (Olshausen & Field 1996, with their S(x) = |x|)."""
    return code.abs().sum(1).mean()


def kl_sparsity(code: Float[Tensor, "N Z"], target: float) -> Float[Tensor, ""]:
    r"""How far the mean activations of logistic units are from a target, summed over the units.

    .. math:: \\sum_j \\rho \\ln \\frac{\\rho}{\\hat\\rho_j} + (1 - \\rho) \\ln \\frac{1 - \\rho}{1 - \\hat\\rho_j}

    Args:
        code: Activations between 0 and 1; their means are taken over the batch.
        target: ρ, strictly between 0 and 1.

    Reference:
        Lee, Ekanadham & Ng 2008; Ng 2011, CS294A lecture notes "Sparse autoencoder", section 3.

    Example:
        >>> round(float(kl_sparsity(torch.full((4, 1), 0.5), 0.1)), 4)
        0.3681
    """
    mean = code.mean(0).clamp(1e-6, 1 - 1e-6)
    rho = torch.full_like(mean, target)
    return (torch.xlogy(rho, rho / mean) + torch.xlogy(1 - rho, (1 - rho) / (1 - mean))).sum()


def top_k(code: Float[Tensor, "N Z"], k: int) -> Float[Tensor, "N Z"]:
    """The k largest entries of each code, zero elsewhere (Makhzani & Frey 2014, arXiv:1312.5663, algorithm 1).

    Example:
        >>> top_k(torch.tensor([[3.0, 1.0, 2.0]]), 2)
        tensor([[3., 0., 2.]])
    """
    if k >= code.shape[1]:
        return code
    kept = code.topk(k, dim=1).indices
    return torch.zeros_like(code).scatter(1, kept, code.gather(1, kept))


def exact_contraction(slope: Float[Tensor, "N Z"], weight: Float[Tensor, "Z D"]) -> Float[Tensor, ""]:
    """Mean squared Frobenius norm of the Jacobian of one layer f(Wx + b): Σⱼ f'(aⱼ)² Σᵢ Wⱼᵢ² (Rifai et al. 2011, eq. 7).

    Args:
        slope: f' at the pre-activations.
        weight: W.
    """
    return (slope.square() @ weight.square().sum(1)).mean()


def estimated_contraction(
    code: Float[Tensor, "N Z"], x: Float[Tensor, "N D"], probe: Float[Tensor, "N Z"]
) -> Float[Tensor, ""]:
    """The same for any encoder, by one random projection: E‖vᵀJ‖² = ‖J‖² for v of zero mean and unit covariance.

    Unbiased and noisy; exact only on average (Hutchinson 1990).

    Args:
        code: Of x, with its graph.
        x: Inputs that require a gradient.
        probe: v, such as standard normal numbers.
    """
    (product,) = torch.autograd.grad(code, x, probe, create_graph=True)
    return product.square().sum(1).mean()
