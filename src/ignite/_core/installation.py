"""Detects files of pytorch-ignite, which has the same import name, in the folder of this package.

If both have been installed, they have overwritten files of each other. Uninstalling pytorch-ignite
then removes files of this package, too.
"""

import os
import warnings
from types import ModuleType

from ignite._core.optional import LazyModule

__all__ = ["check_folder", "check_package"]

metadata = LazyModule("importlib.metadata")  # takes milliseconds to import

_ONLY_IN_IGNITE = ("engine/utils.py", "contrib/handlers/__init__.py")
"""Modules of pytorch-ignite 0.4 and 0.5 that this package does not have."""

_ADVICE = (
    "Both have the import name 'ignite', so an environment can have only one of them. For this one: "
    "pip uninstall -y pytorch-ignite reignition && pip install reignition"
)


def check_package(package: ModuleType | None) -> None:
    """Checks, when a module is imported, that its package ``ignite`` is this one.

    Args:
        package: ``sys.modules["ignite"]``.

    Raises:
        ImportError: pytorch-ignite has replaced or removed its ``__init__`` module.
    """
    if getattr(package, "__distribution__", None) == "reignition" or package is None:
        return
    if getattr(package, "__file__", None) is None:
        problem = "is incomplete, as after 'pip uninstall pytorch-ignite'"
    else:
        version = getattr(package, "__version__", "of an unknown version")
        problem = f"has files of reignition and of pytorch-ignite {version}"
    raise ImportError(f"The package in {_folder_of(package)} {problem}. {_ADVICE}", name="ignite")


def check_folder(folder: str) -> None:
    """Warns if the folder of this package has files of pytorch-ignite. Takes two disk accesses.

    Args:
        folder: the folder of the package ``ignite``.
    """
    found = [name for name in _ONLY_IN_IGNITE if os.path.exists(f"{folder}/{name}")]
    if not found:
        return
    try:
        version = metadata.version("pytorch-ignite")
    except metadata.PackageNotFoundError:
        version = "(which is not installed any more)"
    warnings.warn(
        f"{folder} also has files of pytorch-ignite {version}, such as {found[0]}. {_ADVICE}",
        stacklevel=3,
    )


def _folder_of(package: ModuleType) -> str:
    folders = list(getattr(package, "__path__", ()))
    return folders[0] if folders else "an unknown folder"
