"""Computes a metric in each of several groups of examples, and the difference between groups."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from ignite.exceptions import NotComputableError
from ignite.metrics._outputs import as_pair, identity
from ignite.metrics._reduction import combined, synced
from ignite.metrics._saved_state import check_names
from ignite.metrics._views import View
from ignite.metrics.metric import Metric
from ignite.metrics.metrics_lambda import update_together
from ignite.metrics.statistics import LabelCounts, Reading, Statistic, Totals
from ignite.metrics.statistics.subgroups import (
    SubgroupCounts,
    _pair_of,
    group_indices,
    group_sizes,
)

__all__ = ["SubgroupDifference", "SubgroupMetric"]


class _SubgroupBase(Metric):
    """Computes a metric in each group. Subclasses also derive from :class:`View`.

    For metrics of label counts, the labels of all groups are counted at once, in a statistic that
    can be shared. Any other metric is copied for each group, and updated with its examples.
    """

    required_output_keys = ("y_pred", "y", "group_labels")
    _needs_examples = False
    _own: list[Statistic]

    def __init__(
        self,
        base_metric: Metric,
        groups: Sequence[Any],
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
    ) -> None:
        if not isinstance(base_metric, Metric):
            raise TypeError(f"base_metric should be a Metric, but given {base_metric!r}")
        self._groups = _checked_groups(groups)
        self._base_metric = base_metric._fresh_copy()
        self._counted = _label_counts_of(self._base_metric)
        """The kind of counts of the base metric; None if it is not computed from label counts."""
        self._metrics: dict[Any, Metric] = {}
        """The copy for each group, if labels are not counted."""
        if self._counted is None:
            self._metrics = {group: base_metric._fresh_copy() for group in self._groups}
        super().__init__(output_transform, device)

    def _declare(self) -> list[Statistic]:
        counted = self._counted
        device = self._accumulates_on or self._base_metric._accumulates_on
        if counted is None:
            return [Totals(group_sizes, (self._groups,), device=device)]
        (need,) = counted.needs
        return [
            SubgroupCounts(
                self._groups, need, counted.is_multilabel, counted.allows_outside, device
            )
        ]

    def _accepted(self, output: Any) -> Any:
        given = self._pick(output) if isinstance(output, Mapping) else output
        return _as_triple(given, type(self).__name__)

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        if len(reading.output) != 3:  # a pair of tensors has not been checked yet
            _as_triple(reading.output, type(self).__name__)
        if isinstance(self._base_metric, View) and self._counted is not None:
            self._base_metric._inspect(reading.derive(_pair_of), statistic)

    def _reset_extra_state(self) -> None:
        for metric in self._metrics.values():
            metric.reset()

    def _reading_key(self) -> tuple[Hashable, ...] | None:
        return None if self._counted is None else View._reading_key(cast(View, self))

    def _update_with(self, outputs: list[Any]) -> None:
        if self._counted is not None:
            View._update_with(cast(View, self), outputs)
            return
        readings = [Reading(self._accepted(output)) for output in outputs]
        pieces = [piece for reading in readings for piece in self._pieces(reading)]
        undo = self._own[0]._rollback_point()
        try:
            for reading in readings:
                self._own[0].update(reading)
            update_together(pieces)
        except BaseException:
            undo()
            raise

    def _pieces(self, reading: Reading) -> list[tuple[Metric, Any]]:
        """Returns the metrics of the groups in a batch, each with its examples.

        Synchronizes with an accelerator once per batch, to read the number of examples.
        """
        y_pred, y, _ = reading.output
        indices = reading.derive(group_indices, self._groups)
        sizes = torch.bincount(indices, minlength=len(self._groups) + 1).tolist()
        rows = indices.argsort(stable=True).split(sizes)
        return [
            (metric, (y_pred[chosen.to(y_pred.device)], y[chosen]))
            for metric, chosen, size in zip(self._metrics.values(), rows, sizes, strict=False)
            if size
        ]

    def compute(self) -> Any:
        """Returns the value over everything since the last reset, on all processes.

        Raises:
            NotComputableError: there are too few groups with examples, or the metric cannot be
                computed for one of them.
        """
        if self._counted is not None:
            return View.compute(cast(View, self))
        members = [self, *self._metrics.values()]
        with synced(self, members, members):
            (totals,) = combined(self._own, self._synced)
            assert isinstance(totals, Totals)
            sizes = totals.values[0].tolist() if totals.values else [0] * len(self._groups)
            # All processes have all sizes, so they compute the same metrics.
            values = {
                group: self._metrics[group].compute()
                for group, size in zip(self._groups, sizes, strict=True)
                if size
            }
        return self._combine(values)

    def _value(self, counts: SubgroupCounts) -> Any:
        assert isinstance(self._base_metric, View)
        values = {
            group: self._base_metric._value(counts.of(i))
            for i, (group, size) in enumerate(zip(self._groups, counts.sizes(), strict=True))
            if size
        }
        return self._combine(values)

    @abstractmethod
    def _combine(self, values: dict[Any, Any]) -> Any:
        """Computes the value from those of the groups with examples."""

    def _statistics_in_use(self) -> list[Any]:
        found: list[Any] = super()._statistics_in_use()
        return found + [
            statistic
            for metric in self._metrics.values()
            for statistic in metric._statistics_in_use()
        ]

    def _own_copies(self) -> list[Statistic]:
        pairs = zip(super()._statistics_in_use(), self._own, strict=True)
        return [found.narrowed(own) for found, own in pairs]

    def _check_loaded(self, statistic: Any) -> None:
        if isinstance(self._base_metric, View) and self._counted is not None:
            self._base_metric._check_loaded(statistic)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores what was accumulated.

        Raises:
            TypeError: ``state_dict`` is not a mapping.
            ValueError: it is not from this kind of metric, or Ignite has saved it.
        """
        if isinstance(state_dict, Mapping) and "_metrics" in state_dict:
            raise ValueError(
                f"state_dict should be provided by this package's {type(self).__name__}, but given one of "
                "Ignite, which cannot be loaded; remove it from the state to start from scratch"
            )
        super().load_state_dict(state_dict)

    def _state(self) -> OrderedDict[str, Any]:
        own = super()._state()
        if self._counted is not None:
            return own
        members = {repr(group): metric._state() for group, metric in self._metrics.items()}
        return OrderedDict(sizes=own, groups=OrderedDict(members))

    def _set_state(self, states: list[Mapping[str, Any]]) -> None:
        if self._counted is not None:
            super()._set_state(states)
            return
        for state in states:
            check_names(state["groups"], [repr(group) for group in self._groups])
        super()._set_state([state["sizes"] for state in states])
        for group, metric in self._metrics.items():
            metric._set_state([state["groups"][repr(group)] for state in states])

    @property
    def _merges_states(self) -> bool:  # type: ignore[override]
        members = self._metrics.values()
        return super()._merges_states and all(metric._merges_states for metric in members)


