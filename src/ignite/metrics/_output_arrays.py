"""Reads the labels and scores of an output as arrays on the host."""

from __future__ import annotations

import functools
import math
import sys
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

numpy: Any = sys.modules.get("numpy")
"""numpy if it is installed (torch has then imported it), else None."""
_MAX_NUMEL = 2**18
"""Number of elements of the largest scratch tensor that is kept: 1 MiB of float32."""
_local = threading.local()


def scratch(like: Tensor) -> Tensor:
    """Returns an uninitialized float32 tensor, valid until the next call in the same thread.

    The tensor is reused, because the allocator returns memory of this size to the system, and
    allocating it again takes longer than filling it.

    Args:
        like: has the shape and device of the result.
    """
    if not like.is_cpu or like.numel() > _MAX_NUMEL:
        return torch.empty(like.shape, dtype=torch.float32, device=like.device)
    kept: Tensor | None = getattr(_local, "tensor", None)
    if kept is None or kept.shape != like.shape:
        with torch.inference_mode(False):  # because it is also modified outside of inference mode
            kept = _local.tensor = torch.empty(like.shape, dtype=torch.float32)
    return kept


def array_of(tensor: Tensor) -> Any:
    """Returns the numpy array that shares memory with a tensor; None if not possible.

    For small tensors, numpy calls take a third of the time of torch calls.
    """
    if not tensor.is_cpu or tensor.dtype not in _DTYPES_OF_ARRAYS or not has_numpy():
        return None
    try:
        return (tensor.detach() if tensor.requires_grad else tensor).numpy()
    except RuntimeError:  # a lazily negated tensor has no array
        if tensor.is_neg():
            return None
        raise


_DTYPES_OF_ARRAYS = frozenset(
    (
        torch.float32,
        torch.float64,
        torch.bool,
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
    )
)


def arrays_of(x: Tensor, y: Tensor) -> tuple[Any, Any] | None:
    """Returns :func:`array_of` for two tensors; None if it is None for one of them."""
    x_array, y_array = array_of(x), array_of(y)
    return None if x_array is None or y_array is None else (x_array, y_array)


def largest(array: Any) -> Any:
    """Returns the largest number of a nonempty array; NaN if the array contains one.

    For small arrays, it takes a third of the time of ``array.max()``.
    """
    return array.item(array.argmax())


def smallest(array: Any) -> Any:
    """Returns the smallest number of a nonempty array; NaN if the array contains one."""
    return array.item(array.argmin())


def library_of(values: Any) -> Any:
    """Returns the module, torch or numpy, that has the functions for ``values``."""
    return torch if isinstance(values, Tensor) else numpy


def without_float_warnings() -> Any:
    """Returns a context in which numpy, like torch, does not warn about infinities and NaN."""
    return numpy.errstate(all="ignore")


def inner_product(x: Any, y: Any) -> float:
    """Computes the inner product of two arrays (N,) in small blocks, for which BLAS uses no threads.

    The threads of BLAS would compete with those of torch.
    """
    if len(x) <= _BLAS_BLOCK:
        return float(x.dot(y))
    return sum(
        float(x[i : i + _BLAS_BLOCK].dot(y[i : i + _BLAS_BLOCK]))
        for i in range(0, len(x), _BLAS_BLOCK)
    )


_BLAS_BLOCK = 2**13
_SHORT_ROWS = 24


def rows_product(x: Any, y: Any) -> Any:
    """Computes the inner products (M,) of the rows of two arrays (M, D).

    In float32, rounding limits D to a few thousand.
    """
    # vecdot exists since numpy 2, and is slower by a factor of two for short rows.
    if _SHORT_ROWS < x.shape[1] <= _BLAS_BLOCK and hasattr(numpy, "vecdot"):
        return numpy.vecdot(x, y)
    return numpy.einsum("ij,ij->i", x, y)


