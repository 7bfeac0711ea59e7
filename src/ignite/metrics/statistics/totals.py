"""Sums or maxima over batches of the values that a function returns for each batch."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite._core.calls import name_of
from ignite.metrics._output_arrays import detached
from ignite.metrics.statistics._statistic import (
    LARGE,
    PendingBatches,
    Reading,
    Statistic,
    wide_dtype,
)

__all__ = ["Totals"]


class Totals(Statistic):
    """Sums the values that ``measure`` returns for each batch, and counts examples.

    Sums are kept in float64. On devices without float64 they are kept in float32 with compensated
    summation (Neumaier, 1974). Integers are kept in int64.

    Args:
        measure: ``measure(output, *args) -> (num_examples, *values)``. Each value is a number or a
            tensor, already summed over the batch. It checks the output and raises if it is invalid.
        args: further arguments of ``measure``. Statistics with the same function and arguments are
            equal.
        num_values: number of values that ``measure`` returns.
        op: "SUM" or "MAX": how the values of batches are combined.
        device: device on which to accumulate. None: that of the values.
        select: ``select(output) -> (x, y)``, two tensors of shape (B, ...), which are passed to
            ``measure`` instead of the output. It checks the output. Small batches are joined before
            they are measured, because the calls would take longer than the computation. The time of
            reading a sum can therefore change it, within rounding of the widest dtype.
        is_rowwise: whether ``measure`` handles each row separately and sums in the widest dtype, so
            that joined batches need not be converted to it.
        joins_below: number of elements below which batches are joined. Lower it if ``measure``
            takes less time than copying such a batch.

    Example:
        >>> totals = Totals(lambda y: (len(y), y.sum()))
        >>> totals.update(Reading(torch.tensor([1.0, 2.0])))
        >>> totals.num_examples, totals.values[0].item()
        (2, 3.0)
    """

    def __init__(
        self,
        measure: Callable[..., tuple[Any, ...]],
        args: tuple[Hashable, ...] = (),
        num_values: int = 1,
        op: str = "SUM",
        device: torch.device | None = None,
        select: Callable[..., tuple[Tensor, Tensor]] | None = None,
        is_rowwise: bool = False,
        joins_below: int = LARGE,
    ) -> None:
        self._measure = measure
        self._args = args
        self._num_values = num_values
        self._op = op
        self._select = select
        self._is_rowwise = is_rowwise
        self._joins_below = joins_below
        super().__init__(device)

    def _parameters(self) -> tuple[Hashable, ...]:
        return (self._measure, self._args, self._op, self._select)

    def reset(self) -> None:
        """Clears all totals."""
        self.num_examples = 0
        self._set_sums([])
        self._pending = PendingBatches()
        self.version += 1

    def _set_sums(self, sums: list[Tensor | float]) -> None:
        """Replaces the sums, with zero compensation."""
        self._sums = sums
        self._compensations = [_initial_compensation(total) for total in sums]
        self._is_compensated = any(each is not None for each in self._compensations)
        self._are_numbers = (
            self._op == "SUM" and bool(sums) and all(type(total) is float for total in sums)
        )

    @property
    def values(self) -> list[Tensor]:
        """The totals; empty before the first batch."""
        self._measure_pending()
        return [
            _as_tensor(total if compensation is None else total + compensation)
            for total, compensation in zip(self._sums, self._compensations, strict=True)
        ]

    @property
    def mean(self) -> float:
        """The first total, divided by the number of examples."""
        self._measure_pending()
        total, compensation = self._sums[0], self._compensations[0]
        return float(total if compensation is None else total + compensation) / self.num_examples

    def _update(self, reading: Reading) -> None:
        if self._select is None:
            num_examples, *values = self._measure(reading.output, *self._args)
            self._add(values)
        else:
            x, y = pair = reading.derive(self._select)
            num_examples = x.shape[0]
            if not num_examples:
                return
            num_numbers = x.numel()
            if num_numbers >= self._joins_below:
                self._add(self._measure(pair, *self._args)[1:])
            elif self._pending.add(reading.copies_of(x, y), num_numbers):
                self._measure_pending()
        self.num_examples += num_examples

    def _measure_pending(self) -> None:
        """Measures pending batches, in the widest dtype, so that joining them hardly matters."""
        for x, y in self._pending.taken():
            pair = (x, y)
            if not self._is_rowwise:
                wide = _floats_as_wide(x)
                pair = (wide, wide if y is x else _floats_as_wide(y))
            self._add(self._measure(pair, *self._args)[1:])

    def _add(self, values: Sequence[Tensor | float]) -> None:
        if self._are_numbers:
            if len(values) == 1 and type(values[0]) is float:
                self._sums[0] += values[0]
                return
            if all(type(value) is float for value in values):
                self._sums = [
                    total + value for total, value in zip(self._sums, values, strict=True)
                ]
                return
        added = [self._wide(value) if isinstance(value, Tensor) else value for value in values]
        if not self._sums:
            self._set_sums(added)
        elif self._op == "MAX":
            self._sums = [_larger(*pair) for pair in zip(self._sums, added, strict=True)]
        elif self._is_compensated:
            pairs = [
                _add_compensated(*item)
                for item in zip(self._sums, self._compensations, added, strict=True)
            ]
            self._sums = [total for total, _ in pairs]
            self._compensations = [compensation for _, compensation in pairs]
        elif all(
            type(total) is type(value) for total, value in zip(self._sums, added, strict=True)
        ):
            self._sums = list(map(operator.add, self._sums, added))
        else:  # the sum of a batch without examples may be a number, and the next one a tensor
            self._set_sums(list(map(operator.add, self._sums, added)))

    def _wide(self, value: Tensor) -> Tensor | float:
        """Converts a value to the dtype and device of the sums; a scalar on the CPU to a number."""
        if value.ndim == 0 and value.is_cpu and (self.device is None or self.device.type == "cpu"):
            return value.item()
        value, device = detached(value), self.where(value)
        if (
            value.dtype in (torch.float64, torch.int64)
            and value.device == device
            and device.type != "mps"
        ):
            return value
        return value.to(device, wide_dtype(device) if value.is_floating_point() else torch.int64)

    def parts(self) -> dict[str, Any]:
        """Returns the number of examples and the totals, which are None before the first batch."""
        totals: list[Any] = [*self.values] or [None] * self._num_values
        return {
            "num_examples": self.num_examples,
            **{f"total_{i}": total for i, total in enumerate(totals)},
        }

    def take(self, values: Mapping[str, Any]) -> None:
        """Replaces the totals."""
        self.num_examples = values["num_examples"]
        # A saved total may come from a device without float64.
        totals = [_floats_as_wide(values[f"total_{i}"]) for i in range(self._num_values)]
        self._set_sums([] if any(total is None for total in totals) else totals)
        self._pending = PendingBatches()
        self.version += 1

    def assign(self, name: str, value: Any) -> None:
        """Replaces the number of examples or a total; totals without a batch are 0."""
        totals = {f"total_{i}": 0.0 for i in range(self._num_values)}
        known = {key: part for key, part in self.parts().items() if part is not None}
        self.take({**totals, **known, name: int(value) if name == "num_examples" else value})

    def op_of(self, name: str) -> str:
        """Returns SUM for the number of examples, and ``op`` for the totals."""
        return "SUM" if name == "num_examples" else self._op

    def __str__(self) -> str:
        return f"totals of {name_of(self._measure).lstrip('_')}"


def _floats_as_wide(value: Any) -> Any:
    """Converts a floating point tensor to the widest dtype of its device."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.to(wide_dtype(value))
    return value


def _as_tensor(total: Tensor | float) -> Tensor:
    if isinstance(total, Tensor):
        return total
    return torch.tensor(total, dtype=torch.float64 if isinstance(total, float) else torch.int64)


def _larger(a: Tensor | float, b: Tensor | float) -> Tensor | float:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return torch.maximum(_as_tensor(a), _as_tensor(b))
    return a if a > b or a != a else b  # propagates NaN


def _initial_compensation(total: Tensor | float) -> Tensor | None:
    """Returns zeros for a float32 tensor, whose sums need compensation, else None."""
    return (
        torch.zeros_like(total)
        if isinstance(total, Tensor) and total.dtype == torch.float32
        else None
    )


def _add_compensated(
    total: Tensor | float, compensation: Tensor | None, value: Tensor | float
) -> tuple[Tensor | float, Tensor | None]:
    added = total + value
    if compensation is None or not isinstance(total, Tensor) or not isinstance(value, Tensor):
        return added, compensation
    is_larger = total.abs() >= value.abs()
    rounding_error = torch.where(is_larger, (total - added) + value, (value - added) + total)
    return added, compensation + rounding_error
