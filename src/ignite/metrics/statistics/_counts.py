"""Counts of indices, and of predicted and true labels in as much detail as is needed.

C classes; M examples of a batch; K indices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from ignite.metrics._host_arrays import arrays_of, numpy
from ignite.metrics._labels import BINARY, Labels
from ignite.metrics.statistics._statistic import wide_dtype

CORRECT = "correct"
"""How many examples are right; of labels, how many have all right."""
CLASSES = "classes"
"""For each class how many examples are predicted, true, and both."""
MATRIX = "matrix"
"""For each pair of classes how many examples of the one are predicted as the other."""
SAMPLES = "samples"
"""The sums over examples of the precision and recall of their labels."""


class Total(Protocol):
    """Something that is counted."""

    def add(self, labels: Labels) -> None:
        """Takes in a batch."""

    def settled(self) -> Tensor:
        """All that was counted, as a tensor."""

    def _rollback_point(self) -> Callable[[], None]:
        """A function that takes back all batches from now on."""


class _Sum:
    """Adds up what a function says of each batch."""

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
        """What was counted as a number, to be added to the total."""

    def add(self, labels: Labels) -> None:
        measured = self._measure(labels)
        if isinstance(measured, int):
            self._pending += measured
        else:
            self._total = self._total + measured.to(self._total.device)

    def settled(self) -> Tensor:
        if self._pending:
            self._total, self._pending = self._total + self._pending, 0
        return self._total

    def _rollback_point(self) -> Callable[[], None]:
        total, pending = self._total, self._pending

        def roll_back() -> None:
            self._total, self._pending = total, pending

        return roll_back


class _Classes:
    """True positives, predicted and true examples of each class, shape (3, C)."""

    def __init__(self, num_classes: int, device: torch.device, total: Tensor | None = None) -> None:
        # A further column is for targets that are no class, and predictions that are wrong.
        counts = torch.zeros(3, num_classes + 1, dtype=torch.int64, device=device)
        if total is not None:
            counts[:, :-1] = total
        self._tallies = [Tally(row.clone()) for row in counts]
        self._num_classes = num_classes

    def add(self, labels: Labels) -> None:
        y_pred, y = _indices(labels, self._num_classes)
        right, predicted, true = self._tallies
        right.add(torch.where(y_pred == y, y, self._num_classes))
        # Copies of what belongs to the user, who may use the memory again.
        predicted.add(y_pred.clone() if labels.kind == BINARY else y_pred)
        true.add(y.clone())

    def settled(self) -> Tensor:
        return torch.stack([tally.settled() for tally in self._tallies])[:, :-1]

    def _rollback_point(self) -> Callable[[], None]:
        rollbacks = [tally._rollback_point() for tally in self._tallies]

        def roll_back() -> None:
            for each in rollbacks:
                each()

        return roll_back


class _Matrix:
    """True classes in rows, predicted ones in columns, shape (C, C)."""

    def __init__(self, num_classes: int, device: torch.device, total: Tensor | None = None) -> None:
        # A further row is for targets that are no class.
        counts = torch.zeros(num_classes + 1, num_classes, dtype=torch.int64, device=device)
        if total is not None:
            counts[:-1] = total
        self._tally = Tally(counts.view(-1))
        self._num_classes = num_classes

    def add(self, labels: Labels) -> None:
        y_pred, y = _indices(labels, self._num_classes)
        # Where the target is no class, neither is the prediction: both are the number of classes.
        pairs = torch.add(y_pred, y, alpha=self._num_classes)
        self._tally.add(
            pairs
            if _are_inside(labels)
            else pairs.clamp(max=self._num_classes * (self._num_classes + 1) - 1)
        )

    def settled(self) -> Tensor:
        return self._tally.settled().view(-1, self._num_classes)[:-1]

    def _rollback_point(self) -> Callable[[], None]:
        return self._tally._rollback_point()


class _ClassesOfPairs:
    """As :class:`_Classes`, of few classes: counting pairs takes one call instead of three."""

    def __init__(self, num_classes: int, device: torch.device, total: Tensor | None = None) -> None:
        self._before = (
            torch.zeros(3, num_classes, dtype=torch.int64, device=device)
            if total is None
            else total
        )
        self._pairs = _Matrix(num_classes, device)
        self._settled: Tensor | None = None

    def add(self, labels: Labels) -> None:
        self._settled = None
        self._pairs.add(labels)

    def settled(self) -> Tensor:
        if self._settled is None:
            matrix = self._pairs.settled()
            counts = torch.stack([matrix.diagonal(), matrix.sum(dim=0), matrix.sum(dim=1)])
            self._settled = self._before + counts
        return self._settled

    def _rollback_point(self) -> Callable[[], None]:
        roll_back_pairs = self._pairs._rollback_point()

        def roll_back() -> None:
            self._settled = None
            roll_back_pairs()

        return roll_back


_MAX_CLASSES_IN_PAIRS = 128
"""So many classes have pairs that fit into the processor's cache."""


