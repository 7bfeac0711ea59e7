"""Monotonic time, stopwatches and intervals; adjustments of the system clock do not affect durations."""

import time

__all__ = ["Stopwatch", "Throttle", "format_duration", "now"]


def now() -> float:
    """Returns the seconds of a monotonic clock; only differences are meaningful."""
    return time.monotonic()


class Stopwatch:
    """Measures the time between ``restart`` or ``resume`` and ``pause``."""

    def __init__(self) -> None:
        self._before = 0.0
        self._since: float | None = None

    def restart(self) -> None:
        """Starts at zero."""
        self._before, self._since = 0.0, now()

    def pause(self) -> None:
        """Stops until ``resume``."""
        self._before, self._since = self.elapsed(), None

    def resume(self) -> None:
        """Continues after ``pause``."""
        self._since = now()

    def elapsed(self) -> float:
        """Measured seconds."""
        return self._before if self._since is None else self._before + now() - self._since


class Throttle:
    """True at the first call, and then once per interval.

    Args:
        every_s: seconds from one yes to the next.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._last: float | None = None

    def is_due(self) -> bool:
        """Whether an interval has passed; if so, starts the next one."""
        time_now = now()
        if self._last is not None and time_now - self._last < self._every_s:
            return False
        self._last = time_now
        return True


def format_duration(seconds: float) -> str:
    """``HH:MM:SS.mmm``.

    Example:
        >>> format_duration(3723.5)
        '01:02:03.500'
    """
    milliseconds = round(seconds * 1000)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
