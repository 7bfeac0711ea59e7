"""Patience: when to stop waiting for a better score.

Plain numbers; independent of engines and tensors.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal


@dataclass
class Patience:
    """Counts consecutive scores without an improvement.

    A score improves on the reference ``best`` when it is better by more than ``threshold``: in the
    direction of ``mode``, as a number ("abs") or as a fraction of ``abs(best)`` ("rel"). The first
    score is the first reference. NaN is never an improvement and never the reference.

    Args:
        limit: number of scores without improvement after which patience runs out, at least 1.
        mode: whether higher ("max") or lower ("min") is better.
        threshold: minimum change that counts as an improvement, at least 0.
        threshold_mode: whether ``threshold`` is in units of the score ("abs") or a fraction
            ("rel").
        cumulative: whether small improvements add up: the reference changes only with an
            improvement. Otherwise it follows every better score.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> patience = Patience(limit=2)
        >>> [patience.observe(score) for score in (0.6, 0.8, 0.7, 0.8)]
        [False, False, False, True]
    """

    limit: int
    mode: Literal["min", "max"] = "max"
    threshold: float = 0.0
    threshold_mode: Literal["abs", "rel"] = "abs"
    cumulative: bool = False

    best: float | None = None
    """The reference; None before the first number."""
    waited: int = 0
    """Scores since the last improvement."""

    def __post_init__(self) -> None:
        # These messages start as Ignite's do: programs match them.
        if not self.limit >= 1:
            raise ValueError(
                f"Argument patience should be positive integer, but given {self.limit}"
            )
        if not self.threshold >= 0:
            raise ValueError(
                f"Argument threshold should not be a negative number, but given {self.threshold}"
            )
        if self.threshold_mode not in ("abs", "rel"):
            raise ValueError(
                "Argument threshold_mode should be either 'abs' or 'rel', "
                f"but given {self.threshold_mode!r}"
            )
        if self.mode not in ("min", "max"):
            raise ValueError(
                f"Argument mode should be either 'min' or 'max', but given {self.mode!r}"
            )

    def observe(self, score: float) -> bool:
        """Adds a score; returns True when patience has run out."""
        is_improvement = not math.isnan(score) and (
            self.best is None or self._exceeds(score, self._bar(self.best))
        )
        if is_improvement:
            self.best, self.waited = score, 0
            return False

        if not self.cumulative and self.best is not None and self._exceeds(score, self.best):
            self.best = score
        self.waited += 1
        return self.waited >= self.limit

    def reset(self) -> None:
        """Resets: the next score is the first reference."""
        self.best, self.waited = None, 0

    def _exceeds(self, score: float, other: float) -> bool:
        return score > other if self.mode == "max" else score < other

    def _bar(self, best: float) -> float:
        """The value that an improvement has to exceed."""
        if math.isinf(best):
            return best  # a fraction of it would be NaN
        margin = self.threshold if self.mode == "max" else -self.threshold
        if self.threshold_mode == "abs":
            return best + margin
        # Scores are often negated losses: a fraction of a negative reference would lower the bar.
        # One product, not a sum, so that scores exactly at the bar round as in Ignite.
        return best * (1 + margin if best >= 0 else 1 - margin)


def as_score(value: Any) -> float:
    """Converts the result of a score function to a number.

    Raises:
        TypeError: the result is not a number.
    """
    try:
        return float(value)
    except TypeError as error:
        error.add_note(
            f"score_function should return a number, but returned a {type(value).__name__}"
        )
        raise
