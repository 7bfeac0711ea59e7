"""Fast access to tensors on the host: numpy views and scratch memory."""

from __future__ import annotations

import functools
import sys
import threading
from typing import Any

import torch
from torch import Tensor

numpy: Any = sys.modules.get("numpy")
"""numpy if it is installed (torch has then imported it), else None."""
_MAX_NUMEL = 2**18
"""Size of the largest scratch tensor that is kept: 1 MiB of float32."""
_local = threading.local()


def scratch(like: Tensor) -> Tensor:
    """Returns an uninitialized float32 tensor, valid until the next call in the same thread.

    The allocator returns memory of this size to the system, and allocating it again takes longer
    than filling it.

    Args:
        like: has the shape and device of the result.
    """
    if not like.is_cpu or like.numel() > _MAX_NUMEL:
        return torch.empty(like.shape, dtype=torch.float32, device=like.device)
    kept: Tensor | None = getattr(_local, "tensor", None)
    if kept is None or kept.shape != like.shape:
        with torch.inference_mode(False):  # it is written to outside of inference mode, too
            kept = _local.tensor = torch.empty(like.shape, dtype=torch.float32)
    return kept


def array_of(tensor: Tensor) -> Any:
    """Returns the numpy array that shares memory with a detached tensor; None if not possible.

    For small tensors, a call of numpy takes a third of the time of one of torch.
    """
    if not tensor.is_cpu or tensor.dtype not in _DTYPES_OF_ARRAYS or not has_numpy():
        return None
    try:
        return tensor.numpy()
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
    """Returns the largest number of a nonempty array; NaN if there is one.

    For small arrays, it takes a third of the time of ``array.max()``.
    """
    return array.item(array.argmax())


def smallest(array: Any) -> Any:
    """Returns the smallest number of a nonempty array; NaN if there is one."""
    return array.item(array.argmin())


def library_of(values: Any) -> Any:
    """Returns the module, torch or numpy, that has the functions for ``values``."""
    return torch if isinstance(values, Tensor) else numpy


def without_float_warnings() -> Any:
    """Returns a context in which numpy, like torch, does not warn about infinities and NaN."""
    return numpy.errstate(all="ignore")


def inner_product(x: Any, y: Any) -> float:
    """Computes the inner product of two arrays (N,), in blocks too small for BLAS to use threads.

    Its threads would compete with those of torch.
    """
    if len(x) <= _BLAS_BLOCK:
        return float(x.dot(y))
    return sum(
        float(x[i : i + _BLAS_BLOCK].dot(y[i : i + _BLAS_BLOCK]))
        for i in range(0, len(x), _BLAS_BLOCK)
    )


_BLAS_BLOCK = 2**13


def rows_product(x: Any, y: Any) -> Any:
    """Computes the inner products (M,) of the rows of two arrays (M, D).

    In float32, rounding limits D to a few thousand.
    """
    # vecdot is new in numpy 2; over short rows, it takes twice as long.
    if _SHORT_ROWS < x.shape[1] <= _BLAS_BLOCK and hasattr(numpy, "vecdot"):
        return numpy.vecdot(x, y)
    return numpy.einsum("ij,ij->i", x, y)


_SHORT_ROWS = 24


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
