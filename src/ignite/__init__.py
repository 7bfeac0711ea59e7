"""Reignition: training loops for PyTorch, made of engines, events and handlers."""

import importlib
from typing import Any

from ignite.contrib import old_paths

__version__ = "0.6.0"

_ROOMS = (
    "base",
    "contrib",
    "data",
    "distributed",
    "engine",
    "exceptions",
    "handlers",
    "learner",
    "metrics",
    "storage",
    "testing",
    "utils",
)

_OF_LEARNER = ("History", "Learner")

old_paths.install()


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"ignite.{name}")
    if name in _OF_LEARNER:
        return getattr(importlib.import_module("ignite.learner"), name)
    raise AttributeError(f"module 'ignite' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS, *_OF_LEARNER])
