"""Ignite's attributes of metrics, such as ``_num_correct``, as parts of their statistics.

Programs derive metrics from those of this package and read or write what Ignite accumulates in
(``self._num_correct += ...`` in ``update``). Here it is accumulated in a statistic, so each of these
attributes is a :class:`StatisticPart`: reading it reads the statistic, and writing it replaces that
part of the statistic. Reduction over processes, states and ``compute`` need not know of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["StatisticPart"]


class StatisticPart(property):
    """An attribute of a metric that is a part of its first statistic.

    Args:
        name: name of the part. Empty if the value is computed from several parts.
        initial: value of the attribute while the part is None, before the first batch. A number, or
            a function of the metric.
        read: ``read(metric, statistic)``, the value of the attribute or None, if it is not the part.
        write: ``write(metric, statistic, value)``, likewise. Without a name and without this, the
            attribute can only be read.

    Raises:
        TypeError: when written, if the value is not a number or tensor.
        AttributeError: when written, if the attribute can only be read.
    """

    def __init__(
        self,
        name: str = "",
        initial: float | Callable[[Any], Any] = 0,
        read: Callable[[Any, Any], Any] | None = None,
        write: Callable[[Any, Any, Any], None] | None = None,
    ) -> None:
        super().__init__()
        self._part = name
        self._initial = initial
        self._read = read
        self._write = write

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, metric: Any, owner: type | None = None) -> Any:
        if metric is None:
            return self
        statistic = metric._statistics_in_use()[0]
        read = self._read
        value = statistic.parts()[self._part] if read is None else read(metric, statistic)
        if value is None:
            return self._initial(metric) if callable(self._initial) else self._initial
        # A copy: other metrics may share the statistic, and users add to tensors in place.
        return value.clone() if isinstance(value, Tensor) else value

    def __set__(self, metric: Any, value: Any) -> None:
        if not isinstance(value, int | float | Tensor):
            raise TypeError(
                f"{self._name} of {type(metric).__name__} should be a number or a tensor, but given "
                f"{value!r}; write {type(metric).__name__}.reset() to forget all batches"
            )
        if self._write is None and not self._part:
            raise AttributeError(
                f"{self._name} of {type(metric).__name__} can only be read: it is computed from what "
                "the metric accumulates"
            )
        value = value.detach().clone() if isinstance(value, Tensor) else value
        statistic = metric._own_statistic()
        if self._write is not None:
            self._write(metric, statistic, value)
        else:
            statistic.assign(self._part, value)


def zero(metric: Any) -> Tensor:
    """Returns the initial value of a sum of floating point numbers."""
    return torch.zeros((), device=metric._device)


def no_count(metric: Any) -> Tensor:
    """Returns the initial value of a count."""
    return torch.zeros((), dtype=torch.int64, device=metric._device)


def doubled_total() -> StatisticPart:
    """Returns the attribute that is twice the first value of :class:`Totals`, which leaves out a factor."""

    def read(metric: Any, totals: Any) -> Tensor | None:
        return 2 * totals.values[0] if totals.values else None

    def write(metric: Any, totals: Any, value: Any) -> None:
        totals.assign("total_0", value / 2)

    return StatisticPart("", zero, read, write)


def number(name: str) -> StatisticPart:
    """Returns the attribute that is a part of the statistic, a Python number."""

    def read(metric: Any, statistic: Any) -> float | None:
        value = statistic.parts()[name]
        return value.item() if isinstance(value, Tensor) else value

    return StatisticPart(name, 0.0, read)


def part_names(metric_type: type) -> tuple[str, ...]:
    """Returns the names of the attributes of a class that are parts, those of base classes first."""
    names = [
        name
        for each in reversed(metric_type.__mro__)
        for name, value in vars(each).items()
        if isinstance(value, StatisticPart)
    ]
    return tuple(dict.fromkeys(names))
