"""Factories of engines that train or evaluate a model, and of training steps in other precisions."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

import torch
from torch import Tensor, nn

from ignite._core.calls import signature_of
from ignite._core.optional import LazyModule
from ignite.base import Attachable
from ignite.engine._supervised.evaluation_step import (
    EVALUATION_ARGUMENTS,
    ApexPrecision,
    FullPrecision,
    MixedPrecision,
    XlaPrecision,
    _call_model,
    _identity,
    _pred_and_target,
    _prepare_batch,
    device_type_of,
    takes_earlier_output,
    with_arguments,
)
from ignite.engine._supervised.training_step import (
    BackpropEvents,
    TrainingStep,
    _loss_item,
    supervised_training_step,
)
from ignite.engine._trace import Step
from ignite.engine.engine import Engine
from ignite.engine.events import Events

if TYPE_CHECKING:
    from ignite.engine import deterministic as _deterministic
    from ignite.engine._supervised import split_step
else:
    _deterministic = LazyModule("ignite.engine.deterministic")
    split_step = LazyModule("ignite.engine._supervised.split_step")  # few programs need it

P = ParamSpec("P")


def _same_parameters(
    other: Callable[P, Step],
) -> Callable[[Callable[..., Step]], Callable[P, Step]]:
    """Gives a function that passes its arguments on to ``other`` the signature of ``other``."""

    def declare(function: Callable[..., Step]) -> Callable[P, Step]:
        function.__signature__ = signature_of(other)  # type: ignore[attr-defined]
        function.__annotations__ = other.__annotations__
        return function

    return declare


@takes_earlier_output
@with_arguments(
    model="the model. If ``device`` is None, autocast is for the device of its parameters."
)
def supervised_training_step_amp(  # noqa: PLR0913 - Ignite's signature
    model: Any,
    optimizer: torch.optim.Optimizer,
    loss_fn: Callable[[Any, Any], Tensor] | nn.Module,
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    prepare_batch: Callable[..., Any] = _prepare_batch,
    model_transform: Callable[[Any], Any] = _identity,
    output_transform: Callable[[Any, Any, Any, Tensor], Any] = _loss_item,
    scaler: Any = None,
    gradient_accumulation_steps: int = 1,
    model_fn: Callable[[Any, Any], Any] = _call_model,
    *,
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
    amp_dtype: str | torch.dtype | None = None,
    compile: bool | Mapping[str, Any] = False,
) -> Step:
    """Creates the step of supervised training under autocast.

    Like :func:`supervised_training_step`, with the forward pass and the loss under autocast. If the
    model returns float16 or bfloat16, ``loss_fn`` and ``output_transform`` get float32.

    Args:
        {arguments}

    Raises:
        ValueError: a number is out of range, or autocast does not support the dtype.
        TypeError: ``gradient_accumulation_steps`` is not an integer.
    """
    step = supervised_training_step(
        model, optimizer, loss_fn, device, non_blocking, prepare_batch, model_transform, output_transform,
        gradient_accumulation_steps, model_fn,
        clip_grad_norm=clip_grad_norm, clip_grad_value=clip_grad_value, compile=compile,
    )  # fmt: skip
    return _in_precision(MixedPrecision(device, model, amp_dtype, scaler), step)


@takes_earlier_output
@with_arguments()
@_same_parameters(supervised_training_step)
def supervised_training_step_apex(*args: Any, **options: Any) -> Step:
    """Creates the step of supervised training with mixed precision by NVIDIA's apex.

    Like :func:`supervised_training_step`, with the loss scaled by apex.

    Args:
        {arguments}

    Raises:
        ModuleNotFoundError: apex is not installed.
        ValueError: a number is out of range.
        TypeError: ``gradient_accumulation_steps`` is not an integer.
    """
    return _in_precision(ApexPrecision(), supervised_training_step(*args, **options))


@takes_earlier_output
@with_arguments()
@_same_parameters(supervised_training_step)
def supervised_training_step_tpu(*args: Any, **options: Any) -> Step:
    """Creates the step of supervised training on a device of torch_xla, such as a TPU.

    Like :func:`supervised_training_step`; gradients are clipped before they are reduced over
    devices.

    Args:
        {arguments}

    Raises:
        ModuleNotFoundError: torch_xla is not installed.
        ValueError: a number is out of range.
        TypeError: ``gradient_accumulation_steps`` is not an integer.
    """
    return _in_precision(XlaPrecision(), supervised_training_step(*args, **options))


def _in_precision(precision: FullPrecision, step: Any) -> Step:
    converted: TrainingStep = dataclasses.replace(
        step,
        precision=precision,
        model_transform=precision.with_full_output(step.model_transform),
    )
    return converted


@takes_earlier_output
@with_arguments(
    scaler='for "amp": a ``torch.amp.GradScaler``, or True to create one at ``trainer.state.scaler``.',
    gradient_accumulation_steps="number of batches for each step of the optimizer; see "
    ":func:`supervised_training_step`. An epoch that ends within a window ends with a step. Or "
    '"auto": one step per batch, computed in as many parts as memory needs, see below.',
)
def create_supervised_trainer(  # noqa: PLR0913 - Ignite's signature
    model: Any,
    optimizer: torch.optim.Optimizer,
    loss_fn: Callable[[Any, Any], torch.Tensor] | torch.nn.Module,
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    prepare_batch: Callable[..., Any] = _prepare_batch,
    model_transform: Callable[[Any], Any] = _identity,
    output_transform: Callable[[Any, Any, Any, torch.Tensor], Any] = _loss_item,
    deterministic: bool = False,
    amp_mode: str | None = None,
    scaler: Any = False,
    gradient_accumulation_steps: int | Literal["auto"] = 1,
    model_fn: Callable[[Any, Any], Any] = _call_model,
    *,
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
    amp_dtype: str | torch.dtype | None = None,
    compile: bool | Mapping[str, Any] = False,
) -> Engine[Any, Any]:
    """Creates an engine that trains ``model``.

    The step fires :class:`BackpropEvents`.

    With ``gradient_accumulation_steps="auto"``, if memory runs out in the forward or backward pass
    of a batch, the batch is repeated in parts of half the size until they fit. Gradients, buffers
    (such as running statistics) and random states are restored before; attributes that a model or a
    loss changes are not. The size that fits is used for later batches, logged once, and saved with
    the run. Tensors of ``x`` and ``y`` with as many rows as the targets are split; everything else
    is the same in all parts. The gradients are those of the whole batch: parts are weighted by the
    number of elements that their losses average, taken from a :class:`CountedLoss`, or from autograd
    for a mean or a sum, also with ``ignore_index`` and weights of classes; any other loss is taken
    for the mean over samples. Layers that look at a batch as a whole, such as batch normalization,
    see a part. BACKWARD_STARTED is fired once per batch, when the gradients of its parts are
    computed but not yet exchanged with other processes. With DistributedDataParallel, gradients are
    exchanged after the backward pass, not during it.

    Args:
        {arguments}

    Raises:
        ValueError: arguments contradict each other, or a number is out of range.
        RuntimeError: ``device`` is an XLA device, and torch_xla is not installed.
        ModuleNotFoundError: ``amp_mode`` is "apex", and apex is not installed.

    Example:
        >>> model = torch.nn.Linear(1, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.mse_loss, clip_grad_norm=1.0)
        >>> batch = torch.ones(2, 1), torch.ones(2, 1)
        >>> trainer.run([batch] * 3, max_epochs=2).iteration
        6
    """
    device_type = torch.device(device).type if device is not None else None
    mode, chosen_scaler = _check_arg(
        device_type == "xla", device_type == "mps", amp_mode, scaler, device_type_of(device, model)
    )
    _check_dtype(amp_dtype, mode)
    options = _given(
        clip_grad_norm=clip_grad_norm, clip_grad_value=clip_grad_value, compile=compile
    )
    if mode == "amp":
        options |= {"scaler": chosen_scaler, **_given(amp_dtype=amp_dtype)}
    is_split = gradient_accumulation_steps == "auto"
    num_batches: Any = 1 if is_split else gradient_accumulation_steps
    name = "supervised_training_step" + (f"_{mode}" if mode is not None else "")
    step = _factory(name)(
        model, optimizer, loss_fn, device=device, non_blocking=non_blocking, prepare_batch=prepare_batch,
        model_transform=model_transform, output_transform=output_transform,
        gradient_accumulation_steps=num_batches, model_fn=model_fn, **options,
    )  # fmt: skip
    if is_split:
        step = split_step.SplitStep.of(step)
    trainer: Engine[Any, Any] = (
        _deterministic.DeterministicEngine(step) if deterministic else Engine(step)
    )
    trainer.register_events(*BackpropEvents)
    _warn_of_bfloat16(trainer, mode, amp_dtype, device_type_of(device, model))
    if chosen_scaler is not None and scaler is True:
        trainer.state.scaler = chosen_scaler
    if isinstance(step, TrainingStep) and num_batches > 1:
        # Called first, so that evaluations and checkpoints at the end of the epoch see the last step.
        ends = Events.TERMINATE_SINGLE_EPOCH | Events.EPOCH_COMPLETED | Events.TERMINATE
        trainer.add_event_handler(ends, step.flush, priority=float("inf"))
    return trainer


@takes_earlier_output
@with_arguments(
    **EVALUATION_ARGUMENTS,
    amp_mode='"amp" for autocast, None for full precision. If the model returns float16 or bfloat16, '
    "metrics get float32.",
)
def create_supervised_evaluator(  # noqa: PLR0913 - Ignite's signature
    model: Any,
    metrics: Mapping[str, Attachable] | None = None,
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    prepare_batch: Callable[..., Any] = _prepare_batch,
    model_transform: Callable[[Any], Any] = _identity,
    output_transform: Callable[[Any, Any, Any], Any] = _pred_and_target,
    amp_mode: str | None = None,
    model_fn: Callable[[Any, Any], Any] = _call_model,
    *,
    amp_dtype: str | torch.dtype | None = None,
    compile: bool | Mapping[str, Any] = False,
) -> Engine[Any, Any]:
    """Creates an engine that evaluates ``model``: in evaluation mode, without gradients, with metrics.

    Args:
        {arguments}

    Raises:
        ValueError: arguments contradict each other.
        RuntimeError: ``device`` is an XLA device, and torch_xla is not installed.

    Example:
        >>> from ignite.metrics import Accuracy
        >>> model = torch.nn.Identity()
        >>> evaluator = create_supervised_evaluator(model, metrics={"accuracy": Accuracy()})
        >>> scores = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
        >>> evaluator.run([(scores, torch.tensor([0, 1]))]).metrics
        {'accuracy': 0.5}
    """
    device_type = torch.device(device).type if device is not None else None
    mode, _ = _check_arg(device_type == "xla", device_type == "mps", amp_mode, None)
    _check_dtype(amp_dtype, mode)
    options = _given(compile=compile)
    if mode == "amp":
        options |= _given(amp_dtype=amp_dtype)
    name = "supervised_evaluation_step" + ("_amp" if mode == "amp" else "")
    step = _factory(name)(
        model, device=device, non_blocking=non_blocking, prepare_batch=prepare_batch,
        model_transform=model_transform, output_transform=output_transform, model_fn=model_fn, **options,
    )  # fmt: skip
    evaluator: Engine[Any, Any] = Engine(step)
    _warn_of_bfloat16(evaluator, mode, amp_dtype, device_type_of(device, model))
    for name, metric in (metrics or {}).items():
        metric.attach(evaluator, name)
    return evaluator


def _check_arg(
    on_tpu: bool, on_mps: bool, amp_mode: str | None, scaler: Any, device_type: str = "cuda"
) -> tuple[str | None, Any]:
    """Returns which step to use, and its scaler.

    Raises as :func:`create_supervised_trainer` does.
    """
    if amp_mode not in (None, "amp", "apex"):
        raise ValueError(f"amp_mode should be None, 'amp' or 'apex', but given {amp_mode!r}")
    if on_mps and amp_mode:
        raise ValueError(
            f"amp_mode cannot be used with mps device, but given {amp_mode!r}. Consider using a "
            "CUDA device"
        )
    if on_tpu and amp_mode:
        raise ValueError(
            f"amp_mode cannot be used with xla device, but given {amp_mode!r}. Consider using "
            "amp_mode=None"
        )
    if scaler and amp_mode != "amp":
        raise ValueError(
            f"scaler argument is {scaler}, but amp_mode is {amp_mode}. Consider using "
            "amp_mode='amp'."
        )
    if on_tpu:
        _check_xla()
        return "tpu", None
    if amp_mode == "amp" and isinstance(scaler, bool):
        return "amp", torch.amp.GradScaler(device_type) if scaler else None
    return amp_mode, scaler or None


def _check_dtype(amp_dtype: str | torch.dtype | None, mode: str | None) -> None:
    if amp_dtype is not None and mode != "amp":
        raise ValueError(
            f"amp_dtype should be given with amp_mode='amp', but given {amp_dtype!r} with {mode!r}"
        )


def _warn_of_bfloat16(
    engine: Engine[Any, Any],
    mode: str | None,
    amp_dtype: str | torch.dtype | None,
    device_type: str,
) -> None:
    if mode == "amp" and amp_dtype is None and device_type == "cpu":
        engine.logger.warning(
            "amp_mode='amp' computes in bfloat16 on the CPU, where Ignite computed in full "
            "precision. Leave amp_mode out for full precision; set amp_dtype='bfloat16' to keep "
            "bfloat16 without this warning"
        )


def _check_xla() -> None:
    try:
        import torch_xla  # noqa: F401
    except ModuleNotFoundError as error:
        raise RuntimeError("In order to run on TPU, please install PyTorch XLA") from error


def _given(**options: Any) -> dict[str, Any]:
    """Returns the options that are set: a user's factory with Ignite's signature may not accept others."""
    return {
        name: value for name, value in options.items() if value is not None and value is not False
    }


def _factory(name: str) -> Any:
    """Returns a step factory from ``ignite.engine``, where programs and tests may have replaced it."""
    return getattr(sys.modules["ignite.engine"], name)
