"""Sets up loggers for programs that do not configure logging, and formats values for log lines."""

import logging
import numbers
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import torch

__all__ = [
    "DEFAULT_FORMAT",
    "MAX_NAMES",
    "join_names",
    "setup_logger",
    "tell",
    "to_str_list",
    "visible_logger",
]

DEFAULT_FORMAT = "%(asctime)s %(name)s %(levelname)s: %(message)s"
MAX_NAMES = 10
"""How many names or mismatches a message lists."""
_MAX_ELEMENTS = 10


def setup_logger(
    name: str | None = "ignite",
    level: int = logging.INFO,
    stream: TextIO | None = None,
    format: str = DEFAULT_FORMAT,
    filepath: str | Path | None = None,
    distributed_rank: int = 0,
    reset: bool = False,
    encoding: str | None = "utf-8",
) -> logging.Logger:
    """Sets up a logger with a level, a stream and a file; see ``ignite.utils.setup_logger``."""
    logger = logging.getLogger(name)
    if logger.handlers:
        if not reset:
            return logger
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()

    if name is not None:
        logger.propagate = False
    if distributed_rank > 0:
        logger.addHandler(logging.NullHandler())
        return logger

    logger.setLevel(level)
    formatter = logging.Formatter(format)
    handlers: list[logging.Handler] = [logging.StreamHandler(stream)]
    if filepath is not None:
        handlers.append(logging.FileHandler(filepath, encoding=encoding))
    for handler in handlers:
        handler.setLevel(level)
        handler.setFormatter(formatter)
        logger.addHandler(handler)
    return logger


def visible_logger(name: str, distributed_rank: int = 0) -> logging.Logger:
    """Returns a logger whose lines of level INFO are seen, also without a logging setup.

    If the program has set up logging, for this logger or one above it, nothing is changed.
    """
    logger = logging.getLogger(name)
    return logger if logger.hasHandlers() else setup_logger(name, distributed_rank=distributed_rank)


def tell(logger: logging.Logger, rank: int, message: str, *args: Any) -> None:
    """Logs a line of level INFO; without a logging setup, writes it to standard error on rank 0.

    The logger and its levels are not changed, so that a later logging setup of the program applies.
    """
    if not isinstance(logger, logging.Logger) or logger.hasHandlers():
        logger.info(message, *args, stacklevel=2)
        return
    is_silenced = logger.disabled or logger.manager.disable >= logging.INFO
    parent: logging.Logger | None = logger
    while parent is not None and parent is not logging.root and not is_silenced:
        is_silenced = parent.level > logging.INFO
        parent = parent.parent
    if rank or is_silenced:
        return
    record = logger.makeRecord(logger.name, logging.INFO, "", 0, message, args, None)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(DEFAULT_FORMAT))
    if logger.filter(record):
        handler.handle(record)


def to_str_list(data: Any) -> list[str]:
    """Formats numbers, tensors and nested containers of them as short texts.

    Numbers have 4 decimals. Items of a dictionary become ``key: value``. For a 1-d tensor, the
    first 10 elements are shown; for one with more dimensions, the shape. None and empty lists have
    no text.

    Example:
        >>> to_str_list({"loss": 0.5, "sizes": [1, 2], "none": None, "image": torch.zeros(3, 8, 8)})
        ['loss: 0.5000', 'sizes: 1.0000, 2.0000', 'none: ', 'image: Shape[3, 8, 8]']
    """
    if data is None:
        return []
    if isinstance(data, Mapping):
        return [f"{key}: {', '.join(to_str_list(value))}" for key, value in data.items()]
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return [text for value in data for text in to_str_list(value)]
    if isinstance(data, torch.Tensor):
        return [_format_tensor(data)]
    if isinstance(data, numbers.Number):
        return [f"{data:.4f}"]
    return [str(data)]


def _format_tensor(tensor: torch.Tensor) -> str:
    if tensor.ndim == 0:
        return f"{tensor.item():.4f}"
    if tensor.ndim > 1:
        return f"Shape{list(tensor.shape)}"
    texts = [f"{value:.4f}" for value in tensor[:_MAX_ELEMENTS].tolist()]
    if len(tensor) > _MAX_ELEMENTS:
        texts.append("...")
    return f"[{', '.join(texts)}]"


def join_names(names: Iterable[str]) -> str:
    """Joins names for a message; names beyond the tenth are only counted.

    Example:
        >>> join_names(["weight", "bias"])
        'weight, bias'
    """
    names = list(names)
    text = ", ".join(names[:MAX_NAMES]) or "nothing"
    return text if len(names) <= MAX_NAMES else f"{text} and {len(names) - MAX_NAMES} more"
