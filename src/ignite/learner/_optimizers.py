"""Builds optimizers from the arguments of a learner, and freezes parameters."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ignite import distributed as idist
from ignite._core.calls import signature_of
from ignite.learner._by_name import OPTIMIZERS, find

__all__ = [
    "Named",
    "Optimizers",
    "Rates",
    "Settings",
    "adopt_parameters",
    "check_optimizer",
    "freeze",
    "freezing",
    "frozen_in",
    "make_optimizer",
    "names_of",
    "num_parameters",
    "rates_of",
    "set_rates",
    "unfreeze",
]

Named = list[tuple[str, nn.Parameter]]


class Optimizers(Optimizer):
    """Several optimizers of different parameters, used as one by schedules, scalers and checkpoints.

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
            for parameter in (
                parameter for group in part.param_groups for parameter in group["params"]
            ):
                if taken.setdefault(id(parameter), name) != name:
                    raise ValueError(
                        "Each parameter should have one optimizer, but one of shape "
                        f"{tuple(parameter.shape)} is given to {taken[id(parameter)]!r} and "
                        f"{name!r}"
                    )
        super().__init__([{"params": []}], {})

    def __getstate__(self) -> dict[str, Any]:
        return {"parts": self.parts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Optimizers.__init__(self, state["parts"])

    def __getitem__(self, name: str) -> Optimizer:
        return self.parts[name]

    # Properties instead of attributes of the base class: loading a state replaces the groups of a
    # part.

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
        return {
            parameter: state
            for part in self.parts.values()
            for parameter, state in part.state.items()
        }

    @state.setter
    def state(self, state: dict[Any, Any]) -> None:
        pass

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Rejects new groups, because it is unknown to which part they belong.

        Raises:
            TypeError: the group has parameters.
        """
        if param_group["params"]:
            raise TypeError(
                "A group of parameters should be added to one of the parts: optimizers[name]"
            )

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Performs a step of each part, after calling ``closure`` once."""
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
        """Restores the states of the parts.

        Raises:
            ValueError: the saved parts have other names.
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
    """Returns an optimizer of the parameters that are not frozen, given by name, class or object.

    Args:
        optimizer: a name, a class or function ``optimizer(parameters, lr=...)``, or an optimizer;
            or a dictionary of these, by patterns of parameter names, of which the first match
            applies. The key of an existing optimizer, which already has its parameters, is any
            name.
        model: the model to train.
        lr: learning rate; None for the optimizer's default.
        options: further arguments of the optimizer.
        groups: options for parameters whose names match a pattern, such as ``{"head.*": {"lr":
            0.1}}``.

    Raises:
        ValueError: the name is unknown, a pattern matches no parameter, or a parameter has no
            optimizer or two.
        TypeError: options are given for an existing optimizer.
    """
    if isinstance(optimizer, Optimizer):
        if lr is not None or options or groups:
            raise TypeError(
                "lr, optimizer_options and param_groups should be left out for an existing "
                "optimizer, but given some: pass them to the optimizer itself"
            )
        check_optimizer(optimizer, model)
        return optimizer
    if not (callable(optimizer) or isinstance(optimizer, str | Mapping)):
        raise TypeError(
            "optimizer should be a name, a class, an optimizer, or a dictionary of them by "
            f"patterns of parameters, but given {optimizer!r}"
        )
    if lr is not None and not isinstance(lr, Real | torch.Tensor):
        raise TypeError(f"lr should be a number, but given {lr!r}")
    trained = [
        (name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad
    ]
    arguments = {**({} if lr is None else {"lr": lr}), **options}
    if not isinstance(optimizer, Mapping):
        return _made(optimizer, _grouped(trained, groups, model), arguments)
    if groups:
        raise TypeError(
            "param_groups should be left out for several optimizers: pass the options to each of "
            "them, as in functools.partial(torch.optim.SGD, lr=0.1)"
        )
    return _several(optimizer, trained, arguments, model)


def _made(
    optimizer: Any, parameters: list[dict[str, Any]], arguments: Mapping[str, Any]
) -> Optimizer:
    make = find("optimizer", optimizer, OPTIMIZERS) if isinstance(optimizer, str) else optimizer
    can_be_fused = isinstance(optimizer, str) and "fused" in signature_of(make).parameters
    is_faster = parameters[0]["params"][0].device.type != "cpu" or make in (
        torch.optim.Adam,
        torch.optim.AdamW,
    )
    if can_be_fused and is_faster and "fused" not in arguments:
        with contextlib.suppress(RuntimeError):  # not supported on this device, or for these dtypes
            return make(parameters, fused=True, **arguments)
    made: Optimizer = make(parameters, **arguments)
    return made


def _several(
    optimizers: Mapping[str, Any], trained: Named, arguments: Mapping[str, Any], model: nn.Module
) -> Optimizers:
    given = {name: one for name, one in optimizers.items() if isinstance(one, Optimizer)}
    taken = {
        id(parameter)
        for one in given.values()
        for group in one.param_groups
        for parameter in group["params"]
    }
    patterns = [pattern for pattern in optimizers if pattern not in given]
    parts = _by_pattern([pair for pair in trained if id(pair[1]) not in taken], patterns)
    if rest := [name for name, _ in parts.pop(None, [])]:
        raise ValueError(_not_matched(rest, optimizers))
    made: dict[str, Optimizer] = {}
    for name, one in optimizers.items():
        if name in given:
            made[name] = one
            continue
        if not parts[name]:
            raise ValueError(
                f"optimizer: no parameter that is left matches {name!r}. {names_of(model)}"
            )
        own = one.keywords if isinstance(one, functools.partial) else {}
        its_arguments = {key: value for key, value in arguments.items() if key not in own}
        made[name] = _made(
            one, [{"params": [parameter for _, parameter in parts[name]]}], its_arguments
        )
    return Optimizers(made)


def _not_matched(names: list[str], optimizers: Mapping[str, Any]) -> str:
    return (
        f"optimizer: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''} should be trained, "
        f"but no pattern of {list(optimizers)} matches: add '*', or freeze them"
    )


def _grouped(
    trained: Named, groups: Mapping[str, Mapping[str, Any]], model: nn.Module
) -> list[dict[str, Any]]:
    """Puts each parameter into the group of the first pattern that its name matches."""
    parts = _by_pattern(trained, groups)
    for pattern in groups:
        if not parts[pattern]:
            raise ValueError(
                f"param_groups: no parameter that is trained matches {pattern!r}. {names_of(model)}"
            )
    return [
        {"params": [parameter for _, parameter in part], **(groups[key] if key else {})}
        for key, part in parts.items()
        if part
    ]


def _by_pattern(named: Named, patterns: Iterable[str]) -> dict[str | None, Named]:
    """Returns parameters by the first pattern that their name matches, or None."""
    parts: dict[str | None, Named] = {pattern: [] for pattern in (*patterns, None)}
    for name, parameter in named:
        pattern = next(
            (one for one in parts if one is not None and fnmatch.fnmatch(name, one)), None
        )
        parts[pattern].append((name, parameter))
    return parts


def check_optimizer(optimizer: Any, model: nn.Module) -> None:
    """Checks that an optimizer trains parameters of a model.

    Raises:
        ValueError: its parameters belong to another model, or all are frozen.
    """
    taken = _parameters_of(optimizer)
    if not any(
        id(parameter) in taken for parameter in model.parameters() if parameter.requires_grad
    ):
        raise ValueError(
            "optimizer should have trainable parameters of the model, but given "
            f"{type(optimizer).__name__} with {len(taken)} parameters that belong to another model "
            "or are frozen: create it with model.parameters()"
        )


def adopt_parameters(
    optimizer: Optimizer, spec: Any, groups: Mapping[str, Any], model: nn.Module
) -> list[str]:
    """Adds parameters to the optimizer that were added to the model, or unfrozen, after it was created.

    Args:
        optimizer: the result of :func:`make_optimizer`.
        spec: its ``optimizer`` argument; if that was an optimizer, it is not changed.
        groups: its ``groups`` argument.
        model: the model to train.

    Returns:
        The names of parameters that require gradients and still belong to no optimizer.

    Raises:
        ValueError: there are several optimizers, and no pattern matches a name.
    """
    taken = _parameters_of(optimizer)
    trained = [
        (name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad
    ]
    new = [pair for pair in trained if id(pair[1]) not in taken]
    if not new or isinstance(spec, Optimizer):
        return [name for name, _ in new]
    if idist.get_world_size() > 1:
        raise ValueError(
            "The model should train the same parameters as when the learner was created, which "
            f"processes synchronize, but given {', '.join(name for name, _ in new[:5])} in "
            "addition: create another Learner"
        )
    if isinstance(spec, Mapping):
        assert isinstance(optimizer, Optimizers)
        patterns = [pattern for pattern, one in spec.items() if not isinstance(one, Optimizer)]
        for pattern, part in _by_pattern(new, patterns).items():
            if part and pattern is None:
                raise ValueError(_not_matched([name for name, _ in part], spec))
            if part and pattern is not None:
                optimizer[pattern].param_groups[0]["params"] += [parameter for _, parameter in part]
        return []
    owners = {
        id(parameter): group for group in optimizer.param_groups for parameter in group["params"]
    }
    known = _by_pattern([pair for pair in trained if id(pair[1]) in owners], groups)
    for pattern, part in _by_pattern(new, groups).items():
        parameters = [parameter for _, parameter in part]
        if part and known[pattern]:
            owners[id(known[pattern][0][1])]["params"] += parameters
        elif part:
            optimizer.add_param_group(
                {"params": parameters, **(groups[pattern] if pattern else {})}
            )
    return []


def num_parameters(model: nn.Module) -> int:
    """Returns the number of values in all parameters; those of lazy layers count when they have a shape."""
    return sum(one.numel() for one in model.parameters() if not is_lazy(one))


def rates_of(optimizer: Any) -> dict[str, Any]:
    """Returns the learning rate as "lr", or one for each group that has another, by its number.

    Example:
        >>> layers = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
        >>> groups = [{"params": layer.parameters()} for layer in layers]
        >>> optimizer = torch.optim.SGD(groups, lr=0.5)
        >>> rates_of(optimizer)
        {'lr': 0.5}
        >>> optimizer.param_groups[1]["lr"] = 0.25
        >>> rates_of(optimizer)
        {'lr/0': 0.5, 'lr/1': 0.25}
    """
    groups = getattr(optimizer, "param_groups", ())
    rates = [group["lr"] for group in groups if "lr" in group]
    if any(isinstance(rate, Tensor) for rate in rates):  # changed in place; read without waiting
        return {f"lr/{i}": torch.as_tensor(rate).clone() for i, rate in enumerate(rates)}
    if len(set(rates)) <= 1:
        return {"lr": rates[0]} if rates else {}
    return {f"lr/{i}": rate for i, rate in enumerate(rates)}


def set_rates(optimizer: Optimizer, lr: Any) -> None:
    """Sets the learning rate of all groups, or of each group.

    Raises:
        TypeError: ``lr`` is neither a number nor a list of numbers.
        ValueError: it is negative; or it is one number, but the groups have different rates; or a
            list of another length.
    """
    groups = optimizer.param_groups
    rates = list(lr) if isinstance(lr, list | tuple) else [lr] * len(groups)
    for rate in rates:
        if isinstance(rate, bool) or not isinstance(rate, Real):
            raise TypeError(f"lr should be a number, or one for each group, but given {lr!r}")
        if not float(rate) >= 0:
            raise ValueError(f"lr should be at least 0, but given {lr!r}")
    present = [float(group["lr"]) for group in groups]
    is_one_for_several = not isinstance(lr, list | tuple) and len(set(present)) > 1
    if len(rates) != len(groups) or is_one_for_several:
        raise ValueError(
            f"lr should have a rate for each of the {len(groups)} groups of parameters, whose rates "
            f"are {present}, but given {lr!r}"
        )
    for group, rate in zip(groups, rates, strict=True):
        _set(group, "lr", rate)


class Rates:
    """The final learning rates of a schedule, so that the next fit restarts from the initial ones.

    Rates that users set in the meantime are kept.
    """

    def __init__(self, optimizer: Optimizer, left: list[float | None] | None = None) -> None:
        self._optimizer = optimizer
        self.left = left or [
            None if (lr := one.get("lr")) is None else float(lr) for one in optimizer.param_groups
        ]
        """The rates, None for a group that has none."""
        self._initial = [group.get("initial_lr") for group in optimizer.param_groups]

    def begin_anew(self) -> None:
        """Resets the learning rate of groups that still have the final rate of the schedule."""
        for group, left in zip(self._optimizer.param_groups, self.left, strict=False):
            if left is not None and float(group["lr"]) == left:
                _set(group, "lr", group.get("initial_lr", left))

    def put_back(self) -> None:
        """Restores the rates that all groups had when this object was created."""
        for group, left, initial in zip(
            self._optimizer.param_groups, self.left, self._initial, strict=False
        ):
            if left is not None:
                _set(group, "lr", left)
            if initial is None:
                group.pop("initial_lr", None)
            else:
                group["initial_lr"] = initial


class Settings:
    """Saves the optimizer options that the program has set.

    If the program that resumes a run has other options, such as another learning rate, these apply.
    Options that a schedule or a handler has changed during the run are restored from the
    checkpoint.

    Args:
        optimizer: the optimizer as created by the program.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._scheduler: LambdaLR | None = None
        self._asked = [_options_of(group) for group in optimizer.param_groups]

    def schedule(self, factor: Callable[[int], float]) -> LambdaLR:
        """Multiplies the learning rates by ``factor(step)``.

        Restore the scheduler before this object.
        """
        for group in self._optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        self._scheduler = LambdaLR(self._optimizer, factor)
        return self._scheduler

    @property
    def rates(self) -> list[Any]:
        """The learning rate of each group."""
        return [asked.get("lr") for asked in self._asked]

    @property
    def options(self) -> Any:
        """The other options: of all groups if they are the same, else a list of those of each group."""
        others = [
            {name: value for name, value in asked.items() if name != "lr"} for asked in self._asked
        ]
        return others[0] if all(one == others[0] for one in others) else others

    def state_dict(self) -> dict[str, Any]:
        """The options of each group."""
        return {"groups": [dict(asked) for asked in self._asked]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Applies the options that the program has changed since the run began."""
        for i, (asked, saved) in enumerate(zip(self._asked, state_dict["groups"], strict=True)):
            changed = {
                name: value
                for name, value in asked.items()
                if name in saved and saved[name] != value
            }
            for name, value in changed.items():
                _set(self._optimizer.param_groups[i], name, value)
            if self._scheduler is not None and "lr" in changed:
                base, factor = (
                    changed["lr"],
                    self._scheduler.lr_lambdas[i](self._scheduler.last_epoch),
                )
                self._scheduler.base_lrs[i] = self._optimizer.param_groups[i]["initial_lr"] = base
                _set(self._optimizer.param_groups[i], "lr", base * factor)


def _options_of(group: Mapping[str, Any]) -> dict[str, Any]:
    options = {name: value for name, value in group.items() if name not in ("params", "initial_lr")}
    plain = {
        name: value.item() if isinstance(value, Tensor) else value
        for name, value in options.items()
    }
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in plain.items()
        if isinstance(value, bool | int | float | str | tuple)
    }


def _set(group: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(group[name], Tensor):
        group[name].fill_(value)  # in place, because a captured CUDA graph reads this tensor
    else:
        group[name] = tuple(value) if isinstance(value, list) else value


def _parameters_of(optimizer: Any) -> dict[int, Any]:
    return {
        id(parameter): parameter
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def names_of(model: nn.Module) -> str:
    """Lists the names of the parameters, for error messages."""
    names = [name for name, _ in model.named_parameters()]
    return f"There are {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"


@contextlib.contextmanager
def freezing(model: nn.Module, patterns: Sequence[str]) -> Iterator[None]:
    """Freezes parameters (see :func:`freeze`); restores ``requires_grad`` if the block raises."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        freeze(model, patterns)
        yield
    except BaseException:
        for parameter, needs_grad in flags:
            parameter.requires_grad_(needs_grad)
        raise


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Freezes the parameters whose names match a pattern.

    Raises:
        ValueError: a pattern matches no parameter, or no parameter is left to train.
    """
    for pattern in patterns:
        for parameter in _matching(model, pattern, "freeze"):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(
            f"freeze should leave at least one parameter to train, but given {list(patterns)}, which match all"
        )


def unfreeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Trains the parameters whose names match a pattern.

    Raises:
        ValueError: a pattern matches no parameter.
    """
    chosen = [_matching(model, pattern, "unfreeze") for pattern in patterns]
    for parameter in (one for part in chosen for one in part):
        parameter.requires_grad_(True)


def frozen_in(model: nn.Module) -> list[str]:
    """Returns the names of the parameters that are not trained."""
    return [name for name, one in model.named_parameters() if not one.requires_grad]


def _matching(model: nn.Module, pattern: str, what: str) -> list[nn.Parameter]:
    named = model.named_parameters()
    chosen = [parameter for name, parameter in named if fnmatch.fnmatch(name, pattern)]
    if not chosen:
        raise ValueError(f"{what}: no parameter matches {pattern!r}. {names_of(model)}")
    return chosen
