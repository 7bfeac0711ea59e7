"""How far two variables depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._distances import middle_value, squared_distances, widened
from ignite.metrics._outputs import identity
from ignite.metrics._shared_statistics import View
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["HSIC"]


class HSIC(View):
    r"""The mean over batches of the Hilbert-Schmidt independence criterion, unbiased: 0 if variables are independent.

    .. math:: \frac{1}{B (B - 3)} \Bigl( \mathrm{tr}(K L) + \frac{1^T K 1 \; 1^T L 1}{(B - 1)(B - 2)}
        - \frac{2}{B - 2} 1^T K L 1 \Bigr)

    with the Gaussian kernels :math:`K` and :math:`L` of the two variables, whose diagonals are set
    to 0. The value of a batch is at least 0. As a mean over batches, it depends on how the data are
    cut into them; over several processes, it is that over the batches of all. Update with ``(x,
    y)``, of shapes (B, ...).

    Args:
        sigma_x: the width of the kernel of x; negative for the root of the median of all squared
            distances in each batch, also the zeros of examples from themselves.
        sigma_y: likewise, of y.
        ignore_invalid_batch: leave batches of fewer than four examples out, instead of raising.
        output_transform: turns ``engine.state.output`` into ``(x, y)``.
        device: where to accumulate; by default, where the variables are.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: in ``update``, the variables have different numbers of examples, or too few.
        NotComputableError: in ``compute``, no batch was seen.

    Example:
        >>> metric = HSIC(sigma_x=1.0, sigma_y=1.0)
        >>> x = torch.tensor([[0.0], [0.0], [99.0], [99.0]])
        >>> metric.update((x, x))
        >>> round(metric.compute(), 4)  # tr = 4, sums = 4, 1'KL1 = 4
        0.6667

    References:
        Song et al., "Feature selection via dependence maximization", 2012, equation 5.
    """

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
    """One batch, and its criterion."""
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
    # Without width it tells equal from different: of equal examples 0 / 0 is 0, of others infinite.
    kernel: Tensor = torch.exp(-(squares / (2 * variance)).masked_fill(squares == 0, 0))
    return kernel.fill_diagonal_(0)
