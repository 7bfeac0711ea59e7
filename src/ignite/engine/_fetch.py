"""Where batches come from: the iterator over the data, and what happens at its end."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ignite.engine._cursor import Cursor, is_done

if TYPE_CHECKING:
    from ignite.engine._state import State


def length_of(data: Iterable[Any] | None) -> int | None:
    """``len(data)``, or None if it has none; a DataLoader over an iterable data set raises TypeError, too."""
    try:
        return len(data)  # type: ignore[arg-type]
    except TypeError:
        return None


def iterate(data: Iterable[Any] | None) -> Iterator[Any]:
    """An iterator over ``data``; without data, one that gives None for ever."""
    return itertools.repeat(None) if data is None else iter(data)


def ends_epoch(state: State, cursor: Cursor) -> bool:
    """Whether the end of the data, just met, is the end of the epoch; if not, the data begins anew within it.

    The data decides where nobody has said how long an epoch is. At the first fetch of an epoch, its end is that of the
    epoch before.

    Raises:
        ValueError: the data has given no batch at all.
    """
    num_done = state.iteration - cursor.epoch_start
    if state.epoch_length is None:
        if num_done == 0:
            raise ValueError("data should give at least one batch, but its iterator was at its end at once")
        state.epoch_length = num_done
        if state.max_iters is not None:
            state.max_epochs = math.ceil(state.max_iters / num_done)
        return True
    check_surplus(state, cursor, num_done)
    if cursor.length_is_given or not cursor.is_aligned or num_done == 0:
        return False
    _report_length(cursor, f"ended after {num_done}", state.epoch_length)
    return True


def check_surplus(state: State, cursor: Cursor, num_done: int) -> None:
    """Says so if the data had not come to its end with the epoch before. From there on, epochs do not end with it."""
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
    if is_done(state):
        return
    wanted = state.max_iters if state.max_iters is not None else (state.epoch_length or 0) * (state.max_epochs or 0)
    warnings.warn(
        "Data iterator can not provide data anymore but required total number of iterations to run is not reached: "
        f"{state.iteration} of {wanted} iterations. Give run() data that can be iterated over again, or put a new "
        "iterator into engine.state.dataloader in a handler of Events.DATALOADER_STOP_ITERATION",
        stacklevel=2,
    )
