"""Streamed batches: pictures are read by worker threads while the network learns from those that are here."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from rosenblatt.data.resident import own_rows
from rosenblatt.errors import PictureError, ShapeError

Read = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Row numbers -> pictures (n, H, W, C), and which of the rows they are (unreadable ones may be left out)."""


class Streamed:
    """A data set that does not fit on the device: batches as `Resident` makes them, in the same order for the same seed.

    Threads and not processes: decoding and scaling release the interpreter's lock, nothing is copied between processes,
    and an error in a worker is raised here with its message.

    Args:
        read: Function from row numbers to pictures.
        y: Targets (N,).
        weight: Weights of the samples (N,), or None.
        device: Where the batches are put.
        batch_size: Samples a batch.
        generator: Source of the permutations; its state advances once an epoch.
        shuffle: False keeps the order.
        workers: Threads; None takes one a processor core, at most 16.
        part: As `Resident`; a picture that cannot be read is an error then, since all processes must make equal steps.

    Attributes:
        share, whole: As `Resident`.
        wait_share: Share of the last epoch's time that was spent waiting for pictures: near 0 the network is the
            bottleneck, near 1 the disk or the decoder is.

    Raises:
        ShapeError: The fields have different lengths, or there is no sample.

    Example:
        >>> pictures = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1)
        >>> def read(rows):
        ...     return pictures[rows], rows
        >>> data = Streamed(read, torch.arange(5), device="cpu", batch_size=2, shuffle=False)
        >>> [x.flatten().tolist() for x, _, _ in data]
        [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        read: Read,
        y: Tensor,
        weight: Tensor | None = None,
        *,
        device: torch.device | str,
        batch_size: int,
        generator: torch.Generator | None = None,
        shuffle: bool = True,
        workers: int | None = None,
        part: tuple[int, int] = (0, 1),
    ):
        if not len(y) or (weight is not None and len(weight) != len(y)):
            other = len(y) if weight is None else len(weight)
            raise ShapeError(f"Streamed: {len(y)} targets and {other} weights; expected as many, and some.")
        self.read, self.y, self.weight = read, y, weight
        self.device, self.batch_size, self.shuffle = torch.device(device), min(batch_size, len(y)), shuffle
        self.generator = generator if generator is not None else torch.Generator().manual_seed(0)
        self.workers = workers or min(16, os.cpu_count() or 1)
        self.wait_share = 0.0
        self.part, self.share, self.whole = part, 1.0, self.batch_size

    def __len__(self) -> int:
        """Number of batches."""
        return -(-len(self.y) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        count = len(self.y)
        order = torch.randperm(count, generator=self.generator, device=self.generator.device).cpu()
        whole = (order if self.shuffle else torch.arange(count)).split(self.batch_size)
        mine = [own_rows(rows, self.part, self.weight) for rows in whole]
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="pictures")
        started, waited = time.perf_counter(), 0.0
        try:
            futures = _ahead(pool, self.read, [rows for rows, _, _ in mine], self.workers + 2)
            for future, (rows, self.share, self.whole) in zip(futures, mine, strict=True):
                asked = time.perf_counter()
                pictures, kept = future.result()
                waited += time.perf_counter() - asked
                if self.part[1] > 1 and len(kept) < len(rows):
                    raise PictureError(
                        f"{len(rows) - len(kept)} of {len(rows)} pictures of a batch cannot be read; expected all of them "
                        "on several devices. Remove them first."
                    )
                if len(kept):
                    yield self._batch(pictures, kept)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self.wait_share = waited / max(time.perf_counter() - started, 1e-9)

    def _batch(self, pictures: np.ndarray, kept: np.ndarray) -> tuple[Tensor, Tensor, Tensor | None]:
        rows = torch.from_numpy(kept)
        x, y = torch.from_numpy(pictures).permute(0, 3, 1, 2), self.y[rows]
        weight = None if self.weight is None else self.weight[rows].to(self.device)
        if self.device.type == "cuda":  # pinned memory lets the copy run beside the computation
            x = x.pin_memory()
        return x.to(self.device, non_blocking=True), y.to(self.device), weight


def _ahead(pool: ThreadPoolExecutor, read: Read, rows: Sequence[Tensor], depth: int) -> Iterator[Future]:
    """Futures of all batches in order, ``depth`` of them under way."""
    waiting: deque[Future] = deque()
    for part in rows:
        waiting.append(pool.submit(read, part.numpy()))
        if len(waiting) > depth:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()
