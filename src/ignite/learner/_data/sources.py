"""Creates batches from data of any kind: arrays, data frames, datasets, loaders and iterables."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset

from ignite._core.trees import map_leaves
from ignite.data.arrays import ArrayLoader
from ignite.data.sampler import ShardedBatchSampler
from ignite.learner._data.columns import Known
from ignite.learner._data.in_memory import (
    Arrays,
    Names,
    Parts,
    arrays_of,
    check_names,
    is_several,
    names_of,
    normalized,
    take_apart,
)
from ignite.learner._data.inspection import (
    Peekable,
    are_splits,
    first_batch,
    holds_arrays,
    is_hugging_face,
    is_hugging_face_stream,
    is_map_style,
    tensors_in,
)

__all__ = [
    "HuggingFaceRows",
    "Items",
    "Loader",
    "RowsTogether",
    "as_it_is",
    "as_items",
    "as_loader",
    "classes_of",
]

_DEFAULT_BATCH_SIZE = 32


@dataclass(frozen=True, eq=False)
class Loader:
    """Batches, and known facts about them."""

    holds_data: ClassVar[bool] = True

    batches: Any
    """The iterable to pass to ``trainer.run``."""
    num_samples: int | None = None
    """Number of samples per epoch over all processes; None if unknown."""
    target: Names | None = None
    """Key of the target in batches that are dictionaries."""
    known: Known = field(default_factory=Known)
    """Column and class names, if the data have any."""
    left_out: tuple[Any, ...] = ()
    """Columns that are not features of the model."""
    is_target_needed: bool = True
    """Whether batches that are dictionaries must contain their target."""

    @property
    def num_batches(self) -> int | None:
        """Number of batches per epoch on this process; None if unknown."""
        try:
            return len(self.batches)
        except TypeError:  # the data has no length
            return None

    @property
    def smallest_batch(self) -> int | None:
        """Number of samples in the smallest batch of this process, which is the last one.

        None if unknown.
        """
        batches = self.batches
        sampler = getattr(batches, "batch_sampler", None)
        cut = batches if isinstance(batches, ArrayLoader) else sampler
        if isinstance(cut, ArrayLoader | ShardedBatchSampler):
            last = deque(cut.cutting.spans(cut.order.num_samples), maxlen=1)
            return last[0][1] - last[0][0] if last else None
        if isinstance(batches, list):
            lengths = [
                len(tensor)
                for batch in batches
                for tensor in tensors_in(self.parts(batch).x)[:1]
                if tensor.ndim
            ]
            return min(lengths, default=None)
        if not isinstance(batches, DataLoader) or type(sampler) is not BatchSampler:
            return None
        try:
            num_samples = len(batches.sampler)  # type: ignore[arg-type]
        except TypeError:  # of unknown length
            return None
        rest = 0 if sampler.drop_last else num_samples % sampler.batch_size
        return rest or sampler.batch_size

    @property
    def has_targets(self) -> bool | None:
        """Whether batches have targets; None if the data cannot be inspected.

        This may load the first batch.
        """
        parts = self.first()
        return None if parts is None else parts.y is not None

    def parts(self, batch: Any) -> Parts:
        """Splits a batch into inputs, targets and sample weights."""
        target = self.target
        if not self.is_target_needed and target is not None and isinstance(batch, Mapping):
            target = [name for name in names_of(target) if name in batch]
            if len(target) == 1 and not is_several(self.target):
                target = target[0]
        return take_apart(batch, target)

    def first(self) -> Parts | None:
        """Returns the first batch, without side effects.

        None if the data can be iterated over only once.
        """
        batch = self.first_batch
        return None if batch is None else self.parts(batch)

    @functools.cached_property
    def first_batch(self) -> Any:
        """The first batch, loaded without side effects and kept: checks use it several times."""
        return first_batch(self.batches)

    def forget_first(self) -> None:
        """Releases the memory of the first batch."""
        vars(self).pop("first_batch", None)

    @functools.cached_property
    def whole(self) -> Parts | None:
        """All data if it is in memory, else None."""
        batches = self.batches
        rows = batches.dataset if isinstance(batches, DataLoader) else None
        holder = rows if isinstance(rows, _ArrayRows) else batches
        if not isinstance(holder, ArrayLoader | _ArrayRows):
            return None
        return take_apart(holder.data, self.target)


def as_loader(  # noqa: PLR0913 - all options of loading in one place
    data: Any,
    *,
    batch_size: int | None = None,
    shuffle: bool | None = None,
    seed: int = 0,
    target: Names | None = None,
    sample_weight: Any = None,
    num_workers: int = 0,
    drop_last: bool = False,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    sampler: Any = None,
    rank: int = 0,
    world_size: int = 1,
    known: Known | None = None,
) -> Loader:
    """Creates batches from data of any kind.

    - Tensors, numpy arrays and lists, as ``x``, ``(x,)``, ``(x, y)`` or ``(x, y, w)``, where x may
      be a nested container: sliced batch by batch.
    - Dictionaries of arrays, and data frames of pandas or polars: ``(x, y)``, where y is the entry
      ``target`` and x the rest.
    - A ``TensorDataset``, or a ``Subset`` of one: like its arrays.
    - A Hugging Face dataset: ``(x, y)``, read with one request per batch; a stream is read in
      order.
    - A map-style or iterable dataset: loaded by a ``DataLoader``.
    - A ``DataLoader``, or any other iterable of batches: used unchanged.

    Args:
        data: see above.
        batch_size: samples per batch and process; None for 32.
        shuffle: whether to shuffle the samples in each epoch; None for False.
        seed: seed for shuffling.
        target: name of the target column or key. Several targets are a matrix for data frames, else
            a dictionary.
        sample_weight: weight of each sample, shape (N,), or the name of the column or key.
        num_workers: number of worker processes that load a dataset; no effect on arrays.
        drop_last: whether to drop the last batch if it is incomplete.
        collate_fn: makes a batch of a list of items of a dataset.
        sampler: gives the indices of the samples in each epoch, instead of ``shuffle``.
        rank: rank of this process.
        world_size: number of processes that share the samples. Iterable datasets and loaders must
            be sharded by the user.
        known: features, in their order, and class indices that the model was trained on.

    Raises:
        TypeError: ``data`` is of another kind, or contains several datasets.
        ValueError: an option does not apply, because the data is already in batches, or parts of
            the data do not match.
    """
    asked = {
        "batch_size": batch_size, "shuffle": shuffle or None, "num_workers": num_workers or None,
        "drop_last": drop_last or None, "sample_weight": sample_weight, "collate_fn": collate_fn,
        "sampler": sampler,
    }  # fmt: skip
    _check_sampler(sampler, shuffle, world_size)
    size = _DEFAULT_BATCH_SIZE if batch_size is None else batch_size
    how = _Cutting(size, bool(shuffle), seed, rank, world_size, drop_last)
    data = normalized(data)
    if isinstance(data, Loader):
        _refuse(asked, "in batches already")
        return data
    if are_splits(data):
        raise TypeError(
            f"data should be one dataset, such as data[{next(iter(data))!r}], but given "
            f"{', '.join(data)}"
        )
    if holds_arrays(data):
        _refuse(_only(asked, "collate_fn"), "arrays, which are sliced")
        arrays = arrays_of(data, target, sample_weight, known)
        return _of_arrays(arrays.parts, how, arrays, sampler)
    if is_hugging_face(data) and collate_fn is None:
        _refuse(_only(asked, "sampler"), "a Hugging Face dataset: pass a DataLoader")
        return _with_classes(_of_hugging_face(data, how, target, sample_weight, num_workers), known)
    if is_hugging_face_stream(data):
        _refuse(_only(asked, "collate_fn", "sampler"), "a Hugging Face stream: pass a DataLoader")
        _refuse(_only(asked, "shuffle"), "a Hugging Face stream: use data.shuffle(seed=...)")
        return _with_classes(
            _of_hugging_face_stream(data, how, target, sample_weight, num_workers), known
        )
    if isinstance(data, IterableDataset):
        _refuse(
            _only(asked, "shuffle", "sample_weight", "sampler"),
            "an iterable dataset, which has its own order",
        )
        options = {"num_workers": num_workers, "drop_last": drop_last, "collate_fn": collate_fn}
        return Loader(DataLoader(data, size, **options), None, target)  # type: ignore[arg-type]
    if is_map_style(data):
        _refuse(_only(asked, "sample_weight"), "a dataset: let its items be (x, y, w)")
        options = {"num_workers": num_workers, "collate_fn": collate_fn}
        return Loader(_batches_of(data, how, sampler, options), len(data), target)
    if not isinstance(data, Iterable) or isinstance(data, str | bytes | type):
        raise TypeError(
            "data should be arrays, a tuple (x, y) or dictionary of arrays, a data frame, a "
            f"dataset, a DataLoader or an iterable of batches, but given {_described(data)}"
        )
    _refuse(asked, f"a {type(data).__name__}, which is in batches already")
    return _as_given(data, target)


def _described(data: Any) -> str:
    """Describes data that is refused, with a hint what to do."""
    if isinstance(data, type):
        return f"the class {data.__name__}: write {data.__name__}(...)"
    if callable(data):
        return f"the function {getattr(data, '__name__', data)}: call it"
    return f"a {type(data).__name__}" + (
        ": read the file first" if isinstance(data, str | Path) else ""
    )


@dataclass(frozen=True)
class _Cutting:
    batch_size: int
    shuffle: bool
    seed: int
    rank: int
    world_size: int
    drop_last: bool

    def sampler(self, num_samples: int) -> ShardedBatchSampler:
        _check_not_empty(num_samples)
        return ShardedBatchSampler(num_samples, **vars(self))


class Items(Dataset[Any]):
    """A list of items as a dataset."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Any:
        return self._items[index]


