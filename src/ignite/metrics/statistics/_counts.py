"""Counters of labels, at the level of detail that metrics need, and of indices.

In comments on shapes: C classes, M examples of a batch, K indices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from ignite.metrics._output_arrays import BINARY, Labels, arrays_of, numpy
from ignite.metrics.statistics._statistic import wide_dtype

CORRECT = "correct"
"""The number of correct examples. Multilabel examples are correct if all their labels are."""
CLASSES = "classes"
"""For each class, the numbers of true positives, of predictions and of targets."""
MATRIX = "matrix"
"""The confusion matrix."""
SAMPLES = "samples"
"""For multilabel data, the sums over examples of precision and recall."""


class Total(Protocol):
    """A count that is accumulated over batches."""

    def add(self, labels: Labels) -> None:
        """Adds the labels of a batch."""

    def value(self) -> Tensor:
        """Returns the count of all batches."""

    def _rollback_point(self) -> Callable[[], None]:
        """Returns a function that undoes all additions from now on."""


class _Sum:
    """Sums the results of a function over batches."""

    def __init__(
        self,
        measure: Callable[[Labels], Tensor | int],
        shape: tuple[int, ...],
        device: torch.device,
        total: Tensor | None,
    ) -> None:
        self._measure = measure
        self._total = (
            torch.zeros(shape, dtype=torch.int64, device=device) if total is None else total
        )

        self._pending = 0
        """Results that were Python numbers, not yet added to the total."""

    def add(self, labels: Labels) -> None:
        measured = self._measure(labels)
        if isinstance(measured, int):
            self._pending += measured
        else:
            self._total = self._total + measured.to(self._total.device)

    def value(self) -> Tensor:
        if self._pending:
            self._total, self._pending = self._total + self._pending, 0
        return self._total

    def _rollback_point(self) -> Callable[[], None]:
        total, pending = self._total, self._pending

        def roll_back() -> None:
            self._total, self._pending = total, pending

        return roll_back


class _Classes:
    """Counts true positives, predictions and targets of each class, shape (3, C)."""

    def __init__(self, num_classes: int, device: torch.device, total: Tensor | None = None) -> None:
        # One more column collects wrong predictions and targets that are not a class.
        counts = torch.zeros(3, num_classes + 1, dtype=torch.int64, device=device)
        if total is not None:
            counts[:, :-1] = total
        self._tallies = [Tally(row.clone()) for row in counts]
        self._num_classes = num_classes

    def add(self, labels: Labels) -> None:
        y_pred, y = _indices(labels, self._num_classes)
        right, predicted, true = self._tallies
        right.add(torch.where(y_pred == y, y, self._num_classes))
        # Tallies keep a reference to their argument, and users may overwrite their tensors.
        predicted.add(y_pred.clone() if labels.kind == BINARY else y_pred)
        true.add(y.clone())

    def value(self) -> Tensor:
        return torch.stack([tally.counts() for tally in self._tallies])[:, :-1]

    def _rollback_point(self) -> Callable[[], None]:
        rollbacks = [tally._rollback_point() for tally in self._tallies]

        def roll_back() -> None:
            for each in rollbacks:
                each()

        return roll_back


class _Matrix:
    """Counts pairs of classes, shape (C, C): true classes in rows, predicted ones in columns."""

    def __init__(self, num_classes: int, device: torch.device, total: Tensor | None = None) -> None:
        # One more row collects targets that are not a class.
        counts = torch.zeros(num_classes + 1, num_classes, dtype=torch.int64, device=device)
        if total is not None:
            counts[:-1] = total
        self._tally = Tally(counts.view(-1))
        self._num_classes = num_classes

    def add(self, labels: Labels) -> None:
        y_pred, y = _indices(labels, self._num_classes)
        # If the target is not a class, both indices are num_classes, and clamp returns the last cell.
        pairs = torch.add(y_pred, y, alpha=self._num_classes)
        self._tally.add(
            pairs
            if _are_inside(labels)
            else pairs.clamp(max=self._num_classes * (self._num_classes + 1) - 1)
        )

    def value(self) -> Tensor:
        return self._tally.counts().view(-1, self._num_classes)[:-1]

    def _rollback_point(self) -> Callable[[], None]:
        return self._tally._rollback_point()


class _ClassesOfPairs:
    """The counts of :class:`_Classes` from a matrix, which takes one call per batch, not three."""

    def __init__(self, num_classes: int, device: torch.device, total: Tensor | None = None) -> None:
        self._before = (
            torch.zeros(3, num_classes, dtype=torch.int64, device=device)
            if total is None
            else total
        )
        self._pairs = _Matrix(num_classes, device)
        self._value: Tensor | None = None

    def add(self, labels: Labels) -> None:
        self._value = None
        self._pairs.add(labels)

    def value(self) -> Tensor:
        if self._value is None:
            matrix = self._pairs.value()
            counts = torch.stack([matrix.diagonal(), matrix.sum(dim=0), matrix.sum(dim=1)])
            self._value = self._before + counts
        return self._value

    def _rollback_point(self) -> Callable[[], None]:
        roll_back_pairs = self._pairs._rollback_point()

        def roll_back() -> None:
            self._value = None
            roll_back_pairs()

        return roll_back


class Offset:
    """Adds a fixed tensor to counts: values that are not whole, such as sums of weights."""

    def __init__(self, before: Tensor, counts: Total) -> None:
        self._before = before
        self._counts = counts

    def add(self, labels: Labels) -> None:
        self._counts.add(labels)

    def value(self) -> Tensor:
        return self._before + self._counts.value()

    def _rollback_point(self) -> Callable[[], None]:
        return self._counts._rollback_point()


_MAX_CLASSES_IN_PAIRS = 128
"""A matrix of this many classes fits into the processor's cache."""


