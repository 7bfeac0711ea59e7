"""Hugging Face data sets: rows are asked for by the batch. Their library is not imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from ignite.learner._data.arrays import Names, Parts, check_names, take_apart

__all__ = ["HuggingFaceRows", "as_it_is", "is_hugging_face"]


def is_hugging_face(data: Any) -> bool:
    """Whether it is a ``datasets.Dataset``, not an iterable one."""
    return all(hasattr(data, name) for name in ("with_format", "column_names", "features", "select", "__getitem__"))


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
        self.classes = _classes(data, target)
        if len(data):
            self._check(self.data[: min(len(data), 2)])

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(_only_row(part) for part in self.__getitems__([index]))

    def __getitems__(self, indices: Sequence[int]) -> tuple[Any, ...]:
        columns = dict(self.data[list(indices)])
        w = None if self._weight is None else columns.pop(self._weight).float()
        x, y, _ = take_apart(columns, () if self._target is None else self._target)
        parts = Parts(x, None if self._target is None else y, w)
        return tuple(part for part in parts if part is not None)

    def _check(self, columns: Any) -> None:
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


def _classes(data: Any, target: Names | None) -> tuple[Any, ...]:
    if not isinstance(target, str):
        return ()
    check_names([target], list(data.column_names), "target")
    return tuple(getattr(data.features[target], "names", None) or ())
