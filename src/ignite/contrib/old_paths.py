"""Import paths of Ignite 0.1 to 0.5 that have moved: a table of paths, and an import finder.

A module at an old path has the same objects as the new one. It issues one DeprecationWarning: a
package at the first access to an attribute, any other module when it is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["OldPathFinder", "install"]

MOVED = {
    "ignite.contrib.handlers": "ignite.handlers",
    "ignite.contrib.handlers.custom_events": "ignite.contrib.custom_events",
    "ignite.contrib.metrics": "ignite.metrics",
    "ignite.engines": "ignite.engine",
}
"""New paths by old path.

Submodules of an old path are at the new one, if they exist there. The longest match counts.
"""

ALSO_FROM = {
    "ignite.contrib.handlers": ("ignite.contrib.custom_events", "ignite.handlers.time_profilers"),
    "ignite.contrib.handlers.base_logger": ("ignite.handlers.utils",),
    "ignite.engines": ("ignite.engine.engine",),
    "ignite.engines.engine": ("ignite.engine",),
}
"""Further modules by old path, in which names of the old module are looked up."""


class _OldModule(ModuleType):
    """Looks up attributes in the modules at the new paths."""

    def __init__(self, name: str, new: str, is_package: bool) -> None:
        super().__init__(name, f"Moved to {new}.")
        self._sources = (new, *ALSO_FROM.get(name, ()))
        self._is_quiet = not is_package  # other modules warn when they are imported
        if is_package:
            self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return self.__dir__()
        if name.startswith("__"):
            raise AttributeError(name)
        for source in self._sources:
            module = importlib.import_module(source)
            if hasattr(module, name) and f"{source}.{name}" not in sys.modules:
                if not self._is_quiet:
                    self._is_quiet = True
                    _warn(self.__name__, self._sources[0], stacklevel=3)
                return getattr(module, name)
        raise AttributeError(
            f"module {self.__name__!r} has no attribute {name!r}, "
            f"and neither has {', '.join(self._sources)}"
        )

    def __dir__(self) -> list[str]:
        modules = map(importlib.import_module, self._sources)
        return sorted({name for module in modules for name in getattr(module, "__all__", ())})


class OldPathFinder(MetaPathFinder, Loader):
    """Finds modules at their old paths. The last finder, so that existing modules win."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Returns a spec if ``fullname`` is an old path whose new path exists."""
        if not fullname.startswith("ignite."):
            return None
        new = _new_path(fullname)
        found = None if new is None else importlib.util.find_spec(new)
        if found is None:
            return None
        return ModuleSpec(
            fullname, self, origin=new, is_package=found.submodule_search_locations is not None
        )

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Returns a module that looks up its attributes at the new path."""
        assert spec.origin is not None
        return _OldModule(spec.name, spec.origin, spec.submodule_search_locations is not None)

    def exec_module(self, module: ModuleType) -> None:
        """Warns about the old path, unless it is a package."""
        assert isinstance(module, _OldModule)
        if module._is_quiet:
            _warn(module.__name__, module._sources[0], stacklevel=3)


def install() -> None:
    """Makes old paths importable. Further calls have no effect."""
    if not any(isinstance(finder, OldPathFinder) for finder in sys.meta_path):
        sys.meta_path.append(OldPathFinder())


def _new_path(old: str) -> str | None:
    for row in sorted(MOVED, key=len, reverse=True):
        if f"{old}.".startswith(f"{row}."):
            return MOVED[row] + old[len(row) :]
    return None


def _warn(old: str, new: str, stacklevel: int) -> None:
    # ``stacklevel`` does not count frames of the import system.
    warnings.warn(
        f"{old} has moved: import from {new} instead", DeprecationWarning, stacklevel=stacklevel
    )
