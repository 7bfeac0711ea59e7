"""The step of supervised training: forward, backward and optimizer step, with gradient accumulation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ignite._core.torch_private import COMPILED_MODULE_NAME
from ignite.engine._cursor import is_last_in_epoch
from ignite.engine._supervised.evaluation_step import (
    NO_CONTEXT,
    FullPrecision,
    Mode,
    _call_model,
    _compiled,
    _identity,
    _prepare_batch,
    takes_earlier_output,
    with_arguments,
)
from ignite.engine._trace import Step
from ignite.engine.events import EventEnum

if TYPE_CHECKING:
    from ignite.engine.engine import Engine


class BackpropEvents(EventEnum):
    """Events within the step of engines made by ``create_supervised_trainer``.

    Filters count the firings.

    ``engine.skip_iteration()`` in a handler skips the rest of the step. Before the backward pass,
    the batch is left out of its accumulation window. After it, the whole window is discarded: the
    gradients of its batches cannot be separated.
    """

    BACKWARD_STARTED = "backward_started"
    """The loss is computed."""
    BACKWARD_COMPLETED = "backward_completed"
    """The gradients of this batch are added to those of the window; with a scaler they are scaled."""
    OPTIM_STEP_STARTED = "optim_step_started"
    """The gradients are final, unscaled and clipped; the optimizer's step comes next."""
    OPTIM_STEP_COMPLETED = "optim_step_completed"
    """The parameters are updated, unless a scaler found infinite gradients; the gradients are still there."""


class CountedLoss(NamedTuple):
    """The loss of a batch, and of how many elements it is the mean.

    A ``loss_fn`` may return it instead of a tensor.

    The gradient of a window of batches, on all processes of DistributedDataParallel, is then that
    of one batch of all their elements: the sum over elements, divided by their number. Means alone
    would give a token of a short batch more weight than one of a long batch.

    Args:
        loss: the mean, shape (); 0 if nothing counts.
        num_counted: elements that it is the mean of; for a weighted mean, the sum of their weights.
            On an accelerator, a tensor of shape (), without synchronization.
        is_sum: ``loss`` is the sum, and sums stay undivided.

    Example:
        >>> def loss_fn(y_pred, y):  # tokens with label 0 are padding
        ...     count = (y != 0).sum()
        ...     total = torch.nn.functional.cross_entropy(y_pred, y, ignore_index=0, reduction="sum")
        ...     return CountedLoss(total / count.clamp(min=1), count)
        >>> loss_fn(torch.zeros(2, 3), torch.tensor([0, 2]))
        CountedLoss(loss=tensor(1.0986), num_counted=tensor(1), is_sum=False)
    """

    loss: Tensor
    num_counted: Tensor | float
    is_sum: bool = False


_ZERO_GRAD = torch.optim.Optimizer.zero_grad
# A lookup of an enum member takes as long as a call of a handler.
_BACKWARD_STARTED, _BACKWARD_COMPLETED, _OPTIM_STEP_STARTED, _OPTIM_STEP_COMPLETED = BackpropEvents


@dataclass(frozen=True)
class Clipping:
    """Gradient clipping; None for no limit.

    Args:
        norm: maximum Euclidean norm of all gradients together.
        value: maximum absolute value of a single gradient.
    """

    norm: float | None = None
    value: float | None = None

    def __post_init__(self) -> None:
        for name, limit in (("clip_grad_norm", self.norm), ("clip_grad_value", self.value)):
            if limit is not None and not limit > 0:
                raise ValueError(f"{name} should be greater than zero, but given {limit}")

    @property
    def is_on(self) -> bool:
        """Whether there is a limit."""
        return self.norm is not None or self.value is not None

    def apply(self, parameters: list[Tensor]) -> None:
        """Clips single values first, then the norm."""
        if self.value is not None:
            torch.nn.utils.clip_grad_value_(parameters, self.value)
        if self.norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, self.norm)


