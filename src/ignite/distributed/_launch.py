"""Process groups, from the environment of a launcher (torchrun, Slurm) or of spawned processes."""

from __future__ import annotations

import builtins
import datetime
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

from ignite.distributed._collectives import barrier
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
"""Seconds until other processes are terminated after a failure, and again until they are killed."""
_TERMINATION_TIMEOUT_S = 10.0
"""Seconds that a process waits to be terminated if another one has failed before it."""
_STORE_TIMEOUT = datetime.timedelta(minutes=30)  # that of init_process_group with gloo
_added: dict[str, str | None] = {}
"""Previous values of the environment variables that :func:`initialize` has set."""


def available_backends() -> tuple[str, ...]:
    """Returns the available backends of PyTorch, such as ("gloo",).

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
    launcher, the group has a single process. Within an allocation of Slurm, processes that
    torchrun or another launcher has started belong to that launcher. Missing variables are set until :func:`finalize`:
    RANK=0, LOCAL_RANK=0 and WORLD_SIZE=1, or the values of Slurm; MASTER_ADDR=127.0.0.1 and
    MASTER_PORT=15000, or with Slurm the first host and 15000 plus the last four digits of the job
    ID.

    Args:
        backend: one of :func:`available_backends`.
        **kwargs: passed to ``torch.distributed.init_process_group``: ``timeout``, ``init_method``,
            ``rank``, ``world_size``, or ``store`` with both. With an ``init_method`` such as "tcp://10.0.0.1:2345" or
            "file:///shared/file", rank and world size are taken from the environment if a launcher
            has set them.

    Raises:
        ValueError: the backend is not available, or the combination of ``rank``, ``world_size`` and
            ``init_method`` is invalid.
        RuntimeError: a group already exists, nccl finds no GPU, some environment variables are
            missing, or those of Slurm contradict the others.

    Example:
        >>> initialize("pigeon")
        Traceback (most recent call last):
        ValueError: Backend should be one of (...), but given 'pigeon'
    """
    check_backend(backend)
    if has_group():
        raise RuntimeError(
            "Can not create new distributed process group if default one is already initialized"
        )
    if backend == "nccl" and not torch.cuda.is_available():
        raise RuntimeError("Nccl backend is required but no cuda capable devices are available")
    rank, world_size = kwargs.get("rank"), kwargs.get("world_size")
    if (rank is None) != (world_size is None):
        raise ValueError(
            "Both rank and world_size should be provided, "
            f"but given rank={rank}, world_size={world_size}"
        )
    init_method = kwargs.get("init_method")
    if rank is not None and init_method is None and "store" not in kwargs:
        raise ValueError(
            "Arguments rank and world_size should be None if no init_method is provided, "
            f"but given rank={rank}, world_size={world_size}"
        )
    if init_method in (None, "env://") and rank is None:
        _complete_environment()
        if _is_restarted_by_agent():
            kwargs.pop("init_method", None)
            kwargs.update(store_of_attempt("", kwargs.get("timeout")))
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
    barrier()


def check_backend(backend: str, what: str = "Backend") -> None:
    """Raises ValueError if a backend is not available."""
    if backend not in available_backends():
        hint = (
            ": Horovod and XLA are not supported, use torch.distributed"
            if backend in ("horovod", "xla-tpu")
            else ""
        )
        raise ValueError(
            f"{what} should be one of {available_backends()}, but given {backend!r}{hint}"
        )


def _has_launcher() -> bool:
    return "SLURM_JOB_ID" in os.environ or any(name in os.environ for name in _RANKS)


def _is_restarted_by_agent() -> bool:
    """Whether torchrun has restarted the processes of a single machine.

    On several machines, the number of the attempt may differ between them.
    """
    return (
        os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
        and os.environ.get("GROUP_WORLD_SIZE") == "1"
    )


def store_of_attempt(prefix: str, timeout: datetime.timedelta | None) -> dict[str, Any]:
    """Returns arguments of ``init_process_group`` for a restarted group: a store of its own.

    The agent of torch 2.13 has one store for all attempts, and ``init_process_group`` finds the
    addresses of dead processes in it.
    """
    store = dist.TCPStore(  # type: ignore[attr-defined]
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        int(os.environ["WORLD_SIZE"]),
        is_master=False,
        timeout=timeout or _STORE_TIMEOUT,
    )
    attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
    return {
        "store": dist.PrefixStore(  # type: ignore[attr-defined]
            f"{prefix}/attempt_{attempt}", store
        ),
        "rank": int(os.environ["RANK"]),
        "world_size": int(os.environ["WORLD_SIZE"]),
    }


