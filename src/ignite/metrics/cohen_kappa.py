"""Cohen's kappa: the agreement of two labelings, corrected for chance."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from ignite.metrics._classification import (
    check_labels,
    count_labels,
    cross_table,
    labels_of_samples,
    outside_message,
)
from ignite.metrics._output_arrays import are_classes, arrays_of, numpy
from ignite.metrics._outputs import identity
from ignite.metrics._views import View
from ignite.metrics.epoch_metric import select_samples
from ignite.metrics.statistics import KeptSamples, Reading, Statistic, Totals

__all__ = ["CohenKappa"]


class CohenKappa(View):
    r"""Cohen's kappa: agreement of predictions and targets, corrected for chance.

    .. math:: \kappa = 1 - \frac{\sum_{ij} w_{ij} o_{ij}}{\sum_{ij} w_{ij} e_{ij}}

    where :math:`o_{ij}` is the number of examples with target :math:`i` and prediction :math:`j`,
    and :math:`e_{ij}` the number expected if the two were independent. The weight :math:`w_{ij}` is
    0 for :math:`i = j`. Otherwise it is 1, or with ``weights`` :math:`|i - j|` ("linear") or
    :math:`(i - j)^2` ("quadratic"). It depends on the values of the labels, not on which other
    labels occur.

    Kappa is 1 if all labels agree and 0 if they agree as often as by chance. It is 0 if all
    predictions and targets are of one class.

    Update with ``(y_pred, y)``:

    - ``y_pred``: predicted labels, shape (B,) or (B, 1), whole numbers.
    - ``y``: true labels, of the same form.

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        weights: None, "linear" or "quadratic".
        check_compute_fn: ignored; accepted for compatibility.
        device: device on which to accumulate. By default, that of the labels.
        skip_unrolling: see :class:`Metric`.
        num_classes: if given, labels must be in [0, num_classes), and only the confusion matrix is
            kept. Otherwise all labels are kept.

    Raises:
        ValueError: ``weights`` or ``num_classes`` is invalid. In ``update``, the shapes are not
            those above, or a label is out of range, not a whole number, or -100, the index that
            losses ignore. For labels on an accelerator, ``compute`` raises instead.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = CohenKappa()
        >>> metric.update((torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 0])))
        >>> metric.compute()  # 3 of 4 labels agree, 2 would by chance
        0.5

    References:
        Cohen, "A Coefficient of Agreement for Nominal Scales", 1960.
    """

    higher_is_better = True

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        weights: Literal["linear", "quadratic"] | None = None,
        check_compute_fn: bool = False,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
        num_classes: int | None = None,
    ) -> None:
        if weights not in (None, "linear", "quadratic"):
            raise ValueError(
                f"Kappa Weighting type must be None or linear or quadratic., but given {weights!r}"
            )
        if num_classes is not None and num_classes < 1:
            raise ValueError(f"num_classes should be positive, but given {num_classes}")
        self.weights = weights
        self.num_classes = num_classes
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        if self.num_classes is None:
            return [KeptSamples(select_samples, device=self._accumulates_on)]
        return [
            Totals(
                count_labels,
                (self.num_classes, "CohenKappa"),
                num_values=2,
                device=self._accumulates_on,
            )
        ]

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        y_pred, y = reading.derive(select_samples)
        if y_pred.ndim != 1 or y.ndim != 1:
            raise ValueError(
                "multilabel-indicator is not supported: y_pred and y should be of shape (batch_size,), "
                f"but given {tuple(y_pred.shape)} and {tuple(y.shape)}"
            )
        if self.num_classes is None and y.is_cpu:  # otherwise counting finds invalid labels
            check_labels(reading, y_pred, y, "CohenKappa")

    def _name(self) -> str:
        return "CohenKappa" if self.num_classes is None else "Confusion matrix"

    def _value(self, statistic: Any) -> float:
        if isinstance(statistic, KeptSamples):
            y_pred, y = statistic.first, statistic.second
            counts = _counts(y_pred, y) if self.weights is None else None
            if counts is not None:
                return _kappa_of_counts(*counts)
            return _kappa(*cross_table(*labels_of_samples(y_pred, y, "CohenKappa")), self.weights)
        table, num_outside = statistic.values
        if int(num_outside):
            raise ValueError(outside_message(self.num_classes, int(num_outside)))
        return _kappa(table, torch.arange(len(table), device=table.device), self.weights)


_TINY = 1e-9


def _kappa(table: Tensor, labels: Tensor, weights: str | None) -> float:
    """Computes kappa from a confusion matrix (C, C) of the given labels (C,)."""
    if weights is None:
        num_true, num_predicted = table.sum(dim=1).tolist(), table.sum(dim=0).tolist()
        return _kappa_of_counts(num_true, num_predicted, int(table.diagonal().sum()))
    table, labels = table.double(), labels.double()
    distance = (labels[:, None] - labels).abs()
    weight = distance if weights == "linear" else distance**2
    expected = table.sum(dim=1)[:, None] * table.sum(dim=0) / table.sum()
    chance = (weight * expected).sum()
    if chance < _TINY:
        return 0.0
    return float(1 - (weight * table).sum() / chance)


def _counts(y_pred: Tensor, y: Tensor) -> tuple[list[int], list[int], int] | None:
    """Returns how many targets and predictions have each label, and how many agree.

    They take less time than the table. None unless all are small labels (N,) on the CPU.
    """
    are_usual = y.dtype is torch.int64 is y_pred.dtype and y.ndim == y_pred.ndim == 1
    arrays = arrays_of(y_pred, y) if are_usual and y.numel() else None
    if arrays is None or not all(are_classes(array, _MANY_LABELS) for array in arrays):
        return None
    predicted, true = arrays
    num_agreeing = int(numpy.count_nonzero(predicted == true))
    return numpy.bincount(true).tolist(), numpy.bincount(predicted).tolist(), num_agreeing


_MANY_LABELS = 2**10
"""Larger labels would make the counts long."""


def _kappa_of_counts(num_true: list[int], num_predicted: list[int], num_agreeing: int) -> float:
    """Computes kappa in Python's integers: exact, and faster than tensors of this size."""
    n = sum(num_true)
    by_chance = n - sum(map(operator.mul, num_true, num_predicted)) / n
    return 0.0 if by_chance < _TINY else 1 - (n - num_agreeing) / by_chance
