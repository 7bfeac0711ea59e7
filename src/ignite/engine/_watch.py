"""Looking on while an engine runs: each event and each handler that is called, with the time it took."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from ignite._core import clock
from ignite._core.calls import name_of
from ignite.engine._dispatch import Call, Registration

if TYPE_CHECKING:
    from ignite.engine._emitter import Emitter
    from ignite.engine.engine import Engine

Step = Callable[["Engine[Any, Any]", Any], Any]


class Moment(NamedTuple):
    """One firing of an event, or one call of a handler at it."""

    event: str
    epoch: int
    iteration: int
    handler: str | None = None
    """The handler's name; None for the firing itself."""
    seconds: float = 0.0
    """How long the handler took; for the firing, all of its handlers."""

    def __str__(self) -> str:
        where = f"{self.epoch:>4} | {self.iteration:>6} | "
        what = self.event if self.handler is None else f"  -> {self.handler}"
        return f"{where}{what}  {self.seconds * 1e3:.3f} ms"


class Trace:
    """What an engine did while it was watched: a sequence of :class:`Moment`, in the order of things."""

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


class Watcher:
    """Calls handlers in the place of dispatch and reports what it calls to ``tell``."""

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
        """As ``call``, which is :func:`call_handlers` or :func:`call_each`, would have done unwatched."""
        name, state = getattr(event, "name", event), engine.state
        called: list[Moment] = []

        def timed(known: Call) -> Call:
            entry = known[-1]

            @functools.wraps(entry.handler, updated=())
            def handler(*args: Any, **kwargs: Any) -> None:
                started = clock.now()
                try:
                    known[0](*args, **kwargs)
                finally:
                    seconds = clock.now() - started
                    called.append(Moment(name, state.epoch, state.iteration, name_of(entry.handler), seconds))

            return entry._replace(handler=handler).compile()

        firing = (name, state.epoch, state.iteration)  # handlers may move the counters on
        try:
            # A generator, so that a handler added in this firing is still seen.
            call((timed(known) for known in calls), engine, event, count, event_args, event_kwargs)
        finally:
            self.tell(Moment(*firing, seconds=sum(moment.seconds for moment in called)))
            for moment in called:
                self.tell(moment)


@contextmanager
def watched(engine: Emitter, watcher: Watcher) -> Iterator[None]:
    """Has ``watcher`` call the handlers of ``engine``, and afterwards whoever did it before."""
    before = engine._watcher
    engine._watch(watcher)
    try:
        yield
    finally:
        engine._watch(before)


class Meter:
    """Puts something around the parts of a run, such as a clock; this one nothing. Costs nothing where there is none.

    It is asked once, when a run begins or a handler is added, and not at each call.
    """

    def handler(self, event: Any, entry: Registration, handler: Callable[..., Any]) -> Callable[..., Any]:
        """What is called instead of ``handler``, which ``entry`` has put on ``event``."""
        return handler

    def step(self, step: Step) -> Step:
        """What is called instead of the step function."""
        return step

    def data(self, begin: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        """The iterator over the data, which ``begin`` makes."""
        return begin()

    def nested(self, engine: Engine[Any, Any]) -> AbstractContextManager[Any]:
        """Around the run of ``engine`` within a handler, or the step, of the engine that is measured."""
        return nullcontext()


@contextmanager
def measured(engine: Engine[Any, Any], meter: Meter) -> Iterator[None]:
    """Has ``meter`` asked about ``engine``."""
    engine._measure((*engine._meters, meter))
    try:
        yield
    finally:
        engine._measure(tuple(one for one in engine._meters if one is not meter))


def measured_step(engine: Engine[Any, Any]) -> Step:
    """The step function of ``engine``, with its meters around it."""
    step = engine._process_function
    for meter in engine._meters:
        step = meter.step(step)
    return step
