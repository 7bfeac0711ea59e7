"""The mean distance between predictions and targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._distances import HUGE, read_same, widened
from ignite.metrics._host_arrays import arrays_of, numpy, rows_product, without_float_warnings
from ignite.metrics._outputs import identity
from ignite.metrics._shared_statistics import View
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["MeanPairwiseDistance"]


class MeanPairwiseDistance(View):
    r"""The mean distance of predictions from targets, :math:`\frac{1}{N} \sum_i \lVert p_i - y_i + \epsilon \rVert_p`.

    Update with ``(y_pred, y)``, both of shape (B, D), floating point or integers. If it is (B, ...,
    D), the distances of each example are added up.

    Args:
        p: the norm's degree; infinity for the largest difference.
        eps: is added to each difference, as ``torch.nn.functional.pairwise_distance`` does.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: where to accumulate; by default, where the predictions are.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: in ``update``, shapes do not fit.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> metric = MeanPairwiseDistance()
        >>> metric.update((torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.zeros(2, 2)))
        >>> round(metric.compute(), 4)
        2.5
    """

    higher_is_better = False

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
            Totals(_sum_distances, (self._p, self._eps), device=self._accumulates_on, select=_read)
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
    arrays = arrays_of(y_pred, y) if p == 2 and y.ndim == 2 else None  # the usual distance
    if arrays is not None:
        total = _sum_of_moderate(*arrays, eps) if y_pred.dtype is torch.float32 is y.dtype else None
        if total is None:
            total = _sum_of_moderate(arrays[0].astype("float64"), arrays[1].astype("float64"), eps)
        if total is not None:
            return y_pred.shape[0], total
    differences = widened(y_pred) - widened(y) + eps
    return y_pred.shape[0], torch.linalg.vector_norm(differences, p, dim=-1).sum()


def _sum_of_moderate(y_pred: Any, y: Any, eps: float) -> float | None:
    """Of arrays whose distances are moderate numbers in the mean, beside which others do not show; None of others."""
    with without_float_warnings():
        errors = y_pred - y
        errors += eps
        total = float(numpy.sqrt(rows_product(errors, errors)).sum(dtype="float64"))
    return total if _LEAST * len(y) < total < HUGE else None


_LEAST = 1e-10
