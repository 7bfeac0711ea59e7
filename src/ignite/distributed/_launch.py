"""How process groups begin and end: from what launchers put into the environment, or by starting processes."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from ignite.distributed import _collectives, _place
from ignite.distributed._place import get_local_rank, has_group, has_native_dist_support
from ignite.distributed._slurm import from_slurm

_RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
_DEFAULTS = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "15000",
}
_added: dict[str, str | None] = {}
"""Variables that :func:`initialize` has set -> what they were before."""


def available_backends() -> tuple[str, ...]:
    """The backends that this build of torch has, such as ("gloo",)."""
    if not has_native_dist_support:
        return ()
    candidates = {"nccl": dist.is_nccl_available, "gloo": dist.is_gloo_available, "mpi": dist.is_mpi_available}
    return tuple(name for name, is_there in candidates.items() if is_there())


def initialize(backend: str, **kwargs: Any) -> None:
    """Makes the default process group.

    Without ``init_method``, from the environment: as torchrun sets it, or as Slurm does, or for a single process.

    Args:
        backend: one of :func:`available_backends`.
        **kwargs: for ``torch.distributed.init_process_group``: ``timeout``, ``init_method``, ``rank``, ``world_size``.

    Raises:
        ValueError: the backend is not available, or rank, world_size and init_method do not go together.
        RuntimeError: there is a group already, nccl finds no GPU, or the environment has some of the variables that are
            needed, but not all.
    """
    if backend not in available_backends():
        raise ValueError(f"Backend should be one of {available_backends()}, but given {backend!r}")
    if has_group():
        raise RuntimeError("Can not create new distributed process group if default one is already initialized")
    if backend == "nccl" and not torch.cuda.is_available():
        raise RuntimeError("Nccl backend is required but no cuda capable devices are there")
    rank, world_size = kwargs.get("rank"), kwargs.get("world_size")
    if (rank is None) != (world_size is None):
        raise ValueError(f"Both rank and world_size should be provided, but given rank={rank}, world_size={world_size}")
    init_method = kwargs.get("init_method")
    if rank is not None and init_method is None:
        raise ValueError(
            "Arguments rank and world_size should be None if no init_method is provided, "
            f"but given rank={rank}, world_size={world_size}"
        )
    if init_method in (None, "env://") and rank is None:
        _complete_environment()
    try:
        dist.init_process_group(backend, **kwargs)
    except BaseException:
        _restore_environment()
        raise
    if backend == "nccl":
        torch.cuda.set_device(get_local_rank() % torch.cuda.device_count())
    dist.barrier()


def _complete_environment() -> None:
    if "SLURM_JOB_ID" in os.environ:
        needed = from_slurm(os.environ)
    else:
        missing = [name for name in _RANKS if name not in os.environ]
        if 0 < len(missing) < len(_RANKS):
            raise RuntimeError(
                f"PyTorch distributed configuration should define env variables '{', '.join(missing)}': "
                f"all of {_RANKS}, or none"
            )
        needed = {name: value for name, value in _DEFAULTS.items() if name not in os.environ}
    _added.update({name: os.environ.get(name) for name in needed})
    os.environ.update(needed)


def _restore_environment() -> None:
    for name, before in _added.items():
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
    _added.clear()


def finalize() -> None:
    """Ends the default process group, if there is one, and puts the environment back."""
    if has_group():
        dist.destroy_process_group()
    _restore_environment()
    _collectives.forget()
    _place.forget()


def spawn(
    backend: str,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs_dict: Mapping[str, Any] | None = None,
    nproc_per_node: int = 1,
    **kwargs: Any,
) -> Any:
    """Runs ``fn(local_rank, *args, **kwargs_dict)`` in processes that form a group, and waits for them.

    Args:
        backend: one of :func:`available_backends`.
        fn: a function that can be imported.
        args: for it, after the local rank.
        kwargs_dict: likewise, by name.
        nproc_per_node: how many processes to start on this machine.
        **kwargs: ``nnodes`` and ``node_rank`` where other machines take part, with ``master_addr`` and ``master_port``
            of the first one (on a single machine, a free port), or ``init_method``; ``start_method``, ``join`` and
            ``daemon`` for ``torch.multiprocessing``; the rest, such as ``timeout``, for :func:`initialize`.

    Returns:
        With ``join=False`` the context to wait for, else None.

    Raises:
        ValueError: the backend is not available.
        torch.multiprocessing.ProcessRaisedException: a process has raised; its traceback and number are in the message.
            The others are ended.
    """
    if backend not in available_backends():
        raise ValueError(f"Backend should be one of {available_backends()}, but given {backend!r}")
    nnodes = kwargs.pop("nnodes", 1)
    address = kwargs.pop("master_addr", "127.0.0.1")
    port = kwargs.pop("master_port", None) or (free_port() if nnodes == 1 else 2222)
    place = (kwargs.pop("node_rank", 0), nproc_per_node, nnodes * nproc_per_node, address, int(port))
    options = {name: kwargs.pop(name) for name in ("start_method", "join", "daemon") if name in kwargs}
    options.setdefault("start_method", "spawn")
    work = (backend, fn, args, dict(kwargs_dict or {}), place, kwargs)
    return start_processes(_work, work, nproc_per_node, **options)


def _work(
    local_rank: int,
    backend: str,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    place: tuple[int, int, int, str, int],
    options: dict[str, Any],
) -> None:
    node_rank, nproc_per_node, world_size, address, port = place
    rank = node_rank * nproc_per_node + local_rank
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(local_rank),
        WORLD_SIZE=str(world_size),
        LOCAL_WORLD_SIZE=str(nproc_per_node),
        MASTER_ADDR=address,
        MASTER_PORT=str(port),
    )
    os.environ.pop("SLURM_JOB_ID", None)  # this process is not the one that Slurm has started
    if options.get("init_method") is not None:
        options = {**options, "rank": rank, "world_size": world_size}
    initialize(backend, **options)
    fn(local_rank, *args, **kwargs)
    # Not if it raises: the others would fail, too, when the group ends, and could be reported first.
    finalize()


def free_port() -> int:
    """A port of this machine that nobody listens to."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port
