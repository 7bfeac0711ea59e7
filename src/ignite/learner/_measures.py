"""Metrics by name, each as it has to be for the kind of problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ignite.learner._data.fitting import hard_labels, same_shape, without_ignored
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

__all__ = ["make_metrics"]

Output = tuple[Tensor, Tensor]
Factory = Callable[[], Any]


# Not lambdas: metrics that share these functions share what they accumulate.
def _decided_logits(output: Output) -> Output:
    y_pred, y = same_shape(*output)
    return (y_pred > 0).long(), hard_labels(y)


def _decided_probabilities(output: Output) -> Output:
    y_pred, y = same_shape(*output)
    return (y_pred > 0.5).long(), hard_labels(y)


def _of_classes(output: Output) -> Output:
    y_pred, y = output
    return y_pred, hard_labels(y, y_pred)


@dataclass(frozen=True)
class _NotIgnored:
    """As ``_of_classes``, without targets that do not count. Equal ones share what metrics accumulate."""

    ignored: int

    def __call__(self, output: Output) -> Output:
        return without_ignored(*_of_classes(output), self.ignored)


@dataclass(frozen=True)
class _Chosen:
    """The class with the highest score, of what ``of_classes`` gives."""

    of_classes: Callable[[Output], Output]

    def __call__(self, output: Output) -> Output:
        y_pred, y = self.of_classes(output)
        return y_pred.argmax(1), y


def _scores(output: Output) -> Output:
    y_pred, y = same_shape(*output)
    return y_pred.reshape(len(y), -1).squeeze(1), hard_labels(y.reshape(len(y), -1).squeeze(1))


def _numbers(output: Output) -> Output:
    y_pred, y = same_shape(*output)
    return y_pred.float(), y.float()


def _flat_numbers(output: Output) -> Output:
    y_pred, y = _numbers(output)
    return y_pred.reshape(-1), y.reshape(-1)


def _classes(ignored: int | None) -> dict[str, Factory]:
    of_classes: Callable[[Output], Output] = _of_classes if ignored is None else _NotIgnored(ignored)
    options: dict[str, Any] = {"output_transform": of_classes}
    precision, recall = Precision(**options), Recall(**options)
    return {
        "accuracy": lambda: Accuracy(**options),
        "balanced_accuracy": lambda: BalancedAccuracy(**options),
        "precision": lambda: Precision(average="macro", **options),
        "recall": lambda: Recall(average="macro", **options),
        "f1": lambda: _f1(precision, recall, is_mean=True),
        "kappa": lambda: CohenKappa(output_transform=_Chosen(of_classes)),
        "mcc": lambda: MatthewsCorrCoef(**options),
        "top2_accuracy": lambda: TopKCategoricalAccuracy(2, **options),
        "top3_accuracy": lambda: TopKCategoricalAccuracy(3, **options),
        "top5_accuracy": lambda: TopKCategoricalAccuracy(5, **options),
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


def make_metrics(
    chosen: Sequence[Any] | Mapping[str, Any], kind: Kind, has_logits: bool, ignored: int | None = None
) -> dict[str, Any]:
    """Metrics by the names under which they are reported.

    Args:
        chosen: names and metrics, in a list; or metrics, or names of them, by the name to report them under.
        kind: of the problem.
        has_logits: whether what the model returns is to be compared with 0, not with 0.5.
        ignored: the class index that metrics by name do not count; None if all count.

    Raises:
        ValueError: a name stands for no metric of such problems.
        TypeError: neither a name nor a metric.
    """
    decide = _decided_logits if has_logits else _decided_probabilities
    known: dict[str, Factory] = {
        "multiclass": lambda: _classes(ignored),
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
        what = f"the class {one.__name__}: write {one.__name__}()" if isinstance(one, type) else repr(one)
        raise TypeError(f"metrics should be names and ignite.metrics.Metric objects, but given {what}")
    return one
