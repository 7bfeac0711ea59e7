"""Saved states of metrics, and their attributes for compatibility with Ignite.

Programs derive metrics from those of this package, and read or write the attributes in which Ignite
accumulates (``self._num_correct += ...`` in ``update``). Here, values are accumulated in a
statistic, so each of these attributes is a :class:`StatisticPart`: reading it reads the statistic,
and writing it replaces that part of the statistic. Reduction over processes, states and ``compute``
are unaffected.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from inspect import getattr_static
from typing import Any

import torch
from torch import Tensor

from ignite.metrics.statistics import Statistic
from ignite.metrics.statistics._statistic import leaves_inference_mode

__all__ = [
    "IgniteStates",
    "StatisticPart",
    "warn_of_incomplete_state",
]


class StatisticPart(property):
    """An attribute of a metric that is a part of its first statistic.

    Args:
        name: name of the part. Empty if the value is computed from several parts.
        initial: value of the attribute while the part is None, before the first batch. A number, or
            a function of the metric.
        read: ``read(metric, statistic)`` returns the value of the attribute, or None. By default,
            the attribute is the part.
        write: ``write(metric, statistic, value)`` sets it. Without ``name`` and ``write``, the
            attribute is read-only.

    Raises:
        TypeError: when written, if the value is not a number or tensor.
        AttributeError: when written, if the attribute is read-only.
    """

    def __init__(
        self,
        name: str = "",
        initial: float | Callable[[Any], Any] = 0,
        read: Callable[[Any, Any], Any] | None = None,
        write: Callable[[Any, Any, Any], None] | None = None,
    ) -> None:
        super().__init__()
        self._part = name
        self._initial = initial
        self._read = read
        self._write = write

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, metric: Any, owner: type | None = None) -> Any:
        if metric is None:
            return self
        statistic = metric._statistics_in_use()[0]
        read = self._read
        value = statistic.parts()[self._part] if read is None else read(metric, statistic)
        if value is None:
            return self._initial(metric) if callable(self._initial) else self._initial
        # Returns a copy, because other metrics may share the statistic, and users modify tensors
        # in place.
        return value.clone() if isinstance(value, Tensor) else value

    def __set__(self, metric: Any, value: Any) -> None:
        if not isinstance(value, int | float | Tensor):
            raise TypeError(
                f"{self._name} of {type(metric).__name__} should be a number or a tensor, but given "
                f"{value!r}; write {type(metric).__name__}.reset() to forget all batches"
            )
        if self._write is None and not self._part:
            raise AttributeError(
                f"{self._name} of {type(metric).__name__} can only be read: it is computed from what "
                "the metric accumulates"
            )
        value = value.detach().clone() if isinstance(value, Tensor) else value
        statistic = metric._own_statistic()
        if self._write is not None:
            self._write(metric, statistic, value)
        else:
            statistic.assign(self._part, value)


def zero(metric: Any) -> Tensor:
    """Returns the initial value of a sum of floating-point numbers."""
    return torch.zeros((), device=metric._device)


def no_count(metric: Any) -> Tensor:
    """Returns the initial value of a count."""
    return torch.zeros((), dtype=torch.int64, device=metric._device)


def doubled_total() -> StatisticPart:
    """Returns the attribute that is twice the first value of :class:`Totals`, which omits the factor 2."""

    def read(metric: Any, totals: Any) -> Tensor | None:
        return 2 * totals.values[0] if totals.values else None

    def write(metric: Any, totals: Any, value: Any) -> None:
        totals.assign("total_0", value / 2)

    return StatisticPart("", zero, read, write)


def number(name: str) -> StatisticPart:
    """Returns the attribute that is a part of the statistic and a Python number."""

    def read(metric: Any, statistic: Any) -> float | None:
        value = statistic.parts()[name]
        return value.item() if isinstance(value, Tensor) else value

    return StatisticPart(name, 0.0, read)


def part_names(metric_type: type) -> tuple[str, ...]:
    """Returns the names of a class's attributes that are parts, those of base classes first."""
    names = [
        name
        for each in reversed(metric_type.__mro__)
        for name, value in vars(each).items()
        if isinstance(value, StatisticPart)
    ]
    return tuple(dict.fromkeys(names))


_IDENTITY = "metric"
"""The key of the identity in a state."""


def attributes_to_state(metric: Any, names: Sequence[str]) -> OrderedDict[str, Any]:
    """Returns the named attributes, with copies of tensors and the states of metrics.

    Raises:
        ValueError: there is no such attribute.
        TypeError: it is not a number, string, tensor, metric or None, or a list or mapping of these.
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
    """Returns the value of an attribute, whose current value is ``current``, from its saved form.

    Metrics in it are kept, and load their states.
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


