"""Process groups from the environment of a launcher (torchrun, Slurm), or of processes that are started here."""

from __future__ import annotations

import builtins
import functools
import multiprocessing
import os
import re
import socket
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from ignite.distributed._process_group import (
    forget,
    get_local_rank,
    has_group,
    has_native_dist_support,
    hostname,
)

_RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
_DEFAULTS = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "15000",
}
SLURM_VARIABLES = (
    "SLURM_JOB_ID",
    "SLURM_PROCID",
    "SLURM_LOCALID",
    "SLURM_NTASKS",
    "SLURM_JOB_NODELIST",
    "SLURM_JOB_NUM_NODES",
)
_SAME_IN_SLURM = {
    "RANK": "SLURM_PROCID",
    "LOCAL_RANK": "SLURM_LOCALID",
    "WORLD_SIZE": "SLURM_NTASKS",
}
_GRACE_S = 2.0
"""How long the other processes may continue after one has failed, and again until they are killed."""
_PATIENCE_S = 10.0
"""How long a process that fails after another one waits to be terminated, so that the first failure is reported."""
_added: dict[str, str | None] = {}
"""Environment variables set by :func:`initialize` -> their previous values."""


def available_backends() -> tuple[str, ...]:
    """The backends that this build of torch has, such as ("gloo",).

    Example:
        >>> "gloo" in available_backends()
        True
    """
    if not has_native_dist_support:
        return ()
    candidates = {
        "nccl": dist.is_nccl_available,
        "gloo": dist.is_gloo_available,
        "mpi": dist.is_mpi_available,
    }
    return tuple(name for name, is_there in candidates.items() if is_there())


def initialize(backend: str, **kwargs: Any) -> None:
    """Creates the default process group.

    Without ``init_method``, it reads the environment that torchrun or Slurm sets; without a
    launcher, the group has a single process. Missing variables are set until :func:`finalize`:
    RANK=0, LOCAL_RANK=0 and WORLD_SIZE=1, or all three from Slurm; MASTER_ADDR=127.0.0.1 and
    MASTER_PORT=15000, or from Slurm the first host and 15000 plus the end of the job's number.

    Args:
        backend: one of :func:`available_backends`.
        **kwargs: for ``torch.distributed.init_process_group``: ``timeout``, ``init_method``,
            ``rank``, ``world_size``. With an ``init_method`` such as "tcp://10.0.0.1:2345" or
            "file:///shared/file", the last two are taken from the environment if a launcher has set
            them.

    Raises:
        ValueError: the backend is not available, or rank, world_size and init_method do not go
            together.
        RuntimeError: there is a group already, nccl finds no GPU, or the environment has some of
            the variables that are needed, but not all; or Slurm's and the others say different
            things.

    Example:
        >>> initialize("pigeon")
        Traceback (most recent call last):
        ValueError: Backend should be one of (...), but given 'pigeon'
    """
    _check_backend(backend)
    if has_group():
        raise RuntimeError(
            "Can not create new distributed process group if default one is already initialized"
        )
    if backend == "nccl" and not torch.cuda.is_available():
        raise RuntimeError("Nccl backend is required but no cuda capable devices are there")
    rank, world_size = kwargs.get("rank"), kwargs.get("world_size")
    if (rank is None) != (world_size is None):
        raise ValueError(
            f"Both rank and world_size should be provided, but given rank={rank}, world_size={world_size}"
        )
    init_method = kwargs.get("init_method")
    if rank is not None and init_method is None:
        raise ValueError(
            "Arguments rank and world_size should be None if no init_method is provided, "
            f"but given rank={rank}, world_size={world_size}"
        )
    if init_method in (None, "env://") and rank is None:
        _complete_environment()
    elif rank is None and "rank=" not in str(init_method) and _has_launcher():
        _complete_environment()
        kwargs.update(rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]))
    try:
        dist.init_process_group(backend, **kwargs)
    except BaseException:
        _restore_environment()
        raise
    if backend == "nccl":
        torch.cuda.set_device(get_local_rank() % torch.cuda.device_count())
    dist.barrier()


