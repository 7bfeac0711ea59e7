"""Recognizes the kinds of data that a learner accepts, without importing the libraries they need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

__all__ = [
    "are_named",
    "are_splits",
    "can_shuffle",
    "holds_arrays",
    "is_array",
    "is_column",
    "is_extension_array",
    "is_frame",
    "is_hugging_face",
    "is_hugging_face_stream",
    "is_map_style",
    "is_numpy",
    "is_one_pass",
    "is_pandas",
    "is_sparse",
    "tensor_dataset_of",
]


def is_frame(data: Any) -> bool:
    """Whether it is a data frame of pandas or polars."""
    return _is_a(data, "DataFrame")


def is_column(data: Any) -> bool:
    """Whether it is a series of pandas or polars."""
    return _is_a(data, "Series")


def is_pandas(data: Any) -> bool:
    """Whether its class comes from pandas, or is derived from such a class."""
    return any(base.__module__.startswith("pandas.") for base in type(data).__mro__)


def is_extension_array(data: Any) -> bool:
    """Whether it is an array or an index of pandas, such as a ``Categorical``."""
    return any(
        base.__module__.startswith("pandas.") and base.__name__ in ("ExtensionArray", "Index")
        for base in type(data).__mro__
    )


def is_numpy(data: Any) -> bool:
    """Whether it is a numpy array, or an array of a class derived from it."""
    return any(
        base.__module__ == "numpy" and base.__name__ == "ndarray" for base in type(data).__mro__
    )


def is_array(data: Any) -> bool:
    """Whether it is a tensor, a numpy array, or a series."""
    return isinstance(data, Tensor) or is_numpy(data) or is_column(data)


def is_sparse(data: Any) -> bool:
    """Whether it is a sparse matrix of scipy."""
    return hasattr(data, "toarray") and hasattr(data, "nnz")


def holds_arrays(data: Any) -> bool:
    """Whether all of it is in memory, as tensors, arrays or data frames."""
    if isinstance(data, tuple):
        return len(data) > 0 and all(
            holds_arrays(item) or isinstance(item, list) or item is None for item in data
        )
    if is_array(data) or is_frame(data) or isinstance(data, Mapping):
        return True
    return tensor_dataset_of(data) is not None


def tensor_dataset_of(data: Any) -> TensorDataset | None:
    """Returns the plain ``TensorDataset`` that it is, or is a subset of."""
    while type(data) is Subset:
        data = data.dataset
    return data if type(data) is TensorDataset else None


def is_map_style(data: Any) -> bool:
    """Whether it is a dataset whose samples have indices."""
    if isinstance(data, Dataset):
        return not isinstance(data, IterableDataset)
    has_items = hasattr(type(data), "__getitem__") and hasattr(type(data), "__len__")
    return has_items and not hasattr(type(data), "__iter__")


def is_hugging_face(data: Any) -> bool:
    """Whether it is a ``datasets.Dataset``, not an iterable one."""
    return all(
        hasattr(data, name)
        for name in ("with_format", "column_names", "features", "select", "__getitem__")
    )


def is_hugging_face_stream(data: Any) -> bool:
    """Whether it is a ``datasets.IterableDataset``, whose columns may be unknown."""
    names = ("with_format", "column_names", "features", "skip", "take", "__iter__")
    return all(hasattr(data, name) for name in names) and not hasattr(data, "__len__")


def are_splits(data: Any) -> bool:
    """Whether it is a dictionary of Hugging Face datasets, the result of a call without ``split=``."""
    is_filled = isinstance(data, Mapping) and len(data) > 0
    return is_filled and all(
        is_hugging_face(one) or is_hugging_face_stream(one) for one in data.values()
    )


def are_named(data: Any) -> bool:
    """Whether parts of the data, or of their batches, may have names."""
    return is_frame(data) or isinstance(data, Mapping) or not holds_arrays(data)


def can_shuffle(data: Any) -> bool:
    """Whether samples can be loaded in any order, so that ``shuffle`` and ``valid=0.1`` apply."""
    return holds_arrays(data) or is_hugging_face(data) or is_map_style(data)


def is_one_pass(data: Any) -> bool:
    """Whether it is an iterator, such as a generator, which can be iterated over only once."""
    return isinstance(data, Iterator) and not hasattr(data, "dataset") and iter(data) is data


def _is_a(data: Any, kind: str) -> bool:
    return any(
        base.__name__ == kind and base.__module__.partition(".")[0] in ("pandas", "polars")
        for base in type(data).__mro__
    )