def is_started_by_slurm(environment: Mapping[str, str]) -> bool:
    """Whether Slurm has started this process, and not a launcher that runs as a task of Slurm.

    torchrun says that it has started a process. Other launchers set all variables of
    torch.distributed, and start more processes than Slurm has tasks.
    """
    if "SLURM_JOB_ID" not in environment or "TORCHELASTIC_RUN_ID" in environment:
        return False
    if not all(environment.get(name) for name in _DEFAULTS):
        return True
    num_tasks, world_size = environment.get("SLURM_NTASKS", "1"), environment["WORLD_SIZE"]
    if not (num_tasks.isdigit() and world_size.isdigit()):
        return True
    return "SLURM_PROCID" in environment and int(world_size) <= int(num_tasks)


def _complete_environment() -> None:
    if is_started_by_slurm(os.environ):
        needed = from_slurm(os.environ)
    else:
        missing = [name for name in _RANKS if name not in os.environ]
        if 0 < len(missing) < len(_RANKS):
            raise RuntimeError(
                "PyTorch distributed configuration should define env variables "
                f"'{', '.join(missing)}': all of {_RANKS}, or none"
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
    """Destroys the default process group, if any, and restores the environment.

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
    """Runs ``fn(local_rank, *args, **kwargs_dict)`` in the processes of a new group.

    Args:
        backend: one of :func:`available_backends`.
        fn: a function that can be imported.
        args: positional arguments after the local rank.
        kwargs_dict: keyword arguments.
        nproc_per_node: number of processes to start on this machine.
        **kwargs: with several machines, ``nnodes`` and ``node_rank``, and ``master_addr`` and
            ``master_port`` of the first machine (default port 2222; on a single machine, a free
            one) or ``init_method``. ``start_method`` ("spawn", or "fork" in IPython, because
            functions of a notebook cannot be imported), ``join`` and ``daemon`` are passed to
            ``torch.multiprocessing``, others, such as ``timeout``, to :func:`initialize`.

    Returns:
        With ``join=False``, the context to join; otherwise None, after all processes have ended.

    Raises:
        ValueError: the backend is not available, or a number of processes or machines is out of
            range.
        torch.multiprocessing.ProcessRaisedException: a process raised; the message has its
            traceback and rank. The other processes are terminated.
        torch.multiprocessing.ProcessExitedException: a process ended otherwise, such as by a
            signal.

    Example:
        In a script, with a function that takes the local rank first::

            def train(local_rank, epochs):
                model.to(idist.device())

            if __name__ == "__main__":
                idist.spawn("gloo", train, (10,), nproc_per_node=4)
    """
    check_backend(backend)
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
        # Keeps the shared memory alive, which the next call could get otherwise.
        context.first_failed = first_failed
        return context
    while not context.join(grace_period=_GRACE_S):
        continue
    return None


class _Cluster(NamedTuple):
    """Position of this machine in the cluster, and the address of the first process."""

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
        GROUP_RANK=str(cluster.node_rank),
        GROUP_WORLD_SIZE=str(cluster.world_size // cluster.nproc_per_node),
        MASTER_ADDR=cluster.address,
        MASTER_PORT=str(cluster.port),
    )
    for name in list(os.environ):
        # Neither Slurm nor a torchrun around the program has started this process.
        if name == "SLURM_JOB_ID" or name.startswith("TORCHELASTIC_"):
            del os.environ[name]
    try:
        initialize(**options)
        fn(local_rank, *args)
        # Not after an exception: without the group, the other ranks would fail, too, and could be
        # reported first.
        finalize()
    except Exception as error:
        error.add_note(
            f"Raised on rank {rank} of {cluster.world_size}, local rank {local_rank}, "
            f"on {hostname()}"
        )
        _wait_for_first_failure(local_rank, first_failed)
        raise


def _wait_for_first_failure(local_rank: int, first_failed: Any) -> None:
    """Waits to be terminated if another process has failed before, so that its error is reported.

    The error of this process is usually a consequence. No lock is needed, because a process records
    its failure before it exits.
    """
    if first_failed.value < 0:
        first_failed.value = local_rank
    else:
        threading.Event().wait(_TERMINATION_TIMEOUT_S)


def free_port() -> int:
    """Returns a free port of this machine."""
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
            # The rest may have brackets, too.
            hosts += _expand(
                f"{item[: bracket.start()]}{number:0{len(first)}d}{item[bracket.end() :]}"
            )
    return hosts


def from_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the missing environment variables of torch.distributed, from those of Slurm.

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
            f"Only {sorted(given)} of the variables of torch.distributed are in the environment: "
            "they are ignored, and the variables of Slurm are used",
            stacklevel=3,
        )
        return found
    different = [name for name in _SAME_IN_SLURM if name in given and given[name] != found[name]]
    if different:
        pairs = (
            f"{name}={given[name]} and {_SAME_IN_SLURM[name]}={found[name]}" for name in different
        )
        raise RuntimeError(
            "Environment variable defined for PyTorch Distributed context is inconsistent with "
            f"equivalent SLURM env variable.: {', '.join(pairs)}"
        )
    return {name: value for name, value in found.items() if name not in given}
