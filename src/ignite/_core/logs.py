"""Sets up a logger for users who have no logging of their own: the one place that does."""

import logging
from pathlib import Path
from typing import TextIO

__all__ = ["DEFAULT_FORMAT", "setup_logger"]

DEFAULT_FORMAT = "%(asctime)s %(name)s %(levelname)s: %(message)s"


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
    """Gives the logger ``name`` a level, a stream and a file; see ``ignite.utils.setup_logger``."""
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
