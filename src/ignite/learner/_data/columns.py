"""Converts arrays, data frames, columns and class names to tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from ignite.learner._data.inspection import (
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

_NOT_CAST = (torch.uint8, torch.complex64, torch.complex128)
_NUMBERS = "biuf"  # kinds of numpy dtypes: booleans, integers, floats
Classes: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class Known:
    """The columns and classes of the data, as far as known, and the kind of targets that the loss expects."""

    features: tuple[Any, ...] = ()
    """Names of the columns of x, if it is a data frame."""
    classes: Classes | Mapping[str, Classes] = ()
    """Class names in the order of the class indices, if the data has any.

    For several targets, a dictionary by path, such as ``y['a']``."""
    labels: tuple[Any, ...] = ()
    """Names of the columns of y, if it is a data frame."""
    are_indices: bool = False
    """Whether numbers in the targets are class indices rather than class names."""
    has_codes: bool = False
    """Whether integer columns are codes, for instance for an embedding, and stay integers."""
    keys: tuple[Any, ...] = ()
    """Names of the inputs, if x is a dictionary."""
    wants: Literal["numbers", "classes"] | None = None
    """The kind of targets that the loss expects; None if unknown."""
    dtype: torch.dtype | None = None
    """Floating-point dtype of the model; None to keep the dtype of floats."""
    are_separate: bool = False
    """Whether columns of targets are separate, for several heads, and not one matrix."""
    floats: frozenset[str] = frozenset()
    """Paths of the inputs that were floats in the training data: integers are converted to them."""

    @property
    def are_learnt(self) -> bool:
        """Whether anything was learned from data."""
        return bool(self.features or self.classes or self.labels or self.keys)

    def classes_of(self, name: str) -> Classes:
        """Returns the class names of the target at this path; empty if there are none."""
        if isinstance(self.classes, Mapping):
            return self.classes.get(name, ())
        return self.classes if name == "y" else ()


_NOTHING = Known()


def column_names(frame: Any) -> tuple[Any, ...]:
    """Returns the column names of a data frame, in order."""
    return tuple(frame.columns)


def matrix_of(frame: Any, names: Sequence[Any], has_codes: bool = False) -> Tensor:
    """Returns columns of a data frame as a matrix, shape (N, F), of the default dtype.

    Missing numbers are NaN.

    Args:
        frame: data frame of pandas or polars.
        names: names of the columns.
        has_codes: whether to return int64 if all columns are integers.

    Raises:
        ValueError: a column is missing, or two columns have the same name.
        TypeError: a column does not hold numbers.
    """
    import numpy

    available = column_names(frame)
    if missing := [name for name in names if name not in set(available)]:
        raise ValueError(
            f"data should have the columns {_listed(names)}, but {_listed(missing)} are not in "
            f"{_listed(available)}"
        )
    if repeated := [name for name in dict.fromkeys(names) if available.count(name) > 1]:
        raise ValueError(
            f"Columns of data should have different names, but given {_listed(repeated)} more than "
            "once"
        )
    invalid = [
        f"{name!r} ({frame[name].dtype})" for name in names if not _holds_numbers(frame[name])
    ]
    if invalid:
        raise TypeError(
            f"Feature columns should hold numbers, but given {', '.join(invalid)}: encode them as "
            "numbers (pandas: to_numeric for numbers stored as text, get_dummies for categories, "
            "or .cat.codes for an embedding), or drop them"
        )
    if not names:
        raise ValueError("data should have a feature column besides the target, but given none")
    if has_codes and all(_is_integer(frame[name]) for name in names):
        return torch.from_numpy(
            numpy.stack([frame[name].to_numpy().astype("int64") for name in names], axis=1)
        )
    columns = [_floats(frame[name]) for name in names]
    return torch.from_numpy(numpy.stack(columns, axis=1)).to(torch.get_default_dtype())


def as_features(data: Any, name: str = "x", known: Known = _NOTHING) -> Any:
    """Converts nested inputs to tensors.

    Floats are cast to the dtype of the model, if it is known.

    Args:
        data: tensors, arrays, data frames, series, lists of numbers, or containers of these.
        name: name of the data in error messages.
        known: tells the dtype, and whether integers in data frames and series are codes.

    Raises:
        TypeError: ``data`` contains something that is not an array of numbers.
        ValueError: values are masked.
    """
    if isinstance(data, Tensor):
        return _cast(_tensor(data, name), known.dtype, name in known.floats)
    if isinstance(data, Mapping):
        return {key: as_features(value, f"{name}[{key!r}]", known) for key, value in data.items()}
    if is_frame(data) or is_column(data):
        frame = data if is_frame(data) else data.to_frame()
        matrix = _cast(matrix_of(frame, column_names(frame), known.has_codes), known.dtype)
        return matrix if is_frame(data) else matrix.squeeze(1)
    if isinstance(data, list) and data and _is_of_leaves(data):
        data = _as_array(data, name)
    elif isinstance(data, list | tuple) and not _is_packed(data):
        items = [as_features(value, f"{name}[{i}]", known) for i, value in enumerate(data)]
        return type(data)(items) if type(data) in (list, tuple) else type(data)(*items)
    if _is_packed(data):
        return data
    return _cast(_tensor(data, name), known.dtype, name in known.floats)


def _cast(tensor: Tensor, dtype: torch.dtype | None, were_floats: bool = False) -> Tensor:
    """Casts floats to ``dtype``; None keeps their dtype.

    Integers that were floats in the training data are cast, too, but not bytes, which may be pixels
    that the training data had scaled.
    """
    if were_floats and not tensor.is_floating_point() and tensor.dtype not in _NOT_CAST:
        return tensor.to(dtype or torch.get_default_dtype())
    return tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)


def as_target(
    data: Any, known: Known = _NOTHING, name: str = "y"
) -> tuple[Any, Classes | dict[str, Classes]]:
    """Converts targets to tensors.

    Returns them with their class names, by path if there are several targets.

    Integers and booleans become int64, also in columns of objects. Strings and categories become
    class indices: in the known order of the classes, else in the order of the categories, else
    sorted. If the loss expects numbers, strings are parsed as numbers instead. Everything else is
    converted as in :func:`as_features`.

    Raises:
        TypeError: ``data`` contains something that is neither a number nor a string.
        ValueError: a value is missing or masked, is not one of the known classes, or is not a
            number although the loss takes numbers.
    """
    parts = _named_parts(data, name)
    if parts is not None:
        return _as_targets(data, parts, known)
    if not isinstance(data, Tensor) and is_column(data):
        if not _is_numeric(data):
            return _labels_or_numbers(data.to_list(), known, name, _categories(data))
        data = _floats(data) if _is_floating(data) else _integers(data, name)
    elif isinstance(data, list):
        is_of_tensors = data and all(isinstance(one, Tensor) for one in data)
        data = torch.stack(data) if is_of_tensors else _as_array(data, name)
    if not isinstance(data, Tensor) and is_numpy(data) and data.dtype.kind in "OUS":
        data = _unmasked(data, name)
        plain = [_plain(value) for value in data.ravel().tolist()]
        values, classes = _labels_or_numbers(plain, known, name)
        if classes and data.size != len(data):
            raise ValueError(
                f"{name} should have one class for each sample, shape (N,), but given strings of "
                f"shape {data.shape}"
            )
        return (values if classes else values.reshape(data.shape)), classes
    tensor = _tensor(data, name)
    are_names = known.classes_of(name) and not known.are_indices and known.wants != "numbers"
    if are_names and tensor.numel() == len(tensor):
        return _labels_or_numbers(tensor.flatten().tolist(), known, name)
    return (tensor if tensor.is_floating_point() or tensor.is_complex() else tensor.long()), ()


def _as_targets(
    data: Any, parts: list[tuple[str, Any]], known: Known
) -> tuple[Any, dict[str, Classes]]:
    """Converts several targets; the columns of a data frame become a matrix, shape (N, K)."""
    converted = {path: as_target(part, known, path) for path, part in parts}
    classes: dict[str, Classes] = {}
    for path, (_, names) in converted.items():
        classes |= names if isinstance(names, dict) else {path: names} if names else {}
    tensors = [tensor for tensor, _ in converted.values()]
    if is_frame(data) and known.are_separate:
        return dict(zip(column_names(data), tensors, strict=True)), classes
    if is_frame(data):
        has_floats = any(one.is_floating_point() for one in tensors)
        dtype = torch.get_default_dtype() if has_floats else torch.int64
        return torch.stack([one.to(dtype) for one in tensors], dim=1), classes
    if isinstance(data, Mapping):
        return dict(zip(data, tensors, strict=True)), classes
    return type(data)(tensors), classes


def _named_parts(data: Any, name: str) -> list[tuple[str, Any]] | None:
    """Returns the targets in a dictionary, tuple or data frame with their paths.

    None for a single target.
    """
    if isinstance(data, Tensor):
        return None
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


def _labels_or_numbers(
    values: list[Any], known: Known, name: str, categories: Sequence[Any] = ()
) -> tuple[Tensor, Classes]:
    """Returns class indices with class names, or numbers without names, as the loss expects."""
    if missing := [row for row, value in enumerate(values) if _is_missing(value)]:
        what = "number" if known.wants == "numbers" else "class"
        raise ValueError(_missing_values(name, what, len(missing), missing[0]))
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
        and (numbers := _parsed_numbers(values, name)) is not None
    ):
        return numbers, ()
    return _indices(values, classes or tuple(_plain(value) for value in categories), name)


def _indices(values: list[Any], classes: Classes, name: str) -> tuple[Tensor, Classes]:
    classes = classes or _sorted(set(values))
    index = {value: i for i, value in enumerate(classes)}
    unknown = sorted({str(value) for value in values if value not in index})
    if unknown:
        raise ValueError(
            f"{name} should be one of the classes {_listed(classes)}, but given "
            f"{_listed(unknown)}: drop these samples, or create a new Learner for the new classes"
        )
    return torch.tensor([index[value] for value in values], dtype=torch.int64), classes


def _sorted(values: set[Any]) -> Classes:
    """Sorts alphabetically; whole numbers by value, even if they are strings."""
    if all(isinstance(value, str) and value.isdecimal() for value in values):
        return tuple(sorted(values, key=lambda value: (int(value), value)))
    return tuple(sorted(values, key=lambda value: (str(type(value)), value)))


def _parsed_numbers(values: list[Any], name: str) -> Tensor | None:
    """Parses strings or categories that are numbers; returns None if they are class names.

    Raises:
        ValueError: they can be either.
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
            f"{name} should be numbers or class names, but given text such as {values[0]!r}, which "
            "can be either: pass task='regression' or task='multiclass' to Learner, or convert it "
            "(pandas: to_numeric)"
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
                f"{name} should be numbers for this loss, but given {_short(value)} in row {row}: "
                "use a classification loss such as cross_entropy, or encode the values"
            ) from None
    return torch.tensor([float(value) for value in values], dtype=torch.float64).to(
        torch.get_default_dtype()
    )


