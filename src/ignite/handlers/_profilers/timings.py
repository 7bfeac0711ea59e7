"""Measures the time of a run: its data, its step and its handlers."""

from __future__ import annotations

import itertools
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import PurePath
from time import perf_counter, perf_counter_ns
from typing import TYPE_CHECKING, Any

import torch

from ignite._core.calls import name_of, source_location
from ignite.engine import Engine, Events
from ignite.engine.extension import Meter, Step
from ignite.handlers.checkpoint import Checkpoint

if TYPE_CHECKING:
    from ignite.engine import State
    from ignite.engine.extension import Registration

__all__ = [
    "DATA",
    "STEP",
    "CallTimer",
    "Part",
    "RunProfilerBase",
    "Timings",
    "check_engine",
    "name_in_results",
]


class Part:
    """One part of a run: the run itself, its data, its step or a handler.

    A handler's children are nested runs.

    Args:
        name: the name shown in tables and traces.
        kind: "run", "data", "step", "handlers" or "checkpoints".
        event: for a handler, the name of its event.
        track: the number of the engine, in order of the first runs.
    """

    __slots__ = ("_children", "calls", "event", "inner", "kind", "name", "total", "track")

    def __init__(self, name: str, kind: str, event: str = "", track: int = 0) -> None:
        self.name = name
        self.kind = kind
        self.event = event
        self.track = track
        self.calls = 0
        self.total = 0
        """Nanoseconds from start to end, summed over all completed calls."""
        self.inner = 0
        """Nanoseconds of ``total`` that were spent in other parts."""
        self._children: dict[tuple[str, str, str, int], Part] = {}

    def child(self, name: str, kind: str, event: str = "", track: int | None = None) -> Part:
        """Returns the child with this name, kind, event and track; creates it if necessary."""
        track = self.track if track is None else track
        key = (name, kind, event, track)
        if key not in self._children:
            same = sum(
                one.kind == kind == "run" and known[0] == name
                for known, one in self._children.items()
            )
            self._children[key] = Part(f"{name} {same + 1}" if same else name, kind, event, track)
        return self._children[key]

    @property
    def children(self) -> list[Part]:
        """The direct children."""
        return list(self._children.values())

    @property
    def own(self) -> int:
        """Nanoseconds spent in this part only; at least 0, also while a call is still running."""
        return max(0, self.total - self.inner)

    @property
    def sum(self) -> int:
        """Nanoseconds of this part and all its descendants."""
        return self.own + sum(child.sum for child in self._children.values())

    @property
    def path(self) -> str:
        """The name under which a tracker logs this part."""
        return self.kind if self.kind in ("data", "step") else f"{self.kind}/{self.name}"

    def walk(self) -> Iterator[Part]:
        """Yields this part and all its descendants."""
        yield self
        for child in self._children.values():
            yield from child.walk()


