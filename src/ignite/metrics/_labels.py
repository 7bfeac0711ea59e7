"""Predictions and targets of a classification, whatever their form: told apart, checked, and turned into labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

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

    @property
    def num_examples(self) -> int:
        """M."""
        return self.y.numel() // (self.num_classes if self.kind == MULTILABEL else 1)


def read_labels(output: Sequence[Tensor], is_multilabel: bool = False) -> Labels:
    """The labels in ``(y_pred, y)``; of scores, the class with the highest counts.

    Raises:
        ValueError: shapes do not fit each other, or on the CPU, values are neither 0 nor 1 where they should be.
    """
    y_pred, y = squeeze_pair(output[0].detach(), output[1].detach())
    check_shapes(y_pred, y, is_multilabel)
    if y_pred.ndim == y.ndim + 1:
        num_classes = y_pred.shape[1]
        y = y if y.dtype == torch.int64 else y.long()
        return Labels(MULTICLASS, num_classes, argmax(y_pred), y, len(y), count_outside(y, num_classes))
    kind, num_classes = (MULTILABEL, y_pred.shape[1]) if is_multilabel else (BINARY, 1)
    num_outside = count_not_binary("y", y) + count_not_binary("y_pred", y_pred)
    return Labels(kind, num_classes, y_pred, y, len(y), num_outside)


def argmax(scores: Tensor) -> Tensor:
    """The class with the highest score, of scores (B, C, ...): shape (B, ...)."""
    return scores.argmax(dim=1)


def squeeze_pair(y_pred: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Without the second dimension of the one that has one more, if it is 1."""
    if y_pred.ndim == y.ndim + 1 and y_pred.shape[1] == 1:
        return y_pred.squeeze(1), y
    if y.ndim == y_pred.ndim + 1 and y.shape[1] == 1:
        return y_pred, y.squeeze(1)
    return y_pred, y


def check_shapes(y_pred: Tensor, y: Tensor, is_multilabel: bool) -> None:
    """Raises ValueError if no kind of classification has tensors of such shapes."""
    given = f"but given y_pred of shape {tuple(y_pred.shape)} and y of shape {tuple(y.shape)}"
    if y_pred.ndim not in (y.ndim, y.ndim + 1) or y.ndim == 0:
        raise ValueError(
            "y must have shape of (batch_size, ...) and y_pred must have shape of (batch_size, num_categories, ...) "
            f"or (batch_size, ...), {given}"
        )
    if is_multilabel and (y.shape != y_pred.shape or y.ndim < 2 or y.shape[1] == 1):
        raise ValueError(
            "y and y_pred must have same shape of (batch_size, num_categories, ...) and num_categories > 1., " + given
        )
    compared = y_pred.shape if y_pred.ndim == y.ndim else (y_pred.shape[0], *y_pred.shape[2:])
    if tuple(compared) != tuple(y.shape):
        raise ValueError(f"y and y_pred must have compatible shapes., {given}")


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Their quotient; 0 where the denominator is."""
    is_zero = denominator == 0
    return torch.where(is_zero, torch.zeros_like(numerator), numerator / torch.where(is_zero, 1, denominator))


def count_outside(y: Tensor, num_classes: int) -> int | Tensor:
    """How many targets are not in [0, num_classes)."""
    if not y.is_cpu:
        return ((y < 0) | (y >= num_classes)).sum()
    if y.numel() == 0:
        return 0
    low, high = torch.aminmax(y)
    if low.item() >= 0 and high.item() < num_classes:
        return 0
    return int(((y < 0) | (y >= num_classes)).sum())


def count_not_binary(name: str, values: Tensor) -> int | Tensor:
    """How many values are neither 0 nor 1; on the CPU, raises ValueError unless it is none."""
    if values.dtype == torch.bool or values.numel() == 0:
        return 0
    if not values.is_cpu:
        return ((values != 0) & (values != 1)).sum()
    if not torch.equal(values, values * values):  # NaN is not equal to itself
        wrong = values[values != values * values].flatten()[0].item()
        raise ValueError(f"For binary cases, {name} must be comprised of 0's and 1's., but given {wrong}")
    return 0
