"""Copies a state to the host, so that it can be written while training continues."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ignite._core.torch_private import num_storage_uses, storage_id
from ignite.storage._serialization import Step, Walk, check_storable, plain

__all__ = ["Snapshot", "check_storable", "plain"]

_WITH_STORAGE = ("cpu", "cuda", "xpu", "mps")  # whose bytes can be copied as they lie
_HOST = "cpu"
_PINNED = ("cuda", "xpu")
_NUM_SMALL_BYTES = (
    1 << 16
)  # up to here, memory of its own costs a tensor less than to look for some to use again
_NUM_OWN_USES = 2  # of a buffer's storage: by the buffer, and by whoever asks how many there are


class _Layout(NamedTuple):
    """Where the elements of a tensor lie in its storage, in bytes."""

    tensor: Tensor
    target: Tensor
    """Empty, until it is known where its copy goes."""
    start: int
    end: int


class _Part(NamedTuple):
    """Bytes of one storage that are copied in one go, and the tensors that see them."""

    layouts: list[_Layout]
    start: int
    is_raw: bool
    """Whether the bytes are copied as they lie.

    Otherwise there are gaps, and only the elements are copied.
    """
    key: tuple[int, bool]
    """Size, and whether it should be pinned: parts of equal keys can have each other's buffers."""


class Snapshot:
    """Copies states to the host, into memory that is used again by the next copy.

    Memory is used again once nobody holds a tensor of the snapshot that it was for. So a snapshot
    that is still being written is never overwritten: the next one then takes memory of its own. To
    hold one copy at most, wait for the writer before :meth:`take`, and let go of the last snapshot.

    Tensors that share memory share it in the copy, too. Of a view, only what it shows is copied.
    Everything else is made plain, as :func:`plain` does. Parameters become plain tensors. Tensors
    of classes that are marked as safe, DTensors for example, and such without one storage (sparse,
    quantized, nested) are cloned; the former stay on their device.

    Example:
        >>> weight = torch.ones(2)
        >>> saved = Snapshot().take({"weight": weight, "tied": weight, "epoch": 1})
        >>> _ = weight.fill_(5)
        >>> saved
        {'weight': tensor([1., 1.]), 'tied': tensor([1., 1.]), 'epoch': 1}
    """

    def __init__(self) -> None:
        self._buffers: list[Tensor] = []

    def take(self, state: Any) -> Any:
        """Returns a copy of ``state`` on the host.

        It is complete on return, also of tensors on accelerators.

        Raises:
            TypeError: something in ``state`` would not be loaded; see :func:`check_storable`.
        """
        found = _Collector()
        # Buffers made in inference mode could not be filled again outside of it.
        with torch.inference_mode(False), torch.no_grad():
            result = Walk(found, copies=True).visit(state, Step("state"))
            self._copy(
                [part for layouts in found.by_storage.values() for part in _parts_of(layouts)]
            )
            for device in found.devices:
                torch.accelerator.synchronize(device)
        return result

    def _copy(self, parts: list[_Part]) -> None:
        free = self._free_buffers(parts)
        self._buffers = [buffer for buffer in self._buffers if _is_used(buffer)]
        for part in parts:
            buffers = free.get(part.key)
            buffer = buffers.pop() if buffers else _new_buffer(*part.key)
            self._buffers.append(buffer)
            _fill(buffer, part)

    def _free_buffers(self, parts: list[_Part]) -> dict[tuple[int, bool], list[Tensor]]:
        """Those that the parts need.

        Others are let go of before new ones are made, or there would be two copies.
        """
        num_needed: dict[tuple[int, bool], int] = {}
        for part in parts:
            num_needed[part.key] = num_needed.get(part.key, 0) + 1
        free: dict[tuple[int, bool], list[Tensor]] = {}
        for buffer in self._buffers:
            key = (buffer.nbytes, buffer.is_pinned())
            if num_needed.get(key, 0) > len(free.get(key, ())) and not _is_used(buffer):
                free.setdefault(key, []).append(buffer)
        return free


