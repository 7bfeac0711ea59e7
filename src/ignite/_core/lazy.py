"""Modules that are loaded when they are first used: most programs do without them."""

import importlib
from typing import Any

__all__ = ["LazyModule"]


class LazyModule:
    """Stands for a module of this package, and imports it when something of it is asked for.

    Args:
        name: the module's dotted name.

    Example:
        >>> json = LazyModule("json")
        >>> json.dumps([1])
        '[1]'
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)

    def __repr__(self) -> str:
        return f"LazyModule({self._name!r})"