def as_items(data: Any, collate_fn: Any) -> Any:
    """Returns a list as a dataset if there is a function that makes batches of its items."""
    return Items(data) if collate_fn is not None and isinstance(data, list) else data


def _check_sampler(sampler: Any, shuffle: bool | None, world_size: int) -> None:
    if sampler is None:
        return
    if isinstance(sampler, type) or not isinstance(sampler, Iterable):
        raise TypeError(
            "sampler should be a torch.utils.data.Sampler or another iterable of indices, but given "
            f"{sampler!r}"
        )
    if shuffle:
        raise ValueError("shuffle should be left out with a sampler, which gives the order")
    if world_size > 1:
        raise ValueError(
            "sampler should be left out with several processes: pass a DataLoader with a sampler "
            "that divides the samples among them"
        )


def _batches_of(data: Any, how: _Cutting, sampler: Any, options: Mapping[str, Any]) -> Any:
    """Returns the batches of a dataset."""
    if sampler is None:
        return DataLoader(data, batch_sampler=how.sampler(len(data)), **options)
    return DataLoader(data, how.batch_size, sampler=sampler, drop_last=how.drop_last, **options)


class _ArrayRows(Dataset[Any]):
    """Arrays as a dataset whose rows are read together."""

    def __init__(self, data: tuple[Any, ...], num_samples: int) -> None:
        self.data = data
        self._num_samples = num_samples

    def __len__(self) -> int:
        return self._num_samples

    def __getitems__(self, indices: Sequence[int]) -> Any:
        rows = torch.as_tensor(indices)
        return map_leaves(self.data, Tensor, lambda one: one[rows.to(one.device)])


