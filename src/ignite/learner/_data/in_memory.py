"""Converts data in memory to tensors: inputs, targets and weights."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import TensorDataset

from ignite.learner._data.columns import (
    Known,
    as_features,
    as_target,
    column_names,
    matrix_of,
)
from ignite.learner._data.inspection import (
    holds_arrays,
    is_array,
    is_column,
    is_extension_array,
    is_frame,
    is_sparse,
    tensor_dataset_of,
)
from ignite.learner._data.weighting import as_sample_weight

__all__ = [
    "Arrays",
    "Names",
    "Parts",
    "arrays_of",
    "check_names",
    "inputs_of",
    "is_several",
    "names_of",
    "normalized",
    "take_apart",
]

Names = str | Sequence[str]


class Parts(NamedTuple):
    """Inputs, targets and sample weights of a batch."""

    x: Any
    y: Any = None
    w: Any = None


def take_apart(batch: Any, target: Names | None = None) -> Parts:
    """Splits a batch into inputs, targets and sample weights.

    A tuple or list is ``(x,)``, ``(x, y)`` or ``(x, y, w)``. In a dictionary, the entry ``target``
    is y, and x is a dictionary of the others, or the other entry if there is only one. Anything
    else is x.

    Raises:
        ValueError: a tuple has more than 3 items, or ``target`` is not in the dictionary.

    Example:
        >>> take_apart({"pixels": 1, "label": 2}, target="label")
        Parts(x=1, y=2, w=None)
    """
    if isinstance(batch, tuple | list):
        if 1 <= len(batch) <= 3:
            return Parts(*batch)
        raise ValueError(
            "A batch should be (x,), (x, y) or (x, y, w), with several inputs nested as ((a, b), y), "
            f"but given {len(batch)} items; for data in memory, use fit((x, y))"
        )
    if target is None or not isinstance(batch, Mapping):
        return Parts(batch)
    names = names_of(target)
    check_names(names, list(batch), "target")
    x = {key: value for key, value in batch.items() if key not in names}
    if not x:
        raise ValueError(
            f"data should have an input besides the target {names}, but given {list(batch)}"
        )
    y = {name: batch[name] for name in names} if is_several(target) else batch[names[0]]
    return Parts(next(iter(x.values())) if len(x) == 1 else x, y)


class Arrays(NamedTuple):
    """Data in memory, converted to tensors."""

    parts: Parts
    known: Known
    left_out: tuple[Any, ...] = ()
    """Columns that are not features of the model."""


def arrays_of(
    data: Any, target: Names | None = None, sample_weight: Any = None, known: Known | None = None
) -> Arrays:
    """Converts data in memory to tensors.

    Args:
        data: data for which ``holds_arrays`` is true.
        target: name of the target in data frames and dictionaries.
        sample_weight: array of weights, or their name in data frames and dictionaries.
        known: the features to use and the order of the classes, if the model was trained before.

    Raises:
        TypeError: ``data`` contains something that is not a number.
        ValueError: ``target`` or ``sample_weight`` is not in the data; lengths differ; a weight is
            negative or not finite.
    """
    known = known or Known()
    x, y, w = _raw_parts(data, target, sample_weight, known)
    if w is not None and y is None:
        raise ValueError("sample_weight should come with targets, but given data without")
    if isinstance(x, list) and x and all(isinstance(item, Tensor) or is_array(item) for item in x):
        _check_inputs(x, y)
    features, keys, left_out = known.features, known.keys, ()
    if isinstance(data, Mapping) and not keys:
        keys = tuple(
            name for name in data if name not in names_of(target) and name != sample_weight
        )
    if not isinstance(x, Tensor) and is_frame(x):
        available = column_names(x)
        # Uses the columns of the training data; other data frames may have more, such as the target.
        features = features or available
        left_out = tuple(name for name in available if name not in features)
        x = matrix_of(x, features, known.has_codes)
    x = as_features(x, known=known)
    labels: tuple[Any, ...] = ()
    if not isinstance(y, Tensor) and is_frame(y):
        labels = known.labels or column_names(y)
        check_names(labels, column_names(y), "A column of y")
        y = y[list(labels)]
    targets, classes = (None, ()) if y is None else as_target(y, known)
    found = replace(
        known,
        features=features,
        keys=keys,
        classes=classes or known.classes,
        labels=labels or known.labels,
    )
    return Arrays(Parts(x, targets, None if w is None else as_sample_weight(w, x)), found, left_out)


def names_of(target: Any) -> list[Any]:
    """Returns the names of the targets as a list.

    Raises:
        TypeError: ``target`` is data, not a name.
    """
    if is_array(target) or is_frame(target):
        raise TypeError(
            f"target should be the name of a column, but given a {type(target).__name__}: use "
            "fit((x, y))"
        )
    return [] if target is None else list(target) if is_several(target) else [target]


def is_several(target: Any) -> bool:
    """Whether ``target`` is a list of names, even if it has only one."""
    return isinstance(target, tuple | list)


def normalized(data: Any) -> Any:
    """Converts ranges and tuples of numbers to lists, and arrays and indices of pandas to series.

    Raises:
        TypeError: a part of (x, y, w) is not an array or anything like it.
    """
    if type(data) is tuple and 1 <= len(data) <= 3:
        return tuple([_normalized(part, name) for part, name in zip(data, "xyw", strict=False)])
    if is_sparse(data) or is_extension_array(data):
        return _normalized(data, "x")
    return data


def _normalized(part: Any, name: str) -> Any:
    if isinstance(part, Tensor):
        return part
    if isinstance(part, PackedSequence):
        raise TypeError(
            f"{name} should be arrays, but given a PackedSequence: pass a list of batches, [(x, "
            "y), ...]"
        )
    if part is None or holds_arrays(part) or isinstance(part, list):
        return part
    if isinstance(part, range):
        return list(part)
    if isinstance(part, tuple) and part and all(isinstance(item, Real | str) for item in part):
        return list(part)
    if is_extension_array(part):
        return sys.modules["pandas"].Series(part)
    if not isinstance(part, str | bytes) and hasattr(part, "__array__"):
        return part.__array__()
    hint = ": use .toarray()" if is_sparse(part) else ""
    if name == "w" and isinstance(part, str):
        hint = f": write Learner(..., class_weight={part!r})"
    raise TypeError(
        f"{name} of data should be an array, a list or a series, but given a "
        f"{type(part).__name__}{hint}"
    )


def inputs_of(x: Any, known: Known) -> Any:
    """Converts inputs to tensors, with the columns or keys that the model was trained on.

    Raises:
        ValueError: a column or key is missing.
        TypeError: ``x`` contains something that is not a number.
    """
    if is_frame(x):
        x = matrix_of(x, known.features or column_names(x), known.has_codes)
    elif isinstance(x, Mapping) and known.keys:
        check_names(known.keys, list(x), "An input")
        x = {name: x[name] for name in known.keys} if len(known.keys) > 1 else x[known.keys[0]]
    return as_features(x, known=known)


def _check_inputs(x: list[Any], y: Any) -> None:
    """Raises a ValueError if a list of arrays seems to be a list of samples, not of inputs."""
    num_samples = (
        {len(item) if item.ndim else 1 for item in x} if not any(map(is_column, x)) else set()
    )
    if (is_array(y) or isinstance(y, list)) and len(y) == len(x) and num_samples != {len(y)}:
        stack = "torch.stack(x)" if isinstance(x[0], Tensor) else "numpy.stack(x)"
        raise ValueError(
            f"x should be one array with a row for each sample, but given a list of {len(x)} "
            f"arrays: use {stack}, after padding them if their lengths differ"
        )


def _raw_parts(data: Any, target: Names | None, sample_weight: Any, known: Known) -> Parts:
    is_unnamed = isinstance(data, Tensor | tuple)  # the usual case
    if not is_unnamed and (is_frame(data) or isinstance(data, Mapping)):
        return _by_name(data, target, sample_weight, known)
    if getattr(getattr(data, "dtype", None), "names", None):
        raise TypeError(
            "data should be arrays, a dictionary of arrays or a data frame, but given a structured "
            "array: use pandas.DataFrame(data)"
        )
    if target is not None:
        raise ValueError(
            f"target should be left out for arrays without names: pass (x, y), but given {target!r}"
        )
    if not is_unnamed and tensor_dataset_of(data) is not None:
        data = _tensors_of(data)
    parts = take_apart(data if type(data) in (tuple, Parts) else (data,))
    if sample_weight is None:
        return parts
    if parts.w is not None:
        raise ValueError("sample_weight should be left out, because data is (x, y, w) already")
    if isinstance(sample_weight, str):
        raise ValueError(
            f"sample_weight should be an array for data without names, but given {sample_weight!r}"
        )
    return parts._replace(w=sample_weight)


def _by_name(data: Any, target: Names | None, sample_weight: Any, known: Known) -> Parts:
    columns = list(column_names(data)) if is_frame(data) else list(data)
    names = names_of(target)
    check_names(names, columns, "target")
    w = sample_weight
    if isinstance(sample_weight, str):
        check_names([sample_weight], columns, "sample_weight")
        w = data[sample_weight]
        columns.remove(sample_weight)
    rest = [name for name in columns if name not in names]
    if is_frame(data):
        y = None if target is None else data[names if is_several(target) else target]
        return Parts(data[rest], y, w)
    if known.keys:
        check_names(known.keys, rest, "An input")
        columns = [*known.keys, *names]
    x, y, _ = take_apart({name: data[name] for name in columns}, target if names else ())
    return Parts(x, y if names else None, w)


def check_names(names: Sequence[Any], accepted: Sequence[Any], what: str) -> None:
    """Raises a ValueError if a name is not among the accepted ones."""
    missing = [name for name in names if name not in accepted]
    if missing:
        raise ValueError(f"{what} should be one of {list(accepted)}, but given {missing[0]!r}")


def _tensors_of(data: Any) -> tuple[Tensor, ...]:
    if type(data) is TensorDataset:
        return data.tensors
    rows = torch.as_tensor(list(data.indices))
    return tuple(tensor[rows.to(tensor.device)] for tensor in _tensors_of(data.dataset))
