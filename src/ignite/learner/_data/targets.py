"""Checks of the targets and outputs that the losses of PyTorch take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ignite._core.trees import map_leaves
from ignite.learner._data.inspection import Finding, last_operation, out_of_range, tensors_in
from ignite.learner._data.schema import KnownLoss

__all__ = [
    "check_fit",
    "check_numbers",
    "hard_labels",
    "one_row",
    "same_shape",
    "without_ignored",
]

_SUM_TOLERANCE = 1e-4
_INDEX_DTYPES = (torch.int64, torch.uint8)  # supported by the kernels of these losses


def same_shape(y_pred: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Reshapes targets like the predictions if they differ only in dimensions of size one.

    The dimension of samples is never added or removed.

    Example:
        >>> same_shape(torch.zeros(3, 1), torch.ones(3))[1].shape
        torch.Size([3, 1])
        >>> same_shape(torch.zeros(2, 8, 3), torch.ones(2, 3, 8))[1].shape
        torch.Size([2, 3, 8])
    """
    if y_pred.shape == y.shape:
        return y_pred, y
    is_same_number = y_pred.shape[:1] == y.shape[:1] or y_pred.numel() == y.numel() == 1
    if is_same_number and _without_ones(y_pred) == _without_ones(y):
        return y_pred, y.reshape(y_pred.shape)
    return y_pred, y


def _without_ones(tensor: Tensor) -> list[int]:
    return [size for size in tensor.shape if size != 1]


def one_row(y_pred: Any, num_samples: int) -> Any:
    """Restores the dimension of samples if the model has squeezed the output for one sample.

    Args:
        y_pred: a tensor, or a tuple, list or dictionary of them.
        num_samples: number of samples in the input; outputs for more are returned unchanged.

    Example:
        >>> one_row(torch.tensor(2.0), 1), one_row(torch.zeros(5), 1).shape, one_row(torch.zeros(1, 5), 1).shape
        (tensor([2.]), torch.Size([1, 5]), torch.Size([1, 5]))
    """
    if num_samples != 1:
        return y_pred
    if isinstance(y_pred, Tensor):
        return y_pred if y_pred.ndim and len(y_pred) == 1 else y_pred.unsqueeze(0)
    return (
        map_leaves(y_pred, Tensor, lambda leaf: one_row(leaf, 1)) if tensors_in(y_pred) else y_pred
    )


def hard_labels(y: Tensor, y_pred: Tensor | None = None) -> Tensor:
    """Converts targets that may be probabilities to class indices, or to 0 and 1; 0.5 becomes 0.

    Args:
        y: class indices, or class probabilities, shape (N, C, ...); without ``y_pred``, values from
            0 to 1.
        y_pred: class scores, shape (N, C, ...).

    Example:
        >>> hard_labels(torch.tensor([[0.05, 0.95]]), torch.zeros(1, 2)), hard_labels(torch.tensor([0.9, 0.2]))
        (tensor([1]), tensor([1, 0]))
    """
    if not y.is_floating_point():
        return y
    if y_pred is None:
        return y.round().long()
    return y.argmax(1) if y.ndim > 1 and y.shape == y_pred.shape else y


def without_ignored(y_pred: Tensor, y: Tensor, ignored: int) -> tuple[Tensor, Tensor]:
    """Selects the scores, shape (M, C), and class indices, shape (M,), of targets not ``ignored``.

    Args:
        y_pred: scores, shape (N, C, ...).
        y: class indices, shape (N, ...).
        ignored: the class index to ignore.
    """
    scores, labels = y_pred.movedim(1, -1).reshape(-1, y_pred.shape[1]), y.reshape(-1)
    counts = labels != ignored
    return scores[counts], labels[counts]


