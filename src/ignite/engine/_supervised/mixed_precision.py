"""The precision of a training step: full precision, autocast, apex or XLA, behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ignite._core.trees import in_float32

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
