"""The timeline of a run: its events with their handlers beforehand, and what happened as it ran."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

from ignite._core import clock
from ignite._core.calls import name_of, source_location
from ignite._core.optional import LazyModule
from ignite.engine._emitter import Emitter
from ignite.engine._handlers import Call, Registration

__all__ = [
    "Description",
    "Meter",
    "Moment",
    "Step",
    "Trace",
    "Watcher",
    "timed_call",
]

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


html = LazyModule("html")

# Events in order, each with its depth in the loop.
_TIMELINE = (
    ("STARTED", 0),
    ("EPOCH_STARTED", 1),
    ("GET_BATCH_STARTED", 2),
    ("DATALOADER_STOP_ITERATION", 2),
    ("GET_BATCH_COMPLETED", 2),
    ("ITERATION_STARTED", 2),
    (None, 2),  # the step
    ("ITERATION_COMPLETED", 2),
    ("TERMINATE_SINGLE_EPOCH", 1),
    ("EPOCH_COMPLETED", 1),
    ("TERMINATE", 0),
    ("COMPLETED", 0),
)


class _Row(NamedTuple):
    """One line: an event, a handler of it, or the step."""

    depth: int
    text: str
    place: str = ""
    is_handler: bool = False


class Description:
    """The events of an engine in order, each with its handlers, their filters and where they are defined.

    ``print`` it, or let a notebook show it.

    Example:
        >>> from ignite.engine import Engine, Events
        >>> engine = Engine(lambda engine, batch: None)
        >>> def save(engine): ...
        >>> _ = engine.add_event_handler(Events.EPOCH_COMPLETED(every=5, last=True), save)
        >>> print(engine.describe())  # doctest: +ELLIPSIS
        Engine
          each epoch
            each iteration
              step: <lambda> ...
            EPOCH_COMPLETED
              - save  [every=5, last=True] ...
    """

    def __init__(self, engine: Emitter) -> None:
        self._title = type(engine).__name__
        self.rows = list(_rows(engine))

    def __str__(self) -> str:
        lines = [self._title]
        for row in self.rows:
            mark = "- " if row.is_handler else ""
            place = f"  ({row.place})" if row.place else ""
            lines.append(f"{'  ' * (row.depth + 1)}{mark}{row.text}{place}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        items = []
        for row in self.rows:
            text = html.escape(row.text)
            body = f"{text} <small>{html.escape(row.place)}</small>" if row.place else text
            tag = "span" if row.is_handler else "b"
            items.append(
                f'<div style="margin-left:{row.depth * 1.5}em"><{tag}>{body}</{tag}></div>'
            )
        return f"<div><b>{html.escape(self._title)}</b>{''.join(items)}</div>"


def _rows(engine: Emitter) -> Iterator[_Row]:
    timeline = [
        (name, depth) for name, depth in _TIMELINE if name is None or engine._tables[name].calls
    ]
    depth_shown = 0
    for name, depth in timeline:
        for level in range(depth_shown + 1, depth + 1):
            yield _Row(level - 1, "each epoch" if level == 1 else "each iteration")
        depth_shown = max(depth_shown, depth)
        if name is None:
            step: Any = getattr(engine, "_process_function", None)
            yield _Row(depth, f"step: {name_of(step)}", source_location(step))
        else:
            yield from _event_rows(engine, name, depth)
    in_order = {name for name, _ in _TIMELINE}
    others = [
        name for name, table in engine._tables.items() if table.calls and name not in in_order
    ]
    if others:
        yield _Row(0, "when fired")
        for name in others:
            yield from _event_rows(engine, name, 1)


def _event_rows(engine: Emitter, name: str, depth: int) -> Iterator[_Row]:
    yield _Row(depth, name)
    for entry in engine._tables[name].entries:
        yield _Row(
            depth + 1,
            _in_words(entry) + _note_of(entry, engine),
            source_location(entry.handler),
            is_handler=True,
        )


def _note_of(entry: Registration, engine: Emitter) -> str:
    """The description of a handler by its own object, if there is one."""
    owner = getattr(entry.handler, "__self__", entry.handler)
    note = getattr(type(owner), "describe_handler", None)
    if note is None:
        return ""
    words = note(owner, engine, getattr(entry.handler, "__name__", "__call__"))
    return f"  {words}" if words else ""


def _in_words(entry: Registration) -> str:
    condition = getattr(entry.event, "filter", None)
    words = name_of(entry.handler)
    if condition is not None:
        words += f"  [{repr(entry.event).partition('(')[2][:-1]}]"
    if entry.priority:
        words += f"  priority {entry.priority:g}"
    return words
