"""Shows the figures of a run: a display of rich in a terminal or notebook, plain lines elsewhere."""

from __future__ import annotations

from typing import Any, NamedTuple

from ignite._core.optional import import_optional
from ignite.handlers._progress.figures import format_seconds

__all__ = ["Figures", "Row", "Screen", "as_line"]


class Row(NamedTuple):
    """A metric."""

    source: str
    name: str
    value: float | str
    best: float | None = None
    best_epoch: int | None = None
    is_best: bool = False


class Figures(NamedTuple):
    """What there is to show."""

    epoch: int
    max_epochs: int | None
    place: int
    """Iterations in this epoch."""
    length: int | None
    rate: float | None
    """Iterations per second."""
    elapsed: float
    left: float | None
    waiting: float | None
    """The share of the time that was spent waiting for data."""
    curve: str
    now_running: str | None
    """Another engine that runs within a handler."""
    rows: list[Row]

    @property
    def headline(self) -> str:
        """Where the run is."""
        epoch = f"epoch {self.epoch}" + (f"/{self.max_epochs}" if self.max_epochs is not None else "")
        place = f"{self.place}/{self.length if self.length is not None else '?'}"
        return f"{epoch}  {place}"

    @property
    def details(self) -> str:
        """How it goes."""
        rate = "" if self.rate is None else f"{self.rate:,.{1 if self.rate < 100 else 0}f} it/s  "
        waiting = "" if self.waiting is None else f"  data {self.waiting:.0%}"
        return f"{rate}{format_seconds(self.elapsed)} < {format_seconds(self.left)}{waiting}"


def as_line(figures: Figures) -> str:
    """All of it, in one line of text."""
    values = "  ".join(f"{row.source} {row.name} {_number(row.value)}{'*' * row.is_best}" for row in figures.rows)
    running = "" if figures.now_running is None else f"  [{figures.now_running}]"
    return f"{figures.headline}{running}  {figures.details}" + (f"  {values}" if values else "")


class Screen:
    """Where figures are shown, until it is closed.

    Args:
        console: of rich; None for one on standard error.
    """

    def __init__(self, console: Any = None) -> None:
        self._rich = import_optional("rich", extra="progress")
        self._console = (
            import_optional("rich.console", extra="progress").Console(stderr=True) if console is None else console
        )
        self.is_live = bool(self._console.is_terminal or self._console.is_jupyter)
        self._live: Any = None

    def show(self, figures: Figures) -> None:
        """Draws the display anew, or prints a line."""
        if not self.is_live:
            self._console.print(as_line(figures), markup=False, highlight=False, soft_wrap=True)
            return
        if self._live is None:
            live = import_optional("rich.live", extra="progress")
            self._live = live.Live(console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(self.render(figures), refresh=True)

    def close(self) -> None:
        """Leaves the last state of the display, and gives the terminal back."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def render(self, figures: Figures) -> Any:
        """The display as an object of rich."""
        text = import_optional("rich.text", extra="progress").Text
        bar = import_optional("rich.progress_bar", extra="progress").ProgressBar
        table = import_optional("rich.table", extra="progress").Table
        group = import_optional("rich.console", extra="progress").Group

        head = table.grid(padding=(0, 2))
        line = [text(figures.headline, style="bold"), bar(figures.length, figures.place, width=30)]
        head.add_row(*line, text(figures.details), text(figures.now_running or "", style="cyan"))
        parts: list[Any] = [head]
        if figures.curve:
            parts.append(text(f"loss {figures.curve}", style="magenta"))
        if figures.rows:
            metrics = table(box=None, padding=(0, 2, 0, 0), header_style="dim")
            for column in ("", "metric", "last", "best", "epoch"):
                metrics.add_column(column, justify="left" if column in ("", "metric") else "right")
            for row in figures.rows:
                best = "" if row.best is None else _number(row.best)
                epoch = "" if row.best_epoch is None else str(row.best_epoch)
                style = "bold green" if row.is_best else ""
                metrics.add_row(row.source, row.name, text(_number(row.value), style=style), best, epoch)
            parts.append(metrics)
        return group(*parts)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
