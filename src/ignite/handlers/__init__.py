"""What happens at a moment of a run: saving, stopping, guarding."""

from ignite.handlers._run_checkpoint import of as _of
from ignite.handlers.early_stopping import EarlyStopping
from ignite.handlers.preemption import Preemption
from ignite.handlers.spike_guard import SpikeGuard
from ignite.handlers.terminate_on_nan import TerminateOnNan
from ignite.handlers.time_limit import TimeLimit


class Checkpoint:
    """Until checkpoint.py is there."""

    of = staticmethod(_of)


__all__ = ["Checkpoint", "EarlyStopping", "Preemption", "SpikeGuard", "TerminateOnNan", "TimeLimit"]
