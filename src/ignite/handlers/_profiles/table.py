"""The parts of a run as text: the largest first, with what is within them."""

from __future__ import annotations

from collections.abc import Iterator

from ignite.handlers._profiles.parts import Part

__all__ = ["table_of"]

_WIDEST = 60


def table_of(run: Part, whole: int) -> str:
    """A line for each part of ``run``, which took ``whole`` nanoseconds.

    Example:
        >>> run = Part("run", "run")
        >>> step = run.child("step", "step")
        >>> step.total, step.calls = 800_000_000, 2
        >>> print(table_of(run, whole=1_000_000_000))
        part      seconds   share  calls         mean
        step        0.800  80.0 %      2   400.000 ms
        engine      0.200  20.0 %
        whole       1.000 100.0 %
    """
    rows = list(_rows(run, whole, ""))
    width = min(_WIDEST, max(len(name) for name, _, _ in rows))
    lines = [f"{'part':<{width}} {'seconds':>10} {'share':>7} {'calls':>6} {'mean':>12}"]
    for name, took, calls in (*rows, ("whole", whole, 0)):
        shown = name if len(name) <= width else name[: width - 3] + "..."
        line = f"{shown:<{width}} {took / 1e9:>10.3f} {100 * took / max(whole, 1):>5.1f} %"
        lines.append(f"{line} {calls:>6} {_duration(took / calls)}" if calls else line)
    return "\n".join(lines)


def _rows(part: Part, whole: int, indent: str) -> Iterator[tuple[str, int, int]]:
    """Name, nanoseconds and calls of what is within ``part``, and of what is left of it."""
    children = [child for child in part.children if child.calls or child.sum]
    rest = whole - sum(child.sum for child in children)
    for child in sorted(children, key=lambda child: -child.sum):
        yield indent + _title(child), child.sum, child.calls
        if child.children:
            yield from _rows(child, child.sum, indent + "  ")
    yield indent + ("engine" if part.kind == "run" else "itself"), rest, 0


def _title(part: Part) -> str:
    return f"{part.name} ({part.event})" if part.event else f"run of {part.name}" if part.kind == "run" else part.name


def _duration(nanoseconds: float) -> str:
    for unit, size in ((" s", 1e9), ("ms", 1e6)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:>9.3f} {unit}"
    return f"{nanoseconds / 1e3:>9.3f} us"