@dataclass(eq=False, repr=False)
class TrainingStep:
    """Calls the model on a batch, accumulates the gradients, and steps the optimizer when a window is full.

    A window has ``accumulation_steps`` batches, or those left in the epoch or the run. Its gradient
    is the mean over its actual batches; with a :class:`CountedLoss`, over all their elements.
    """

    model: Any
    called_model: Any
    """The model, or its compiled form."""
    optimizer: torch.optim.Optimizer
    loss_fn: Callable[[Any, Any], Any]
    prepare_batch: Callable[[Any], tuple[Any, Any]]
    model_fn: Callable[[Any, Any], Any]
    model_transform: Callable[[Any], Any]
    output_transform: Callable[[Any, Any, Any, Tensor], Any]
    accumulation_steps: int
    precision: FullPrecision
    clipping: Clipping

    num_accumulated: int = field(default=0, init=False)
    """Batches in the window so far."""
    loss: Tensor | None = field(default=None, init=False)
    """The loss of the current batch, for handlers of BACKWARD_STARTED; None at other times."""
    ends_window: bool | None = field(default=None, init=False)
    """Whether the current batch ends its window, even if that is not full; None: as the epoch and the run do."""
    _counted: Any = field(default=None, init=False)
    """Number of elements in the window so far; None without :class:`CountedLoss`."""
    _unit: Any = field(default=None, init=False)
    """Current divisor of the gradients: the expected number of elements in the window."""
    _iteration: int = field(default=0, init=False)
    _has_warned: bool = field(default=False, init=False)
    """Whether the warning of an incomplete window was logged."""

    def __post_init__(self) -> None:
        self._training = Mode(self.model, is_training=True)
        # Methods that only pass calls on take longer than a small layer.
        self._is_plain = type(self.precision) is FullPrecision
        self._clips = self.clipping.is_on
        if not isinstance(self.accumulation_steps, int):
            raise TypeError(
                "gradient_accumulation_steps should be an integer, but given "
                f"{self.accumulation_steps!r}"
            )
        if self.accumulation_steps <= 0:
            raise ValueError(
                "Gradient_accumulation_steps must be strictly positive, but given "
                f"{self.accumulation_steps}"
            )

    def __call__(self, engine: Engine[Any, Any], batch: Any) -> Any:
        iteration = engine.state.iteration
        if iteration <= self._iteration:
            self.num_accumulated = 0  # the counters were reset: another run began the window
        self._iteration = iteration
        num_before = self.num_accumulated
        if num_before == 0:  # not after the step, so that handlers can inspect the gradients
            self._drop_gradients()
            self._counted = None
        self._training.enter()
        is_last = num_before + 1 >= self.accumulation_steps or self._ends_early(engine)
        if is_last:
            found = self._add_gradients(engine, batch, num_before, is_last)
        else:
            with self._without_sync():
                found = self._add_gradients(engine, batch, num_before, is_last)
        if found is None:
            return None
        engine._pass(_BACKWARD_COMPLETED)
        if engine._skip_requested:
            return None
        self.num_accumulated = num_before + 1
        if is_last:
            self._step(engine)
            if engine._skip_requested:
                return None
        return self.output_transform(*found)

    def _add_gradients(
        self, engine: Engine[Any, Any], batch: Any, num_before: int, is_last: bool
    ) -> tuple[Any, Any, Any, Tensor] | None:
        """Adds the gradients of a batch; returns ``(x, y, y_pred, loss)``, or None if it is skipped."""
        x, y = self.prepare_batch(batch)
        if self._is_plain:
            y_pred, loss = self._forward(x, y)
        else:
            with self.precision.autocast():
                y_pred, loss = self._forward(x, y)
        counted = None
        if type(loss) is CountedLoss:
            counted, loss = loss, loss.loss
        self.loss = loss
        try:
            engine._pass(_BACKWARD_STARTED)
        finally:
            self.loss = None
        if engine._skip_requested:
            return None
        # After an exception, the gradients are incomplete and must not be used.
        self.num_accumulated = 0
        if counted is not None:
            share = self._share_of(counted, num_before, is_last)
        else:
            share = loss if self.accumulation_steps == 1 else loss / self.accumulation_steps
        if self._is_plain:
            share.backward()
        else:
            self.precision.backward(share, self.optimizer)
        return x, y, y_pred, loss

    def _forward(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Calls the model and the loss."""
        y_pred = self.model_fn(self.called_model, x)
        if self.model_transform is not _identity:
            y_pred = self.model_transform(y_pred)
        return y_pred, self.loss_fn(y_pred, y)

    def stay_in_iteration(self) -> None:
        """Lets the next batch continue the window within the same iteration."""
        self._iteration = 0

    def parts(self) -> dict[str, Any]:
        """The objects with a state, by name."""
        scaler = getattr(self.precision, "scaler", None)
        parts = {"model": self.model, "optimizer": self.optimizer, "scaler": scaler}
        if self.accumulation_steps > 1:
            parts["window"] = self
        return {name: part for name, part in parts.items() if part is not None}

    def state_dict(self) -> dict[str, Any]:
        """The window so far: its number of batches and its gradients."""
        gradients = [p.grad for p in self._parameters()] if self.num_accumulated else []
        counts = (
            {"num_counted": self._counted, "unit": self._unit}
            if gradients and self._counted is not None
            else {}
        )
        return {"num_accumulated": self.num_accumulated, "gradients": gradients, **counts}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a window.

        Raises:
            ValueError: the number of parameters differs.
        """
        gradients, parameters = state_dict["gradients"], self._parameters()
        if state_dict["num_accumulated"] and len(gradients) != len(parameters):
            raise ValueError(
                f"gradients should be of {len(parameters)} parameters, as the optimizer has, but "
                f"given {len(gradients)}"
            )
        for parameter, gradient in zip(parameters, gradients, strict=False):
            parameter.grad = None if gradient is None else gradient.to(parameter, copy=True)
        self.num_accumulated = state_dict["num_accumulated"]
        self._counted, self._unit = state_dict.get("num_counted"), state_dict.get("unit")
        self._iteration = 0

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _drop_gradients(self) -> None:
        optimizer = self.optimizer
        if getattr(type(optimizer), "zero_grad", None) is not _ZERO_GRAD or "zero_grad" in vars(
            optimizer
        ):
            optimizer.zero_grad()
            return
        for group in (
            optimizer.param_groups
        ):  # as torch does, without its entry for the profiler, which takes longer
            for parameter in group["params"]:
                parameter.grad = None

    def _parameters_with_gradients(self) -> list[Any]:
        return [parameter for parameter in self._parameters() if parameter.grad is not None]

    def flush(self, engine: Engine[Any, Any]) -> None:
        """Steps the optimizer with an incomplete window, if there is one."""
        if self.num_accumulated == 0:
            return
        ddp = _ddp_in(self.model)
        if self._counted is not None:
            self._scale_gradients(self._unit / self._size_of_window())
        if ddp is not None:
            _average_gradients(ddp)
        event_at_hand = engine.last_event_name
        engine._skip_requested = (
            False  # an iteration may have been skipped; this step is not part of it
        )
        self._step(engine)
        engine.last_event_name = event_at_hand

    def _step(self, engine: Engine[Any, Any]) -> None:
        optimizer, num_batches = self.optimizer, self.num_accumulated
        self.num_accumulated = 0
        if self._counted is None and num_batches < self.accumulation_steps:
            self._scale_gradients(self.accumulation_steps / num_batches)
            self._warn_of_incomplete(engine, num_batches)
        if not self._is_plain:
            self.precision.unscale(optimizer)
        if self._clips:
            self.clipping.apply(self._parameters_with_gradients())
        engine._pass(_OPTIM_STEP_STARTED)
        if engine._skip_requested:
            self.precision.skip_step()
            return
        if self._is_plain:
            optimizer.step()
        else:
            self.precision.step(optimizer)
        engine._pass(_OPTIM_STEP_COMPLETED)

    def _warn_of_incomplete(self, engine: Engine[Any, Any], num_batches: int) -> None:
        """Warns once that windows end with epochs: Ignite's extended into the next epoch."""
        if self._has_warned or self.ends_window is not None:
            return
        self._has_warned = True
        engine.logger.warning(
            "The optimizer steps at the end of an epoch with a window of %s of "
            "gradient_accumulation_steps=%s batches. Ignite counted on over the borders of epochs, "
            "so the number of steps, and what counts them, may differ",
            num_batches, self.accumulation_steps,
        )  # fmt: skip

    def _share_of(self, loss: CountedLoss, num_before: int, is_last: bool) -> Tensor:
        """The batch's part of the window's loss.

        The last batch also rescales the gradients so far.
        """
        count = 1 if loss.is_sum else _precise(loss.num_counted)
        if num_before == 0:
            # An estimate of the final count, so that low-precision gradients neither underflow nor
            # overflow.
            self._unit = 1 if loss.is_sum else self.accumulation_steps * _or_one(count)
        if loss.is_sum:
            self._counted = 1 / _num_processes(self.model)
        else:
            self._counted = count if num_before == 0 else self._counted + count
        if not is_last:
            return _times(loss.loss, count / self._unit)
        size = self._size_of_window()
        if num_before:
            self._scale_gradients(self._unit / size)
        return loss.loss if size is count else _times(loss.loss, count / size)

    def _size_of_window(self) -> Any:
        """Number of elements in the window, averaged over processes as their gradients are; never 0."""
        ddp = _ddp_in(self.model)
        return _or_one(self._counted if ddp is None else _mean_over_processes(self._counted, ddp))

    def _scale_gradients(self, factor: Any) -> None:
        if isinstance(factor, Tensor) or factor != 1:
            for parameter in self._parameters_with_gradients():
                parameter.grad.mul_(factor)

    def _ends_early(self, engine: Engine[Any, Any]) -> bool:
        """Whether the current batch ends a window that is not full."""
        if self.ends_window is not None:
            return self.ends_window
        return is_last_in_epoch(engine.state, engine._cursor.epoch_start)

    def _without_sync(self) -> AbstractContextManager[Any]:
        """Makes DDP synchronize gradients once per window. Other wrappers do it for each batch."""
        ddp = _ddp_in(self.model)
        return NO_CONTEXT if ddp is None else ddp.no_sync()


def _ddp_in(model: Any) -> DistributedDataParallel | None:
    inner = getattr(model, COMPILED_MODULE_NAME, model)  # unwraps torch.compile
    return inner if isinstance(inner, DistributedDataParallel) else None


def _num_processes(model: Any) -> int:
    ddp = _ddp_in(model)
    return 1 if ddp is None else dist.get_world_size(ddp.process_group)


def _precise(count: Tensor | float) -> Tensor | float:
    """Converts a count to float64: torch divides integers in float32."""
    return (
        count
        if not isinstance(count, Tensor) or count.device.type == "mps"
        else count.detach().double()
    )


def _or_one(count: Any) -> Any:
    """Returns the count, or 1 for 0, without waiting for the device."""
    return count + (count == 0) if isinstance(count, Tensor) else count or 1


def _times(loss: Tensor, factor: Any) -> Tensor:
    return loss * (factor.to(loss.dtype) if isinstance(factor, Tensor) else factor)


def _mean_over_processes(count: Any, model: DistributedDataParallel) -> Any:
    device = next(model.parameters()).device
    total = (
        count.to(device, torch.float64, copy=True)
        if isinstance(count, Tensor)
        else torch.full((), count, dtype=torch.float64, device=device)
    )
    dist.all_reduce(total, group=model.process_group)
    total /= dist.get_world_size(model.process_group)
    return total.item() if total.is_cpu else total


def _average_gradients(model: DistributedDataParallel) -> None:
    """Averages gradients over processes, which DDP has not done within an incomplete window."""
    group = model.process_group
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # Some processes may have skipped a branch of the model, but all of them must make the same
    # calls.
    is_reached = torch.tensor(
        [p.grad is not None for p in parameters], dtype=torch.int32, device=parameters[0].device
    )
    dist.all_reduce(is_reached, op=dist.ReduceOp.MAX, group=group)
    for parameter in (
        p for p, is_any in zip(parameters, is_reached.tolist(), strict=True) if is_any
    ):
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad, group=group)
        parameter.grad.div_(dist.get_world_size(group))


