"""A training step that splits a batch into smaller parts if memory runs out, with the same gradients."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.rnn import PackedSequence

from ignite._core.averages import Averaged, averaged
from ignite._core.rng import capture_random_state, restore_random_state
from ignite._core.trees import tree_map
from ignite.engine._supervised.evaluation_step import (
    NO_CONTEXT,
    FullPrecision,
    MixedPrecision,
    _identity,
)
from ignite.engine._supervised.training_step import (
    _BACKWARD_COMPLETED,
    _BACKWARD_STARTED,
    CountedLoss,
    TrainingStep,
    _average_gradients,
    _ddp_in,
    _loss_item,
    _or_one,
    _precise,
    _times,
)

if TYPE_CHECKING:
    from ignite.engine.engine import Engine

__all__ = ["SplitStep"]

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
_TALKING_IN_FORWARD = ("SyncBatchNorm", "FSDPModule", "FullyShardedDataParallel")
"""Modules whose forward pass synchronizes with other processes."""


class _Parts(NamedTuple):
    """The results of the parts of one batch."""

    outputs: list[Any]
    losses: list[Tensor]
    counts: list[Any]
    is_sum: bool
    is_counted: bool
    """Whether the loss is a :class:`CountedLoss`."""
    unit: Any
    """The number of elements by which the gradients have been divided so far."""


@dataclass(eq=False, repr=False)
class SplitStep(TrainingStep):
    """One optimizer step per batch, computed in as few parts as fit into memory.

    If memory runs out in the forward or backward pass, gradients, buffers and random states are
    restored to their values before the batch, and the batch is repeated in parts of half the size.
    The size that fits is used for later batches and saved with the run.

    The parts are weighted by the number of elements that their losses average, see
    :meth:`_counted`. With DistributedDataParallel, processes may split their batches differently,
    because gradients and buffers are synchronized outside of the passes, equally often in each
    process.
    """

    part_size: int | None = field(default=None, init=False)
    """Largest number of samples that is known to fit into memory; None before memory has run out."""
    num_counted: Any = field(default=0, init=False)
    """Number of elements that the loss of the latest batch averages."""
    is_sum: bool = field(default=False, init=False)
    """Whether the loss of the latest batch is a sum."""
    _has_guessed: bool = field(default=False, init=False)

    @classmethod
    def of(cls, step: Any) -> SplitStep:
        """Converts a step of ``supervised_training_step``.

        Raises:
            ValueError: the step cannot be repeated in parts.
        """
        if not isinstance(step, TrainingStep) or type(step.precision) not in (
            FullPrecision,
            MixedPrecision,
        ):
            raise ValueError(
                "gradient_accumulation_steps='auto' needs a step of this library in full precision "
                f"or with amp_mode='amp', but given {type(step).__name__}: pass a number"
            )
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            _check_is_quiet(step.model)
        given = {one.name: getattr(step, one.name) for one in dataclasses.fields(step) if one.init}
        return cls(**given)

    def __call__(self, engine: Engine[Any, Any], batch: Any) -> Any:
        self._drop_gradients()
        self._training.enter()
        x, y = self.prepare_batch(batch)
        ddp = _ddp_in(self.model)
        if ddp is not None:
            _synchronize_buffers(ddp)
        parts = self._computed(engine, x, y)
        loss = self._loss_of(parts)
        self.loss = loss
        try:
            engine._pass(_BACKWARD_STARTED)
        finally:
            self.loss = None
        if engine._skip_requested:
            self._drop_gradients()
            return None
        self._make_final(parts, ddp)
        engine._pass(_BACKWARD_COMPLETED)
        if engine._skip_requested:
            return None
        self.num_accumulated = 1
        self._step(engine)
        if engine._skip_requested:
            return None
        # The default only reads the loss, so the predictions of the parts need not be joined.
        y_pred = None if self.output_transform is _loss_item else _joined(parts.outputs)
        return self.output_transform(x, y, y_pred, loss)

    def parts(self) -> dict[str, Any]:
        return {**super().parts(), "window": self}

    def state_dict(self) -> dict[str, Any]:
        """Returns the size of the parts."""
        return {"num_accumulated": 0, "gradients": [], "part_size": self.part_size}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores the size of the parts."""
        super().load_state_dict(state_dict)
        self.part_size = state_dict.get("part_size")

    def _computed(self, engine: Engine[Any, Any], x: Any, y: Any) -> _Parts:
        """Computes the gradients of a batch, in as many attempts as needed."""
        num_rows = _num_rows(x, y)
        size = min(self.part_size or num_rows, num_rows)
        put_back = self._restorer()
        while True:
            sizes = _sizes(num_rows, size)
            try:
                found = self._attempt(x, y, sizes)
            except Exception as error:
                if not _is_out_of_memory(error):
                    raise
                put_back()
                if not num_rows or max(sizes) == 1:
                    error.add_note(
                        "accumulation: memory runs out with a single sample"
                        if num_rows
                        else "accumulation: the batch cannot be split: it has no tensors of one "
                        "length"
                    )
                    raise
            else:
                break
            _free_memory()  # here, because the frames of the exception no longer exist
            size = (max(sizes) + 1) // 2
        if size < min(self.part_size or num_rows, num_rows):
            self.part_size = size
            engine.logger.warning(
                "Memory ran out in a batch of %s samples. From now on, batches are computed in parts of "
                "at most %s samples, with the gradients of whole batches",
                num_rows, size,
            )  # fmt: skip
        if not self._has_guessed and len(sizes) > 1 and None in found.counts:
            self._has_guessed = True
            engine.logger.warning(
                "loss_fn should return a mean or a sum over elements, or a CountedLoss, for its "
                "parts to be weighted, but autograd does not show what it returns: it is taken for "
                "the mean over samples"
            )
        counts = [
            max(size, 1) if one is None else one
            for one, size in zip(found.counts, sizes, strict=True)
        ]
        return found._replace(counts=counts)

    def _attempt(self, x: Any, y: Any, sizes: Sequence[int]) -> _Parts:
        """Accumulates the gradients of all parts."""
        ddp = _ddp_in(self.model)
        outputs: list[Any] = []
        losses: list[Tensor] = []
        counts: list[Any] = []
        is_sum, is_counted, unit, start = False, False, 1, 0
        with NO_CONTEXT if ddp is None else ddp.no_sync():
            for size in sizes:
                if ddp is not None:
                    # It stays True if an attempt fails in the forward pass.
                    ddp.require_forward_param_sync = False
                own_x, own_y = (
                    (x, y)
                    if len(sizes) == 1
                    else (_rows_of(one, start, size, sum(sizes)) for one in (x, y))
                )
                start += size
                with self.precision.autocast():
                    y_pred = self.model_fn(self.called_model, own_x)
                    if self.model_transform is not _identity:
                        y_pred = self.model_transform(y_pred)
                    given = self.loss_fn(y_pred, own_y)
                is_counted |= type(given) is CountedLoss
                loss, reduced = self._counted_loss(given, own_y)
                is_sum |= reduced is not None and reduced.is_sum
                count = max(size, 1) if reduced is None else reduced.num_elements
                if not outputs and not is_sum:
                    unit = len(sizes) * _or_one(count)  # an estimate, for low precision
                share = loss if len(sizes) == 1 or is_sum else _times(loss, count / unit)
                if is_sum or isinstance(count, Tensor) or count:  # else a mean over nothing, NaN
                    self.precision.backward(share, self.optimizer)
                outputs.append(None if self.output_transform is _loss_item else _detached(y_pred))
                losses.append(loss.detach())
                counts.append(None if reduced is None else count)
                del y_pred, given, loss, share  # before the next part needs their memory
        return _Parts(outputs, losses, counts, is_sum, is_counted, unit)

    def _counted_loss(self, given: Any, y: Any) -> tuple[Tensor, Averaged | None]:
        """Returns a loss, and the elements that it is the mean or the sum of; None if unknown.

        Taken from a :class:`CountedLoss`; for cross-entropy of torch, from the classes that are not
        ignored; else from autograd.
        """
        if type(given) is CountedLoss:
            return given.loss, Averaged(_precise(given.num_counted), given.is_sum)
        own: Any = self.loss_fn
        if (
            type(own) in (nn.CrossEntropyLoss, nn.NLLLoss)
            and own.reduction == "mean"
            and isinstance(y, Tensor)
            and not y.is_floating_point()
        ):
            counts = y != own.ignore_index
            if own.weight is not None:
                counts = own.weight[torch.where(counts, y, 0)] * counts
            total = _precise(counts.sum())
            count = total.item() if isinstance(total, Tensor) and total.is_cpu else total
            return _zero_if_empty(given, count), Averaged(count)
        found = averaged(given)
        if found is None or found.is_sum:
            return given, found
        count = _precise(found.num_elements)
        return _zero_if_empty(given, count), found._replace(num_elements=count)

    def _loss_of(self, parts: _Parts) -> Tensor:
        """Returns the loss of the whole batch."""
        self.is_sum = parts.is_sum
        self.num_counted = sum(parts.counts[1:], parts.counts[0])
        if len(parts.losses) == 1:
            return parts.losses[0]
        total = _or_one(self.num_counted)
        shares = [
            loss if parts.is_sum else _times(loss, count / total)
            for loss, count in zip(parts.losses, parts.counts, strict=True)
        ]
        return torch.stack(shares).sum()

    def _make_final(self, parts: _Parts, ddp: DistributedDataParallel | None) -> None:
        """Converts the gradients to those of the whole batch, on all processes.

        For a :class:`CountedLoss`, this is the mean over the elements of all processes; for other
        losses, it is the mean over processes, as without parts.
        """
        is_split = len(parts.losses) > 1
        own = 1 if parts.is_sum else _or_one(self.num_counted)
        unit = parts.unit if is_split and not parts.is_sum else own
        if ddp is None or not parts.is_counted:
            if is_split:
                self._scale_gradients(unit / own)
        else:
            self._counted = (
                1 / dist.get_world_size(ddp.process_group) if parts.is_sum else self.num_counted
            )
            self._scale_gradients(unit / self._size_of_window())
        if ddp is not None:
            _average_gradients(ddp)

    def _restorer(self) -> Callable[[], None]:
        """Returns a function that undoes the changes of an attempt."""
        random = capture_random_state()
        buffers = [
            (module, name, buffer, buffer.detach().clone())
            for module in _modules_of(self.model)
            for name, buffer in module.named_buffers(recurse=False)
        ]
        own = {id(one) for group in self.optimizer.param_groups for one in group["params"]}
        gradients = [
            (parameter, None if parameter.grad is None else parameter.grad.clone())
            for module in _modules_of(self.model)
            for parameter in module.parameters(recurse=False)
            if parameter.requires_grad and id(parameter) not in own
        ]

        def put_back() -> None:
            self._drop_gradients()
            for parameter, gradient in gradients:
                parameter.grad = gradient
            with torch.no_grad():
                for module, name, buffer, value in buffers:
                    buffer.copy_(value)
                    setattr(module, name, buffer)
            restore_random_state(random)

        return put_back


