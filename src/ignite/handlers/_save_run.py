"""Saves a run with all that belongs to it, in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from ignite.engine import Engine, Events
from ignite.handlers._run_checkpoint import RunCheckpoint
from ignite.handlers._score import Score

AnyEngine = Engine[Any, Any]


def of(
    trainer: AnyEngine,
    dirname: str | Path,
    *,
    event: Any = Events.EPOCH_COMPLETED,
    score: str | Callable[[AnyEngine], float] | None = None,
    mode: Literal["max", "min"] = "max",
    n_saved: int = 1,
    keep_last: int = 2,
    background: bool = True,
    **objects: Any,
) -> RunCheckpoint:
    """Saves all that belongs to a run, so that ``trainer.run(data, resume="latest")`` goes on with it exactly.

    What belongs to the run is found: the model, optimizer, scaler and accumulated gradients of a supervised trainer;
    handlers and metrics that are attached and have a state; and what the step and the handlers use of the script
    around them, under the names of its variables: schedulers, averages of weights, evaluators with their own handlers.
    To these come the position in the data, random states, counters and the latest metrics. ``trainer.describe()``
    lists the names.

    Data given to ``run`` is made resumable, see :func:`ignite.data.resumable`: the order of samples and the random
    numbers drawn to make them are then functions of the seed and the epoch.

    A file is whole or absent whenever the process or the machine stops. Beside the checkpoints, ``last.pt`` and
    ``best.pt`` stand for two of them, and ``index.json`` lists them. At the end of the run it is saved once more;
    resumed from there, it has nothing to do.

    Args:
        trainer: whose run is saved, by one of these only.
        dirname: a folder for this run alone, or a URL that fsspec knows, such as "s3://bucket/run".
        event: when to save: ITERATION_COMPLETED or EPOCH_COMPLETED, with or without a filter, or both joined with
            ``|``. All other handlers of the event come first. Steps that can be resumed within, such as those of
            ``create_supervised_tbptt_trainer``, have further ones.
        score: the name of a metric of an evaluator, or of the trainer; or a function of the trainer. A checkpoint has
            the score of an evaluation that ended in the same iteration. NaN is no score.
        mode: whether a higher ("max") or a lower ("min") score is better.
        n_saved: how many with the best scores to keep.
        keep_last: how many of the newest to keep, at least 1. With two, there is one to fall back on if the other is
            damaged.
        background: take a copy of the state, and write it while training goes on. One is written at a time; the next
            save waits for it. Costs the memory of one copy.
        **objects: further objects with ``state_dict`` and ``load_state_dict``, or other names for those that are found;
            None leaves one out.

    Returns:
        The handler, attached; with ``save()``, ``wait()``, ``last_checkpoint`` and ``best_checkpoint``.

    Raises:
        TypeError: an object has no state, or ``score`` is of the wrong kind.
        ValueError: a number, mode or event is impossible.
        RuntimeError: the trainer has one already.
        In the run: ValueError if it begins in a folder that holds another run; CheckpointError if another program
        writes there; OSError if writing fails, in the background at the next save or at the end.

    Distributed:
        Make it in all processes. The first one writes, each process's random state goes in, and a failure is raised
        everywhere. Gradients that are being accumulated are waited for.

    Example:
        >>> import tempfile
        >>> folder, seen = tempfile.mkdtemp(), []
        >>> def program(max_epochs):
        ...     trainer = Engine(lambda engine, batch: seen.append(batch))
        ...     Checkpoint.of(trainer, folder)
        ...     trainer.run([1, 2, 3], max_epochs=max_epochs, resume="latest")
        >>> from ignite.handlers import Checkpoint
        >>> program(max_epochs=1)
        >>> program(max_epochs=2)
        >>> seen
        [1, 2, 3, 1, 2, 3]
    """
    checkpoint = RunCheckpoint(trainer, dirname, objects, Score(score, mode), n_saved, keep_last, background)
    checkpoint.attach(event)
    return checkpoint
