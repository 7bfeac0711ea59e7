"""Fetching batches: iterators over data, passes and epochs, and the end of the data."""

from __future__ import annotations

import functools
import itertools
import logging
import math
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from ignite._core import pickles
from ignite._core.torch_private import num_yielded, worker_processes
from ignite.engine._cursor import Cursor

if TYPE_CHECKING:
    from ignite.engine._state import State
    from ignite.engine._trace import Meter


def length_of(data: Iterable[Any] | None) -> int | None:
    """Returns ``len(data)``, or None without a length, as for a DataLoader over an iterable dataset."""
    try:
        return len(data)  # type: ignore[arg-type]
    except TypeError:
        return None


def iterate(data: Iterable[Any] | None, meters: tuple[Meter, ...] = ()) -> Iterator[Any]:
    """Returns an iterator over ``data``, wrapped by ``meters``; without data, one that repeats None."""
    if data is None:
        return itertools.repeat(None)
    try:
        return begin(functools.partial(iter, data), meters)
    except Exception as error:
        pickles.explain(data, error)
        raise


def begin(make: Callable[[], Iterator[Any]], meters: tuple[Meter, ...]) -> Iterator[Any]:
    """Returns the iterator of ``make``, wrapped by ``meters``, which also measure the call of ``make``."""
    for meter in meters:
        make = functools.partial(meter.data, make)
    return make()


def begin_passes(data: Any) -> None:
    """Resets the pass number of data that count their passes."""
    if counts_passes(data):
        data.set_epoch(0)


def stay(data: Any, is_inside_pass: bool) -> None:
    """Keeps data at their position, if a run continues within a pass."""
    if counts_passes(data) and is_inside_pass:
        data.load_state_dict(data.state_dict())


def end_pass(data: Any) -> None:
    """Ends a pass early, so that the next epoch, and a resumed run, begin a new one."""
    if counts_passes(data) and hasattr(type(data), "end_pass"):
        data.end_pass()


class Interruption(NamedTuple):
    """The position in the data at which a run has failed."""

    iterator: Iterator[Any] | None
    """None if it has failed, or does not exist yet."""
    num_yielded: int | None
    """Number of batches that it had yielded, if it counts them."""
    position: Any
    """State of data that know their own position."""


LOST = Interruption(None, None, None)


@dataclass
class Source:
    """The data of a run."""

    given: Iterable[Any] | None = None
    """The data given to the last run: after a failure, a run over the same data continues in it."""
    coming: Iterable[Any] | None = None
    """The data of the run that is about to begin."""
    data: Iterable[Any] | None = None
    """The data at the start of the run, or those set in a handler of STARTED."""
    is_set: bool = False
    """Whether a handler of STARTED has set them."""
    interruption: Interruption | None = None
    """The position at which a run has failed."""


def interruption_of(data: Any, iterator: Iterator[Any] | None, is_lost: bool) -> Interruption:
    """Returns the position to continue from; keeps the iterator and its workers alive until then."""
    is_kept = not is_lost or iterator is data
    position = data.state_dict() if counts_passes(data) and iterator is not None else None
    return Interruption(iterator if is_kept else None, num_yielded(iterator), position)


def continue_from(
    interruption: Interruption, data: Any, cursor: Cursor
) -> tuple[bool, Iterator[Any] | None]:
    """Returns whether the position can be restored, and the iterator there; None if a new one must be created."""
    iterator = interruption.iterator
    if iterator is None and interruption is not LOST and not cursor.position_is_lost:
        return True, None
    if iterator is not None and _is_unused_since(iterator, interruption.num_yielded):
        return True, iterator
    if interruption.position is not None:
        data.load_state_dict(interruption.position)
        return True, None
    if repeats_passes(data) and cursor.pass_start is not None:
        cursor.num_to_skip = cursor.iteration - cursor.pass_start
        return True, None
    return hasattr(type(data), "__next__"), None


def _is_unused_since(iterator: Iterator[Any], num_before: int | None) -> bool:
    """Whether an iterator has not been used since, and its workers have survived Ctrl-C."""
    if num_yielded(iterator) != num_before:
        return False
    return all(worker.is_alive() for worker in worker_processes(iterator))


