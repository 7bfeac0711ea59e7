"""Rates at which classes are predicted, and their difference between groups of examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._classification import _BaseClassification, predicted_part
from ignite.metrics._outputs import identity
from ignite.metrics._saved_state import StatisticPart
from ignite.metrics.fairness.base import SubgroupDifference
from ignite.metrics.statistics import LabelCounts
from ignite.metrics.statistics.labels import CLASSES

__all__ = ["DemographicParityDifference", "SelectionRate"]


class SelectionRate(_BaseClassification):
    """The fraction of examples for which each class is predicted, regardless of the target.

    Update with ``(y_pred, y)`` as for :class:`~ignite.metrics.Accuracy`. The value is a tensor with
    a number for each class or label: of shape (C,), and (2,) for binary data.

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        is_multilabel: whether equal shapes mean labels, not binary predictions.
        device: device on which to count. By default, that of the predictions.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: in ``update``, shapes do not match, values are not 0 or 1, targets are no class,
            or the number of classes has changed. For tensors on an accelerator, wrong values are
            reported by ``compute``.
        RuntimeError: in ``update``, the kind of classification has changed.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = SelectionRate()
        >>> metric.update((torch.tensor([0, 1, 1, 1]), torch.tensor([0, 1, 0, 1])))
        >>> metric.compute()
        tensor([0.2500, 0.7500], dtype=torch.float64)
    """

    _need = CLASSES

    _num_positives = predicted_part()
    _num_examples = StatisticPart("num_examples")

    def _value(self, counts: LabelCounts) -> Tensor:
        return counts.num_predicted.to(self._double_dtype) / counts.num_examples


class DemographicParityDifference(SubgroupDifference):
    r"""The largest difference of the rate at which a class is predicted, between groups.

    .. math:: \max_{c} \bigl( \max_{g} P(\hat{y} = c \mid g) - \min_{g} P(\hat{y} = c \mid g) \bigr)

    0 if the predictions do not depend on the groups. Targets are checked, but do not change the
    value. Update with ``(y_pred, y, group_labels)``: predictions and targets as for
    :class:`~ignite.metrics.Accuracy`, and groups as for :class:`SubgroupMetric`.

    Args:
        groups: the labels of the groups.
        is_multilabel: whether equal shapes mean labels, not binary predictions.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y, group_labels)``, or a
            mapping with these keys.
        device: device on which to count. By default, that of the predictions.

    Raises:
        TypeError, ValueError: as for :class:`SubgroupMetric`.
        NotComputableError: in ``compute``, there are examples of less than two groups.

    Example:
        >>> metric = DemographicParityDifference(groups=[0, 1])
        >>> y_pred, y = torch.tensor([1, 1, 0, 1]), torch.tensor([1, 0, 0, 1])
        >>> metric.update((y_pred, y, torch.tensor([0, 0, 1, 1])))
        >>> metric.compute()  # 1 is predicted for all of the one, and for half of the other group
        0.5

    References:
        Agarwal et al., "A reductions approach to fair classification", 2018,
        https://arxiv.org/abs/1803.02453
    """

    def __init__(
        self,
        groups: Sequence[int],
        is_multilabel: bool = False,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
    ) -> None:
        base = SelectionRate(is_multilabel=is_multilabel)
        super().__init__(base, groups, output_transform, device)
