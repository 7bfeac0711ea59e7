"""Means, deviations and the correlation of two variables, whatever their scales and offsets."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ignite.metrics._scratch import arrays_of, inner_product, quietly
from ignite.metrics.statistics._statistic import Reading, Statistic, wide_dtype
from ignite.metrics.statistics._waiting import Pair, Waiting

__all__ = ["Moments"]

_MAX_ROWS = 256
"""How many batches wait to be joined at most."""


class Joined(NamedTuple):
    """What follows from moments: tensors of shape (), or of shape (2,), one for each variable."""

    num_examples: Tensor
    means: Tensor
    difference: Tensor
    """The mean of x less that of y, shape ()."""
    norms: Tensor
    r"""The lengths of the vectors of deviations from the means, :math:`\sqrt{\sum_i (x_i - \bar{x})^2}`."""
    correlation: Tensor
    """The sum of multiplied deviations as a fraction of the product of both norms, shape (); 0 if that is 0."""


class Moments(Statistic):
    r"""Number, means, and norms and correlation of the deviations from them, of pairs (x, y).

    Batches are joined as Chan et al. do with sums of squares, but by norms, which are of the scale of the data: squares
    of very small and very large numbers have no place among floating point numbers. A mean is held as the sum of two
    numbers, so that data may be far from 0 in relation to how much they vary.

    Args:
        select: ``select(output, *args) -> (x, y)``, each of shape (B,), floating point; it checks the output.
        args: further arguments of ``select``.
        device: where to accumulate; None means where the tensors are.

    Example:
        >>> moments = Moments(lambda output: output)
        >>> moments.update(Reading((torch.tensor([1.0, 3.0]), torch.tensor([1.0, 2.0]))))
        >>> moments.joined().means.tolist(), moments.joined().correlation.item()
        ([2.0, 1.5], 1.0)

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
        self._rows: list[Tensor] = []
        self._waiting = Waiting()
        self.version += 1

    @property
    def rows(self) -> Tensor | None:
        """A row of what :func:`_row` returns for each process, shape (1, 8); None before the first example."""
        for pair in self._waiting.taken():
            self._take_in(*pair)
        if len(self._rows) > 1:
            self._rows = [_join(torch.stack(self._rows))]
        return self._rows[0].unsqueeze(0) if self._rows else None

    def _update(self, reading: Reading) -> None:
        pair: Pair = reading.derive_further(Pair, self._select, *self._args)
        if not pair.num_examples:
            return
        if pair.is_large:
            self._take_in(pair.x, pair.y)
        elif self._waiting.add(pair):
            for each in self._waiting.taken():
                self._take_in(*each)
        self.num_examples += pair.num_examples

    def _undoing(self) -> Callable[[], None]:
        """A function that takes back all updates from now on."""
        kept, undo_waiting = {**vars(self), "_rows": list(self._rows)}, self._waiting._undoing()

        def undo() -> None:
            self._restore(kept)
            undo_waiting()

        return undo

    def _take_in(self, x: Tensor, y: Tensor) -> None:
        device = self.where(x)
        arrays = arrays_of(x, y) if device.type == "cpu" else None
        if arrays is None:
            self._rows.append(_row(torch.stack((x, y)).to(device, wide_dtype(device))))
        else:
            self._rows.append(_row_of_arrays(*arrays))
        if len(self._rows) > _MAX_ROWS:
            self._rows = [_join(torch.stack(self._rows))]

    def take(self, values: Any) -> None:
        """Goes on from other moments."""
        rows = values["rows"]
        self.num_examples, self._waiting = values["num_examples"], Waiting()
        self._rows = [] if rows is None else list(rows)
        self.version += 1

    def _shapes_of(self, values: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        rows = values["rows"]
        return {"rows": (len(rows) if isinstance(rows, Tensor) and rows.ndim else 0, 8)}

    def __str__(self) -> str:
        return "moments"

    def joined(self) -> Joined:
        """What all rows give together."""
        rows = self.rows
        assert rows is not None
        (row,) = rows
        high, low = row[1:3], row[3:5]
        difference = (high[0] - high[1]) + (low[0] - low[1])
        return Joined(row[0], high + low, difference, row[5:7], row[7])


def _row(pair: Tensor) -> Tensor:
    """Number, the two parts of both means, both norms, and the correlation, shape (8,), of a pair (2, B)."""
    first = pair[:, :1]
    deviations = pair - first  # 0 if all are equal, and no large offset is left
    low = deviations.mean(dim=1, keepdim=True)
    deviations -= low
    norms, correlation = _norms_and_correlation(deviations)
    num_examples = low.new_full((1,), pair.shape[1])
    return torch.cat([num_examples, first.flatten(), low.flatten(), norms, correlation])


def _row_of_arrays(x: Any, y: Any) -> Tensor:
    """As :func:`_row`, of two arrays (B,)."""
    with quietly():
        (x, *of_x), (y, *of_y) = _scaled_deviations(x), _scaled_deviations(y)
        squares = inner_product(x, x), inner_product(y, y)
        product = squares[0] * squares[1]
        correlation = inner_product(x, y) / math.sqrt(product or 1)
    norms = [scale * math.sqrt(square) for (*_, scale), square in zip((of_x, of_y), squares, strict=True)]
    firsts, lows = (of_x[0], of_y[0]), (of_x[1], of_y[1])
    return torch.tensor([len(x), *firsts, *lows, *norms, correlation], dtype=torch.float64)


def _scaled_deviations(values: Any) -> tuple[Any, float, float, float]:
    """Deviations from the mean, as fractions of the largest; the two parts of the mean, and the largest."""
    values = values.astype("float64")
    first = float(values[0])
    values -= first
    low = float(values.mean())
    values -= low
    largest = float(max(values.max(), -values.min()))
    values /= largest or 1
    return values, first, low, largest


def _norms_and_correlation(deviations: Tensor) -> tuple[Tensor, Tensor]:
    """Of vectors (2, B): shapes (2,) and (1,)."""
    largest = torch.linalg.vector_norm(deviations, torch.inf, dim=1, keepdim=True)  # (2, 1)
    scaled = deviations / largest.masked_fill(largest == 0, 1)  # whose squares are neither too small nor too large
    products = scaled @ scaled.T
    squares = products.diagonal()
    product = squares.prod()
    # Of the product, so that it is exactly 1 for equal vectors.
    correlation = products[0, 1] / product.masked_fill(product == 0, 1).sqrt()
    return largest.flatten() * squares.sqrt(), correlation[None]


def _join(rows: Tensor) -> Tensor:
    """One row for several (K, 8)."""
    counts, high, low = rows[:, :1], rows[:, 1:3], rows[:, 3:5]
    num_examples = counts.sum()
    offsets = (high - high[0]) + low  # from the first
    mean = (offsets * (counts / num_examples)).sum(dim=0)
    # Each batch is a vector of its norm that is orthogonal to all others, and one of equal deviations of its mean.
    between = (offsets - mean) * counts.sqrt()
    norms, _ = _norms_and_correlation(torch.cat([rows[:, 5:7], between]).T)
    scales = norms.masked_fill(norms == 0, 1)
    shares = (rows[:, 5:7] / scales).prod(dim=1) * rows[:, 7] + (between / scales).prod(dim=1)
    total, lost = _two_sum(high[0], mean)
    return torch.cat([num_examples[None], total, lost, norms, shares.sum()[None]])


def _two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The sum, and what rounding has taken from it (Knuth)."""
    total = a + b
    rest = total - a
    return total, (a - (total - rest)) + (b - rest)
