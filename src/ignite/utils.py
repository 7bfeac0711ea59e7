"""Utilities for user programs: tensors, seeds, logging."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TextIO

from ignite._core import logs
from ignite._core.calls import deprecated
from ignite._core.files import hash_checkpoint
from ignite._core.logs import to_str_list as _to_str_list
from ignite._core.old_arguments import OldOrder, takes_old
from ignite._core.rng import manual_seed
from ignite._core.trees import CollectionItem as _CollectionItem
from ignite._core.trees import apply_to_tensor, apply_to_type, convert_tensor, to_onehot
from ignite._core.trees import tree_apply2 as _tree_apply2
from ignite._core.trees import tree_map as _tree_map
from ignite.distributed import get_rank, one_rank_first, one_rank_only

__all__ = [
    "_CollectionItem",
    "_to_str_list",
    "_tree_apply2",
    "_tree_map",
    "apply_to_tensor",
    "apply_to_type",
    "convert_tensor",
    "deprecated",
    "hash_checkpoint",
    "manual_seed",
    "one_rank_first",
    "one_rank_only",
    "setup_logger",
    "to_onehot",
]


@takes_old(
    OldOrder(
        "name level format filepath distributed_rank",
        lambda values: len(values) > 2 and isinstance(values[2], str),
    )
)
def setup_logger(
    name: str | None = "ignite",
    level: int = logging.INFO,
    stream: TextIO | None = None,
    format: str = logs.DEFAULT_FORMAT,
    filepath: str | Path | None = None,
    distributed_rank: int | None = None,
    reset: bool = False,
    encoding: str | None = "utf-8",
) -> logging.Logger:
    """Sets up a logger that writes to a stream and, optionally, a file.

    On ranks other than 0, the logger writes nothing.

    Args:
        name: name of the logger; None for the root logger.
        level: level of the logger and its handlers.
        stream: the stream to write to; by default, standard error.
        format: format of the lines, see ``logging.Formatter``.
        filepath: a file to write to as well.
        distributed_rank: rank of this process; by default, from ``ignite.distributed``.
        reset: whether to replace the handlers of a logger that already has some; otherwise, such a
            logger is not changed.
        encoding: encoding of the file.

    Returns:
        The logger.

    Example:
        >>> import sys
        >>> logger = setup_logger("example", stream=sys.stdout, format="%(levelname)s %(message)s")
        >>> logger.info("ready")
        INFO ready
    """
    rank = get_rank() if distributed_rank is None else distributed_rank
    return logs.setup_logger(name, level, stream, format, filepath, rank, reset, encoding)
