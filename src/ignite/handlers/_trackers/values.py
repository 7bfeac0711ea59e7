"""Takes metrics and outputs apart into named numbers."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from torch import Tensor

__all__ = ["Path", "Scalar", "expand", "named_leaves", "on_host"]

Path: TypeAlias = tuple[Any, ...]
"""Where a value stands: tag, name, and keys or indices in it. Strings, but for keys that users chose otherwise."""
Scalar: TypeAlias = Any
"""A number, a string, or a tensor of at most one dimension."""


def named_leaves(values: Mapping[Any, Any], prefix: Path, with_text: bool) -> Iterator[tuple[Path, Scalar]]:
    """Walks through nested values.

    Mappings and sequences are walked into. Whatever is neither a number, nor a tensor of at most one dimension, nor, if
    ``with_text``, a string is passed over with a ``UserWarning``.

    Args:
        values: by name.
        prefix: what the paths begin with.
        with_text: whether strings are wanted.

    Example:
        >>> list(named_leaves({"a": 1, "b": {"c": [2, 3]}}, ("train",), with_text=False))
        [(('train', 'a'), 1), (('train', 'b', 'c', '0'), 2), (('train', 'b', 'c', '1'), 3)]
    """
    for name, value in values.items():
        yield from _leaves((*prefix, name), value, with_text)


def _leaves(path: Path, value: Any, with_text: bool) -> Iterator[tuple[Path, Scalar]]:
    is_scalar = isinstance(value, numbers.Number) or (isinstance(value, Tensor) and value.ndim <= 1)
    if is_scalar or (with_text and isinstance(value, str)):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves((*path, str(key)), item, with_text)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for index, item in enumerate(value):
            yield from _leaves((*path, str(index)), item, with_text)
    else:
        shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
        warnings.warn(
            f"{'/'.join(map(str, path))} should be a number, a tensor of at most one dimension, or a dictionary or "
            f"sequence of these, but given {type(value).__name__}{shape}: it is not logged",
            stacklevel=2,
        )


def expand(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    """One entry for a number, one each for the members of a list.

    Example:
        >>> list(expand(("a",), [1.0, 2.0]))
        [(('a', '0'), 1.0), (('a', '1'), 2.0)]
    """
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield (*path, str(index)), item
    else:
        yield path, value


def on_host(leaves: Iterable[tuple[Path, Scalar]]) -> dict[Path, Any]:
    """Numbers and strings by path; waits for the device of tensors."""
    found: dict[Path, Any] = {}
    for path, value in leaves:
        found.update(expand(path, value.tolist() if isinstance(value, Tensor) else value))
    return found
