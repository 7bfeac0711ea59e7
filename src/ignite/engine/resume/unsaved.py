"""State of a run that no object with a state holds.

Trained tensors that do not belong to a module, and gradients that a user's step accumulates over
several iterations, are saved with the run. A warning names variables that change and are not saved.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from ignite._core.attributes import attributes_of, is_of_the_program
from ignite._core.logs import join_names
from ignite._core.torch_private import non_persistent_buffers, version_of

__all__ = [
    "FREE",
    "FreeParameters",
    "Unsaved",
    "accumulate",
    "accumulated",
    "free_parameters",
    "unsaved_values_in",
    "unsaved_values_of",
    "watched_steps",
]

FREE = "free.parameters"
"""Name of the tensors that the step or a handler uses directly."""


class FreeParameters(nn.Module):
    """Trained tensors that do not belong to a module, as an object with a state.

    Args:
        tensors: the tensors by name. Loading a state changes them in place.

    Example:
        >>> import torch
        >>> weight = torch.zeros(2, requires_grad=True)
        >>> FreeParameters({"weight": weight}).load_state_dict({"weight": torch.ones(2)})
        <All keys matched successfully>
        >>> weight
        tensor([1., 1.], requires_grad=True)
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name.replace(".", "/"), tensor.detach())


def free_parameters(
    objects: Mapping[str, Any], left_out: Iterable[Any], tensors: Mapping[str, Tensor]
) -> dict[str, FreeParameters]:
    """Finds trained tensors that are not saved by any object of a run.

    Args:
        objects: the objects of the run by name.
        left_out: objects that the user has excluded together with their parameters.
        tensors: trained tensors that the step or a handler uses, by path.

    Returns:
        ``{"free.parameters": ...}`` for tensors that are used directly, and
        ``{"<optimizer>.parameters": ...}`` for other parameters of optimizers.
    """
    known = {
        id(tensor)
        for one in (*objects.values(), *left_out)
        for module in _modules_of(one)
        for tensor in (*module.parameters(), *module.buffers())
    }
    found: dict[str, FreeParameters] = {}

    def add(name: str, candidates: Mapping[str, Tensor]) -> None:
        free = {key: one for key, one in candidates.items() if id(one) not in known}
        known.update(map(id, free.values()))
        if free:
            found[name] = FreeParameters(free)

    add(FREE, dict(sorted(tensors.items())))
    for name, one in sorted(objects.items()):
        add(f"{name}.parameters", dict(_parameters_of(one)))
    return found


def _modules_of(one: Any) -> Iterator[nn.Module]:
    """Yields an object if it is a module, otherwise the modules among its attributes, which its state should hold."""
    held: Mapping[str, Any] = {} if isinstance(one, nn.Module) else getattr(one, "__dict__", {})
    for part in (one, *held.values()):
        if isinstance(part, nn.Module):
            yield part


def _parameters_of(optimizer: Any) -> Iterator[tuple[str, Tensor]]:
    """Yields the parameters of an optimizer by the indices of group and parameter."""
    groups = getattr(optimizer, "param_groups", None)
    for i, group in enumerate(groups if isinstance(groups, list) else ()):
        for j, parameter in enumerate(group["params"]):
            if not is_lazy(parameter):
                yield f"{i}_{j}", parameter


# For each trainer, the iteration of the latest step of each optimizer.
_latest: WeakKeyDictionary[Any, dict[int, int]] = WeakKeyDictionary()


@contextmanager
def watched_steps(engine: Any, objects: Mapping[str, Any]) -> Iterator[None]:
    """Inside the block, records the iterations in which the optimizers among ``objects`` step."""
    latest = _latest[engine] = {}
    with ExitStack() as stack:
        for optimizer in _optimizers(objects).values():

            def record(stepped: Optimizer, *_: Any) -> None:
                latest[id(stepped)] = engine.state.iteration

            stack.callback(optimizer.register_step_post_hook(record).remove)
        yield


