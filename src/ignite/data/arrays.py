"""Batches of arrays in memory: sliced or gathered as a whole, never sample by sample."""

from __future__ import annotations

import atexit
import copy
import os
import queue
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ignite._core.trees import map_leaves
from ignite.data._own_state import HeldState
from ignite.data._passes import Position
from ignite.data.order import Cutting, SampleOrder

__all__ = [
    "ArrayLoader",
]


class ArrayLoader:
    """Iterates over arrays in batches, like a ``DataLoader``, but slices them batch by batch.

    Each ``iter()`` starts the next epoch. Its order depends only on ``seed`` and the epoch, so that
    :func:`~ignite.data.resumable` and ``trainer.run(..., resume=...)`` resume it at no cost. The
    random state of the program is not used. Batches are copies, which a model may change in place.

    Args:
        data: tensors, shape (N, ...), or numpy arrays of numbers, alone or in nested tuples, lists
            and dictionaries, all with the same N. Arrays are not copied.
        batch_size: samples per batch and process.
        shuffle: whether to shuffle in each epoch.
        seed: seed for shuffling, the same in all processes.
        rank: rank of this process.
        world_size: number of processes that share the samples; see
            :class:`~ignite.data.order.Cutting`.
        drop_last: whether to drop the last batch of all processes if it is incomplete.
        prefetch: number of batches that a thread prepares in advance. Useful for accelerators and
            large batches; for small batches, the overhead of the thread outweighs it.
        pin_memory: whether to copy batches to page-locked memory, so that ``x.to(device,
            non_blocking=True)`` does not block. Has no effect without an accelerator.

    Raises:
        TypeError: ``data`` contains something that is neither a tensor nor an array of numbers.
        ValueError: lengths differ, there are no arrays, or one has no dimension of samples.

    Example:
        >>> loader = ArrayLoader({"x": torch.arange(5.0), "y": torch.arange(5)}, batch_size=2)
        >>> [batch["x"].tolist() for batch in loader], len(loader)
        ([[0.0, 1.0], [2.0, 3.0], [4.0]], 3)
    """

    passes_can_be_repeated: ClassVar[bool] = True
    """Whether the same epoch always has the same batches."""

    def __init__(  # noqa: PLR0913 - as many as for a DataLoader
        self,
        data: Any,
        batch_size: int = 32,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        prefetch: int = 0,
        pin_memory: bool = False,
    ) -> None:
        if not isinstance(prefetch, int) or prefetch < 0:
            raise ValueError(
                f"prefetch should be a number of batches, 0 or more, but given {prefetch!r}"
            )
        self.prefetch = prefetch
        self.pin_memory = pin_memory
        self.data = as_tensors(data)
        self.cutting = Cutting(batch_size, rank, world_size, drop_last)
        self.order = SampleOrder(_common_length(self.data), seed, shuffle)
        self._epoch = 0

    @property
    def batch_size(self) -> int:
        """Number of samples per batch and process."""
        return self.cutting.batch_size

    @property
    def is_on_accelerator(self) -> bool:
        """Whether an array is already on an accelerator."""
        return any(tensor.device.type != "cpu" for _, tensor in named_tensors(self.data))

    @property
    def seed(self) -> int:
        """The seed for shuffling."""
        return self.order.seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self.order.seed = seed

    def set_epoch(self, epoch: int) -> None:
        """Sets the number of the next epoch."""
        self._epoch = epoch

    def copy(self) -> ArrayLoader:
        """Returns another loader of the same arrays, which starts with the first epoch."""
        other = copy.copy(self)
        other.order = copy.copy(self.order)
        other._epoch = 0
        return other

    def __len__(self) -> int:
        return self.cutting.num_batches(self.order.num_samples)

    def __iter__(self) -> Iterator[Any]:
        epoch, self._epoch = self._epoch, self._epoch + 1
        return self.batches(epoch)

    def batches(self, epoch: int, num_seen: int = 0) -> Iterator[Any]:
        """Returns an iterator over an epoch after ``num_seen`` samples of all processes.

        Does not change the loader.
        """
        made = self._made(epoch, num_seen)
        if self.pin_memory and torch.accelerator.is_available():
            made = map(_pinned, made)
        return prefetched(made, self.prefetch) if self.prefetch else made

    def _made(self, epoch: int, num_seen: int) -> Iterator[Any]:
        order = self.order.of(epoch)
        take = _gather if isinstance(order, Tensor) else _slice
        devices = {tensor.device for _, tensor in named_tensors(self.data)}
        if isinstance(order, Tensor) and len(devices) == 1:
            order = order.to(devices.pop())  # once, because each copy waits for an accelerator
        for begin, end in self.cutting.spans(self.order.num_samples, num_seen):
            yield take(self.data, order[begin:end])


