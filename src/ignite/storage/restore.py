"""Loads states into several objects: into all of them, or into none."""

import copy
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ignite._core.torch_private import BATCH_NORM_BASE
from ignite.base import Serializable
from ignite.exceptions import CheckpointError
from ignite.storage.keys import fit_keys, load_into, state_of, unwrap
from ignite.storage.snapshot import Snapshot

__all__ = ["restore"]

_MAX_LISTED = 10
# What optimizers keep once for each element of a parameter, by the names that torch gives to it.
_LIKE_PARAMETER = frozenset(
    {
        "acc_delta",
        "exp_avg",
        "exp_avg_sq",
        "exp_inf",
        "grad_avg",
        "max_exp_avg_sq",
        "momentum_buffer",
    }
    | {"prev", "square_avg", "step_size", "sum"}
)

logger = logging.getLogger(__name__)


def restore(
    targets: Mapping[str, Any], states: Mapping[str, Any], *, strict: bool = True
) -> Callable[[], None]:
    """Loads ``states[name]`` into ``targets[name]`` for every name of ``targets``, or changes nothing.

    First everything that can be seen without loading is checked: keys and shapes of modules,
    groups, parameters and shapes of optimizers. Then the states of all targets are copied to the
    host, the new ones are loaded in the order of ``targets``, and if anything is raised, Ctrl-C
    included, all targets are put back, the last one first.

    A target that cannot hand out its state cannot be put back, so it is loaded after all others.
    Where it should be able to, such as a ZeroRedundancyOptimizer that was not consolidated, a
    warning is logged.

    Args:
        targets: objects with ``state_dict`` and ``load_state_dict``, wrapped or not.
        states: by the same names; others are ignored.
        strict: whether missing and unexpected keys of modules are faults. Shapes have to fit in any
            case.

    Returns:
        A function that puts all targets back to what they held before, those that can be.

    Raises:
        CheckpointError: something does not fit. The message lists what, for all targets.
        Exception: whatever a target raises while it loads, with a note that names the target.

    Example:
        >>> source, target = nn.Linear(2, 1), nn.Linear(2, 1)
        >>> put_back = restore({"model": target}, {"model": source.state_dict()})
        >>> bool((target.weight == source.weight).all())
        True
        >>> restore({"model": target}, {"model": nn.Linear(3, 1).state_dict()})
        Traceback (most recent call last):
        ignite.exceptions.CheckpointError: states should fit their targets, and nothing was changed, because:
        model: weight should have shape (1, 2), but given (1, 3)
    """
    faults = [
        f"{name}: {fault}"
        for name in targets
        for fault in _faults(name, targets[name], states, strict)
    ]
    if faults:
        listed = "\n".join(faults)
        raise CheckpointError(
            f"states should fit their targets, and nothing was changed, because:\n{listed}"
        )
    backups = {
        name: backup
        for name, target in targets.items()
        if (backup := _backup(name, target)) is not None
    }
    begun: list[str] = []
    try:
        for name in [*backups, *(name for name in targets if name not in backups)]:
            begun.append(name)
            load_into(targets[name], states[name], strict=strict)
    except BaseException as error:
        left = _put_back(targets, backups, begun, error)
        outcome = (
            f"everything was put back, except {', '.join(left)}"
            if left
            else "everything was put back"
        )
        error.add_note(f"while restoring {begun[-1]!r}; {outcome}")
        raise
    return partial(_put_all_back, targets, backups, begun)


def _put_all_back(
    targets: Mapping[str, Any], backups: Mapping[str, Mapping[str, Any]], begun: list[str]
) -> None:
    error = CheckpointError("what was restored should be put back")
    if _put_back(targets, backups, [name for name in begun if name in backups], error):
        raise error


def _put_back(
    targets: Mapping[str, Any],
    backups: Mapping[str, Mapping[str, Any]],
    begun: list[str],
    error: BaseException,
) -> list[str]:
    """Returns the names of those that could not be."""
    left = []
    for name in reversed(begun):
        if name not in backups:
            left.append(name)
            continue
        try:
            load_into(targets[name], backups[name])
        except Exception as second:
            left.append(name)
            error.add_note(f"{name!r} could not be put back: {type(second).__name__}: {second}")
    return left


def _backup(name: str, target: Any) -> Mapping[str, Any] | None:
    """What ``target`` holds now, on the host; None if nobody can tell."""
    if not hasattr(target, "state_dict"):
        return None
    try:
        state = state_of(target)
        try:
            copied: Mapping[str, Any] = Snapshot().take(state)
        except TypeError:
            # Such as could not be saved, functions in it for example, may still be copied.
            copied = copy.deepcopy(state)
    except Exception as error:
        logger.warning(
            "%s cannot be put back if restoring fails: %s: %s", name, type(error).__name__, error
        )
        return None
    return copied