def _modules_of(model: Any) -> Iterator[nn.Module]:
    yield from model.modules() if isinstance(model, nn.Module) else ()


def _check_is_quiet(model: Any) -> None:
    for module in _modules_of(model):
        names = {kind.__name__ for kind in type(module).__mro__}
        if found := names.intersection(_TALKING_IN_FORWARD):
            raise ValueError(
                "gradient_accumulation_steps='auto' needs a model whose forward pass does not wait "
                f"for other processes, which may split their batches differently, but given "
                f"{found.pop()}: pass a number"
            )


def _synchronize_buffers(ddp: DistributedDataParallel) -> None:
    """Synchronizes buffers once per batch, as DDP does before each forward pass."""
    if not ddp.broadcast_buffers:
        return
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for buffer in ddp.module.buffers():
        by_dtype.setdefault(buffer.dtype, []).append(buffer)
    for buffers in by_dtype.values():
        flat = torch.cat([buffer.detach().reshape(-1) for buffer in buffers])
        dist.broadcast(flat, group=ddp.process_group, group_src=0)
        with torch.no_grad():
            for buffer, value in zip(
                buffers, flat.split([one.numel() for one in buffers]), strict=True
            ):
                buffer.copy_(value.view_as(buffer))


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        text in str(error).lower() for text in _OUT_OF_MEMORY
    )


