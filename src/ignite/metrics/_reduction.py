"""Reduction over processes, of one metric or of all metrics that are computed at one event.

``compute`` of a single metric reduces its own statistics or attributes. When an engine, or a metric
that is computed from others, computes several metrics at once, :class:`Synced` reduces all of them
in one call of :func:`combine`. During ``compute``, it is their attribute ``_synced``.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import getattr_static
from typing import Any, TypeVar

from torch import Tensor

from ignite import distributed
from ignite.distributed.fused_reduction import Part, combine
from ignite.engine import Engine
from ignite.metrics._usage import MetricUsage, event_key, event_names
from ignite.metrics.statistics import Statistic

F = TypeVar("F", bound=Callable[..., Any])

OPERATIONS = ("SUM", "MIN", "MAX", "PRODUCT")


def sync_all_reduce(*attrs: str) -> Callable[[F], F]:
    """Decorator that reduces the named attributes over all processes during ``compute``.

    Afterwards, the attributes have the values of this process again.

    Args:
        *attrs: names of attributes, numbers or tensors, with an operation if it is not SUM:
            ``"_max:MAX"``.

    Raises:
        RuntimeError: when called, if the function is not a method of a metric, or the values of
            the processes do not match.
        ValueError: when called, if there is no such operation or attribute.
        TypeError: when called, if an attribute is neither a number nor a tensor.
    """

    def decorate(func: F) -> F:
        @functools.wraps(func)
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not hasattr(self, "_is_metric"):
                raise RuntimeError(
                    "Decorator sync_all_reduce should be used on ignite.metric.Metric class methods only, "
                    f"but used on a method of {type(self).__name__}"
                )
            if distributed.get_world_size() == 1 or not attrs:
                return func(self, *args, **kwargs)
            names = [_parse(self, attr)[0] for attr in attrs]
            synced: Synced | None = getattr(self, "_synced", None)
            values = None if synced is None else synced.attributes_of(self, attrs)
            if values is None:
                values = combine([_part(self, attr) for attr in attrs])
            with self._with_attributes(dict(zip(names, values, strict=True))):
                return func(self, *args, **kwargs)

        wrapper._decorated = True  # type: ignore[attr-defined]
        wrapper._reduced = attrs  # type: ignore[attr-defined]
        return wrapper  # type: ignore[return-value]

    return decorate


def reinit__is_reduced(func: F) -> F:
    """Decorator for ``reset`` and ``update`` that clears a result cached in ``self._result``."""

    @functools.wraps(func)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        func(self, *args, **kwargs)
        if "_result" in self.__dict__:
            self._result = None

    wrapper._decorated = True  # type: ignore[attr-defined]
    return wrapper  # type: ignore[return-value]


class Synced:
    """The statistics and attributes of some metrics, reduced over all processes.

    All processes must create it together.
    """

    def __init__(self, metrics: Sequence[Any]) -> None:
        statistics = list(
            dict.fromkeys(each for metric in metrics for each in metric._statistics_in_use())
        )
        declared = [(metric, attrs) for metric in metrics for attrs in _declared(type(metric))]
        reduced, values = _combine_all(statistics, declared)
        self._statistics = dict(zip(statistics, reduced, strict=True))
        self._attributes = [(*each, found) for each, found in zip(declared, values, strict=True)]

    def statistics_like(self, statistics: Sequence[Statistic]) -> list[Statistic] | None:
        """Returns the given statistics, reduced; None unless all of them are included."""
        found = [self._statistics[each] for each in statistics if each in self._statistics]
        return found if len(found) == len(statistics) else None

    def attributes_of(self, metric: Any, attrs: tuple[str, ...]) -> list[Any] | None:
        """Returns the attributes of a metric, reduced; None unless they are included."""
        for known, names, values in self._attributes:
            if known is metric and names == attrs:
                return values
        return None

    def covers(self, metrics: Sequence[Any]) -> bool:
        """Returns whether all statistics and attributes of these metrics are included."""
        return all(
            self.statistics_like(metric._statistics_in_use()) is not None
            and all(
                self.attributes_of(metric, attrs) is not None for attrs in _declared(type(metric))
            )
            for metric in metrics
        )


@dataclass(eq=False, slots=True)
class SyncGroup:
    """The metrics that an engine computes at one event.

    All of them are reduced in one collective when the first of them is computed.
    """

    members: list[weakref.ref[Any]] = field(default_factory=list)
    published: set[Hashable] = field(default_factory=set)
    """The values that are computed at the event, as pairs of a metric's attachment and a name."""
    computed: set[Hashable] = field(default_factory=set)
    """The values that have been computed since the last reduction."""
    synced: Synced | None = None
    """The reduced statistics, until all values have been computed."""

    @staticmethod
    def of(engine: Engine[Any, Any], usage: MetricUsage) -> SyncGroup | None:
        """Returns the group of ``engine`` for the event at which ``usage`` computes.

        None if metrics are also updated at this event: when the first one is computed, the others
        have not been updated yet.
        """
        if not event_names(usage.ITERATION_COMPLETED).isdisjoint(event_names(usage.COMPLETED)):
            return None
        return _groups.setdefault(engine, {}).setdefault(event_key(usage.COMPLETED), SyncGroup())

    def add(self, metric: Any) -> None:
        """Adds a metric, to be reduced with the others."""
        if not any(member() is metric for member in self.members):
            self.members.append(weakref.ref(metric))

    def remove(self, metric: Any) -> None:
        """Removes a metric."""
        self.members = [member for member in self.members if member() not in (metric, None)]

    def discard(self, attachment: Hashable) -> None:
        """Removes the values of this attachment from those that are computed."""
        self.published = {value for value in self.published if value[0] is not attachment}  # type: ignore[index]

    @contextmanager
    def computing(self, metric: Any, value: Hashable) -> Iterator[None]:
        """Context in which ``metric`` computes ``value`` from statistics reduced over several processes."""
        if not self.computed or value in self.computed:  # the event has been fired again
            self.computed = set()
            self.synced = Synced(
                [found for member in self.members if (found := member()) is not None]
            )
        self.computed.add(value)
        with _assigned(self.synced, [metric]):
            try:
                yield
            finally:
                if self.computed >= self.published:
                    self.synced = None  # frees the samples of all processes


