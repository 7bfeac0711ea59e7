"""A run of a few batches that calls every handler at least once, and undoes its effects."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ignite import distributed as idist
from ignite._core import clock
from ignite._core.calls import name_of
from ignite.engine import _fetch
from ignite.engine._cursor import Cursor
from ignite.engine._emitter import add_note, call_handlers
from ignite.engine._handlers import Call, Registration
from ignite.engine._trace import Meter, Step, Watcher, timed_call
from ignite.engine.backup import backed_up
from ignite.engine.resume.belongings import collect
from ignite.exceptions import DryRunError

if TYPE_CHECKING:
    from ignite.engine._emitter import Emitter

__all__ = ["Called", "DryRun", "dry_run"]

# Events that every run fires, in their order.
_OF_EACH_RUN = (
    "STARTED", "EPOCH_STARTED", "GET_BATCH_STARTED", "GET_BATCH_COMPLETED",
    "ITERATION_STARTED", "ITERATION_COMPLETED", "EPOCH_COMPLETED", "COMPLETED",
)  # fmt: skip
# Their handlers respond to something that has not happened in a dry run.
_NEVER_MADE_UP = ("EXCEPTION_RAISED", "INTERRUPT", "TERMINATE", "TERMINATE_SINGLE_EPOCH")


class Called(NamedTuple):
    """How often a handler of an engine, or its step, was called, and how long it took."""

    engine: str
    event: str
    handler: str
    calls: int
    seconds: float


class DryRun:
    """What a dry run has called: a sequence of :class:`Called`, by engine and event; ``print`` it.

    Attributes:
        not_called: handlers of events that no run fires by itself, such as EXCEPTION_RAISED.
    """

    def __init__(self, rows: Sequence[Called], batches: int) -> None:
        self._rows = [row for row in rows if row.calls]
        self.not_called = [row for row in rows if not row.calls]
        self._batches = batches

    def __iter__(self) -> Iterator[Called]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __str__(self) -> str:
        rows = [*self._rows, *self.not_called]
        widths = [
            max(map(len, column), default=0)
            for column in zip(*(row[:3] for row in rows), strict=True)
        ]
        lines = [
            f"Dry run of {self._batches} batches: {len(self._rows)} called, {len(self.not_called)} "
            "not"
        ]
        for row in rows:
            place = "  ".join(
                f"{text:{width}}" for text, width in zip(row[:3], widths, strict=True)
            )
            how = (
                f"{row.calls:3} x {row.seconds / row.calls * 1e3:8.2f} ms"
                if row.calls
                else "not called"
            )
            lines.append(f"  {place}  {how}")
        return "\n".join(lines)


def dry_run(engine: Emitter, data: Iterable[Any] | None, batches: int) -> DryRun:
    """See :meth:`ignite.engine.Engine.dry_run`."""
    if not isinstance(batches, int) or batches < 1:
        raise ValueError(f"batches should be a positive integer, but given {batches!r}")
    if isinstance(data, Iterator):
        raise ValueError(
            "data should start from its beginning each time it is iterated over, but given an "
            "iterator, whose first batches would be lost: pass the object that it iterates over"
        )
    if engine._is_running:
        raise RuntimeError(
            "dry_run() should be called on an engine that is not running, but this one is"
        )
    given = {} if engine._keeper is None else engine._keeper.given
    found = collect(engine, given)
    belongings = [*found.engines.values(), *found.objects.values(), *found.attached]
    with (
        backed_up(belongings, [data, *found.seen]),
        tempfile.TemporaryDirectory(prefix="ignite-dry-run-") as folder,
    ):
        runner = _DryRunner(batches, {id(one): name for name, one in found.engines.items()})
        around = [
            getattr(frame, "__self__", None)
            for one in found.engines.values()
            for frame in one._frames
        ]
        runner.run(
            engine,
            data,
            [*found.attached, *around, *found.seen, *found.objects.values()],
            Path(folder),
        )
        report = runner.report()
    errors, runner.failures = runner.failures, {}
    if errors:
        told = "; ".join(
            f"{place}: {type(error).__name__}: {error}" for place, error in errors.values()
        )
        raise DryRunError(
            f"A dry run should go well, but {told}", [error for _, error in errors.values()], report
        )
    engine.logger.info("%s", report)
    return report


class _DryRunner(Watcher):
    """Calls handlers instead of the dispatch: records failures, and calls handlers that are not due, too.

    Args:
        batches: maximum number of batches for each engine.
        names: names of engines, by id.
    """

    def __init__(self, batches: int, names: dict[int, str]) -> None:
        super().__init__(lambda moment: None)
        self.batches = batches
        self.failures: dict[int, tuple[str, Exception]] = {}
        """Each exception and where it was raised, by its id."""
        self._names = names
        self._engines: dict[str, Emitter] = {}
        self._fired: dict[str, dict[str, None]] = {}
        self._called: dict[int, tuple[Registration, list[float]]] = {}
        self._steps: dict[str, list[float]] = {}

    def run(self, engine: Emitter, data: Any, objects: Iterable[Any], folder: Path) -> None:
        """Runs, redirects what the library writes to ``folder``, and reads it back."""
        checks: list[tuple[str, Callable[[], None]]] = []
        with ExitStack() as stack:
            for number, one in enumerate({id(one): one for one in objects}.values()):
                elsewhere = getattr(type(one), "dry_run_in", None)
                if elsewhere is not None:
                    place = folder / str(number)
                    place.mkdir()
                    checks.append((type(one).__name__, stack.enter_context(elsewhere(one, place))))
            with self._guard("the run"):
                self._start(engine, data)
            for name, check in checks:
                with self._guard(f"{name}, reading back what it has written"):
                    check()

    def _start(self, engine: Emitter, data: Any) -> None:
        length = _fetch.length_of(data) if data is not None else self.batches
        engine._cursor, engine._resumption = Cursor(), None
        engine.state.max_epochs = engine.state.max_iters = engine.state.epoch_length = None
        with self._watched(engine):
            engine.run(
                data,
                max_epochs=1,
                epoch_length=None if length is None else min(length, self.batches),
            )

    @contextmanager
    def _watched(self, engine: Emitter) -> Iterator[None]:
        name = self._names.setdefault(id(engine), f"engine {len(self._names)}")
        self._engines[name] = engine
        with engine._watched_by(self), engine.measured(_Limits(self, name)):
            yield

    def nested(self, engine: Emitter) -> AbstractContextManager[None]:
        """Limits the run of an engine within a handler, such as an evaluator, to a few batches, too."""
        state = engine.state
        state.max_epochs, state.max_iters = state.epoch + 1, None
        if state.epoch_length is not None:
            state.epoch_length = min(state.epoch_length, self.batches)
            engine._cursor.length_is_given = True
        return self._watched(engine)

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
        name, of = getattr(event, "name", event), self._names[id(engine)]
        if name == "EXCEPTION_RAISED":
            self._fail(f"the run of {of}", event_args[0])
        fired = self._fired.setdefault(of, {})
        if name == "EPOCH_COMPLETED":
            self._make_up(
                engine, [one for one in fired if one not in ("EPOCH_COMPLETED", "COMPLETED")]
            )
        elif name == "COMPLETED":
            self._make_up(engine, [*_OF_EACH_RUN[:-1], *fired])
        fired[name] = None
        call(
            (self._guarded(event, known) for known in calls),
            engine,
            event,
            count,
            event_args,
            event_kwargs,
        )
        if name in ("STARTED", "EPOCH_COMPLETED", "COMPLETED"):
            self._make_up(engine, [name])

    def step(self, name: str, step: Step) -> Step:
        """Wraps the step of an engine to measure its time."""
        taken = self._steps.setdefault(name, [])

        def timed(engine: Emitter, batch: Any) -> Any:
            started = clock.now()
            try:
                return step(engine, batch)
            except Exception as error:
                self._fail(f"the step of {name}", error)
                raise
            finally:
                taken.append(clock.now() - started)

        return timed

    def data(self, name: str, begin: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        """Yields the first batches for an engine."""
        try:
            yield from itertools.islice(begin(), self.batches)
        except Exception as error:
            self._fail(f"the data of {name}", error)
            raise

    def _make_up(self, engine: Any, names: Iterable[str]) -> None:
        """Calls the handlers of these events that have not been called yet."""
        before = engine.last_event_name
        for table in [engine._tables[name] for name in names if name not in _NEVER_MADE_UP]:
            engine.last_event_name = table.event
            count = engine.state.get_event_attrib_value(table.event)
            for handler, style, *_, entry in list(table.calls):
                if id(entry) not in self._called:
                    call = self._guarded(table.event, (handler, style, 0, None, None, entry))
                    call_handlers([call], engine, table.event, count)
        engine.last_event_name = before

    def _guarded(self, event: Any, known: Call) -> Call:
        entry = known[-1]

        def context() -> AbstractContextManager[None]:
            self._called.setdefault(id(entry), (entry, []))  # not made up for while it is called
            return self._guard(f"{name_of(entry.handler)} of {getattr(event, 'name', event)}")

        def record(entry: Registration, seconds: float) -> None:
            self._called[id(entry)][1].append(seconds)

        return timed_call(known, record, context)

    @contextmanager
    def _guard(self, place: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._fail(place, error)
            if idist.get_world_size() > 1:  # the others would wait for this process in a collective
                raise

    def _fail(self, place: str, error: Exception) -> None:
        if isinstance(error, Exception) and id(error) not in self.failures:
            self.failures[id(error)] = (place, error)
            add_note(error, f"in a dry run, in {place}")

    def report(self) -> DryRun:
        """Returns what was called and what was not, by engine."""
        rows = []
        for name, engine in self._engines.items():
            steps = self._steps.get(name, [])
            step = Called(name, "step", name_of(engine._process_function), len(steps), sum(steps))
            of_events = sorted(
                engine._tables, key=lambda event: (*_OF_EACH_RUN, event).index(event)
            )
            handlers = []
            for event in of_events:
                for entry in engine._tables[event].entries:
                    taken = self._called.get(id(entry), (entry, []))[1]
                    handlers.append(
                        Called(name, event, name_of(entry.handler), len(taken), sum(taken))
                    )
            before = [one for one in handlers if one.event in _OF_EACH_RUN[:5]]
            rows += [*before, step, *(one for one in handlers if one not in before)]
        return DryRun(rows, self.batches)


class _Limits(Meter):
    """Limits and measures one engine of a dry run.

    Args:
        runner: the dry run.
        name: name of the engine.
    """

    def __init__(self, runner: _DryRunner, name: str) -> None:
        self._runner = runner
        self._name = name

    def step(self, step: Step) -> Step:
        return self._runner.step(self._name, step)

    def data(self, begin: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        return self._runner.data(self._name, begin)

    def nested(self, engine: Emitter) -> AbstractContextManager[Any]:
        return self._runner.nested(engine)
