"""Means, deviations and the correlation of two variables, accurate for any scale and offset."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ignite.metrics._output_arrays import arrays_of, inner_product, without_float_warnings
from ignite.metrics.statistics._statistic import (
    LARGE,
    PendingBatches,
    Reading,
    Statistic,
    wide_dtype,
)

__all__ = ["Moments"]

_MAX_ROWS = 256
"""Number of rows at which they are joined."""
Row: TypeAlias = tuple[float, ...]
"""Moments of a batch: number of examples, high parts of both means, low parts of both means, both
norms, correlation."""


class Joined(NamedTuple):
    """Moments of all examples. Pairs are for x and y."""

    num_examples: float
    means: tuple[float, float]
    difference: float
    """Mean of x minus mean of y."""
    norms: tuple[float, float]
    r"""Norms of the deviations from the means, :math:`\sqrt{\sum_i (x_i - \bar{x})^2}`."""
    correlation: float
    """Pearson correlation; 0 if a norm is 0."""


class Moments(Statistic):
    r"""Number, means, norms of the deviations and correlation of pairs (x, y).

    Batches are joined by the algorithm of Chan et al., but with norms in place of sums of squares:
    squares of very small or very large numbers underflow or overflow. A mean is kept as the sum of
    two numbers, so that the offset of the data may be large compared to their deviations.

    Args:
        select: ``select(output, *args) -> (x, y)``, each of shape (B,), floating point. It checks
            the output.
        args: further arguments of ``select``.
        device: device on which to accumulate. None: that of the tensors.

    Example:
        >>> moments = Moments(lambda output: output)
        >>> moments.update(Reading((torch.tensor([1.0, 3.0]), torch.tensor([1.0, 2.0]))))
        >>> moments.joined().means, moments.joined().correlation
        ((2.0, 1.5), 1.0)

    References:
        Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
        variances", 1979.
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
        """Clears everything that was accumulated."""
        self.num_examples = 0
        self._rows: list[Row] = []
        self._on_device: list[Tensor] = []
        """Rows (K, 8) on an accelerator, copied to the host only when they are needed."""
        self._pending = PendingBatches()
        self.version += 1

    @property
    def rows(self) -> Tensor | None:
        """Moments of this process, shape (1, 8), on the CPU; None before the first example."""
        row = self._row()
        return None if row is None else torch.tensor([row], dtype=torch.float64)

    def _row(self) -> Row | None:
        """Joins everything into one row."""
        for pair in self._pending.taken():
            self._add(*pair)
        if self._on_device:
            rows = torch.cat([table.reshape(-1, _LENGTH) for table in self._on_device]).tolist()
            self._rows += [tuple(row) for row in rows]
            self._on_device = []
        if len(self._rows) > 1:
            self._rows = [_join(self._rows)]
        return self._rows[0] if self._rows else None

    def _update(self, reading: Reading) -> None:
        pair = reading.derive(self._select, *self._args)
        num_examples = pair[0].shape[0]
        if not num_examples:
            return
        if num_examples >= LARGE:
            self._add(*pair)
        elif self._pending.add(reading.copies_of(*pair), num_examples):
            for each in self._pending.taken():
                self._add(*each)
        self.num_examples += num_examples

    def _rollback_point(self) -> Callable[[], None]:
        """Returns a function that undoes all updates from now on."""
        kept, roll_back_pending = dict(vars(self)), self._pending._rollback_point()
        kept |= {"_rows": list(self._rows), "_on_device": list(self._on_device)}

        def roll_back() -> None:
            self._restore(kept)
            roll_back_pending()

        return roll_back

    def _add(self, x: Tensor, y: Tensor) -> None:
        arrays = arrays_of(x, y) if self.device is None or self.device.type == "cpu" else None
        if arrays is not None:
            self._rows.append(_row_of_arrays(*arrays))
            if len(self._rows) > _MAX_ROWS:
                self._rows = [_join(self._rows)]
            return
        device = self.where(x)
        self._on_device.append(_row_of_tensors(torch.stack((x, y)).to(device, wide_dtype(device))))
        if len(self._on_device) % _MAX_ROWS == 0:
            self._on_device[-_MAX_ROWS:] = [torch.stack(self._on_device[-_MAX_ROWS:])]

    def take(self, values: Any) -> None:
        """Replaces the moments."""
        rows = values["rows"]
        self.num_examples, self._pending = values["num_examples"], PendingBatches()
        self._rows, self._on_device = (
            [] if rows is None else [tuple(row) for row in rows.tolist()],
            [],
        )
        self.version += 1

    def _move_to_device_of(self, output: Any) -> None:
        """Does nothing: the rows are Python numbers."""
        self._moves_on_update = False

    def _shapes_of(self, values: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        rows = values["rows"]
        return {"rows": (len(rows) if isinstance(rows, Tensor) and rows.ndim else 0, 8)}

    def __str__(self) -> str:
        return "moments"

    def take_joined(self, found: Joined) -> None:
        """Replaces the moments."""
        row = (found.num_examples, *found.means, 0.0, 0.0, *found.norms, found.correlation)
        rows = torch.tensor([row], dtype=torch.float64)
        self.take({"num_examples": int(found.num_examples), "rows": rows})

    def joined(self) -> Joined:
        """Returns the moments of all examples."""
        row = self._row()
        assert row is not None
        num_examples, high_x, high_y, low_x, low_y, norm_x, norm_y, correlation = row
        difference = (high_x - high_y) + (low_x - low_y)
        return Joined(
            num_examples,
            (high_x + low_x, high_y + low_y),
            difference,
            (norm_x, norm_y),
            correlation,
        )


_LENGTH = 8
"""Length of a row."""


def _row_of_tensors(pair: Tensor) -> Tensor:
    """Computes the row, shape (8,), of a pair (2, B) in the widest dtype."""
    first = pair[:, :1]
    deviations = pair - first  # without a large offset; exactly 0 if all values are equal
    low = deviations.mean(dim=1, keepdim=True)
    deviations -= low
    norms, correlation = _norms_and_correlation(deviations)
    num_examples = low.new_full((1,), pair.shape[1])
    return torch.cat([num_examples, first.flatten(), low.flatten(), norms, correlation])


def _row_of_arrays(x: Any, y: Any) -> Row:
    """Computes the row of two arrays (B,)."""
    row = _row_of_sums(x, y) if x.itemsize == y.itemsize == _FLOAT32_BYTES else None
    if row is None:
        with without_float_warnings():
            row = _row_of_scaled(x, y)
    return (float(x.shape[0]), *row)


_FLOAT32_BYTES = 4
_MAX_CANCELLATION = 1e6


def _row_of_sums(x: Any, y: Any) -> Row | None:
    """Computes the row, without the number of examples, from sums and sums of squares.

    This is fast and, for float32 data, cannot overflow in float64. None if cancellation would lose
    more than 6 of the 16 digits, because the offset is large compared to the deviations.
    """
    num = x.shape[0]
    x, y = x.astype("float64"), y.astype("float64")
    sum_x, sum_y = float(x.sum()), float(y.sum())
    all_x, all_y = inner_product(x, x), inner_product(y, y)
    squares_x, squares_y = all_x - sum_x * sum_x / num, all_y - sum_y * sum_y / num
    if not (_MAX_CANCELLATION * squares_x > all_x and _MAX_CANCELLATION * squares_y > all_y):
        return None
    correlation = (inner_product(x, y) - sum_x * sum_y / num) / math.sqrt(squares_x * squares_y)
    return (
        sum_x / num,
        sum_y / num,
        0.0,
        0.0,
        math.sqrt(squares_x),
        math.sqrt(squares_y),
        correlation,
    )


def _row_of_scaled(x: Any, y: Any) -> Row:
    """Computes the row, without the number of examples, for data of any scale."""
    (x, *of_x), (y, *of_y) = _scaled_deviations(x), _scaled_deviations(y)
    squares = inner_product(x, x), inner_product(y, y)
    product = squares[0] * squares[1]
    correlation = inner_product(x, y) / math.sqrt(product or 1)
    norms = [
        scale * math.sqrt(square) for (*_, scale), square in zip((of_x, of_y), squares, strict=True)
    ]
    return (of_x[0], of_y[0], of_x[1], of_y[1], *norms, correlation)


def _scaled_deviations(values: Any) -> tuple[Any, float, float, float]:
    """Returns the deviations divided by the largest, both parts of the mean, and the largest."""
    values = values.astype("float64")
    first = float(values[0])
    values -= first
    low = float(values.mean())
    values -= low
    largest = float(max(values.max(), -values.min()))
    values /= largest or 1
    return values, first, low, largest


def _norms_and_correlation(deviations: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the norms (2,) and the correlation (1,) of two vectors of deviations (2, B)."""
    largest = torch.linalg.vector_norm(deviations, torch.inf, dim=1, keepdim=True)  # (2, 1)
    scaled = deviations / largest.masked_fill(largest == 0, 1)  # squares cannot overflow
    products = scaled @ scaled.T
    squares = products.diagonal()
    product = squares.prod()
    # The root of the product, not the product of roots: the result is exactly 1 for equal vectors.
    correlation = products[0, 1] / product.masked_fill(product == 0, 1).sqrt()
    return largest.flatten() * squares.sqrt(), correlation[None]


def _join(rows: Sequence[Row]) -> Row:
    """Joins several rows into one."""
    num_examples = sum(row[0] for row in rows)
    (high_x, low_x, norms_x), (high_y, low_y, norms_y) = (
        _joined_variable(rows, i, num_examples) for i in (1, 2)
    )
    norm_x, norm_y = math.hypot(*norms_x), math.hypot(*norms_y)
    scale_x, scale_y = norm_x or 1, norm_y or 1
    # Two terms for each batch: the deviations from its own means, with their correlation, and the
    # offset of its means from those of all examples, which are constant and so correlate fully.
    correlations = [correlation for row in rows for correlation in (row[7], 1)]
    shares = zip(norms_x, norms_y, correlations, strict=True)
    correlation = math.fsum((x / scale_x) * (y / scale_y) * share for x, y, share in shares)
    return num_examples, high_x, high_y, low_x, low_y, norm_x, norm_y, correlation


def _joined_variable(
    rows: Sequence[Row], i: int, num_examples: float
) -> tuple[float, float, list[float]]:
    """Returns the mean in two parts, and two norms for each batch.

    The first is the norm of the deviations from the batch's mean, the second that of the offset of
    this mean from the mean of all examples. These vectors are orthogonal: the squares of all norms
    add up to the square of the total norm.
    """
    first = rows[0][i]
    offsets = [(row[i] - first) + row[i + 2] for row in rows]
    mean = math.fsum(
        offset * (row[0] / num_examples) for offset, row in zip(offsets, rows, strict=True)
    )
    norms = []
    for offset, row in zip(offsets, rows, strict=True):
        norms += [row[i + 4], (offset - mean) * math.sqrt(row[0])]
    return *_two_sum(first, mean), norms


def _two_sum(a: float, b: float) -> tuple[float, float]:
    """Returns the sum and its rounding error (Knuth's TwoSum)."""
    total = a + b
    rest = total - a
    return total, (a - (total - rest)) + (b - rest)