class SubgroupMetric(_SubgroupBase, View):
    """A metric in each of several groups of examples. The value is a dictionary.

    Groups without examples are omitted, and examples of other groups are ignored.

    Update with ``(y_pred, y, group_labels)``:

    - ``y_pred`` and ``y``: as for ``base_metric``, shape (B, ...).
    - ``group_labels``: a tensor of numbers, shape (B,) or (B, 1), or a list of labels.

    Args:
        base_metric: the metric. Copies of it are used, without its ``output_transform``.
        groups: the labels of the groups.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y, group_labels)``, or a
            mapping with these keys.
        device: device on which to count. By default, that of ``base_metric``, or of the outputs.

    Raises:
        TypeError: ``base_metric`` is not a metric, or ``groups`` not a sequence of hashable labels.
            In ``update``, the output is not a triple.
        ValueError: there are no groups. In ``update``, the batch sizes differ, or ``base_metric``
            refuses the batch, which then is not counted for any group.

    Distributed:
        Some processes may have no examples of a group.

    Example:
        >>> from ignite.metrics import Accuracy
        >>> metric = SubgroupMetric(Accuracy(), groups=["a", "b"])
        >>> metric.update((torch.tensor([1, 1, 0]), torch.tensor([1, 0, 0]), ["a", "a", "b"]))
        >>> metric.compute()
        {'a': 0.5, 'b': 1.0}
    """

    def _combine(self, values: dict[Any, Any]) -> dict[Any, Any]:
        return values

    def _directions(self, name: str) -> dict[str, bool | None]:
        return super()._directions(name) | dict.fromkeys(
            self._groups, self._base_metric.higher_is_better
        )


