"""How much predictions tell about classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ignite.metrics._distances import row_of_logits
from ignite.metrics.entropy import Entropy, sum_of_entropies
from ignite.metrics.statistics import Reading, Statistic, Totals

__all__ = ["MutualInformation"]


class MutualInformation(Entropy):
    r"""How much predictions tell about classes, in nats: the entropy of the mean distribution minus the mean entropy.

    .. math:: H\Bigl(\frac{1}{N} \sum_i q_i\Bigr) - \frac{1}{N} \sum_i H(q_i), \quad q_i = \mathrm{softmax}(p_i)

    Update with ``(y_pred, y)``: logits of shape (B, C, ...); further dimensions are further examples, and targets do
    not count.

    Arguments are those of :class:`Metric`.

    Raises:
        ValueError: in ``update``, shapes do not fit, or the number of classes has changed. What was accumulated is
            unharmed.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> import torch
        >>> metric = MutualInformation()
        >>> metric.update((torch.tensor([[99.0, 0.0], [0.0, 99.0]]), torch.zeros(2)))
        >>> round(metric.compute(), 4)  # certain of both classes, evenly: ln 2
        0.6931

    References:
        Bridle, Heading, MacKay, "Unsupervised classifiers, mutual information and 'phantom targets'", 1991.
    """

    higher_is_better = True

    def _declare(self) -> list[Statistic]:
        return [Totals(_sum_entropies_and_distributions, num_values=2, device=self._accumulates_on)]

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        sums, shape = statistic.sums, reading.output[0].shape
        if sums and len(shape) > 1 and shape[1] and shape[1] != len(sums[1]):
            raise ValueError(f"y_pred should have {len(sums[1])} classes as before, but given {tuple(shape)}")

    def _value(self, *statistics: Any) -> float:
        (totals,) = statistics
        _, distributions = totals.values
        mean = distributions / totals.num_examples  # (C,)
        of_mean = -(mean * mean.log()).masked_fill(mean == 0, 0).sum()
        return max(float(of_mean) - super()._value(totals), 0.0)


def _sum_entropies_and_distributions(output: Sequence[Tensor]) -> tuple[int, Tensor, Tensor]:
    logarithms = row_of_logits(output, 0, "y_pred").log_softmax(dim=1)  # (M, C)
    return logarithms.shape[0], sum_of_entropies(logarithms), logarithms.exp().sum(dim=0)