_groups: weakref.WeakKeyDictionary[Engine[Any, Any], dict[Hashable, SyncGroup]] = (
    weakref.WeakKeyDictionary()
)


@contextmanager
def synced(owner: Any, sources: Sequence[Any], members: Iterable[Any]) -> Iterator[None]:
    """Context in which ``members`` compute from reduced statistics.

    Args:
        owner: the metric that is computed from the members. Its ``_synced`` is used if it covers
            all sources.
        sources: the metrics to reduce, which accumulate for the members.
        members: the metrics whose ``compute`` is called.
    """
    if distributed.get_world_size() == 1:
        yield
        return
    known: Synced | None = owner._synced
    if known is None or not known.covers(sources):
        known = Synced(sources)
    with _assigned(known, list(members)):
        yield


@contextmanager
def _assigned(found: Synced | None, metrics: Sequence[Any]) -> Iterator[None]:
    before = [metric._synced for metric in metrics]
    for metric in metrics:
        metric._synced = found
    try:
        yield
    finally:
        for metric, known in zip(metrics, before, strict=True):
            metric._synced = known


def combined(statistics: Sequence[Statistic], known: Synced | None) -> list[Statistic]:
    """Returns the statistics reduced over all processes, from ``known`` if it includes them.

    All processes must call it.
    """
    if distributed.get_world_size() == 1:
        return list(statistics)
    found = None if known is None else known.statistics_like(statistics)
    return _combine_all(statistics, [])[0] if found is None else found


def _combine_all(
    statistics: Sequence[Statistic], declared: Sequence[tuple[Any, tuple[str, ...]]]
) -> tuple[list[Statistic], list[list[Any]]]:
    """Reduces statistics, and the attributes that decorators declare, in one collective."""
    groups = [statistic.to_combine() for statistic in statistics]
    groups += [[_part(metric, attr) for attr in attrs] for metric, attrs in declared]
    values = iter(combine([part for group in groups for part in group]))
    received = [[next(values) for _ in group] for group in groups]
    reduced = [
        statistic.replaced(dict(zip(statistic.parts(), values, strict=True)))
        for statistic, values in zip(statistics, received, strict=False)
    ]
    return reduced, received[len(statistics) :]


def _declared(metric_type: type) -> list[tuple[str, ...]]:
    """Returns the arguments of ``sync_all_reduce`` on ``compute``, in the class and its parents."""
    methods = [
        vars(parent)["compute"] for parent in metric_type.__mro__ if "compute" in vars(parent)
    ]
    return list(
        dict.fromkeys(attrs for method in methods if (attrs := getattr(method, "_reduced", ())))
    )


def _part(metric: Any, attr: str) -> Part:
    name, operation = _parse(metric, attr)
    return Part(operation, getattr(metric, name), f"{name} of {type(metric).__name__}")


def _parse(metric: Any, attr: str) -> tuple[str, str]:
    name, _, operation = attr.partition(":")
    operation = operation or "SUM"
    if operation not in OPERATIONS:
        raise ValueError(
            f"Reduction operation is not valid (expected: {list(OPERATIONS)}, got: {operation})"
        )
    # hasattr is always true, because a metric returns methods of its value for unknown names.
    if getattr_static(metric, name, None) is None and name not in vars(metric):
        raise ValueError(f"Metric {type(metric).__name__} has no attribute named `{name}`.")
    if not isinstance(getattr(metric, name), int | float | Tensor | None):
        raise TypeError(
            "Attribute provided to sync_all_reduce should be a number or tensor but "
            f"`{name}` has type {type(getattr(metric, name)).__name__}"
        )
    return name, operation
