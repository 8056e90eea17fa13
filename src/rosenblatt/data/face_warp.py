"""Random warps of faces and their masks, one and the same for both, and changes of colour.

Faces that were warped on the way in and are wanted unwarped teach the encoder what the identities have in common, and keep the
decoders from learning their pictures by heart.

Shapes: pictures (N, C, H, W) in 0 to 1; the mask is one of the channels. Draws come from torch's own generators, which a
`rosenblatt.train.seeds.PrivateRandom` stands in for.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from rosenblatt._types import Float

KNOTS = 5
"""Points a side that are moved at random; between them the warp is smooth."""


def random_similarity(
    count: int, *, degrees: float = 8.0, zoom: float = 0.05, shift: float = 0.04, device: torch.device | None = None
) -> Float[Tensor, "N 2 3"]:
    """Turns, zooms and shifts (a share of the side) as maps for `warp`; nothing is mirrored, since no face is symmetrical."""
    draw = torch.rand(4, count, device=device) * 2 - 1
    angle, scale = draw[0] * math.radians(degrees), 1 + draw[1] * zoom
    cos, sin = scale * angle.cos(), scale * angle.sin()
    # coordinates run from -1 to 1, so a share of the side is twice as much of them
    rows = [
        torch.stack([cos, -sin, 2 * shift * draw[2]], 1),
        torch.stack([sin, cos, 2 * shift * draw[3]], 1),
    ]
    return torch.stack(rows, 1)


def random_field(
    count: int, height: int, width: int, *, strength: float, device: torch.device | None = None
) -> Float[Tensor, "N H W 2"]:
    """Smooth displacements: 5 x 5 points moved by a normal distribution with ``strength`` (a share of the side)."""
    points = torch.randn(count, 2, KNOTS, KNOTS, device=device) * (2 * strength)
    return F.interpolate(points, (height, width), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)


def warp(
    x: Float[Tensor, "N C H W"], similarity: Float[Tensor, "N 2 3"], field: Float[Tensor, "N H W 2"] | None = None
) -> Float[Tensor, "N C H W"]:
    """All channels of each picture through one map; outside, the border's pixels go on.

    Bicubic, since bilinear sampling blurs, and what is drawn would be as blurred as what was wanted.
    """
    grid = F.affine_grid(similarity, list(x.shape), align_corners=False)
    grid = grid if field is None else grid + field
    return F.grid_sample(x, grid, mode="bicubic", padding_mode="border", align_corners=False).clamp(0, 1)


def recolour(x: Float[Tensor, "N 3 H W"], strength: float) -> Float[Tensor, "N 3 H W"]:
    """Gain of each channel, contrast and brightness by up to ``strength``; values stay in 0 to 1."""
    draw = (torch.rand(5, len(x), 1, 1, 1, device=x.device) * 2 - 1) * strength
    gain = 1 + torch.cat([draw[0], draw[1], draw[2]], 1) / 2
    middle = x.mean((1, 2, 3), keepdim=True)
    return ((x * gain - middle) * (1 + draw[3]) + middle + draw[4] / 2).clamp(0, 1)
