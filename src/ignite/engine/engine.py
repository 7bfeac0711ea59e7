"""The engine: one step function, called for each batch of the data, with events around it."""

from __future__ import annotations

import logging
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ignite._core.calls import accepts, describe_signature, name_of
from ignite._core.clock import Stopwatch
from ignite._core.optional import LazyModule
from ignite._core.seeding import RandomState, capture_random_state, manual_seed
from ignite.engine import _cursor, _fetch, _loop, _running, together
from ignite.engine._controls import Controls
from ignite.engine._cursor import Course, Cursor, Request
from ignite.engine._state import State, describe_progress, load_progress, save_progress
from ignite.engine.events import CallableEvents, CallableEventWithFilter, EventEnum, Events  # noqa: F401 - programs look here

if TYPE_CHECKING:
    from ignite.base import BoundaryRequest, RunContext, RunSaver
    from ignite.engine.resume import resumption as _resume
    from ignite.engine.resume.resumption import Resumption
else:
    _resume = LazyModule("ignite.engine.resume.resumption")  # imports storage and data

__all__ = ["Engine"]

Batch = TypeVar("Batch")
Output = TypeVar("Output")


class Engine(Controls, Generic[Batch, Output]):
    """Calls a step function for each batch of some data, epoch after epoch, and fires events on the way.

    The same class serves for training, evaluation and inference. The module
    ``ignite.engine.events`` shows the order of events.

    Args:
        process_function: ``f(engine, batch) -> output``; what it returns is put into
            ``engine.state.output``.

    Raises:
        ValueError: there is no function, or it does not accept ``(engine, batch)``.

    Attributes:
        state: counters, the batch and output at hand, metrics, and whatever users put there; see
            :class:`State`.
        logger: the run's progress at level INFO, each event at DEBUG.
        last_event_name: the event that was fired last; None before the first.
        should_terminate: True or "skip_completed" if the run is to end; settable.
        should_terminate_single_epoch: True or "skip_epoch_completed" if the epoch is to end;
            settable.
        should_interrupt: whether the run is to pause; settable.

    State:
        ``state_dict`` holds the counters and limits, and what ``state_dict_user_keys`` lists.
        Restored, ``run`` goes on in the middle of an epoch; where in the data is the data's affair.

    Example:
        >>> from ignite.engine import Engine, Events
        >>> trainer = Engine(lambda engine, batch: batch**2)
        >>> @trainer.on(Events.EPOCH_COMPLETED)
        ... def show(engine):
        ...     print(engine.state.epoch, engine.state.iteration, engine.state.output)
        >>> state = trainer.run([1, 2, 3], max_epochs=2)
        1 3 9
        2 6 9
    """

    def __init__(self, process_function: Callable[[Engine[Any, Any], Batch], Output]) -> None:
        if process_function is None:
            raise ValueError(
                "Engine must be given a processing function in order to run, but given None"
            )
        self.logger = logging.getLogger(f"ignite.engine.engine.{type(self).__name__}")
        self.state = State()
        super().__init__()
        if not accepts(process_function, self, None):
            raise ValueError(
                f"Error adding {name_of(process_function)} 'process_function': should accept (engine, batch), "
                f"but takes {describe_signature(process_function)}"
            )
        self._process_function = process_function
        self._cursor = Cursor()
        self._dataloader_iter: Iterator[Any] | None = None
        self._source = _fetch.Source()
        self._pass_notifier = _fetch.PassNotifier(None)
        self._run_watch, self._epoch_watch = Stopwatch(), Stopwatch()
        self._state_dict_user_keys: list[str] = []
        self._is_running = False
        self._request: BoundaryRequest | None = None
        self._resumption: Resumption | None = None
        self._keeper: RunSaver | None = None
        self._attendance: together.Attendance | None = None
        self._frames: list[RunContext] = []
        self.is_preemptible = False
        self._ended_at: int | None = None
        self._random_at_start: RandomState | None = None
        self._clear_requests()

    def run(
        self,
        data: Iterable[Batch] | None = None,
        max_epochs: int | None = None,
        max_iters: int | None = None,
        epoch_length: int | None = None,
        *,
        resume: str | Path | None = None,
        seed: int | None = None,
    ) -> State:
        """Runs the step function over ``data``.

        A fresh engine, or one that has reached its limit by itself, begins at the beginning. One
        that was stopped, or is given a higher limit, goes on from its counters; one that was
        interrupted, exactly where it was. One whose *loaded* state is finished has nothing to do
        and returns at once. ``engine.state.max_epochs = None`` (or ``max_iters``) forces a new
        beginning.

        After a failure (an exception or Ctrl-C) a run of one epoch, such as an evaluator's, begins
        anew, unless
        :meth:`ignite.handlers.Checkpoint.of` saves it, and so does any run over other data, up to the limit of the one
        that has failed if none is given. Over the same data, the epoch is finished: STARTED is
        fired, then what would have come next, with the next batch; the iteration and the event at
        which the run has failed are given up. If the place in the data is lost, because it was the
        data that failed, or Ctrl-C has ended the workers of a loader, the whole epoch is repeated,
        with the counters set back to its start. The log says which. Lists, data that know their
        place (:func:`ignite.data.resumable`, :class:`ignite.data.ArrayLoader`) and iterators never
        lose it.

        Handlers may set the counters and limits at any event, or load a state. A length or limit
        holds from the next batch on. A counter that is set is another number for the same epoch or
        iteration, and tells a position only before the first batch of a run, where ``iteration``
        says how much of the epoch is done. A state that is loaded takes effect when the handlers of
        the event have been called: the epoch at hand is given up, and the run goes on as if it had
        been loaded before.

        Args:
            data: anything that can be iterated over. Without data, the step function is given None
                ``epoch_length`` times an epoch.
            max_epochs: the epoch after which to end. A run that begins without a limit has one
                epoch.
            max_iters: the iteration after which to end, possibly inside an epoch; not with
                ``max_epochs``.
            epoch_length: iterations in an epoch, whatever the length of the data, which begins anew
                where it ends. Without it, an epoch is ``len(data)`` iterations, and ends where the
                data does.
            resume: go on from what :meth:`ignite.handlers.Checkpoint.of` has written: "latest" or
                "best" of the folder that one attached here writes to, or the path of a file or
                folder. The model, the optimizer and all else that belongs to the run are restored,
                all or nothing, and a table in the log says what was and what was not. From
                "latest", a run that has no checkpoint yet begins at the beginning.
            seed: deprecated, of Ignite 0.3: call :func:`ignite.utils.manual_seed` before, as is
                done here.

        Returns:
            ``engine.state``.

        Raises:
            TypeError: ``data`` cannot be iterated over.
            ValueError: the arguments contradict each other, the data or the state. The state, and
                all that would have been resumed, is left as it was.
            RuntimeError: this engine is running, or handlers set it back again and again, so that
                it would never end.
            CheckpointError: what should be resumed is damaged, unsafe, or does not fit. Nothing is
                changed.
            FileNotFoundError: it does not exist.
            Whatever the step function, the data or a handler raises and no handler of
            EXCEPTION_RAISED takes over.
        """
        self._check_can_run(data)
        given = data
        self._attendance = together.begin(self)
        if resume is not None or self._keeper is not None:
            data = _resume.resumable(self, data)
        if resume is not None:
            self._resumption = _resume.resume(self, resume, data)
        request = Request(
            max_epochs, max_iters, epoch_length, _fetch.length_of(data), has_data=data is not None,
            is_same_data=_fetch.is_same(given, self._source.given), is_saved=self._keeper is not None,
        )  # fmt: skip
        with ExitStack() as frames:
            frames.callback(together.end, self)
            with self._taking_back():
                plan = self._plan(request, data)
                runs, is_new = plan.course is not Course.NOTHING, plan.course is Course.BEGIN
                if runs and self._keeper is not None:
                    frames.enter_context(self._keeper.held(is_new))
                if self._resumption is not None:
                    self._resumption.restore()
                for frame in self._frames if runs else ():
                    frames.enter_context(frame(self, is_new))
            if plan.course is Course.NOTHING:
                is_resumed, self._resumption = self._resumption is not None, None
                # Ignite trained again here: a program that fine-tunes from the state of a finished
                # run has to know.
                self.logger.log(
                    logging.INFO if is_resumed else logging.WARNING,
                    "Nothing to run: the loaded state is finished (%s). To go on, give run() a larger max_epochs or "
                    "max_iters; to begin anew, set engine.state.max_epochs = None before",
                    describe_progress(self.state),
                )
                return self.state
            if seed is not None:
                self._use_seed(seed)
            self._begin(plan, data)
            self._source.given = given
            frames.callback(self._leave)
            frames.enter_context(_running.entered(self))
            _loop.run(self)
        return self.state

    def _check_can_run(self, data: Any) -> None:
        if self._is_running:
            raise RuntimeError(
                "run() should be called on an engine that is not running, but this one is: for a loop within the loop, "
                "make a second Engine"
            )
        if data is not None and not isinstance(data, Iterable):
            raise TypeError(f"Argument data should be iterable, but given {type(data).__name__}")

    def _plan(self, request: Request, data: Any) -> _cursor.Plan:
        plan = _cursor.plan_run(self.state, self._cursor, request)
        if plan.course is Course.RESUME and self._cursor.position_is_lost:
            _fetch.check_can_go_on(data)
        if self._resumption is not None and self._resumption.is_over(request):
            return plan._replace(course=Course.NOTHING)
        return plan

    @contextmanager
    def _taking_back(self) -> Iterator[None]:
        """Whatever is raised in the block, a run that was to be resumed is as it was, and is not resumed later."""
        try:
            yield
        except BaseException:
            resumption, self._resumption = self._resumption, None
            if resumption is not None:
                resumption.take_back()
            raise

    def _use_seed(self, seed: int) -> None:
        warnings.warn(
            "seed should be given to ignite.utils.manual_seed", DeprecationWarning, stacklevel=3
        )
        manual_seed(seed)
        self.state.seed = seed

    def set_data(self, data: Iterable[Batch]) -> None:
        """Takes the next batch, and all after it, from ``data``; counters and ``epoch_length`` stay.

        In a run that is saved with :meth:`ignite.handlers.Checkpoint.of`, call it in a handler of
        STARTED, which a resumed run calls again. Called anywhere else, the next save is an error: a
        resumed run would have other data.
        """
        if self._is_running and (self._keeper is not None or self._resumption is not None):
            data = _resume.resumable(self, data) or data
            if self.last_event_name is Events.STARTED:
                self._source.data, self._source.is_set = data, True
                if self._resumption is not None:
                    self._resumption.take_data(data)
        self.state.dataloader = data
        self._dataloader_iter = _fetch.iterate(data, self._meters)
        self._cursor.length_is_given = True
        self._cursor.pass_start = None
        self._attention = True

    def _begin(self, plan: _cursor.Plan, data: Iterable[Batch] | None) -> None:
        state, interruption = self.state, self._source.interruption or _fetch.LOST
        self._source.interruption = None
        self._note_given_up(plan)
        if plan.course is Course.BEGIN:
            state.iteration = state.epoch = 0
            state._event_counts.clear()
            self._cursor = Cursor()
            _fetch.begin_passes(data)
        cursor = self._cursor
        cursor.goes_on = False
        if plan.course is Course.CONTINUE:
            cursor.is_paused = False
            self._run_watch.resume()
            self._epoch_watch.resume()
        else:
            self._dataloader_iter = None
            has_failed = cursor.is_failed and not cursor.is_loaded
            if plan.course is Course.RESUME and has_failed and not cursor.was_set(state):
                self._continue_failed(interruption)
            else:
                cursor.is_open = False
                if (
                    plan.course is Course.RESUME
                    and self._resumption is None
                    and data is state.dataloader
                ):
                    _fetch.stay(data, is_inside_pass=cursor.position(state)[1] > 0)
                state.dataloader = self._source.data = data
                self._source.is_set = False
                self._pass_notifier = _fetch.PassNotifier(data)
            state.times = dict.fromkeys(state.times, 0.0)
            cursor.moment = _cursor.BEFORE_RUN
            self._clear_requests()
            self._run_watch.restart()
        state.max_epochs, state.max_iters, state.epoch_length = (
            plan.max_epochs,
            plan.max_iters,
            plan.epoch_length,
        )
        cursor.length_is_given, cursor.planned_length = plan.length_is_given, plan.epoch_length
        outer = _running.outermost_engine()
        if outer is not None:
            self._request = outer._request
            self._random_at_start = capture_random_state() if outer.is_preemptible else None
        self._is_running = True
        self._refresh_tables()
        self.logger.info("Engine run %s: %s", plan.course.value, describe_progress(state))

    def _continue_failed(self, interruption: _fetch.Interruption) -> None:
        """Continues a failed run over the same data: the rest of the epoch, or all of it if the position is lost."""
        state, cursor = self.state, self._cursor
        is_known, self._dataloader_iter = _fetch.continue_from(
            interruption, state.dataloader, cursor
        )
        is_known = is_known or self._can_seek
        before = state.iteration
        cursor.continue_failed(state, is_known)
        if is_known:
            if self._dataloader_iter is None:
                self._pass_notifier.repeat_pass()
            if cursor.is_open:
                self.logger.warning(
                    "The run has failed in epoch %s, iteration %s: it goes on behind that, with the rest of the epoch",
                    state.epoch + 1, before,
                )  # fmt: skip
        else:
            self._pass_notifier = _fetch.PassNotifier(state.dataloader)
            self.logger.warning(
                "The run has failed in epoch %s, iteration %s, and its place in the data is lost: the epoch is "
                "repeated from its start, iteration %s", state.epoch + 1, before, state.iteration,
            )  # fmt: skip

    def _note_given_up(self, plan: _cursor.Plan) -> None:
        cursor = self._cursor
        if plan.course is Course.BEGIN and cursor.is_failed and not cursor.is_loaded:
            self.logger.warning(
                "The run that has failed (%s) is given up, because it %s: a new one begins",
                describe_progress(self.state),
                "has one epoch" if _cursor.has_one_epoch(self.state) else "was over other data",
            )  # fmt: skip

    def _leave(self) -> None:
        state, cursor = self.state, self._cursor
        self._is_running = False
        self._request = self._resumption = None
        outer = _running.outermost_engine()
        self._ended_at = None if outer is None else outer.state.iteration
        self._run_watch.pause()
        self._epoch_watch.pause()
        if cursor.is_paused:
            return
        if cursor.is_loaded:  # by a handler, for the next run
            cursor.is_moved = cursor.is_failed = False
        elif cursor.is_failed and (self._keeper is not None or not _cursor.has_one_epoch(state)):
            self._source.interruption = _fetch.interruption_of(
                state.dataloader, self._dataloader_iter, cursor.position_is_lost
            )
        self._dataloader_iter = None
        if not cursor.is_loaded:
            cursor.know(state)

    @property
    def _logger(self) -> logging.Logger:
        """The name of ``logger`` in Ignite up to 0.3."""
        warnings.warn("engine._logger is engine.logger now", DeprecationWarning, stacklevel=2)
        return self.logger

    @_logger.setter
    def _logger(self, logger: logging.Logger) -> None:
        warnings.warn("engine._logger is engine.logger now", DeprecationWarning, stacklevel=2)
        self.logger = logger

    def state_dict(self) -> OrderedDict[str, Any]:
        """The counters, limits and listed user attributes, to go on from with ``load_state_dict``.

        Raises:
            AttributeError: a listed attribute is missing.
        """
        return save_progress(self)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Puts counters, limits and listed user attributes into the state; the next ``run`` goes on from there.

        Args:
            state_dict: from ``state_dict``; instead of ``iteration``, ``epoch`` is accepted.

        Raises:
            TypeError: it is not a dictionary.
            ValueError: keys are missing, unknown or contradictory, or a value is impossible. The
                state stays as it was.
        """
        load_progress(self, state_dict)
