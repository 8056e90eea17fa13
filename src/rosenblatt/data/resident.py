"""Resident batches: the data set is one contiguous tensor a field, on the training device."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rosenblatt.errors import ShapeError


class Resident:
    """A data set that lies whole on the training device and is cut into batches there.

    One permutation an epoch, one ``index_select`` a batch and field; no worker processes, no collation, no copies from
    host to device while training. Iterating yields ``(x, y, weight)``, weight None where none was given.

    Args:
        x: Inputs (N, ...); pictures may stay uint8, the network's ``prepare`` casts them batch by batch.
        y: Targets (N,) or (N, ...).
        weight: Weights of the samples (N,), or None.
        device: Where everything is put.
        batch_size: Samples a batch; the last batch of an epoch may be smaller.
        generator: Source of the permutations; its state advances once an epoch.
        shuffle: False keeps the order, for evaluation.
        part: (number, size) of this process in a run of several: of each batch only its own rows are given.
        mirror: Half of the pictures (N, C, H, W), drawn once, are mirrored left to right, and the other half whenever
            ``turn`` is odd: in two epochs each picture is seen both ways (Jordan 2024, arXiv:2404.00498, section 3.6).

    Attributes:
        share: What the last given rows count in the mean of their batch: 1 where one process has all of it.
        whole: Samples of that batch, in all processes.
        turn: Number of the epoch from 0; the loop sets it.

    Raises:
        ShapeError: The fields have different lengths, or there is no sample.

    Example:
        >>> data = Resident(torch.arange(5.0), torch.arange(5), device="cpu", batch_size=2, shuffle=False)
        >>> [y.tolist() for _, y, _ in data]
        [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        weight: Tensor | None = None,
        *,
        device: torch.device | str,
        batch_size: int,
        generator: torch.Generator | None = None,
        shuffle: bool = True,
        part: tuple[int, int] = (0, 1),
        mirror: bool = False,
    ):
        lengths = {len(field) for field in (x, y, weight) if field is not None}
        if len(lengths) != 1 or 0 in lengths:
            raise ShapeError(f"Resident: fields of lengths {sorted(lengths)}; expected one common length above 0.")
        self.x, self.y = x.contiguous().to(device), y.contiguous().to(device)
        self.weight = None if weight is None else weight.contiguous().to(device)
        self.batch_size, self.shuffle = min(batch_size, len(x)), shuffle
        self.generator = generator if generator is not None else torch.Generator().manual_seed(0)
        self.part, self.share, self.whole = part, 1.0, self.batch_size
        self.turn, self.mirrored = 0, None
        if mirror:
            drawn = torch.rand(len(x), generator=self.generator, device=self.generator.device) < 0.5
            self.mirrored = drawn.to(self.x.device)

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self.x) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        count = len(self.x)
        if not self.shuffle:
            for start in range(0, count, self.batch_size):
                part = slice(start, start + self.batch_size)
                yield self.x[part], self.y[part], None if self.weight is None else self.weight[part]
            return
        order = torch.randperm(count, generator=self.generator, device=self.generator.device).to(self.x.device)
        for batch in order.split(self.batch_size):
            rows, self.share, self.whole = own_rows(batch, self.part, self.weight)
            weight = None if self.weight is None else self.weight.index_select(0, rows)
            x = self.x.index_select(0, rows)
            if self.mirrored is not None:
                now = self.mirrored[rows] ^ bool(self.turn % 2)
                x = torch.where(now[:, None, None, None], x.flip(3), x)
            yield x, self.y.index_select(0, rows), weight


def own_rows(rows: Tensor, part: tuple[int, int], weight: Tensor | None) -> tuple[Tensor, float, int]:
    """The rows of a batch that one of several processes takes, what they count in its mean, and the batch's size.

    A batch of fewer rows than processes is taken whole by all of them, so that none has nothing to do.

    Args:
        rows: Row numbers of the batch.
        part: (number, size) of the process.
        weight: Weights of all samples, or None.

    Example:
        >>> own_rows(torch.tensor([4, 2, 9]), (1, 2), None)
        (tensor([9]), 0.3333333333333333, 3)
    """
    number, size = part
    if size == 1:
        return rows, 1.0, len(rows)
    if len(rows) < size:
        return rows, 1 / size, len(rows)
    own = rows.tensor_split(size)[number]
    if weight is None:
        return own, len(own) / len(rows), len(rows)
    total = float(weight[rows].sum())
    return own, float(weight[own].sum()) / total if total else len(own) / len(rows), len(rows)
