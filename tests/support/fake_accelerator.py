"""A fake accelerator that computes on the CPU and records synchronizations.

Within :class:`FakeAccelerator`, tensors can be moved to ``DEVICE``, whatever this machine has. They say that they are
there, so that code takes the path that it takes on an accelerator, and

- what makes the host wait on CUDA is noted with the line that did it: reading a value, copying to the host, copying
  from memory that is not page-locked, and operations whose result has a shape that depends on values;
- what CUDA refuses, a tensor of the CPU beside one of the accelerator, raises as there.

Which operations wait is what ``torch.cuda.set_sync_debug_mode`` reports on a GPU: ``tests/gpu`` runs the same cases
there. Kernels, streams and memory are not simulated.
"""

import traceback
from pathlib import Path

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("cuda", 0)
HOST = torch.device("cpu")

_TESTS = Path(__file__).resolve().parents[1]
_SRC = _TESTS.parent / "src"

aten = torch.ops.aten

# The host needs a value, or the shape of the result depends on values.
_WAITING = {
    aten._local_scalar_dense,
    aten._unique2,
    aten._unique,
    aten.bincount,
    aten.equal,
    aten.is_nonzero,
    aten.linalg_eigh,
    aten._linalg_eigh,
    aten.linalg_inv_ex,
    aten.masked_select,
    aten.nonzero,
    aten.unique_consecutive,
    aten.unique_dim,
    aten._linalg_svd,
    aten.linalg_cholesky_ex,
}
# Operations that accept a single number on the CPU beside tensors elsewhere read it without waiting; these refuse it.
_STRICT = {
    aten.cat,
    aten.stack,
    aten.scatter,
    aten.scatter_,
    aten.scatter_add,
    aten.scatter_add_,
    aten.index_add,
    aten.index_add_,
    aten.index_select,
    aten.gather,
    aten.searchsorted,
    aten.mm,
    aten.addmm,
}
_INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


class FakeTensorOnDevice(Tensor):
    """A tensor that says it is on ``DEVICE``; its elements are in ``inner``, a tensor of the CPU."""

    @staticmethod
    def __new__(cls, inner, requires_grad=False):
        found = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=HOST,  # for autograd, which has no thread for the device
            requires_grad=requires_grad,
        )
        found.inner = inner
        return found

    # Without it, results would be turned into this class whatever they are.
    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: DEVICE)
    is_cpu = property(lambda self: False)
    is_cuda = property(lambda self: True)

    @property
    def data(self):
        return FakeTensorOnDevice(self.inner)

    @data.setter
    def data(self, value):
        self.inner = value.inner

    def __repr__(self):
        return f"FakeTensorOnDevice({self.inner.tolist()})"

    def __deepcopy__(self, memo):
        copied = _wrap(self.inner.detach().clone())
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol):
        raise RuntimeError(
            "Tensors on an accelerator should be copied to the host to be pickled here"
        )

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        packet = func.overloadpacket
        _check_devices(packet, args, kwargs)
        mode = FakeAccelerator.current
        if mode is not None:
            mode.note_operation(packet, args)
        inside = tree_map(_unwrap, (args, kwargs))
        result = func(*inside[0], **inside[1])
        # Operations in place, and with out=, return what they were given.
        known = {id(leaf.inner): leaf for leaf in _leaves((args, kwargs)) if _is_fake(leaf)}
        for leaf in known.values():
            _adopt_shape(leaf)
        return tree_map(lambda leaf: known.get(id(leaf), _wrap(leaf)), result)


def _adopt_shape(tensor):
    """Operations in place on the shape are not simulated."""
    assert tensor.shape == tensor.inner.shape, "resized in place"


class _Move(torch.autograd.Function):
    """A copy to the device or back, through which gradients flow."""

    @staticmethod
    def forward(ctx, tensor):
        return tensor.inner.clone() if _is_fake(tensor) else _wrap(tensor.detach().clone())

    @staticmethod
    def backward(ctx, gradient):
        return gradient.inner if _is_fake(gradient) else _wrap(gradient)


def _is_fake(x):
    return isinstance(x, FakeTensorOnDevice)


def _unwrap(x):
    return x.inner if _is_fake(x) else x


def _wrap(x):
    return FakeTensorOnDevice(x) if isinstance(x, Tensor) and not _is_fake(x) else x


def _leaves(x):
    return [leaf for leaf in tree_flatten(x)[0] if isinstance(leaf, Tensor)]


