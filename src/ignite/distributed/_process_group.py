"""Ranks, nodes and devices of the default process group or a single process, and subgroups."""

from __future__ import annotations

import os
import socket
import warnings
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

has_native_dist_support = dist.is_available()
has_xla_support = False
has_hvd_support = False


@dataclass
class _Local:
    """Local rank and number of nodes of this process, which the process group does not know."""

    given_rank: int | None = None
    found: weakref.WeakKeyDictionary[Any, tuple[int, int]] = field(
        default_factory=weakref.WeakKeyDictionary
    )
    """Local rank and number of nodes by default group, found by comparing host names.

    Weak, because programs that create the group themselves also destroy it themselves.
    """


_local = _Local()


def has_group() -> bool:
    """Whether torch.distributed has a default process group, whoever created it."""
    return has_native_dist_support and dist.is_initialized()


def get_rank() -> int:
    """Returns the rank of this process; 0 in a single process.

    Example:
        >>> get_rank()
        0
    """
    return dist.get_rank() if has_group() else 0


def get_world_size() -> int:
    """Returns the number of processes; 1 without a process group.

    Example:
        >>> get_world_size()
        1
    """
    return dist.get_world_size() if has_group() else 1


def set_local_rank(index: int) -> None:
    """Sets the local rank of this process, if no launcher has set it in the environment.

    It is kept until :func:`finalize`.

    Args:
        index: the local rank, from 0.

    Raises:
        ValueError: ``index`` is not an integer or is negative.

    Example:
        >>> set_local_rank(0)
    """
    if not isinstance(index, int) or index < 0:
        raise ValueError(f"index should be an integer of at least 0, but given {index!r}")
    _local.given_rank = index


def get_local_rank() -> int:
    """Returns the rank of this process within its machine.

    Read from the environment (LOCAL_RANK or SLURM_LOCALID), or set with :func:`set_local_rank`.
    Otherwise, ranks compare host names once: the first call is then a collective.

    Example:
        >>> get_local_rank()
        0
    """
    if not has_group():
        return 0
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        if name in os.environ:
            return int(os.environ[name])
    if _local.given_rank is not None:
        return _local.given_rank
    return _compare_hosts()[0] if get_world_size() > 1 else 0


def get_nproc_per_node() -> int:
    """Returns the number of processes per machine.

    Read from the environment (LOCAL_WORLD_SIZE, or the variables of Slurm if they match this
    group). Otherwise, ranks compare host names once: the first call is then a collective.

    Example:
        >>> get_nproc_per_node()
        1
    """
    size = get_world_size()
    if size == 1:
        return 1
    if os.environ.get("LOCAL_WORLD_SIZE", "").isdigit():
        return int(os.environ["LOCAL_WORLD_SIZE"])
    return slurm_tasks_per_node(os.environ, size) or size // _compare_hosts()[1]


def get_nnodes() -> int:
    """Returns the number of machines.

    Example:
        >>> get_nnodes()
        1
    """
    return get_world_size() // get_nproc_per_node()


def get_node_rank() -> int:
    """Returns the rank of this machine.

    Example:
        >>> get_node_rank()
        0
    """
    return get_rank() // get_nproc_per_node()


def hostname() -> str:
    """Returns the name of this machine.

    Example:
        >>> hostname() == socket.gethostname()
        True
    """
    return socket.gethostname()


