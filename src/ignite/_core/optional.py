"""Packages that only some users need."""

import importlib
from typing import Any

__all__ = ["import_optional"]


def import_optional(module: str, extra: str) -> Any:
    """Imports ``module``; where it is missing, the error says how to install it.

    Args:
        module: its dotted name.
        extra: the extra of this distribution that installs it.

    Raises:
        ModuleNotFoundError: ``module`` is not installed. An error inside of ``module`` comes as it is.

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
            f'{module} should be installed for this, but is missing: pip install "reignition[{extra}]"', name=error.name
        ) from error
