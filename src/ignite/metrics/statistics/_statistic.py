"""Base class of statistics; buffers for small batches, which are joined and processed in one call."""

from __future__ import annotations

import copy
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor

from ignite.distributed.fused_reduction import Part
from ignite.metrics._output_arrays import detached

LARGE = 2**12
"""Batches of at least this many numbers are not joined, because the call overhead is small."""
_MAX_PENDING = 2**15
"""Total number of elements at which pending batches should be processed."""


class PendingBatches:
    """Buffers copies of small batches, to be joined.

    Example:
        >>> import torch
        >>> waiting = PendingBatches()
        >>> for _ in range(2):
        ...     is_full = waiting.add(Copies(torch.ones(2), torch.zeros(2)), num_numbers=2)
        >>> [(x.tolist(), y.tolist()) for x, y in waiting.taken()]
        [([1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0])]
    """

    __slots__ = ("_groups", "_num_numbers")

    def __init__(self) -> None:
        self._groups: dict[Hashable, list[Copies]] = {}
        self._num_numbers = 0

    def add(self, copies: Copies, num_numbers: int) -> bool:
        """Adds copies of ``num_numbers`` numbers. Returns whether to process the pending batches."""
        group = self._groups.get(copies.like)
        if group is None:
            group = self._groups[copies.like] = []
        else:
            copies.like = group[0].like  # the same object, which is faster to compare
        group.append(copies)
        self._num_numbers += num_numbers
        return self._num_numbers >= _MAX_PENDING

    def _rollback_point(self) -> Callable[[], None]:
        """Returns a function that undoes all additions from now on."""
        groups, num_numbers = self._groups, self._num_numbers
        lengths = {kind: len(group) for kind, group in groups.items()}

        def roll_back() -> None:
            for kind, group in list(groups.items()):
                if kind in lengths:
                    del group[lengths[kind] :]
                else:
                    del groups[kind]
            self._groups, self._num_numbers = groups, num_numbers

        return roll_back

    def taken(self) -> list[tuple[Tensor, Tensor]]:
        """Removes and returns all batches, joined: one pair for each kind of tensors."""
        groups, self._groups, self._num_numbers = self._groups, {}, 0
        if len(groups) > 1:
            groups = _by_rows(groups)
        return [Copies.joined(group).tensors for group in groups.values()]


def _by_rows(groups: Mapping[Hashable, list[Copies]]) -> dict[Hashable, list[Copies]]:
    """Merges groups that differ only in the batch size."""
    found: dict[Hashable, list[Copies]] = {}
    for group in groups.values():
        found.setdefault(group[0].row, []).extend(group)
    return found


_MANY = 2**10
"""From this number of elements on, copying takes longer than the call overhead."""


