"""Means, deviations and the correlation of two variables, whatever their scales and offsets."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ignite.metrics._host_arrays import arrays_of, inner_product, without_float_warnings
from ignite.metrics.statistics._pending_batches import LARGE, PendingBatches
from ignite.metrics.statistics._statistic import Reading, Statistic, wide_dtype

__all__ = ["Moments"]

_MAX_ROWS = 256
"""How many batches are held one by one at most."""
Row: TypeAlias = tuple[float, ...]
"""Of a batch: its number of examples, both means in two parts (first both high ones), both norms, the correlation."""


class Joined(NamedTuple):
    """What follows from moments; pairs are of both variables."""

    num_examples: float
    means: tuple[float, float]
    difference: float
    """The mean of x less that of y."""
    norms: tuple[float, float]
    r"""The lengths of the vectors of deviations from the means, :math:`\sqrt{\sum_i (x_i - \bar{x})^2}`."""
    correlation: float
    """The sum of multiplied deviations as a fraction of the product of both norms; 0 if that is 0."""


class Moments(Statistic):
    r"""Number, means, and norms and correlation of the deviations from them, of pairs (x, y).

    Batches are joined as Chan et al. do with sums of squares, but by norms, which are of the scale
    of the data: squares of very small and very large numbers have no place among floating point
    numbers. A mean is held as the sum of two numbers, so that data may be far from 0 in relation to
    how much they vary.

    Args:
        select: ``select(output, *args) -> (x, y)``, each of shape (B,), floating point; it checks
            the output.
        args: further arguments of ``select``.
        device: where to accumulate; None means where the tensors are.

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
        """Forgets all that was seen."""
        self.num_examples = 0
        self._rows: list[Row] = []
        self._on_device: list[Tensor] = []
        """Rows (K, 8) on an accelerator, for which nobody waits before they are needed."""
        self._pending = PendingBatches()
        self.version += 1

    @property
    def rows(self) -> Tensor | None:
        """The row of this process, shape (1, 8), on the CPU; None before the first example."""
        row = self._row()
        return None if row is None else torch.tensor([row], dtype=torch.float64)

    def _row(self) -> Row | None:
        """All that was seen, in one row."""
        for pair in self._pending.taken():
            self._take_in(*pair)
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
            self._take_in(*pair)
        elif self._pending.add(reading.copies_of(*pair), num_examples):
            for each in self._pending.taken():
                self._take_in(*each)
        self.num_examples += num_examples

    def _rollback_point(self) -> Callable[[], None]:
        """A function that takes back all updates from now on."""
        kept, roll_back_pending = dict(vars(self)), self._pending._rollback_point()
        kept |= {"_rows": list(self._rows), "_on_device": list(self._on_device)}

        def roll_back() -> None:
            self._restore(kept)
            roll_back_pending()

        return roll_back

    def _take_in(self, x: Tensor, y: Tensor) -> None:
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
        """Goes on from other moments."""
        rows = values["rows"]
        self.num_examples, self._pending = values["num_examples"], PendingBatches()
        self._rows, self._on_device = (
            [] if rows is None else [tuple(row) for row in rows.tolist()],
            [],
        )
        self.version += 1

    def _move_to_device_of(self, output: Any) -> None:
        """Rows are numbers, and nowhere."""
        self._moves_on_update = False

    def _shapes_of(self, values: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        rows = values["rows"]
        return {"rows": (len(rows) if isinstance(rows, Tensor) and rows.ndim else 0, 8)}

    def __str__(self) -> str:
        return "moments"

    def joined(self) -> Joined:
        """What all rows give together."""
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
"""Of a row."""


def _row_of_tensors(pair: Tensor) -> Tensor:
    """The row, shape (8,), of a pair (2, B), in the widest dtype."""
    first = pair[:, :1]
    deviations = pair - first  # 0 if all are equal, and no large offset is left
    low = deviations.mean(dim=1, keepdim=True)
    deviations -= low
    norms, correlation = _norms_and_correlation(deviations)
    num_examples = low.new_full((1,), pair.shape[1])
    return torch.cat([num_examples, first.flatten(), low.flatten(), norms, correlation])


def _row_of_arrays(x: Any, y: Any) -> Row:
    """The row of two arrays (B,)."""
    row = _row_of_sums(x, y) if x.itemsize == y.itemsize == _OF_SINGLE else None
    if row is None:
        with without_float_warnings():
            row = _row_of_scaled(x, y)
    return (float(x.shape[0]), *row)


_OF_SINGLE = 4
_MOST_LOST = 1e6


def _row_of_sums(x: Any, y: Any) -> Row | None:
    """The row without its number, of float32, whose squares and sums of them have room in float64.

    None where data are so far from 0, beside how much they vary, that more than 6 of 16 digits
    would be lost.
    """
    num = x.shape[0]
    x, y = x.astype("float64"), y.astype("float64")
    sum_x, sum_y = float(x.sum()), float(y.sum())
    all_x, all_y = inner_product(x, x), inner_product(y, y)
    squares_x, squares_y = all_x - sum_x * sum_x / num, all_y - sum_y * sum_y / num
    if not (_MOST_LOST * squares_x > all_x and _MOST_LOST * squares_y > all_y):
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
    """The row without its number, of whatever scale."""
    (x, *of_x), (y, *of_y) = _scaled_deviations(x), _scaled_deviations(y)
    squares = inner_product(x, x), inner_product(y, y)
    product = squares[0] * squares[1]
    correlation = inner_product(x, y) / math.sqrt(product or 1)
    norms = [
        scale * math.sqrt(square) for (*_, scale), square in zip((of_x, of_y), squares, strict=True)
    ]
    return (of_x[0], of_y[0], of_x[1], of_y[1], *norms, correlation)


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
    scaled = deviations / largest.masked_fill(
        largest == 0, 1
    )  # whose squares are neither too small nor too large
    products = scaled @ scaled.T
    squares = products.diagonal()
    product = squares.prod()
    # Of the product, so that it is exactly 1 for equal vectors.
    correlation = products[0, 1] / product.masked_fill(product == 0, 1).sqrt()
    return largest.flatten() * squares.sqrt(), correlation[None]


def _join(rows: Sequence[Row]) -> Row:
    """One row for several."""
    num_examples = sum(row[0] for row in rows)
    (high_x, low_x, norms_x), (high_y, low_y, norms_y) = (
        _joined_variable(rows, i, num_examples) for i in (1, 2)
    )
    norm_x, norm_y = math.hypot(*norms_x), math.hypot(*norms_y)
    scale_x, scale_y = norm_x or 1, norm_y or 1
    # Of each batch first its own norm, with its own correlation, then what it is away from the mean
    # of all.
    correlations = [correlation for row in rows for correlation in (row[7], 1)]
    shares = zip(norms_x, norms_y, correlations, strict=True)
    correlation = math.fsum((x / scale_x) * (y / scale_y) * share for x, y, share in shares)
    return num_examples, high_x, high_y, low_x, low_y, norm_x, norm_y, correlation


def _joined_variable(
    rows: Sequence[Row], i: int, num_examples: float
) -> tuple[float, float, list[float]]:
    """The mean in two parts, and norms: each batch is a vector of its own norm, orthogonal to one of equal numbers."""
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
    """The sum, and what rounding has taken from it (Knuth)."""
    total = a + b
    rest = total - a
    return total, (a - (total - rest)) + (b - rest)
