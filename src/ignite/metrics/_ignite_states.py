"""States of metrics as Ignite saves them: ours hold the same, too, and Ignite's are converted.

Ignite saves what a metric accumulates under the names of its attributes, such as ``_num_correct``.
Most of them are a :class:`StatisticPart` here. A class whose statistic is of another kind overrides
``_ignite_names``, ``_to_ignite`` and ``_take_from_ignite``. Ignite ignores what else a state holds.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from inspect import getattr_static
from typing import Any

import torch

from ignite.metrics._parts import StatisticPart, part_names
from ignite.metrics._saved_state import is_own_form

__all__ = ["IgniteStates", "warn_of_incomplete_state"]


class IgniteStates:
    """Mixin of metrics that are computed from statistics."""

    _state_dict_all_req_keys: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        if "_state_dict_all_req_keys" not in own and any(
            isinstance(value, StatisticPart) for value in own.values()
        ):
            cls._state_dict_all_req_keys = part_names(cls)

    def _saved_attributes(self) -> list[str]:
        """Returns the names of the attributes that a state holds beside statistics."""
        return [
            key
            for key in self._state_dict_all_req_keys
            if not isinstance(getattr_static(self, key, None), StatisticPart)
        ]

    def _ignite_names(self) -> tuple[str, ...]:
        """Returns the names of the attributes that a state of Ignite holds."""
        return tuple(
            key
            for key in self._state_dict_all_req_keys
            if isinstance(getattr_static(self, key, None), StatisticPart)
        )

    def _to_ignite(self) -> dict[str, Any]:
        """Returns the attributes that Ignite continues from."""
        return {name: getattr(self, name) for name in self._ignite_names()}

    def _take_from_ignite(self, state: Mapping[str, Any]) -> None:
        """Accumulates what a state of Ignite holds, after a reset."""
        for name in self._ignite_names():
            setattr(self, name, state[name])

    def _in_own_form(self: Any, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Converts a state of Ignite; returns others unchanged. Changes what is accumulated.

        Raises:
            ValueError: the state lacks an attribute.
        """
        if is_own_form(state):
            return state
        self.reset()
        if set(state) == _SAMPLES:
            with torch.no_grad():
                for pair in zip(state["_predictions"], state["_targets"], strict=True):
                    self.update(pair)
            return dict(self._state())
        names, extra = self._ignite_names(), self._saved_attributes()
        missing = [name for name in (*names, *extra) if name not in state]
        if missing:
            raise ValueError(f"it should have the key {missing[0]!r}, but given {list(state)}")
        if names or extra:
            self._take_from_ignite(state)
        elif state:
            raise ValueError(f"it should be of {type(self).__name__}, but given {list(state)}")
        else:
            warn_of_incomplete_state(self, "nothing")
        return {**self._state(), **{name: state[name] for name in extra}}


_SAMPLES = {"_predictions", "_targets"}
"""What a state of Ignite holds if a metric keeps all samples: lists with a tensor for each batch."""


def warn_of_incomplete_state(metric: Any, what: str) -> None:
    """Warns that Ignite saves too little of a metric to continue from it."""
    name = type(metric).__name__
    warnings.warn(
        f"{name} begins anew: Ignite saves {what} of what {name} accumulates. The value is that of "
        "the following batches; save the metric with this package to continue from all of them.",
        RuntimeWarning,
        stacklevel=2,
    )
