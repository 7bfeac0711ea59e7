"""Base classes of objects with a state, and of handlers that can be reset."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

__all__ = ["ResettableHandler", "Serializable"]


class Serializable:
    """An object with a state that can be saved and loaded. Checks that a loaded state is complete.

    Subclasses name their keys in two class attributes, implement ``state_dict``, and extend
    ``load_state_dict``.

    ``_state_dict_all_req_keys`` contains the required keys. ``_state_dict_one_of_opt_keys`` contains
    groups of keys, of which exactly one per group is required; a flat tuple of names is one group.
    Both replace those of the parent class.

    Example:
        >>> class Counter(Serializable):
        ...     _state_dict_all_req_keys = ("count",)
        >>> Counter().load_state_dict({"total": 1})
        Traceback (most recent call last):
        ValueError: state_dict should have the key 'count', but given one with the keys ['total']
    """

    _state_dict_all_req_keys: tuple[str, ...] = ()
    _state_dict_one_of_opt_keys: tuple[str, ...] | tuple[tuple[str, ...], ...] = ()

    def state_dict(self) -> OrderedDict[str, Any]:
        """Returns the state to save; implemented by subclasses.

        Raises:
            NotImplementedError: the class does not implement it.
        """
        raise NotImplementedError(f"{type(self).__name__} should implement state_dict")

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Checks that ``state_dict`` has the required keys; subclasses then load the values.

        Args:
            state_dict: what ``state_dict`` has returned. Further keys are ignored.

        Raises:
            TypeError: ``state_dict`` is not a mapping.
            ValueError: a required key is missing, or of a group not exactly one key is there.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"state_dict should be a dictionary, but given {state_dict!r}")

        # Keys only: the values may be tensors of any size.
        given = f"but given one with the keys {list(state_dict)}"
        for key in self._state_dict_all_req_keys:
            if key not in state_dict:
                raise ValueError(f"state_dict should have the key {key!r}, {given}")
        for group in _groups(self._state_dict_one_of_opt_keys):
            if not group:
                raise ValueError(
                    f"{type(self).__name__}._state_dict_one_of_opt_keys should have no empty "
                    f"group, but given {self._state_dict_one_of_opt_keys}"
                )
            if sum(key in state_dict for key in group) != 1:
                raise ValueError(f"state_dict should have exactly one of the keys {group}, {given}")


class ResettableHandler(ABC):
    """A handler that attaches itself to an engine and can be reset."""

    @abstractmethod
    def reset(self) -> None:
        """Resets the handler to its initial state."""

    @abstractmethod
    def attach(self, engine: Any, *args: Any, **kwargs: Any) -> None:
        """Adds its handlers to the events of ``engine``."""


def _groups(names: tuple[str, ...] | tuple[tuple[str, ...], ...]) -> list[tuple[str, ...]]:
    """A flat tuple of names as one group; groups as they are."""
    flat = tuple(name for name in names if isinstance(name, str))
    return [flat] if flat else [name for name in names if not isinstance(name, str)]
