"""Batches of indices, cut from the one order of samples; can be put to any position, for any number of processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch.utils.data import Sampler

from ignite.data._draws import DrawnOrder
from ignite.data.order import Cutting, SampleOrder, cut

__all__ = ["ShardedBatchSampler"]


class ShardedBatchSampler(Sampler[list[int]]):
    """Gives each process its batches of indices, without padding and without leaving samples out.

    Which samples a pass has, and in which order, is a function of the seed and the number of the pass; which of them
    come next, of how many all processes have seen. So a pass can be stopped and gone on with anywhere, and with
    another number of processes. See :class:`~ignite.data.order.Cutting` for how batches are cut.

    Args:
        num_samples_or_sampler: how many samples there are; or a sampler whose indices are drawn once for a pass, in
            private random state, and then cut. It has to draw the same in all processes.
        batch_size: samples in a batch of one process.
        shuffle: whether each pass has an order of its own; of no meaning with a sampler.
        seed: the same in all processes.
        rank: number of this process.
        world_size: number of processes.
        drop_last: leave out the last batch of all processes if it is incomplete.

    State:
        ``epoch``, ``num_seen`` (by all processes, of the samples in this pass), ``seed``, ``num_samples``. A loader
        with workers asks for batches before it delivers them, and those count as seen: to save what has been
        delivered, use :func:`~ignite.data.resumable`.

    Example:
        >>> sampler = ShardedBatchSampler(5, batch_size=2, shuffle=False)
        >>> list(sampler), len(sampler)
        ([[0, 1], [2, 3], [4]], 3)
        >>> sampler.load_state_dict(sampler.state_dict() | {"num_seen": 2})
        >>> list(sampler)
        [[2, 3], [4]]
    """

    def __init__(
        self,
        num_samples_or_sampler: int | Iterable[Any],
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
    ) -> None:
        self.cutting = Cutting(batch_size, rank, world_size, drop_last)
        self.order: SampleOrder | DrawnOrder
        if isinstance(num_samples_or_sampler, int):
            self.order = SampleOrder(num_samples_or_sampler, seed, shuffle)
        else:
            self.order = DrawnOrder(num_samples_or_sampler, seed)
        self.epoch = 0
        self._num_seen = 0
        self._resumes_at = 0

    @property
    def seed(self) -> int:
        """What the order of each pass is made from."""
        return self.order.seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self.order.seed = seed

    def set_epoch(self, epoch: int) -> None:
        """Says which pass comes next; a loaded position in this same pass is kept."""
        if epoch != self.epoch:
            self.epoch, self._num_seen, self._resumes_at = epoch, 0, 0

    def __len__(self) -> int:
        """Batches of this process in a whole pass."""
        return self.cutting.num_batches(self.order.num_samples)

    def __iter__(self) -> Iterator[list[int]]:
        return self._give()

    def _give(self) -> Iterator[list[int]]:
        # At the first batch, not at iter(): a loader with workers makes two iterators, and uses the second.
        num_seen, self._resumes_at = self._resumes_at, 0
        for i, batch in enumerate(self.batches(self.epoch, num_seen), start=1):
            self._num_seen = self.num_seen_after(num_seen, i)
            yield batch

    def batches(self, epoch: int, num_seen: int = 0) -> Iterator[list[Any]]:
        """The batches of a pass from a position on; changes nothing here."""
        return cut(self.order.of(epoch), self.cutting, num_seen)

    def num_seen_after(self, num_seen: int, num_batches: int) -> int:
        """How many samples all processes have seen, ``num_batches`` batches after they had seen ``num_seen``."""
        return num_seen + self.cutting.num_seen(self.order.num_samples - num_seen, num_batches)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers; see the class."""
        return {
            "epoch": self.epoch,
            "num_seen": self._num_seen,
            "seed": self.seed,
            "num_samples": self.order.num_samples,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on, in the next iteration, where the state was taken.

        Raises:
            ValueError: it is of another number of samples.
        """
        if state_dict["num_samples"] != self.order.num_samples:
            raise ValueError(
                f"num_samples of the state should be {self.order.num_samples}, as many as there are now, "
                f"but given {state_dict['num_samples']}"
            )
        self.epoch, self.seed = state_dict["epoch"], state_dict["seed"]
        self._num_seen = self._resumes_at = state_dict["num_seen"]
