"""The share of examples of other classes that are not predicted as a class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._classification import _BasePrecisionRecall
from ignite.metrics._outputs import identity
from ignite.metrics.statistics import LabelCounts

__all__ = ["Specificity"]


class Specificity(_BasePrecisionRecall):
    r"""The share of examples of other classes that are not predicted as a class, :math:`\frac{TN}{TN + FP}`.

    0 for a class that all examples have. Update with ``(y_pred, y)``, of the shapes that
    :class:`Accuracy` takes.

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        average: as for :class:`Precision`, but not "samples".
        is_multilabel: whether equal shapes mean labels, not binary predictions.
        device: where to count; by default, where the predictions are.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: ``average`` is none of those; in ``update``, see :class:`Accuracy`.
        RuntimeError: in ``update``, the kind of classification has changed.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> metric = Specificity()
        >>> metric.update((torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 0, 1])))
        >>> round(metric.compute().item(), 4)  # of three examples of class 0, one is taken for class 1
        0.6667
    """

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
        super().__init__(output_transform, average, is_multilabel, device, skip_unrolling)

    def _denominator(self, counts: LabelCounts) -> Tensor:
        return _num_judged(counts) - counts.num_true

    def _numerator(self, counts: LabelCounts) -> Tensor:
        return _num_judged(counts) - counts.num_true - counts.num_predicted + counts.true_positives


def _num_judged(counts: LabelCounts) -> Tensor | int:
    """How many examples each class is predicted for or not."""
    return counts.num_examples if counts.is_multilabel else counts.num_true.sum()
