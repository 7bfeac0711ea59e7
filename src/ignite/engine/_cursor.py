"""Where a run is, and whether a run begins, goes on or has nothing to do. Plain numbers; no engine, no data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, Protocol

# How far a run has come: the last thing that has happened, in the order of things. Plain integers, because the loop
# compares them in each iteration.
BEFORE_RUN = 0
BETWEEN_EPOCHS = 1  # after STARTED or EPOCH_COMPLETED
BETWEEN_BATCHES = 2  # after EPOCH_STARTED or ITERATION_COMPLETED
BATCH_REQUESTED = 3  # after GET_BATCH_STARTED
DATA_ENDED = 4  # after DATALOADER_STOP_ITERATION
BATCH_READY = 5  # after GET_BATCH_COMPLETED
ITERATION_BEGUN = 6  # after ITERATION_STARTED
STEP_DONE = 7  # after the process function


class Limits(Protocol):
    """How far a run has come and where it ends, to look at."""

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
    """The same, on a state whose counters the run moves on."""

    iteration: int
    epoch: int
    epoch_length: int | None
    max_epochs: int | None
    max_iters: int | None


@dataclass(slots=True)
class Cursor:
    """What the counters of the state leave open about the position of a run."""

    moment: int = BEFORE_RUN
    epoch_start: int = 0
    """The value of ``iteration`` at which the epoch at hand began."""
    carried: int = 0
    """Iterations of the coming epoch that an earlier run has done."""
    known_iteration: int = 0
    """The iteration that ``carried`` was worked out for; users may set another one."""
    is_inside_epoch: bool = False
    """Whether the latest epoch has begun and is not over, in a run or after one that was stopped there."""
    is_paused: bool = False
    """Whether the run was interrupted and can go on exactly here."""
    is_failed: bool = False
    """Whether the run was left by an exception, inside an epoch that the next run has to finish."""
    is_loaded: bool = False
    """Whether the state came from ``load_state_dict`` and no run has used it yet."""
    length_is_given: bool = False
    """Whether the user, not the data, says how long an epoch is."""
    length_is_reported: bool = False
    """Whether the user knows that data and length disagree."""
    end_is_due: bool = False
    """Whether the data iterator is that of the epoch before, and should have been found at its end by now."""
    is_aligned: bool = True
    """Whether the data iterator was made at the beginning of an epoch."""
    unfinished: Any = None
    """An event of which not all handlers have been called, and how many have."""

    def begin_run(self, counters: Counters) -> None:
        """A run begins or resumes; one that an exception has left inside an epoch goes on with the rest of it."""
        if self.is_failed and self.is_inside_epoch:
            counters.epoch -= 1
            self.carried = counters.iteration - self.epoch_start
            self.known_iteration = counters.iteration
        self.is_inside_epoch = self.is_paused = self.is_failed = self.is_loaded = False
        self.moment = BETWEEN_EPOCHS

    def begin_epoch(self, counters: Counters) -> None:
        """An epoch begins, or the rest of one."""
        counters.epoch += 1
        if counters.iteration != self.known_iteration and counters.epoch_length:
            # Programs written for old Ignite resume by setting the counters in a handler of STARTED.
            self.carried = counters.iteration % counters.epoch_length
        self.epoch_start = counters.iteration - self.carried
        self.is_aligned = self.carried == 0
        self.carried = 0
        self.is_inside_epoch = True
        self.moment = BETWEEN_BATCHES

    def end_epoch(self, counters: Counters) -> None:
        """The epoch at hand is over."""
        self.known_iteration = counters.iteration
        self.is_inside_epoch = False
        self.moment = BETWEEN_EPOCHS

    def position(self, counters: Counters) -> tuple[int, int]:
        """Epochs that are over, and iterations done in the one after them."""
        if self.is_inside_epoch:
            return counters.epoch - 1, counters.iteration - self.epoch_start
        return counters.epoch, self.carried


class Verdict(Enum):
    """Why the loop stops walking where it is."""

    EPOCH_ENDED = "the epoch has come to its end"
    END_EPOCH = "terminate_epoch() was called"
    TERMINATE = "terminate() was called, or max_iters is reached inside an epoch"
    INTERRUPT = "interrupt() was called"


class Course(Enum):
    """What a call of ``run`` does."""

    BEGIN = "begin at the beginning"
    RESUME = "go on from the counters"
    CONTINUE = "go on exactly where the run was interrupted"
    NOTHING = "the loaded run is finished"


class Request(NamedTuple):
    """What ``run`` was asked for; ``data_length`` is None where it is unknown or there is no data."""

    max_epochs: int | None = None
    max_iters: int | None = None
    epoch_length: int | None = None
    data_length: int | None = None
    has_data: bool = True


class Plan(NamedTuple):
    """The course of a run, and the limits it writes to the state."""

    course: Course
    max_epochs: int | None
    max_iters: int | None
    epoch_length: int | None
    length_is_given: bool


def is_done(counters: Limits, known_iteration: int | None = None) -> bool:
    """Whether a limit is reached; where epochs differ in length, only ``epoch`` says how many there have been.

    Programs may have set ``iteration`` alone: then it is another one than ``known_iteration``, and counts, too.
    """
    iteration, epoch = counters.iteration, counters.epoch
    if counters.max_iters is not None and iteration >= counters.max_iters:
        return True
    if counters.max_epochs is None:
        return False
    is_set = counters.epoch_length is not None and iteration != known_iteration
    if is_set and iteration >= (counters.epoch_length or 0) * counters.max_epochs:
        return True
    return epoch >= counters.max_epochs


def is_last_epoch(counters: Limits) -> bool:
    """Whether no epoch is planned after the one at hand, as far as that is known."""
    if counters.max_iters is not None:
        return counters.iteration >= counters.max_iters
    return counters.epoch == counters.max_epochs


def is_last_iteration(counters: Limits, epoch_start: int, iteration: int) -> bool:
    """Whether ``iteration`` is the last one planned."""
    if counters.max_iters is not None and iteration >= counters.max_iters:
        return True
    return counters.epoch == counters.max_epochs and iteration - epoch_start == counters.epoch_length


def is_last_in_epoch(counters: Limits, epoch_start: int) -> bool:
    """Whether the iteration at hand is the last one of its epoch or of the run, as far as that is known."""
    if counters.max_iters is not None and counters.iteration >= counters.max_iters:
        return True
    return counters.epoch_length is not None and counters.iteration - epoch_start >= counters.epoch_length


def plan_run(counters: Limits, cursor: Cursor, request: Request) -> Plan:
    """Decides what a call of ``run`` does. Changes nothing.

    Raises:
        ValueError: the request contradicts itself, the data or the state.
    """
    _check_request(request)
    max_epochs, max_iters = _merge_limits(counters, request)
    has_limit = counters.max_epochs is not None or counters.max_iters is not None
    if cursor.is_paused and has_limit:
        _check_same_length(counters, request)
        return Plan(Course.CONTINUE, max_epochs, max_iters, counters.epoch_length, cursor.length_is_given)

    wanted = _Wanted(counters.iteration, counters.epoch, counters.epoch_length, max_epochs, max_iters)
    # The end of the last epoch may be all that is left.
    is_unfinished = cursor.is_failed or (cursor.is_loaded and 0 < (counters.epoch_length or 0) <= cursor.carried)
    if has_limit and (is_unfinished or not is_done(wanted, cursor.known_iteration)):
        _check_same_length(counters, request)
        length = counters.epoch_length or request.epoch_length or request.data_length
        _check_length(length, request)
        is_given = request.epoch_length is not None or cursor.length_is_given or request.data_length != length
        return Plan(Course.RESUME, max_epochs, max_iters, length, is_given)
    if has_limit and cursor.is_loaded:
        return Plan(Course.NOTHING, max_epochs, max_iters, counters.epoch_length, cursor.length_is_given)

    length = request.epoch_length
    if length is None:
        length = request.data_length if request.has_data else counters.epoch_length
    _check_length(length, request)
    max_epochs = 1 if request.max_epochs is None and request.max_iters is None else request.max_epochs
    is_given = request.epoch_length is not None or not request.has_data
    return Plan(Course.BEGIN, max_epochs, request.max_iters, length, is_given)


class _Wanted(NamedTuple):
    iteration: int
    epoch: int
    epoch_length: int | None
    max_epochs: int | None
    max_iters: int | None


def _check_request(request: Request) -> None:
    if request.max_epochs is not None and request.max_iters is not None:
        raise ValueError(
            "Arguments max_epochs and max_iters are mutually exclusive. Please provide only max_epochs or max_iters, "
            f"but given max_epochs={request.max_epochs} and max_iters={request.max_iters}"
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
    if (in_iters_mode and request.max_epochs is not None) or (in_epochs_mode and request.max_iters is not None):
        old, new = ("max_iters", "max_epochs") if in_iters_mode else ("max_epochs", "max_iters")
        raise ValueError(
            f"The run is limited by {old}={getattr(counters, old)}. To switch from {old} to {new} mode during resume, "
            f"you must first reset by setting 'engine.state.{old} = None'"
        )
    _check_not_passed("max_epochs", request.max_epochs, counters.epoch if in_epochs_mode else 0, "epoch")
    _check_not_passed("max_iters", request.max_iters, counters.iteration if in_iters_mode else 0, "iteration")
    return (
        request.max_epochs if request.max_epochs is not None else counters.max_epochs,
        request.max_iters if request.max_iters is not None else counters.max_iters,
    )


def _check_not_passed(name: str, limit: int | None, current: int, unit: str) -> None:
    if limit is not None and limit < current:
        raise ValueError(
            f"Argument {name} should be greater than or equal to the start {unit} defined in the state: "
            f"{limit} vs {current}. Please, set engine.state.{name} = None before calling engine.run() in order to "
            "restart the training from the beginning."
        )


def _check_same_length(counters: Limits, request: Request) -> None:
    if request.epoch_length is not None and counters.epoch_length not in (None, request.epoch_length):
        raise ValueError(
            "Argument epoch_length should be same as in the state, "
            f"but given {request.epoch_length} vs {counters.epoch_length}"
        )


def _check_length(length: int | None, request: Request) -> None:
    if length is None and not request.has_data:
        raise ValueError("epoch_length should be provided if data is None, but given None")
