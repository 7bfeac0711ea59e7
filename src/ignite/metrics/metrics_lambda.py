"""Metrics that are computed from the values of other metrics."""

from __future__ import annotations

import numbers
import operator
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, Literal

from torch import Tensor

from ignite.engine import Engine
from ignite.metrics._arithmetic import Method
from ignite.metrics._outputs import identity
from ignite.metrics._reduction import synced
from ignite.metrics._usage import MetricUsage
from ignite.metrics._views import View
from ignite.metrics.metric import Attachment, Metric
from ignite.metrics.statistics import Reading
from ignite.metrics.statistics._statistic import update_all

__all__ = ["MetricsLambda"]


_Arguments = tuple[list[Any], dict[str, Any]]
"""Positional and keyword arguments, as saved."""


class MetricsLambda(Metric):
    """Computes a function of metrics: ``f(*args, **kwargs)``, with their values as arguments.

    Operators on metrics, and methods of their values, create such a metric: ``precision * recall``,
    ``recall.mean()``.

    If it is attached, the engine also updates its ingredients, which are the metrics among the
    arguments. Their values are not in ``state.metrics`` unless they are attached, too. Without an
    engine, ``reset`` and ``update`` reset and update the ingredients.

    ``higher_is_better`` is derived from the ingredients for sums, differences, multiples, items and
    means, such as ``1 - accuracy``. For other functions, it is None, and can be set.

    Args:
        f: computes the value. Tensors are passed on the CPU.
        *args: metrics and other arguments of ``f``.
        skip_unrolling: see :class:`Metric`.
        metrics_result_mode: see :class:`Metric`.
        **kwargs: metrics and other keyword arguments of ``f``.

    Raises:
        ValueError: ``update`` is called while the metric is attached, or it is attached after
            ``update`` was called.
        NotComputableError: in ``compute``, an ingredient cannot be computed.

    Example:
        >>> import torch
        >>> from ignite.metrics import Precision, Recall
        >>> precision, recall = Precision(), Recall()
        >>> f1 = (2 * precision * recall / (precision + recall)).mean()
        >>> f1.update((torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 1])))
        >>> f1.compute().item()
        1.0
    """

    def __init__(
        self,
        f: Callable[..., Any],
        *args: Any,
        skip_unrolling: bool = False,
        metrics_result_mode: Literal["flatten", "named", "both"] = "both",
        **kwargs: Any,
    ) -> None:
        self.function = f
        self.args = args
        self.kwargs = kwargs
        self.higher_is_better = _direction_of(f, args, kwargs)
        self._is_updated = False
        # The parent's constructor calls reset, but the ingredients may be in use already.
        self._resets_ingredients = False
        super().__init__(identity, None, skip_unrolling, metrics_result_mode)
        self._resets_ingredients = True

    def __bool__(self) -> bool:
        """Raises for comparisons, whose values are computed later. Otherwise, the metric is true."""
        if self.function in (operator.lt, operator.le, operator.gt, operator.ge):
            raise TypeError(
                "A comparison of a metric should not be used as a condition, as its value is computed later"
            )
        return True

    @property
    def engine(self) -> Engine[Any, Any] | None:
        """The engine that the metric was last attached to; None if it is not attached."""
        attached = [
            engine for engine in self._attachments if not self._attachments[engine].is_detached
        ]
        return attached[-1] if attached else None

    @property
    def _ingredients(self) -> list[Metric]:
        return [value for value in (*self.args, *self.kwargs.values()) if isinstance(value, Metric)]

    def reset(self) -> None:
        """Resets all ingredients."""
        if self._resets_ingredients:
            self._is_updated = False
            for metric in self._ingredients:
                metric.reset()

    def update(self, output: Any) -> None:
        """Updates all ingredients, each once, or none if one of them raises."""
        if len(self._attachments):
            raise ValueError(
                "MetricsLambda is already attached to an engine, and MetricsLambda can't use update API while it's "
                "attached."
            )
        leaves = self._unique_leaves()
        if len(leaves) == 1:
            leaves[0].update(output)
        else:
            update_together((metric, output) for metric in leaves)
        self._is_updated = True

    def started(self, engine: Engine[Any, Any]) -> None:
        """Begins a span for all ingredients if another metric averages this one."""
        for metric in self._unique_leaves():
            metric.started(engine)

    def iteration_completed(self, engine: Engine[Any, Any]) -> None:
        """Updates all ingredients if another metric averages this one."""
        for metric in self._unique_leaves():
            metric.iteration_completed(engine)

    def compute(self) -> Any:
        """Returns the value of the function."""
        with synced(self, list(self._leaves()), self._ingredients):
            args = [_value_of(arg) for arg in self.args]
            kwargs = {name: _value_of(arg) for name, arg in self.kwargs.items()}
        return self.function(*args, **kwargs)

    def _leaves(self) -> Iterator[Metric]:
        """Yields the metrics to update: ingredients, or the leaves of computed ones."""
        for metric in self._ingredients:
            if isinstance(metric, MetricsLambda):
                yield from metric._leaves()
            else:
                yield metric

    def _unique_leaves(self) -> list[Metric]:
        return list({id(leaf): leaf for leaf in self._leaves()}.values())

    # Attaching makes the engine update the leaves. This metric itself is not updated.

    def _feed(
        self, engine: Engine[Any, Any], usage: MetricUsage, user: Attachment | None = None
    ) -> None:
        if self._is_updated:
            raise ValueError(
                "The underlying metrics are already updated, can't attach while using reset/update/compute API."
            )
        attachment = self._attachments.get(engine) or Attachment.to(engine, usage)
        for metric in self._leaves():
            metric._feed(engine, usage, attachment if user is None else user)
        attachment.add(user)
        self._attachments[engine] = attachment

    def _stop_feeding(
        self, engine: Engine[Any, Any], usage: MetricUsage, user: Attachment | None = None
    ) -> None:
        if not self._is_fed_over(engine, usage):
            return
        attachment = self._attachments[engine]
        for metric in self._leaves():
            metric._stop_feeding(engine, usage, attachment if user is None else user)
        if not attachment.remove(user):
            del self._attachments[engine]

    def _on_computed(self, engine: Engine[Any, Any]) -> None:
        for metric in self._ingredients:
            metric._on_computed(engine)

    def _select_engine(self, engine: Engine[Any, Any]) -> None:
        for metric in self._leaves():
            metric._select_engine(engine)

    def _is_fed(self, engine: Engine[Any, Any], usage: MetricUsage) -> bool:
        return all(
            leaf._is_fed(engine, usage) and not leaf._is_detached(engine) for leaf in self._leaves()
        )

    def _is_fed_over_another_span(self, engine: Engine[Any, Any], usage: MetricUsage) -> bool:
        return super()._is_fed_over_another_span(engine, usage) or any(
            leaf._is_fed_over_another_span(engine, usage) for leaf in self._leaves()
        )

    _arguments_in_ignite: Callable[..., _Arguments] | None = None
    """Makes the arguments of Ignite's metric from the states of ``_unique_leaves``; None if it has the same."""

    def _state(self) -> OrderedDict[str, Any]:
        if self._arguments_in_ignite is not None:
            args, kwargs = self._arguments_in_ignite(
                *(leaf._state() for leaf in self._unique_leaves())
            )
        else:
            args = [_saved_argument(arg) for arg in self.args]
            kwargs = {name: _saved_argument(arg) for name, arg in self.kwargs.items()}
        return OrderedDict(_updated=self._is_updated, args=args, kwargs=kwargs)

    def _set_state(self, states: list[Mapping[str, Any]]) -> None:
        if self._arguments_in_ignite is not None:
            self._set_leaves(states)
            return
        given = [(state["args"], state["kwargs"]) for state in states]
        known = [_saved_argument(arg) for arg in self.args]
        known_by_name = {name: _saved_argument(arg) for name, arg in self.kwargs.items()}
        for each in given:
            _check_arguments((known, known_by_name), each)
        for i, arg in enumerate(self.args):
            if isinstance(arg, Metric):
                arg._set_state([args[i] for args, _ in given])
        for name, arg in self.kwargs.items():
            if isinstance(arg, Metric):
                arg._set_state([kwargs[name] for _, kwargs in given])

    def _set_leaves(self, states: list[Mapping[str, Any]]) -> None:
        """Restores the leaves from states in which they occur several times."""
        assert self._arguments_in_ignite is not None
        leaves = self._unique_leaves()
        known = self._arguments_in_ignite(*(leaf._state() for leaf in leaves))
        for state in states:
            _check_arguments(known, (state["args"], state["kwargs"]))
        found = [list(_leaf_states(state)) for state in states]
        for i, leaf in enumerate(leaves):
            leaf._set_state([each[i] for each in found])

    @property
    def _merges_states(self) -> bool:  # type: ignore[override]
        return all(metric._merges_states for metric in self._ingredients)


