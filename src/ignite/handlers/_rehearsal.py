"""What a dry run asks of checkpoints: could they be written, and does what was saved come back?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite import storage
from ignite._core.differences import first_difference
from ignite.exceptions import CheckpointError

__all__ = ["check_same", "check_writable", "come_back"]


def check_writable(path: Path | None) -> None:
    """Asks, without a trace, whether files could be written to a folder; None stands for what is no folder.

    Raises:
        PermissionError: they could not.
        NotADirectoryError: something on the way there is a file.
    """
    if path is None:
        return
    known = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not known.is_dir():
        raise NotADirectoryError(f"Files should go to {path}, but {known} is no folder")
    if not os.access(known, os.W_OK | os.X_OK):
        raise PermissionError(f"Files should go to {path}, but {known} may not be written to")


def come_back(objects: Mapping[str, Any], states: Mapping[str, Any]) -> None:
    """Loads what was saved of objects into them, and looks whether they hold it then.

    Raises:
        CheckpointError: an object refuses its state, or has another one afterwards.
    """
    storage.restore(objects, states)
    check_same({name: storage.state_of(one) for name, one in objects.items()}, states)


def check_same(found: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Looks whether states, taken after loading, are those that were saved.

    Raises:
        CheckpointError: one is not.
    """
    for name in found:
        plain, expected = storage.plain({name: found[name]})[name], storage.plain({name: saved[name]})[name]
        difference = first_difference(plain, expected, name)
        if difference is not None:
            raise CheckpointError(f"{name} should come back from a checkpoint as it was saved, but {difference}")
