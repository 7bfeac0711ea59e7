"""Ignite's profilers: durations of every step, batch and handler call."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
from typing import Any, ClassVar

import torch
from torch import Tensor

from ignite._core.printable import printable
from ignite.engine import Engine, Events
from ignite.handlers._profilers.reports import (
    basic_text,
    handlers_text,
    stats_row,
    summarize,
    write_csv,
)
from ignite.handlers._profilers.timings import DATA, STEP, CallTimer, RunProfilerBase, index_of

__all__ = ["BasicTimeProfiler", "HandlersTimeProfiler"]

_EVENTS = [
    Events.STARTED,
    Events.EPOCH_STARTED,
    Events.ITERATION_STARTED,
    Events.ITERATION_COMPLETED,
    Events.GET_BATCH_STARTED,
    Events.GET_BATCH_COMPLETED,
    Events.EPOCH_COMPLETED,
    Events.COMPLETED,
]
_COLUMNS = [
    Events.STARTED,
    Events.COMPLETED,
    Events.EPOCH_STARTED,
    Events.EPOCH_COMPLETED,
    Events.ITERATION_STARTED,
    Events.ITERATION_COMPLETED,
    Events.GET_BATCH_STARTED,
    Events.GET_BATCH_COMPLETED,
]


class BasicTimeProfiler(RunProfilerBase):
    """Measures the step, data loading, and the handlers of each event, for every iteration.

    :class:`RunProfiler` reports where the time goes with less overhead; this class keeps a number
    per iteration and event. A new run resets the times; a run that continues adds to them. Nothing
    stays on the engine after the run.

    Attributes:
        max_epochs: the limit of the run; None if it is limited in iterations.
        total_num_iters: total number of iterations; None if unknown.
        events_to_ignore: events whose handlers are not timed.

    Example:
        >>> trainer, profiler = Engine(lambda engine, batch: None), BasicTimeProfiler()
        >>> profiler.attach(trainer)
        >>> _ = trainer.run(range(3), max_epochs=2)
        >>> len(profiler.processing_times)
        6
        >>> list(profiler.get_results()["processing_stats"])
        ['total', 'min/index', 'max/index', 'mean', 'std']
    """

    events_to_ignore: ClassVar[list[Events]] = [
        Events.EXCEPTION_RAISED,
        Events.TERMINATE,
        Events.TERMINATE_SINGLE_EPOCH,
        Events.DATALOADER_STOP_ITERATION,
        Events.INTERRUPT,
    ]
    _is_profiler = True

    def __init__(self) -> None:
        self.max_epochs: int | None = None
        self.total_num_iters: int | None = None
        self.event_handlers_names: dict[Any, list[str]] = {}
        self._clear()

    def _clear(self) -> None:
        self._times: dict[Any, dict[int, float]] = {what: {} for what in (STEP, DATA, *_EVENTS)}
        self._epochs: dict[int, int] = {}

    @property
    def processing_times(self) -> Tensor:
        """Seconds of the step in each iteration so far, shape (iterations,)."""
        return _to_tensor(self._times[STEP])

    @property
    def dataflow_times(self) -> Tensor:
        """Seconds spent waiting for each batch so far, shape (iterations,)."""
        return _to_tensor(self._times[DATA])

    @property
    def event_handlers_times(self) -> dict[Any, Tensor]:
        """Seconds of the handlers at each firing so far, by event."""
        return {event: _to_tensor(self._times[event]) for event in _EVENTS}

    @contextmanager
    def _frame(self, engine: Engine[Any, Any], is_beginning: bool) -> Iterator[None]:
        if is_beginning:
            self._clear()
        self.event_handlers_names = {event: [] for event in _EVENTS}
        with ExitStack() as stack:
            stack.enter_context(
                engine.measured(CallTimer(engine.state, self._record, self._announce))
            )
            for event in _EVENTS:
                # Records that the event was fired, even if it has no other handlers.
                engine.add_event_handler(event, self._mark, event)
                stack.callback(engine.remove_event_handler, self._mark, event)
            yield

    def _announce(self, event: Any, name: str) -> None:
        if event in self.event_handlers_names:
            self.event_handlers_names[event].append(name)

    def _record(self, what: Any, name: str, index: int, seconds: float) -> None:
        if what in self._times:
            times = self._times[what]
            times[index] = times.get(index, 0.0) + seconds

    def _mark(self, engine: Engine[Any, Any], event: Events) -> None:
        state = engine.state
        self._times[event].setdefault(index_of(event, state), 0.0)
        if event is Events.ITERATION_STARTED:
            self._epochs[index_of(event, state)] = state.epoch
        self.max_epochs, self.total_num_iters = state.max_epochs, state.max_iters
        if (
            state.max_iters is None
            and state.max_epochs is not None
            and state.epoch_length is not None
        ):
            self.total_num_iters = state.max_epochs * state.epoch_length

    def get_results(self) -> OrderedDict[str, Any]:
        """Returns statistics of the step, the data and each event so far.

        Returns:
            A dictionary with ``processing_stats``, ``dataflow_stats``, ``event_handlers_stats`` (by
            event name, and ``total_time``, a tensor) and ``event_handlers_names``. Statistics have
            ``total`` in seconds and, for several times, ``min/index``, ``max/index``, ``mean`` and
            ``std``; without times, ``total`` is "not yet triggered".
        """
        by_event: dict[str, Any] = {event.name: summarize(self._times[event]) for event in _EVENTS}
        by_event["total_time"] = torch.tensor(
            sum(sum(self._times[event].values()) for event in _EVENTS)
        )
        return OrderedDict(
            processing_stats=summarize(self._times[STEP]),
            dataflow_stats=summarize(self._times[DATA]),
            event_handlers_stats=by_event,
            event_handlers_names={
                f"{event.name}_names": names for event, names in self.event_handlers_names.items()
            },
        )

    def write_results(self, output_path: str) -> None:
        """Writes a CSV file with one row per iteration; the times of an epoch repeat in its rows.

        Raises:
            OSError: the file cannot be written.
        """
        header = [
            "epoch",
            "iteration",
            "processing_stats",
            "dataflow_stats",
            *(f"Event_{e.name}" for e in _COLUMNS),
        ]
        write_csv(output_path, header, map(self._row, sorted(self._epochs)))

    def _row(self, iteration: int) -> list[float]:
        epoch, row = self._epochs[iteration], [float(self._epochs[iteration]), float(iteration + 1)]
        index: dict[Any, int] = {Events.STARTED: 0, Events.COMPLETED: 0}
        index |= {Events.EPOCH_STARTED: epoch - 1, Events.EPOCH_COMPLETED: epoch - 1}
        row += [
            self._times[what].get(index.get(what, iteration), 0.0)
            for what in (STEP, DATA, *_COLUMNS)
        ]
        return row

    @staticmethod
    def print_results(results: Mapping[str, Any]) -> str:
        """Prints the result of :meth:`get_results`, and returns the text."""
        text = basic_text(results, _EVENTS)
        sys.stdout.write(printable(text + "\n", sys.stdout))
        return text


class HandlersTimeProfiler(RunProfilerBase):
    """Measures each handler of each event, including custom events, the step and data loading.

    A new run resets the times; a run that continues adds to them. Nothing stays on the engine after
    the run. Handlers of the same name on the same event share a row.

    Attributes:
        processing_times: seconds of each step.
        dataflow_times: seconds spent waiting for each batch.
        event_handlers_times: seconds of each call, by event and handler.
        event_handlers_names: names of the handlers, by event.

    Example:
        >>> trainer, profiler = Engine(lambda engine, batch: None), HandlersTimeProfiler()
        >>> profiler.attach(trainer)
        >>> @trainer.on(Events.EPOCH_COMPLETED)
        ... def validate(): ...
        >>> _ = trainer.run(range(3))
        >>> [row[0] for row in profiler.get_results()]
        ['validate', 'Total', 'Processing', 'Dataflow']
    """

    EVENT_FILTER_THESHOLD_TIME = 0.0001
    """Unused; exists for compatibility with Ignite.

    Calls skipped by an event filter are not measured.
    """
    _is_profiler = True

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.processing_times: list[float] = []
        self.dataflow_times: list[float] = []
        self.event_handlers_times: dict[Any, dict[str, list[float]]] = {}
        self.event_handlers_names: dict[Any, list[str]] = {}

    @contextmanager
    def _frame(self, engine: Engine[Any, Any], is_beginning: bool) -> Iterator[None]:
        if is_beginning:
            self._clear()
        self.event_handlers_names = {}
        with engine.measured(CallTimer(engine.state, self._record, self._announce)):
            yield

    def _announce(self, event: Any, name: str) -> None:
        self.event_handlers_names.setdefault(event, []).append(name)
        self.event_handlers_times.setdefault(event, {}).setdefault(name, [])

    def _record(self, what: Any, name: str, index: int, seconds: float) -> None:
        if what in (STEP, DATA):
            (self.processing_times if what == STEP else self.dataflow_times).append(seconds)
        else:
            self.event_handlers_times[what][name].append(seconds)

    def _columns(self) -> Iterator[tuple[str, str, list[float]]]:
        for event, handlers in self.event_handlers_times.items():
            for name, times in handlers.items():
                yield name, getattr(event, "name", event), times

    def get_results(self) -> list[list[Any]]:
        """Returns the times so far: one row per handler, and rows for their total, step and data.

        Returns:
            Rows ``[handler, event, total, (min, index), (max, index), mean, std]``, in seconds,
            rounded to five places.
        """
        total = sum(sum(times) for _, _, times in self._columns())
        return [
            *([name, event, *stats_row(times)] for name, event, times in self._columns()),
            ["Total", "", round(total, 5), "", "", "", ""],
            ["Processing", "None", *stats_row(self.processing_times)],
            ["Dataflow", "None", *stats_row(self.dataflow_times)],
        ]

    def write_results(self, output_path: str) -> None:
        """Writes a CSV file with one column per handler and one row per call, padded with zeros.

        Raises:
            OSError: the file cannot be written.
        """
        columns = list(self._columns())
        header = [
            "#",
            "processing_stats",
            "dataflow_stats",
            *(f"{name} ({event})" for name, event, _ in columns),
        ]
        times = zip_longest(
            self.processing_times,
            self.dataflow_times,
            *(each for *_, each in columns),
            fillvalue=0.0,
        )
        write_csv(output_path, header, ([float(i), *row] for i, row in enumerate(times, start=1)))

    @staticmethod
    def print_results(results: Sequence[Sequence[Any]]) -> None:
        """Prints the result of :meth:`get_results` as a table."""
        sys.stdout.write(printable(handlers_text(results) + "\n", sys.stdout))


def _to_tensor(times: Mapping[int, float]) -> Tensor:
    return torch.tensor([times.get(i, 0.0) for i in range(max(times, default=-1) + 1)])