def _classes(num_classes: int, device: torch.device, total: Tensor | None = None) -> Total:
    make = _ClassesOfPairs if num_classes <= _MAX_CLASSES_IN_PAIRS else _Classes
    return make(num_classes, device, total)


def _are_inside(labels: Labels) -> bool:
    """Whether all targets are known to be classes."""
    return isinstance(labels.num_outside, int) and not labels.num_outside


def _indices(labels: Labels, num_classes: int) -> tuple[Tensor, Tensor]:
    """Predicted and true classes, shape (M,); both are ``num_classes`` where the target is no class."""
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
"""What is to be counted, and whether of labels -> what counts it: ``make(num_classes, device, total)``."""


_MAX_PENDING = 4096
"""How many indices wait to be counted at most, unless a batch is larger."""


class Tally:
    """How often each index has come.

    Args:
        counts: one for each index, int64, shape (K,); what is counted is added to them.

    Example:
        >>> tally = Tally(torch.zeros(3, dtype=torch.int64))
        >>> tally.add(torch.tensor([0, 2, 2]))
        >>> tally.settled().tolist()
        [1, 0, 2]
    """

    __slots__ = ("_counted_since", "_counts", "_may_roll_back", "_num_pending", "_pending")

    def __init__(self, counts: Tensor) -> None:
        self._counts = counts
        self._pending: list[Tensor] = []
        self._num_pending = 0
        self._may_roll_back = False
        """Whether the last indices have to wait, because they may be taken back."""
        self._counted_since: list[Tensor] = []
        """What was counted all the same, since somebody could take it back."""

    def add(self, indices: Tensor) -> None:
        """Counts ``indices``, integers in [0, K), shape (M,), soon.

        They must not be written to after that.
        """
        self._pending.append(indices)
        self._num_pending += indices.shape[0]
        if self._num_pending >= _MAX_PENDING and not self._may_roll_back:
            self.settled()

    def _rollback_point(self) -> Callable[[], None]:
        """A function that takes back all indices from now on, up to the next call of ``_rollback_point``."""
        if self._num_pending >= _MAX_PENDING:
            self.settled()
        self._may_roll_back, self._counted_since = True, []
        length, num_pending = len(self._pending), self._num_pending

        def roll_back() -> None:
            if not self._counted_since:
                del self._pending[length:]
                self._num_pending = num_pending
                return
            newer = torch.cat(self._counted_since)[num_pending:]  # those that had waited came first
            self._counts.index_add_(0, newer, torch.full_like(newer, -1))
            self._pending, self._num_pending, self._counted_since = [], 0, []

        return roll_back

    def settled(self) -> Tensor:
        """The counts, up to date."""
        if self._pending:
            indices = torch.cat(self._pending) if len(self._pending) > 1 else self._pending[0]
            self._pending, self._num_pending = [], 0
            indices = indices.to(self._counts.device, torch.int64)
            if self._may_roll_back:
                self._counted_since.append(indices)
            one = torch.ones(1, dtype=torch.int64, device=indices.device)
            self._counts.index_add_(0, indices, one.expand(indices.shape[0]))
        return self._counts
