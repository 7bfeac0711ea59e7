"""Metrics by name, each as it has to be for the kind of problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.learner._data.task import Kind
from ignite.learner._names import find
from ignite.metrics import (
    ROC_AUC,
    Accuracy,
    AveragePrecision,
    BalancedAccuracy,
    CohenKappa,
    MatthewsCorrCoef,
    MeanAbsoluteError,
    MeanSquaredError,
    Metric,
    MetricsLambda,
    Precision,
    Recall,
    RootMeanSquaredError,
    TopKCategoricalAccuracy,
)
from ignite.metrics.regression import PearsonCorrelation, R2Score, SpearmanRankCorrelation

__all__ = ["make_metrics", "same_shape"]

Output = tuple[Tensor, Tensor]
Factory = Callable[[], Any]


def same_shape(y_pred: Tensor, y: Tensor) -> Output:
    """Targets in the shape of the predictions, where one has (N,) and the other (N, 1)."""
    return (y_pred, y) if y_pred.shape == y.shape or y.numel() != y_pred.numel() else (y_pred, y.reshape(y_pred.shape))


# Not lambdas: metrics that share these functions share what they accumulate.
def _decided_logits(output: Output) -> Output:
    y_pred, y = same_shape(*output)
    return (y_pred > 0).long(), y.long()


def _decided_probabilities(output: Output) -> Output:
    y_pred, y = same_shape(*output)
    return (y_pred > 0.5).long(), y.long()


def _chosen(output: Output) -> Output:
    return output[0].argmax(1), output[1]


def _scores(output: Output) -> Output:
    y_pred, y = same_shape(*output)
    return y_pred.reshape(len(y), -1).squeeze(1), y.reshape(len(y), -1).squeeze(1).long()


def _numbers(output: Output) -> Output:
    y_pred, y = same_shape(*output)
    return y_pred.float(), y.float()


def _flat_numbers(output: Output) -> Output:
    y_pred, y = _numbers(output)
    return y_pred.reshape(-1), y.reshape(-1)


def _classes() -> dict[str, Factory]:
    precision, recall = Precision(), Recall()
    return {
        "accuracy": Accuracy,
        "balanced_accuracy": BalancedAccuracy,
        "precision": lambda: Precision(average="macro"),
        "recall": lambda: Recall(average="macro"),
        "f1": lambda: _f1(precision, recall, is_mean=True),
        "kappa": lambda: CohenKappa(output_transform=_chosen),
        "mcc": MatthewsCorrCoef,
        "top2_accuracy": lambda: TopKCategoricalAccuracy(2),
        "top3_accuracy": lambda: TopKCategoricalAccuracy(3),
        "top5_accuracy": lambda: TopKCategoricalAccuracy(5),
    }


def _yes_or_no(decide: Callable[[Output], Output]) -> dict[str, Factory]:
    precision, recall = Precision(output_transform=decide), Recall(output_transform=decide)
    return {
        "accuracy": lambda: Accuracy(output_transform=decide),
        "precision": lambda: precision,
        "recall": lambda: recall,
        "f1": lambda: _f1(precision, recall, is_mean=False),
        "roc_auc": lambda: ROC_AUC(output_transform=_scores),
        "average_precision": lambda: AveragePrecision(output_transform=_scores),
    }


def _labels(decide: Callable[[Output], Output]) -> dict[str, Factory]:
    options: dict[str, Any] = {"is_multilabel": True, "output_transform": decide}
    precision, recall = Precision(**options), Recall(**options)
    return {
        "accuracy": lambda: Accuracy(**options),
        "precision": lambda: Precision(average="macro", **options),
        "recall": lambda: Recall(average="macro", **options),
        "f1": lambda: _f1(precision, recall, is_mean=True),
    }


def _regression() -> dict[str, Factory]:
    return {
        "mae": lambda: MeanAbsoluteError(output_transform=_numbers),
        "mse": lambda: MeanSquaredError(output_transform=_numbers),
        "rmse": lambda: RootMeanSquaredError(output_transform=_numbers),
        "r2": lambda: R2Score(output_transform=_flat_numbers),
        "pearson": lambda: PearsonCorrelation(output_transform=_flat_numbers),
        "spearman": lambda: SpearmanRankCorrelation(output_transform=_flat_numbers),
    }


def _f1(precision: Any, recall: Any, is_mean: bool) -> Any:
    """Of each class, and its mean; 0 where there is neither precision nor recall."""

    def f1(p: Any, r: Any) -> Any:
        p, r = (torch.as_tensor(value, dtype=torch.float64) for value in (p, r))
        scores = torch.where(p + r > 0, 2 * p * r / (p + r).clamp(min=1e-300), 0.0)
        return float(scores.mean() if is_mean else scores)

    return MetricsLambda(f1, precision, recall)


def make_metrics(chosen: Sequence[Any] | Mapping[str, Any], kind: Kind, has_logits: bool) -> dict[str, Any]:
    """Metrics by the names under which they are reported.

    Args:
        chosen: names and metrics, in a list; or metrics, or names of them, by the name to report them under.
        kind: of the problem.
        has_logits: whether what the model returns is to be compared with 0, not with 0.5.

    Raises:
        ValueError: a name stands for no metric of such problems.
        TypeError: neither a name nor a metric.
    """
    decide = _decided_logits if has_logits else _decided_probabilities
    known: dict[str, Factory] = {
        "multiclass": _classes,
        "binary": lambda: _yes_or_no(decide),
        "multilabel": lambda: _labels(decide),
        "regression": _regression,
        "unknown": dict,
    }[kind]()
    named = chosen if isinstance(chosen, Mapping) else {_name_of(one): one for one in chosen}
    return {name: _made(one, kind, known) for name, one in named.items()}


def _name_of(one: Any) -> str:
    return one if isinstance(one, str) else type(one).__name__


def _made(one: Any, kind: Kind, known: Mapping[str, Factory]) -> Any:
    if isinstance(one, str):
        return find(f"{kind} metric", one, known)()
    if not isinstance(one, Metric):
        raise TypeError(f"metrics should be names and ignite.metrics.Metric objects, but given {one!r}")
    return one
