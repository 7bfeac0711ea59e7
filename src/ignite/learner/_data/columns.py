"""Converts arrays, data frames, columns and class names to tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from ignite.learner._data.kinds import (
    is_array,
    is_column,
    is_frame,
    is_numpy,
    is_pandas,
    is_sparse,
)

__all__ = [
    "Known",
    "as_features",
    "as_target",
    "column_names",
    "matrix_of",
]

_NUMBERS = "biuf"  # kinds of numpy's dtypes: booleans, integers, floats
Classes: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class Known:
    """What is known from the training data and about the targets that the loss takes."""

    features: tuple[Any, ...] = ()
    """Names of the columns of x, if it came as a table."""
    classes: Classes | Mapping[str, Classes] = ()
    """What the class indices stand for, if the data tell; of several targets by their place, as ``y['a']``."""
    labels: tuple[Any, ...] = ()
    """Names of the columns of y, if it came as a table."""
    are_indices: bool = False
    """Whether the data have class indices and tell their names, so that numbers are indices and no names."""
    has_codes: bool = False
    """Whether integers in tables are codes, such as an embedding takes, and stay integers."""
    keys: tuple[Any, ...] = ()
    """Names of the inputs, if x came as a dictionary."""
    wants: Literal["numbers", "classes"] | None = None
    """What the loss takes as targets; None if that is not known."""
    dtype: torch.dtype | None = None
    """Of the floats that the model takes; None if they should stay as they are."""

    @property
    def are_learnt(self) -> bool:
        """Whether there is anything that data have told."""
        return bool(self.features or self.classes or self.labels or self.keys)

    def classes_of(self, name: str) -> Classes:
        """What the class indices of the target at this place stand for."""
        if isinstance(self.classes, Mapping):
            return self.classes.get(name, ())
        return self.classes if name == "y" else ()


_NOTHING = Known()


def column_names(frame: Any) -> tuple[Any, ...]:
    """In the order of the table."""
    return tuple(frame.columns)


def matrix_of(frame: Any, names: Sequence[Any], has_codes: bool = False) -> Tensor:
    """These columns of a table as (N, F), of torch's default dtype; a missing number is NaN.

    Args:
        frame: of pandas or polars.
        names: of columns.
        has_codes: leave integers as int64, if there are no others.

    Raises:
        ValueError: a column is not there, or there twice.
        TypeError: a column does not hold numbers.
    """
    import numpy

    there = column_names(frame)
    if missing := [name for name in names if name not in set(there)]:
        raise ValueError(
            f"data should have the columns {_told(names)}, but {_told(missing)} are not in {_told(there)}"
        )
    if twice := [name for name in dict.fromkeys(names) if there.count(name) > 1]:
        raise ValueError(
            f"Columns of data should have different names, but given {_told(twice)} more than once"
        )
    strange = [
        f"{name!r} ({frame[name].dtype})" for name in names if not _holds_numbers(frame[name])
    ]
    if strange:
        raise TypeError(
            f"Columns that are features should be numbers, but given {', '.join(strange)}: encode them as numbers "
            "(pandas: to_numeric for numbers that came as text, get_dummies for classes, or .cat.codes for an "
            "embedding), or leave them out"
        )
    if not names:
        raise ValueError("data should have a column of features besides the target, but given none")
    if has_codes and all(_is_integer(frame[name]) for name in names):
        return torch.from_numpy(
            numpy.stack([frame[name].to_numpy().astype("int64") for name in names], axis=1)
        )
    columns = [_floats(frame[name]) for name in names]
    return torch.from_numpy(numpy.stack(columns, axis=1)).to(torch.get_default_dtype())


def as_features(data: Any, name: str = "x", known: Known = _NOTHING) -> Any:
    """Nested inputs as tensors.

    Floats take the dtype of the model; if that is not known, tensors stay as they are.

    Args:
        data: tensors, arrays, tables, columns, lists of numbers, and containers of these.
        name: where it is, for messages.
        known: the dtype, and whether integers in tables and columns are codes.

    Raises:
        TypeError: something in it is no array of numbers.
        ValueError: values are masked.
    """
    if isinstance(data, Mapping):
        return {key: as_features(value, f"{name}[{key!r}]", known) for key, value in data.items()}
    if is_frame(data) or is_column(data):
        frame = data if is_frame(data) else data.to_frame()
        matrix = _floats_as(matrix_of(frame, column_names(frame), known.has_codes), known.dtype)
        return matrix if is_frame(data) else matrix.squeeze(1)
    if isinstance(data, list) and data and _is_of_leaves(data):
        data = _as_array(data, name)
    elif isinstance(data, list | tuple) and not _is_packed(data):
        items = [as_features(value, f"{name}[{i}]", known) for i, value in enumerate(data)]
        return type(data)(items) if type(data) in (list, tuple) else type(data)(*items)
    return data if _is_packed(data) else _floats_as(_tensor(data, name), known.dtype)


def _floats_as(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)


def as_target(
    data: Any, known: Known = _NOTHING, name: str = "y"
) -> tuple[Any, Classes | dict[str, Classes]]:
    """Targets as tensors, and the classes if they came as words; of several targets by their place.

    Integers and booleans become int64, also in columns of objects. Strings and categories become
    the index of their class, in the order that is known; else in the order of the categories, or
    sorted. Where the loss wants numbers they are read as numbers instead. Otherwise as
    :func:`as_features`.

    Raises:
        TypeError: something in it is neither numbers nor strings.
        ValueError: a value is missing or masked, is none of the classes that are known, or is no
            number where the loss wants numbers.
    """
    parts = _several(data, name)
    if parts is not None:
        read = {place: as_target(part, known, place) for place, part in parts}
        found: dict[str, Classes] = {}
        for place, (_, names) in read.items():
            found |= names if isinstance(names, dict) else {place: names} if names else {}
        tensors = [tensor for tensor, _ in read.values()]
        if is_frame(data):
            dtype = (
                torch.get_default_dtype()
                if any(one.is_floating_point() for one in tensors)
                else torch.int64
            )
            return torch.stack([one.to(dtype) for one in tensors], dim=1), found
        return dict(zip(data, tensors, strict=True)) if isinstance(data, Mapping) else type(data)(
            tensors
        ), found
    classes = known.classes_of(name)
    if is_column(data):
        if not _is_numeric(data):
            return _read(data.to_list(), known, name, _categories(data))
        data = _floats(data) if _is_floating(data) else _integers(data, name)
    elif isinstance(data, list):
        data = (
            torch.stack(data)
            if data and all(isinstance(one, Tensor) for one in data)
            else _as_array(data, name)
        )
    if is_numpy(data) and data.dtype.kind in "OUS":
        data = _unmasked(data, name)
        values, read_classes = _read(
            [_plain(value) for value in data.ravel().tolist()], known, name
        )
        if read_classes and data.size != len(data):
            raise ValueError(
                f"{name} should have one class for each sample, shape (N,), but given words of shape {data.shape}"
            )
        return (values if read_classes else values.reshape(data.shape)), read_classes
    tensor = _tensor(data, name)
    if (
        classes
        and not known.are_indices
        and known.wants != "numbers"
        and tensor.numel() == len(tensor)
    ):
        return _read(tensor.flatten().tolist(), known, name)
    return (tensor if tensor.is_floating_point() or tensor.is_complex() else tensor.long()), ()


def _several(data: Any, name: str) -> list[tuple[str, Any]] | None:
    """The targets in a dictionary, tuple or table, with their places; None if there is one."""
    if isinstance(data, Mapping):
        return [(f"{name}[{key!r}]", value) for key, value in data.items()]
    if is_frame(data):
        return [(f"{name}[{column!r}]", data[column]) for column in column_names(data)]
    is_one = isinstance(data, list) and (
        _is_of_leaves(data) or not any(_is_container(item) for item in data)
    )
    if isinstance(data, list | tuple) and not is_one:
        return [(f"{name}[{i}]", value) for i, value in enumerate(data)]
    return None


def _is_container(item: Any) -> bool:
    return (
        (is_array(item) and getattr(item, "ndim", 1) > 0)
        or is_frame(item)
        or isinstance(item, Mapping | list | tuple)
    )


def _read(
    values: list[Any], known: Known, name: str, categories: Sequence[Any] = ()
) -> tuple[Tensor, Classes]:
    """Numbers where numbers are meant, else the indices of classes."""
    if missing := [row for row, value in enumerate(values) if _is_missing(value)]:
        what = "number" if known.wants == "numbers" else "class"
        raise ValueError(
            f"{name} should have a {what} for each sample, but {len(missing)} miss it, first row {missing[0]}"
        )
    classes = known.classes_of(name)
    if known.wants == "numbers":
        return _as_numbers(values, name), ()
    if (
        not categories
        and (not classes or known.are_indices)
        and all(_is_number(value) for value in values)
    ):
        return _as_numbers(values, name), ()
    values = [_plain(value) for value in values]
    if (
        known.wants is None
        and not classes
        and (numbers := _numbers_in_words(values, name)) is not None
    ):
        return numbers, ()
    return _indices(values, classes or tuple(_plain(value) for value in categories), name)


def _indices(values: list[Any], classes: Classes, name: str) -> tuple[Tensor, Classes]:
    classes = classes or _sorted(set(values))
    index = {value: i for i, value in enumerate(classes)}
    strange = sorted({str(value) for value in values if value not in index})
    if strange:
        raise ValueError(
            f"{name} should be one of the classes {_told(classes)}, but given {_told(strange)}: leave these samples "
            "out, or make another Learner to learn classes anew"
        )
    return torch.tensor([index[value] for value in values], dtype=torch.int64), classes


def _sorted(values: set[Any]) -> Classes:
    """In alphabetical order; whole numbers by their size, also if they came as text."""
    if all(isinstance(value, str) and value.isdecimal() for value in values):
        return tuple(sorted(values, key=lambda value: (int(value), value)))
    return tuple(sorted(values, key=lambda value: (str(type(value)), value)))


def _numbers_in_words(values: list[Any], name: str) -> Tensor | None:
    """Numbers that came as text or as categories; None if they are names of classes.

    Raises:
        ValueError: they may be either.
    """
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        return None
    if not all(number.is_integer() for number in numbers):
        return _as_numbers(numbers, name)
    if all(isinstance(value, str) for value in values) and set(numbers) != set(
        map(float, range(len(set(numbers))))
    ):
        raise ValueError(
            f"{name} should be numbers or names of classes, but text such as {values[0]!r} may be either: give "
            "Learner(..., task='regression') or task='multiclass', or convert it (pandas: to_numeric)"
        )
    return None


def _as_numbers(values: list[Any], name: str) -> Tensor:
    if all(
        isinstance(value, bool | int) or type(value).__name__.startswith(("int", "uint", "bool"))
        for value in values
    ):
        return torch.tensor([int(value) for value in values], dtype=torch.int64)
    for row, value in enumerate(values):
        try:
            float(value)
        except (TypeError, ValueError):
            raise ValueError(
                f"{name} should be numbers for this loss, but given {_short(value)} in row {row}: use a loss of "
                "classes, such as cross_entropy, or encode it"
            ) from None
    return torch.tensor([float(value) for value in values], dtype=torch.float64).to(
        torch.get_default_dtype()
    )


def _plain(value: Any) -> Any:
    """A name of a class as a string, number or boolean, which can be saved."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Decimal):
        return float(value)
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    return (
        value if isinstance(value, str | bool | int | float) or _is_missing(value) else str(value)
    )


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, Real | Decimal) and value != value