def check_can_go_on(data: Any) -> None:
    """Checks the data of a run that continues after a failure.

    Raises:
        ValueError: the data are a generator, which the exception has ended.
    """
    if getattr(data, "gi_frame", data) is None:
        raise ValueError(
            "data should provide the rest of the epoch in which the run has failed, but given a generator that has "
            "ended with the exception. Pass a new one to run(), which then starts again"
        )


def is_same(data: Any, other: Any) -> bool:
    """Whether two runs have the same data: one object, or sequences with the same items."""
    if data is other:
        return True
    if type(data) is not type(other) or not isinstance(data, Sequence) or len(data) != len(other):
        return False
    if isinstance(data, str | bytes | range):
        return bool(data == other)
    return all(one is two or _is_equal(one, two) for one, two in zip(data, other, strict=True))


def _is_equal(one: Any, two: Any) -> bool:
    return isinstance(one, int | float | str | bytes) and type(one) is type(two) and one == two


def repeats_passes(data: Any) -> bool:
    """Whether all passes over the data, or those of equal number, have the same ``len(data)`` batches."""
    return isinstance(data, Sequence) or bool(getattr(type(data), "passes_can_be_repeated", False))


class PassNotifier:
    """Calls ``set_epoch`` of samplers and datasets at the start of each pass, so that each pass has another order.

    Objects on which the program calls ``set_epoch`` itself are left alone for the whole run: their
    ``epoch`` differs from the last value set here, possibly before the run. Objects without a
    readable ``epoch`` are left alone, too, except loaders of this library.

    Args:
        data: the data at the start of a run.
    """

    def __init__(self, data: Any) -> None:
        self._pass = -1
        self._has_warned = False
        self._own = {id(target) for target in _targets_in(data) if _is_set_by_program(target)}

    def repeat_pass(self) -> None:
        """Gives the next pass the number of the current one."""
        self._pass -= 1

    def notify(self, data: Any, epoch: int, logger: logging.Logger) -> None:
        """Notifies of a pass that begins in the epoch with this index.

        Passes are counted within epochs, too.

        Warns once per run that orders change: a program that never calls ``set_epoch`` may rely on
        one order.
        """
        self._pass = max(self._pass + 1, epoch)
        for target in _targets_in(data):
            if id(target) in self._own or _is_set_by_program(target):
                self._own.add(id(target))
                continue
            if self._pass > 0 and not self._has_warned and not repeats_passes(target):
                self._has_warned = True
                logger.warning(_WARNING_OF_ORDER, type(target).__name__)
            if id(target) not in _LAST_SET:
                weakref.finalize(target, _LAST_SET.pop, id(target), None)
            target.set_epoch(self._pass)
            _LAST_SET[id(target)] = getattr(target, "epoch", None)


_WARNING_OF_ORDER = (
    "%s.set_epoch is called with the number of each pass over the data, so that their orders differ, which Ignite left "
    "to the program. To count in another way, or to keep one order, call set_epoch in a handler of "
    "Events.EPOCH_STARTED; for one order with a number above 0"
)
_LAST_SET: dict[int, Any] = {}
"""The last ``epoch`` that any engine has set on samplers and datasets, by ``id``."""


def _is_set_by_program(target: Any) -> bool:
    """Whether ``epoch`` is neither the initial value nor the last one set here."""
    epoch = getattr(target, "epoch", None)
    return epoch != _LAST_SET[id(target)] if id(target) in _LAST_SET else epoch not in (None, 0, -1)


def _targets_in(data: Any) -> list[Any]:
    if data is None or counts_passes(data):
        return []
    batch_sampler = getattr(data, "batch_sampler", None)
    candidates = [
        data,
        batch_sampler,
        getattr(batch_sampler, "sampler", None),
        getattr(data, "sampler", None),
        getattr(data, "dataset", None),
    ]
    found = {id(one): one for one in candidates if callable(getattr(one, "set_epoch", None))}
    weakly_referable = (one for one in found.values() if type(one).__weakrefoffset__)
    return [one for one in weakly_referable if hasattr(one, "epoch") or repeats_passes(one)]


def counts_passes(data: Any) -> bool:
    """Whether data know their position and count their passes."""
    return all(
        callable(getattr(data, name, None))
        for name in ("set_epoch", "state_dict", "load_state_dict")
    )


