"""F-beta score: the weighted harmonic mean of precision and recall."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._output_arrays import ratio
from ignite.metrics._outputs import identity
from ignite.metrics.metrics_lambda import MetricsLambda, better_if_higher, computed_state
from ignite.metrics.precision import Precision
from ignite.metrics.recall import Recall

__all__ = ["Fbeta"]


def Fbeta(  # noqa: N802 - Ignite's name
    beta: float,
    average: bool = True,
    precision: Precision | None = None,
    recall: Recall | None = None,
    output_transform: Callable[[Any], Any] | None = None,
    device: str | torch.device | None = None,
) -> MetricsLambda:
    r"""Creates a metric of :math:`F_\beta = \frac{(1 + \beta^2) P R}{\beta^2 P + R}`; 0 where both are 0.

    Args:
        beta: weight of recall relative to precision, positive.
        average: whether to return the mean over classes, a number, or the values of all classes, a
            tensor of shape (C,).
        precision: the metric that computes precision, with ``average=False``.
        recall: the metric that computes recall, with ``average=False``.
        output_transform: passed to the metrics that are not given.
        device: passed to the metrics that are not given.

    Raises:
        ValueError: ``beta`` is not positive, a metric has another ``average``, or
            ``output_transform`` or ``device`` is given together with a metric.

    Example:
        >>> f1 = Fbeta(1)
        >>> f1.update((torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 1])))
        >>> f1.compute()
        1.0

    References:
        van Rijsbergen, "Information Retrieval", 2nd edition, 1979, chapter 7.
    """
    if not beta > 0:
        raise ValueError(f"Beta should be a positive integer, but given {beta}")
    for name, metric in (("precision", precision), ("recall", recall)):
        if metric is None:
            continue
        if output_transform is not None:
            raise ValueError(
                f"If {name} argument is provided, output_transform should be None, but given {output_transform!r}"
            )
        if device is not None:
            raise ValueError(
                f"If {name} argument is provided, device should be None, but given {device!r}"
            )
        if metric._average:
            raise ValueError(
                f"Input {name} metric should have average=False, but given {metric._average!r}"
            )
    transform = identity if output_transform is None else output_transform
    precision = (
        Precision(transform, average=False, device=device) if precision is None else precision
    )
    recall = Recall(transform, average=False, device=device) if recall is None else recall
    score = MetricsLambda(functools.partial(_fbeta, beta=beta, average=average), precision, recall)
    score._arguments_in_ignite = functools.partial(_fbeta_in_ignite, beta=beta, average=average)
    return better_if_higher(score)


def _fbeta_in_ignite(
    precision: Any, recall: Any, beta: float, average: bool
) -> tuple[list[Any], dict[str, Any]]:
    """Returns the arguments, of which Ignite computes the F-score by arithmetic."""
    quotient = fbeta_state(precision, recall, beta)
    return ([computed_state(quotient)] if average else quotient["args"]), {}


def fbeta_state(precision: Any, recall: Any, beta: float) -> dict[str, Any]:
    """Returns the state of Ignite's quotient of both sides of the F-score."""
    numerator = computed_state(computed_state(1.0 + beta**2, precision), recall)
    denominator = computed_state(computed_state(beta**2, precision), recall)
    return computed_state(numerator, computed_state(denominator, 1e-15))


def _fbeta(precision: Tensor, recall: Tensor, beta: float, average: bool) -> Any:
    values = ratio((1 + beta**2) * precision * recall, beta**2 * precision + recall)
    return values.mean().item() if average else values
