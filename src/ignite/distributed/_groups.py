"""Groups of some of the processes: made by all of them, kept for as long as the default group lives."""

from __future__ import annotations

import weakref
from typing import Any

import torch.distributed as dist

from ignite.distributed._place import get_world_size, has_group

_groups: weakref.WeakKeyDictionary[Any, dict[tuple[int, ...], Any]] = weakref.WeakKeyDictionary()
"""Default group -> ranks -> the group made of them, so that each is made once. Weak, because programs that make the
default group themselves end it without telling."""


def new_group(ranks: list[int], **kwargs: Any) -> Any:
    """Makes a group of some processes. All processes have to call it, also those that do not belong to it.

    Functions that take a group take a list of ranks, too. The first time that a list is given, its group is made, and
    so all processes have to give it, in the same order if there are several; later only those of the list. The group
    is kept until the default group ends. This function makes a new one at each call.

    Args:
        ranks: of those that belong to it, in any order.
        **kwargs: for ``torch.distributed.new_group``, such as ``timeout`` and ``backend``.

    Returns:
        The group; in a single process, the list.

    Raises:
        ValueError: ``ranks`` is no list of integers, or has some that are no ranks, or twice.

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
        raise ValueError(f"Argument ranks should be different ranks from 0 to {size - 1}, but given {ranks}")
    return dist.new_group(sorted(ranks), **kwargs)


def as_group(group: Any) -> Any:
    """The process group that is meant; None means all.

    Raises:
        ValueError: it is neither a group nor a list of ranks.
    """
    if group is None or isinstance(group, dist.ProcessGroup) or group is dist.GroupMember.NON_GROUP_MEMBER:
        return group
    if not _is_list_of_int(group):
        raise ValueError(f"Argument group should be list of int or ProcessGroup, but given {group!r}")
    ranks = tuple(sorted(group))
    if ranks == tuple(range(get_world_size())):
        return dist.group.WORLD
    made = _groups.setdefault(dist.group.WORLD, {})
    if ranks not in made:
        made[ranks] = new_group(list(ranks))
    return made[ranks]


def is_outside(group: Any) -> bool:
    """Whether this process does not belong to ``group``."""
    return group is not None and (group is dist.GroupMember.NON_GROUP_MEMBER or dist.get_rank(group) < 0)


def _is_list_of_int(ranks: Any) -> bool:
    return isinstance(ranks, list) and all(isinstance(rank, int) for rank in ranks)
