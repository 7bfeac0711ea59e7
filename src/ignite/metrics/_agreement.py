"""Labels against labels: a matrix of how often which goes with which, from all of them or in a given range."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ignite.metrics._labels import count_outside


def cross_table(y_pred: Tensor, y: Tensor) -> Tensor:
    """How often each label of ``y`` (N,), in rows, goes with each of ``y_pred`` (N,), in columns; labels in order."""
    labels, indices = torch.unique(torch.cat([y, y_pred]), return_inverse=True)
    true, predicted = indices.split([len(y), len(y_pred)])
    return _table(predicted, true, len(labels))


def count_labels(output: Sequence[Tensor], num_classes: int, name: str) -> tuple[int, Tensor, Tensor]:
    """Number of examples, their table, and how many labels are not in [0, num_classes), of ``(y_pred, y)``.

    Both of shape (B,) or (B, 1). For scores of shape (B, C), the class with the highest counts.

    Raises:
        ValueError: shapes are others, or on the CPU, a label is not in the range.
    """
    y_pred, y = (as_labels(values.detach(), which, name) for values, which in zip(output, ("y_pred", "y"), strict=True))
    if y_pred.shape != y.shape:
        raise ValueError(f"y_pred and y should have the same number of labels, but given {len(y_pred)} and {len(y)}")
    num_outside = count_outside(y_pred, num_classes) + count_outside(y, num_classes)
    if isinstance(num_outside, int) and num_outside:
        raise ValueError(outside_message(num_classes, num_outside))
    is_inside = ((y_pred >= 0) & (y_pred < num_classes) & (y >= 0) & (y < num_classes)).long()
    table = torch.zeros(num_classes * num_classes, dtype=torch.int64, device=y.device)
    table.index_add_(0, (y.clamp(0, num_classes - 1) * num_classes + y_pred.clamp(0, num_classes - 1)), is_inside)
    return len(y), table.view(num_classes, num_classes), torch.as_tensor(num_outside)


def as_labels(values: Tensor, which: str, name: str) -> Tensor:
    """Labels of shape (B,), of labels (B,) or (B, 1), or of scores or one-hot vectors (B, C)."""
    if values.ndim == 2:
        values = values.squeeze(1) if values.shape[1] == 1 else values.argmax(dim=1)
    if values.ndim != 1:
        raise ValueError(f"In {name}, {which} should be of shape (batch_size,), but given {tuple(values.shape)}")
    return values.long()


def outside_message(num_classes: int | None, num_outside: int) -> str:
    """What is wrong with labels that are out of range."""
    return f"Labels should be from 0 to {(num_classes or 0) - 1}, but {num_outside} of those given are not"


def _table(predicted: Tensor, true: Tensor, num_labels: int) -> Tensor:
    counts = torch.bincount(true * num_labels + predicted, minlength=num_labels * num_labels)
    return counts.view(num_labels, num_labels)
