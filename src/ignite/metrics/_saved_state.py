"""What of a metric is saved, and how it is taken back, also by another number of processes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics.statistics import Statistic
from ignite.metrics.statistics._statistic import leaves_inference_mode

IDENTITY = "metric"
"""The key in a state for which metric it is of."""


def attributes_to_state(metric: Any, names: Sequence[str]) -> OrderedDict[str, Any]:
    """The named attributes.

    Raises:
        ValueError: there is no such attribute.
        TypeError: it is neither a number, a string, a tensor, None or a metric, nor a list or
            dictionary of those.
    """
    missing = [name for name in names if name not in vars(metric)]
    if missing:
        raise ValueError(
            "Found a value in _state_dict_all_req_keys that is not among metric attributes: "
            f"{missing[0]} of {type(metric).__name__}"
        )
    return OrderedDict((name, _saved(getattr(metric, name), name)) for name in names)


def _saved(value: Any, name: str) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if value is None or isinstance(value, int | float | str):
        return value
    if hasattr(value, "_is_metric"):
        return value._state()
    if isinstance(value, list | tuple):
        return [_saved(item, name) for item in value]
    if isinstance(value, Mapping):
        return {key: _saved(item, name) for key, item in value.items()}
    raise TypeError(f"Found attribute of unsupported type: {name} is a {type(value).__name__}")


def loaded(saved: Any, current: Any, device: torch.device) -> Any:
    """What an attribute becomes that was ``current``.

    Metrics in it take over their state and stay.
    """
    if hasattr(current, "_is_metric"):
        current._set_state([saved])
        return current
    if isinstance(saved, Tensor):
        return saved.to(device, copy=True)
    if isinstance(saved, list):
        known = (
            current
            if isinstance(current, list | tuple) and len(current) == len(saved)
            else [None] * len(saved)
        )
        return [loaded(item, old, device) for item, old in zip(saved, known, strict=True)]
    if isinstance(saved, Mapping):
        known_items = current if isinstance(current, Mapping) else {}
        return {key: loaded(item, known_items.get(key), device) for key, item in saved.items()}
    return saved


def check_state(state: Mapping[str, Any], known: set[str], identity: str) -> None:
    """Raises ValueError unless a state is of the metric with this identity.

    States that were saved before there were identities are told by their keys.
    """
    given = state.get(IDENTITY, identity)
    if given != identity:
        raise ValueError(f"it should be of {identity}, but given one of {given}")
    more = [key for key in state if key not in known]
    if more:
        raise ValueError(f"it should have the keys {sorted(known)}, but given {more[0]!r}, too")


def check_names(state: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raises ValueError unless a state is of metrics with these names."""
    if set(state) != set(names):
        raise ValueError(
            f"it should be of the metrics {list(names)}, but given one of {list(state)}"
        )


def plain_parts(value: Any) -> Any:
    """Numbers, words and tuples of them in ``value``: what is the same in another process, unlike functions."""
    if isinstance(value, list | tuple):
        parts = (
            plain_parts(item)
            for item in value
            if isinstance(item, int | float | str | list | tuple | None)
        )
        return tuple(part for part in parts if part != ())
    return value


def statistics_to_state(statistics: Sequence[Statistic]) -> OrderedDict[str, Any]:
    """What was accumulated: ``number.part`` -> value."""
    return OrderedDict(
        (f"{i}.{name}", _saved(value, name))
        for i, statistic in enumerate(statistics)
        for name, value in statistic.parts().items()
    )


@leaves_inference_mode
def load_statistics(statistics: Sequence[Statistic], states: Sequence[Mapping[str, Any]]) -> None:
    """Goes on from what one or more processes have accumulated together."""
    for i, statistic in enumerate(statistics):
        values = {
            name: _together(
                statistic.op_of(name),
                [_value_in(state, f"{i}.{name}", statistic) for state in states],
            )
            for name in statistic.parts()
        }
        statistic.load(values)


def _value_in(state: Mapping[str, Any], key: str, statistic: Statistic) -> Any:
    """What was saved under ``key``, or nothing if it was saved before there was such a part."""
    name = key.partition(".")[2]
    return (
        state.get(key, statistic.LATER_PARTS[name]) if name in statistic.LATER_PARTS else state[key]
    )


def _together(op: str, values: Sequence[Any]) -> Any:
    known = [
        value.clone() if isinstance(value, Tensor) else value
        for value in values
        if value is not None
    ]
    if len(known) <= 1 or op == "SAME":
        return known[0] if known else None
    if op == "ROWS":
        return torch.cat(known)
    total = known[0]
    for value in known[1:]:
        total = _JOIN[op](total, value)
    return total


def _extreme(
    of_tensors: Callable[..., Tensor], of_numbers: Callable[..., Any]
) -> Callable[[Any, Any], Any]:
    return lambda a, b: (
        of_tensors(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else of_numbers(a, b)
    )


_JOIN: dict[str, Callable[[Any, Any], Any]] = {
    "SUM": lambda a, b: a + b,
    "PRODUCT": lambda a, b: a * b,
    "MIN": _extreme(torch.minimum, min),
    "MAX": _extreme(torch.maximum, max),
}
