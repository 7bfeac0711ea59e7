"""The validation split: a pure function of the seed, the number of samples and their classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Subset

from ignite._core.rng import mix
from ignite.learner._data.columns import Known
from ignite.learner._data.in_memory import Names, arrays_of
from ignite.learner._data.inspection import (
    can_shuffle,
    holds_arrays,
    is_array,
    is_frame,
    is_hugging_face,
    tensor_dataset_of,
    tensors_in,
)

__all__ = ["Holdout", "Split", "hold_out", "split", "split_rows", "take_rows"]

_STREAM = 0x5B117  # makes random numbers independent of those that shuffle the epochs


@dataclass(frozen=True)
class Holdout:
    """How to hold out samples for validation; for ``valid`` of :meth:`.Learner.fit`.

    Args:
        size: number of samples, or a fraction of them between 0 and 1.
        last: whether to hold out the last samples, as of a time series, not random ones.
        groups: the group of each sample, such as a patient, shape (N,); or the name of its column,
            which is then no input of the model. Each group is held out as a whole or not at all,
            so that ``size`` is approximate.
        stratify: whether to hold out the same fraction of each class; by default, if there are
            classes, see :func:`split`.

    Raises:
        TypeError: ``size`` is not a number.
        ValueError: ``size`` is out of range, or the options contradict each other.

    Example:
        >>> x = torch.arange(6.0)
        >>> train, valid = hold_out(x, Holdout(2, last=True), seed=0)
        >>> valid.tolist()
        [4.0, 5.0]
        >>> train, valid = hold_out(x, Holdout(0.5, groups=["a", "a", "b", "b", "c", "c"]), seed=1)
        >>> sorted(train.tolist() + valid.tolist()) == x.tolist(), len(valid) % 2
        (True, 0)
    """

    size: float
    last: bool = False
    groups: Any = None
    stratify: bool | None = None

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, Real):
            raise TypeError(
                "valid should be data, a number of samples, or a fraction of them such as 0.2, but "
                f"given {self.size!r}"
            )
        if self.last + (self.groups is not None) + bool(self.stratify) > 1:
            raise ValueError("Holdout takes one of last, groups and stratify, but given several")

    def num_valid(self, num_samples: int) -> int:
        """Returns the number of samples to hold out of these."""
        if num_samples < 2:
            raise ValueError(
                f"data should have at least 2 samples to be split, but given {num_samples}"
            )
        if isinstance(self.size, Integral):
            if not 0 < self.size < num_samples:
                raise ValueError(
                    f"valid should be from 1 to {num_samples - 1} as a number of samples, which "
                    f"leaves some to train on, but given {self.size}"
                )
            return int(self.size)
        _check_fraction(self.size)
        return min(max(round(num_samples * float(self.size)), 1), num_samples - 1)


def hold_out(
    data: Any,
    valid: Any,
    *,
    seed: int,
    target: Names | None = None,
    wants: Literal["numbers", "classes"] | None = None,
) -> tuple[Any, Any]:
    """Returns the data to train and to validate on; see :class:`Holdout` and :func:`split`.

    ``valid`` is a holdout, or its size.
    """
    how = valid if isinstance(valid, Holdout) else Holdout(valid)
    if not can_shuffle(data):
        raise TypeError(
            f"valid should be data, not a fraction, because a {type(data).__name__} cannot be "
            f"split in advance, but given {valid}"
        )
    groups = how.groups
    if isinstance(groups, str):
        groups, data = _taken_column(data, groups)
    num_samples = _num_samples(data)
    num_valid = how.num_valid(num_samples)
    if groups is None and not how.last:
        fraction = num_valid / num_samples if isinstance(how.size, Integral) else float(how.size)
        options: dict[str, Any] = {"stratify": how.stratify, "wants": wants}
        found = split(data, fraction, seed=seed, target=target, **options)
        return found.train, found.valid
    is_valid = torch.zeros(num_samples, dtype=torch.bool)
    if groups is None:
        is_valid[num_samples - num_valid :] = True
    else:
        is_valid = _of_groups(groups, num_samples, num_valid, seed)
    rows = (one.nonzero().squeeze(1) for one in (~is_valid, is_valid))
    train, held = (take_rows(data, part) for part in rows)
    return train, held


def _of_groups(groups: Any, num_samples: int, num_valid: int, seed: int) -> Tensor:
    """Whether each sample is in one of the random groups that have about ``num_valid`` samples."""
    values = groups.tolist() if hasattr(groups, "tolist") else list(groups)
    if len(values) != num_samples:
        raise ValueError(
            f"groups should have a group for each of the {num_samples} samples, but given "
            f"{len(values)}"
        )
    index = {group: i for i, group in enumerate(dict.fromkeys(values))}
    if len(index) < 2:
        raise ValueError(f"groups should have at least 2 groups, but given {list(index)}")
    codes = torch.tensor([index[value] for value in values])  # (N,)
    order = torch.randperm(len(index), generator=_generator(seed))
    totals = torch.bincount(codes)[order].cumsum(0)[:-1]  # at least one group is left
    num_groups = int((totals - num_valid).abs().argmin()) + 1
    return torch.isin(codes, order[:num_groups])


def _taken_column(data: Any, name: str) -> tuple[Any, Any]:
    """Returns a column, and the data without it."""
    inner = data[0] if type(data) is tuple and data else data
    if is_frame(inner):
        found = list(inner.columns)
    elif is_hugging_face(inner):
        found = list(inner.column_names)
    else:
        found = list(inner) if isinstance(inner, Mapping) else []
    if name not in found:
        raise ValueError(
            f"groups should be one of the columns {found}, or the group of each sample, but given "
            f"{name!r}"
        )
    column = inner[name]
    if is_hugging_face(inner):
        column, rest = column[:], inner.remove_columns([name])
    elif is_frame(inner):
        rest = inner[[one for one in found if one != name]]
    else:
        rest = {key: value for key, value in inner.items() if key != name}
    return column, (rest, *data[1:]) if inner is not data else rest


class Split(NamedTuple):
    """Two parts of the data, and their rows, int64 and ascending."""

    train: Any
    valid: Any
    train_rows: Tensor
    valid_rows: Tensor


def split(
    data: Any,
    fraction: float,
    *,
    seed: int,
    target: Names | None = None,
    stratify: bool | None = None,
    wants: Literal["numbers", "classes"] | None = None,
) -> Split:
    """Holds out a fraction of the samples, the same in every run and process.

    Args:
        data: arrays, data frames, or map-style datasets.
        fraction: fraction of the samples to hold out, between 0 and 1; each part gets at least one
            sample.
        seed: seed of the random choice.
        target: name of the target in data frames, dictionaries and Hugging Face datasets.
        stratify: whether to hold out the same fraction of each class, and at least one sample of
            each class that has two. By default, if classes can be read without loading samples (y
            holds integers, strings, or 0.0 and 1.0, or the dataset has ``targets``) and ``wants``
            is not "numbers".
        wants: the kind of targets that the loss expects, if known.

    Raises:
        TypeError: the samples have no indices.
        ValueError: ``fraction`` is out of range, there are fewer than 2 samples, or there are no
            classes to stratify by.

    Example:
        >>> x, y = torch.arange(10.0), torch.tensor([0] * 8 + [1] * 2)
        >>> train, valid, *_ = split((x, y), 0.25, seed=0)
        >>> train[1].tolist(), valid[1].tolist()
        ([0, 0, 0, 0, 0, 0, 1], [0, 0, 1])
    """
    if not can_shuffle(data):
        raise TypeError(
            f"valid should be data, not a fraction, because a {type(data).__name__} cannot be "
            f"split in advance, but given {fraction}"
        )
    labels = (
        None
        if stratify is False or (wants == "numbers" and not stratify)
        else _labels(data, target, wants)
    )
    if stratify and labels is None:
        raise ValueError(
            "stratify should be left out for data without classes (integers or strings), but given "
            "True"
        )
    train_rows, valid_rows = split_rows(_num_samples(data), fraction, seed, labels)
    return Split(take_rows(data, train_rows), take_rows(data, valid_rows), train_rows, valid_rows)


def split_rows(
    num_samples: int, fraction: float, seed: int, labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Returns the rows for training and for validation, ascending.

    Args:
        num_samples: number of samples, N.
        fraction: fraction of the rows for validation.
        seed: seed of the permutation.
        labels: labels to stratify by, shape (N,). A label that occurs once stays in the training
            rows.

    Raises:
        ValueError: ``fraction`` is not between 0 and 1, or there are fewer than 2 samples.

    Example:
        >>> [len(rows) for rows in split_rows(10, 0.2, seed=3)]
        [8, 2]
    """
    _check_fraction(fraction)
    if num_samples < 2:
        raise ValueError(
            f"data should have at least 2 samples to be split, but given {num_samples}"
        )
    order = torch.randperm(num_samples, generator=_generator(seed))
    num_valid = min(max(round(num_samples * fraction), 1), num_samples - 1)
    is_valid = torch.zeros(num_samples, dtype=torch.bool)
    is_valid[
        order[:num_valid] if labels is None else _of_each(order, labels, fraction, num_valid)
    ] = True
    return (~is_valid).nonzero().squeeze(1), is_valid.nonzero().squeeze(1)


