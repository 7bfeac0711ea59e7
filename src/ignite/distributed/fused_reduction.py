"""Reduces values of different shapes, dtypes and operations over all ranks, with few collectives.

Each rank sends one message: a digest of the kinds of its values, and the values themselves. If all
ranks have values of the same kinds, each adds up what it received. One collective is enough if the
messages fit into its capacity; otherwise a second one sends them whole, and the capacity grows, so
that the next call needs one. Integers are sent in the narrowest dtype that holds them. If the kinds
differ, because a rank has seen no data, the ranks exchange full descriptions: all fill in what is
missing, or all raise the same error. Large values are not gathered, but reduced by the backend, one
collective for each operation.
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ignite._core import clock
from ignite.distributed._collectives import all_gather_equal
from ignite.distributed._process_group import (
    communication_device,
    get_rank,
    get_world_size,
    has_group,
)

__all__ = ["MAX", "MIN", "PRODUCT", "ROWS", "SAME", "SUM", "Part", "combine"]

SUM, MIN, MAX, PRODUCT = "SUM", "MIN", "MAX", "PRODUCT"
ROWS = "ROWS"
"""Concatenates the rows of all ranks."""
SAME = "SAME"
"""A constant; all ranks that know it must have the same."""

WAIT_WARNING_S = 20.0
"""Seconds after which a rank that waits for others in a reduction says so."""
_FIRST_CAPACITY = 1024  # bytes of a message that the first collective of a group has room for
_MAX_CAPACITY = 2**16
_MAX_GATHERED_BYTES = 2**22
"""Up to this total size, values are gathered with one collective and reduced locally (fastest).

