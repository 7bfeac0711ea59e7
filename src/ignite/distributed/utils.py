"""The functions of ``ignite.distributed``.

They work in a single process and in a process group, also one that the program has created itself.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from ignite._core.optional import LazyModule
from ignite.distributed._collectives import (
    all_gather,
    all_gather_tensors_with_shapes,
    all_reduce,
    barrier,
    broadcast,
)
from ignite.distributed._launch import available_backends, finalize, initialize, spawn
from ignite.distributed._process_group import (
    backend,
    device,
    get_local_rank,
    get_nnodes,
    get_node_rank,
    get_nproc_per_node,
    get_rank,
    get_world_size,
    has_group,
    has_hvd_support,
    has_native_dist_support,
    has_xla_support,
    hostname,
    new_group,
    set_local_rank,
)

if TYPE_CHECKING:
    from ignite.distributed.comp_models import registered_computation_models

__all__ = [
    "all_gather",
    "all_gather_tensors_with_shapes",
    "all_reduce",
    "available_backends",
    "backend",
    "barrier",
    "broadcast",
    "device",
    "finalize",
    "get_local_rank",
    "get_nnodes",
    "get_node_rank",
    "get_nproc_per_node",
    "get_rank",
    "get_world_size",
    "has_hvd_support",
    "has_native_dist_support",
    "has_xla_support",
    "hostname",
    "initialize",
    "model_name",
    "new_group",
    "one_rank_first",
    "one_rank_only",
    "registered_computation_models",
    "set_local_rank",
    "show_config",
    "spawn",
    "sync",
]

F = TypeVar("F", bound=Callable[..., Any])

_comp_models = LazyModule("ignite.distributed.comp_models")  # few programs need them


def __getattr__(name: str) -> Any:
    if name == "registered_computation_models":
        return _comp_models.registered_computation_models
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def model_name() -> str:
    """Returns "native-dist" in a process group, otherwise "serial".

    Example:
        >>> model_name()
        'serial'
    """
    return "native-dist" if has_group() else "serial"


def sync(temporary: bool = False) -> None:
    """Does nothing; exists for compatibility with Ignite.

    Each function looks for a process group when it is called.

    Args:
        temporary: ignored.

    Example:
        >>> sync()
    """


def show_config() -> None:
    """Logs the distributed configuration, with the logger "ignite.distributed.utils" at level INFO.

    A collective if no launcher has set the local rank: ranks then compare host names.

    Example:
        >>> show_config()
    """
    logger = logging.getLogger(__name__)
    logger.info("distributed configuration: %s", model_name())
    logger.info("backend: %s", backend())
    logger.info("device: %s", device().type)
    logger.info("hostname: %s", hostname())
    logger.info("world size: %s", get_world_size())
    logger.info("rank: %s", get_rank())
    logger.info("local rank: %s", get_local_rank())
    logger.info("num processes per_node: %s", get_nproc_per_node())
    logger.info("num nodes: %s", get_nnodes())
    logger.info("node rank: %s", get_node_rank())


def one_rank_only(rank: int = 0, with_barrier: bool = False) -> Callable[[F], F]:
    """Decorator that runs a function on one rank only; the other ranks return None.

    Args:
        rank: the rank that runs the function.
        with_barrier: whether all ranks wait until the function has returned or raised.

    Example:
        >>> @one_rank_only()
        ... def report():
        ...     return "written"
        >>> report()
        'written'
    """

    def decorate(func: F) -> F:
        @functools.wraps(func)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                return func(*args, **kwargs) if get_rank() == rank else None
            finally:
                if with_barrier:
                    barrier()

        return wrapper  # type: ignore[return-value]

    return decorate


@contextmanager
def one_rank_first(rank: int = 0, local: bool = False) -> Iterator[None]:
    """Context manager that runs its block on one rank before the others.

    Use it to download data once, for example.

    Args:
        rank: the rank that goes first.
        local: whether ``rank`` is the local rank, so that one rank per machine goes first.

    Raises:
        ValueError: there is no such rank.

    Example:
        >>> with one_rank_first():
        ...     data = [1, 2, 3]
    """
    current, size = (
        (get_local_rank(), get_nproc_per_node()) if local else (get_rank(), get_world_size())
    )
    if not 0 <= rank < size:
        raise ValueError(f"rank should be between 0 and {size - 1}, but given {rank}")
    if current != rank:
        barrier()
    try:
        yield
    finally:
        # Also if the block raises: the other ranks would hang.
        if current == rank:
            barrier()
