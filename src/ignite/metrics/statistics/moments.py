"""Means, variances and the covariance of two variables, without the cancellation of sums of squares."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ignite.metrics.statistics._statistic import Reading, Statistic, wide_dtype

__all__ = ["Moments"]


class Moments(Statistic):
    r"""Number, means, and sums of squared and multiplied deviations from them, of pairs (x, y).

    Batches are joined by the update of Chan et al., which is exact where sums of squares cancel: for
    :math:`\bar{x} \gg \sigma_x`.

    Args:
        select: ``select(output, *args) -> (x, y)``, each of shape (B,), floating point; it checks the output.
        args: further arguments of ``select``.
        device: where to accumulate; None means where the tensors are.

    Example:
        >>> moments = Moments(lambda output: output)
        >>> moments.update(Reading((torch.tensor([1.0, 3.0]), torch.tensor([1.0, 2.0]))))
        >>> [round(value.item(), 2) for value in moments.joined()]  # n, means, sums of xx, yy, xy
        [2.0, 2.0, 1.5, 2.0, 0.5, 1.0]

    References:
        Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """

    PARTS: ClassVar = {"num_examples": "SUM", "rows": "ROWS"}

    def __init__(
        self,
        select: Callable[..., tuple[Tensor, Tensor]],
        args: tuple[Hashable, ...] = (),
        device: torch.device | None = None,
    ) -> None:
        self._select = select
        self._args = args
        super().__init__(device)

    def _parameters(self) -> tuple[Hashable, ...]:
        return (self._select, self._args)

    def reset(self) -> None:
        """Forgets all that was seen."""
        self.num_examples = 0
        self.rows: Any = None
        """A row of n, two means, and sums of xx, yy and xy for each process, shape (1, 6)."""
        self.version += 1

    def _update(self, reading: Reading) -> None:
        x, y = reading.derive(self._select, *self._args)
        if not len(x):
            return
        device, dtype = self.where(x), wide_dtype(x)
        x, y = x.to(device, dtype), y.to(device, dtype)
        mean_x, mean_y = x.mean(), y.mean()
        x, y = x - mean_x, y - mean_y
        n = torch.full((), len(x), dtype=dtype, device=device)
        row = torch.stack([n, mean_x, mean_y, x @ x, y @ y, x @ y])
        if self.rows is not None:  # more than one if the states of several processes were loaded
            row = _join(self.joined(), row) if len(self.rows) > 1 else _join(self.rows[0], row)
        self.rows = row.unsqueeze(0)
        self.num_examples += len(x)

    def _shapes_of(self, values: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        rows = values["rows"]
        return {"rows": (len(rows) if isinstance(rows, Tensor) and rows.ndim else 0, 6)}

    def __str__(self) -> str:
        return "moments"

    def joined(self) -> Tensor:
        """Number, mean of x, of y, sum of squared deviations of x, of y, sum of their products: shape (6,)."""
        rows: list[Tensor] = [row for row in self.rows if row[0] > 0]
        joined = rows[0]
        for row in rows[1:]:
            joined = _join(joined, row)
        return joined


def _join(a: Tensor, b: Tensor) -> Tensor:
    n = a[0] + b[0]
    delta = b[1:3] - a[1:3]  # of the means
    weight = a[0] * b[0] / n
    means = a[1:3] + delta * (b[0] / n)
    squares = a[3:5] + b[3:5] + delta**2 * weight
    product = a[5] + b[5] + delta[0] * delta[1] * weight
    return torch.cat([n[None], means, squares, product[None]])
