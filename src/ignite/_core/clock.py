"""Durations and intervals, from a clock that adjustments of the system time do not affect."""

import time

__all__ = ["Stopwatch", "Throttle", "format_duration", "now"]


def now() -> float:
    """Returns the time of a monotonic clock in seconds; only differences are meaningful."""
    return time.monotonic()


class Stopwatch:
    """Measures elapsed time, without the time between ``pause`` and ``resume``."""

    def __init__(self) -> None:
        self._before = 0.0
        self._since: float | None = None

    def restart(self) -> None:
        """Starts again at zero."""
        self._before, self._since = 0.0, now()

    def pause(self) -> None:
        """Stops until ``resume``."""
        self._before, self._since = self.elapsed(), None

    def resume(self) -> None:
        """Continues after ``pause``."""
        self._since = now()

    def elapsed(self) -> float:
        """Returns the measured seconds."""
        return self._before if self._since is None else self._before + now() - self._since


class Throttle:
    """Limits how often something is done: due at the first call, and then once per interval.

    Args:
        every_s: length of the interval in seconds.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._last: float | None = None

    def is_due(self) -> bool:
        """Whether the interval has passed; if so, starts the next one."""
        time_now = now()
        if self._last is not None and time_now - self._last < self._every_s:
            return False
        self._last = time_now
        return True


def format_duration(seconds: float) -> str:
    """Formats seconds as ``HH:MM:SS.mmm``.

    Example:
        >>> format_duration(3723.5)
        '01:02:03.500'
    """
    milliseconds = round(seconds * 1000)
    hours, rest = divmod(milliseconds, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
