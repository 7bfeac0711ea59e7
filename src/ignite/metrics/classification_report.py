"""Classification report: precision, recall and F-score of each class."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from ignite.metrics._outputs import identity
from ignite.metrics.fbeta import Fbeta, fbeta_state
from ignite.metrics.metrics_lambda import MetricsLambda, computed_state
from ignite.metrics.precision import Precision
from ignite.metrics.recall import Recall

__all__ = ["ClassificationReport"]


def ClassificationReport(  # noqa: N802 - Ignite's name
    beta: int = 1,
    output_dict: bool = False,
    output_transform: Callable[[Any], Any] = identity,
    device: str | torch.device | None = None,
    is_multilabel: bool = False,
    labels: list[str] | None = None,
    metrics_result_mode: Literal["flatten", "named", "both"] = "both",
) -> MetricsLambda:
    """Creates a metric: precision, recall and F-score of each class, and their means.

    The value maps each label, and "macro avg" for the means over classes, to its scores.

    Update with ``(y_pred, y)`` as for :class:`Precision`.

    Args:
        beta: weight of recall relative to precision in the F-score.
        output_dict: return a dictionary, label -> name of the score -> number. Otherwise its JSON.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to count. By default, that of the predictions.
        is_multilabel: treat predictions and targets of equal shape as multilabel, not binary.
        labels: names of the classes, in their order. By default "0", "1" and so on.
        metrics_result_mode: where the dictionary goes; see :class:`Metric`.

    Raises:
        ValueError: in ``compute``, there are fewer labels than classes.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> report = ClassificationReport(output_dict=True, labels=["cat", "dog"])
        >>> report.update((torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]]), torch.tensor([0, 1, 1])))
        >>> report.compute()["dog"]
        {'precision': 1.0, 'recall': 0.5, 'f1-score': 0.6666...}
    """
    precision = Precision(
        output_transform, average=None, is_multilabel=is_multilabel, device=device
    )
    recall = Recall(output_transform, average=None, is_multilabel=is_multilabel, device=device)
    fbeta = Fbeta(beta, average=False, precision=precision, recall=recall)
    function = functools.partial(_report, beta=beta, names=labels, as_dict=output_dict)
    metric = MetricsLambda(
        function, recall, precision, fbeta, metrics_result_mode=metrics_result_mode
    )
    metric._arguments_in_ignite = functools.partial(_report_in_ignite, beta=beta)
    return metric


def _report_in_ignite(recall: Any, precision: Any, beta: int) -> tuple[list[Any], dict[str, Any]]:
    """Returns the arguments of Ignite's report: three scores of each class, and their means."""
    scores = [recall, precision, fbeta_state(precision, recall, beta)]
    return [*scores, *map(computed_state, scores)], {}


def _report(
    recall: Tensor,
    precision: Tensor,
    fbeta: Tensor,
    beta: int,
    names: list[str] | None,
    as_dict: bool,
) -> dict[str, dict[str, float]] | str:
    names = [str(i) for i in range(len(recall))] if names is None else names
    if len(names) < len(recall):
        raise ValueError(f"labels should name all {len(recall)} classes, but given {names}")
    columns = {"precision": precision, "recall": recall, f"f{beta}-score": fbeta}
    report = {
        label: {name: values[i].item() for name, values in columns.items()}
        for i, label in enumerate(names[: len(recall)])
    }
    report["macro avg"] = {name: values.mean().item() for name, values in columns.items()}
    return report if as_dict else json.dumps(report)
