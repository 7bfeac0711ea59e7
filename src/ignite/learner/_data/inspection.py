"""Inspects data and runs models without side effects.

The kinds of data that a learner accepts are recognized without importing the libraries they need.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from ignite._core.rng import capture_random_state, restore_random_state
from ignite._core.torch_private import MODULE_DICTIONARIES
from ignite._core.trees import map_leaves
from ignite.data.arrays import ArrayLoader, named_tensors
from ignite.data.random_state import random_scope
from ignite.data.resumable import ResumableLoader

__all__ = [
    "Finding",
    "Peekable",
    "are_finite",
    "are_named",
    "are_splits",
    "call_model",
    "can_shuffle",
    "described",
    "dtype_of",
    "few_rows",
    "first_batch",
    "holds_arrays",
    "is_array",
    "is_column",
    "is_extension_array",
    "is_finite",
    "is_frame",
    "is_hugging_face",
    "is_hugging_face_stream",
    "is_map_style",
    "is_numpy",
    "is_one_pass",
    "is_pandas",
    "is_sparse",
    "kept",
    "last_operation",
    "modules_kept",
    "named_tensors_in",
    "not_finite",
    "num_samples_in",
    "out_of_range",
    "tensor_dataset_of",
    "tensors_in",
    "trial",
]

# Operations of autograd that only change the view or the dtype of the values.
_VIEWS = ("View", "Reshape", "UnsafeView", "Squeeze", "Unsqueeze", "Select", "Slice", "T", "Transpose", "Permute",
          "ToCopy", "Clone", "Alias", "Expand", "Flatten")  # fmt: skip
_NUM_AT_ONCE = 1 << 22  # elements that are checked together: the mask takes 4 MiB


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


def call_model(model: Any, x: Any) -> Any:
    """Calls the model with x.

    A dictionary is passed as keyword arguments, a tuple as positional ones.
    """
    if type(x) is Tensor:  # the usual case first: isinstance with an abstract class is slow
        return model(x)
    if isinstance(x, Mapping):
        return model(**x)
    return (
        model(*x) if isinstance(x, tuple | list) and not isinstance(x, PackedSequence) else model(x)
    )


def trial(
    model: nn.Module, call: Callable[[Any, Any], Any], x: Any, is_training: bool = False
) -> Any:
    """Returns the output for ``x``, with its autograd graph, and restores the model.

    The caller restores random states, by :func:`kept`. Plain attributes that ``forward`` sets are
    restored, too, but not changes inside of user-defined objects, or effects of hooks elsewhere. The
    model receives a copy of ``x``, which it may change in place.
    """
    if any(is_lazy(parameter) for parameter in model.parameters()):
        model = copy.deepcopy(model)  # the first call permanently initializes lazy parameters
    with modules_kept(model), torch.enable_grad():
        model.train(is_training)
        return call(model, copied(x))


@contextlib.contextmanager
def kept(*modules: nn.Module) -> Iterator[None]:
    """Restores modules and random states on exit."""
    random_state = capture_random_state()
    try:
        with modules_kept(*modules):
            yield
    finally:
        restore_random_state(random_state)


@contextlib.contextmanager
def modules_kept(*modules: nn.Module) -> Iterator[None]:
    """Restores modules on exit."""
    everything = [part for module in modules for part in module.modules()]
    attributes = [
        (part, vars(part).copy(), {n: copy.copy(vars(part)[n]) for n in MODULE_DICTIONARIES})
        for part in everything
    ]
    buffers = [
        (b, b.detach().clone()) for module in modules for b in module.buffers() if not is_lazy(b)
    ]
    try:
        yield
    finally:
        for part, values, inner in attributes:
            vars(part).clear()
            vars(part).update(values)
            for name, value in inner.items():
                vars(part)[name].clear()
                vars(part)[name].update(value)
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(
                    value
                )  # always, because BatchNorm does not increment the versions of its buffers


def last_operation(output: Tensor) -> str | None:
    """Returns the autograd operation that computed the values, such as "Softmax" or "Addmm".

    None if unknown.
    """
    node = output.grad_fn
    while node is not None:
        name = node.name().partition("Backward")[0]
        if name not in _VIEWS or not node.next_functions:
            return name
        node = node.next_functions[0][0]
    return None


def tensors_in(data: Any) -> list[Tensor]:
    """Returns all tensors in nested containers.

    Empty if there is anything else in them, except strings.
    """
    return [
        leaf.data if isinstance(leaf, PackedSequence) else leaf for leaf in _leaves_of(data) or ()
    ]


def named_tensors_in(data: Any, path: str) -> list[tuple[str, Tensor]]:
    """Returns the tensors of :func:`tensors_in` with their paths, such as ``x[0]``."""
    return list(named_tensors(data, path)) if tensors_in(data) else []


def _leaves_of(data: Any) -> list[Tensor | PackedSequence] | None:
    """Returns the tensors and packed sequences in nested containers.

    None if there is anything else.
    """
    if isinstance(data, Tensor | PackedSequence):
        return [data]
    if isinstance(data, str | bytes):
        return []
    found: list[Tensor | PackedSequence] = []
    if type(data) in (tuple, list, dict):
        for item in data.values() if type(data) is dict else data:
            if (leaves := _leaves_of(item)) is None:
                return None
            found += leaves
        return found
    try:  # other containers: accepted if they can be rebuilt
        map_leaves(data, (Tensor, PackedSequence), found.append)
    except TypeError:
        return None
    return found


def described(data: Any) -> str:
    """Describes a value in messages: shape and dtype of a tensor, or the type of anything else."""
    return (
        f"shape {tuple(data.shape)}, {data.dtype}"
        if isinstance(data, Tensor)
        else f"a {type(data).__name__}"
    )


def copied(data: Any) -> Any:
    """Copies the tensors of a batch, which may share memory with the user's arrays."""

    def copy_of(leaf: Any) -> Any:
        if isinstance(leaf, PackedSequence):
            return leaf._replace(data=leaf.data.clone())
        return leaf.clone()

    return map_leaves(data, (Tensor, PackedSequence), copy_of)


