"""How far a drawn picture is from its photograph in the responses of a network: the critic's own, or a perceptual one's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def feature_matching(fake: Sequence[Sequence[Tensor]], real: Sequence[Sequence[Tensor]]) -> Tensor:
    r"""Mean absolute difference of a critic's responses, over layers and scales: :math:`\frac1{SL} \sum |D_{sl}(x) - D_{sl}(G)|`.

    The last of each scale, the logits, do not count. No gradient reaches what belongs to the photographs.

    Args:
        fake: By scale, the responses of every layer to samples.
        real: The same to the photographs of the same label maps.

    Reference:
        Wang et al. 2018, arXiv:1711.11585, eq. 4.

    Example:
        >>> one, logit = torch.zeros(1, 2, 3, 3), torch.zeros(1, 1, 2, 2)
        >>> feature_matching([[one, one, logit]], [[one + 1, one + 3, logit + 9]])
        tensor(2.)
    """
    parts = [
        (a.float() - b.detach().float()).abs().mean()
        for ours, theirs in zip(fake, real, strict=True)
        for a, b in zip(ours[:-1], theirs[:-1], strict=True)
    ]
    return torch.stack(parts).mean()


def relative_difference(fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    r"""Absolute difference of responses in shares of their own size: mean over layers of :math:`\sum |a - b| / \sum |b|`.

    Published perceptual losses weight the layers of one network by hand (Johnson et al. 2016, arXiv:1603.08155, eq. 2, Park et
    al. 2019); shares need no weights and mean the same in any network.

    Args:
        fake: Responses of each layer to samples.
        real: To the photographs; no gradient reaches them.

    Example:
        >>> relative_difference([torch.tensor([1.0, 3.0])], [torch.tensor([2.0, 2.0])])
        tensor(0.5000)
    """
    parts = []
    for a, b in zip(fake, real, strict=True):
        b = b.detach().float()
        parts.append((a.float() - b).abs().mean() / b.abs().mean().clamp_min(1e-8))
    return torch.stack(parts).mean()
