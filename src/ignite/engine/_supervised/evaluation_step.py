"""The step of supervised evaluation, and what the training step has in common with it.

That is the words for their arguments, the preparation of batches, and the mode and the precision of
the model.
"""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from inspect import cleandoc
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from ignite._core.calls import accepts, signature_of
from ignite._core.old_arguments import OldOrder, takes_old
from ignite._core.torch_private import SUBMODULES
from ignite._core.trees import in_float32, moved
from ignite.engine._trace import Step

F = TypeVar("F", bound=Callable[..., Any])

_ARGUMENTS = {
    "model": "the model. It is not moved: move it to its device before you create the optimizer.",
    "optimizer": "updates the parameters of the model.",
    "loss_fn": "``loss_fn(y_pred, y)`` returns a tensor with one element, or a :class:`CountedLoss`.",
    "metrics": "metrics by name, attached in this order. Their values are in ``state.metrics`` after each run.",
    "device": "device to which batches are moved; None to leave them where they are.",
    "non_blocking": "do not wait for copies from pinned memory to the device.",
    "prepare_batch": "``prepare_batch(batch, device=device, non_blocking=non_blocking)`` returns ``(x, y)``.",
    "model_transform": "converts the output of the model to ``y_pred``.",
    "output_transform": "``output_transform(x, y, y_pred, loss)`` returns ``state.output``. The default, "
    "``loss.item()``, waits for the device in each iteration; ``loss.detach()`` does not.",
    "deterministic": "create a :class:`DeterministicEngine`.",
    "amp_mode": '"amp" for autocast, "apex" for NVIDIA\'s apex, None for full precision.',
    "scaler": "a ``torch.amp.GradScaler`` for float16. Gradients are unscaled before they are clipped.",
    "gradient_accumulation_steps": "number of batches for each step of the optimizer. The gradient is the mean over "
    "these batches; with a :class:`CountedLoss`, the mean over all their elements. The last window "
    "of an epoch has the remaining batches, if the length of the epoch is known. "
    "DistributedDataParallel synchronizes gradients once per window.",
    "model_fn": "``model_fn(model, x)`` calls the model.",
    "clip_grad_norm": "maximum Euclidean norm of all gradients together.",
    "clip_grad_value": "maximum absolute value of a single gradient; applied before the norm.",
    "amp_dtype": "dtype of autocast, float16 or bfloat16; by default torch's choice: float16 on CUDA, bfloat16 on "
    "CPU.",
    "compile": "call the model through ``torch.compile``; a mapping holds its arguments. The model itself, and the "
    "keys of its ``state_dict``, do not change.",
}


def with_arguments(**descriptions: str) -> Callable[[F], F]:
    """Replaces ``{arguments}`` in a docstring by a description of each parameter of the function.

    Args:
        **descriptions: descriptions by parameter, where they differ from the common ones.
    """

    def document(function: F) -> F:
        words = _ARGUMENTS | descriptions
        text = "\n".join(_entry(name, words[name]) for name in signature_of(function).parameters)
        if function.__doc__:  # Python leaves docstrings out with -OO
            # Python 3.13 removes the indentation, earlier versions leave it.
            function.__doc__ = cleandoc(function.__doc__).replace("{arguments}", text.lstrip())
        return function

    return document


def takes_earlier_output(func: F) -> F:
    """Accepts ``output_transform`` where it was before there was ``model_transform`` (Ignite 0.2 to 0.4.10)."""
    names = [name for name in signature_of(func).parameters if name != "model_transform"]
    place = names.index("output_transform")

    def is_meant(values: Sequence[Any]) -> bool:
        if len(values) > place + 1:  # today's place of output_transform
            return not callable(values[place + 1])
        return len(values) > place and not accepts(values[place], None)

    return takes_old(OldOrder(" ".join(names), is_meant))(func)  # type: ignore[return-value]


@functools.cache
def _entry(name: str, description: str) -> str:
    return textwrap.fill(
        f"{name}: {description}", 100, initial_indent=" " * 4, subsequent_indent=" " * 8
    )


def _prepare_batch(
    batch: Any, device: str | torch.device | None = None, non_blocking: bool = False
) -> tuple[Any, Any]:
    """Returns the pair ``(x, y)`` on ``device``.

    Raises:
        TypeError, ValueError: ``batch`` is not a pair. A mapping with two keys or a tensor with two
            rows is not one.
    """
    if type(batch) not in (list, tuple) and isinstance(batch, Mapping | torch.Tensor | str):
        raise TypeError(_not_a_pair(batch))
    try:
        x, y = batch
    except (TypeError, ValueError) as error:
        raise type(error)(_not_a_pair(batch)) from None
    if device is None and type(x) is Tensor and type(y) is Tensor:  # the usual case
        return x, y
    return moved(x, device, non_blocking), moved(y, device, non_blocking)


