"""Saves the state of the program's samplers, datasets and iterables with the position in the data."""

from __future__ import annotations

import copy
import itertools
import logging
import math
import random
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ignite._core.logs import join_names
from ignite._core.optional import numpy_or_none
from ignite._core.rng import generator_state, set_generator_state
from ignite._core.torch_private import version_of
from ignite.data._variables import SCALARS, Variable, Variables, variables_of

__all__ = ["HeldState", "OwnState", "sketch"]

_MAX_BYTES = 1 << 20  # of one array; larger ones are considered data
_MAX_BYTES_COPIED = 1 << 24  # of all arrays together

_logger = logging.getLogger(__name__)


class OwnState:
    """Saves and restores the variables of the program that loading data may change.

    Random generators, objects with ``state_dict``, and numbers, strings, small tensors and arrays,
    and containers of numbers and strings in attributes, variables of enclosing functions, and
    globals that functions read. Only what differs from its value at creation is part of the state:
    what the program is made with may be other when it is resumed. The log names, once, what changes
    and cannot be saved.

    Args:
        roots: the objects to look at, by name.

    Example:
        >>> class Counted:
        ...     __module__ = "__main__"  # a class of the program
        ...     def __init__(self):
        ...         self.num, self.limit = 0, 5
        >>> counted = Counted()
        >>> own = OwnState({"sampler": counted})
        >>> counted.num = 3
        >>> state = own.take()
        >>> counted.num = 4
        >>> own.put(state)
        >>> state["values"], counted.num
        ({'sampler.num': 3}, 3)
    """

    def __init__(self, roots: Mapping[str, Any]) -> None:
        self._roots = {name: one for name, one in roots.items() if one is not None}
        self._named: set[str] = set()
        found = self._look()
        self._other = dict(found.other)
        self._num_bytes = 0
        self._initial = {path: self._known(one.value) for path, one in found.plain.items()}
        held = (found.owners, found.plain, found.generators, found.objects, found.other)
        self.is_empty = not any(held)
        if not found.is_complete:
            self._name(["too many objects to look at all"])

    def ids(self) -> set[int]:
        """Returns the identities of generators and of objects with ``state_dict``."""
        found = self._look()
        generators = (one.value for one in found.generators.values())
        return {id(one) for one in (*found.objects.values(), *generators)}

    def take(self, is_whole: bool = False) -> dict[str, Any]:
        """Returns a copy of the state, made of numbers, strings, tensors and containers.

        Args:
            is_whole: whether to include what has its value at creation.
        """
        found = self._look()
        values, unsaved = {}, []
        for path, variable in found.plain.items():
            value, known = variable.value, self._initial.get(path)
            if known is not None and not is_whole and known.is_still(value):
                continue
            if _size_of(value) > _MAX_BYTES:
                unsaved += [path] if known is not None and not known.is_still(value) else []
                continue
            values[path] = _encode(value)
        unsaved += [p for p, mark in found.other.items() if self._other.get(p, mark) != mark]
        generators = {
            path: [_kind_of(one.value), generator_state(one.value)]
            for path, one in found.generators.items()
        }
        objects = {}
        for path, one in found.objects.items():
            state = one.state_dict()
            if _size_of_all(state) > _MAX_BYTES_COPIED:
                unsaved.append(path)
            else:
                objects[path] = copy.deepcopy(state)
        self._name(unsaved)
        return {"values": values, "generators": generators, "objects": objects}

    def put(self, state: Mapping[str, Any]) -> None:
        """Sets the variables to a state; resets all others that have changed to their initial values."""
        found = self._look()
        for path, one in state.get("objects", {}).items():
            if path in found.objects:
                found.objects[path].load_state_dict(copy.deepcopy(one))
        values, generators = state.get("values", {}), state.get("generators", {})
        for path, known in self._initial.items():
            variable = found.plain.get(path) or found.generators.get(path)
            if variable is None or path in values or path in generators:
                continue
            if path in found.generators or not known.is_still(variable.value):
                known.restore(variable)
        lost = [path for path, value in values.items() if not _put_value(found, path, value)]
        for path, (kind, saved) in generators.items():
            self._put_generator(found, path, kind, saved)
        if lost:
            _logger.warning(
                "These variables of the data were saved, but are not there in the resumed run: %s. "
                "Create them with the objects that have them",
                join_names(lost),
            )

    def _put_generator(self, found: Variables, path: str, kind: str, saved: Any) -> None:
        variable = found.generators.get(path)
        if variable is not None and _kind_of(variable.value) == kind:
            set_generator_state(variable.value, saved)
            return
        variable = variable or _find(found, path)  # the data create it on first use
        if variable is not None and (made := _new_generator(kind)) is not None:
            set_generator_state(made, saved)
            variable.set(made)

    def _look(self) -> Variables:
        return variables_of(self._roots)

    def _known(self, value: Any) -> _Known:
        size = _size_of(value)
        is_copied = size <= _MAX_BYTES and self._num_bytes + size <= _MAX_BYTES_COPIED
        self._num_bytes += size if is_copied else 0
        return _Known(value, is_copied)

    def _name(self, paths: Iterable[str]) -> None:
        new = [path for path in paths if path not in self._named]
        self._named.update(new)
        if new:
            _logger.warning(
                "These variables of the data change during the run, but cannot be saved, so that a "
                "resumed run may have other batches: %s. Give the object that has them state_dict "
                "and load_state_dict, or let them depend on the epoch alone, in set_epoch",
                join_names(new),
            )


