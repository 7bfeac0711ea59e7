"""How undecided predictions are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ignite.metrics._distances import MeanOfExamples, row_of_logits
from ignite.metrics._outputs import as_predictions
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["Entropy"]


class Entropy(MeanOfExamples):
    r"""The mean entropy of predicted distributions, in nats: 0 for certain ones, :math:`\ln C` for even ones.

    .. math:: -\frac{1}{N} \sum_i \sum_c q_{ic} \ln q_{ic}, \quad q_i = \mathrm{softmax}(p_i)

    Update with ``(y_pred, y)``: logits of shape (B, C, ...); further dimensions are further examples, and targets do
    not count.

    Arguments are those of :class:`Metric`.

    Raises:
        ValueError: in ``update``, shapes do not fit. What was accumulated is unharmed.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> import torch
        >>> metric = Entropy()
        >>> metric.update((torch.zeros(3, 4), torch.zeros(3)))
        >>> round(metric.compute(), 4)  # ln 4
        1.3863
    """

    def _declare(self) -> list[Statistic]:
        return [Totals(_sum_entropies, device=self._accumulates_on)]

    def _read_output(self, output: Any) -> Any:
        return as_predictions(output, type(self).__name__)


def _sum_entropies(output: Sequence[Tensor]) -> tuple[int, Tensor]:
    logarithms = row_of_logits(output, 0, "y_pred").log_softmax(dim=1)  # (M, C)
    return logarithms.shape[0], sum_of_entropies(logarithms)


def sum_of_entropies(logarithms: Tensor) -> Tensor:
    """Over distributions given by their logarithms (M, C)."""
    terms = logarithms.exp() * logarithms
    # Of a class that is ruled out the logarithm is infinite, and 0 times infinity no number.
    return -terms.masked_fill(logarithms.isneginf(), 0).sum()