class ArraySource:
    """An :class:`ArrayLoader` that can start at any position.

    Args:
        loader: the user's loader, which is not changed.
        seed: for the orders, instead of the loader's.
        rank: rank of this process, unless the loader has one.
        world_size: number of processes that share the samples, unless the loader has one.
    """

    sketch: int | None = None  # a pass depends on the seed and the epoch alone
    sketched = "order"

    def __init__(self, loader: ArrayLoader, seed: int | None, rank: int, world_size: int) -> None:
        self._loader = loader.copy()
        if loader.cutting.world_size == 1:
            self._loader.cutting = replace(loader.cutting, rank=rank, world_size=world_size)
        if seed is not None:
            self._loader.seed = seed

    @property
    def seed(self) -> int:
        return self._loader.seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._loader.seed = seed

    def __len__(self) -> int:
        return len(self._loader)

    def fingerprint(self) -> dict[str, Any]:
        cutting = self._loader.cutting
        return {
            "kind": "arrays",
            "length": self._loader.order.num_samples,
            "batch_size": cutting.batch_size,
            "drop_last": cutting.drop_last,
            "world_size": cutting.world_size,
        }

    def begin(self, start: Position) -> Iterator[Any]:
        """Iterates over the batches from ``start`` on."""
        return self._loader.batches(start.epoch, start.num_samples)

    def num_samples_after(self, start: Position, num_batches: int) -> int:
        """Returns the samples seen by all processes in this epoch."""
        return start.num_samples + self._loader.cutting.num_seen(self._num_left(start), num_batches)

    def num_left(self, start: Position) -> int:
        """Returns the number of batches of this process from ``start`` on."""
        return self._loader.cutting.num_batches(self._num_left(start))

    def fit(self, position: Position, saved: Mapping[str, Any], is_changed: bool) -> Position:
        """Adapts a position to the current number of processes."""
        if self._num_left(position) < self._loader.cutting.world_size:
            return replace(position, is_complete=True)
        return position

    def describe(self, number: int) -> str:
        """Describes the contents of a batch in error messages."""
        return f"of arrays in batches of {self._loader.batch_size}"

    def inner_state(self) -> None:
        """Returns None: there is no state besides the position."""
        return

    def held_state(self) -> HeldState:
        """Returns an empty state: arrays have none."""
        return HeldState({})

    def give_up(self, batches: Iterator[Any]) -> None:
        """Does nothing: there are no workers."""

    def _num_left(self, position: Position) -> int:
        return self._loader.order.num_samples - position.num_samples


def _gather(data: Any, rows: Any) -> Any:
    return _map(data, lambda tensor: tensor.index_select(0, rows.to(tensor.device)))


def _slice(data: Any, rows: Any) -> Any:
    return _map(data, lambda tensor: tensor[rows.start : rows.stop].clone())


def _pinned(data: Any) -> Any:
    return _map(data, lambda tensor: tensor.pin_memory() if tensor.device.type == "cpu" else tensor)


def _map(data: Any, func: Callable[[Any], Any], kinds: tuple[type, ...] = (Tensor,)) -> Any:
    if isinstance(data, kinds):
        return func(data)
    if type(data) is tuple:  # the usual case
        return tuple([_map(item, func, kinds) for item in data])
    return map_leaves(data, kinds, func)


def as_tensors(data: Any) -> Any:
    """Converts the numpy arrays in nested containers to tensors.

    Raises:
        TypeError: ``data`` contains something that is neither a tensor nor an array of numbers.
    """

    def convert(leaf: Any) -> Tensor:
        if isinstance(leaf, Tensor):
            return leaf
        try:
            return torch.as_tensor(leaf)
        except TypeError as error:
            error.add_note(
                "data should be tensors or arrays of numbers: encode strings and objects as "
                "numbers first"
            )
            raise

    return _map(data, convert, (Tensor, *_array_types()))


def _array_types() -> tuple[type, ...]:
    """Returns the class of numpy arrays, if numpy is loaded."""
    numpy = sys.modules.get("numpy")
    return () if numpy is None else (numpy.ndarray,)


