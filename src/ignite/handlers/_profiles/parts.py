"""The parts that a run's time is split into: a tree whose own times add up to the whole."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["Part"]


class Part:
    """A run, its data, its step or one of its handlers. A handler's children are the runs within it.

    Args:
        name: what a reader calls it.
        kind: "run", "data", "step", "handlers" or "checkpoints".
        event: of a handler, the name of its event.
        track: the number of the engine, in the order in which they first ran.
    """

    __slots__ = ("_children", "calls", "event", "inner", "kind", "name", "total", "track")

    def __init__(self, name: str, kind: str, event: str = "", track: int = 0) -> None:
        self.name = name
        self.kind = kind
        self.event = event
        self.track = track
        self.calls = 0
        self.total = 0
        """Nanoseconds from begin to end, of all calls that have ended."""
        self.inner = 0
        """Those of them that belong to other parts, which began and ended meanwhile."""
        self._children: dict[tuple[str, str, str, int], Part] = {}

    def child(self, name: str, kind: str, event: str = "", track: int | None = None) -> Part:
        """The part within this one that is told by these, made if it is not there."""
        track = self.track if track is None else track
        key = (name, kind, event, track)
        if key not in self._children:
            same = sum(one.kind == kind == "run" and known[0] == name for known, one in self._children.items())
            self._children[key] = Part(f"{name} {same + 1}" if same else name, kind, event, track)
        return self._children[key]

    @property
    def children(self) -> list[Part]:
        """The parts within this one."""
        return list(self._children.values())

    @property
    def own(self) -> int:
        """Nanoseconds that belong to no other part. What is still open may have lent more to others than it has."""
        return max(0, self.total - self.inner)

    @property
    def sum(self) -> int:
        """Nanoseconds of this part and of all within it."""
        return self.own + sum(child.sum for child in self._children.values())

    @property
    def path(self) -> str:
        """Its name among its siblings, for scalars."""
        return self.kind if self.kind in ("data", "step") else f"{self.kind}/{self.name}"

    def walk(self) -> Iterator[Part]:
        """This part, and all within it."""
        yield self
        for child in self._children.values():
            yield from child.walk()
