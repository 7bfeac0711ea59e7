"""Factories of step functions for supervised training and evaluation."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import torch

from ignite._core.trees import convert_tensor
from ignite.engine._supervised.mixed_precision import (
    ApexPrecision,
    FullPrecision,
    MixedPrecision,
    XlaPrecision,
)
from ignite.engine._supervised.training_step import Clipping, Mode, TrainingStep
from ignite.engine._trace import Step

F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")

_ARGUMENTS = {
    "model": "the model. It is not moved: move it to its device before you create the optimizer.",
    "optimizer": "updates the parameters of the model.",
    "loss_fn": "``loss_fn(y_pred, y)`` returns a tensor with one element, or a :class:`CountedLoss`.",
    "metrics": "metrics by name, attached in this order. Their values are in ``state.metrics`` after each run.",
    "device": "device to which batches are moved; None to leave them where they are.",
    "non_blocking": "do not wait for copies from pinned memory to the device.",
    "prepare_batch": "``prepare_batch(batch, device=device, non_blocking=non_blocking)`` returns ``(x, y)``.",
    "model_transform": "converts the output of the model to ``y_pred``.",
    "output_transform": "``output_transform(x, y, y_pred, loss)`` returns ``state.output``. The default, "
    "``loss.item()``, waits for the device in each iteration; ``loss.detach()`` does not.",
    "deterministic": "create a :class:`DeterministicEngine`.",
    "amp_mode": '"amp" for autocast, "apex" for NVIDIA\'s apex, None for full precision.',
    "scaler": "a ``torch.amp.GradScaler`` for float16. Gradients are unscaled before they are clipped.",
    "gradient_accumulation_steps": "number of batches for each step of the optimizer. The gradient is the mean over "
    "these batches; with a :class:`CountedLoss`, the mean over all their elements. The last window "
    "of an epoch has the remaining batches, if the length of the epoch is known. "
    "DistributedDataParallel synchronizes gradients once per window.",
    "model_fn": "``model_fn(model, x)`` calls the model.",
    "clip_grad_norm": "maximum Euclidean norm of all gradients together.",
    "clip_grad_value": "maximum absolute value of a single gradient; applied before the norm.",
    "amp_dtype": "dtype of autocast, float16 or bfloat16; by default torch's choice: float16 on CUDA, bfloat16 on "
    "CPU.",
    "compile": "call the model through ``torch.compile``; a mapping holds its arguments. The model itself, and the "
    "keys of its ``state_dict``, do not change.",
}


def with_arguments(**descriptions: str) -> Callable[[F], F]:
    """Replaces ``{arguments}`` in a docstring by a description of each parameter of the function.

    Args:
        **descriptions: descriptions by parameter, where they differ from the common ones.
    """

    def document(function: F) -> F:
        words = _ARGUMENTS | descriptions
        text = "\n".join(
            _entry(name, words[name]) for name in inspect.signature(function).parameters
        )
        if function.__doc__:  # Python leaves docstrings out with -OO
            function.__doc__ = function.__doc__.replace("{arguments}", text.lstrip())
        return function

    return document


@functools.cache
def _entry(name: str, description: str) -> str:
    return textwrap.fill(
        f"{name}: {description}", 100, initial_indent=" " * 8, subsequent_indent=" " * 12
    )


def _same_parameters(
    other: Callable[P, Step],
) -> Callable[[Callable[..., Step]], Callable[P, Step]]:
    """Gives a function that passes its arguments on to ``other`` the signature of ``other``."""

    def declare(function: Callable[..., Step]) -> Callable[P, Step]:
        function.__signature__ = inspect.signature(other)  # type: ignore[attr-defined]
        function.__annotations__ = other.__annotations__
        return function

    return declare


def _prepare_batch(
    batch: Any, device: str | torch.device | None = None, non_blocking: bool = False
) -> tuple[Any, Any]:
    """Returns the pair ``(x, y)`` on ``device``.

    Raises:
        TypeError, ValueError: ``batch`` is not a pair. A mapping with two keys or a tensor with two
            rows is not one.
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
    return f"batch should be a pair (x, y), but given {given}: convert it in prepare_batch"


def _identity(output: Any) -> Any:
    return output


def _call_model(model: Any, x: Any) -> Any:
    return model(x)


def _loss_item(x: Any, y: Any, y_pred: Any, loss: torch.Tensor) -> Any:
    return loss.item()


def _pred_and_target(x: Any, y: Any, y_pred: Any) -> Any:
    return y_pred, y


@with_arguments()
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
        prepare_batch=lambda batch: prepare_batch(batch, device=device, non_blocking=non_blocking),
        model_fn=model_fn,
        model_transform=model_transform,
        output_transform=output_transform,
        accumulation_steps=gradient_accumulation_steps,
        precision=FullPrecision(),
        clipping=Clipping(clip_grad_norm, clip_grad_value),
    )


@with_arguments(
    model="the model. If ``device`` is None, autocast is for the device of its parameters."
)
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


EVALUATION_ARGUMENTS = {
    "model": "the model. It is not moved.",
    "output_transform": "``output_transform(x, y, y_pred)`` returns ``state.output``; by default ``(y_pred, y)``, "
    "which metrics expect.",
}


@with_arguments(**EVALUATION_ARGUMENTS)
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
    """Creates the step of evaluation: ``step(engine, batch) -> output``.

    The step puts the model into evaluation mode, and calls it without gradients.

    Args:
        {arguments}
    """
    called_model, evaluation = _compiled(model, compile), Mode(model, is_training=False)

    def evaluate(engine: Any, batch: Any) -> Any:
        evaluation.enter()
        with torch.no_grad():
            x, y = prepare_batch(batch, device=device, non_blocking=non_blocking)
            y_pred = model_transform(model_fn(called_model, x))
            return output_transform(x, y, y_pred)

    return evaluate


@with_arguments(**EVALUATION_ARGUMENTS)
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
    """Creates the step of evaluation with the model under autocast.

    Like :func:`supervised_evaluation_step`. If the model returns float16 or bfloat16,
    ``output_transform`` gets float32, for losses and metrics.

    Args:
        {arguments}

    Raises:
        ValueError: autocast does not support the dtype.
    """
    precision = MixedPrecision(device, model, amp_dtype)
    in_full_precision = precision.with_full_output(model_transform)

    def call_under_autocast(called_model: Any, x: Any) -> Any:
        with precision.autocast():
            return in_full_precision(model_fn(called_model, x))

    return supervised_evaluation_step(
        model, device, non_blocking, prepare_batch, _identity, output_transform, call_under_autocast,
        compile=compile,
    )  # fmt: skip


def _compiled(model: Any, how: bool | Mapping[str, Any]) -> Any:
    if how is False:
        return model
    return torch.compile(model, **({} if how is True else dict(how)))
