"""Finds mistakes before the first step; messages say what was given and how to fix it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ignite._core.tensors import convert_tensor
from ignite.data.arrays import named_tensors
from ignite.learner._data.in_memory import Parts
from ignite.learner._data.schema import Task
from ignite.learner._data.sources import Loader
from ignite.learner._data.targets import KnownLoss, check_fit, known_loss
from ignite.learner._data.trial import (
    Finding,
    call_model,
    few_rows,
    is_finite,
    kept,
    not_finite,
    num_samples_in,
    tensors_in,
    trial,
)
from ignite.learner._data.weighting import check_sample_weight

__all__ = ["check_before_training"]

_NUM_ROWS = 8
_SINGLE = (
    "The last batch has one sample, which BatchNorm cannot train on: give drop_last=True, to fit or to the DataLoader, "
    "or another batch_size"
)


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
    """Looks for mistakes in data, model and loss, and leaves no trace.

    Data in memory are looked at as a whole, one pass over floats and targets; of others, the first
    batch. The model runs on 8 samples. Only what is certainly wrong is refused, little of it for
    losses of the user's own.

    Args:
        model: neither wrapped nor compiled.
        loss: called with output and targets.
        task: from :func:`~ignite.learner._data.schema.infer_task`.
        loader: from :func:`~ignite.learner._data.sources.as_loader`.
        device: where batches will be moved to; None if they stay where they are.
        call: gives the output for ``(model, x)``.
        fitted: ``fitted(output, y)`` gives the targets as the loss will be given them; by default
            as they are.
        is_training: whether the data are to be trained on: the model runs as it does in training,
            also on as few samples as the last batch has.

    Returns:
        What is probably wrong: sentences for the user.

    Raises:
        TypeError: a dtype is wrong.
        ValueError: anything else is certainly wrong. What model and loss raise comes as it is, with
            a note.
    """
    first = loader.first()
    if first is None:
        return ["The data can be gone over only once, so they were not checked"]
    if first.y is None:
        raise ValueError(
            "data should have targets, but given x alone: write fit((x, y)), or fit(table, target='name')"
        )
    _check_model(model, first.x, device)
    whole = loader.whole or first
    check_sample_weight(first.w, first.y)
    known = known_loss(loss)
    if known is not None:
        _check_batch(first.y, known)
    warnings: list[str] = []
    x, y = few_rows(_moved((first.x, first.y), device), slice(_NUM_ROWS))
    with _told(model, x):
        output = trial(model, call, x, is_training)
    if is_training:
        _check_single(model, call, _moved(first.x, device), loader)
    if known is not None:
        _check_output(output, known, model)
    _check_trainable(model, output)
    y = y if fitted is None else fitted(output, y)

    def is_survived(rows: Any) -> bool:
        return all(
            is_finite(tensor)
            for tensor in tensors_in(trial(model, call, few_rows(_moved(whole.x, device), rows)))
        )

    warnings += _check_finite(whole, is_survived, loader.known.features, is_known=known is not None)
    if all(is_finite(tensor) for tensor in tensors_in(x)) and not all(
        is_finite(t) for t in tensors_in(output)
    ):
        warnings.append("The model's output has values that are not finite, though x has none")
    if (
        known is not None
        and isinstance(output, Tensor)
        and isinstance(y, Tensor)
        and isinstance(whole.y, Tensor)
    ):
        warnings += check_fit(known, output, y, whole.y)
    elif isinstance(output, Tensor) and isinstance(y, Tensor):
        warnings += _check_broadcast(output, y)
    return warnings + list(_try_loss(loss, output, y))


def _check_model(model: nn.Module, x: Any, device: torch.device | str | None) -> None:
    parameters = [(n, p) for n, p in model.named_parameters() if not nn.parameter.is_lazy(p)]
    devices = {parameter.device for _, parameter in parameters}
    expected = [tensor.device for tensor in tensors_in(x)] if device is None else [_full(device)]
    on = next(iter(devices), None)
    for other in (
        expected if len(devices) == 1 else ()
    ):  # a model on several devices moves its inputs itself
        if other != on:
            what = "x" if device is None else "device"
            raise ValueError(
                f"model and {what} should be in one place, but the model is on {on}, {what} is {other}"
            )
    strange = [name for name, parameter in parameters if not is_finite(parameter)]
    if strange:
        raise ValueError(
            f"The model's parameters should be finite, but given NaN or infinity in {', '.join(strange)}"
        )


def _full(device: torch.device | str) -> torch.device:
    """With its index: ``cuda`` means the current one."""
    return torch.empty(0, device=device).device


def _check_batch(y: Any, known: KnownLoss) -> None:
    is_single = isinstance(y, int | float) or (isinstance(y, Tensor) and y.ndim == 0)
    if is_single:
        raise ValueError(
            f"y of a batch should have a dimension of samples for {known.name}, but given a single number: if these "
            "are samples, write DataLoader(data, batch_size=32)"
        )
    if y is not None and not isinstance(y, Tensor) and hasattr(y, "__array__"):
        raise TypeError(
            f"Batches should hold tensors, but y is a {type(y).__name__}: use torch.from_numpy, or write fit((x, y)) "
            "of whole arrays"
        )


def _check_output(output: Any, known: KnownLoss, model: nn.Module) -> None:
    if isinstance(output, Tensor):
        return
    parts = (
        list(output)
        if isinstance(output, Mapping)
        else [one for one in ("logits",) if hasattr(output, one)]
    )
    what = (
        f"a {type(output).__name__}"
        if output is not None
        else "None: is there a return in forward?"
    )
    hint = ""
    if parts:
        part = "logits" if "logits" in parts else parts[0]
        take = f"[{part!r}]" if type(output) is dict else f".{part}"
        hint = f": let its forward return {take} alone, or write loss=lambda output, y: loss_fn(output{take}, y)"
    elif isinstance(output, tuple | list):
        hint = ": let its forward return one of them, or write loss=lambda output, y: loss_fn(output[0], y)"
    raise TypeError(f"The model should return a tensor for {known.name}, but returns {what}{hint}")


def _check_broadcast(output: Tensor, y: Tensor) -> Iterator[str]:
    """A loss of the user's own may pair each output with each target without meaning it."""
    shapes = {tuple(output.shape), tuple(y.shape)}
    if len(output) > 1 and shapes == {(len(output),), (len(output), 1)}:
        yield (
            f"The loss is given an output of shape {tuple(output.shape)} and y of {tuple(y.shape)}: if it subtracts "
            "them, each output meets each target"
        )


