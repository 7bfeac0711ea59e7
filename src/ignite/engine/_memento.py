"""What objects were, so that they can be put back in place: the same objects, with what was in them."""

from __future__ import annotations

import functools
import random
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import SWALR
from torch.utils.data import DataLoader, Dataset, Sampler

from ignite._core.reads import global_names
from ignite._core.seeding import capture_random_state, restore_random_state
from ignite.engine._collect import is_of_a_library

__all__ = ["Memento", "everything_kept"]

Undo = Callable[[], None]

_WITH_STATE = (nn.Module, Optimizer, LRScheduler, SWALR, torch.amp.GradScaler)
_DATA = (DataLoader, Dataset, Sampler)
_DATA_ROOMS = ("ignite.data", "ignite.learner._data")
# Buffers that are filled before they are read; and what a thread of its own works at.
_LEFT_ALONE = ("ignite.storage", "ignite.handlers._trackers.outbox")
# Their attributes follow what their parts in C++ have come to.
_WRAPPERS = (DataParallel, DistributedDataParallel)
_CONTAINERS = (dict, OrderedDict, defaultdict, Counter, list, deque, set)  # others may do anything when iterated over
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type, torch.dtype, torch.device)


class Memento:
    """Takes down what objects hold, and puts it back.

    Looked into are containers, closures and global variables of functions, bound methods, and the attributes of objects
    that are given, that belong to a training by their kind (modules, optimizers, schedulers, scalers, whatever is of
    this library), or whose class the program has defined. Of data, such as a ``DataLoader`` or a data set, only
    attributes and random generators are put back, and of objects of other libraries nothing. Tensors are copied, to the
    host, where they belong to an object of a training; those that a function merely sees are not: it may see the data.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> memento, before = Memento(), model.weight.clone()
        >>> memento.take(model)
        >>> _ = nn.init.zeros_(model.weight)
        >>> memento.put_back()
        >>> bool((model.weight == before).all())
        True
    """

    def __init__(self) -> None:
        self._known: dict[int, Any] = {}  # by id, with the object, so that no id is used twice
        self._undo: list[Undo] = []

    def take(self, *objects: Any) -> None:
        """Takes down what is in objects that belong to a training, whatever their kind; what is known stays known."""
        self._walk([(one, True, True) for one in objects])

    def take_seen(self, *values: Any) -> None:
        """Takes down what is in values that functions of a training use, such as data."""
        self._walk([(one, False, False) for one in values])

    def put_back(self) -> None:
        """Everything is as it was when it was taken."""
        for undo in reversed(self._undo):
            undo()

    def _walk(self, pending: list[tuple[Any, bool, bool]]) -> None:
        while pending:
            one, has_tensors, is_given = pending.pop()
            if isinstance(one, _PLAIN) or id(one) in self._known:
                continue
            self._known[id(one)] = one
            pending += [(part, tensors, False) for part, tensors in self._look_into(one, has_tensors, is_given)]

    def _look_into(self, one: Any, has_tensors: bool, is_given: bool) -> Iterator[tuple[Any, bool]]:
        """Takes one object; yields what is in it, and whether tensors there are to be copied."""
        if isinstance(one, Tensor):
            if has_tensors:
                self._undo.append(_undo_of_tensor(one))
                yield (one.grad if one.is_leaf else None), True
            return
        generator = _undo_of_generator(one)
        if generator is not None:
            self._undo.append(generator)
        elif type(one) in _CONTAINERS or isinstance(one, tuple):
            yield from ((part, has_tensors) for part in self._in_container(one))
        elif isinstance(one, FunctionType):
            yield from ((part, False) for part in self._in_function(one))
        elif isinstance(one, MethodType):
            yield one.__self__, has_tensors
        elif isinstance(one, functools.partial):
            yield from ((part, False) for part in (*one.args, *one.keywords.values(), one.func))
        elif _is_data(one):
            yield from ((part, False) for part in self._in_object(one) if _is_data(part) or _undo_of_generator(part))
        elif is_given or _belongs_to_training(one):
            yield from ((part, True) for part in self._in_object(one))
        elif _is_of_the_program(type(one)):
            yield from ((part, hasattr(type(one), "state_dict")) for part in self._in_object(one))

    def _in_container(self, one: Any) -> Iterator[Any]:
        if isinstance(one, dict):
            items = list(one.items())
            self._undo.append(functools.partial(_refill_dict, one, items))
            yield from (part for item in items for part in item)
        elif isinstance(one, tuple):
            yield from one
        else:
            parts = list(one)
            self._undo.append(functools.partial(_refill, one, parts))
            yield from parts

    def _in_function(self, function: FunctionType) -> Iterator[Any]:
        for cell in function.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:  # a variable that has no value yet
                continue
            self._undo.append(functools.partial(setattr, cell, "cell_contents", value))
            yield value
        if is_of_a_library(function.__code__.co_filename):
            return
        variables = function.__globals__
        for name in global_names(function.__code__):
            if name in variables:
                self._undo.append(functools.partial(_rebind, variables, name, variables[name]))
                yield variables[name]

    def _in_object(self, one: Any) -> Iterator[Any]:
        if isinstance(one, _WRAPPERS):
            yield from one._modules.values()
            return
        if isinstance(one, nn.Module):
            self._undo.append(functools.partial(_become, one, type(one)))  # lazy modules become others
        attributes = getattr(one, "__dict__", None)
        if attributes is not None:
            values = dict(attributes)
            self._undo.append(functools.partial(_refill_dict, attributes, list(values.items())))
            yield from values.values()
        for name in _slots_of(type(one)):
            if hasattr(one, name):
                value = getattr(one, name)
                self._undo.append(functools.partial(object.__setattr__, one, name, value))
                yield value


