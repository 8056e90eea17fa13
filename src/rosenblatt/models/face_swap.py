"""A shared encoder of faces and a decoder for each person: what one decoder draws follows any person's pose and expression.

Reference: the method of the anonymous "deepfakes" code of 2017; described with its later forms in Perov et al. 2020,
DeepFaceLab, arXiv:2005.05535, section 3.1.

Shape letters: N batch, H height, W width, K identities, F channels that decoders begin with, Z channels of the code.

Departures:
- Residual blocks (`rosenblatt.layers.codec`) in place of plain convolutions; pixels are traded for channels at both ends, so no
  convolution runs at full resolution.
- The code keeps its places, some channels in each cell of 8 x 8 pixels, in place of a dense layer: some hundreds of frames do
  not teach a dense layer faces that it has not seen. Instance normalisation takes contrast and colour of the whole face, which
  belong to the person, out of it (Ulyanov et al. 2016, arXiv:1607.08022), and each decoder has a learned map of its person.
- Codes are standardised at each place with the mean and spread of their own person, running statistics through which no gradient
  passes (as batch normalisation with statistics of its own for each domain: Chang et al. 2019, arXiv:1906.03950). Whose face goes
  in must therefore be known, or found out by which decoder draws it best.
- A code that goes to another person's decoder is projected on the principal directions of that person's codes, its variance
  there brought to theirs: a decoder is never asked for what it has not learned, at the price of expressions that its person
  never showed.
- Decoders draw a mask beside the three colours, which follows the drawn face.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rosenblatt._types import Float
from rosenblatt.layers.codec import Residual

MULTIPLE = 8
"""Sides of the pictures must be multiples of this."""

MOMENTUM = 0.02
"""Share of a batch in the mean and spread of a person's codes."""

SPAN = 128
"""Principal directions of a person's codes that a swapped code may move in."""

REACH, GAIN = 2.5, 3.0
"""How far it may go in each, in standard deviations; and the most that it is stretched to go as far as the person's own do."""

FLOOR = 0.2
"""Least spread that a code is divided by: what hardly changes is not to be blown up."""


class FaceEncoder(nn.Module):
    """Faces to codes; ``start`` makes standardised codes the maps that all decoders begin with.

    Args:
        width: Channels at half the side; 2 and 4 times as many at a quarter and an eighth.
        code: Z, channels of the code in each of the (H/8) x (W/8) cells.
    """

    def __init__(self, width: int, code: int):
        super().__init__()
        self.maps = nn.Sequential(
            nn.PixelUnshuffle(2),  # N 3 H W -> N 12 H/2 W/2
            nn.Conv2d(12, width, 3, padding=1),
            Residual(width),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            Residual(2 * width),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),
            Residual(4 * width),
            nn.SiLU(),
            nn.Conv2d(4 * width, code, 1),
        )
        self.norm = nn.InstanceNorm2d(code)
        self.start = nn.Conv2d(code, 4 * width, 3, padding=1)

    def code(self, x: Float[Tensor, "N 3 H W"]) -> Float[Tensor, "N Z H/8 W/8"]:
        """Code of faces: mean 0 and variance 1 in each channel of each face."""
        return self.norm(self.maps(x.contiguous(memory_format=torch.channels_last)).float())


