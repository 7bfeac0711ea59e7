"""What happens at a moment of a run: saving, stopping, guarding."""

from ignite.handlers.checkpoint import Checkpoint, DiskSaver, ModelCheckpoint
from ignite.handlers.early_stopping import EarlyStopping
from ignite.handlers.preemption import Preemption
from ignite.handlers.spike_guard import SpikeGuard
from ignite.handlers.terminate_on_nan import TerminateOnNan
from ignite.handlers.time_limit import TimeLimit
from ignite.handlers.utils import global_step_from_engine

__all__ = [
    "Checkpoint",
    "DiskSaver",
    "EarlyStopping",
    "ModelCheckpoint",
    "Preemption",
    "SpikeGuard",
    "TerminateOnNan",
    "TimeLimit",
    "global_step_from_engine",
]
