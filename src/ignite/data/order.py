"""The order of samples, and how it is split into batches, as pure functions of plain numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ignite._core.rng import mix

__all__ = ["Cutting", "SampleOrder", "cut"]

# Indices of shape (N,). A tensor is sliced, and never converted to a list as a whole.
Order: TypeAlias = Tensor | Sequence[Any]

_NUM_AT_ONCE = (
    4096  # indices converted to Python numbers together; makes the cost of slicing negligible
)


class SampleOrder:
    """The order of the samples in each epoch: a pure function of the seed and the epoch.

    Args:
        num_samples: number of samples.
        seed: seed for shuffling.
        shuffle: whether to shuffle in each epoch; if not, the order is always 0, 1, 2, ...

    Raises:
        ValueError: ``num_samples`` is negative.

    Example:
        >>> order = SampleOrder(4, seed=1)
        >>> order.of(epoch=0).tolist() == order.of(epoch=0).tolist(), sorted(order.of(epoch=1).tolist())
        (True, [0, 1, 2, 3])
        >>> SampleOrder(4, shuffle=False).of(epoch=7)
        range(0, 4)
    """

    def __init__(self, num_samples: int, seed: int = 0, shuffle: bool = True) -> None:
        if num_samples < 0:
            raise ValueError(f"num_samples should be at least 0, but given {num_samples}")
        self.num_samples = num_samples
        self.seed = seed
        self.shuffle = shuffle

    def of(self, epoch: int) -> Order:
        """Returns the indices for an epoch: int64 of shape (N,), or a range without shuffling."""
        if not self.shuffle:
            return range(self.num_samples)
        generator = torch.Generator().manual_seed(mix(self.seed, epoch))
        return torch.randperm(self.num_samples, generator=generator)


@dataclass(frozen=True)
class Cutting:
    """Splits an order of samples into batches and shards them over processes.

    After ``num_seen`` samples, the next ``batch_size * world_size`` samples of the order are the
    next global batch, of which each process gets an equal, contiguous part. All processes get the
    same number of batches:

    - A remainder smaller than a global batch is distributed as evenly as possible.
    - A remainder with fewer samples than processes is added to the global batch before it. The
      sizes of the parts differ by at most one.
    - If there is no batch before it, some processes get no batch. Only in this case the number of
      batches differs.

    So no sample is seen twice, and none is dropped, unless ``drop_last`` drops the last incomplete
    global batch.

    Args:
        batch_size: samples per batch and process.
        rank: rank of this process.
        world_size: number of processes that share the samples.
        drop_last: whether to drop the last global batch if it is incomplete.

    Raises:
        ValueError: ``batch_size`` or ``world_size`` is not positive, or ``rank`` not below
            ``world_size``.

    Example:
        >>> [list(cut(range(10), Cutting(2, rank, world_size=2))) for rank in (0, 1)]
        [[[0, 1], [4, 5], [8]], [[2, 3], [6, 7], [9]]]
        >>> [list(cut(range(9), Cutting(2, rank, world_size=2))) for rank in (0, 1)]
        [[[0, 1], [4, 5, 6]], [[2, 3], [7, 8]]]
    """

    batch_size: int
    rank: int = 0
    world_size: int = 1
    drop_last: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size should be at least 1, but given {self.batch_size}")
        if self.world_size < 1:
            raise ValueError(f"world_size should be at least 1, but given {self.world_size}")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(
                f"rank should be from 0 to {self.world_size - 1}, but given {self.rank}"
            )

    @property
    def global_size(self) -> int:
        """Number of samples in a batch over all processes."""
        return self.batch_size * self.world_size

    def split(self, num_left: int) -> tuple[int, int]:
        """Returns the number of full global batches, and the size of a smaller or larger last one, or 0."""
        num_full, rest = divmod(max(num_left, 0), self.global_size)
        if rest == 0 or self.drop_last:
            return num_full, 0
        if rest < self.world_size and num_full > 0:
            return num_full - 1, self.global_size + rest
        return num_full, rest

    def num_batches(self, num_left: int) -> int:
        """Returns the number of batches that this process gets from ``num_left`` samples."""
        num_full, last_size = self.split(num_left)
        low, high = self.share(last_size)
        return num_full + (high > low)

    def num_seen(self, num_left: int, num_batches: int) -> int:
        """Returns how many of ``num_left`` samples have been seen after ``num_batches`` batches."""
        num_full, last_size = self.split(num_left)
        if num_batches <= num_full:
            return num_batches * self.global_size
        return num_full * self.global_size + last_size

    def spans(self, num_samples: int, num_seen: int = 0) -> Iterator[tuple[int, int]]:
        """Iterates over begin and end of the batches of this process, after ``num_seen`` samples."""
        num_full, last_size = self.split(num_samples - num_seen)
        size, end = self.global_size, num_seen + num_full * self.global_size
        low, high = self.share(size)
        full = zip(
            range(num_seen + low, end + low, size),
            range(num_seen + high, end + high, size),
            strict=True,
        )
        low, high = self.share(last_size)
        return chain(full, [(end + low, end + high)] if high > low else [])

    def share(self, size: int) -> tuple[int, int]:
        """Returns begin and end of this process's part in a global batch of ``size`` samples."""
        base, num_larger = divmod(size, self.world_size)
        low = self.rank * base + min(self.rank, num_larger)
        return low, low + base + (self.rank < num_larger)


def cut(order: Order, cutting: Cutting, num_seen: int = 0) -> Iterator[list[Any]]:
    """Yields the batches of indices of one process, after ``num_seen`` samples of all processes.

    Skipping samples takes no time.

    Args:
        order: indices of all samples, the same in all processes.
        cutting: batch size and sharding.
        num_seen: number of samples that all processes together have seen in this epoch.
    """
    num_full, last_size = cutting.split(len(order) - num_seen)
    size = cutting.global_size
    low, high = cutting.share(size)
    rows_at_once = max(1, _NUM_AT_ONCE // size)
    for row in range(0, num_full, rows_at_once):
        num_rows = min(rows_at_once, num_full - row)
        begin = num_seen + row * size
        if isinstance(order, Tensor):
            yield from (
                order[begin : begin + num_rows * size].view(num_rows, size)[:, low:high].tolist()
            )
        else:
            for start in range(begin, begin + num_rows * size, size):
                yield list(order[start + low : start + high])
    low, high = cutting.share(last_size)
    if high > low:
        begin = num_seen + num_full * size
        part = order[begin + low : begin + high]
        yield part.tolist() if isinstance(part, Tensor) else list(part)
