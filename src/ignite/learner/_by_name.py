"""Losses, optimizers, precisions and metrics by name; metrics are configured for the task."""

from __future__ import annotations

import difflib
import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ignite import distributed as idist
from ignite.exceptions import NotComputableError
from ignite.learner._data.schema import Kind
from ignite.learner._data.targets import hard_labels, same_shape, without_ignored
from ignite.learner._model_outputs import NextToken
from ignite.metrics import (
    ROC_AUC,
    Accuracy,
    AveragePrecision,
    BalancedAccuracy,
    CohenKappa,
    ConfusionMatrix,
    EpochMetric,
    MatthewsCorrCoef,
    MeanAbsoluteError,
    MeanSquaredError,
    Metric,
    MetricGroup,
    MetricsLambda,
    Perplexity,
    Precision,
    Recall,
    TopKCategoricalAccuracy,
)

__all__ = ["LOSSES", "OPTIMIZERS", "PRECISIONS", "Factory", "Output", "find", "make_metrics"]

T = TypeVar("T")

LOSSES: Mapping[str, Callable[..., nn.Module]] = {
    "bce": nn.BCELoss,
    "bce_with_logits": nn.BCEWithLogitsLoss,
    "binary_cross_entropy": nn.BCELoss,
    "binary_cross_entropy_with_logits": nn.BCEWithLogitsLoss,
    "cross_entropy": nn.CrossEntropyLoss,
    "huber": nn.HuberLoss,
    "l1": nn.L1Loss,
    "mae": nn.L1Loss,
    "mse": nn.MSELoss,
    "next_token": NextToken,
    "nll": nn.NLLLoss,
    "smooth_l1": nn.SmoothL1Loss,
}
OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adafactor": torch.optim.Adafactor,
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "adamw": torch.optim.AdamW,
    "asgd": torch.optim.ASGD,
    "muon": torch.optim.Muon,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "rprop": torch.optim.Rprop,
    "sgd": torch.optim.SGD,
}
PRECISIONS: Mapping[str, torch.dtype | None] = {
    "fp32": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def find(what: str, name: str, known: Mapping[str, T]) -> T:
    """Looks up a name, ignoring case and treating hyphens and spaces as underscores.

    Raises:
        ValueError: the name is unknown. The message suggests similar ones.

    Example:
        >>> find("optimizer", "adamm", OPTIMIZERS)
        Traceback (most recent call last):
        ValueError: optimizer 'adamm' is not known: did you mean 'adam' or ...
    """
    key = name.lower().replace("-", "_").replace(" ", "_")
    if key in known:
        return known[key]
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    hint = f": did you mean {' or '.join(map(repr, near))}?" if near else "."
    raise ValueError(
        f"{what} {name!r} is not known{hint} Known names are {', '.join(sorted(known))}; objects are "
        "accepted, too"
    )


_TAKEN = ("epoch", "loss", "seconds")
"""Entries of the history that are not metrics."""
Output = tuple[Tensor, Tensor]
Factory = Callable[[], Any]


# Named functions instead of lambdas: metrics with the same output transform share their statistics.
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
    """Removes ignored targets from the result of ``_of_classes``.

    Instances are comparable, so that metrics with equal ones share their statistics.
    """

    ignored: int

    def __call__(self, output: Output) -> Output:
        return without_ignored(*_of_classes(output), self.ignored)


@dataclass(frozen=True)
class _Chosen:
    """Replaces the scores in the result of ``of_classes`` by the class with the highest one."""

    of_classes: Callable[[Output], Output]

    def __call__(self, output: Output) -> Output:
        y_pred, y = self.of_classes(output)
        return y_pred.argmax(1), y


def _scores(output: Output) -> Output:
    y_pred, y = same_shape(*output)
    return y_pred.reshape(len(y), -1).squeeze(1), hard_labels(y.reshape(len(y), -1).squeeze(1))


def _numbers(output: Output) -> Output:
    y_pred, y = same_shape(*output)
    return _floating(y_pred), _floating(y)


def _floating(numbers: Tensor) -> Tensor:
    return numbers if numbers.dtype in (torch.float32, torch.float64) else numbers.float()


def _flat_numbers(output: Output) -> Output:
    y_pred, y = _numbers(output)
    return y_pred.reshape(-1), y.reshape(-1)


class _MeanOverOutputs(Metric):
    """The mean of a score over the K outputs of a regression, scikit-learn's "uniform_average".

    Update with ``(y_pred, y)``, both of shape (N, ...). Accumulates the number of samples, the
    means of predictions and targets, the sums of their squared deviations and of the products of
    these, and the sum of squared errors. Batches are combined as in Chan et al. (1979), without the
    cancellation of sums of squares.

    Args:
        score: computes the score of each output, shape (K,), from the accumulated moments, shape
            (7, K).
        is_higher_better: whether a higher score is better.

    References:
        Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
        variances", 1979.
    """

    _state_dict_all_req_keys = ("_rows",)

    def __init__(self, score: Callable[[Tensor], Tensor], is_higher_better: bool) -> None:
        self._score = score
        self.higher_is_better = is_higher_better
        super().__init__(_numbers)

    def reset(self) -> None:
        self._rows: Tensor | None = None

    def update(self, output: Output) -> None:
        y_pred, y = (one.detach() for one in output)
        if y_pred.shape != y.shape or not y.ndim:
            raise ValueError(
                f"y_pred and y should have the same shape, but given {tuple(y_pred.shape)} and "
                f"{tuple(y.shape)}"
            )
        if not len(y):
            return
        wide = torch.float32 if y.device.type == "mps" else torch.float64
        y_pred, y = y_pred.reshape(len(y), -1).to(wide), y.reshape(len(y), -1).to(wide)  # (N, K)
        means = y_pred.mean(0), y.mean(0)
        p, t = y_pred - means[0], y - means[1]
        errors = y_pred - y
        n = torch.full_like(means[0], len(y))
        rows = torch.stack(
            [n, *means, (p * p).sum(0), (t * t).sum(0), (p * t).sum(0), (errors * errors).sum(0)]
        )
        self._rows = rows if self._rows is None else _joined_rows(self._rows, rows)

    def compute(self) -> float:
        found = [[self._rows]]
        if idist.get_world_size() > 1:
            found = idist.all_gather(
                [self._rows]
            )  # a list of each process, which may have seen none
        rows = [one.cpu() for part in found for one in part if one is not None]
        if not rows:
            raise NotComputableError(
                "Metrics of numbers need at least one sample before they can be computed"
            )
        return float(self._score(functools.reduce(_joined_rows, rows)).mean())


def _joined_rows(a: Tensor, b: Tensor) -> Tensor:
    """Combines the moments of two sets of samples."""
    n = a[0] + b[0]
    delta = b[1:3] - a[1:3]
    weight = a[0] * b[0] / n
    squares = a[3:5] + b[3:5] + delta**2 * weight
    products = a[5] + b[5] + delta[0] * delta[1] * weight
    return torch.stack([n, *(a[1:3] + delta * (b[0] / n)), *squares, products, a[6] + b[6]])


def _rmse(rows: Tensor) -> Tensor:
    return (rows[6] / rows[0]).sqrt()


def _r2(rows: Tensor) -> Tensor:
    """R2 score.

    For constant targets, 1 if all predictions are exact, else 0, as in scikit-learn.
    """
    errors, deviations = rows[6], _deviations(rows)[1]
    return torch.where(deviations > 0, 1 - errors / deviations, (errors == 0).double())


def _deviations(rows: Tensor) -> Tensor:
    """Sums of squared deviations of predictions and targets, shape (2, K).

    0 if they are only rounding errors.
    """
    return torch.where(rows[3:5] > rows[0] * (1e-14 * rows[1:3]) ** 2, rows[3:5], 0.0)


def _pearson(rows: Tensor) -> Tensor:
    """Pearson correlation; 0 if all predictions or all targets are equal."""
    scale = _deviations(rows).sqrt().prod(0)
    return torch.where(scale > 0, (rows[5] / scale).clamp(-1, 1), 0.0)


def _rows_of_numbers(output: Output) -> Output:
    y_pred, y = _numbers(output)
    return y_pred.reshape(len(y_pred), -1), y.reshape(len(y), -1)


def _spearman(y_pred: Tensor, y: Tensor) -> float:
    """Mean Spearman correlation over outputs; 0 if all predictions or all targets are equal."""
    if y_pred.isnan().any() or y.isnan().any():
        return math.nan
    pairs = zip(y_pred.reshape(len(y), -1).T, y.reshape(len(y), -1).T, strict=True)
    ranked = [torch.stack([_mid_ranks(p), _mid_ranks(t)]) for p, t in pairs]  # (2, N) each
    return float(
        torch.stack([_correlation(ranks - ranks.mean(1, keepdim=True)) for ranks in ranked]).mean()
    )


def _correlation(deviations: Tensor) -> Tensor:
    scale = deviations.norm(dim=1).prod()
    found: Tensor = (deviations[0] @ deviations[1] / scale).clamp(-1, 1) if scale > 0 else scale
    return found


def _mid_ranks(values: Tensor) -> Tensor:
    """Ranks, starting at 1; equal values get the mean of their ranks."""
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    ranks: Tensor = (counts.cumsum(0) - (counts - 1) / 2).double()
    return ranks[inverse]


def _classes(ignored: int | None) -> dict[str, Factory]:
    of_classes: Callable[[Output], Output] = (
        _of_classes if ignored is None else _NotIgnored(ignored)
    )
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
        "perplexity": lambda: Perplexity(**options),
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
        "mae": lambda: MeanAbsoluteError(output_transform=_flat_numbers),
        "mse": lambda: MeanSquaredError(output_transform=_flat_numbers),
        "rmse": lambda: _MeanOverOutputs(_rmse, is_higher_better=False),
        "r2": lambda: _MeanOverOutputs(_r2, is_higher_better=True),
        "pearson": lambda: _MeanOverOutputs(_pearson, is_higher_better=True),
        "spearman": _spearman_metric,
    }