def ends_epoch(state: State, cursor: Cursor) -> bool:
    """Whether the end of the data ends the epoch; otherwise the data are iterated over again within it.

    The data determine the length of an epoch if it was not given. At the first fetch of an epoch,
    the end of the data belongs to the previous epoch.

    Raises:
        ValueError: the data have no batches.
    """
    num_done = cursor.num_done
    if state.epoch_length is None:
        if num_done == 0 and cursor.end_is_due:
            return False
        if num_done == 0:
            raise ValueError(
                "data should have at least one batch, but its iterator has ended without any"
            )
        state.epoch_length = cursor.planned_length = num_done
        if state.max_iters is not None:
            state.max_epochs = cursor.planned_epochs = math.ceil(state.max_iters / num_done)
        return True
    check_surplus(state, cursor, num_done)
    if cursor.length_is_given or not cursor.is_aligned or num_done == 0:
        return False
    _report_length(cursor, f"ended after {num_done}", state.epoch_length)
    return True


def end_is_open(state: State, cursor: Cursor) -> bool:
    """Whether the current batch may be the last of the epoch, which only the next fetch tells, so that it is kept.

    True for data of unknown or unreliable length.
    """
    if state.epoch_length is None:
        return True
    data: Any = state.dataloader
    if cursor.length_is_given or data is None or repeats_passes(data):
        return False
    if hasattr(type(data), "num_batches_left"):
        return data.num_batches_left() is None
    if not isinstance(data, DataLoader) or isinstance(data.dataset, IterableDataset):
        return True
    samplers = (data.batch_sampler, data.sampler)
    return any(
        not type(sampler).__module__.startswith("torch.")
        for sampler in samplers
        if sampler is not None
    )


_PLAIN = (int, float, str, bytes, type(None))


def may_be_kept(batch: Any) -> bool:
    """Whether a batch may be kept while the next one is fetched: unless it is in the memory of an accelerator."""
    if isinstance(batch, Tensor):
        return bool(batch.is_cpu)
    if isinstance(batch, _PLAIN):
        return True
    if isinstance(batch, tuple | list):
        return all(map(may_be_kept, batch))
    if isinstance(batch, Mapping):
        return all(map(may_be_kept, batch.values()))
    device = getattr(batch, "device", None)
    return device is None or getattr(device, "type", "cpu") == "cpu"


def remembering(iterator: Iterator[Any], last: list[Any]) -> Iterator[Any]:
    """Yields batches, and keeps the latest one in ``last`` if :func:`may_be_kept` allows it."""
    for batch in iterator:
        last[:] = [batch] if may_be_kept(batch) else []
        yield batch
        batch = None  # frees it before the next one is fetched


def check_surplus(state: State, cursor: Cursor, num_done: int) -> None:
    """Warns if the data have more batches than an epoch.

    From then on, the end of the data does not end epochs.
    """
    if state.epoch_length not in (cursor.planned_length, length_of(state.dataloader)):
        cursor.length_is_given = True  # by the program, during the run
    if cursor.end_is_due and num_done > 0 and not cursor.length_is_given:
        cursor.length_is_given = True
        _report_length(cursor, f"has more than {state.epoch_length}", state.epoch_length)


def _report_length(cursor: Cursor, what: str, expected: int | None) -> None:
    if cursor.length_is_reported:
        return
    cursor.length_is_reported = True
    warnings.warn(
        f"An epoch should have {expected} iterations, as the length of the data or its first pass says, but the "
        f"iterator over the data {what}. If this is intended, pass an epoch_length to run()",
        stacklevel=2,
    )


def report_exhausted(state: State) -> None:
    """Warns that the data are exhausted before the run has reached its limit."""
    wanted = (
        state.max_iters
        if state.max_iters is not None
        else (state.epoch_length or 0) * (state.max_epochs or 0)
    )
    if state.iteration >= wanted:
        return
    warnings.warn(
        "Data iterator can not provide data anymore but required total number of iterations to run is not reached: "
        f"{state.iteration} of {wanted} iterations. Pass data to run() that can be iterated over again, or set "
        "engine.state.dataloader to a new iterator in a handler of Events.DATALOADER_STOP_ITERATION",
        stacklevel=2,
    )