def _loss_item(x: Any, y: Any, y_pred: Any, loss: Tensor) -> Any:
    return loss.item()


@takes_earlier_output
@with_arguments()
def supervised_training_step(  # noqa: PLR0913 - Ignite's signature
    model: Any,
    optimizer: torch.optim.Optimizer,
    loss_fn: Callable[[Any, Any], Tensor] | nn.Module,
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    prepare_batch: Callable[..., Any] = _prepare_batch,
    model_transform: Callable[[Any], Any] = _identity,
    output_transform: Callable[[Any, Any, Any, Tensor], Any] = _loss_item,
    gradient_accumulation_steps: int = 1,
    model_fn: Callable[[Any, Any], Any] = _call_model,
    *,
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
    compile: bool | Mapping[str, Any] = False,
) -> Step:
    """Creates the step of supervised training: ``step(engine, batch) -> output``.

    The step puts the model into training mode.

    Args:
        {arguments}

    Raises:
        ValueError: a number is out of range.
        TypeError: ``gradient_accumulation_steps`` is not an integer.

    Example:
        >>> from ignite.engine import Engine
        >>> model = torch.nn.Linear(1, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> trainer = Engine(supervised_training_step(model, optimizer, torch.nn.functional.mse_loss))
        >>> trainer.run([(torch.ones(2, 1), torch.ones(2, 1))]).iteration
        1
    """
    return TrainingStep(
        model=model,
        called_model=_compiled(model, compile),
        optimizer=optimizer,
        loss_fn=loss_fn,
        prepare_batch=partial(prepare_batch, device=device, non_blocking=non_blocking),
        model_fn=model_fn,
        model_transform=model_transform,
        output_transform=output_transform,
        accumulation_steps=gradient_accumulation_steps,
        precision=FullPrecision(),
        clipping=Clipping(clip_grad_norm, clip_grad_value),
    )
