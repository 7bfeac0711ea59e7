"""Where the time of a run goes, at a price at which it may always be known."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ignite import distributed as idist
from ignite.engine import Engine, Events
from ignite.handlers._profilers.reports import parts_table, trace_events, write_trace
from ignite.handlers._profilers.timings import Part, Timings

__all__ = ["RunProfiler", "Spread"]


class Spread(NamedTuple):
    """Seconds that a part took in the processes."""

    fastest: float
    slowest: float
    slowest_rank: int


class RunProfiler:
    """Says where each second of a run went: the data, the step, each handler, runs of other engines within them.

    The parts add up to the whole. What belongs to none of them is the engine's own. An engine that is run in a handler,
    an evaluator say, needs no profiler: its data, step and handlers are shown within that handler. A checkpoint that is
    written in the background counts with the time for which it holds up the run; the wait for the last one, when the
    run is over, is the engine's. Time that two parts share is that of the inner one.

    Times are the host's. Accelerators work on while the host goes on: the step then takes as long as handing it the
    work, and who waits for a result, such as a handler that looks at a loss, pays for it.

    Meant to stay on: the cost is two readings of the clock and a few additions a part, some 6 microseconds an iteration
    with two handlers: less than 1 % of steps of 0.7 ms and more.
    A new run begins anew; one that goes on, after an interruption or with a higher limit, adds to what there is.

    Args:
        num_slices: how many parts :meth:`chrome_trace` looks back; an iteration has two and one for each handler.
        sync: wait for the accelerator at the end of each step, so that ``step`` is the time of its work. Slows down.

    Raises:
        ValueError: ``num_slices`` is not a positive integer.

    Distributed:
        Each process measures itself, and waits for no other; only :meth:`stragglers` is a collective.

    Example:
        >>> import time
        >>> trainer = Engine(lambda engine, batch: time.sleep(0.01))
        >>> profiler = RunProfiler()
        >>> profiler.attach(trainer)
        >>> _ = trainer.run(range(3), max_epochs=2)
        >>> print(profiler.table())
        part      seconds   share  calls         mean
        step        0.0...
        ...
        whole       0.0... 100.0 %
    """

    _is_profiler = True

    def __init__(self, *, num_slices: int = 10_000, sync: bool = False) -> None:
        if not isinstance(num_slices, int) or num_slices < 1:
            raise ValueError(f"num_slices should be a positive integer, but given {num_slices!r}")
        self._timings = Timings(num_slices, sync)
        self._engine: weakref.ref[Engine[Any, Any]] | None = None
        self._at_epoch: dict[str, int] = {}

    def attach(self, engine: Engine[Any, Any]) -> None:
        """Measures the runs of ``engine``, from the next one on. Once more changes nothing.

        Raises:
            TypeError: ``engine`` is none.
            RuntimeError: this profiler is attached to another engine.
        """
        if not isinstance(engine, Engine):
            raise TypeError(f"Argument engine should be ignite.engine.Engine, but given {engine!r}")
        if any(getattr(frame, "__self__", None) is self for frame in engine.run_contexts):
            return
        if self._engine is not None and self._engine() is not None:
            raise RuntimeError(
                "A RunProfiler should be attached to one engine, but this one is attached to another already. Engines "
                "that run within handlers are found without; for others, make a second RunProfiler"
            )
        self._engine = weakref.ref(engine)
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin_epoch, priority=math.inf)
        engine.add_run_context(self._frame, outermost=True)  # so that what others do around the run counts, too

    @contextmanager
    def _frame(self, engine: Engine[Any, Any], is_beginning: bool) -> Iterator[None]:
        if is_beginning:
            self._timings.clear()
            self._at_epoch = {}
        with self._timings.running(engine):
            yield

    def _begin_epoch(self) -> None:
        self._at_epoch = self._times()

    def table(self) -> str:
        """All parts, the largest first: seconds, share of the whole, number of calls and mean time.

        May be asked for in the midst of a run; the parts that have not ended then count as the engine's own.
        """
        return parts_table(self._timings.run, self._timings.whole)

    def scalars(self, output: Any = None) -> dict[str, float]:
        """Seconds of each part since the epoch began, for trackers: ``time/data``, ``time/step``, ``time/engine``, ...

        ``time/handlers/NAME`` and ``time/checkpoints/NAME`` are those of a handler, at all its events.
        What is deeper, as in ``time/handlers/NAME/run/EvaluationStep/step``, is a part of that. The others add up to
        ``time/whole``. An epoch ends where the next one begins: ask after all handlers of its end that matter.

        Args:
            output: not looked at, so that this method may be the ``output_transform`` of a logger.

        Example:
            >>> trainer, profiler = Engine(lambda engine, batch: None), RunProfiler()
            >>> profiler.attach(trainer)
            >>> _ = trainer.run(range(3))
            >>> sorted(profiler.scalars())
            ['time/data', 'time/engine', 'time/step', 'time/whole']
        """
        return {f"time/{name}": (ns - self._at_epoch.get(name, 0)) / 1e9 for name, ns in self._times().items()}

    def _times(self) -> dict[str, int]:
        """Nanoseconds of each part by its path."""
        times: dict[str, int] = {}
        children = self._timings.run.children
        for child in children:
            _add_times(times, child, child.path)
        whole = self._timings.whole
        return {**times, "engine": whole - sum(child.sum for child in children), "whole": whole}

    def chrome_trace(self, path: str | Path) -> Path:
        """Writes the last parts of the run to a file that https://ui.perfetto.dev and chrome://tracing can show.

        One row for each engine. Folders are made.

        Args:
            path: where to; with several processes, the rank is put before the suffix: ``trace.rank1.json``.

        Returns:
            The path of the file.

        Raises:
            OSError: it cannot be written.
        """
        path, rank = Path(path), idist.get_rank()
        if idist.get_world_size() > 1:
            path = path.with_name(f"{path.stem}.rank{rank}{path.suffix}")
        write_trace(path, trace_events(self._timings.slices, rank))
        return path

    def stragglers(self) -> dict[str, Spread]:
        """For each part, the seconds in the fastest and in the slowest process, and which that is.

        Distributed:
            A collective: all processes have to call it.

        Example:
            >>> RunProfiler().stragglers()
            {'engine': Spread(fastest=0.0, slowest=0.0, slowest_rank=0), 'whole': ...}
        """
        told: list[dict[str, int]] = idist.all_gather(self._times())
        names = dict.fromkeys(name for times in told for name in times)
        return {name: _spread([times.get(name, 0) for times in told]) for name in names}


def _spread(times: list[int]) -> Spread:
    slowest = max(range(len(times)), key=times.__getitem__)
    return Spread(min(times) / 1e9, times[slowest] / 1e9, slowest)


def _add_times(times: dict[str, int], part: Part, path: str) -> None:
    times[path] = times.get(path, 0) + part.sum
    for child in part.children:
        _add_times(times, child, f"{path}/{child.path}")
