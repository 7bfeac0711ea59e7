"""One call of ``fit``: data, checks, handlers, and the run."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader

from ignite import distributed as idist
from ignite._core.trees import apply_to_type
from ignite.data import ArrayLoader
from ignite.engine import BackpropEvents, Engine, Events
from ignite.engine.backup import backed_up
from ignite.handlers import EarlyStopping, LRScheduler
from ignite.handlers._rehearsal import check_writable
from ignite.learner import _run_dir
from ignite.learner._data.arrays import Names, names_of, tidied
from ignite.learner._data.checks import check_before_training
from ignite.learner._data.facts import Facts
from ignite.learner._data.inputs import Loader, are_named, as_loader, can_shuffle
from ignite.learner._data.peek import first_batch, is_gone_over_once
from ignite.learner._data.split import split
from ignite.learner._data.task import infer_task, wanted_by
from ignite.learner._data.trial import dtype_of, few_rows, kept, tensors_in
from ignite.learner._fitting import BestWeights, Folder, Handlers, attached, factor_of
from ignite.learner._loss import Weighted, num_samples
from ignite.learner._optimizers import Rates, Settings, adopt_parameters, check_optimizer
from ignite.learner._recorder import Recorder, numbers_in
from ignite.learner.history import History
from ignite.metrics import Metric, MetricGroup

if TYPE_CHECKING:
    from ignite.learner.learner import Learner

__all__ = ["Batching", "Options", "fit", "fit_dry", "load", "load_to_evaluate"]

_NUM_TRIED = 16
_MAX_CLASSES = 256


@dataclass(frozen=True)
class Batching:
    """How batches are cut where the data are not cut yet; None where nothing is said."""

    batch_size: int | None = None
    shuffle: bool | None = None
    num_workers: int = 0
    is_shared: bool = True
    """Whether several processes share the samples, or each goes over all of them."""
    target: Names | None = None
    drop_last: bool = False


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
        if isinstance(self.warmup, bool) or not isinstance(self.warmup, Real) or not self.warmup >= 0:
            raise ValueError(
                f"warmup should be a number of steps, or a share of all below 1, but given {self.warmup!r}"
            )
        if self.monitor is not None and not isinstance(self.monitor, str):
            raise TypeError(f"monitor should be the name of a figure, but given {self.monitor!r}")


def _check_count(name: str, value: Any, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} should be an integer, but given {value!r}")
    if value < least:
        raise ValueError(f"{name} should be at least {least}, but given {value}")


class Monitor:
    """Reads a figure of the epoch that is over, as a score: higher is better.

    Args:
        name: of the figure.
        mode: whether a higher ("max") or a lower ("min") figure is better.
        recorder: has written it down.
    """

    def __init__(self, name: str, mode: str, recorder: Recorder) -> None:
        self.name, self.mode = name, mode
        self._recorder = recorder
        self._sign = 1 if mode == "max" else -1

    def __call__(self, *args: Any) -> float:
        epochs = self._recorder.history.epochs
        if not epochs:
            return math.nan
        if self.name not in epochs[-1]:
            raise ValueError(_no_such_monitor(self.name, [name for name in epochs[-1] if name != "epoch"]))
        return float(self._sign * epochs[-1][self.name])

    def state_dict(self) -> dict[str, Any]:
        """What is watched."""
        return {"name": self.name, "mode": self.mode}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Checks that the same is watched: scores of another figure cannot be compared with those to come.

        Raises:
            ValueError: it is not the same.
        """
        if state_dict != self.state_dict():
            raise ValueError(
                f"monitor should be {state_dict['name']!r} with mode={state_dict['mode']!r}, as when the run began, "
                f"but given {self.name!r} with mode={self.mode!r}: begin a run in another folder to watch another one"
            )


def _no_such_monitor(name: str, known: Iterable[str]) -> str:
    return f"monitor should be one of {', '.join(sorted(known))}, but given {name!r}"


def load(learner: Learner, data: Any, options: Batching, facts: Facts, *, is_target_needed: bool = True) -> Loader:
    """Batches of data of any kind, as the model was trained on; if need be without targets."""
    is_shared, target = options.is_shared, _target_of(data, options, facts)
    if not is_target_needed and not _has(data, target):
        target = None
    known = replace(facts.known, wants=wanted_by(learner.loss.loss, facts.task), dtype=dtype_of(learner.model))
    loader = as_loader(
        data,
        batch_size=options.batch_size,
        shuffle=options.shuffle,
        seed=learner.seed,
        target=target,
        num_workers=options.num_workers,
        drop_last=options.drop_last,
        rank=idist.get_rank() if is_shared else 0,
        world_size=idist.get_world_size() if is_shared else 1,
        known=known,
    )
    if not is_target_needed:
        loader = replace(loader, is_target_needed=False)
    if target is not None:
        learner._engines.batches.target = target  # batches that are dictionaries are taken apart in each step
    if loader.left_out:
        learner.logger.info("Columns that the model was not trained on are left out: %s", list(loader.left_out))
    if (parts := loader.whole()) is not None:
        facts.check(parts)
    if learner.device.type != "cpu" and loader.batches is not data:
        _make_ahead(loader.batches)
    return loader