def check_fit(loss: KnownLoss, output: Tensor, y: Tensor, all_y: Tensor) -> Iterator[str]:
    """Checks outputs and targets against what a loss takes.

    Yields warnings about probable mistakes.

    Args:
        loss: the loss.
        output: output of the model for some samples.
        y: targets of these samples.
        all_y: all targets that can be inspected.

    Raises:
        TypeError: the loss takes integers and is given floats, or vice versa.
        ValueError: shapes do not match; values are out of range; the loss takes logits and is given
            probabilities, or vice versa.
    """
    if loss.name in ("cross_entropy", "nll"):
        if (
            y.is_floating_point()
            and loss.name == "cross_entropy"
            and y.shape == output.shape
            and y.ndim > 1
        ):
            yield from _check_soft(all_y)
        else:
            _check_indices(loss, output, y)
            _check_range_of_indices(loss, output.shape[1], all_y)
        yield from (
            _check_logits(output)
            if loss.name == "cross_entropy"
            else _check_log_probabilities(output)
        )
    elif loss.name in ("bce", "bce_with_logits", "difference"):
        check_numbers(loss.name, output, y)
        if loss.name == "bce_with_logits":
            yield from _check_binary_logits(output)
        if loss.name == "bce":
            _check_probabilities(output)
        if loss.name != "difference" and (finding := out_of_range(all_y, 0, 1)):
            raise ValueError(
                f"y should be from 0 to 1 for {loss.name}, but given {finding.describe()}: for "
                "more than two classes, use cross_entropy"
            )


def _check_indices(loss: KnownLoss, output: Tensor, y: Tensor) -> None:
    given = f"{_of(y)} for an output of shape {tuple(output.shape)}"
    if y.dtype not in _INDEX_DTYPES:
        hint = (
            "y.argmax(1), if it is one-hot"
            if y.shape == output.shape and y.ndim > 1
            else "y.long()"
        )
        raise TypeError(
            f"y should be class indices, int64, for {loss.name}, but given {given}: use {hint}"
        )
    if output.ndim < 2:
        raise ValueError(
            "The model's output should have shape (N, C), a score for each class, for "
            f"{loss.name}, but given {tuple(output.shape)}: let the last layer have C outputs, or "
            "use bce_with_logits for two classes"
        )
    if output.shape[1] == 1:
        raise ValueError(
            f"The model's output should have at least 2 classes for {loss.name}, which is 0 for "
            f"just one, but given {tuple(output.shape)}: let the last layer have 2 outputs, or use "
            "bce_with_logits"
        )
    expected = output.shape[:1] + output.shape[2:]
    if y.shape != expected:
        raise ValueError(
            f"y should have shape {tuple(expected)} for {loss.name}, but given {given}"
            f"{_hint_for_shape(output, y)}"
        )
    weight = loss.options.get("weight")
    if isinstance(weight, Tensor) and weight.numel() != output.shape[1]:
        raise ValueError(
            f"The loss's weight should have {output.shape[1]} values, one for each class of the "
            f"model's output, but given {weight.numel()}"
        )


def _hint_for_shape(output: Tensor, y: Tensor) -> str:
    if y.shape == output.shape:
        return ": y looks one-hot, use y.argmax(1)"
    if y.ndim == 2 and y.shape[1] == 1 and output.shape[:1] + output.shape[2:] == y.shape[:1]:
        return ": use y.squeeze(1)"
    if output.ndim == 3 and y.shape == output.shape[:2]:
        return ": classes are dimension 1 of the output, use output.transpose(1, 2)"
    return ""


def _check_range_of_indices(loss: KnownLoss, num_classes: int, all_y: Tensor) -> None:
    ignored = loss.options.get("ignore_index", -100)  # torch's default
    finding: Finding | None = out_of_range(all_y, 0, num_classes - 1, ignored)
    if finding is None:
        return
    kept = all_y[all_y != ignored]
    low, high = int(kept.min()), int(kept.max())
    hint = f"let the last layer have {high + 1} outputs"
    if low == 1 and high == num_classes:
        hint = "classes start at 0, use y - 1"
    elif low >= 0 and len(kept.unique()) <= num_classes:
        hint = "number the classes from 0, as numpy.unique(y, return_inverse=True)[1] does"
    elif low < 0:
        hint = "number the classes from 0, or pass this value to the loss as ignore_index"
    raise ValueError(
        f"y should be class indices from 0 to {num_classes - 1}, because the model's output has "
        f"{num_classes} classes, but given {finding.describe()} (the range is {low} to {high}): "
        f"{hint}"
    )


