"""The difference of accuracy between groups of examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ignite.metrics._outputs import identity
from ignite.metrics.accuracy import Accuracy
from ignite.metrics.fairness.base import SubgroupDifference

__all__ = ["SubgroupAccuracyDifference"]


class SubgroupAccuracyDifference(SubgroupDifference):
    """The largest difference of accuracy between groups of examples.

    Update with ``(y_pred, y, group_labels)``: predictions and targets as for
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
        >>> metric = SubgroupAccuracyDifference(groups=[0, 1])
        >>> y_pred, y = torch.tensor([1, 1, 0, 1]), torch.tensor([1, 0, 0, 1])
        >>> metric.update((y_pred, y, torch.tensor([0, 0, 1, 1])))
        >>> metric.compute()  # the accuracy is 0.5, and 1
        0.5
    """

    def __init__(
        self,
        groups: Sequence[int],
        is_multilabel: bool = False,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
    ) -> None:
        super().__init__(Accuracy(is_multilabel=is_multilabel), groups, output_transform, device)
