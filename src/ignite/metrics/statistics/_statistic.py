"""What a statistic is: what is accumulated over batches, whichever metrics are computed from it."""

from __future__ import annotations

import copy
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor

from ignite.distributed.fused_reduction import Part
from ignite.metrics.statistics._pending_batches import Copies

F = TypeVar("F", bound=Callable[..., Any])


def leaves_inference_mode(method: F) -> F:
    """Makes a method leave inference mode while it runs, so that what it accumulates can be updated in any mode.

    Tensors that inference mode has made cannot be changed in place outside of it.
    """

    @functools.wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_inference_mode_enabled():
            return method(*args, **kwargs)
        with torch.inference_mode(False), torch.no_grad():
            return method(*args, **kwargs)

    return wrapper  # type: ignore[return-value]


def is_pair(output: Any) -> bool:
    """Whether an output is what most metrics take as it is: a tuple of two tensors that have a batch dimension."""
    return (
        type(output) is tuple
        and len(output) == 2
        and isinstance(output[0], Tensor)
        and isinstance(output[1], Tensor)
        and output[0].ndim > 0
        and output[1].ndim > 0
    )


class Reading:
    """One output, and what statistics derive from it: each thing once, however many of them ask."""

    __slots__ = ("_copied", "_derived", "output")

    def __init__(self, output: Any) -> None:
        self.output = output
        self._derived: dict[Hashable, Any] = {}
        self._copied: list[tuple[Tensor, Tensor, Copies]] | None = None

    def derive(self, function: Callable[..., Any], *args: Hashable) -> Any:
        """``function(output, *args)``. What it raises, it raises each time."""
        key = (function, args) if args else function
        found = self._derived.get(key, self)  # which is nothing that is derived
        if found is self:
            found = self._derived[key] = function(self.output, *args)
        return found

    def copies_of(self, x: Tensor, y: Tensor) -> Copies:
        """Copies of what has been derived, which do not change with the output."""
        if self._copied is None:
            self._copied = []
        for known_x, known_y, copies in self._copied:
            if known_x is x and known_y is y:
                return copies
        copies = Copies(x, y)
        self._copied.append((x, y, copies))
        return copies

    def once(self, function: Callable[..., None], *args: Hashable) -> None:
        """Calls ``function(self, *args)``, unless that has been done without an error."""
        key = (function, args)
        if key not in self._derived:
            function(self, *args)
            self._derived[key] = None


