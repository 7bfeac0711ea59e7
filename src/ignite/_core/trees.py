"""Functions on nested containers: batches, outputs, states."""

import numbers
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["CollectionItem", "apply_to_type", "items_restorer", "tree_apply2", "tree_map"]


def apply_to_type(x: Any, input_type: type | tuple[type, ...], func: Callable[[Any], Any]) -> Any:
    """Calls ``func`` on every instance of ``input_type`` in nested mappings, sequences and namedtuples.

    Containers are rebuilt with their own type; strings and bytes stay as they are.

    Args:
        x: the leaf or container.
        input_type: the class or classes of the leaves.
        func: called with a leaf, returns what takes its place.

    Raises:
        TypeError: there is something else in ``x``, None for example.

    Example:
        >>> apply_to_type({"a": [1, 2], "b": ("text", 3)}, int, lambda i: i * 10)
        {'a': [10, 20], 'b': ('text', 30)}
    """
    if isinstance(x, input_type):
        return func(x)
    if isinstance(x, str | bytes):
        return x
    if isinstance(x, Mapping):
        return _rebuild_mapping(
            x, {key: apply_to_type(value, input_type, func) for key, value in x.items()}
        )
    if isinstance(x, Sequence):
        return _rebuild_sequence(x, [apply_to_type(value, input_type, func) for value in x])
    raise TypeError(
        f"x should be {_names(input_type)}, a string, or a dictionary, list or tuple of these, "
        f"but given {_short(x)} of type {type(x).__name__}"
    )


def _short(x: Any) -> str:
    text = repr(x)
    return text if len(text) <= 100 else f"{text[:100]}..."


def tree_map(func: Callable[..., Any], x: Any, key: Any = None) -> Any:
    """Calls ``func(leaf, key=key)`` on every leaf of nested mappings and sequences.

    A leaf is whatever is neither a mapping nor a sequence; strings and bytes are leaves.

    Args:
        func: returns what takes the leaf's place.
        x: the leaf or container.
        key: handed on for a leaf that is in no container. Others get their key in the innermost
            mapping, or their index in the innermost sequence.

    Example:
        >>> tree_map(lambda leaf, key: f"{key}={leaf}", {"a": 1, "b": [2, 3]})
        {'a': 'a=1', 'b': ['0=2', '1=3']}
    """
    if isinstance(x, str | bytes):
        return func(x, key=key)
    if isinstance(x, Mapping):
        return _rebuild_mapping(x, {k: tree_map(func, value, key=k) for k, value in x.items()})
    if isinstance(x, Sequence):
        return _rebuild_sequence(x, [tree_map(func, value, key=i) for i, value in enumerate(x)])
    return func(x, key=key)


def items_restorer(items: dict[Any, Any]) -> Callable[[], None]:
    """Returns a function that restores the current items of a dictionary, such as ``vars(x)``."""
    before = dict(items)

    def restore() -> None:
        items.clear()
        items.update(before)

    return restore


@dataclass(frozen=True)
class CollectionItem:
    """An item of a dictionary or list, which can be read and set.

    Args:
        collection: the dictionary or list.
        key: the key or index in it.

    Example:
        >>> state = {"count": 1}
        >>> CollectionItem(state, "count").set(2)
        >>> state
        {'count': 2}
    """

    collection: Any
    key: Any

    def get(self) -> Any:
        """Returns the item."""
        return self.collection[self.key]

    def set(self, value: Any) -> None:
        """Sets the item to ``value``."""
        self.collection[self.key] = value


def tree_apply2(func: Callable[[Any, Any], Any], x: Any, y: Any) -> None:
    """Calls ``func`` on each leaf of ``x`` together with what is in the same place of ``y``.

    Leaves that have no inside to change (numbers, strings, tensors, None) come as a
    :class:`CollectionItem`, so that ``func`` can put another value in their place; other objects
    come as they are.

    Args:
        func: called with a leaf of ``x`` and its counterpart in ``y``.
        x: nested dictionaries and lists; or a :class:`CollectionItem` that holds them; or a single
            leaf.
        y: has at least the keys of ``x``, and lists of the same length.

    Raises:
        ValueError: a key of ``x`` is missing in ``y``, two lists differ in length, or a container
            of ``x`` meets something else in ``y``.

    Example:
        >>> x = {"lr": 0.1, "steps": [1, 2]}
        >>> tree_apply2(lambda item, value: item.set(value), x, {"lr": 0.5, "steps": [3, 4]})
        >>> x
        {'lr': 0.5, 'steps': [3, 4]}
    """
    container = x.get() if isinstance(x, CollectionItem) else x
    if isinstance(container, Mapping):
        _check_kind(container, y, Mapping)
        for key in container:
            if key not in y:
                raise ValueError(
                    f"y should have the key {key!r} of x, but given one with the keys {list(y)}"
                )
            tree_apply2(func, _item_or_object(container, key), y[key])
    elif isinstance(container, list):
        _check_kind(container, y, Sequence)
        if len(container) != len(y):
            raise ValueError(
                f"y should have the size of x, {len(container)}, but given one of size {len(y)}"
            )
        for i in range(len(container)):
            tree_apply2(func, _item_or_object(container, i), y[i])
    else:
        func(x, y)


def _item_or_object(collection: Any, key: Any) -> Any:
    value = collection[key]
    is_replaced = value is None or isinstance(value, numbers.Number | str | bytes | torch.Tensor)
    return CollectionItem(collection, key) if is_replaced else value


def _check_kind(x: Any, y: Any, kind: type) -> None:
    if not isinstance(y, kind) or isinstance(y, str | bytes):
        raise ValueError(f"y should be a {kind.__name__.lower()} like x, {x!r}, but given {y!r}")


def _rebuild_mapping(x: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    if isinstance(x, defaultdict):
        return type(x)(x.default_factory, items)
    return type(x)(items)  # type: ignore[call-arg]  # that a mapping is built from a dictionary is our assumption


def _rebuild_sequence(x: Sequence[Any], items: Iterable[Any]) -> Any:
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*items)
    return type(x)(items)  # type: ignore[call-arg]  # as for mappings


def _names(types: type | tuple[type, ...]) -> str:
    return " or ".join(t.__name__ for t in (types if isinstance(types, tuple) else (types,)))
