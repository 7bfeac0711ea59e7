"""Maximum mean discrepancy: the distance of two distributions, from samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._distances import NARROW, read_rows, squared_distances, widened
from ignite.metrics._outputs import identity
from ignite.metrics._views import View
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["MaximumMeanDiscrepancy"]


class MaximumMeanDiscrepancy(View):
    r"""Root of the mean over batches of the squared maximum mean discrepancy of two samples.

    .. math:: \frac{1}{B(B-1)} \sum_{i \ne j} \bigl( k(x_i, x_j) + k(y_i, y_j) \bigr)
        - \frac{2}{B^2} \sum_{i,j} k(x_i, y_j),
        \quad k(a, b) = \exp\Bigl(-\frac{\lVert a - b \rVert^2}{2 v}\Bigr)

    where :math:`B` is the batch size. It is about 0 if both samples come from the same
    distribution. A negative mean gives 0.

    The mean is over the batches of all processes, without those of fewer than 2 examples. It
    depends on how the data are split into batches.

    Update with ``(x, y)``:

    - ``x``: first sample, shape (B, ...), floating point or integer.
    - ``y``: second sample, of the same shape.

    Args:
        var: variance :math:`v` of the kernel, positive.
        output_transform: turns ``engine.state.output`` into ``(x, y)``.
        device: device on which to accumulate. By default, that of the samples.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: ``var`` is not positive. In ``update``, the shapes differ.
        NotComputableError: in ``compute``, there was no batch of at least 2 examples.

    Example:
        >>> metric = MaximumMeanDiscrepancy()
        >>> metric.update((torch.tensor([[0.0], [0.0]]), torch.tensor([[99.0], [99.0]])))
        >>> round(metric.compute(), 4)  # k(x_i, y_j) = 0: sqrt(1 + 1 - 0)
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

    def _ignite_names(self) -> tuple[str, ...]:
        return ("_xx_sum", "_yy_sum", "_xy_sum", "_num_batches")

    def _to_ignite(self) -> dict[str, Any]:
        totals: Any = self._statistics_in_use()[0]
        # Tensors of their own, because Ignite adds in place. The first one holds the whole sum.
        sums = [torch.zeros((), dtype=self._double_dtype, device=self._device) for _ in range(3)]
        if totals.values:
            sums[0] += totals.values[0]
        return dict(zip(self._ignite_names(), (*sums, totals.num_examples), strict=True))

    def _take_from_ignite(self, state: Mapping[str, Any]) -> None:
        of_x, of_y, of_both, num_batches = (state[name] for name in self._ignite_names())
        total = torch.as_tensor(of_x + of_y - 2 * of_both)
        self._own_statistic().take({"num_examples": num_batches, "total_0": total})

    def _declare(self) -> list[Statistic]:
        return [Totals(_discrepancy, (self.var,), device=self._accumulates_on)]

    def _value(self, *statistics: Any) -> float:
        (totals,) = statistics
        return math.sqrt(max(float(totals.values[0]) / totals.num_examples, 0.0))


def _discrepancy(output: Sequence[Tensor], var: float) -> tuple[int, Tensor | float]:
    """Returns 1, the number of batches, and the squared discrepancy of the batch."""
    x, y = read_rows(output, "x and y")  # (B, D)
    n = x.shape[0]
    if n < 2:
        return 0, 0.0
    if x.is_cpu and x.dtype in NARROW and y.dtype in NARROW:
        found = _fast_discrepancy(x.float(), y.float(), var)
        if found is not None:
            return 1, found
    x, y = widened(x), widened(y)
    of_x, of_y, of_both = (_kernel(*pair, var).sum() for pair in ((x, x), (y, y), (x, y)))
    return 1, _combined(of_x, of_y, of_both, n)


def _combined(of_x: Any, of_y: Any, of_both: Any, n: int) -> Any:
    """Returns the squared discrepancy from the sums of kernels."""
    # The diagonals of the first two, which are ones, do not count.
    return (of_x + of_y - 2 * n) / (n * (n - 1)) - 2 * of_both / (n * n)


def _kernel(a: Tensor, b: Tensor, var: float) -> Tensor:
    return squared_distances(a, b, var).div_(-2 * var).exp_()


def _fast_discrepancy(x: Tensor, y: Tensor, var: float) -> float | None:
    """Computes the squared discrepancy by products in float32; None if rounding would matter.

    The rounding error of a kernel is 1e-7 of its exponent. That of a sum of n * n kernels, whose
    errors are independent, is n times as large.
    """
    n = x.shape[0]
    rows = torch.cat((x, y))
    rows.sub_(rows.mean(dim=0)).mul_(var**-0.5)
    sizes = torch.linalg.vecdot(rows, rows).mul_(-0.5)
    farthest = -sizes.min().item()
    if not farthest < _FAR:
        return None
    if n <= _FEW:
        kernels = _fast_kernels(rows, sizes, rows, sizes)
        parts = [kernels[:n, :n], kernels[n:, n:], kernels[:n, n:]]
    else:
        first, second = (rows[:n], sizes[:n]), (rows[n:], sizes[n:])
        parts = [
            _fast_kernels(*a, *b) for a, b in ((first, first), (second, second), (first, second))
        ]
    of_x, of_y, of_both = (part.sum(dtype=torch.float64).item() for part in parts)
    found: float = _combined(of_x, of_y, of_both, n)
    return found if found > 0.1 * max(farthest, 1) / n else None


def _fast_kernels(a: Tensor, size_a: Tensor, b: Tensor, size_b: Tensor) -> Tensor:
    """Computes kernels from scaled rows and minus half of their squared norms."""
    return torch.addmm(size_b, a, b.T).add_(size_a[:, None]).exp_()


_FAR = 16.0
"""Largest exponent for which float32 is accurate enough."""
_FEW = 128
"""Number of rows up to which one product of all rows is faster than three."""