class HeldState:
    """The state of the data, at the start of a pass and at the latest batch.

    A pass is repeated up to its position: samplers draw its order again, iterables its batches. So
    they need the state that they had before, and then that of the position.

    Args:
        groups: the objects to look at, in groups.
        drawn_late: groups that go on to draw during a pass, such as a sampler without length. Of
            them, only the state at the start of a pass is restored.
        in_workers: groups that workers use.
        kept: groups of which workers keep the copies that they got for the first pass.
    """

    def __init__(
        self,
        groups: Mapping[str, Mapping[str, Any]],
        drawn_late: Iterable[str] = (),
        in_workers: Iterable[str] = (),
        kept: Iterable[str] = (),
    ) -> None:
        found = {name: OwnState(roots) for name, roots in groups.items()}
        self._groups = {name: own for name, own in found.items() if not own.is_empty}
        self._drawn_late, self._kept = set(drawn_late), set(kept)
        self._in_workers = set(in_workers)
        self._start: dict[str, Any] = {}
        self._loaded: dict[str, Any] | None = None
        late = [own.ids() for name, own in self._groups.items() if name in self._drawn_late]
        rest = [own.ids() for name, own in self._groups.items() if name not in self._drawn_late]
        if any(one & other for one in late for other in rest):
            _logger.warning(
                "A sampler without length draws during the epoch, and shares an object or a random "
                "generator with the dataset, so that a run that is resumed within an epoch may have "
                "other batches. Give each its own, or give the sampler a length"
            )

    def begin_pass(self) -> None:
        """Records the state before a pass begins."""
        kept = {name: one for name, one in self._start.items() if name in self._kept}
        self._start = {**self._take(), **kept}
        self._loaded = None

    def state(self, is_within_pass: bool) -> dict[str, Any] | None:
        """Returns the state to save with the position; None if there is none."""
        if self._loaded is not None and "start" in self._loaded:
            return self._loaded
        if not self._groups:
            return None
        state = {"now": self._take(), "in_workers": sorted(self._in_workers)}
        return {**state, "start": self._start} if is_within_pass else state

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Restores a saved state, or does nothing without one."""
        self._loaded = None if state is None else dict(state)
        for name in self._in_workers ^ set(({} if state is None else state).get("in_workers", ())):
            if state is not None and state["now"].get(name, {}).get("generators"):
                _logger.warning(
                    "Random generators of the dataset are seeded for each batch in workers, and not "
                    "without, so that a run that was saved with the one and is resumed with the "
                    "other has other batches. Keep num_workers at 0 or above 0, or let the dataset "
                    "draw from global generators"
                )
        self.reload()

    def forget(self) -> None:
        """Drops the loaded state."""
        self._loaded = None

    def reload(self) -> None:
        """Restores the loaded state again, because handlers may have changed it."""
        if self._loaded is not None:
            self._put(self._loaded["now"])

    def rewind(self) -> bool:
        """Restores the start of the loaded pass; returns whether it is known."""
        if self._loaded is None or "start" not in self._loaded:
            return False
        self._start = self._loaded["start"]
        self._put(self._start)
        return True

    def advance(self) -> None:
        """Restores the state at the loaded position, after the pass has been repeated up to it."""
        if self._loaded is not None:
            now = self._loaded["now"]
            self._put({name: one for name, one in now.items() if name not in self._drawn_late})
        self._loaded = None

    def bookmark(self) -> Callable[[], None]:
        """Returns a function that restores the current state, in this process."""
        before = self._start, self._loaded
        whole = {name: own.take(is_whole=True) for name, own in self._groups.items()}

        def put_back() -> None:
            self._start, self._loaded = before
            self._put(whole)

        return put_back

    def _take(self) -> dict[str, Any]:
        return {name: own.take() for name, own in self._groups.items()}

    def _put(self, states: Mapping[str, Any]) -> None:
        for name, state in states.items():
            if name in self._groups:
                self._groups[name].put(state)


def sketch(batch: Any) -> int:
    """Returns a number, computed from a few values of a batch, that most likely differs for another batch.

    Tensors on an accelerator count with their shape only: reading their values would wait for it.

    Example:
        >>> sketch([torch.zeros(3), "a"]) == sketch([torch.zeros(3), "a"]) != sketch([torch.ones(3), "a"])
        True
    """
    return zlib.crc32("".join(_texts_of(batch, 3)).encode())


def _texts_of(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, Tensor) or _is_ndarray(value):
        yield f"{tuple(value.shape)}"
        is_readable = not isinstance(value, Tensor) or (
            value.is_cpu and value.layout == torch.strided and value.is_contiguous()
        )
        if is_readable and _size_of(value):
            flat = value.view(-1) if isinstance(value, Tensor) else value.flat
            yield repr(flat[:: max(1, len(flat) // 16)].tolist())
    elif isinstance(value, SCALARS):
        yield repr(value)
    elif isinstance(value, Mapping) and depth:
        for key, part in itertools.islice(value.items(), 8):
            yield repr(key)
            yield from _texts_of(part, depth - 1)
    elif isinstance(value, list | tuple) and depth:
        yield f"{len(value)} "
        for part in value[:8]:
            yield from _texts_of(part, depth - 1)


class _Known:
    """The initial value of a variable: a copy, or for a large array only its version or a sample."""

    def __init__(self, value: Any, is_copied: bool) -> None:
        is_array = isinstance(value, Tensor) or _is_ndarray(value)
        # A weak reference, because the program may replace a large array.
        self._reference = weakref.ref(value) if is_array else None
        self._version = version_of(value) if isinstance(value, Tensor) else None
        self._is_copied = is_copied
        self._copy = copy.deepcopy(_detached(value)) if is_copied else None
        self._sample = None if is_copied else _sample_of(value)

    def is_still(self, value: Any) -> bool:
        """Whether a value equals this one."""
        is_same = self._reference is not None and self._reference() is value
        if is_same and isinstance(value, Tensor) and self._version is not None:
            return version_of(value) == self._version
        if not self._is_copied:
            return is_same and _sample_of(value) == self._sample
        return _same(value, self._copy)

    def restore(self, variable: Variable) -> None:
        """Sets a variable to the value, if it was copied."""
        if self._is_copied:
            _assign(variable, copy.deepcopy(self._copy))


def _put_value(found: Variables, path: str, value: Any) -> bool:
    variable = found.plain.get(path) or _find(found, path)
    if variable is None:
        return False
    _assign(variable, _decode(value))
    return True


def _find(found: Variables, path: str) -> Variable | None:
    """Returns an attribute that an object does not have, or that has another kind of value."""
    parent, _, name = path.rpartition(".")
    owner = found.owners.get(parent)
    return None if owner is None or name.endswith("]") else Variable(owner, name)


def _assign(variable: Variable, value: Any) -> None:
    """Sets a variable; changes a container or an array in place, because others may refer to it."""
    try:
        held = variable.value
    except (AttributeError, LookupError, ValueError):
        held = None
    if type(held) is not type(value) and not (isinstance(held, dict) and isinstance(value, dict)):
        variable.set(value)
    elif isinstance(held, list):
        held[:] = value
    elif isinstance(held, dict | set):
        held.clear()
        held.update(value)
    elif isinstance(held, deque):
        held.clear()
        held.extend(value)
    elif isinstance(held, Tensor) and held.shape == value.shape and held.dtype == value.dtype:
        with torch.no_grad():
            held.copy_(value)
    elif _is_ndarray(held) and held.shape == value.shape and held.dtype == value.dtype:
        held[...] = value
    else:
        variable.set(value)


def _is_ndarray(value: Any) -> bool:
    numpy = numpy_or_none()
    return numpy is not None and isinstance(value, numpy.ndarray)


def _size_of(value: Any) -> int:
    """Returns the number of bytes of an array; 0 for other values."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return int(value.nbytes) if _is_ndarray(value) else 0