def _check_devices(packet, args, kwargs):
    if packet in (aten.copy_, aten._to_copy):
        return
    tensors = _leaves((args, kwargs))
    if packet in _INDEXING:  # indices may be on the CPU
        tensors = [args[0], *_leaves(args[2:])]
    others = [each for each in tensors if not _is_fake(each)]
    for each in others:
        if each.ndim > 0 or packet in _STRICT:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {DEVICE} and cpu! "
                f"({packet}, a tensor of shape {tuple(each.shape)})"
            )


class FakeEvent:
    """Instead of ``torch.Event``: all work is done at once."""

    def __init__(self, device=None):
        assert device == DEVICE

    def record(self, stream=None):
        pass

    def query(self):
        return True

    def synchronize(self):
        """Waits for a copy that has been made while other work went on: not noted."""


def grouped_by_dtype(lists, with_indices=False):
    """Instead of torch's private grouping in C++, which sees where the elements are."""
    groups = {}
    for i, tensor in enumerate(lists[0]):
        members, indices = groups.setdefault(
            (tensor.device, tensor.dtype), ([[] for _ in lists], [])
        )
        for member, each in zip(members, lists, strict=True):
            member.append(each[i])
        indices.append(i)
    return groups


def pretend(monkeypatch):
    """Replaces what has no hook: events, streams, and grouping by device."""
    monkeypatch.setattr(torch, "Event", FakeEvent)
    monkeypatch.setattr(torch.accelerator, "current_stream", lambda device=None: None)
    monkeypatch.setattr(
        "torch.nn.utils.clip_grad._group_tensors_by_device_and_dtype", grouped_by_dtype
    )


