"""Mean squared logarithmic error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ignite.metrics._output_arrays import array_of, library_of, smallest
from ignite.metrics._views import View
from ignite.metrics.regression._base import read_pair, sum_sizes
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["MeanSquaredLogError"]


class MeanSquaredLogError(View):
    r"""Mean of squared differences of logarithms, for targets that grow exponentially.

    .. math:: \frac{1}{N} \sum_i \bigl(\ln(1 + A_i) - \ln(1 + P_i)\bigr)^2

    with targets :math:`A` and predictions :math:`P`, all greater than -1. Update with
    ``(y_pred, y)``: floating point, both of shape (B,) or both (B, 1). Arguments are those of
    :class:`~ignite.metrics.Metric`.

    Raises:
        ValueError: in ``update``, shapes are not those above, or a number is -1 or less; for
            tensors on an accelerator, ``compute`` raises instead.
        TypeError: in ``update``, dtypes are not those above.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> import torch
        >>> metric = MeanSquaredLogError()
        >>> metric.update((torch.tensor([0.0, 3.0]), torch.tensor([0.0, 1.0])))
        >>> round(metric.compute(), 4)  # half of the square of ln 2
        0.2402
    """

    higher_is_better = False

    def _declare(self) -> list[Statistic]:
        return [Totals(_sum_squares, num_values=2, device=self._accumulates_on, select=_read)]

    def _value(self, totals: Totals) -> float:
        total, num_wrong = totals.values
        if num_wrong.item():
            raise ValueError(_message(f"{int(num_wrong)} examples with smaller values"))
        return float(total) / totals.num_examples


def _read(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    pair = read_pair(output)
    if not pair[1].is_cpu or not pair[1].shape[0]:
        return pair
    for values in pair:
        array = array_of(values)
        least = float(values.min()) if array is None else smallest(array)
        if least <= -1:
            raise ValueError(_message(f"{least:g}"))
    return pair


def _message(given: str) -> str:
    return (
        f"y_pred and y should be greater than -1, but given {given}; clamp predictions in "
        "output_transform, as y_pred.clamp(min=0)"
    )


def _sum_squares(pair: tuple[Tensor, Tensor]) -> tuple[int, Tensor | float, Tensor | float]:
    y_pred, y = pair
    num_wrong = 0.0 if y.is_cpu else ((y_pred <= -1) | (y <= -1)).sum()
    return *sum_sizes(pair, _squared_differences), num_wrong


def _squared_differences(y_pred: Any, y: Any) -> Any:
    # The absolute value of log1p(y) - log1p(y_pred), with one logarithm and without cancellation.
    library = library_of(y)
    ratio = library.abs(y - y_pred) / (library.minimum(y, y_pred) + 1)
    difference = library.log1p(ratio)
    return difference * difference
