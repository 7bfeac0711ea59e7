"""The one order of samples, and how batches are cut from it.

Pure: plain numbers in and out, no loader, no process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ignite.data.random_state import mix

__all__ = ["Cutting", "SampleOrder", "cut"]

Order: TypeAlias = (
    Tensor | Sequence[Any]
)  # (N,) of indices; a tensor is sliced, and never made a list as a whole

_NUM_AT_ONCE = 4096  # indices that become Python numbers at a time: enough to make the slicing of tensors negligible


class SampleOrder:
    """The order in which a pass goes over the samples: a pure function of the seed and the number of the pass.

    Args:
        num_samples: how many there are.
        seed: another seed gives other orders.
        shuffle: otherwise the order is 0, 1, 2, ... in every pass.

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
        """Indices in the order of this pass: an int64 tensor of shape (N,), or a range if nothing is shuffled."""
        if not self.shuffle:
            return range(self.num_samples)
        generator = torch.Generator().manual_seed(mix(self.seed, epoch))
        return torch.randperm(self.num_samples, generator=generator)


@dataclass(frozen=True)
class Cutting:
    """How an order of samples is cut into batches and shared among processes.

    After ``num_seen`` samples, the next ``batch_size * world_size`` samples of the order are the
    next global batch, of which each process takes an equal, contiguous part. All processes get the
    same number of batches:

    - A remainder that is smaller than a global batch is shared as evenly as possible.
    - A remainder of fewer samples than processes joins the global batch before it. Sizes differ by
      one at most.
    - If there is no batch before it, because no more samples were left at all, some processes get
      none. Only there the number of batches differs.

    So no sample is seen twice, and none is left out unless ``drop_last`` leaves out the last
    incomplete global batch.

    Args:
        batch_size: samples in a batch of one process.
        rank: number of this process, from 0.
        world_size: how many processes share the samples.
        drop_last: leave out the last global batch if it is incomplete.

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
        """Samples in a batch of all processes together."""
        return self.batch_size * self.world_size

    def split(self, num_left: int) -> tuple[int, int]:
        """Into how many global batches of full size, and what size for one last other batch (0: there is none)."""
        num_full, rest = divmod(max(num_left, 0), self.global_size)
        if rest == 0 or self.drop_last:
            return num_full, 0
        if rest < self.world_size and num_full > 0:
            return num_full - 1, self.global_size + rest
        return num_full, rest

    def num_batches(self, num_left: int) -> int:
        """How many batches this process gets from ``num_left`` samples."""
        num_full, last_size = self.split(num_left)
        low, high = self.share(last_size)
        return num_full + (high > low)

    def num_seen(self, num_left: int, num_batches: int) -> int:
        """How many of ``num_left`` samples all processes have seen after ``num_batches`` batches."""
        num_full, last_size = self.split(num_left)
        if num_batches <= num_full:
            return num_batches * self.global_size
        return num_full * self.global_size + last_size

    def spans(self, num_samples: int, num_seen: int = 0) -> Iterator[tuple[int, int]]:
        """Begin and end, in the order of all ``num_samples``, of each batch of this process after ``num_seen``."""
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
        """Begin and end of the part of this process in a global batch of ``size`` samples."""
        base, num_larger = divmod(size, self.world_size)
        low = self.rank * base + min(self.rank, num_larger)
        return low, low + base + (self.rank < num_larger)


def cut(order: Order, cutting: Cutting, num_seen: int = 0) -> Iterator[list[Any]]:
    """Gives the batches of indices of one process, from where ``num_seen`` samples have been seen by all processes.

    Whatever lies before costs nothing.

    Args:
        order: indices of all samples, the same in all processes.
        cutting: sizes and shares.
        num_seen: samples that all processes together have had in this pass.
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