def accumulated(engine: Any, objects: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns the gradients of optimizers that have not stepped in this iteration, by name.

    After a step, gradients are no longer needed, and would only make the file larger. Supervised
    steps save their gradients themselves.
    """
    latest = _latest.get(engine)
    if latest is None or callable(getattr(engine.step_function, "parts", None)):
        return {}
    return {
        f"{key}.{name}": parameter.grad
        for key, optimizer in _optimizers(objects).items()
        if latest.get(id(optimizer)) != engine.state.iteration
        for name, parameter in _parameters_of(optimizer)
        if parameter.grad is not None and parameter.grad.layout == torch.strided
    }


def accumulate(gradients: Mapping[str, Tensor], objects: Mapping[str, Any]) -> None:
    """Sets the gradients returned by :func:`accumulated`.

    Example:
        >>> weight = torch.zeros(1, requires_grad=True)
        >>> objects = {"optimizer": torch.optim.SGD([weight], lr=0.1)}
        >>> accumulate({"optimizer.0_0": torch.ones(1)}, objects)
        >>> weight.grad
        tensor([1.])
    """
    for key, optimizer in _optimizers(objects).items():
        for name, parameter in _parameters_of(optimizer):
            given = gradients.get(f"{key}.{name}")
            if given is not None and given.shape == parameter.shape:
                parameter.grad = given.to(parameter, copy=True)


def _optimizers(objects: Mapping[str, Any]) -> dict[str, Optimizer]:
    return {name: one for name, one in sorted(objects.items()) if isinstance(one, Optimizer)}


# Their attributes tell how far they have set themselves up.
_WRAPPERS = ("torch.nn.parallel.", "torch.distributed.")


class Unsaved:
    """Compares numbers and tensors that the step and the handlers use between two saves of a run.

    Only objects with ``state_dict`` are saved. A counter in a variable, or averaged weights in a
    dictionary, have their initial values in a resumed run. A warning is logged once for each.

    Example:
        >>> unsaved = Unsaved(logging.getLogger("doctest"))
        >>> unsaved.compare({"step.count": 0, "step.limit": 9})
        []
        >>> unsaved.compare({"step.count": 1, "step.limit": 9})
        ['step.count']
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._before: dict[str, object] = {}
        self._named: set[str] = set()

    def compare(self, values: Mapping[str, Any]) -> list[str]:
        """Logs a warning about variables that have changed since the last call.

        Args:
            values: the values by path, see :class:`Belongings`.

        Returns:
            The paths of the variables that have changed for the first time.
        """
        now = {path: _fingerprint(value) for path, value in values.items()}
        before, self._before = self._before, now
        changed = [path for path, mark in now.items() if path in before and before[path] != mark]
        new = [path for path in changed if path not in self._named]
        self._named.update(new)
        if new:
            self._logger.warning(
                "These variables change during the run, but are not saved, so that a resumed run "
                "would have their initial values: %s. Keep them in an object with state_dict and "
                "load_state_dict, or keep numbers in trainer.state and add their names to "
                "trainer.state_dict_user_keys", join_names(new),
            )  # fmt: skip
        return new


def _fingerprint(value: Any) -> object:
    """Returns a key that differs for another value, and after a tensor was changed in place."""
    if not isinstance(value, Tensor):
        return repr(value)
    return id(value), version_of(value)


def unsaved_values_of(name: str, model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yields numbers and buffers of a module that its state does not hold, with their paths.

    Example:
        >>> model = nn.Dropout(0.5)
        >>> dict(unsaved_values_of("model", model))
        {'model.p': 0.5, 'model.inplace': False}
    """
    for place, module in model.named_modules(prefix=name):
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            continue
        if type(module).__module__.startswith(_WRAPPERS):
            continue
        for attribute, value in vars(module).items():
            if isinstance(value, int | float) and attribute != "training":
                yield f"{place}.{attribute}", value
        for attribute in non_persistent_buffers(module):
            yield f"{place}.{attribute}", getattr(module, attribute, None)


def unsaved_values_in(name: str, optimizer: Optimizer) -> Iterator[tuple[str, Any]]:
    """Yields what an optimizer of the program keeps beside its state, with the path to it.

    Numbers and tensors in attributes, and a tensor of an optimizer that it wraps. An optimizer with
    a ``state_dict`` of its own is expected to include them.

    Example:
        >>> class Counting(torch.optim.SGD):
        ...     __module__ = "__main__"  # a class of the program
        ...     num_steps = 0
        ...     def step(self):
        ...         self.num_steps += 1
        >>> optimizer = Counting([torch.zeros(1)], lr=0.1)
        >>> optimizer.step()
        >>> dict(unsaved_values_in("optimizer", optimizer))
        {'optimizer.num_steps': 1}
    """
    kind = type(optimizer)
    if kind.state_dict is not Optimizer.state_dict or not is_of_the_program(kind):
        return
    for attribute, value in attributes_of(optimizer).items():
        if attribute in _names_in_optimizers():
            continue
        path = f"{name}.{attribute}"
        parts = enumerate(value) if isinstance(value, list | tuple) else ()
        for key, one in [(path, value), *((f"{path}.{i}", part) for i, part in parts)]:
            if isinstance(one, int | float | Tensor):
                yield key, one
        if isinstance(value, Optimizer):
            tensors = (one for held in value.state.values() for one in held.values())
            found = next((one for one in tensors if isinstance(one, Tensor)), None)
            if found is not None:
                yield f"{path}.state", found


@functools.cache
def _names_in_optimizers() -> frozenset[str]:
    """The attributes that every optimizer has."""
    return frozenset(vars(torch.optim.SGD([torch.zeros(1)], lr=0.1)))
