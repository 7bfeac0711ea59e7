"""Decorators that make a metric's ``compute`` see the sums of all processes, and its cache forget at the right time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from ignite import distributed

F = TypeVar("F", bound=Callable[..., Any])

OPERATIONS = ("SUM", "MIN", "MAX", "PRODUCT")


def sync_all_reduce(*attrs: str) -> Callable[[F], F]:
    """Makes ``compute`` see the named attributes combined over all processes. What is held locally stays as it is.

    Args:
        *attrs: names of attributes, numbers or tensors, each with the operation if it is not SUM: ``"_max:MAX"``.

    Raises:
        RuntimeError: in a call, if the function is no method of a metric.
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
            pairs = [_parse(self, attr) for attr in attrs]
            local = {name: getattr(self, name) for name, _ in pairs}
            try:
                for name, operation in pairs:
                    setattr(self, name, distributed.all_reduce(local[name], op=operation))
                return func(self, *args, **kwargs)
            finally:
                for name, value in local.items():
                    setattr(self, name, value)

        wrapper._decorated = True  # type: ignore[attr-defined]
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


def _parse(metric: Any, attr: str) -> tuple[str, str]:
    name, _, operation = attr.partition(":")
    operation = operation or "SUM"
    if operation not in OPERATIONS:
        raise ValueError(f"Reduction operation is not valid (expected: {list(OPERATIONS)}, got: {operation})")
    if name not in metric.__dict__:
        raise ValueError(f"Metric {type(metric).__name__} has no attribute named `{name}`.")
    if not isinstance(getattr(metric, name), int | float | Tensor):
        raise TypeError(
            "Attribute provided to sync_all_reduce should be a number or tensor but "
            f"`{name}` has type {type(getattr(metric, name)).__name__}"
        )
    return name, operation
