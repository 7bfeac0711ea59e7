"""The part of an engine that answers: what will happen, what happens, does it work?"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ignite._core.optional import LazyModule
from ignite.engine._cursor import Cursor
from ignite.engine._describe import Description
from ignite.engine._emitter import Emitter
from ignite.engine._trace import Meter, Trace, Watcher, measured, watched

if TYPE_CHECKING:
    from ignite.engine import _dry_run
    from ignite.engine._dry_run import DryRun
else:
    _dry_run = LazyModule("ignite.engine._dry_run")  # with torch's optimizers and more

__all__ = ["Inspection"]


class Inspection(Emitter):
    """Ways to look at an engine that change nothing in what it does."""

    _cursor: Cursor
    _dataloader_iter: Iterator[Any] | None
    _ended_at: int | None
    _process_function: Callable[..., Any]

    @property
    def step_function(self) -> Callable[..., Any]:
        """The function that is called for each batch, as it was given to the engine.

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

        None if this engine has not run within another one. It tells a trainer's handler whether the results of an
        evaluator are new.

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
        """Puts the state, the counters and the position in the data back at the end of a ``with`` block.

        What the attributes of the state refer to is not copied.

        Example:
            >>> from ignite.engine import Engine
            >>> engine = Engine(lambda engine, batch: None)
            >>> with engine.state_kept():
            ...     _ = engine.run([0, 0])
            >>> engine.state.iteration
            0
        """
        state, cursor, batches = dict(vars(self.state)), copy.copy(self._cursor), self._dataloader_iter
        try:
            yield
        finally:
            vars(self.state).clear()
            vars(self.state).update(state)
            self._cursor, self._dataloader_iter = cursor, batches
            self._attention = True

    @contextmanager
    def measured(self, meter: Meter) -> Iterator[None]:
        """Puts ``meter`` around the step, the data and the handlers within a ``with`` block.

        Args:
            meter: a :class:`ignite.engine.extension.Meter`, which is asked once what to call instead of each part.

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