class Timings:
    """Measures the parts of a run: total times, and the last slices in a ring buffer.

    Every nanosecond is counted once. The cost is two clock readings, four additions and one entry
    per call.

    Args:
        num_slices: the length of the ring buffer.
        sync: whether to wait for the accelerator at the end of each step.
    """

    def __init__(self, num_slices: int, sync: bool) -> None:
        self.sync = sync
        # Flat: part, start, end, part, ... A tuple per slice would be tracked by the garbage
        # collector.
        self._ring: deque[Any] = deque(maxlen=3 * num_slices)
        self.clear()

    def clear(self) -> None:
        """Resets all timings."""
        self.open = Part("outside", "outside")
        """The innermost part that is running."""
        self._ring.clear()
        self.run = Part("run", "run", track=1)
        self.since: int | None = None
        """Start of the current run in nanoseconds; None between runs."""
        self._engines: list[weakref.ref[Engine[Any, Any]]] = []

    @property
    def slices(self) -> list[tuple[Part, int, int]]:
        """The last completed calls as (part, start, end) in nanoseconds, ordered by end."""
        ring = list(self._ring)
        return list(zip(ring[::3], ring[1::3], ring[2::3], strict=True))

    @property
    def whole(self) -> int:
        """Nanoseconds of all runs since the last reset, including the current one."""
        return self.run.total + (0 if self.since is None else perf_counter_ns() - self.since)

    @contextmanager
    def running(self, engine: Engine[Any, Any]) -> Iterator[None]:
        """Measures a run of ``engine`` in the block."""
        self._track_of(engine)
        with self._slice(self.run), engine.measured(_TimingsMeter(self, self.run)):
            yield

    @contextmanager
    def nested(self, engine: Engine[Any, Any]) -> Iterator[None]:
        """Measures a run of another engine within the current part."""
        name = _short_name(engine.step_function)
        run = self.open.child(name, "run", track=self._track_of(engine))
        with self._slice(run), engine.measured(_TimingsMeter(self, run)):
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
        """Returns the number of an engine, from 1; numbers of deleted engines are reused."""
        known = [ref() for ref in self._engines]
        for wanted in (engine, None):
            for i, one in enumerate(known):
                if one is wanted:
                    self._engines[i] = weakref.ref(engine)
                    return i + 1
        self._engines.append(weakref.ref(engine))
        return len(self._engines)

    def timed(self, part: Part, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps ``function`` so that its time is added to ``part``."""
        timings, now, keep = self, perf_counter_ns, self._ring.extend

        def called(*args: Any, **kwargs: Any) -> Any:
            outer = timings.open
            timings.open = part
            start = now()
            try:
                return function(*args, **kwargs)
            finally:  # _close, inlined: a call would double the cost
                end = now()
                timings.open = outer
                part.calls += 1
                part.total += end - start
                outer.inner += end - start
                keep((part, start, end))

        return called

    def timed_of_one(self, part: Part, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Like ``timed``, for one positional argument: without a tuple and dictionary per call."""
        timings, now, keep = self, perf_counter_ns, self._ring.extend

        def called(argument: Any) -> Any:
            outer = timings.open
            timings.open = part
            start = now()
            try:
                return function(argument)
            finally:
                end = now()
                timings.open = outer
                part.calls += 1
                part.total += end - start
                outer.inner += end - start
                keep((part, start, end))

        return called


class _TimingsMeter(Meter):
    """Replaces the parts of one engine by timed versions.

    Args:
        timings: receives the times.
        run: the part for the runs of that engine.
    """

    def __init__(self, timings: Timings, run: Part) -> None:
        self._timings = timings
        self._run = run

    def handler(
        self, event: Any, entry: Registration, handler: Callable[..., Any]
    ) -> Callable[..., Any]:
        owner = getattr(entry.handler, "__self__", entry.handler)
        if getattr(owner, "_is_profiler", False):
            return handler
        is_checkpoint = isinstance(owner, Checkpoint) or hasattr(type(owner), "saves_runs")
        kind = "checkpoints" if is_checkpoint else "handlers"
        part = self._run.child(_short_name(entry.handler), kind, getattr(event, "name", event))
        # Custom events may be fired with any arguments.
        takes_one = entry.takes_only_engine and isinstance(event, Events)
        return (self._timings.timed_of_one if takes_one else self._timings.timed)(part, handler)

    def step(self, step: Step) -> Step:
        if self._timings.sync:
            step = _synchronized(step)
        return self._timings.timed(self._run.child("step", "step"), step)

    def data(self, begin: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        part = self._run.child("data", "data")
        calls = part.calls
        iterator = self._timings.timed(part, begin)()
        part.calls = calls  # counts batches, not iterators
        # Not a generator: an exception would end it, and it would keep a batch alive while the next
        # is fetched.
        return map(self._timings.timed_of_one(part, next), itertools.repeat(iterator))

    def nested(self, engine: Engine[Any, Any]) -> AbstractContextManager[Any]:
        return self._timings.nested(engine)


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
    return (
        f"lambda at {PurePath(source_location(func)).name}" if name.endswith("<lambda>") else name
    )


def check_engine(engine: Any) -> None:
    """Checks the argument of ``attach``.

    Raises:
        TypeError: ``engine`` is not an engine.
    """
    if not isinstance(engine, Engine):
        raise TypeError(f"Argument engine should be ignite.engine.Engine, but given {type(engine)}")


class RunProfilerBase(ABC):
    """Base of the profilers that measure whole runs; subclasses implement ``_frame``."""

    def attach(self, engine: Engine[Any, Any]) -> None:
        """Measures the runs of ``engine``, starting with the next. Attaching again has no effect.

        Raises:
            TypeError: ``engine`` is not an engine.
        """
        check_engine(engine)
        if self._frame not in engine.run_contexts:
            engine.add_run_context(self._frame)

    @abstractmethod
    def _frame(self, engine: Engine[Any, Any], is_beginning: bool) -> AbstractContextManager[None]:
        """Context manager around each run."""


DATA, STEP = "data", "step"
RecordTime = Callable[[Any, str, int, float], None]


class CallTimer(Meter):
    """Reports the duration of every successful call: a handler, a step, or fetching a batch.

    Args:
        state: the engine's state, for the current epoch and iteration.
        record: called with the event (or DATA, STEP), the handler's name, the index of the event
            and the seconds.
        announce: called with the event and the name of each handler before the first call.
    """

    def __init__(
        self, state: State, record: RecordTime, announce: Callable[[Any, str], None]
    ) -> None:
        self._state = state
        self._record = record
        self._announce = announce
        self._known: list[tuple[Any, Registration]] = []

    def handler(
        self, event: Any, entry: Registration, handler: Callable[..., Any]
    ) -> Callable[..., Any]:
        if getattr(getattr(entry.handler, "__self__", None), "_is_profiler", False):  # times itself
            return handler
        name = name_in_results(entry.handler)
        # The engine asks again whenever another profiler is attached.
        if not any(of == event and known is entry for of, known in self._known):
            self._known.append((event, entry))
            self._announce(event, name)
        return self._timed(event, name, handler)

    def step(self, step: Step) -> Step:
        return self._timed(STEP, "", step)

    def data(self, begin: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        state, record, started = self._state, self._record, perf_counter()
        iterator = begin()
        # Added to the time of the first batch: loaders start their workers here.
        before = perf_counter() - started

        def fetch(iterator: Iterator[Any]) -> Any:
            nonlocal before
            started = perf_counter() - before
            batch, before = next(iterator), 0.0
            record(DATA, "", index_of(DATA, state), perf_counter() - started)
            return batch

        return map(fetch, itertools.repeat(iterator))  # not a generator: an exception would end it

    def _timed(self, event: Any, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        state, record = self._state, self._record

        def called(*args: Any, **kwargs: Any) -> Any:
            index = index_of(event, state)  # before the call: a handler may change the counters
            started = perf_counter()
            result = function(*args, **kwargs)
            record(event, name, index, perf_counter() - started)
            return result

        return called


def index_of(event: Any, state: State) -> int:
    """Returns the epoch or iteration that ``event`` belongs to, from 0."""
    name = getattr(event, "name", event)
    if name.startswith("EPOCH_"):
        return state.epoch - 1
    if name == STEP or name.startswith("ITERATION_"):
        return state.iteration - 1
    if name == DATA or name.startswith("GET_BATCH_"):
        return state.iteration
    return 0


def name_in_results(handler: Callable[..., Any]) -> str:
    """Returns the name in Ignite's results: qualified name, or class name of a callable object."""
    name = getattr(handler, "__qualname__", None)
    return name if isinstance(name, str) else type(handler).__name__
