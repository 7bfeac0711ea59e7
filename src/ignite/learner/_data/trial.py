"""A model run on a few samples, of which nothing is left: no random number drawn, no buffer moved, no mode changed."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.rnn import PackedSequence

from ignite._core.seeding import capture_random_state, restore_random_state
from ignite._core.trees import apply_to_type

__all__ = ["call_model", "dtype_of", "few_rows", "kept", "last_operation", "num_samples_in", "tensors_in", "trial"]

_DICTS = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
# Operations of autograd that only look at the values in another way.
_VIEWS = ("View", "Reshape", "UnsafeView", "Squeeze", "Unsqueeze", "Select", "Slice", "T", "Transpose", "Permute",
          "ToCopy", "Clone", "Alias", "Expand", "Flatten")  # fmt: skip


def call_model(model: Any, x: Any) -> Any:
    """``model(x)``; a dictionary is handed over by name, a tuple by place."""
    if type(x) is Tensor:  # the usual case: an abstract class takes its time to say no
        return model(x)
    if isinstance(x, Mapping):
        return model(**x)
    return model(*x) if isinstance(x, tuple | list) and not isinstance(x, PackedSequence) else model(x)


def trial(model: nn.Module, call: Callable[[Any, Any], Any], x: Any, is_training: bool = False) -> Any:
    """The output for ``x``, with what autograd noted, and without a trace in the model.

    Plain attributes that ``forward`` sets are put back, too; what it changes inside of the user's own objects is not,
    nor is what hooks do elsewhere.
    """
    if any(is_lazy(parameter) for parameter in model.parameters()):
        model = copy.deepcopy(model)  # the first run makes the parameters, which cannot be undone
    with kept(model), torch.enable_grad():
        model.train(is_training)
        return call(model, x)


@contextlib.contextmanager
def kept(*modules: nn.Module) -> Iterator[None]:
    """Behind the block, modules and random state are as before it."""
    random_state = capture_random_state()
    everything = [part for module in modules for part in module.modules()]
    attributes = [(part, vars(part).copy(), {n: copy.copy(vars(part)[n]) for n in _DICTS}) for part in everything]
    buffers = [(b, b.detach().clone()) for module in modules for b in module.buffers() if not is_lazy(b)]
    try:
        yield
    finally:
        for part, values, inner in attributes:
            vars(part).clear()
            vars(part).update(values)
            for name, value in inner.items():
                vars(part)[name].clear()
                vars(part)[name].update(value)
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)  # always: the statistics of BatchNorm change without a new version
        restore_random_state(random_state)


def last_operation(output: Tensor) -> str | None:
    """The operation of autograd that made the values: "Softmax", "LogSoftmax", "Sigmoid", "Addmm"; None if unknown."""
    node = output.grad_fn
    while node is not None:
        name = node.name().partition("Backward")[0]
        if name not in _VIEWS or not node.next_functions:
            return name
        node = node.next_functions[0][0]
    return None


def tensors_in(data: Any) -> list[Tensor]:
    """All tensors in nested containers; none if there is something else than tensors and words in them."""
    found: list[Tensor] = []
    try:
        apply_to_type(
            data,
            (Tensor, PackedSequence),
            lambda leaf: found.append(leaf.data if isinstance(leaf, PackedSequence) else leaf),
        )
    except TypeError:
        return []
    return found


def few_rows(data: Any, rows: Any) -> Any:
    """These samples of a batch; all of it if it is not tensors of one length."""
    lengths = {len(tensor) if tensor.ndim else -1 for tensor in tensors_in(data)}
    if len(lengths) != 1 or -1 in lengths or _packed_in(data):
        return data
    return apply_to_type(data, Tensor, lambda tensor: tensor[rows])


def dtype_of(model: nn.Module) -> torch.dtype | None:
    """Of the floats in a model; None if it has several, or none."""
    found = {p.dtype for p in model.parameters() if not is_lazy(p) and p.is_floating_point()}
    return found.pop() if len(found) == 1 else None


def num_samples_in(x: Any) -> int | None:
    """How many samples the inputs of a batch are; None if they do not tell."""
    if packed := _packed_in(x):
        return int(packed[0].batch_sizes[0])
    lengths = {len(tensor) if tensor.ndim else -1 for tensor in tensors_in(x)}
    return lengths.pop() if len(lengths) == 1 and -1 not in lengths else None


def _packed_in(data: Any) -> list[PackedSequence]:
    found: list[PackedSequence] = []
    if tensors_in(data):
        apply_to_type(
            data,
            (Tensor, PackedSequence),
            lambda leaf: found.append(leaf) if isinstance(leaf, PackedSequence) else leaf,
        )
    return found