Above it, the memory would grow with the number of ranks.
"""
_NEUTRAL = {SUM: 0, PRODUCT: 1, MIN: math.inf, MAX: -math.inf}

logger = logging.getLogger(__name__)


class Part(NamedTuple):
    """A value to reduce over all ranks."""

    op: str
    """SUM, MIN, MAX, PRODUCT, ROWS or SAME."""
    value: Any
    """A tensor or a number, or for SAME anything with an exact ``repr``; None if unknown here."""
    name: str = ""
    """For error messages."""


class _Kind(NamedTuple):
    """The kind of a value. All ranks must agree on it before the value is sent."""

    name: str
    op: str
    dtype: str
    """Of a tensor; "int" or "float" for a number; the constant for SAME; empty if unknown."""
    shape: tuple[int, ...] | None
    """Of a tensor, or of a row for ROWS; None for a number."""


def combine(parts: Sequence[Part]) -> list[Any]:
    """Reduces values over all ranks.

    A collective: call it on all ranks, with the same parts in the same order.

    Returns:
        One value per part, tensors on their device. A value is None if no rank knows it. In a
        single process, the unchanged values.

    Raises:
        RuntimeError: the parts of the ranks do not match. Raised on all ranks.
    """
    if not has_group() or get_world_size() == 1:
        return [part.value for part in parts]
    _watchdog.begin(parts)
    try:
        kinds = [_kind_of(part) for part in parts]
        values = [part.value for part in parts]
        found = _reduced(kinds, values)
        if found is None:
            kinds, constants = _negotiate(parts, kinds)
            values = [
                _filled(part, kind, constant)
                for part, kind, constant in zip(parts, kinds, constants, strict=True)
            ]
            found = _reduced(kinds, values)
            assert found is not None, "kinds that the ranks have agreed on are equal"
        return found
    finally:
        _watchdog.end()


class _Watchdog:
    """Warns about a reduction that waits for other ranks.

    A thread looks now and then whether the same reduction is still under way, so that a reduction
    costs two assignments.
    """

    def __init__(self) -> None:
        self._parts: Sequence[Part] = ()
        self._since: float | None = None
        self._thread: threading.Thread | None = None

    def begin(self, parts: Sequence[Part]) -> None:
        """Marks the start of a reduction."""
        self._parts, self._since = parts, clock.now()
        if self._thread is None or not self._thread.is_alive():  # also in a forked process
            self._thread = threading.Thread(
                target=self._watch, name="ignite-reduction", daemon=True
            )
            self._thread.start()

    def end(self) -> None:
        """Marks its end."""
        self._since, self._parts = None, ()

    def _watch(self) -> None:
        reported, never = None, threading.Event()
        while not never.wait(WAIT_WARNING_S / 2):
            since, parts = self._since, self._parts
            if since is None or since == reported or clock.now() - since < WAIT_WARNING_S:
                continue
            reported = since
            names = ", ".join(dict.fromkeys(part.name for part in parts if part.name))
            logger.warning(
                "Rank %d has been waiting for the other ranks for %.0f s to reduce %s. Metrics are "
                "reduced over all ranks: attach them on all ranks, and run their engine on all "
                "ranks, for equally many epochs. A rank that is slow, or has failed, is another "
                "reason",
                get_rank(), clock.now() - since, names or "values",
            )  # fmt: skip


_watchdog = _Watchdog()


def _reduced(kinds: list[_Kind], values: list[Any]) -> list[Any] | None:
    """Returns the reduced values; None if the kinds of the ranks differ."""
    results = list(values)
    reduced = [i for i, kind in enumerate(kinds) if kind.dtype and kind.op not in (SAME, ROWS)]
    joined = [i for i, kind in enumerate(kinds) if kind.dtype and kind.op == ROWS]
    tensors = [_as_tensor(values[i]) for i in reduced]
    rows = [values[i] for i in joined]
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    is_small = num_bytes * get_world_size() <= _MAX_GATHERED_BYTES
    sent = [*(tensor.unsqueeze(0) for tensor in tensors), *rows] if is_small else rows
    messages = _exchange(kinds, _pack(sent))
    if messages is None:
        return None
    gathered, ops = _unpack(messages, sent), [kinds[i].op for i in reduced]
    totals = (
        [_REDUCE[op](torch.cat(gathered.pop(0))) for op in ops]
        if is_small
        else _reduce_by_backend(tensors, ops)
    )
    for i, tensor, total in zip(reduced, tensors, totals, strict=True):
        results[i] = (
            total.item() if kinds[i].shape is None else total.to(tensor.device, tensor.dtype)
        )
    for i, own, of_ranks in zip(joined, rows, gathered, strict=True):
        results[i] = torch.cat(of_ranks).to(own.device)
    return results


def _as_tensor(value: Tensor | float) -> Tensor:
    if isinstance(value, Tensor):
        return value
    return torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else torch.int64)


def _kind_of(part: Part) -> _Kind:
    op, value, name = part
    if value is None:
        return _Kind(name, op, "", None)
    if op == SAME:
        return _Kind(name, op, repr(value), None)
    if isinstance(value, Tensor):
        return _Kind(
            name, op, str(value.dtype), tuple(value.shape[1:] if op == ROWS else value.shape)
        )
    return _Kind(name, op, type(value).__name__, None)


_capacities: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
"""Group -> bytes of a message for which the first collective has room; the same on all ranks.