def update_together(pairs: Iterable[tuple[Metric, Any]]) -> None:
    """Updates metrics, each with its output: all of them, or none if one raises.

    Views that parse outputs in the same way read the same output once.
    """
    readings: list[tuple[Hashable, Any, Reading]] = []
    updates: dict[Any, Reading] = {}
    others: list[tuple[Any, Any]] = []
    for metric, output in pairs:
        key = metric._reading_key() if isinstance(metric, View) else None
        if not isinstance(metric, View) or key is None:
            others.append((metric, output))
            continue
        if metric._subscriptions:
            metric._unsubscribe()
        reading = next(
            (known for k, given, known in readings if given is output and k == key), None
        )
        if reading is None:
            reading = Reading(metric._accepted(output))
            readings.append((key, output, reading))
        metric._inspect(reading, metric._own[0])
        for statistic in metric._own:
            updates[statistic] = reading
    update_all([*others, *updates.items()])


_PLAIN = (int, float, str)
"""Types of arguments that a state holds in addition to the states of metrics."""


def _saved_argument(argument: Any) -> Any:
    if isinstance(argument, Metric):
        return argument._state()
    return argument if isinstance(argument, _PLAIN) else None


def _check_arguments(known: _Arguments, given: _Arguments) -> None:
    """Raises ValueError unless saved arguments are metrics and numbers where the known ones are."""
    if len(known[0]) != len(given[0]) or set(known[1]) != set(given[1]):
        raise ValueError(
            f"it should be of {len(known[0])} arguments and {list(known[1])}, "
            f"but given one of {len(given[0])} and {list(given[1])}"
        )
    pairs = [*zip(known[0], given[0], strict=True)]
    pairs += [(value, given[1][name]) for name, value in known[1].items()]
    for own, saved in pairs:
        if isinstance(own, Mapping) != isinstance(saved, Mapping) or (
            isinstance(own, _PLAIN) and own != saved
        ):
            raise ValueError(f"it should be computed from {own!r}, but given {saved!r}")
        if isinstance(own, Mapping) and "args" in own and "args" in saved:
            _check_arguments((own["args"], own["kwargs"]), (saved["args"], saved["kwargs"]))