def few_rows(data: Any, rows: Any) -> Any:
    """Returns these samples of a batch; all of it unless it consists of tensors of one length."""
    leaves = _leaves_of(data) or ()
    lengths = {len(leaf) if isinstance(leaf, Tensor) and leaf.ndim else -1 for leaf in leaves}
    if len(lengths) != 1 or -1 in lengths:
        return data
    return _rows_of(data, rows)


def _rows_of(data: Any, rows: Any) -> Any:
    if isinstance(data, Tensor):
        return data[rows]
    if type(data) is tuple:  # the usual case
        return tuple([_rows_of(item, rows) for item in data])
    return map_leaves(data, Tensor, lambda tensor: tensor[rows])


def dtype_of(model: nn.Module) -> torch.dtype | None:
    """Returns the dtype of the floating-point parameters.

    None if there are several dtypes, or none.
    """
    found = {p.dtype for p in model.parameters() if not is_lazy(p) and p.is_floating_point()}
    return found.pop() if len(found) == 1 else None


def num_samples_in(x: Any) -> int | None:
    """Returns the number of samples in the inputs of a batch; None if unknown."""
    leaves = _leaves_of(x) or ()
    for leaf in leaves:
        if isinstance(leaf, PackedSequence):
            return int(leaf.batch_sizes[0])
    lengths = {len(leaf) if leaf.ndim else -1 for leaf in leaves if isinstance(leaf, Tensor)}
    return lengths.pop() if len(lengths) == 1 and -1 not in lengths else None


class Peekable:
    """An iterator whose next batch can be inspected without consuming it.

    Args:
        iterator: the iterator over batches.

    Example:
        >>> batches = Peekable(iter([1, 2]))
        >>> batches.peek(), list(batches)
        (1, [1, 2])
    """

    holds_data = True

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator
        self._seen: list[Any] = []

    def peek(self) -> Any:
        """Returns the next batch without consuming it.

        Raises:
            StopIteration: there is no further batch.
        """
        if not self._seen:
            self._seen.append(next(self._iterator))
        return self._seen[0]

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._seen.pop() if self._seen else next(self._iterator)


def first_batch(batches: Any) -> Any:
    """Loads a batch without advancing random states, samplers and generators.

    The batch of a ``DataLoader`` is loaded in this process, without workers.

    Returns:
        The batch; None for an iterable dataset that can be iterated over only once.

    Raises:
        ValueError: there is no batch.
    """
    if isinstance(batches, ResumableLoader):
        return first_batch(batches.wrapped)
    try:
        if isinstance(batches, Peekable):
            return batches.peek()
        if isinstance(batches, ArrayLoader):
            return next(batches.batches(0))
        with random_scope():
            if (
                not isinstance(batches, DataLoader)
                or type(batches).__iter__ is not DataLoader.__iter__
            ):
                return next(iter(batches))
            return _first_of_loader(batches)
    except StopIteration:
        raise ValueError("data should have at least one batch, but given none") from None


