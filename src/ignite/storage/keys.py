"""Names of parameters that do not depend on how a module is wrapped: by DDP, DataParallel or torch.compile."""

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from torch import distributed, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim import Optimizer

from ignite._core.torch_private import compiled_module_class

__all__ = ["check_whole", "fit_keys", "load_into", "state_of", "unwrap"]

# Whoever has made such tensors has imported these; importing them takes long.
_DTENSOR = "torch.distributed.tensor"
_SHARDED = "torch.distributed._shard.sharded_tensor"


def unwrap(module: nn.Module) -> nn.Module:
    """The module inside of DataParallel, DistributedDataParallel and ``torch.compile``, nested to any depth.

    Example:
        >>> linear = nn.Linear(1, 1)
        >>> unwrap(nn.DataParallel(linear)) is linear
        True
    """
    while (name := _inner_name(module)) is not None:
        module = module._modules[name]  # type: ignore[assignment]  # a wrapper is never without its module
    return module


def state_of(obj: Any) -> Mapping[str, Any]:
    """``obj.state_dict()``; of modules without the names of wrappers, around it or around modules inside.

    A user's own submodule may be called ``module``: only what a wrapper really adds is cut off.
    States that hold DTensors, of FSDP2 for example, are handed through; each process gets its own
    part.

    Args:
        obj: anything with ``state_dict``. What is no module hands out its state as it is.

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
        state = obj.state_dict()
        return state
    module = unwrap(obj)
    state = module.state_dict()
    return (
        _renamed(state, partial(_clean, module))
        if all(isinstance(key, str) for key in state)
        else state
    )


def check_whole(name: str, obj: Any, state: Any) -> None:
    """Looks whether a state is all of an object, and not the part of it that this process holds.

    Args:
        name: of the object, for the message.
        obj: whose state it is.
        state: from :func:`state_of`.

    Raises:
        ValueError: the object is sharded over processes, as FSDP and tensor parallelism do.

    Example:
        >>> linear = nn.Linear(1, 1)
        >>> check_whole("model", linear, linear.state_dict())
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return  # nothing can be spread over processes
    groups = obj.param_groups if isinstance(obj, Optimizer) else []
    parameters = [parameter for group in groups for parameter in group["params"]]
    # Optimizers of FSDP's first version hold plain tensors, parts of its flattened parameters.
    if any(map(_is_sharded, parameters)) or _has_shards(state):
        raise ValueError(
            f"{name} should be whole in each process, but given a {type(obj).__name__} that is sharded over processes: "
            "a file would hold the part of one of them. Save what get_state_dict of "
            "torch.distributed.checkpoint.state_dict returns with full_state_dict=True"
        )


def _is_sharded(tensor: Any) -> bool:
    kinds = [(_DTENSOR, "DTensor"), (_SHARDED, "ShardedTensor")]
    held = [getattr(sys.modules.get(module), kind, None) for module, kind in kinds]
    is_shard = any(kind is not None and isinstance(tensor, kind) for kind in held)
    return is_shard or getattr(tensor, "_fsdp_flattened", False) is True


def _has_shards(state: Any) -> bool:
    pending = [state]
    while pending:
        one = pending.pop()
        if isinstance(one, Mapping):
            pending.extend(one.values())
        elif isinstance(one, list | tuple | set):
            pending.extend(part for part in one if not isinstance(part, int | float | str))
        elif not isinstance(one, int | float | str) and _is_sharded(one):
            return True
    return False


def load_into(obj: Any, state: Mapping[str, Any], strict: bool = True) -> None:
    """Loads what :func:`state_of` has returned, whatever ``obj`` is wrapped in now.

    States with the names of wrappers, as other programs write them, are loaded as well.

    Args:
        obj: anything with ``load_state_dict``.
        state: of this object or of one that is built like it.
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
    if not isinstance(obj, nn.Module):
        obj.load_state_dict(state)
        return
    if not isinstance(state, Mapping):
        raise TypeError(f"state should be a dictionary, but given {type(state).__name__}")
    module = unwrap(obj)
    module.load_state_dict(fit_keys(module, state), strict=strict)


def fit_keys(module: nn.Module, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """``state`` with the keys that ``module``, which is itself unwrapped, has now.

    Keys are read as they are, then without ``_orig_mod``, then also without one, two, ...
    ``module`` at the front, and at last without any ``module``; the first reading that fits the
    most keys is taken, for the whole state.
    """
    expected = module.state_dict()
    if not all(isinstance(key, str) for key in [*expected, *state]):
        return state  # a module with a state of its own kind
    names = {_clean(module, key): key for key in expected}
    best: Mapping[str, Any] = state
    best_count = -1
    for read in _readings(state):
        found = [read(key) for key in state]
        count = sum(key in names for key in found)
        if len(set(found)) == len(found) and count > best_count:
            best, best_count = _renamed(state, read), count
    prefixes = {
        _clean(module, prefix): prefix for prefix, _ in module.named_modules(remove_duplicate=False)
    }
    return _renamed(
        best, lambda key: names.get(key, key), lambda prefix: prefixes.get(prefix, prefix)
    )


def _readings(state: Mapping[str, Any]) -> Iterator[Callable[[str], str]]:
    num_leading = min((_num_leading(key) for key in state), default=0)
    num_all = max((key.count(".") + 1 for key in state), default=0)
    yield lambda key: key
    for num_parts in [*range(num_leading + 1), num_all]:
        yield partial(_without_wrappers, num_parts=num_parts)


def _without_wrappers(key: str, num_parts: int) -> str:
    """Without ``_orig_mod``, and without ``module`` in the first ``num_parts`` parts of what is left."""
    parts = [part for part in key.split(".") if part != "_orig_mod"]
    return ".".join([part for part in parts[:num_parts] if part != "module"] + parts[num_parts:])


def _num_leading(key: str) -> int:
    """How often the key begins with ``module.``, wrappers of compile not counted."""
    parts = [part for part in key.split(".") if part != "_orig_mod"]
    return next((i for i, part in enumerate(parts) if part != "module"), len(parts))


def _renamed(
    state: Mapping[str, Any],
    rename: Callable[[str], str],
    rename_prefix: Callable[[str], str] | None = None,
) -> Mapping[str, Any]:
    """A copy with other keys; torch keeps the versions of the modules in an attribute, by prefix."""
    renamed: OrderedDict[str, Any] = OrderedDict(
        (rename(key), value) for key, value in state.items()
    )
    metadata = getattr(state, "_metadata", None)
    if metadata is not None:
        rename_prefix = rename_prefix or rename
        # In the order of the tree, so that of a wrapper and its module the module's version stays.
        renamed._metadata = OrderedDict(  # type: ignore[attr-defined]
            (rename_prefix(prefix), version) for prefix, version in metadata.items()
        )
    return renamed


def _clean(module: nn.Module | None, key: str) -> str:
    """A key, or a prefix, of ``module.state_dict()``, without the wrappers on its way through the modules."""
    parts = key.split(".")
    kept: list[str] = []
    for i, part in enumerate(parts):
        if module is None or part not in module._modules:
            return ".".join([*kept, *parts[i:]])
        if _inner_name(module) != part:
            kept.append(part)
        module = module._modules[part]
    return ".".join(kept)


def _inner_name(module: nn.Module) -> str | None:
    """Under which name ``module`` holds what it wraps; None if it is no wrapper."""
    if isinstance(module, DataParallel | DistributedDataParallel):
        return "module"
    compiled = compiled_module_class(sys.modules)
    if compiled is not None and isinstance(module, compiled):
        return "_orig_mod"
    return None
