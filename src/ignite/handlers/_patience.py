"""When to give up waiting for a better score. Plain numbers in and out; knows nothing of engines or tensors."""

import math
from dataclasses import dataclass
from typing import Any, Literal


@dataclass
class Patience:
    """Counts the scores in a row that were no improvement.

    A score improves on the reference ``best`` when it is better by more than ``threshold``: in the direction of
    ``mode``, as a number ("abs") or as a fraction of ``abs(best)`` ("rel"). The first score is the first reference.
    NaN is never an improvement and never the reference.

    Args:
        limit: how many scores without improvement end the wait, at least 1.
        mode: whether higher ("max") or lower ("min") is better.
        threshold: what an improvement has to exceed, at least 0.
        threshold_mode: whether ``threshold`` is in units of the score ("abs") or a fraction ("rel").
        cumulative: keep the reference until a score improves on it, so that small steps add up. Otherwise the
            reference follows every better score, and they do not.

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
        # The beginnings of these texts are Ignite's: programs match them.
        if not self.limit >= 1:
            raise ValueError(f"Argument patience should be positive integer, but given {self.limit}")
        if not self.threshold >= 0:
            raise ValueError(f"Argument threshold should not be a negative number, but given {self.threshold}")
        if self.threshold_mode not in ("abs", "rel"):
            raise ValueError(
                f"Argument threshold_mode should be either 'abs' or 'rel', but given {self.threshold_mode!r}"
            )
        if self.mode not in ("min", "max"):
            raise ValueError(f"Argument mode should be either 'min' or 'max', but given {self.mode!r}")

    def observe(self, score: float) -> bool:
        """Takes in one score; True when patience has run out."""
        is_improvement = not math.isnan(score) and (self.best is None or self._exceeds(score, self._bar(self.best)))
        if is_improvement:
            self.best, self.waited = score, 0
            return False

        if not self.cumulative and self.best is not None and self._exceeds(score, self.best):
            self.best = score
        self.waited += 1
        return self.waited >= self.limit

    def reset(self) -> None:
        """Begins anew: the next number is the first reference."""
        self.best, self.waited = None, 0

    def _exceeds(self, score: float, other: float) -> bool:
        return score > other if self.mode == "max" else score < other

    def _bar(self, best: float) -> float:
        """What a score has to be better than."""
        if math.isinf(best):
            return best  # a fraction of it would be NaN
        margin = self.threshold if self.mode == "max" else -self.threshold
        if self.threshold_mode == "abs":
            return best + margin
        # Scores are often negated losses: a fraction of a negative reference would lower the bar. And one product, not
        # a sum, so that scores exactly at the bar are judged as Ignite does.
        return best * (1 + margin if best >= 0 else 1 - margin)


def as_score(value: Any) -> float:
    """What a score function has returned, as a number.

    Raises:
        TypeError: it is none.
    """
    try:
        return float(value)
    except TypeError as error:
        error.add_note(f"score_function should return a number, but returned a {type(value).__name__}")
        raise
