"""States that differ between processes: saved for each of them, and given back to each."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from ignite import distributed as idist
from ignite._core.logs import join_names

__all__ = ["BY_RANK", "states_by_rank", "states_of_rank"]

BY_RANK = "by_rank"
"""Key of what differs in a saved run."""

_ALIKE = (
    "data",
    "random",
    "is_data_set",
    "is_finished",
)  # lists of all ranks already, or decided together
_NUM_SAMPLED = 256
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

_logger = logging.getLogger(__name__)


def states_by_rank(states: Mapping[str, Any], objects: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Gathers the entries of states that differ between processes. All processes have to call it.

    The parameters of DistributedDataParallel, and what an optimizer keeps for them, are equal
    unless a program takes care that they are not: of them, a sample is compared. Buffers that are
    broadcast before each forward pass are left out.

    Args:
        states: the states of this process, by name.
        objects: the objects that they belong to.

    Returns:
        For each name with differences, a list with the differing entries of each process.
    """
    digests = {
        name: _digests_of(state, objects.get(name), objects)
        for name, state in states.items()
        if name not in _ALIKE
    }
    gathered = idist.all_gather(digests)
    names = sorted({name for one in gathered[1:] for name in one})
    differing = {
        name: keys
        for name in names
        if (keys := _differing([one.get(name, {}) for one in gathered]))
    }
    if not differing:
        return {}
    mine = {
        name: _entries(states[name], keys) for name, keys in differing.items() if name in states
    }
    by_rank = idist.all_gather(mine)
    return {name: [one.get(name) for one in by_rank] for name in differing}


def states_of_rank(states: Mapping[str, Any], rank: int, num_ranks: int) -> dict[str, Any]:
    """Returns the states for one process of a resumed run.

    With another number of processes than before, all get those of the first; of accumulated
    gradients, the mean, so that the gradient of the window is the same.

    Example:
        >>> states = {"a": {"x": 1, "y": 2}, "by_rank": {"a": [{"x": 1}, {"x": 5}]}}
        >>> states_of_rank(states, rank=1, num_ranks=2)["a"]["x"]
        5
    """
    mine = {name: state for name, state in states.items() if name != BY_RANK}
    by_rank: Mapping[str, list[Any]] = states.get(BY_RANK, {})
    num_saved = len(next(iter(by_rank.values()), [None] * num_ranks))
    if num_saved != num_ranks:
        for name in by_rank.keys() & {"accumulated"}:
            mine[name] = {**mine.get(name, {}), **_mean(by_rank[name])}
        _logger.warning(
            "These states differed between %s processes, and this run has %s: all get those of the "
            "first process, and of gradients the mean: %s",
            num_saved, num_ranks, join_names(sorted(by_rank)),
        )  # fmt: skip
        return mine
    for name, saved in by_rank.items():
        if saved[rank] is None:
            mine.pop(name, None)
        elif isinstance(saved[rank], Mapping):
            common = mine.get(name, {}) if saved[0] is not None else {}
            mine[name] = {
                **{key: one for key, one in common.items() if key not in (saved[0] or {})},
                **saved[rank],
            }
        else:
            mine[name] = saved[rank]
    return mine


def _mean(gradients: list[Any]) -> dict[str, Tensor]:
    names = {name for one in gradients for name in one or {}}
    total = {
        name: [one[name] for one in gradients if one is not None and name in one] for name in names
    }
    return {name: torch.stack(found).sum(0) / len(gradients) for name, found in total.items()}


def _differing(digests: list[Mapping[str, int]]) -> list[str]:
    keys = {key: None for one in digests for key in one}
    return [key for key in keys if len({one.get(key) for one in digests}) > 1]


def _entries(state: Any, keys: list[str]) -> Any:
    if not isinstance(state, Mapping):
        return _on_host(state)
    return {key: _on_host(state[key]) for key in state if str(key) in keys}


def _on_host(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if type(value) in (list, tuple):
        return type(value)(map(_on_host, value))
    if isinstance(value, dict):
        return {key: _on_host(one) for key, one in value.items()}
    return value


def _digests_of(state: Any, one: Any, objects: Mapping[str, Any]) -> dict[str, int]:
    """Returns a number for each entry of a state that differs, most likely, for another value."""
    if not isinstance(state, Mapping):
        return {"": _digest(state)}
    wrapped = [each for each in objects.values() if isinstance(each, DistributedDataParallel)]
    parameters = {id(each) for model in wrapped for each in model.parameters()}
    if isinstance(one, Optimizer):
        held = [each for group in one.param_groups for each in group["params"]]
        if held and all(id(each) in parameters for each in held):
            return {str(key): _digest(value, is_sampled=True) for key, value in state.items()}
    names: Mapping[str, Tensor] = {}
    is_broadcast = False
    if isinstance(one, torch.nn.Module):
        names = dict(one.named_parameters())
        is_broadcast = isinstance(one, DistributedDataParallel) and one.broadcast_buffers
        names = {name.removeprefix("module."): each for name, each in names.items()}
    return {
        str(key): _digest(value, is_sampled=id(names.get(str(key))) in parameters)
        for key, value in state.items()
        if not is_broadcast or str(key) in names
    }


def _digest(value: Any, is_sampled: bool = False) -> int:
    found = 0
    for text in _texts_of(value, is_sampled):
        found = zlib.crc32(text.encode(), found)
    return found


def _texts_of(value: Any, is_sampled: bool) -> Iterator[str]:
    if isinstance(value, Tensor):
        yield f"{value.dtype}{tuple(value.shape)}"
        if (
            value.layout == torch.strided
            and not (value.is_quantized or value.is_meta)
            and value.numel()
        ):
            yield _sum_of(value, is_sampled)
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield repr(key)
            yield from _texts_of(one, is_sampled)
    elif isinstance(value, list | tuple | set | frozenset):
        yield f"{len(value)} "
        for one in value:
            yield from _texts_of(one, is_sampled)
    elif isinstance(value, bool | int | float | complex | str | bytes | None):
        yield repr(value)
    elif hasattr(value, "tobytes"):  # an array of numpy
        yield str(zlib.crc32(value.tobytes()))
    else:
        yield type(value).__name__


def _sum_of(tensor: Tensor, is_sampled: bool) -> str:
    flat = tensor.detach().reshape(-1)
    if is_sampled:
        flat = flat[:: max(1, len(flat) // _NUM_SAMPLED)]
    flat = torch.view_as_real(flat).reshape(-1) if flat.is_complex() else flat
    flat = flat.contiguous().view(_INTEGERS[flat.element_size()])
    weights = torch.arange(1, 1 + min(len(flat), 1009), device=flat.device)
    rest = len(flat) % len(weights)
    whole = flat[: len(flat) - rest].view(-1, len(weights)).sum(0, dtype=torch.int64)
    # Weighted, so that another order gives another sum.
    last = flat[len(flat) - rest :].to(torch.int64)
    return f"{int((whole * weights).sum())} {int((last * weights[:rest]).sum())}"