def _of_arrays(parts: Parts, how: _Cutting, arrays: Arrays, sampler: Any = None) -> Loader:
    # A plain tuple is the fastest container to slice.
    data = tuple([part for part in parts if part is not None])
    if sampler is not None:
        num_samples = ArrayLoader(data).order.num_samples
        rows = _ArrayRows(data, num_samples)
        batches = _batches_of(rows, how, sampler, {"collate_fn": as_it_is})
        return Loader(batches, num_samples, None, arrays.known, arrays.left_out)
    loader = ArrayLoader(data, **vars(how))
    _check_not_empty(loader.order.num_samples)
    return Loader(loader, loader.order.num_samples, None, arrays.known, arrays.left_out)


def _of_hugging_face(
    data: Any, how: _Cutting, target: Names | None, sample_weight: Any, num_workers: int
) -> Loader:
    rows = HuggingFaceRows(data, target, sample_weight)
    batches = DataLoader(
        rows, batch_sampler=how.sampler(len(rows)), num_workers=num_workers, collate_fn=as_it_is
    )
    return Loader(batches, len(rows), None, Known(classes=rows.classes, are_indices=True))


def _of_hugging_face_stream(
    data: Any, how: _Cutting, target: Names | None, sample_weight: Any, num_workers: int
) -> Loader:
    classes, together = classes_of(data, target), RowsTogether(target, sample_weight)
    options: dict[str, Any] = {
        "num_workers": num_workers,
        "drop_last": how.drop_last,
        "collate_fn": together,
    }
    return Loader(
        DataLoader(data.with_format("torch"), how.batch_size, **options),
        known=Known(classes=classes, are_indices=True),
    )


