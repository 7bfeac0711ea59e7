"""Implements one call of ``fit``: data, checks, handlers, and the run."""

from __future__ import annotations

import contextlib
import copy
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import torch

from ignite import distributed as idist
from ignite._core.files import check_writable
from ignite._core.trees import items_restorer
from ignite.engine import BackpropEvents, Engine, Events
from ignite.engine.backup import backed_up
from ignite.handlers import EarlyStopping, FastaiLRFinder
from ignite.learner._callbacks import (
    BestWeights,
    Folder,
    Handlers,
    Monitor,
    Validation,
    attached,
    no_such_monitor,
)
from ignite.learner._data.fingerprint import fingerprint
from ignite.learner._data.in_memory import normalized
from ignite.learner._data.inspection import can_shuffle, holds_arrays, is_one_pass
from ignite.learner._data.schema import Facts, wanted_by
from ignite.learner._data.sources import Loader, as_items
from ignite.learner._data.splitting import Holdout, hold_out
from ignite.learner._events import check_callbacks
from ignite.learner._measuring import TrainingMetrics
from ignite.learner._optimizers import (
    Rates,
    Settings,
    adopt_parameters,
    check_optimizer,
    num_parameters,
    rates_of,
    set_rates,
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
from ignite.learner._runs import Provenance, Recorder, learnt_in, loss_of
from ignite.learner._schedules import Schedule, check_schedule, make_schedule, schedule_name
from ignite.learner.history import History
from ignite.metrics import Metric

__all__ = ["Options", "find_rate", "fit", "fit_dry"]


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
    min_delta: float = 0.0
    lr: Any = None
    steps_per_epoch: int | None = None
    validate_every: int | None = None
    callbacks: Mapping[Any, Any] = field(default_factory=dict)
    is_dry: bool = False

    def __post_init__(self) -> None:
        """Raises a TypeError or ValueError if a number is out of range."""
        _check_count("epochs", self.epochs)
        for name in ("early_stopping", "save_every", "steps_per_epoch", "validate_every"):
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
        if isinstance(self.min_delta, bool) or not isinstance(self.min_delta, Real):
            raise TypeError(f"min_delta should be a number, but given {self.min_delta!r}")
        if not 0 <= self.min_delta < math.inf:
            raise ValueError(f"min_delta should be at least 0, but given {self.min_delta}")
        if self.min_delta and self.early_stopping is None:
            raise ValueError(
                "min_delta is the least improvement for early stopping: pass early_stopping, the "
                "number of epochs to wait for one"
            )
        check_schedule(self.schedule, self.warmup)


def _check_count(name: str, value: Any, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} should be an integer, but given {value!r}")
    if value < least:
        raise ValueError(f"{name} should be at least {least}, but given {value}")


def fit(learner: LearnerState, data: Any, valid: Any, options: Options) -> History:
    """Trains; see :meth:`ignite.learner.Learner.fit`."""
    with _restored_if_refused(learner):
        how, facts = options.batching, _facts_of_run(learner, options)
        data, held = (
            as_items(normalized(one), how.collate_fn) for one in (data, valid)
        )  # what a function collates are items
        check_callbacks(options.callbacks, has_validation=valid is not None)
        if options.validate_every is not None and valid is None:
            raise ValueError("validate_every needs data to validate on: pass valid")
        learner._collate_fn = how.collate_fn
        if isinstance(valid, Real | Holdout):
            if how.sampler is not None:
                raise ValueError(
                    "valid should be data with a sampler, whose indices are those of the data, but "
                    f"given {valid!r}"
                )
            wants = wanted_by(learner._engines.loss.loss, facts.task)
            target = target_of(data, how, facts)
            data, held = hold_out(data, valid, seed=learner.seed, target=target, wants=wants)
        if how.shuffle is None and how.sampler is None and can_shuffle(data):
            how = replace(how, shuffle=True)
        for name, one in (("data", data), ("valid", held)):
            is_stream = one is data and options.steps_per_epoch is not None
            if options.epochs > 1 and not is_stream and is_one_pass(one):
                raise ValueError(
                    f"{name} should be a list or a DataLoader for {options.epochs} epochs, but "
                    f"given a {type(one).__name__}, which can be iterated over only once"
                )
        loader, learnt = load_to_train(learner, data, how, facts)
        held_loader, figures = None, None
        if held is not None:
            held_how = Batching(
                _larger(how, held), num_workers=how.num_workers, target=how.target,
                collate_fn=None if holds_arrays(held) or not can_shuffle(held) else how.collate_fn,
            )  # fmt: skip
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


def find_rate(
    learner: LearnerState, data: Any, how: Batching, start: float, end: float, num_iter: int
) -> FastaiLRFinder:
    """Runs a range test on a copy; see :meth:`ignite.learner.Learner.lr_find`."""
    if learner.config["step"]:
        raise TypeError(
            "lr_find needs the supervised step, because a custom one trains the original model: use "
            "ignite.handlers.FastaiLRFinder with learner.trainer"
        )
    tried, finder = copy.deepcopy(learner), FastaiLRFinder()
    if can_shuffle(data):
        how = replace(how, shuffle=True)
    loader, learnt = load_to_train(tried, normalized(data), how, tried._learnt.facts)
    tried._learn(learnt)
    to_save = {"model": tried.model, "optimizer": tried.optimizer}
    limits: dict[str, Any] = {"num_iter": num_iter, "start_lr": start, "end_lr": end}
    with warnings.catch_warnings():
        # A loss that does not diverge below the highest rate is no mistake.
        warnings.filterwarnings("ignore", "Run completed without loss diverging", UserWarning)
        with finder.attach(tried.trainer, to_save, loss_of, **limits) as trainer:
            trainer.run(loader.batches, epoch_length=num_iter)
    return finder


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
    if options.lr is not None:
        set_rates(engines.optimizer, options.lr)
    settings = Settings(engines.optimizer)
    schedule = _schedule(learner, loader, options, settings, monitor)
    handlers = _handlers(learner, held, options, monitor, schedule)
    facts = {"directions": history.directions, "data": prints}
    folder = _folder(learner, options, handlers, settings, monitor, facts)
    if group is not None and folder is not None:
        folder = replace(folder, measured=[*group.members])
    if held is not None and folder is not None:
        folder = replace(folder, valid=held.batches)
    handlers = replace(handlers, measured=group, folder=folder)
    recorder.begin(history, evaluator, () if group is None else [*group.members])
    # Each fit is a separate run, also if there is nothing to resume in its folder yet.
    trainer.state.max_epochs = trainer.state.max_iters = None
    try:
        with engines.telling(recorder, group), attached(trainer, evaluator, recorder, handlers):
            if options.is_dry:
                trainer.dry_run(loader.batches)
            else:
                trainer.run(
                    loader.batches,
                    max_epochs=options.epochs,
                    epoch_length=options.steps_per_epoch,
                    resume=options.resume,
                )
    finally:
        recorder.end_early(trainer)
        is_scheduled = schedule.handler is not None or schedule.plateau is not None
        begins_anew = is_scheduled and schedule.begins_anew
        learner._rates = Rates(engines.optimizer) if begins_anew else None
    if handlers.best is not None:
        handlers.best.restore()
    return history


def _handlers(
    learner: LearnerState,
    held: Loader | None,
    options: Options,
    monitor: Monitor,
    schedule: Schedule,
) -> Handlers:
    engines, patience = learner._engines, options.early_stopping
    validation, stopping = None, None
    if held is not None:
        batches, every = held.batches, options.validate_every
        validation = Validation(lambda: engines.evaluator.run(batches), learner._recorder, every)
    if patience is not None:
        # Small improvements add up, as in Keras.
        stopping = EarlyStopping(
            patience, monitor, engines.trainer, threshold=options.min_delta, cumulative=True
        )
    return Handlers(
        measured=None,
        validation=validation,
        schedule=schedule,
        callbacks=options.callbacks,
        stopping=stopping,
        best=BestWeights(learner.model, engines.average, monitor) if options.restore_best else None,
        folder=None,
        progress=options.progress,
    )


def _directions(
    evaluator: Engine[Any, Any] | None, group: TrainingMetrics | None, figures: set[str] | None
) -> dict[str, bool | None]:
    """For each metric that the history will have, whether higher is better; None if unknown."""
    found: dict[str, bool | None] = {"loss": False, "seconds": False}
    if group is not None:
        found |= {name: metric.higher_is_better for name, metric in group.members.items()}
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
    if (by_validation := options.validate_every is not None) and not name.startswith("valid_"):
        raise ValueError(
            "monitor should be a metric of the validation, such as 'valid_loss', with "
            f"validate_every, but given {name!r}"
        )
    return Monitor(name, mode or ("max" if known[name] else "min"), recorder, by_validation)


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


def _schedule(
    learner: LearnerState, loader: Loader, options: Options, settings: Settings, monitor: Monitor
) -> Schedule:
    length = options.steps_per_epoch or loader.num_batches
    num_steps = None
    if length is not None:
        window = learner.config["accumulation"]
        num_steps = options.epochs * math.ceil(length / (1 if window == "auto" else window))
    event = (
        Events.ITERATION_STARTED if learner.config["step"] else BackpropEvents.OPTIM_STEP_STARTED
    )
    return make_schedule(
        options.schedule, options.warmup, num_steps, settings, learner.optimizer, monitor, event
    )


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
        "schedule": schedule_name(options.schedule), "warmup": options.warmup,
        "early_stopping": options.early_stopping, "monitor": monitor.name, "mode": monitor.mode,
        "restore_best": options.restore_best,
        "optimizer_options": settings.options, "num_parameters": num_parameters(learner.model),
    }  # fmt: skip
    provenance = Provenance(path, config, learnt=learner._learnt.facts.to_text(), **facts)
    objects: dict[str, Any] = {"model": learner.model, "learnt": learner._learnt}
    objects |= {"recorder": learner._recorder, "provenance": provenance}
    if isinstance(learner.optimizer, torch.optim.Optimizer):
        # The settings come last, so that options of the program override saved ones.
        objects |= {
            "optimizer": learner.optimizer,
            "schedule": handlers.schedule.handler,
            "plateau": handlers.schedule.plateau,
            "settings": settings,
        }
    objects |= {
        "average": learner._engines.average,
        "stopping": handlers.stopping,
        "best": handlers.best,
    }
    has_valid = handlers.validation is not None
    if handlers.stopping or handlers.best or handlers.schedule.plateau or has_valid:
        objects["monitor"] = monitor
    event = Events.EPOCH_COMPLETED
    if options.validate_every is not None:
        event |= Events.ITERATION_COMPLETED(every=options.validate_every)  # type: ignore[assignment]
    if options.save_every is not None:
        event |= Events.ITERATION_COMPLETED(every=options.save_every)  # type: ignore[assignment]
    found = {name: one for name, one in objects.items() if one is not None}
    is_paced = options.save_every is None
    score = monitor if has_valid else None
    return Folder(
        path, found, event, score, provenance, is_paced, lambda: rates_of(learner.optimizer)
    )