def _check_backend(backend: str) -> None:
    if backend not in available_backends():
        raise ValueError(f"Backend should be one of {available_backends()}, but given {backend!r}")


def _has_launcher() -> bool:
    return "SLURM_JOB_ID" in os.environ or any(name in os.environ for name in _RANKS)


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
    """Destroys the default process group, if there is one, and restores the environment.

    Example:
        >>> finalize()
    """
    if has_group():
        dist.destroy_process_group()
    _restore_environment()
    forget()


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
        **kwargs: ``nnodes`` and ``node_rank`` where other machines take part, with ``master_addr``
            and ``master_port`` of the first one (2222; on a single machine, a free port), or
            ``init_method``; ``start_method`` ("spawn", in IPython "fork", as functions of a
            notebook can not be imported), ``join`` and ``daemon`` for ``torch.multiprocessing``;
            the rest, such as ``timeout``, for :func:`initialize`.

    Returns:
        With ``join=False`` the context to wait for, else None.

    Raises:
        ValueError: the backend is not available, or a number of processes or machines is not
            possible.
        torch.multiprocessing.ProcessRaisedException: a process has raised; its traceback and rank
            are in the message. The others are ended.
        torch.multiprocessing.ProcessExitedException: a process has ended otherwise, such as by a
            signal.

    Example:
        In a script, with a function that takes the local rank first::

            def train(local_rank, epochs):
                model.to(idist.device())

            if __name__ == "__main__":
                idist.spawn("gloo", train, (10,), nproc_per_node=4)
    """
    _check_backend(backend)
    nnodes, node_rank = kwargs.pop("nnodes", 1), kwargs.pop("node_rank", 0)
    for name, number in (("nproc_per_node", nproc_per_node), ("nnodes", nnodes)):
        if number < 1:
            raise ValueError(f"{name} should be positive, but given {number}")
    if not 0 <= node_rank < nnodes:
        raise ValueError(f"node_rank should be between 0 and {nnodes - 1}, but given {node_rank}")
    address = kwargs.pop("master_addr", None) or "127.0.0.1"
    port = kwargs.pop("master_port", None) or (free_port() if nnodes == 1 else 2222)
    join, daemon = kwargs.pop("join", True), kwargs.pop("daemon", False)
    start_method = kwargs.pop("start_method", None) or (
        "fork" if hasattr(builtins, "__IPYTHON__") else "spawn"
    )
    first_failed = multiprocessing.get_context(start_method).RawValue("i", -1)
    cluster = _Cluster(node_rank, nproc_per_node, nnodes * nproc_per_node, address, int(port))
    work = (
        functools.partial(fn, **dict(kwargs_dict or {})),
        args,
        cluster,
        {"backend": backend, **kwargs},
        first_failed,
    )
    context = start_processes(
        _work, work, nproc_per_node, join=False, daemon=daemon, start_method=start_method
    )
    if not join:
        context.first_failed = (
            first_failed  # else the next call might get the same piece of shared memory
        )
        return context
    while not context.join(grace_period=_GRACE_S):
        continue
    return None


class _Cluster(NamedTuple):
    """The position of this machine in the cluster, and where its processes meet the others."""

    node_rank: int
    nproc_per_node: int
    world_size: int
    address: str
    port: int


def _work(
    local_rank: int,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    cluster: _Cluster,
    options: dict[str, Any],
    first_failed: Any,
) -> None:
    rank = cluster.node_rank * cluster.nproc_per_node + local_rank
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(local_rank),
        WORLD_SIZE=str(cluster.world_size),
        LOCAL_WORLD_SIZE=str(cluster.nproc_per_node),
        MASTER_ADDR=cluster.address,
        MASTER_PORT=str(cluster.port),
    )
    os.environ.pop("SLURM_JOB_ID", None)  # this process is not the one that Slurm has started
    try:
        initialize(**options)
        fn(local_rank, *args)
        # Not if it raises: the others would fail, too, when the group ends, and could be reported
        # first.
        finalize()
    except Exception as error:
        error.add_note(
            f"Raised on rank {rank} of {cluster.world_size}, local rank {local_rank}, on {hostname()}"
        )
        _wait_for_first_failure(local_rank, first_failed)
        raise


def _wait_for_first_failure(local_rank: int, first_failed: Any) -> None:
    """Waits to be terminated if another process has failed before, so that the first failure is reported.

    What this process raises is usually a consequence: the other one has gone. This needs no lock,
    because a process records its failure before it exits.
    """
    if first_failed.value < 0:
        first_failed.value = local_rank
    else:
        threading.Event().wait(_PATIENCE_S)


def free_port() -> int:
    """A port of this machine that is not in use."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


