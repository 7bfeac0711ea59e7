"""Ways to inspect an engine: what a run will do, what it does, and whether it works."""

from __future__ import annotations

import copy
import html
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ignite._core.calls import name_of, place_of
from ignite._core.optional import LazyModule
from ignite.engine._cursor import Cursor
from ignite.engine._emitter import Emitter
from ignite.engine._trace import Meter, Trace, Watcher, measured, watched

if TYPE_CHECKING:
    from ignite.engine import _dry_run
    from ignite.engine._dry_run import DryRun
    from ignite.engine._handlers import Registration
else:
    _dry_run = LazyModule("ignite.engine._dry_run")  # with torch's optimizers and more

__all__ = ["Description", "Inspection"]

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


class Inspection(Emitter):
    """Ways to inspect an engine without changing what it does."""

    _cursor: Cursor
    _dataloader_iter: Iterator[Any] | None
    _ended_at: int | None
    _process_function: Callable[..., Any]

    @property
    def step_function(self) -> Callable[..., Any]:
        """The function that the engine calls for each batch.

        Example:
            >>> from ignite.engine import Engine
            >>> def double(engine, batch): return 2 * batch
            >>> Engine(double).step_function is double
            True
        """
        return self._process_function

    @property
    def iteration_in_epoch(self) -> int:
        """How many iterations of the epoch at hand have begun; ``state.iteration`` counts those of all epochs.

        Example:
            >>> from ignite.engine import Engine
            >>> seen = []
            >>> engine = Engine(lambda engine, batch: seen.append(engine.iteration_in_epoch))
            >>> _ = engine.run([0, 0, 0], max_epochs=2)
            >>> seen
            [1, 2, 3, 1, 2, 3]
        """
        return self.state.iteration - self._cursor.epoch_start

    @property
    def is_epoch_length_given(self) -> bool:
        """Whether the length of an epoch was given to ``run``, and is not that of the data."""
        return self._cursor.length_is_given

    @property
    def last_run_ended_at(self) -> int | None:
        """The outermost engine's iteration in which the last run of this one ended, within a handler of it.

        None if this engine has not run within another one. It tells a trainer's handler whether the
        results of an evaluator are new.

        Example:
            >>> from ignite.engine import Engine, Events
            >>> evaluator = Engine(lambda engine, batch: None)
            >>> trainer = Engine(lambda engine, batch: None)
            >>> _ = trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0]))
            >>> _ = trainer.run([0, 0, 0])
            >>> evaluator.last_run_ended_at
            3
        """
        return self._ended_at

    @contextmanager
    def state_kept(self) -> Iterator[None]:
        """Restores the state, the counters and the position in the data after a ``with`` block.

        Objects that attributes of the state refer to are not copied.

        Example:
            >>> from ignite.engine import Engine
            >>> engine = Engine(lambda engine, batch: None)
            >>> with engine.state_kept():
            ...     _ = engine.run([0, 0])
            >>> engine.state.iteration
            0
        """
        state, cursor, batches = (
            dict(vars(self.state)),
            copy.copy(self._cursor),
            self._dataloader_iter,
        )
        try:
            yield
        finally:
            vars(self.state).clear()
            vars(self.state).update(state)
            self._cursor, self._dataloader_iter = cursor, batches
            self._attention = True

    @contextmanager
    def measured(self, meter: Meter) -> Iterator[None]:
        """Wraps the step, the data and the handlers by ``meter`` within a ``with`` block.

        Args:
            meter: a :class:`ignite.engine.extension.Meter`, which is called once for each part.

        Example:
            >>> from ignite.engine import Engine
            >>> from ignite.engine.extension import Meter
            >>> class Louder(Meter):
            ...     def step(self, step):
            ...         return lambda engine, batch: print("step", step(engine, batch))
            >>> engine = Engine(lambda engine, batch: batch)
            >>> with engine.measured(Louder()):
            ...     _ = engine.run([1])
            step 1
        """
        with measured(self, meter):  # type: ignore[arg-type]
            yield

    def describe(self) -> Description:
        """Describes a run: its events in order, each with its handlers.

        Text, or HTML in a notebook.
        """
        return Description(self)

    def dry_run(self, data: Iterable[Any] | None = None, batches: int = 2) -> DryRun:
        """Tries everything once, in seconds, to find errors before a long run, and undoes its effects.

        Runs a few batches and calls every handler at least once, whatever its filter: validation
        over a few batches, checkpoints, which are read back, and loggers. A handler that fails does
        not keep the others from being called. The library writes its files to a temporary folder.

        Afterwards, the model, the optimizer, random generators, counters, handlers and metrics are
        restored, and so are containers and variables that handlers use. Whatever the step or your
        handlers write outside of the program, print, or take from an iterator is not undone.

        Needs host memory for a copy of the model and the optimizer.

        Args:
            data: as for :meth:`run`.
            batches: maximum number of batches for each engine.

        Returns:
            What was called, how often and how long; ``print`` it.

        Raises:
            DryRunError: something has failed: a group of all exceptions, each with a note that says
                where. With several processes, the first exception is raised at once instead.
            ValueError: ``data`` is an iterator, or ``batches`` is not positive.
            RuntimeError: the engine is running.

        Example:
            >>> from ignite.engine import Engine, Events
            >>> trainer, seen = Engine(lambda engine, batch: batch), []
            >>> @trainer.on(Events.ITERATION_COMPLETED(every=1000))
            ... def note(engine):
            ...     seen.append(engine.state.outputs)
            >>> trainer.dry_run(range(10_000))  # doctest: +IGNORE_EXCEPTION_DETAIL
            Traceback (most recent call last):
            ignite.exceptions.DryRunError: ... AttributeError: 'State' object has no attribute 'outputs'
        """
        return _dry_run.dry_run(self, data, batches)  # type: ignore[arg-type]

    @contextmanager
    def trace(self) -> Iterator[Trace]:
        """Records each event and each call of a handler, with its time, within a ``with`` block.

        Example:
            >>> from ignite.engine import Engine
            >>> engine = Engine(lambda engine, batch: None)
            >>> with engine.trace() as trace:
            ...     _ = engine.run([0])
            >>> [event for event, epoch, iteration in trace.events][:2]
            ['STARTED', 'EPOCH_STARTED']
        """
        trace = Trace()
        with watched(self, Watcher(trace.moments.append)):
            yield trace

    def debug(self, enabled: bool = True) -> None:
        """Logs each event and each call of a handler, with its time, to ``engine.logger`` at level INFO."""
        self._watch(Watcher(lambda moment: self.logger.info("%s", moment)) if enabled else None)


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
            yield _Row(depth, f"step: {name_of(step)}", place_of(step))
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
            place_of(entry.handler),
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
