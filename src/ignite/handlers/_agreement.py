"""What one process fails to do, none goes on from: the others would wait for it somewhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ignite import distributed as idist
from ignite.exceptions import CheckpointError

T = TypeVar("T")


def raise_together(act: Callable[[], T]) -> T:
    """Calls ``act``; if it raises in one process, all raise. On several processes, all of them have to call this.

    Returns:
        What ``act`` has returned.

    Raises:
        Exception: that of ``act``.
        CheckpointError: ``act`` has raised in another process; the message says in which, and what.

    Example:
        >>> raise_together(lambda: "written")
        'written'
    """
    if idist.get_world_size() == 1:
        return act()
    error: Exception | None = None
    try:
        result = act()
    except Exception as raised:
        error = raised
    told = idist.all_gather(None if error is None else f"{type(error).__name__}: {error}")
    if error is not None:
        try:
            raise error
        finally:
            del error  # its traceback holds this frame: a cycle
    for rank, text in enumerate(told):
        if text is not None:
            raise CheckpointError(f"A checkpoint should be saved, but on rank {rank} this has failed: {text}")
    return result
