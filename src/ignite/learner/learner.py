"""``fit``, ``evaluate`` and ``predict`` on top of ordinary engines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ignite import distributed as idist
from ignite._core.markup import Html, Text, join, table, tag
from ignite._core.systems import on_disk
from ignite.engine import Engine
from ignite.handlers import FastaiLRFinder
from ignite.learner._by_name import PRECISIONS, find
from ignite.learner._data.in_memory import Names
from ignite.learner._data.schema import Facts, Learnt, given_task
from ignite.learner._engines import Engines, check_model, choose_device
from ignite.learner._heads import make_loss
from ignite.learner._optimizers import (
    Optimizers,
    Rates,
    freezing,
    frozen_in,
    make_optimizer,
    unfreeze,
)
from ignite.learner._preparation import Batching
from ignite.learner._runs import Recorder
from ignite.learner._trained import TrainedModel
from ignite.learner._training import Options, find_rate, fit, fit_dry
from ignite.learner.history import History
from ignite.metrics import Metric

__all__ = ["Learner"]


class Learner(TrainedModel):
    """Trains, evaluates and applies a model in one line each.

    ``trainer`` and ``evaluator`` are ordinary engines.

    Handlers can be attached to both engines at any time; :meth:`describe` lists what runs when.
    Everything that a learner does can also be done with engines, handlers and metrics.

    Args:
        model: the model to train; it is moved to ``device``.
        loss: a name ("cross_entropy", "bce_with_logits", "mse", "mae", "huber", "nll", "bce", ...),
            or a function ``loss(y_pred, y)`` that returns the mean over a batch or one value for
            each element. Losses by name take the ``logits`` of models that return an object with
            this attribute, such as those of transformers; the classes of tokens are then the last
            dimension. "next_token" is the cross entropy of a causal language model: targets are the
            tokens, shape (N, T), and the logits of each position, shape (N, T, V), are compared
            with the next token.
            If the model returns a dictionary or tuple, a dictionary or tuple of losses for its
            entries, the heads: targets and ``metrics`` have the same keys, and the loss is the sum
            of those of the heads, weighted by ``loss_weights``.
        optimizer: a name ("adamw", "sgd", ...; fused where torch supports it), a function
            ``optimizer(parameters, lr=...)``, or an optimizer of parameters that are already on
            ``device``. A dictionary such as ``{"*.weight": "muon", "*": "adamw"}`` assigns
            optimizers to parameters by patterns of their names; these are used, scheduled and saved
            as one.
        lr: learning rate; None for the optimizer's default.
        metrics: a name, a function ``metric(y_pred, y)`` of all predictions and targets of an epoch,
            or a :class:`~ignite.metrics.Metric`, or a list of them, or a dictionary by the name to
            report them under. The available names depend on the task; the error for an unknown name
            lists them. Names, functions, and objects that count classes, such as Accuracy, are not
            given targets that the loss ignores.
        device: None for the accelerator if there is one, else the CPU.
        precision: "fp32", or "bf16" or "fp16" for mixed precision; "fp16" scales the loss.
        accumulation: number of batches whose gradients are accumulated for one optimizer step. The
            step equals that of one batch with all their samples. "auto" computes a batch that does
            not fit into memory in smaller parts, see
            :func:`~ignite.engine.create_supervised_trainer`.
        clip_grad_norm: maximum Euclidean norm of all gradients together.
        compile: whether to compile the model with ``torch.compile``, or a dictionary of its
            arguments.
        ema: decay of the exponential moving average of the weights, such as 0.999. The averaged
            weights are evaluated, used for predictions and saved. The decay warms up: it is at most
            (1 + t) / (10 + t) in step t.
        freeze: patterns of the names of parameters that are not trained, such as
            ``["backbone.*"]``.
        param_groups: optimizer options for parameters whose names match a pattern: ``{"head.*":
            {"lr": 0.1}}``.
        optimizer_options: further arguments of the optimizer, such as ``{"weight_decay": 0.1}``.
        class_weight: a weight for each class, shape (C,), or a dictionary by class name or index;
            or "balanced", for data in arrays. Weights of samples come with the data, as (x, y, w).
            In training and validation, the loss is the weighted sum over elements divided by the
            number of elements that are not ignored, independent of the sizes of batches and
            accumulation windows and the number of processes.
        loss_weights: weights of the losses of several heads, 1 by default.
        task: "multiclass", "binary", "multilabel" or "regression", if loss and targets do not
            determine it.
        step: a function ``step(engine, batch)`` that replaces the supervised training step.
        seed: seed of the order of samples and of the validation split.

    Raises:
        ValueError: a name is unknown, or a pattern matches no parameter.
        TypeError: an argument is neither a name nor an object of the right kind.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> x = torch.randn(64, 4)
        >>> learner = Learner(torch.nn.Linear(4, 2), loss="cross_entropy", lr=0.1, metrics=["accuracy"])
        >>> history = learner.fit((x, (x[:, 0] > 0).long()), valid=0.25, epochs=5, batch_size=16)
        >>> history["valid_accuracy"][-1] > 0.8
        True
        >>> learner.predict(x[:3]).shape
        torch.Size([3, 2])
    """

    def __init__(  # noqa: PLR0913 - the options of a training
        self,
        model: nn.Module,
        loss: Any,
        optimizer: Any = "adamw",
        lr: float | None = None,
        metrics: str | Metric | Sequence[Any] | Mapping[str, Any] = (),
        *,
        device: str | torch.device | None = None,
        precision: Literal["fp32", "bf16", "fp16"] = "fp32",
        accumulation: int | Literal["auto"] = 1,
        clip_grad_norm: float | None = None,
        compile: bool | Mapping[str, Any] = False,
        ema: float | None = None,
        freeze: Sequence[str] = (),
        param_groups: Mapping[str, Mapping[str, Any]] | None = None,
        optimizer_options: Mapping[str, Any] | None = None,
        class_weight: Sequence[float]
        | Mapping[Any, float]
        | Tensor
        | Literal["balanced"]
        | None = None,
        loss_weights: Mapping[Any, float] | Sequence[float] | None = None,
        task: Literal["multiclass", "binary", "multilabel", "regression"] | None = None,
        step: Callable[[Engine[Any, Any], Any], Any] | None = None,
        seed: int = 0,
    ) -> None:
        find("precision", precision, PRECISIONS)
        self.logger = logging.getLogger(f"{__name__}.{type(self).__name__}")
        self.device = choose_device(device)
        check_model(model)
        metrics = (
            [metrics] if isinstance(metrics, str | Metric | type) or callable(metrics) else metrics
        )
        model = model.to(self.device)
        with freezing(model, freeze):
            training_loss = make_loss(loss, loss_weights, class_weight, self.device)
            made = make_optimizer(optimizer, model, lr, optimizer_options or {}, param_groups or {})
            self._made_of = (optimizer, param_groups or {})
            self.seed = seed
            self._learnt = Learnt(Facts(task=None if task is None else given_task(task)))
            self.config = {
                "model": type(model).__name__, "loss": _name_of(loss), "loss_weights": loss_weights,
                "optimizer": _kind_of(made), "lr": lr,
                "device": str(self.device), "precision": precision, "accumulation": accumulation, "ema": ema,
                "clip_grad_norm": clip_grad_norm, "compile": bool(compile), "freeze": list(freeze), "seed": seed,
                "metrics": [_name_of(one) for one in metrics], "step": None if step is None else _name_of(step),
            }  # fmt: skip
            self._assembled: dict[str, Any] = {
                "metrics": metrics, "dtype": PRECISIONS[precision], "accumulation": accumulation,
                "clip_grad_norm": clip_grad_norm, "compile": compile, "ema": ema, "step": step,
            }  # fmt: skip
            self._engines = Engines(model, training_loss, made, self.device, **self._assembled)

        self._recorder = Recorder()
        self._rates: Rates | None = None
        self._example: Any = None
        self._collate_fn: Callable[[list[Any]], Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """State for pickles and copies.

        The engines are rebuilt, without the handlers that users have attached.
        """
        if self.trainer.is_running:
            raise RuntimeError(
                "A learner should be copied or pickled between two fits, but this one is in a fit"
            )
        average, kept = self._engines.average, {"_engines", "_rates"}
        own = {name: value for name, value in vars(self).items() if name not in kept}
        parts = (self.model, self.loss, self.optimizer)
        has_scheduled = [] if self._rates is None else self._rates.left
        return {
            "own": own,
            "parts": parts,
            "rates": has_scheduled,
            "average": average and average.state_dict(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state["own"])
        model, loss, optimizer = state["parts"]
        self._engines = Engines(model, loss, optimizer, self.device, **self._assembled)
        self._rates = Rates(optimizer, state["rates"]) if state["rates"] else None
        if self._engines.average is not None:
            self._engines.average.load_state_dict(state["average"])
        if self.task is not None:
            self._engines.measure(self.task)
        self._engines.batches.target = self._learnt.facts.target

    def fit(  # noqa: PLR0913 - the options of a fit
        self,
        data: Any,
        valid: Any = None,
        *,
        epochs: int = 1,
        batch_size: int | None = None,
        shuffle: bool | None = None,
        target: Names | None = None,
        lr: float | Sequence[float] | None = None,
        schedule: Any = None,
        warmup: float = 0,
        early_stopping: int | None = None,
        min_delta: float = 0.0,
        monitor: str | None = None,
        mode: Literal["min", "max"] | None = None,
        restore_best: bool = False,
        steps_per_epoch: int | None = None,
        validate_every: int | None = None,
        callbacks: Mapping[Any, Any] | None = None,
        run_dir: str | Path | None = None,
        resume: str | Path | None = None,
        save_every: int | None = None,
        drop_last: bool = False,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        sampler: Any = None,
        num_workers: int = 0,
        progress: bool | Literal["auto", "live", "bar", "lines"] = "auto",
        dry_run: bool = False,
    ) -> History:
        """Trains the model.

        Mistakes in the data or arguments raise an error before the first step where possible.

        Args:
            data: (x, y) or (x, y, w) of tensors or numpy arrays with N samples each, where x may be
                a tuple or dictionary of arrays; a dictionary or data frame with a column
                ``target``; a dataset; or a ``DataLoader`` or another iterable of batches (x, y).
                Arrays are sliced batch by batch, which is faster than collating samples.
            valid: validation data, evaluated after each epoch; or the fraction or number of samples
                of ``data`` to hold out for it, stratified by class; or a
                :class:`~ignite.learner.Holdout`, for the last samples or whole groups of them.
            epochs: number of epochs.
            batch_size: samples per batch and process, 32 by default. Not for data that are already
                in batches.
            shuffle: whether to shuffle the samples in each epoch; True by default. Not for data
                that are already in batches.
            target: name of the target column in dictionaries and data frames.
            lr: learning rate of this fit and those after it; by default, the present one. A list
                has the rate of each group of parameters.
            schedule: schedule of the learning rate after the warmup: "constant", "linear",
                "cosine", "cosine_restarts" (three times, each twice as long as the one before),
                "one_cycle" (up to ``lr`` and down again), or "plateau" (a tenth after
                more than 10 epochs without improvement of ``monitor``); a function that maps the completed fraction of
                the training, from 0 to 1, to a factor; or a scheduler of torch for
                ``learner.optimizer``, or ``functools.partial`` of its class, which is stepped after
                each epoch, OneCycleLR and CyclicLR after each step; or a parameter scheduler of
                :mod:`ignite.handlers`, which is called before each step.
            warmup: number of optimizer steps in which the learning rate rises linearly from 0;
                below 1, the fraction of all steps.
            early_stopping: number of epochs without an improvement of ``monitor`` after which
                training stops.
            min_delta: smallest change of ``monitor`` that counts as an improvement.
            monitor: name of the metric to monitor: by default "valid_loss", or "loss" without
                validation. Any entry of the history can be monitored.
            mode: whether a higher ("max") or lower ("min") value of ``monitor`` is better; by
                default the direction that its metric declares, see :class:`~ignite.metrics.Metric`.
            restore_best: whether to restore the weights of the best epoch at the end.
            steps_per_epoch: number of batches in an epoch, by default all of the data. The next
                epoch continues where the last one ended, and data that are exhausted start again.
            validate_every: number of batches between two validations, in addition to those at the
                end of each epoch. Early stopping, ``restore_best`` and "plateau" then follow the
                validations, which are in ``history.validations``.
            callbacks: functions, or lists of them, to call at events of this fit, by name or by
                event: ``{"epoch_completed": function}``. They get the trainer, or nothing; for
                "validation_completed", the evaluator.
            run_dir: folder for the run's record, scalars and checkpoints.
            resume: "latest" resumes the run in ``run_dir`` exactly, or starts it if there is none;
                "best" resumes from the best checkpoint; or the path of a checkpoint.
            save_every: steps between two checkpoints, in addition to those after each epoch. By
                default, checkpoints are saved after an epoch as long as saving takes at most 5 % of
                the time, and at least every 5 minutes; also for the best epoch, at the end, and
                when Ctrl-C or SIGTERM stops the run.
            drop_last: whether to drop the last batch of an epoch if it is smaller. Not for data
                that are already in batches.
            collate_fn: makes a batch of a list of items, for datasets and lists of items. Later
                calls of ``evaluate`` and ``predict`` use it, too.
            sampler: gives the indices of the samples in each epoch, instead of ``shuffle``.
            num_workers: number of worker processes that load a dataset.
            progress: "live" for a display, "bar", or "lines" for a line on standard error at the end
                of each epoch; by default, a display in a terminal or notebook and lines elsewhere.
                False for nothing.
            dry_run: whether to only try the training on two batches and log a report; see
                ``trainer.dry_run``.

        Returns:
            The metrics by epoch and the loss by step. Another ``fit`` continues training the same
            weights and returns a separate history.

        Raises:
            ValueError: the data do not match the model or the loss, or an argument is out of range.
            TypeError: data or targets have the wrong type.
            DryRunError: a dry run has found mistakes.
        """
        batching = Batching(
            batch_size, shuffle, num_workers, target=target, drop_last=drop_last,
            collate_fn=collate_fn, sampler=sampler,
        )  # fmt: skip
        options = Options(
            epochs, batching, schedule, warmup, early_stopping, monitor, restore_best,
            None if run_dir is None else on_disk(run_dir), resume, save_every, mode, progress,
            min_delta, lr, steps_per_epoch, validate_every, callbacks or {},
        )  # fmt: skip
        return (fit_dry if dry_run else fit)(self, data, valid, options)

    def lr_find(
        self,
        data: Any,
        *,
        batch_size: int | None = None,
        target: Names | None = None,
        start_lr: float = 1e-7,
        end_lr: float = 10.0,
        num_iter: int = 100,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> FastaiLRFinder:
        """Tries learning rates from low to high on a copy of the learner, which is not changed.

        Args:
            data: as for :meth:`fit`, as are ``batch_size``, ``target`` and ``collate_fn``.
            start_lr: the lowest rate.
            end_lr: the highest rate, unless the loss diverges before.
            num_iter: number of steps.

        Returns:
            The finder: ``lr_suggestion()``, ``plot()`` and ``get_results()``.

        Raises:
            TypeError: the learner has a custom step, which trains the original model.

        Example:
            >>> _ = torch.manual_seed(0)
            >>> x = torch.randn(64, 4)
            >>> learner = Learner(torch.nn.Linear(4, 1), loss="mse")
            >>> finder = learner.lr_find((x, x.sum(dim=1)))
            >>> 1e-7 < finder.lr_suggestion() < 10
            True
        """
        batching = Batching(batch_size, target=target, collate_fn=collate_fn)
        return find_rate(self, data, batching, start_lr, end_lr, num_iter)

    def freeze(self, *patterns: str) -> None:
        """Stops training the parameters whose names match a pattern, such as ``"backbone.*"``.

        Batch normalization still updates its averages. Call it between two fits; a program that
        resumes a run calls it again.

        Raises:
            ValueError: a pattern matches no parameter, or nothing is left to train.
            RuntimeError: a fit is running, or there are several processes.
        """
        self._check_may_freeze()
        with freezing(self.model, patterns):
            self.config["freeze"] = frozen_in(self.model)

    def unfreeze(self, *patterns: str) -> None:
        """Trains the parameters whose names match a pattern, or all, from the next fit on.

        Raises:
            ValueError: a pattern matches no parameter.
            RuntimeError: a fit is running, or there are several processes.

        Example:
            >>> layers = torch.nn.Linear(4, 4), torch.nn.Linear(4, 2)
            >>> learner = Learner(torch.nn.Sequential(*layers), "mse", freeze=["0.*"])
            >>> learner.unfreeze()
            >>> all(parameter.requires_grad for parameter in learner.model.parameters())
            True
        """
        self._check_may_freeze()
        unfreeze(self.model, patterns or ("*",))
        self.config["freeze"] = frozen_in(self.model)

    def _check_may_freeze(self) -> None:
        if self.trainer.is_running or idist.get_world_size() > 1:
            raise RuntimeError(
                "Parameters should be frozen and unfrozen between two fits, and before the learner "
                "is created with several processes, which synchronize the parameters of then"
            )

    def describe(self) -> str:
        """Describes the configuration, and which handlers run when."""
        shown = self._shown()
        lines = [f"{name}: {value}" for name, value in shown.items()]
        engine = self.trainer.describe()
        page = join([table([], shown.items(), num_texts=2), Html(engine._repr_html_())])
        return Text("\n".join([*lines, "", str(engine)]), page)

    def _shown(self) -> dict[str, Any]:
        """The configuration, without options that are not used."""
        task = "not known before the first fit" if self.task is None else self.task
        shown = {**self.config, "task": task}
        return {name: value for name, value in shown.items() if value not in (None, [], False)}

    def _repr_html_(self) -> str:
        """Configuration, history and handlers for notebooks."""
        history = [Html(self.history._repr_html_())] if len(self.history) else []
        return join(
            [
                tag("b", f"Learner of {self.config['model']}"),
                table([], self._shown().items(), num_texts=2),
                *history,
                tag(
                    "details",
                    tag("summary", "Handlers"),
                    Html(self.trainer.describe()._repr_html_()),
                ),
            ]
        )


def _name_of(one: Any) -> Any:
    if isinstance(one, Mapping):
        return {head: _name_of(part) for head, part in one.items()}
    if isinstance(one, list | tuple):
        return [_name_of(part) for part in one]
    return one if isinstance(one, str) else getattr(one, "__name__", type(one).__name__)


def _kind_of(optimizer: Any) -> Any:
    if isinstance(optimizer, Optimizers):
        return {name: type(part).__name__ for name, part in optimizer.parts.items()}
    return type(optimizer).__name__