def _as_array(data: list[Any], name: str) -> Any:
    """A nested list as an array; words and mixtures as one of objects."""
    import numpy

    try:
        array = numpy.array(data)
    except ValueError:
        raise ValueError(
            f"{name} should have rows of one length, but given a list of {len(data)} with different ones: pad them"
        ) from None
    return array if array.dtype.kind in _NUMBERS + "c" else numpy.array(data, dtype=object)


def _is_of_leaves(data: list[Any]) -> bool:
    """Whether it is a list of numbers or words, or of lists of them, however deep."""
    first: Any = data
    while isinstance(first, list) and first:
        first = first[0]
    is_leaf = _is_number(first) or isinstance(first, str | bytes)
    return is_leaf and all(isinstance(item, list) == isinstance(data[0], list) for item in data)


def _is_packed(data: Any) -> bool:
    return isinstance(data, torch.nn.utils.rnn.PackedSequence)


def _tensor(data: Any, name: str) -> Tensor:
    if isinstance(data, Tensor):
        if data.layout != torch.strided:
            raise TypeError(
                f"{name} should be dense, but given a tensor of layout {data.layout}: use .to_dense()"
            )
        return data
    if not is_numpy(data):
        hint = ": use .toarray()" if is_sparse(data) else ""
        raise TypeError(
            f"{name} should be a tensor or an array of numbers, but given a {type(data).__name__}{hint}"
        )
    data = _unmasked(data, name)
    if data.dtype.kind == "O" and data.size and all(_is_number(value) for value in data.ravel()):
        data = data.astype("float64")
    if data.dtype.kind not in _NUMBERS + "c":
        is_nested = data.dtype.kind == "O" and any(is_array(value) for value in data.ravel()[:1])
        hint = (
            "stack them into one array, padded to one length"
            if is_nested
            else "encode strings and objects first"
        )
        raise TypeError(
            f"{name} should be an array of numbers, but given dtype {data.dtype}: {hint}"
        )
    if not data.flags.writeable or any(stride < 0 for stride in data.strides):
        data = data.copy()  # torch can share neither
    if data.dtype.byteorder not in "=|" and not data.dtype.isnative:
        data = data.astype(data.dtype.newbyteorder("="))
    tensor = torch.as_tensor(data)
    return tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 else tensor