def _not_a_pair(batch: Any) -> str:
    kind = type(batch).__name__
    if isinstance(batch, Mapping):
        given = f"a {kind} with the keys {list(batch)}"
    elif isinstance(batch, torch.Tensor):
        given = f"a tensor of shape {tuple(batch.shape)}"
    else:
        given = (
            f"a {kind} of {len(batch)} items" if isinstance(batch, list | tuple) else f"a {kind}"
        )
    return f"batch should be a pair (x, y), but given {given}: convert it in prepare_batch"


def _identity(output: Any) -> Any:
    return output


def _call_model(model: Any, x: Any) -> Any:
    return model(x)


def _pred_and_target(x: Any, y: Any, y_pred: Any) -> Any:
    return y_pred, y


# Methods that do nothing but set ``training`` of a module and its submodules.
_PLAIN_TRAIN = (nn.Module.train, DistributedDataParallel.train)


class Mode:
    """Puts a model into training or evaluation mode, and writes nothing if it is in this mode already.

    For each module, ``model.train()`` takes longer than a small layer takes to compute; a check is
    about ten times faster. ``train()`` or ``eval()`` is called each time if a module overrides
    ``train``, ``eval`` or ``training``, if the model is scripted or compiled, or if it is no
    module.

    Args:
        model: the model.
        is_training: training mode, or evaluation mode.

    Example:
        >>> model = nn.Sequential(nn.Dropout())
        >>> Mode(model, is_training=False).enter()
        >>> model[0].training
        False
    """

    __slots__ = ("_is_plain", "_is_training", "_model", "_seen")

    def __init__(self, model: Any, is_training: bool) -> None:
        self._model = model
        self._is_training = is_training
        self._is_plain = isinstance(model, nn.Module)
        """Whether a check suffices.

        Once false, it stays false: a call each time is always right.
        """
        # Of each module: its attributes, and its submodules when it was put into the mode.
        self._seen: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return Mode, (self._model, self._is_training)  # the copy must look at the copied modules

    def enter(self) -> None:
        """Puts the model into the mode."""
        is_training = self._is_training
        for attributes, parts in self._seen:
            if attributes.get("training") is not is_training or attributes[SUBMODULES] != parts:
                break
        else:
            if self._seen:
                return
        if is_training:
            self._model.train()
        else:
            self._model.eval()
        if self._is_plain:
            self._look()

    def _look(self) -> None:
        modules = list(self._model.modules())
        self._is_plain = all(map(_is_plain, modules))
        self._seen = (
            [(vars(module), dict(vars(module)[SUBMODULES])) for module in modules]
            if self._is_plain
            else []
        )


def _is_plain(module: nn.Module) -> bool:
    attributes = vars(module)
    has_own = "train" in attributes or "eval" in attributes or "training" not in attributes
    return (
        not has_own and type(module).train in _PLAIN_TRAIN and type(module).eval is nn.Module.eval
    )


NO_CONTEXT = nullcontext()
"""Shared, because creating one in each step takes longer than using it."""


