"""Jensen-Shannon divergence."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ignite.metrics._distances import exact_sum, log_probabilities
from ignite.metrics._saved_state import doubled_total
from ignite.metrics.kl_divergence import LEAST, KLDivergence, divergences, read_logits
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["JSDivergence"]


class JSDivergence(KLDivergence):
    r"""The mean Jensen-Shannon divergence of predicted and true distributions, in nats: from 0 to :math:`\ln 2`.

    .. math:: \frac{1}{N} \sum_i \frac{1}{2} \bigl( D(t_i \,\Vert\, m_i) + D(q_i \,\Vert\, m_i) \bigr), \quad
        m_i = \frac{t_i + q_i}{2}

    with :math:`D`, :math:`q` and :math:`t` as in :class:`KLDivergence`. Update with ``(y_pred,
    y)``: logits of both, of shape (B, C, ...); positions in further dimensions count as examples.

    Arguments are those of :class:`Metric`.

    Raises:
        ValueError: in ``update``, shapes do not match. The batch is then not accumulated.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = JSDivergence()
        >>> metric.update((torch.tensor([[0.0, 99.0]]), torch.tensor([[99.0, 0.0]])))
        >>> round(metric.compute(), 4)  # disjoint distributions: ln 2
        0.6931

    References:
        Lin, "Divergence measures based on the Shannon entropy", 1991.
    """

    _sum_of_kl = doubled_total()

    def _declare(self) -> list[Statistic]:
        return [Totals(_sum_divergences, device=self._accumulates_on, select=read_logits)]


def _sum_divergences(pair: tuple[Tensor, Tensor]) -> tuple[int, Tensor | float]:
    num_examples = pair[0].shape[0]
    return num_examples, exact_sum(pair, _exactly, least=LEAST * num_examples, quick=_quickly)


def _exactly(predicted: Tensor, true: Tensor) -> Tensor:
    predicted, true = log_probabilities(predicted), log_probabilities(true)
    mean = torch.logaddexp(predicted, true) - math.log(2)
    return (divergences(true, mean) + divergences(predicted, mean)).sum() / 2


def _quickly(predicted: Tensor, true: Tensor) -> Tensor:
    predicted, true = log_probabilities(predicted), log_probabilities(true)
    of_predicted, of_true = predicted.exp(), true.exp()
    mean = torch.add(of_predicted, of_true).div_(2).log_()
    of_predicted.mul_(predicted.sub_(mean))
    return of_predicted.addcmul_(of_true, true.sub_(mean)).sum(dim=1).sum(dtype=torch.float64) / 2
