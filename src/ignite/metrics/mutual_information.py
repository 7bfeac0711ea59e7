"""The mutual information of predictions and classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._distances import NARROW, odds_of, read_predicted_rows, widened
from ignite.metrics._output_arrays import (
    numpy,
    rows_product,
    scratch,
    without_float_warnings,
)
from ignite.metrics._saved_state import StatisticPart, warn_of_incomplete_state, zero
from ignite.metrics.entropy import Entropy, entropies
from ignite.metrics.statistics import Reading, Statistic, Totals

__all__ = ["MutualInformation"]


class MutualInformation(Entropy):
    r"""The mutual information of inputs and predicted classes, in nats.

    It is the entropy of the mean distribution minus the mean entropy.

    .. math:: H\Bigl(\frac{1}{N} \sum_i q_i\Bigr) - \frac{1}{N} \sum_i H(q_i), \quad q_i = \mathrm{softmax}(p_i)

    Update with ``(y_pred, y)``: logits of shape (B, C, ...); positions in further
    dimensions count as examples. Targets are ignored.

    Arguments are those of :class:`Metric`.

    Raises:
        ValueError: in ``update``, shapes do not match, or the number of classes has changed. The
            batch is then not accumulated.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> import torch
        >>> metric = MutualInformation()
        >>> metric.update((torch.tensor([[99.0, 0.0], [0.0, 99.0]]), torch.zeros(2)))
        >>> round(metric.compute(), 4)  # each of two classes is certain once: ln 2
        0.6931

    References:
        Bridle, Heading, MacKay, "Unsupervised classifiers, mutual information and 'phantom
        targets'", 1991.
    """

    higher_is_better = True

    _sum_of_probabilities = StatisticPart("total_1", zero)

    def _in_own_form(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        if set(state) != {"_sum_of_probabilities"}:
            return super()._in_own_form(state)
        self.reset()
        warn_of_incomplete_state(self, "only the sum of probabilities")
        return self._state()

    def _declare(self) -> list[Statistic]:
        device = self._accumulates_on
        return [
            Totals(
                _sum_entropies_and_shares, num_values=2, device=device, select=read_predicted_rows
            )
        ]

    def _reset_extra_state(self) -> None:
        self._num_classes: int | None = None

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        rows, _ = reading.derive(read_predicted_rows)
        known = (
            (self._num_classes or len(statistic.values[1]))
            if statistic.num_examples
            else rows.shape[1]
        )
        if known != rows.shape[1]:
            raise ValueError(
                f"y_pred should have {known} classes as before, but given {tuple(reading.output[0].shape)}"
            )
        self._num_classes = known

    def _value(self, totals: Totals) -> float:
        _, shares = totals.values
        mean = shares / totals.num_examples  # (C,)
        of_mean = -(mean * mean.log()).masked_fill(mean == 0, 0).sum()
        return max(float(of_mean) - totals.mean, 0.0)


def _sum_entropies_and_shares(pair: tuple[Tensor, Tensor]) -> tuple[int, Tensor | float, Tensor]:
    logits = pair[0]
    if logits.is_cpu and logits.dtype in NARROW:
        found = _in_single_precision(logits.float())
        if found is not None:
            return found
    each, odds, sums = entropies(widened(logits))
    return len(sums), each.sum(), (1 / sums) @ odds


def _in_single_precision(logits: Tensor) -> tuple[int, float, Tensor] | None:
    """Returns the sums computed in float32, or None if that is not precise enough."""
    found = odds_of(logits, out=scratch(logits))
    if found is None:
        return None
    # Errors of odds in float32 cancel, because both sums use the same odds.
    odds, sums = found
    reciprocals = sums.reciprocal()
    shares = torch.mv(odds.T, reciprocals).double()
    spread = rows_product(odds.numpy(), logits.numpy()) * reciprocals.numpy()
    total = float((numpy.log(sums.numpy()) - spread).sum(dtype="float64"))
    num_examples = logits.shape[0]
    mean = shares.numpy() / num_examples
    with without_float_warnings():
        information = -float(mean.dot(numpy.log(mean))) - total / num_examples
    # NaN if a class has no share at all: it is then computed in the general way.
    return (num_examples, total, shares) if information > _LEAST else None


_LEAST = 0.05
"""Above this value, the error of about 1e-8 that does not cancel is negligible."""
