"""Handlers of events: checkpoints, early stopping, schedulers, logging, progress and profilers."""

from typing import TYPE_CHECKING

from ignite._core.optional import names_when_used

if TYPE_CHECKING:
    from ignite.handlers.aim_logger import AimLogger
    from ignite.handlers.checkpoint import Checkpoint, DiskSaver, ModelCheckpoint
    from ignite.handlers.clearml_logger import ClearMLLogger
    from ignite.handlers.comet_logger import CometLogger
    from ignite.handlers.csv_logger import CSVLogger
    from ignite.handlers.deadline import Deadline
    from ignite.handlers.early_stopping import EarlyStopping
    from ignite.handlers.ema_handler import EMAHandler
    from ignite.handlers.fbresearch_logger import FBResearchLogger
    from ignite.handlers.jsonl_logger import JSONLLogger
    from ignite.handlers.live_control import LiveControl
    from ignite.handlers.live_progress import LiveProgress
    from ignite.handlers.lr_finder import FastaiLRFinder
    from ignite.handlers.mlflow_logger import MLflowLogger
    from ignite.handlers.neptune_logger import NeptuneLogger
    from ignite.handlers.no_improvement import NoImprovementHandler
    from ignite.handlers.optuna_handler import OptunaHandler, retry_killed_trials
    from ignite.handlers.param_scheduler import (
        BaseParamScheduler,
        BatchSizeScheduler,
        ConcatScheduler,
        CosineAnnealingScheduler,
        CyclicalScheduler,
        LinearCyclicalScheduler,
        LRScheduler,
        ParamGroupScheduler,
        ParamScheduler,
        PiecewiseLinear,
        ReduceLROnPlateauScheduler,
        create_lr_scheduler_with_warmup,
    )
    from ignite.handlers.polyaxon_logger import PolyaxonLogger
    from ignite.handlers.preemption import Preemption
    from ignite.handlers.run_profiler import RunProfiler
    from ignite.handlers.spike_guard import SpikeGuard
    from ignite.handlers.state_param_scheduler import (
        ExpStateScheduler,
        LambdaStateScheduler,
        MultiStepStateScheduler,
        PiecewiseLinearStateScheduler,
        StateParamScheduler,
        StepStateScheduler,
    )
    from ignite.handlers.stores import EpochOutputStore
    from ignite.handlers.swa_handler import SWAHandler
    from ignite.handlers.swanlab_logger import SwanLabLogger
    from ignite.handlers.tensorboard_logger import TensorboardLogger
    from ignite.handlers.terminate_on_nan import TerminateOnNan
    from ignite.handlers.time_limit import TimeLimit
    from ignite.handlers.time_profilers import BasicTimeProfiler, HandlersTimeProfiler
    from ignite.handlers.timing import Timer
    from ignite.handlers.torch_profiler import TorchProfiler
    from ignite.handlers.tqdm_logger import ProgressBar
    from ignite.handlers.trackers import TrackerLogger
    from ignite.handlers.trackio_logger import TrackioLogger
    from ignite.handlers.utils import global_step_from_engine
    from ignite.handlers.visdom_logger import VisdomLogger
    from ignite.handlers.wandb_logger import WandBLogger

__all__ = [
    "AimLogger",
    "BaseParamScheduler",
    "BasicTimeProfiler",
    "BatchSizeScheduler",
    "CSVLogger",
    "Checkpoint",
    "ClearMLLogger",
    "CometLogger",
    "ConcatScheduler",
    "CosineAnnealingScheduler",
    "CyclicalScheduler",
    "Deadline",
    "DiskSaver",
    "EMAHandler",
    "EarlyStopping",
    "EpochOutputStore",
    "ExpStateScheduler",
    "FBResearchLogger",
    "FastaiLRFinder",
    "HandlersTimeProfiler",
    "JSONLLogger",
    "LRScheduler",
    "LambdaStateScheduler",
    "LinearCyclicalScheduler",
    "LiveControl",
    "LiveProgress",
    "MLflowLogger",
    "ModelCheckpoint",
    "MultiStepStateScheduler",
    "NeptuneLogger",
    "NoImprovementHandler",
    "OptunaHandler",
    "ParamGroupScheduler",
    "ParamScheduler",
    "PiecewiseLinear",
    "PiecewiseLinearStateScheduler",
    "PolyaxonLogger",
    "Preemption",
    "ProgressBar",
    "ReduceLROnPlateauScheduler",
    "RunProfiler",
    "SWAHandler",
    "SpikeGuard",
    "StateParamScheduler",
    "StepStateScheduler",
    "SwanLabLogger",
    "TensorboardLogger",
    "TerminateOnNan",
    "TimeLimit",
    "Timer",
    "TorchProfiler",
    "TrackerLogger",
    "TrackioLogger",
    "VisdomLogger",
    "WandBLogger",
    "create_lr_scheduler_with_warmup",
    "global_step_from_engine",
    "retry_killed_trials",
]

__getattr__, __dir__ = names_when_used(__name__)
