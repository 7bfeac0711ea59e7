"""Builds HTML in which every text is escaped, because names and values may contain anything."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Html", "Text", "in_brief", "join", "table", "tag"]

_EMPTY = ("br", "input", "meta")
_MAX_LENGTH = 200


class Html(str):
    """Text that is HTML already, and is not escaped again."""

    __slots__ = ()


class Text(str):
    """A text that is shown as it is in a terminal, and as HTML in a notebook.

    Args:
        text: the text.
        page: the same as HTML.
    """

    __slots__ = ("_page",)
    _page: Html

    def __new__(cls, text: str, page: Html) -> Text:
        made = super().__new__(cls, text)
        made._page = page
        return made

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return self[:]

    def __reduce__(self) -> Any:
        return type(self), (str(self), self._page)

    def _repr_html_(self) -> str:
        return self._page


def in_brief(value: Any) -> str:
    """Returns a value in at most 200 characters; of tensors and arrays, dtype and shape.

    Example:
        >>> import torch
        >>> in_brief(torch.zeros(2, 3)), in_brief([1, 0.5]), in_brief({"a": 0.123456})
        ('Tensor float32 (2, 3)', '[1, 0.5]', '{a: 0.1235}')
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"{type(value).__name__} {dtype} {tuple(value.shape)}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if type(value) is dict:
        text = f"{{{', '.join(f'{key}: {in_brief(item)}' for key, item in _first(value.items()))}}}"
    elif type(value) in (list, tuple):
        inner = ", ".join(in_brief(item) for item in _first(value))
        text = f"[{inner}]" if type(value) is list else f"({inner})"
    elif value is None or isinstance(value, str | int):
        text = str(value)
    else:
        text = type(value).__name__  # what it prints may be long, or take time
    return text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH - 3]}..."


def _first(items: Iterable[Any]) -> list[Any]:
    return list(itertools.islice(items, 10))


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
