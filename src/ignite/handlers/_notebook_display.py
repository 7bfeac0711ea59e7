"""The progress display in a notebook: HTML that is replaced in place and stays in the saved file."""

from __future__ import annotations

from html import escape
from typing import Any

from ignite._core.optional import import_optional
from ignite.handlers._progress_display import (
    DisplayState,
    as_line,
    best_of,
    by_metric,
    format_number,
)

__all__ = ["NotebookScreen", "as_html"]

# Colors are those of the page, so that the display can be read on light and dark ones.
_HEAD = "margin: 0 0 0.3em 0; font-variant-numeric: tabular-nums"
_TABLE = "border-collapse: collapse; color: inherit; font-size: inherit"
_CELL = "padding: 0 1.2em 0 0; text-align: {}; border: none; background: none"


class NotebookScreen:
    """Shows the state of a run below the cell. Needs no widget and no network.

    The output has a text version for programs that convert notebooks to text.
    """

    is_live = True

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, state: DisplayState) -> None:
        """Redraws the display."""
        bundle = {"text/html": as_html(state), "text/plain": as_line(state)}
        if self._handle is None:
            display = import_optional("IPython.display", extra="progress").display
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def close(self) -> None:
        """Ends the display; its last state stays visible."""
        self._handle = None


def as_html(state: DisplayState) -> str:
    """Formats the state as HTML.

    Example:
        >>> state = DisplayState(2, 3, 5, 10, 12.5, 8, 15, None, "", None, [])
        >>> "epoch 2/3" in as_html(state), 'value="5" max="10"' in as_html(state)
        (True, True)
    """
    ends = "" if state.length is None else f' value="{state.iteration}" max="{state.length}"'
    running = "" if state.now_running is None else f" &nbsp; {escape(state.now_running)}"
    lines = [
        f"<b>{escape(state.headline)}</b> <progress{ends}></progress> "
        f"{escape(state.details)}{running}"
    ]
    if state.loss is not None or state.curve:
        shown = "" if state.loss is None else format_number(state.loss)
        lines.append(f"loss {shown} {escape(state.curve)}")
    head = "".join(f'<div style="{_HEAD}">{line}</div>' for line in lines)
    return f"<div>{head}{_table(state) if state.rows else ''}</div>"


def _table(state: DisplayState) -> str:
    sources, by_name = by_metric(state.rows)
    rows = [_row("th", ["metric", *sources, "best", "epoch"], [])]
    for name, values in by_name.items():
        cells = [format_number(values[one].value) if one in values else "" for one in sources]
        are_best = [one in values and values[one].is_best for one in sources]
        rows.append(_row("td", [name, *cells, *best_of(values)], [False, *are_best]))
    return f'<table style="{_TABLE}">{"".join(rows)}</table>'


def _row(tag: str, cells: list[str], are_bold: list[bool]) -> str:
    found = []
    for i, cell in enumerate(cells):
        is_bold = i < len(are_bold) and are_bold[i]
        text = f"<b>{escape(cell)}</b>" if is_bold else escape(cell)
        found.append(f'<{tag} style="{_CELL.format("right" if i else "left")}">{text}</{tag}>')
    return f"<tr>{''.join(found)}</tr>"