class Statistic(ABC):
    """Accumulates what is sufficient for one or more metrics.

    Statistics with equal keys accumulate the same, so that metrics may share one. What has been
    accumulated is in the attributes that ``PARTS`` names; nothing of it changes when ``update``
    raises.

    Args:
        device: where to accumulate; None means where the outputs are.
    """

    PARTS: ClassVar[Mapping[str, str]] = {}
    """Name of each attribute -> how it is reduced over processes; see ``ignite.distributed.fused_reduction``."""

    LATER_PARTS: ClassVar[Mapping[str, Any]] = {}
    """Parts that states need not have, because they are newer -> what they are then."""

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device
        self.version = 0
        """Changes with each update, so that results can be kept."""
        self.num_examples = 0
        self._moves_on_update = False
        """Whether to move to where the next output is: what was loaded may be elsewhere."""
        self.reset()

    @property
    def key(self) -> tuple[Hashable, ...]:
        """What kind of statistic this is, with its parameters."""
        return (type(self), self.device, *self._parameters())

    def _parameters(self) -> tuple[Hashable, ...]:
        return ()

    @abstractmethod
    def reset(self) -> None:
        """Forgets all that was seen."""

    @abstractmethod
    def _update(self, reading: Reading) -> None:
        """Takes in one output."""

    def update(self, reading: Reading) -> None:
        """Takes in one output, or raises and stays as it was."""
        if torch.is_inference_mode_enabled():
            self._update_outside_inference_mode(reading)
            return
        if self._moves_on_update:
            self._move_to_device_of(reading.output)
        self._update(reading)
        self.version += 1

    @leaves_inference_mode
    def _update_outside_inference_mode(self, reading: Reading) -> None:
        self.update(reading)

    def _rollback_point(self) -> Callable[[], None]:
        """A function that takes back all updates from now on."""
        kept = {name: restorer_of(value) for name, value in vars(self).items()}

        def roll_back() -> None:
            self._restore({name: value() for name, value in kept.items()})

        return roll_back

    def _restore(self, values: Mapping[str, Any]) -> None:
        """Puts attributes back, as another version: results of what is taken back may have been kept."""
        version = self.version + 1
        vars(self).update(values)
        self.version = version

    def widen(self, other: Statistic) -> None:  # noqa: B027 - most have nothing to widen
        """Before anything was seen: also accumulates what ``other``, of the same key, was to accumulate."""

    def check(self) -> None:  # noqa: B027 - most have nothing to check
        """Raises what could not be raised in ``update`` without waiting for an accelerator."""

    def parts(self) -> dict[str, Any]:
        """What has been accumulated."""
        return {name: getattr(self, name) for name in self.PARTS}

    def take(self, values: Mapping[str, Any]) -> None:
        """Puts ``values``, named as in :meth:`parts`, in place of what has been accumulated."""
        for name, value in values.items():
            setattr(self, name, value)
        self.version += 1

    @leaves_inference_mode
    def load(self, values: Mapping[str, Any]) -> None:
        """Goes on from saved values.

        Raises:
            ValueError: they do not go together.
        """
        num_examples = values["num_examples"]
        if not isinstance(num_examples, int) or num_examples < 0:
            raise ValueError(f"num_examples should be a count, but given {num_examples!r}")
        for name, shape in self._shapes_of(values).items():
            given = values[name]
            if given is not None and (not isinstance(given, Tensor) or tuple(given.shape) != shape):
                what = tuple(given.shape) if isinstance(given, Tensor) else repr(given)
                raise ValueError(f"{name} should be a tensor of shape {shape}, but given {what}")
        self.take(values if self.device is None else _moved(values, self.device))
        self._moves_on_update = self.device is None

    def _shapes_of(self, values: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """The shapes that tensors among saved values have to have, as far as they are known."""
        return {}

    def _move_to_device_of(self, output: Any) -> None:
        """Moves to the device of the first tensor in ``output``."""
        items = output if isinstance(output, list | tuple) else [output]
        device = next((item.device for item in items if isinstance(item, Tensor)), None)
        self._moves_on_update = False
        if device is not None:
            self.take(_moved(self.parts(), device))

    def replaced(self, values: Mapping[str, Any]) -> Self:
        """A statistic like this one that has accumulated ``values``."""
        other = copy.copy(self)
        other.take(values)
        return other

    @leaves_inference_mode
    def clone(self) -> Self:
        """One that goes on by itself."""
        return self.replaced({name: copied(value) for name, value in self.parts().items()})

    def narrowed(self, wanted: Statistic) -> Statistic:
        """A copy that goes on by itself, for a metric that alone would have accumulated ``wanted``."""
        return self.clone()

    @leaves_inference_mode
    def fresh(self) -> Self:
        """One of the same kind that has seen nothing."""
        other = copy.copy(self)
        other.reset()
        return other

    def to_combine(self) -> list[Part]:
        """What has been accumulated, to be combined with what other processes have."""
        return [
            Part(self.op_of(name), value, f"{name} of {self}")
            for name, value in self.parts().items()
        ]

    def op_of(self, name: str) -> str:
        """How the values of a part are combined."""
        return self.PARTS[name]

    def __str__(self) -> str:
        return type(self).__name__

    def where(self, tensor: Tensor) -> torch.device:
        """Where to accumulate what comes with ``tensor``."""
        return tensor.device if self.device is None else self.device


def update_all(pairs: Sequence[tuple[Statistic, Reading]]) -> None:
    """Updates statistics, each with its reading; none if one of them raises."""
    rollbacks = []
    try:
        for statistic, reading in pairs[:-1]:
            rollbacks.append(statistic._rollback_point())
            statistic.update(reading)
        for statistic, reading in pairs[-1:]:  # which takes care of itself
            statistic.update(reading)
    except BaseException:
        for roll_back in reversed(rollbacks):
            roll_back()
        raise


def restorer_of(value: Any) -> Callable[[], Any]:
    """A function that gives back ``value`` as it is now, however tensors, containers and metrics in it change."""
    if isinstance(value, Tensor):
        kept = value.clone()
        return lambda: kept
    if type(value) in (list, tuple):
        items = [restorer_of(item) for item in value]
        return lambda: type(value)(item() for item in items)
    if isinstance(value, dict):
        entries = {key: restorer_of(item) for key, item in value.items()}

        def restored() -> dict[Any, Any]:
            value.clear()
            value.update((key, item()) for key, item in entries.items())
            return value

        return restored
    if hasattr(value, "_rollback_point"):
        roll_back = value._rollback_point()
        return lambda: (roll_back(), value)[1]
    return lambda: value


def copied(value: Any) -> Any:
    """A copy of a tensor or a list; other things do not change."""
    if isinstance(value, Tensor):
        return value.clone()
    return list(value) if isinstance(value, list) else value


def _moved(values: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """With tensors on ``device``, floats as they are accumulated there."""
    moved = dict(values)
    for name, value in values.items():
        if isinstance(value, Tensor):
            is_narrowed = device.type == "mps" and value.dtype == torch.float64
            moved[name] = value.to(device, torch.float32 if is_narrowed else value.dtype)
    return moved


def wide_dtype(place: Tensor | torch.device) -> torch.dtype:
    """The dtype to add floats up in: float64 where the device has it."""
    device = place.device if isinstance(place, Tensor) else place
    return torch.float32 if device.type == "mps" else torch.float64
