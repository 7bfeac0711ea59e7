"""Numbers from what data come in: arrays, data frames and their columns, strings that are names of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["as_features", "as_target", "column_names", "is_array", "is_column", "is_frame", "matrix_of"]

_NUMBERS = "biuf"  # kinds of numpy's dtypes: booleans, integers, floats


def is_frame(data: Any) -> bool:
    """Whether it is a table of pandas or polars, neither of which is imported here."""
    return _is_of(data, "DataFrame")


def is_column(data: Any) -> bool:
    """Whether it is one column of pandas or polars."""
    return _is_of(data, "Series")


def is_array(data: Any) -> bool:
    """Whether it is a tensor, an array, or a column."""
    return isinstance(data, Tensor) or _is_numpy(data) or is_column(data)


def column_names(frame: Any) -> tuple[Any, ...]:
    """In the order of the table."""
    return tuple(frame.columns)


def matrix_of(frame: Any, names: Sequence[Any]) -> Tensor:
    """These columns of a table as (N, F), of torch's default dtype; a missing number is NaN.

    Raises:
        ValueError: a column is not there.
        TypeError: a column does not hold numbers.
    """
    import numpy

    missing = [name for name in names if name not in set(column_names(frame))]
    if missing:
        raise ValueError(f"data should have the columns {list(names)}, but {missing} are not in {column_names(frame)}")
    strange = [f"{name!r} ({frame[name].dtype})" for name in names if not _is_numeric(frame[name])]
    if strange:
        raise TypeError(
            f"Columns that are features should be numbers, but given {', '.join(strange)}: encode them as numbers "
            "(pandas: get_dummies, or .cat.codes for an embedding), or leave them out"
        )
    if not names:
        raise ValueError("data should have a column of features besides the target, but given none")
    columns = [_floats(frame[name]) for name in names]
    return torch.from_numpy(numpy.stack(columns, axis=1)).to(torch.get_default_dtype())


def as_features(data: Any, name: str = "x") -> Any:
    """Nested inputs as tensors. Numpy's float64 becomes torch's default dtype; integers and tensors stay as they are.

    Raises:
        TypeError: something in it is no array of numbers.
    """
    if isinstance(data, Tensor):
        return data
    if isinstance(data, Mapping):
        return {key: as_features(value, f"{name}[{key!r}]") for key, value in data.items()}
    if is_frame(data):
        return matrix_of(data, column_names(data))
    if is_column(data):
        return matrix_of(data.to_frame(), column_names(data.to_frame())).squeeze(1)
    if isinstance(data, list) and data and _is_number(data[0]):
        return torch.tensor(data)
    if isinstance(data, list | tuple):
        items = [as_features(value, f"{name}[{i}]") for i, value in enumerate(data)]
        return type(data)(items) if type(data) in (list, tuple) else type(data)(*items)
    return _tensor(data, name)


def as_target(data: Any, classes: Sequence[Any] = (), name: str = "y") -> tuple[Any, tuple[Any, ...]]:
    """Targets as tensors, and the classes if they came as words.

    Integers and booleans become int64. Strings and categories become the index of their class, in the order of
    ``classes``; without these in the order of the categories, or sorted. Otherwise as :func:`as_features`.

    Raises:
        TypeError: something in it is neither numbers nor strings.
        ValueError: a value is missing, or is none of ``classes``.
    """
    if isinstance(data, Mapping):
        return {key: as_target(value, (), f"{name}[{key!r}]")[0] for key, value in data.items()}, ()
    if is_frame(data):
        parts = [as_target(data[column], (), f"{name}[{column!r}]")[0] for column in column_names(data)]
        return torch.stack(parts, dim=1), ()
    if isinstance(data, list) and data and (_is_number(data[0]) or isinstance(data[0], str)):
        return _words(data, classes, (), name) if isinstance(data[0], str) else as_target(torch.tensor(data))
    if isinstance(data, list | tuple):
        return type(data)([as_target(value, (), f"{name}[{i}]")[0] for i, value in enumerate(data)]), ()
    if is_column(data):
        if not _is_numeric(data):
            return _words(data.to_list(), classes, _categories(data), name)
        data = _floats(data) if _is_floating(data) else _integers(data, name)
    elif _is_numpy(data) and data.dtype.kind in "OUS":
        return _words(data.ravel().tolist(), classes, (), name)
    tensor = _tensor(data, name)
    return (tensor if tensor.is_floating_point() or tensor.is_complex() else tensor.long()), ()


def _words(
    values: list[Any], classes: Sequence[Any], categories: Sequence[Any], name: str
) -> tuple[Tensor, tuple[Any, ...]]:
    missing = [row for row, value in enumerate(values) if value is None or value != value]
    if missing:
        raise ValueError(
            f"{name} should have a class for each sample, but {len(missing)} miss it, first row {missing[0]}"
        )
    known = tuple(classes) or tuple(categories) or tuple(sorted(set(values), key=lambda v: (str(type(v)), v)))
    index = {value: i for i, value in enumerate(known)}
    strange = sorted({str(value) for value in values if value not in index})
    if strange:
        raise ValueError(f"{name} should be one of the classes {list(known)}, but given {strange}")
    return torch.tensor([index[value] for value in values], dtype=torch.int64), known


def _tensor(data: Any, name: str) -> Tensor:
    if isinstance(data, Tensor):
        return data
    if not _is_numpy(data):
        raise TypeError(f"{name} should be a tensor or an array of numbers, but given a {type(data).__name__}")
    if data.dtype.kind not in _NUMBERS + "c":
        raise TypeError(
            f"{name} should be an array of numbers, but given dtype {data.dtype}: encode strings and objects first"
        )
    if not data.flags.writeable or any(stride < 0 for stride in data.strides):
        data = data.copy()  # torch can share neither
    tensor = torch.as_tensor(data)
    return tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 else tensor


def _is_numeric(column: Any) -> bool:
    is_numeric = getattr(column.dtype, "is_numeric", None)  # polars
    if callable(is_numeric):
        return bool(is_numeric()) or str(column.dtype) == "Boolean"
    return getattr(column.dtype, "kind", "O") in _NUMBERS


def _is_floating(column: Any) -> bool:
    is_float = getattr(column.dtype, "is_float", None)
    if callable(is_float):
        return bool(is_float() or column.dtype.is_decimal())
    return bool(column.dtype.kind == "f")


def _floats(column: Any) -> Any:
    import numpy

    if _package(column) == "pandas":
        return column.to_numpy(dtype="float64", na_value=numpy.nan)
    return numpy.array(column.to_numpy(), dtype="float64")  # None becomes NaN


def _integers(column: Any, name: str) -> Any:
    is_missing = column.isna() if _package(column) == "pandas" else column.is_null()
    if is_missing.any():
        row = is_missing.to_list().index(True)
        raise ValueError(
            f"{name} should have a number for each sample, but {is_missing.sum()} miss it, first row {row}"
        )
    return column.to_numpy().astype("int64")


def _categories(column: Any) -> Sequence[Any]:
    categories = getattr(column.dtype, "categories", None)  # of pandas' category and polars' Enum
    if categories is None or str(column.dtype) == "Categorical":
        return ()
    return list(categories)


def _is_of(data: Any, kind: str) -> bool:
    return _package(data) in ("pandas", "polars") and any(base.__name__ == kind for base in type(data).__mro__)


def _package(data: Any) -> str:
    """Which library the class comes from, also of a class of the user's that is derived from it."""
    packages = {base.__module__.split(".")[0] for base in type(data).__mro__}
    return next((name for name in ("pandas", "polars") if name in packages), "")


def _is_numpy(data: Any) -> bool:
    return any(base.__module__ == "numpy" and base.__name__ == "ndarray" for base in type(data).__mro__)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | bool)