def squared_lengths(x: Any, y: Any) -> Any:
    """Computes the squared norms of the rows of ``x - y``, for arrays (M, D): float64, shape (M,).

    Computes in blocks that fit into the processor's cache, so that rounding does not grow with D.
    """
    found = numpy.zeros(x.shape[0])
    width = min(max(_CACHE_BLOCK // (x.shape[0] or 1), 1), _BLAS_BLOCK)
    for i in range(0, x.shape[1], width):
        errors = x[:, i : i + width] - y[:, i : i + width]
        found += rows_product(errors, errors)
    return found


_CACHE_BLOCK = 2**16


@functools.cache
def has_numpy() -> bool:
    """Returns whether this torch can convert tensors to numpy arrays."""
    if numpy is None:
        return False
    try:
        torch.zeros(1).numpy()
    except RuntimeError:
        return False
    return True


def detached(tensor: Tensor) -> Tensor:
    """Returns ``tensor`` detached, or ``tensor`` itself if it does not require a gradient."""
    return tensor.detach() if tensor.requires_grad else tensor


BINARY, MULTICLASS, MULTILABEL = "binary", "multiclass", "multilabel"


class Labels(NamedTuple):
    """A batch of predicted and true labels.

    B batch, C classes. Dimensions after these hold further examples; M is the number of examples.
    """

    kind: str
    num_classes: int
    """C; 1 for binary data."""
    y_pred: Tensor
    """Class indices (B, ...); or 0 and 1, of shape (B, ...) if binary, (B, C, ...) if multilabel."""
    y: Tensor
    """The targets, of the same shape."""
    num_items: int
    """B."""
    num_outside: int | Tensor
    """Number of targets that are not a class, or of binary values other than 0 and 1. A tensor on an
    accelerator, to avoid synchronization."""
    num_invalid: int | Tensor
    """Number of targets that are not whole numbers plus examples with NaN scores. A tensor on an
    accelerator; 0 on the CPU, where they raise."""
    arrays: tuple[Any, Any] | None = None
    """``y_pred`` and ``y`` as numpy arrays, if reading has created them."""

    @property
    def num_examples(self) -> int:
        """M."""
        return self.y.numel() // (self.num_classes if self.kind == MULTILABEL else 1)


def true_scores(scores: Tensor, targets: Tensor) -> Tensor | None:
    """Returns the scores of the true classes, shape (B, 1), from scores (B, C) and classes (B,).

    On the CPU, None if a target is not a class. On an accelerator, such targets get any score.
    """
    targets = (
        targets.view(-1, 1) if targets.is_cpu else targets.clamp(0, scores.shape[1] - 1).view(-1, 1)
    )
    try:
        return scores.gather(1, targets)
    except RuntimeError:
        if scores.is_cpu:
            return None
        raise


def read_labels(output: Sequence[Tensor], is_multilabel: bool = False) -> Labels:
    """Returns the labels in ``(y_pred, y)``. Scores are converted to the class with the highest score.

    Raises:
        ValueError: the shapes do not match. On the CPU also if binary values are not 0 or 1, a
            score is NaN, or a target is not a whole number.
    """
    y_pred, y = detached(output[0]), detached(output[1])
    predicted, true = y_pred.shape, y.shape
    is_usual = (
        not is_multilabel and len(predicted) == 2 and true == predicted[:1] and predicted[1] > 1
    )
    if is_usual:
        labels = _read_quickly(y_pred, y)
        if labels is not None:
            return labels
    else:
        y_pred, y = squeeze_pair(y_pred, y)
        check_shapes(y_pred, y, is_multilabel)
    if is_usual or y_pred.ndim == y.ndim + 1:
        num_classes = y_pred.shape[1]
        num_invalid: int | Tensor = 0
        if y.dtype != torch.int64:
            y, num_invalid = as_classes("y", y)
        num_outside = count_outside(y, num_classes)
        classes, num_nan = classes_of_scores(y_pred)
        num_invalid = num_invalid + num_nan
        return Labels(MULTICLASS, num_classes, classes, y, y.shape[0], num_outside, num_invalid)
    kind, num_classes = (MULTILABEL, y_pred.shape[1]) if is_multilabel else (BINARY, 1)
    num_outside = count_not_binary("y", y) + count_not_binary("y_pred", y_pred)
    return Labels(kind, num_classes, y_pred, y, y.shape[0], num_outside, 0)


def _read_quickly(scores: Tensor, y: Tensor) -> Labels | None:
    """Reads scores (B, C) and classes (B,) with numpy, a fast path for small batches on the CPU.

    Returns None if the data have another form or are invalid.
    """
    if (
        y.dtype is not torch.int64
        or scores.dtype not in _OF_SCORES
        or not 0 < scores.numel() <= _MAX_NUMEL_FOR_NUMPY
    ):
        return None
    arrays = arrays_of(scores, y)
    if arrays is None:
        return None
    of_scores, true = arrays
    num_items, num_classes = of_scores.shape
    if not are_classes(true, num_classes) or math.isnan(largest(of_scores)):
        return None
    predicted = of_scores.argmax(1)
    return Labels(
        MULTICLASS, num_classes, torch.from_numpy(predicted), y, num_items, 0, 0, (predicted, true)
    )


_OF_SCORES = frozenset((torch.float32, torch.float64))


def as_classes(name: str, values: Tensor) -> tuple[Tensor, int | Tensor]:
    """Returns labels as int64, and, on an accelerator, the number of those that are not whole numbers.

    Raises:
        TypeError: they are complex.
        ValueError: on the CPU, one is not a whole number.
    """
    if values.is_complex():
        raise TypeError(f"{name} should be labels, but given {values.dtype}")
    classes = values.long()
    if not values.is_floating_point():
        return classes, 0
    # Infinity becomes the largest integer, which in half precision compares as infinity again.
    is_wrong = (classes != values) | values.isinf()
    if not values.is_cpu:
        return classes, is_wrong.sum()
    if is_wrong.any():
        wrong = values[is_wrong].flatten()[0].item()
        raise ValueError(
            f"{name} should be labels, whole numbers, but given {wrong}; turn scores into labels in output_transform"
        )
    return classes, 0


def classes_of_scores(scores: Tensor) -> tuple[Tensor, int | Tensor]:
    """Returns the results of :func:`argmax` and :func:`count_nan_scores`."""
    classes = argmax(scores)
    return classes, count_nan_scores(scores, classes) if scores.is_floating_point() else 0


_MAX_NUMEL_FOR_NUMPY = 2**18
"""For more scores, torch with several threads is faster than numpy."""


def count_nan_scores(scores: Tensor, classes: Tensor) -> int | Tensor:
    """Counts the examples with a NaN score, in scores (B, C, ...) with the given ``argmax``.

    Raises:
        ValueError: on the CPU, if there are any.
    """
    if not scores.numel():
        return 0
    array = array_of(scores)
    if array is not None and not math.isnan(largest(array)):  # faster than the general way
        return 0
    highest = scores.gather(1, classes.unsqueeze(1))  # argmax takes NaN for the highest score
    if not scores.is_cpu:
        return highest.isnan().sum()
    if torch.equal(highest, highest):  # NaN is not equal to itself
        return 0
    raise ValueError(
        f"y_pred should be scores, but given NaN in {int(highest.isnan().sum())} of {classes.numel()} examples"
    )


def argmax(scores: Tensor) -> Tensor:
    """Returns the class with the highest score, shape (B, ...), for scores (B, C, ...).

    For ties, returns the first class; with NaN, the first class that has it. Uses numpy if it is
    available, because it takes a third of the time of torch, and a tenth for images, unless torch
    has many threads.
    """
    array = array_of(scores) if scores.is_floating_point() else None
    if array is None or (
        scores.ndim == 2 and scores.numel() > _MAX_NUMEL_FOR_NUMPY and torch.get_num_threads() > 4
    ):
        return scores.argmax(dim=1)
    return torch.from_numpy(array.argmax(1))


def squeeze_pair(y_pred: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Squeezes dimension 1, if its size is 1, of the tensor with one more dimension."""
    if y_pred.ndim == y.ndim + 1 > 1 and y_pred.shape[1] == 1:
        return y_pred.squeeze(1), y
    if y.ndim == y_pred.ndim + 1 > 1 and y.shape[1] == 1:
        return y_pred, y.squeeze(1)
    return y_pred, y


def check_shapes(y_pred: Tensor, y: Tensor, is_multilabel: bool) -> None:
    """Raises ValueError if the shapes do not match any kind of classification."""
    predicted, true = y_pred.shape, y.shape
    if len(predicted) not in (len(true), len(true) + 1) or not true:
        message = (
            "y must have shape of (batch_size, ...) and y_pred must have shape of (batch_size, num_categories, ...) or "
            "(batch_size, ...)"
        )
    elif is_multilabel and (true != predicted or len(true) < 2 or true[1] == 1):
        message = "y and y_pred must have same shape of (batch_size, num_categories, ...) and num_categories > 1."
    elif true != predicted and (true[0] != predicted[0] or true[1:] != predicted[2:]):
        message = "y and y_pred must have compatible shapes."
    else:
        return
    raise ValueError(
        f"{message}, but given y_pred of shape {tuple(predicted)} and y of shape {tuple(true)}"
    )


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divides; 0 where the denominator is 0."""
    is_zero = denominator == 0
    return torch.where(
        is_zero, torch.zeros_like(numerator), numerator / torch.where(is_zero, 1, denominator)
    )


def are_classes(labels: Any, num_classes: int) -> bool:
    """Returns whether all values of a nonempty int64 array are in [0, num_classes)."""
    # One pass instead of two, because negative numbers are very large as unsigned integers.
    return bool(largest(labels.view(numpy.uint64)) < num_classes)


def count_outside(y: Tensor, num_classes: int) -> int | Tensor:
    """Counts the targets that are not in [0, num_classes)."""
    if not y.is_cpu:
        return ((y < 0) | (y >= num_classes)).sum()
    if y.numel() == 0:
        return 0
    array = array_of(y) if y.dtype == torch.int64 else None
    if array is not None and are_classes(array, num_classes):
        return 0
    low, high = torch.aminmax(y)
    if low.item() >= 0 and high.item() < num_classes:
        return 0
    return int(((y < 0) | (y >= num_classes)).sum())


def outside_message(num_classes: int, num_outside: int) -> str:
    """Returns the error message for targets that are not a class."""
    return (
        "y_pred contains fewer classes than y. Targets should be class indices from 0 to "
        f"{num_classes - 1}, but {num_outside} of those given are not; remove ignored targets in "
        "output_transform, for example with Accuracy.get_sequence_transform(ignore_index=-100)"
    )


def invalid_message(num_invalid: int) -> str:
    """Returns the error message for invalid values on an accelerator, which are only counted."""
    return (
        f"y_pred should be scores and y labels, but {num_invalid} of those given are NaN or "
        "not whole numbers"
    )


def count_not_binary(name: str, values: Tensor) -> int | Tensor:
    """Counts the values other than 0 and 1. On the CPU, raises ValueError if there are any."""
    if values.dtype == torch.bool or values.numel() == 0:
        return 0
    if not values.is_cpu:
        return ((values != 0) & (values != 1)).sum()
    if is_binary(values):
        return 0
    wrong = values[(values != 0) & (values != 1)].flatten()[0].item()
    advice = "turn scores into 0 and 1" if name == "y_pred" else "remove ignored targets"
    raise ValueError(
        f"For binary cases, {name} must be comprised of 0's and 1's., but given {wrong}; "
        f"{advice} in output_transform"
    )


def is_binary(values: Tensor) -> bool:
    """Returns whether all values of a tensor on the CPU are 0 or 1."""
    array = array_of(values) if values.numel() and not values.is_floating_point() else None
    if array is not None:
        # Negative numbers are very large as unsigned integers.
        return bool(largest(array.view(f"u{array.itemsize}")) <= 1)
    if not torch.equal(values, values * values):  # NaN is not equal to itself
        return False
    if not values.is_floating_point() or math.isfinite(values.sum().item()):
        return True
    # Infinity equals its square. An infinite sum may come from overflow, so it is not conclusive.
    return not bool(values.isinf().any())
