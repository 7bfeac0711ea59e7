"""Several metrics as one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from ignite.engine import Engine
from ignite.metrics._outputs import identity
from ignite.metrics._reduction import synced
from ignite.metrics._saved_state import check_names
from ignite.metrics._shared_statistics import View
from ignite.metrics.metric import Metric
from ignite.metrics.metrics_lambda import MetricsLambda, update_together
from ignite.metrics.statistics import Statistic

__all__ = ["MetricGroup"]


class MetricGroup(Metric):
    """Several metrics that are fed with one output. Its value is a dictionary of theirs.

    The members share what they accumulate in common. Their own ``output_transform`` is applied to
    what that of the group returns.

    Args:
        metrics: name -> metric. They belong to the group from now on, and should not be updated
            otherwise.
        output_transform: turns ``engine.state.output`` into what the members expect.
        skip_unrolling: see :class:`Metric`.

    Raises:
        TypeError: ``metrics`` is no dictionary of metrics.

    Example:
        >>> import torch
        >>> from ignite.metrics import Accuracy, Precision
        >>> group = MetricGroup({"accuracy": Accuracy(), "precision": Precision(average=True)})
        >>> group.update((torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 1])))
        >>> group.compute()
        {'accuracy': 1.0, 'precision': 1.0}
    """

    def __init__(
        self,
        metrics: dict[str, Metric],
        output_transform: Callable[[Any], Any] = identity,
        skip_unrolling: bool = False,
    ) -> None:
        if not isinstance(metrics, Mapping) or not all(
            isinstance(metric, Metric) for metric in metrics.values()
        ):
            raise TypeError(f"metrics should be a dictionary of metrics, but given {metrics!r}")
        self.metrics = dict(metrics)
        super().__init__(output_transform, None, skip_unrolling)

    def reset(self) -> None:
        """Resets all members."""
        for metric in self.metrics.values():
            metric.reset()
        self._share()

    def _share(self) -> None:
        """Gives members that accumulate the same one statistic."""
        shared: dict[Hashable, Statistic] = {}
        for metric in self._fed():
            reading = metric._reading_key() if isinstance(metric, View) else None
            if not isinstance(metric, View) or reading is None:
                continue
            for i, statistic in enumerate(metric._own):
                found = shared.setdefault((reading, statistic.key), statistic)
                if found is not statistic:
                    found.widen(statistic)
                    metric._own[i] = found

    def _fed(self) -> list[Metric]:
        """The members that take in outputs, and the ingredients of those that are computed from others."""
        found: list[Metric] = []
        for metric in self.metrics.values():
            found += metric._unique_leaves() if isinstance(metric, MetricsLambda) else [metric]
        return list({id(metric): metric for metric in found}.values())

    def update(self, output: Any) -> None:
        """Takes in the output of one batch, for all members, or for none if one of them raises."""
        metrics, outputs = self._fed(), {}
        for metric in metrics:
            transform = metric._output_transform
            if id(transform) not in outputs:
                outputs[id(transform)] = transform(output)
        update_together((metric, outputs[id(metric._output_transform)]) for metric in metrics)

    def _on_computed(self, engine: Engine[Any, Any]) -> None:
        for metric in self.metrics.values():
            metric._on_computed(engine)

    def _directions(self, name: str) -> dict[str, bool | None]:
        found = super()._directions(name)
        for key, metric in self.metrics.items():
            found |= metric._directions(key)
        return found

    def compute(self) -> dict[str, Any]:
        """Name -> value of each member."""
        with synced(self, self._fed(), self.metrics.values()):
            return {name: metric.compute() for name, metric in self.metrics.items()}

    def _statistics_in_use(self) -> list[Statistic]:
        return [statistic for metric in self._fed() for statistic in metric._statistics_in_use()]

    def _state(self) -> OrderedDict[str, Any]:
        return OrderedDict((name, metric._state()) for name, metric in self.metrics.items())

    def _set_state(self, states: list[Mapping[str, Any]]) -> None:
        for state in states:
            check_names(state, list(self.metrics))
        for name, metric in self.metrics.items():
            metric._set_state([state[name] for state in states])
        self._share()

    @property
    def _merges_states(self) -> bool:  # type: ignore[override]
        return all(metric._merges_states for metric in self.metrics.values())
