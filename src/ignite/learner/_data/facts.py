"""What was learnt from the data that a model was trained on: it belongs to the weights. Other data have to fit it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from torch import Tensor

from ignite.data.arrays import named_tensors
from ignite.exceptions import CheckpointError
from ignite.learner._data.arrays import Names, Parts
from ignite.learner._data.columns import Known
from ignite.learner._data.task import Task
from ignite.learner._data.trial import tensors_in

__all__ = ["Facts", "Learnt"]

_VERSION = 1


class Seen(NamedTuple):
    """An array of x."""

    path: str
    """Where it is in x, as ``x[0]``."""
    shape: tuple[int, ...]
    """Of one sample."""


@dataclass(frozen=True)
class Facts:
    """What was learnt from data.

    Example:
        >>> facts = Facts(Known(features=("width", "height"), classes=("cat", "dog")))
        >>> Facts.from_text(facts.to_text()) == facts
        True
    """

    known: Known = field(default_factory=Known)
    """Columns and classes."""
    task: Task | None = None
    """None if it is not known yet."""
    target: Names | None = None
    """What the target is called in tables and dictionaries."""
    x: tuple[Seen, ...] = ()
    """The inputs of the model; empty if nobody may look."""
    balance: tuple[float, ...] = ()
    """What each class weighs with ``class_weight="balanced"``; else empty."""

    @property
    def is_learnt(self) -> bool:
        """Whether there have been data."""
        return bool(self.x) or self.known.are_learnt

    def check(self, parts: Parts) -> None:
        """Raises a ValueError if the data can be no inputs of the model that was trained.

        How long sequences are, and how large images, is left to the model.
        """
        seen = _seen_in(parts.x)
        if not (self.x and seen):
            return
        if [one.path for one in seen] != [one.path for one in self.x]:
            told = [", ".join(one.path for one in some) for some in (self.x, seen)]
            raise ValueError(f"The inputs should be {told[0]}, as the model was trained on, but given {told[1]}")
        for trained, given in zip(self.x, seen, strict=True):
            _check_shape(
                trained, given, next(len(tensor) for path, tensor in _arrays_in(parts.x) if path == given.path)
            )

    def of(self, parts: Parts | None) -> Facts:
        """The same, with what these data look like, if nothing is known of that yet."""
        return self if self.x or parts is None else replace(self, x=_seen_in(parts.x))

    def to_text(self) -> str:
        """As JSON, which can be loaded safely."""
        known = {name: _listed(value) for name, value in asdict(self.known).items() if name not in ("wants", "dtype")}
        task = None if self.task is None else asdict(self.task)
        return json.dumps(
            {
                "version": _VERSION, "known": known, "task": task, "target": _listed(self.target), "x": self.x,
                "balance": self.balance,
            }
        )  # fmt: skip

    @classmethod
    def from_text(cls, text: str) -> Facts:
        """What :meth:`to_text` has written.

        Raises:
            CheckpointError: it has written something else, or a newer version has.
        """
        try:
            found = json.loads(text)
            version = found["version"]
            if version > _VERSION:
                raise CheckpointError(
                    f"What was learnt from data should be of version {_VERSION}, not {version}: update"
                )
            known = {name: _tupled(value) for name, value in found["known"].items()}
            task = None if found["task"] is None else Task(**found["task"])
            target = _tupled(found["target"])
            x = tuple(Seen(path, tuple(shape)) for path, shape in found["x"])
            return cls(Known(**known), task, target, x, tuple(map(float, found.get("balance", ()))))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"What was learnt from data cannot be read: {error}") from error


class Learnt:
    """Holds the facts of a learner; part of the checkpoints of a run.

    State:
        The facts, as text.
    """

    def __init__(self, facts: Facts | None = None) -> None:
        self.facts = facts or Facts()

    def state_dict(self) -> dict[str, Any]:
        """The facts."""
        return {"facts": self.facts.to_text()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """The facts as they were saved."""
        self.facts = Facts.from_text(state_dict["facts"])


def _arrays_in(x: Any) -> list[tuple[str, Tensor]]:
    return [(path, tensor) for path, tensor in named_tensors(x, "x") if tensor.ndim] if tensors_in(x) else []


def _seen_in(x: Any) -> tuple[Seen, ...]:
    return tuple(Seen(path, tuple(tensor.shape[1:])) for path, tensor in _arrays_in(x))


def _check_shape(trained: Seen, given: Seen, num_rows: int) -> None:
    expected, shape = trained.shape, given.shape
    told = f"{given.path} should have shape {_with_samples(expected)}, as the model was trained on, but given "
    is_one_sample = len(shape) == len(expected) - 1
    if is_one_sample and (num_rows, *shape)[1:] == expected[1:]:
        raise ValueError(f"{told}{(num_rows, *shape)}: for a single sample, write {given.path}[None]")
    is_moved = len(shape) == len(expected) > 1 and shape != expected and sorted(shape) == sorted(expected)
    if is_moved and len(expected) > 2 and shape in (expected[1:] + expected[:1], expected[-1:] + expected[:-1]):
        raise ValueError(f"{told}{_with_samples(shape)}: put the dimensions in this order with permute")


def _with_samples(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['N', *map(str, shape)])})" if shape else "(N,)"


def _listed(value: Any) -> Any:
    """Names as JSON has them; one that is no text or number becomes text."""
    if isinstance(value, Mapping):
        return {"of": {key: _listed(names) for key, names in value.items()}}
    if isinstance(value, tuple | list):
        return [_listed(item) for item in value]
    return value if isinstance(value, str | bool | int | float | None) else str(value)


def _tupled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tupled(names) for key, names in value["of"].items()}
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