def expand_hosts(node_list: str) -> list[str]:
    """Expands a host list of Slurm.

    Raises:
        ValueError: the list is malformed.

    Example:
        >>> expand_hosts("node[001-003,7],gpu-a")
        ['node001', 'node002', 'node003', 'node7', 'gpu-a']
    """
    item = r"\s*(?:[^,\s\[\]]|\[[^\[\]]*\])+\s*"
    if re.fullmatch(f"{item}(?:,{item})*", node_list) is None:
        raise ValueError(f"SLURM_JOB_NODELIST should be a list of hosts, but given {node_list!r}")
    return [host for found in re.findall(item, node_list) for host in _expand(found.strip())]


def _expand(item: str) -> list[str]:
    bracket = re.search(r"\[([^\]]*)\]", item)
    if bracket is None:
        return [item]
    hosts = []
    for part in bracket[1].split(","):
        matched = re.fullmatch(r"\s*([0-9]+)(?:-([0-9]+))?\s*", part)
        first, last = (matched[1], matched[2] or matched[1]) if matched else ("1", "0")
        if int(first) > int(last):
            raise ValueError(
                f"SLURM_JOB_NODELIST should have ranges of numbers in brackets, but given {item!r}"
            )
        for number in range(int(first), int(last) + 1):
            # What follows may have brackets, too.
            hosts += _expand(
                f"{item[: bracket.start()]}{number:0{len(first)}d}{item[bracket.end() :]}"
            )
    return hosts


def from_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that torch.distributed needs and the environment lacks, from those of Slurm.

    Raises:
        RuntimeError: variables of Slurm are missing, or contradict those of torch.distributed.
    """
    missing = [name for name in SLURM_VARIABLES if name not in environment]
    if missing:
        raise RuntimeError(
            f"SLURM distributed configuration is missing '{', '.join(missing)}' in env variables"
        )
    job = re.sub(r"\D", "", environment["SLURM_JOB_ID"]) or "0"
    found = {name: environment[slurm] for name, slurm in _SAME_IN_SLURM.items()}
    found["MASTER_ADDR"] = expand_hosts(environment["SLURM_JOB_NODELIST"])[0]
    found["MASTER_PORT"] = str(int(job[-4:]) + 15000)
    given = {name: environment[name] for name in found if name in environment}
    if given and set(given) != set(found):
        warnings.warn(
            f"Of the variables of torch.distributed only {sorted(given)} are in the environment: they are ignored, and "
            "Slurm's are taken",
            stacklevel=3,
        )
        return found
    different = [name for name in _SAME_IN_SLURM if name in given and given[name] != found[name]]
    if different:
        pairs = (
            f"{name}={given[name]} and {_SAME_IN_SLURM[name]}={found[name]}" for name in different
        )
        raise RuntimeError(
            "Environment variable defined for PyTorch Distributed context is inconsistent with equivalent SLURM env "
            f"variable.: {', '.join(pairs)}"
        )
    return {name: value for name, value in found.items() if name not in given}
