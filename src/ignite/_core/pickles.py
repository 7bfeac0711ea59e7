"""Finds objects that cannot be pickled to be sent to a new process, and explains what to do."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch.utils.data import DataLoader

from ignite._core.calls import name_of, source_location

__all__ = ["check_picklable", "explain", "iterate"]

_MAX_DEPTH = 6
_OF_LOADERS = ("dataset", "collate_fn", "worker_init_fn")
"""The attributes of a DataLoader that are sent to its workers."""


def check_picklable(value: Any) -> None:
    """Pickles a value as for a new process, without the content of tensors, and discards the result.

    Raises:
        Exception: ``value`` cannot be pickled.
    """
    # Queues and locks raise RuntimeError, because they can only be pickled while a process starts.
    with suppress(RuntimeError):
        _Probe(_Nowhere()).dump(value)


def iterate(data: Iterable[Any]) -> Iterator[Any]:
    """Returns ``iter(data)``; an error has the note of :func:`explain`."""
    try:
        return iter(data)
    except Exception as error:
        explain(data, error)
        raise


def explain(data: Any, error: Exception) -> None:
    """Adds a note with the reason to an error of ``iter(data)`` if workers of a DataLoader cannot start.

    Workers that are not forked receive the dataset and functions as pickles. This is the default on
    Windows and macOS and, since Python 3.14, on Linux.
    """
    if isinstance(data, DataLoader) and not hasattr(error, "__notes__"):
        _explain(data, error)


def _explain(loader: DataLoader[Any], error: Exception) -> None:
    context = loader.multiprocessing_context or multiprocessing.get_context()
    method = context.get_start_method()
    if not loader.num_workers or method == "fork":
        return
    for part in _OF_LOADERS:
        found = _find_unpicklable(part, getattr(loader, part, None))
        if found is not None:
            break
    else:
        return
    may_fork = sys.platform == "linux" and "fork" in multiprocessing.get_all_start_methods()
    fork = ', or pass multiprocessing_context="fork" to the DataLoader' if may_fork else ""
    error.add_note(
        f"{found} cannot be pickled, but is sent to workers as a pickle, because they are started with "
        f"{method!r}. Define it at the top level of a module{fork}"
    )


def _find_unpicklable(path: str, value: Any) -> str | None:
    """Describes the innermost object that cannot be pickled; None if there is none."""
    for _ in range(_MAX_DEPTH):
        if _is_picklable(value):
            return None
        inner = next((item for item in _parts_of(path, value) if not _is_picklable(item[1])), None)
        if inner is None:
            break
        path, value = inner
    place = source_location(value) if callable(value) else ""
    return f"{path}, {name_of(value)}{f' of {place}' if place else ''},"


def _parts_of(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f"{path}[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"{path}[{index}]", item) for index, item in enumerate(value))
    else:
        attributes = getattr(value, "__dict__", {})
        if not isinstance(value, type) and not hasattr(value, "__code__"):
            yield from ((f"{path}.{name}", item) for name, item in attributes.items())
        for name in ("func", "__self__"):  # of a partial, of a method
            if name not in attributes and hasattr(value, name):
                yield f"{path}.{name}", getattr(value, name)


def _is_picklable(value: Any) -> bool:
    try:
        check_picklable(value)
    except Exception:
        return False
    return True


class _Nowhere:
    """A file that discards everything."""

    def write(self, data: Any) -> int:
        return len(data)


class _Probe(ForkingPickler):
    def persistent_id(self, obj: Any) -> str | None:
        return "tensor" if isinstance(obj, torch.Tensor | torch.UntypedStorage) else None