class FullPrecision:
    """The model's own precision."""

    def autocast(self) -> AbstractContextManager[Any]:
        """Returns the context for the forward pass and the loss."""
        return NO_CONTEXT

    def with_full_output(self, model_transform: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Wraps ``model_transform`` so that losses and metrics get full precision."""
        return model_transform

    def backward(self, loss: Tensor, optimizer: Optimizer) -> None:
        """Accumulates the gradients of ``loss``."""
        loss.backward()

    def unscale(self, optimizer: Optimizer) -> None:
        """Unscales the gradients, so that they can be clipped."""

    def step(self, optimizer: Optimizer) -> None:
        """Updates the parameters."""
        optimizer.step()

    def skip_step(self) -> None:
        """Replaces ``step`` if the gradients are not used."""


class MixedPrecision(FullPrecision):
    """Autocast on any kind of device, with or without a gradient scaler.

    Args:
        device: device of autocast; None for the current device of the parameters of ``model``.
        model: the model.
        dtype: dtype of autocast; None for torch's default, float16 on CUDA and bfloat16 on CPU.
        scaler: gradient scaler for float16, or None.

    Raises:
        ValueError: autocast does not support the dtype.
    """

    def __init__(
        self,
        device: str | torch.device | None,
        model: Any,
        dtype: str | torch.dtype | None = None,
        scaler: Any = None,
    ) -> None:
        self.device = device
        self.model = model
        self.dtype = to_dtype(dtype)
        self.scaler = scaler

    def autocast(self) -> AbstractContextManager[Any]:
        # Evaluated in each step: a model may be moved after its engine is made.
        return torch.autocast(device_type_of(self.device, self.model), dtype=self.dtype)

    def with_full_output(self, model_transform: Callable[[Any], Any]) -> Callable[[Any], Any]:
        # bfloat16 has two or three digits: too few to see whether a loss still falls.
        return lambda output: in_float32(model_transform(output))

    def backward(self, loss: Tensor, optimizer: Optimizer) -> None:
        (self.scaler.scale(loss) if self.scaler is not None else loss).backward()

    def unscale(self, optimizer: Optimizer) -> None:
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)

    def step(self, optimizer: Optimizer) -> None:
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)
            self.scaler.update()

    def skip_step(self) -> None:
        if self.scaler is not None:
            self.scaler.update()  # else unscaling the next window raises


class ApexPrecision(FullPrecision):
    """NVIDIA's apex.

    Raises:
        ModuleNotFoundError: apex is not installed.
    """

    def __init__(self) -> None:
        try:
            from apex import amp
        except ImportError as error:  # another package of that name has no amp
            raise ModuleNotFoundError(
                "Please install apex from https://github.com/nvidia/apex to use amp_mode='apex'."
            ) from error
        self._amp = amp

    def backward(self, loss: Tensor, optimizer: Optimizer) -> None:
        with self._amp.scale_loss(loss, optimizer) as scaled:
            scaled.backward()


class XlaPrecision(FullPrecision):
    """Devices of torch_xla.

    Raises:
        ModuleNotFoundError: torch_xla is not installed.
    """

    def __init__(self) -> None:
        try:
            import torch_xla.core.xla_model as xm
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "torch_xla cannot be imported, please install PyTorch XLA."
            ) from error
        self._xm = xm

    def step(self, optimizer: Optimizer) -> None:
        self._xm.optimizer_step(optimizer, barrier=True)


def device_type_of(device: str | torch.device | None, model: Any) -> str:
    """Device type for autocast: of ``device``, else of the model's first parameter, else CPU."""
    if device is not None:
        return torch.device(device).type
    parameters: Iterable[Tensor] = model.parameters() if isinstance(model, torch.nn.Module) else ()
    return next((parameter.device.type for parameter in parameters), "cpu")


def to_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """Converts a name such as ``"bfloat16"`` to a torch dtype.

    Raises:
        ValueError: autocast does not support it.
    """
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if dtype is not None and found not in (torch.float16, torch.bfloat16):
        raise ValueError(f"amp_dtype should be float16 or bfloat16, but given {dtype!r}")
    return found


EVALUATION_ARGUMENTS = {
    "model": "the model. It is not moved.",
    "output_transform": "``output_transform(x, y, y_pred)`` returns ``state.output``; by default ``(y_pred, y)``, "
    "which metrics expect.",
}


@takes_earlier_output
@with_arguments(**EVALUATION_ARGUMENTS)
def supervised_evaluation_step(
    model: Any,
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    prepare_batch: Callable[..., Any] = _prepare_batch,
    model_transform: Callable[[Any], Any] = _identity,
    output_transform: Callable[[Any, Any, Any], Any] = _pred_and_target,
    model_fn: Callable[[Any, Any], Any] = _call_model,
    *,
    compile: bool | Mapping[str, Any] = False,
) -> Step:
    """Creates the step of evaluation: ``step(engine, batch) -> output``.

    The step puts the model into evaluation mode, and calls it without gradients.

    Args:
        {arguments}
    """
    called_model, evaluation = _compiled(model, compile), Mode(model, is_training=False)

    def evaluate(engine: Any, batch: Any) -> Any:
        evaluation.enter()
        with torch.no_grad():
            x, y = prepare_batch(batch, device=device, non_blocking=non_blocking)
            y_pred = model_fn(called_model, x)
            if model_transform is not _identity:
                y_pred = model_transform(y_pred)
            return output_transform(x, y, y_pred)

    return evaluate


@takes_earlier_output
@with_arguments(**EVALUATION_ARGUMENTS)
def supervised_evaluation_step_amp(  # noqa: PLR0913 - Ignite's signature
    model: Any,
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    prepare_batch: Callable[..., Any] = _prepare_batch,
    model_transform: Callable[[Any], Any] = _identity,
    output_transform: Callable[[Any, Any, Any], Any] = _pred_and_target,
    model_fn: Callable[[Any, Any], Any] = _call_model,
    *,
    amp_dtype: str | torch.dtype | None = None,
    compile: bool | Mapping[str, Any] = False,
) -> Step:
    """Creates the step of evaluation with the model under autocast.

    Like :func:`supervised_evaluation_step`. If the model returns float16 or bfloat16,
    ``output_transform`` gets float32, for losses and metrics.

    Args:
        {arguments}

    Raises:
        ValueError: autocast does not support the dtype.
    """
    precision = MixedPrecision(device, model, amp_dtype)
    in_full_precision = precision.with_full_output(model_transform)

    def call_under_autocast(called_model: Any, x: Any) -> Any:
        with precision.autocast():
            return in_full_precision(model_fn(called_model, x))

    return supervised_evaluation_step(
        model, device, non_blocking, prepare_batch, _identity, output_transform, call_under_autocast,
        compile=compile,
    )  # fmt: skip


def _compiled(model: Any, how: bool | Mapping[str, Any]) -> Any:
    if how is False:
        return model
    return torch.compile(model, **({} if how is True else dict(how)))
