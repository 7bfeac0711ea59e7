"""Where in the data somebody is, as it goes into a file, and whether it fits the data that are there now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["VERSION", "Position", "check_fingerprint", "from_state", "to_state"]

VERSION = 1

_MEANING = {
    "kind": "the kind of data",
    "length": "the length of the data set",
    "batch_size": "batch_size",
    "drop_last": "drop_last",
    "num_workers": "num_workers",
}


@dataclass(frozen=True)
class Position:
    """A place in the passes over the data.

    Args:
        epoch: number of the pass, from 0 if nobody has said otherwise.
        num_batches: that this process has been given in the pass.
        num_samples: that all processes together have been given in the pass.
        is_complete: nothing is left of the pass, although nobody has been told so yet.
        inner: the state of data that know themselves where they are.
    """

    epoch: int = 0
    num_batches: int = 0
    num_samples: int = 0
    is_complete: bool = False
    inner: Mapping[str, Any] | None = field(default=None, compare=False)


def to_state(position: Position, seed: int, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """A dictionary of plain numbers and strings, and of what the data's own state holds."""
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
    """Position, seed and fingerprint of what :func:`to_state` has returned.

    Raises:
        ValueError: something is missing, negative or no number; or a newer version has written it.
    """
    version = state.get("version")
    if not isinstance(version, int) or not 1 <= version <= VERSION:
        raise ValueError(
            f"version of the position in the data should be from 1 to {VERSION}, but given {version!r}. "
            "A position that was written by a newer version of this library needs that version"
        )
    numbers = {name: _natural(state, name) for name in ("num_batches", "num_samples")}
    epoch, seed, fingerprint = state.get("epoch"), state.get("seed"), state.get("fingerprint")
    if not isinstance(epoch, int) or not isinstance(seed, int) or not isinstance(fingerprint, Mapping):
        raise ValueError(
            "epoch and seed of the position in the data should be integers, and fingerprint a dictionary, "
            f"but given {epoch!r}, {seed!r}, {fingerprint!r}"
        )
    is_complete = bool(state.get("is_complete", False))
    return Position(epoch, **numbers, is_complete=is_complete, inner=state.get("inner")), seed, fingerprint


def check_fingerprint(saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Checks that a position was taken in the same data, cut into batches in the same way.

    The number of processes may differ. So may the batch size of each, if that of all together is the same.

    Raises:
        ValueError: names each difference, with both values.
    """
    differences = [
        f"{meaning} was {saved[name]!r} and is {current[name]!r}"
        for name, meaning in _MEANING.items()
        if name in saved and name in current and saved[name] != current[name]
        if name != "batch_size" or _global_size(saved) != _global_size(current)
    ]
    if differences:
        raise ValueError(
            "data should be as they were when the position in them was saved, but given others: "
            f"{', '.join(differences)}. Use the same data and batch size. To go on all the same, after the same "
            'number of samples, use resumable(..., on_change="accept")'
        )


def _natural(state: Mapping[str, Any], name: str) -> int:
    value = state.get(name)
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} of the position in the data should be an integer of at least 0, but given {value!r}")
    return value


def _global_size(fingerprint: Mapping[str, Any]) -> Any:
    size = fingerprint.get("batch_size")
    return size if size is None else size * fingerprint.get("world_size", 1)
