"""Deadline: stops a run, saved, at the last safe point before a time limit."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from statistics import pstdev
from typing import Any, Literal

from ignite import distributed as idist
from ignite._core import clock
from ignite._core.rng import RandomState
from ignite.engine import Engine, Events
from ignite.engine.extension import Unfinished

__all__ = ["Deadline"]

AnyEngine = Engine[Any, Any]
_WINDOW = 50
_LAST = float("-inf")
_GO_ON, _SAVE, _STOP = range(3)
_SHARE_BETWEEN_LOOKS = 0.25
_SLURM_TIMEOUT_S = 30


def expected_s(seen: Sequence[float]) -> float:
    """Returns a cautious estimate of the next duration, from n durations that were seen.

    That is the longest, times 1 + 1 / n because few of them tell little, plus their standard
    deviation; 0 if none was seen.

    Example:
        >>> expected_s([]), expected_s([3.0]), expected_s([1.0, 3.0])
        (0.0, 6.0, 5.5)
    """
    if not seen:
        return 0.0
    return max(seen) * (1 + 1 / len(seen)) + pstdev(seen)


class Forecast:
    """Predicts how long the parts of a run take, from the latest 50 of each.

    Attributes:
        iterations: durations of iterations, with fetching their batches and their handlers.
        ends: durations from the last iteration of an epoch to the start of the next one: the
            evaluation and all other handlers.
        epochs: durations of epochs, with their ends.
        saves: durations of saves.
        is_in_background: whether one save may have to wait for another.
    """

    def __init__(self) -> None:
        self.iterations: deque[float] = deque(maxlen=_WINDOW)
        self.ends: deque[float] = deque(maxlen=_WINDOW)
        self.epochs: deque[float] = deque(maxlen=_WINDOW)
        self.saves: Sequence[float] = ()
        self.is_in_background = False

    def to_next_point_s(self, num_iterations: int, ends_epoch: bool) -> float:
        """Returns the seconds until a run that goes on can stop again, and is saved.

        Args:
            num_iterations: iterations until then.
            ends_epoch: whether an epoch ends before.
        """
        end = expected_s(self.ends) if ends_epoch else 0.0
        return num_iterations * expected_s(self.iterations) + end + self.save_s

    def to_next_epoch_s(self) -> float:
        """Returns the seconds until the end of the next epoch, saved.

        The longest epoch counts as it is: if the next one takes longer, the run still stops in time.
        """
        return max(self.epochs, default=0.0) + self.save_s

    @property
    def save_s(self) -> float:
        """Seconds that a save takes, and waiting for the one that is being written."""
        return expected_s(self.saves) * (2 if self.is_in_background else 1)


class Deadline:
    r"""Stops a run, saved by its ``Checkpoint.of``, at the last safe point before a time limit.

    A safe point is the end of an iteration. There, the run stops if what follows would not end in
    time: with :math:`t` seconds left,

    .. math:: t < e(\text{iterations}) + e(\text{end of the epoch}) + e(\text{saves}) + \text{margin}

    where the end of the epoch, with its evaluation, counts if the next iteration is the last one of
    its epoch. :math:`e` estimates a duration from the latest :math:`n \le 50` of its kind,
    :math:`e = (1 + 1/n) \max + \sigma`, and is 0 if there is none; saves in the background count
    twice, because one may wait for another. With ``finish_epochs=True``, the run also stops at the
    end of an epoch if another one that takes as long as the longest is not expected to end in time.
    Then it stops within an epoch only if that takes longer than expected.

    What was never seen cannot be predicted: the first iteration and the first evaluation should not
    be the last ones. If half of the time is over and no save was seen, the run is saved once, to
    measure that.

    When the run stops, TERMINATE is fired, COMPLETED is not, and ``run`` returns; it can be resumed
    with ``run(resume="latest")``. A run that is paused does not stop: end the pause in time.

    Args:
        at: the time, naive in local time or with a time zone; or "slurm" for the end of the Slurm
            job: SLURM_JOB_END_TIME, else what ``scontrol`` or ``squeue`` says.
        after: a duration since this object was created, in seconds or as a ``timedelta``.
        margin: seconds to be left in addition, for what the program does after the run.
        finish_epochs: whether to stop at the end of epochs, where that can be foreseen.

    Raises:
        ValueError: not exactly one of ``at`` and ``after`` is given, or one of them is in the past
            or negative.
        TypeError: an argument is of the wrong kind.
        RuntimeError: "slurm" is used outside of a Slurm job, or Slurm does not tell its end.

    Distributed:
        Attach it on all ranks. The clock of rank 0 decides; all ranks stop in the same iteration.
        They agree by a collective, after a number of iterations that is expected to take a quarter
        of the time left.

    Example:
        >>> import tempfile
        >>> from ignite.handlers import Checkpoint
        >>> trainer = Engine(lambda engine, batch: time.sleep(0.01))
        >>> checkpoint = Checkpoint.of(trainer, tempfile.mkdtemp())
        >>> Deadline(after=0.4, margin=0.1).attach(trainer)
        >>> trainer.run(range(10), max_epochs=1000).epoch < 1000
        True
        >>> checkpoint.last_checkpoint is not None
        True
    """

    needs_all_processes = "Deadline"
    cuts = False
    _control: Any

    def __init__(
        self,
        at: datetime | Literal["slurm"] | None = None,
        *,
        after: timedelta | float | None = None,
        margin: float = 5.0,
        finish_epochs: bool = False,
    ) -> None:
        if (at is None) == (after is None):
            raise ValueError(
                f"Either at or after should be given, but given at={at!r} and after={after!r}"
            )
        if isinstance(margin, bool) or not isinstance(margin, int | float):
            raise TypeError(f"margin should be a number of seconds, but given {margin!r}")
        if not 0 <= margin < math.inf:
            raise ValueError(f"margin should be at least 0, but given {margin}")
        left = _seconds_until(at) if at is not None else _seconds_of(after)
        if left <= 0:
            raise ValueError(
                f"The deadline should be in the future, but given {at if after is None else after}"
            )
        self.margin = margin
        self.finish_epochs = finish_epochs
        self.logger = logging.getLogger(f"{__name__}.{type(self).__name__}")
        self.forecast = Forecast()
        self.is_reached = False
        """Whether the last run was stopped."""
        self._created = clock.now()
        self._limit = self._created + left
        self.trainer: Any = None
        self._begin_run()

    @property
    def left_s(self) -> float:
        """Seconds left."""
        return self._limit - clock.now()

    def attach(self, trainer: AnyEngine) -> None:
        """Stops each run of ``trainer`` in time."""
        trainer.add_run_context(self._frame)

    @contextmanager
    def _frame(self, trainer: AnyEngine, is_new: bool) -> Iterator[None]:
        self._begin_run()
        self.trainer, self._control = trainer, trainer.control
        on = trainer.add_event_handler
        handles = [
            on(Events.EPOCH_STARTED, self._begin_epoch, priority=-_LAST),
            on(Events.ITERATION_COMPLETED, self._look, priority=_LAST),
            on(Events.EPOCH_COMPLETED, self._end_epoch, priority=_LAST),
        ]
        try:
            yield
        finally:
            self.trainer = self._control = None  # no cycle with the engine
            for handle in handles:
                handle.remove()

    def _begin_run(self) -> None:
        self.is_reached = self.is_postponed = self._has_saved = False
        self._control = None
        self._next_look, self._alarm, self._num_pauses = 0, -math.inf, 0
        self._before: float | None = None
        self._epoch_began: float | None = None
        self._epoch_ended: float | None = None
        self._what = _GO_ON
        self._is_alone = idist.get_world_size() == 1

    def _now(self) -> float:
        """The time without pauses."""
        return clock.now() - float(self._control.paused_s)

    def _begin_epoch(self, engine: AnyEngine) -> None:
        now = self._now()
        if self._epoch_ended is not None:
            self.forecast.ends.append(now - self._epoch_ended)
        self._epoch_began = self._before = now
        self._epoch_ended = None

    def _look(self, engine: AnyEngine) -> None:
        """Measures an iteration, and decides at its end, unless the next decision is due later."""
        now = self._now()
        if self._before is not None:
            self.forecast.iterations.append(now - self._before)
        self._before = now
        length, num_done = engine.state.epoch_length, engine.iteration_in_epoch
        is_near_end = length is not None and num_done + 1 >= length
        is_early = (
            engine.state.iteration < self._next_look
            and (clock.now() < self._alarm or not self._is_alone)
            and self._control.num_pauses == self._num_pauses
        )
        if is_early and not is_near_end:
            return
        # Windows of gradients are not split where each process has a part of them.
        num_ahead = 1 if self._is_alone else getattr(engine.step_function, "accumulation_steps", 1)
        if length is not None and num_done >= length:
            self._epoch_ended, num_ahead = now, 0
        ends_epoch = length is None or num_done + num_ahead >= length
        self._note_saves(engine)
        self._decide(engine, self.forecast.to_next_point_s(num_ahead, ends_epoch))

    def _end_epoch(self, engine: AnyEngine) -> None:
        """Decides at the end of an epoch, after its evaluation."""
        now = self._now()
        if self._epoch_began is not None:
            self.forecast.epochs.append(now - self._epoch_began)
            self._epoch_began = None
        if self._epoch_ended is None:
            self._epoch_ended = self._before
        self._note_saves(engine)
        length = engine.state.epoch_length
        needed = self.forecast.to_next_point_s(1, length is None or length <= 1)
        if self.finish_epochs:
            needed = max(needed, self.forecast.to_next_epoch_s())
        self._decide(engine, needed)

    def _note_saves(self, engine: AnyEngine) -> None:
        saver = engine.run_saver
        self.forecast.saves = getattr(saver, "save_times", ())
        self.forecast.is_in_background = getattr(saver, "is_in_background", False)

    def _decide(self, engine: AnyEngine, needed: float) -> None:
        """Stops, saves or goes on, on all ranks, as rank 0 says."""
        what, num_quiet = _GO_ON, 0
        if idist.get_rank() == 0:
            left = self.left_s
            spare = left - needed - self.margin
            per_iteration = expected_s(self.forecast.iterations)
            is_half_over = left < (self._limit - self._created) / 2
            has_saver = engine.run_saver is not None
            if spare < 0:
                what = _STOP
            elif is_half_over and has_saver and not (self._has_saved or self.forecast.saves):
                what = _SAVE
            elif per_iteration and spare < math.inf:
                num_quiet = int(_SHARE_BETWEEN_LOOKS * spare / per_iteration)
            self._alarm = clock.now() + spare / 2
        if not self._is_alone:
            what, num_quiet = idist.all_gather([what, num_quiet])[0]
        self._next_look = engine.state.iteration + max(num_quiet, 1)
        self._num_pauses = self._control.num_pauses
        if what != _GO_ON:
            self._what = what
            engine.request_at_boundary(self)

    def obey(
        self, engine: AnyEngine, unfinished: Unfinished | None, random: RandomState | None
    ) -> bool:
        """Saves the run; returns whether it should stop."""
        # Each process has gradients of its own within a window, of which only one would be saved.
        self.is_postponed = not self._is_alone and bool(
            getattr(engine.step_function, "num_accumulated", 0)
        )
        if self.is_postponed:
            return False
        is_stop, saver = self._what == _STOP, engine.run_saver
        self._has_saved = True
        if is_stop:
            self.is_reached = True
            self.logger.warning(
                "The deadline is in %s s: stopping after iteration %s%s",
                round(self.left_s),
                engine.state.iteration,
                "" if saver is not None else ", not saved: the run has no Checkpoint.of",
            )
        if saver is not None:
            saver.save(unfinished, random)
            saver.wait()
        self._before = self._now()
        return is_stop


def _seconds_of(duration: timedelta | float | None) -> float:
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        raise TypeError(
            f"after should be a timedelta or a number of seconds, but given {duration!r}"
        )
    return float(duration)


def _seconds_until(moment: datetime | str) -> float:
    if moment == "slurm":
        return end_of_job(os.environ) - time.time()
    if not isinstance(moment, datetime):
        raise TypeError(f"at should be a datetime or 'slurm', but given {moment!r}")
    return moment.timestamp() - time.time()


def end_of_job(environment: Mapping[str, str]) -> float:
    """Returns when the Slurm job of this process ends, in seconds since the epoch; inf without a limit.

    Raises:
        RuntimeError: this is no Slurm job, or Slurm does not tell.
    """
    given = environment.get("SLURM_JOB_END_TIME", "")
    if given.isdecimal():
        return float(given)
    job = environment.get("SLURM_JOB_ID")
    if job is None:
        raise RuntimeError(
            "Deadline('slurm') should be used in a Slurm job, but SLURM_JOB_ID is not set"
        )
    problems = []
    for command, read in (
        (["scontrol", "show", "job", "-o", job], _end_in_description),
        (["squeue", "--noheader", "--jobs", job, "--format", "%e"], _end_in_words),
    ):
        try:
            said = subprocess.run(
                command,
                check=True,
                timeout=_SLURM_TIMEOUT_S,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
            ).stdout
            return read(said)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            problems.append(f"{command[0]}: {error}")
    raise RuntimeError(f"Slurm should tell when job {job} ends, but {'; '.join(problems)}")


def _end_in_description(said: str) -> float:
    for part in said.split():
        if part.startswith("EndTime="):
            return _end_in_words(part.removeprefix("EndTime="))
    raise ValueError("it says no EndTime")


def _end_in_words(said: str) -> float:
    text = said.strip().splitlines()[0].strip() if said.strip() else ""
    if text.lower() in ("unlimited", "none", "infinite"):
        return math.inf
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ValueError(f"the end should be a date and time, but is {text!r}") from None
