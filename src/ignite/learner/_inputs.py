"""Data of all kinds, made into something that gives batches."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from ignite import distributed as idist
from ignite._core.trees import apply_to_type
from ignite.data import ArrayLoader, ShardedBatchSampler
from ignite.data.arrays import named_tensors

__all__ = ["Batching", "Source", "split", "take"]


@dataclass(frozen=True)
class Batching:
    """How batches are cut where the data are not cut yet.

    Args:
        batch_size: samples in a batch of one process.
        shuffle: whether each pass has an order of its own.
        seed: of the orders.
        num_workers: processes that read a data set.
        is_shared: whether several processes share the samples, or each goes over all of them.
    """

    batch_size: int = 32
    shuffle: bool = False
    seed: int = 0
    num_workers: int = 0
    is_shared: bool = True


@dataclass(frozen=True)
class Source:
    """Data of one of three kinds; the other two are None.

    Args:
        arrays: (x, y), (x, y, w) or x: tensors, or containers of them, that share their first dimension.
        dataset: a map-style data set of samples.
        batches: what gives batches, made by the user.
        classes: what the integers of the target stand for, if it was made of something else.
    """

    arrays: Any = None
    dataset: Dataset[Any] | None = None
    batches: Iterable[Any] | None = None
    classes: Sequence[Any] | None = None

    @property
    def target(self) -> Tensor | None:
        """The targets of arrays, shape (N, ...)."""
        return self.arrays[1] if isinstance(self.arrays, tuple) else None

    def __len__(self) -> int:
        if self.arrays is not None:
            return len(next(named_tensors(self.arrays))[1])
        return len(self.dataset) if self.dataset is not None else len(self.batches)  # type: ignore[arg-type]

    def loader(self, how: Batching) -> Iterable[Any]:
        """What an engine is run on."""
        rank, world_size = (idist.get_rank(), idist.get_world_size()) if how.is_shared else (0, 1)
        if self.arrays is not None:
            return ArrayLoader(
                self.arrays, how.batch_size, shuffle=how.shuffle, seed=how.seed, rank=rank, world_size=world_size
            )
        if self.batches is not None:
            return self.batches
        assert self.dataset is not None
        generator = torch.Generator().manual_seed(how.seed)
        if world_size > 1:
            order = ShardedBatchSampler(
                len(self), how.batch_size, shuffle=how.shuffle, seed=how.seed, rank=rank, world_size=world_size
            )
            return DataLoader(self.dataset, batch_sampler=order, num_workers=how.num_workers, generator=generator)
        return DataLoader(
            self.dataset, how.batch_size, shuffle=how.shuffle, generator=generator, num_workers=how.num_workers
        )


def take(data: Any, target: str | None = None, has_target: bool = True) -> Source:
    """Finds out what ``data`` are.

    Args:
        data: (x, y) or (x, y, w) of tensors or numpy arrays, where x may be a container of them; a dictionary or data
            frame with a column ``target``; a data set; or anything that gives batches. Without targets, x alone.
        target: the name of the target in dictionaries and data frames.
        has_target: whether a pair is (x, y).

    Raises:
        TypeError: it is none of these.
        ValueError: the target is not there, or lengths differ.
    """
    if isinstance(data, Source):
        return data
    if _is_frame(data):
        return _of_frame(data, target)
    if isinstance(data, TensorDataset):
        return take(data.tensors, target, has_target)
    if _is_hugging_face(data):
        data = data.with_format("torch")
        return Source(dataset=data)
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        return Source(dataset=data)
    if isinstance(data, IterableDataset):
        raise TypeError(
            "An IterableDataset gives single samples: put a DataLoader around it, which makes batches of them"
        )
    if _are_arrays(data):
        return _of_arrays(data, target, has_target)
    if isinstance(data, Iterable) and not isinstance(data, str | bytes | Mapping):
        return Source(batches=data)
    raise TypeError(
        "data should be arrays (x, y), a data frame or dictionary with target=, a data set, a DataLoader or anything "
        f"that gives batches, but given {type(data).__name__}"
    )


def _of_arrays(data: Any, target: str | None, has_target: bool) -> Source:
    if isinstance(data, Mapping) and has_target:
        if target is None or target not in data:
            raise ValueError(
                f"target should be the key of the targets, one of {', '.join(map(repr, data))}, but given {target!r}"
            )
        data = ({name: value for name, value in data.items() if name != target}, data[target])
    if has_target and not (isinstance(data, tuple | list) and len(data) in (2, 3)):
        raise ValueError(
            "data should be (x, y), or (x, y, w) with a weight for each sample, but given "
            f"{f'{len(data)} arrays' if isinstance(data, tuple | list) else type(data).__name__}"
        )
    arrays = apply_to_type(tuple(data) if has_target else data, _leaf_types(), _as_tensor)
    lengths = {path: len(leaf) for path, leaf in named_tensors(arrays) if leaf.ndim > 0}
    if len(set(lengths.values())) > 1:
        names = {"data[0]": "x", "data[1]": "y", "data[2]": "the weights"} if has_target else {}
        told = ", ".join(f"{names.get(path, path)} has {length}" for path, length in lengths.items())
        raise ValueError(f"All arrays should have the same number of samples, but {told}")
    return Source(arrays=arrays)


def _as_tensor(leaf: Any) -> Tensor:
    tensor = leaf if isinstance(leaf, Tensor) else torch.as_tensor(leaf)
    if isinstance(leaf, Tensor) or tensor.dtype != torch.float64:
        return tensor
    return tensor.to(torch.get_default_dtype())  # numpy's default precision is not that of models


def _leaf_types() -> Any:
    numpy = sys.modules.get("numpy")
    return Tensor if numpy is None else (Tensor, numpy.ndarray)


def _are_arrays(data: Any) -> bool:
    """Whether all leaves of nested tuples and dictionaries are arrays. Lists give batches, except of arrays."""
    if isinstance(data, _leaf_types()):
        return True
    if isinstance(data, Mapping):
        return bool(data) and all(_are_arrays(value) for value in data.values())
    return isinstance(data, tuple) and bool(data) and all(_are_arrays(value) for value in data)


def _is_frame(data: Any) -> bool:
    names = {kind.__module__.partition(".")[0] for kind in type(data).__mro__}
    return type(data).__name__ == "DataFrame" and bool(names & {"pandas", "polars"})


def _is_hugging_face(data: Any) -> bool:
    return hasattr(data, "with_format") and hasattr(data, "column_names") and hasattr(data, "__getitem__")


def _of_frame(data: Any, target: str | None) -> Source:
    columns = list(data.columns)
    if target is not None and target not in columns:
        raise ValueError(f"target should be one of the columns, {', '.join(map(repr, columns))}, but given {target!r}")
    features = [name for name in columns if name != target]
    arrays = {name: data[name].to_numpy() for name in columns}
    texts = [name for name in features if arrays[name].dtype.kind not in "biuf"]
    if texts:
        raise ValueError(
            f"The columns {', '.join(map(repr, texts))} are no numbers: encode them, or leave them out of the frame"
        )
    x = torch.stack([torch.as_tensor(arrays[name]).to(torch.get_default_dtype()) for name in features], 1)
    if target is None:
        return Source(arrays=x)
    y = arrays[target]
    if y.dtype.kind in "biuf":
        return Source(arrays=(x, _as_tensor(y)))
    classes = sorted(set(y.tolist()))
    place = {name: index for index, name in enumerate(classes)}
    return Source(arrays=(x, torch.tensor([place[name] for name in y.tolist()])), classes=classes)


def split(source: Source, fraction: float, seed: int, is_by_class: bool) -> tuple[Source, Source]:
    """A part to train on and a part to validate on: a function of the seed and the number of samples alone.

    Args:
        source: arrays or a data set.
        fraction: of the samples to validate on, between 0 and 1.
        seed: of the choice.
        is_by_class: take the same share of each class of integer targets.

    Raises:
        TypeError: batches cannot be split.
        ValueError: the fraction leaves one of the parts empty.
    """
    if source.batches is not None:
        raise TypeError(
            "valid should be data, as what gives batches cannot be split, but given a fraction of it: "
            f"{fraction}. Give fit(..., valid=other_loader)"
        )
    if not 0 < fraction < 1:
        raise ValueError(f"valid should be data, or a fraction between 0 and 1, but given {fraction}")
    num_samples = len(source)
    order = torch.randperm(num_samples, generator=torch.Generator().manual_seed(seed))
    target = source.target
    if is_by_class and target is not None and target.ndim == 1 and not target.dtype.is_floating_point:
        valid = _by_class(order, target.cpu(), fraction)
    else:
        valid = order[: round(num_samples * fraction)]
    is_valid = torch.zeros(num_samples, dtype=torch.bool)
    is_valid[valid] = True
    parts = [part.nonzero().squeeze(1) for part in (~is_valid, is_valid)]
    if not all(len(part) for part in parts):
        raise ValueError(f"valid={fraction} of {num_samples} samples leaves {[len(part) for part in parts]} samples")
    first, second = (_rows(source, part) for part in parts)
    return first, second


def _by_class(order: Tensor, target: Tensor, fraction: float) -> Tensor:
    """Of each class its share, at least one where it has two."""
    chosen = []
    labels = target[order]
    for label in labels.unique():
        members = order[labels == label]
        share = min(max(round(len(members) * fraction), 1), len(members) - 1)
        chosen.append(members[:share])
    return torch.cat(chosen)


def _rows(source: Source, rows: Tensor) -> Source:
    if source.dataset is not None:
        return Source(dataset=torch.utils.data.Subset(source.dataset, rows.tolist()))
    arrays = apply_to_type(source.arrays, Tensor, lambda leaf: leaf[rows.to(leaf.device)])
    return Source(arrays=arrays, classes=source.classes)
