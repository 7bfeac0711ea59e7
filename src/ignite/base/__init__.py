"""Base classes and protocols of objects that are saved, reset or attached to an engine."""

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