def device() -> torch.device:
    """Returns the device of this process: its accelerator if available, otherwise the CPU.

    Example:
        >>> torch.ones(2, device=device()).sum().item()
        2.0
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None or (
        has_group() and dist.get_backend() not in ("nccl", "xccl") and accelerator.type == "mps"
    ):
        return torch.device("cpu")
    if has_group() and accelerator.type == "cuda":
        index = torch.cuda.current_device()
        if index < get_local_rank():
            warnings.warn(
                f"Current device index {index} is less than current local rank "
                f"{get_local_rank()}. Please, make sure to call torch.cuda.set_device(local_rank)",
                stacklevel=2,
            )
        return torch.device("cuda", index)
    return torch.device(accelerator.type)


def communication_device(group: Any = None) -> torch.device:
    """Returns the device of tensors that ``group`` can send; None for the default group."""
    return device() if "nccl" in dist.get_backend(group) else torch.device("cpu")


def _compare_hosts() -> tuple[int, int]:
    group = dist.group.WORLD
    if group not in _local.found:
        warnings.warn(
            "Local rank information is found by comparing host names, because neither LOCAL_RANK "
            "nor SLURM_LOCALID is in the environment. Start with torchrun, or call "
            "ignite.distributed.set_local_rank",
            stacklevel=2,
        )
        hosts: list[str] = [""] * get_world_size()
        dist.all_gather_object(hosts, hostname())
        _local.found[group] = hosts[: get_rank()].count(hostname()), len(set(hosts))
    return _local.found[group]


def slurm_tasks_per_node(environment: Mapping[str, str], world_size: int) -> int | None:
    """Returns the number of processes per machine from Slurm; None if unknown or of another group.

    Example:
        >>> slurm_tasks_per_node({"SLURM_NTASKS": "8", "SLURM_JOB_NUM_NODES": "2"}, 8)
        4
    """
    if environment.get("SLURM_NTASKS") != str(world_size):
        return None
    if environment.get("SLURM_NTASKS_PER_NODE", "").isdigit():
        return int(environment["SLURM_NTASKS_PER_NODE"])
    num_nodes = environment.get("SLURM_JOB_NUM_NODES", "")
    if not num_nodes.isdigit() or num_nodes == "0" or world_size % int(num_nodes):
        return None
    return world_size // int(num_nodes)


def forget() -> None:
    """Forgets the local rank and the hosts of a destroyed process group."""
    _local.given_rank = None
    _local.found.clear()


_subgroups: weakref.WeakKeyDictionary[Any, dict[tuple[int, ...], Any]] = weakref.WeakKeyDictionary()
"""Groups by default group and ranks, so that each is created once.

Weak, because programs that create the default group themselves also destroy it themselves.
"""


def new_group(ranks: list[int], **kwargs: Any) -> Any:
    """Creates a group of some ranks. A collective of all ranks, also those outside of the group.

    Functions that accept a group also accept a list of ranks. The first call with a list creates
    its group, so that all ranks have to make that call, in the same order for several lists; later
    calls need only the ranks of the list. Such a group is kept until the default group is
    destroyed, whereas this function creates a new group at each call.

    Args:
        ranks: the ranks of the group, in any order.
        **kwargs: passed to ``torch.distributed.new_group``, such as ``timeout`` and ``backend``.

    Returns:
        The group; in a single process, the list.

    Raises:
        ValueError: ``ranks`` is not a list of integers, or has invalid or duplicate ranks.

    Example:
        >>> new_group([0])
        [0]
    """
    if not _is_list_of_int(ranks):
        raise ValueError(f"Argument ranks should be list of int, but given {ranks!r}")
    if not has_group():
        return ranks
    size = get_world_size()
    if not ranks or len(set(ranks)) < len(ranks) or min(ranks) < 0 or max(ranks) >= size:
        raise ValueError(
            f"Argument ranks should be different ranks from 0 to {size - 1}, but given {ranks}"
        )
    return dist.new_group(sorted(ranks), **kwargs)


def as_group(group: Any) -> Any:
    """Converts a list of ranks to a process group; returns groups and None unchanged.

    Raises:
        ValueError: ``group`` is neither a group nor a list of ranks.
    """
    if (
        group is None
        or isinstance(group, dist.ProcessGroup)
        or group is dist.GroupMember.NON_GROUP_MEMBER
    ):
        return group
    if not _is_list_of_int(group):
        raise ValueError(
            f"Argument group should be list of int or ProcessGroup, but given {group!r}"
        )
    ranks = tuple(sorted(group))
    if ranks == tuple(range(get_world_size())):
        return dist.group.WORLD
    made = _subgroups.setdefault(dist.group.WORLD, {})
    if ranks not in made:
        made[ranks] = new_group(list(ranks))
    return made[ranks]


def is_outside(group: Any) -> bool:
    """Whether this process does not belong to ``group``."""
    return group is not None and (
        group is dist.GroupMember.NON_GROUP_MEMBER or dist.get_rank(group) < 0
    )


def _is_list_of_int(ranks: Any) -> bool:
    return isinstance(ranks, list) and all(isinstance(rank, int) for rank in ranks)
