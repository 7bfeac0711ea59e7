"""The entropy of predicted distributions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ignite.metrics._distances import exact_sum, log_probabilities, read_predicted_rows
from ignite.metrics._outputs import as_predictions
from ignite.metrics._saved_state import StatisticPart, zero
from ignite.metrics._views import View
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["Entropy"]


class Entropy(View):
    r"""The mean entropy of predicted distributions, in nats: from 0 for one-hot to :math:`\ln C` for uniform ones.

    .. math:: -\frac{1}{N} \sum_i \sum_c q_{ic} \ln q_{ic}, \quad q_i = \mathrm{softmax}(p_i)

    Update with ``(y_pred, y)``: logits of shape (B, C, ...); positions in further
    dimensions count as examples. Targets are ignored.

    Arguments are those of :class:`Metric`.

    Raises:
        ValueError: in ``update``, shapes do not match. The batch is then not accumulated.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = Entropy()
        >>> metric.update((torch.zeros(3, 4), torch.zeros(3)))
        >>> round(metric.compute(), 4)  # ln 4
        1.3863
    """

    _sum_of_entropies = StatisticPart("total_0", zero)
    _num_examples = StatisticPart("num_examples")

    def _declare(self) -> list[Statistic]:
        return [Totals(_sum_entropies, device=self._accumulates_on, select=read_predicted_rows)]

    def _value(self, totals: Totals) -> float:
        return totals.mean

    def _read_output(self, output: Any) -> Any:
        return as_predictions(output, type(self).__name__)


def _sum_entropies(pair: tuple[Tensor, Tensor]) -> tuple[int, Tensor | float]:
    num_examples = pair[0].shape[0]
    return num_examples, exact_sum(pair, _exactly, least=0.1 * num_examples, quick=_quickly)


def _exactly(logits: Tensor, _: Tensor) -> Tensor:
    return entropies(logits)[0].sum()


def _quickly(logits: Tensor, _: Tensor) -> Tensor:
    logarithms = log_probabilities(logits)
    return -logarithms.exp().mul_(logarithms).sum()


def entropies(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns entropies (M,) of distributions given by logits (M, C), their odds (M, C), and the sums of those (M,).

    Logits are taken relative to the largest, so that both terms are nonnegative and nothing cancels.
    """
    relative = logits - logits.amax(dim=1, keepdim=True)
    odds = relative.exp()
    total = odds.sum(dim=1)
    # The logarithm of a class with probability 0 is infinite, and 0 times infinity is NaN.
    spread = torch.linalg.vecdot(odds, relative.clamp_(min=torch.finfo(logits.dtype).min))
    return total.log() - spread / total, odds, total
