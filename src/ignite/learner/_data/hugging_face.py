"""Hugging Face data sets: rows are asked for by the batch, streams by the row. Their library is not imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ignite.learner._data.arrays import Names, Parts, check_names, is_several, take_apart

__all__ = [
    "HuggingFaceRows",
    "RowsTogether",
    "are_splits",
    "as_it_is",
    "classes_of",
    "is_hugging_face",
    "is_hugging_face_stream",
]


def is_hugging_face(data: Any) -> bool:
    """Whether it is a ``datasets.Dataset``, not an iterable one."""
    return all(hasattr(data, name) for name in ("with_format", "column_names", "features", "select", "__getitem__"))


def is_hugging_face_stream(data: Any) -> bool:
    """Whether it is a ``datasets.IterableDataset``, whose columns may be unknown."""
    names = ("with_format", "column_names", "features", "skip", "take", "__iter__")
    return all(hasattr(data, name) for name in names) and not hasattr(data, "__len__")


def are_splits(data: Any) -> bool:
    """Whether it is a dictionary of several data sets or streams, such as ``load_dataset`` gives without a split."""
    is_filled = isinstance(data, Mapping) and len(data) > 0
    return is_filled and all(is_hugging_face(one) or is_hugging_face_stream(one) for one in data.values())


class HuggingFaceRows(Dataset[Any]):
    """``(x,)``, ``(x, y)`` or ``(x, y, w)`` of several rows at once.

    Args:
        data: the user's; a view of it is formatted as tensors.
        target: the column that is y, or several. Of the others, x is a dictionary, or the column if it is one.
        sample_weight: the column that is w.

    Raises:
        TypeError: a column does not come as tensors, because it is text or of varying length.
        ValueError: ``target`` or ``sample_weight`` is no column.
    """

    def __init__(self, data: Any, target: Names | None = None, sample_weight: Any = None) -> None:
        self.data = data.with_format("torch")
        self._target = target
        self._weight = sample_weight
        columns = list(data.column_names)
        if sample_weight is not None:
            check_names([sample_weight], columns, "sample_weight")
        self.classes = classes_of(data, target)
        if len(data):
            _check_tensors(self.data[: min(len(data), 2)])

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(_only_row(part) for part in self.__getitems__([index]))

    def __getitems__(self, indices: Sequence[int]) -> tuple[Any, ...]:
        return _in_order(dict(self.data[list(indices)]), self._target, self._weight)


class RowsTogether:
    """Makes ``(x,)``, ``(x, y)`` or ``(x, y, w)`` of rows of a stream that is formatted as tensors.

    Args:
        target: the column that is y, or several. Of the others, x is a dictionary, or the column if it is one.
        sample_weight: the column that is w.

    Raises:
        TypeError: when called, a column does not come as tensors of one shape.
        ValueError: when called, ``target`` or ``sample_weight`` is no column.
    """

    def __init__(self, target: Names | None = None, sample_weight: str | None = None) -> None:
        self._target = target
        self._weight = sample_weight

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
        columns = {name: _together([row[name] for row in rows]) for name in rows[0]}
        _check_tensors(columns)
        if self._weight is not None:  # the columns of a stream may not be known before
            check_names([self._weight], list(columns), "sample_weight")
        return _in_order(columns, self._target, self._weight)


def _together(values: list[Any]) -> Any:
    is_one_kind = all(isinstance(value, Tensor) for value in values) and len({value.shape for value in values}) == 1
    return torch.stack(values) if is_one_kind else values


def _in_order(columns: dict[str, Any], target: Names | None, sample_weight: Any) -> tuple[Any, ...]:
    """Inputs, targets and weights, those that there are."""
    w = None if sample_weight is None else columns.pop(sample_weight).float()
    x, y, _ = take_apart(columns, () if target is None else target)
    parts = Parts(x, None if target is None else y, w)
    return tuple(part for part in parts if part is not None)


def _check_tensors(columns: Mapping[str, Any]) -> None:
    strange = [name for name, values in columns.items() if not isinstance(values, Tensor)]
    if strange:
        raise TypeError(
            f"Columns of data should become tensors of one shape, but {strange} do not: tokenize and pad them, "
            "encode them as numbers, or leave them out with remove_columns"
        )


def as_it_is(batch: Any) -> Any:
    """What the rows return for a batch is one already."""
    return batch


def _only_row(part: Any) -> Any:
    return {name: values[0] for name, values in part.items()} if isinstance(part, dict) else part[0]


def classes_of(data: Any, target: Names | None) -> tuple[Any, ...]:
    """What the class indices stand for, if the data set tells.

    Raises:
        ValueError: ``target`` is none of its columns.
    """
    if target is None or is_several(target) or data.column_names is None:
        return ()
    check_names([target], list(data.column_names), "target")
    return tuple(getattr((data.features or {}).get(target), "names", None) or ())