def _first_of_loader(loader: DataLoader[Any]) -> Any:
    if isinstance(loader.dataset, IterableDataset):
        samples = iter(loader.dataset)
        if samples is iter(loader.dataset):
            return None
        if loader.batch_size is None:
            return loader.collate_fn(next(samples))
        chosen = list(islice(samples, loader.batch_size))
        if not chosen:
            raise StopIteration
        return loader.collate_fn(chosen)
    sampler = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    generators = [part for part in _generators(loader) if isinstance(part, torch.Generator)]
    states = [generator.get_state() for generator in generators]
    try:
        indices = next(iter(copy.copy(sampler)))
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
    dataset = loader.dataset
    if loader.batch_sampler is None:
        return loader.collate_fn(dataset[indices])
    if callable(get_items := getattr(dataset, "__getitems__", None)):
        return loader.collate_fn(get_items(indices))
    return loader.collate_fn([dataset[index] for index in indices])


def _generators(loader: DataLoader[Any]) -> Iterator[Any]:
    inner = getattr(loader.batch_sampler, "sampler", None)
    for part in (loader, loader.sampler, loader.batch_sampler, inner):
        yield getattr(part, "generator", None)


@dataclass(frozen=True)
class Finding:
    """Invalid values in a tensor."""

    count: int
    """Number of invalid values."""
    row: int
    """First sample with an invalid value."""
    value: float
    """The first invalid value."""
    column: int | None
    """Its position in the sample, if samples are vectors."""

    def describe(self, features: Sequence[Any] = ()) -> str:
        """Describes the values in an error message, with the name of the column if it is known."""
        where = "" if self.column is None else f", column {self.column}"
        if self.column is not None and self.column < len(features):
            where = f", column {features[self.column]!r}"
        return f"{self.count} of them, the first is {self.value:g} in row {self.row}{where}"


def is_finite(tensor: Tensor) -> bool:
    """Whether all values are finite, in one or two passes without a copy."""
    if tensor.numel() == 0 or not tensor.is_floating_point():
        return True
    if bool(torch.isfinite(tensor.detach().sum())):
        return True
    # The sum may have overflowed. The extremes cannot, but take twice as long.
    low, high = torch.aminmax(tensor.detach())
    return bool(torch.isfinite(low) & torch.isfinite(high))


def are_finite(data: Any) -> bool:
    """Whether all values of all tensors in nested containers are finite."""
    return all(is_finite(tensor) for tensor in tensors_in(data))


def not_finite(tensor: Tensor) -> Finding | None:
    """Finds NaN and infinite values; returns None if there are none."""
    return None if is_finite(tensor) else _find_values(tensor, lambda part: ~torch.isfinite(part))


def out_of_range(
    tensor: Tensor, low: float, high: float, ignored: int | None = None
) -> Finding | None:
    """Finds values below ``low`` or above ``high``, except ``ignored``.

    Returns None if there are none.
    """
    if tensor.numel() == 0:
        return None
    least, most = torch.aminmax(tensor.detach())
    if bool((least >= low) & (most <= high)):
        return None

    def is_outside(part: Tensor) -> Tensor:
        outside = (part < low) | (part > high)
        return outside if ignored is None else outside & (part != ignored)

    return _find_values(tensor, is_outside)


def _find_values(tensor: Tensor, is_bad: Callable[[Tensor], Tensor]) -> Finding | None:
    """Finds the values for which ``is_bad`` is true, in chunks of rows.

    Args:
        tensor: the values, shape (N, ...).
        is_bad: returns the mask for a chunk.
    """
    num_rows = max(_NUM_AT_ONCE // max(tensor[0].numel(), 1), 1)
    count, first = 0, None
    for begin in range(0, len(tensor), num_rows):
        part = tensor[begin : begin + num_rows].detach()
        mask = is_bad(part)
        num_bad = int(mask.sum())
        if num_bad and first is None:
            index = [int(i) for i in mask.nonzero()[0]]
            first = (
                begin + index[0],
                float(part[tuple(index)]),
                index[1] if len(index) == 2 else None,
            )
        count += num_bad
    return None if first is None else Finding(count, *first)