def _check_finite(
    whole: Parts, is_survived: Callable[[Any], bool], features: tuple[Any, ...], is_known: bool
) -> Iterator[str]:
    for name, finding in _not_finite_in(whole.x, "x"):
        told = f"{name} should be finite, but given {finding.describe(features)}"
        if not is_survived([finding.row]):
            raise ValueError(f"{told}: leave these samples out, or fill the gaps in")
        yield f"{told}. The model's output is finite all the same"
    for name, finding in _not_finite_in(whole.y, "y"):
        told = f"{name} should be finite, but given {finding.describe()}"
        if is_known:
            raise ValueError(f"{told}: leave these samples out")
        yield f"{told}. Does your loss mask them?"


def _not_finite_in(data: Any, name: str) -> Iterator[tuple[str, Finding]]:
    if tensors_in(data):
        for path, tensor in named_tensors(data, name):
            if finding := not_finite(tensor):
                yield path, finding


def _check_single(
    model: nn.Module, call: Callable[[Any, Any], Any], x: Any, loader: Loader
) -> None:
    """A batch of one sample cannot be normalised over the batch."""
    if loader.smallest_batch != 1 or num_samples_in(x) is None:
        return
    row = few_rows(x, slice(1))
    if num_samples_in(row) != 1:
        return
    try:
        trial(model, call, row, is_training=True)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            return  # it is no matter of one sample alone
        raise ValueError(_SINGLE) from error


def _check_trainable(model: nn.Module, output: Any) -> None:
    parameters = list(model.parameters())
    if not any(parameter.requires_grad for parameter in parameters):
        raise ValueError(
            f"model should have a parameter to train, but none of its {len(parameters)} requires a gradient"
        )
    tensors = tensors_in(output)
    if tensors and not any(tensor.requires_grad for tensor in tensors):
        raise ValueError(
            "The model's output should depend on its parameters, but given one without gradient: is there a detach, "
            "argmax or no_grad in the model?"
        )