def _plain(value: Any) -> Any:
    """Converts a class name to a string, number or boolean, which can be saved."""
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
    """Converts a nested list to an array; strings and mixed types give an array of objects."""
    import numpy

    try:
        array = numpy.array(data)
    except ValueError:
        raise ValueError(
            f"{name} should have rows of one length, but given a list of {len(data)} with "
            "different lengths: pad them"
        ) from None
    return array if array.dtype.kind in _NUMBERS + "c" else numpy.array(data, dtype=object)


def _is_of_leaves(data: list[Any]) -> bool:
    """Whether ``data`` is a nested list of numbers or strings."""
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
                f"{name} should be dense, but given a tensor of layout {data.layout}: use "
                ".to_dense()"
            )
        return data
    if not is_numpy(data):
        hint = ": use .toarray()" if is_sparse(data) else ""
        raise TypeError(
            f"{name} should be a tensor or an array of numbers, but given a "
            f"{type(data).__name__}{hint}"
        )
    data = _unmasked(data, name)
    if data.dtype.kind == "O" and data.size and all(_is_number(value) for value in data.ravel()):
        data = data.astype("float64")
    if data.dtype.kind not in _NUMBERS + "c":
        is_nested = data.dtype.kind == "O" and any(is_array(value) for value in data.ravel()[:1])
        hint = (
            "stack them into one array, padded to the same length"
            if is_nested
            else "encode strings and objects first"
        )
        raise TypeError(
            f"{name} should be an array of numbers, but given dtype {data.dtype}: {hint}"
        )
    if not data.flags.writeable or any(stride < 0 for stride in data.strides):
        data = data.copy()  # torch cannot share this memory
    if data.dtype.byteorder not in "=|" and not data.dtype.isnative:
        data = data.astype(data.dtype.newbyteorder("="))
    tensor = torch.as_tensor(data)
    return tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 else tensor


