"""The position of a run, and whether a call of ``run`` begins, continues or does nothing.

Plain numbers only.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, NamedTuple, Protocol

# Moments of a run, in order. Plain integers, because the loop compares them in each iteration.
BEFORE_RUN = 0
BETWEEN_EPOCHS = 1  # after STARTED or EPOCH_COMPLETED
BETWEEN_BATCHES = 2  # after EPOCH_STARTED or ITERATION_COMPLETED
BATCH_REQUESTED = 3  # after GET_BATCH_STARTED
DATA_ENDED = 4  # after DATALOADER_STOP_ITERATION
BATCH_FETCHED = 5  # the batch is there, before GET_BATCH_COMPLETED
BATCH_READY = 6  # after GET_BATCH_COMPLETED
ITERATION_BEGUN = 7  # after ITERATION_STARTED
STEP_DONE = 8  # after the process function

MAX_SETBACKS = 100
"""After so many setbacks without progress, a run is considered endless."""


class Limits(Protocol):
    """Counters and limits of a run, read-only."""

    @property
    def iteration(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def epoch_length(self) -> int | None: ...
    @property
    def max_epochs(self) -> int | None: ...
    @property
    def max_iters(self) -> int | None: ...


class Counters(Protocol):
    """Counters and limits of a run, writable."""

    iteration: int
    epoch: int
    epoch_length: int | None
    max_epochs: int | None
    max_iters: int | None


@dataclass(slots=True)
class Cursor:
    """The position of a run, as far as the counters of the state do not tell it.

    The loop has its own counter, ``iteration``: a counter of the state that a handler sets is
    another number for the same iteration, and neither lengthens nor shortens the current epoch.
    """

    moment: int = BEFORE_RUN
    iteration: int = 0
    """The current iteration: that of the state, unless a handler has just set another one."""
    epoch_start: int = 0
    """The value of ``iteration`` at the start of the current epoch."""
    pass_start: int | None = None
    """The value of ``iteration`` at which the data iterator was created, if known."""
    num_to_skip: int = 0
    """Batches that the next iterator skips, because a failed one has yielded them."""
    carried: int = 0
    """Completed iterations of the next epoch, from an earlier run."""
    known_iteration: int = 0
    """The iteration that ``carried`` was computed for; users may set another one."""
    known_epoch: int = 0
    """Likewise, the epoch."""
    is_set: bool = False
    """Whether the program has set a counter during the run.

    Then, as in Ignite, either of them ends it.
    """
    is_inside_epoch: bool = False
    """Whether an epoch has begun and not ended, also after a run that was stopped there."""
    is_open: bool = False
    """Whether the handlers of EPOCH_STARTED have been called for it, so that it can be continued."""
    is_paused: bool = False
    """Whether the run was interrupted and can continue exactly here."""
    is_failed: bool = False
    """Whether an exception has ended the run."""
    failed_at: int = BETWEEN_BATCHES
    """The moment from which the failed epoch can be continued."""
    position_is_lost: bool = False
    """Whether the data iterator has failed, so that the next batch is unknown."""
    goes_on: bool = False
    """Whether this run continues a failed one."""
    is_loaded: bool = False
    """Whether the state came from ``load_state_dict`` and no run has used it yet."""
    is_moved: bool = False
    """Whether a state has been loaded during the run and has not taken effect yet."""
    length_is_given: bool = False
    """Whether the user, not the data, determines the length of an epoch."""
    length_is_reported: bool = False
    """Whether a warning has said that data and length disagree."""
    planned_length: int | None = None
    """The length of an epoch that the run or its data have set; the program may set another one."""
    planned_epochs: int | None = None
    """The number of epochs in ``max_iters``, if all are as long as the first; it does not end the run."""
    end_is_due: bool = False
    """Whether the data iterator is that of the previous epoch, and is expected to be exhausted."""
    is_aligned: bool = True
    """Whether the data iterator was created at the start of an epoch."""
    unfinished: Any = None
    """An event whose handlers were not all called, and the number of those that were."""
    furthest: int | None = None
    """The highest value of the limited counter between two epochs."""
    latest: int | None = None
    """Its value before the current epoch."""
    num_setbacks: int = 0
    """How often it has not increased, since it was highest."""

    @property
    def num_done(self) -> int:
        """Iterations of the current epoch that have begun."""
        return self.iteration - self.epoch_start

    def load(self, counters: Counters, carried: int) -> None:
        """Takes over loaded counters; ``carried`` iterations of the next epoch are done."""
        for field in fields(self):  # in place, because the loop refers to this object
            if field.name not in ("moment", "is_failed", "furthest", "latest", "num_setbacks"):
                setattr(self, field.name, field.default)
        self.carried, self.is_loaded = carried, True
        self.know(counters)

    def know(self, counters: Counters) -> None:
        """Takes the counters as the position, not as set by the program."""
        self.iteration = self.known_iteration = counters.iteration
        self.known_epoch = counters.epoch

    def was_set(self, counters: Limits) -> bool:
        """Whether the program has set a counter."""
        return counters.iteration != self.known_iteration or counters.epoch != self.known_epoch

    def is_done(self, counters: Limits) -> bool:
        """Whether a limit is reached."""
        if counters.max_iters is not None and counters.max_epochs == self.planned_epochs:
            return counters.iteration >= counters.max_iters
        return is_done(counters, self.is_set or self.was_set(counters))

    def continue_failed(self, counters: Counters, position_is_known: bool) -> None:
        """Continues a failed run: with the rest of its epoch, or with all of it if the position is lost."""
        self.goes_on = True
        if not self.is_inside_epoch:
            return
        counters.epoch -= 1
        self.is_open = self.is_open and position_is_known
        if position_is_known:
            self.carried = self.num_done
        else:
            counters.iteration, self.carried = self.epoch_start, 0
        self.know(counters)

    def begin_run(self, counters: Counters) -> None:
        """Begins or resumes a run."""
        self.is_set = self.was_set(counters)
        self.is_inside_epoch = self.is_paused = self.is_failed = self.is_loaded = (
            self.position_is_lost
        ) = False
        self.furthest = self.latest = None
        self.num_setbacks = 0
        self.moment = BETWEEN_EPOCHS

    def begin_epoch(self, counters: Counters, is_first: bool = True) -> bool:
        """Begins an epoch, or the rest of one; returns whether it continues an epoch that has begun before.

        Args:
            counters: those of the state.
            is_first: whether no data have been fetched yet. Then an iteration that the program has
                set tells how much of the epoch is done: programs written for old Ignite resume like
                this, in a handler of STARTED.
        """
        counters.epoch += 1
        is_open = self.is_open and counters.iteration == self.known_iteration
        self.iteration = counters.iteration
        if (
            is_first
            and not is_open
            and counters.iteration != self.known_iteration
            and counters.epoch_length
        ):
            self.carried = counters.iteration % counters.epoch_length
        if not is_open:
            self.is_aligned = self.carried == 0
        self.moment = self.failed_at if is_open else BETWEEN_BATCHES
        self.failed_at = BETWEEN_BATCHES
        self.epoch_start = self.iteration - self.carried
        self.carried = 0
        self.is_inside_epoch, self.is_open = True, is_open
        self.know(counters)
        return is_open

    def open_epoch(self, counters: Counters, is_first: bool) -> None:
        """Marks the epoch as open after the handlers of EPOCH_STARTED."""
        if is_first and counters.iteration != self.iteration and counters.epoch_length:
            self.is_set = True
            self.iteration = counters.iteration
            self.epoch_start = self.iteration - self.iteration % counters.epoch_length
            self.is_aligned = self.iteration == self.epoch_start
        self.is_open = True

    def follow(self, counters: Counters) -> None:
        """Follows a handler that has set the iteration to another number."""
        shift = counters.iteration - self.iteration
        self.is_set = True
        self.iteration += shift
        self.epoch_start += shift
        if self.pass_start is not None:
            self.pass_start += shift

    def end_epoch(self, counters: Counters) -> None:
        """Ends the current epoch."""
        if counters.iteration != self.iteration:
            self.follow(counters)
        self.is_set = self.is_set or counters.epoch != self.known_epoch
        self.know(counters)
        self.is_inside_epoch = self.is_open = False
        self.moment = BETWEEN_EPOCHS

    def check(self, counters: Counters, has_data: bool = True) -> None:
        """Checks, between two epochs, that the run can end with the counters that handlers have set.

        Raises:
            ValueError: there is no limit, or an epoch has no length.
            RuntimeError: the counters have been reset again and again, so that the run would never
                end.
        """
        self.is_set = self.is_set or self.was_set(counters)
        if counters.max_epochs is None and counters.max_iters is None:
            raise ValueError(
                "max_epochs or max_iters should be set during a run, but both have been set to None. "
                "To end the run, call engine.terminate()"
            )
        length = counters.epoch_length
        if length is None and not has_data:
            raise ValueError(
                "epoch_length should be provided if data is None, but it has been set to None"
            )
        if length is not None and not length >= 1:
            raise ValueError(f"epoch_length should be at least 1, but it has been set to {length}")
        name = "epoch" if counters.max_iters is None else "iteration"
        current: int = getattr(counters, name)
        if self.latest is not None and current <= self.latest:
            self.num_setbacks += 1
        if self.furthest is None or current > self.furthest:
            self.furthest, self.num_setbacks = current, 0
        self.latest = current
        if self.num_setbacks >= MAX_SETBACKS:
            limit = "max_epochs" if counters.max_iters is None else "max_iters"
            raise RuntimeError(
                f"{name} should approach {limit}={getattr(counters, limit)} during the run, but "
                f"after having been {self.furthest} it was no higher than before {MAX_SETBACKS} "
                f"times, and is {current} now: the run would never end. Handlers that set counters "
                "or load a state should do so once"
            )

    def position(self, counters: Counters) -> tuple[int, int]:
        """Returns the number of completed epochs, and of iterations in the next one."""
        if self.is_inside_epoch:
            return counters.epoch - 1, self.num_done
        return counters.epoch, self.carried


class Verdict(Enum):
    """Why the loop leaves the current epoch or the run."""

    RUN_ENDED = "the run has ended"
    EPOCH_ENDED = "the epoch has ended"
    END_EPOCH = "terminate_epoch() was called"
    TERMINATE = "terminate() was called, or max_iters is reached inside an epoch"
    INTERRUPT = "interrupt() was called"
    MOVED = "a state was loaded"


class Course(Enum):
    """What a call of ``run`` does."""

    BEGIN = "begin at the beginning"
    RESUME = "go on from the counters"
    CONTINUE = "go on exactly where the run was interrupted"
    NOTHING = "the loaded run is finished"


class Request(NamedTuple):
    """The arguments of ``run``; ``data_length`` is None if it is unknown or there are no data.

    ``is_same_data`` tells whether the data are those of the previous run, ``is_saved`` whether
    checkpoints of the run are written, as for a trainer.
    """

    max_epochs: int | None = None
    max_iters: int | None = None
    epoch_length: int | None = None
    data_length: int | None = None
    has_data: bool = True
    is_same_data: bool = True
    is_saved: bool = False


class Plan(NamedTuple):
    """What a call of ``run`` does, and the limits it sets on the state."""

    course: Course
    max_epochs: int | None
    max_iters: int | None
    epoch_length: int | None
    length_is_given: bool


def is_done(counters: Limits, is_set: bool = True) -> bool:
    """Whether a limit is reached.

    If the program has set a counter (``is_set``), ``iteration`` counts, too.

    Otherwise, only ``epoch`` counts, because epochs may differ in length.
    """
    iteration, epoch = counters.iteration, counters.epoch
    if counters.max_iters is not None and iteration >= counters.max_iters:
        return True
    if counters.max_epochs is None:
        return False
    if (
        is_set
        and counters.epoch_length is not None
        and iteration >= counters.epoch_length * counters.max_epochs
    ):
        return True
    return epoch >= counters.max_epochs


def has_one_epoch(counters: Limits) -> bool:
    """Whether a run with these limits has one epoch, like that of an evaluator."""
    if counters.max_iters is not None:
        return counters.epoch_length is not None and counters.max_iters <= counters.epoch_length
    return counters.max_epochs == 1


def is_last_epoch(counters: Limits) -> bool:
    """Whether the current epoch is the last one planned, as far as that is known."""
    if counters.max_iters is not None:
        return counters.iteration >= counters.max_iters
    return counters.epoch == counters.max_epochs


def is_last_iteration(counters: Limits, iteration: int, num_done: int) -> bool:
    """Whether ``iteration``, the ``num_done``-th of its epoch, is the last one planned."""
    if counters.max_iters is not None and iteration >= counters.max_iters:
        return True
    return counters.epoch == counters.max_epochs and num_done == counters.epoch_length


def is_last_in_epoch(counters: Limits, epoch_start: int) -> bool:
    """Whether the current iteration is the last of its epoch or the run, as far as that is known."""
    if counters.max_iters is not None and counters.iteration >= counters.max_iters:
        return True
    return (
        counters.epoch_length is not None
        and counters.iteration - epoch_start >= counters.epoch_length
    )


def plan_run(counters: Limits, cursor: Cursor, request: Request) -> Plan:
    """Decides what a call of ``run`` does. Changes nothing.

    Raises:
        ValueError: the request contradicts itself, the data or the state.
    """
    _check_request(request)
    has_failed = cursor.is_failed and not cursor.is_loaded
    is_evaluator = has_one_epoch(counters) and not request.is_saved
    if has_failed and (is_evaluator or not request.is_same_data):
        is_limited = request.max_epochs is not None or request.max_iters is not None
        return _begin(counters, request, None if is_limited else counters)

    max_epochs, max_iters = _merge_limits(counters, request)
    has_limit = counters.max_epochs is not None or counters.max_iters is not None
    if cursor.is_paused and has_limit:
        _check_same_length(counters, request)
        return Plan(
            Course.CONTINUE, max_epochs, max_iters, counters.epoch_length, cursor.length_is_given
        )

    wanted = _Wanted(
        counters.iteration, counters.epoch, counters.epoch_length, max_epochs, max_iters
    )
    has_begun = (
        cursor.is_loaded
        or cursor.moment == BEFORE_RUN
        or counters.iteration > 0
        or counters.epoch > 0
    )
    if (
        has_limit and not has_begun and not request.is_same_data
    ):  # it was stopped before its first iteration
        return _begin(counters, request, wanted)
    # The end of the last epoch may be all that is left.
    is_unfinished = cursor.is_failed or (
        cursor.is_loaded and 0 < (counters.epoch_length or 0) <= cursor.carried
    )
    if has_limit and (is_unfinished or not cursor.is_done(wanted)):
        _check_same_length(counters, request)
        length = counters.epoch_length or request.epoch_length or request.data_length
        _check_length(length, request)
        is_given = request.epoch_length is not None or cursor.length_is_given
        if not has_failed:
            is_given = is_given or request.data_length != length
        return Plan(Course.RESUME, max_epochs, max_iters, length, is_given)
    if has_limit and cursor.is_loaded:
        return Plan(
            Course.NOTHING, max_epochs, max_iters, counters.epoch_length, cursor.length_is_given
        )
    return _begin(counters, request, None)


def _begin(counters: Limits, request: Request, limits: Limits | None) -> Plan:
    """Plans a new run up to the requested limits, by default up to ``limits``, or else of one epoch."""
    length = request.epoch_length
    if length is None:
        length = request.data_length if request.has_data else counters.epoch_length
    _check_length(length, request)
    max_epochs, max_iters = (
        (limits.max_epochs, limits.max_iters) if limits else (request.max_epochs, request.max_iters)
    )
    if max_iters is not None:
        max_epochs = None
    elif max_epochs is None:
        max_epochs = 1
    is_given = request.epoch_length is not None or not request.has_data
    return Plan(Course.BEGIN, max_epochs, max_iters, length, is_given)


class _Wanted(NamedTuple):
    iteration: int
    epoch: int
    epoch_length: int | None
    max_epochs: int | None
    max_iters: int | None


def _check_request(request: Request) -> None:
    if request.max_epochs is not None and request.max_iters is not None:
        raise ValueError(
            "Arguments max_epochs and max_iters are mutually exclusive. Please provide only "
            f"max_epochs or max_iters, but given max_epochs={request.max_epochs} and "
            f"max_iters={request.max_iters}"
        )
    for name in ("max_epochs", "max_iters", "epoch_length"):
        value: Any = getattr(request, name)
        if value is not None and value < 1:
            raise ValueError(f"Argument {name} should be at least 1, but given {value}")
    if request.data_length == 0:
        raise ValueError("Input data has zero size. Please provide non-empty data")


def _merge_limits(counters: Limits, request: Request) -> tuple[int | None, int | None]:
    in_iters_mode = counters.max_iters is not None
    in_epochs_mode = counters.max_epochs is not None and not in_iters_mode
    if (in_iters_mode and request.max_epochs is not None) or (
        in_epochs_mode and request.max_iters is not None
    ):
        old, new = ("max_iters", "max_epochs") if in_iters_mode else ("max_epochs", "max_iters")
        raise ValueError(
            f"The run is limited by {old}={getattr(counters, old)}. To switch from {old} to {new} "
            f"mode during resume, you must first reset by setting 'engine.state.{old} = None'"
        )
    _check_not_passed(
        "max_epochs", request.max_epochs, counters.epoch if in_epochs_mode else 0, "epoch"
    )
    _check_not_passed(
        "max_iters", request.max_iters, counters.iteration if in_iters_mode else 0, "iteration"
    )
    return (
        request.max_epochs if request.max_epochs is not None else counters.max_epochs,
        request.max_iters if request.max_iters is not None else counters.max_iters,
    )


def _check_not_passed(name: str, limit: int | None, current: int, unit: str) -> None:
    if limit is not None and limit < current:
        raise ValueError(
            f"Argument {name} should be greater than or equal to the start {unit} defined in the "
            f"state: {limit} vs {current}. Please, set engine.state.{name} = None before calling "
            "engine.run() in order to restart the training from the beginning."
        )


def _check_same_length(counters: Limits, request: Request) -> None:
    if request.epoch_length is not None and counters.epoch_length not in (
        None,
        request.epoch_length,
    ):
        raise ValueError(
            "Argument epoch_length should be same as in the state, "
            f"but given {request.epoch_length} vs {counters.epoch_length}"
        )


def _check_length(length: int | None, request: Request) -> None:
    if length is None and not request.has_data:
        raise ValueError("epoch_length should be provided if data is None, but given None")


def describe_progress(counters: Limits) -> str:
    """The counters in words, for the log."""
    limit = (
        f"iteration {counters.max_iters}"
        if counters.max_iters is not None
        else f"epoch {counters.max_epochs}"
    )
    length = "unknown" if counters.epoch_length is None else counters.epoch_length
    return f"epoch {counters.epoch}, iteration {counters.iteration}, up to {limit}, epoch_length {length}"


def describe_start(counters: Limits, is_new: bool) -> str:
    """What a run does, for the log, in Ignite's words: programs search for them."""
    is_in_iters = counters.max_iters is not None
    value = counters.max_iters if is_in_iters else counters.max_epochs
    name, unit = ("max_iters", "iterations") if is_in_iters else ("max_epochs", "epochs")
    if is_new:
        return f"starting with {name}={value}."
    return (
        f"resuming from iteration {counters.iteration}, epoch {counters.epoch} until {value} {unit}"
    )