class Copies:
    """Detached copies of two tensors, which do not share their memory.

    Args:
        x: shape (B, ...).
        y: shape (B, ...); it may be ``x`` itself.

    Example:
        >>> batches = [Copies(torch.tensor([i]), torch.tensor([-i])) for i in range(3)]
        >>> [tensor.tolist() for tensor in Copies.joined(batches).tensors]
        [[0, 1, 2], [0, -1, -2]]
    """

    __slots__ = ("_both", "_x", "_y", "like")

    _both: Tensor | None
    """Both tensors concatenated, if they are small and of the same kind, so that one call copies both."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        of_x = (x.shape, x.dtype, x.device)
        self.like: tuple[Hashable, ...]
        """Equal for copies of the same shapes, dtypes and devices; see also ``row``."""
        if x is y:
            self.like = (*of_x, None)
            self._both = None
            self._x = self._y = detached(x).clone()
        elif x.numel() < _MANY and of_x == (y.shape, y.dtype, y.device):
            self.like = of_x
            self._both = detached(torch.cat((x, y)))
        else:
            self.like = (*of_x, y.shape, y.dtype, y.device)
            self._both, self._x, self._y = None, detached(x).clone(), detached(y).clone()

    @classmethod
    def kept(cls, x: Tensor, y: Tensor) -> Copies:
        """Wraps two tensors without copying them. Nothing else may use them."""
        copies = cls.__new__(cls)
        copies.like = (x.shape, x.dtype, x.device, y.shape, y.dtype, y.device)
        copies._both, copies._x, copies._y = None, x, y
        return copies

    @classmethod
    def joined(cls, batches: Sequence[Copies]) -> Copies:
        """Concatenates batches with equal ``row``, in their order."""
        if len(batches) == 1:
            return batches[0]
        first, n = batches[0], len(batches)
        alike = [
            each._both
            for each in batches
            if each._both is not None and (each.like is first.like or each.like == first.like)
        ]
        if len(alike) == n:
            shape: Any = first.like[0]
            both = torch.cat(alike).view(n, 2, shape.numel()).transpose(0, 1)
            x, y = both.reshape(2, n * shape[0], *shape[1:]).unbind()
            return cls.kept(x, y)
        xs, ys = zip(*(each.tensors for each in batches), strict=True)
        x = torch.cat(xs)
        are_same = all(a is b for a, b in zip(xs, ys, strict=True))
        return cls.kept(x, x if are_same else torch.cat(ys))

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """The two tensors."""
        if self._both is None:
            return self._x, self._y
        x, y = self._both.chunk(2)
        return x, y

    @property
    def together(self) -> Tensor | None:
        """Both tensors concatenated, if they were copied together, else None."""
        return self._both

    @property
    def row(self) -> tuple[Hashable, ...]:
        """Equal for copies that can be joined: their rows have the same shapes, dtypes, devices."""
        x, y = self.tensors
        return (x.shape[1:], x.dtype, x.device, y.shape[1:], y.dtype, y.device, x is y)


F = TypeVar("F", bound=Callable[..., Any])


def leaves_inference_mode(method: F) -> F:
    """Decorator that disables inference mode while the method runs.

    Tensors created in inference mode cannot be changed in place outside of it.
    """

    @functools.wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_inference_mode_enabled():
            return method(*args, **kwargs)
        with torch.inference_mode(False), torch.no_grad():
            return method(*args, **kwargs)

    return wrapper  # type: ignore[return-value]


def is_pair(output: Any) -> bool:
    """Returns whether ``output`` is a tuple of two tensors, each with a batch dimension."""
    return (
        type(output) is tuple
        and len(output) == 2
        and isinstance(output[0], Tensor)
        and isinstance(output[1], Tensor)
        and output[0].ndim > 0
        and output[1].ndim > 0
    )


class Reading:
    """An output, with a cache of the values that statistics derive from it."""

    __slots__ = ("_copied", "_derived", "output")

    def __init__(self, output: Any) -> None:
        self.output = output
        self._derived: dict[Hashable, Any] = {}
        self._copied: tuple[tuple[Tensor, Tensor, Copies], ...] = ()

    def derive(self, function: Callable[..., Any], *args: Hashable) -> Any:
        """Returns ``function(output, *args)``, cached. Exceptions are not cached."""
        key = (function, args) if args else function
        found = self._derived.get(key, self)  # self marks a missing entry
        if found is self:
            found = self._derived[key] = function(self.output, *args)
        return found

    def copies_of(self, x: Tensor, y: Tensor) -> Copies:
        """Returns copies of two tensors that were derived, cached. They do not share memory."""
        for known_x, known_y, copies in self._copied:
            if known_x is x and known_y is y:
                return copies
        copies = Copies(x, y)
        self._copied = (*self._copied, (x, y, copies))
        return copies

    def once(self, function: Callable[..., None], *args: Hashable) -> None:
        """Calls ``function(self, *args)`` unless an earlier call has succeeded."""
        key = (function, args)
        if key not in self._derived:
            function(self, *args)
            self._derived[key] = None


class UnsharedReading(Reading):
    """An output that one statistic reads, once: nothing is cached, which takes less time."""

    __slots__ = ()

    def __init__(self, output: Any) -> None:
        self.output = output

    def derive(self, function: Callable[..., Any], *args: Hashable) -> Any:
        """Returns ``function(output, *args)``."""
        return function(self.output, *args)

    def copies_of(self, x: Tensor, y: Tensor) -> Copies:
        """Returns copies of two tensors."""
        return Copies(x, y)

    def once(self, function: Callable[..., None], *args: Hashable) -> None:
        """Calls ``function(self, *args)``."""
        function(self, *args)


class Statistic(ABC):
    """Base class of statistics.

    Statistics with equal keys accumulate the same values, so that metrics can share one. The values
    are in the attributes that ``PARTS`` names. If ``update`` raises, they are unchanged.

    Args:
        device: device on which to accumulate. None: that of the outputs.
    """

    PARTS: ClassVar[Mapping[str, str]] = {}
    """Attribute -> how to reduce it over processes; see ``ignite.distributed.fused_reduction``."""

    LATER_PARTS: ClassVar[Mapping[str, Any]] = {}
    """Parts that are missing in states of earlier versions -> their default."""

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device
        self.version = 0
        """Changes with each update, so that values can be cached."""
        self.num_examples = 0
        self._moves_on_update = False
        """Whether the next update moves the values to the device of its output, after a state was loaded."""
        self.reset()

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Equal for statistics that accumulate the same: class, device and parameters."""
        return (type(self), self.device, *self._parameters())

    def _parameters(self) -> tuple[Hashable, ...]:
        return ()

    @abstractmethod
    def reset(self) -> None:
        """Clears everything that was accumulated."""

    @abstractmethod
    def _update(self, reading: Reading) -> None:
        """Accumulates one output."""

    def update(self, reading: Reading) -> None:
        """Accumulates one output. If it raises, the statistic is unchanged."""
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
        """Returns a function that undoes all updates from now on."""
        kept = {name: restorer_of(value) for name, value in vars(self).items()}

        def roll_back() -> None:
            self._restore({name: value() for name, value in kept.items()})

        return roll_back

    def _restore(self, values: Mapping[str, Any]) -> None:
        """Restores attributes, with a new version, because values of the undone updates may be cached."""
        version = self.version + 1
        vars(self).update(values)
        self.version = version

    def widen(self, other: Statistic) -> None:  # noqa: B027 - most have nothing to widen
        """Also accumulates the values that ``other``, with the same key, needs. Call before any update."""

    def check(self) -> None:  # noqa: B027 - most have nothing to check
        """Raises errors that ``update`` has deferred, to avoid synchronizing with an accelerator."""

    def parts(self) -> dict[str, Any]:
        """Returns the accumulated values by name."""
        return {name: getattr(self, name) for name in self.PARTS}

    def take(self, values: Mapping[str, Any]) -> None:
        """Replaces the accumulated values with ``values``, named as in :meth:`parts`."""
        for name, value in values.items():
            setattr(self, name, value)
        self.version += 1

    @leaves_inference_mode
    def assign(self, name: str, value: Any) -> None:
        """Replaces one part, as a subclass written for Ignite does."""
        self.take({**self.parts(), name: int(value) if name == "num_examples" else value})

    @leaves_inference_mode
    def load(self, values: Mapping[str, Any]) -> None:
        """Loads saved values.

        Raises:
            ValueError: they are invalid.
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
        """Returns the shapes that saved tensors must have, as far as they are known."""
        return {}

    def _move_to_device_of(self, output: Any) -> None:
        """Moves the accumulated values to the device of the first tensor in ``output``."""
        items = output if isinstance(output, list | tuple) else [output]
        device = next((item.device for item in items if isinstance(item, Tensor)), None)
        self._moves_on_update = False
        if device is not None:
            self.take(_moved(self.parts(), device))

    def replaced(self, values: Mapping[str, Any]) -> Self:
        """Returns a statistic of the same kind with ``values`` as its accumulated values."""
        other = copy.copy(self)
        other.take(values)
        return other

    @leaves_inference_mode
    def clone(self) -> Self:
        """Returns an independent copy."""
        return self.replaced({name: copied(value) for name, value in self.parts().items()})

    def narrowed(self, wanted: Statistic) -> Statistic:
        """Returns an independent copy with only the values that ``wanted``, with the same key, accumulates."""
        return self.clone()

    @leaves_inference_mode
    def fresh(self) -> Self:
        """Returns an empty statistic of the same kind."""
        other = copy.copy(self)
        other.reset()
        return other

    def to_combine(self) -> list[Part]:
        """Returns the accumulated values as parts of a reduction over processes."""
        return [
            Part(self.op_of(name), value, f"{name} of {self}")
            for name, value in self.parts().items()
        ]

    def op_of(self, name: str) -> str:
        """Returns how to reduce a part over processes."""
        return self.PARTS[name]

    def __str__(self) -> str:
        return type(self).__name__

    def where(self, tensor: Tensor) -> torch.device:
        """Returns the device on which to accumulate the output that contains ``tensor``."""
        return tensor.device if self.device is None else self.device


def update_all(pairs: Sequence[tuple[Statistic, Reading]]) -> None:
    """Updates statistics, each with its reading: all, or none if one of them raises."""
    rollbacks = []
    try:
        for statistic, reading in pairs[:-1]:
            rollbacks.append(statistic._rollback_point())
            statistic.update(reading)
        for statistic, reading in pairs[-1:]:  # a single update undoes itself if it raises
            statistic.update(reading)
    except BaseException:
        for roll_back in reversed(rollbacks):
            roll_back()
        raise


def restorer_of(value: Any) -> Callable[[], Any]:
    """Returns a function that returns ``value`` in its current state.

    The function undoes later changes to tensors, containers and metrics in ``value``.
    """
    if isinstance(value, Tensor):
        copied_tensor = value.clone()
        return lambda: copied_tensor
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
    """Copies a tensor or a list. Other values are immutable."""
    if isinstance(value, Tensor):
        return value.clone()
    return list(value) if isinstance(value, list) else value


def _moved(values: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Moves tensors to ``device``, as float32 if it has no float64."""
    moved = dict(values)
    for name, value in values.items():
        if isinstance(value, Tensor):
            is_narrowed = device.type == "mps" and value.dtype == torch.float64
            moved[name] = value.to(device, torch.float32 if is_narrowed else value.dtype)
    return moved


def wide_dtype(place: Tensor | torch.device) -> torch.dtype:
    """Returns the dtype for sums of floats: float64 if the device supports it, else float32."""
    device = place.device if isinstance(place, Tensor) else place
    return torch.float32 if device.type == "mps" else torch.float64
