"""Recurrent layers on PyTorch's fused kernels, and a classifier of sequences that stands on them.

Reference: Elman 1990 (doi:10.1207/s15516709cog1402_1); LSTM: Hochreiter & Schmidhuber 1997 (doi:10.1162/neco.1997.9.8.1735);
GRU: Cho et al. 2014 (arXiv:1406.1078); both directions: Schuster & Paliwal 1997 (doi:10.1109/78.650093); one dropout mask
for all steps: Gal & Ghahramani 2016 (arXiv:1512.05287); weight drop: Merity, Keskar & Socher 2017 (arXiv:1708.02182);
forget gates that start open: Gers, Schmidhuber & Cummins 2000 (doi:10.1162/089976600300015015).

Shapes: N sequences, T steps, F inputs, H units, D = H or 2 H outputs, K classes.

Departures:
- Fused kernels only. Gal & Ghahramani's mask on the recurrent state has no place in them; weight drop is what regularises the
  recurrence. Layer normalisation (Ba et al. 2016, arXiv:1607.06450) acts on the outputs of a layer, not on its gates.
- The two directions are two layers, the second of which reads each sequence from its own last step: no packing.
- Recurrent weights start orthogonal, gate by gate.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt._types import Bool, Float, Int, Shaped

CELLS = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
_FUSED = {"elman": torch.rnn_tanh, "gru": torch.gru, "lstm": torch.lstm}

State = Any
"""Of one layer: (h, c) of an LSTM, h of the others; of a stack a list of them; None is zeros."""


class Layer(nn.Module):
    """One recurrent layer in one direction.

    Args:
        inputs: F.
        hidden_size: H.
        cell: "elman", "gru" or "lstm".
        weight_drop: Share of the recurrent weights that training leaves out, the same ones at all steps of a window.
    """

    def __init__(self, inputs: int, hidden_size: int, *, cell: str = "lstm", weight_drop: float = 0.0):
        super().__init__()
        self.kind, self.hidden_size, self.weight_drop = cell, hidden_size, weight_drop
        self.cell = CELLS[cell](inputs, hidden_size, batch_first=True)
        with torch.no_grad():
            for gate in self.cell.weight_hh_l0.split(hidden_size):
                nn.init.orthogonal_(gate)
            nn.init.xavier_uniform_(self.cell.weight_ih_l0)
            self.cell.bias_ih_l0.zero_()
            self.cell.bias_hh_l0.zero_()
            if cell == "lstm":  # gates in PyTorch's order: input, forget, cell, output
                self.cell.bias_ih_l0[hidden_size : 2 * hidden_size] = 1.0

    def forward(self, x: Float[Tensor, "N T F"], state: State = None) -> tuple[Float[Tensor, "N T H"], State]:
        """Outputs of all steps, and the state after the last."""
        if not (self.training and self.weight_drop):
            return self.cell(x, state)
        cell = self.cell
        dropped = F.dropout(cell.weight_hh_l0, self.weight_drop)
        weights = [cell.weight_ih_l0, dropped, cell.bias_ih_l0, cell.bias_hh_l0]
        if state is None:
            zeros = x.new_zeros(1, len(x), self.hidden_size)
            state = (zeros, zeros) if self.kind == "lstm" else zeros
        out, *state = _FUSED[self.kind](x, state, weights, True, 1, 0.0, True, False, True)
        return out, tuple(state) if self.kind == "lstm" else state[0]


class Recurrent(nn.Module):
    """A stack of recurrent layers.

    Args:
        inputs: F.
        hidden_size: H.
        layers: Layers of the stack; from the second on each adds to what it reads (He et al. 2015).
        cell: "elman", "gru" or "lstm".
        bidirectional: Whether a second set of layers reads backwards; D is 2 H then.
        dropout: Share of each layer's outputs dropped in training, the same ones at all steps.
        weight_drop: Share of the recurrent weights dropped in training.
        layer_norm: Whether each layer's outputs are normalised.
    """

    def __init__(
        self, inputs: int, hidden_size: int, layers: int = 1, *, cell: str = "lstm", bidirectional: bool = False,
        dropout: float = 0.0, weight_drop: float = 0.0, layer_norm: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.width = hidden_size * (2 if bidirectional else 1)
        self.dropout, self.bidirectional = dropout, bidirectional
        sizes = [inputs] + [self.width] * (layers - 1)
        made = lambda: nn.ModuleList(Layer(s, hidden_size, cell=cell, weight_drop=weight_drop) for s in sizes)  # noqa: E731
        self.layers = made()
        self.backward_layers = made() if bidirectional else None
        self.norms = nn.ModuleList(nn.LayerNorm(self.width) if layer_norm else nn.Identity() for _ in sizes)

    def forward(
        self, x: Float[Tensor, "N T F"], state: list[State] | None = None, lengths: Int[Tensor, " N"] | None = None
    ) -> tuple[Float[Tensor, "N T D"], list[State]]:
        """Outputs of all steps, and the state of each layer after the last (of one direction only).

        Args:
            x: The sequences, padded at their ends.
            state: Where the forward layers start; None is zeros.
            lengths: Steps of each sequence, which both directions need; None is T.
        """
        back = _backwards(x, lengths) if self.bidirectional else None
        states = []
        for number, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            out, after = layer(x, None if state is None else state[number])
            states.append(after)
            if self.backward_layers is not None and back is not None:
                turned = _take(x, back)
                out = torch.cat([out, _take(self.backward_layers[number](turned)[0], back)], 2)
            out = norm(out)
            x = same_mask_dropout(out + x if number else out, self.dropout, self.training)
        return x, states


def same_mask_dropout(x: Float[Tensor, "N T D"], share: float, training: bool) -> Float[Tensor, "N T D"]:
    """Dropout with one mask for all steps of a sequence.

    Reference:
        Gal & Ghahramani 2016, section 4.
    """
    if not training or not share:
        return x
    return x * F.dropout(torch.ones_like(x[:, :1]), share)


def _backwards(x: Tensor, lengths: Tensor | None) -> Int[Tensor, "N T"]:
    """Row numbers that turn each sequence around and leave its padding where it is; their own inverse."""
    steps = torch.arange(x.shape[1], device=x.device)[None]
    if lengths is None:
        return steps.flip(1).expand(x.shape[0], -1)
    last = lengths[:, None] - 1
    return torch.where(steps <= last, last - steps, steps)


def _take(x: Tensor, rows: Tensor) -> Tensor:
    return x.gather(1, rows[:, :, None].expand(-1, -1, x.shape[2]))


class RecurrentClassifier(nn.Module):
    """Sequences in, one logit a class out.

    Padding is part of the input: token 0, or steps whose numbers are NaN. The outputs of all real steps are read by their
    mean and their maximum.

    Args:
        inputs: F numbers a step; of tokens the size of the vocabulary, padding included.
        classes: K.
        tokens: Whether the input is tokens, (N, T) integers.
        cell: "elman", "gru" or "lstm".
        hidden_size: H.
        layers: Recurrent layers.
        bidirectional: Whether the sequence is read from both ends.
        dropout: On the inputs and outputs of the layers, one mask for all steps.
        weight_drop: On the recurrent weights.
        layer_norm: Whether each layer's outputs are normalised.
    """

    def __init__(
        self, inputs: int, classes: int, *, tokens: bool, cell: str = "lstm", hidden_size: int = 128, layers: int = 1,
        bidirectional: bool = True, dropout: float = 0.0, weight_drop: float = 0.0, layer_norm: bool = False,
    ):  # fmt: skip
        super().__init__()
        width = min(hidden_size, 128)
        self.embedding = nn.Embedding(inputs, width, padding_idx=0) if tokens else None
        self.dropout = dropout
        self.cells = Recurrent(
            width if tokens else inputs, hidden_size, layers, cell=cell, bidirectional=bidirectional, dropout=dropout,
            weight_drop=weight_drop, layer_norm=layer_norm,
        )  # fmt: skip
        self.head = nn.Linear(2 * self.cells.width, classes)

    def forward(self, x: Shaped[Tensor, "N T ..."]) -> Float[Tensor, "N K"]:
        """Logits of the classes."""
        there = x != 0 if self.embedding is not None else ~torch.isnan(x[:, :, 0])  # N T
        x = self.embedding(x) if self.embedding is not None else torch.nan_to_num(x)
        x = same_mask_dropout(x, self.dropout, self.training)
        out = self.cells(x, None, there.sum(1))[0].float()
        return self.head(pooled(out, there))


def pooled(x: Float[Tensor, "N T D"], there: Bool[Tensor, "N T"]) -> Float[Tensor, "N 2*D"]:
    """Mean and maximum over the real steps, side by side; at least one step of each sequence must be real."""
    mask = there[:, :, None]
    mean = (x * mask).sum(1) / mask.sum(1)
    return torch.cat([mean, x.masked_fill(~mask, -torch.inf).amax(1)], 1)
