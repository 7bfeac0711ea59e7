"""``fit``, ``evaluate`` and ``predict``, put together from ordinary engines."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ignite._core.tensors import convert_tensor
from ignite.engine import Engine
from ignite.learner._data.in_memory import Names, inputs_of
from ignite.learner._data.schema import Facts, Learnt, Task, given_task, wanted_by
from ignite.learner._data.sources import can_shuffle
from ignite.learner._data.trial import dtype_of
from ignite.learner._engines import Engines, check_model, choose_device
from ignite.learner._export import export_model, load_weights, save_weights
from ignite.learner._losses import TrainingLoss, make_training_loss
from ignite.learner._names import PRECISIONS, find
from ignite.learner._optimizers import Optimizers, Rates, freezing, make_optimizer
from ignite.learner._prediction import joined as joined_parts
from ignite.learner._prediction import predictions, report_of, summary
from ignite.learner._preparation import Batching, load, load_to_evaluate
from ignite.learner._runs import Recorder, values_in
from ignite.learner._training import Options, fit, fit_dry
from ignite.learner.history import History
from ignite.metrics import Metric

__all__ = ["Learner"]


class Learner:
    """Trains, evaluates and applies a model in one line each. ``trainer`` and ``evaluator`` are ordinary engines.

    Nothing is hidden: handlers may be put on both engines at any time, :meth:`describe` lists what happens when, and
    all that is used can be used without this class.

    Args:
        model: is moved to ``device``.
        loss: a name ("cross_entropy", "bce_with_logits", "mse", "mae", "huber", "nll", "bce", ...), or
            ``loss(y_pred, y)``, which gives the mean over a batch, or what each element loses.
        optimizer: a name ("adamw", "sgd", ...; fused where torch can), ``optimizer(parameters, lr=...)``, or an
            optimizer of parameters that are on ``device`` already. Several by patterns of names of parameters, as in
            ``{"*.weight": "muon", "*": "adamw"}``, are used, scheduled and saved as one.
        lr: the learning rate; by default the optimizer's own.
        metrics: a name or a :class:`~ignite.metrics.Metric`, several in a list, or by the name to report them under.
            Which names there are depends on the kind of problem; one that is not known lists them.
        device: by default the accelerator there is, else the processor.
        precision: "fp32", or "bf16" or "fp16" to compute in mixed precision; "fp16" scales the loss.
        accumulation: batches between two steps of the optimizer, which is that of one batch of all their samples.
        clip_grad_norm: the largest Euclidean norm of all gradients together.
        compile: whether to call the model through ``torch.compile``, or the arguments for it.
        ema: decay of an exponential moving average of the weights, such as 0.999; the average is what is evaluated,
            applied and saved. The first steps count more: the decay is at most (1 + t) / (10 + t) in step t.
        freeze: patterns of names of parameters that are not trained, such as ``["backbone.*"]``.
        param_groups: other options of the optimizer for parameters by such a pattern: ``{"head.*": {"lr": 0.1}}``.
        optimizer_options: further arguments of the optimizer, such as ``{"weight_decay": 0.1}``.
        class_weight: a weight for each class, shape (C,), or by its name or number; or "balanced", for arrays. Samples
            have their own as (x, y, w). In training and validation, the loss is the sum of what elements lose, times
            their weights, divided by the number of elements that are not ignored: batches, windows of ``accumulation``
            and processes of any size give one figure.
        task: "multiclass", "binary", "multilabel" or "regression", where loss and targets do not tell.
        step: ``step(engine, batch)`` takes the place of the supervised step; it does all but the loop.
        seed: of the order of samples and of the split.

    Raises:
        ValueError: a name is not known, or a pattern matches no parameter.
        TypeError: something is neither a name nor an object of its kind.

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

    def __init__(  # noqa: PLR0913 - what may be said about a training
        self,
        model: nn.Module,
        loss: str | Callable[..., Tensor],
        optimizer: Any = "adamw",
        lr: float | None = None,
        metrics: str | Metric | Sequence[Any] | Mapping[str, Any] = (),
        *,
        device: str | torch.device | None = None,
        precision: Literal["fp32", "bf16", "fp16"] = "fp32",
        accumulation: int = 1,
        clip_grad_norm: float | None = None,
        compile: bool | Mapping[str, Any] = False,
        ema: float | None = None,
        freeze: Sequence[str] = (),
        param_groups: Mapping[str, Mapping[str, Any]] | None = None,
        optimizer_options: Mapping[str, Any] | None = None,
        class_weight: Sequence[float] | Mapping[Any, float] | Tensor | Literal["balanced"] | None = None,
        task: Literal["multiclass", "binary", "multilabel", "regression"] | None = None,
        step: Callable[[Engine[Any, Any], Any], Any] | None = None,
        seed: int = 0,
    ) -> None:
        find("precision", precision, PRECISIONS)
        self.logger = logging.getLogger(f"{__name__}.{type(self).__name__}")
        self.device = choose_device(device)
        check_model(model)
        metrics = [metrics] if isinstance(metrics, str | Metric | type) or callable(metrics) else metrics
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
        """For pickles and copies: all but the engines, which are made anew, without handlers of the user."""
        if self.trainer.is_running:
            raise RuntimeError("A learner should be copied or pickled between two fits, but this one is in a fit")
        average, kept = self._engines.average, {"_engines", "_rates"}
        own = {name: value for name, value in vars(self).items() if name not in kept}
        parts = (self.model, self.loss, self.optimizer)
        has_scheduled = [] if self._rates is None else self._rates.left
        return {"own": own, "parts": parts, "rates": has_scheduled, "average": average and average.state_dict()}

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
        """What is trained. Its layers and weights may be changed; for another model, make another learner."""
        return self._engines.model

    @property
    def loss(self) -> TrainingLoss:
        """The loss of a step."""
        return self._engines.loss

    @property
    def optimizer(self) -> Any:
        """What trains the model. Its options may be changed between two fits; for another one, make another learner."""
        return self._engines.optimizer

    @property
    def trainer(self) -> Engine[Any, Any]:
        """What ``fit`` runs."""
        return self._engines.trainer

    @property
    def evaluator(self) -> Engine[Any, Any]:
        """What ``evaluate`` runs, and ``fit`` after each epoch."""
        return self._engines.evaluator

    @property
    def task(self) -> Task | None:
        """The kind of problem; None if it is not known yet."""
        return self._learnt.facts.task

    def fit(  # noqa: PLR0913 - what may be said about a training
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
        progress: bool | Literal["auto", "live", "bar"] = "auto",
        dry_run: bool = False,
    ) -> History:
        """Trains the model. What can be seen to be wrong is an error before the first step.

        Args:
            data: (x, y) or (x, y, w) of tensors or numpy arrays with N samples each, where x may be a tuple or
                dictionary of them; a dictionary or data frame with a column ``target``; a data set; a ``DataLoader``,
                or anything else that gives batches (x, y). Arrays are cut into batches as a whole, not by samples.
            valid: to validate on after each epoch: data, or which fraction of ``data``, the same share of each class.
            epochs: how often to go over the data.
            batch_size: samples in a batch of one process, 32 by default; not for data that give batches.
            shuffle: whether each epoch has an order of its own, as by default; not for data that give batches.
            target: the name of the target in dictionaries and data frames.
            schedule: how the learning rate goes on after the warm-up; or a function of the share that is done, from 0
                to 1, that gives a factor.
            warmup: in how many steps of the optimizer it grows from 0, or, below 1, in which share of all.
            early_stopping: after how many epochs without a better ``monitor`` to stop.
            monitor: what is to become better: "valid_loss" by default, or "loss" without validation; or another figure
                of the history.
            mode: whether a higher ("max") or a lower ("min") ``monitor`` is better; by default what its metric says
                itself, see :class:`~ignite.metrics.Metric`.
            restore_best: whether the model has the weights of the best epoch in the end, instead of the last ones.
            run_dir: a folder for the record of the run, its scalars and its checkpoints.
            resume: "latest" goes on with the run in ``run_dir``, exactly, or begins it if there is none; "best"; or a
                path.
            save_every: steps from one checkpoint to the next, beside those after each epoch. By default epochs are
                saved as often as that takes 5 % of the time, and at least every 5 minutes; and so are the best one, the
                end, and where Ctrl-C or SIGTERM stops the run.
            drop_last: leave out the last batch of an epoch if it is smaller; not for data that give batches.
            num_workers: processes that read a data set.
            progress: "live" or "bar"; True takes the better one that is installed, "auto" does so in a terminal.
            dry_run: try it all on two batches, and leave nothing but a report in the log; see ``trainer.dry_run``.

        Returns:
            What came out, by epoch and step. A further ``fit`` trains the same weights further, and has its own.

        Raises:
            ValueError: the data do not fit the model or the loss; an argument is out of range.
            TypeError: data or targets are of the wrong kind. DryRunError: a dry run has found mistakes.
        """
        options = Options(
            epochs, Batching(batch_size, shuffle, num_workers, target=target, drop_last=drop_last), schedule, warmup,
            early_stopping,
            monitor, restore_best, None if run_dir is None else Path(run_dir), resume, save_every,
            mode, progress,
        )  # fmt: skip
        return (fit_dry if dry_run else fit)(self, data, valid, options)

    @property
    def history(self) -> History:
        """What came out of the latest fit, also of one that goes on, or was broken off."""
        return self._recorder.history

    @property
    def classes(self) -> tuple[Any, ...]:
        """What the numbers of classes stand for, if the data told; else empty."""
        return self._learnt.facts.known.classes_of("y")

    def evaluate(self, data: Any, *, batch_size: int | None = None, target: Names | None = None) -> dict[str, Any]:
        """The loss and the metrics on data, which may be whatever ``fit`` takes: numbers, or what else a metric gives.

        Raises:
            ValueError: the data do not fit.
        """
        loader = load_to_evaluate(self, data, self._batching(data, batch_size, target))
        return values_in(self.evaluator.run(loader.batches).metrics)

    def report(
        self, data: Any, *, batch_size: int | None = None, target: Names | None = None
    ) -> dict[Any, dict[str, float]]:
        """Precision, recall and F1 of each class, and how many samples it has: ``{class: {"precision": ..., ...}}``.

        Raises:
            ValueError: the problem is not one of classes.
        """
        loader = load_to_evaluate(self, data, self._batching(data, batch_size, target, is_shared=False))
        return report_of(self, loader)

    def predict(self, data: Any, *, batch_size: int | None = None, decide: bool = False) -> Any:
        """What the model gives for each sample, in the order of the data, on the host.

        Args:
            data: x alone, or whatever ``fit`` takes. A tuple is (x,), (x, y) or (x, y, w).
            batch_size: samples in a batch, for data that are not in batches.
            decide: give classes instead of scores: their numbers, or what the training data called them.

        Returns:
            A tensor, shape (N, ...); a tuple or dictionary of them if that is what the model gives.

        Raises:
            ValueError: there are no data.
        """
        parts = list(self.predict_batches(data, batch_size=batch_size, decide=decide))
        if not parts:
            raise ValueError("data should have at least one sample, but have none")
        joined = joined_parts(parts)
        if decide and self.classes:
            return [self.classes[int(number)] for number in joined]
        return joined

    def predict_batches(self, data: Any, *, batch_size: int | None = None, decide: bool = False) -> Iterator[Any]:
        """As :meth:`predict`, batch by batch: the memory does not grow with the data."""
        batching = self._batching(data, batch_size, None, is_shared=False)
        return predictions(self, load(self, data, batching, self._learnt.facts, is_target_needed=False), decide)

    def save(self, path: str | Path) -> None:
        """Writes the weights that are evaluated, as safetensors if the name ends so, else as a file of torch.

        What was learnt from the data goes with them: the names of classes and columns, and the kind of problem.

        Raises:
            OSError: it cannot be written. What had the name has it still.
            ModuleNotFoundError: safetensors is not installed.
        """
        with self._engines.averaged():
            save_weights(self.model, Path(path), self._learnt.facts)

    def export(self, path: str | Path, example: Any) -> None:
        """Writes the model that is evaluated, for any number of samples, to run on the host without its Python code.

        The file is tried before it gets its name. "model.pt2" is for ``torch.export.load``, "model.onnx" (extra
        ``onnx``) for ONNX runtimes. ``example`` is inputs x as for :meth:`predict`: which values does not matter.

        Raises:
            ValueError: the name ends otherwise. RuntimeError: the file does not give what the model gives.
            Exception: whatever torch raises where it cannot follow the model.
        """
        known = replace(self._learnt.facts.known, dtype=dtype_of(self.model))
        with self._engines.averaged():
            export_model(self.model, Path(path), inputs_of(example, known))

    def load(self, path: str | Path) -> None:
        """Reads weights that :meth:`save` has written, or that are in a checkpoint of a run.

        With ``ema``, the average of the weights is set, too: to that of the checkpoint, or else to the weights. Without
        it, the average in a checkpoint of a run with ``ema`` becomes the weights: it is what was evaluated there.

        With them comes what was learnt from the data that they were trained on, which data from here on have to fit. A
        file without that leaves what this learner knows; it is learnt in the next ``fit`` if it knows nothing.

        Raises:
            CheckpointError: the file is damaged, or of another model. Nothing is changed.
            ValueError: it was trained for another kind of problem. Nothing is changed.
        """
        facts = load_weights(self._engines.restore, Path(path), self._check_facts)
        if facts is None:
            self.logger.warning(
                "%s does not say what classes and columns the model was trained on: they are %s", path,
                "those that this learner knows" if self._learnt.facts.is_learnt else "learnt in the next fit",
            )  # fmt: skip
            return
        self._learn(facts)

    def _batching(self, data: Any, batch_size: int | None, target: Names | None, is_shared: bool = True) -> Batching:
        if batch_size is None and can_shuffle(data):
            batch_size = 256
        return Batching(batch_size, is_shared=is_shared, target=target)

    def summary(self, example: Any = None) -> str:
        """A table of the layers of the model, with the shapes of what they give.

        Args:
            example: inputs x, shape (N, ...), as for :meth:`predict`. By default two samples like those that the model
                was trained on; before there are any, the table has no shapes.
        """
        return summary(self.model, self._inputs(self._example if example is None else example))

    def _inputs(self, example: Any) -> Any:
        if example is None:
            return None
        known = replace(self._learnt.facts.known, dtype=dtype_of(self.model))
        return convert_tensor(inputs_of(example, known), self.device)

    def describe(self) -> str:
        """What is trained, and what happens when."""
        told = {**self.config, "task": "not known before there are data" if self.task is None else self.task}
        lines = [f"{name}: {value}" for name, value in told.items() if value not in (None, [], False)]
        return "\n".join([*lines, "", str(self.trainer.describe())])

    def _check_facts(self, facts: Facts) -> None:
        """Raises a ValueError if weights that were trained so cannot be those of this learner."""
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
            told = mine or f"what the loss {self.loss.name} is for"
            raise ValueError(f"The file's problem should be the learner's, {told}, but it is {its}")

    def _learn(self, facts: Facts) -> None:
        """From here on, data have to fit these facts."""
        self._learnt.facts = facts
        self.loss.learn(facts.known.classes_of("y"), facts.balance)


def _name_of(one: Any) -> str:
    return one if isinstance(one, str) else getattr(one, "__name__", type(one).__name__)


def _kind_of(optimizer: Any) -> Any:
    if isinstance(optimizer, Optimizers):
        return {name: type(part).__name__ for name, part in optimizer.parts.items()}
    return type(optimizer).__name__
