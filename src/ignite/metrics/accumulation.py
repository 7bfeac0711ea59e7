"""Metrics that accumulate any output of an engine."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Hashable
from typing import Any, ClassVar

import torch
from torch import Tensor

from ignite._core.calls import name_of
from ignite.metrics._outputs import identity
from ignite.metrics._saved_state import StatisticPart
from ignite.metrics._views import View
from ignite.metrics.statistics import Reading, Statistic
from ignite.metrics.statistics._statistic import wide_dtype

__all__ = ["Average", "GeometricAverage", "VariableAccumulation"]


def as_number_or_tensor(output: Any) -> int | float | Tensor:
    """Returns the output. Numbers of NumPy and other libraries, such as fractions, become Python numbers.

    Raises:
        TypeError: it is neither a number nor a tensor.
    """
    if isinstance(output, int | float | Tensor):
        return output
    if isinstance(output, numbers.Integral):
        return int(output)
    if isinstance(output, numbers.Real):
        return float(output)
    if getattr(output, "ndim", None) == 0 and hasattr(output, "item"):
        return as_number_or_tensor(output.item())
    raise TypeError(f"Output should be a number or torch.Tensor, but given {type(output)}")


def check_example(reading: Reading, statistic: Any) -> None:
    """Raises ValueError if examples have another shape than those before."""
    output = reading.derive(as_number_or_tensor)
    if not statistic.num_examples:
        return
    shape = (
        tuple(output.shape[1:] if output.ndim > 1 else output.shape)
        if isinstance(output, Tensor)
        else ()
    )
    known = statistic.example_shape
    if shape != known and not math.prod(shape) == math.prod(known) == 1:
        raise ValueError(
            f"Examples should be of shape {known} as before, but given one of shape {shape}"
        )


class _Accumulation(Statistic):
    """Applies ``op`` to the outputs in turn, and counts examples."""

    PARTS: ClassVar = {"num_examples": "SUM", "accumulator": "SUM"}

    def __init__(self, op: Callable[[Any, Any], Any], device: torch.device | None) -> None:
        self._op = op
        super().__init__(device)

    def _parameters(self) -> tuple[Hashable, ...]:
        return (self._op,)

    def reset(self) -> None:
        self.num_examples = 0
        dtype = torch.float64 if self.device is None else wide_dtype(self.device)
        self._accumulator: Any = torch.zeros((), dtype=dtype, device=self.device)
        self._sum = 0.0
        """The sum of single numbers that are still to be added to the accumulator. Adding Python numbers is faster."""
        self._shape: tuple[int, ...] | None = None
        """The shape of the last of them; None if there is none."""
        self.version += 1

    @property
    def accumulator(self) -> Any:
        """The value accumulated so far."""
        if self._shape is not None:
            single = torch.full(
                self._shape,
                self._sum,
                dtype=self._accumulator.dtype,
                device=self._accumulator.device,
            )
            self._accumulator, self._sum, self._shape = self._accumulator + single, 0.0, None
        return self._accumulator

    @property
    def example_shape(self) -> tuple[int, ...]:
        """The shape of the accumulated value."""
        return tuple(self._accumulator.shape) or self._shape or ()

    def _update(self, reading: Reading) -> None:
        output = reading.derive(as_number_or_tensor)
        if (
            self._op is add_examples
            and (self.device is None or self.device.type == "cpu")
            and _is_single(output)
        ):
            is_tensor = isinstance(output, Tensor)
            self._sum += output.item() if is_tensor else output
            self._shape = output.shape if is_tensor else self._shape or ()
            self.num_examples += 1
            return
        accumulator, num_added = self.accumulator, 1
        if isinstance(output, Tensor):
            num_added = len(output) if output.ndim > 1 else 1
            device = self.where(output)
            output = output.detach().to(device, wide_dtype(device))
            if accumulator.device != device:
                accumulator = (
                    as_tensor_of(accumulator.item(), output)  # a copy would wait for the device
                    if accumulator.is_cpu and accumulator.ndim == 0
                    else accumulator.to(device, output.dtype)
                )
        self._accumulator = self._op(accumulator, output)
        self.num_examples += num_added

    def __str__(self) -> str:
        return f"accumulation by {name_of(self._op).lstrip('_')}"

    def parts(self) -> dict[str, Any]:
        # Before the first output, the shape is unknown.
        return {
            "num_examples": self.num_examples,
            "accumulator": self.accumulator if self.num_examples else None,
        }

    def take(self, values: Any) -> None:
        self.reset()
        self.num_examples = values["num_examples"]
        if values["accumulator"] is not None:
            self._accumulator = values["accumulator"]

    def assign(self, name: str, value: Any) -> None:
        """Replaces the number of examples or what was accumulated."""
        if name == "num_examples":
            accumulator, num_examples = self.accumulator, int(value)
        else:
            device = self._accumulator.device
            accumulator = torch.as_tensor(value, dtype=self._accumulator.dtype, device=device)
            num_examples = self.num_examples
        self.take({"num_examples": num_examples, "accumulator": accumulator})


def _is_single(output: float | Tensor) -> bool:
    """Whether the output is a single number on the CPU."""
    if not isinstance(output, Tensor):
        return True
    return output.numel() == 1 and output.ndim <= 1 and output.is_cpu and not output.is_complex()


class VariableAccumulation(View):
    """Combines successive outputs, and counts examples.

    Update with a number or a tensor. Numbers and tensors of shape () or (D,) are one example;
    tensors with more dimensions are a batch of shape (B, ...). In distributed runs, the values and
    counts of all processes are added up.

    Args:
        op: ``op(accumulated, output)`` returns the new accumulated value. It starts at 0.
        output_transform: turns ``engine.state.output`` into the number or tensor.
        device: device on which to accumulate, in float64 (float32 on MPS). By default, that of outputs.
        skip_unrolling: see :class:`Metric`.

    Raises:
        TypeError: ``op`` cannot be called; in ``update``, the output is neither a number nor a
            tensor.

    Example:
        >>> metric = VariableAccumulation(lambda total, x: total + x)
        >>> metric.update(1.5), metric.update(2.5)
        (None, None)
        >>> metric.compute()
        (tensor(4., dtype=torch.float64), 2)
    """

    _calls_user_code = True
    required_output_keys = None
    _needs_examples = False

    accumulator = StatisticPart(
        "accumulator", read=lambda _, accumulation: accumulation.accumulator
    )
    """What this process has accumulated."""
    num_examples = StatisticPart("num_examples")
    """Number of examples that this process has seen."""

    def __init__(
        self,
        op: Callable[[Any, Any], Any],
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        if not callable(op):
            raise TypeError(f"Argument op should be a callable, but given {type(op)}")
        self._op = op
        super().__init__(output_transform, device, skip_unrolling)

    def _declare(self) -> list[Statistic]:
        return [_Accumulation(self._op, self._accumulates_on)]

    def _read_output(self, output: Any) -> Any:
        return output

    def _value(self, found: Any) -> Any:
        return found.accumulator, found.num_examples


class OfEqualExamples:
    """Mixin of accumulations of examples with equal shapes, by operations of this package."""

    _needs_examples = True
    _calls_user_code = False
    _takes_numbers = True

    def _inspect(self, reading: Reading, statistic: Any) -> None:
        check_example(reading, statistic)


class Average(OfEqualExamples, VariableAccumulation):
    """The mean of the outputs of an engine.

    Update with a number or a tensor. Numbers and tensors of shape () or (D,) are one example.
    Tensors with more dimensions are batches: (B, D) gives a mean of shape (D,).

    Args:
        output_transform: turns ``engine.state.output`` into the number or tensor.
        device: device on which to accumulate, in float64 (float32 on MPS). By default, that of outputs.
        skip_unrolling: see :class:`Metric`.

    Raises:
        TypeError: in ``update``, the output is neither a number nor a tensor.
        ValueError: in ``update``, an example has another shape than those before.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> engine = __import__("ignite").engine.Engine(lambda engine, batch: batch)
        >>> Average().attach(engine, "mean")
        >>> engine.run([1.0, 2.0, 6.0]).metrics
        {'mean': 3.0}
    """

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        super().__init__(add_examples, output_transform, device, skip_unrolling)

    def _value(self, found: Any) -> Any:
        return found.accumulator / found.num_examples


class GeometricAverage(OfEqualExamples, VariableAccumulation):
    r"""The geometric mean of the outputs of an engine, :math:`\exp\bigl(\frac{1}{N} \sum_i \ln x_i\bigr)`.

    Update with positive numbers or tensors of them; :class:`Average` says what counts as an
    example. Zeros give 0, negative numbers NaN.

    Args:
        output_transform: turns ``engine.state.output`` into the number or tensor.
        device: device on which to accumulate, in float64 (float32 on MPS). By default, that of outputs.
        skip_unrolling: see :class:`Metric`.

    Raises:
        TypeError: in ``update``, the output is neither a number nor a tensor.
        ValueError: in ``update``, an example has another shape than those before.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = GeometricAverage()
        >>> metric.update(2.0), metric.update(8.0)
        (None, None)
        >>> round(metric.compute(), 6)
        4.0
    """

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        skip_unrolling: bool = False,
    ) -> None:
        super().__init__(_add_logarithms, output_transform, device, skip_unrolling)

    def _value(self, found: Any) -> Any:
        mean = torch.exp(found.accumulator / found.num_examples)
        return mean.item() if mean.numel() == 1 else mean


def as_tensor_of(value: float | Tensor, like: Tensor) -> Tensor:
    """Returns ``value`` as a tensor with the dtype and device of ``like``; for a number, without synchronization."""
    if isinstance(value, Tensor):
        return value.to(like.device, like.dtype)
    return torch.full((), value, dtype=like.dtype, device=like.device)


def add_examples(total: Tensor, output: float | Tensor) -> Tensor:
    """Adds all examples of ``output`` to ``total``, which has the shape of one example."""
    return total + (output.sum(dim=0) if isinstance(output, Tensor) and output.ndim > 1 else output)


def _add_logarithms(total: Tensor, output: float | Tensor) -> Tensor:
    return add_examples(total, torch.log(as_tensor_of(output, total)))
