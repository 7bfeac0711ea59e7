"""Where batches come from: the iterator over the data, and what happens at its end."""

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

from ignite.engine._cursor import Cursor

if TYPE_CHECKING:
    from ignite.engine._state import State
    from ignite.engine._trace import Meter


def length_of(data: Iterable[Any] | None) -> int | None:
    """``len(data)``, or None if it has none; a DataLoader over an iterable data set raises TypeError, too."""
    try:
        return len(data)  # type: ignore[arg-type]
    except TypeError:
        return None


def iterate(data: Iterable[Any] | None, meters: tuple[Meter, ...] = ()) -> Iterator[Any]:
    """An iterator over ``data``, seen by ``meters``; without data, one that gives None for ever."""
    return itertools.repeat(None) if data is None else begin(functools.partial(iter, data), meters)


def begin(make: Callable[[], Iterator[Any]], meters: tuple[Meter, ...]) -> Iterator[Any]:
    """The iterator that ``make`` returns, seen by ``meters``, and so is the making of it."""
    for meter in meters:
        make = functools.partial(meter.data, make)
    return make()


def begin_passes(data: Any) -> None:
    """A run begins: data that counts its passes itself begins to count anew."""
    if counts_passes(data):
        data.set_epoch(0)


def stay(data: Any, is_inside_pass: bool) -> None:
    """A run that was left goes on with the same data: behind the batch that it was given last, if it is known which."""
    if counts_passes(data) and is_inside_pass:
        data.load_state_dict(data.state_dict())


def end_pass(data: Any) -> None:
    """An epoch was ended early: what is left of the pass is given up, also in what is saved from here on."""
    if counts_passes(data) and hasattr(type(data), "end_pass"):
        data.end_pass()


class Place(NamedTuple):
    """Where in its data a run was left by a failure."""

    iterator: Iterator[Any] | None
    """None if it has failed, or was not made yet."""
    num_yielded: int | None
    """How many batches it had given, if it counts them."""
    position: Any
    """What data that know their own position say."""


LOST = Place(None, None, None)


@dataclass
class Source:
    """The data of an engine's run, and what is remembered of them."""

    given: Iterable[Any] | None = None
    """What the last run was given: another one over the same goes on in it after a failure."""
    data: Iterable[Any] | None = None
    """What the run began with, or was set in a handler of STARTED."""
    is_set: bool = False
    """Whether it was set there."""
    place: Place | None = None
    """Where a run that has failed was in it."""


def place_of(data: Any, iterator: Iterator[Any] | None, is_lost: bool) -> Place:
    """The place, so that it can be taken up later; the iterator and its workers stay until then."""
    is_kept = not is_lost or iterator is data
    position = data.state_dict() if counts_passes(data) and iterator is not None else None
    return Place(iterator if is_kept else None, getattr(iterator, "_num_yielded", None), position)


def take_up(place: Place, data: Any, cursor: Cursor) -> tuple[bool, Iterator[Any] | None]:
    """Whether the place in the data can be had, and the iterator there, or None if a new one has to be made."""
    iterator = place.iterator
    if iterator is None and place is not LOST and not cursor.place_is_lost:
        return True, None
    if iterator is not None and _is_where_it_was(iterator, place.num_yielded):
        return True, iterator
    if place.position is not None:
        data.load_state_dict(place.position)
        return True, None
    if repeats_passes(data) and cursor.pass_start is not None:
        cursor.num_to_skip = cursor.iteration - cursor.pass_start
        return True, None
    return hasattr(type(data), "__next__"), None


def _is_where_it_was(iterator: Iterator[Any], num_yielded: int | None) -> bool:
    """Whether nobody else has used it, and its workers have not ended with the Ctrl-C that has stopped the run."""
    if getattr(iterator, "_num_yielded", None) != num_yielded:
        return False
    return all(worker.is_alive() for worker in getattr(iterator, "_workers", ()))


def check_can_go_on(data: Any) -> None:
    """Checks data that a run goes on with after it has failed.

    Raises:
        ValueError: it is a generator that was ended by the exception.
    """
    if getattr(data, "gi_frame", data) is None:
        raise ValueError(
            "data should give the rest of the epoch at which the run has failed, but given a generator that has ended "
            "with the exception. Give run() a new one: the run then begins anew"
        )


def is_same(data: Any, other: Any) -> bool:
    """Whether two runs are over the same data: one object, or sequences with the same items."""
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
    """Whether each pass over the data, or each with the same number, has the same batches, as many as ``len`` says."""
    return isinstance(data, Sequence) or bool(getattr(type(data), "passes_can_be_repeated", False))


