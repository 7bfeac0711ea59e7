"""What an object must offer to be saved, reset or attached, and what it may offer to an engine."""

from ignite.base.mixins import ResettableHandler, Serializable
from ignite.base.protocols import (
    Attachable,
    BoundaryRequest,
    DecidesTogether,
    Describable,
    DryRunnable,
    HoldsData,
    NeedsAllProcesses,
    ResetsItself,
    RunContext,
    RunSaver,
    Stateful,
    UsedByThread,
    WithParts,
)

__all__ = [
    "Attachable",
    "BoundaryRequest",
    "DecidesTogether",
    "Describable",
    "DryRunnable",
    "HoldsData",
    "NeedsAllProcesses",
    "ResetsItself",
    "ResettableHandler",
    "RunContext",
    "RunSaver",
    "Serializable",
    "Stateful",
    "UsedByThread",
    "WithParts",
]
