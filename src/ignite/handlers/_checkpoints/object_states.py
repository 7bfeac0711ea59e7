"""States of nested objects: collected for a checkpoint, loaded from one, and compared."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ignite import distributed as idist
from ignite import storage
from ignite._core.differences import first_difference
from ignite.exceptions import CheckpointError
from ignite.storage.keys import fit_keys

HANDLER_KEY = "checkpointer"
"""Key for the state of the checkpoint handler itself."""


def leaves_of(objects: Any, method: str, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields each object in nested containers with its path.

    Raises:
        TypeError: an object lacks the method.

    Example:
        >>> from torch import nn
        >>> linear = nn.Linear(1, 1)
        >>> [path for path, _ in leaves_of({"models": [linear, linear]}, "state_dict")]
        ['models.0', 'models.1']
    """
    if hasattr(objects, method):
        yield path, objects
        return
    children = _children_of(objects)
    if children is None:
        raise TypeError(
            f"Object {type(objects)} should have `{method}` method, but {path or 'it'} has none"
        )
    for key, child in children:
        yield from leaves_of(child, method, f"{path}.{key}" if path else str(key))


def states_of(objects: Any, rank: int) -> Any:
    """Returns the states of nested objects in the same containers.

    A collective if :func:`is_sharded` is true.

    Args:
        objects: nested dictionaries and lists of objects.
        rank: the rank that writes the states.
    """
    if hasattr(objects, "state_dict"):
        return _state_of(objects, rank)
    if isinstance(objects, Mapping):
        return {key: states_of(value, rank) for key, value in objects.items()}
    states = [states_of(value, rank) for value in objects]
    return tuple(states) if isinstance(objects, tuple) else states


def is_sharded(objects: Any) -> bool:
    """Whether each rank has only a part of a state, that of a ``ZeroRedundancyOptimizer``.

    Example:
        >>> from torch import nn
        >>> is_sharded({"model": nn.Linear(1, 1)})
        False
    """
    return any(_is_sharded_optimizer(one) for _, one in leaves_of(objects, "state_dict"))


def _state_of(one: Any, rank: int) -> Any:
    if _is_sharded_optimizer(one):
        one.consolidate_state_dict(to=rank)
        return one.state_dict() if idist.get_rank() == rank else {}
    state = storage.state_of(one)
    storage.check_whole("What is saved", one, state)
    return state


def _is_sharded_optimizer(one: Any) -> bool:
    # Already imported if there is such an optimizer; importing it takes a second.
    module = sys.modules.get("torch.distributed.optim.zero_redundancy_optimizer")
    return module is not None and isinstance(one, module.ZeroRedundancyOptimizer)


def _children_of(container: Any) -> list[tuple[Any, Any]] | None:
    if isinstance(container, Mapping):
        return list(container.items())
    if isinstance(container, Sequence) and not isinstance(container, str | bytes):
        return list(enumerate(container))
    return None


def check_objects(to_save: Any, include_self: bool) -> None:
    """Checks that objects can be saved.

    Raises:
        TypeError: ``to_save`` is not a dictionary of objects with ``state_dict``.
        ValueError: the key for the state of the handler is already used.
    """
    if not isinstance(to_save, Mapping):
        raise TypeError(f"Argument `to_save` should be a dictionary, but given {type(to_save)}")
    for _ in leaves_of(to_save, "state_dict"):
        continue
    if include_self and not isinstance(to_save, MutableMapping):
        raise TypeError(
            f"If `include_self` is True, then `to_save` must be mutable, but given {type(to_save)}"
        )
    if include_self and HANDLER_KEY in to_save:
        raise ValueError(
            f"Cannot have key 'checkpointer' if `include_self` is True: {list(to_save)}"
        )


def load_objects(to_load: Mapping[str, Any], checkpoint: Any, **kwargs: Any) -> None:
    """Loads the states of a checkpoint into objects.

    All objects are loaded, or none if one does not fit.

    Args:
        to_load: objects with ``load_state_dict``, nested as when they were saved; may be a subset.
        checkpoint: a file of this library or of Ignite, a URL, or the loaded content.
        **kwargs: ``map_location`` for tensors of the file ("cpu"); ``weights_only=False`` for a
            file that was saved so, which runs the code that the file names; others are passed to
            ``torch.nn.Module.load_state_dict``, such as ``strict=False``.

    Raises:
        TypeError: an argument has the wrong type, or an object has no ``load_state_dict``.
        ValueError: an object is missing in the checkpoint.
        CheckpointError: the checkpoint is damaged, or states do not fit; the message lists all
            mismatches.
        FileNotFoundError: the file does not exist.

    Example:
        >>> source, target = nn.Linear(1, 1), nn.Linear(1, 1)
        >>> load_objects({"model": target}, {"model": source.state_dict(), "optimizer": {}})
        >>> bool(target.weight == source.weight)
        True
    """
    if not isinstance(to_load, Mapping):
        raise TypeError(f"Argument `to_load` should be a dictionary, but given {type(to_load)}")
    if not isinstance(checkpoint, str | Path | Mapping):
        raise TypeError(
            f"Argument checkpoint should be a string or a dictionary, but given {type(checkpoint)}"
        )
    objects = dict(leaves_of(to_load, "load_state_dict"))
    map_location = kwargs.pop("map_location", "cpu")
    strict, weights_only = kwargs.pop("strict", True), kwargs.pop("weights_only", True)
    if isinstance(checkpoint, Mapping):
        states: Any = checkpoint
    else:
        states = _read(checkpoint, map_location, weights_only)
    found = dict(_paired(to_load, _by_key(to_load, states)))
    if states is checkpoint:  # loaded by torch.load, which does not make objects
        found = {path: storage.decode_objects(state) for path, state in found.items()}
    if kwargs:
        objects = {
            path: _with_options(one, {**kwargs, "strict": strict}) for path, one in objects.items()
        }
    storage.restore(objects, found, strict=strict)