def _unmasked(data: Any, name: str) -> Any:
    """The array, of which nothing is masked."""
    if not any(base.__name__ == "MaskedArray" for base in type(data).__mro__):
        return data
    import numpy

    mask = numpy.ma.getmaskarray(data)
    if mask.any():
        row = int(numpy.argwhere(mask)[0][0])
        raise ValueError(
            f"{name} should have no masked values, but given {int(mask.sum())} of them, the first in row {row}: fill "
            "them with .filled(value), or leave these samples out"
        )
    return numpy.ma.getdata(data)


def _is_numeric(column: Any) -> bool:
    is_numeric = getattr(column.dtype, "is_numeric", None)  # polars
    if callable(is_numeric):
        return bool(is_numeric()) or str(column.dtype) == "Boolean"
    return getattr(column.dtype, "kind", "O") in _NUMBERS


def _holds_numbers(column: Any) -> bool:
    """Whether it is a column of numbers, also as objects, or of categories that are numbers."""
    if _is_numeric(column):
        return True
    if column.dtype.__class__.__name__ == "CategoricalDtype":
        return all(_is_number(value) for value in column.cat.categories)
    is_of_objects = str(column.dtype).lower() == "object" or "decimal" in str(column.dtype)
    return is_of_objects and all(
        _is_number(value) or _is_missing(value) for value in column.to_list()
    )


