"""Clocks around the parts of a run, cheap enough to stay on: two readings, four sums and one entry a part."""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import PurePath
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import torch

from ignite._core.calls import name_of, place_of
from ignite.engine._dispatch import WITH_ENGINE
from ignite.engine._watch import Meter, Step, measured
from ignite.engine.events import Events
from ignite.handlers._profiles.parts import Part
from ignite.handlers.checkpoint import Checkpoint

if TYPE_CHECKING:
    from ignite.engine import Engine
    from ignite.engine._dispatch import Registration

__all__ = ["Book"]


class Book:
    """Where each nanosecond is entered: in the sums of its part, and in a ring of the last slices.

    Args:
        num_slices: the length of the ring.
        sync: wait for the accelerator at the end of each step.
    """

    def __init__(self, num_slices: int, sync: bool) -> None:
        self.sync = sync
        # Part, begin and end by turns: a tuple for each would be work for the garbage collector.
        self._ring: deque[Any] = deque(maxlen=3 * num_slices)
        self.clear()

    def clear(self) -> None:
        """Begins anew."""
        self.open = Part("outside", "outside")
        """The innermost part that time is being spent in."""
        self._ring.clear()
        self.run = Part("run", "run", track=1)
        self.since: int | None = None
        """When the run at hand began; None between runs."""
        self._engines: list[weakref.ref[Engine[Any, Any]]] = []

    @property
    def slices(self) -> list[tuple[Part, int, int]]:
        """The last parts that have ended, each with its begin and end in nanoseconds, in the order of their ends."""
        ring = list(self._ring)
        return list(zip(ring[::3], ring[1::3], ring[2::3], strict=True))

    @property
    def whole(self) -> int:
        """Nanoseconds of all runs since the last beginning, the one at hand included."""
        return self.run.total + (0 if self.since is None else perf_counter_ns() - self.since)

    @contextmanager
    def running(self, engine: Engine[Any, Any]) -> Iterator[None]:
        """Around the run that is measured."""
        self._track_of(engine)
        with self._slice(self.run), measured(engine, _Gauge(self, self.run)):
            yield

    @contextmanager
    def nested(self, engine: Engine[Any, Any]) -> Iterator[None]:
        """Around a run within a part of it."""
        name = _short_name(engine._process_function)
        run = self.open.child(name, "run", track=self._track_of(engine))
        with self._slice(run), measured(engine, _Gauge(self, run)):
            yield

    @contextmanager
    def _slice(self, part: Part) -> Iterator[None]:
        outer, self.open = self.open, part
        start = perf_counter_ns()
        if part is self.run:
            self.since = start
        try:
            yield
        finally:
            self._close(part, outer, start, perf_counter_ns())
            if part is self.run:
                self.since = None

    def _close(self, part: Part, outer: Part, start: int, end: int) -> None:
        self.open = outer
        part.calls += 1
        part.total += end - start
        outer.inner += end - start
        self._ring.extend((part, start, end))

    def _track_of(self, engine: Engine[Any, Any]) -> int:
        """A number for each engine that is alive, from 1; that of a deleted one is given away again."""
        known = [ref() for ref in self._engines]
        for wanted in (engine, None):
            for i, one in enumerate(known):
                if one is wanted:
                    self._engines[i] = weakref.ref(engine)
                    return i + 1
        self._engines.append(weakref.ref(engine))
        return len(self._engines)

    def timed(self, part: Part, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, whose time is entered in ``part``."""
        book, now, keep = self, perf_counter_ns, self._ring.extend

        def called(*args: Any, **kwargs: Any) -> Any:
            outer = book.open
            book.open = part
            start = now()
            try:
                return function(*args, **kwargs)
            finally:  # as _close does; a call of it would cost as much as all this
                end = now()
                book.open = outer
                part.calls += 1
                part.total += end - start
                outer.inner += end - start
                keep((part, start, end))

        return called

    def timed_of_one(self, part: Part, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """As ``timed``, for what is called with one argument by position: without a tuple and a dictionary a call."""
        book, now, keep = self, perf_counter_ns, self._ring.extend

        def called(argument: Any) -> Any:
            outer = book.open
            book.open = part
            start = now()
            try:
                return function(argument)
            finally:
                end = now()
                book.open = outer
                part.calls += 1
                part.total += end - start
                outer.inner += end - start
                keep((part, start, end))

        return called


class _Gauge(Meter):
    """Asked by one engine what to call instead of its parts.

    Args:
        book: where time is entered.
        run: the part of that engine's runs.
    """

    def __init__(self, book: Book, run: Part) -> None:
        self._book = book
        self._run = run

    def handler(self, event: Any, entry: Registration, handler: Callable[..., Any]) -> Callable[..., Any]:
        owner = getattr(entry.handler, "__self__", entry.handler)
        if getattr(owner, "_is_profiler", False):
            return handler
        is_checkpoint = isinstance(owner, Checkpoint) or hasattr(owner, "_saves_runs")
        kind = "checkpoints" if is_checkpoint else "handlers"
        part = self._run.child(_short_name(entry.handler), kind, getattr(event, "name", event))
        takes_one = entry.style == WITH_ENGINE and isinstance(event, Events)  # one's own may be fired with anything
        return (self._book.timed_of_one if takes_one else self._book.timed)(part, handler)

    def step(self, step: Step) -> Step:
        if self._book.sync:
            step = _synchronized(step)
        return self._book.timed(self._run.child("step", "step"), step)

    def data(self, begin: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        part = self._run.child("data", "data")
        calls = part.calls
        iterator = self._book.timed(part, begin)()
        part.calls = calls  # which are of batches
        # Not a generator: that would be over after any exception, and would hold a batch while the next is made.
        return map(self._book.timed_of_one(part, next), itertools.repeat(iterator))

    def nested(self, engine: Engine[Any, Any]) -> AbstractContextManager[Any]:
        return self._book.nested(engine)


def _synchronized(step: Step) -> Step:
    def waiting(engine: Engine[Any, Any], batch: Any) -> Any:
        output = step(engine, batch)
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
        return output

    return waiting


def _short_name(func: Callable[..., Any]) -> str:
    name = name_of(func).rpartition("<locals>.")[2]
    # Some trackers refuse names with < or >.
    return f"lambda at {PurePath(place_of(func)).name}" if name.endswith("<lambda>") else name
