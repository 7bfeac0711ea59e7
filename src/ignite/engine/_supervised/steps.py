"""Factories of step functions for supervised training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from ignite._core.tensors import convert_tensor
from ignite.engine._supervised.mixed_precision import (
    ApexPrecision,
    FullPrecision,
    MixedPrecision,
    XlaPrecision,
)
from ignite.engine._supervised.training_step import Clipping, Mode, TrainingStep

if TYPE_CHECKING:
    from ignite.engine.engine import Engine

Step = Callable[["Engine[Any, Any]", Any], Any]


def _prepare_batch(
    batch: Any, device: str | torch.device | None = None, non_blocking: bool = False
) -> tuple[Any, Any]:
    """``(x, y)``, on ``device``.

    Raises:
        TypeError, ValueError: ``batch`` is no pair, although it may have two keys or rows.
    """
    if type(batch) not in (list, tuple) and isinstance(batch, Mapping | torch.Tensor | str):
        raise TypeError(_not_a_pair(batch))
    try:
        x, y = batch
    except (TypeError, ValueError) as error:
        raise type(error)(_not_a_pair(batch)) from None
    return convert_tensor(x, device, non_blocking), convert_tensor(y, device, non_blocking)


def _not_a_pair(batch: Any) -> str:
    kind = type(batch).__name__
    if isinstance(batch, Mapping):
        given = f"a {kind} with the keys {list(batch)}"
    elif isinstance(batch, torch.Tensor):
        given = f"a tensor of shape {tuple(batch.shape)}"
    else:
        given = (
            f"a {kind} of {len(batch)} items" if isinstance(batch, list | tuple) else f"a {kind}"
        )
    return f"batch should be a pair (x, y), but given {given}; make one of it in prepare_batch"


def _identity(output: Any) -> Any:
    return output


def _call_model(model: Any, x: Any) -> Any:
    return model(x)


def _loss_item(x: Any, y: Any, y_pred: Any, loss: torch.Tensor) -> Any:
    return loss.item()


def _pred_and_target(x: Any, y: Any, y_pred: Any) -> Any:
    return y_pred, y


def supervised_training_step(  # noqa: PLR0913 - Ignite's signature
    model: Any,
    optimizer: torch.optim.Optimizer,
    loss_fn: Callable[[Any, Any], torch.Tensor] | torch.nn.Module,
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    prepare_batch: Callable[..., Any] = _prepare_batch,
    model_transform: Callable[[Any], Any] = _identity,
    output_transform: Callable[[Any, Any, Any, torch.Tensor], Any] = _loss_item,
    gradient_accumulation_steps: int = 1,
    model_fn: Callable[[Any, Any], Any] = _call_model,
    *,
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
    compile: bool | Mapping[str, Any] = False,
) -> Step:
    """Makes the step of supervised training: ``engine, batch -> output``.

    Args:
        model: what is trained; it is put into training mode for each step, and never moved.
        optimizer: updates the model's parameters.
        loss_fn: ``loss_fn(y_pred, y)``, a tensor of one element, or a :class:`CountedLoss`.
        device: where to move the batch; None leaves it.
        non_blocking: return before a copy from pinned memory has ended.
        prepare_batch: ``prepare_batch(batch, device=device, non_blocking=non_blocking) -> (x, y)``.
        model_transform: turns what the model returns into ``y_pred``.
        output_transform: ``output_transform(x, y, y_pred, loss)`` is what the step returns. The
            default, ``loss.item()``, waits for the device in each iteration; ``loss.detach()`` does
            not.
        gradient_accumulation_steps: batches between two steps of the optimizer. The gradient is the
            mean over them, whatever the size of each; with a :class:`CountedLoss`, the mean over
            all their elements. The last window of an epoch takes what is left, if the length of the
            epoch is known. Under DistributedDataParallel, gradients are exchanged once a window.
        model_fn: ``model_fn(model, x)`` calls the model.
        clip_grad_norm: the largest Euclidean norm of all gradients of the optimizer together.
        clip_grad_value: the largest absolute value of a single gradient; before the norm is taken.
        compile: whether to call the model through ``torch.compile``, or the arguments for it. The
            model itself, and so the names in its ``state_dict``, stay as they are.

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
    return _training_step(
        FullPrecision(), model, optimizer, loss_fn, device, non_blocking, prepare_batch, model_transform,
        output_transform, gradient_accumulation_steps, model_fn, clip_grad_norm, clip_grad_value, compile,
    )  # fmt: skip


