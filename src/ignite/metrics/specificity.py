"""Specificity: the fraction of examples of other classes that are not predicted as a class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._classification import (
    _BaseClassification,
    average_of_ratios,
    check_first_batch,
    counts_for,
    normalized_average,
)
from ignite.metrics._outputs import identity
from ignite.metrics.statistics import LabelCounts, Reading

__all__ = ["Specificity"]


class Specificity(_BaseClassification):
    r"""The fraction of examples of other classes that are not predicted as a class, :math:`\frac{TN}{TN + FP}`.

    It is 0 for a class that all examples have. Update with ``(y_pred, y)``, of the shapes that
    :class:`Accuracy` takes.

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        average: as for :class:`Precision`, but not "samples".
        is_multilabel: whether inputs of equal shape are multilabel instead of binary.
        device: device on which to count. By default, that of the predictions.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: ``average`` is not one of those; in ``update``, see :class:`Accuracy`.
        RuntimeError: in ``update``, the kind of classification has changed.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = Specificity()
        >>> metric.update((torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 0, 1])))
        >>> round(metric.compute().item(), 4)  # one of three examples of class 0 is predicted as class 1
        0.6667
    """

    higher_is_better = True

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        average: bool | str | None = False,
        is_multilabel: bool = False,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        if average == "samples":
            raise ValueError(
                "Argument average should not be 'samples' for Specificity, but given 'samples'"
            )
        self._average = normalized_average(average)
        self._need = counts_for(average)
        super().__init__(output_transform, is_multilabel, device, skip_unrolling)

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        if statistic.kind is None:  # afterwards, the counts check the kind
            reading.once(check_first_batch, self._is_multilabel, self._average)

    def _value(self, counts: LabelCounts) -> Any:
        num_negatives = _num_judged(counts) - counts.num_true
        num_true_negatives = num_negatives - counts.num_predicted + counts.true_positives
        return average_of_ratios(
            num_true_negatives, num_negatives, counts, self._average, self._double_dtype
        )


def _num_judged(counts: LabelCounts) -> Tensor | int:
    """Returns the number of examples for which each class is predicted or not."""
    return counts.num_examples if counts.is_multilabel else counts.num_true.sum()