def _with_classes(loader: Loader, known: Known | None) -> Loader:
    """Combines the classes of the data with those of the training data.

    Raises:
        ValueError: the data has other classes, or the same classes in another order.
    """
    classes = loader.known.classes
    if known is None:
        return loader
    if known.classes and classes and tuple(classes) != tuple(known.classes):
        raise ValueError(
            f"data should have the classes that the model was trained on, {list(known.classes)}, "
            f"but given {list(classes)}"
        )
    return replace(loader, known=replace(known, classes=known.classes or classes))


def _as_given(data: Any, target: Names | None) -> Loader:
    if isinstance(data, ArrayLoader):
        return Loader(data, data.order.num_samples, target)
    if not hasattr(data, "dataset") and iter(data) is data:
        return Loader(Peekable(data), None, target)
    try:
        num_samples = len(data.dataset)
    except (AttributeError, TypeError):  # not a loader, or its dataset has no length
        num_samples = None
    return Loader(data, num_samples, target)


def _only(asked: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: asked[name] for name in names}


def _refuse(asked: dict[str, Any], data: str) -> None:
    """Raises a ValueError if options are given that do not apply to this kind of data."""
    given = [
        f"{name}={value!r}" if isinstance(value, bool | int | str) else name
        for name, value in asked.items()
        if value is not None
    ]
    if given:
        raise ValueError(f"{', '.join(given)} should be left out, because data is {data}")


def _check_not_empty(num_samples: int) -> None:
    if num_samples == 0:
        raise ValueError("data should have at least one sample, but given none")


class HuggingFaceRows(Dataset[Any]):
    """Reads ``(x,)``, ``(x, y)`` or ``(x, y, w)`` of several rows at once.

    Args:
        data: the dataset; it is read through a view that is formatted as tensors.
        target: name of the target column, or names of several. The other columns are x, as a
            dictionary if there are several.
        sample_weight: name of the column of sample weights.

    Raises:
        TypeError: a column is not read as tensors, because it holds text or varies in length.
        ValueError: ``target`` or ``sample_weight`` is not a column.
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
    """Collates rows of a stream, formatted as tensors, to ``(x,)``, ``(x, y)`` or ``(x, y, w)``.

    Args:
        target: name of the target column, or names of several. The other columns are x, as a
            dictionary if there are several.
        sample_weight: name of the column of sample weights.

    Raises:
        TypeError: when called, a column does not consist of tensors of the same shape.
        ValueError: when called, ``target`` or ``sample_weight`` is not a column.
    """

    def __init__(self, target: Names | None = None, sample_weight: str | None = None) -> None:
        self._target = target
        self._weight = sample_weight

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
        columns = {name: _stacked([row[name] for row in rows]) for name in rows[0]}
        _check_tensors(columns)
        if self._weight is not None:  # the columns of a stream may be unknown before
            check_names([self._weight], list(columns), "sample_weight")
        return _in_order(columns, self._target, self._weight)


def _stacked(values: list[Any]) -> Any:
    is_one_kind = (
        all(isinstance(value, Tensor) for value in values)
        and len({value.shape for value in values}) == 1
    )
    return torch.stack(values) if is_one_kind else values


def _in_order(columns: dict[str, Any], target: Names | None, sample_weight: Any) -> tuple[Any, ...]:
    """Returns inputs, targets and sample weights, as far as they exist."""
    w = None if sample_weight is None else columns.pop(sample_weight).float()
    x, y, _ = take_apart(columns, () if target is None else target)
    parts = Parts(x, None if target is None else y, w)
    return tuple(part for part in parts if part is not None)


def _check_tensors(columns: Mapping[str, Any]) -> None:
    strange = [name for name, values in columns.items() if not isinstance(values, Tensor)]
    if strange:
        raise TypeError(
            f"Columns of data should become tensors of one shape, but {strange} do not: tokenize "
            "and pad them, encode them as numbers, or drop them with remove_columns"
        )


def as_it_is(batch: Any) -> Any:
    """Does not collate, because the dataset returns whole batches."""
    return batch


def _only_row(part: Any) -> Any:
    return {name: values[0] for name, values in part.items()} if isinstance(part, dict) else part[0]


def classes_of(data: Any, target: Names | None) -> tuple[Any, ...]:
    """Returns the class names of the target column, if the dataset has any.

    Raises:
        ValueError: ``target`` is not a column.
    """
    if target is None or is_several(target) or data.column_names is None:
        return ()
    check_names([target], list(data.column_names), "target")
    return tuple(getattr((data.features or {}).get(target), "names", None) or ())
