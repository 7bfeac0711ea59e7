"""What a loader takes its batches of indices from, when it can be put to any position."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from ignite.data._draws import cut_stream, draw, has_length
from ignite.data._indices import tag
from ignite.data._mixing import mix
from ignite.data._position import Position
from ignite.data.order import Cutting

__all__ = ["Batches", "Indexer", "OwnBatches", "StreamedBatches"]


class Batches(Protocol):
    """Batches of indices of all passes. Implemented by ``ShardedBatchSampler`` and the two classes below."""

    seed: int

    def batches(self, epoch: int, num_seen: int = 0) -> Iterator[Any]:
        """The batches of this process in a pass, after ``num_seen`` samples."""
        ...

    def __len__(self) -> int: ...


class StreamedBatches:
    """Cut from the indices of a sampler that does not know how many it has.

    Args:
        sampler: gives indices, the same in all processes.
        seed: what it draws with.
        cutting: sizes and shares.
    """

    def __init__(self, sampler: Iterable[Any], seed: int, cutting: Cutting) -> None:
        self.sampler = sampler
        self.seed = seed
        self.cutting = cutting

    def batches(self, epoch: int, num_seen: int = 0) -> Iterator[list[Any]]:
        return cut_stream(draw(self.sampler, self.seed, epoch), self.cutting, num_seen)

    def __len__(self) -> int:
        raise TypeError(f"{type(self.sampler).__name__} has no length")


class OwnBatches:
    """The batches of the user's own batch sampler, which are not cut; ``num_seen`` counts batches here.

    Args:
        batch_sampler: gives batches of indices, those of this process only.
        seed: what it draws with.
    """

    def __init__(self, batch_sampler: Iterable[Any], seed: int) -> None:
        self.batch_sampler = batch_sampler
        self.seed = seed

    def batches(self, epoch: int, num_seen: int = 0) -> Iterator[Any]:
        return itertools.islice(draw(self.batch_sampler, self.seed, epoch), num_seen, None)

    def __len__(self) -> int:
        return len(self.batch_sampler)  # type: ignore[arg-type]


class Indexer:
    """The batch sampler, or sampler, of a loader that is iterated over again and again, each time from another place.

    Args:
        batches: where they come from.
        is_single: whether the loader takes one index at a time, as with ``batch_size=None``.
        is_understood: whether its data set understands indices that are no lists, but know their batch.
        num_recent: how many batches a loader may have asked for without having delivered them.
    """

    def __init__(self, batches: Batches, is_single: bool, is_understood: bool, num_recent: int) -> None:
        self._batches = batches
        self._is_single = is_single
        self._is_understood = is_understood
        self._pass_seed = 0
        self._start = Position()
        self._source: Iterator[Any] = iter(())
        # Numbers and indices of the last batches, and how many samples there were up to each, in this process.
        self.recent: deque[tuple[int, Any, int]] = deque(maxlen=num_recent)

    def arm(self, start: Position, seed: int) -> None:
        """Says where the next iteration begins, and what the seeds of its batches are made from."""
        self._start = start
        self._pass_seed = mix(seed, start.epoch)
        own = isinstance(self._batches, OwnBatches)
        # Drawn here and not in the generator below: numpy's compiled functions let a generator that calls them keep the
        # exception that is handled meanwhile, such as the end of the pass before, and with it all of that pass.
        self._source = (
            iter(())
            if start.is_complete
            else self._batches.batches(start.epoch, start.num_batches if own else start.num_samples)
        )
        self.recent.clear()

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        # A loader with workers makes two iterators for a pass, and uses the second.
        start, recent, pass_seed, understood = self._start, self.recent, self._pass_seed, self._is_understood
        total = 0
        for number, batch in enumerate(self._source, start=start.num_batches):
            total += len(batch) if has_length(batch) else 1
            if self._is_single:
                batch = batch[0]
            recent.append((number, batch, total))
            if understood:
                yield tag(batch, start.epoch, mix(pass_seed, number))
            elif type(batch) is list:
                yield tag(batch, start.epoch, 0)
            else:
                yield batch