def _classes(num_classes: int, device: torch.device, total: Tensor | None = None) -> Total:
    make = _ClassesOfPairs if num_classes <= _MAX_CLASSES_IN_PAIRS else _Classes
    return make(num_classes, device, total)


def _are_inside(labels: Labels) -> bool:
    """Returns whether it is known that all targets are classes."""
    return isinstance(labels.num_outside, int) and not labels.num_outside


def _indices(labels: Labels, num_classes: int) -> tuple[Tensor, Tensor]:
    """Returns predicted and true classes, shape (M,).

    Both are ``num_classes`` where the target is not a class.
    """
    y_pred, y = _flat(labels.y_pred), _flat(labels.y)
    if _are_inside(labels):
        return y_pred, y
    is_class = (y >= 0) & (y < num_classes)
    if labels.kind == BINARY:
        is_class &= (y_pred >= 0) & (y_pred < num_classes)
    return torch.where(is_class, y_pred, num_classes), torch.where(is_class, y, num_classes)


def _flat(values: Tensor) -> Tensor:
    values = values if values.dtype == torch.int64 else values.long()
    return values if values.ndim == 1 else values.flatten()


def _num_correct(labels: Labels) -> Tensor | int:
    arrays = labels.arrays or arrays_of(labels.y_pred, labels.y)
    if arrays is not None:
        return int(numpy.count_nonzero(arrays[0] == arrays[1]))
    return torch.count_nonzero(labels.y_pred == labels.y)


def _num_exact(labels: Labels) -> Tensor:
    return torch.count_nonzero((labels.y_pred == labels.y).all(dim=1))


def _of_labels(labels: Labels) -> Tensor:
    y_pred, y = labels.y_pred.bool(), labels.y.bool()
    dims = [0, *range(2, y.ndim)]
    return torch.stack([(y_pred & y).sum(dims), y_pred.sum(dims), y.sum(dims)])


