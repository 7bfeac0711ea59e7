"""Loads states into several objects: into all of them or none."""

import copy
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ignite._core.logs import MAX_NAMES, join_names
from ignite._core.torch_private import BATCH_NORM_BASE, has_own_loading_of_keys
from ignite.base import Serializable
from ignite.exceptions import CheckpointError
from ignite.storage.keys import fit_keys, has_own_loading, load_into, state_of, unwrap
from ignite.storage.snapshot import Snapshot, decode_objects

__all__ = ["restore"]

# Entries of an optimizer's state that have the shape of their parameter, by torch's names.
_PARAMETER_SHAPED = frozenset(
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
    """Loads ``states[name]`` into ``targets[name]``, for all targets or for none.

    First checks everything that can be checked without loading: keys and shapes of modules; groups,
    parameters and shapes of optimizers. Then copies the states of all targets to the host, and
    loads the new states in the order of ``targets``. After any exception, including
    KeyboardInterrupt, all targets are rolled back, in reverse order.

    A target whose ``state_dict`` is missing or raises cannot be rolled back, so it is loaded last.
    If ``state_dict`` raises, for example that of a ZeroRedundancyOptimizer that has not been
    consolidated, a warning is logged.

    Args:
        targets: objects with ``state_dict`` and ``load_state_dict``, wrapped or not.
        states: the states by the same names; other names are ignored.
        strict: whether missing and unexpected keys of modules are errors. Shapes always have to
            match.

    Returns:
        A function that rolls back all targets for which this is possible.

    Raises:
        CheckpointError: a state does not match its target. The message lists all mismatches.
        Exception: the exception of a target that fails to load, with a note that names the target.

    Example:
        >>> source, target = nn.Linear(2, 1), nn.Linear(2, 1)
        >>> roll_back = restore({"model": target}, {"model": source.state_dict()})
        >>> bool((target.weight == source.weight).all())
        True
        >>> restore({"model": target}, {"model": nn.Linear(3, 1).state_dict()})
        Traceback (most recent call last):
        ignite.exceptions.CheckpointError: states should match their targets, but do not. Nothing was changed:
        model: weight should have shape (1, 2), but given (1, 3)
    """
    mismatches = [
        f"{name}: {mismatch}"
        for name in targets
        for mismatch in _find_mismatches(name, targets[name], states, strict)
    ]
    if mismatches:
        listed = "\n".join(mismatches)
        raise CheckpointError(
            f"states should match their targets, but do not. Nothing was changed:\n{listed}"
        )
    backups = {
        name: backup
        for name, target in targets.items()
        if (backup := _back_up(name, target)) is not None
    }
    changed: list[str] = []
    try:
        for name in [*backups, *(name for name in targets if name not in backups)]:
            changed.append(name)
            load_into(targets[name], states[name], strict=strict)
    except BaseException as error:
        failed = _roll_back(targets, backups, changed, error)
        outcome = f"all objects were rolled back{', except ' if failed else ''}{', '.join(failed)}"
        error.add_note(f"while restoring {changed[-1]!r}; {outcome}")
        raise
    return partial(_undo, targets, backups, changed)


def _undo(
    targets: Mapping[str, Any], backups: Mapping[str, Mapping[str, Any]], changed: list[str]
) -> None:
    error = CheckpointError("all restored objects should be rolled back, but some could not be")
    if _roll_back(targets, backups, [name for name in changed if name in backups], error):
        raise error


def _roll_back(
    targets: Mapping[str, Any],
    backups: Mapping[str, Mapping[str, Any]],
    changed: list[str],
    error: BaseException,
) -> list[str]:
    """Loads the backups, and returns the names of the targets that could not be rolled back."""
    failed = []
    for name in reversed(changed):
        if name not in backups:
            failed.append(name)
            continue
        try:
            load_into(targets[name], backups[name])
        except Exception as second:
            failed.append(name)
            error.add_note(f"{name!r} could not be rolled back: {type(second).__name__}: {second}")
    return failed


def _back_up(name: str, target: Any) -> Mapping[str, Any] | None:
    """Returns a copy of the state of ``target`` on the host; None if it has no state or raises."""
    if not hasattr(target, "state_dict"):
        return None
    try:
        state = state_of(target)
        try:
            copied: Mapping[str, Any] = decode_objects(Snapshot().take(state))
        except TypeError:
            # A state that cannot be saved, for example because it has functions in it, is deep-copied.
            copied = copy.deepcopy(state)
    except Exception as error:
        logger.warning(
            "%s cannot be rolled back if restoring fails: %s: %s", name, type(error).__name__, error
        )
        return None
    return copied


def _find_mismatches(
    name: str, target: Any, states: Mapping[str, Any], strict: bool
) -> Iterator[str]:
    """Yields all mismatches between a state and its target that can be found without loading."""
    if not hasattr(target, "load_state_dict"):
        yield f"should have load_state_dict, but given {type(target).__name__}"
    elif name not in states:
        yield f"should have a state, but given only those of {join_names(map(str, states))}"
    elif has_own_loading(target) or (
        isinstance(target, nn.Module) and has_own_loading(unwrap(target))
    ):
        return  # it is unknown what the function accepts
    elif isinstance(target, nn.Module | Optimizer | Serializable) and not isinstance(
        states[name], Mapping
    ):
        yield f"its state should be a dictionary, but given {type(states[name]).__name__}"
    elif isinstance(target, nn.Module):
        yield from _module_mismatches(unwrap(target), states[name], strict)
    elif isinstance(target, Optimizer):
        yield from _optimizer_mismatches(target, states[name])


def _module_mismatches(module: nn.Module, state: Mapping[str, Any], strict: bool) -> Iterator[str]:
    if _overrides(module, nn.Module.load_state_dict):
        return
    expected, given = module.state_dict(), fit_keys(module, state)
    submodules = module.named_modules(remove_duplicate=False)
    custom_prefixes = tuple(
        f"{prefix}." if prefix else ""
        for prefix, submodule in submodules
        if has_own_loading_of_keys(submodule) and not isinstance(submodule, BATCH_NORM_BASE)
    )
    checked = [key for key in {**expected, **given} if not str(key).startswith(custom_prefixes)]
    missing = [key for key in checked if key not in given and not _is_optional(module, key)]
    if strict and missing:
        yield f"the state should have the keys {join_names(missing)}"
    unexpected = [key for key in checked if key not in expected]
    if strict and unexpected:
        yield f"the state should not have the keys {join_names(unexpected)}"
    both = (key for key in checked if key in expected and key in given)
    yield from _limit(_shape_mismatches((key, expected[key], given[key]) for key in both))


def _shape_mismatches(pairs: Iterator[tuple[str, Any, Any]]) -> Iterator[str]:
    for key, expected, given in pairs:
        if isinstance(expected, Tensor) != isinstance(given, Tensor):
            yield f"{key} should be a {type(expected).__name__}, but given a {type(given).__name__}"
        elif isinstance(expected, Tensor) and expected.shape != given.shape:
            yield f"{key} should have shape {tuple(expected.shape)}, but given {tuple(given.shape)}"


def _overrides(module: nn.Module, method: Callable[..., Any]) -> bool:
    return getattr(type(module), method.__name__) is not method


def _is_optional(module: nn.Module, key: str) -> bool:
    """Whether torch accepts a state without the key, which old files of norms lack."""
    path, _, name = key.rpartition(".")
    return name == "num_batches_tracked" and isinstance(module.get_submodule(path), BATCH_NORM_BASE)


def _optimizer_mismatches(optimizer: Optimizer, state: Mapping[str, Any]) -> Iterator[str]:
    groups = state.get("param_groups")
    if groups is None and type(optimizer).load_state_dict is not Optimizer.load_state_dict:
        return  # a custom format, such as a state for each of several optimizers
    if not isinstance(groups, list) or not isinstance(state.get("state"), Mapping):
        keys = join_names(map(str, state))
        yield f"its state should have param_groups and state, but given one with the keys {keys}"
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
        # Optimizers fill in boolean options that old states lack, but not numbers.
        missing = [
            option
            for option, value in optimizer.defaults.items()
            if isinstance(value, float | int | tuple | Tensor)
            and not isinstance(value, bool)
            and option in own
            and option not in given
        ]
        if missing:
            yield (
                f"group {i} should have the options of {type(optimizer).__name__}, but "
                f"{join_names(missing)} are missing: is the state one of another optimizer?"
            )
            return
    yield from _limit(
        f"{key} of parameter {i} should have shape {tuple(parameters[i].shape)}, but given {tuple(value.shape)}"
        for i, values in state["state"].items()
        if i in parameters and isinstance(values, Mapping)
        for key, value in values.items()
        if key in _PARAMETER_SHAPED
        and isinstance(value, Tensor)
        and value.ndim
        and value.shape != parameters[i].shape
    )


def _limit(mismatches: Iterator[str]) -> Iterator[str]:
    yield from islice(mismatches, MAX_NAMES)
    num_others = sum(1 for _ in mismatches)
    if num_others:
        yield f"and {num_others} more"
