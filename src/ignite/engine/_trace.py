"""Observes a running engine: traces of events and handlers with their times, and meters around its parts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from ignite._core import clock
from ignite._core.calls import name_of
from ignite.engine._handlers import Call, Registration

__all__ = ["Meter", "Moment", "Step", "Trace", "Watcher", "timed_call"]

Step = Callable[[Any, Any], Any]
"""A step function: ``step(engine, batch) -> output``."""


class Moment(NamedTuple):
    """One firing of an event, or one call of a handler at it."""

    event: str
    epoch: int
    iteration: int
    handler: str | None = None
    """Name of the handler; None for the firing itself."""
    seconds: float = 0.0
    """Time that the handler took; for the firing, the sum over its handlers."""

    def __str__(self) -> str:
        where = f"{self.epoch:>4} | {self.iteration:>6} | "
        what = self.event if self.handler is None else f"  -> {self.handler}"
        return f"{where}{what}  {self.seconds * 1e3:.3f} ms"


class Trace:
    """What an engine did while it was traced: a sequence of :class:`Moment`, in order."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []

    @property
    def events(self) -> list[tuple[str, int, int]]:
        """``(event, epoch, iteration)`` for each firing."""
        return [moment[:3] for moment in self.moments if moment.handler is None]

    def __iter__(self) -> Iterator[Moment]:
        return iter(self.moments)

    def __len__(self) -> int:
        return len(self.moments)

    def __str__(self) -> str:
        return "\n".join(map(str, self.moments))


def timed_call(
    known: Call,
    record: Callable[[Registration, float], None],
    context: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Call:
    """Returns a call whose handler runs within ``context``, and whose time is passed to ``record``."""
    handler, entry = known[0], known[-1]

    @functools.wraps(entry.handler, updated=())
    def timed(*args: Any, **kwargs: Any) -> None:
        started = clock.now()
        try:
            with context():
                handler(*args, **kwargs)
        finally:
            record(entry, clock.now() - started)

    return (timed, *known[1:-1], entry._replace(handler=timed))


class Watcher:
    """Calls handlers instead of the dispatch, and reports each call to ``tell``."""

    def __init__(self, tell: Callable[[Moment], None]) -> None:
        self.tell = tell

    def call(
        self,
        call: Callable[..., None],
        calls: Iterable[Call],
        engine: Any,
        event: Any,
        count: int,
        event_args: tuple[Any, ...],
        event_kwargs: Mapping[str, Any],
    ) -> None:
        """Calls handlers by ``call``, which is :func:`call_handlers` or :func:`call_each`."""
        name, state = getattr(event, "name", event), engine.state
        called: list[Moment] = []

        def record(entry: Registration, seconds: float) -> None:
            handler = name_of(entry.handler)
            called.append(Moment(name, state.epoch, state.iteration, handler, seconds))

        firing = (name, state.epoch, state.iteration)  # handlers may change the counters
        try:
            # A generator, so that it includes handlers added during this firing.
            timed = (timed_call(known, record) for known in calls)
            call(timed, engine, event, count, event_args, event_kwargs)
        finally:
            self.tell(Moment(*firing, seconds=sum(moment.seconds for moment in called)))
            for moment in called:
                self.tell(moment)


class Meter:
    """Wraps the parts of a run, for example to measure their time. This base class wraps nothing.

    Methods are called once, when a run begins or a handler is added, and not at each call of what
    they wrap.
    """

    def handler(
        self, event: Any, entry: Registration, handler: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Returns what is called instead of ``handler``, which ``entry`` has added to ``event``."""
        return handler

    def step(self, step: Step) -> Step:
        """Returns what is called instead of the step function."""
        return step

    def data(self, begin: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        """Returns the iterator over the data, which ``begin`` creates."""
        return begin()

    def nested(self, engine: Any) -> AbstractContextManager[Any]:
        """Returns the context of a run of ``engine`` within a handler or the step of the measured engine."""
        return nullcontext()
