"""Schedules of the learning rate: curves by name, plateaus, and scheduler objects."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau
from torch.optim.lr_scheduler import LRScheduler as TorchScheduler

from ignite.engine import Events
from ignite.handlers import LRScheduler, ParamScheduler
from ignite.learner._by_name import find
from ignite.learner._optimizers import Settings

__all__ = [
    "SCHEDULES",
    "Plateau",
    "Schedule",
    "check_schedule",
    "factor_of",
    "make_schedule",
    "schedule_name",
]

_RISE, _FIRST, _LAST = 0.3, 1 / 25, 1 / 25e4
"""Of "one_cycle", as in torch's OneCycleLR and fastai."""
_PLATEAU = "plateau"


def _cosine(done: float) -> float:
    return (1 + math.cos(math.pi * done)) / 2


def _one_cycle(done: float) -> float:
    if done < _RISE:
        return 1 + (_FIRST - 1) * _cosine(done / _RISE)
    return _LAST + (1 - _LAST) * _cosine((done - _RISE) / (1 - _RISE))


def _cosine_restarts(done: float) -> float:
    """Three cosines, each twice as long as the one before."""
    begin = next(one for one in (3 / 7, 1 / 7, 0.0) if done >= one)
    length = {3 / 7: 4 / 7, 1 / 7: 2 / 7, 0.0: 1 / 7}[begin]
    return _cosine(min((done - begin) / length, 1.0))


SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": _cosine,
    "cosine_restarts": _cosine_restarts,
    "linear": lambda done: 1 - done,
    "one_cycle": _one_cycle,
}


