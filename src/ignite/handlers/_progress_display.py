"""Displays of progress: trends of the numbers of a run, and ways to show them."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ignite._core import clock
from ignite._core.optional import import_optional
from ignite._core.printable import in_encoding, printable

__all__ = [
    "Best",
    "Curve",
    "DisplayState",
    "Pace",
    "PlainBar",
    "Row",
    "Screen",
    "as_line",
    "best_of",
    "by_metric",
    "curve_in_encoding",
    "format_number",
    "format_seconds",
    "lower_is_better",
    "sparkline",
]

_MIN_BAR, _MAX_BAR = 10, 30
"""Width of the progress bar in characters."""
_BARS = "▁▂▃▄▅▆▇█"
_IN_ASCII = str.maketrans(_BARS, "._:-=+*#")
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
        self.last: float | None = None
        """The last value, whatever it is."""

    def add(self, value: float) -> None:
        """Adds the next value; values that are not finite are no points of the curve."""
        self.last = value
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


def curve_in_encoding(curve: str, encoding: str | None) -> str:
    """Returns a curve of :func:`sparkline` in ASCII if the encoding lacks its characters.

    Example:
        >>> curve_in_encoding(sparkline([4, 3, 2, 1], width=4), "ascii")
        '#+:.'
    """
    try:
        curve.encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return curve.translate(_IN_ASCII)
    return curve


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
    loss: float | None = None
    """The latest loss of the curve."""

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
        f"{row.source} {row.name} {format_number(row.value)}{'*' * row.is_best}"
        for row in state.rows
    )
    running = "" if state.now_running is None else f"  [{state.now_running}]"
    return f"{state.headline}{running}  {state.details}" + (f"  {values}" if values else "")


class Screen:
    """Shows the state of a run: a live display in a terminal, plain lines elsewhere.

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
        self.is_live = bool(self._console.is_terminal)
        self._live: Any = None

    def show(self, state: DisplayState) -> None:
        """Redraws the display, or prints a line."""
        if not self.is_live:
            line = in_encoding(as_line(state), self._console.encoding)
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
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
        """Builds the rich renderable, which is never wider than the console."""
        make_text = import_optional("rich.text", extra="progress").Text
        encoding = self._console.encoding

        def text(content: str, style: str = "") -> Any:
            content = in_encoding(content, encoding)
            return make_text(content, style=style, no_wrap=True, overflow="ellipsis")

        group = import_optional("rich.console", extra="progress").Group
        parts = [*self._head(state, text)]
        if state.loss is not None or state.curve:
            shown = "" if state.loss is None else f"{format_number(state.loss)}  "
            curve = curve_in_encoding(state.curve, encoding)
            parts.append(text(f"loss {shown}{curve}", style="magenta"))
        if state.rows:
            parts.append(self._metrics(state.rows, text))
        return group(*parts)

    def _head(self, state: DisplayState, text: Callable[..., Any]) -> list[Any]:
        """The position, a bar, and the pace: in one line if it is wide enough, else in two."""
        grid = import_optional("rich.table", extra="progress").Table.grid
        bar = import_optional("rich.progress_bar", extra="progress").ProgressBar
        details = "  ".join(filter(None, [state.details, state.now_running]))
        left = self._console.width - len(state.headline) - 2
        is_one_line = left - len(details) - 2 >= _MIN_BAR
        width = min(_MAX_BAR, left - len(details) - 2 if is_one_line else left)
        if width < 1:
            return [text(state.headline, style="bold"), text(details)]
        head = grid(padding=(0, 2, 0, 0))
        cells = [
            text(state.headline, style="bold"),
            bar(state.length, state.iteration, width=width),
        ]
        head.add_row(*cells, *([text(details)] if is_one_line else []))
        return [head] if is_one_line else [head, text(details)]

    def _metrics(self, rows: Sequence[Row], text: Callable[..., Any]) -> Any:
        """A row for each metric, and a column for each engine that has computed it."""
        table = import_optional("rich.table", extra="progress").Table
        metrics = table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        metrics.add_column("metric", no_wrap=True, overflow="ellipsis", max_width=40)
        sources, by_name = by_metric(rows)
        for column in (*sources, "best", "epoch"):
            metrics.add_column(column, justify="right", no_wrap=True, overflow="ellipsis")
        for name, values in by_name.items():
            cells = [
                text(
                    format_number(values[one].value),
                    style="bold green" if values[one].is_best else "",
                )
                if one in values
                else ""
                for one in sources
            ]
            metrics.add_row(text(name), *cells, *map(text, best_of(values)))
        return metrics


def by_metric(rows: Sequence[Row]) -> tuple[list[str], dict[str, dict[str, Row]]]:
    """Returns the engines, the trainer first, and for each metric its row of each engine."""
    rows = sorted(rows, key=lambda row: (row.source != "training", row.name != "loss"))
    sources = list(dict.fromkeys(row.source for row in rows))
    by_name: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_name.setdefault(row.name, {})[row.source] = row
    return sources, by_name


def best_of(rows: Mapping[str, Row]) -> tuple[str, str]:
    """Returns the best value and its epoch, of the last engine, which is that of the validation."""
    row = list(rows.values())[-1]
    best = "" if row.best is None else format_number(row.best)
    return best, "" if row.best_epoch is None else str(row.best_epoch)


def format_number(value: Any) -> str:
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
        sys.stderr.write(printable(f"{line}\n", sys.stderr))
        sys.stderr.flush()

    def close(self) -> None:
        """Prints the last line, unless it is already printed."""
        self.refresh()
