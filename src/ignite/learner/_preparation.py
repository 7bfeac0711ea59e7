"""Prepares data for a learner: creates batches, learns facts from them, and checks them before the first step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader

from ignite import distributed as idist
from ignite._core.trees import map_leaves
from ignite.data import ArrayLoader
from ignite.engine import Engine
from ignite.learner._data.columns import Known
from ignite.learner._data.in_memory import Names, names_of
from ignite.learner._data.inspection import (
    are_named,
    copied,
    dtype_of,
    few_rows,
    kept,
    tensors_in,
)
from ignite.learner._data.schema import Facts, Learnt, Task, infer_task, wanted_by
from ignite.learner._data.sources import Loader, as_items, as_loader
from ignite.learner._data.validation import check_before_training
from ignite.learner._data.weighting import Weighted
from ignite.learner._engines import Engines
from ignite.learner._heads import HeadsLoss, infer_heads
from ignite.learner._losses import TrainingLoss, num_samples
from ignite.learner._optimizers import Rates
from ignite.learner._runs import Recorder, numbers_in

__all__ = [
    "Batching",
    "LearnerState",
    "check",
    "example_of",
    "learn",
    "load",
    "load_to_evaluate",
    "load_to_train",
    "rehearse",
    "target_of",
]

_NUM_TRIED = 16
_MAX_CLASSES = 256


class LearnerState(Protocol):
    """The attributes of a :class:`~ignite.learner.Learner` that the modules of this package use."""

    logger: logging.Logger
    device: torch.device
    seed: int
    config: dict[str, Any]
    _engines: Engines
    _recorder: Recorder
    _rates: Rates | None
    _learnt: Learnt
    _made_of: tuple[Any, Mapping[str, Any]]
    _example: Any
    _collate_fn: Callable[[list[Any]], Any] | None

    @property
    def model(self) -> nn.Module: ...
    @property
    def loss(self) -> TrainingLoss: ...
    @property
    def optimizer(self) -> Any: ...
    @property
    def trainer(self) -> Engine[Any, Any]: ...
    @property
    def task(self) -> Task | None: ...
    @property
    def classes(self) -> tuple[Any, ...]: ...
    def _learn(self, facts: Facts) -> None: ...
    def _check_facts(self, facts: Facts) -> None: ...


@dataclass(frozen=True)
class Batching:
    """Options for data that are not yet in batches; None for the default."""

    batch_size: int | None = None
    shuffle: bool | None = None
    num_workers: int = 0
    is_shared: bool = True
    """Whether the samples are divided among the processes; if not, each process reads all of them."""
    target: Names | None = None
    drop_last: bool = False
    collate_fn: Callable[[list[Any]], Any] | None = None
    sampler: Any = None


def load(
    learner: LearnerState,
    data: Any,
    options: Batching,
    facts: Facts,
    *,
    is_target_needed: bool = True,
) -> Loader:
    """Returns batches from data of any kind, in the form that the model was trained on."""
    data = as_items(data, options.collate_fn)
    is_shared, target = options.is_shared, target_of(data, options, facts)
    engines = learner._engines
    if not is_target_needed and not _has(data, target):
        target = None
    known = replace(
        facts.known, wants=wanted_by(engines.loss.loss, facts.task), dtype=dtype_of(engines.model),
        floats=facts.floats, are_separate=isinstance(engines.loss, HeadsLoss),
    )  # fmt: skip
    loader = as_loader(
        data,
        batch_size=options.batch_size,
        shuffle=options.shuffle,
        seed=learner.seed,
        target=target,
        num_workers=options.num_workers,
        drop_last=options.drop_last,
        collate_fn=options.collate_fn,
        sampler=options.sampler,
        rank=idist.get_rank() if is_shared else 0,
        world_size=idist.get_world_size() if is_shared else 1,
        known=known,
    )
    if not is_target_needed:
        loader = replace(loader, is_target_needed=False)
    if target is not None:
        engines.batches.target = target  # each step splits batches that are dictionaries
    if loader.left_out:
        learner.logger.info(
            "Columns that the model was not trained on are ignored: %s", list(loader.left_out)
        )
    if (parts := loader.whole) is not None:
        facts.check(parts)
    if learner.device.type != "cpu" and loader.batches is not data:
        _make_ahead(loader.batches)
    return loader


def target_of(data: Any, options: Batching, facts: Facts) -> Names | None:
    """Returns the name of the target: the given one, else that of the training data."""
    return facts.target if options.target is None and are_named(data) else options.target


def _make_ahead(batches: Any) -> None:
    """For an accelerator: prefetches arrays in a thread and copies batches from pinned memory."""
    if isinstance(batches, ArrayLoader):
        batches.prefetch = 0 if batches.is_on_accelerator else 2
    if isinstance(batches, ArrayLoader | DataLoader):
        batches.pin_memory = torch.accelerator.is_available()


def _has(data: Any, target: Names | None) -> bool:
    """Whether a data frame or dictionary has the target columns; always true for other data."""
    columns = (
        data
        if isinstance(data, Mapping)
        else getattr(data, "columns", getattr(data, "column_names", None))
    )
    if columns is None or target is None:
        return True
    return all(name in columns for name in names_of(target))


def learn(learner: LearnerState, loader: Loader, facts: Facts) -> Facts:
    """Returns ``facts``, completed by facts learned from this data.

    Raises:
        ValueError: metrics are given by name, but the task cannot be inferred.
    """
    whole = loader.whole
    parts = whole or loader.first()
    known = loader.known if loader.known.are_learnt else facts.known
    facts = replace(facts.of(parts), known=known)
    if facts.task is None:
        y = None if parts is None else parts.y
        facts = replace(
            facts,
            task=_task_of(learner._engines.loss, y, known, is_whole=whole is not None),
        )
        learner.logger.info("The task is %s", facts.task)
    assert facts.task is not None
    if facts.task.kind == "unknown" and any(
        isinstance(one, str) for one in learner._engines.metrics
    ):
        raise ValueError(
            f"metrics given by name need a known task, but it is {facts.task}: pass task= to "
            "Learner, or metrics as objects"
        )
    return facts


def _task_of(loss: TrainingLoss, y: Any, known: Known, is_whole: bool) -> Task:
    if isinstance(loss, HeadsLoss):
        return infer_heads(loss, y, known, is_whole)
    return infer_task(loss.loss, y, classes=known.classes_of("y"), is_whole=is_whole)


def load_to_evaluate(learner: LearnerState, data: Any, options: Batching) -> Loader:
    """Returns batches for an evaluation, and attaches the metrics.

    Only ``fit`` learns from data.
    """
    learner._engines.loss.check_learnt()
    facts = learner._learnt.facts
    loader = load(learner, data, options, facts)
    found = learn(learner, loader, facts)
    if found.known.classes and not facts.known.classes:
        learner.logger.warning(
            "The classes that the model was trained on are unknown: class indices are taken from "
            "this data, as %s",
            dict(enumerate(found.known.classes_of("y"))),
        )
    learner._learnt.facts = replace(facts, task=found.task)
    assert found.task is not None
    learner._engines.measure(found.task)
    return loader


def example_of(loader: Loader) -> Any:
    """Returns copies of two samples of x, or a batch of packed sequences.

    None if the data cannot be inspected.
    """
    parts = loader.whole or loader.first()
    if parts is None:
        return None
    return map_leaves(few_rows(parts.x, slice(2)), (Tensor, PackedSequence), _copied_to_host)


def _copied_to_host(leaf: Any) -> Any:
    """Copies to the CPU, because a slice would keep the whole array alive."""
    return leaf.detach().cpu().clone() if isinstance(leaf, Tensor) else leaf.cpu()


def load_to_train(
    learner: LearnerState, data: Any, how: Batching, facts: Facts
) -> tuple[Loader, Facts]:
    """Returns checked training batches, and the facts learned from them."""
    loader = load(learner, data, how, facts)
    learnt = replace(
        learn(learner, loader, facts), target=facts.target if how.target is None else how.target
    )
    learnt = replace(learnt, balance=_balance(learner, data, loader))
    try:
        check(learner, loader, learnt)
    except (RuntimeError, TypeError):  # perhaps an embedding received floats
        with_codes = replace(facts, known=replace(facts.known, has_codes=True))
        if facts.is_learnt or not _has_integers(
            loader, other := load(learner, data, how, with_codes)
        ):
            raise
        known = learn(learner, other, with_codes)
        loader, learnt = other, replace(known, target=how.target, balance=learnt.balance)
        check(learner, loader, learnt)
    return loader, learnt


def _has_integers(loader: Loader, other: Loader) -> bool:
    """Whether reading integers as codes changes a dtype."""
    first, second = loader.whole, other.whole
    if first is None or second is None:
        return False
    return [one.dtype for one in tensors_in(first.x)] != [one.dtype for one in tensors_in(second.x)]


def rehearse(learner: LearnerState, loader: Loader, facts: Facts) -> set[str] | None:
    """Evaluates a few samples without side effects.

    Returns the names of the metrics, None if that is not possible.

    Raises:
        Exception: raised by model, loss or a metric.
    """
    engines = learner._engines
    if idist.get_world_size() > 1 or any(map(is_lazy, engines.model.parameters())):
        return None
    batch, is_fair = _few_of(loader)
    if batch is None:
        return None
    assert facts.task is not None
    engines.made(facts.task)  # unknown names raise here, without the note below
    with kept(engines.model):
        try:
            found = engines.try_out(facts.task, batch, is_fair)
        except Exception as error:
            error.add_note("while trying the evaluation before the first step")
            raise
    return None if found is None else set(numbers_in(found))


def _few_of(loader: Loader) -> tuple[Any, bool]:
    """Returns samples of all classes, or the first batch, and whether they represent all data."""
    whole = loader.whole
    if whole is None:
        return copied(loader.first_batch), False
    num_samples = len(tensors_in(whole.y)[0]) if tensors_in(whole.y) else 0
    rows = torch.linspace(0, max(num_samples - 1, 0), min(num_samples, _NUM_TRIED)).long()
    labels = (
        whole.y.flatten().cpu()
        if isinstance(whole.y, Tensor) and whole.y.numel() == num_samples
        else None
    )
    is_fair = labels is not None and len(labels[rows].unique()) > 1
    if labels is not None and not labels.is_floating_point():
        _, codes = labels.unique(return_inverse=True)
        first = torch.full((int(codes.max()) + 1,), num_samples).scatter_reduce_(
            0, codes, torch.arange(num_samples), "amin"
        )
        rows, is_fair = (
            torch.cat([first[:_MAX_CLASSES], rows]).unique(),
            1 < len(first) <= _MAX_CLASSES,
        )
    return few_rows(tuple(part for part in whole if part is not None), rows), is_fair


def _balance(learner: LearnerState, data: Any, loader: Loader) -> tuple[float, ...]:
    """Returns the balanced weight of each class; empty without class_weight="balanced"."""
    loss = learner._engines.loss
    if not loss.is_balanced:
        return ()
    whole = loader.whole
    if whole is None:
        raise ValueError(
            "class_weight='balanced' needs all targets at once, in arrays, but data is a "
            f"{type(data).__name__}: pass a weight for each class, for instance from "
            "sklearn.utils.class_weight.compute_class_weight"
        )
    return loss.balance_of(whole.y)


def check(learner: LearnerState, loader: Loader, facts: Facts, what: str = "") -> None:
    """Raises errors and logs warnings about mistakes before the first step."""
    if learner.config["step"]:
        return
    assert facts.task is not None
    engines = learner._engines
    model, loss = engines.model, engines.loss
    loss.learn(facts.known.classes_of("y"), facts.balance)
    parts = loader.whole or loader.first()
    weight = None if parts is None else parts.w

    def fitted(output: Any, y: Any) -> Any:
        y = engines.batches.targets(y)
        if isinstance(weight, Tensor):
            y = Weighted(y, weight[: num_samples(y)].to(learner.device))
        return loss.check(output, y)

    try:
        warnings = check_before_training(
            model, loss.loss, facts.task, loader,
            device=learner.device, call=engines.call, fitted=fitted, is_training=not what,
        )  # fmt: skip
    except Exception as error:
        if what:
            error.add_note(f"{what}in the validation data")
        raise
    for text in warnings:
        learner.logger.warning("%s%s", what, text)
