"""Balanced accuracy: the mean recall of all classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ignite.metrics._classification import _BaseClassification
from ignite.metrics._outputs import identity
from ignite.metrics.statistics import LabelCounts
from ignite.metrics.statistics.labels import CLASSES

__all__ = ["BalancedAccuracy"]


class BalancedAccuracy(_BaseClassification):
    """The mean over classes of recall, the fraction of the examples of a class that are predicted correctly.

    Classes without examples are ignored.

    Update with ``(y_pred, y)``, multiclass or binary, of the shapes that :class:`Accuracy` accepts.

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        adjusted: whether to rescale the value so that the accuracy of chance, 1 / C, becomes 0 and 1
            stays 1.
        device: device on which to count. By default, that of the predictions.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: in ``update``, see :class:`Accuracy`.
        RuntimeError: in ``update``, the kind of classification has changed.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = BalancedAccuracy()
        >>> metric.update((torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 1])))
        >>> metric.compute()
        0.5

    References:
        Brodersen et al., "The balanced accuracy and its posterior distribution", 2010.
    """

    higher_is_better = True

    _need = CLASSES

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        adjusted: bool = False,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        self.adjusted = adjusted
        super().__init__(output_transform, False, device, skip_unrolling)

    def _value(self, counts: LabelCounts) -> float:
        dtype = self._double_dtype
        num_true, num_both = counts.num_true.to(dtype), counts.true_positives.to(dtype)
        recalls = (num_both / num_true)[num_true > 0]
        value, chance = recalls.mean().item(), 1 / len(recalls)
        return (value - chance) / (1 - chance) if self.adjusted and chance < 1 else value