class SubgroupDifference(_SubgroupBase, View):
    r"""The largest difference of a metric between groups of examples; 0 if it is the same in all groups.

    .. math:: \max_{g} m_g - \min_{g} m_g

    where :math:`m_g` is the value of the metric in group :math:`g`. If it is a tensor, such as one
    number for each class, the largest difference of any of its numbers.

    Update with ``(y_pred, y, group_labels)``, and arguments, as for :class:`SubgroupMetric`.

    Raises:
        TypeError: as for :class:`SubgroupMetric`; in ``compute``, values are not numbers.
        ValueError: as for :class:`SubgroupMetric`.
        NotComputableError: in ``compute``, there are examples of less than two groups.

    Example:
        >>> from ignite.metrics import Accuracy
        >>> metric = SubgroupDifference(Accuracy(), groups=["a", "b"])
        >>> metric.update((torch.tensor([1, 1, 0]), torch.tensor([1, 0, 0]), ["a", "a", "b"]))
        >>> metric.compute()
        0.5

    References:
        Hardt, Price, Srebro, "Equality of opportunity in supervised learning", 2016,
        https://arxiv.org/abs/1610.02413
    """

    higher_is_better = False

    def _combine(self, values: dict[Any, Any]) -> float:
        if not values:
            raise NotComputableError(
                "Fairness metrics must have at least one example before it can be computed."
            )
        if len(values) == 1:
            raise NotComputableError(
                "Fairness metrics require at least two unique subgroups to compute a disparity., but "
                f"there are only examples of {next(iter(values))!r}"
            )
        for group, value in values.items():
            if not isinstance(value, int | float | Tensor | list):
                raise TypeError(
                    "The values of base_metric should be numbers or tensors to be compared, but "
                    f"given {type(value).__name__} for the group {group!r}"
                )
        table = torch.stack([_as_wide(value) for value in values.values()])
        return (table.amax(dim=0) - table.amin(dim=0)).max().item()


def _as_wide(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu().double()
    return torch.tensor(value, dtype=torch.float64)


def _checked_groups(groups: Sequence[Any]) -> tuple[Any, ...]:
    """Returns the groups, each once."""
    if isinstance(groups, Tensor):
        groups = groups.tolist()
    if isinstance(groups, str) or not hasattr(groups, "__iter__"):
        raise TypeError(f"groups should be a sequence of labels, but given {groups!r}")
    found = tuple(dict.fromkeys(groups))
    if not found:
        raise ValueError("groups should have at least one label, but given none")
    return found


def _label_counts_of(metric: Metric) -> LabelCounts | None:
    """Returns the counts of labels that a metric of this package is computed from, if any."""
    if not isinstance(metric, View) or type(metric).compute is not View.compute:
        return None
    if metric._reading_key() is None or len(metric._own) != 1:
        return None
    (statistic,) = metric._own
    return statistic if type(statistic) is LabelCounts else None


def _as_triple(output: Any, metric: str) -> tuple[Tensor, Tensor, Any]:
    """Returns ``(y_pred, y, group_labels)``, with a batch dimension.

    Raises:
        TypeError: ``output`` is something else.
    """
    if not isinstance(output, tuple | list) or len(output) != 3:
        given = (
            f"{len(output)} items" if isinstance(output, tuple | list) else type(output).__name__
        )
        raise TypeError(
            f"{metric} should be given (y_pred, y, group_labels), but given {given}; choose them in "
            "output_transform"
        )
    y_pred, y = as_pair(tuple(output[:2]), metric)
    labels = output[2]
    if isinstance(labels, Tensor):
        return y_pred, y, torch.atleast_1d(labels)
    if hasattr(labels, "tolist"):  # an array of numpy
        labels = labels.tolist()
    if not isinstance(labels, tuple | list):
        raise TypeError(
            f"group_labels should be a tensor or a list with a label for each example, but {metric} was "
            f"given {type(labels).__name__}; choose them in output_transform"
        )
    return y_pred, y, labels
