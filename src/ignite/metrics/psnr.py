"""How far images are from their originals, on the scale of the ear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._distances import MeanOfExamples, read_rows
from ignite.metrics._outputs import identity
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["PSNR"]


class PSNR(MeanOfExamples):
    r"""The mean peak signal-to-noise ratio of images, :math:`10 \log_{10} \frac{R^2}{\mathrm{MSE}_i}`, in decibels.

    Update with ``(y_pred, y)``: images of shape (B, ...), of the same shape and dtype, floating point or integers.
    Equal images count as if they differed by 1e-10 in the mean of squares.

    Args:
        data_range: the range :math:`R` of values, such as 255 for uint8.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: where to accumulate; by default, where the images are.
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
        return [Totals(_sum_ratios, (self.data_range,), device=self._accumulates_on)]


def _sum_ratios(output: Sequence[Tensor], data_range: float) -> tuple[int, Tensor]:
    check_images(output)
    y_pred, y = read_rows(output)
    errors = ((y_pred - y) ** 2).mean(dim=1)  # (B,)
    return y_pred.shape[0], (10 * torch.log10(data_range**2 / (errors + 1e-10))).sum()


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
