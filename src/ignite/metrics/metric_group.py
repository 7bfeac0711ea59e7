"""A group of metrics that is used as one metric."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Literal

from ignite.engine import Engine
from ignite.metrics._outputs import identity
from ignite.metrics._reduction import synced
from ignite.metrics._saved_state import check_names
from ignite.metrics._views import View
from ignite.metrics.metric import Metric
from ignite.metrics.metrics_lambda import MetricsLambda, update_together
from ignite.metrics.statistics import Statistic

__all__ = ["MetricGroup"]


class MetricGroup(Metric):
    """Several metrics that are updated with the same output. The value is a dictionary.

    Members share equal statistics. The ``output_transform`` of each member is applied after that of
    the group.

    Args:
        metrics: the metrics by name. Once in the group, update them only through it.
        output_transform: turns ``engine.state.output`` into the output for the members.
        skip_unrolling: see :class:`Metric`.
        metrics_result_mode: see :class:`Metric`.

    Raises:
        TypeError: ``metrics`` is not a mapping of metrics.
        NotComputableError: in ``compute``, a member cannot be computed.

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
        *,
        metrics_result_mode: Literal["flatten", "named", "both"] = "both",
    ) -> None:
        if not isinstance(metrics, Mapping) or not all(
            isinstance(metric, Metric) for metric in metrics.values()
        ):
            raise TypeError(f"metrics should be a dictionary of metrics, but given {metrics!r}")
        self.metrics = dict(metrics)
        super().__init__(output_transform, None, skip_unrolling, metrics_result_mode)

    def reset(self) -> None:
        """Resets all members."""
        for metric in self.metrics.values():
            metric.reset()
        self._share()

    def _share(self) -> None:
        """Makes members with equal statistics share one."""
        shared: dict[Hashable, Statistic] = {}
        for metric in self._updated_metrics():
            reading = metric._reading_key() if isinstance(metric, View) else None
            if not isinstance(metric, View) or reading is None:
                continue
            for i, statistic in enumerate(metric._own):
                found = shared.setdefault((reading, statistic.key), statistic)
                if found is not statistic:
                    found.widen(statistic)
                    metric._own[i] = found

    def _updated_metrics(self) -> list[Metric]:
        """Returns the metrics to update: members, or the metrics that members are computed from."""
        found: list[Metric] = []
        for metric in self.metrics.values():
            found += metric._unique_leaves() if isinstance(metric, MetricsLambda) else [metric]
        return list({id(metric): metric for metric in found}.values())

    def update(self, output: Any) -> None:
        """Updates all members with the output of one batch, or none if one of them raises."""
        metrics, outputs = self._updated_metrics(), {}
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
        """Returns the value of each member by its name."""
        with synced(self, self._updated_metrics(), self.metrics.values()):
            return {name: metric.compute() for name, metric in self.metrics.items()}

    def _statistics_in_use(self) -> list[Statistic]:
        return [
            statistic
            for metric in self._updated_metrics()
            for statistic in metric._statistics_in_use()
        ]

    def _state(self) -> OrderedDict[str, Any]:
        return OrderedDict(metrics={name: metric._state() for name, metric in self.metrics.items()})

    def _set_state(self, states: list[Mapping[str, Any]]) -> None:
        members = [state["metrics"] for state in states]
        for each in members:
            check_names(each, list(self.metrics))
        for name, metric in self.metrics.items():
            metric._set_state([each[name] for each in members])
        self._share()

    @property
    def _merges_states(self) -> bool:  # type: ignore[override]
        return all(metric._merges_states for metric in self.metrics.values())
