"""What Slurm tells the processes of a job, in the words of torch.distributed. Pure functions of the environment."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping

REQUIRED = (
    "SLURM_JOB_ID",
    "SLURM_PROCID",
    "SLURM_LOCALID",
    "SLURM_NTASKS",
    "SLURM_JOB_NODELIST",
    "SLURM_JOB_NUM_NODES",
)
_SAME = {"RANK": "SLURM_PROCID", "LOCAL_RANK": "SLURM_LOCALID", "WORLD_SIZE": "SLURM_NTASKS"}


def expand_hosts(node_list: str) -> list[str]:
    """The hosts of a list as Slurm writes it.

    Raises:
        ValueError: it is no such list.

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
            raise ValueError(f"SLURM_JOB_NODELIST should have ranges of numbers in brackets, but given {item!r}")
        for number in range(int(first), int(last) + 1):
            # What follows may have brackets, too.
            hosts += _expand(f"{item[: bracket.start()]}{number:0{len(first)}d}{item[bracket.end() :]}")
    return hosts


def from_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that torch.distributed needs, and that are not there.

    Raises:
        RuntimeError: variables of Slurm are missing, or those of torch.distributed are there and say something else.
    """
    missing = [name for name in REQUIRED if name not in environment]
    if missing:
        raise RuntimeError(f"SLURM distributed configuration is missing '{', '.join(missing)}' in env variables")
    job = re.sub(r"\D", "", environment["SLURM_JOB_ID"]) or "0"
    found = {name: environment[slurm] for name, slurm in _SAME.items()}
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
    different = [name for name in _SAME if name in given and given[name] != found[name]]
    if different:
        raise RuntimeError(
            "Environment variable defined for PyTorch Distributed context is inconsistent with equivalent SLURM env "
            f"variable.: {', '.join(f'{name}={given[name]} and {_SAME[name]}={found[name]}' for name in different)}"
        )
    return {name: value for name, value in found.items() if name not in given}


def tasks_per_node(environment: Mapping[str, str], world_size: int) -> int | None:
    """How many processes Slurm has started on each machine; None if it does not say, or has not started these.

    Example:
        >>> tasks_per_node({"SLURM_NTASKS": "8", "SLURM_JOB_NUM_NODES": "2"}, 8)
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