def is_own_form(state: Mapping[str, Any]) -> bool:
    """Returns whether a state holds statistics, as saved by this package, and not only attributes."""
    return _IDENTITY in state or any(key[0].isdigit() and "." in key for key in state if key)


def check_names(state: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raises ValueError unless a state has exactly the metrics with these names."""
    if set(state) != set(names):
        raise ValueError(
            f"it should be of the metrics {list(names)}, but given one of {list(state)}"
        )


def identity_of(metric_type: type, statistics: Sequence[Statistic]) -> str:
    """Returns a text that identifies the class and arguments of a metric. Only equal ones load its state.

    A user's subclass has the identity of the class of this package that it derives from.
    """
    names = [
        each.__name__
        for each in metric_type.__mro__
        if each.__module__.partition(".")[0] == "ignite"
    ]
    return f"{names[0]}{_plain_parts([statistic.key[2:] for statistic in statistics])}"


def _plain_parts(value: Any) -> Any:
    """Keeps numbers, strings and tuples. Functions are dropped: their repr differs in each process."""
    if isinstance(value, list | tuple):
        parts = (
            _plain_parts(item)
            for item in value
            if isinstance(item, int | float | str | list | tuple | None)
        )
        return tuple(part for part in parts if part != ())
    return value


def statistics_to_state(statistics: Sequence[Statistic], identity: str) -> OrderedDict[str, Any]:
    """Returns the identity and, under ``"<number of the statistic>.<part>"``, each part."""
    return OrderedDict({_IDENTITY: identity, **_parts_of(statistics)})


def _parts_of(statistics: Sequence[Statistic]) -> dict[str, Any]:
    return {
        f"{i}.{name}": _saved(value, name)
        for i, statistic in enumerate(statistics)
        for name, value in statistic.parts().items()
    }


@leaves_inference_mode
def load_statistics(
    statistics: Sequence[Statistic], states: Sequence[Mapping[str, Any]], identity: str
) -> None:
    """Loads the merged states of one or more processes into new ``statistics``.

    Raises:
        ValueError: a state has another identity or other keys.
    """
    known = {_IDENTITY, *_parts_of(statistics)}
    for state in states:
        _check_state(state, known, identity)
    for i, statistic in enumerate(statistics):
        values = {
            name: _merged(
                statistic.op_of(name),
                [_value_in(state, f"{i}.{name}", statistic) for state in states],
            )
            for name in statistic.parts()
        }
        statistic.load(values)


def _check_state(state: Mapping[str, Any], known: set[str], identity: str) -> None:
    given = state.get(_IDENTITY, identity)  # states of early versions have no identity
    if given != identity:
        raise ValueError(f"it should be of {identity}, but given one of {given}")
    more = [key for key in state if key not in known]
    if more:
        raise ValueError(f"it should have the keys {sorted(known)}, but given {more[0]!r}, too")


def _value_in(state: Mapping[str, Any], key: str, statistic: Statistic) -> Any:
    """Returns the saved part, or its default if the state is older than the part."""
    name = key.partition(".")[2]
    return (
        state.get(key, statistic.LATER_PARTS[name]) if name in statistic.LATER_PARTS else state[key]
    )


def _merged(op: str, values: Sequence[Any]) -> Any:
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
        total = _MERGE[op](total, value)
    return total


def _extreme(
    of_tensors: Callable[..., Tensor], of_numbers: Callable[..., Any]
) -> Callable[[Any, Any], Any]:
    return lambda a, b: (
        of_tensors(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else of_numbers(a, b)
    )


_MERGE: dict[str, Callable[[Any, Any], Any]] = {
    "SUM": lambda a, b: a + b,
    "PRODUCT": lambda a, b: a * b,
    "MIN": _extreme(torch.minimum, min),
    "MAX": _extreme(torch.maximum, max),
}


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
        """Returns the names of the attributes that a state holds in addition to statistics."""
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
        """Loads the values of a state of Ignite, after a reset."""
        for name in self._ignite_names():
            setattr(self, name, state[name])

    def _in_own_form(self: Any, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """Converts a state of Ignite, for which it changes the accumulated values; returns others unchanged.

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
"""Content of an Ignite state of a metric that keeps all samples: lists with a tensor for each batch."""


def warn_of_incomplete_state(metric: Any, what: str) -> None:
    """Warns that a state of Ignite is too incomplete to continue from it."""
    name = type(metric).__name__
    warnings.warn(
        f"{name} starts from scratch, because Ignite saves {what} of its accumulated values. The value "
        "is that of the following batches; save the metric with this package to include all of them.",
        RuntimeWarning,
        stacklevel=2,
    )
