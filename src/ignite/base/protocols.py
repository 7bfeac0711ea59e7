"""What the rooms ask of each other's objects, without knowing their classes."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

__all__ = ["Attachable", "Stateful"]


@runtime_checkable
class Attachable(Protocol):
    """Attaches itself to an engine and publishes its result under a name, as metrics do."""

    def attach(self, engine: Any, name: str, /) -> None:
        """Adds its handlers to ``engine``; the result goes to ``engine.state.metrics[name]``."""


@runtime_checkable
class Stateful(Protocol):
    """Hands out its state as a mapping and takes it back, as models, optimizers and engines do.

    Example:
        >>> import torch
        >>> isinstance(torch.nn.Linear(1, 1), Stateful)
        True
    """

    def state_dict(self) -> Mapping[str, Any]:
        """Everything that :meth:`load_state_dict` needs to bring this object back to where it is now."""
        ...

    # The classes of torch disagree about type and result of this method; every one of them fits here.
    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Takes over a state that :meth:`state_dict` has handed out."""
        ...