def _faults(name: str, target: Any, states: Mapping[str, Any], strict: bool) -> Iterator[str]:
    """Why the state does not fit, as far as can be seen without loading it."""
    if not hasattr(target, "load_state_dict"):
        yield f"should have load_state_dict, but given {type(target).__name__}"
    elif name not in states:
        yield f"should have a state, but given only those of {_listed(map(str, states))}"
    elif isinstance(target, nn.Module | Optimizer | Serializable) and not isinstance(
        states[name], Mapping
    ):
        yield f"its state should be a dictionary, but given {type(states[name]).__name__}"
    elif isinstance(target, nn.Module):
        yield from _module_faults(unwrap(target), states[name], strict)
    elif isinstance(target, Optimizer):
        yield from _optimizer_faults(target, states[name])


def _module_faults(module: nn.Module, state: Mapping[str, Any], strict: bool) -> Iterator[str]:
    if _overrides(module, nn.Module.load_state_dict):
        return
    expected, fitted = module.state_dict(), fit_keys(module, state)
    parts = module.named_modules(remove_duplicate=False)
    own = tuple(
        f"{prefix}." if prefix else "" for prefix, part in parts if _loads_its_own_way(part)
    )
    checked = [key for key in {**expected, **fitted} if not str(key).startswith(own)]
    missing = [key for key in checked if key not in fitted and not _may_miss(module, key)]
    if strict and missing:
        yield f"the state should have the keys {_listed(missing)}"
    unexpected = [key for key in checked if key not in expected]
    if strict and unexpected:
        yield f"the state should not have the keys {_listed(unexpected)}"
    both = (key for key in checked if key in expected and key in fitted)
    yield from _first(_shape_faults((key, expected[key], fitted[key]) for key in both))


def _shape_faults(pairs: Iterator[tuple[str, Any, Any]]) -> Iterator[str]:
    for key, expected, given in pairs:
        if isinstance(expected, Tensor) != isinstance(given, Tensor):
            yield f"{key} should be a {type(expected).__name__}, but given a {type(given).__name__}"
        elif isinstance(expected, Tensor) and expected.shape != given.shape:
            yield f"{key} should have shape {tuple(expected.shape)}, but given {tuple(given.shape)}"


def _overrides(part: nn.Module, method: Callable[..., Any]) -> bool:
    return getattr(type(part), method.__name__) is not method


def _loads_its_own_way(part: nn.Module) -> bool:
    """Whether hooks or methods may accept other keys and shapes than those that ``part`` has now."""
    if part._load_state_dict_pre_hooks:
        return True
    return _overrides(part, nn.Module._load_from_state_dict) and not isinstance(
        part, BATCH_NORM_BASE
    )


def _may_miss(module: nn.Module, key: str) -> bool:
    """Norms of old files do not count their batches; torch forgives it."""
    path, _, name = key.rpartition(".")
    return name == "num_batches_tracked" and isinstance(module.get_submodule(path), BATCH_NORM_BASE)


def _optimizer_faults(optimizer: Optimizer, state: Mapping[str, Any]) -> Iterator[str]:
    groups = state.get("param_groups")
    if groups is None and type(optimizer).load_state_dict is not Optimizer.load_state_dict:
        return  # a form of its own, such as one state for each of several optimizers
    if not isinstance(groups, list) or not isinstance(state.get("state"), Mapping):
        yield f"its state should have param_groups and state, but given one with the keys {_listed(map(str, state))}"
        return
    if len(groups) != len(optimizer.param_groups):
        yield f"the state should have {len(optimizer.param_groups)} groups of parameters, but given {len(groups)}"
        return
    parameters: dict[Any, Tensor] = {}
    for i, (own, given) in enumerate(zip(optimizer.param_groups, groups, strict=True)):
        ids = given.get("params") if isinstance(given, Mapping) else None
        if not isinstance(ids, list) or len(ids) != len(own["params"]):
            count = len(ids) if isinstance(ids, list) else "none"
            yield f"group {i} should have {len(own['params'])} parameters, but given {count}"
            return
        parameters.update(zip(ids, own["params"], strict=True))
    yield from _first(
        f"{key} of parameter {i} should have shape {tuple(parameters[i].shape)}, but given {tuple(value.shape)}"
        for i, values in state["state"].items()
        if i in parameters and isinstance(values, Mapping)
        for key, value in values.items()
        if key in _LIKE_PARAMETER
        and isinstance(value, Tensor)
        and value.ndim
        and value.shape != parameters[i].shape
    )


def _first(faults: Iterator[str]) -> Iterator[str]:
    yield from islice(faults, _MAX_LISTED)
    rest = sum(1 for _ in faults)
    if rest:
        yield f"and {rest} more"


def _listed(names: Any) -> str:
    names = list(names)
    text = ", ".join(names[:_MAX_LISTED]) or "nothing"
    return text if len(names) <= _MAX_LISTED else f"{text} and {len(names) - _MAX_LISTED} more"
