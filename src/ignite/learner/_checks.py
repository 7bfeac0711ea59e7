"""Mistakes that can be seen before the first step, and what to do about them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ignite._core.seeding import capture_random_state, restore_random_state
from ignite._core.trees import apply_to_type
from ignite.data.arrays import named_tensors
from ignite.learner._task import Kind

__all__ = ["check_arrays", "check_fit", "first_rows", "modes_kept", "unchanged"]

_NUM_ROWS = 8


def check_arrays(arrays: Any, what: str) -> None:
    """Looks for values that are no numbers, in all floating-point arrays: one pass over the data.

    Raises:
        ValueError: there are some; says how many, and where the first is.
    """
    for path, leaf in named_tensors(arrays):
        if not leaf.dtype.is_floating_point or bool(torch.isfinite(leaf.sum())):
            continue
        bad = (~torch.isfinite(leaf.reshape(len(leaf), -1))).any(1).nonzero()
        if len(bad):  # else the sum has overflown
            name = {"data[0]": "x", "data[1]": "y", "data[2]": "the weights"}.get(path, path)
            raise ValueError(
                f"{what}: {name} should hold finite numbers, but {len(bad)} of {len(leaf)} samples hold NaN or "
                f"infinity, the first one sample {int(bad[0])}: leave them out, or fill them in"
            )


def check_fit(model: nn.Module, loss: Any, kind: Kind | None, x: Any, y: Any, all_targets: Any, call: Any) -> None:
    """Runs the model once on a few samples, and compares what it gives with the targets and the loss.

    Nothing is left of it: neither in the random state, nor in the mode, the buffers and the gradients of the model.

    Args:
        model: is put into evaluation mode meanwhile.
        loss: the loss; what it needs is known of torch's own.
        kind: of the problem; None skips what depends on it.
        x: inputs of a batch.
        y: targets of a batch, shape (N, ...).
        all_targets: all there are, if they are in memory.
        call: ``call(model, x)`` gives the predictions.

    Raises:
        ValueError: shapes or values do not fit.
        TypeError: dtypes do not fit.
        Exception: whatever the model raises, with a note on the shapes.
    """
    if not isinstance(y, Tensor) or y.ndim == 0:
        return
    x, y = first_rows(x), y[:_NUM_ROWS]
    with unchanged(model):
        try:
            out = call(model, x)
        except Exception as error:
            given = ", ".join(f"{tuple(leaf.shape)} {leaf.dtype}" for _, leaf in named_tensors(x))
            error.add_note(f"when the model was tried before the first step, on an input of the shape {given}")
            raise
    if not isinstance(out, Tensor):
        return
    if out.shape[:1] != y.shape[:1]:
        raise ValueError(
            f"The model should give a prediction for each of {len(y)} samples, but gives the shape {tuple(out.shape)}"
        )
    if kind == "multiclass":
        _check_classes(loss, out, y, y if all_targets is None else all_targets)
    elif kind is not None:
        _check_numbers(kind, loss, out, y)
    _check_range_of_output(model, loss, out)


def _check_classes(loss: Any, out: Tensor, y: Tensor, targets: Tensor) -> None:
    name = type(loss).__name__
    if out.ndim < 2:
        raise ValueError(f"{name} needs a score for each class, shape (N, C), but the model gives {tuple(out.shape)}")
    if y.dtype.is_floating_point:
        if y.shape == out.shape:
            return  # probabilities of classes
        raise TypeError(
            f"{name} needs the numbers of classes as targets, integers of the shape {(len(y), *out.shape[2:])}, but "
            f"given {y.dtype} of the shape {tuple(y.shape)}: use y.long(), or loss='mse' if they are no classes"
        )
    if y.shape != (len(y), *out.shape[2:]):
        extra = ": use y.squeeze(1)" if y.ndim == out.ndim and y.shape[1] == 1 else ""
        expected, scores, given = (
            f"({', '.join(map(str, ('N', *shape)))})" for shape in (out.shape[2:], out.shape[1:], y.shape[1:])
        )
        raise ValueError(
            f"Targets should have the shape {expected} for predictions of the shape {scores}, but have {given}{extra}"
        )
    num_classes, ignored = out.shape[1], getattr(loss, "ignore_index", -100)
    wrong = targets[((targets < 0) | (targets >= num_classes)) & (targets != ignored)]
    if len(wrong):
        raise ValueError(
            f"Targets should be from 0 to {num_classes - 1}, as the model gives {num_classes} scores, but "
            f"{len(wrong)} of them are not, from {int(wrong.min())} to {int(wrong.max())}"
            + (": count classes from 0" if int(wrong.max()) == num_classes and int(targets.min()) == 1 else "")
        )


def _check_numbers(kind: Kind, loss: Any, out: Tensor, y: Tensor) -> None:
    if out.numel() != y.numel():
        hint = ""
        if kind == "binary" and out.ndim == 2 and out.shape[1] == 2:
            hint = ": use loss='cross_entropy' with two scores, or one score for each sample"
        raise ValueError(
            f"{type(loss).__name__} needs as many predictions as targets, but for targets of the shape "
            f"{tuple(y.shape)} the model gives {tuple(out.shape)}{hint}"
        )
    if kind in ("binary", "multilabel") and bool(((y < 0) | (y > 1)).any()):
        raise ValueError(
            f"Targets of {type(loss).__name__} should be from 0 to 1, but are from {y.min().item():g} to "
            f"{y.max().item():g}"
        )


def _check_range_of_output(model: nn.Module, loss: Any, out: Tensor) -> None:
    last = type(list(model.modules())[-1]).__name__
    is_within = bool(((out >= 0) & (out <= 1)).all())
    if isinstance(loss, nn.CrossEntropyLoss) and out.ndim >= 2 and out.shape[1] > 1 and is_within:
        if bool(torch.isclose(out.float().sum(1), torch.ones(()).to(out.device), atol=1e-3).all()):
            raise ValueError(
                "CrossEntropyLoss needs scores of any size (logits), but the model gives probabilities, which add up "
                f"to 1: take the last layer ({last}) out"
            )
    elif isinstance(loss, nn.BCEWithLogitsLoss) and is_within and last in ("Sigmoid", "Softmax"):
        raise ValueError(
            f"BCEWithLogitsLoss needs scores of any size (logits), but the model gives probabilities: take the last "
            f"layer ({last}) out, or use loss='bce'"
        )
    elif isinstance(loss, nn.BCELoss) and not is_within:
        raise ValueError(
            f"BCELoss needs probabilities, but the model gives numbers from {out.min().item():.3g} to "
            f"{out.max().item():.3g}: use loss='bce_with_logits', which is more exact, too"
        )
    elif isinstance(loss, nn.NLLLoss) and bool((out > 0).any()):
        raise ValueError(
            f"NLLLoss needs logarithms of probabilities, but the model gives numbers up to {out.max().item():.3g}: use "
            "loss='cross_entropy', or end the model with nn.LogSoftmax(1)"
        )


def first_rows(x: Any) -> Any:
    """The first few samples of nested tensors."""
    return apply_to_type(x, Tensor, lambda leaf: leaf[:_NUM_ROWS] if leaf.ndim else leaf)


@contextlib.contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Afterwards each part is in training or evaluation mode as it was."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients; afterwards the modes and the random state are as they were."""
    random = capture_random_state()
    try:
        with modes_kept(model), torch.no_grad():
            model.eval()
            yield
    finally:
        restore_random_state(random)