class FaceDecoder(nn.Module):
    """The maps of a face to a picture of one person, with its mask.

    Args:
        size: (H, W) of the faces.
        width: As `FaceEncoder`.
    """

    def __init__(self, size: tuple[int, int], width: int):
        super().__init__()
        self.person = nn.Parameter(torch.zeros(4 * width, size[0] // MULTIPLE, size[1] // MULTIPLE))
        self.maps = nn.Sequential(
            Residual(4 * width),
            Residual(4 * width),
            nn.SiLU(),
            nn.Conv2d(4 * width, 8 * width, 3, padding=1),
            nn.PixelShuffle(2),  # N 8w h w -> N 2w 2h 2w
            Residual(2 * width),
            nn.SiLU(),
            nn.Conv2d(2 * width, 4 * width, 3, padding=1),
            nn.PixelShuffle(2),
            Residual(width),
            nn.SiLU(),
            nn.Conv2d(width, 16, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def forward(self, h: Float[Tensor, "N F H/8 W/8"]) -> Float[Tensor, "N 4 H W"]:
        """Logits of red, green, blue and mask."""
        return self.maps((h + self.person).contiguous(memory_format=torch.channels_last))


class FaceSwapper(nn.Module):
    """The encoder, each person's mean code and its spread at each place, and the decoders.

    A code is standardised with the mean and spread of its own person, so what is passed on is how a face differs from its own
    person's. For another person's decoder it is besides brought into the span of what that decoder has learned (`swap`).

    Args:
        size: (H, W) of the faces, multiples of 8.
        width: Channels at half the side.
        code: Z.
        identities: K.
    """

    def __init__(self, size: tuple[int, int], width: int = 32, code: int = 16, identities: int = 2):
        super().__init__()
        self.encoder = FaceEncoder(width, code)
        self.decoders = nn.ModuleList(FaceDecoder(size, width) for _ in range(identities))
        shape = (identities, code, size[0] // MULTIPLE, size[1] // MULTIPLE)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("square", torch.ones(shape))
        self.register_buffer("seen", torch.zeros(identities, dtype=torch.long))
        self.register_buffer("centre", torch.zeros(identities, shape[1] * shape[2] * shape[3]))
        self.register_buffer("basis", torch.zeros(identities, SPAN, shape[1] * shape[2] * shape[3]))
        self.register_buffer("spread", torch.zeros(identities, SPAN))
        self.register_buffer("gain", torch.ones(identities, identities, SPAN))

    def code(self, x: Float[Tensor, "N 3 H W"], person: Tensor | int) -> Float[Tensor, "N Z H/8 W/8"]:
        """Standardised codes of faces of a person, one number, or one a face (N,); in training mode the statistics follow."""
        code = self.encoder.code(x)
        if self.training:
            self._follow(code.detach(), torch.as_tensor(person, device=x.device).expand(len(x)))
        spread = (self.square[person] - self.mean[person].square()).clamp_min(FLOOR**2).sqrt()
        return (code - self.mean[person]) / spread

    def forward(self, x: Float[Tensor, "N 3 H W"], to: Tensor | int = 0) -> Float[Tensor, "N 4 H W"]:
        """Logits of faces drawn as the persons that they show: one number, or one a face (N,)."""
        h = self.encoder.start(self.code(x, to))
        if isinstance(to, int):
            return self.decoders[to](h)
        out = h.new_empty(len(x), 4, *x.shape[2:])
        for number, decoder in enumerate(self.decoders):
            rows = (to == number).nonzero()[:, 0]
            if len(rows):
                out = out.index_copy(0, rows, decoder(h.index_select(0, rows)).to(out.dtype))
        return out

    def swap(self, x: Float[Tensor, "N 3 H W"], to: int, source: int) -> Float[Tensor, "N 4 H W"]:
        """Logits of faces of one person drawn as another."""
        parts = (self.code(x, source).flatten(1) - self.centre[source]) @ self.basis[to].T * self.gain[source, to]
        most = REACH * self.spread[to]
        code = torch.maximum(torch.minimum(parts, most), -most) @ self.basis[to] + self.centre[to]
        return self.decoders[to](self.encoder.start(code.view(len(x), *self.mean.shape[1:])))

    @torch.no_grad()
    def settle(self, codes: Sequence[Float[Tensor, "N D"]]) -> None:
        """Learn the span of each person's codes: principal directions, their spread, and how far another's codes reach in them.

        Args:
            codes: Of each person, standardised and flattened.
        """
        for number, own in enumerate(codes):
            self.centre[number] = own.mean(0)
            _, values, directions = torch.linalg.svd(own - self.centre[number], full_matrices=False)
            count = min(SPAN, int((values > 1e-4 * values[0]).sum()))
            self.basis[number].zero_()
            self.basis[number, :count] = directions[:count]
        for to, own in enumerate(codes):
            self.spread[to] = ((own - self.centre[to]) @ self.basis[to].T).std(0)
            for source, other in enumerate(codes):
                reach = ((other - self.centre[source]) @ self.basis[to].T).std(0)
                self.gain[source, to] = (self.spread[to] / reach.clamp_min(1e-6)).clamp(max=GAIN)

    @torch.no_grad()
    def _follow(self, code: Tensor, source: Tensor) -> None:
        for number in range(len(self.decoders)):
            own = code[source == number]
            if len(own):
                self.seen[number] += 1
                share = max(MOMENTUM, 1 / int(self.seen[number]))  # at first the mean of all that was seen
                self.mean[number].lerp_(own.mean(0), share)
                self.square[number].lerp_(own.square().mean(0), share)
