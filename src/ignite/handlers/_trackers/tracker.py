"""What keeps values: the protocol of all trackers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

__all__ = ["Tracker"]


@runtime_checkable
class Tracker(Protocol):
    """Where values are kept: files, a server. These three verbs are needed.

    A tracker may have more: ``params(values)``, ``image(name, image, step)``, ``figure(name, figure, step)`` and
    ``artifact(path)``, see :class:`~ignite.handlers.trackers.TrackerLogger`; ``state_dict``/``load_state_dict`` for
    what it needs to go on after a resume; and ``elsewhere(folder)``, which makes a tracker for a dry run that leaves no
    trace outside of the folder. ``separator`` joins the parts of names ("/" if there is none), and ``takes_text =
    True`` says that strings are welcome among the scalars.
    """

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        """Keeps numbers by name."""

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        """Keeps the distribution of the elements of a tensor, on whatever device."""

    def close(self) -> None:
        """Writes what is left, and ends. May be called twice."""
