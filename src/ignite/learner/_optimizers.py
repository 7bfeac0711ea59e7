"""Optimizers, made of what the user says in a word: one, or several as one."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ignite.learner._names import OPTIMIZERS, find

__all__ = ["Optimizers", "make_optimizer", "names_of"]

Named = list[tuple[str, nn.Parameter]]


class Optimizers(Optimizer):
    """Several optimizers of different parameters, used as one: schedules, scalers and checkpoints see all groups.

    Args:
        parts: the optimizers, by the names to save them under.

    Raises:
        ValueError: two of them have a parameter in common.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> both = Optimizers({"w": torch.optim.SGD([model.weight]), "b": torch.optim.Adam([model.bias])})
        >>> len(both.param_groups), both["b"].defaults["lr"]
        (2, 0.001)
    """

    def __init__(self, parts: Mapping[str, Optimizer]) -> None:
        self.parts = dict(parts)
        taken: dict[int, str] = {}
        for name, part in self.parts.items():
            for parameter in (parameter for group in part.param_groups for parameter in group["params"]):
                if taken.setdefault(id(parameter), name) != name:
                    raise ValueError(
                        f"Each parameter should have one optimizer, but one of shape {tuple(parameter.shape)} is given "
                        f"to {taken[id(parameter)]!r} and {name!r}"
                    )
        super().__init__([{"params": []}], {})

    def __getitem__(self, name: str) -> Optimizer:
        return self.parts[name]

    # What the base class keeps is looked up: loading a state gives a part new groups.

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all parts."""
        return [group for part in self.parts.values() for group in part.param_groups]

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        pass

    @property  # type: ignore[override]
    def state(self) -> dict[Any, Any]:
        """The state of each parameter that has one."""
        return {parameter: state for part in self.parts.values() for parameter, state in part.state.items()}

    @state.setter
    def state(self, state: dict[Any, Any]) -> None:
        pass

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Which part would it belong to?

        Raises:
            TypeError: always, for groups with parameters.
        """
        if param_group["params"]:
            raise TypeError("A group of parameters should be added to one of the parts: optimizers[name]")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """A step of each part; ``closure`` is called once, before."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts.values():
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of the parts, by their names."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from what was saved.

        Raises:
            ValueError: there are other parts.
        """
        saved, known = sorted(state_dict), sorted(self.parts)
        if saved != known:
            raise ValueError(f"The optimizers should be {known}, but the saved ones are {saved}")
        for name, part in self.parts.items():
            part.load_state_dict(state_dict[name])


def make_optimizer(
    optimizer: Any,
    model: nn.Module,
    lr: float | None,
    options: Mapping[str, Any],
    groups: Mapping[str, Mapping[str, Any]],
) -> Optimizer:
    """An optimizer of the parameters that are not frozen; by its name, its class, or as it is.

    Args:
        optimizer: a name, a class or function ``optimizer(parameters, lr=...)``, or an optimizer; or several of these,
            by patterns of the names of their parameters, of which the first that matches counts. An optimizer that is
            made already has its parameters, and may have any name.
        model: whose parameters are trained.
        lr: the learning rate; None for the optimizer's own.
        options: further arguments of the optimizer.
        groups: other options for parameters whose names match a pattern, such as ``{"head.*": {"lr": 0.1}}``.

    Raises:
        ValueError: the name is not known, a pattern matches no parameter, or a parameter has no or two optimizers.
        TypeError: options are given for an optimizer that is made already.
    """
    if isinstance(optimizer, Optimizer):
        if lr is not None or options or groups:
            raise TypeError(
                "lr, optimizer_options and param_groups should be given to the optimizer that is made already"
            )
        return optimizer
    if not (callable(optimizer) or isinstance(optimizer, str | Mapping)):
        raise TypeError(
            "optimizer should be a name, a class, an optimizer, or a dictionary of them by patterns of parameters, but "
            f"given {optimizer!r}"
        )
    if lr is not None and not isinstance(lr, Real | torch.Tensor):
        raise TypeError(f"lr should be a number, but given {lr!r}")
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    arguments = {**({} if lr is None else {"lr": lr}), **options}
    if not isinstance(optimizer, Mapping):
        return _made(optimizer, _grouped(trained, groups, model), arguments)
    if groups:
        raise TypeError(
            "param_groups should be left out where there are several optimizers: give each of them the options of its "
            "own, as in functools.partial(torch.optim.SGD, lr=0.1)"
        )
    return _several(optimizer, trained, arguments, model)


def _made(optimizer: Any, parameters: list[dict[str, Any]], arguments: Mapping[str, Any]) -> Optimizer:
    make = find("optimizer", optimizer, OPTIMIZERS) if isinstance(optimizer, str) else optimizer
    can_be_fused = isinstance(optimizer, str) and "fused" in inspect.signature(make).parameters
    is_faster = parameters[0]["params"][0].device.type != "cpu" or make in (torch.optim.Adam, torch.optim.AdamW)
    if can_be_fused and is_faster and "fused" not in arguments:
        with contextlib.suppress(RuntimeError):  # not on this device, or not for these dtypes
            return make(parameters, fused=True, **arguments)
    made: Optimizer = make(parameters, **arguments)
    return made


def _several(
    optimizers: Mapping[str, Any], trained: Named, arguments: Mapping[str, Any], model: nn.Module
) -> Optimizers:
    given = {name: one for name, one in optimizers.items() if isinstance(one, Optimizer)}
    taken = {id(parameter) for one in given.values() for group in one.param_groups for parameter in group["params"]}
    patterns = [pattern for pattern in optimizers if pattern not in given]
    parts = _by_pattern([pair for pair in trained if id(pair[1]) not in taken], patterns)
    if rest := [name for name, _ in parts.pop(None, [])]:
        raise ValueError(
            f"optimizer: {', '.join(rest[:5])}{', ...' if len(rest) > 5 else ''} should be trained, but no pattern of "
            f"{list(optimizers)} matches: add '*', or freeze what is not to be trained"
        )
    made: dict[str, Optimizer] = {}
    for name, one in optimizers.items():
        if name in given:
            made[name] = one
            continue
        if not parts[name]:
            raise ValueError(f"optimizer: no parameter that is left matches {name!r}. {names_of(model)}")
        own = one.keywords if isinstance(one, functools.partial) else {}
        its_arguments = {key: value for key, value in arguments.items() if key not in own}
        made[name] = _made(one, [{"params": [parameter for _, parameter in parts[name]]}], its_arguments)
    return Optimizers(made)


def _grouped(trained: Named, groups: Mapping[str, Mapping[str, Any]], model: nn.Module) -> list[dict[str, Any]]:
    """Each parameter in the group of the first pattern that its name matches."""
    parts = _by_pattern(trained, groups)
    for pattern in groups:
        if not parts[pattern]:
            raise ValueError(f"param_groups: no parameter that is trained matches {pattern!r}. {names_of(model)}")
    return [
        {"params": [parameter for _, parameter in part], **(groups[key] if key else {})}
        for key, part in parts.items()
        if part
    ]


def _by_pattern(named: Named, patterns: Iterable[str]) -> dict[str | None, Named]:
    """Parameters by the first pattern that their name matches, or None."""
    parts: dict[str | None, Named] = {pattern: [] for pattern in (*patterns, None)}
    for name, parameter in named:
        pattern = next((one for one in parts if one is not None and fnmatch.fnmatch(name, one)), None)
        parts[pattern].append((name, parameter))
    return parts


def names_of(model: nn.Module) -> str:
    """Which parameters there are, for error messages."""
    names = [name for name, _ in model.named_parameters()]
    return f"There are {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
