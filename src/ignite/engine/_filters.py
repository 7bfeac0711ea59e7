"""Event filters: conditions on the count of an event, which can be compared, combined and printed.

A filter is any callable ``(engine, count) -> bool``. The filters of this module are more specific:
arithmetic filters are sets of counts (:class:`DueAt`), which the dispatch tests without a Python
call; filters with a memory (of time, or of the last firing) create a predicate for each handler by
``bind``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from ignite._core import clock
from ignite._core.calls import accepts, describe_signature, name_of

Filter = Callable[[Any, int], bool]

FOR_EVER = sys.maxsize
"""A count that is never reached.

Comparing with an integer is several times faster than with infinity.
"""


@dataclass(frozen=True, slots=True)
class DueAt:
    """True at the counts in ``counts``."""

    counts: range | frozenset[int]
    words: str

    def __call__(self, engine: Any, count: int) -> bool:
        return count in self.counts

    def __repr__(self) -> str:
        return self.words


@dataclass(frozen=True, slots=True)
class EverySeconds:
    """True if ``seconds`` have passed since it was last true, or since its first call."""

    seconds: float

    def bind(self, event: str) -> Filter:
        started: float | None = None

        def passes(engine: Any, count: int) -> bool:
            nonlocal started
            current = clock.now()
            if started is None:
                started = current
            if current - started < self.seconds:
                return False
            started = current
            return True

        return passes

    def __call__(self, engine: Any, count: int) -> bool:
        raise TypeError(
            "every_seconds needs a memory for each handler: attach the event to an engine"
        )

    def __repr__(self) -> str:
        return f"every_seconds={self.seconds:g}"


@dataclass(frozen=True, slots=True)
class Last:
    """True at the last firing of the event in a run, as far as that is known in advance; see :class:`LastGate`."""

    def bind(self, event: str) -> Filter:
        return lambda engine, count: bool(engine._is_last(event))

    def __call__(self, engine: Any, count: int) -> bool:
        raise TypeError("last=True depends on the event: attach the event to an engine")

    def __repr__(self) -> str:
        return "last=True"


@dataclass(frozen=True, slots=True)
class Combined:
    """All, or any, of several filters. Each is called, so that clocks among them keep time."""

    operator: Callable[[Sequence[bool]], bool]
    parts: tuple[Filter, ...]

    def bind(self, event: str) -> Filter:
        bound = tuple(bind(part, event) for part in self.parts)
        combine = self.operator
        return lambda engine, count: combine([part(engine, count) for part in bound])

    def __call__(self, engine: Any, count: int) -> bool:
        return self.operator([part(engine, count) for part in self.parts])

    def __repr__(self) -> str:
        return (" & " if self.operator is all else ", ").join(map(words, self.parts))


@dataclass(frozen=True, slots=True)
class Not:
    """True if ``part`` is not."""

    part: Filter

    def bind(self, event: str) -> Filter:
        bound = bind(self.part, event)
        return lambda engine, count: not bound(engine, count)

    def __call__(self, engine: Any, count: int) -> bool:
        return not self.part(engine, count)

    def __repr__(self) -> str:
        return f"not ({words(self.part)})"


class LastGate:
    """A condition with ``last=True``, and whether it was false at the latest firing.

    A run may end sooner than planned. Then the latest firing was the last one, and the loop makes
    up for a handler that was not called at it before the run ends.
    """

    def __init__(self, passes: Filter) -> None:
        self._passes = passes
        self.is_owed = False

    def __call__(self, engine: Any, count: int) -> bool:
        passed = self._passes(engine, count)
        self.is_owed = not passed
        return passed


def bind(condition: Filter, event: str) -> Filter:
    """Returns the predicate for one handler of ``event``, with its own memory if it needs one."""
    binder = getattr(condition, "bind", None)
    return condition if binder is None else binder(event)


def make_filter(
    event_filter: Filter | None,
    every: int | None,
    once: int | Sequence[int] | None,
    before: int | None,
    after: int | None,
    last: bool,
    every_seconds: float | None,
) -> Filter | None:
    """Creates the filter of a call such as ``Events.EPOCH_COMPLETED(every=5, last=True)``; None for each firing.

    Raises:
        ValueError: there is no condition, conditions contradict each other, or a value is out of
            range.
        TypeError: ``event_filter`` is not callable.
    """
    in_window = every is not None or before is not None or after is not None
    groups = [event_filter is not None, once is not None, in_window, every_seconds is not None]
    if sum(groups) > 1 or not (any(groups) or last):
        given = {
            "event_filter": event_filter,
            "every": every,
            "once": once,
            "before": before,
            "after": after,
        }
        named = {name: value for name, value in given.items() if value is not None}
        raise ValueError(
            "Only one of the input arguments should be specified, except before, after and every, "
            f"which go together (combine others with & or |), but given {named or 'none'}"
        )
    condition: Filter | None
    if event_filter is not None:
        condition = _check_predicate(event_filter)
    elif once is not None:
        condition = once_filter(once)
    elif every_seconds is not None:
        condition = _every_seconds(every_seconds)
    elif in_window:
        condition = window_filter(every, before, after)
        if condition is None:
            return None  # every=1: each time, so the last time too
    else:
        return Last()
    return Combined(any, (condition, Last())) if last else condition


def window_filter(every: int | None, before: int | None, after: int | None) -> Filter | None:
    """Each ``every``-th count strictly between ``after`` and ``before``, from the first on."""
    if every is not None and not (isinstance(every, Integral) and every > 0):
        raise ValueError(
            f"Argument every should be integer and greater than zero, but given {every!r}"
        )
    for name, bound in (("before", before), ("after", after)):
        if bound is not None and not (isinstance(bound, Integral) and bound >= 0):
            raise ValueError(
                f"Argument {name} should be integer and greater or equal to zero, but given "
                f"{bound!r}"
            )
    bounds = {"every": every, "before": before, "after": after}
    text = ", ".join(f"{name}={value}" for name, value in bounds.items() if value is not None)
    if before is None and after is None:
        assert every is not None
        return None if every == 1 else DueAt(range(0, FOR_EVER, int(every)), text)
    start = int(after or 0) + 1
    stop = int(before) if before is not None else FOR_EVER
    return DueAt(range(start, stop, int(every or 1)), text)


def once_filter(once: int | Sequence[int]) -> Filter:
    """Only the given counts."""
    counts = list(once) if isinstance(once, Sequence) and not isinstance(once, str) else [once]
    if not counts or not all(isinstance(count, Integral) and count > 0 for count in counts):
        raise ValueError(
            "Argument once should either be a positive integer or a list of positive integers, "
            f"got {once!r}"
        )
    return DueAt(frozenset(int(count) for count in counts), f"once={once!r}")


def _every_seconds(seconds: float) -> Filter:
    if not (isinstance(seconds, int | float) and seconds > 0):
        raise ValueError(
            f"Argument every_seconds should be a positive number of seconds, but given {seconds!r}"
        )
    return EverySeconds(float(seconds))


def _check_predicate(predicate: Filter) -> Filter:
    if not callable(predicate):
        raise TypeError(f"Argument event_filter should be a callable, but given {predicate!r}")
    if not accepts(predicate, None, 1):
        raise ValueError(
            f"event_filter {name_of(predicate)} should accept (engine, count), "
            f"but will be called with these two and takes {describe_signature(predicate)}"
        )
    return predicate


def words(condition: Filter) -> str:
    """A filter as the user writes it."""
    return (
        repr(condition)
        if hasattr(condition, "bind") or isinstance(condition, DueAt)
        else name_of(condition)
    )