It changes by what all ranks have received, so that no rank needs to ask.
"""


def _exchange(kinds: list[_Kind], message: Tensor) -> list[Tensor] | None:
    """Returns the messages of all ranks, of bytes on the CPU; None if kinds differ."""
    group, limit = dist.group.WORLD, min(_MAX_CAPACITY, _MAX_GATHERED_BYTES // get_world_size())
    capacity = _capacities.get(group, min(_FIRST_CAPACITY, limit))
    digest = hashlib.blake2b(repr(kinds).encode(), digest_size=7).digest()
    header = torch.tensor([int.from_bytes(digest), len(message)]).view(torch.uint8)
    received = _gathered(torch.cat([header, message[:capacity]]), len(header) + capacity)
    headers = [each[: len(header)].view(torch.int64).tolist() for each in received]
    if any(of_rank[0] != headers[0][0] for of_rank in headers):
        return None
    lengths = [length for _, length in headers]
    longest = max(lengths)
    if longest <= capacity:
        messages = [each[len(header) :] for each in received]
    else:
        if longest <= limit:
            _capacities[group] = longest
        messages = _gathered(message, longest)
    return [each[:length] for each, length in zip(messages, lengths, strict=True)]


def _gathered(message: Tensor, size: int) -> list[Tensor]:
    """Gathers bytes, padded to the given size, on the CPU."""
    padded = torch.zeros(size, dtype=torch.uint8)
    padded[: len(message)] = message
    return [each.cpu() for each in all_gather_equal(padded)]


def _negotiate(parts: Sequence[Part], kinds: list[_Kind]) -> tuple[list[_Kind], list[Any]]:
    """Returns the agreed kinds and the constants."""
    constants = [part.value if part.op == SAME else None for part in parts]
    gathered: list[Any] = [None] * get_world_size()
    dist.all_gather_object(gathered, (kinds, constants))
    if len({len(theirs) for theirs, *_ in gathered}) > 1:
        counts = ", ".join(
            f"rank {rank} has {len(theirs)}" for rank, (theirs, *_) in enumerate(gathered)
        )
        raise RuntimeError(
            f"All ranks should combine the same values, but {counts}: "
            "attach the same metrics on all ranks"
        )
    agreed = [_agree([theirs[i] for theirs, *_ in gathered]) for i in range(len(parts))]
    known = [
        next((theirs[i] for *_, theirs in gathered if theirs[i] is not None), None)
        for i in range(len(parts))
    ]
    return agreed, known


def _agree(kinds: list[_Kind]) -> _Kind:
    """Returns the common kind: tensor before number, float before integer, known before unknown."""
    known = {kind for kind in kinds if kind.dtype}
    candidates = {kind for kind in known if kind.shape is not None} or known
    if len(candidates) > 1 and {kind.dtype for kind in candidates} == {"int", "float"}:
        candidates = {kind for kind in candidates if kind.dtype == "float"}
    if len(candidates) <= 1 and len({(kind.name, kind.op) for kind in kinds}) == 1:
        return candidates.pop() if candidates else kinds[0]
    held = ", ".join(
        f"rank {rank} has for {kind.op} of {kind.name or 'a value'}: {kind.dtype or 'nothing'}"
        f"{'' if kind.shape is None else f' of shape {kind.shape}'}"
        for rank, kind in enumerate(kinds)
    )
    raise RuntimeError(
        f"All ranks should have values of one kind, but {held}: "
        "attach the same metrics on all ranks"
    )


def _filled(part: Part, kind: _Kind, constant: Any) -> Any:
    """Returns the value of a part as the common kind; the neutral element if unknown here."""
    value = part.value
    if part.op == SAME or not kind.dtype:
        return constant
    if kind.shape is None:
        neutral = _NEUTRAL[part.op] if value is None else value
        # Integers cannot be infinite; the limit of int64 is neutral, too.
        return (
            float(neutral) if kind.dtype == "float" else int(max(min(neutral, 2**63 - 1), -(2**63)))
        )
    if isinstance(value, Tensor):
        return value
    dtype = getattr(torch, kind.dtype.removeprefix("torch."))
    if part.op == ROWS:
        return torch.empty((0, *kind.shape), dtype=dtype)
    neutral = _NEUTRAL[part.op] if value is None else value
    if not dtype.is_floating_point and not dtype.is_complex and math.isinf(neutral):
        limits = torch.iinfo(torch.uint8 if dtype == torch.bool else dtype)
        neutral = limits.max if neutral > 0 else limits.min
    return torch.full(kind.shape, neutral, dtype=dtype)


def _sum(stack: Tensor) -> Tensor:
    return stack.cpu().sum(dim=0, dtype=torch.float64 if stack.is_floating_point() else None)


def _extreme(function: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda stack: function(
        stack.to(torch.uint8) if stack.dtype == torch.bool else stack, dim=0
    )


_REDUCE: dict[str, Callable[[Tensor], Tensor]] = {
    SUM: _sum,
    MIN: _extreme(torch.amin),
    MAX: _extreme(torch.amax),
    PRODUCT: lambda stack: _to_wide(stack).prod(dim=0),
}


def _reduce_by_backend(tensors: Sequence[Tensor], ops: Sequence[str]) -> list[Tensor]:
    """Reduces tensors with one collective for each operation, so that no rank holds those of all."""
    totals = list(tensors)
    groups: dict[tuple[str, bool], list[int]] = {}
    for i, (tensor, op) in enumerate(zip(tensors, ops, strict=True)):
        groups.setdefault((op, op != SUM and tensor.is_floating_point()), []).append(i)
    for (op, _), members in sorted(groups.items()):
        for i, total in zip(members, _reduce([tensors[i] for i in members], op), strict=True):
            totals[i] = total
    return totals


def _reduce(tensors: Sequence[Tensor], op: str) -> list[Tensor]:
    """Reduces tensors with one collective, in float64 for sums, otherwise in float64 or int64."""
    pack, unpack = (_to_doubles, _from_doubles) if op == SUM else (_to_wide, _from_wide)
    packed = [pack(tensor) for tensor in tensors]
    buffer = torch.cat([values.flatten() for values in packed]).to(communication_device())
    dist.all_reduce(buffer, op=getattr(dist.ReduceOp, op))
    chunks = buffer.cpu().split([values.numel() for values in packed])
    return [
        unpack(chunk.reshape(values.shape), tensor)
        for chunk, values, tensor in zip(chunks, packed, tensors, strict=True)
    ]


def _to_doubles(tensor: Tensor) -> Tensor:
    """Converts to float64; splits integers into halves of 32 bits, whose sums are exact."""
    tensor = tensor.detach().cpu()
    if tensor.is_complex():
        return torch.view_as_real(tensor).double()
    if tensor.is_floating_point():
        return tensor.double()
    whole = tensor.long()
    return torch.stack([whole >> 32, whole & 0xFFFFFFFF]).double()


def _from_doubles(values: Tensor, like: Tensor) -> Tensor:
    if like.is_complex():
        return torch.view_as_complex(values.clone())  # cloned, because views need alignment
    if like.is_floating_point():
        return values
    high, low = values.long().unbind()
    return high * 2**32 + low


def _to_wide(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().to(torch.float64 if tensor.is_floating_point() else torch.int64)


def _from_wide(values: Tensor, like: Tensor) -> Tensor:
    return values


_NARROW = (torch.uint8, torch.int16, torch.int32, torch.int64)
_MIN_NARROWED = 64  # elements; to look for the largest of fewer costs more than it saves


def _pack(values: Sequence[Tensor]) -> Tensor:
    """Returns the bytes of tensors, after the numbers of their rows.

    All but small tensors of int64, such as counts and labels, are sent in one dtype, the narrowest
    that holds them. The first number is its index in ``_NARROW``.
    """
    own = [value.detach().cpu() for value in values]
    large = [value for value in own if _is_narrowed(value.dtype, value.numel())]
    extremes = [extreme.item() for value in large for extreme in value.aminmax()]
    index = next(
        i
        for i, dtype in enumerate(_NARROW)
        if all(torch.iinfo(dtype).min <= extreme <= torch.iinfo(dtype).max for extreme in extremes)
    )
    numbers = torch.tensor([index, *map(len, own)], dtype=torch.int64)
    pieces = [
        value.to(_NARROW[index]) if _is_narrowed(value.dtype, value.numel()) else value
        for value in own
    ]
    return torch.cat([piece.reshape(-1).view(torch.uint8) for piece in (numbers, *pieces)])


def _is_narrowed(dtype: torch.dtype, num_elements: int) -> bool:
    return dtype == torch.int64 and num_elements >= _MIN_NARROWED


def _unpack(messages: Sequence[Tensor], like: Sequence[Tensor]) -> list[list[Tensor]]:
    """Returns, for each of the values ``like``, those of all ranks from the bytes of ``_pack``."""
    found: list[list[Tensor]] = [[] for _ in like]
    for message in messages:
        index, *num_rows = message[: 8 * (1 + len(like))].clone().view(torch.int64).tolist()
        start = 8 * (1 + len(like))
        for of_ranks, value, rows in zip(found, like, num_rows, strict=True):
            num_elements = rows * math.prod(value.shape[1:])
            is_narrowed = _is_narrowed(value.dtype, num_elements)
            dtype = _NARROW[index] if is_narrowed else value.dtype
            end = start + num_elements * dtype.itemsize
            # Cloned, because views of another dtype need alignment.
            elements = message[start:end].clone().view(dtype).to(value.dtype)
            of_ranks.append(elements.reshape(rows, *value.shape[1:]))
            start = end
    return found