def _target_of(data: Any, options: Batching, facts: Facts) -> Names | None:
    """What the target is called: as is said, else as in training."""
    return facts.target if options.target is None and are_named(data) else options.target


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
    return all(name in columns for name in names_of(target))


def learn(learner: Learner, loader: Loader, facts: Facts) -> Facts:
    """What is known with these data: as learnt first, and what was not known yet.

    Raises:
        ValueError: metrics are asked for by name, and the kind of problem cannot be told.
    """
    whole = loader.whole()
    parts = whole or loader.first()
    known = loader.known if loader.known.are_learnt else facts.known
    facts = replace(facts.of(parts), known=known)
    if facts.task is None:
        y = None if parts is None else parts.y
        classes = known.classes_of("y")
        facts = replace(facts, task=infer_task(learner.loss.loss, y, classes=classes, is_whole=whole is not None))
        learner.logger.info("The problem is %s", facts.task)
    assert facts.task is not None
    if facts.task.kind == "unknown" and any(isinstance(one, str) for one in learner._engines.metrics):
        raise ValueError(
            f"metrics by name need to know the kind of problem, but it is {facts.task}: give Learner(..., task=...), "
            "or metrics as objects"
        )
    return facts


def load_to_evaluate(learner: Learner, data: Any, options: Batching) -> Loader:
    """Batches of data to evaluate on, with metrics attached. Only ``fit`` learns from data what is not known yet."""
    learner.loss.check_learnt()
    facts = learner._learnt.facts
    loader = load(learner, data, options, facts)
    found = learn(learner, loader, facts)
    if found.known.classes and not facts.known.classes:
        learner.logger.warning(
            "What classes the model was trained on is not known: their numbers are taken from these data, as %s",
            dict(enumerate(found.known.classes_of("y"))),
        )
    learner._learnt.facts = replace(facts, task=found.task)
    assert found.task is not None
    learner._engines.measure(found.task)
    return loader


def fit(learner: Learner, data: Any, valid: Any, options: Options) -> History:
    """Trains; see :meth:`ignite.learner.Learner.fit`."""
    with _nothing_kept_if_refused(learner):
        how, facts = options.batching, _facts_of_run(learner, options)
        data, held = tidied(data), tidied(valid)
        if isinstance(valid, Integral):
            raise TypeError(f"valid should be data, or a fraction of them such as 0.2, but given {valid!r}")
        if isinstance(valid, Real):
            wants, target = wanted_by(learner.loss.loss, facts.task), _target_of(data, how, facts)
            data, held, *_ = split(data, float(valid), seed=learner.seed, target=target, wants=wants)
        if how.shuffle is None and can_shuffle(data):
            how = replace(how, shuffle=True)
        for name, one in (("data", data), ("valid", held)):
            if options.epochs > 1 and is_gone_over_once(one):
                raise ValueError(
                    f"{name} should be a list or a DataLoader for {options.epochs} epochs, but given a "
                    f"{type(one).__name__}, which can be gone over once"
                )
        loader, learnt = _load_to_train(learner, data, how, facts)
        held_loader, figures = None, None
        if held is not None:
            held_how = Batching(_larger(how, held), num_workers=how.num_workers, target=how.target)
            held_loader = load(learner, held, held_how, learnt)
            check(learner, held_loader, learnt, "valid: ")
        if not options.is_dry:
            figures = rehearse(learner, held_loader or loader, learnt)
        learner._learn(learnt)
        learner._example = _example_of(loader)
        assert learnt.task is not None
        learner._engines.measure(learnt.task)
        return _run(learner, loader, held_loader, options, figures)


def _example_of(loader: Loader) -> Any:
    """Two samples of x, copied; a batch of packed sequences; None if nobody may look."""
    parts = loader.whole() or loader.first()
    if parts is None:
        return None
    return apply_to_type(few_rows(parts.x, slice(2)), (Tensor, PackedSequence), _copied_to_host)


