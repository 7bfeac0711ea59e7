"""Builds the trainer and the evaluator of a learner from the public parts of the library."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ignite import distributed as idist
from ignite import storage
from ignite._core.trees import moved
from ignite.engine import (
    BackpropEvents,
    Engine,
    Events,
    create_supervised_evaluator,
    create_supervised_trainer,
)
from ignite.handlers import EMAHandler
from ignite.learner._by_name import make_metrics
from ignite.learner._data.in_memory import Names, Parts, take_apart
from ignite.learner._data.schema import Task
from ignite.learner._data.weighting import Weighted
from ignite.learner._heads import HeadsLoss, epoch_losses, make_head_metrics
from ignite.learner._losses import EpochLoss, TrainingLoss
from ignite.learner._measuring import TrainingMetrics
from ignite.learner._model_outputs import NextToken, call_for, next_tokens
from ignite.learner._runs import Recorder
from ignite.metrics import Frequency, GpuInfo, Metric, MetricGroup

__all__ = ["Batches", "Engines", "check_model", "choose_device"]

_QUIET = logging.getLogger(f"{__name__}.trial")
_QUIET.addFilter(lambda record: False)  # errors are raised; other records of a trial would confuse


class Batches:
    """Splits batches into inputs and targets and moves them to the device.

    ``target`` is set when data is loaded.

    Args:
        loss: the loss that the targets are for, as a module or function.
    """

    def __init__(self, loss: Any = None) -> None:
        self._are_next_tokens = isinstance(loss, NextToken)
        self.target: Names | None = None
        """The keys of the targets in batches that are dictionaries."""

    def parts(self, batch: Any) -> Parts:
        """Returns inputs, targets and weights; None for missing ones."""
        return take_apart(batch, self.target)

    def targets(self, y: Any) -> Any:
        """Returns the targets that the outputs of the model are compared with."""
        return next_tokens(y) if self._are_next_tokens else y

    def prepare(
        self, batch: Any, device: torch.device | None = None, non_blocking: bool = False
    ) -> tuple[Any, Any]:
        """Returns (x, y) or (x, Weighted(y, w)) on the device."""
        if type(batch) in (tuple, list) and len(batch) == 2:  # the usual case
            (x, y), weight = batch, None
            if type(x) is Tensor and type(y) is Tensor and x.device == y.device == device:
                return x, next_tokens(y) if self._are_next_tokens else y
        else:
            x, y, weight = self.parts(batch)
        if y is None:
            raise ValueError(
                "data should have targets, but given x alone: pass (x, y), or target='name' for a "
                "data frame"
            )
        x, y = _moved(x, device, non_blocking), _moved(y, device, non_blocking)
        y = self.targets(y)
        return x, y if weight is None else Weighted(y, _moved(weight, device, non_blocking))


def _moved(x: Any, device: torch.device | None, non_blocking: bool) -> Any:
    if type(x) is Tensor and device is not None:  # the usual case, without visiting containers
        return x if x.device == device else x.to(device, non_blocking=non_blocking)
    return moved(x, device, non_blocking)


class _TrainingOutput:
    """Computes the loss of a training step for the recorder, and keeps predictions for metrics.

    Args:
        loss: the loss of a batch.
        is_shared: whether several batches or processes contribute to one step, so that their counts
            are needed.
    """

    def __init__(self, loss: TrainingLoss, is_shared: bool) -> None:
        self.note: Callable[[Tensor, Any, bool], None] | None = None
        self._loss = loss
        self._is_shared = is_shared
        self._size: tuple[Any, bool] = (0, False)
        self.split: Any = None
        """The step, if it computes a batch in parts and counts the elements of all of them."""
        self.is_measured = False
        self._pair: tuple[Any, Any] | None = None

    def loss(self, y_pred: Any, target: Any) -> Any:
        """Returns the loss to backpropagate."""
        counted = self._loss.counted(y_pred, target)
        self._size = counted[1:]
        return counted if self._is_shared else counted.loss

    def __call__(self, x: Any, y: Any, y_pred: Any, loss: Tensor) -> Tensor:
        loss = loss.detach()
        if self.note is not None:
            split = self.split
            self.note(loss, *(self._size if split is None else (split.num_counted, split.is_sum)))
        if self.is_measured:
            target = y.y if type(y) is Weighted else y
            detached = y_pred.detach() if isinstance(y_pred, Tensor) else y_pred
            self._pair = (self._loss.row_kept(detached, target), target)
        return loss

    def take_pair(self) -> tuple[Any, Any] | None:
        """Returns predictions and targets of the current step, for metrics, and releases them."""
        pair, self._pair = self._pair, None
        return pair


class _EvaluationOutput:
    """Returns (y_pred, y) from an evaluation step, and keeps the sample weights for the loss."""

    def __init__(self, loss: TrainingLoss) -> None:
        self._loss = loss
        self._weight: Tensor | None = None

    def __call__(self, x: Any, target: Any, y_pred: Any) -> tuple[Any, Any]:
        y, self._weight = target if type(target) is Weighted else (target, None)
        return self._loss.row_kept(y_pred, y), y

    def weighted(self, output: tuple[Any, Any]) -> tuple[Any, Any]:
        """Returns the output of the step, with sample weights if there are any."""
        y_pred, y = output
        return y_pred, y if self._weight is None else Weighted(y, self._weight)


class Engines:
    """The trainer and the evaluator of a learner, and the weight EMA if there is one.

    Args:
        model: a model on ``device``.
        loss: the loss of a training step.
        optimizer: the optimizer of the model's parameters.
        device: device to which batches are moved.
        metrics: names or objects, attached once the task is known.
        dtype: dtype for mixed precision; None for full precision.
        accumulation: batches per optimizer step; "auto" for parts of a batch that fit into memory.
        clip_grad_norm: maximum norm of the gradients, or None.
        compile: whether to compile the model, or the arguments for it.
        ema: decay of the exponential moving average of the weights, or None.
        step: function that replaces the supervised step, or None.

    Raises:
        ValueError: arguments contradict each other.
    """

    def __init__(  # noqa: PLR0913 - the options of a step
        self,
        model: nn.Module,
        loss: TrainingLoss,
        optimizer: Any,
        device: torch.device,
        metrics: Sequence[Any] | Mapping[str, Any],
        *,
        dtype: torch.dtype | None,
        accumulation: int | Literal["auto"],
        clip_grad_norm: float | None,
        compile: bool | Mapping[str, Any],
        ema: float | None,
        step: Callable[[Engine[Any, Any], Any], Any] | None,
    ) -> None:
        self.batches = Batches(loss.loss)
        self.call = call_for(loss.loss)
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self._device = device
        self.metrics = metrics.values() if isinstance(metrics, Mapping) else metrics
        self._metrics = metrics
        self._attached: dict[str, Metric] = {}
        self._output: _TrainingOutput | None = None
        mixed: dict[str, Any] = {} if dtype is None else {"amp_mode": "amp", "amp_dtype": dtype}
        if step is not None:
            self.trainer: Engine[Any, Any] = Engine(step)
        else:
            self._output = _TrainingOutput(
                loss, is_shared=accumulation != 1 or idist.get_world_size() > 1
            )
            scaler: dict[str, Any] = {"scaler": True} if dtype == torch.float16 else {}
            self.trainer = create_supervised_trainer(
                _shared(model, device), optimizer, self._output.loss, device, non_blocking=True,
                prepare_batch=self.batches.prepare, output_transform=self._output,
                gradient_accumulation_steps=accumulation, model_fn=self.call, clip_grad_norm=clip_grad_norm,
                compile=compile, **mixed, **scaler,
            )  # fmt: skip
            if accumulation == "auto":
                self._output.split = self.trainer.step_function
        self._evaluated = _EvaluationOutput(loss)
        self._evaluator_options = {
            "device": device, "non_blocking": True, "prepare_batch": self.batches.prepare,
            "model_fn": self.call, "output_transform": self._evaluated, **mixed,
        }  # fmt: skip
        self.evaluator = create_supervised_evaluator(model, **self._evaluator_options)
        self.average: EMAHandler | None = None
        if ema is not None:
            if not 0 < ema < 1:
                raise ValueError(f"ema should be between 0 and 1, such as 0.999, but given {ema}")
            self.average = EMAHandler(model, momentum=1 - ema, begins_fast=True)
            event = (
                Events.ITERATION_COMPLETED
                if step is not None
                else BackpropEvents.OPTIM_STEP_COMPLETED
            )
            self.average.attach(self.trainer, event=event)
            self.average.swap_for(self.evaluator)

    @contextmanager
    def telling(self, recorder: Recorder, group: MetricGroup | None = None) -> Iterator[None]:
        """Passes losses to the recorder, and predictions to ``group``, within the block."""
        if self._output is None:
            with self.trainer.add_event_handler(Events.ITERATION_COMPLETED, recorder.note_step):
                yield
            return
        self._output.is_measured = group is not None
        # Called by the step itself, because a handler would take longer than the rest of this class.
        self._output.note = recorder.note
        try:
            yield
        finally:
            self._output.note, self._output.is_measured = None, False

    def measure(self, task: Task) -> None:
        """Attaches the metrics to the evaluator, if they are not attached yet."""
        if not self._attached:
            self._attached = self._attach(self.evaluator, self.made(task))

    def unmeasure(self) -> None:
        """Detaches the metrics, for instance because the task has changed."""
        for metric in self._attached.values():
            metric.detach(self.evaluator)
        self._attached = {}

    @property
    def is_measured(self) -> bool:
        """Whether the metrics are attached."""
        return bool(self._attached)

    def over_training(self, task: Task) -> TrainingMetrics | None:
        """Returns the same metrics for the training batches.

        None without metrics or with a custom step.
        """
        if self._output is None:
            return None
        # Copies, because the metrics belong to the evaluator. Metrics that measure the engine take no
        # outputs.
        own = {
            name: metric
            for name, metric in _copied(self.made(task)).items()
            if not isinstance(metric, Frequency | GpuInfo)
        }
        # Metrics of users may depend on how the samples are divided into batches.
        is_joined = all(isinstance(one, str) for one in self.metrics)
        return TrainingMetrics(own, self._output.take_pair, is_joined) if own else None

    def made(self, task: Task) -> dict[str, Any]:
        """Creates the metrics, without the loss, by name.

        Raises:
            ValueError: there is no metric of this name for the task.
            TypeError: an item is neither a name nor a metric.
        """
        if not self._metrics:
            return {}
        if isinstance(self.loss, HeadsLoss):
            return dict(make_head_metrics(self._metrics, self.loss, task))
        return make_metrics(
            self._metrics, task.kind, has_logits=self.loss.name != "bce", ignored=task.ignored
        )

    def _attach(self, evaluator: Engine[Any, Any], metrics: Mapping[str, Any]) -> dict[str, Metric]:
        if isinstance(self.loss, HeadsLoss):
            losses = epoch_losses(self.loss, self._evaluated.weighted, self._device)
        else:
            losses = {"loss": EpochLoss(self.loss, self._evaluated.weighted, self._device)}
        attached = {**losses, **metrics}
        for name, metric in attached.items():
            metric.attach(evaluator, name)
        return attached

    def try_out(self, task: Task, batch: Any, is_fair: bool) -> Mapping[str, Any] | None:
        """Evaluates one batch with an evaluator like the learner's, without the user's handlers.

        Args:
            task: the task.
            batch: a batch of the data.
            is_fair: whether the metrics must be computable from this batch alone. If not, the result
                is None for metrics that are not.
        """
        evaluator = create_supervised_evaluator(self.model, **self._evaluator_options)
        evaluator.logger = _QUIET
        self._attach(evaluator, _copied(self.made(task)))
        counted: list[Any] = []
        # After the metrics, which are attached first.
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda: counted.append(True))
        try:
            with warnings.catch_warnings():
                # Ignores warnings about few samples; others are repeated in the evaluation.
                warnings.simplefilter("ignore")
                return evaluator.run([batch]).metrics
        except Exception:
            if is_fair or not counted:
                raise
            return None

    def restore(self, state: Mapping[str, Any]) -> None:
        """Loads the weights of a file into the model, and its averaged ones into the average.

        If the file has no averaged weights, the average restarts from the loaded ones.
        Without an average here, the averaged weights in the file, if any, become the weights of the
        model.

        Raises:
            CheckpointError: the file belongs to another model. Nothing is changed.
        """
        average = state.get("average")
        if self.average is not None and average is not None:
            storage.restore({"model": self.model, "average": self.average}, state)
            return
        storage.restore(
            {"model": self.model},
            {"model": state["model"] if average is None else average["model"]},
        )
        if self.average is not None:
            self.average.begin_anew()

    def averaged(self) -> AbstractContextManager[None]:
        """Swaps in the averaged weights, if there are any, for the block."""
        return nullcontext() if self.average is None else self.average.swapped()


def _copied(metrics: dict[str, Any]) -> dict[str, Any]:
    """Copies metrics; networks that they use are shared, not copied."""
    networks = [
        value
        for one in metrics.values()
        for value in vars(one).values()
        if isinstance(value, nn.Module)
    ]
    return copy.deepcopy(metrics, {id(network): network for network in networks})


def _shared(model: nn.Module, device: torch.device) -> nn.Module:
    """Wraps the model for training with several processes."""
    if idist.get_world_size() == 1 or isinstance(model, DistributedDataParallel):
        return model
    return DistributedDataParallel(model, device_ids=None if device.type == "cpu" else [device])


def choose_device(device: str | torch.device | None) -> torch.device:
    """Returns the given device; by default the accelerator if there is one, else the CPU."""
    if device is not None:
        return torch.device(device)
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


def check_model(model: Any) -> None:
    """Raises a TypeError unless ``model`` is a module."""
    if isinstance(model, type):
        raise TypeError(
            f"model should be a torch.nn.Module, but given the class {model.__name__}: pass "
            f"{model.__name__}(...)"
        )
    if not isinstance(model, nn.Module):
        given = (
            repr(model) if model is None or isinstance(model, str) else f"a {type(model).__name__}"
        )
        raise TypeError(f"model should be a torch.nn.Module, but given {given}")
