"""The engine: one step function, called for each batch of the data, with events around it."""

from __future__ import annotations

import logging
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from ignite._core.calls import describe_signature, name_of
from ignite._core.clock import Stopwatch
from ignite._core.old_arguments import OldOrder, takes_old, warn_program
from ignite._core.optional import LazyModule
from ignite._core.rng import RandomState, capture_random_state, manual_seed
from ignite.distributed import get_world_size
from ignite.engine import _cursor, _fetch, _loop, together
from ignite.engine._controls import Controls, entered, outermost_engine
from ignite.engine._cursor import Course, Cursor, Request, describe_progress, describe_start
from ignite.engine._handlers import can_take
from ignite.engine._state import State, load_progress, save_progress
from ignite.engine.events import CallableEvents, CallableEventWithFilter, EventEnum, Events  # noqa: F401 - programs look here

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from ignite.base import BoundaryRequest, RunContext, RunSaver
    from ignite.engine.control import Commands
    from ignite.engine.resume import resumption as _resume
    from ignite.engine.resume.resumption import Resumption

    # With defaults, "Engine" means Engine[Any, Any]. Python has them since 3.13.
    Batch = TypeVar("Batch", default=Any)
    Output = TypeVar("Output", default=Any)
else:
    from typing import TypeVar

    Batch, Output = TypeVar("Batch"), TypeVar("Output")
    _resume = LazyModule("ignite.engine.resume.resumption")  # imports storage and data

__all__ = ["Engine"]


