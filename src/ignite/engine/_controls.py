"""The controls of an engine: how handlers and the step end, pause and skip, and what runs around a run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ignite.engine import _running
from ignite.engine.events import Events

if TYPE_CHECKING:
    from ignite.base import BoundaryRequest, RunContext, RunSaver

_OUTSIDE_ITERATION = (
    None, Events.STARTED, Events.EPOCH_STARTED, Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED, Events.TERMINATE,
    Events.TERMINATE_SINGLE_EPOCH, Events.COMPLETED, Events.INTERRUPT,
)  # fmt: skip


class Controls:
    """Requests to a run, which take effect after the handlers of the current event."""

    interrupt_resume_enabled = True
    """Whether :meth:`interrupt` is enabled."""

    logger: logging.Logger
    last_event_name: Any
    _is_running: bool
    _should_terminate: bool | str
    _should_terminate_single_epoch: bool | str
    _should_interrupt: bool
    _skip_requested: bool
    _attention: bool
    _frames: list[RunContext]
    _keeper: RunSaver | None
    _request: BoundaryRequest | None
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
            >>> from contextlib import contextmanager
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

        Safe in a signal handler: it only sets attributes.

        Args:
            request: the request; this engine is its ``trainer``.
        """
        for engine in _running.within(request.trainer) or [request.trainer]:
            engine._request = request
            engine._attention = True

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
            "Terminate current epoch is signaled. The epoch ends after the current event is finished."
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
                "skip_iteration() should be called during an iteration and before Events.ITERATION_COMPLETED, "
                f"but was called {when}"
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
                "Engine 'interrupt/resume' feature is disabled. Set Engine.interrupt_resume_enabled=True to enable it"
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

    def _clear_requests(self) -> None:
        self._should_terminate = self._should_terminate_single_epoch = False
        self._should_interrupt = self._skip_requested = self._attention = self.will_resume = False
