"""A DataLoader like another one, with some of its parts exchanged."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable
from typing import Any

from torch.utils.data import DataLoader

from ignite._core.calls import accepts

__all__ = ["update_dataloader"]

_SAMPLING = frozenset({"batch_size", "shuffle", "sampler", "batch_sampler", "drop_last"})


def update_dataloader(
    dataloader: DataLoader[Any], new_batch_sampler: Iterable[Any] | None = None, **changes: Any
) -> DataLoader[Any]:
    """Makes a loader like ``dataloader``, of the same class, that takes its batches of indices from another sampler.

    Args:
        dataloader: stays as it is; over a map-style dataset, unless the sampling stays.
        new_batch_sampler: gives lists of indices. None: sampling is as it was, or as ``changes``
            say.
        changes: other arguments of the loader: ``generator``, ``dataset``, ``collate_fn``,
            ``sampler``, ...

    Example:
        >>> loader = DataLoader(range(4), batch_size=3)
        >>> list(update_dataloader(loader, [[3], [0, 1]]))
        [tensor([3]), tensor([0, 1])]
    """
    names = set(inspect.signature(DataLoader.__init__).parameters) | set(
        inspect.signature(type(dataloader)).parameters
    )
    kept = {
        name: getattr(dataloader, name)
        for name in names - _SAMPLING - {"self"}
        if hasattr(dataloader, name)
    }
    if new_batch_sampler is not None:
        kept["batch_sampler"] = new_batch_sampler
    elif "sampler" in changes:
        kept["batch_size"] = None
    else:
        kept |= {"batch_size": dataloader.batch_size, "drop_last": dataloader.drop_last}
    kept |= changes
    if accepts(type(dataloader), **kept):
        return type(dataloader)(**kept)
    return _copy(dataloader, kept)


def _copy(dataloader: DataLoader[Any], changes: dict[str, Any]) -> DataLoader[Any]:
    """For a class whose constructor takes other arguments: the loader as it is, with some attributes exchanged."""
    if "sampler" in changes:
        changes = changes | {"batch_sampler": None}
    elif "batch_sampler" in changes:
        changes = changes | {"batch_size": None, "drop_last": False}
    changes = {
        name: value for name, value in changes.items() if name != "multiprocessing_context"
    }  # a property
    copied = copy.copy(dataloader)
    vars(copied).update(
        changes, _iterator=None
    )  # set like this, because a loader refuses to be changed
    return copied