class FakeAccelerator(TorchFunctionMode):
    """The context in which ``DEVICE`` can be used; afterwards ``waits`` has a line for each wait of the host.

    Example:
        with FakeAccelerator() as accelerator:
            x = torch.ones(3, device=DEVICE)
            accelerator.waits.clear()
            x.sum().item()
        assert len(accelerator.waits) == 1
    """

    current = None
    device = DEVICE
    tolerance = 1e-5  # some functions are in float32 on an accelerator

    def __init__(self):
        super().__init__()
        self.waits = []
        self._pinned = set()

    def __enter__(self):
        FakeAccelerator.current = self
        # The memory of a parameter cannot be replaced by that of a tensor of another class.
        self._overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        return super().__enter__()

    def __exit__(self, *error):
        FakeAccelerator.current = None
        torch.__future__.set_overwrite_module_params_on_conversion(self._overwrites)
        return super().__exit__(*error)

    def note(self, what):
        """Notes a wait, with the innermost lines of the library and of the test."""
        frames = [
            frame
            for frame in traceback.extract_stack()
            if not frame.filename.startswith(str(_HERE))
        ]
        ours = [f for f in frames if f.filename.startswith((str(_SRC), str(_TESTS)))]
        place = ours[-1] if ours else frames[-1]
        self.waits.append(f"{Path(place.filename).name}:{place.lineno} {what}")

    def note_operation(self, packet, args):
        if packet in _WAITING or (packet is aten.repeat_interleave and len(_leaves(args)) > 0):
            self.note(str(packet))
        elif packet is aten.histc and len(args) < 4:
            self.note("histc without a range")
        elif packet in _INDEXING:
            indices = [index for index in args[1] if index is not None]
            if any(not _is_fake(index) for index in indices):
                self.note("indices on the host")
            has_mask = any(index.dtype in (torch.bool, torch.uint8) for index in indices)
            # A single number is written with a mask, without looking for the places.
            if has_mask and (packet is aten.index or args[2].numel() != 1 or len(indices) > 1):
                self.note("a mask as an index")

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return func(*args, **kwargs)
        handle = getattr(self, f"_on_{name}", None)
        if handle is not None:
            return handle(func, args, kwargs)
        if "device" in kwargs and kwargs["device"] is not None:
            return self._made(func, name, args, kwargs)
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False  # needs a driver
            return self._as_pinned(func(*args, **kwargs))
        return func(*args, **kwargs)

    def _as_pinned(self, tensor):
        self._pinned.add(tensor.untyped_storage().data_ptr())
        return tensor

    def _made(self, func, name, args, kwargs):
        """Functions that make tensors: ``zeros``, ``empty_like``, ..."""
        is_there = torch.device(kwargs["device"]).type == DEVICE.type
        kwargs["device"] = HOST
        is_pinned = bool(kwargs.pop("pin_memory", False))
        source = [leaf for leaf in _leaves(args) if _is_fake(leaf)]
        if name in ("tensor", "as_tensor", "asarray"):
            if is_there and not source:
                self.note(f"{name} of values of the host")
            if source and not is_there:
                self.note(f"{name} of values of the device")
        args = tree_map(_unwrap, args)
        made = func(*args, **kwargs)
        if is_there:
            needs_grad, made = made.requires_grad, _wrap(made.detach())
            return made.requires_grad_() if needs_grad else made
        return self._as_pinned(made) if is_pinned else made

    # Moves.

    def _moved(self, tensor, device, dtype, non_blocking, copy, func, memory_format=None):
        is_there = device is not None and torch.device(device).type == DEVICE.type
        options = {} if memory_format is None else {"memory_format": memory_format}
        if device is None or is_there == _is_fake(tensor):
            options |= {} if dtype is None else {"dtype": dtype}
            return func(tensor, copy=copy, **options) if options or copy else tensor
        if is_there and not (non_blocking and self._is_pinned(tensor)):
            self.note(
                "a copy to the device" + (" from memory that can be paged" if non_blocking else "")
            )
        if not is_there:
            self.note("a copy to the host")
        moved = _Move.apply(tensor)
        return moved if dtype is None else moved.to(dtype)

    def _is_pinned(self, tensor):
        return not _is_fake(tensor) and tensor.untyped_storage().data_ptr() in self._pinned

    def _on_new_tensor(self, func, args, kwargs):
        made = func(_unwrap(args[0]), *args[1:], **kwargs)
        if not _is_fake(args[0]):
            return made
        self.note("new_tensor of values of the host")
        return _wrap(made)

    def _on_to(self, func, args, kwargs):
        tensor, rest = args[0], list(args[1:])
        device, dtype = kwargs.get("device"), kwargs.get("dtype")
        other = kwargs.get("other")
        flags = [kwargs.get("non_blocking", False), kwargs.get("copy", False)]
        position = 0
        for value in rest:
            if isinstance(value, torch.dtype):
                dtype = value
            elif isinstance(value, str | torch.device):
                device = value
            elif isinstance(value, Tensor):
                other = value
            elif isinstance(value, bool):
                flags[position] = value
                position += 1
        if other is not None:
            device, dtype = other.device, other.dtype
        return self._moved(tensor, device, dtype, *flags, func, kwargs.get("memory_format"))

    def _on_cpu(self, func, args, kwargs):
        return self._moved(args[0], HOST, None, False, False, Tensor.to)

    def _on_cuda(self, func, args, kwargs):
        return self._moved(
            args[0], DEVICE, None, kwargs.get("non_blocking", False), False, Tensor.to
        )

    def _on_copy_(self, func, args, kwargs):
        target, source, *rest = args
        non_blocking = bool(kwargs.get("non_blocking", rest[0] if rest else False))
        if _is_fake(target) != _is_fake(source):
            host = source if _is_fake(target) else target
            if not (non_blocking and self._is_pinned(host)):
                self.note("a copy to the device" if _is_fake(target) else "a copy to the host")
            if not _is_fake(target):
                return func(target, source.inner)
        return func(target, source)

    # Reading values.

    def _on___repr__(self, func, args, kwargs):
        if not _is_fake(args[0]):
            return func(*args, **kwargs)
        self.note("repr")
        return FakeTensorOnDevice.__repr__(args[0])

    _on___str__ = _on___repr__

    def _on_tolist(self, func, args, kwargs):
        if _is_fake(args[0]):
            self.note("tolist")
        return func(_unwrap(args[0]))

    def _on_numpy(self, func, args, kwargs):
        if _is_fake(args[0]):
            raise TypeError(
                "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first"
            )
        return func(*args, **kwargs)

    def _on___array__(self, func, args, kwargs):
        return self._on_numpy(func, args, kwargs)

    def _on_pin_memory(self, func, args, kwargs):
        if _is_fake(args[0]):
            raise RuntimeError("cannot pin 'cuda' tensors: only dense CPU tensors can be pinned")
        return self._as_pinned(args[0].clone())

    def _on_matmul(self, func, args, kwargs):
        x, y = args[:2]
        if x.ndim == 1 and y.ndim > 1:  # torch changes the shape of the product in place
            return func(x.unsqueeze(0), y).squeeze(-2)
        return func(*args, **kwargs)

    _on___matmul__ = _on_matmul

    def _on_is_pinned(self, func, args, kwargs):
        return self._is_pinned(args[0])


_HERE = Path(__file__).resolve()