def _read(source: str | Path, map_location: Any, weights_only: bool) -> Any:
    folder, _, name = str(source).rpartition("/")
    where = (storage.open_place(folder, create=False), name) if "://" in folder else source
    return storage.load(where, map_location, weights_only=weights_only).state


def _by_key(to_load: Mapping[str, Any], states: Any) -> Any:
    """Returns the states by the keys of ``to_load``, also for a single object, saved without key."""
    others = [key for key in to_load if key != HANDLER_KEY]
    key = others[0] if others else HANDLER_KEY
    has_handler_state = isinstance(states, Mapping) and _is_handler_state(states.get(HANDLER_KEY))
    if len(others) > 1 or (isinstance(states, Mapping) and key in states):
        return states
    if len(to_load) == 1:
        return {key: _without_handler_state(to_load[key], states) if has_handler_state else states}
    if has_handler_state:  # Ignite puts the handler's state between the entries of the object's
        return {key: _without_handler_state(to_load[key], states), HANDLER_KEY: states[HANDLER_KEY]}
    return states


def _is_handler_state(state: Any) -> bool:
    return isinstance(state, Mapping) and {"_saved"} <= set(state) <= {
        "_saved",
        "_real",
        "_iteration",
    }


def _without_handler_state(target: Any, states: Mapping[str, Any]) -> Mapping[str, Any]:
    if hasattr(target, "state_dict") and HANDLER_KEY in target.state_dict():
        return states  # the key is the object's own
    # copy.copy also copies the attributes that PyTorch sets on state dictionaries.
    rest: Any = copy.copy(states)
    del rest[HANDLER_KEY]
    found: Mapping[str, Any] = rest
    return found


def _paired(to_load: Any, states: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the path and state of each object."""
    if hasattr(to_load, "load_state_dict"):
        yield path, states
    elif isinstance(to_load, Mapping):
        for key, one in to_load.items():
            if not isinstance(states, Mapping) or key not in states:
                given = list(states) if isinstance(states, Mapping) else type(states).__name__
                raise ValueError(
                    f"Key '{key}' from x is not found in y: {path or 'the checkpoint'} has {given}"
                )
            yield from _paired(one, states[key], f"{path}.{key}" if path else str(key))
    else:
        if not isinstance(states, Sequence) or len(states) != len(to_load):
            size = len(states) if isinstance(states, Sequence) else type(states).__name__
            raise ValueError(
                f"Size of y: {size} does not match the size of x: {len(to_load)} ({path})"
            )
        for i, one in enumerate(to_load):
            yield from _paired(one, states[i], f"{path}.{i}")


class _WithOptions:
    """Loads a module with options of ``nn.Module.load_state_dict``, such as ``assign``."""

    def __init__(self, module: nn.Module, options: Mapping[str, Any]) -> None:
        self._module = module
        self._options = options

    def state_dict(self) -> Mapping[str, Any]:
        return storage.state_of(self._module)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        # Used once: if another object does not fit, the previous state is restored without options.
        options, self._options = self._options, {}
        module = storage.unwrap(self._module)
        module.load_state_dict(fit_keys(module, state), **options)


def _with_options(one: Any, options: Mapping[str, Any]) -> Any:
    return _WithOptions(one, options) if isinstance(one, nn.Module) else one


def check_round_trip(
    objects: Mapping[str, Any], states: Mapping[str, Any], is_compared: bool = True
) -> None:
    """Loads saved states into objects, and checks that the objects then have these states.

    Args:
        objects: the objects by name.
        states: their states, as saved by the first process.
        is_compared: whether to compare them. If not, as on all other processes, whose states may
            differ, this only takes part where states are gathered from all.

    Raises:
        CheckpointError: an object rejects its state, or has another one afterwards.
    """
    storage.restore(objects, states)
    found = {name: storage.state_of(one) for name, one in objects.items()}
    if is_compared:
        check_same(found, states)


def check_same(found: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Checks that the states after loading equal the saved ones.

    Raises:
        CheckpointError: a state differs.
    """
    for name in found:
        plain, expected = (
            storage.plain({name: found[name]})[name],
            storage.plain({name: saved[name]})[name],
        )
        difference = first_difference(plain, expected, name)
        if difference is not None:
            raise CheckpointError(
                f"{name} should be equal after saving and loading a checkpoint, but {difference}"
            )
