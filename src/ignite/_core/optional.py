"""Imports at first use: optional packages, and modules that most programs do not need."""

import functools
import importlib
from typing import Any

__all__ = ["LazyModule", "import_optional", "numpy_or_none"]


def import_optional(module: str, extra: str) -> Any:
    """Imports ``module``; if it is not installed, the error says how to install it.

    Args:
        module: the dotted name of the module.
        extra: the extra of this package that installs it.

    Raises:
        ModuleNotFoundError: ``module`` is not installed. Errors that are raised inside of
            ``module`` are not changed.

    Example:
        >>> import_optional("json", extra="all").dumps([1])
        '[1]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise ModuleNotFoundError(
            f'{module} should be installed for this, but is missing: pip install "reignition[{extra}]"',
            name=error.name,
        ) from error


@functools.cache
def numpy_or_none() -> Any:
    """Returns numpy, or None if it is not installed."""
    try:
        import numpy
    except ModuleNotFoundError:
        return None
    return numpy


class LazyModule:
    """A module that is imported when one of its attributes is first used.

    Args:
        name: the dotted name of the module.

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
