"""Copies a DataLoader with some of its arguments changed."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from torch.utils.data import DataLoader

from ignite._core.calls import accepts, signature_of
from ignite._core.torch_private import forget_workers

__all__ = ["update_dataloader"]

_SAMPLING = frozenset({"batch_size", "shuffle", "sampler", "batch_sampler", "drop_last"})


def update_dataloader(
    dataloader: DataLoader[Any], new_batch_sampler: Iterable[Any] | None = None, **changes: Any
) -> DataLoader[Any]:
    """Copies a loader, with another batch sampler or other arguments.

    Args:
        dataloader: the loader; it is not modified. If its sampling changes, its dataset should be
            map-style.
        new_batch_sampler: the new batch sampler, an iterable of lists of indices; None to keep the
            sampling, or to change it by ``changes``.
        changes: other arguments of the loader to change: ``generator``, ``dataset``,
            ``collate_fn``, ``sampler``, ...

    Example:
        >>> loader = DataLoader(range(4), batch_size=3)
        >>> list(update_dataloader(loader, [[3], [0, 1]]))
        [tensor([3]), tensor([0, 1])]
    """
    names = set(signature_of(DataLoader.__init__).parameters) | set(
        signature_of(type(dataloader)).parameters
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
    """Copies a loader by its attributes, for classes whose constructors take other arguments."""
    if "sampler" in changes:
        changes = changes | {"batch_sampler": None}
    elif "batch_sampler" in changes:
        changes = changes | {"batch_size": None, "drop_last": False}
    is_property = {"multiprocessing_context"}
    changes = {name: value for name, value in changes.items() if name not in is_property}
    copied = copy.copy(dataloader)
    vars(copied).update(changes)  # assigning to attributes of a loader raises
    forget_workers(copied)
    return copied
