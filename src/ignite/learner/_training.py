"""Implements one call of ``fit``: data, checks, handlers, and the run."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import torch

from ignite import distributed as idist
from ignite._core.files import check_writable
from ignite._core.trees import items_restorer
from ignite.engine import BackpropEvents, Engine, Events
from ignite.engine.backup import backed_up
from ignite.handlers import EarlyStopping, LRScheduler
from ignite.learner._callbacks import (
    BestWeights,
    Folder,
    Handlers,
    Monitor,
    attached,
    factor_of,
    no_such_monitor,
)
from ignite.learner._data.fingerprint import fingerprint
from ignite.learner._data.in_memory import normalized
from ignite.learner._data.inspection import can_shuffle, is_one_pass
from ignite.learner._data.schema import Facts, wanted_by
from ignite.learner._data.sources import Loader
from ignite.learner._data.splitting import split
from ignite.learner._optimizers import (
    Rates,
    Settings,
    adopt_parameters,
    check_optimizer,
    num_parameters,
    rates_of,
)
from ignite.learner._preparation import (
    Batching,
    LearnerState,
    check,
    example_of,
    load,
    load_to_train,
    rehearse,
    target_of,
)
from ignite.learner._runs import Provenance, Recorder, learnt_in
from ignite.learner.history import History
from ignite.metrics import Metric, MetricGroup

__all__ = ["Options", "fit", "fit_dry"]


@dataclass(frozen=True)
class Options:
    """Options of one call of ``fit``, except the data."""

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
    mode: str | None
    progress: bool | str
    is_dry: bool = False

    def __post_init__(self) -> None:
        """Raises a TypeError or ValueError if a number is out of range."""
        _check_count("epochs", self.epochs)
        for name in ("early_stopping", "save_every"):
            if getattr(self, name) is not None:
                _check_count(name, getattr(self, name))
        if self.batching.batch_size is not None:
            _check_count("batch_size", self.batching.batch_size)
        _check_count("num_workers", self.batching.num_workers, least=0)
        if (
            isinstance(self.warmup, bool)
            or not isinstance(self.warmup, Real)
            or not self.warmup >= 0
        ):
            raise ValueError(
                "warmup should be a number of steps, or a fraction of them below 1, but given "
                f"{self.warmup!r}"
            )
        if self.monitor is not None and not isinstance(self.monitor, str):
            raise TypeError(f"monitor should be the name of a metric, but given {self.monitor!r}")


def _check_count(name: str, value: Any, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} should be an integer, but given {value!r}")
    if value < least:
        raise ValueError(f"{name} should be at least {least}, but given {value}")


def fit(learner: LearnerState, data: Any, valid: Any, options: Options) -> History:
    """Trains; see :meth:`ignite.learner.Learner.fit`."""
    with _restored_if_refused(learner):
        how, facts = options.batching, _facts_of_run(learner, options)
        data, held = normalized(data), normalized(valid)
        if isinstance(valid, Integral):
            raise TypeError(
                f"valid should be data, or a fraction of the data such as 0.2, but given {valid!r}"
            )
        if isinstance(valid, Real):
            wants, target = (
                wanted_by(learner._engines.loss.loss, facts.task),
                target_of(data, how, facts),
            )
            data, held, *_ = split(
                data, float(valid), seed=learner.seed, target=target, wants=wants
            )
        if how.shuffle is None and can_shuffle(data):
            how = replace(how, shuffle=True)
        for name, one in (("data", data), ("valid", held)):
            if options.epochs > 1 and is_one_pass(one):
                raise ValueError(
                    f"{name} should be a list or a DataLoader for {options.epochs} epochs, but "
                    f"given a {type(one).__name__}, which can be iterated over only once"
                )
        loader, learnt = load_to_train(learner, data, how, facts)
        held_loader, figures = None, None
        if held is not None:
            held_how = Batching(_larger(how, held), num_workers=how.num_workers, target=how.target)
            held_loader = load(learner, held, held_how, learnt)
            check(learner, held_loader, learnt, "valid: ")
        if not options.is_dry:
            figures = rehearse(learner, held_loader or loader, learnt)
        learner._learn(learnt)
        learner._example = example_of(loader)
        prints = _fingerprints(loader, held_loader) if options.run_dir is not None else {}
        loader.forget_first()
        if held_loader is not None:
            held_loader.forget_first()
        assert learnt.task is not None
        learner._engines.measure(learnt.task)
        return _run(learner, loader, held_loader, options, figures, prints)


def _fingerprints(loader: Loader, held: Loader | None) -> dict[str, Any]:
    """Returns fingerprints of the data for training and validation, for the record of the run."""
    if idist.get_rank() != 0:
        return {}
    parts = {"training": loader, "validation": held}
    return {name: fingerprint(one) for name, one in parts.items() if one is not None}


def _facts_of_run(learner: LearnerState, options: Options) -> Facts:
    """Returns the facts learned from the data of the run to resume, otherwise those of this learner."""
    facts = learner._learnt.facts
    if options.resume is None:
        return facts
    found = learnt_in(options.run_dir, options.resume)
    if found is None:
        return facts
    learner._check_facts(found)
    return found


@contextlib.contextmanager
def _restored_if_refused(learner: LearnerState) -> Iterator[None]:
    """Restores the learner if the block raises before the first step."""
    engines, recorder = learner._engines, learner._recorder
    state = engines.trainer.state
    holders = [learner, learner._learnt, engines.loss, engines.batches, recorder]
    restorers = [items_restorer(vars(one)) for one in holders]
    limits, was_measured = (state.max_epochs, state.max_iters), engines.is_measured
    history, rates = recorder.history, Rates(engines.optimizer)
    try:
        yield
    except BaseException:
        if recorder.history is history or not recorder.has_trained:
            for restore in restorers:
                restore()
            rates.put_back()
            state.max_epochs, state.max_iters = limits
            if not was_measured:
                engines.unmeasure()
        raise


def fit_dry(learner: LearnerState, data: Any, valid: Any, options: Options) -> History:
    """Runs :func:`fit` on a few batches and restores everything: see :meth:`.Engine.dry_run`."""
    check_writable(options.run_dir)
    with (
        backed_up([learner], [data, valid]),
        tempfile.TemporaryDirectory(prefix="ignite-dry-run-") as folder,
    ):
        run_dir = None if options.run_dir is None else Path(folder)
        tried = replace(options, run_dir=run_dir, resume=None, progress=False, is_dry=True)
        return fit(learner, data, valid, tried)


def _larger(how: Batching, data: Any) -> int | None:
    """Returns the batch size for validation, which is larger because gradients need no memory."""
    return max(how.batch_size or 0, 256) if can_shuffle(data) else None


def _run(
    learner: LearnerState,
    loader: Loader,
    held: Loader | None,
    options: Options,
    figures: set[str] | None,
    prints: Mapping[str, Any],
) -> History:
    engines, recorder = learner._engines, learner._recorder
    trainer, evaluator = engines.trainer, None if held is None else engines.evaluator
    task = learner._learnt.facts.task
    assert task is not None
    group = engines.over_training(task)
    if held is None and group is None and engines.metrics:
        learner.logger.warning(
            "Metrics are not computed in this fit: with a custom step, they need valid="
        )
    history = History()
    history.directions = _directions(evaluator, group, figures)
    monitor = _monitor(options, history, recorder, is_validated=held is not None)
    _adopt_parameters(learner)
    if learner._rates is not None:
        learner._rates.begin_anew()
    settings = Settings(engines.optimizer)
    handlers = _handlers(
        learner, held, options, monitor, settings, _scheduler(learner, loader, options, settings)
    )
    facts = {"directions": history.directions, "data": prints}
    folder = _folder(learner, options, handlers, settings, monitor, facts)
    if group is not None and folder is not None:
        folder = replace(folder, measured=[*group.metrics])
    if held is not None and folder is not None:
        folder = replace(folder, valid=held.batches)
    handlers = replace(handlers, measured=group, folder=folder)
    recorder.begin(history, evaluator, () if group is None else [*group.metrics])
    if options.resume is None:
        trainer.state.max_epochs = trainer.state.max_iters = None  # each fit is a separate run
    try:
        with engines.telling(recorder, group), attached(trainer, evaluator, recorder, handlers):
            if options.is_dry:
                trainer.dry_run(loader.batches)
            else:
                trainer.run(loader.batches, max_epochs=options.epochs, resume=options.resume)
    finally:
        recorder.end_early(trainer)
        learner._rates = None if handlers.scheduler is None else Rates(engines.optimizer)
    if handlers.best is not None:
        handlers.best.restore()
    return history


def _handlers(
    learner: LearnerState,
    held: Loader | None,
    options: Options,
    monitor: Monitor,
    settings: Settings,
    scheduler: LRScheduler | None,
) -> Handlers:
    engines, patience = learner._engines, options.early_stopping

    def validate() -> None:  # a name for what describes and measures the run
        assert held is not None
        engines.evaluator.run(held.batches)

    return Handlers(
        measured=None,
        validate=None if held is None else validate,
        scheduler=scheduler,
        schedule_event=Events.ITERATION_STARTED
        if learner.config["step"]
        else BackpropEvents.OPTIM_STEP_STARTED,
        stopping=None if patience is None else EarlyStopping(patience, monitor, engines.trainer),
        best=BestWeights(learner.model, engines.average, monitor) if options.restore_best else None,
        folder=None,
        progress=options.progress,
    )


def _directions(
    evaluator: Engine[Any, Any] | None, group: MetricGroup | None, figures: set[str] | None
) -> dict[str, bool | None]:
    """For each metric that the history will have, whether higher is better; None if unknown."""
    found: dict[str, bool | None] = {"loss": False, "seconds": False}
    if group is not None:
        found |= {name: metric.higher_is_better for name, metric in group.metrics.items()}
    if evaluator is not None:
        told: dict[str, bool | None] = dict.fromkeys(figures or ())
        told |= Metric.directions(evaluator)
        if figures:  # values for each class, and matrices, are not monitored
            told = {name: is_higher for name, is_higher in told.items() if name in figures}
        found |= {f"valid_{name}": is_higher for name, is_higher in told.items()}
    return found


def _monitor(options: Options, history: History, recorder: Recorder, is_validated: bool) -> Monitor:
    """Returns the metric to monitor, with its direction.

    Raises:
        ValueError: there is no such metric, or its direction is unknown.
    """
    name, mode, known = (
        options.monitor or ("valid_loss" if is_validated else "loss"),
        options.mode,
        history.directions,
    )
    if mode not in (None, "min", "max"):
        raise ValueError(f"mode should be 'min' or 'max', but given {mode!r}")
    if mode is None and name not in known:
        raise ValueError(no_such_monitor(name, known))
    if mode is None and known[name] is None:
        raise ValueError(
            f"mode should be 'max' or 'min' for monitor={name!r}, because its metric does not "
            "declare whether higher is better, but given None"
        )
    return Monitor(name, mode or ("max" if known[name] else "min"), recorder)


def _adopt_parameters(learner: LearnerState) -> None:
    model, optimizer = learner._engines.model, learner._engines.optimizer
    left = adopt_parameters(optimizer, *learner._made_of, model)
    if left and not learner.config["step"]:
        learner.logger.warning(
            "The optimizer lacks the parameters %s%s, which require gradients: they are not "
            "trained",
            ", ".join(left[:5]), ", ..." if len(left) > 5 else "",
        )  # fmt: skip
    check_optimizer(optimizer, model)


def _scheduler(
    learner: LearnerState, loader: Loader, options: Options, settings: Settings
) -> LRScheduler | None:
    if options.schedule is None and not options.warmup:
        return None
    if loader.num_batches is None:
        raise TypeError("schedule and warmup need data of known length, but this data has none")
    window = learner.config["accumulation"]
    num_steps = options.epochs * math.ceil(loader.num_batches / (1 if window == "auto" else window))
    factor = factor_of(options.schedule or "constant", options.warmup, num_steps)
    return LRScheduler(settings.schedule(factor))


def _folder(
    learner: LearnerState,
    options: Options,
    handlers: Handlers,
    settings: Settings,
    monitor: Monitor,
    facts: Mapping[str, Any],
) -> Folder | None:
    """Returns the folder of the run and the objects to save in it; None without ``run_dir``.

    ``facts`` are further facts for the record of the run.

    Raises:
        ValueError: ``resume`` needs a folder, or the folder already holds another run.
    """
    path = options.run_dir
    if path is None:
        if options.resume is not None:
            raise ValueError(f"resume={options.resume!r} needs run_dir, the folder of the run")
        return None
    if options.resume is None and any((path / "checkpoints").glob("*.pt")):
        raise ValueError(
            f"run_dir should be empty for a new fit, but {path} already holds a run: pass "
            "resume='latest' and the total number of epochs to resume it, or use another folder"
        )
    config: Mapping[str, Any] = {
        **learner.config, "lr": settings.rates[0] if len(set(settings.rates)) == 1 else settings.rates,
        "task": str(learner.task), "epochs": options.epochs, "batch_size": options.batching.batch_size,
        "schedule": options.schedule, "warmup": options.warmup, "early_stopping": options.early_stopping,
        "monitor": monitor.name, "mode": monitor.mode, "restore_best": options.restore_best,
        "optimizer_options": settings.options, "num_parameters": num_parameters(learner.model),
    }  # fmt: skip
    provenance = Provenance(path, config, learnt=learner._learnt.facts.to_text(), **facts)
    objects: dict[str, Any] = {"model": learner.model, "learnt": learner._learnt}
    objects |= {"recorder": learner._recorder, "provenance": provenance}
    if isinstance(learner.optimizer, torch.optim.Optimizer):
        # The settings come last, so that options of the program override saved ones.
        objects |= {
            "optimizer": learner.optimizer,
            "schedule": handlers.scheduler,
            "settings": settings,
        }
    objects |= {
        "average": learner._engines.average,
        "stopping": handlers.stopping,
        "best": handlers.best,
    }
    has_valid = handlers.validate is not None
    if handlers.stopping or handlers.best or has_valid:
        objects["monitor"] = monitor
    event = Events.EPOCH_COMPLETED
    if options.save_every is not None:
        event |= Events.ITERATION_COMPLETED(every=options.save_every)  # type: ignore[assignment]
    found = {name: one for name, one in objects.items() if one is not None}
    is_paced = options.save_every is None
    score = monitor if has_valid else None
    return Folder(
        path, found, event, score, provenance, is_paced, lambda: rates_of(learner.optimizer)
    )
