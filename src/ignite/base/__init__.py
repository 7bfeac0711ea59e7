"""What an object must offer to be saved, reset or attached, and what it may offer to an engine."""

from ignite.base.mixins import ResettableHandler, Serializable
from ignite.base.protocols import (
    Attachable,
    BoundaryRequest,
    DecidesTogether,
    Describable,
    DryRunnable,
    NeedsAllProcesses,
    ResetsItself,
    RunContext,
    RunSaver,
    Stateful,
    WithParts,
)

__all__ = [
    "Attachable",
    "BoundaryRequest",
    "DecidesTogether",
    "Describable",
    "DryRunnable",
    "NeedsAllProcesses",
    "ResetsItself",
    "ResettableHandler",
    "RunContext",
    "RunSaver",
    "Serializable",
    "Stateful",
    "WithParts",
]
