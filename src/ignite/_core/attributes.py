"""Reads attributes of objects without running their code, and finds where a class or function is defined."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from typing import Any

from ignite._core.optional import LazyModule

__all__ = ["attributes_of", "is_of_a_library", "is_of_the_program", "is_ours", "slots_of"]

sysconfig = LazyModule("sysconfig")


def slots_of(value: Any) -> Iterator[tuple[str, Any]]:
    """Yields the names and values of an object's attributes that are in ``__slots__``.

    Example:
        >>> class Point:
        ...     __slots__ = ("x", "y")
        >>> point = Point()
        >>> point.x = 1
        >>> list(slots_of(point))
        [('x', 1)]
    """
    for base in type(value).__mro__:
        names = vars(base).get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name in ("__dict__", "__weakref__"):
                continue
            # Python mangles private names.
            is_private = name.startswith("__") and not name.endswith("__")
            attribute = f"_{base.__name__.lstrip('_')}{name}" if is_private else name
            if hasattr(value, attribute):
                yield attribute, getattr(value, attribute)


def attributes_of(value: Any) -> dict[str, Any]:
    """Returns the attributes of an object, without those of its class.

    Example:
        >>> class Point:
        ...     def __init__(self):
        ...         self.x = 1
        >>> attributes_of(Point())
        {'x': 1}
    """
    found = dict(getattr(value, "__dict__", {}))
    for name, member in slots_of(value):
        found.setdefault(name, member)
    return found


def is_of_the_program(kind: type) -> bool:
    """Whether a class is defined by the user's program, not by this or another installed library."""
    module = sys.modules.get(kind.__module__)
    path = getattr(module, "__file__", None)
    if kind.__module__ == "__main__" or module is None:
        return True
    return path is not None and not is_ours(kind.__module__) and not is_of_a_library(path)


def is_of_a_library(path: str) -> bool:
    """Whether a source file belongs to Python or to an installed package."""
    return path.startswith(_library_folders())


@functools.cache
def _library_folders() -> tuple[str, ...]:
    return tuple(
        {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    )


def is_ours(module: str | None) -> bool:
    """Whether a module belongs to this library or to torch."""
    return (module or "").partition(".")[0] in ("ignite", "torch")
