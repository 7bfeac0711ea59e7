"""A backup of what objects hold, restored in place: the same objects, with their former content."""

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

from ignite import data as flow
from ignite import storage
from ignite._core.attributes import is_of_a_library, is_of_the_program, slots_of
from ignite._core.reads import global_names
from ignite._core.rng import capture_random_state, restore_random_state
from ignite._core.torch_private import submodules
from ignite.engine._handlers import Tables

__all__ = ["Backup", "backed_up"]

Undo = Callable[[], None]

_WITH_STATE = (nn.Module, Optimizer, LRScheduler, SWALR, torch.amp.GradScaler)
_DATA = (DataLoader, Dataset, Sampler)
_OF_DATA = f"{flow.__name__}."
_OF_STORAGE = f"{storage.__name__}."  # its buffers are written before they are read
# Their attributes mirror the state of their C++ side.
_WRAPPERS = (DataParallel, DistributedDataParallel)
_CONTAINERS = (
    dict,
    OrderedDict,
    defaultdict,
    Counter,
    list,
    deque,
    set,
)  # iterating over others may have side effects
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type, torch.dtype, torch.device)


class Backup:
    """Copies what objects hold, and restores it.

    It walks through containers, closures and global variables of functions, bound methods, and the
    attributes of three kinds of objects: those passed to :meth:`add`, those that are part of a
    training by their type (modules, optimizers, schedulers, scalers, everything of this library),
    and those whose class the program defines. Of data, such as a ``DataLoader`` or a dataset, only
    attributes and random generators are restored; of objects of other libraries, nothing. Tensors
    are copied to the host if they belong to an object of a training. Tensors that a function only
    refers to are not copied: they may be the dataset.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> backup, before = Backup(), model.weight.clone()
        >>> backup.add(model)
        >>> _ = nn.init.zeros_(model.weight)
        >>> backup.restore()
        >>> bool((model.weight == before).all())
        True
    """

    def __init__(self) -> None:
        self._known: dict[int, Any] = {}  # holds the objects, so that no id is reused
        self._undo: list[Undo] = []

    def add(self, *objects: Any) -> None:
        """Adds objects of a training, whatever their type.

        What was added before keeps its first backup.
        """
        self._walk([(one, True, True) for one in objects])

    def add_used(self, *values: Any) -> None:
        """Adds values that functions of a training use, such as data."""
        self._walk([(one, False, False) for one in values])

    def restore(self) -> None:
        """Restores everything to what it was when it was added."""
        for undo in reversed(self._undo):
            undo()

    def _walk(self, pending: list[tuple[Any, bool, bool]]) -> None:
        while pending:
            one, has_tensors, is_given = pending.pop()
            if isinstance(one, _PLAIN) or id(one) in self._known:
                continue
            self._known[id(one)] = one
            pending += [
                (part, tensors, False)
                for part, tensors in self._look_into(one, has_tensors, is_given)
            ]

    def _look_into(self, one: Any, has_tensors: bool, is_given: bool) -> Iterator[tuple[Any, bool]]:
        """Backs up one object; yields its parts, each with whether tensors in it are to be copied."""
        if isinstance(one, Tensor):
            if has_tensors:
                self._undo.append(_undo_of_tensor(one))
                yield (one.grad if one.is_leaf else None), True
            return
        generator = _undo_of_generator(one)
        if generator is not None:
            self._undo.append(generator)
        elif type(one) in _CONTAINERS or isinstance(one, tuple | Tables):
            yield from ((part, has_tensors) for part in self._in_container(one))
        elif isinstance(one, FunctionType):
            yield from ((part, False) for part in self._in_function(one))
        elif isinstance(one, MethodType):
            yield one.__self__, has_tensors
        elif isinstance(one, functools.partial):
            yield from ((part, False) for part in (*one.args, *one.keywords.values(), one.func))
        elif _is_data(one):
            yield from (
                (part, False)
                for part in self._in_object(one)
                if _is_data(part) or _undo_of_generator(part)
            )
        elif is_given or _belongs_to_training(one):
            yield from ((part, True) for part in self._in_object(one))
        elif is_of_the_program(type(one)):
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
            except ValueError:  # an unassigned variable
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
            yield from submodules(one).values()
            return
        if isinstance(one, nn.Module):
            self._undo.append(
                functools.partial(_become, one, type(one))
            )  # lazy modules change their class
        attributes = getattr(one, "__dict__", None)
        if attributes is not None:
            values = dict(attributes)
            self._undo.append(functools.partial(_refill_dict, attributes, list(values.items())))
            yield from values.values()
        for name, value in slots_of(one):
            self._undo.append(functools.partial(object.__setattr__, one, name, value))
            yield value


@contextmanager
def backed_up(objects: Iterable[Any], used: Iterable[Any]) -> Iterator[None]:
    """Restores objects and all random states after the block.

    Args:
        objects: objects of a training, see :meth:`Backup.add`.
        used: values that it uses, see :meth:`Backup.add_used`.
    """
    backup, random_state = Backup(), capture_random_state()
    backup.add(*objects)
    backup.add_used(*used)
    try:
        yield
    finally:
        backup.restore()
        restore_random_state(random_state)


def _is_data(one: Any) -> bool:
    kind = type(one)
    return (
        isinstance(one, _DATA)
        or f"{kind.__module__}.".startswith(_OF_DATA)
        or getattr(kind, "holds_data", False) is True
    )


def _belongs_to_training(one: Any) -> bool:
    if isinstance(one, _WITH_STATE):
        return True
    kind = type(one)
    module = f"{kind.__module__}."
    is_left = module.startswith(_OF_STORAGE) or getattr(kind, "is_used_by_thread", False) is True
    return module.startswith("ignite.") and not is_left


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
    needs_grad, grad, same_storage = (
        one.requires_grad,
        one.grad if one.is_leaf else None,
        one.detach(),
    )
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
    """Returns what resets a random generator to its current state; None for anything else."""
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