def _spearman_metric() -> Metric:
    metric = EpochMetric(_spearman, _rows_of_numbers, check_compute_fn=False)
    metric.higher_is_better = True
    return metric


def _f1(precision: Any, recall: Any, is_mean: bool) -> Any:
    """F1 of each class, or its mean; 0 if precision and recall are both 0."""

    def f1(p: Any, r: Any) -> Any:
        p, r = (torch.as_tensor(value, dtype=torch.float64) for value in (p, r))
        scores = torch.where(p + r > 0, 2 * p * r / (p + r).clamp(min=1e-300), 0.0)
        return float(scores.mean() if is_mean else scores)

    metric = MetricsLambda(f1, precision, recall)
    metric.higher_is_better = True
    return metric


def make_metrics(
    chosen: Sequence[Any] | Mapping[str, Any],
    kind: Kind,
    has_logits: bool,
    ignored: int | None = None,
    *,
    skips_for_objects: bool = True,
) -> dict[str, Any]:
    """Creates metrics, by the names to report them under.

    Args:
        chosen: a list of names and metrics, or a dictionary of these by the name to report them
            under.
        kind: the kind of the task.
        has_logits: whether outputs are logits, with the threshold 0 instead of 0.5.
        ignored: the class index that metrics given by name, functions and metrics of classes ignore;
            None for none.
        skips_for_objects: whether metrics given as objects ignore it, too.

    Raises:
        ValueError: there is no metric of this name for the task, or two have the same name.
        TypeError: an item is neither a name nor a metric.
    """
    decide = _decided_logits if has_logits else _decided_probabilities
    known: dict[str, Factory] = {
        "multiclass": lambda: _classes(ignored),
        "binary": lambda: _yes_or_no(decide),
        "multilabel": lambda: _labels(decide),
        "regression": _regression,
        "heads": dict,
        "unknown": dict,
    }[kind]()
    found = _by_name(chosen)
    made = {name: _made(one, kind, known, ignored) for name, one in found.items()}
    if ignored is None or not skips_for_objects:
        return made
    return {name: _skipping(name, one, found[name], ignored) for name, one in made.items()}


