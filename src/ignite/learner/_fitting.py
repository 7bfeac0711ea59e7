"""What is on the trainer during one call of ``fit``, and off it afterwards."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ignite import distributed as idist
from ignite.engine import Engine, Events
from ignite.handlers import (
    Checkpoint,
    EarlyStopping,
    JSONLLogger,
    LiveProgress,
    LRScheduler,
    ProgressBar,
    TensorboardLogger,
    global_step_from_engine,
)
from ignite.learner._names import find
from ignite.learner._recorder import Recorder, loss_of

__all__ = ["SCHEDULES", "BestWeights", "Folder", "attached", "factor_of", "shown"]

_LOG_EVERY = 10

SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
    "linear": lambda done: 1 - done,
}


def factor_of(schedule: str | Callable[[float], float], warmup: float, num_steps: int) -> Callable[[int], float]:
    """By what the learning rate is multiplied in step 0, 1, ...

    Args:
        schedule: a name, or a function of the share of the steps after the warm-up that is done, from 0 to 1.
        warmup: how many steps it grows on a straight line; below 1, which share of them.
        num_steps: steps in all.

    Raises:
        ValueError: the name is not known, or the warm-up is longer than the training.

    Example:
        >>> factor = factor_of("linear", warmup=2, num_steps=6)
        >>> [factor(step) for step in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if isinstance(schedule, type) or not (isinstance(schedule, str) or callable(schedule)):
        raise TypeError(f"schedule should be a name, or a function of the share that is done, but given {schedule!r}")
    curve = find("schedule", schedule, SCHEDULES) if isinstance(schedule, str) else schedule
    for share in (0.0, 0.5, 1.0):
        if not (isinstance(value := curve(share), Real | torch.Tensor) and math.isfinite(value)):
            raise ValueError(f"schedule should give a finite factor for each share, but given {value!r} for {share}")
    num_warm = round(warmup * num_steps) if 0 < warmup < 1 else int(warmup)
    if not 0 <= num_warm <= num_steps:
        raise ValueError(f"warmup should be from 0 to {num_steps}, the number of steps, but given {warmup}")

    def factor(step: int) -> float:
        if step < num_warm:
            return (step + 1) / num_warm
        return curve(min((step - num_warm) / max(num_steps - num_warm, 1), 1.0))

    return factor


class BestWeights:
    """Keeps a copy of the weights of the best epoch.

    Args:
        model: whose.
        score: gives the score of the epoch; higher is better, NaN never is.
    """

    def __init__(self, model: nn.Module, score: Callable[[], float]) -> None:
        self._model = model
        self._score = score
        self.best = -math.inf
        self.weights: dict[str, Any] | None = None

    def note(self, engine: Engine[Any, Any]) -> None:
        """An epoch is over."""
        score = self._score()
        if score > self.best:
            self.best = score
            self.weights = copy.deepcopy(self._model.state_dict())

    def restore(self) -> None:
        """Gives the model the best weights, if there are any."""
        if self.weights is not None:
            self._model.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        """The best score and weights."""
        return {"best": self.best, "weights": self.weights}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from what was saved."""
        self.best, self.weights = state_dict["best"], state_dict["weights"]


@dataclass(frozen=True)
class Folder:
    """Where a run is kept, and what is saved of it beside what is found on the trainer."""

    path: Path
    objects: Mapping[str, Any]
    save_every: Any
    score: Callable[[Engine[Any, Any]], float] | None


@contextlib.contextmanager
def attached(
    trainer: Engine[Any, Any],
    evaluator: Engine[Any, Any] | None,
    recorder: Recorder,
    *,
    validate: Callable[[], Any] | None,
    scheduler: tuple[Any, torch.optim.lr_scheduler.LRScheduler] | None,
    stopping: EarlyStopping | None,
    best: BestWeights | None,
    folder: Folder | None,
) -> Iterator[None]:
    """The handlers of one call of ``fit``; those of the user stay as they are."""
    handles = []

    def on(event: Any, handler: Callable[..., Any], *args: Any, engine: Engine[Any, Any] = trainer) -> None:
        handles.append(engine.add_event_handler(event, handler, *args))

    with contextlib.ExitStack() as stack:
        if scheduler is not None:
            event, schedule = scheduler
            on(event, LRScheduler(schedule))
        on(Events.EPOCH_STARTED, recorder.begin_epoch)
        if validate is not None:
            on(Events.EPOCH_COMPLETED, validate)
        on(Events.EPOCH_COMPLETED, recorder.end_epoch)
        if stopping is not None:
            on(Events.EPOCH_COMPLETED, stopping)
        if best is not None:
            on(Events.EPOCH_COMPLETED, best.note)
        if folder is not None:
            if idist.get_rank() == 0:
                handles += _log(trainer, evaluator, folder.path, stack)
            if trainer._keeper is None:
                Checkpoint.of(
                    trainer, folder.path / "checkpoints", event=folder.save_every, score=folder.score, **folder.objects
                )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _log(
    trainer: Engine[Any, Any], evaluator: Engine[Any, Any] | None, path: Path, stack: contextlib.ExitStack
) -> list[Any]:
    loggers: list[Any] = [JSONLLogger(path / "scalars.jsonl")]
    if importlib.util.find_spec("tensorboard") or importlib.util.find_spec("tensorboardX"):
        loggers.append(TensorboardLogger(str(path / "tensorboard")))
    handles = []
    for logger in loggers:
        stack.enter_context(logger)
        event = Events.ITERATION_COMPLETED(every=_LOG_EVERY)
        handles.append(
            logger.attach_output_handler(
                trainer, event, tag="training", output_transform=lambda output: {"loss": loss_of(output)}
            )
        )
        if evaluator is not None:
            handles.append(
                logger.attach_output_handler(
                    evaluator,
                    Events.COMPLETED,
                    tag="validation",
                    metric_names="all",
                    global_step_transform=global_step_from_engine(trainer, Events.ITERATION_COMPLETED),
                )
            )
    return handles


def shown(trainer: Engine[Any, Any], evaluator: Engine[Any, Any] | None, progress: bool | str) -> bool:
    """Puts a display on the trainer: "live", "bar", the better of those there are (True, "auto"), or none (False).

    Returns:
        Whether there is one.

    Raises:
        ValueError: none of these.
        ModuleNotFoundError: what it needs is not installed.
    """
    if progress not in (True, False, "auto", "live", "bar"):
        raise ValueError(f"progress should be True, False, 'auto', 'live' or 'bar', but given {progress!r}")
    if progress == "auto" and not (sys.stderr is not None and sys.stderr.isatty()):
        return False
    if progress in (True, "auto"):
        progress = "live" if importlib.util.find_spec("rich") else "bar" if importlib.util.find_spec("tqdm") else False
    if progress == "live":
        LiveProgress().attach(
            trainer, {"validation": evaluator} if evaluator is not None else None, output_transform=loss_of
        )
    elif progress == "bar":
        ProgressBar().attach(trainer, output_transform=lambda output: {"loss": loss_of(output)})
    return bool(progress)