class _Collector:
    """Hands out an empty tensor for each tensor of the state, and notes down what it is to hold."""

    def __init__(self) -> None:
        self.by_storage: dict[tuple[int, torch.dtype], list[_Layout]] = {}
        self.devices: set[torch.device] = set()
        self._small: dict[tuple[int, torch.dtype], tuple[Tensor, Tensor]] = {}

    def __call__(self, tensor: Tensor) -> Tensor:
        if (copy := self._small_copy(tensor)) is not None:
            return copy
        tensor = tensor.detach()
        if type(tensor) is not Tensor:
            return tensor.clone()
        if tensor.device.type == "meta":
            return tensor
        is_simple = (
            tensor.layout is torch.strided and not tensor.is_nested and not tensor.is_quantized
        )
        if not is_simple or tensor.device.type not in _WITH_STORAGE:
            return tensor.to("cpu", copy=True)
        if tensor.device.type != _HOST:
            self.devices.add(tensor.device)
        if tensor.is_conj() or tensor.is_neg():
            tensor = tensor.resolve_conj().resolve_neg()  # the bytes alone do not say so
        target = torch.empty(0, dtype=tensor.dtype)
        key = (storage_id(tensor.untyped_storage()), tensor.dtype)
        if key in self._small:  # that copy has to see the same memory as this one
            self._note(key, *self._small.pop(key))
        self._note(key, tensor, target)
        return target

    def _note(self, key: tuple[int, torch.dtype], tensor: Tensor, target: Tensor) -> None:
        self.by_storage.setdefault(key, []).append(_Layout(tensor, target, *_extent(tensor)))

    def _small_copy(self, tensor: Tensor) -> Tensor | None:
        """A copy, already filled, of a small tensor on the host that is the first to be seen of its memory."""
        kind = type(tensor)
        if (
            kind is not Tensor and kind is not torch.nn.Parameter
        ) or tensor.layout is not torch.strided:
            return None
        if (
            tensor.is_nested
            or tensor.device.type != _HOST
            or tensor.is_quantized
            or not tensor.is_contiguous()
        ):
            return None
        if tensor.nbytes > _NUM_SMALL_BYTES or tensor.is_conj() or tensor.is_neg():
            return None
        key = (storage_id(tensor.untyped_storage()), tensor.dtype)
        if key in self._small or key in self.by_storage:
            return None
        copy = tensor.clone()
        self._small[key] = tensor, copy
        return copy


def _extent(tensor: Tensor) -> tuple[int, int]:
    """The bytes of its storage from its first to its last element."""
    start = int(tensor.storage_offset()) * tensor.itemsize
    if tensor.numel() == 0:
        return start, start
    last = sum(
        (size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
    )
    return start, start + int(last + 1) * tensor.itemsize


def _parts_of(layouts: list[_Layout]) -> Iterator[_Part]:
    """Tensors of one storage, together where they overlap."""
    if len(layouts) > 1:
        layouts = sorted(layouts, key=lambda layout: (layout.start, layout.end))
    overlapping, start, end = [layouts[0]], layouts[0].start, layouts[0].end
    for layout in layouts[1:]:
        if layout.start >= end:
            yield _part_of(overlapping, start, end)
            overlapping, start = [], layout.start
        overlapping.append(layout)
        end = max(end, layout.end)
    yield _part_of(overlapping, start, end)


def _part_of(layouts: list[_Layout], start: int, end: int) -> _Part:
    tensor = layouts[0].tensor
    num_bytes = tensor.numel() * tensor.itemsize
    is_raw = num_bytes >= end - start or any(
        other_start != start or other.shape != tensor.shape or other.stride() != tensor.stride()
        for other, _, other_start, _ in layouts[1:]
    )
    return _Part(
        layouts,
        start,
        is_raw,
        (end - start if is_raw else num_bytes, tensor.device.type in _PINNED),
    )


def _fill(buffer: Tensor, part: _Part) -> None:
    """Copies a part, and lets its tensors see the copy."""
    storage, (source, first, *_) = buffer.untyped_storage(), part.layouts[0]
    if not part.is_raw:
        strides = torch.empty(source.shape, device="meta").stride()
        for _, target, *_ in part.layouts:
            target.set_(storage, 0, source.shape, strides)
        first.copy_(source, non_blocking=True)
        return
    num_bytes, _ = part.key
    if num_bytes:
        # Whatever the bytes mean; words of 8 are copied an eighth faster than bytes, by
        # measurement.
        memory = source.untyped_storage()
        is_even = part.start % 8 == num_bytes % 8 == memory.data_ptr() % 8 == 0
        word = torch.int64 if is_even else torch.uint8
        data = torch.empty(0, dtype=word, device=source.device)
        data.set_(memory, part.start // word.itemsize, (num_bytes // word.itemsize,), (1,))
        buffer.view(word).copy_(data, non_blocking=True)
    for tensor, target, start, _ in part.layouts:
        target.set_(storage, (start - part.start) // tensor.itemsize, tensor.shape, tensor.stride())


def _new_buffer(num_bytes: int, is_pinned: bool) -> Tensor:
    return torch.empty(num_bytes, dtype=torch.uint8, pin_memory=is_pinned)


def _is_used(buffer: Tensor) -> bool:
    """Whether a tensor of a snapshot still sees the buffer."""
    return bool(num_storage_uses(buffer.untyped_storage()) > _NUM_OWN_USES)
