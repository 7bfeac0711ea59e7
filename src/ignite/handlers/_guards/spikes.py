"""Loss spikes: how they are detected, and the states that a run returns to after one."""

import copy
import math
from collections import deque
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any, NamedTuple

from ignite._core.rng import RandomState, capture_random_state, restore_random_state
from ignite.base import Stateful
from ignite.storage.snapshot import Snapshot, decode_objects

# Factors to the standard deviation of a normal distribution.
_FROM_MEDIAN_DEVIATION = 1.4826  # from the median absolute deviation
_FROM_MEAN_DEVIATION = 1.2533  # from the mean absolute deviation
_SMALLEST_SCALE = 0.01  # lower limit of the standard deviation, as a fraction of the median


class SpikeDetector:
    """Detects losses that are far above the last good ones.

    The score of a loss is its distance above the median of the window, in robust standard
    deviations: ``(x - median) / (1.4826 * MAD)``, where MAD is the median absolute deviation. If
    more than half of the window is the same number, the mean absolute deviation takes its place.
    The standard deviation is at least 1 % of the median. In a window of zeros, every finite loss
    scores 0.

    NaN and infinity are always spikes. A loss below the median never is.

    Args:
        window: number of recent good losses to compare with.
        threshold: a loss with a higher score is a spike; infinity detects NaN and infinity only.
        min_samples: number of losses needed for a comparison; before, every finite loss scores 0.

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
            raise ValueError(
                f"min_samples should be from 2 to window={window}, but given {min_samples}"
            )
        self.threshold = threshold
        self.min_samples = min_samples
        self._losses: deque[float] = deque(maxlen=window)

    def score(self, loss: float) -> float:
        """Returns the distance of ``loss`` above the median, in robust standard deviations.

        Returns inf for NaN and infinity.
        """
        if not math.isfinite(loss):
            return math.inf
        if len(self._losses) < self.min_samples:
            return 0.0
        center = median(self._losses)
        distances = [abs(known - center) for known in self._losses]
        spread = _FROM_MEDIAN_DEVIATION * median(distances) or _FROM_MEAN_DEVIATION * fmean(
            distances
        )
        scale = max(spread, _SMALLEST_SCALE * abs(center))
        return (loss - center) / scale if scale > 0 else 0.0

    def is_spike(self, loss: float) -> bool:
        """Whether ``loss`` is NaN, infinite or far above the good losses. Changes nothing."""
        return not math.isfinite(loss) or self.score(loss) > self.threshold

    def accept(self, loss: float) -> None:
        """Adds a good loss to the window."""
        self._losses.append(loss)

    @property
    def center(self) -> float:
        """The median of the window; NaN while it is empty."""
        return median(self._losses) if self._losses else math.nan

    def state_dict(self) -> dict[str, Any]:
        """Returns the losses of the window."""
        return {"losses": list(self._losses)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores the window; keeps the newest losses of a longer one.

        Raises:
            ValueError: the losses are not a list of finite numbers. Nothing is changed.
        """
        losses: Sequence[Any] = state_dict["losses"]
        are_numbers = isinstance(losses, list | tuple) and all(
            isinstance(loss, int | float) for loss in losses
        )
        if not are_numbers or not all(map(math.isfinite, losses)):
            raise ValueError(f"losses should be a list of finite numbers, but given {losses!r}")
        self._losses = deque(map(float, losses), maxlen=self._losses.maxlen)


class SavedState(NamedTuple):
    """States of objects between two iterations."""

    iteration: int
    """The last completed iteration."""
    epoch: int
    states: Mapping[str, Any]
    random: RandomState


class RollbackStates:
    """Copies of objects in host memory: the last good copy, and a newer unconfirmed one.

    A copy taken after an iteration holds weights that no loss was computed with yet. The previous
    copy is kept until the new one is confirmed.

    Args:
        objects: the objects to copy and restore.
    """

    def __init__(self, objects: Mapping[str, Stateful]) -> None:
        self._objects = dict(objects)
        self._snapshot = Snapshot()
        self.good: SavedState | None = None
        self.newest: SavedState | None = None

    def capture(self, iteration: int, epoch: int) -> None:
        """Copies the states of all objects and the random state. The first copy counts as good.

        Raises:
            TypeError: the state of an object cannot be copied; the message names the place.
        """
        self.newest = None  # its memory is reused
        states = self._snapshot.take(
            {name: one.state_dict() for name, one in self._objects.items()}
        )
        saved = SavedState(iteration, epoch, states, capture_random_state())
        if self.good is None:
            self.good = saved
        else:
            self.newest = saved

    def confirm(self) -> bool:
        """Marks the newest copy as good. Returns whether there was an unconfirmed copy."""
        if self.newest is None:
            return False
        self.good, self.newest = self.newest, None
        return True

    def restore(self, epoch: int) -> SavedState:
        """Restores all objects from the good copy, and drops a newer one.

        The random state is restored, too, unless a new epoch has started since: its sample order
        may depend on the random state, and would be drawn again.
        """
        if self.good is None:
            raise RuntimeError(
                "Cannot roll back: no copy has been taken. Attach the guard to the engine"
            )
        self.newest = None
        for name, one in self._objects.items():
            # Optimizers keep the tensors that they load, and would modify the copy.
            one.load_state_dict(decode_objects(copy.deepcopy(self.good.states[name])))
        if self.good.epoch == epoch:
            restore_random_state(self.good.random)
        return self.good

    def clear(self) -> None:
        """Drops all copies."""
        self.good = self.newest = None
