"""The share of predictions of a class that are right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ignite.metrics._classification import (
    _BaseClassification,
    average_of_ratios,
    check_first_batch,
    counts_for,
    mean_over_samples,
    normalized_average,
)
from ignite.metrics._outputs import identity
from ignite.metrics.statistics import LabelCounts, Reading

__all__ = ["Precision"]


class Precision(_BaseClassification):
    r"""The share of predictions of a class that are right, :math:`\frac{TP}{TP + FP}`; 0 for a class never predicted.

    Update with ``(y_pred, y)``, multiclass, binary or multilabel, of the shapes that
    :class:`Accuracy` takes.

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        average: False gives the value of each class, a tensor of shape (C,), and of binary data
            that of class 1, of shape (); None the same, but for both classes of binary data.
            "macro" or True is their mean, "weighted" the mean weighted by how many examples each
            class has, "micro" counts examples of all classes together, and "samples" is the mean
            over examples of the precision of their labels (multilabel only).
        is_multilabel: whether equal shapes mean labels, not binary predictions.
        device: where to count; by default, where the predictions are.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: ``average`` is none of the above or does not go with the data; in ``update``,
            see :class:`Accuracy`.
        RuntimeError: in ``update``, the kind of classification has changed.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> metric = Precision(average=False)
        >>> metric.update((torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.6, 0.4]]), torch.tensor([1, 0, 0])))
        >>> metric.compute()  # of those predicted as 0 one of one is right, as 1 one of two
        tensor([1.0000, 0.5000], dtype=torch.float64)
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
        self._average = normalized_average(average)
        self._need = counts_for(average)
        super().__init__(output_transform, is_multilabel, device, skip_unrolling)

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        if statistic.kind is None:  # the counts take no other kind after the first batch
            reading.once(check_first_batch, self._is_multilabel, self._average)

    def _value(self, counts: LabelCounts) -> Any:
        if self._average == "samples":
            return mean_over_samples(counts, 0)
        return average_of_ratios(
            counts.true_positives, counts.num_predicted, counts, self._average, self._double_dtype
        )
