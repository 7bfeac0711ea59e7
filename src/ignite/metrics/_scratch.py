"""Memory that is used over and over within one call, so that small tensors need not be found room for each time."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

_MAX_NUMEL = 2**18
"""1 MiB of float32: more is not worth keeping."""
_local = threading.local()


def scratch(like: Tensor) -> Tensor:
    """Uninitialised float32 of the shape of ``like``, to be used up before the next call in the same thread.

    The allocator gives memory of this size back to the system, and getting it again takes longer than filling it.
    """
    if not like.is_cpu or like.numel() > _MAX_NUMEL:
        return torch.empty(like.shape, dtype=torch.float32, device=like.device)
    kept: Tensor | None = getattr(_local, "tensor", None)
    if kept is None or kept.shape != like.shape:
        kept = _local.tensor = torch.empty(like.shape, dtype=torch.float32)
    return kept


def detached(tensor: Tensor) -> Tensor:
    """``tensor`` without its gradient; itself if it has none."""
    return tensor.detach() if tensor.requires_grad else tensor