def factor_of(
    schedule: str | Callable[[float], float], warmup: float, num_steps: int
) -> Callable[[int], float]:
    """Returns the function that gives the factor of the learning rate in step 0, 1, ...

    Args:
        schedule: a name, or a function of the completed fraction of the steps after the warmup,
            from 0 to 1.
        warmup: number of steps with a linearly rising factor; below 1, the fraction of all steps.
        num_steps: total number of steps.

    Raises:
        ValueError: the name is unknown, or the warmup is longer than the training.

    Example:
        >>> factor = factor_of("linear", warmup=2, num_steps=6)
        >>> [factor(step) for step in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    curve = find("schedule", schedule, SCHEDULES) if isinstance(schedule, str) else schedule
    for share in (0.0, 0.5, 1.0):
        if not (isinstance(value := curve(share), Real | torch.Tensor) and math.isfinite(value)):
            raise ValueError(
                f"schedule should return a finite factor for each fraction, but given {value!r} "
                f"for {share}"
            )
    num_warm = round(warmup * num_steps) if 0 < warmup < 1 else int(warmup)
    if not 0 <= num_warm <= num_steps:
        raise ValueError(
            f"warmup should be from 0 to {num_steps}, the number of steps, but given {warmup}"
        )

    def factor(step: int) -> float:
        if step < num_warm:
            return (step + 1) / num_warm
        return curve(min((step - num_warm) / max(num_steps - num_warm, 1), 1.0))

    return factor


class Plateau:
    """Reduces the learning rate if the monitored metric does not improve.

    Args:
        score: returns the score of an epoch or validation; higher is better.
        scheduler: torch's scheduler with its options; by default, one that multiplies the rate by
            0.1 after more than 10 scores in a row without improvement.

    State:
        That of the scheduler, and the factor.

    Example:
        >>> scores = iter([1.0] * 12)
        >>> plateau = Plateau(lambda: next(scores))
        >>> for _ in range(12):
        ...     plateau.note()
        >>> plateau.factor
        0.1
    """

    def __init__(
        self, score: Callable[[], float], scheduler: ReduceLROnPlateau | None = None
    ) -> None:
        self._score = score
        self._is_own = scheduler is None
        if scheduler is None:  # of a rate that stands for the factor
            stand_in = torch.optim.SGD([torch.zeros(1)], lr=1.0)
            scheduler = ReduceLROnPlateau(stand_in, mode="max")
        self._scheduler = scheduler
        self._sign = 1 if scheduler.mode == "max" else -1

    @property
    def factor(self) -> float:
        """The factor of the learning rate."""
        return float(self._scheduler.optimizer.param_groups[0]["lr"]) if self._is_own else 1.0

    def note(self, *args: Any) -> None:
        """Takes the score of an epoch or a validation."""
        self._scheduler.step(self._sign * self._score())

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the scheduler, and the factor."""
        return {"scheduler": self._scheduler.state_dict(), "factor": self.factor}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores the state and the factor."""
        self._scheduler.load_state_dict(state_dict["scheduler"])
        if self._is_own:
            self._scheduler.optimizer.param_groups[0]["lr"] = state_dict["factor"]


@dataclass(frozen=True)
class Schedule:
    """The handlers of a schedule."""

    handler: ParamScheduler | None = None
    """Sets the learning rate."""
    event: Any = None
    """The event at which it does so."""
    plateau: Plateau | None = None
    """Follows the monitored metric."""
    begins_anew: bool = True
    """Whether the next fit starts from the initial rate."""


def check_schedule(schedule: Any, warmup: float) -> None:
    """Raises an error unless ``schedule`` is one of the kinds that :func:`make_schedule` takes."""
    if isinstance(schedule, str):
        find("schedule", schedule, {**SCHEDULES, _PLATEAU: None})
        return
    if isinstance(schedule, type) or not (
        schedule is None
        or callable(schedule)
        or isinstance(schedule, TorchScheduler | ReduceLROnPlateau)
    ):
        name = getattr(schedule, "__name__", None)
        hint = f": pass {name}(learner.optimizer, ...)" if name else ""
        raise TypeError(
            "schedule should be a name, a function of the completed fraction, or a scheduler, but "
            f"given {schedule!r}{hint}"
        )
    if warmup and _is_object(schedule):
        raise ValueError(
            "warmup should be left out for a scheduler object: combine them with "
            "torch.optim.lr_scheduler.SequentialLR or create_lr_scheduler_with_warmup"
        )


def schedule_name(schedule: Any) -> Any:
    """Returns the name of a schedule for the record of a run."""
    if schedule is None or isinstance(schedule, str):
        return schedule
    made = schedule.func if _maker(schedule) else schedule
    return getattr(made, "__name__", type(made).__name__)


def _is_object(schedule: Any) -> bool:
    kinds = TorchScheduler | ReduceLROnPlateau | ParamScheduler
    return isinstance(schedule, kinds) or _maker(schedule)


def _maker(schedule: Any) -> bool:
    """Whether it is ``partial(StepLR, step_size=3)``, which makes a scheduler of an optimizer."""
    return (
        isinstance(schedule, functools.partial)
        and isinstance(schedule.func, type)
        and issubclass(schedule.func, TorchScheduler | ReduceLROnPlateau)
    )


def make_schedule(
    schedule: Any,
    warmup: float,
    num_steps: int | None,
    settings: Settings,
    optimizer: Any,
    score: Callable[[], float],
    step_event: Any,
) -> Schedule:
    """Returns the handlers of a schedule that :func:`check_schedule` accepts.

    Args:
        schedule: a name or function, see :func:`factor_of`; "plateau"; a torch scheduler, or a
            ``partial`` that makes one of the optimizer; or a parameter scheduler of
            :mod:`ignite.handlers`.
        warmup: see :func:`factor_of`.
        num_steps: number of optimizer steps; None if unknown.
        settings: the options of the optimizer.
        optimizer: the optimizer.
        score: the monitored score, for plateaus.
        step_event: the event before each optimizer step.

    Raises:
        TypeError: the schedule depends on the number of steps, which is unknown.
        ValueError: a scheduler belongs to another optimizer.
    """
    if schedule is None and not warmup:
        return Schedule()
    if _is_object(schedule):
        made = schedule(optimizer) if _maker(schedule) else schedule
        return _of_object(made, optimizer, score, step_event, begins_anew=_maker(schedule))
    plateau = Plateau(score) if schedule == _PLATEAU else None
    if num_steps is None and (plateau is None or warmup):
        raise TypeError(
            "schedule and warmup need data of known length, but this data has none: pass "
            "steps_per_epoch"
        )
    curve = schedule if schedule is not None and plateau is None else "constant"
    factor = factor_of(curve, warmup, num_steps or 1)
    if plateau is None:
        return Schedule(LRScheduler(settings.schedule(factor)), step_event)
    reduced = LRScheduler(settings.schedule(lambda step: factor(step) * plateau.factor))
    return Schedule(reduced, step_event, plateau)


def _of_object(
    scheduler: Any, optimizer: Any, score: Callable[[], float], step_event: Any, begins_anew: bool
) -> Schedule:
    owner = getattr(scheduler, "optimizer", optimizer)
    if owner is not optimizer:
        raise ValueError(
            "schedule should be a scheduler of learner.optimizer, but given one of another "
            "optimizer: create it with learner.optimizer"
        )
    if isinstance(scheduler, ReduceLROnPlateau):
        return Schedule(plateau=Plateau(score, scheduler), begins_anew=begins_anew)
    if isinstance(scheduler, ParamScheduler):
        return Schedule(scheduler, step_event, begins_anew=begins_anew)
    is_of_steps = isinstance(scheduler, OneCycleLR | CyclicLR)
    event = step_event if is_of_steps else Events.EPOCH_STARTED
    return Schedule(_Continued(scheduler), event, begins_anew=begins_anew)


class _Continued(LRScheduler):
    """Steps at each event, in a further fit with the same scheduler at the first one, too."""

    def __init__(self, lr_scheduler: TorchScheduler) -> None:
        super().__init__(lr_scheduler)
        if getattr(lr_scheduler, "used_by_fit", False):
            with warnings.catch_warnings():  # the optimizer of a resumed run has made no step
                warnings.filterwarnings("ignore", r".*optimizer\.step\(\)", UserWarning)
                lr_scheduler.step()
        lr_scheduler.used_by_fit = True  # type: ignore[attr-defined] # part of its state
