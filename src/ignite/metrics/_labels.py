"""Predictions and targets of a classification, whatever their form: told apart, checked, and turned into labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ignite.metrics._host_arrays import array_of, arrays_of, detached, numpy

BINARY, MULTICLASS, MULTILABEL = "binary", "multiclass", "multilabel"


class Labels(NamedTuple):
    """A batch of predicted and true labels.

    B batch, C classes; further dimensions are further examples, of which there are M in all.
    """

    kind: str
    num_classes: int
    """C; 1 for binary."""
    y_pred: Tensor
    """Classes of shape (B, ...), or 0 and 1 of shape (B, ...) if binary, (B, C, ...) if multilabel."""
    y: Tensor
    """Of the same shape."""
    num_items: int
    """B."""
    num_outside: int | Tensor
    """How many targets are no class, or how many values are neither 0 nor 1. On an accelerator a tensor, so that
    nobody waits for it."""
    num_invalid: int | Tensor
    """How many targets are no whole number, and how many examples have a score that is NaN: on an accelerator a
    tensor, elsewhere 0, because they are refused."""
    arrays: tuple[Any, Any] | None = None
    """``y_pred`` and ``y`` as arrays, if they have been made."""

    @property
    def num_examples(self) -> int:
        """M."""
        return self.y.numel() // (self.num_classes if self.kind == MULTILABEL else 1)


def true_scores(scores: Tensor, targets: Tensor) -> Tensor | None:
    """The scores of the true classes, of scores (B, C) and classes (B,): shape (B, 1).

    None on the CPU if a target is no class, which is found out on the way. Elsewhere those get any
    score.
    """
    targets = (
        targets.view(-1, 1) if targets.is_cpu else targets.clamp(0, scores.shape[1] - 1).view(-1, 1)
    )
    try:
        return scores.gather(1, targets)
    except RuntimeError:
        if scores.is_cpu:
            return None
        raise


def read_labels(output: Sequence[Tensor], is_multilabel: bool = False) -> Labels:
    """The labels in ``(y_pred, y)``; of scores, the class with the highest counts.

    Raises:
        ValueError: shapes do not fit each other, or on the CPU, values are neither 0 nor 1 where
            they should be, a score is NaN, or a target no whole number.
    """
    y_pred, y = detached(output[0]), detached(output[1])
    predicted, true = y_pred.shape, y.shape
    is_usual = (
        not is_multilabel and len(predicted) == 2 and true == predicted[:1] and predicted[1] > 1
    )
    if is_usual:
        labels = _read_quickly(y_pred, y)
        if labels is not None:
            return labels
    else:
        y_pred, y = squeeze_pair(y_pred, y)
        check_shapes(y_pred, y, is_multilabel)
    if is_usual or y_pred.ndim == y.ndim + 1:
        num_classes = y_pred.shape[1]
        num_invalid: int | Tensor = 0
        if y.dtype != torch.int64:
            y, num_invalid = as_classes("y", y)
        num_outside = count_outside(y, num_classes)
        classes, num_nan = classes_of_scores(y_pred)
        num_invalid = num_invalid + num_nan
        return Labels(MULTICLASS, num_classes, classes, y, y.shape[0], num_outside, num_invalid)
    kind, num_classes = (MULTILABEL, y_pred.shape[1]) if is_multilabel else (BINARY, 1)
    num_outside = count_not_binary("y", y) + count_not_binary("y_pred", y_pred)
    return Labels(kind, num_classes, y_pred, y, y.shape[0], num_outside, 0)


def _read_quickly(scores: Tensor, y: Tensor) -> Labels | None:
    """The labels in scores (B, C) and classes (B,), on the CPU and few; None of others, or if something is wrong."""
    if (
        y.dtype is not torch.int64
        or scores.dtype not in _OF_SCORES
        or not 0 < scores.numel() <= _FEW
    ):
        return None
    arrays = arrays_of(scores, y)
    if arrays is None:
        return None
    of_scores, true = arrays
    num_items, num_classes = of_scores.shape
    if not are_classes(true, num_classes) or math.isnan(of_scores.max()):  # NaN is the maximum
        return None
    predicted = of_scores.argmax(1)
    return Labels(
        MULTICLASS, num_classes, torch.from_numpy(predicted), y, num_items, 0, 0, (predicted, true)
    )


_OF_SCORES = frozenset((torch.float32, torch.float64))


def as_classes(name: str, values: Tensor) -> tuple[Tensor, int | Tensor]:
    """Labels as int64, and how many of them are no whole numbers; on the CPU none is, others are refused.

    Raises:
        TypeError: they are complex.
        ValueError: on the CPU, one is no whole number.
    """
    if values.is_complex():
        raise TypeError(f"{name} should be labels, but given {values.dtype}")
    classes = values.long()
    if not values.is_floating_point():
        return classes, 0
    # Infinities become the largest integers, which half precision takes for infinities again.
    is_wrong = (classes != values) | values.isinf()
    if not values.is_cpu:
        return classes, is_wrong.sum()
    if is_wrong.any():
        wrong = values[is_wrong].flatten()[0].item()
        raise ValueError(
            f"{name} should be labels, whole numbers, but given {wrong}; turn scores into labels in output_transform"
        )
    return classes, 0


def classes_of_scores(scores: Tensor) -> tuple[Tensor, int | Tensor]:
    """What :func:`argmax` finds, and how many examples have a score that is NaN: :func:`count_nan_scores`."""
    classes = argmax(scores)
    return classes, count_nan_scores(scores, classes) if scores.is_floating_point() else 0


_FEW = 2**18
"""Of more scores many threads find the highest sooner."""


def count_nan_scores(scores: Tensor, classes: Tensor) -> int | Tensor:
    """How many examples have a score that is NaN, of scores (B, C, ...) and what ``argmax`` has found in them.

    Raises:
        ValueError: on the CPU, unless it is none.
    """
    if not scores.numel():
        return 0
    array = array_of(scores)
    if array is not None and not math.isnan(array.max()):  # in a third of the time of what follows
        return 0
    highest = scores.gather(1, classes.unsqueeze(1))  # where there is a NaN, it is the highest
    if not scores.is_cpu:
        return highest.isnan().sum()
    if torch.equal(highest, highest):  # NaN is not equal to itself
        return 0
    raise ValueError(
        f"y_pred should be scores, but given NaN in {int(highest.isnan().sum())} of {classes.numel()} examples"
    )


def argmax(scores: Tensor) -> Tensor:
    """The class with the highest score, of scores (B, C, ...): shape (B, ...); the first of several, or the first NaN.

    numpy, where it is there, finds it in a third of torch's time, and in a tenth for images, which
    only many threads make up for.
    """
    array = array_of(scores) if scores.is_floating_point() else None
    if array is None or (
        scores.ndim == 2 and scores.numel() > _FEW and torch.get_num_threads() > 4
    ):
        return scores.argmax(dim=1)
    return torch.from_numpy(array.argmax(1))


def squeeze_pair(y_pred: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Without the second dimension of the one that has one more, if it is 1."""
    if y_pred.ndim == y.ndim + 1 > 1 and y_pred.shape[1] == 1:
        return y_pred.squeeze(1), y
    if y.ndim == y_pred.ndim + 1 > 1 and y.shape[1] == 1:
        return y_pred, y.squeeze(1)
    return y_pred, y