def _size_of_all(state: Any) -> int:
    """Returns the number of bytes of all arrays in nested containers."""
    if isinstance(state, Mapping):
        return sum(map(_size_of_all, state.values()))
    if isinstance(state, list | tuple) and not all(isinstance(one, SCALARS) for one in state):
        return sum(map(_size_of_all, state))
    return _size_of(state)


def _sample_of(value: Any) -> list[Any]:
    if isinstance(value, Tensor):
        return [version_of(value)]
    if not value.flags.writeable:  # such as a file that is mapped into memory
        return []
    return [value.flat[:: max(1, value.size // 256)].tolist()]


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal, also in type; NaN equals NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if _is_ndarray(one):
        is_alike = one.dtype == other.dtype and one.shape == other.shape
        return bool(is_alike and one.tobytes() == other.tobytes())
    return bool(one == other) or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


# Values as what ``torch.load(weights_only=True)`` can load: others are a dictionary with a tag.
_TAG = "__kind__"


def _encode(value: Any) -> Any:
    """Copies a value of a variable."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    numpy = numpy_or_none()
    if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
        kind = "array" if isinstance(value, numpy.ndarray) else "number"
        array = numpy.ascontiguousarray(value)
        shape = list(value.shape)
        return {_TAG: kind, "dtype": array.dtype.str, "shape": shape, "bytes": array.tobytes()}
    if isinstance(value, SCALARS):
        return value
    if isinstance(value, dict):
        parts = [[key, _encode(part)] for key, part in value.items()]
        return {_TAG: "dict", "items": parts}
    parts = (
        list(value) if all(isinstance(one, SCALARS) for one in value) else list(map(_encode, value))
    )
    if isinstance(value, list):
        return parts
    kind = next(kind for kind in _MAKERS if isinstance(value, _MAKERS[kind]))
    if kind in ("set", "frozenset"):
        parts.sort(key=repr)
    return {_TAG: kind, "items": parts}


_MAKERS: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset, "deque": deque}


def _decode(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, list):
        return list(map(_decode, value))
    if not isinstance(value, dict):
        return value
    kind = value[_TAG]
    if kind in ("array", "number"):
        numpy = numpy_or_none()
        array = numpy.frombuffer(value["bytes"], dtype=value["dtype"]).reshape(value["shape"])
        return array.copy() if kind == "array" else array[()]
    if kind == "dict":
        return {key: _decode(part) for key, part in value["items"]}
    return _MAKERS[kind](map(_decode, value["items"]))


def _kind_of(generator: Any) -> str:
    if isinstance(generator, torch.Generator):
        return f"torch {generator.device}"
    if isinstance(generator, random.Random):
        return "python"
    bits = getattr(generator, "bit_generator", None)
    name = type(generator).__name__
    return f"numpy {name} {'' if bits is None else type(bits).__name__}".rstrip()


def _new_generator(kind: str) -> Any:
    """Returns a new generator of a kind; None if this version does not have it."""
    library, *names = kind.split()
    if library == "torch":
        return torch.Generator(names[0])
    if library == "python":
        return random.Random()
    numpy = numpy_or_none()
    if numpy is None:
        return None
    if names == ["RandomState"]:
        return numpy.random.RandomState()
    make: Callable[[], Any] | None = getattr(numpy.random, names[-1], None)
    return None if make is None or names[0] != "Generator" else numpy.random.Generator(make())