def _is_integer(column: Any) -> bool:
    return _is_numeric(column) and not _is_floating(column) and not _missing(column).any()


def _is_floating(column: Any) -> bool:
    is_float = getattr(column.dtype, "is_float", None)
    if callable(is_float):
        return bool(is_float() or column.dtype.is_decimal())
    return bool(column.dtype.kind == "f")


def _floats(column: Any) -> Any:
    import numpy

    if not _is_numeric(column):
        values = [numpy.nan if _is_missing(value) else float(value) for value in column.to_list()]
        return numpy.array(values, dtype="float64")
    if is_pandas(column):
        return column.to_numpy(dtype="float64", na_value=numpy.nan)
    return numpy.array(column.to_numpy(), dtype="float64")  # None becomes NaN


def _missing(column: Any) -> Any:
    return column.isna() if is_pandas(column) else column.is_null()


def _integers(column: Any, name: str) -> Any:
    is_missing = _missing(column)
    if is_missing.any():
        row = is_missing.to_list().index(True)
        raise ValueError(
            f"{name} should have a number for each sample, but {is_missing.sum()} miss it, first row {row}"
        )
    return column.to_numpy().astype("int64")


def _told(names: Sequence[Any]) -> str:
    """A list for a message, of which the first ten are told."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"[{', '.join(map(repr, names[:10]))}]{more}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _categories(column: Any) -> Sequence[Any]:
    categories = getattr(column.dtype, "categories", None)  # of pandas' category and polars' Enum
    if categories is None or str(column.dtype) == "Categorical":
        return ()
    return list(categories)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real | Decimal) or type(value).__name__ in ("bool_", "bool")