def _leaf_states(state: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yields the states of metrics in the state of a computed one, in the order of arguments."""
    if "args" not in state:
        yield state
        return
    for value in (*state["args"], *state["kwargs"].values()):
        if isinstance(value, Mapping):
            yield from _leaf_states(value)


def computed_state(*args: Any) -> dict[str, Any]:
    """Returns the state of a metric that Ignite computes from these arguments."""
    return {"_updated": False, "args": list(args), "kwargs": {}}


def _value_of(argument: Any) -> Any:
    if not isinstance(argument, Metric):
        return argument
    value = argument.compute()
    return value.cpu() if isinstance(value, Tensor) else value


def better_if_higher(metric: MetricsLambda) -> MetricsLambda:
    """Sets ``higher_is_better`` and returns the metric."""
    metric.higher_is_better = True
    return metric


_INCREASING = frozenset(
    "amax amin cpu double exp float item log max mean median min nanmean sqrt sum tolist".split()  # noqa: SIM905
)
"""Methods that are monotonically increasing in the values."""


def _direction_of(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> bool | None:
    """Returns ``higher_is_better`` of ``function(*args, **kwargs)``; None if unknown."""
    if any(isinstance(arg, Metric) for arg in kwargs.values()):
        return None
    signs = set()
    for slope, arg in zip(_slopes(function, args), args, strict=True):
        if isinstance(arg, Metric):
            signs.add(
                0 if arg.higher_is_better is None else slope if arg.higher_is_better else -slope
            )
    return signs.pop() > 0 if len(signs) == 1 and 0 not in signs else None


def _slopes(function: Callable[..., Any], args: tuple[Any, ...]) -> list[int]:
    """For each argument, returns 1 if the value increases with it, -1 if it decreases, else 0."""
    if function in (operator.add, operator.pos, operator.neg, operator.sub):
        return {operator.neg: [-1], operator.sub: [1, -1]}.get(function, [1] * len(args))
    if function is operator.mul and isinstance(args[0], numbers.Real):
        return [0, _sign(args[0])]
    if function in (operator.mul, operator.truediv) and isinstance(args[1], numbers.Real):
        return [_sign(args[1]), 0]
    is_increasing = function is operator.getitem or (
        isinstance(function, Method) and function.__name__ in _INCREASING
    )
    return [int(is_increasing)] + [0] * (len(args) - 1) if args else []


def _sign(number: Any) -> int:
    return 1 if number > 0 else -1 if number < 0 else 0