def _check_soft(all_y: Tensor) -> Iterator[str]:
    sums = all_y.sum(1)
    if bool((all_y < 0).any()) or not bool((sums - 1).abs().max() < _SUM_TOLERANCE):
        yield (
            "y has the shape of the output, so cross_entropy takes it as class probabilities, but "
            f"its rows do not sum to 1 (the first to {sums.flatten()[0].item():g})"
        )


def _check_logits(output: Tensor) -> Iterator[str]:
    operation = last_operation(output)
    if operation == "Softmax" or _is_distribution(output):
        raise ValueError(
            "The model's output should be logits for cross_entropy, which applies the softmax "
            "itself, but given probabilities (each row sums to 1): remove the softmax at the end "
            "of the model"
        )
    if operation == "Sigmoid":
        yield (
            "The model ends with a sigmoid, but cross_entropy takes logits, and can hardly "
            "separate classes by values between 0 and 1. Remove the sigmoid, or use bce for "
            "several labels"
        )


def _check_log_probabilities(output: Tensor) -> Iterator[str]:
    operation = last_operation(output)
    what = None
    if operation == "Softmax" or _is_distribution(output):
        what = "probabilities: use log_softmax instead of softmax at the end of the model"
    elif bool((output > 1e-5).any()):
        what = f"values up to {output.max().item():g}: end the model with log_softmax, or use cross_entropy for logits"
    if what is not None:
        raise ValueError(
            f"The model's output should be log-probabilities, at most 0, for nll, but given {what}"
        )
    if operation != "LogSoftmax" and not _is_distribution(output.exp()):
        yield "nll takes log-probabilities, but exp of the output's rows does not sum to 1: is a log_softmax missing?"


def _check_binary_logits(output: Tensor) -> Iterator[str]:
    operation = last_operation(output)
    if operation in ("Sigmoid", "Softmax"):
        raise ValueError(
            "The model's output should be logits for bce_with_logits, which applies the sigmoid "
            f"itself, but given the output of a {operation.lower()}: remove it at the end of the "
            "model"
        )
    if operation is None and bool(((output > 0) & (output < 1)).all()):
        yield "bce_with_logits takes logits, but all outputs are between 0 and 1: is there a sigmoid in the model?"


def _check_probabilities(output: Tensor) -> None:
    if finding := out_of_range(output, 0, 1):
        raise ValueError(
            "The model's output should be probabilities from 0 to 1 for bce, but given "
            f"{finding.describe()}: end the model with a sigmoid, or, better, use bce_with_logits"
        )


def check_numbers(name: str, output: Tensor, y: Tensor) -> None:
    """Raises an error, with a hint, unless the targets are floats in the shape of the output."""
    loss = "a loss of differences, such as mse" if name == "difference" else name
    if not (y.is_floating_point() or y.is_complex()):
        raise TypeError(f"y should be floats for {loss}, but given {_of(y)}: use y.float()")
    if y.shape == output.shape:
        return
    hint = ""
    if y.ndim == 1 and tuple(output.shape) == (len(y), 1):
        hint = ": use y.unsqueeze(1), or output.squeeze(1) in the model, to avoid broadcasting"
    elif output.ndim == 1 and tuple(y.shape) == (len(output), 1):
        hint = ": use y.squeeze(1), to avoid broadcasting"
    elif sorted(y.shape) == sorted(output.shape):
        hint = ": the dimensions are in another order, use y.permute"
    elif y.ndim == 1 and output.ndim == 2 and len(y) == len(output):
        hint = f": if y is one of {output.shape[1]} classes, use cross_entropy; else let the last layer have 1 output"
    raise ValueError(
        f"y should have the shape of the model's output, {tuple(output.shape)}, for {loss}, "
        f"but given {tuple(y.shape)}{hint}"
    )


def _is_distribution(output: Tensor) -> bool:
    if output.ndim < 2 or output.shape[1] < 2 or not output.is_floating_point():
        return False
    sums = output.detach().float().sum(1)
    return bool((output >= 0).all()) and bool(((sums - 1).abs() < _SUM_TOLERANCE).all())


def _of(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
