"""Maps and converts nested containers and the tensors in them; restores items and attributes."""

import copy
import dataclasses
import numbers
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ignite._core.old_arguments import renamed, takes_old

__all__ = [
    "CollectionItem",
    "apply_to_tensor",
    "apply_to_type",
    "convert_tensor",
    "in_float32",
    "items_restorer",
    "map_leaves",
    "moved",
    "replaced",
    "to_onehot",
    "tree_apply2",
    "tree_map",
]

_HALVES = (torch.float16, torch.bfloat16)

_takes_input = takes_old(arguments={"input_": renamed("input_", "x")})


@_takes_input
def apply_to_type(x: Any, input_type: type | tuple[type, ...], func: Callable[[Any], Any]) -> Any:
    """Calls ``func`` on each instance of ``input_type`` in nested mappings, sequences, namedtuples.

    Containers are rebuilt with their own type; strings and bytes stay as they are.

    Args:
        x: the leaf or container.
        input_type: the class or classes of the leaves.
        func: called with each leaf; returns its replacement.

    Raises:
        TypeError: ``x`` contains another object, such as None.

    Example:
        >>> apply_to_type({"a": [1, 2], "b": ("text", 3)}, int, lambda i: i * 10)
        {'a': [10, 20], 'b': ('text', 30)}
    """
    return map_leaves(x, input_type, func)


def map_leaves(x: Any, input_type: type | tuple[type, ...], func: Callable[[Any], Any]) -> Any:
    """Does the same as :func:`apply_to_type`, which also accepts arguments of earlier versions."""
    if isinstance(x, input_type):
        return func(x)
    if isinstance(x, str | bytes):
        return x
    if isinstance(x, Mapping):
        return _rebuild_mapping(
            x, {key: map_leaves(value, input_type, func) for key, value in x.items()}
        )
    if isinstance(x, Sequence):
        return _rebuild_sequence(x, [map_leaves(value, input_type, func) for value in x])
    raise TypeError(
        f"x should be {_names(input_type)}, a string, or a dictionary, list or tuple of these, "
        f"but given {_short(x)} of type {type(x).__name__}"
    )


def _short(x: Any) -> str:
    text = repr(x)
    return text if len(text) <= 100 else f"{text[:100]}..."


@_takes_input
def apply_to_tensor(x: Any, func: Callable[[torch.Tensor], Any]) -> Any:
    """Calls ``func`` on every tensor in nested mappings, sequences and namedtuples.

    Containers are rebuilt with their own type; strings and bytes stay as they are.

    Args:
        x: the tensor or container.
        func: called with each tensor; returns its replacement.

    Raises:
        TypeError: ``x`` contains another object, such as a number.

    Example:
        >>> apply_to_tensor({"x": torch.tensor([1, 2]), "id": "a"}, torch.Tensor.tolist)
        {'x': [1, 2], 'id': 'a'}
    """
    return map_leaves(x, torch.Tensor, func)


@_takes_input
def convert_tensor(
    x: Any, device: str | torch.device | None = None, non_blocking: bool = False
) -> Any:
    """Moves all tensors and packed sequences in nested containers to ``device``.

    Args:
        x: the tensor or container.
        device: the device to move to; None keeps the same tensor objects.
        non_blocking: whether copies from pinned memory are asynchronous.

    Raises:
        TypeError: ``x`` contains another object, such as a number.

    Example:
        >>> convert_tensor([torch.zeros(2)], device="meta")
        [tensor(..., device='meta', size=(2,))]
    """
    return moved(x, device, non_blocking)


def moved(x: Any, device: str | torch.device | None, non_blocking: bool = False) -> Any:
    """Does the same as :func:`convert_tensor`, which also accepts arguments of earlier versions."""
    kinds = (torch.Tensor, PackedSequence)
    if device is None:
        return map_leaves(x, kinds, lambda leaf: leaf)
    return map_leaves(x, kinds, lambda leaf: leaf.to(device=device, non_blocking=non_blocking))


