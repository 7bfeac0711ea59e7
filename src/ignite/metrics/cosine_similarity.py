"""Cosine similarity: the mean cosine of the angle between predictions and targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._distances import read_rows, widened
from ignite.metrics._output_arrays import (
    arrays_of,
    largest,
    numpy,
    rows_product,
    smallest,
    without_float_warnings,
)
from ignite.metrics._outputs import identity
from ignite.metrics._saved_state import StatisticPart, zero
from ignite.metrics._views import View
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["CosineSimilarity"]


class CosineSimilarity(View):
    r"""Mean cosine of the angle between predictions and targets.

    .. math:: \frac{1}{N} \sum_{i=1}^N
        \frac{p_i \cdot y_i}{\max(\|p_i\|, \epsilon) \max(\|y_i\|, \epsilon)}

    where :math:`p_i` and :math:`y_i` are the prediction and the target of example :math:`i`. If one
    of them is zero, the example counts as 0. NaN in any example makes the result NaN.

    Update with ``(y_pred, y)``:

    - ``y_pred``: predictions, shape (B, D) or (B, ...), floating point or integer. Further
      dimensions are flattened: each example is one vector.
    - ``y``: targets, of the same shape.

    Args:
        eps: lower bound of the norms in the denominator. Values up to the default have no effect:
            the cosine is then exact for vectors of any norm but 0. A larger value reduces the
            cosine of vectors with a smaller norm.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to accumulate. By default, that of the predictions.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: ``eps`` is negative. In ``update``, the shapes differ or have one dimension.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = CosineSimilarity()
        >>> metric.update((torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [1.0, 0.0]])))
        >>> metric.compute()
        0.5
    """

    higher_is_better = True

    _sum_of_cos_similarities = StatisticPart("total_0", zero)
    _num_examples = StatisticPart("num_examples")

    def __init__(
        self,
        eps: float = 1e-8,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        if not eps >= 0:
            raise ValueError(f"Argument eps should not be negative, but given {eps}")
        self.eps = eps
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        least = self.eps if self.eps > 1e-8 else 0.0
        return [
            Totals(
                _sum_cosines, (least,), device=self._accumulates_on, select=_read, is_rowwise=True
            )
        ]

    def _value(self, *statistics: Any) -> float:
        totals: Totals = statistics[0]
        return totals.mean


def _read(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    if output[0].ndim == 1:
        raise ValueError(
            "y_pred and y should have shape (B, D), one vector in each row, "
            f"but given {tuple(output[0].shape)} and {tuple(output[1].shape)}; use x.unsqueeze(0) for one vector"
        )
    return read_rows(output)


def _sum_cosines(pair: tuple[Tensor, Tensor], eps: float) -> tuple[int, Tensor | float]:
    num_examples = pair[0].shape[0]
    arrays = arrays_of(*pair)
    if arrays is not None and arrays[0].dtype == arrays[1].dtype and arrays[0].dtype.kind == "f":
        with without_float_warnings():
            total = _fast_sum_cosines(*arrays, eps)
        if total is not None:
            return num_examples, total
    return num_examples, _scaled_cosines(widened(pair[0]), widened(pair[1]), eps).sum()


def _fast_sum_cosines(y_pred: Any, y: Any, eps: float) -> float | None:
    """Sums the cosines without scaling; None if a norm is out of the range where this is exact."""
    least, most = _SQUARED_NORM_RANGE[y.itemsize]
    least = max(least, eps * eps)
    squares, of_y = rows_product(y_pred, y_pred), rows_product(y, y)
    for each in (squares, of_y):
        if not least <= smallest(each) <= largest(each) < most:
            return None  # also for NaN, for which each comparison is false
    # The root of the product, not the product of roots: 1 for equal vectors.
    squares *= of_y
    cosines = rows_product(y_pred, y)
    cosines /= numpy.sqrt(squares, out=squares)
    return float(cosines.sum(dtype="float64"))


_SQUARED_NORM_RANGE = {4: (1e-18, 1e18), 8: (1e-140, 1e140)}
"""Bytes per number -> squared norms whose products neither lose digits to underflow nor overflow."""


def _scaled_cosines(y_pred: Tensor, y: Tensor, eps: float) -> Tensor:
    """Computes the cosine of each row; scaling the rows first makes it exact for any norm."""
    if not y.numel():
        return y.new_zeros(y.shape[0])
    cosines: Tensor | float = 1.0
    directions = []
    for rows in (y_pred, y):
        largest = rows.abs().amax(dim=1, keepdim=True)
        scaled = rows / largest.masked_fill(largest == 0, 1)
        norms = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
        directions.append(scaled / norms.masked_fill(norms == 0, 1))
        if eps > 0:
            cosines = cosines * (norms * largest / eps).clamp(max=1).squeeze(1)
    found: Tensor = cosines * torch.linalg.vecdot(*directions).clamp(-1, 1)
    return found