def _copied_to_host(leaf: Any) -> Any:
    """Of rows, as they would keep all the others alive; packed sequences are a batch of their own."""
    return leaf.detach().cpu().clone() if isinstance(leaf, Tensor) else leaf.cpu()


def _load_to_train(learner: Learner, data: Any, how: Batching, facts: Facts) -> tuple[Loader, Facts]:
    """Batches to train on, which were looked at, and what was learnt from them."""
    loader = load(learner, data, how, facts)
    learnt = replace(learn(learner, loader, facts), target=facts.target if how.target is None else how.target)
    learnt = replace(learnt, balance=_balance(learner, data, loader))
    try:
        check(learner, loader, learnt)
    except (RuntimeError, TypeError):  # of an embedding that is given floats?
        with_codes = replace(facts, known=replace(facts.known, has_codes=True))
        if facts.is_learnt or not _has_integers(loader, other := load(learner, data, how, with_codes)):
            raise
        known = learn(learner, other, with_codes)
        loader, learnt = other, replace(known, target=how.target, balance=learnt.balance)
        check(learner, loader, learnt)
    return loader, learnt


def _has_integers(loader: Loader, other: Loader) -> bool:
    """Whether reading integers as codes makes a difference."""
    first, second = loader.whole(), other.whole()
    if first is None or second is None:
        return False
    return [one.dtype for one in tensors_in(first.x)] != [one.dtype for one in tensors_in(second.x)]


def _facts_of_run(learner: Learner, options: Options) -> Facts:
    """What was learnt in the run that is to be resumed; without one, by this learner."""
    facts = learner._learnt.facts
    if options.resume is None:
        return facts
    found = _run_dir.learnt_in(options.run_dir, options.resume)
    if found is None:
        return facts
    learner._check_facts(found)
    return found


def rehearse(learner: Learner, loader: Loader, facts: Facts) -> set[str] | None:
    """Evaluates a few samples, without a trace; returns which figures came of it, None if nobody may look.

    Raises:
        Exception: what model, loss or a metric cannot do with the data.
    """
    if idist.get_world_size() > 1 or any(map(is_lazy, learner.model.parameters())):
        return None
    batch, is_fair = _few_of(loader)
    if batch is None:
        return None
    assert facts.task is not None
    learner._engines.made(facts.task)
    with kept(learner.model):
        try:
            found = learner._engines.try_out(learner.model, facts.task, batch, is_fair)
        except Exception as error:
            error.add_note("in a trial of the evaluation before the first step")
            raise
    return None if found is None else set(numbers_in(found))


def _few_of(loader: Loader) -> tuple[Any, bool]:
    """Samples of all classes, or the first batch; and whether they stand for all data."""
    whole = loader.whole()
    if whole is None:
        return first_batch(loader.batches), False
    num_samples = len(tensors_in(whole.y)[0]) if tensors_in(whole.y) else 0
    rows = torch.linspace(0, max(num_samples - 1, 0), min(num_samples, _NUM_TRIED)).long()
    labels = whole.y.flatten().cpu() if isinstance(whole.y, Tensor) and whole.y.numel() == num_samples else None
    is_fair = labels is not None and len(labels[rows].unique()) > 1
    if labels is not None and not labels.is_floating_point():
        _, codes = labels.unique(return_inverse=True)
        first = torch.full((int(codes.max()) + 1,), num_samples).scatter_reduce_(
            0, codes, torch.arange(num_samples), "amin"
        )
        rows, is_fair = torch.cat([first[:_MAX_CLASSES], rows]).unique(), 1 < len(first) <= _MAX_CLASSES
    return few_rows(tuple(part for part in whole if part is not None), rows), is_fair


@contextlib.contextmanager
def _nothing_kept_if_refused(learner: Learner) -> Iterator[None]:
    """If the block raises before a step was done, the learner knows of it no more than before."""
    engines, recorder, state = learner._engines, learner._recorder, learner.trainer.state
    holders = [learner, learner._learnt, learner.loss, engines.batches, recorder]
    before = [dict(vars(one)) for one in holders]
    limits, was_measured = (state.max_epochs, state.max_iters), engines.is_measured
    history, rates = recorder.history, Rates(learner.optimizer)
    try:
        yield
    except BaseException:
        if recorder.history is history or not recorder.has_trained:
            for one, attributes in zip(holders, before, strict=True):
                vars(one).clear()
                vars(one).update(attributes)
            rates.put_back()
            state.max_epochs, state.max_iters = limits
            if not was_measured:
                engines.unmeasure()
        raise