@contextmanager
def everything_kept(belongings: Iterable[Any], seen: Iterable[Any]) -> Iterator[None]:
    """Behind the block, all is as it was before it, random states included.

    Args:
        belongings: objects of a training, see :meth:`Memento.take`.
        seen: values that it uses, see :meth:`Memento.take_seen`.
    """
    memento, random_state = Memento(), capture_random_state()
    memento.take(*belongings)
    memento.take_seen(*seen)
    try:
        yield
    finally:
        memento.put_back()
        restore_random_state(random_state)


def _is_data(one: Any) -> bool:
    return isinstance(one, _DATA) or type(one).__module__.startswith(_DATA_ROOMS)


def _belongs_to_training(one: Any) -> bool:
    if isinstance(one, _WITH_STATE):
        return True
    room = type(one).__module__
    return (room.startswith("ignite.") or room == "ignite") and not room.startswith(_LEFT_ALONE)


def _is_of_the_program(kind: type) -> bool:
    """Whether a class is defined in the program that trains, and neither in a library nor here."""
    room = kind.__module__
    path = getattr(sys.modules.get(room), "__file__", None)
    return room == "__main__" or (path is not None and not room.startswith("ignite.") and not is_of_a_library(path))


def _slots_of(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        names = base.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name not in ("__dict__", "__weakref__"):
                yield f"_{base.__name__.lstrip('_')}{name}" if name.startswith("__") else name


def _become(one: Any, kind: type) -> None:
    if type(one) is not kind:
        one.__class__ = kind


def _rebind(variables: dict[str, Any], name: str, value: Any) -> None:
    if variables.get(name) is not value:
        variables[name] = value


def _refill_dict(one: dict[Any, Any], items: list[tuple[Any, Any]]) -> None:
    if [*map(id, one)] != [id(key) for key, _ in items]:
        one.clear()
    for key, value in items:
        if key not in one or one[key] is not value:
            one[key] = value


def _refill(one: Any, parts: list[Any]) -> None:
    one.clear()
    (one.update if isinstance(one, set) else one.extend)(parts)


def _undo_of_tensor(one: Tensor) -> Undo:
    if is_lazy(one):
        kind: Any = type(one)

        def undo_shape() -> None:
            if type(one) is not kind:
                one.data = torch.empty(0, device=one.device, dtype=one.dtype)
                one.__class__ = kind

        return undo_shape
    needs_grad, grad, same_storage = one.requires_grad, one.grad if one.is_leaf else None, one.detach()
    copy = None if one.is_meta else same_storage.to("cpu", copy=True)

    def undo() -> None:
        if type(one) in (Tensor, nn.Parameter) and one.data_ptr() != same_storage.data_ptr():
            one.data = same_storage
        if copy is not None:
            with torch.inference_mode(one.is_inference()), torch.no_grad():
                same_storage.copy_(copy)
        if one.is_leaf:
            one.requires_grad_(needs_grad)
            one.grad = grad

    return undo


def _set_state(generator: torch.Generator, state: Tensor) -> None:
    generator.set_state(state)


def _undo_of_generator(one: Any) -> Undo | None:
    """How to put a random generator back to where it stands; None for anything else."""
    if isinstance(one, torch.Generator):
        return functools.partial(_set_state, one, one.get_state())
    if isinstance(one, random.Random):
        return functools.partial(one.setstate, one.getstate())
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    if isinstance(one, numpy.random.Generator):
        return functools.partial(setattr, one.bit_generator, "state", one.bit_generator.state)
    if isinstance(one, numpy.random.RandomState):
        return functools.partial(one.set_state, one.get_state())
    return None
