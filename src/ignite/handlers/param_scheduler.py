"""Schedules for optimizers: learning rates, momenta, and whatever else their parameter groups hold."""

from ignite.handlers._schedules.base import BaseParamScheduler
from ignite.handlers._schedules.batch_size import BatchSizeScheduler
from ignite.handlers._schedules.concat import ConcatScheduler
from ignite.handlers._schedules.cyclical import CosineAnnealingScheduler, CyclicalScheduler, LinearCyclicalScheduler
from ignite.handlers._schedules.optimizer_param import ParamScheduler
from ignite.handlers._schedules.param_groups import ParamGroupScheduler
from ignite.handlers._schedules.piecewise import PiecewiseLinear
from ignite.handlers._schedules.plateau import ReduceLROnPlateauScheduler
from ignite.handlers._schedules.torch_schedules import LRScheduler
from ignite.handlers._schedules.warmup import create_lr_scheduler_with_warmup

__all__ = [
    "BaseParamScheduler",
    "BatchSizeScheduler",
    "ConcatScheduler",
    "CosineAnnealingScheduler",
    "CyclicalScheduler",
    "LRScheduler",
    "LinearCyclicalScheduler",
    "ParamGroupScheduler",
    "ParamScheduler",
    "PiecewiseLinear",
    "ReduceLROnPlateauScheduler",
    "create_lr_scheduler_with_warmup",
]
