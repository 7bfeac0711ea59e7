"""Operators on metrics: each returns a metric that is computed from the values of others."""

from __future__ import annotations

import operator
import traceback
from collections.abc import Callable
from typing import Any

from ignite._core.optional import LazyModule

# Imports metrics, which derive from Arithmetic.
_metrics_lambda = LazyModule("ignite.metrics.metrics_lambda")


class Arithmetic:
    """Mixin that adds operators, indexing and the methods of their values to metrics.

    ``==`` and ``!=`` compare the metric objects, not their values.
    """

    @staticmethod
    def _compose(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Creates the metric ``function(*args, **kwargs)``."""
        return _metrics_lambda.MetricsLambda(function, *args, **kwargs)

    __array_ufunc__ = None  # makes numpy defer operators between its numbers and metrics to metrics

    def __add__(self, other: Any) -> Any:
        return self._compose(operator.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return self._compose(operator.add, other, self)

    def __sub__(self, other: Any) -> Any:
        return self._compose(operator.sub, self, other)

    def __rsub__(self, other: Any) -> Any:
        return self._compose(operator.sub, other, self)

    def __mul__(self, other: Any) -> Any:
        return self._compose(operator.mul, self, other)

    def __rmul__(self, other: Any) -> Any:
        return self._compose(operator.mul, other, self)

    def __truediv__(self, other: Any) -> Any:
        return self._compose(operator.truediv, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._compose(operator.truediv, other, self)

    def __floordiv__(self, other: Any) -> Any:
        return self._compose(operator.floordiv, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self._compose(operator.floordiv, other, self)

    def __mod__(self, other: Any) -> Any:
        return self._compose(operator.mod, self, other)

    def __rmod__(self, other: Any) -> Any:
        return self._compose(operator.mod, other, self)

    def __pow__(self, other: Any) -> Any:
        return self._compose(operator.pow, self, other)

    def __rpow__(self, other: Any) -> Any:
        return self._compose(operator.pow, other, self)

    def __matmul__(self, other: Any) -> Any:
        return self._compose(operator.matmul, self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return self._compose(operator.matmul, other, self)

    def __neg__(self) -> Any:
        return self._compose(operator.neg, self)

    def __pos__(self) -> Any:
        return self._compose(operator.pos, self)

    def __abs__(self) -> Any:
        return self._compose(operator.abs, self)

    def __lt__(self, other: Any) -> Any:
        return self._compose(operator.lt, self, other)

    def __le__(self, other: Any) -> Any:
        return self._compose(operator.le, self, other)

    def __gt__(self, other: Any) -> Any:
        return self._compose(operator.gt, self, other)

    def __ge__(self, other: Any) -> Any:
        return self._compose(operator.ge, self, other)

    def __getitem__(self, index: Any) -> Any:
        return self._compose(operator.getitem, self, index)

    __iter__ = None  # otherwise Python iterates by __getitem__, without end

    def __getattr__(self, attr: str) -> Callable[..., Any]:
        """Returns a method of the metric's value, such as ``mean``. Calling it returns a metric."""
        if attr.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {attr!r}")
        accessed = "".join(traceback.format_list(traceback.extract_stack(limit=3)[:-1]))

        def method(*args: Any, **kwargs: Any) -> Any:
            return self._compose(Method(attr, accessed), self, *args, **kwargs)

        return method


class Method:
    """Calls a method of a value. A class instead of a closure, so that metrics can be pickled."""

    def __init__(self, name: str, accessed: str) -> None:
        self.__name__ = name
        self._accessed = accessed

    def __call__(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(value, self.__name__):
            raise AttributeError(
                f"Metric result of type {type(value)} has no attribute '{self.__name__}'. Note: '{self.__name__}' was "
                f"accessed on the metric at:\n{self._accessed}"
            )
        return getattr(value, self.__name__)(*args, **kwargs)
