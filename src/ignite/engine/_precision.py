"""How a training step computes: in full precision, under autocast, with apex, on XLA. One class each, same verbs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ignite._core.tensors import in_float32

AS_IT_IS = nullcontext()
"""Around what needs nothing around it; making one for each step would take longer than using it."""


class FullPrecision:
    """The arithmetic of the model as it is."""

    def autocast(self) -> AbstractContextManager[Any]:
        """What forward pass and loss are computed in."""
        return AS_IT_IS

    def made_full(self, model_transform: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """``model_transform``, with what it returns as losses and metrics are to be computed from."""
        return model_transform

    def backward(self, loss: Tensor, optimizer: Optimizer) -> None:
        """Adds the gradients of ``loss``."""
        loss.backward()

    def unscale(self, optimizer: Optimizer) -> None:
        """Brings the gradients to their true size, so that they can be clipped."""

    def step(self, optimizer: Optimizer) -> None:
        """Updates the parameters."""
        optimizer.step()

    def leave_out_step(self) -> None:
        """Takes the place of ``step`` where the gradients are not to be used."""


class MixedPrecision(FullPrecision):
    """Autocast on any kind of device, with or without a gradient scaler.

    Args:
        device: where to compute; None for where the parameters of ``model`` are at that time.
        model: what is called.
        dtype: what to compute in; None for torch's choice, which is float16 on CUDA and bfloat16 on CPU.
        scaler: keeps float16 gradients from vanishing; None for none.

    Raises:
        ValueError: autocast does not know the dtype.
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
        # Asked each time: a model may be moved after its engine is made.
        return torch.autocast(device_type_of(self.device, self.model), dtype=self.dtype)

    def made_full(self, model_transform: Callable[[Any], Any]) -> Callable[[Any], Any]:
        # A loss in bfloat16 has two or three digits: too few to tell whether it still falls.
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

    def leave_out_step(self) -> None:
        if self.scaler is not None:
            self.scaler.update()  # or the gradients of the next window could not be unscaled


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
            raise ModuleNotFoundError("torch_xla cannot be imported, please install PyTorch XLA.") from error
        self._xm = xm

    def step(self, optimizer: Optimizer) -> None:
        self._xm.optimizer_step(optimizer, barrier=True)


def device_type_of(device: str | torch.device | None, model: Any) -> str:
    """The kind of device to autocast on: of ``device``, else of the model's first parameter, else the CPU."""
    if device is not None:
        return torch.device(device).type
    parameters: Iterable[Tensor] = model.parameters() if isinstance(model, torch.nn.Module) else ()
    return next((parameter.device.type for parameter in parameters), "cpu")


def to_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """``"bfloat16"`` and its like as torch's object.

    Raises:
        ValueError: autocast does not know it.
    """
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if dtype is not None and found not in (torch.float16, torch.bfloat16):
        raise ValueError(f"amp_dtype should be float16 or bfloat16, but given {dtype!r}")
    return found
