"""What a `FaceSwapper` learns by: warped faces in, the faces themselves out, each by its own decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Float
from rosenblatt.data.face_warp import random_field, random_similarity, recolour, warp
from rosenblatt.losses.structure import structural_similarity
from rosenblatt.models.face_swap import FaceSwapper
from rosenblatt.train.seeds import PrivateRandom

STRUCTURE = 0.84
"""Share of structural similarity in the loss, the rest is absolute error (Zhao et al. 2017, arXiv:1511.08861, section IV.C)."""

MASK = 0.1
"""Weight of the mask's cross-entropy."""


FADE = 0.5
"""Share of the run after which nothing is warped locally any more."""


MOST, MOVED = 500, 3
"""Faces of each person from which the span of the codes is learned, and how often each is seen moved."""


@dataclass(frozen=True)
class Distortion:
    """How much faces are changed in training.

    Attributes:
        warp: Standard deviation of the local warp at the start, a share of the side; only of what goes in. It falls to zero
            after `FADE` of the run: where a pixel lay before a warp cannot be known, and not knowing it blurs what is drawn.
        colour: Largest change of gain, contrast and brightness; only of what goes in.
    """

    warp: float = 0.03
    colour: float = 0.1


class Parts(NamedTuple):
    """What the loss is made of: logits that were drawn, and the picture and mask that were wanted."""

    raw: Tensor
    wanted: Tensor


class SwapObjective(nn.Module):
    """A network with the faces that it learns from, as the supervised loop wants it: numbers of faces in, parts of the loss out.

    Args:
        network: What learns.
        faces: uint8 (N, 4, H, W): colours and mask, on the network's device.
        identity: (N,) which decoder each belongs to.
        distortion: How much they are changed.
        progress: Gives the share of the run that is over.
    """

    def __init__(
        self, network: FaceSwapper, faces: Tensor, identity: Tensor, distortion: Distortion,
        progress: Callable[[], float] = lambda: 0.0,
    ):  # fmt: skip
        super().__init__()
        self.network, self.distortion, self.progress = network, distortion, progress
        self.faces, self.identity = faces, identity  # plain attributes: data is no part of the weights

    def forward(self, rows: Float[Tensor, " N"]) -> Parts:
        """Distort the faces of these numbers, encode them, draw each by its own decoder."""
        seen, wanted = self.distorted(rows)
        return Parts(self.network(seen, self.identity[rows]).float(), wanted)

    def distorted(self, rows: Tensor) -> tuple[Float[Tensor, "N 3 H W"], Float[Tensor, "N 4 H W"]]:
        """What goes in, and what is wanted: one similarity for both, mask included; warp and colours for the first alone."""
        x = self.faces[rows].float() / 255
        similarity = random_similarity(len(x), device=x.device)
        strength = self.distortion.warp * max(0.0, 1 - self.progress() / FADE)
        wanted = seen = warp(x, similarity)
        if strength > 0:  # from the faces again: what was sampled twice is blurred twice
            seen = warp(x, similarity, random_field(len(x), *x.shape[2:], strength=strength, device=x.device))
        return recolour(seen[:, :3], self.distortion.colour), wanted

    def loss(self, parts: Parts, _: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """Structure and absolute error, the face counting twice what surrounds it, and cross-entropy of the mask."""
        drawn, wanted, mask = parts.raw[:, :3].sigmoid(), parts.wanted[:, :3], parts.wanted[:, 3:]
        counts = (1 + mask) / (1 + mask).mean((2, 3), keepdim=True)
        absolute = ((drawn - wanted).abs() * counts).mean((1, 2, 3))
        structure = 1 - structural_similarity(drawn, wanted, weight=counts)
        outline = F.binary_cross_entropy_with_logits(parts.raw[:, 3:], mask, reduction="none").mean((1, 2, 3))
        each = STRUCTURE * structure + (1 - STRUCTURE) * absolute + MASK * outline
        return each.mean() if weight is None else (each * weight).sum() / weight.sum()

    @torch.no_grad()
    def score(self, faces: Tensor, identity: Tensor, block: int = 64) -> float:
        """Mean SSIM of held-out faces (uint8 N 4 H W) drawn by their own decoders, undistorted."""
        total = 0.0
        for x, y in zip(faces.split(block), identity.split(block), strict=True):
            x = x[:, :3].float() / 255
            total += float(structural_similarity(self.network(x, y)[:, :3].float().sigmoid(), x).sum())
        return total / len(faces)


@torch.no_grad()
def settle(objective: SwapObjective, seed: int) -> None:
    """Let a trained network learn the span of each person's codes, from their faces as they are and a little moved.

    Args:
        objective: Holds the network and the faces.
        seed: Of the moves.
    """
    network, found = objective.network.eval(), []
    with PrivateRandom(seed, objective.faces.device):
        for number in range(len(network.decoders)):
            rows = (objective.identity == number).nonzero()[:, 0]
            faces = objective.faces[rows[:: -(-len(rows) // MOST)], :3].float() / 255
            moved = [faces, *(warp(faces, random_similarity(len(faces), device=faces.device)) for _ in range(MOVED))]
            found.append(torch.cat([network.code(part, number).flatten(1) for x in moved for part in x.split(64)]))
    network.settle(found)
