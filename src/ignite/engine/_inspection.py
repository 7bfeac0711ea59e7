"""The part of an engine that answers: what will happen, what happens, does it work?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ignite._core.lazy import LazyModule
from ignite.engine._describe import Description
from ignite.engine._emitter import Emitter
from ignite.engine._trace import Trace, Watcher, watched

if TYPE_CHECKING:
    from ignite.engine import _dry_run
    from ignite.engine._dry_run import DryRun
else:
    _dry_run = LazyModule("ignite.engine._dry_run")  # with torch's optimizers and more

__all__ = ["Inspection"]


class Inspection(Emitter):
    """Ways to look at an engine that change nothing in what it does."""

    def describe(self) -> Description:
        """What a run of this engine does: its events in order, each with its handlers. Text, or HTML in a notebook."""
        return Description(self)

    def dry_run(self, data: Iterable[Any] | None = None, batches: int = 2) -> DryRun:
        """Tries everything once, in seconds, so that hour six holds no surprise; afterwards all is as it was.

        Runs a few batches, and has every handler called at least once, whatever its filter: validation, also over a few
        batches only, checkpoints, which are read back, loggers. A handler that fails does not keep the others from
        being tried. What the library writes goes to a temporary folder.

        The model, the optimizer, random generators, counters, handlers and metrics are then put back, and so are
        containers and variables that handlers use. What the step or a handler of yours has written outside of the
        program, has printed, or has taken from an iterator is not.

        Costs the memory of a copy of the model and the optimizer, on the host.

        Args:
            data: as for :meth:`run`.
            batches: how many each engine is given at most.

        Returns:
            What was called, how often and how long; ``print`` it.

        Raises:
            DryRunError: something has failed: a group of all exceptions, each with a note that says where. On several
                processes, the first one is raised as it is, at once.
            ValueError: ``data`` is an iterator, or ``batches`` no positive number.
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
        """Records each event, and each handler that is called with its time, within a ``with`` block.

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
        """Logs each event and each handler that is called, with its time, to ``engine.logger`` at level INFO."""
        self._watch(Watcher(lambda moment: self.logger.info("%s", moment)) if enabled else None)
