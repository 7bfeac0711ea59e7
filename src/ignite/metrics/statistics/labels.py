"""The statistic of all metrics that compare labels: counts of predicted and true labels."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from ignite.metrics._output_arrays import (
    BINARY,
    MULTICLASS,
    MULTILABEL,
    Labels,
    invalid_message,
    outside_message,
    read_labels,
)
from ignite.metrics.statistics._counts import (
    CLASSES,
    CORRECT,
    MATRIX,
    SAMPLES,
    TOTALS,
    Offset,
    Total,
)
from ignite.metrics.statistics._statistic import Reading, Statistic, leaves_inference_mode

__all__ = ["CLASSES", "CORRECT", "MATRIX", "SAMPLES", "LabelCounts"]

TOTAL_NAMES = (CORRECT, CLASSES, MATRIX, SAMPLES)
_PLAIN_PARTS = ("kind", "num_classes", "num_examples", "num_items", "num_outside", "num_invalid")


class LabelCounts(Statistic):
    """Counts predicted and true labels.

    Accumulates only what is needed: for binary and multiclass data the most detailed count, from
    which the others are computed.

    Args:
        need: what to count: ``CORRECT``, ``CLASSES``, ``MATRIX`` or ``SAMPLES``.
        is_multilabel: treat predictions and targets of equal shape as multilabel, not binary.
        allows_outside: ignore targets that are not a class, instead of raising.
        device: device on which to count. None: that of the predictions.

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
        "num_invalid": "SUM",
        "correct": "SUM",
        "classes": "SUM",
        "matrix": "SUM",
        "samples": "SUM",
    }

    LATER_PARTS: ClassVar = {"num_invalid": 0}

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
        """Also counts what ``other`` counts."""
        assert isinstance(other, LabelCounts)
        self.needs = self.needs | other.needs
        self.allows_outside = self.allows_outside and other.allows_outside

    def reset(self) -> None:
        """Clears all counts, and the kind of data."""
        self.kind: str | None = None
        self.num_classes: int | None = None
        self.num_examples = self.num_items = 0
        self.num_outside: int | Tensor = 0
        self.num_invalid: int | Tensor = 0
        self._totals: dict[str, Total] = {}
        """The counts that are accumulated, by name."""
        self.version += 1

    @property
    def correct(self) -> Tensor | None:
        """Number of correct examples, shape (). None if it is not accumulated."""
        return self._total(CORRECT)

    @property
    def classes(self) -> Tensor | None:
        """True positives, predictions and targets of each class, shape (3, C), or None."""
        return self._total(CLASSES)

    @property
    def matrix(self) -> Tensor | None:
        """Confusion matrix, shape (C, C), with true classes in rows, or None."""
        return self._total(MATRIX)

    @property
    def samples(self) -> Tensor | None:
        """Sums over examples of precision and recall, shape (2,), or None."""
        return self._total(SAMPLES)

    def _total(self, need: str) -> Tensor | None:
        return self._totals[need].value() if need in self._totals else None

    def _update(self, reading: Reading) -> None:
        labels: Labels = reading.derive(read_labels, self.is_multilabel)
        if labels.kind != self.kind or labels.num_classes != self.num_classes:
            self.check_kind(labels)
        is_counted = isinstance(labels.num_outside, int)
        if is_counted and labels.num_outside and not self.allows_outside:
            raise ValueError(outside_message(labels.num_classes, int(labels.num_outside)))
        if self.kind is None:
            self._begin(labels)
        for total in self._totals.values():
            total.add(labels)
        self.num_examples += labels.num_examples
        self.num_items += labels.num_items
        if not is_counted or labels.num_outside:
            self.num_outside = self.num_outside + labels.num_outside
        if isinstance(labels.num_invalid, Tensor):
            self.num_invalid = self.num_invalid + labels.num_invalid

    def _begin(self, labels: Labels) -> None:
        """Creates the counts that are needed for data of this kind."""
        needs = sorted(self.needs - {MATRIX})
        if labels.kind != MULTILABEL and self.needs == {SAMPLES}:
            raise ValueError(
                "Argument average='samples' is incompatible with binary and multiclass input data., "
                f"but given {labels.kind} data"
            )
        if labels.kind != MULTILABEL:
            needs = [next(need for need in (MATRIX, CLASSES, CORRECT) if need in self.needs)]
        device = self.where(labels.y_pred)
        for need in needs:
            make = TOTALS[need, labels.kind == MULTILABEL]
            c = 2 if labels.kind == BINARY else labels.num_classes
            if need not in self._totals:
                self._totals[need] = make(c, device)
            elif need == CLASSES:  # it has been assigned, perhaps only the sum over all classes
                known = self._totals[need].value()
                if known.shape[1] == 1:
                    self._totals[need] = Offset(pad(known, (0, c - 1)), make(c, device))
        self.kind, self.num_classes = labels.kind, labels.num_classes

    def recognize(self, labels: Labels) -> None:
        """Fixes the kind of classification before the first batch is counted; later, checks it."""
        self.check_kind(labels)
        if self.kind is None:
            self._begin(labels)

    def _rollback_point(self) -> Callable[[], None]:
        """Returns a function that undoes all updates from now on."""
        kept = {**vars(self), "_totals": dict(self._totals)}
        rollbacks = [total._rollback_point() for total in self._totals.values()]

        def roll_back() -> None:
            for each in rollbacks:
                each()
            self._restore(kept)

        return roll_back

    @leaves_inference_mode
    def load(self, values: Mapping[str, Any]) -> None:
        """Loads saved counts.

        Raises:
            ValueError: they are invalid, or lack a count that this metric needs.
        """
        kind = values["kind"]
        if kind not in (None, BINARY, MULTICLASS, MULTILABEL):
            raise ValueError(
                f"kind should be {BINARY!r}, {MULTICLASS!r} or {MULTILABEL!r}, but given {kind!r}"
            )
        if kind is not None and (kind == MULTILABEL) != self.is_multilabel:
            raise ValueError(
                f"The state should be with is_multilabel={self.is_multilabel}, but given {kind}"
            )
        sources = {CORRECT: (CORRECT, CLASSES, MATRIX), CLASSES: (CLASSES, MATRIX)}
        for need in self.needs if kind is not None else ():
            if all(values[source] is None for source in sources.get(need, (need,))):
                given = [
                    name for name in (CORRECT, CLASSES, MATRIX, SAMPLES) if values[name] is not None
                ]
                raise ValueError(
                    f"The state should have counts of {need}, but given one of another metric with {given}"
                )
        super().load(values)

    def _shapes_of(self, values: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        c = 2 if values["kind"] == BINARY else values["num_classes"] or 0
        if values["kind"] is None:  # a subclass has assigned the counts
            known = (values[name] for name in (CLASSES, MATRIX) if values[name] is not None)
            c = next((value.shape[-1] for value in known), 0)
        return {CORRECT: (), CLASSES: (3, c), MATRIX: (c, c), SAMPLES: (2,)}

    def take(self, values: Mapping[str, Any]) -> None:
        """Replaces the counts."""
        self.reset()
        known = {
            need: values[need]
            for need in (CORRECT, CLASSES, MATRIX, SAMPLES)
            if values[need] is not None
        }
        super().take({name: value for name, value in values.items() if name in _PLAIN_PARTS})
        for need, value in known.items():
            self._totals[need] = self._counts_from(need, value)

    def assign(self, name: str, value: Any) -> None:
        """Replaces one part. Counts of classes may be floating point numbers, such as weights."""
        if name not in TOTAL_NAMES:
            super().assign(name, value)
            return
        self._totals[name] = self._counts_from(name, torch.as_tensor(value))
        self.version += 1

    def _counts_from(self, need: str, value: Tensor) -> Total:
        is_of_labels = self.kind == MULTILABEL or (self.kind is None and self.is_multilabel)
        num_classes = value.shape[-1] if value.ndim else 0
        make = TOTALS[need, is_of_labels and need != MATRIX]
        if value.is_floating_point() and need != SAMPLES:
            return Offset(value, make(num_classes, value.device))
        found: Total = make(num_classes, value.device, value)
        return found

    def check_kind(self, labels: Labels) -> None:
        """Raises if these labels differ from earlier ones in kind or number of classes."""
        if self.kind not in (None, labels.kind):
            raise RuntimeError(f"Input data type has changed from {self.kind} to {labels.kind}.")
        if self.num_classes not in (None, labels.num_classes):
            raise ValueError(
                f"Input data number of classes has changed from {self.num_classes} to {labels.num_classes}"
            )

    def check(self) -> None:
        """Raises if labels on an accelerator were invalid, which ``update`` does not check."""
        self.check_valid()
        if not isinstance(self.num_outside, Tensor) or not self.num_outside.item():
            return
        if self.kind == MULTICLASS:
            raise ValueError(outside_message(self.num_classes or 0, int(self.num_outside)))
        raise ValueError(
            f"For binary cases, y and y_pred must be comprised of 0's and 1's., but {int(self.num_outside)} are not"
        )

    def check_valid(self) -> None:
        """Raises if scores were NaN, or targets were not whole numbers."""
        if isinstance(self.num_invalid, Tensor) and self.num_invalid.item():
            raise ValueError(invalid_message(int(self.num_invalid)))

    def narrowed(self, wanted: Statistic) -> LabelCounts:
        """Returns a copy with only the counts of ``wanted``, as if nothing had been shared."""
        assert isinstance(wanted, LabelCounts)
        other = self.clone()
        other.needs, other.allows_outside = wanted.needs, wanted.allows_outside
        values = {
            **other.parts(),
            **dict.fromkeys({CORRECT, CLASSES, MATRIX, SAMPLES} - wanted.needs),
        }
        if self.kind is not None and CLASSES in wanted.needs:
            values[CLASSES] = torch.stack([self.true_positives, self.num_predicted, self.num_true])
        elif self.kind is not None and CORRECT in wanted.needs:
            values[CORRECT] = self.num_correct.clone()
        other.take(values)
        return other

    def __str__(self) -> str:
        return f"label counts ({', '.join(sorted(self.needs))})"

    @property
    def num_correct(self) -> Tensor:
        """Number of correct examples, shape ()."""
        correct = self.correct
        return self.true_positives.sum() if correct is None else correct

    @property
    def true_positives(self) -> Tensor:
        """Number of true positives of each class, shape (C,). C is 2 for binary data."""
        return self._known_matrix().diagonal() if self.classes is None else self.classes[0]

    @property
    def num_predicted(self) -> Tensor:
        """Number of predictions of each class, shape (C,)."""
        return self._known_matrix().sum(dim=0) if self.classes is None else self.classes[1]

    @property
    def num_true(self) -> Tensor:
        """Number of targets of each class, shape (C,)."""
        return self._known_matrix().sum(dim=1) if self.classes is None else self.classes[2]

    def _known_matrix(self) -> Tensor:
        matrix = self.matrix
        assert matrix is not None
        return matrix