def _check_fraction(fraction: float) -> None:
    if not 0 < fraction < 1:
        raise ValueError(f"valid should be above 0 and below 1 as a fraction, but given {fraction}")


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(mix(seed, _STREAM))


def take_rows(data: Any, rows: Tensor) -> Any:
    """Returns these samples, as the same kind of data."""
    if isinstance(data, Tensor):
        return data.index_select(0, rows.to(data.device))
    if isinstance(data, tuple):
        items = [take_rows(item, rows) for item in data]
        return type(data)(*items) if hasattr(data, "_fields") else tuple(items)
    if is_frame(data) or is_array(data):
        return data.iloc[rows.numpy()] if hasattr(data, "iloc") else data[rows.numpy()]
    if isinstance(data, list):
        return (
            [data[row] for row in rows.tolist()]
            if not any(is_array(item) for item in data)
            else [take_rows(item, rows) for item in data]
        )
    if is_hugging_face(data):
        return data.select(rows.tolist())
    if holds_arrays(data) and tensor_dataset_of(data) is None:
        return {name: take_rows(value, rows) for name, value in data.items()}
    return None if data is None else Subset(data, rows.tolist())


def _of_each(order: Tensor, labels: Tensor, fraction: float, num_valid: int) -> Tensor:
    """Returns the first rows of each label in ``order``, ``num_valid`` in total (largest remainder)."""
    _, codes, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    quotas = counts.double() * fraction  # (K,)
    shares = torch.minimum(quotas.floor().long().clamp(min=1), counts - 1)
    num_left = max(num_valid - int(shares.sum()), 0)
    shares[(quotas - shares).argsort(descending=True, stable=True)[:num_left]] += 1
    shares = torch.minimum(shares, counts - 1)
    by_label = codes[order].argsort(stable=True)  # positions in ``order``, label by label
    begins = (counts.cumsum(0) - counts).repeat_interleave(counts)
    ranks = torch.arange(len(order)) - begins  # of each row within its label
    return order[by_label[ranks < shares.repeat_interleave(counts)]]


