"""``Checkpoint.of``: saves all that belongs to a run, in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from ignite.engine import Engine, Events
from ignite.handlers import _run_checkpoint
from ignite.handlers._run_checkpoint import RunCheckpoint

AnyEngine = Engine[Any, Any]


def of(
    trainer: AnyEngine,
    dirname: str | Path,
    *,
    event: Any = Events.EPOCH_COMPLETED,
    score: str | Callable[[AnyEngine], float] | None = None,
    mode: Literal["max", "min"] = "max",
    n_saved: int = 1,
    keep_last: int = 1,
    background: bool = True,
    **objects: Any,
) -> RunCheckpoint:
    """Saves all that belongs to a run, so that ``trainer.run(data, resume="latest")`` goes on exactly.

    What belongs to it is found: the parts of a supervised step, whatever is attached to the trainer and has a state,
    what the step and the handlers use, random numbers, and the position in the data.

    Args:
        trainer: the engine to save.
        dirname: the folder, or a URL such as ``s3://bucket/run``; for this run alone.
        event: when to save; also at the end of the run.
        score: of the run: the name of a metric, of the trainer or an engine that runs in its handlers, or a function
            of the trainer.
        mode: whether a higher ("max") or a lower ("min") score is better.
        n_saved: how many of the best to keep, if there is a score.
        keep_last: how many of the latest to keep.
        background: write while training goes on.
        **objects: what is not found, or should have another name; ``name=None`` leaves something out.

    Raises:
        ValueError: an argument is out of range, or the event is none between two iterations.
        RuntimeError: the run is saved by another one already.

    Example:
        >>> import tempfile
        >>> trainer = Engine(lambda engine, batch: batch)
        >>> checkpoint = of(trainer, tempfile.mkdtemp())
        >>> _ = trainer.run([0, 0], max_epochs=2, resume="latest")
        >>> checkpoint.last_checkpoint
        'checkpoint_00000004.pt'
    """
    return _run_checkpoint.of(
        trainer,
        dirname,
        event=event,
        score=score,
        mode=mode,
        n_saved=n_saved,
        keep_last=keep_last,
        background=background,
        **objects,
    )
