"""Hamming distance: the fraction of labels that are wrong."""

from __future__ import annotations

from ignite.metrics._classification import _BaseClassification
from ignite.metrics._output_arrays import MULTILABEL
from ignite.metrics.statistics import LabelCounts
from ignite.metrics.statistics.labels import CLASSES

__all__ = ["HammingDistance"]


class HammingDistance(_BaseClassification):
    """The fraction of labels that are wrong; if not multilabel, the fraction of examples that are wrong.

    Update with ``(y_pred, y)``, of the shapes that :class:`Accuracy` accepts.

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        is_multilabel: whether inputs of equal shape are multilabel instead of binary.
        device: device on which to count. By default, that of the predictions.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: in ``update``, see :class:`Accuracy`.
        RuntimeError: in ``update``, the kind of classification has changed.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> import torch
        >>> metric = HammingDistance(is_multilabel=True)
        >>> metric.update((torch.tensor([[1, 0], [1, 1]]), torch.tensor([[1, 1], [1, 1]])))
        >>> metric.compute()
        0.25
    """

    higher_is_better = False

    _need = CLASSES

    def _value(self, counts: LabelCounts) -> float:
        num_both, num_predicted, num_true = (
            values.sum().item()
            for values in (counts.true_positives, counts.num_predicted, counts.num_true)
        )
        if counts.kind == MULTILABEL:
            return (num_predicted + num_true - 2 * num_both) / (
                counts.num_examples * (counts.num_classes or 1)
            )
        return 1 - num_both / counts.num_examples
