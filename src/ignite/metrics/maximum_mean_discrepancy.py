"""Whether two samples come from the same distribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._distances import NARROW, read_rows, squared_distances, widened
from ignite.metrics._outputs import identity
from ignite.metrics._shared_statistics import View
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["MaximumMeanDiscrepancy"]


class MaximumMeanDiscrepancy(View):
    r"""The root of the mean over batches of the squared distance between the kernel means of two samples.

    .. math:: \frac{1}{B(B-1)} \sum_{i \ne j} \bigl( k(x_i, x_j) + k(y_i, y_j) \bigr)
        - \frac{2}{B^2} \sum_{i,j} k(x_i, y_j), \quad k(a, b) = \exp\Bigl(-\frac{\lVert a - b \rVert^2}{2 v}\Bigr)

    It is about 0 if both come from the same distribution. Update with ``(x, y)``, both of shape (B,
    ...) with at least two examples; smaller batches are left out. As a mean over batches, it
    depends on how the data are cut into them; over several processes, it is that over the batches
    of all.

    Args:
        var: the kernel's variance :math:`v`, positive.
        output_transform: turns ``engine.state.output`` into ``(x, y)``.
        device: where to accumulate; by default, where the samples are.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: ``var`` is not positive; in ``update``, shapes differ.
        NotComputableError: in ``compute``, no batch was seen.

    Example:
        >>> metric = MaximumMeanDiscrepancy()
        >>> metric.update((torch.tensor([[0.0], [0.0]]), torch.tensor([[99.0], [99.0]])))
        >>> round(metric.compute(), 4)  # nothing in common: the root of 1 + 1
        1.4142

    References:
        Gretton et al., "A kernel two-sample test", 2012, lemma 6.
    """

    higher_is_better = False

    def __init__(
        self,
        var: float = 1.0,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        if not var > 0:
            raise ValueError(f"Argument var should be positive, but given {var}")
        self.var = var
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        return [Totals(_discrepancy, (self.var,), device=self._accumulates_on)]

    def _value(self, *statistics: Any) -> float:
        (totals,) = statistics
        return math.sqrt(max(float(totals.values[0]) / totals.num_examples, 0.0))


def _discrepancy(output: Sequence[Tensor], var: float) -> tuple[int, Tensor | float]:
    """One batch, and the square of its discrepancy."""
    x, y = read_rows(output, "x and y")  # (B, D)
    n = x.shape[0]
    if n < 2:
        return 0, 0.0
    if x.is_cpu and x.dtype in NARROW and y.dtype in NARROW:
        found = _discrepancy_of_near(x.float(), y.float(), var)
        if found is not None:
            return 1, found
    x, y = widened(x), widened(y)
    of_x, of_y, of_both = (_kernel(*pair, var).sum() for pair in ((x, x), (y, y), (x, y)))
    return 1, _combined(of_x, of_y, of_both, n)


def _combined(of_x: Any, of_y: Any, of_both: Any, n: int) -> Any:
    """The square, from the sums of kernels."""
    return (of_x + of_y - 2 * n) / (n * (n - 1)) - 2 * of_both / (
        n * n
    )  # without the diagonal, of ones


def _kernel(a: Tensor, b: Tensor, var: float) -> Tensor:
    return squared_distances(a, b, var).div_(-2 * var).exp_()


def _discrepancy_of_near(x: Tensor, y: Tensor, var: float) -> float | None:
    """The square, by products of float32; None where rounding would show in it.

    That is 1e-7 of the exponent for a kernel, and for the sum of n * n of them, as they are
    independent, n times that.
    """
    n = x.shape[0]
    rows = torch.cat((x, y))
    rows.sub_(rows.mean(dim=0)).mul_(var**-0.5)
    sizes = torch.linalg.vecdot(rows, rows).mul_(-0.5)
    farthest = -sizes.min().item()
    if not farthest < _FAR:
        return None
    if n <= _FEW:
        kernels = _kernels_of_near(rows, sizes, rows, sizes)
        parts = [kernels[:n, :n], kernels[n:, n:], kernels[:n, n:]]
    else:
        first, second = (rows[:n], sizes[:n]), (rows[n:], sizes[n:])
        parts = [
            _kernels_of_near(*a, *b) for a, b in ((first, first), (second, second), (first, second))
        ]
    of_x, of_y, of_both = (part.sum(dtype=torch.float64).item() for part in parts)
    found: float = _combined(of_x, of_y, of_both, n)
    return found if found > 0.1 * max(farthest, 1) / n else None


def _kernels_of_near(a: Tensor, size_a: Tensor, b: Tensor, size_b: Tensor) -> Tensor:
    """Of rows, and minus half of their squared lengths."""
    return torch.addmm(size_b, a, b.T).add_(size_a[:, None]).exp_()


_FAR = 16.0
"""The largest exponent: larger ones are less exact than the kernel needs."""
_FEW = 128
"""Of so few rows one product of all takes less time than three."""
