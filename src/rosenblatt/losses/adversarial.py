r"""Losses of two players: a critic that tells data from samples, a generator that makes them alike.

All take logits of the critic and give means over the batch; penalties take the critic itself. The names are those of the
table `LOSSES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rosenblatt._types import Float, Shaped

Critic = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class AdversarialLoss:
    """The two sides of a game.

    Attributes:
        critic: (logits of data, logits of samples) -> what the critic makes small.
        generator: (logits of samples, logits of data) -> what the generator makes small.
        penalty: "none", "zero" (R1 and R2: zero-centred, at data and samples), or "one" (length 1, between the two).
        weight: Weight of the penalty.
        critic_steps: Steps of the critic for one of the generator.
        spectral: The critic's layers are divided by their largest singular value (Miyato et al. 2018).
    """

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    penalty: str = "none"
    weight: float = 0.0
    critic_steps: int = 1
    spectral: bool = False


def non_saturating_critic(real: Float[Tensor, " N"], fake: Float[Tensor, " N"]) -> Tensor:
    r"""Minus the log-likelihood of telling right: :math:`-\log D(x) - \log(1 - D(G(z)))`, D the sigmoid of the logit.

    Reference:
        Goodfellow et al. 2014, arXiv:1406.2661, eq. 1.

    Example:
        >>> non_saturating_critic(torch.zeros(2), torch.zeros(2)) / torch.log(torch.tensor(4.0))
        tensor(1.)
    """
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def non_saturating_generator(fake: Float[Tensor, " N"], real: Tensor | None = None) -> Tensor:
    r""":math:`-\log D(G(z))`, whose gradient does not vanish where the critic wins (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake).mean()


def wasserstein_critic(real: Float[Tensor, " N"], fake: Float[Tensor, " N"]) -> Tensor:
    """Difference of the mean scores, samples minus data (Arjovsky et al. 2017, arXiv:1701.07875, eq. 2)."""
    return fake.mean() - real.mean()


def wasserstein_generator(fake: Float[Tensor, " N"], real: Tensor | None = None) -> Tensor:
    """Minus the mean score of the samples."""
    return -fake.mean()


def hinge_critic(real: Float[Tensor, " N"], fake: Float[Tensor, " N"]) -> Tensor:
    """Scores within a margin of 1 of the wrong side count (Lim & Ye 2017, arXiv:1705.02894, eq. 5)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def relativistic_critic(real: Float[Tensor, " N"], fake: Float[Tensor, " N"]) -> Tensor:
    """Data must score above the sample beside it, whatever both score.

    Reference:
        Jolicoeur-Martineau 2018, arXiv:1807.00734, eq. 4; with both penalties Huang et al. 2024, arXiv:2501.05441, eq. 2.
    """
    return F.softplus(fake - real).mean()


def relativistic_generator(fake: Float[Tensor, " N"], real: Float[Tensor, " N"]) -> Tensor:
    """The same game from the other side."""
    return F.softplus(real - fake).mean()


LOSSES = {
    "relativistic": AdversarialLoss(relativistic_critic, relativistic_generator, penalty="zero", weight=1.0),
    "non-saturating": AdversarialLoss(non_saturating_critic, non_saturating_generator),
    "wasserstein": AdversarialLoss(
        wasserstein_critic, wasserstein_generator, penalty="one", weight=10.0, critic_steps=5
    ),
    "hinge": AdversarialLoss(hinge_critic, wasserstein_generator, spectral=True),
}
"""The games by name; the relativistic one with R1 and R2 is the one that does not oscillate (Huang et al. 2024)."""


def zero_centred_penalty(critic: Critic, x: Shaped[Tensor, "N ..."]) -> tuple[Tensor, Tensor]:
    r"""Half the mean squared length of the critic's gradient, :math:`\frac12 E |\nabla_x D(x)|^2`: R1 at data, R2 at samples.

    Args:
        critic: Pictures or rows -> logits.
        x: Where; a leaf is made of it.

    Returns:
        The penalty, and the logits at x, which can be used again.

    Reference:
        Mescheder, Geiger & Nowozin 2018, arXiv:1801.04406, eq. 9.

    Example:
        >>> penalty, _ = zero_centred_penalty(lambda x: 3 * x[:, 0] + 4 * x[:, 1], torch.ones(5, 2))
        >>> penalty.item()
        12.5
    """
    x = x.detach().requires_grad_()
    logits = critic(x)
    (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient.float().flatten(1).square().sum(1).mean() / 2, logits


def unit_gradient_penalty(critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
    r""":math:`E (|\nabla D(\hat x)| - 1)^2` at points between data and samples, a random share of the way each.

    Reference:
        Gulrajani et al. 2017, arXiv:1704.00028, eq. 3 and algorithm 1.

    Example:
        >>> x = torch.zeros(4, 2)
        >>> unit_gradient_penalty(lambda x: 3 * x[:, 0] + 4 * x[:, 1], x, x + 1).item()
        16.0
    """
    share = torch.rand((len(real), *[1] * (real.ndim - 1)), device=real.device)
    between = torch.lerp(real.detach().float(), fake.detach().float(), share).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (gradient.float().flatten(1).norm(dim=1) - 1).square().mean()
