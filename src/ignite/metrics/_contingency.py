"""Contingency tables of predicted and true labels, from samples or from batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ignite.metrics._output_arrays import (
    array_of,
    arrays_of,
    as_classes,
    count_nan_scores,
    count_outside,
    largest,
    numpy,
    smallest,
)
from ignite.metrics.statistics import Reading

IGNORED = -100
"""The target that losses of PyTorch ignore by default. It is not a label."""


def cross_table(y_pred: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the contingency table of all labels that occur, and these labels.

    True labels ``y`` (N,) are in rows, predicted ones ``y_pred`` (N,) in columns.
    """
    if not len(y):
        return y.new_zeros(0, 0), y
    low, high = _bounds(y_pred, y)
    num_labels = high - low + 1
    if num_labels <= _MAX_LABELS_IN_TABLE or num_labels**2 <= len(y):
        table = _table(y_pred - low, y - low, num_labels)
        occurs = table.sum(dim=0) + table.sum(dim=1)
        (found,) = torch.nonzero(occurs, as_tuple=True)
        table = table if len(found) == num_labels else table[found][:, found]
        return table, found + low
    labels, indices = torch.unique(torch.cat([y, y_pred]), return_inverse=True)
    true, predicted = indices.split([len(y), len(y_pred)])
    return _table(predicted, true, len(labels)), labels


def _bounds(y_pred: Tensor, y: Tensor) -> tuple[int, int]:
    """Returns the smallest and the largest label."""
    arrays = arrays_of(y_pred, y)
    if arrays is not None:
        return min(map(smallest, arrays)), max(map(largest, arrays))
    low, high = torch.stack([*y.aminmax(), *y_pred.aminmax()]).aminmax()
    return int(low), int(high)


_MAX_LABELS_IN_TABLE = 256
"""For a larger range of labels, a table of the whole range is too large for few examples."""


def check_labels(reading: Reading, y_pred: Tensor, y: Tensor, name: str) -> None:
    """Raises ValueError if predictions or targets, on the CPU, are not labels."""
    together = reading.copies_of(y_pred, y).together  # the statistic needs the copies anyway
    if together is not None and _are_natural(together):
        return
    for values, which in ((y_pred, "y_pred"), (y, "y")):
        if not _are_natural(values):
            as_labels(values.detach(), which, name)


def _are_natural(values: Tensor) -> bool:
    """Returns whether values (M,) are integers of at least 0; may be False if numpy is missing."""
    array = array_of(values) if values.ndim == 1 and not values.is_floating_point() else None
    return array is not None and bool(array.size) and bool(smallest(array) >= 0)


def labels_of_samples(y_pred: Tensor, y: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Returns predicted and true labels (N,) of all samples.

    Raises:
        ValueError: some are not labels. ``update`` does not wait for an accelerator to find out.
    """
    if y.dtype is torch.int64 is y_pred.dtype and _are_natural(y_pred) and _are_natural(y):
        return y_pred, y
    (predicted, num_wrong_predictions), (true, num_wrong) = (
        as_labels(y_pred, "y_pred", name),
        as_labels(y, "y", name),
    )
    num_wrong = int(num_wrong + num_wrong_predictions)
    if num_wrong:
        raise ValueError(
            f"In {name}, y_pred and y should be labels, but {num_wrong} of those given are not"
        )
    return predicted, true


def count_labels(
    output: Sequence[Tensor], num_classes: int, name: str
) -> tuple[int, Tensor, Tensor | int]:
    """Returns the number of examples, their table, and the number of labels out of range.

    ``output`` is ``(y_pred, y)``, each of shape (B,) or (B, 1). Scores of shape (B, C) give the
    class with the highest score.

    Raises:
        ValueError: the shapes are others, or on the CPU, a label is out of range.
    """
    (y_pred, num_wrong_predictions), (y, num_wrong) = (
        as_labels(values.detach(), which, name)
        for values, which in zip(output, ("y_pred", "y"), strict=True)
    )
    if y_pred.shape != y.shape:
        raise ValueError(
            f"y_pred and y should have the same number of labels, but given {len(y_pred)} and {len(y)}"
        )
    num_outside = count_outside(y_pred, num_classes) + count_outside(y, num_classes)
    if y.is_cpu and not num_outside:
        return len(y), _table(y_pred, y, num_classes), 0
    num_outside = num_outside + num_wrong_predictions + num_wrong
    if isinstance(num_outside, int) and num_outside:
        raise ValueError(outside_message(num_classes, num_outside))
    is_inside = ((y_pred >= 0) & (y_pred < num_classes) & (y >= 0) & (y < num_classes)).long()
    table = torch.zeros(num_classes * num_classes, dtype=torch.int64, device=y.device)
    table.index_add_(
        0, (y.clamp(0, num_classes - 1) * num_classes + y_pred.clamp(0, num_classes - 1)), is_inside
    )
    return len(y), table.view(num_classes, num_classes), torch.as_tensor(num_outside)


def as_labels(values: Tensor, which: str, name: str) -> tuple[Tensor, int | Tensor]:
    """Returns labels (B,) from labels (B,) or (B, 1), or from scores or one-hot vectors (B, C).

    Also returns the number of invalid labels on an accelerator.

    Raises:
        ValueError: the shape is another one. On the CPU also if a label is not a whole number or is
            -100, or a score is NaN.
    """
    if values.ndim == 2 and values.shape[1] != 1:
        classes = values.argmax(dim=1)
        return classes, count_nan_scores(values, classes) if values.is_floating_point() else 0
    values = values.squeeze(1) if values.ndim == 2 else values
    if values.ndim != 1:
        raise ValueError(
            f"In {name}, {which} should be of shape (batch_size,), but given {tuple(values.shape)}"
        )
    labels, num_wrong = as_classes(which, values)
    array = array_of(labels)
    if array is not None and (not array.size or smallest(array) >= 0):
        return labels, num_wrong
    if not labels.is_cpu:
        return labels, num_wrong + (labels == IGNORED).sum()
    if (labels == IGNORED).any():
        raise ValueError(
            f"In {name}, {which} should be labels, but given {IGNORED}, which losses ignore; remove ignored targets "
            f"in output_transform, for example with Accuracy.get_sequence_transform(ignore_index={IGNORED})"
        )
    return labels, num_wrong


def outside_message(num_classes: int | None, num_outside: int) -> str:
    """Returns the error message for labels that are out of range."""
    return f"Labels should be from 0 to {(num_classes or 0) - 1}, but {num_outside} of those given are not"


def _table(predicted: Tensor, true: Tensor, num_labels: int) -> Tensor:
    pairs = torch.add(predicted, true, alpha=num_labels)
    array = array_of(pairs)
    if array is None:
        counts = torch.bincount(pairs, minlength=num_labels * num_labels)
    else:  # takes half the time of torch
        counts = torch.from_numpy(numpy.bincount(array, minlength=num_labels * num_labels))
    return counts.view(num_labels, num_labels)