def _balance(learner: Learner, data: Any, loader: Loader) -> tuple[float, ...]:
    """What each class weighs, where that is to be found in the training data."""
    if not learner.loss.is_balanced:
        return ()
    whole = loader.whole()
    if whole is None:
        raise ValueError(
            f"class_weight='balanced' needs all targets at once, in arrays, but data are a {type(data).__name__}: give "
            "each class its weight, such as what sklearn.utils.class_weight.compute_class_weight returns"
        )
    return learner.loss.balance_of(whole.y)


def fit_dry(learner: Learner, data: Any, valid: Any, options: Options) -> History:
    """As :func:`fit`, over a few batches, and without a trace: see :meth:`ignite.engine.Engine.dry_run`."""
    check_writable(options.run_dir)
    with backed_up([learner], [data, valid]), tempfile.TemporaryDirectory(prefix="ignite-dry-run-") as folder:
        run_dir = None if options.run_dir is None else Path(folder)
        tried = replace(options, run_dir=run_dir, resume=None, progress=False, is_dry=True)
        return fit(learner, data, valid, tried)


def _larger(how: Batching, data: Any) -> int | None:
    """Without gradients there is room for larger batches."""
    return max(how.batch_size or 0, 256) if can_shuffle(data) else None


def check(learner: Learner, loader: Loader, facts: Facts, what: str = "") -> None:
    """Looks for mistakes before the first step."""
    if learner.config["step"]:
        return
    assert facts.task is not None
    learner.loss.learn(facts.known.classes_of("y"), facts.balance)
    parts = loader.whole() or loader.first()
    weight = None if parts is None else parts.w

    def fitted(output: Any, y: Any) -> Any:
        if isinstance(weight, Tensor):
            y = Weighted(y, weight[: num_samples(y)].to(learner.device))
        return learner.loss.check(output, y)

    try:
        warnings = check_before_training(
            learner.model, learner.loss.loss, facts.task, loader,
            device=learner.device, fitted=fitted, is_training=not what,
        )  # fmt: skip
    except Exception as error:
        if what:
            error.add_note(f"{what}in the data to validate on")
        raise
    for text in warnings:
        learner.logger.warning("%s%s", what, text)


def _run(learner: Learner, loader: Loader, held: Loader | None, options: Options, figures: set[str] | None) -> History:
    engines, recorder = learner._engines, learner._recorder
    trainer, evaluator = engines.trainer, None if held is None else engines.evaluator
    assert learner.task is not None
    group = engines.over_training(learner.task) if held is None else None
    if held is None and group is None and engines.metrics:
        learner.logger.warning("Metrics are not computed in this fit: where the step is one's own, they need valid=")
    history = History()
    history.directions = _directions(evaluator, group, figures)
    monitor = _monitor(options, history, recorder, is_validated=held is not None)
    _adopt_parameters(learner)
    if learner._rates is not None:
        learner._rates.begin_anew()
    settings = Settings(learner.optimizer)
    handlers = _handlers(learner, held, options, monitor, settings, _scheduler(learner, loader, options, settings))
    handlers = replace(handlers, measured=group)
    recorder.begin(history, evaluator, () if group is None else [*group.metrics])
    if options.resume is None:
        trainer.state.max_epochs = trainer.state.max_iters = None  # a further fit is a run of its own
    try:
        with engines.telling(recorder, group), attached(trainer, evaluator, recorder, handlers):
            if options.is_dry:
                trainer.dry_run(loader.batches)
            else:
                trainer.run(loader.batches, max_epochs=options.epochs, resume=options.resume)
    finally:
        recorder.end_early(trainer)
        learner._rates = None if handlers.scheduler is None else Rates(learner.optimizer)
    if handlers.best is not None:
        handlers.best.restore()
    return history


def _handlers(
    learner: Learner,
    held: Loader | None,
    options: Options,
    monitor: Monitor,
    settings: Settings,
    scheduler: LRScheduler | None,
) -> Handlers:
    engines, patience = learner._engines, options.early_stopping
    handlers = Handlers(
        measured=None,
        validate=None if held is None else lambda: engines.evaluator.run(held.batches),
        scheduler=scheduler,
        schedule_event=Events.ITERATION_STARTED if learner.config["step"] else BackpropEvents.OPTIM_STEP_STARTED,
        stopping=None if patience is None else EarlyStopping(patience, monitor, engines.trainer),
        best=BestWeights(learner.model, engines.average, monitor) if options.restore_best else None,
        folder=None,
        progress=options.progress,
    )
    return replace(handlers, folder=_folder(learner, options, handlers, settings, monitor, held is not None))


