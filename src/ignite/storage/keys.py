"""State dicts whose keys do not depend on wrappers such as DDP and ``torch.compile``."""

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from torch import distributed, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ignite._core.torch_private import (
    COMPILED_MODULE_NAME,
    compiled_module_class,
    is_shard,
    state_of_scheduler,
    submodules,
)

__all__ = ["check_whole", "fit_keys", "has_own_loading", "load_into", "state_of", "unwrap"]


def unwrap(module: nn.Module) -> nn.Module:
    """Returns the module inside of any number of DataParallel, DDP and ``torch.compile`` wrappers.

    Example:
        >>> linear = nn.Linear(1, 1)
        >>> unwrap(nn.DataParallel(linear)) is linear
        True
    """
    while (name := _wrapped_name(module)) is not None:
        module = submodules(module)[name]  # type: ignore[assignment]  # wrappers always hold a module
    return module


def state_of(obj: Any) -> Mapping[str, Any]:
    """Returns ``obj.state_dict()``; for modules, without the prefixes that wrappers add to keys.

    Only prefixes of actual wrappers are removed, because a user's submodule may be called
    ``module``, too. DTensors, for example of FSDP2, are returned unchanged; each process gets its
    own shard.

    Args:
        obj: any object with ``state_dict``. The state of an object that is not a module is
            returned unchanged.

    Raises:
        TypeError: ``obj`` has no ``state_dict``.

    Example:
        >>> list(state_of(nn.DataParallel(nn.Sequential(nn.DataParallel(nn.Linear(1, 1))))))
        ['0.weight', '0.bias']
    """
    if not hasattr(obj, "state_dict"):
        raise TypeError(f"obj should have state_dict, but given {obj!r}")
    state: Mapping[str, Any]
    if not isinstance(obj, nn.Module):
        state = state_of_scheduler(obj) if isinstance(obj, LRScheduler) else obj.state_dict()
        return state
    module = unwrap(obj)
    state = module.state_dict()
    return (
        _renamed(state, partial(_strip_wrappers, module))
        if all(isinstance(key, str) for key in state)
        else state
    )


def check_whole(name: str, obj: Any, state: Any) -> None:
    """Checks that a state is complete, not just the shard of this process.

    Args:
        name: name of the object, for the message.
        obj: the object that the state belongs to.
        state: the result of :func:`state_of`.

    Raises:
        ValueError: the object is sharded over processes, for example by FSDP or tensor parallelism.

    Example:
        >>> linear = nn.Linear(1, 1)
        >>> check_whole("model", linear, linear.state_dict())
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return  # a single process has no shards
    groups = obj.param_groups if isinstance(obj, Optimizer) else []
    parameters = [parameter for group in groups for parameter in group["params"]]
    # Optimizers of FSDP1 hold shards of the flattened parameters as plain tensors.
    if any(map(is_shard, parameters)) or _has_shards(state):
        raise ValueError(
            f"{name} should be whole in each process, but given {type(obj).__name__}, "
            "which is sharded over processes: a file would hold one shard. Save the result of get_state_dict in "
            "torch.distributed.checkpoint.state_dict with full_state_dict=True"
        )


def _has_shards(state: Any) -> bool:
    pending = [state]
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            pending.extend(value.values())
        elif isinstance(value, list | tuple | set):
            pending.extend(item for item in value if not isinstance(item, int | float | str))
        elif not isinstance(value, int | float | str) and is_shard(value):
            return True
    return False


def load_into(obj: Any, state: Mapping[str, Any], strict: bool = True) -> None:
    """Loads a state returned by :func:`state_of`, independent of the wrappers of ``obj``.

    Also loads states saved by other programs, whose keys may have the prefixes of wrappers.

    Args:
        obj: any object with ``load_state_dict``.
        state: the state of this object or of one with the same structure.
        strict: for modules, whether missing and unexpected keys are errors.

    Raises:
        TypeError: ``obj`` has no ``load_state_dict``.
        Exception: whatever ``obj.load_state_dict`` raises.

    Example:
        >>> source, target = nn.Linear(1, 1), nn.DataParallel(nn.Linear(1, 1))
        >>> load_into(target, state_of(source))
        >>> bool(target.module.bias == source.bias)
        True
    """
    if not hasattr(obj, "load_state_dict"):
        raise TypeError(f"obj should have load_state_dict, but given {obj!r}")
    options = {} if strict else {"strict": False}
    if not isinstance(obj, nn.Module):
        obj.load_state_dict(state)
        return
    if has_own_loading(obj) or has_own_loading(unwrap(obj)):
        (obj if has_own_loading(obj) else unwrap(obj)).load_state_dict(state, **options)
        return
    if not isinstance(state, Mapping):
        raise TypeError(f"state should be a dictionary, but given {type(state).__name__}")
    module = unwrap(obj)
    module.load_state_dict(fit_keys(module, state), **options)


def has_own_loading(obj: Any) -> bool:
    """Whether ``load_state_dict`` of this object has been replaced by a user's function.

    Example:
        >>> linear = nn.Linear(1, 1)
        >>> linear.load_state_dict = print
        >>> has_own_loading(linear), has_own_loading(nn.Linear(1, 1))
        (True, False)
    """
    return "load_state_dict" in getattr(obj, "__dict__", ())


def fit_keys(module: nn.Module, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Renames the keys of ``state`` to those of an unwrapped module.

    Tries the keys unchanged, then without the prefix of ``torch.compile``, then also without one,
    two, ... leading ``module``, and finally without any ``module``. Renames the whole state by the
    variant in which most keys match; of equally good ones, the first.
    """
    expected = module.state_dict()
    if not all(isinstance(key, str) for key in [*expected, *state]):
        return state  # the module has a state of its own format
    names = {_strip_wrappers(module, key): key for key in expected}
    best: Mapping[str, Any] = state
    best_count = -1
    for rename in _key_variants(state):
        found = [rename(key) for key in state]
        count = sum(key in names for key in found)
        if len(set(found)) == len(found) and count > best_count:
            best, best_count = _renamed(state, rename), count
    prefixes = {
        _strip_wrappers(module, prefix): prefix
        for prefix, _ in module.named_modules(remove_duplicate=False)
    }
    return _renamed(
        best, lambda key: names.get(key, key), lambda prefix: prefixes.get(prefix, prefix)
    )


