"""The position in the data, its state in checkpoints, and the protocol of data that starts from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["VERSION", "Position", "Source", "check_fingerprint", "from_state", "to_state"]

VERSION = 1

_MEANING = {
    "kind": "the kind of data",
    "length": "the length of the dataset",
    "batch_size": "batch_size",
    "drop_last": "drop_last",
    "num_workers": "num_workers",
}


@dataclass(frozen=True)
class Position:
    """A position in the data.

    Args:
        epoch: number of the epoch, starting at 0 unless it was set.
        num_batches: batches that this process has received in the epoch.
        num_samples: samples that all processes together have received in the epoch.
        is_complete: whether no batch is left in the epoch, although its iterator has not ended yet.
        inner: the state of data with a position of its own.
    """

    epoch: int = 0
    num_batches: int = 0
    num_samples: int = 0
    is_complete: bool = False
    inner: Mapping[str, Any] | None = field(default=None, compare=False)


class Source(Protocol):
    """Data that can start at any position."""

    seed: int

    def __len__(self) -> int: ...

    def fingerprint(self) -> dict[str, Any]:
        """Returns what a position depends on; saved with it and compared when it is loaded."""
        ...

    def begin(self, start: Position) -> Iterator[Any]:
        """Iterates over the batches from ``start`` on."""
        ...

    def num_samples_after(self, start: Position, num_batches: int) -> int:
        """Returns the samples seen by all processes, ``num_batches`` batches after ``start``."""
        ...

    def num_left(self, start: Position) -> int | None:
        """Returns the number of batches of this process from ``start`` on; None if unknown."""
        ...

    def fit(self, position: Position, saved: Mapping[str, Any], is_changed: bool) -> Position:
        """Adapts a position to the current number of processes; ``saved`` is its fingerprint."""
        ...

    def describe(self, number: int) -> str:
        """Describes the contents of a batch in error messages."""
        ...

    def inner_state(self) -> Mapping[str, Any] | None:
        """Returns the state of data with a position of its own; None for other data."""
        ...

    def give_up(self, batches: Iterator[Any]) -> None:
        """Shuts down the other workers after one has died."""
        ...


def to_state(position: Position, seed: int, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a position to a dictionary of numbers, strings, and the state of the data."""
    state: dict[str, Any] = {
        "version": VERSION,
        "epoch": position.epoch,
        "num_batches": position.num_batches,
        "num_samples": position.num_samples,
        "is_complete": position.is_complete,
        "seed": seed,
        "fingerprint": dict(fingerprint),
    }
    if position.inner is not None:
        state["inner"] = position.inner
    return state


def from_state(state: Mapping[str, Any]) -> tuple[Position, int, Mapping[str, Any]]:
    """Returns position, seed and fingerprint from the result of :func:`to_state`.

    Raises:
        ValueError: an entry is missing, negative or not a number; or a newer version wrote the
            state.
    """
    version = state.get("version")
    if not isinstance(version, int) or not 1 <= version <= VERSION:
        raise ValueError(
            f"version of the position in the data should be from 1 to {VERSION}, but given "
            f"{version!r}. A position that was written by a newer version of this library needs "
            "that version"
        )
    numbers = {name: _natural(state, name) for name in ("num_batches", "num_samples")}
    epoch, seed, fingerprint = state.get("epoch"), state.get("seed"), state.get("fingerprint")
    if (
        not isinstance(epoch, int)
        or not isinstance(seed, int)
        or not isinstance(fingerprint, Mapping)
    ):
        raise ValueError(
            "epoch and seed of the position in the data should be integers, and fingerprint a "
            f"dictionary, but given {epoch!r}, {seed!r}, {fingerprint!r}"
        )
    is_complete = bool(state.get("is_complete", False))
    return (
        Position(epoch, **numbers, is_complete=is_complete, inner=state.get("inner")),
        seed,
        fingerprint,
    )


def check_fingerprint(saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Checks that a position was saved with the same data and batches.

    The number of processes may differ, and so may the batch size per process, if the global batch
    size is the same.

    Raises:
        ValueError: the data differs; the message lists the differences.
    """
    differences = [
        f"{meaning} was {saved[name]!r} and is {current[name]!r}"
        for name, meaning in _MEANING.items()
        if name in saved and name in current and saved[name] != current[name]
        if name != "batch_size" or _global_size(saved) != _global_size(current)
    ]
    if differences:
        raise ValueError(
            "data should be the same as when its position was saved, but given other data: "
            f"{', '.join(differences)}. Use the same data and batch size; or, to continue after "
            "the same number of "
            'samples nevertheless, resumable(..., on_change="accept")'
        )


def _natural(state: Mapping[str, Any], name: str) -> int:
    value = state.get(name)
    if not isinstance(value, int) or value < 0:
        raise ValueError(
            f"{name} of the position in the data should be an integer of at least 0, but given "
            f"{value!r}"
        )
    return value


def _global_size(fingerprint: Mapping[str, Any]) -> Any:
    size = fingerprint.get("batch_size")
    return size if size is None else size * fingerprint.get("world_size", 1)
