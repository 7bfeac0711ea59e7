"""The peak signal-to-noise ratio of images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._distances import HUGE, LEAST, NARROW, read_rows, widened
from ignite.metrics._output_arrays import arrays_of, numpy, squared_lengths, without_float_warnings
from ignite.metrics._outputs import identity
from ignite.metrics._saved_state import StatisticPart, zero
from ignite.metrics._views import View
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["PSNR"]


class PSNR(View):
    r"""The mean peak signal-to-noise ratio of images, :math:`10 \log_{10} \frac{R^2}{\mathrm{MSE}_i}`, in decibels.

    Update with ``(y_pred, y)``: images of shape (B, ...), of the same shape and dtype, floating
    point or integers. The mean squared error of equal images counts as 1e-10, so that their ratio is
    finite.

    Args:
        data_range: the range :math:`R` of values, such as 255 for uint8.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to accumulate. By default, that of the images.
        skip_unrolling: see :class:`Metric`.

    Raises:
        TypeError: in ``update``, dtypes differ.
        ValueError: in ``update``, shapes differ.
        NotComputableError: in ``compute``, no image was seen.

    Example:
        >>> metric = PSNR(data_range=1.0)
        >>> metric.update((torch.full((1, 3, 4, 4), 0.1), torch.zeros(1, 3, 4, 4)))
        >>> round(metric.compute(), 4)
        20.0
    """

    higher_is_better = True

    _sum_of_batchwise_psnr = StatisticPart("total_0", zero)
    _num_examples = StatisticPart("num_examples")

    def __init__(
        self,
        data_range: int | float,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        self.data_range = data_range
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        return [Totals(_sum_ratios, (self.data_range,), device=self._accumulates_on, select=_read)]

    def _value(self, totals: Totals) -> float:
        return totals.mean


def _read(output: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    check_images(output)
    return read_rows(output)


def _sum_ratios(pair: tuple[Tensor, Tensor], data_range: float) -> tuple[int, Tensor | float]:
    """Returns the number of images (B, D) and the sum of their ratios."""
    num_images, highest = pair[0].shape[0], 20 * math.log10(data_range)
    decibels = _decibels_of_errors(*pair)
    if decibels is not None:
        return num_images, num_images * highest - decibels
    errors = (widened(pair[0]) - widened(pair[1])).square_().mean(dim=1)
    errors = errors.masked_fill(errors == 0, _OF_EQUAL_IMAGES)
    return num_images, (highest - 10 * errors.log10()).sum()


_OF_EQUAL_IMAGES = 1e-10
"""Mean squared error assumed for equal images, as in Ignite. With 0, the mean over images would be infinite."""


def _decibels_of_errors(y_pred: Tensor, y: Tensor) -> float | None:
    """Returns the sum over images of their mean squared errors in decibels, with differences in float32.

    None if float32 is not accurate enough: for wider dtypes, or if an error is 0, tiny or huge.
    """
    if y.dtype is not torch.float32:
        if y.dtype not in NARROW and y.dtype is not torch.uint8:
            return None
        y_pred, y = y_pred.float(), y.float()
    arrays = arrays_of(y_pred, y) if y.numel() else None
    if arrays is None:
        return None
    with without_float_warnings():
        errors = squared_lengths(*arrays)
        errors /= y.shape[1]
        if not LEAST < errors.min() <= errors.max() < HUGE:
            return None
        return 10 * float(numpy.log10(errors).sum())


def check_images(output: Sequence[Tensor]) -> None:
    """Raises TypeError or ValueError unless predictions and targets are of the same dtype and shape."""
    y_pred, y = output[0], output[1]
    if y_pred.dtype != y.dtype:
        raise TypeError(
            f"Expected y_pred and y to have the same data type. Got y_pred: {y_pred.dtype} and y: {y.dtype}."
        )
    if y_pred.shape != y.shape:
        raise ValueError(
            f"Expected y_pred and y to have the same shape. Got y_pred: {tuple(y_pred.shape)} and y: {tuple(y.shape)}."
        )