def _common_length(data: Any) -> int:
    lengths: dict[str, int] = {}

    def note(path: str, leaf: Any) -> None:
        if leaf.ndim == 0:
            raise ValueError(
                f"{path} should have a dimension of samples, shape (N, ...), but given a single "
                "number"
            )
        lengths[path] = len(leaf)

    for path, leaf in named_tensors(data):
        note(path, leaf)
    if not lengths:
        raise ValueError("data should have at least one array, but given none")
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{path} has {length}" for path, length in list(lengths.items())[:5])
        told += ", ..." if len(lengths) > 5 else ""
        raise ValueError(f"All arrays of data should have the same number of samples, but {told}")
    return next(iter(lengths.values()))


def named_tensors(data: Any, path: str = "data") -> Iterator[tuple[str, Tensor]]:
    """Yields all tensors in nested containers with their paths, such as ``data["x"][0]``."""
    if isinstance(data, Tensor):
        yield path, data
    elif isinstance(data, PackedSequence):
        yield path, data.data
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield from named_tensors(value, f"{path}[{key!r}]")
    elif not isinstance(data, str | bytes):  # iterating over a string would never end
        for index, value in enumerate(data):
            yield from named_tensors(value, f"{path}[{index}]")


_BATCH, _ERROR, _END = range(3)


def prefetched(batches: Iterator[Any], num_ahead: int) -> Iterator[Any]:
    """Prefetches up to ``num_ahead + 1`` batches in a thread, and yields them in order.

    The thread starts when the first batch is requested, and ends with the iterator, even if that is
    abandoned early. An error in the thread is raised in place of the batch.

    Args:
        batches: the iterator over batches; only the thread may use it.
        num_ahead: number of batches to queue, at least 1.

    Raises:
        RuntimeError: the iterator is used in a forked process, which does not have the thread.

    Example:
        >>> list(prefetched(iter(range(5)), num_ahead=2))
        [0, 1, 2, 3, 4]
    """
    worker = _Worker(batches, num_ahead)
    _WORKERS.add(worker)
    try:
        while True:
            if not worker.is_here:
                raise RuntimeError(
                    "An iterator with prefetch should be used in the process that created it, but "
                    "this one was forked, and threads are not: create the iterator in the forked "
                    "process"
                )
            kind, value = worker.ready.get()
            if kind == _END:
                return
            if kind == _ERROR:
                raise value
            yield value
            value = None  # frees the batch while waiting for the next one
    finally:
        worker.end()


class _Worker:
    """A thread that prefetches batches."""

    def __init__(self, batches: Iterator[Any], num_ahead: int) -> None:
        self.ready: queue.Queue[tuple[int, Any]] = queue.Queue(num_ahead)
        self._stop = threading.Event()
        self._process = os.getpid()
        self._is_over = False
        # Each thread has a gradient mode of its own.
        work = (batches, self.ready, self._stop, torch.is_grad_enabled())
        self._thread = threading.Thread(
            target=_make, args=work, name="ignite-prefetch", daemon=True
        )
        self._thread.start()

    @property
    def is_here(self) -> bool:
        """Whether this process has the thread.

        A forked process does not, and locks may be held there.
        """
        return os.getpid() == self._process

    def end(self) -> None:
        """Ends the thread and waits for it.

        Does nothing when called again, for instance at shutdown.
        """
        if self._is_over:
            return
        self._is_over = True
        if not self.is_here:
            return
        self._stop.set()
        while not self.ready.empty():  # the thread may be waiting for a free slot
            self.ready.get_nowait()
        # The thread itself may be the one that garbage-collects the iterator.
        if self._thread is not threading.current_thread():
            self._thread.join()


_WORKERS: weakref.WeakSet[_Worker] = weakref.WeakSet()


@atexit.register
def _end_all() -> None:
    """Ends all threads: one that runs torch code while Python shuts down crashes the process."""
    for worker in list(_WORKERS):
        worker.end()


def _make(
    batches: Iterator[Any],
    ready: queue.Queue[tuple[int, Any]],
    stop: threading.Event,
    is_grad_enabled: bool,
) -> None:
    torch.set_grad_enabled(is_grad_enabled)
    try:
        while not stop.is_set():
            ready.put((_BATCH, next(batches)))
    except StopIteration:
        ready.put((_END, None))
    except BaseException as error:
        ready.put((_ERROR, error))
