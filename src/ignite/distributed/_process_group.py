"""Ranks, nodes and devices of the default process group or a single process, and subgroups."""

from __future__ import annotations

import os
import re
import socket
import warnings
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from ignite._core.torch_private import default_store

has_native_dist_support = dist.is_available()
has_xla_support = False
has_hvd_support = False


class Place(NamedTuple):
    """The machine of this process among all machines. Machines may run different numbers."""

    nproc_per_node: int
    node_rank: int
    nnodes: int


@dataclass
class _Local:
    """Local rank and machine of this process, which the process group does not know."""

    given_rank: int | None = None
    found: weakref.WeakKeyDictionary[Any, tuple[int, Place]] = field(
        default_factory=weakref.WeakKeyDictionary
    )
    """Local rank and place by default group, found by comparing host names.

    Weak, because programs that create the group themselves also destroy it themselves.
    """


_local = _Local()


def has_group() -> bool:
    """Whether torch.distributed has a default process group, whoever created it."""
    return has_native_dist_support and dist.is_initialized()


def backend() -> str | None:
    """Returns the name of the backend, such as "gloo"; None in a single process.

    Example:
        >>> print(backend())
        None
    """
    return str(dist.get_backend()) if has_group() else None


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

    Read from the environment (LOCAL_RANK, or SLURM_LOCALID if Slurm has started this group), or
    set with :func:`set_local_rank`.
    Otherwise, ranks compare host names once: the first call is then a collective.

    Example:
        >>> get_local_rank()
        0
    """
    if not has_group():
        return 0
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"])
    if "SLURM_LOCALID" in os.environ and _number(os.environ, "SLURM_NTASKS") == get_world_size():
        return int(os.environ["SLURM_LOCALID"])
    if _local.given_rank is not None:
        return _local.given_rank
    return _compare_hosts()[0] if get_world_size() > 1 else 0


def get_nproc_per_node() -> int:
    """Returns the number of processes on this machine; machines may run different numbers.

    Read from the environment of torchrun, or of Slurm if it has started this group. Otherwise,
    ranks compare host names once: the first call is then a collective.

    Example:
        >>> get_nproc_per_node()
        1
    """
    return _place().nproc_per_node


def get_nnodes() -> int:
    """Returns the number of machines. Found as :func:`get_nproc_per_node` is.

    Example:
        >>> get_nnodes()
        1
    """
    return _place().nnodes


def get_node_rank() -> int:
    """Returns the rank of this machine. Found as :func:`get_nproc_per_node` is.

    Example:
        >>> get_node_rank()
        0
    """
    return _place().node_rank


def _place() -> Place:
    size = get_world_size()
    if size == 1:
        return Place(1, 0, 1)
    return place_from_launcher(os.environ, get_rank(), size) or _compare_hosts()[1]


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
    """Returns the device, with its index, of tensors that ``group`` can send; None for the default group."""
    if not _sends_from_accelerators(group):
        return torch.device("cpu")
    found = device()
    if found.type == "cpu" or found.index is not None:
        return found
    return torch.device(found.type, torch.accelerator.current_device_index())


def _sends_from_accelerators(group: Any = None) -> bool:
    return any(name in dist.get_backend(group) for name in ("nccl", "xccl"))


def _compare_hosts() -> tuple[int, Place]:
    group = dist.group.WORLD
    if group not in _local.found:
        warnings.warn(
            "Local rank information is found by comparing host names, because neither LOCAL_RANK "
            "nor SLURM_LOCALID is in the environment. Start with torchrun, or call "
            "ignite.distributed.set_local_rank",
            stacklevel=2,
        )
        _local.found[group] = place_among(_hosts(), get_rank())
    return _local.found[group]


def _hosts() -> list[str]:
    """Returns the host names of all ranks. A collective."""
    size = get_world_size()
    # Collectives of nccl need each process to be on a device of its own, which is chosen by the
    # local rank that is to be found here.
    store = default_store() if _sends_from_accelerators() else None
    if store is not None:
        store.set(f"ignite/host/{get_rank()}", hostname())
        return [store.get(f"ignite/host/{rank}").decode() for rank in range(size)]
    hosts: list[str] = [""] * size
    dist.all_gather_object(hosts, hostname())
    return hosts


def place_among(hosts: list[str], rank: int) -> tuple[int, Place]:
    """Returns the local rank and the place of a rank from the host names of all ranks.

    Example:
        >>> place_among(["a", "b", "b"], 2)
        (1, Place(nproc_per_node=2, node_rank=1, nnodes=2))
    """
    own, nodes = hosts[rank], list(dict.fromkeys(hosts))
    return hosts[:rank].count(own), Place(hosts.count(own), nodes.index(own), len(nodes))


def place_from_launcher(environment: Mapping[str, str], rank: int, size: int) -> Place | None:
    """Returns the place that torchrun or Slurm has set; None if unknown or of another group.

    Example:
        >>> environment = {"LOCAL_WORLD_SIZE": "1", "GROUP_RANK": "2", "GROUP_WORLD_SIZE": "3"}
        >>> place_from_launcher(environment, 4, 5)
        Place(nproc_per_node=1, node_rank=2, nnodes=3)
    """
    local_size = _number(environment, "LOCAL_WORLD_SIZE")
    if local_size and environment.get("WORLD_SIZE", str(size)) == str(size):
        node_rank, nnodes = (_number(environment, f"GROUP_{x}") for x in ("RANK", "WORLD_SIZE"))
        if node_rank is not None and nnodes:
            return Place(local_size, node_rank, nnodes)
        if size % local_size == 0:
            return Place(local_size, rank // local_size, size // local_size)
    if _number(environment, "SLURM_NTASKS") == size:
        return _place_in_slurm(environment, rank, size)
    return None


def _place_in_slurm(environment: Mapping[str, str], rank: int, size: int) -> Place | None:
    text = environment.get("SLURM_STEP_TASKS_PER_NODE") or environment.get("SLURM_TASKS_PER_NODE")
    node_rank, nnodes = (_number(environment, f"SLURM_{x}") for x in ("NODEID", "JOB_NUM_NODES"))
    sizes = _expand_counts(text or "")
    if sum(sizes) == size and node_rank is not None and node_rank < len(sizes):
        return Place(sizes[node_rank], node_rank, len(sizes))
    if not nnodes or size % nnodes:
        return None
    each = size // nnodes
    return Place(each, rank // each if node_rank is None else node_rank, nnodes)


def _expand_counts(text: str) -> list[int]:
    """Expands Slurm's numbers of tasks: "2(x3),1" means 2, 2, 2 and 1."""
    if re.fullmatch(r"\d+(\(x\d+\))?(,\d+(\(x\d+\))?)*", text) is None:
        return []
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return [int(count) for count, times in found for _ in range(int(times or 1))]


def _number(environment: Mapping[str, str], name: str) -> int | None:
    value = environment.get(name, "")
    return int(value) if value.isdigit() else None


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
