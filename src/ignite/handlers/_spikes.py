"""Whether a loss is out of line with those before it. Plain numbers in and out; knows nothing of engines or tensors."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

_FROM_MEDIAN_DEVIATION = 1.4826  # times the median deviation: the standard deviation of normal numbers
_FROM_MEAN_DEVIATION = 1.2533  # likewise
_SMALLEST_SCALE = 0.01  # as a fraction of the median: so small a deviation is never a matter of scale


class SpikeDetector:
    """Compares losses with the last good ones.

    The score of a loss is its distance above the median of the window, in robust standard deviations: ``(x - median) /
    (1.4826 * MAD)``, where MAD is the median distance of the window from its median. Where more than half of the window
    is one and the same number, the mean distance takes its place. A standard deviation is taken as 1 % of the median,
    at least. A window of zeros has no scale: whatever is finite scores 0.

    NaN and infinity are always spikes. A loss below the median never is.

    Args:
        window: how many of the last good losses to compare with.
        threshold: the score that a spike exceeds; infinity for NaN and infinity only.
        min_samples: losses needed for a comparison; before, whatever is finite scores 0.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> detector = SpikeDetector(min_samples=3)
        >>> for loss in (1.0, 1.1, 0.9):
        ...     detector.accept(loss)
        >>> detector.is_spike(2.5), detector.is_spike(2.0), detector.is_spike(float("nan"))
        (True, False, True)
    """

    def __init__(self, window: int = 100, threshold: float = 8.0, min_samples: int = 20) -> None:
        if window < 2:
            raise ValueError(f"window should be at least 2, but given {window}")
        if not threshold > 0:
            raise ValueError(f"threshold should be greater than 0, but given {threshold}")
        if not 2 <= min_samples <= window:
            raise ValueError(f"min_samples should be from 2 to window={window}, but given {min_samples}")
        self.threshold = threshold
        self.min_samples = min_samples
        self._losses: deque[float] = deque(maxlen=window)

    def score(self, loss: float) -> float:
        """How many robust standard deviations ``loss`` is above the median; infinite for NaN and infinity."""
        if not math.isfinite(loss):
            return math.inf
        if len(self._losses) < self.min_samples:
            return 0.0
        center = median(self._losses)
        distances = [abs(known - center) for known in self._losses]
        spread = _FROM_MEDIAN_DEVIATION * median(distances) or _FROM_MEAN_DEVIATION * fmean(distances)
        scale = max(spread, _SMALLEST_SCALE * abs(center))
        return (loss - center) / scale if scale > 0 else 0.0

    def is_spike(self, loss: float) -> bool:
        """Whether ``loss`` is NaN, infinite or far above the good ones. Changes nothing."""
        return not math.isfinite(loss) or self.score(loss) > self.threshold

    def accept(self, loss: float) -> None:
        """Takes a good loss into the window; the oldest one leaves it."""
        self._losses.append(loss)

    @property
    def center(self) -> float:
        """The median of the window; NaN while it is empty."""
        return median(self._losses) if self._losses else math.nan

    def state_dict(self) -> dict[str, Any]:
        """The losses of the window."""
        return {"losses": list(self._losses)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Puts back a window; of a longer one, the newest losses.

        Raises:
            ValueError: it is not a list of finite numbers. Nothing is changed.
        """
        losses: Sequence[Any] = state_dict["losses"]
        are_numbers = isinstance(losses, list | tuple) and all(isinstance(loss, int | float) for loss in losses)
        if not are_numbers or not all(map(math.isfinite, losses)):
            raise ValueError(f"losses should be a list of finite numbers, but given {losses!r}")
        self._losses = deque(map(float, losses), maxlen=self._losses.maxlen)
