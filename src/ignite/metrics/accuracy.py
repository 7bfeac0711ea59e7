"""Accuracy: the fraction of examples that are classified correctly."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ignite.metrics._classification import _BaseClassification
from ignite.metrics._saved_state import StatisticPart, no_count
from ignite.metrics.statistics import LabelCounts
from ignite.metrics.statistics.labels import CORRECT

__all__ = ["Accuracy"]


def _num_correct_of(metric: Any, counts: LabelCounts) -> Tensor | None:
    is_known = counts.correct is not None or counts.kind is not None
    return counts.num_correct if is_known else None


class Accuracy(_BaseClassification):
    """The fraction of examples whose prediction equals the target.

    Update with ``(y_pred, y)``:

    - multiclass: ``y_pred`` scores of shape (B, C, ...), of which the highest is the predicted
      class, and ``y`` classes of shape (B, ...).
    - binary: both 0 or 1, of shape (B, ...), or one of them (B, 1, ...). Turn probabilities into 0
      and 1 in ``output_transform``.
    - multilabel: both 0 or 1, of shape (B, C, ...). An example is correct if all its C labels
      are.

    Positions in further dimensions count as examples.

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        is_multilabel: whether inputs of equal shape are multilabel instead of binary.
        device: device on which to count. By default, that of the predictions.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: in ``update``, shapes do not match, values are not 0 or 1, targets are not classes,
            or the number of classes has changed. For tensors on an accelerator, wrong values are
            reported by ``compute``.
        RuntimeError: in ``update``, the kind of classification has changed.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> import torch
        >>> metric = Accuracy()
        >>> metric.update((torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.6, 0.4]]), torch.tensor([1, 0, 1])))
        >>> round(metric.compute(), 4)
        0.6667
    """

    higher_is_better = True

    _need = CORRECT

    _num_correct = StatisticPart("correct", no_count, read=_num_correct_of)
    _num_examples = StatisticPart("num_examples")

    def _value(self, counts: LabelCounts) -> float:
        return counts.num_correct.item() / counts.num_examples