def check_shapes(y_pred: Tensor, y: Tensor, is_multilabel: bool) -> None:
    """Raises ValueError if no kind of classification has tensors of such shapes."""
    predicted, true = y_pred.shape, y.shape
    if len(predicted) not in (len(true), len(true) + 1) or not true:
        message = (
            "y must have shape of (batch_size, ...) and y_pred must have shape of (batch_size, num_categories, ...) or "
            "(batch_size, ...)"
        )
    elif is_multilabel and (true != predicted or len(true) < 2 or true[1] == 1):
        message = "y and y_pred must have same shape of (batch_size, num_categories, ...) and num_categories > 1."
    elif true != predicted and (true[0] != predicted[0] or true[1:] != predicted[2:]):
        message = "y and y_pred must have compatible shapes."
    else:
        return
    raise ValueError(
        f"{message}, but given y_pred of shape {tuple(predicted)} and y of shape {tuple(true)}"
    )


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Their quotient; 0 where the denominator is."""
    is_zero = denominator == 0
    return torch.where(
        is_zero, torch.zeros_like(numerator), numerator / torch.where(is_zero, 1, denominator)
    )


def are_classes(labels: Any, num_classes: int) -> bool:
    """Whether all of an array of int64, not empty, are in [0, num_classes)."""
    # One pass instead of two: without their sign, negative numbers are huge.
    return bool(labels.view(numpy.uint64).max() < num_classes)


def count_outside(y: Tensor, num_classes: int) -> int | Tensor:
    """How many targets are not in [0, num_classes)."""
    if not y.is_cpu:
        return ((y < 0) | (y >= num_classes)).sum()
    if y.numel() == 0:
        return 0
    array = array_of(y) if y.dtype == torch.int64 else None
    if array is not None and are_classes(array, num_classes):
        return 0
    low, high = torch.aminmax(y)
    if low.item() >= 0 and high.item() < num_classes:
        return 0
    return int(((y < 0) | (y >= num_classes)).sum())


def outside_message(num_classes: int, num_outside: int) -> str:
    """What is wrong with targets that are no class."""
    return (
        "y_pred contains fewer classes than y. Targets should be class indices from 0 to "
        f"{num_classes - 1}, but {num_outside} of those given are not; leave out what does not count in "
        "output_transform, such as Accuracy.get_sequence_transform(ignore_index=-100)"
    )


def invalid_message(num_invalid: int) -> str:
    """What is wrong with outputs that are found to be no labels when nobody can say which."""
    return f"y_pred should be scores and y labels, but {num_invalid} of those given are NaN or no whole number"


def count_not_binary(name: str, values: Tensor) -> int | Tensor:
    """How many values are neither 0 nor 1; on the CPU, raises ValueError unless it is none."""
    if values.dtype == torch.bool or values.numel() == 0:
        return 0
    if not values.is_cpu:
        return ((values != 0) & (values != 1)).sum()
    if is_binary(values):
        return 0
    wrong = values[(values != 0) & (values != 1)].flatten()[0].item()
    advice = "turn scores into 0 and 1" if name == "y_pred" else "leave out what does not count"
    raise ValueError(
        f"For binary cases, {name} must be comprised of 0's and 1's., but given {wrong}; {advice} in output_transform"
    )


def is_binary(values: Tensor) -> bool:
    """Whether all values, on the CPU, are 0 or 1."""
    array = array_of(values) if values.numel() and not values.is_floating_point() else None
    if array is not None:
        return bool(
            array.view(f"u{array.itemsize}").max() <= 1
        )  # negative ones are huge without their sign
    if not torch.equal(values, values * values):  # NaN is not equal to itself
        return False
    if not values.is_floating_point() or math.isfinite(values.sum().item()):
        return True
    return not bool(values.isinf().any())  # which its square equals; the sum may have overflown
