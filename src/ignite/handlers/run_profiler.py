"""Low-overhead profiler of a run."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ignite import distributed as idist
from ignite._core.systems import on_disk
from ignite.engine import Engine, Events
from ignite.handlers._profilers.reports import parts_page, parts_table, trace_events, write_trace
from ignite.handlers._profilers.timings import Part, Timings, check_engine

__all__ = ["RunProfiler", "Spread"]


class Spread(NamedTuple):
    """Fastest and slowest time of a part across ranks, in seconds."""

    fastest: float
    slowest: float
    slowest_rank: int


class RunProfiler:
    """Measures the time of a run: its data, step, handlers, and nested runs of other engines.

    The parts add up to the total; the remaining time is reported as the engine's own. Engines that
    run in a handler, such as evaluators, need no separate profiler: their data, step and handlers
    are reported within that handler. Nested time is counted only for the inner part. A checkpoint
    written in the background counts only for the time that it blocks the run; waiting for the last
    one at the end of the run counts as the engine's time.

    Times are host times. Accelerators run asynchronously: the time of the step is that of launching
    its work, and the first part that waits for a result, such as a handler that reads the loss,
    includes the remaining time.

    The profiler can stay on: its overhead is two clock readings and a few additions per part, about
    6 microseconds per iteration with two handlers, or less than 1 % for steps of 0.7 ms or more. A
    new run resets the times; a run that continues, after an interruption or with a higher limit,
    adds to them.

    Args:
        num_slices: number of calls to keep for :meth:`chrome_trace`; an iteration has two, and one
            more per handler.
        sync: whether to synchronize with the accelerator after each step, so that ``step`` includes
            its work. This is slower.

    Raises:
        ValueError: ``num_slices`` is not a positive integer.

    Distributed:
        Each rank measures its own times; only :meth:`stragglers` is a collective operation.

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
        """Measures the runs of ``engine``, starting with the next. Attaching again has no effect.

        Raises:
            TypeError: ``engine`` is not an engine.
            RuntimeError: this profiler is attached to another engine.
        """
        check_engine(engine)
        if any(getattr(frame, "__self__", None) is self for frame in engine.run_contexts):
            return
        if self._engine is not None and self._engine() is not None:
            raise RuntimeError(
                "This RunProfiler is already attached to another engine. Engines that run within "
                "handlers are measured automatically; create one RunProfiler per other engine"
            )
        self._engine = weakref.ref(engine)
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin_epoch, priority=math.inf)
        # Outermost, so that the time of other run contexts is included.
        engine.add_run_context(self._frame, outermost=True)

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
        """Returns a table of all parts, largest first.

        The columns are seconds, share of the total, calls and mean time. May be called during a
        run; parts that are still running then count as the engine's own time.
        """
        return parts_table(self._timings.run, self._timings.whole)

    def _repr_html_(self) -> str:
        return parts_page(self._timings.run, self._timings.whole)

    def scalars(self, output: Any = None) -> dict[str, float]:
        """Returns the seconds of each part in this epoch, for trackers.

        Names are ``time/data``, ``time/step`` and so on.
        ``time/handlers/NAME`` and ``time/checkpoints/NAME`` sum over all events of a handler.
        Deeper names, such as ``time/handlers/NAME/run/EvaluationStep/step``, are contained in them.
        The others add up to ``time/whole``. An epoch lasts until the next one starts, so call this
        after the other handlers at the end of the epoch.

        Args:
            output: ignored; allows using this method as the ``output_transform`` of a logger.

        Example:
            >>> trainer, profiler = Engine(lambda engine, batch: None), RunProfiler()
            >>> profiler.attach(trainer)
            >>> _ = trainer.run(range(3))
            >>> sorted(profiler.scalars())
            ['time/data', 'time/engine', 'time/step', 'time/whole']
        """
        return {
            f"time/{name}": (ns - self._at_epoch.get(name, 0)) / 1e9
            for name, ns in self._times().items()
        }

    def _times(self) -> dict[str, int]:
        """Returns nanoseconds by the path of each part."""
        times: dict[str, int] = {}
        children = self._timings.run.children
        for child in children:
            _add_times(times, child, child.path)
        whole = self._timings.whole
        return {**times, "engine": whole - sum(child.sum for child in children), "whole": whole}

    def chrome_trace(self, path: str | Path) -> Path:
        """Writes the last parts of the run as a trace, with one row per engine.

        Open it in https://ui.perfetto.dev or chrome://tracing. Creates missing folders.

        Args:
            path: the file; with several processes, the rank is inserted: ``trace.rank1.json``.

        Returns:
            The path of the file.

        Raises:
            OSError: the file cannot be written.
        """
        path, rank = on_disk(path), idist.get_rank()
        if idist.get_world_size() > 1:
            path = path.with_name(f"{path.stem}.rank{rank}{path.suffix}")
        write_trace(path, trace_events(self._timings.slices, rank))
        return path

    def stragglers(self) -> dict[str, Spread]:
        """Returns the fastest and the slowest time of each part across ranks.

        Distributed:
            A collective: call it on all ranks.

        Example:
            >>> RunProfiler().stragglers()
            {'engine': Spread(fastest=0.0, slowest=0.0, slowest_rank=0), 'whole': ...}
        """
        gathered: list[dict[str, int]] = idist.all_gather(self._times())
        names = dict.fromkeys(name for times in gathered for name in times)
        return {name: _spread([times.get(name, 0) for times in gathered]) for name in names}


def _spread(times: list[int]) -> Spread:
    slowest = max(range(len(times)), key=times.__getitem__)
    return Spread(min(times) / 1e9, times[slowest] / 1e9, slowest)


def _add_times(times: dict[str, int], part: Part, path: str) -> None:
    times[path] = times.get(path, 0) + part.sum
    for child in part.children:
        _add_times(times, child, f"{path}/{child.path}")
