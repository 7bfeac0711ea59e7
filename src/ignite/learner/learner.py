"""``fit``, ``evaluate`` and ``predict`` on top of ordinary engines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ignite._core.systems import on_disk
from ignite._core.trees import moved
from ignite.engine import Engine
from ignite.learner._by_name import PRECISIONS, find
from ignite.learner._data.in_memory import Names, inputs_of
from ignite.learner._data.inspection import (
    can_shuffle,
    dtype_of,
)
from ignite.learner._data.schema import Facts, Learnt, Task, given_task, wanted_by
from ignite.learner._engines import Engines, check_model, choose_device
from ignite.learner._losses import TrainingLoss, make_training_loss
from ignite.learner._optimizers import Optimizers, Rates, freezing, make_optimizer
from ignite.learner._prediction import (
    export_model,
    predictions,
    report_of,
    summary,
)
from ignite.learner._prediction import joined as joined_parts
from ignite.learner._preparation import Batching, load, load_to_evaluate
from ignite.learner._runs import Recorder, values_in
from ignite.learner._training import Options, fit, fit_dry
from ignite.learner._weights import load_weights, save_weights
from ignite.learner.history import History
from ignite.metrics import Metric

__all__ = ["Learner"]


class Learner:
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
        optimizer: a name ("adamw", "sgd", ...; fused where torch supports it), a function
            ``optimizer(parameters, lr=...)``, or an optimizer of parameters that are already on
            ``device``. A dictionary such as ``{"*.weight": "muon", "*": "adamw"}`` assigns
            optimizers to parameters by patterns of their names; these are used, scheduled and saved
            as one.
        lr: learning rate; None for the optimizer's default.
        metrics: a name or a :class:`~ignite.metrics.Metric`, or a list of them, or a dictionary by
            the name to report them under. The available names depend on the task; the error for an
            unknown name lists them.
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
        loss: str | Callable[..., Tensor],
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
            training_loss = make_training_loss(loss, class_weight, self.device)
            made = make_optimizer(optimizer, model, lr, optimizer_options or {}, param_groups or {})
            self._made_of = (optimizer, param_groups or {})
            self.seed = seed
            self._learnt = Learnt(Facts(task=None if task is None else given_task(task)))
            self.config = {
                "model": type(model).__name__, "loss": _name_of(loss), "optimizer": _kind_of(made), "lr": lr,
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

    @property
    def model(self) -> nn.Module:
        """The model. Its layers and weights may be changed.

        To use another model, create another learner.
        """
        return self._engines.model

    @property
    def loss(self) -> TrainingLoss:
        """The loss, with the weights of classes and samples."""
        return self._engines.loss

    @property
    def optimizer(self) -> Any:
        """The optimizer.

        Its options may be changed between two fits. To use another one, create another learner.
        """
        return self._engines.optimizer

    @property
    def trainer(self) -> Engine[Any, Any]:
        """The engine that ``fit`` runs."""
        return self._engines.trainer

    @property
    def evaluator(self) -> Engine[Any, Any]:
        """The engine that ``evaluate`` runs, and that ``fit`` runs after each epoch."""
        return self._engines.evaluator

    @property
    def task(self) -> Task | None:
        """The task, such as "multiclass"; None if it is not known yet."""
        return self._learnt.facts.task

    def fit(  # noqa: PLR0913 - the options of a fit
        self,
        data: Any,
        valid: Any = None,
        *,
        epochs: int = 1,
        batch_size: int | None = None,
        shuffle: bool | None = None,
        target: Names | None = None,
        schedule: Literal["constant", "linear", "cosine"] | Callable[[float], float] | None = None,
        warmup: float = 0,
        early_stopping: int | None = None,
        monitor: str | None = None,
        mode: Literal["min", "max"] | None = None,
        restore_best: bool = False,
        run_dir: str | Path | None = None,
        resume: str | Path | None = None,
        save_every: int | None = None,
        drop_last: bool = False,
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
            valid: validation data, evaluated after each epoch, or the fraction of ``data`` to hold
                out for it, stratified by class.
            epochs: number of epochs.
            batch_size: samples per batch and process, 32 by default. Not for data that are already
                in batches.
            shuffle: whether to shuffle the samples in each epoch; True by default. Not for data
                that are already in batches.
            target: name of the target column in dictionaries and data frames.
            schedule: schedule of the learning rate after the warmup, by name, or a function that
                maps the completed fraction of the training, from 0 to 1, to a factor.
            warmup: number of optimizer steps in which the learning rate rises linearly from 0;
                below 1, the fraction of all steps.
            early_stopping: number of epochs without an improvement of ``monitor`` after which
                training stops.
            monitor: name of the metric to monitor: by default "valid_loss", or "loss" without
                validation. Any entry of the history can be monitored.
            mode: whether a higher ("max") or lower ("min") value of ``monitor`` is better; by
                default the direction that its metric declares, see :class:`~ignite.metrics.Metric`.
            restore_best: whether to restore the weights of the best epoch at the end.
            run_dir: folder for the run's record, scalars and checkpoints.
            resume: "latest" resumes the run in ``run_dir`` exactly, or starts it if there is none;
                "best" resumes from the best checkpoint; or the path of a checkpoint.
            save_every: steps between two checkpoints, in addition to those after each epoch. By
                default, checkpoints are saved after an epoch as long as saving takes at most 5 % of
                the time, and at least every 5 minutes; also for the best epoch, at the end, and
                when Ctrl-C or SIGTERM stops the run.
            drop_last: whether to drop the last batch of an epoch if it is smaller. Not for data
                that are already in batches.
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
        options = Options(
            epochs, Batching(batch_size, shuffle, num_workers, target=target, drop_last=drop_last), schedule, warmup,
            early_stopping,
            monitor, restore_best, None if run_dir is None else on_disk(run_dir), resume, save_every,
            mode, progress,
        )  # fmt: skip
        return (fit_dry if dry_run else fit)(self, data, valid, options)

    @property
    def history(self) -> History:
        """The history of the latest fit or of what was loaded.

        It is up to date while a fit runs, and after Ctrl-C or an error has stopped it.
        """
        return self._recorder.history

    @property
    def classes(self) -> tuple[Any, ...]:
        """Names of the classes by index, if the data have names; else empty."""
        return self._learnt.facts.known.classes_of("y")

    def evaluate(
        self, data: Any, *, batch_size: int | None = None, target: Names | None = None
    ) -> dict[str, Any]:
        """Returns the loss and the metrics on ``data``, of any kind that ``fit`` accepts.

        Raises:
            ValueError: the data does not match the training data.
        """
        loader = load_to_evaluate(self, data, self._batching(data, batch_size, target))
        return values_in(self.evaluator.run(loader.batches).metrics)

    def report(
        self, data: Any, *, batch_size: int | None = None, target: Names | None = None
    ) -> dict[Any, dict[str, float]]:
        """Returns precision, recall, F1 and support by class: ``{class: {"precision": ..., ...}}``.

        Raises:
            ValueError: the task is not a classification.
        """
        loader = load_to_evaluate(
            self, data, self._batching(data, batch_size, target, is_shared=False)
        )
        return report_of(self, loader)

    def predict(self, data: Any, *, batch_size: int | None = None, decide: bool = False) -> Any:
        """Returns the output of the model for each sample, in the order of the data, on the CPU.

        Args:
            data: x alone, or data of any kind that ``fit`` accepts. A tuple is (x,), (x, y) or (x,
                y, w).
            batch_size: samples per batch, for data that are not yet in batches.
            decide: whether to return classes instead of scores: their names in the training data,
                else indices.

        Returns:
            A tensor, shape (N, ...); a tuple or dictionary of tensors if the model returns one; its
            ``logits`` if it returns an object with this attribute and the loss takes them.

        Raises:
            ValueError: ``data`` is empty, or the outputs of batches differ in shape.
        """
        parts = list(self.predict_batches(data, batch_size=batch_size, decide=decide))
        if not parts:
            raise ValueError("data should have at least one sample, but given none")
        joined = joined_parts(parts)
        if decide and self.classes:
            return [self.classes[int(number)] for number in joined]
        return joined

    def predict_batches(
        self, data: Any, *, batch_size: int | None = None, decide: bool = False
    ) -> Iterator[Any]:
        """Yields the predictions batch by batch, so that memory does not grow with the data."""
        batching = self._batching(data, batch_size, None, is_shared=False)
        return predictions(
            self, load(self, data, batching, self._learnt.facts, is_target_needed=False), decide
        )

    def save(self, path: str | Path) -> None:
        """Saves the weights, averaged with ``ema``, as .safetensors or in the format of torch.

        The file also contains the facts learned from the data (names of classes and columns, the
        task, shapes and dtypes) and the history.

        Raises:
            OSError: the file cannot be written. An existing file is unchanged.
            ModuleNotFoundError: safetensors is not installed.
        """
        with self._engines.averaged():
            save_weights(self.model, on_disk(path), self._learnt.facts, self.history)

    def export(self, path: str | Path, example: Any) -> None:
        """Exports the model for any batch size, to run on the CPU without its Python code.

        The file is verified before it gets its name. "model.pt2" is for ``torch.export.load``,
        "model.onnx" (extra ``onnx``) for ONNX runtimes. ``example`` holds inputs x as for
        :meth:`predict`; its values do not matter.

        Raises:
            ValueError: the name has another suffix.
            RuntimeError: the outputs of the exported model differ.
            Exception: raised by torch if it cannot trace the model.
        """
        known = replace(self._learnt.facts.known, dtype=dtype_of(self.model))
        with self._engines.averaged():
            export_model(self.model, on_disk(path), inputs_of(example, known))

    def load(self, path: str | Path) -> None:
        """Loads weights from a file of :meth:`save`, a checkpoint, or the folder of a run.

        Of a run, the best weights are loaded, or the latest ones without validation;
        :attr:`history` is then that of the run or of the file.

        With ``ema``, the averaged weights are loaded, too; if the file has none, the average
        restarts from the loaded weights. Without ``ema``, averaged weights in the file become the
        weights of the model.

        The facts learned from the training data are loaded as well, and later data must match them.
        If the file does not contain them, the learner keeps its own, or learns them in the next
        ``fit``.

        Raises:
            FileNotFoundError: there is no file, or the folder has no checkpoint.
            CheckpointError: the file is damaged or belongs to another model. Nothing is changed.
            ValueError: the weights were trained for another task. Nothing is changed.
        """
        facts, history = load_weights(self._engines.restore, on_disk(path), self._check_facts)
        if history is not None:
            self._recorder.begin(history, None)
        if facts is None:
            self.logger.warning(
                "%s does not contain the classes and columns that the model was trained on: %s", path,
                "using those of this learner" if self._learnt.facts.is_learnt else "they are learned in the next fit",
            )  # fmt: skip
            return
        self._learn(facts)

    def _batching(
        self, data: Any, batch_size: int | None, target: Names | None, is_shared: bool = True
    ) -> Batching:
        if batch_size is None and can_shuffle(data):
            batch_size = 256
        return Batching(batch_size, is_shared=is_shared, target=target)

    def summary(self, example: Any = None) -> str:
        """Returns a table of the layers of the model, with the shapes of their outputs.

        Args:
            example: inputs x, shape (N, ...), as for :meth:`predict`. By default two samples of the
                training data; before the first ``fit``, the table has no shapes.
        """
        return summary(self.model, self._inputs(self._example if example is None else example))

    def _inputs(self, example: Any) -> Any:
        if example is None:
            return None
        known = replace(self._learnt.facts.known, dtype=dtype_of(self.model))
        return moved(inputs_of(example, known), self.device)

    def describe(self) -> str:
        """Describes the configuration, and which handlers run when."""
        shown = {
            **self.config,
            "task": "not known before the first fit" if self.task is None else self.task,
        }
        lines = [
            f"{name}: {value}" for name, value in shown.items() if value not in (None, [], False)
        ]
        return "\n".join([*lines, "", str(self.trainer.describe())])

    def _check_facts(self, facts: Facts) -> None:
        """Raises a ValueError if weights trained for this task do not match this learner."""
        mine, its = self._learnt.facts.task, facts.task
        wanted = wanted_by(self.loss.loss)
        is_other = (
            its is not None
            and its.kind != "unknown"
            and (
                (mine is not None and mine.kind not in ("unknown", its.kind))
                or (wanted is not None and (wanted == "numbers") != (its.kind == "regression"))
            )
        )
        if is_other:
            expected = mine or f"one for the loss {self.loss.name}"
            raise ValueError(
                f"The task of the file should be that of the learner, {expected}, but it is {its}"
            )

    def _learn(self, facts: Facts) -> None:
        """Sets the facts learned from data; later data must match them."""
        self._learnt.facts = facts
        self.loss.learn(facts.known.classes_of("y"), facts.balance)


def _name_of(one: Any) -> str:
    return one if isinstance(one, str) else getattr(one, "__name__", type(one).__name__)


def _kind_of(optimizer: Any) -> Any:
    if isinstance(optimizer, Optimizers):
        return {name: type(part).__name__ for name, part in optimizer.parts.items()}
    return type(optimizer).__name__
