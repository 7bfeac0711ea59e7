"""Builds HTML in which every text is escaped, because names and values may hold anything."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Html", "join", "table", "tag"]

_EMPTY = ("br", "input", "meta")


class Html(str):
    """Text that is HTML already, and is not escaped again."""

    __slots__ = ()


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """Returns an element. Children and values of attributes are escaped, unless they are :class:`Html`.

    Args:
        name: the name of the element.
        *children: HTML or anything else, which is shown as its text.
        **attributes: True gives an attribute without a value, and None or False none. A trailing
            underscore is dropped, and others become hyphens.

    Example:
        >>> tag("td", "a < b", class_="wide", data_run=1)
        '<td class="wide" data-run="1">a &lt; b</td>'
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _EMPTY:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def _attribute(key: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    key = key.rstrip("_").replace("_", "-")
    return f" {key}" if value is True else f' {key}="{html.escape(str(value))}"'


def join(children: Iterable[Any]) -> Html:
    """Returns the children one after the other, escaped unless they are :class:`Html`."""
    return Html(
        "".join(one if isinstance(one, Html) else html.escape(str(one)) for one in children)
    )


def table(
    header: Sequence[Any], rows: Iterable[Sequence[Any]], *, num_texts: int = 1, **attributes: Any
) -> Html:
    """Returns a table, whose first columns are aligned to the left, and the others to the right.

    Args:
        header: the titles of the columns.
        rows: the cells of each row: HTML or anything else.
        num_texts: number of columns of text.
        **attributes: attributes of the element, see :func:`tag`.

    Example:
        >>> print(table(["part", "s"], [["data", 0.5]]))  # doctest: +ELLIPSIS
        <table><thead><tr><th style="text-align:left">part</th><th style="text-align:right">s</th>...
    """

    def row(cells: Sequence[Any], name: str) -> Html:
        sides = ["left"] * num_texts + ["right"] * len(cells)
        return tag(
            "tr",
            *(
                tag(name, cell, style=f"text-align:{side}")
                for cell, side in zip(cells, sides, strict=False)
            ),
        )

    head = [tag("thead", row(header, "th"))] if header else []
    return tag("table", *head, tag("tbody", *(row(cells, "td") for cells in rows)), **attributes)