def _skipping(name: str, metric: Any, given: Any, ignored: int) -> Any:
    """Returns a metric of the user that is not updated with ignored targets, if it counts classes."""
    if given is not metric or not isinstance(metric, _OF_CLASSES):
        return metric
    options: dict[str, Any] = {"skip_unrolling": True, "metrics_result_mode": "flatten"}
    return MetricGroup({name: metric}, _Samples(ignored), **options)


def _by_name(chosen: Sequence[Any] | Mapping[str, Any]) -> Mapping[str, Any]:
    pairs = (
        list(chosen.items())
        if isinstance(chosen, Mapping)
        else [(_name_of(one), one) for one in chosen]
    )
    counts = Counter(name for name, _ in pairs)
    for name in counts:
        if name in _TAKEN or counts[name] > 1:
            what = "is reserved" if name in _TAKEN else "several metrics have"
            raise ValueError(
                f"metrics should have unique names, but given {name!r}, which {what}: pass a dictionary, "
                "{name: metric}"
            )
    return dict(pairs)


def _name_of(one: Any) -> str:
    if isinstance(one, str):
        return one
    made = one.func if isinstance(one, functools.partial) else one
    is_function = not isinstance(made, Metric) and callable(made)
    return (
        str(getattr(made, "__name__", type(made).__name__)) if is_function else type(one).__name__
    )


