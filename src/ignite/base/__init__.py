"""What an object must offer to be saved, reset or attached."""

from ignite.base.mixins import ResettableHandler, Serializable
from ignite.base.protocols import Attachable, Stateful

__all__ = ["Attachable", "ResettableHandler", "Serializable", "Stateful"]
