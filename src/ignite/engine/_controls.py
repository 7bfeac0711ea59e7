"""What handlers, the step and the loop ask of an engine: its controls, where it is, and what it does."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from ignite._core.clock import Stopwatch
from ignite._core.optional import LazyModule
from ignite._core.trees import items_restorer
from ignite.base import Serializable
from ignite.engine import _cursor, _fetch
from ignite.engine._emitter import Emitter
from ignite.engine._handlers import key_of
from ignite.engine._trace import Trace, Watcher
from ignite.engine.events import Events

if TYPE_CHECKING:
    from ignite._core.rng import RandomState
    from ignite.base import BoundaryRequest, RunContext, RunSaver
    from ignite.engine import _description, _dry_run
    from ignite.engine import control as _control
    from ignite.engine._description import Description
    from ignite.engine._dry_run import DryRun
    from ignite.engine.control import Commands, Control
else:
    _control = LazyModule("ignite.engine.control")  # imports torch's optimizers
    _description = LazyModule("ignite.engine._description")
    _dry_run = LazyModule("ignite.engine._dry_run")  # imports storage and torch's optimizers

__all__ = ["Controls", "entered", "outermost_engine", "within"]

_OUTSIDE_ITERATION = (
    None, Events.STARTED, Events.EPOCH_STARTED, Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED, Events.TERMINATE,
    Events.TERMINATE_SINGLE_EPOCH, Events.COMPLETED, Events.INTERRUPT,
)  # fmt: skip


class Controls(Emitter, Serializable):
    """An engine without its ``run``: the part that the modules of a run use.

    Requests take effect after the handlers of the current event.
    """

    interrupt_resume_enabled = True
    """Whether :meth:`interrupt` is enabled."""

    _state_dict_user_keys: list[str]
    _dataloader_iter: Iterator[Any] | None
    _source: _fetch.Source
    _pass_notifier: _fetch.PassNotifier
    _run_watch: Stopwatch
    _epoch_watch: Stopwatch
    _should_terminate: bool | str
    _should_terminate_single_epoch: bool | str
    _should_interrupt: bool
    _skip_requested: bool
    _requests: list[BoundaryRequest]
    _commands: Commands | None
    _attendance: Any
    _ended_at: int | None
    _random_at_start: RandomState | None
    is_preemptible: bool
    """Whether a request may interrupt engines that run within a handler, such as an evaluator."""
    will_resume: bool
    """Whether a terminated run is not finished, but will be resumed from its last checkpoint.

    A handler that terminates a run because of a time limit sets it to True. It is False at the
    start of each run.
    """

    @property
    def is_running(self) -> bool:
        """Whether ``run`` has been called and has not returned yet.

        Example:
            >>> from ignite.engine import Engine
            >>> engine = Engine(lambda engine, batch: print(engine.is_running))
            >>> _ = engine.run([0])
            True
            >>> engine.is_running
            False
        """
        return self._is_running

    @property
    def run_contexts(self) -> tuple[RunContext, ...]:
        """The contexts around each run, the outermost first; see :meth:`add_run_context`."""
        return tuple(self._frames)

    def add_run_context(self, context: RunContext, *, outermost: bool = False) -> None:
        """Enters a context manager around each run from the next one on.

        It is entered before STARTED and exited at the end of the run, also after an exception or an
        interruption, at which no COMPLETED is fired. A call of ``run`` that has nothing to do does
        not enter it.

        Args:
            context: ``f(engine, is_new) -> context manager``, called once per run. ``is_new`` is
                True for a new run, and False for one that continues.
            outermost: enter it outside of all other contexts, instead of inside.

        Example:
            >>> from contextlib import ExitStack, contextmanager
            >>> from ignite.engine import Engine
            >>> engine = Engine(lambda engine, batch: print(batch))
            >>> @contextmanager
            ... def announced(engine, is_new):
            ...     print("begin")
            ...     yield
            ...     print("end")
            >>> engine.add_run_context(announced)
            >>> _ = engine.run([1])
            begin
            1
            end
        """
        self._frames.insert(0 if outermost else len(self._frames), context)

    def remove_run_context(self, context: RunContext) -> None:
        """Removes a context that :meth:`add_run_context` has added, from the next run on.

        Raises:
            ValueError: the context was not added.
        """
        if context not in self._frames:
            raise ValueError(
                f"context should be one of the engine's run_contexts, but given {context!r}"
            )
        self._frames.remove(context)

    @property
    def run_saver(self) -> RunSaver | None:
        """Saves the runs of this engine so that they can be resumed: ``Checkpoint.of``, or None.

        ``run(resume="latest")`` resumes from its newest checkpoint.
        """
        return self._keeper

    @run_saver.setter
    def run_saver(self, saver: RunSaver | None) -> None:
        self._keeper = saver

    def request_at_boundary(self, request: BoundaryRequest) -> None:
        """Calls a request at the next boundary of the run, between two iterations or epochs.

        Safe in a signal handler and in any thread: it only sets attributes. Several requests are
        obeyed in their order.

        Args:
            request: the request; this engine is its ``trainer``.
        """
        for engine in within(request.trainer) or [request.trainer]:
            if not any(one is request for one in engine._requests):
                engine._requests.append(request)
            engine._attention = True
        commands = request.trainer._commands
        if commands is not None:  # the run may be paused
            commands.alarm.put(None)

    @property
    def control(self) -> Control:
        """Controls the run from outside: pauses, saves or stops it, or what the program adds.

        Example:
            >>> from ignite.engine import Engine, Events
            >>> engine = Engine(lambda engine, batch: None)
            >>> _ = engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), engine.control.stop)
            >>> engine.run(range(5)).iteration
            2
        """
        if self._commands is None:
            self._commands = _control.Commands()
        return _control.Control(self, self._commands)

    def wake(self) -> None:
        """Ends a pause on all processes, so that they agree on a signal. Safe in signal handlers."""
        if self._commands is not None:
            self._commands.must_go_on = True
            self._commands.alarm.put(None)

    @contextmanager
    def clocks_stopped(self) -> Iterator[None]:
        """Leaves the time within a ``with`` block out of ``state.times``."""
        watches = (self._run_watch, self._epoch_watch)
        for watch in watches:
            watch.pause()
        try:
            yield
        finally:
            for watch in watches:
                watch.resume()

    def terminate(self, skip_completed: bool = False) -> None:
        """Ends the run after the handlers of the current event: fires TERMINATE, then COMPLETED.

        Args:
            skip_completed: do not fire COMPLETED.
        """
        self.logger.info(
            "Terminate signaled. Engine will stop after the current event is finished."
        )
        self.should_terminate = "skip_completed" if skip_completed else True

    def terminate_epoch(self, skip_epoch_completed: bool = False) -> None:
        """Ends the epoch after the handlers of the current event.

        Fires TERMINATE_SINGLE_EPOCH, then EPOCH_COMPLETED. The next epoch begins at the start of
        the data.

        Args:
            skip_epoch_completed: do not fire EPOCH_COMPLETED.
        """
        self.logger.info(
            "Terminate current epoch is signaled. The epoch ends after the current event is "
            "finished."
        )
        self.should_terminate_single_epoch = (
            "skip_epoch_completed" if skip_epoch_completed else True
        )

    def skip_iteration(self) -> None:
        """Skips the rest of the iteration: its step, ITERATION_COMPLETED, and with them its metrics.

        The iteration is counted. Call it before ITERATION_COMPLETED: in a handler; in the step
        function, whose output is then dropped; or in a handler of EXCEPTION_RAISED, to continue the
        epoch with the next batch.

        Raises:
            RuntimeError: no iteration is under way.
        """
        if not self._is_running or self.last_event_name in _OUTSIDE_ITERATION:
            when = (
                f"on {self.last_event_name!r}"
                if self._is_running
                else "on an engine that is not running"
            )
            raise RuntimeError(
                "skip_iteration() should be called during an iteration and before "
                f"Events.ITERATION_COMPLETED, but was called {when}"
            )
        self._skip_requested = True
        self._attention = True

    def interrupt(self) -> None:
        """Pauses the run after the handlers of the current event; ``run`` returns.

        The next ``run`` continues exactly there: no event, batch or count is lost or repeated.

        Raises:
            RuntimeError: ``interrupt_resume_enabled`` is False.
        """
        if not self.interrupt_resume_enabled:
            raise RuntimeError(
                "Engine 'interrupt/resume' feature is disabled. Set "
                "Engine.interrupt_resume_enabled=True to enable it"
            )
        self.logger.info(
            "interrupt signaled. Engine will pause after the current event is finished."
        )
        self.should_interrupt = True

    @property
    def should_terminate(self) -> bool | str:
        return self._should_terminate

    @should_terminate.setter
    def should_terminate(self, value: bool | str) -> None:
        self._should_terminate = value
        self._attention = True

    @property
    def should_terminate_single_epoch(self) -> bool | str:
        return self._should_terminate_single_epoch

    @should_terminate_single_epoch.setter
    def should_terminate_single_epoch(self, value: bool | str) -> None:
        self._should_terminate_single_epoch = value
        self._attention = True

    @property
    def should_interrupt(self) -> bool:
        return self._should_interrupt

    @should_interrupt.setter
    def should_interrupt(self, value: bool) -> None:
        self._should_interrupt = value
        self._attention = True

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

    @property
    def state_dict_user_keys(self) -> list[str]:
        """Names of attributes of the state that ``state_dict`` includes; append to it."""
        return self._state_dict_user_keys

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
        restore_state = items_restorer(vars(self.state))
        cursor, batches = copy.copy(self._cursor), self._dataloader_iter
        try:
            yield
        finally:
            restore_state()
            self._cursor, self._dataloader_iter = cursor, batches
            self._attention = True

    def describe(self) -> Description:
        """Describes a run: its events in order, each with its handlers.

        Text, or HTML in a notebook.
        """
        return _description.Description(self)

    def _repr_html_(self) -> str:
        """Progress and handlers for notebooks."""
        has_run = self.state.iteration > 0
        progress = _cursor.describe_progress(self.state) if has_run else "not run yet"
        return f"<p>{progress}</p>{self.describe()._repr_html_()}"

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
        return _dry_run.dry_run(self, data, batches)

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
        with self._watched_by(Watcher(trace.moments.append)):
            yield trace

    def debug(self, enabled: bool = True) -> None:
        """Logs each event and each call of a handler, with its time, to ``engine.logger`` at level INFO."""
        self._watch(Watcher(lambda moment: self.logger.info("%s", moment)) if enabled else None)

    def _take_loaded(self, carried: int) -> None:
        """Continues the next run, or the current one, from counters that have been loaded."""
        if not self._is_running:
            self._cursor = _cursor.Cursor()
        self._cursor.load(self.state, carried)
        self._cursor.is_moved = self._is_running
        self._attention = True
        if not self._is_running:
            self._source.interruption = self._dataloader_iter = None

    def _settle(self, is_inside_epoch: bool) -> None:
        """Restores the resumed run after the handlers of its first events, if its position is here."""
        resumption = self._resumption
        resumption.check_data()
        if resumption.is_inside_epoch == is_inside_epoch:
            resumption.apply()
            if not is_inside_epoch:
                self._resumption = None

    def _settle_random(self) -> None:
        """Restores the random states of the resumed run, after a data iterator may have drawn random numbers."""
        resumption, self._resumption = self._resumption, None
        resumption.apply_random()

    @property
    def _can_seek(self) -> bool:
        """Whether the engine moves any data to the position of the current iteration."""
        return False

    def _init_iter(self) -> None:
        if _fetch.counts_passes(self.state.dataloader):
            self._cursor.is_aligned = True  # it begins where the epoch at hand has come to
        self._pass_notifier.notify(self.state.dataloader, self.state.epoch - 1, self.logger)
        self._dataloader_iter = _fetch.iterate(self.state.dataloader, self._meters)

    def _is_last(self, event: Any) -> bool:
        """Whether ``event``, being fired, is the last of its kind in this run, as far as that is known."""
        if self.should_terminate:
            return True
        state = self.state
        name = key_of(event)
        attribute = state._attribute_of(name)
        if attribute == "epoch":
            return name in ("STARTED", "COMPLETED") or _cursor.is_last_epoch(state)
        if attribute == "iteration":
            ahead = name.startswith("GET_BATCH")
            return _cursor.is_last_iteration(
                state, state.iteration + ahead, self._cursor.num_done + ahead
            )
        return False

    def _clear_requests(self) -> None:
        self._should_terminate = self._should_terminate_single_epoch = False
        self._should_interrupt = self._skip_requested = self._attention = self.will_resume = False


class _Running(threading.local):
    def __init__(self) -> None:
        self.engines: list[Controls] = []


_RUNNING = _Running()


@contextmanager
def entered(engine: Controls) -> Iterator[None]:
    """Counts ``engine`` as running within a ``with`` block; meters of the engine around it may measure it, too."""
    meters = _RUNNING.engines[-1]._meters if _RUNNING.engines else ()
    _RUNNING.engines.append(engine)
    try:
        with ExitStack() as stack:
            for meter in meters:
                stack.enter_context(meter.nested(engine))
            yield
    finally:
        _RUNNING.engines.remove(engine)


def within(engine: Controls) -> list[Controls]:
    """Returns ``engine``, if it is running, and the engines that run within its handlers."""
    engines = _RUNNING.engines
    return engines[engines.index(engine) :] if engine in engines else []


def outermost_engine() -> Controls | None:
    """See :func:`ignite.engine.extension.outermost_engine`."""
    return _RUNNING.engines[0] if _RUNNING.engines else None
