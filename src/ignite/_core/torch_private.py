"""All uses of names that torch keeps private, each with what to do when it is gone."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

__all__ = ["default_store"]


def default_store() -> Any:
    """The key-value store through which the processes of the default group have met.

    None if there is none: with MPI, or in a version of torch that keeps it elsewhere. Then processes cannot tell
    each other anything but by collectives.
    """
    find = getattr(dist.distributed_c10d, "_get_default_store", None)
    store = find() if find is not None and dist.is_initialized() else None
    is_only_the_base = type(store).__module__ == "torch._C._distributed_c10d" and type(store).__name__ == "Store"
    return None if is_only_the_base else store
