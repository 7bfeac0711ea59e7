"""Engines, their events, and engines of supervised training and evaluation."""

from typing import TYPE_CHECKING

from ignite._core.optional import names_when_used
from ignite.engine._supervised.evaluation_step import (
    _prepare_batch,
    supervised_evaluation_step,
    supervised_evaluation_step_amp,
)
from ignite.engine._supervised.factories import (
    _check_arg,
    create_supervised_evaluator,
    create_supervised_trainer,
    supervised_training_step_amp,
    supervised_training_step_apex,
    supervised_training_step_tpu,
)
from ignite.engine._supervised.training_step import (
    BackpropEvents,
    CountedLoss,
    supervised_training_step,
)
from ignite.engine.engine import Engine
from ignite.engine.events import (
    CallableEventWithFilter,
    EventEnum,
    Events,
    EventsList,
    RemovableEventHandle,
    State,
)

if TYPE_CHECKING:
    from ignite.engine.deterministic import DeterministicEngine

__all__ = [
    "BackpropEvents",
    "CallableEventWithFilter",
    "CountedLoss",
    "DeterministicEngine",
    "Engine",
    "EventEnum",
    "Events",
    "EventsList",
    "RemovableEventHandle",
    "State",
    "_check_arg",
    "_prepare_batch",
    "create_supervised_evaluator",
    "create_supervised_trainer",
    "supervised_evaluation_step",
    "supervised_evaluation_step_amp",
    "supervised_training_step",
    "supervised_training_step_amp",
    "supervised_training_step_apex",
    "supervised_training_step_tpu",
]

__getattr__, __dir__ = names_when_used(__name__)