def _key_variants(state: Mapping[str, Any]) -> Iterator[Callable[[str], str]]:
    num_leading = min((_num_leading(key) for key in state), default=0)
    num_all = max((key.count(".") + 1 for key in state), default=0)
    yield lambda key: key
    for num_parts in [*range(num_leading + 1), num_all]:
        yield partial(_without_wrappers, num_parts=num_parts)


def _without_wrappers(key: str, num_parts: int) -> str:
    """Removes the prefix of ``torch.compile``, and ``module`` from the first ``num_parts`` parts."""
    parts = [part for part in key.split(".") if part != COMPILED_MODULE_NAME]
    return ".".join([part for part in parts[:num_parts] if part != "module"] + parts[num_parts:])


def _num_leading(key: str) -> int:
    """Counts the leading ``module.`` of a key, without the prefix of ``torch.compile``."""
    parts = [part for part in key.split(".") if part != COMPILED_MODULE_NAME]
    return next((i for i, part in enumerate(parts) if part != "module"), len(parts))


def _renamed(
    state: Mapping[str, Any],
    rename: Callable[[str], str],
    rename_prefix: Callable[[str], str] | None = None,
) -> Mapping[str, Any]:
    """Copies a state with renamed keys, and renames the prefixes in torch's ``_metadata``."""
    renamed: OrderedDict[str, Any] = OrderedDict(
        (rename(key), value) for key, value in state.items()
    )
    metadata = getattr(state, "_metadata", None)
    if metadata is not None:
        rename_prefix = rename_prefix or rename
        # A wrapper precedes its module, so the version of the module overwrites that of the wrapper.
        renamed._metadata = OrderedDict(  # type: ignore[attr-defined]
            (rename_prefix(prefix), version) for prefix, version in metadata.items()
        )
    return renamed


def _strip_wrappers(module: nn.Module | None, key: str) -> str:
    """Removes the prefixes of wrappers from a key, or a prefix of a key, of ``module.state_dict()``."""
    parts = key.split(".")
    kept: list[str] = []
    for i, part in enumerate(parts):
        if module is None or part not in submodules(module):
            return ".".join([*kept, *parts[i:]])
        if _wrapped_name(module) != part:
            kept.append(part)
        module = submodules(module)[part]
    return ".".join(kept)


def _wrapped_name(module: nn.Module) -> str | None:
    """Returns the attribute that holds the wrapped module; None if ``module`` is not a wrapper."""
    if isinstance(module, DataParallel | DistributedDataParallel):
        return "module"
    compiled = compiled_module_class(sys.modules)
    if compiled is not None and isinstance(module, compiled):
        return COMPILED_MODULE_NAME
    return None
