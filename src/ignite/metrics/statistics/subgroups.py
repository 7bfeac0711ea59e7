"""Counts of predicted and true labels in each of several groups of examples."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ignite.metrics._output_arrays import MULTILABEL, Labels, outside_message, read_labels
from ignite.metrics.statistics._counts import CLASSES, CORRECT, MATRIX, SAMPLES, Tally
from ignite.metrics.statistics._statistic import Reading, Statistic, wide_dtype
from ignite.metrics.statistics.labels import LabelCounts

__all__ = ["SubgroupCounts", "group_indices", "group_sizes"]

_PARTS = (CORRECT, CLASSES, MATRIX, SAMPLES)


@functools.lru_cache(maxsize=64)
def _tensor_of(groups: tuple[Any, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(groups, device=device)


def group_indices(output: Sequence[Any], groups: tuple[Any, ...]) -> Tensor:
    """Returns the index in ``groups`` of each example, shape (B,); G for other groups.

    Args:
        output: ``(y_pred, y, group_labels)``. Group labels are a tensor of shape (B,) or (B, 1), or
            a list.
        groups: the groups, G of them.

    Raises:
        ValueError: the batch sizes differ, or tensors are given for groups that are not numbers.
        TypeError: a group label cannot be one of ``groups``, because it is not hashable.
    """
    y_pred, y, labels = output
    if isinstance(labels, Tensor) and labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels.squeeze(1)
    shape = tuple(labels.shape) if isinstance(labels, Tensor) else (len(labels),)
    if shape != y.shape[:1] or shape != y_pred.shape[:1]:
        raise ValueError(
            "y_pred, y, and group_labels must have the same batch size., but given "
            f"{tuple(y_pred.shape)}, {tuple(y.shape)} and {shape}: group_labels should be one label "
            "for each example"
        )
    if not isinstance(labels, Tensor):
        places = {group: i for i, group in enumerate(groups)}
        found = [places.get(label, len(groups)) for label in labels]
        return torch.tensor(found, dtype=torch.int64, device=y.device)
    if not all(isinstance(group, int | float) for group in groups):
        raise ValueError(
            f"group_labels should be a list of labels for the groups {groups}, but given a tensor of "
            f"{labels.dtype}"
        )
    matches = labels.detach().unsqueeze(1) == _tensor_of(groups, labels.device)  # (B, G)
    places_of = torch.arange(len(groups), device=labels.device) - len(groups)
    return ((matches * places_of).sum(dim=1) + len(groups)).to(y.device)  # at most one matches


def group_sizes(output: Sequence[Any], groups: tuple[Any, ...]) -> tuple[int, Tensor]:
    """Returns the number of examples, and that in each group, shape (G,)."""
    indices = group_indices(output, groups)
    sizes = torch.zeros(len(groups) + 1, dtype=torch.int64, device=indices.device)
    sizes.index_add_(0, indices, torch.ones_like(indices))
    return len(indices), sizes[:-1]


def _pair_of(output: Sequence[Any]) -> Reading:
    """Returns predictions and targets as the output of a metric without groups."""
    return Reading((output[0], output[1]))


class SubgroupCounts(Statistic):
    """Counts predicted and true labels as :class:`LabelCounts` does, in each of several groups.

    All groups are counted at once, without selecting their examples. Examples of other groups are
    checked, but not counted.

    Args:
        groups: the labels of the groups.
        need: what to count: ``CORRECT``, ``CLASSES``, ``MATRIX`` or ``SAMPLES``.
        is_multilabel: treat predictions and targets of equal shape as multilabel, not binary.
        allows_outside: ignore targets that are not a class, instead of raising.
        device: device on which to count. None: that of the predictions.

    Example:
        >>> counts = SubgroupCounts(("a", "b"), CORRECT)
        >>> y_pred, y = torch.tensor([1, 1, 0]), torch.tensor([1, 0, 0])
        >>> counts.update(Reading((y_pred, y, ["a", "a", "b"])))
        >>> [counts.of(i).num_correct.item() for i in range(2)]
        [1, 1]
    """

    PARTS: ClassVar = {
        "kind": "SAME",
        "num_classes": "SAME",
        "num_examples": "SUM",
        "num_outside": "SUM",
        "num_invalid": "SUM",
        "sizes": "SUM",
        "correct": "SUM",
        "classes": "SUM",
        "matrix": "SUM",
        "samples": "SUM",
    }

    def __init__(
        self,
        groups: tuple[Any, ...],
        need: str,
        is_multilabel: bool = False,
        allows_outside: bool = False,
        device: torch.device | None = None,
    ) -> None:
        self.groups = groups
        self.needs = {need}
        self.is_multilabel = is_multilabel
        self.allows_outside = allows_outside
        super().__init__(device)

    def _parameters(self) -> tuple[Hashable, ...]:
        return (self.groups, self.is_multilabel)

    def widen(self, other: Statistic) -> None:
        """Also counts what ``other`` counts."""
        assert isinstance(other, SubgroupCounts)
        self.needs = self.needs | other.needs
        self.allows_outside = self.allows_outside and other.allows_outside

    def reset(self) -> None:
        """Clears all counts, and the kind of data."""
        self.kind: str | None = None
        self.num_classes: int | None = None
        self.num_examples = 0
        self.num_outside: int | Tensor = 0
        self.num_invalid: int | Tensor = 0
        self._tallies: dict[str, Tally] = {}
        """Name of a part -> its counts, of binary and multiclass data; with a row for others."""
        self._sums: dict[str, Tensor] = {}
        """The same for multilabel data, whose examples add more than 1."""
        self.version += 1

    @property
    def _num_columns(self) -> dict[str, tuple[int, ...]]:
        """The shape of each part, for one group."""
        c = 2 if self.kind == "binary" else self.num_classes or 0
        return {"sizes": (2,), CORRECT: (1,), CLASSES: (3, c), MATRIX: (c, c), SAMPLES: (2,)}

    def _update(self, reading: Reading) -> None:
        indices: Tensor = reading.derive(group_indices, self.groups)
        pair: Reading = reading.derive(_pair_of)
        labels: Labels = pair.derive(read_labels, self.is_multilabel)
        if labels.kind != self.kind or labels.num_classes != self.num_classes:
            self._limits().check_kind(labels)
        if isinstance(labels.num_outside, int) and labels.num_outside and not self.allows_outside:
            raise ValueError(outside_message(labels.num_classes, labels.num_outside))
        if self.kind is None:
            self._check_needs(labels)
            self.kind, self.num_classes = labels.kind, labels.num_classes
        device = self.where(labels.y_pred)
        if labels.kind == MULTILABEL:
            self._add_multilabel(labels, indices, device)
        else:
            self._add_classes(labels, indices, device)
        self.num_examples += labels.num_items
        if not isinstance(labels.num_outside, int) or labels.num_outside:
            self.num_outside = self.num_outside + labels.num_outside
        if isinstance(labels.num_invalid, Tensor):
            self.num_invalid = self.num_invalid + labels.num_invalid

    def _check_needs(self, labels: Labels) -> None:
        if labels.kind != MULTILABEL and SAMPLES in self.needs:
            raise ValueError(
                "Argument average='samples' is incompatible with binary and multiclass input data., "
                f"but given {labels.kind} data"
            )

    def _add_multilabel(self, labels: Labels, indices: Tensor, device: torch.device) -> None:
        """Adds the sums over further dimensions of each example to those of its group."""
        y_pred, y = (
            values.bool().flatten(2) if values.ndim > 2 else values.bool().unsqueeze(2)
            for values in (labels.y_pred, labels.y)
        )  # (B, C, M), of M examples each
        both, dtype = y_pred & y, wide_dtype(y)
        num_inner = torch.full_like(indices, y.shape[2])
        found = {"sizes": torch.stack([num_inner, torch.ones_like(indices)], dim=1)}
        if CORRECT in self.needs:
            found[CORRECT] = (y_pred == y).all(dim=1).sum(dim=1, keepdim=True)
        if CLASSES in self.needs:
            found[CLASSES] = torch.stack([each.sum(dim=2) for each in (both, y_pred, y)], dim=1)
        if SAMPLES in self.needs:
            num_both = both.sum(dim=1).to(dtype)  # (B, M)
            ratios = [num_both / each.sum(dim=1).clamp(min=1) for each in (y_pred, y)]
            found[SAMPLES] = torch.stack([each.sum(dim=1) for each in ratios], dim=1)
        for name, values in found.items():
            before = self._sums.get(name)
            if before is None:
                shape = (len(self.groups) + 1, *values.shape[1:])
                before = torch.zeros(shape, dtype=values.dtype, device=device)
            self._sums[name] = before.index_add(0, indices.to(device), values.to(device))

    def _add_classes(self, labels: Labels, indices: Tensor, device: torch.device) -> None:
        """Counts pairs of a group and a label."""
        num_classes = self._num_columns[MATRIX][0]
        y_pred, y = labels.y_pred.long().flatten(), labels.y.long().flatten()
        group = indices
        if labels.y.ndim > 1 and labels.num_items:
            group = indices.repeat_interleave(y.shape[0] // labels.num_items)
        is_class = None
        if not isinstance(labels.num_outside, int) or labels.num_outside:
            is_class = (y >= 0) & (y < num_classes) & (y_pred >= 0) & (y_pred < num_classes)
        self._tally("sizes", indices * 2 + 1, None, device)
        self._tally("sizes", group * 2, None, device)
        if CORRECT in self.needs:
            self._tally(CORRECT, group, y_pred == y, device)
        if MATRIX in self.needs:
            cells = (group * num_classes + y) * num_classes + y_pred
            self._tally(MATRIX, cells, is_class, device)
        if CLASSES in self.needs:
            row = group * 3 * num_classes
            is_right = y_pred == y if is_class is None else (y_pred == y) & is_class
            self._tally(CLASSES, row + y, is_right, device)
            self._tally(CLASSES, row + num_classes + y_pred, is_class, device)
            self._tally(CLASSES, row + 2 * num_classes + y, is_class, device)

    def _tally(self, name: str, cells: Tensor, counts: Tensor | None, device: torch.device) -> None:
        """Counts cells of a part, those where ``counts`` is True. The last cell collects others."""
        size = (len(self.groups) + 1) * torch.Size(self._num_columns[name]).numel()
        if name not in self._tallies:
            empty = torch.zeros(size + 1, dtype=torch.int64, device=device)
            self._tallies[name] = Tally(empty)
        self._tallies[name].add(cells if counts is None else torch.where(counts, cells, size))

    def _value_of(self, name: str) -> Tensor | None:
        """Returns the counts of a part for all groups, shape (G, ...)."""
        if name in self._sums:
            return self._sums[name][:-1]
        if name in self._tallies:
            counts = self._tallies[name].counts()[:-1]
            return counts.view(len(self.groups) + 1, *self._num_columns[name])[:-1]
        return None

    def of(self, i: int) -> LabelCounts:
        """Returns the counts of the group with this index, as if it had been counted alone."""
        values: dict[str, Any] = {
            "kind": self.kind,
            "num_classes": self.num_classes,
            "num_outside": 0,
            "num_invalid": 0,
        }
        sizes = self._value_of("sizes")
        values["num_examples"], values["num_items"] = (0, 0) if sizes is None else sizes[i].tolist()
        for name in _PARTS:
            part = self._value_of(name)
            values[name] = None if part is None else part[i].clone()
        if values[CORRECT] is not None:
            values[CORRECT] = values[CORRECT].squeeze(0)
        counts = LabelCounts(min(self.needs), self.is_multilabel, device=self.device)
        counts.take(values)
        return counts

    def sizes(self) -> list[int]:
        """Returns the number of examples in each group."""
        sizes = self._value_of("sizes")
        return [0] * len(self.groups) if sizes is None else sizes[:, 1].tolist()

    def _limits(self) -> LabelCounts:
        """Returns counts with the kind of data and the number of invalid values, for checks."""
        counts = LabelCounts(CORRECT, self.is_multilabel)
        counts.kind, counts.num_classes = self.kind, self.num_classes
        counts.num_outside, counts.num_invalid = self.num_outside, self.num_invalid
        return counts

    def check(self) -> None:
        """Raises if labels on an accelerator were invalid, which ``update`` does not check."""
        limits = self._limits()
        limits.check_valid()
        if not self.allows_outside:
            limits.check()

    def parts(self) -> dict[str, Any]:
        """Returns counts, with None for those that are not needed."""
        plain = {name: getattr(self, name) for name in list(self.PARTS)[:5]}
        return plain | {name: self._value_of(name) for name in ("sizes", *_PARTS)}

    def take(self, values: Mapping[str, Any]) -> None:
        """Replaces the counts."""
        self.reset()
        for name in list(self.PARTS)[:5]:
            setattr(self, name, values[name])
        for name in ("sizes", *_PARTS):
            counts = values[name]
            if counts is None:
                continue
            if self.kind == MULTILABEL:
                self._sums[name] = torch.cat([counts, torch.zeros_like(counts[:1])])
            else:
                rest = torch.zeros(counts[0].numel() + 1, dtype=counts.dtype, device=counts.device)
                self._tallies[name] = Tally(torch.cat([counts.flatten(), rest]))

    def _shapes_of(self, values: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        if values["kind"] is not None:
            missing = [name for name in self.needs if values[name] is None]
            if missing:
                raise ValueError(
                    f"The state should have counts of {missing[0]}, but given one of another metric"
                )
        other = self.fresh()
        other.kind, other.num_classes = values["kind"], values["num_classes"]
        return {name: (len(self.groups), *shape) for name, shape in other._num_columns.items()}

    def narrowed(self, wanted: Statistic) -> SubgroupCounts:
        """Returns a copy with only the counts of ``wanted``."""
        assert isinstance(wanted, SubgroupCounts)
        other = wanted.fresh()
        values = self.clone().parts()
        other.take(values | dict.fromkeys(set(_PARTS) - wanted.needs))
        return other

    def __str__(self) -> str:
        return f"label counts of {len(self.groups)} groups ({', '.join(sorted(self.needs))})"
