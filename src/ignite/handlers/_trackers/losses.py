"""What a tracker could not keep: counted, told once a minute and at the end."""

from __future__ import annotations

import logging

from ignite._core import clock

__all__ = ["Losses"]

_EVERY_S = 60.0


class Losses:
    """Counts errors of a tracker, and warns about them now and then.

    Args:
        name: of the logger that warns.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)
        self.last: Exception | None = None
        """The last error."""
        self._count = 0
        self._telling = clock.Throttle(_EVERY_S)

    def note(self, error: Exception) -> None:
        """Counts what is lost by ``error``. Warns if the last warning is a minute ago."""
        self.last = error
        self._count += 1
        if self._telling.is_due():
            self._logger.warning("Not written, training goes on: %s: %s", type(error).__name__, error)

    def tell(self) -> None:
        """Says at the end how much is missing, if anything."""
        if self._count:
            self._logger.warning("%d entries are missing from what was logged", self._count)
