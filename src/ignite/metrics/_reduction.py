"""What all processes hold together: for ``compute``, of one metric or of all that are computed at an event."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from torch import Tensor

from ignite import distributed
from ignite.distributed.fused_reduction import Part, combine
from ignite.metrics._sharing import Reduction
from ignite.metrics.statistics import Statistic

F = TypeVar("F", bound=Callable[..., Any])

OPERATIONS = ("SUM", "MIN", "MAX", "PRODUCT")

_nothing: dict[Hashable, Any] = {}
_combined: ContextVar[dict[Hashable, Any]] = ContextVar("_combined", default=_nothing)
"""While metrics are computed at an event: (id of a statistic or metric, attribute) -> what all processes hold."""


def sync_all_reduce(*attrs: str) -> Callable[[F], F]:
    """Makes ``compute`` see the named attributes combined over all processes. What is held locally stays as it is.

    Args:
        *attrs: names of attributes, numbers or tensors, each with the operation if it is not SUM: ``"_max:MAX"``.

    Raises:
        RuntimeError: in a call, if the function is no method of a metric, or values of processes do not go together.
        ValueError: in a call, if there is no such operation or attribute.
        TypeError: in a call, if an attribute is neither a number nor a tensor.
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
            known = _combined.get()
            if (id(self), attrs) in known:
                values = known[id(self), attrs]
            else:
                values = combine([_part(self, attr) for attr in attrs])
            local = {name: getattr(self, name) for name in names}
            try:
                for name, value in zip(names, values, strict=True):
                    setattr(self, name, value)
                return func(self, *args, **kwargs)
            finally:
                for name, value in local.items():
                    setattr(self, name, value)

        wrapper._decorated = True  # type: ignore[attr-defined]
        wrapper._reduced = attrs  # type: ignore[attr-defined]
        return wrapper  # type: ignore[return-value]

    return decorate


def reinit__is_reduced(func: F) -> F:
    """Makes ``reset`` and ``update`` forget a result that ``compute`` has kept in ``self._result``."""

    @functools.wraps(func)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        func(self, *args, **kwargs)
        if "_result" in self.__dict__:
            self._result = None

    wrapper._decorated = True  # type: ignore[attr-defined]
    return wrapper  # type: ignore[return-value]


def combined(statistics: Sequence[Statistic]) -> list[Statistic]:
    """The statistics of all processes together; all of them have to call it."""
    if distributed.get_world_size() == 1:
        return list(statistics)
    known = _combined.get()
    if all(id(statistic) in known for statistic in statistics):
        return [known[id(statistic)] for statistic in statistics]
    return _combine_all(statistics, [])[0]


@contextmanager
def together(reduction: Reduction | None, caller: Hashable) -> Iterator[None]:
    """Inside, metrics find combined what all processes hold for any metric of ``reduction``."""
    if reduction is None or distributed.get_world_size() == 1:
        yield
        return
    if reduction.callers.is_first(caller):
        reduction.combined = _combine_members(reduction.alive())
    previous = _combined.set(reduction.combined)
    try:
        yield
    finally:
        _combined.reset(previous)
        if reduction.callers.tokens >= reduction.published:
            reduction.combined = {}  # all have their values: samples of all processes are not kept for an epoch


@contextmanager
def jointly(metrics: Sequence[Any]) -> Iterator[None]:
    """Inside, these metrics find combined what all processes hold for any of them."""
    known = _combined.get()
    if distributed.get_world_size() == 1 or all(key in known for key in _keys(metrics)):
        yield
        return
    previous = _combined.set({**known, **_combine_members(list(metrics))})
    try:
        yield
    finally:
        _combined.reset(previous)


def _keys(metrics: Sequence[Any]) -> Iterator[Hashable]:
    for metric in metrics:
        yield from map(id, metric._statistics_in_use())
        yield from ((id(metric), attrs) for attrs in _declared(type(metric)))


def _combine_members(metrics: list[Any]) -> dict[Hashable, Any]:
    statistics = {id(statistic): statistic for metric in metrics for statistic in metric._statistics_in_use()}
    declared = [(metric, attrs) for metric in metrics for attrs in _declared(type(metric))]
    ours, theirs = _combine_all(list(statistics.values()), declared)
    found: dict[Hashable, Any] = dict(zip(statistics, ours, strict=True))
    found.update({(id(metric), attrs): values for (metric, attrs), values in zip(declared, theirs, strict=True)})
    return found


def _combine_all(
    statistics: Sequence[Statistic], declared: Sequence[tuple[Any, tuple[str, ...]]]
) -> tuple[list[Statistic], list[list[Any]]]:
    """Statistics, and the attributes of metrics that name theirs in a decorator, all combined at once."""
    groups = [statistic.to_combine() for statistic in statistics]
    groups += [[_part(metric, attr) for attr in attrs] for metric, attrs in declared]
    values = iter(combine([part for group in groups for part in group]))
    received = [[next(values) for _ in group] for group in groups]
    ours = [
        statistic.replaced(dict(zip(statistic.parts(), values, strict=True)))
        for statistic, values in zip(statistics, received, strict=False)
    ]
    return ours, received[len(statistics) :]


def _declared(metric_type: type) -> list[tuple[str, ...]]:
    """The attributes that ``compute`` of this class, or of those it may call by ``super``, sees combined."""
    methods = [vars(parent)["compute"] for parent in metric_type.__mro__ if "compute" in vars(parent)]
    return list(dict.fromkeys(attrs for method in methods if (attrs := getattr(method, "_reduced", ()))))


def _part(metric: Any, attr: str) -> Part:
    name, operation = _parse(metric, attr)
    return Part(operation, getattr(metric, name), f"{name} of {type(metric).__name__}")


def _parse(metric: Any, attr: str) -> tuple[str, str]:
    name, _, operation = attr.partition(":")
    operation = operation or "SUM"
    if operation not in OPERATIONS:
        raise ValueError(f"Reduction operation is not valid (expected: {list(OPERATIONS)}, got: {operation})")
    if name not in metric.__dict__:
        raise ValueError(f"Metric {type(metric).__name__} has no attribute named `{name}`.")
    if not isinstance(getattr(metric, name), int | float | Tensor | None):
        raise TypeError(
            "Attribute provided to sync_all_reduce should be a number or tensor but "
            f"`{name}` has type {type(getattr(metric, name)).__name__}"
        )
    return name, operation
