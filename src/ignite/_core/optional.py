"""Imports at first use: optional packages, names of packages, and modules that most programs do not need."""

import dis
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["LazyModule", "import_optional", "names_when_used", "numpy_or_none"]


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
        if attribute == "__wrapped__":  # asked of everything by inspect.unwrap; no module has it
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)

    def __repr__(self) -> str:
        return f"LazyModule({self._name!r})"


def names_when_used(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Returns ``__getattr__`` and ``__dir__`` of a package that imports its names when they are first used.

    The names are those that the ``__init__`` module imports for type checkers only::

        if TYPE_CHECKING:
            from ignite.metrics.accuracy import Accuracy
        __getattr__, __dir__ = names_when_used(__name__)

    This block is the only list of them. It is compiled, though never executed, and read from the
    bytecode, which is also there where sources are not. Submodules are found, too, as after an
    import.
    """
    module = sys.modules[package]
    homes_of = functools.cache(_homes)  # read when the first name is used

    def look_up(name: str) -> Any:
        homes = {} if name.startswith("__") else homes_of(module)
        if name in homes:
            value = getattr(importlib.import_module(homes[name]), name)
            setattr(module, name, value)
            return value
        if not name.startswith("__") and importlib.util.find_spec(f"{package}.{name}") is not None:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted({*vars(module), *vars(module).get("__all__", ())})

    return look_up, names


def _homes(module: ModuleType) -> dict[str, str]:
    """Returns modules by the names that ``module`` imports from them."""
    assert module.__spec__ is not None
    homes: dict[str, str] = {}
    home = ""
    for instruction in dis.get_instructions(module.__spec__.loader.get_code(module.__name__)):  # type: ignore[union-attr]
        if instruction.opname == "IMPORT_NAME":
            home = instruction.argval
        elif instruction.opname == "IMPORT_FROM" and home != module.__name__:
            homes[instruction.argval] = home
    return homes