class Engine(Controls, Generic[Batch, Output]):
    """Calls a step function for each batch of the data in each epoch, and fires events.

    The same class serves for training, evaluation and inference. The module
    ``ignite.engine.events`` shows the order of events.

    Args:
        process_function: ``f(engine, batch) -> output``; the output is ``engine.state.output``.

    Raises:
        ValueError: ``process_function`` is None, or does not accept ``(engine, batch)``.

    Attributes:
        state: counters, the current batch and output, metrics, and attributes of the user; see
            :class:`State`.
        logger: logs the progress of the run at level INFO, and each event at DEBUG.
        last_event_name: the event that was fired last; None before the first.
        should_terminate: True or "skip_completed" to end the run; settable.
        should_terminate_single_epoch: True or "skip_epoch_completed" to end the epoch; settable.
        should_interrupt: True to pause the run; settable.

    State:
        The counters and limits, and the attributes of ``state`` in ``state_dict_user_keys``. After
        loading, ``run`` continues, also within an epoch. The position in the data is not included.

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
        if not can_take(process_function, (self, None), {}):
            raise ValueError(
                f"Error adding {name_of(process_function)} 'process_function': should accept "
                f"(engine, batch), but takes {describe_signature(process_function)}"
            )
        self._process_function = process_function
        self._cursor = Cursor()
        self._dataloader_iter: Iterator[Any] | None = None
        self._source = _fetch.Source()
        self._pass_notifier = _fetch.PassNotifier(None)
        self._run_watch, self._epoch_watch = Stopwatch(), Stopwatch()
        self._state_dict_user_keys: list[str] = []
        self._is_running = False
        self._requests: list[BoundaryRequest] = []
        self._commands: Commands | None = None
        self._resumption: Resumption | None = None
        self._keeper: RunSaver | None = None
        self._attendance: together.Attendance | None = None
        self._frames: list[RunContext] = []
        self.is_preemptible = False
        self._ended_at: int | None = None
        self._random_at_start: RandomState | None = None
        self._clear_requests()

    @takes_old(
        OldOrder(
            "data max_epochs epoch_length seed",
            # max_epochs and max_iters exclude each other.
            lambda values: len(values) > 2 and None not in (values[1], values[2]),
        )
    )
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

        A new engine, and one whose last run has reached its limit, begins a new run. An engine that
        was stopped, or is given a higher limit, continues from its counters; one that was
        interrupted, exactly where it was. If a *loaded* state is finished, ``run`` returns at once.
        To begin a new run instead, set ``engine.state.max_epochs = None`` (or ``max_iters``).

        After a failure (an exception or Ctrl-C), a new run begins if the run has one epoch, like
        that of an evaluator, and is not saved by :meth:`ignite.handlers.Checkpoint.of`; or if the
        data are others. By default, it has the limit of the failed run. Over the same data, the
        failed epoch is continued: STARTED is fired, then the events after the failure, with the
        next batch. The iteration and the event of the failure are not repeated. If the position in
        the data is lost, because the data have failed, or Ctrl-C has ended the workers of a loader,
        the whole epoch is repeated, with the counters of its start; the log says so. Lists,
        iterators, and data with a position (:func:`ignite.data.resumable`,
        :class:`ignite.data.ArrayLoader`) never lose it.

        Handlers may set the counters and limits at any event, or load a state. A length or limit
        takes effect from the next batch on. Setting a counter renumbers the current epoch or
        iteration, and does not move the run; only before the first batch of a run, ``iteration``
        says how many iterations of the epoch are done. A loaded state takes effect after the
        handlers of the event: the run leaves the current epoch, and continues as if the state had
        been loaded before.

        Args:
            data: any iterable. If it is None, the step function gets None, ``epoch_length`` times
                per epoch.
            max_epochs: the last epoch. A new run without a limit has one epoch.
            max_iters: the last iteration, possibly within an epoch; exclusive with ``max_epochs``.
            epoch_length: iterations per epoch, independent of the length of the data, which are
                iterated over again when they are exhausted. By default ``len(data)``; then, the end
                of the data ends the epoch.
            resume: resume from a checkpoint of :meth:`ignite.handlers.Checkpoint.of`: "latest" or
                "best" in the folder of the one attached to this engine, or the path of a file or
                folder. The model, the optimizer and everything else that belongs to the run are
                restored, all or nothing; a table in the log shows them. With "latest", a new run
                begins if there is no checkpoint yet.
            seed: deprecated since Ignite 0.4: call :func:`ignite.utils.manual_seed` before.

        Returns:
            ``engine.state``.

        Raises:
            TypeError: ``data`` is not iterable.
            ValueError: the arguments contradict each other, the data or the state. The state and
                the objects to resume do not change.
            RuntimeError: this engine is running, or handlers set counters back repeatedly, so that
                the run would never end.
            CheckpointError: the checkpoint is damaged, unsafe, or does not fit. Nothing changes.
            FileNotFoundError: the checkpoint does not exist.
            Exceptions of the step function, the data and handlers, unless a handler of
            EXCEPTION_RAISED handles them.
        """
        self._check_can_run(data)
        given = data
        self._attendance = together.begin(self) if get_world_size() > 1 else None
        if resume is not None or self._keeper is not None:
            data = _resume.resumable(self, data)
        self._source.coming = data
        if resume is not None:
            self._resumption = _resume.resume(self, resume, data)
        request = Request(
            max_epochs, max_iters, epoch_length, _fetch.length_of(data), has_data=data is not None,
            is_same_data=_fetch.is_same(given, self._source.given), is_saved=self._keeper is not None,
        )  # fmt: skip
        with ExitStack() as frames:
            if self._attendance is not None:
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
                # A warning, because Ignite trained again here: programs may fine-tune from the
                # state of a finished run.
                self.logger.log(
                    logging.INFO if is_resumed else logging.WARNING,
                    "Nothing to run: the loaded state is finished (%s). To continue, give run() a "
                    "larger max_epochs or max_iters; to begin a new run, set "
                    "engine.state.max_epochs = None before",
                    describe_progress(self.state),
                )
                return self.state
            if seed is not None:
                self._use_seed(seed)
            self._begin(plan, data)
            self._source.given = given
            frames.callback(self._leave)
            frames.enter_context(entered(self))
            _loop.run(self)
        return self.state

    def _check_can_run(self, data: Any) -> None:
        if self._is_running:
            raise RuntimeError(
                "run() should be called on an engine that is not running, but this one is: for a "
                "nested loop, create a second Engine"
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
        """Undoes the resumption of a run if the block raises."""
        try:
            yield
        except BaseException:
            resumption, self._resumption = self._resumption, None
            if resumption is not None:
                resumption.take_back()
            raise

    def _use_seed(self, seed: int) -> None:
        warn_program("seed should be given to ignite.utils.manual_seed")
        manual_seed(seed)
        self.state.seed = seed

    def set_data(self, data: Iterable[Batch]) -> None:
        """Replaces the data from the next batch on; counters and ``epoch_length`` do not change.

        In a run that is saved by :meth:`ignite.handlers.Checkpoint.of`, call it in a handler of
        STARTED, which a resumed run calls again. After a call anywhere else, the next save raises
        an error: a resumed run would have other data.
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
                self._take_data(data, is_resumed=plan.course is Course.RESUME)
            state.times = dict.fromkeys(state.times, 0.0)
            cursor.moment = _cursor.BEFORE_RUN
            self._run_watch.restart()
            self._clear_requests()
        state.max_epochs, state.max_iters, state.epoch_length = (
            plan.max_epochs,
            plan.max_iters,
            plan.epoch_length,
        )
        cursor.length_is_given, cursor.planned_length = plan.length_is_given, plan.epoch_length
        outer = outermost_engine()
        if outer is not None:
            self._requests[:] = outer._requests
            capture = getattr(outer.run_saver, "random_state", capture_random_state)
            self._random_at_start = capture() if outer.is_preemptible else None
        self._is_running = True
        self._refresh_tables()
        self.logger.info("Engine run %s", describe_start(state, plan.course is Course.BEGIN))

    def _take_data(self, data: Iterable[Batch] | None, is_resumed: bool) -> None:
        """Begins or resumes a run at the position where the data are."""
        state, cursor = self.state, self._cursor
        cursor.is_open = False
        if is_resumed and self._resumption is None and data is state.dataloader:
            _fetch.stay(data, is_inside_pass=cursor.position(state)[1] > 0)
        state.dataloader = self._source.data = data
        self._source.is_set = False
        self._pass_notifier = _fetch.PassNotifier(data)

    @staticmethod
    def _is_done(state: State) -> bool:
        """Whether the counters have reached a limit. Programs for Ignite call it."""
        if state.max_iters is not None and state.iteration >= state.max_iters:
            return True
        if state.max_epochs is None:
            return False
        is_last = state.epoch_length is not None and (
            state.iteration >= state.epoch_length * state.max_epochs
        )
        return is_last or state.epoch >= state.max_epochs

    @property
    def _internal_run_generator(self) -> Any:
        """Something if the run is interrupted, else None. Setting None gives the interrupted run up, as in Ignite."""
        return self._dataloader_iter if self._cursor.is_paused else None

    @_internal_run_generator.setter
    def _internal_run_generator(self, value: None) -> None:
        if value is not None:
            raise ValueError(
                f"_internal_run_generator should be set to None only, but given {value!r}"
            )
        self._cursor.is_paused = False

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
                    "The run has failed in epoch %s, iteration %s: it continues with the rest of "
                    "the epoch",
                    state.epoch + 1, before,
                )  # fmt: skip
        else:
            self._pass_notifier = _fetch.PassNotifier(state.dataloader)
            self.logger.warning(
                "The run has failed in epoch %s, iteration %s, and its position in the data is "
                "lost: the epoch is "
                "repeated from its start, iteration %s", state.epoch + 1, before, state.iteration,
            )  # fmt: skip

    def _note_given_up(self, plan: _cursor.Plan) -> None:
        cursor = self._cursor
        if plan.course is Course.BEGIN and cursor.is_failed and not cursor.is_loaded:
            self.logger.warning(
                "The failed run (%s) is not continued, because it %s: a new run begins",
                describe_progress(self.state),
                "has one epoch" if _cursor.has_one_epoch(self.state) else "was over other data",
            )  # fmt: skip

    def _leave(self) -> None:
        state, cursor = self.state, self._cursor
        self._is_running = False
        self._requests.clear()
        self._resumption = None
        if self._commands is not None:
            self._commands.close(self)
        outer = outermost_engine()
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
        """Returns the counters, limits and listed user attributes, for ``load_state_dict``.

        Raises:
            AttributeError: a listed attribute is missing.
        """
        return save_progress(self)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Loads counters, limits and listed user attributes; the next ``run`` continues from them.

        Args:
            state_dict: from ``state_dict``; instead of ``iteration``, ``epoch`` is accepted.

        Raises:
            TypeError: ``state_dict`` is not a dictionary.
            ValueError: keys are missing, unknown or contradictory, or a value is out of range. The
                state does not change.
        """
        load_progress(self, state_dict)
