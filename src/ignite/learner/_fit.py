"""One call of ``fit``: data, checks, handlers, and the run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ignite._core.tensors import convert_tensor
from ignite.data.arrays import named_tensors
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping
from ignite.handlers._progress.figures import lower_is_better
from ignite.learner import _checks, _run_dir
from ignite.learner._assembly import call
from ignite.learner._fitting import BestWeights, Folder, attached, factor_of
from ignite.learner._inputs import Batching, Source, split, take
from ignite.learner._recorder import Recorder
from ignite.learner._task import infer
from ignite.learner.history import History

if TYPE_CHECKING:
    from ignite.learner.learner import Learner

__all__ = ["Options", "fit", "learn_task"]


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


def learn_task(learner: Learner, source: Source) -> None:
    """Finds out the kind of problem, if it is not known yet, and attaches the metrics."""
    if learner.task is None and learner.loss.loss is not None:
        target = source.target
        if target is None and source.dataset is not None:
            sample = source.dataset[0]
            found = sample[1] if isinstance(sample, tuple | list) and len(sample) > 1 else None
            target = None if found is None else torch.as_tensor(found)[None]
        try:
            learner.task = infer(learner.loss.loss, target)
        except ValueError:
            if learner.config["metrics"]:
                raise
        else:
            learner.logger.info("The problem is %s", learner.task)
    learner._engines.measure(learner.task)


def fit(learner: Learner, data: Any, valid: Any, options: Options) -> History:
    """Trains; see :meth:`ignite.learner.Learner.fit`."""
    target = learner._engines.batches.target
    source = take(data, target)
    learner.classes = source.classes or learner.classes
    learn_task(learner, source)
    is_by_class = learner.task is not None and learner.task.kind in ("multiclass", "binary")
    held: Source | None = None
    if isinstance(valid, float):
        source, held = split(source, valid, learner.seed, is_by_class)
    elif valid is not None:
        held = take(valid, target)
    for one, what in ((source, "data"), (held, "valid")):
        if one is not None and one.arrays is not None:
            _checks.check_arrays(one.arrays, what)
            check_batch(learner, one.arrays, one.target)
    return _run(learner, source, held, options)


def check_batch(learner: Learner, batch: Any, all_targets: Tensor | None = None) -> None:
    """Tries the model on a few samples."""
    if learner.config["step"]:
        return
    x, y, _ = learner._engines.batches.parts(batch)
    x, y = _checks.first_rows(x), _checks.first_rows(y)
    x, y = convert_tensor((x, y), learner.device)
    kind = None if learner.task is None else learner.task.kind
    _checks.check_fit(learner.model, learner.loss.loss, kind, x, y, all_targets, call)


def _run(learner: Learner, source: Source, held: Source | None, options: Options) -> History:
    trainer, evaluator = learner.trainer, learner.evaluator
    loader = source.loader(options.batching)
    recorder = learner._recorder
    recorder.begin(History(), evaluator if held is not None else None)
    monitor = Monitor(options.monitor or ("loss" if held is None else "valid_loss"), recorder)
    validate = None
    if held is not None:
        batching = Batching(max(options.batching.batch_size, 256), num_workers=options.batching.num_workers)
        valid_loader = held.loader(batching)
        validate = lambda: evaluator.run(valid_loader)  # noqa: E731
    best = BestWeights(learner.model, monitor) if options.restore_best else None
    if options.resume is None:
        trainer.state.max_epochs = trainer.state.max_iters = None  # a further fit is a run of its own
    checked = None if source.arrays is not None else _check_first_batch(learner)
    with attached(
        trainer,
        evaluator if held is not None else None,
        recorder,
        validate=validate,
        scheduler=_scheduler(learner, loader, options),
        stopping=_stopping(options, monitor, trainer),
        best=best,
        folder=_folder(learner, options, recorder, monitor, held is not None),
    ):
        try:
            trainer.run(loader, max_epochs=options.epochs, resume=options.resume)
        finally:
            if checked is not None:
                checked.remove()
    if best is not None:
        best.restore()
    return recorder.history


def _check_first_batch(learner: Learner) -> Any:
    def check(engine: Engine[Any, Any]) -> None:
        handle.remove()
        for _, leaf in named_tensors(engine.state.batch) if not learner.config["step"] else ():
            if leaf.dtype.is_floating_point and not bool(torch.isfinite(leaf).all()):
                raise ValueError("The first batch should hold finite numbers, but holds NaN or infinity")
        check_batch(learner, engine.state.batch)

    handle = learner.trainer.add_event_handler(Events.ITERATION_STARTED, check)
    return handle


def _stopping(options: Options, monitor: Monitor, trainer: Engine[Any, Any]) -> EarlyStopping | None:
    if options.early_stopping is None:
        return None
    return EarlyStopping(options.early_stopping, monitor, trainer)


def _scheduler(
    learner: Learner, loader: Iterable[Any], options: Options
) -> torch.optim.lr_scheduler.LRScheduler | None:
    for group, lr in zip(learner.optimizer.param_groups, learner._first_lrs, strict=True):
        group["lr"] = group["initial_lr"] = lr
    if options.schedule is None and not options.warmup:
        return None
    try:
        length = len(loader)  # type: ignore[arg-type]
    except TypeError as error:
        raise TypeError("schedule and warmup need data of a known length, and these have none") from error
    factor = factor_of(options.schedule or "constant", options.warmup, options.epochs * length)
    return torch.optim.lr_scheduler.LambdaLR(learner.optimizer, factor)


def _folder(learner: Learner, options: Options, recorder: Recorder, monitor: Monitor, has_valid: bool) -> Folder | None:
    if options.run_dir is None:
        if options.resume is not None:
            raise ValueError(f"resume={options.resume!r} needs run_dir, the folder of the run")
        return None
    if learner._run_dir not in (None, options.run_dir):
        raise ValueError(
            f"run_dir should be {learner._run_dir}, where this learner has been trained before, but given "
            f"{options.run_dir}: make another Learner"
        )
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