def supervised_training_step_amp(  # noqa: PLR0913 - Ignite's signature
    model: Any,
    optimizer: torch.optim.Optimizer,
    loss_fn: Callable[[Any, Any], torch.Tensor] | torch.nn.Module,
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    prepare_batch: Callable[..., Any] = _prepare_batch,
    model_transform: Callable[[Any], Any] = _identity,
    output_transform: Callable[[Any, Any, Any, torch.Tensor], Any] = _loss_item,
    scaler: Any = None,
    gradient_accumulation_steps: int = 1,
    model_fn: Callable[[Any, Any], Any] = _call_model,
    *,
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
    amp_dtype: str | torch.dtype | None = None,
    compile: bool | Mapping[str, Any] = False,
) -> Step:
    """As :func:`supervised_training_step`, with forward pass and loss under autocast.

    What the model returns in float16 or bfloat16 is float32 for ``loss_fn`` and
    ``output_transform``.

    Args:
        model: as there; if ``device`` is None, autocast is for the device of its parameters.
        optimizer: as there.
        loss_fn: as there.
        device: as there.
        non_blocking: as there.
        prepare_batch: as there.
        model_transform: as there.
        output_transform: as there.
        scaler: a ``torch.amp.GradScaler``, for float16; gradients are unscaled before they are
            clipped.
        gradient_accumulation_steps: as there.
        model_fn: as there.
        clip_grad_norm: as there.
        clip_grad_value: as there.
        amp_dtype: float16 or bfloat16; by default torch's choice for the device (float16 on CUDA,
            bfloat16 on CPU).
        compile: as there.

    Raises:
        ValueError: a number is out of range, or autocast does not know the dtype.
    """
    return _training_step(
        MixedPrecision(device, model, amp_dtype, scaler), model, optimizer, loss_fn, device, non_blocking,
        prepare_batch, model_transform, output_transform, gradient_accumulation_steps, model_fn, clip_grad_norm,
        clip_grad_value, compile,
    )  # fmt: skip


def supervised_training_step_apex(  # noqa: PLR0913 - Ignite's signature
    model: Any,
    optimizer: torch.optim.Optimizer,
    loss_fn: Callable[[Any, Any], torch.Tensor] | torch.nn.Module,
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    prepare_batch: Callable[..., Any] = _prepare_batch,
    model_transform: Callable[[Any], Any] = _identity,
    output_transform: Callable[[Any, Any, Any, torch.Tensor], Any] = _loss_item,
    gradient_accumulation_steps: int = 1,
    model_fn: Callable[[Any, Any], Any] = _call_model,
    *,
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
    compile: bool | Mapping[str, Any] = False,
) -> Step:
    """As :func:`supervised_training_step`, with the loss scaled by NVIDIA's apex.

    Raises:
        ModuleNotFoundError: apex is not installed.
        ValueError: a number is out of range.
    """
    return _training_step(
        ApexPrecision(), model, optimizer, loss_fn, device, non_blocking, prepare_batch, model_transform,
        output_transform, gradient_accumulation_steps, model_fn, clip_grad_norm, clip_grad_value, compile,
    )  # fmt: skip


def supervised_training_step_tpu(  # noqa: PLR0913 - Ignite's signature
    model: Any,
    optimizer: torch.optim.Optimizer,
    loss_fn: Callable[[Any, Any], torch.Tensor] | torch.nn.Module,
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    prepare_batch: Callable[..., Any] = _prepare_batch,
    model_transform: Callable[[Any], Any] = _identity,
    output_transform: Callable[[Any, Any, Any, torch.Tensor], Any] = _loss_item,
    gradient_accumulation_steps: int = 1,
    model_fn: Callable[[Any, Any], Any] = _call_model,
    *,
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
    compile: bool | Mapping[str, Any] = False,
) -> Step:
    """As :func:`supervised_training_step`, on a device of torch_xla; gradients are clipped before they are exchanged.

    Raises:
        ModuleNotFoundError: torch_xla is not installed.
        ValueError: a number is out of range.
    """
    return _training_step(
        XlaPrecision(), model, optimizer, loss_fn, device, non_blocking, prepare_batch, model_transform,
        output_transform, gradient_accumulation_steps, model_fn, clip_grad_norm, clip_grad_value, compile,
    )  # fmt: skip


