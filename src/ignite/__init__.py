"""Reignition: training loops for PyTorch, made of engines, events and handlers."""

__distribution__ = "reignition"

from typing import TYPE_CHECKING

from ignite._core.installation import check_folder
from ignite._core.optional import names_when_used
from ignite.contrib import old_paths

if TYPE_CHECKING:
    from ignite import (
        base,
        contrib,
        data,
        distributed,
        engine,
        exceptions,
        handlers,
        learner,
        metrics,
        report,
        sklearn,
        storage,
        testing,
        utils,
    )
    from ignite.learner import History, Learner

__all__ = [
    "History",
    "Learner",
    "base",
    "contrib",
    "data",
    "distributed",
    "engine",
    "exceptions",
    "handlers",
    "learner",
    "metrics",
    "report",
    "sklearn",
    "storage",
    "testing",
    "utils",
]

__version__ = "0.6.0"

check_folder(__path__[0])
old_paths.install()

__getattr__, __dir__ = names_when_used(__name__)
