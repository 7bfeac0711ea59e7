"""A progress bar for files and pipes: now and then a line, nothing that moves a cursor."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from ignite._core import clock

__all__ = ["PlainBar"]

EVERY_S = 10.0
FORMAT = "{desc}[{n_fmt}/{total_fmt}] {percentage:3.0f}%{postfix} [{elapsed}<{remaining}]"


class PlainBar:
    """Has what :class:`~ignite.handlers.ProgressBar` needs of a ``tqdm``, and prints a line when it is refreshed.

    Args:
        format_meter: tqdm's function that makes a line of numbers.
        total: iterations, or None.
        initial: where counting begins.
        desc: what the line begins with.
        leave: whether the last line is shown, too.
    """

    mininterval = EVERY_S

    def __init__(
        self,
        format_meter: Callable[..., str],
        total: int | None,
        initial: int,
        desc: str | None = None,
        leave: bool = True,
    ) -> None:
        self._format_meter = format_meter
        self.total = total
        self.n = self.initial = initial
        self.desc = desc or ""
        self.postfix = ""
        self._since = clock.now()
        self._shown: tuple[int, str] | None = None

    def set_description(self, desc: str, refresh: bool = True) -> None:
        """What the line begins with."""
        self.desc = f"{desc}: "

    def set_postfix(self, values: Mapping[str, Any], refresh: bool = True) -> None:
        """What the line ends with."""
        shown = ((name, f"{value:.3g}" if isinstance(value, float) else value) for name, value in values.items())
        self.postfix = ", ".join(f"{name}={value}" for name, value in shown)

    def refresh(self) -> None:
        """Prints a line, unless it would be the last one again."""
        if self._shown == (self.n, self.postfix):
            return
        self._shown = (self.n, self.postfix)
        elapsed = clock.now() - self._since
        line = self._format_meter(
            self.n, self.total, elapsed, prefix=self.desc, bar_format=FORMAT, postfix=self.postfix, initial=self.initial
        )
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Prints the last line, unless it has been printed."""
        self.refresh()
