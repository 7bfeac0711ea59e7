"""Progress displays: a live display for terminals and notebooks, plain lines for files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ignite._core import clock
from ignite._core.optional import import_optional
from ignite.handlers._progress.trends import format_seconds

__all__ = ["DisplayState", "PlainBar", "Row", "Screen", "as_line"]


class Row(NamedTuple):
    """One row of the metrics table."""

    source: str
    name: str
    value: float | str
    best: float | None = None
    best_epoch: int | None = None
    is_best: bool = False


class DisplayState(NamedTuple):
    """Everything a display shows."""

    epoch: int
    max_epochs: int | None
    iteration: int
    """Completed iterations of this epoch."""
    length: int | None
    rate: float | None
    """Iterations per second."""
    elapsed: float
    left: float | None
    waiting: float | None
    """Fraction of the time spent waiting for data."""
    curve: str
    now_running: str | None
    """Name of an engine that runs within a handler."""
    rows: list[Row]

    @property
    def headline(self) -> str:
        """Epoch and iteration."""
        epoch = f"epoch {self.epoch}" + (
            f"/{self.max_epochs}" if self.max_epochs is not None else ""
        )
        iterations = f"{self.iteration}/{self.length if self.length is not None else '?'}"
        return f"{epoch}  {iterations}"

    @property
    def details(self) -> str:
        """Rate, elapsed and remaining time."""
        rate = "" if self.rate is None else f"{self.rate:,.{1 if self.rate < 100 else 0}f} it/s  "
        waiting = "" if self.waiting is None else f"  data {self.waiting:.0%}"
        return f"{rate}{format_seconds(self.elapsed)} < {format_seconds(self.left)}{waiting}"


def as_line(state: DisplayState) -> str:
    """Formats the state as one line of text."""
    values = "  ".join(
        f"{row.source} {row.name} {_number(row.value)}{'*' * row.is_best}" for row in state.rows
    )
    running = "" if state.now_running is None else f"  [{state.now_running}]"
    return f"{state.headline}{running}  {state.details}" + (f"  {values}" if values else "")


class Screen:
    """Shows the state of a run: a live display in a terminal or notebook, plain lines elsewhere.

    Args:
        console: a rich console; None for standard error.
    """

    def __init__(self, console: Any = None) -> None:
        self._rich = import_optional("rich", extra="progress")
        self._console = (
            import_optional("rich.console", extra="progress").Console(stderr=True)
            if console is None
            else console
        )
        self.is_live = bool(self._console.is_terminal or self._console.is_jupyter)
        self._live: Any = None

    def show(self, state: DisplayState) -> None:
        """Redraws the display, or prints a line."""
        if not self.is_live:
            self._console.print(as_line(state), markup=False, highlight=False, soft_wrap=True)
            return
        if self._live is None:
            live = import_optional("rich.live", extra="progress")
            self._live = live.Live(console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(self.render(state), refresh=True)

    def close(self) -> None:
        """Stops the live display; its last state stays visible."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def render(self, state: DisplayState) -> Any:
        """Builds the rich renderable."""
        text = import_optional("rich.text", extra="progress").Text
        bar = import_optional("rich.progress_bar", extra="progress").ProgressBar
        table = import_optional("rich.table", extra="progress").Table
        group = import_optional("rich.console", extra="progress").Group

        head = table.grid(padding=(0, 2))
        line = [text(state.headline, style="bold"), bar(state.length, state.iteration, width=30)]
        head.add_row(*line, text(state.details), text(state.now_running or "", style="cyan"))
        parts: list[Any] = [head]
        if state.curve:
            parts.append(text(f"loss {state.curve}", style="magenta"))
        if state.rows:
            metrics = table(box=None, padding=(0, 2, 0, 0), header_style="dim")
            for column in ("", "metric", "last", "best", "epoch"):
                metrics.add_column(column, justify="left" if column in ("", "metric") else "right")
            for row in state.rows:
                best = "" if row.best is None else _number(row.best)
                epoch = "" if row.best_epoch is None else str(row.best_epoch)
                style = "bold green" if row.is_best else ""
                metrics.add_row(
                    row.source, row.name, text(_number(row.value), style=style), best, epoch
                )
            parts.append(metrics)
        return group(*parts)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_PLAIN_EVERY_S = 10.0
_PLAIN_FORMAT = "{desc}[{n_fmt}/{total_fmt}] {percentage:3.0f}%{postfix} [{elapsed}<{remaining}]"


class PlainBar:
    """Replacement for ``tqdm`` in files and pipes: prints a line whenever it is refreshed.

    Args:
        format_meter: tqdm's function that formats a line.
        total: the number of iterations, or None.
        initial: the initial count.
        desc: the start of the line.
        leave: accepted for compatibility with tqdm.
    """

    mininterval = _PLAIN_EVERY_S
    unit = "it"

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
        """Sets the start of the line."""
        self.desc = f"{desc}: "

    def set_postfix(self, values: Mapping[str, Any], refresh: bool = True) -> None:
        """Sets the end of the line."""
        shown = (
            (name, f"{value:.3g}" if isinstance(value, float) else value)
            for name, value in values.items()
        )
        self.postfix = ", ".join(f"{name}={value}" for name, value in shown)

    def refresh(self) -> None:
        """Prints a line, unless nothing has changed."""
        if self._shown == (self.n, self.postfix):
            return
        self._shown = (self.n, self.postfix)
        elapsed = clock.now() - self._since
        line = self._format_meter(
            self.n,
            self.total,
            elapsed,
            prefix=self.desc,
            bar_format=_PLAIN_FORMAT,
            postfix=self.postfix,
            unit=self.unit,
            initial=self.initial,
        )
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Prints the last line, unless it is already printed."""
        self.refresh()