@dataclass(frozen=True)
class _Samples:
    """Selects predictions and targets for a function: without ignored targets, shapes (M, C), (M,)."""

    ignored: int | None

    def __call__(self, output: Output) -> Output:
        y_pred, y = same_shape(*output) if self.ignored is None else output
        if self.ignored is not None and isinstance(y_pred, Tensor) and y_pred.ndim > 1:
            return without_ignored(y_pred, hard_labels(y, y_pred), self.ignored)
        return y_pred, y


_OF_CLASSES = (
    Accuracy,
    BalancedAccuracy,
    CohenKappa,
    ConfusionMatrix,
    MatthewsCorrCoef,
    Precision,
    Recall,
    TopKCategoricalAccuracy,
)
"""Metrics that do not depend on how samples, pixels or tokens are arranged."""


class FunctionMetric(Metric):
    """The value of a function of all predictions and targets of an epoch, which are kept.

    Update with ``(y_pred, y)``.

    Args:
        function: ``function(y_pred, y)`` returns a number, a tensor, or a dictionary of them.
        ignored: class index of targets that the function is not given; None for none.

    Example:
        >>> def bias(y_pred, y):
        ...     return (y_pred - y).mean()
        >>> metric = FunctionMetric(bias)
        >>> metric.update((torch.tensor([1.0, 2.0]), torch.tensor([0.0, 2.0])))
        >>> metric.compute()
        tensor(0.5000)
    """

    _state_dict_all_req_keys = ("_predictions", "_targets")

    def __init__(self, function: Callable[[Any, Any], Any], ignored: int | None = None) -> None:
        self.function = function
        self.higher_is_better = getattr(function, "higher_is_better", None)
        super().__init__(_Samples(ignored))

    def reset(self) -> None:
        self._predictions: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, output: Output) -> None:
        for kept, one in zip((self._predictions, self._targets), output, strict=True):
            kept.append(one.detach().clone())

    def compute(self) -> Any:
        pairs = [self._predictions, self._targets]
        if idist.get_world_size() > 1:
            found = idist.all_gather([[one.cpu() for one in kept] for kept in pairs])
            pairs = [[one for each in found for one in each[i]] for i in range(2)]
        if not pairs[0]:
            raise NotComputableError("A metric needs at least one sample before it can be computed")
        y_pred, y = (torch.cat(kept) for kept in pairs)
        return self.function(y_pred, y)


def _made(one: Any, kind: Kind, known: Mapping[str, Factory], ignored: int | None) -> Any:
    if isinstance(one, str):
        return find(f"{kind} metric", one, known)()
    if not isinstance(one, Metric | type) and callable(one):
        return FunctionMetric(one, ignored)
    if not isinstance(one, Metric):
        what = (
            f"the class {one.__name__}: write {one.__name__}()"
            if isinstance(one, type)
            else repr(one)
        )
        raise TypeError(
            "metrics should be names, functions metric(y_pred, y) and ignite.metrics.Metric objects, "
            f"but given {what}"
        )
    return one
