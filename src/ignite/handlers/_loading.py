"""Objects get back what a checkpoint holds of them: all of them, or none."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ignite import storage
from ignite.handlers._states import LEDGER, leaves_of
from ignite.storage.keys import fit_keys


def load_objects(to_load: Mapping[str, Any], checkpoint: Any, **kwargs: Any) -> None:
    """Loads the states of a checkpoint into objects, into all of them or into none.

    Args:
        to_load: objects with ``load_state_dict``, as they were saved; not all that were saved have to be there.
        checkpoint: a file, ours or one of Ignite, or a URL, or what was loaded from it.
        **kwargs: ``map_location`` for tensors of the file ("cpu"); others go to ``torch.nn.Module.load_state_dict``,
            such as ``strict=False``.

    Raises:
        TypeError: an argument is of the wrong kind, or an object cannot be loaded.
        ValueError: the checkpoint does not hold one of the objects.
        CheckpointError: it is damaged, or its states do not fit; the message lists all that does not.
        FileNotFoundError: it is not there.

    Example:
        >>> source, target = nn.Linear(1, 1), nn.Linear(1, 1)
        >>> load_objects({"model": target}, {"model": source.state_dict(), "optimizer": {}})
        >>> bool(target.weight == source.weight)
        True
    """
    if not isinstance(to_load, Mapping):
        raise TypeError(f"Argument `to_load` should be a dictionary, but given {type(to_load)}")
    if not isinstance(checkpoint, str | Path | Mapping):
        raise TypeError(f"Argument checkpoint should be a string or a dictionary, but given {type(checkpoint)}")
    objects = dict(leaves_of(to_load, "load_state_dict"))
    map_location = kwargs.pop("map_location", "cpu")
    strict = kwargs.pop("strict", True)
    states = checkpoint if isinstance(checkpoint, Mapping) else _read(checkpoint, map_location)
    found = dict(_paired(to_load, _by_key(to_load, states)))
    if kwargs:
        objects = {path: _with_options(one, {**kwargs, "strict": strict}) for path, one in objects.items()}
    storage.restore(objects, found, strict=strict)


def _read(source: str | Path, map_location: Any) -> Any:
    folder, _, name = str(source).rpartition("/")
    if "://" not in folder:
        return storage.load(source, map_location).state
    return storage.load((storage.open_place(folder, create=False), name), map_location).state


def _by_key(to_load: Mapping[str, Any], states: Any) -> Any:
    """The states of a checkpoint by the keys of ``to_load``: that of a single object stands in the file as it is."""
    others = [key for key in to_load if key != LEDGER]
    key = others[0] if others else LEDGER
    has_ledger = isinstance(states, Mapping) and _is_ledger(states.get(LEDGER))
    if len(others) > 1 or (isinstance(states, Mapping) and key in states):
        return states
    if len(to_load) == 1:
        return {key: _without_ledger(to_load[key], states) if has_ledger else states}
    if has_ledger:  # as Ignite writes it, the handler's state stands in the middle of the object's
        return {key: _without_ledger(to_load[key], states), LEDGER: states[LEDGER]}
    return states


def _is_ledger(state: Any) -> bool:
    return isinstance(state, Mapping) and {"_saved"} <= set(state) <= {"_saved", "_real", "_iteration"}


def _without_ledger(target: Any, states: Mapping[str, Any]) -> Mapping[str, Any]:
    if hasattr(target, "state_dict") and LEDGER in target.state_dict():
        return states  # its own
    rest: Any = copy.copy(states)  # with what torch keeps in an attribute of it
    del rest[LEDGER]
    found: Mapping[str, Any] = rest
    return found


def _paired(to_load: Any, states: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """What is found in ``states`` for each object, with the keys that lead to it."""
    if hasattr(to_load, "load_state_dict"):
        yield path, states
    elif isinstance(to_load, Mapping):
        for key, one in to_load.items():
            if not isinstance(states, Mapping) or key not in states:
                given = list(states) if isinstance(states, Mapping) else type(states).__name__
                raise ValueError(f"Key '{key}' from x is not found in y: {path or 'the checkpoint'} has {given}")
            yield from _paired(one, states[key], f"{path}.{key}" if path else str(key))
    else:
        if not isinstance(states, Sequence) or len(states) != len(to_load):
            size = len(states) if isinstance(states, Sequence) else type(states).__name__
            raise ValueError(f"Size of y: {size} does not match the size of x: {len(to_load)} ({path})")
        for i, one in enumerate(to_load):
            yield from _paired(one, states[i], f"{path}.{i}")


class _WithOptions:
    """A module that is loaded with options that only torch knows, such as ``assign``."""

    def __init__(self, module: nn.Module, options: Mapping[str, Any]) -> None:
        self._module = module
        self._options = options

    def state_dict(self) -> Mapping[str, Any]:
        return storage.state_of(self._module)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        # What puts it back later, if another object refuses its state, must not be given these options.
        options, self._options = self._options, {}
        module = storage.unwrap(self._module)
        module.load_state_dict(fit_keys(module, state), **options)


def _with_options(one: Any, options: Mapping[str, Any]) -> Any:
    return _WithOptions(one, options) if isinstance(one, nn.Module) else one
