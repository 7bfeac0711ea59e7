"""The step of supervised training: forward, backward, and, when a window of batches is full, the optimizer's step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ignite import distributed
from ignite.engine._cursor import is_last_in_epoch
from ignite.engine._precision import FullPrecision
from ignite.engine.events import EventEnum

if TYPE_CHECKING:
    from ignite.engine.engine import Engine


class BackpropEvents(EventEnum):
    """Moments within the step of engines made by ``create_supervised_trainer``. Filters count the firings."""

    BACKWARD_STARTED = "backward_started"
    """The loss is computed."""
    BACKWARD_COMPLETED = "backward_completed"
    """The gradients of this batch are added to those of the window; with a scaler they are scaled."""
    OPTIM_STEP_STARTED = "optim_step_started"
    """The gradients are final, unscaled and clipped; the optimizer's step comes next."""
    OPTIM_STEP_COMPLETED = "optim_step_completed"
    """The parameters are updated; the gradients are still there."""


@dataclass(frozen=True)
class Clipping:
    """Limits for gradients; None for none.

    Args:
        norm: the largest Euclidean norm of all gradients together.
        value: the largest absolute value of a single one.
    """

    norm: float | None = None
    value: float | None = None

    def __post_init__(self) -> None:
        for name, limit in (("clip_grad_norm", self.norm), ("clip_grad_value", self.value)):
            if limit is not None and not limit > 0:
                raise ValueError(f"{name} should be greater than zero, but given {limit}")

    def apply(self, parameters: list[Tensor]) -> None:
        """Limits the gradients: single values first, then the norm of what remains."""
        if self.value is not None:
            torch.nn.utils.clip_grad_value_(parameters, self.value)
        if self.norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, self.norm)


@dataclass
class TrainingStep:
    """Calls the model on a batch, adds the gradients of the loss, and steps the optimizer when a window is full.

    A window is ``accumulation_steps`` batches, or what the epoch or the run has left. Its gradient is the mean over the
    batches that it really has.
    """

    model: Any
    optimizer: torch.optim.Optimizer
    loss_fn: Callable[[Any, Any], Tensor]
    prepare_batch: Callable[[Any], tuple[Any, Any]]
    model_fn: Callable[[Any, Any], Any]
    model_transform: Callable[[Any], Any]
    output_transform: Callable[[Any, Any, Any, Tensor], Any]
    accumulation_steps: int = 1
    precision: FullPrecision = FullPrecision()  # noqa: RUF009 - it has no state
    clipping: Clipping = Clipping()
    forward_model: Any = None
    """What to call in the place of ``model``: its compiled form."""

    num_accumulated: int = 0
    """Batches in the window so far."""

    def __post_init__(self) -> None:
        if self.accumulation_steps <= 0:
            raise ValueError(
                "Gradient_accumulation_steps must be strictly positive. No gradient accumulation if the value set to "
                f"one, but given {self.accumulation_steps}"
            )

    def __call__(self, engine: Engine[Any, Any], batch: Any) -> Any:
        if self.num_accumulated == 0:  # not after the step, so that the gradients can be looked at until now
            self.optimizer.zero_grad()
        self.model.train()
        is_last = self._is_last_of_window(engine)
        with nullcontext() if is_last else self._without_sync():
            x, y = self.prepare_batch(batch)
            with self.precision.autocast():
                y_pred = self.model_transform(self.model_fn(self.forward_model or self.model, x))
                loss = self.loss_fn(y_pred, y)
            engine._pass(BackpropEvents.BACKWARD_STARTED)
            if engine._skip_requested:
                return None
            share = loss if self.accumulation_steps == 1 else loss / self.accumulation_steps
            self.precision.backward(share, self.optimizer)
        engine._pass(BackpropEvents.BACKWARD_COMPLETED)
        if engine._skip_requested:
            self.num_accumulated = 0  # what the batch has added cannot be taken out: the window is given up
            return None
        self.num_accumulated += 1
        if is_last:
            self._step(engine)
        return self.output_transform(x, y, y_pred, loss)

    def flush(self, engine: Engine[Any, Any]) -> None:
        """Steps with the batches of a window that nothing more will be added to; does nothing if there are none."""
        if self.num_accumulated == 0:
            return
        if hasattr(self.model, "no_sync"):  # each process has its own gradients so far
            self._average_gradients()
        self._step(engine)

    def _step(self, engine: Engine[Any, Any]) -> None:
        optimizer, num_batches = self.optimizer, self.num_accumulated
        self.num_accumulated = 0
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        self.precision.unscale(optimizer)
        if num_batches < self.accumulation_steps:
            for parameter in parameters:
                parameter.grad.mul_(self.accumulation_steps / num_batches)
        self.clipping.apply(parameters)
        engine._pass(BackpropEvents.OPTIM_STEP_STARTED)
        self.precision.step(optimizer)
        engine._pass(BackpropEvents.OPTIM_STEP_COMPLETED)

    def _is_last_of_window(self, engine: Engine[Any, Any]) -> bool:
        if self.num_accumulated + 1 >= self.accumulation_steps:
            return True
        return is_last_in_epoch(engine.state, engine._cursor.epoch_start)

    def _without_sync(self) -> AbstractContextManager[Any]:
        """Processes exchange gradients once a window: that is what DDP's ``no_sync`` is for."""
        no_sync: Callable[[], AbstractContextManager[Any]] = getattr(self.model, "no_sync", nullcontext)
        return no_sync()

    def _average_gradients(self) -> None:
        group = getattr(self.model, "process_group", None)
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                total = distributed.all_reduce(parameter.grad, group=group)
                parameter.grad.copy_(total / distributed.get_world_size())
