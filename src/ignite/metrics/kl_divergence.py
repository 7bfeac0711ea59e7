"""Kullback-Leibler divergence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ignite.metrics._distances import exact_sum, log_probabilities, odds_of, rows_of_logits
from ignite.metrics._saved_state import StatisticPart, zero
from ignite.metrics._views import View
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["KLDivergence"]


class KLDivergence(View):
    r"""The mean Kullback-Leibler divergence of predicted from true distributions, in nats.

    .. math:: \frac{1}{N} \sum_i \sum_c t_{ic} \ln \frac{t_{ic}}{q_{ic}}, \quad
        q_i = \mathrm{softmax}(p_i), \; t_i = \mathrm{softmax}(y_i)

    Update with ``(y_pred, y)``: logits of both, of shape (B, C, ...); positions in further
    dimensions count as examples.

    Arguments are those of :class:`Metric`.

    Raises:
        ValueError: in ``update``, shapes do not match. The batch is then not accumulated.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = KLDivergence()
        >>> metric.update((torch.zeros(1, 2), torch.tensor([[99.0, 0.0]])))
        >>> round(metric.compute(), 4)  # uniform, where one of two classes is certain: ln 2
        0.6931

    References:
        Kullback, Leibler, "On information and sufficiency", 1951.
    """

    higher_is_better = False

    _sum_of_kl = StatisticPart("total_0", zero)
    _num_examples = StatisticPart("num_examples")

    def _declare(self) -> list[Statistic]:
        return [
            Totals(
                _sum_divergences, device=self._accumulates_on, select=read_logits, is_rowwise=True
            )
        ]

    def _value(self, totals: Totals) -> float:
        return totals.mean


def read_logits(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns logits of the predicted and true distributions, shape (M, C).

    Raises:
        ValueError: shapes differ, or there is no class dimension.
        TypeError: they are complex.
    """
    if output[0].shape != output[1].shape:
        raise ValueError(
            f"y_pred and y must be in the same shape, got {tuple(output[0].shape)} != {tuple(output[1].shape)}."
        )
    return rows_of_logits(output[0], "y_pred"), rows_of_logits(output[1], "y")


def _sum_divergences(pair: tuple[Tensor, Tensor]) -> tuple[int, Tensor | float]:
    num_examples = pair[0].shape[0]
    return num_examples, exact_sum(pair, _exactly, least=LEAST * num_examples, quick=_quickly)


LEAST = 0.1
"""A smaller mean divergence is not computed in float32, where probabilities have an error of about 1e-7."""


def _exactly(predicted: Tensor, true: Tensor) -> Tensor:
    return divergences(log_probabilities(true), log_probabilities(predicted)).sum()


def _quickly(predicted: Tensor, true: Tensor) -> Tensor:
    of_true, of_predicted = odds_of(true), odds_of(predicted)
    if of_true is not None and of_predicted is not None:
        (odds, sums), (_, predicted_sums) = of_true, of_predicted
        means = torch.linalg.vecdot(odds, true - predicted) / sums
        total: Tensor = (means + (predicted_sums / sums).log_()).sum(dtype=torch.float64)
        return total
    true, predicted = log_probabilities(true), log_probabilities(predicted)
    return true.exp().mul_(true.sub_(predicted)).sum(dim=1).sum(dtype=torch.float64)


def divergences(true: Tensor, predicted: Tensor) -> Tensor:
    """Returns the divergence, shape (M,), of each row of distributions given by log-probabilities (M, C)."""
    weights = true.exp()
    found = (weights * (true - predicted)).sum(dim=1)
    if found.is_cpu and not found.isnan().any():
        return found.clamp_(min=0)
    # The logarithm of a class with probability 0 is infinite, and 0 times infinity is NaN.
    return (weights * (true - predicted)).masked_fill(weights == 0, 0).sum(dim=1).clamp(min=0)