def _free_memory() -> None:
    """Frees the memory of the failed attempt, including cached blocks that are too small."""
    empty_cache = getattr(torch.accelerator, "empty_cache", None)  # torch 2.9 and newer
    if empty_cache is not None and torch.accelerator.is_available():
        gc.collect()
        empty_cache()


def _leaves_of(tree: Any) -> list[Any]:
    """Returns the leaves in the order of ``tree_map``; a packed sequence is one leaf."""
    if isinstance(tree, str | bytes | PackedSequence):
        return [tree]
    if isinstance(tree, Mapping | Sequence):
        items = tree.values() if isinstance(tree, Mapping) else tree
        return [leaf for item in items for leaf in _leaves_of(item)]
    return [tree]


def _num_rows(x: Any, y: Any) -> int:
    """Returns the number of samples: the length of the targets, else of the inputs; 0 if it cannot be split."""
    inputs, targets = _leaves_of(x), _leaves_of(y)
    if any(isinstance(leaf, PackedSequence) for leaf in (*inputs, *targets)):
        return 0
    found, of_inputs = (
        [len(leaf) for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim]
        for leaves in (targets + inputs, inputs)
    )
    return found[0] if found and found[0] in of_inputs else 0


def _sizes(num_rows: int, size: int) -> list[int]:
    """Returns the sizes of the smallest possible number of parts; sizes differ by at most 1.

    Example:
        >>> _sizes(10, 4)
        [4, 3, 3]
    """
    if not num_rows:
        return [0]
    num_parts = -(-num_rows // size)
    least, num_larger = divmod(num_rows, num_parts)
    return [least + (i < num_larger) for i in range(num_parts)]


def _rows_of(tree: Any, start: int, size: int, num_rows: int) -> Any:
    """Returns a slice of each tensor that has ``num_rows`` rows; all other values are the same in all parts."""

    def rows(leaf: Any, key: Any) -> Any:
        if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == num_rows:
            return leaf[start : start + size]
        return leaf

    return tree_map(rows, tree)


def _detached(tree: Any) -> Any:
    if isinstance(tree, Tensor):
        return tree.detach()
    return tree_map(lambda leaf, key: leaf.detach() if isinstance(leaf, Tensor) else leaf, tree)


def _joined(outputs: Sequence[Any]) -> Any:
    """Joins the outputs of parts: concatenates tensors, and averages numbers."""
    if len(outputs) == 1:
        return outputs[0]
    columns = iter(zip(*map(_leaves_of, outputs), strict=True))
    return tree_map(lambda leaf, key: _joined_leaf(next(columns)), outputs[0])


def _joined_leaf(leaves: Sequence[Any]) -> Any:
    if not isinstance(leaves[0], Tensor):
        return leaves[0]
    return torch.cat(list(leaves)) if leaves[0].ndim else torch.stack(list(leaves)).mean()


def _zero_if_empty(loss: Tensor, count: Any) -> Tensor:
    """Returns 0 with zero gradients instead of NaN, the mean over no elements."""
    if isinstance(count, Tensor):
        return torch.where(count == 0, torch.zeros_like(loss), loss)
    return loss if count else torch.zeros_like(loss)
