"""Trends of a run: pace, best values and curves. Plain numbers, no terminal."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

__all__ = ["Best", "Curve", "Pace", "format_seconds", "lower_is_better", "sparkline"]

_BARS = "▁▂▃▄▅▆▇█"
_LOSS_WORDS = (
    "loss",
    "error",
    "err",
    "mse",
    "mae",
    "rmse",
    "nll",
    "perplexity",
    "divergence",
    "distance",
    "time",
)


class Pace:
    """Iterations per second and remaining time of a run.

    Args:
        now: time in seconds.
        iteration: the iteration at that time.
    """

    def __init__(self, now: float, iteration: int) -> None:
        self._since = self._last = now
        self._first = self._last_iteration = iteration
        self._rate: float | None = None

    def update(self, now: float, iteration: int) -> None:
        """Records the current iteration.

        The rate is an exponential moving average with a half-life of ten seconds.
        """
        seconds, done = now - self._last, iteration - self._last_iteration
        if seconds <= 0 or done < 0:
            return
        rate, weight = done / seconds, 1 - 0.5 ** (seconds / 10.0)
        self._rate = rate if self._rate is None else self._rate + weight * (rate - self._rate)
        self._last, self._last_iteration = now, iteration

    @property
    def per_second(self) -> float | None:
        """Iterations per second; None before the first update."""
        return self._rate

    @property
    def elapsed(self) -> float:
        """Seconds from the start to the last update."""
        return self._last - self._since

    def left(self, iteration: int, last_iteration: int | None) -> float | None:
        """Remaining seconds until ``last_iteration`` at the mean pace so far; None if unknown."""
        done = self._last_iteration - self._first
        if last_iteration is None or done <= 0:
            return None
        return self.elapsed / done * max(last_iteration - iteration, 0)


class Best:
    """Best value of a metric, and its epoch.

    Args:
        lower: whether lower is better.
    """

    def __init__(self, lower: bool) -> None:
        self.lower = lower
        self.value: float | None = None
        self.epoch: int | None = None

    def update(self, value: float, epoch: int) -> bool:
        """Adds a value; returns whether it is the best so far. NaN never is."""
        is_better = not math.isnan(value) and (
            self.value is None or (value < self.value if self.lower else value > self.value)
        )
        if is_better:
            self.value, self.epoch = value, epoch
        return is_better


class Curve:
    """Curve in bounded memory: when it is full, neighboring points are averaged.

    Args:
        capacity: maximum number of points; even.
    """

    def __init__(self, capacity: int = 256) -> None:
        self._capacity = capacity
        self._points: list[float] = []
        self._stride = 1
        self._sum, self._count = 0.0, 0

    def add(self, value: float) -> None:
        """Adds the next value; ignores values that are not finite."""
        if not math.isfinite(value):
            return
        self._sum, self._count = self._sum + value, self._count + 1
        if self._count < self._stride:
            return
        self._points.append(self._sum / self._count)
        self._sum, self._count = 0.0, 0
        if len(self._points) >= self._capacity:
            pairs = zip(self._points[::2], self._points[1::2], strict=True)
            self._points = [(a + b) / 2 for a, b in pairs]
            self._stride *= 2

    def points(self) -> list[float]:
        """Returns the points, and the mean of the values that do not fill a point yet."""
        return [*self._points, self._sum / self._count] if self._count else list(self._points)


def sparkline(values: Sequence[float], width: int) -> str:
    """Draws a curve in one line of text, scaled from its minimum to its maximum.

    Example:
        >>> sparkline([4, 3, 2, 1], width=4)
        '█▆▃▁'
    """
    if not values or width < 1:
        return ""
    columns = min(width, len(values))
    bounds = [round(i * len(values) / columns) for i in range(columns + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(bounds)]
    low, high = min(means), max(means)
    if high == low:
        return _BARS[0] * columns
    return "".join(_BARS[round((mean - low) / (high - low) * (len(_BARS) - 1))] for mean in means)


def format_seconds(seconds: float | None) -> str:
    """Formats seconds as hours, minutes and seconds.

    Example:
        >>> format_seconds(3723.9), format_seconds(None)
        ('1:02:03', '?')
    """
    if seconds is None:
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def lower_is_better(name: str) -> bool:
    """Guesses from the name whether lower is better: losses and errors.

    Example:
        >>> lower_is_better("val_loss"), lower_is_better("accuracy")
        (True, False)
    """
    words = name.lower().replace("/", "_").replace(" ", "_").split("_")
    return any(word in _LOSS_WORDS for word in words)