def _ratios(labels: Labels) -> Tensor:
    y_pred, y = (
        values.bool().movedim(1, -1).reshape(-1, labels.num_classes)
        for values in (labels.y_pred, labels.y)
    )
    dtype = wide_dtype(y)
    num_both = (y_pred & y).sum(dim=1).to(dtype)  # (M,)
    return torch.stack(
        [(num_both / values.sum(dim=1).clamp(min=1)).sum() for values in (y_pred, y)]
    )


def _correct(num_classes: int, device: torch.device, total: Tensor | None = None) -> Total:
    return _Sum(_num_correct, (), device, total)


def _exact(num_classes: int, device: torch.device, total: Tensor | None = None) -> Total:
    return _Sum(_num_exact, (), device, total)


def _labels(num_classes: int, device: torch.device, total: Tensor | None = None) -> Total:
    return _Sum(_of_labels, (3, num_classes), device, total)


def _samples(num_classes: int, device: torch.device, total: Tensor | None = None) -> Total:
    return _Sum(_ratios, (2,), device, total)


TOTALS: dict[tuple[str, bool], Callable[..., Any]] = {
    (CORRECT, False): _correct,
    (CLASSES, False): _classes,
    (MATRIX, False): _Matrix,
    (CORRECT, True): _exact,
    (CLASSES, True): _labels,
    (SAMPLES, True): _samples,
}
"""(count, whether data is multilabel) -> ``make(num_classes, device, total)``, which creates it."""


_MAX_PENDING = 4096
"""Number of pending indices at which a tally counts them."""


class Tally:
    """Counts the occurrences of each index.

    Indices of small batches are buffered and counted together, which takes fewer calls.

    Args:
        counts: initial counts, int64, shape (K,). They are changed in place.

    Example:
        >>> tally = Tally(torch.zeros(3, dtype=torch.int64))
        >>> tally.add(torch.tensor([0, 2, 2]))
        >>> tally.counts().tolist()
        [1, 0, 2]
    """

    __slots__ = ("_counted_since", "_may_roll_back", "_num_pending", "_pending", "_total")

    def __init__(self, counts: Tensor) -> None:
        self._total = counts
        self._pending: list[Tensor] = []
        self._num_pending = 0
        self._may_roll_back = False
        """Whether there is a rollback point, so that ``add`` should leave indices pending."""
        self._counted_since: list[Tensor] = []
        """Indices that were counted after the rollback point."""

    def add(self, indices: Tensor) -> None:
        """Adds ``indices``, integers in [0, K), shape (M,). They must not be changed later."""
        self._pending.append(indices)
        self._num_pending += indices.shape[0]
        if self._num_pending >= _MAX_PENDING and not self._may_roll_back:
            self.counts()

    def _rollback_point(self) -> Callable[[], None]:
        """Returns a function that undoes all additions up to the next rollback point."""
        if self._num_pending >= _MAX_PENDING:
            self.counts()
        self._may_roll_back, self._counted_since = True, []
        length, num_pending = len(self._pending), self._num_pending

        def roll_back() -> None:
            if not self._counted_since:
                del self._pending[length:]
                self._num_pending = num_pending
                return
            # The first ones were pending before.
            newer = torch.cat(self._counted_since)[num_pending:]
            minus_one = torch.full_like(newer, -1, dtype=self._total.dtype)
            self._total.index_add_(0, newer, minus_one)
            self._pending, self._num_pending, self._counted_since = [], 0, []

        return roll_back

    def counts(self) -> Tensor:
        """Counts the pending indices, and returns all counts, shape (K,)."""
        if self._pending:
            indices = torch.cat(self._pending) if len(self._pending) > 1 else self._pending[0]
            self._pending, self._num_pending = [], 0
            indices = indices.to(self._total.device, torch.int64)
            if self._may_roll_back:
                self._counted_since.append(indices)
            one = torch.ones(1, dtype=self._total.dtype, device=indices.device)
            self._total.index_add_(0, indices, one.expand(indices.shape[0]))
        return self._total
