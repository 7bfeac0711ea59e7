"""Other people's metrics, attached like ours."""

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
    """What metrics of torchmetrics and similar libraries offer."""

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
    """Makes a metric of a metric of torchmetrics, or of a score function of scikit-learn.

    Args:
        metric: an object with ``reset``, ``update`` and ``compute``, such as a metric of
            torchmetrics; or a function ``metric(y_true, y_pred, **kwargs)`` of numpy arrays, such
            as one of ``sklearn.metrics``.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``; for objects into what
            ``update`` takes, a mapping for what it takes by name.
        prediction: what a function takes as predictions: "scores" as they are, or the "labels" of
            the highest of scores (B, C).
        higher_is_better: see :class:`Metric`; by default what the object says itself, as those of
            torchmetrics do.
        **kwargs: further arguments of a function.

    Returns:
        A metric that is attached, reset and computed like all others. Objects reduce over processes
        by themselves; for functions, samples of all processes are kept and joined.

    Raises:
        TypeError: ``metric`` is neither.

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
                f"{type(metric).__name__} should be given its arguments itself, but adapt was given "
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
    """A metric that passes on to another one."""

    required_output_keys = None

    def __init__(self, metric: Any, output_transform: Callable[[Any], Any]) -> None:
        self.adapted = metric
        super().__init__(output_transform, None, skip_unrolling=True)

    def reset(self) -> None:
        """Resets it."""
        self.adapted.reset()

    def update(self, output: Any) -> None:
        """Passes the output on: the items of a tuple or list, or of a mapping by name, else all of it."""
        self._follow(output)
        if isinstance(output, Mapping):
            self.adapted.update(**output)
        elif isinstance(output, tuple | list):
            self.adapted.update(*output)
        else:
            self.adapted.update(output)

    def _follow(self, output: Any) -> None:
        """Moves the metric to where outputs are; metrics of torchmetrics stay on the CPU otherwise."""
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
        # A module can be called, but accumulates: each twin needs its own.
        return {
            key: value
            for key, value in super()._shared_objects().items()
            if value is not self.adapted
        }

    def _state(self) -> OrderedDict[str, Any]:
        """What torchmetrics says is its metric's state.

        Raises:
            TypeError: the metric does not say what its state is.
        """
        values = getattr(self.adapted, "metric_state", None)
        if values is None:
            raise TypeError(
                f"{type(self.adapted).__name__} should have metric_state to be saved, as torchmetrics' have"
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
        """Its value."""
        return self.adapted.compute()


def _copied(value: Any) -> Any:
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value.clone()


class _OfArrays:
    """Calls a function of numpy arrays, true values first.

    A class and no closure, so that metrics can be pickled.
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
