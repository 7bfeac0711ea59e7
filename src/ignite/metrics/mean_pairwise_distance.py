"""Mean pairwise distance between predictions and targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._distances import HUGE, read_same, widened
from ignite.metrics._output_arrays import arrays_of, numpy, rows_product, without_float_warnings
from ignite.metrics._outputs import identity
from ignite.metrics._saved_state import StatisticPart, zero
from ignite.metrics._views import View
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["MeanPairwiseDistance"]


class MeanPairwiseDistance(View):
    r"""Mean distance of predictions from targets.

    .. math:: \frac{1}{N} \sum_{i=1}^N \lVert p_i - y_i + \epsilon \rVert_p

    where :math:`p_i` and :math:`y_i` are the prediction and the target of example :math:`i`. NaN in
    any example makes the result NaN.

    Update with ``(y_pred, y)``:

    - ``y_pred``: predictions, shape (B, D), floating point or integer. With shape (B, ..., D), the
      distance of an example is the sum over its vectors.
    - ``y``: targets, of the same shape.

    Args:
        p: degree of the norm; infinity for the largest difference.
        eps: added to each difference, as in ``torch.nn.functional.pairwise_distance``.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to accumulate. By default, that of the predictions.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: in ``update``, the shapes are not those above.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = MeanPairwiseDistance()
        >>> metric.update((torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.zeros(2, 2)))
        >>> round(metric.compute(), 4)
        2.5
    """

    higher_is_better = False

    _sum_of_distances = StatisticPart("total_0", zero)
    _num_examples = StatisticPart("num_examples")

    def __init__(
        self,
        p: int = 2,
        eps: float = 1e-6,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        self._p = p
        self._eps = eps
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        return [
            Totals(
                _sum_distances,
                (self._p, self._eps),
                device=self._accumulates_on,
                select=_read,
                is_rowwise=True,
            )
        ]

    def _value(self, *statistics: Any) -> float:
        totals: Totals = statistics[0]
        return totals.mean


def _read(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    y_pred, y = output
    if y_pred.ndim < 2 or y_pred.shape != y.shape:
        raise ValueError(
            f"y_pred and y should both have shape (B, ..., D), but given {tuple(y_pred.shape)} and {tuple(y.shape)}"
        )
    return read_same(output)


def _sum_distances(pair: tuple[Tensor, Tensor], p: float, eps: float) -> tuple[int, Tensor | float]:
    y_pred, y = pair
    arrays = arrays_of(y_pred, y) if p == 2 and y.ndim == 2 else None  # a fast path
    if arrays is not None:
        total = _fast_sum(*arrays, eps) if y_pred.dtype is torch.float32 is y.dtype else None
        if total is None:
            total = _fast_sum(arrays[0].astype("float64"), arrays[1].astype("float64"), eps)
        if total is not None:
            return y_pred.shape[0], total
    differences = widened(y_pred) - widened(y) + eps
    return y_pred.shape[0], torch.linalg.vector_norm(differences, p, dim=-1).sum()


def _fast_sum(y_pred: Any, y: Any, eps: float) -> float | None:
    """Sums Euclidean distances; None if squares may have underflown or overflown."""
    with without_float_warnings():
        errors = y_pred - y
        errors += eps
        total = float(numpy.sqrt(rows_product(errors, errors)).sum(dtype="float64"))
    return total if _LEAST * len(y) < total < HUGE else None


_LEAST = 1e-10
