"""Finds mistakes in data, model and loss before the first step; messages say how to fix them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ignite._core.trees import moved
from ignite.learner._data.in_memory import Parts
from ignite.learner._data.inspection import (
    Finding,
    are_finite,
    call_model,
    few_rows,
    is_finite,
    kept,
    modules_kept,
    named_tensors_in,
    not_finite,
    num_samples_in,
    tensors_in,
    trial,
)
from ignite.learner._data.schema import KnownLoss, Task, known_loss
from ignite.learner._data.sources import Loader
from ignite.learner._data.targets import check_fit
from ignite.learner._data.weighting import check_sample_weight

__all__ = ["check_before_training"]

_NUM_ROWS = 8
_SINGLE = (
    "The last batch has one sample, which BatchNorm cannot train on: pass drop_last=True to fit or "
    "to the DataLoader, or use another batch_size"
)


@kept()
def check_before_training(
    model: nn.Module,
    loss: Callable[[Any, Any], Any],
    task: Task,
    loader: Loader,
    *,
    device: torch.device | str | None = None,
    call: Callable[[Any, Any], Any] = call_model,
    fitted: Callable[[Any, Any], Any] | None = None,
    is_training: bool = False,
) -> list[str]:
    """Checks data, model and loss for mistakes, without side effects.

    Data in memory are checked completely, other data by their first batch. The model runs on 8
    samples. Only certain mistakes are errors; for custom losses, few are certain.

    Args:
        model: the model, neither wrapped nor compiled.
        loss: the loss, called with outputs and targets.
        task: the result of :func:`~ignite.learner._data.schema.infer_task`.
        loader: the result of :func:`~ignite.learner._data.sources.as_loader`.
        device: device to which batches will be moved; None if they are not moved.
        call: computes the output from ``(model, x)``.
        fitted: computes the targets that the loss is given from ``(output, y)``; None to pass them
            unchanged.
        is_training: whether the data are for training. If so, the model runs in training mode, also
            on as few samples as the last batch has.

    Returns:
        Warnings about probable mistakes.

    Raises:
        TypeError: a dtype is wrong.
        ValueError: anything else is wrong. Errors that model and loss raise get a note.
    """
    first = loader.first()
    if first is None:
        return ["The data can be iterated over only once, so it was not checked"]
    if first.y is None:
        raise ValueError(
            "data should have targets, but given x alone: use fit((x, y)), or fit(frame, "
            "target='name')"
        )
    _check_model(model, first.x, device)
    whole = loader.whole or first
    if first.w is not None:
        check_sample_weight(first.w, first.y)
    known = known_loss(loss)
    if known is not None:
        _check_batch(first.y, known)
    warnings: list[str] = []
    x, y = few_rows(_moved((first.x, first.y), device), slice(_NUM_ROWS))
    with _explained(model, x):
        output = trial(model, call, x, is_training)
    if is_training:
        _check_single(model, call, _moved(first.x, device), loader)
    if known is not None:
        _check_output(output, known, model)
    _check_trainable(model, output)
    if known is not None and known.name == "cross_entropy":
        warnings += _check_copied(x, output, y, known)
    y = y if fitted is None else fitted(output, y)

    def has_finite_output(rows: Any) -> bool:
        return are_finite(trial(model, call, few_rows(_moved(whole.x, device), rows)))

    warnings += _check_finite(
        whole, has_finite_output, loader.known.features, is_known=known is not None
    )
    if are_finite(x) and not are_finite(output):
        warnings.append("The model's output has values that are not finite, though x has none")
    if (
        known is not None
        and isinstance(output, Tensor)
        and isinstance(y, Tensor)
        and isinstance(whole.y, Tensor)
    ):
        warnings += check_fit(known, output, y, whole.y)
    elif isinstance(y, Tensor):
        warnings += _check_broadcast(loss, output, y)
    return warnings + list(_try_loss(loss, output, y))


def _check_model(model: nn.Module, x: Any, device: torch.device | str | None) -> None:
    parameters = [(n, p) for n, p in model.named_parameters() if not nn.parameter.is_lazy(p)]
    devices = {parameter.device for _, parameter in parameters}
    expected = [tensor.device for tensor in tensors_in(x)] if device is None else [_full(device)]
    on = next(iter(devices), None)
    # A model on several devices moves its inputs itself.
    for other in expected if len(devices) == 1 else ():
        if other != on:
            what = "x" if device is None else "device"
            raise ValueError(
                f"model and {what} should be on the same device, but the model is on {on}, {what} "
                f"is {other}"
            )
    invalid = [name for name, parameter in parameters if not is_finite(parameter)]
    if invalid:
        raise ValueError(
            "The model's parameters should be finite, but given NaN or infinity in "
            f"{', '.join(invalid)}"
        )


def _full(device: torch.device | str) -> torch.device:
    """Returns the device with its index: ``cuda`` is the current one."""
    return torch.empty(0, device=device).device


def _check_batch(y: Any, known: KnownLoss) -> None:
    is_single = isinstance(y, int | float) or (isinstance(y, Tensor) and y.ndim == 0)
    if is_single:
        raise ValueError(
            f"y of a batch should have a dimension of samples for {known.name}, but given a single "
            "number: if these are samples, use DataLoader(data, batch_size=32)"
        )
    if y is not None and not isinstance(y, Tensor) and hasattr(y, "__array__"):
        raise TypeError(
            f"Batches should hold tensors, but y is a {type(y).__name__}: use torch.from_numpy, or "
            "pass whole arrays, fit((x, y))"
        )


def _check_output(output: Any, known: KnownLoss, model: nn.Module) -> None:
    if isinstance(output, Tensor):
        return
    parts = list(output) if isinstance(output, Mapping) else []
    what = (
        f"a {type(output).__name__}"
        if output is not None
        else "None: does forward return its result?"
    )
    hint = ""
    if parts:
        part = "logits" if "logits" in parts else parts[0]
        take = f"[{part!r}]" if type(output) is dict else f".{part}"
        hint = f": let its forward return {take} alone, or use loss=lambda output, y: loss_fn(output{take}, y)"
    elif isinstance(output, tuple | list):
        hint = ": let its forward return one of them, or use loss=lambda output, y: loss_fn(output[0], y)"
    raise TypeError(f"The model should return a tensor for {known.name}, but returns {what}{hint}")


def _check_copied(x: Any, output: Any, y: Any, known: KnownLoss) -> Iterator[str]:
    """Finds a language model that is trained to repeat its input instead of to continue it."""
    if not (isinstance(y, Tensor) and isinstance(output, Tensor)):
        return
    if y.ndim != 2 or output.shape != (y.shape[0], output.shape[1], y.shape[1]):
        return
    counts = y != known.options.get("ignore_index", -100)
    for path, tensor in named_tensors_in(x, "x"):
        if tensor.shape == y.shape and counts.any() and bool((tensor == y)[counts].all()):
            yield (
                f"y is equal to {path}, so the model learns to repeat its input. To predict the next "
                "token at each position, use loss='next_token'"
            )
            return


def _check_broadcast(loss: Callable[[Any, Any], Any], output: Any, y: Tensor) -> Iterator[str]:
    """Finds custom losses that broadcast each output (N, 1) against each target (N,), or the reverse.

    Raises:
        ValueError: the loss of several samples is the mean or sum of their own losses only if the
            targets have the shape of the output.
    """
    num_samples = len(y) if y.ndim else 0
    shapes = {(num_samples,), (num_samples, 1)}
    for tensor in tensors_in(output) if num_samples > 1 else ():
        if {tuple(tensor.shape), tuple(y.shape)} != shapes:
            continue
        use = "y.unsqueeze(1)" if y.ndim == 1 else "y.squeeze(1)"
        given = (
            f"an output of shape {tuple(tensor.shape)} and y of {tuple(y.shape)}, and broadcasts "
            "each output against each target"
        )
        is_broadcasting = _is_broadcasting(loss, output, y, y.reshape(tensor.shape))
        if is_broadcasting:
            raise ValueError(
                f"loss(y_pred, y) should compare each output with its own target, but is given {given}: "
                f"use {use} in the loss, or pass targets of shape {tuple(tensor.shape)}"
            )
        if is_broadcasting is None:
            yield f"The loss is given {given}, if it subtracts them: then use {use}"
        return


def _is_broadcasting(
    loss: Callable[[Any, Any], Any], output: Any, y: Tensor, fitting: Tensor
) -> bool | None:
    """Whether only ``fitting`` targets, not ``y``, give the mean or sum of the losses of single samples.

    None if neither does.
    """
    with kept(*([loss] if isinstance(loss, nn.Module) else [])), torch.no_grad():
        try:
            # For one sample, both shapes give the same.
            each = [loss(*few_rows((output, y), slice(i, i + 1))).double() for i in range(len(y))]
            total = torch.stack([one.sum() for one in each]).sum()
            given, fitted = (loss(output, one).double() for one in (y, fitting))
        except Exception:
            return None  # it takes neither single samples nor the other shape
    expected = total / len(y), total
    for value, is_wrong in ((given, False), (fitted, True)):
        if any(_is_close(value.mean(), one) for one in expected):
            return is_wrong
    return None


def _is_close(x: Tensor, y: Tensor) -> bool:
    return torch.allclose(x, y, rtol=1e-4, atol=1e-7)


def _check_finite(
    whole: Parts,
    has_finite_output: Callable[[Any], bool],
    features: tuple[Any, ...],
    is_known: bool,
) -> Iterator[str]:
    for name, finding in _not_finite_in(whole.x, "x"):
        message = f"{name} should be finite, but given {finding.describe(features)}"
        if not has_finite_output([finding.row]):
            raise ValueError(f"{message}: drop these samples, or fill in the missing values")
        yield f"{message}. The model's output is finite nevertheless"
    for name, finding in _not_finite_in(whole.y, "y"):
        message = f"{name} should be finite, but given {finding.describe()}"
        if is_known:
            raise ValueError(f"{message}: drop these samples")
        yield f"{message}. Does your loss mask them?"


def _not_finite_in(data: Any, name: str) -> Iterator[tuple[str, Finding]]:
    for path, tensor in named_tensors_in(data, name):
        if finding := not_finite(tensor):
            yield path, finding


def _check_single(
    model: nn.Module, call: Callable[[Any, Any], Any], x: Any, loader: Loader
) -> None:
    """Raises a ValueError if the last batch has one sample, and the model uses batch normalization."""
    if loader.smallest_batch != 1 or num_samples_in(x) is None:
        return
    row = few_rows(x, slice(1))
    if num_samples_in(row) != 1:
        return
    try:
        trial(model, call, row, is_training=True)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            return  # not caused by the batch having one sample
        raise ValueError(_SINGLE) from error


def _check_trainable(model: nn.Module, output: Any) -> None:
    parameters = list(model.parameters())
    if not any(parameter.requires_grad for parameter in parameters):
        raise ValueError(
            f"model should have parameters to train, but none of its {len(parameters)} requires a "
            "gradient"
        )
    tensors = tensors_in(output)
    if tensors and not any(tensor.requires_grad for tensor in tensors):
        raise ValueError(
            "The model's output should depend on its parameters, but given one without gradient: "
            "does the model use detach, argmax or no_grad?"
        )


def _try_loss(loss: Callable[[Any, Any], Any], output: Any, y: Any) -> Iterator[str]:
    with modules_kept(*([loss] if isinstance(loss, nn.Module) else [])), torch.enable_grad():
        try:
            value = loss(output, y)
            if (
                isinstance(value, Tensor)
                and value.requires_grad
                and isinstance(output, Tensor)
                and output.requires_grad
            ):
                # With respect to the output only: no parameter gets a gradient.
                torch.autograd.grad(value.sum(), output, allow_unused=True)
        except Exception as error:
            error.add_note(f"in the check before the first step: the loss was given an output of {_shapes(output)} "
                           f"and y of {_shapes(y)}")  # fmt: skip
            raise
    if not isinstance(value, Tensor):
        raise TypeError(
            f"loss(y_pred, y) should return a tensor of one element, but given {_short(value)}"
        )
    sizes = [tensor.shape for tensor in (*tensors_in(output), *tensors_in(y)) if tensor.ndim]
    is_of_elements = any(value.shape in (size, size[:1], size[:1] + size[2:]) for size in sizes)
    if value.numel() != 1 and not is_of_elements:
        raise ValueError(
            "loss(y_pred, y) should return the mean, or one value for each sample or element, but "
            f"given shape {tuple(value.shape)} for an output of {_shapes(output)} and y of {_shapes(y)}: "
            "compute the mean, as reduction='mean' does"
        )
    if not value.requires_grad:
        raise ValueError(
            "The loss should depend on the model's output, but given a value without gradient"
        )
    if not is_finite(value) and are_finite(output) and are_finite(y):
        yield f"The loss is {value.detach().sum().item()} for the first samples, though output and targets are finite"


@contextlib.contextmanager
def _explained(model: nn.Module, x: Any) -> Iterator[None]:
    """Adds the cause, or a note on the input, to errors that the model raises."""
    try:
        yield
    except Exception as error:
        if (known := _known_cause(model, x, error)) is not None:
            raise known from error
        error.add_note(f"in the check before the first step: the model was given x of {_shapes(x)}")
        layer = next((one for one in map(_expectation, model.modules()) if one), None)
        if layer is not None:
            error.add_note(f"its first layer, {layer}")
        raise


def _known_cause(model: nn.Module, x: Any, error: Exception) -> Exception | None:
    """Returns an error with the fix for a common mistake; None for other errors."""
    if "more than 1 value per channel" in str(error):
        return ValueError(_SINGLE)
    if hasattr(x, "__array__") and not isinstance(x, Tensor):
        return TypeError(
            f"Batches should hold tensors, but x is a {type(x).__name__}: use torch.from_numpy, or "
            "pass whole arrays, fit((x, y))"
        )
    layers = list(model.modules())
    if not isinstance(x, Tensor) or any(isinstance(layer, nn.Embedding) for layer in layers):
        return None
    dtypes = {p.dtype for p in model.parameters() if not nn.parameter.is_lazy(p)}
    if len(dtypes) != 1:
        return None
    (dtype,) = dtypes
    if x.dtype != dtype and "type" in str(error):
        return _wrong_dtype(x, dtype)
    takes = ("in_channels", "in_features")
    first = next((each for each in layers if any(hasattr(each, name) for name in takes)), None)
    return None if first is None else _wrong_shape(x, first)


def _wrong_dtype(x: Tensor, dtype: torch.dtype) -> TypeError:
    to = "x.float()" if dtype == torch.float32 else f"x.to({dtype})"
    scale = " / 255, if these are pixels" if x.dtype == torch.uint8 else ""
    return TypeError(
        f"x should be {_name(dtype)}, like the model, but given {_name(x.dtype)}: use {to}{scale}"
    )


def _wrong_shape(x: Tensor, first: nn.Module) -> ValueError | None:
    """Returns an error if the dimensions of ``x`` are not in the order that the first layer takes."""
    channels = getattr(first, "in_channels", None)
    if channels is not None and x.ndim >= 3 and x.shape[1] != channels == x.shape[-1]:
        order = [0, x.ndim - 1, *range(1, x.ndim - 1)]
        return ValueError(
            f"x should have its {channels} channels as dimension 1, but given shape "
            f"{tuple(x.shape)}: use x.permute({', '.join(map(str, order))}), or numpy's transpose"
        )
    if channels == 1 and x.ndim == 3 and isinstance(first, nn.Conv2d):
        return ValueError(
            f"x should have shape (N, 1, H, W), but given {tuple(x.shape)}: use x[:, None]"
        )
    if x.ndim == 1 and getattr(first, "in_features", None) == 1:
        return ValueError(
            f"x should have shape (N, 1), but given {tuple(x.shape)}: use x.reshape(-1, 1)"
        )
    return None


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _short(value: Any) -> str:
    return (
        repr(value)
        if value is None or isinstance(value, int | float)
        else f"a {type(value).__name__}"
    )


def _expectation(module: nn.Module) -> str | None:
    """Describes the input that a layer expects; None for layers that take any."""
    # Looks at attributes, so that quantized and lazy variants are covered, too.
    kind = type(module).__name__
    floats = "" if isinstance(module, nn.Embedding) else _dtype_of(module)
    for name, where in (
        ("in_features", "as the last dimension"),
        ("in_channels", "as dimension 1"),
    ):
        if isinstance(size := getattr(module, name, None), int):
            return f"{kind}, takes {floats}{name}={size} {where}"
    if isinstance(module, nn.Embedding):
        return f"{kind}, takes integers from 0 to {module.num_embeddings - 1}"
    return None


def _dtype_of(module: nn.Module) -> str:
    weight = getattr(module, "weight", None)
    return f"{_name(weight.dtype)}, " if isinstance(weight, Tensor) else ""


def _shapes(data: Any) -> str:
    tensors = named_tensors_in(data, "")
    if not tensors:
        return f"type {type(data).__name__}"
    return ", ".join(
        f"{path} shape {tuple(tensor.shape)} {_name(tensor.dtype)}".strip()
        for path, tensor in tensors
    )


def _moved(data: Any, device: torch.device | str | None) -> Any:
    is_there = device is None or all(one.device == _full(device) for one in tensors_in(data))
    return data if is_there else moved(data, device)
