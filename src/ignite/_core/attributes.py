"""Attributes of objects: temporary replacements, and attributes in slots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["replaced", "slots_of"]


@contextmanager
def replaced(obj: Any, **values: Any) -> Iterator[None]:
    """Sets attributes of an object, and restores them when the context exits.

    Args:
        obj: the object.
        **values: new values of its attributes.

    Raises:
        AttributeError: the object does not have one of the attributes. Nothing is changed.

    Example:
        >>> from types import SimpleNamespace
        >>> options = SimpleNamespace(folder="runs")
        >>> with replaced(options, folder="elsewhere"):
        ...     print(options.folder)
        elsewhere
        >>> options.folder
        'runs'
    """
    before = {name: getattr(obj, name) for name in values}
    try:
        for name, value in values.items():
            setattr(obj, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(obj, name, value)


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
