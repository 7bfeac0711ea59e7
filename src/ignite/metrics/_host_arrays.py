"""Cheap ways to the numbers in tensors: memory that is used over and over, and arrays, whose calls cost less."""

from __future__ import annotations

import functools
import sys
import threading
from typing import Any

import torch
from torch import Tensor

numpy: Any = sys.modules.get("numpy")
"""numpy, if it is installed: torch has imported it then, to hand tensors to it. None otherwise."""
_MAX_NUMEL = 2**18
"""1 MiB of float32: more is not worth keeping."""
_local = threading.local()


def scratch(like: Tensor) -> Tensor:
    """Uninitialised float32 of the shape of ``like``, to be used up before the next call in the same thread.

    The allocator gives memory of this size back to the system, and getting it again takes longer
    than filling it.
    """
    if not like.is_cpu or like.numel() > _MAX_NUMEL:
        return torch.empty(like.shape, dtype=torch.float32, device=like.device)
    kept: Tensor | None = getattr(_local, "tensor", None)
    if kept is None or kept.shape != like.shape:
        kept = _local.tensor = torch.empty(like.shape, dtype=torch.float32)
    return kept


def array_of(tensor: Tensor) -> Any:
    """The array that shares memory with a detached tensor; None if there is none.

    A function of numpy costs a third of a call of torch for small tensors, and takes float32 to
    float64 on the way.
    """
    if not tensor.is_cpu or tensor.dtype not in _DTYPES_OF_ARRAYS or not has_numpy():
        return None
    try:
        return tensor.numpy()
    except RuntimeError:  # its memory holds the negative
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
    """Likewise, of two; None if one has none."""
    x_array, y_array = array_of(x), array_of(y)
    return None if x_array is None or y_array is None else (x_array, y_array)


def library_of(values: Any) -> Any:
    """Torch or numpy, whichever has functions of ``values``."""
    return torch if isinstance(values, Tensor) else numpy


def without_float_warnings() -> Any:
    """A context in which arrays of numpy take infinities and NaN as tensors do, without a warning."""
    return numpy.errstate(all="ignore")


def inner_product(x: Any, y: Any) -> float:
    """Of two arrays (N,), in pieces for which BLAS starts no threads of its own beside those of torch."""
    if len(x) <= _FEW_FOR_BLAS:
        return float(x.dot(y))
    return sum(
        float(x[i : i + _FEW_FOR_BLAS].dot(y[i : i + _FEW_FOR_BLAS]))
        for i in range(0, len(x), _FEW_FOR_BLAS)
    )


_FEW_FOR_BLAS = 2**13


def rows_product(x: Any, y: Any) -> Any:
    """Of each row of two arrays (M, D), the inner product: shape (M,); of float32, D should not be many thousands."""
    if x.shape[1] <= _FEW_FOR_BLAS and hasattr(numpy, "vecdot"):  # new in numpy 2
        return numpy.vecdot(x, y)
    return numpy.einsum("ij,ij->i", x, y)


def squared_lengths(x: Any, y: Any) -> Any:
    """Of each row of ``x - y``, arrays (M, D), the sum of squares, float64: shape (M,).

    In pieces that stay in the processor's cache, and of which rounding does not grow with D.
    """
    found = numpy.zeros(x.shape[0])
    width = min(max(_PIECE // (x.shape[0] or 1), 1), _FEW_FOR_BLAS)
    for i in range(0, x.shape[1], width):
        errors = x[:, i : i + width] - y[:, i : i + width]
        found += rows_product(errors, errors)
    return found


_PIECE = 2**16


@functools.cache
def has_numpy() -> bool:
    """Whether this torch can hand tensors to numpy."""
    if numpy is None:
        return False
    try:
        torch.zeros(1).numpy()
    except RuntimeError:
        return False
    return True


def detached(tensor: Tensor) -> Tensor:
    """``tensor`` without its gradient; itself if it has none."""
    return tensor.detach() if tensor.requires_grad else tensor
