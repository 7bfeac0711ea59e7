"""What came of a dry run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["Called", "DryRun"]


class Called(NamedTuple):
    """A handler, or the step, of an engine, and how it went."""

    engine: str
    event: str
    handler: str
    calls: int
    seconds: float


class DryRun:
    """What a dry run has called: a sequence of :class:`Called`, in the order of engines and events; ``print`` it.

    Attributes:
        not_called: handlers of events that do not come up by themselves, such as EXCEPTION_RAISED.
    """

    def __init__(self, rows: Sequence[Called], batches: int) -> None:
        self._rows = [row for row in rows if row.calls]
        self.not_called = [row for row in rows if not row.calls]
        self._batches = batches

    def __iter__(self) -> Iterator[Called]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __str__(self) -> str:
        rows = [*self._rows, *self.not_called]
        widths = [max(map(len, column), default=0) for column in zip(*(row[:3] for row in rows), strict=True)]
        lines = [f"Dry run of {self._batches} batches: {len(self._rows)} called, {len(self.not_called)} not"]
        for row in rows:
            place = "  ".join(f"{text:{width}}" for text, width in zip(row[:3], widths, strict=True))
            how = f"{row.calls:3} x {row.seconds / row.calls * 1e3:8.2f} ms" if row.calls else "not called"
            lines.append(f"  {place}  {how}")
        return "\n".join(lines)
