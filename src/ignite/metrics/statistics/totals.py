"""Sums, or maxima, of something that a function says of each batch."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite._core.calls import name_of
from ignite.metrics._host_arrays import detached
from ignite.metrics.statistics._pending_batches import LARGE, PendingBatches
from ignite.metrics.statistics._statistic import Reading, Statistic, wide_dtype

__all__ = ["Totals"]


class Totals(Statistic):
    """Adds up what ``measure`` returns for each batch, and counts examples.

    Sums are held as float64, or as float32 with the part that each addition has lost (Neumaier
    1974) on devices that have no float64. Integers are held as int64.

    Args:
        measure: ``measure(output, *args) -> (num_examples, *values)``, each value a number or a
            tensor, already summed over the batch. It checks the output and raises before anything
            is counted.
        args: further arguments of ``measure``; with it, they say what is accumulated.
        num_values: how many values ``measure`` returns.
        op: "SUM" or "MAX", of the values.
        device: where to accumulate; None means where the values are.
        select: ``select(output) -> (x, y)``, two tensors of shape (B, ...), which ``measure`` is
            given instead of the output. It does the checks. Small batches are joined before they
            are measured, because to call for a result then costs more than to compute it; sums so
            depend, within rounding of the widest dtype, on when they are looked at.
        is_rowwise: whether ``measure`` looks at each row by itself and adds up in the widest dtype,
            so that joined batches need not be made wide.

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
    ) -> None:
        self._measure = measure
        self._args = args
        self._num_values = num_values
        self._op = op
        self._select = select
        self._is_rowwise = is_rowwise
        super().__init__(device)

    def _parameters(self) -> tuple[Hashable, ...]:
        return (self._measure, self._args, self._op, self._select)

    def reset(self) -> None:
        """Forgets all that was seen."""
        self.num_examples = 0
        self._hold([])
        self._pending = PendingBatches()
        self.version += 1

    def _hold(self, sums: list[Tensor | float]) -> None:
        """Goes on from these sums, that have lost nothing yet."""
        self._sums = sums
        self._lost = [_zeros(total) for total in sums]
        self._loses = any(lost is not None for lost in self._lost)
        self._are_numbers = (
            self._op == "SUM" and bool(sums) and all(type(total) is float for total in sums)
        )

    @property
    def values(self) -> list[Tensor]:
        """The totals; empty if there was no batch."""
        self._settle()
        pairs = zip(self._sums, self._lost, strict=True)
        return [_as_tensor(total if lost is None else total + lost) for total, lost in pairs]

    @property
    def mean(self) -> float:
        """The first value, divided by the number of examples."""
        return float(self.values[0]) / self.num_examples

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
            if num_numbers >= LARGE:
                self._add(self._measure(pair, *self._args)[1:])
            elif self._pending.add(reading.copies_of(x, y), num_numbers):
                self._settle()
        self.num_examples += num_examples

    def _settle(self) -> None:
        """Measures what waits, in the widest dtype: then it hardly shows which batches were joined."""
        for x, y in self._pending.taken():
            pair = (x, y)
            if not self._is_rowwise:
                wide = _as_measured(x)
                pair = (wide, wide if y is x else _as_measured(y))
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
            self._hold(added)
        elif self._op == "MAX":
            self._sums = [_larger(*pair) for pair in zip(self._sums, added, strict=True)]
        elif self._loses:
            pairs = [_add(*item) for item in zip(self._sums, self._lost, added, strict=True)]
            self._sums, self._lost = [total for total, _ in pairs], [lost for _, lost in pairs]
        elif all(
            type(total) is type(value) for total, value in zip(self._sums, added, strict=True)
        ):
            self._sums = list(map(operator.add, self._sums, added))
        else:  # held anew, as a number, from a batch without examples, may become a tensor
            self._hold(list(map(operator.add, self._sums, added)))

    def _wide(self, value: Tensor) -> Tensor | float:
        """The value where it is accumulated, as it is accumulated: a single value on the CPU as a number."""
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
        """The number of examples and each total, which is None before the first batch."""
        totals: list[Any] = [*self.values] or [None] * self._num_values
        return {
            "num_examples": self.num_examples,
            **{f"total_{i}": total for i, total in enumerate(totals)},
        }

    def take(self, values: Mapping[str, Any]) -> None:
        """Goes on from other totals."""
        self.num_examples = values["num_examples"]
        totals = [_as_wide(values[f"total_{i}"]) for i in range(self._num_values)]
        self._hold([] if any(total is None for total in totals) else totals)
        self._pending = PendingBatches()
        self.version += 1

    def op_of(self, name: str) -> str:
        """SUM, but for the totals of another operation."""
        return "SUM" if name == "num_examples" else self._op

    def __str__(self) -> str:
        return f"totals of {name_of(self._measure).lstrip('_')}"


def _as_measured(tensor: Tensor) -> Tensor:
    return tensor.to(wide_dtype(tensor)) if tensor.is_floating_point() else tensor


def _as_wide(total: Any) -> Any:
    """A total as it is accumulated where it is: it may come from a device without float64."""
    if isinstance(total, Tensor) and total.is_floating_point():
        return total.to(wide_dtype(total))
    return total


def _as_tensor(total: Tensor | float) -> Tensor:
    if isinstance(total, Tensor):
        return total
    return torch.tensor(total, dtype=torch.float64 if isinstance(total, float) else torch.int64)


def _larger(a: Tensor | float, b: Tensor | float) -> Tensor | float:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return torch.maximum(_as_tensor(a), _as_tensor(b))
    return a if a > b or a != a else b  # NaN survives


def _zeros(total: Tensor | float) -> Tensor | None:
    """Room for what additions lose, where they lose too much."""
    return (
        torch.zeros_like(total)
        if isinstance(total, Tensor) and total.dtype == torch.float32
        else None
    )


def _add(
    total: Tensor | float, lost: Tensor | None, value: Tensor | float
) -> tuple[Tensor | float, Tensor | None]:
    added = total + value
    if lost is None or not isinstance(total, Tensor) or not isinstance(value, Tensor):
        return added, lost
    is_larger = total.abs() >= value.abs()
    return added, lost + torch.where(is_larger, (total - added) + value, (value - added) + total)
