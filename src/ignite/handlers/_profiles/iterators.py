"""Iterators whose ``__next__`` is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["CalledIterator"]


class CalledIterator:
    """An iterator over what a function returns, until it raises StopIteration.

    A generator would be over after any exception, and would hold a batch while the next is made.

    Args:
        fetch: the ``__next__`` of another iterator, with a clock around it.
    """

    __slots__ = ("_fetch",)

    def __init__(self, fetch: Callable[[], Any]) -> None:
        self._fetch = fetch

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._fetch()
