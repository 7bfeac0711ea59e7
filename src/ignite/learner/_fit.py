"""One call of ``fit``: data, checks, handlers, and the run."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from ignite import distributed as idist
from ignite.data import ArrayLoader
from ignite.engine import Engine, Events
from ignite.engine._memento import everything_kept
from ignite.handlers import EarlyStopping
from ignite.handlers._progress.figures import lower_is_better
from ignite.handlers._rehearsal import check_writable
from ignite.learner import _run_dir
from ignite.learner._data.arrays import Names
from ignite.learner._data.checks import check_before_training
from ignite.learner._data.inputs import Loader, as_loader, can_shuffle
from ignite.learner._data.split import split
from ignite.learner._data.task import infer_task
from ignite.learner._fitting import BestWeights, Folder, attached, factor_of
from ignite.learner._recorder import Recorder
from ignite.learner.history import History

if TYPE_CHECKING:
    from ignite.learner.learner import Learner

__all__ = ["Batching", "Options", "fit", "fit_dry", "learn_task", "load"]


@dataclass(frozen=True)
class Batching:
    """How batches are cut where the data are not cut yet; None where nothing is said."""

    batch_size: int | None = None
    shuffle: bool | None = None
    num_workers: int = 0
    class_weight: Any = None
    is_shared: bool = True
    """Whether several processes share the samples, or each goes over all of them."""


@dataclass(frozen=True)
class Options:
    """What ``fit`` was asked for, beside the data."""

    epochs: int
    batching: Batching
    schedule: str | Callable[[float], float] | None
    warmup: float
    early_stopping: int | None
    monitor: str | None
    restore_best: bool
    run_dir: Path | None
    resume: str | Path | None
    save_every: int | None
    is_dry: bool = False


class Monitor:
    """Reads a figure of the epoch that is over, as a score: higher is better."""

    def __init__(self, name: str, recorder: Recorder) -> None:
        self.name = name
        self._recorder = recorder
        self._sign = -1 if lower_is_better(name) else 1

    def __call__(self, *args: Any) -> float:
        epochs = self._recorder.history.epochs
        if not epochs:
            return math.nan
        if self.name not in epochs[-1]:
            raise ValueError(
                f"monitor should be one of {', '.join(name for name in epochs[-1] if name != 'epoch')}, but given "
                f"{self.name!r}"
            )
        return float(self._sign * epochs[-1][self.name])


def load(
    learner: Learner, data: Any, options: Batching, like: Loader | None = None, *, is_target_needed: bool = True
) -> Loader:
    """Batches of data of any kind, as the model was trained on; if need be without targets."""
    is_shared, target = options.is_shared, learner._engines.batches.target
    if not is_target_needed and not _has(data, target):
        target = None
    loader = as_loader(
        data,
        batch_size=options.batch_size,
        shuffle=options.shuffle,
        seed=learner.seed,
        target=target,
        class_weight=options.class_weight,
        num_workers=options.num_workers,
        rank=idist.get_rank() if is_shared else 0,
        world_size=idist.get_world_size() if is_shared else 1,
        like=like,
    )
    if learner.device.type != "cpu" and loader.batches is not data:
        _make_ahead(loader.batches)
    return loader


def _make_ahead(batches: Any) -> None:
    """Batches for an accelerator: they are copied to it from page-locked memory, and arrays are cut by a thread."""
    if isinstance(batches, ArrayLoader):
        batches.prefetch = 0 if batches.is_on_accelerator else 2
    if isinstance(batches, ArrayLoader | DataLoader):
        batches.pin_memory = torch.accelerator.is_available()


def _has(data: Any, target: Names | None) -> bool:
    """Whether a table or dictionary has the target among its columns; other data have it where it always is."""
    columns = data if isinstance(data, Mapping) else getattr(data, "columns", getattr(data, "column_names", None))
    if columns is None or target is None:
        return True
    return all(name in columns for name in ([target] if isinstance(target, str) else target))


def learn_task(learner: Learner, loader: Loader) -> None:
    """Finds out the kind of problem, if it is not known yet, and attaches the metrics.

    Raises:
        ValueError: metrics are asked for by name, and the kind of problem cannot be told.
    """
    if learner.task is None:
        whole = loader.whole()
        parts = whole or loader.first()
        y = None if parts is None else parts.y
        learner.task = infer_task(learner.loss.loss, y, classes=loader.known.classes, is_whole=whole is not None)
        learner.logger.info("The problem is %s", learner.task)
    if learner.task.kind == "unknown" and any(isinstance(one, str) for one in learner._engines.metrics):
        raise ValueError(
            f"metrics by name need to know the kind of problem, but it is {learner.task}: give Learner(..., task=...), "
            "or metrics as objects"
        )
    learner._engines.measure(learner.task)


def fit(learner: Learner, data: Any, valid: Any, options: Options) -> History:
    """Trains; see :meth:`ignite.learner.Learner.fit`."""
    held = valid
    if isinstance(valid, float):
        data, held, *_ = split(data, valid, seed=learner.seed, target=learner._engines.batches.target)
    how = options.batching
    if how.shuffle is None and can_shuffle(data):
        how = replace(how, shuffle=True)
    loader = load(learner, data, how)
    learner._known = loader
    learner.loss.name_classes(loader.known.classes)
    learn_task(learner, loader)
    check(learner, loader, "")
    held_loader = None
    if held is not None:
        held_loader = load(learner, held, Batching(_larger(how, held), num_workers=how.num_workers), like=loader)
        check(learner, held_loader, "valid: ")
    return _run(learner, loader, held_loader, options)


def fit_dry(learner: Learner, data: Any, valid: Any, options: Options) -> History:
    """As :func:`fit`, over a few batches, and without a trace: see :meth:`ignite.engine.Engine.dry_run`."""
    _check_run_dir(learner, options)
    check_writable(options.run_dir)
    with everything_kept([learner], [data, valid]), tempfile.TemporaryDirectory(prefix="ignite-dry-run-") as folder:
        learner._run_dir = None
        run_dir = None if options.run_dir is None else Path(folder)
        return fit(learner, data, valid, replace(options, run_dir=run_dir, resume=None, is_dry=True))


def _larger(how: Batching, data: Any) -> int | None:
    """Without gradients there is room for larger batches."""
    return max(how.batch_size or 0, 256) if can_shuffle(data) else None


def check(learner: Learner, loader: Loader, what: str) -> None:
    """Looks for mistakes before the first step."""
    if learner.config["step"]:
        return
    assert learner.task is not None
    try:
        warnings = check_before_training(
            learner.model, learner.loss.loss, learner.task, loader, device=learner.device, fitted=learner.loss.fitted
        )
    except Exception as error:
        if what:
            error.add_note(f"{what}in the data to validate on")
        raise
    for text in warnings:
        learner.logger.warning("%s%s", what, text)


def _run(learner: Learner, loader: Loader, held: Loader | None, options: Options) -> History:
    trainer, evaluator = learner.trainer, learner.evaluator
    recorder = learner._recorder
    recorder.begin(History(), evaluator if held is not None else None)
    monitor = Monitor(options.monitor or ("loss" if held is None else "valid_loss"), recorder)
    validate = None
    if held is not None:
        valid_batches = held.batches
        validate = lambda: evaluator.run(valid_batches)  # noqa: E731
    best = BestWeights(learner.model, monitor) if options.restore_best else None
    if options.resume is None:
        trainer.state.max_epochs = trainer.state.max_iters = None  # a further fit is a run of its own
    handlers = attached(
        trainer,
        evaluator if held is not None else None,
        recorder,
        validate=validate,
        scheduler=_scheduler(learner, loader, options),
        stopping=_stopping(options, monitor, trainer),
        best=best,
        folder=_folder(learner, options, recorder, monitor, held is not None),
    )
    with learner._engines.telling(recorder), handlers:
        if options.is_dry:
            trainer.dry_run(loader.batches)
        else:
            trainer.run(loader.batches, max_epochs=options.epochs, resume=options.resume)
    if best is not None:
        best.restore()
    return recorder.history


def _stopping(options: Options, monitor: Monitor, trainer: Engine[Any, Any]) -> EarlyStopping | None:
    if options.early_stopping is None:
        return None
    return EarlyStopping(options.early_stopping, monitor, trainer)


def _scheduler(learner: Learner, loader: Loader, options: Options) -> torch.optim.lr_scheduler.LRScheduler | None:
    for group, lr in zip(learner.optimizer.param_groups, learner._first_lrs, strict=True):
        group["lr"] = group["initial_lr"] = lr
    if options.schedule is None and not options.warmup:
        return None
    if loader.num_batches is None:
        raise TypeError("schedule and warmup need data of a known length, and these have none")
    factor = factor_of(options.schedule or "constant", options.warmup, options.epochs * loader.num_batches)
    return torch.optim.lr_scheduler.LambdaLR(learner.optimizer, factor)


def _check_run_dir(learner: Learner, options: Options) -> None:
    if options.run_dir is not None and learner._run_dir not in (None, options.run_dir):
        raise ValueError(
            f"run_dir should be {learner._run_dir}, where this learner has been trained before, but given "
            f"{options.run_dir}: make another Learner"
        )


def _folder(learner: Learner, options: Options, recorder: Recorder, monitor: Monitor, has_valid: bool) -> Folder | None:
    if options.run_dir is None:
        if options.resume is not None:
            raise ValueError(f"resume={options.resume!r} needs run_dir, the folder of the run")
        return None
    _check_run_dir(learner, options)
    learner._run_dir = options.run_dir
    config: Mapping[str, Any] = {
        **learner.config, "task": None if learner.task is None else str(learner.task), "epochs": options.epochs,
        "batch_size": options.batching.batch_size, "schedule": options.schedule, "warmup": options.warmup,
        "early_stopping": options.early_stopping, "monitor": monitor.name,
    }  # fmt: skip
    record = _run_dir.note_session(options.run_dir, config)
    objects = {"model": learner.model, "recorder": recorder, "provenance": _run_dir.Provenance(record)}
    if isinstance(learner.optimizer, torch.optim.Optimizer):
        objects["optimizer"] = learner.optimizer
    event = Events.EPOCH_COMPLETED
    if options.save_every is not None:
        event |= Events.ITERATION_COMPLETED(every=options.save_every)  # type: ignore[assignment]
    return Folder(options.run_dir, objects, event, monitor if has_valid else None)
