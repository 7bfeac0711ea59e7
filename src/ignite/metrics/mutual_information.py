"""How much predictions tell about classes."""

from __future__ import annotations

from typing import Any

from ignite.metrics.entropy import Entropy

__all__ = ["MutualInformation"]


class MutualInformation(Entropy):
    r"""How much predictions tell about classes, in nats: the entropy of the mean distribution minus the mean entropy.

    .. math:: H\Bigl(\frac{1}{N} \sum_i q_i\Bigr) - \frac{1}{N} \sum_i H(q_i), \quad q_i = \mathrm{softmax}(p_i)

    Update with ``(y_pred, y)``: logits of shape (B, C, ...); further dimensions are further examples, and targets do
    not count.

    Arguments are those of :class:`Metric`.

    Raises:
        ValueError: in ``update``, shapes do not fit. What was accumulated is unharmed.
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

    def _value(self, *statistics: Any) -> float:
        (totals,) = statistics
        _, distributions = totals.values
        mean = distributions / totals.num_examples  # (C,)
        of_mean = -(mean * mean.log()).masked_fill(mean == 0, 0).sum()
        return max(float(of_mean) - super()._value(totals), 0.0)
