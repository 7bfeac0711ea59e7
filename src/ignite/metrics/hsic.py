"""HSIC: the Hilbert-Schmidt independence criterion of two variables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._distances import middle_value, squared_distances, widened
from ignite.metrics._outputs import identity
from ignite.metrics._saved_state import StatisticPart, zero
from ignite.metrics._views import View
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["HSIC"]


class HSIC(View):
    r"""Mean over batches of the Hilbert-Schmidt independence criterion (unbiased estimator).

    .. math:: \frac{1}{B (B - 3)} \Bigl( \mathrm{tr}(K L) + \frac{1^T K 1 \; 1^T L 1}{(B - 1)(B - 2)}
        - \frac{2}{B - 2} 1^T K L 1 \Bigr)

    where :math:`K` and :math:`L` are the Gaussian kernel matrices of the two variables with zero
    diagonals, and :math:`B` is the batch size. It is about 0 for independent variables. A negative
    value of a batch is replaced by 0.

    The result is the mean over the batches of all processes. It depends on how the data are split
    into batches.

    Update with ``(x, y)``:

    - ``x``: first variable, shape (B, ...), floating point or integer.
    - ``y``: second variable, shape (B, ...), with any other dimensions.

    Args:
        sigma_x: width of the kernel of x. If negative, the root of the median of all squared
            distances in the batch, including those of examples from themselves.
        sigma_y: width of the kernel of y, see ``sigma_x``.
        ignore_invalid_batch: skip batches of fewer than 4 examples, instead of raising.
        output_transform: turns ``engine.state.output`` into ``(x, y)``.
        device: device on which to accumulate. By default, that of the variables.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: in ``update``, the variables have different numbers of examples, or too few.
        NotComputableError: in ``compute``, there was no valid batch.

    Example:
        >>> metric = HSIC(sigma_x=1.0, sigma_y=1.0)
        >>> x = torch.tensor([[0.0], [0.0], [99.0], [99.0]])
        >>> metric.update((x, x))
        >>> round(metric.compute(), 4)  # (4 + 4 * 4 / 6 - 4) / 4
        0.6667

    References:
        Song et al., "Feature selection via dependence maximization", 2012, equation 5.
    """

    _sum_of_hsic = StatisticPart("total_0", zero)
    _num_batches = StatisticPart("num_examples")

    def __init__(
        self,
        sigma_x: float = -1,
        sigma_y: float = -1,
        ignore_invalid_batch: bool = True,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        self.sigma_x = sigma_x
        self.sigma_y = sigma_y
        self.ignore_invalid_batch = ignore_invalid_batch
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        args = (self.sigma_x, self.sigma_y, self.ignore_invalid_batch)
        return [Totals(_criterion, args, device=self._accumulates_on)]

    def _value(self, *statistics: Any) -> float:
        (totals,) = statistics
        mean: float = totals.values[0].item() / totals.num_examples
        return mean


def _criterion(
    output: Sequence[Tensor], sigma_x: float, sigma_y: float, ignores_small: bool
) -> tuple[int, Tensor | float]:
    """Returns 1, the number of batches, and the criterion of the batch."""
    x, y = output[0].detach(), output[1].detach()
    if not x.ndim or x.shape[:1] != y.shape[:1]:
        raise ValueError(
            f"x and y should have the same number of examples, but given {tuple(x.shape)} and {tuple(y.shape)}"
        )
    n = x.shape[0]
    if n <= 3:
        if ignores_small or n == 0:
            return 0, 0.0
        raise ValueError(f"A batch must contain more than four samples, got only {n} samples.")
    of_x, of_y = _kernel(x, sigma_x), _kernel(y, sigma_y)  # (B, B)
    trace = (of_x * of_y).sum()
    sums = of_x.sum() * of_y.sum() / ((n - 1) * (n - 2))
    products = (of_x.sum(dim=0) * of_y.sum(dim=1)).sum() * 2 / (n - 2)
    return 1, ((trace + sums - products) / (n * (n - 3))).clamp(min=0)


def _kernel(x: Tensor, sigma: float) -> Tensor:
    rows = widened(x).reshape(x.shape[0], -1)
    squares = squared_distances(rows, rows, None if sigma < 0 else sigma**2)
    variance = middle_value(squares) if sigma < 0 else sigma**2
    # With width 0, the kernel is 1 for equal examples (0 / 0 is set to 0) and 0 for others.
    kernel: Tensor = torch.exp(-(squares / (2 * variance)).masked_fill(squares == 0, 0))
    return kernel.fill_diagonal_(0)