def _training_step(  # noqa: PLR0913 - what its four callers take
    precision: FullPrecision, model: Any, optimizer: torch.optim.Optimizer, loss_fn: Any,
    device: str | torch.device | None, non_blocking: bool, prepare_batch: Callable[..., Any],
    model_transform: Callable[[Any], Any], output_transform: Callable[[Any, Any, Any, torch.Tensor], Any],
    gradient_accumulation_steps: int, model_fn: Callable[[Any, Any], Any],
    clip_grad_norm: float | None, clip_grad_value: float | None, compile: bool | Mapping[str, Any],
) -> Step:  # fmt: skip
    return TrainingStep(
        model=model,
        called_model=_compiled(model, compile),
        optimizer=optimizer,
        loss_fn=loss_fn,
        prepare_batch=lambda batch: prepare_batch(batch, device=device, non_blocking=non_blocking),
        model_fn=model_fn,
        model_transform=precision.with_full_output(model_transform),
        output_transform=output_transform,
        accumulation_steps=gradient_accumulation_steps,
        precision=precision,
        clipping=Clipping(clip_grad_norm, clip_grad_value),
    )


def supervised_evaluation_step(
    model: Any,
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    prepare_batch: Callable[..., Any] = _prepare_batch,
    model_transform: Callable[[Any], Any] = _identity,
    output_transform: Callable[[Any, Any, Any], Any] = _pred_and_target,
    model_fn: Callable[[Any, Any], Any] = _call_model,
    *,
    compile: bool | Mapping[str, Any] = False,
) -> Step:
    """Makes the step of evaluation: the model in evaluation mode, without gradients.

    Leaves the model in that mode.

    Args:
        model: what is evaluated; never moved.
        device: where to move the batch; None leaves it.
        non_blocking: return before a copy from pinned memory has ended.
        prepare_batch: ``prepare_batch(batch, device=device, non_blocking=non_blocking) -> (x, y)``.
        model_transform: turns what the model returns into ``y_pred``.
        output_transform: ``output_transform(x, y, y_pred)`` is what the step returns; by default
            what metrics expect.
        model_fn: ``model_fn(model, x)`` calls the model.
        compile: whether to call the model through ``torch.compile``, or the arguments for it.
    """
    return _evaluation_step(
        FullPrecision(), model, device, non_blocking, prepare_batch, model_transform, output_transform, model_fn,
        compile,
    )  # fmt: skip


def supervised_evaluation_step_amp(  # noqa: PLR0913 - Ignite's signature
    model: Any,
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    prepare_batch: Callable[..., Any] = _prepare_batch,
    model_transform: Callable[[Any], Any] = _identity,
    output_transform: Callable[[Any, Any, Any], Any] = _pred_and_target,
    model_fn: Callable[[Any, Any], Any] = _call_model,
    *,
    amp_dtype: str | torch.dtype | None = None,
    compile: bool | Mapping[str, Any] = False,
) -> Step:
    """As :func:`supervised_evaluation_step`, with the model under autocast in ``amp_dtype``.

    What the model returns in float16 or bfloat16 is float32 for ``output_transform``, and so for
    losses and metrics.

    Raises:
        ValueError: autocast does not know the dtype.
    """
    return _evaluation_step(
        MixedPrecision(device, model, amp_dtype), model, device, non_blocking, prepare_batch, model_transform,
        output_transform, model_fn, compile,
    )  # fmt: skip


def _evaluation_step(  # noqa: PLR0913 - what its two callers take
    precision: FullPrecision, model: Any, device: str | torch.device | None, non_blocking: bool,
    prepare_batch: Callable[..., Any], model_transform: Callable[[Any], Any],
    output_transform: Callable[[Any, Any, Any], Any], model_fn: Callable[[Any, Any], Any],
    compile: bool | Mapping[str, Any],
) -> Step:  # fmt: skip
    called_model, evaluation = _compiled(model, compile), Mode(model, is_training=False)
    model_transform = precision.with_full_output(model_transform)

    def evaluate(engine: Engine[Any, Any], batch: Any) -> Any:
        evaluation.enter()
        with torch.no_grad():
            x, y = prepare_batch(batch, device=device, non_blocking=non_blocking)
            with precision.autocast():
                y_pred = model_transform(model_fn(called_model, x))
            return output_transform(x, y, y_pred)

    return evaluate


def _compiled(model: Any, how: bool | Mapping[str, Any]) -> Any:
    if how is False:
        return model
    return torch.compile(model, **({} if how is True else dict(how)))
