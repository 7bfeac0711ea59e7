"""Counts of the rank of the true class, from which top-k accuracy follows for every k."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ignite.metrics._output_arrays import (
    as_classes,
    count_outside,
    detached,
    outside_message,
    scratch,
    true_scores,
)
from ignite.metrics.statistics._counts import Tally
from ignite.metrics.statistics._statistic import Reading, Statistic

__all__ = ["RankCounts"]


class RankCounts(Statistic):
    """Counts examples by the number of classes with a lower score than the true class.

    Ties and NaN count against the example: they are not lower scores.

    Args:
        device: device on which to count. None: that of the scores.

    Raises:
        ValueError: in ``update``, the shapes do not match, the number of classes has changed, or a
            target is not a class. For targets on an accelerator, ``check`` raises instead.

    Example:
        >>> ranks = RankCounts()
        >>> ranks.update(Reading((torch.tensor([[0.1, 0.6, 0.3], [0.7, 0.2, 0.1]]), torch.tensor([2, 2]))))
        >>> ranks.counts.tolist()  # the true class is the lowest of 3, and the second lowest
        [1, 1, 0]
    """

    PARTS: ClassVar = {
        "num_examples": "SUM",
        "num_classes": "SAME",
        "counts": "SUM",
        "num_outside": "SUM",
    }

    def reset(self) -> None:
        """Clears all counts."""
        self.num_examples = 0
        self.num_classes: int | None = None
        self.num_outside: int | Tensor = 0
        self._tally: Tally | None = None
        self.version += 1

    @property
    def counts(self) -> Tensor | None:
        """Number of examples for each number of lower scores, shape (C,); None before any batch."""
        return None if self._tally is None else self._tally.counts()

    def _update(self, reading: Reading) -> None:
        scores, targets = detached(reading.output[0]), detached(reading.output[1])
        targets = targets if targets.ndim == 1 else targets.flatten()
        if scores.ndim != 2 or scores.shape[0] != targets.shape[0]:
            raise ValueError(
                "y_pred should have shape (batch_size, num_classes) and y shape (batch_size,), "
                f"but given {tuple(scores.shape)} and {tuple(reading.output[1].shape)}"
            )
        num_examples, num_classes = scores.shape
        if self.num_classes not in (None, num_classes):
            raise ValueError(
                f"Input data number of classes has changed from {self.num_classes} to {num_classes}"
            )
        num_outside: int | Tensor = 0
        if targets.dtype != torch.int64:
            targets, num_outside = as_classes("y", targets)
        of_true = true_scores(scores, targets)
        if not targets.is_cpu:
            num_outside = num_outside + count_outside(targets, num_classes)
        if of_true is None:
            raise ValueError(outside_message(num_classes, int(count_outside(targets, num_classes))))
        # The output is float32, which is several times faster than bool, and exact for up to
        # 2 ** 24 classes.
        num_lower = torch.lt(scores, of_true, out=scratch(scores)).sum(dim=1)  # (B,)
        tally = self._tally
        if tally is None or self.num_classes is None:
            tally = self._begin(num_classes, self.where(scores))
        tally.add(num_lower)
        self.num_examples += num_examples
        if not isinstance(num_outside, int):
            self.num_outside = self.num_outside + num_outside

    def _begin(self, num_classes: int, device: torch.device) -> Tally:
        assigned = self.counts
        dtype = torch.int64 if assigned is None else assigned.dtype
        counts = torch.zeros(num_classes, dtype=dtype, device=device)
        if assigned is not None:  # before the number of classes was known
            counts[num_classes - len(assigned) :] = assigned
        self._tally, self.num_classes = Tally(counts), num_classes
        return self._tally

    def _rollback_point(self) -> Callable[[], None]:
        """Returns a function that undoes all updates from now on."""
        kept = dict(vars(self))
        roll_back_counts = None if self._tally is None else self._tally._rollback_point()

        def roll_back() -> None:
            if roll_back_counts is not None:
                roll_back_counts()
            self._restore(kept)

        return roll_back

    def check(self) -> None:
        """Raises if targets on an accelerator were not classes, which ``update`` does not check."""
        if isinstance(self.num_outside, Tensor) and self.num_outside.item():
            raise ValueError(outside_message(self.num_classes or 0, int(self.num_outside)))

    def _shapes_of(self, values: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        num_classes = values["num_classes"]
        return {} if num_classes is None else {"counts": (num_classes,)}

    def take(self, values: Any) -> None:
        """Replaces the counts."""
        self.reset()
        counts = values["counts"]
        super().take({name: value for name, value in values.items() if name != "counts"})
        self._tally = None if counts is None else Tally(counts.clone())

    def __str__(self) -> str:
        return "ranks"
