"""Adapters for metrics of other libraries."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from ignite.metrics._outputs import identity
from ignite.metrics.epoch_metric import EpochMetric
from ignite.metrics.metric import Metric

__all__ = ["adapt"]


@runtime_checkable
class _HasMetricMethods(Protocol):
    """Methods of metrics in torchmetrics and similar libraries."""

    def reset(self) -> Any: ...
    def update(self, *args: Any, **kwargs: Any) -> Any: ...
    def compute(self) -> Any: ...


def adapt(
    metric: Any,
    output_transform: Callable[[Any], Any] = identity,
    *,
    prediction: Literal["scores", "labels"] = "scores",
    higher_is_better: bool | None = None,
    **kwargs: Any,
) -> Metric:
    """Converts a metric of torchmetrics, or a score function of scikit-learn, to a :class:`Metric`.

    Args:
        metric: an object with ``reset``, ``update`` and ``compute``, such as a metric of
            torchmetrics. Or a function ``metric(y_true, y_pred, **kwargs)`` of numpy arrays, such
            as those in ``sklearn.metrics``.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``. For objects, into the
            arguments of ``update``: a tuple, or a mapping for keyword arguments.
        prediction: what a function gets as predictions: "scores" unchanged, or "labels", the
            classes with the highest of scores (B, C).
        higher_is_better: see :class:`Metric`. By default, the attribute of the object, which
            metrics of torchmetrics have.
        **kwargs: keyword arguments of the function.

    Returns:
        A metric that is attached, reset and computed like all others. An object is reduced over
        processes by its own library. For a function, the samples of all processes are gathered.

    Raises:
        TypeError: ``metric`` is neither, or arguments of functions are given for an object.
        ValueError: ``prediction`` is invalid.

    Example:
        >>> from sklearn.metrics import f1_score
        >>> metric = adapt(f1_score, prediction="labels", average="macro")
        >>> metric.update((torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 1])))
        >>> metric.compute()
        1.0
    """
    if prediction not in ("scores", "labels"):
        raise ValueError(f"prediction should be 'scores' or 'labels', but given {prediction!r}")
    if isinstance(metric, _HasMetricMethods) and not isinstance(metric, type):
        if kwargs or prediction != "scores":
            raise TypeError(
                f"{type(metric).__name__} should be given its arguments in its constructor, but adapt was given "
                f"{dict(kwargs, prediction=prediction)}"
            )
        adapted: Metric = _Adapted(metric, output_transform)
        adapted.higher_is_better = getattr(metric, "higher_is_better", None)
    elif callable(metric) and not isinstance(metric, type):
        adapted = EpochMetric(
            _OfArrays(metric, prediction, kwargs), output_transform, check_compute_fn=False
        )
    else:
        raise TypeError(
            "metric should be an object with reset, update and compute, or a function of (y_true, y_pred), "
            f"but given {metric!r}"
        )
    if higher_is_better is not None:
        adapted.higher_is_better = higher_is_better
    return adapted


class _Adapted(Metric):
    """Delegates to the metric of another library."""

    required_output_keys = None

    def __init__(self, metric: Any, output_transform: Callable[[Any], Any]) -> None:
        self.adapted = metric
        super().__init__(output_transform, None, skip_unrolling=True)

    def reset(self) -> None:
        """Resets the wrapped metric."""
        self.adapted.reset()

    def update(self, output: Any) -> None:
        """Updates the wrapped metric with a tuple or list of arguments, a mapping, or one output."""
        self._move_to_device_of(output)
        if isinstance(output, Mapping):
            self.adapted.update(**output)
        elif isinstance(output, tuple | list):
            self.adapted.update(*output)
        else:
            self.adapted.update(output)

    def _move_to_device_of(self, output: Any) -> None:
        """Moves the wrapped metric, which torchmetrics does not move by itself."""
        values = (
            output.values()
            if isinstance(output, Mapping)
            else output
            if isinstance(output, Sequence)
            else [output]
        )
        device = next((value.device for value in values if isinstance(value, Tensor)), None)
        if device is not None and getattr(self.adapted, "device", device) != device:
            self.adapted.to(device)

    def _shared_objects(self) -> dict[int, Any]:
        # The wrapped metric may be a callable module, but it accumulates: each copy needs its own.
        return {
            key: value
            for key, value in super()._shared_objects().items()
            if value is not self.adapted
        }

    def _state(self) -> OrderedDict[str, Any]:
        """Returns the state in the attribute ``metric_state`` of torchmetrics.

        Raises:
            TypeError: the wrapped metric has no ``metric_state``.
        """
        values = getattr(self.adapted, "metric_state", None)
        if values is None:
            raise TypeError(
                f"{type(self.adapted).__name__} should have the attribute metric_state, as in torchmetrics, "
                "to be saved, but given none"
            )
        return OrderedDict(
            values={name: _copied(value) for name, value in values.items()},
            update_count=getattr(self.adapted, "update_count", 0),
        )

    def _set_state(self, states: list[Mapping[str, Any]]) -> None:
        (state,) = states
        self.adapted.reset()
        for name, value in state["values"].items():
            setattr(self.adapted, name, _copied(value))
        self.adapted._update_count = state["update_count"]

    def _pick(self, output: Mapping[str, Any]) -> Any:
        return output

    def compute(self) -> Any:
        """Returns the value of the wrapped metric."""
        return self.adapted.compute()


def _copied(value: Any) -> Any:
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value.clone()


class _OfArrays:
    """Calls a function of numpy arrays, true values first.

    A class instead of a closure, so that metrics can be pickled.
    """

    def __init__(
        self, function: Callable[..., Any], prediction: str, kwargs: dict[str, Any]
    ) -> None:
        self._function = function
        self._prediction = prediction
        self._kwargs = kwargs

    def __call__(self, y_pred: Tensor, y: Tensor) -> Any:
        if self._prediction == "labels" and y_pred.ndim == 2:
            y_pred = y_pred.argmax(dim=1)
        value = self._function(_as_array(y), _as_array(y_pred), **self._kwargs)
        return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value


def _as_array(tensor: Tensor) -> Any:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
