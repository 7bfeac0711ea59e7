"""Schedulers of optimizer parameters, such as learning rate and momentum."""

from ignite.handlers._schedules.batch_size import BatchSizeScheduler
from ignite.handlers._schedules.combined import ConcatScheduler, ParamGroupScheduler
from ignite.handlers._schedules.interpolation import (
    CosineAnnealingScheduler,
    CyclicalScheduler,
    LinearCyclicalScheduler,
    PiecewiseLinear,
)
from ignite.handlers._schedules.scheduler import BaseParamScheduler, ParamScheduler
from ignite.handlers._schedules.torch_schedulers import (
    LRScheduler,
    ReduceLROnPlateauScheduler,
    create_lr_scheduler_with_warmup,
)

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