def _directions(
    evaluator: Engine[Any, Any] | None, group: MetricGroup | None, figures: set[str] | None
) -> dict[str, bool | None]:
    """Whether higher is better, of each figure that a row of the history will have, as far as that is known now."""
    found: dict[str, bool | None] = {"loss": False, "seconds": False}
    if group is not None:
        found |= {name: metric.higher_is_better for name, metric in group.metrics.items()}
    if evaluator is not None:
        told: dict[str, bool | None] = dict.fromkeys(figures or ())
        told |= Metric.directions(evaluator)
        found |= {f"valid_{name}": is_higher for name, is_higher in told.items()}
    return found


def _monitor(options: Options, history: History, recorder: Recorder, is_validated: bool) -> Monitor:
    """What is watched, and which way.

    Raises:
        ValueError: there is no such figure, or nobody says whether higher is better.
    """
    name, mode, known = options.monitor or ("valid_loss" if is_validated else "loss"), options.mode, history.directions
    if mode not in (None, "min", "max"):
        raise ValueError(f"mode should be 'min' or 'max', but given {mode!r}")
    if mode is None and name not in known:
        raise ValueError(_no_such_monitor(name, known))
    if mode is None and known[name] is None:
        raise ValueError(
            f"mode should be 'max' or 'min' for monitor={name!r}, because its metric does not say whether higher is "
            "better, but given None"
        )
    return Monitor(name, mode or ("max" if known[name] else "min"), recorder)


def _adopt_parameters(learner: Learner) -> None:
    left = adopt_parameters(learner.optimizer, *learner._made_of, learner.model)
    if left and not learner.config["step"]:
        learner.logger.warning(
            "The optimizer has not got %s%s, which need gradients: they are not trained",
            ", ".join(left[:5]), ", ..." if len(left) > 5 else "",
        )  # fmt: skip
    check_optimizer(learner.optimizer, learner.model)


def _scheduler(learner: Learner, loader: Loader, options: Options, settings: Settings) -> LRScheduler | None:
    if options.schedule is None and not options.warmup:
        return None
    if loader.num_batches is None:
        raise TypeError("schedule and warmup need data of a known length, and these have none")
    num_steps = options.epochs * math.ceil(loader.num_batches / learner.config["accumulation"])
    factor = factor_of(options.schedule or "constant", options.warmup, num_steps)
    return LRScheduler(settings.schedule(factor))


def _folder(
    learner: Learner, options: Options, handlers: Handlers, settings: Settings, monitor: Monitor, has_valid: bool
) -> Folder | None:
    """Where the run is kept.

    Raises:
        ValueError: it needs a folder, or one of its own.
    """
    path = options.run_dir
    if path is None:
        if options.resume is not None:
            raise ValueError(f"resume={options.resume!r} needs run_dir, the folder of the run")
        return None
    if options.resume is None and any((path / "checkpoints").glob("*.pt")):
        raise ValueError(
            f"run_dir should be a folder of its own for a fit that begins, but {path} holds a run: give "
            "resume='latest' and the epochs of both to go on with it, or another folder"
        )
    config: Mapping[str, Any] = {
        **learner.config, "lr": settings.rates[0] if len(set(settings.rates)) == 1 else settings.rates,
        "task": str(learner.task), "epochs": options.epochs, "batch_size": options.batching.batch_size,
        "schedule": options.schedule, "warmup": options.warmup, "early_stopping": options.early_stopping,
        "monitor": monitor.name, "mode": monitor.mode,
    }  # fmt: skip
    provenance = _run_dir.Provenance(path, config, learner._learnt.facts.to_text())
    objects: dict[str, Any] = {"model": learner.model, "learnt": learner._learnt}
    objects |= {"recorder": learner._recorder, "provenance": provenance}
    if isinstance(learner.optimizer, torch.optim.Optimizer):
        # The settings come last, so that what the program asks for counts.
        objects |= {"optimizer": learner.optimizer, "schedule": handlers.scheduler, "settings": settings}
    objects |= {"average": learner._engines.average, "stopping": handlers.stopping, "best": handlers.best}
    if handlers.stopping or handlers.best or has_valid:
        objects["monitor"] = monitor
    event = Events.EPOCH_COMPLETED
    if options.save_every is not None:
        event |= Events.ITERATION_COMPLETED(every=options.save_every)  # type: ignore[assignment]
    found = {name: one for name, one in objects.items() if one is not None}
    is_paced = options.save_every is None
    return Folder(path, found, event, monitor if has_valid else None, provenance, is_paced)