def _labels(
    data: Any, target: Names | None, wants: Literal["numbers", "classes"] | None
) -> Tensor | None:
    if is_hugging_face(data):
        y = (
            torch.as_tensor(data[target][:])
            if isinstance(target, str) and _is_of_classes(data, target)
            else None
        )
    elif holds_arrays(data):
        y = arrays_of(data, target, known=Known(wants=wants)).parts.y
    else:
        y = getattr(data, "targets", None)  # of datasets in torchvision
        y = torch.as_tensor(y) if isinstance(y, list | Tensor) and len(y) == len(data) else None
    if not isinstance(y, Tensor) or y.ndim == 0:
        return None
    if (
        y.is_floating_point()
        and wants == "classes"
        and y.ndim == 2
        and y.shape[1] > 1
        and bool((y.sum(1) == 1).all())
    ):
        y = y.argmax(1)  # one-hot, or class probabilities
    if y.numel() != len(y) or (y.is_floating_point() and not _are_classes(y, wants)):
        return None
    labels = y.flatten().cpu()
    # Labels that are nearly all different identify samples, not classes.
    return labels if 2 * len(labels.unique()) <= len(labels) else None


def _are_classes(y: Tensor, wants: str | None) -> bool:
    """Whether floats are classes: whole numbers if the loss takes classes, else only 0 and 1."""
    return bool((y == y.round()).all() if wants == "classes" else ((y == 0) | (y == 1)).all())


def _is_of_classes(data: Any, target: str) -> bool:
    feature = data.features[target]
    return hasattr(feature, "names") or str(getattr(feature, "dtype", "")).startswith(
        ("int", "bool")
    )


def _num_samples(data: Any) -> int:
    if (
        is_array(data)
        or is_frame(data)
        or not holds_arrays(data)
        or tensor_dataset_of(data) is not None
    ):
        return len(data)
    # Strings are read as classes here, which is always possible: only their number matters.
    parts = arrays_of(data, known=Known(wants="classes")).parts
    lengths = [len(tensor) for part in parts for tensor in tensors_in(part)]
    if len(set(lengths)) != 1:
        raise ValueError(
            f"All arrays of data should have the same number of samples, but given {lengths}"
        )
    return lengths[0]