class EpochTeller:
    """Tells samplers and data sets which pass over the data begins, so that each pass has another order.

    Those that the program tells itself are left alone for the whole run: their ``epoch`` is not what they were told
    here last, be it before the run. Those without a readable ``epoch`` are left alone, too, but for our own loaders.

    Args:
        data: at the beginning of a run.
    """

    def __init__(self, data: Any) -> None:
        self._pass = -1
        self._has_said = False
        self._own = {id(target) for target in _told(data) if _is_told_by_program(target)}

    def take_back(self) -> None:
        """The pass that has begun begins once more."""
        self._pass -= 1

    def tell(self, data: Any, epoch: int, logger: logging.Logger) -> None:
        """A pass begins in the epoch with this index; passes count up also within an epoch.

        Says once a run that orders change, because a program that never calls ``set_epoch`` may count on one order.
        """
        self._pass = max(self._pass + 1, epoch)
        for target in _told(data):
            if id(target) in self._own or _is_told_by_program(target):
                self._own.add(id(target))
                continue
            if self._pass > 0 and not self._has_said and not repeats_passes(target):
                self._has_said = True
                logger.warning(_SAYS_PASS, type(target).__name__)
            if id(target) not in _LAST_TOLD:
                weakref.finalize(target, _LAST_TOLD.pop, id(target), None)
            target.set_epoch(self._pass)
            _LAST_TOLD[id(target)] = getattr(target, "epoch", None)


_SAYS_PASS = (
    "%s.set_epoch is called with the number of each pass over the data, so that their orders differ, which Ignite left "
    "to the program. To count in another way, or to keep one order, call set_epoch in a handler of "
    "Events.EPOCH_STARTED; for one order with a number above 0"
)
_LAST_TOLD: dict[int, Any] = {}
"""The ``epoch`` of samplers and data sets after they were told here, by ``id``; by whichever engine."""


def _is_told_by_program(target: Any) -> bool:
    """Whether ``epoch`` is neither what a new object has nor what was told here last."""
    epoch = getattr(target, "epoch", None)
    return epoch != _LAST_TOLD[id(target)] if id(target) in _LAST_TOLD else epoch not in (None, 0, -1)


def _told(data: Any) -> list[Any]:
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
    can_be_kept_in_mind = (one for one in found.values() if type(one).__weakrefoffset__)
    return [one for one in can_be_kept_in_mind if hasattr(one, "epoch") or repeats_passes(one)]


def counts_passes(data: Any) -> bool:
    """Whether data knows its position and counts the passes over it by itself."""
    return all(callable(getattr(data, name, None)) for name in ("set_epoch", "state_dict", "load_state_dict"))


def ends_epoch(state: State, cursor: Cursor) -> bool:
    """Whether the end of the data, just met, is the end of the epoch; if not, the data begins anew within it.

    The data decides where nobody has said how long an epoch is. At the first fetch of an epoch, its end is that of the
    epoch before.

    Raises:
        ValueError: the data has given no batch at all.
    """
    num_done = cursor.num_done
    if state.epoch_length is None:
        if num_done == 0 and cursor.end_is_due:
            return False
        if num_done == 0:
            raise ValueError("data should give at least one batch, but its iterator was at its end at once")
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
    """Whether any fetch may turn out to be past the last batch of the epoch, so that this one has to be kept for it.

    Data of a length that is unknown, or that is only what they say of themselves.
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
    return any(not type(sampler).__module__.startswith("torch.") for sampler in samplers if sampler is not None)


_PLAIN = (int, float, str, bytes, type(None))


def may_be_kept(batch: Any) -> bool:
    """Whether a batch may be held while the next one is made: unless it is in the memory of an accelerator."""
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
    """Yields what ``iterator`` gives, and puts each batch that may be kept into ``last``, up to the next one."""
    for batch in iterator:
        last[:] = [batch] if may_be_kept(batch) else []
        yield batch
        batch = None  # so that one that may not be kept is gone when the next one is made


def check_surplus(state: State, cursor: Cursor, num_done: int) -> None:
    """Says so if the data had not come to its end with the epoch before. From there on, epochs do not end with it."""
    if state.epoch_length not in (cursor.planned_length, length_of(state.dataloader)):
        cursor.length_is_given = True  # by the program, in the course of the run
    if cursor.end_is_due and num_done > 0 and not cursor.length_is_given:
        cursor.length_is_given = True
        _report_length(cursor, f"has more than {state.epoch_length}", state.epoch_length)


def _report_length(cursor: Cursor, what: str, expected: int | None) -> None:
    if cursor.length_is_reported:
        return
    cursor.length_is_reported = True
    warnings.warn(
        f"An epoch should have {expected} iterations, as the length of the data or its first pass says, but the "
        f"iterator over the data {what}. If that is meant, give run() an epoch_length",
        stacklevel=2,
    )


def report_exhausted(state: State) -> None:
    """Says that the data has nothing more to give, unless nothing more is needed."""
    wanted = state.max_iters if state.max_iters is not None else (state.epoch_length or 0) * (state.max_epochs or 0)
    if state.iteration >= wanted:
        return
    warnings.warn(
        "Data iterator can not provide data anymore but required total number of iterations to run is not reached: "
        f"{state.iteration} of {wanted} iterations. Give run() data that can be iterated over again, or put a new "
        "iterator into engine.state.dataloader in a handler of Events.DATALOADER_STOP_ITERATION",
        stacklevel=2,
    )
