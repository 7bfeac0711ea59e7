"""The mean of absolute errors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ignite.metrics._distances import MeanOfExamples, read_errors
from ignite.metrics.statistics import Statistic, Totals
from ignite.metrics.statistics._statistic import wide_dtype

__all__ = ["MeanAbsoluteError"]


class MeanAbsoluteError(MeanOfExamples):
    r"""The mean of absolute errors.

    .. math:: \frac{1}{N} \sum_{i=1}^{N} |p_i - y_i|

    with predictions :math:`p_i` and targets :math:`y_i` of :math:`N` examples: for examples of several elements, the
    sum over elements and the mean over examples. Update with ``(y_pred, y)``, both of shape (B, ...), floating point or
    integers; predictions may have another shape that can be viewed as that of targets, such as (B, 1) for (B,).

    Arguments are those of :class:`Metric`.

    Raises:
        ValueError: in ``update``, shapes do not fit. What was accumulated is unharmed.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> import torch
        >>> metric = MeanAbsoluteError()
        >>> metric.update((torch.tensor([1.0, 4.0]), torch.tensor([2.0, 2.0])))
        >>> metric.compute()
        1.5
    """

    higher_is_better = False

    def _declare(self) -> list[Statistic]:
        return [Totals(_sum_errors, device=self._accumulates_on)]


def _sum_errors(output: Sequence[Tensor]) -> tuple[int, Tensor]:
    errors = read_errors(output)
    return output[1].shape[:1].numel(), errors.abs_().sum(dtype=wide_dtype(errors))
