"""Precision: the fraction of predictions of a class that are correct."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ignite.metrics._classification import (
    _BaseClassification,
    _BasePrecisionRecall,
    average_of_ratios,
    check_first_batch,
    counts_for,
    mean_over_samples,
    normalized_average,
    ratio_parts,
    takes_average_first,
)
from ignite.metrics._outputs import identity
from ignite.metrics.statistics import LabelCounts, Reading

__all__ = ["Precision", "_BasePrecisionRecall"]


class Precision(_BaseClassification):
    r"""The fraction of predictions of a class that are correct, :math:`\frac{TP}{TP + FP}`; 0 if there are none.

    Update with ``(y_pred, y)``, multiclass, binary or multilabel, of the shapes that
    :class:`Accuracy` takes.

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        average: False returns the value of each class, a tensor of shape (C,), and for binary data
            that of class 1, of shape (). None does the same, but returns both classes of binary
            data. "macro" or True is the mean over classes, "weighted" the mean weighted by the
            number of examples of each class, "micro" counts the examples of all classes together,
            and "samples" is the mean over examples of the precision of their labels (multilabel only).
        is_multilabel: whether inputs of equal shape are multilabel instead of binary.
        device: device on which to count. By default, that of the predictions.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: ``average`` is not one of the above or does not fit the data; in ``update``,
            see :class:`Accuracy`.
        RuntimeError: in ``update``, the kind of classification has changed.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = Precision(average=False)
        >>> metric.update((torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.6, 0.4]]), torch.tensor([1, 0, 0])))
        >>> metric.compute()  # one of one prediction of class 0 is correct, one of two of class 1
        tensor([1.0000, 0.5000], dtype=torch.float64)
    """

    higher_is_better = True

    _numerator, _denominator, _weight, _updated = ratio_parts(1)
    eps = 1e-20
    """Ignite adds this attribute to denominators. Here, a ratio with denominator 0 is 0."""

    @takes_average_first
    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        average: bool | str | None = False,
        is_multilabel: bool = False,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        self._average = normalized_average(average)
        self._need = counts_for(average)
        super().__init__(output_transform, is_multilabel, device, skip_unrolling)

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        if statistic.kind is None:  # afterwards, the counts check the kind
            reading.once(check_first_batch, self._is_multilabel, self._average)

    def _value(self, counts: LabelCounts) -> Any:
        if self._average == "samples":
            return mean_over_samples(counts, 0)
        return average_of_ratios(
            counts.true_positives, counts.num_predicted, counts, self._average, self._double_dtype
        )
