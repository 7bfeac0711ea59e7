"""How often which label was predicted for which: the one statistic of all metrics that compare labels."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import torch
from torch import Tensor

from ignite.metrics._labels import BINARY, MULTICLASS, MULTILABEL, Labels, read_labels
from ignite.metrics.statistics._statistic import Reading, Statistic

__all__ = ["CLASSES", "CORRECT", "MATRIX", "SAMPLES", "LabelCounts"]

CORRECT = "correct"
"""How many examples are right; of labels, how many have all right."""
CLASSES = "classes"
"""For each class how many examples are predicted, true, and both."""
MATRIX = "matrix"
"""For each pair of classes how many examples of the one are predicted as the other."""
SAMPLES = "samples"
"""The sums over examples of the precision and recall of their labels."""


class LabelCounts(Statistic):
    """Counts labels. Accumulates no more than is needed: from a matrix follow the other counts.

    Args:
        need: one of the words above.
        is_multilabel: whether predictions and targets of equal shape are labels, not binary.
        allows_outside: leave targets that are no class out, instead of raising.
        device: where to count; None means where the predictions are.

    Example:
        >>> counts = LabelCounts(CLASSES)
        >>> scores = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
        >>> counts.update(Reading((scores, torch.tensor([0, 1, 1]))))
        >>> counts.num_correct.item(), counts.true_positives.tolist(), counts.num_predicted.tolist()
        (2, [1, 1], [2, 1])
    """

    PARTS: ClassVar = {
        "kind": "SAME",
        "num_classes": "SAME",
        "num_examples": "SUM",
        "num_items": "SUM",
        "num_outside": "SUM",
        "correct": "SUM",
        "classes": "SUM",
        "matrix": "SUM",
        "samples": "SUM",
    }

    def __init__(
        self,
        need: str = CORRECT,
        is_multilabel: bool = False,
        allows_outside: bool = False,
        device: torch.device | None = None,
    ) -> None:
        self.needs = {need}
        self.is_multilabel = is_multilabel
        self.allows_outside = allows_outside
        super().__init__(device)

    def _parameters(self) -> tuple[Hashable, ...]:
        return (self.is_multilabel,)

    def widen(self, other: Statistic) -> None:
        """Counts for another metric, too."""
        assert isinstance(other, LabelCounts)
        self.needs = self.needs | other.needs
        self.allows_outside = self.allows_outside and other.allows_outside

    def reset(self) -> None:
        """Forgets all that was seen, and its kind."""
        self.kind: str | None = None
        self.num_classes: int | None = None
        self.num_examples = self.num_items = 0
        self.num_outside: int | Tensor = 0
        self.correct: Tensor | None = None
        self.classes: Tensor | None = None
        """True positives, predicted and true examples of each class, shape (3, C)."""
        self.matrix: Tensor | None = None
        """True classes in rows, predicted ones in columns, shape (C, C)."""
        self.samples: Tensor | None = None
        """Sum of the precisions and of the recalls of the examples, shape (2,)."""
        self.version += 1

    def _update(self, reading: Reading) -> None:
        labels: Labels = reading.derive(read_labels, self.is_multilabel)
        self.check_kind(labels)
        if isinstance(labels.num_outside, int) and labels.num_outside and not self.allows_outside:
            raise ValueError(outside_message(labels.num_classes, labels.num_outside))
        for need in self._least_needs(labels.kind):
            if getattr(self, need) is None:
                device = self.where(labels.y_pred)
                setattr(self, need, _zeros(need, 2 if labels.kind == BINARY else labels.num_classes, device))
            _COUNTERS[need, labels.kind == MULTILABEL](getattr(self, need), labels)
        self.kind, self.num_classes = labels.kind, labels.num_classes
        self.num_examples += labels.num_examples
        self.num_items += labels.num_items
        if not isinstance(labels.num_outside, int) or labels.num_outside:
            self.num_outside = self.num_outside + labels.num_outside

    def check_kind(self, labels: Labels) -> None:
        """Raises if these labels are of another kind than those before."""
        if self.kind not in (None, labels.kind):
            raise RuntimeError(f"Input data type has changed from {self.kind} to {labels.kind}.")
        if self.num_classes not in (None, labels.num_classes):
            raise ValueError(
                f"Input data number of classes has changed from {self.num_classes} to {labels.num_classes}"
            )

    def _least_needs(self, kind: str) -> list[str]:
        """What has to be counted, of what is needed, to derive the rest."""
        if kind == MULTILABEL:
            return sorted(self.needs - {MATRIX})
        return [next(need for need in (MATRIX, CLASSES, CORRECT, SAMPLES) if need in self.needs)]

    def check(self) -> None:
        """Raises if values were no labels, which ``update`` does not wait to see on an accelerator."""
        if not isinstance(self.num_outside, Tensor) or not self.num_outside.item():
            return
        if self.kind == MULTICLASS:
            raise ValueError(outside_message(self.num_classes or 0, int(self.num_outside)))
        raise ValueError(
            f"For binary cases, y and y_pred must be comprised of 0's and 1's., but {int(self.num_outside)} are not"
        )

    def narrowed(self, wanted: Statistic) -> LabelCounts:
        """A copy with no more than ``wanted`` counts, so that it goes on, and is saved, as if it had been alone."""
        assert isinstance(wanted, LabelCounts)
        other = self.clone()
        other.needs, other.allows_outside = wanted.needs, wanted.allows_outside
        if self.num_items and CLASSES in wanted.needs:
            other.classes = torch.stack([self.true_positives, self.num_predicted, self.num_true])
        elif self.num_items and CORRECT in wanted.needs:
            other.correct = self.num_correct.clone()
        for need in {CORRECT, CLASSES, MATRIX, SAMPLES} - wanted.needs:
            setattr(other, need, None)
        return other

    def __str__(self) -> str:
        return f"label counts ({', '.join(sorted(self.needs))})"

    @property
    def num_correct(self) -> Tensor:
        """How many examples are right, shape ()."""
        if self.correct is not None:
            return self.correct
        return self.true_positives.sum()

    @property
    def true_positives(self) -> Tensor:
        """How many examples of each class are predicted as it, shape (C,); C is 2 for binary."""
        return self._known().diagonal() if self.classes is None else self.classes[0]

    @property
    def num_predicted(self) -> Tensor:
        """How many examples are predicted as each class, shape (C,)."""
        return self._known().sum(dim=0) if self.classes is None else self.classes[1]

    @property
    def num_true(self) -> Tensor:
        """How many examples each class has, shape (C,)."""
        return self._known().sum(dim=1) if self.classes is None else self.classes[2]

    def _known(self) -> Tensor:
        assert self.matrix is not None
        return self.matrix


def outside_message(num_classes: int, num_outside: int) -> str:
    """What is wrong with targets that are no class."""
    return (
        "y_pred contains fewer classes than y. Targets should be class indices from 0 to "
        f"{num_classes - 1}, but {num_outside} of those given are not"
    )


def _zeros(need: str, num_classes: int, device: torch.device) -> Tensor:
    shape = {CORRECT: (), CLASSES: (3, num_classes), MATRIX: (num_classes, num_classes), SAMPLES: (2,)}[need]
    dtype = torch.int64
    if need == SAMPLES:
        dtype = torch.float32 if device.type == "mps" else torch.float64
    return torch.zeros(shape, dtype=dtype, device=device)


def _count_correct(total: Tensor, labels: Labels) -> None:
    total += torch.count_nonzero(labels.y_pred == labels.y).to(total.device)


def _indices(total: Tensor, labels: Labels) -> tuple[Tensor, Tensor, Tensor | None]:
    """Predicted and true classes, shape (M,), and 0 for each example whose target is no class; None if all are."""
    y_pred, y = _flat(labels.y_pred, total.device), _flat(labels.y, total.device)
    if isinstance(labels.num_outside, int) and not labels.num_outside:
        return y_pred, y, None
    num_classes = total.shape[-1]
    is_class = ((y >= 0) & (y < num_classes)).long()
    return y_pred.clamp(0, num_classes - 1), y * is_class, is_class


def _flat(values: Tensor, device: torch.device) -> Tensor:
    if values.dtype != torch.int64 or values.device != device:
        values = values.to(device, torch.int64)
    return values if values.ndim == 1 else values.flatten()


def _count_classes(total: Tensor, labels: Labels) -> None:
    y_pred, y, is_class = _indices(total, labels)
    true_positives, num_predicted, num_true = total.unbind()
    is_right = (y_pred == y).long()
    weight = torch.ones_like(y) if is_class is None else is_class
    true_positives.index_add_(0, y, is_right if is_class is None else is_right * is_class)
    num_predicted.index_add_(0, y_pred, weight)
    num_true.index_add_(0, y, weight)


def _count_pairs(total: Tensor, labels: Labels) -> None:
    y_pred, y, is_class = _indices(total, labels)
    weight = torch.ones_like(y) if is_class is None else is_class
    total.view(-1).index_add_(0, torch.add(y_pred, y, alpha=total.shape[1]), weight)


def _count_exact(total: Tensor, labels: Labels) -> None:
    total += (labels.y_pred == labels.y).all(dim=1).sum().to(total.device)


def _count_labels(total: Tensor, labels: Labels) -> None:
    y_pred, y = labels.y_pred.bool(), labels.y.bool()
    dims = [0, *range(2, y.ndim)]
    total += torch.stack([(y_pred & y).sum(dims), y_pred.sum(dims), y.sum(dims)]).to(total.device)


def _add_ratios(total: Tensor, labels: Labels) -> None:
    y_pred, y = (values.bool().movedim(1, -1).reshape(-1, labels.num_classes) for values in (labels.y_pred, labels.y))
    num_both = (y_pred & y).sum(dim=1).to(total.dtype)  # (M,)
    total += torch.stack([(num_both / (values.sum(dim=1) + 1e-20)).sum() for values in (y_pred, y)]).to(total.device)


def _refuse(total: Tensor, labels: Labels) -> None:
    raise ValueError(
        "Argument average='samples' is incompatible with binary and multiclass input data., "
        f"but given {labels.kind} data"
    )


_COUNTERS: dict[tuple[str, bool], Any] = {
    (CORRECT, False): _count_correct,
    (CLASSES, False): _count_classes,
    (MATRIX, False): _count_pairs,
    (SAMPLES, False): _refuse,
    (CORRECT, True): _count_exact,
    (CLASSES, True): _count_labels,
    (SAMPLES, True): _add_ratios,
}