def _try_loss(loss: Callable[[Any, Any], Any], output: Any, y: Any) -> Iterator[str]:
    with kept(*([loss] if isinstance(loss, nn.Module) else [])), torch.enable_grad():
        try:
            value = loss(output, y)
            if (
                isinstance(value, Tensor)
                and value.requires_grad
                and isinstance(output, Tensor)
                and output.requires_grad
            ):
                # To the output only: no parameter gets a gradient.
                torch.autograd.grad(value.sum(), output, allow_unused=True)
        except Exception as error:
            error.add_note(f"in the check before the first step: the loss was given an output of {_shapes(output)} "
                           f"and y of {_shapes(y)}")  # fmt: skip
            raise
    if not isinstance(value, Tensor):
        raise TypeError(
            f"loss(y_pred, y) should return a tensor of one element, but given {_short(value)}"
        )
    if value.numel() != 1:
        raise ValueError(
            f"loss(y_pred, y) should return a tensor of one element, but given shape {tuple(value.shape)}: take the "
            "mean, as reduction='mean' does"
        )
    if not value.requires_grad:
        raise ValueError(
            "The loss should depend on the model's output, but given a value without gradient"
        )
    if not is_finite(value) and all(
        is_finite(tensor) for tensor in [*tensors_in(output), *tensors_in(y)]
    ):
        yield f"The loss is {value.detach().sum().item()} for the first samples, though output and targets are finite"


@contextlib.contextmanager
def _told(model: nn.Module, x: Any) -> Iterator[None]:
    """Says more about what the model raises."""
    try:
        yield
    except Exception as error:
        if (known := _known_cause(model, x, error)) is not None:
            raise known from error
        error.add_note(f"in the check before the first step: the model was given x of {_shapes(x)}")
        layer = next((told for told in map(_expectation, model.modules()) if told), None)
        if layer is not None:
            error.add_note(f"its first layer, {layer}")
        raise


def _known_cause(model: nn.Module, x: Any, error: Exception) -> Exception | None:
    """Returns an error with the fix for a common mistake; None for other errors."""
    if "more than 1 value per channel" in str(error):
        return ValueError(_SINGLE)
    if hasattr(x, "__array__") and not isinstance(x, Tensor):
        return TypeError(
            f"Batches should hold tensors, but x is a {type(x).__name__}: use torch.from_numpy, or write fit((x, y)) "
            "of whole arrays"
        )
    layers = list(model.modules())
    dtypes = {
        parameter.dtype for parameter in model.parameters() if not nn.parameter.is_lazy(parameter)
    }
    if (
        not isinstance(x, Tensor)
        or len(dtypes) != 1
        or any(isinstance(layer, nn.Embedding) for layer in layers)
    ):
        return None
    dtype = dtypes.pop()
    if x.dtype != dtype and "type" in str(error):
        to = "x.float()" if dtype == torch.float32 else f"x.to({dtype})"
        scale = " / 255, if these are pixels" if x.dtype == torch.uint8 else ""
        return TypeError(
            f"x should be {_name(dtype)}, as the model is, but given {_name(x.dtype)}: use {to}{scale}"
        )
    first = next(
        (
            layer
            for layer in layers
            if hasattr(layer, "in_channels") or hasattr(layer, "in_features")
        ),
        None,
    )
    channels = getattr(first, "in_channels", None)
    if channels is not None and x.ndim >= 3 and x.shape[1] != channels == x.shape[-1]:
        order = [0, x.ndim - 1, *range(1, x.ndim - 1)]
        return ValueError(
            f"x should have its {channels} channels as dimension 1, but given shape {tuple(x.shape)}: use "
            f"x.permute({', '.join(map(str, order))}), or numpy's transpose"
        )
    if channels is not None and x.ndim == 3 and channels == 1 and isinstance(first, nn.Conv2d):
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
    # By attributes, so that quantised and lazy relatives are understood as well.
    kind, floats = (
        type(module).__name__,
        "" if isinstance(module, nn.Embedding) else _dtype_of(module),
    )
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
    return f"{str(weight.dtype).removeprefix('torch.')}, " if isinstance(weight, Tensor) else ""


def _shapes(data: Any) -> str:
    if not tensors_in(data):
        return f"type {type(data).__name__}"
    named = [(path, tensor) for path, tensor in named_tensors(data, "")]
    return ", ".join(
        f"{path} shape {tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}".strip()
        for path, t in named
    )


def _moved(data: Any, device: torch.device | str | None) -> Any:
    return data if device is None or not tensors_in(data) else convert_tensor(data, device)