def in_float32(output: Any) -> Any:
    """Converts float16 and bfloat16 tensors in nested containers to float32; keeps other objects.

    Example:
        >>> in_float32((torch.ones(1, dtype=torch.bfloat16), "a"))
        (tensor([1.]), 'a')
    """
    if isinstance(output, torch.Tensor):
        return output.float() if output.dtype in _HALVES else output
    if isinstance(output, tuple | list):
        items = [in_float32(item) for item in output]
        if all(new is old for new, old in zip(items, output, strict=True)):
            return output
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)
    if isinstance(output, Mapping):
        return _convert_items(
            output, dict(output), lambda new, key, value: new.__setitem__(key, value)
        )
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        fields = {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
        return _convert_items(output, fields, object.__setattr__)
    return output


def _convert_items(
    output: Any, values: Mapping[Any, Any], set_item: Callable[[Any, Any, Any], None]
) -> Any:
    """Returns a copy of the output with values in float32; the output itself if nothing changes."""
    changed = {key: new for key, value in values.items() if (new := in_float32(value)) is not value}
    if not changed:
        return output
    output = copy.copy(output)
    for key, value in changed.items():
        set_item(output, key, value)
    return output


def tree_map(func: Callable[..., Any], x: Any, key: Any = None) -> Any:
    """Calls ``func(leaf, key=key)`` on every leaf of nested mappings and sequences.

    A leaf is an object that is neither a mapping nor a sequence; strings and bytes are leaves.

    Args:
        func: returns the replacement of a leaf.
        x: the leaf or container.
        key: the key for a leaf that is not in a container. For others, it is their key or index in
            the innermost container.

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


@contextmanager
def replaced(obj: Any, /, **values: Any) -> Iterator[None]:
    """Sets attributes of an object, and restores them when the context exits.

    Args:
        obj: the object.
        **values: new values of its attributes.

    Raises:
        AttributeError: the object does not have one of the attributes. Nothing is changed.

    Example:
        >>> from types import SimpleNamespace
        >>> options = SimpleNamespace(folder="runs")
        >>> with replaced(options, folder="elsewhere"):
        ...     print(options.folder)
        elsewhere
        >>> options.folder
        'runs'
    """
    before = {name: getattr(obj, name) for name in values}
    try:
        for name, value in values.items():
            setattr(obj, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(obj, name, value)


@dataclass(frozen=True)
class CollectionItem:
    """A reference to an item of a dictionary or list, which can be read and set.

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
    types_as_collection_item: ClassVar[tuple[type, ...]] = (int, float, Tensor)
    """Classes of items that :meth:`wrap` wraps."""

    @staticmethod
    def wrap(object: Any, key: Any, value: Any) -> Any:
        """Returns a reference to an item that is a number or a tensor; other items as they are."""
        is_wrapped = isinstance(value, CollectionItem.types_as_collection_item)
        return CollectionItem(object, key) if is_wrapped else value

    def value(self) -> Any:
        """Returns the item."""
        return self.get()

    def load_value(self, value: Any) -> None:
        """Sets the item to ``value``."""
        self.set(value)

    def get(self) -> Any:
        """Returns the item."""
        return self.collection[self.key]

    def set(self, value: Any) -> None:
        """Sets the item to ``value``."""
        self.collection[self.key] = value


def tree_apply2(func: Callable[[Any, Any], Any], x: Any, y: Any) -> None:
    """Calls ``func`` on each leaf of ``x`` and its counterpart in ``y``.

    Numbers, strings, tensors and None in a container are passed as a :class:`CollectionItem`, so
    that ``func`` can replace them; other objects are passed themselves.

    Args:
        func: called with a leaf of ``x`` and its counterpart in ``y``.
        x: nested dictionaries and lists; a :class:`CollectionItem` that refers to them; or a single
            leaf.
        y: containers with at least the keys of ``x``, and lists of the same length.

    Raises:
        ValueError: a key of ``x`` is missing in ``y``, two lists differ in length, or the
            counterpart of a container is not a container of the same kind.

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
    return type(x)(items)  # type: ignore[call-arg]  # assumes that the class takes a dictionary


def _rebuild_sequence(x: Sequence[Any], items: Iterable[Any]) -> Any:
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*items)
    return type(x)(items)  # type: ignore[call-arg]  # assumes that the class takes an iterable


def _names(types: type | tuple[type, ...]) -> str:
    return " or ".join(t.__name__ for t in (types if isinstance(types, tuple) else (types,)))


def to_onehot(indices: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Converts class indices to one-hot vectors along a new dimension 1; can be scripted.

    Args:
        indices: integers in [0, num_classes), shape (N, ...).
        num_classes: size of the new dimension.

    Returns:
        A uint8 tensor of shape (N, num_classes, ...), on the device of ``indices``.

    Raises:
        TypeError: ``indices`` has a floating point dtype.
        RuntimeError: an index is out of range. On an accelerator, torch raises this later.

    Example:
        >>> to_onehot(torch.tensor([2, 0]), num_classes=3).tolist()
        [[0, 0, 1], [1, 0, 0]]
    """
    if indices.is_floating_point():
        raise TypeError(f"indices should be integers, but given a tensor of {indices.dtype}")
    shape = list(indices.shape)
    shape.insert(1, num_classes)  # (N, C, ...)
    onehot = torch.zeros(shape, dtype=torch.uint8, device=indices.device)
    return onehot.scatter_(1, indices.long().unsqueeze(1), 1)