def _unmasked(data: Any, name: str) -> Any:
    """Returns the data of a masked array in which nothing is masked; other arrays unchanged."""
    if not any(base.__name__ == "MaskedArray" for base in type(data).__mro__):
        return data
    import numpy

    mask = numpy.ma.getmaskarray(data)
    if mask.any():
        row = int(numpy.argwhere(mask)[0][0])
        raise ValueError(
            f"{name} should have no masked values, but given {int(mask.sum())} of them, the first "
            f"in row {row}: fill them with .filled(value), or drop these samples"
        )
    return numpy.ma.getdata(data)


def _is_numeric(column: Any) -> bool:
    is_numeric = getattr(column.dtype, "is_numeric", None)  # polars
    if callable(is_numeric):
        return bool(is_numeric()) or str(column.dtype) == "Boolean"
    return getattr(column.dtype, "kind", "O") in _NUMBERS


def _holds_numbers(column: Any) -> bool:
    """Whether all values of a column are numbers, also if they are objects or categories."""
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
        raise ValueError(_missing_values(name, "number", is_missing.sum(), row))
    return column.to_numpy().astype("int64")


def _missing_values(name: str, what: str, count: int, first_row: int) -> str:
    return f"{name} should have a {what} for each sample, but {count} are missing, the first in row {first_row}"


def _listed(names: Sequence[Any]) -> str:
    """Formats a list for a message; names beyond the tenth are only counted."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"[{', '.join(map(repr, names[:10]))}]{more}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _categories(column: Any) -> Sequence[Any]:
    # Both pandas' category and polars' Enum have them.
    categories = getattr(column.dtype, "categories", None)
    if categories is None or str(column.dtype) == "Categorical":
        return ()
    return list(categories)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real | Decimal) or type(value).__name__ in ("bool_", "bool")
