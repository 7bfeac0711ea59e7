"""Several heads: a loss, metrics and a task for each output of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from ignite.engine import CountedLoss
from ignite.learner._by_name import make_metrics
from ignite.learner._data.columns import Known
from ignite.learner._data.schema import Task, infer_task, known_loss
from ignite.learner._data.targets import check_fit
from ignite.learner._data.weighting import Weighted
from ignite.learner._losses import EpochLoss, TrainingLoss, make_training_loss, num_samples
from ignite.metrics import Metric, MetricGroup

__all__ = [
    "HeadsLoss",
    "epoch_losses",
    "infer_heads",
    "make_head_losses",
    "make_head_metrics",
    "make_loss",
    "part_of",
]


def part_of(value: Any, head: Any, what: str = "The model's output") -> Any:
    """Returns the part of a head of an output or target.

    Raises:
        ValueError: there is none.
    """
    found = list(value) if isinstance(value, Mapping) else None
    if isinstance(value, tuple | list) and not isinstance(head, str):
        found = list(range(len(value)))
    if found is None or head not in found:
        given = f"a {type(value).__name__}" if found is None else f"{found}"
        kind = "a dictionary" if isinstance(head, str) else "a tuple"
        raise ValueError(
            f"{what} should be {kind} with an entry for each head, such as {head!r}, but given {given}"
        )
    return value[head]


class HeadsLoss(TrainingLoss):
    """The weighted sum of the losses of several outputs.

    Each loss is the mean over the elements of its head that are not ignored, also of a loss with
    ``reduction="sum"``. With batches of different sizes, accumulation and several processes, a
    batch counts as its samples do; the loss of an evaluation is exact for each head.

    Args:
        losses: the loss of each head, by key of the dictionary or index of the tuple that the model
            returns.
        weights: the weight of each head.

    Example:
        >>> loss = make_head_losses({"a": "mse", "b": "mae"}, {"b": 0.5}, None)
        >>> y_pred = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([0.0, 1.0])}
        >>> loss(y_pred, {"a": torch.zeros(2), "b": torch.zeros(2)}).item()
        5.25
    """

    def __init__(self, losses: Mapping[Any, TrainingLoss], weights: Mapping[Any, float]) -> None:
        self.heads = dict(losses)
        self.weights = dict(weights)
        self.name = None

    @property
    def loss(self) -> Callable[..., Tensor]:  # type: ignore[override]
        """The loss as a function of outputs and targets."""
        return self

    @property
    def is_balanced(self) -> bool:
        """Whether weights of classes are to be found in the training data: never."""
        return False

    def _each(self, y_pred: Any, target: Any) -> Iterator[tuple[Any, TrainingLoss, Any, Any]]:  # type: ignore[override]
        """Yields each head with its loss, output and target."""
        y, weight = target if type(target) is Weighted else (target, None)
        for head, loss in self.heads.items():
            its = part_of(y, head, "y")
            its = its if weight is None else Weighted(its, weight)
            yield head, loss, part_of(y_pred, head), its

    def counted(self, y_pred: Any, target: Any) -> CountedLoss:
        """Returns the loss and the number of samples."""
        total: Any = 0.0
        for head, loss, output, its in self._each(y_pred, target):
            found = loss.counted(output, its)
            count = found.num_counted
            value = found.loss / (count + (count == 0)) if found.is_sum else found.loss
            total = total + self.weights[head] * value
        y = target.y if type(target) is Weighted else target
        return CountedLoss(total, num_samples(y, y_pred))

    def check(self, y_pred: Any, target: Any) -> Any:
        """Raises errors that the first step would raise, and returns the targets of the losses."""
        ready = {}
        for head, loss, output, its in self._each(y_pred, target):
            try:
                y = loss.check(output, its)
                known = known_loss(loss.loss)
                if known is not None and isinstance(output, Tensor) and isinstance(y, Tensor):
                    for _ in check_fit(known, output, y, y):
                        pass  # only mistakes that are certain
            except Exception as error:
                error.add_note(f"in the head {head!r}")
                raise
            ready[head] = y
        return self.like(ready, target.y if type(target) is Weighted else target)

    def check_learnt(self) -> None:
        """Does nothing: no weights are learned."""

    def learn(self, classes: Sequence[Any], balance: Sequence[float] = ()) -> None:
        """Does nothing: weights of classes are by index."""

    def row_kept(self, y_pred: Any, y: Any) -> Any:
        """Returns predictions in float32, each with the dimension of samples."""
        found = {
            head: loss.row_kept(part_of(y_pred, head), part_of(y, head, "y"))
            for head, loss in self.heads.items()
        }
        return self.like(found, y_pred)

    def like(self, parts: dict[Any, Any], value: Any) -> Any:
        """Returns a dictionary, or a tuple if ``value`` is none; parts without a loss stay."""
        if isinstance(value, Mapping):
            return {**value, **parts}
        return tuple(parts.get(i, one) for i, one in enumerate(value))


def make_loss(
    loss: Any, weights: Any, class_weight: Any, device: torch.device | None = None
) -> TrainingLoss:
    """Returns the loss of a learner, of one output or of several heads.

    Raises:
        ValueError: there are weights of losses without heads; see also :func:`make_head_losses`.
    """
    if isinstance(loss, Mapping | tuple | list):
        return make_head_losses(loss, weights, class_weight, device)
    if weights is not None:
        raise ValueError("loss_weights needs a loss for each head, in a dictionary or tuple")
    return make_training_loss(loss, class_weight, device)


def make_head_losses(
    losses: Any, weights: Any, class_weight: Any, device: torch.device | None = None
) -> HeadsLoss:
    """Returns the loss of several heads.

    Args:
        losses: a dictionary, tuple or list of names or functions.
        weights: weights of the losses, likewise; 1 for those that are missing.
        class_weight: weights of classes by head.
        device: device for the buffers of losses.

    Raises:
        ValueError: there is no loss, or a weight has no head or is negative.
        TypeError: a loss or weight has the wrong type.
    """
    by_head = _by_head(losses)
    if not by_head:
        raise ValueError("loss should have at least one head, but given none")
    given = {} if weights is None else _by_head(weights)
    of_classes = {} if class_weight is None else class_weight
    if not isinstance(of_classes, Mapping) or "balanced" in of_classes.values():
        raise TypeError(
            "class_weight should be a dictionary of weights by head, but given "
            f"{class_weight!r:.100}: compute balanced ones with sklearn.utils.class_weight"
        )
    for name, some in (("loss_weights", given), ("class_weight", of_classes)):
        if strange := [head for head in some if head not in by_head]:
            raise ValueError(
                f"{name} should be for the heads {list(by_head)}, but given {strange[0]!r}"
            )
    for head, weight in given.items():
        if isinstance(weight, bool) or not isinstance(weight, Real) or not float(weight) >= 0:
            raise ValueError(f"loss_weights[{head!r}] should be at least 0, but given {weight!r}")
    made = {
        head: make_training_loss(loss, of_classes.get(head), device)
        for head, loss in by_head.items()
    }
    return HeadsLoss(made, {head: float(given.get(head, 1.0)) for head in by_head})


def _by_head(values: Any) -> dict[Any, Any]:
    return dict(values) if isinstance(values, Mapping) else dict(enumerate(values))


def infer_heads(loss: HeadsLoss, y: Any, known: Known, is_whole: bool) -> Task:
    """Infers the task of each head; see :func:`~ignite.learner._data.schema.infer_task`."""
    heads = []
    for head, one in loss.heads.items():
        its = None if y is None else part_of(y, head, "y")
        classes = known.classes_of(f"y[{head!r}]")
        heads.append((head, infer_task(one.loss, its, classes=classes, is_whole=is_whole)))
    reason = "; ".join(f"{head}: {task}" for head, task in heads)
    return Task("heads", None, reason, heads=tuple(heads))


@dataclass(frozen=True)
class _Pair:
    """Selects the output and the target of a head.

    Instances are comparable, so that metrics with equal ones share what they accumulate.
    """

    head: Any

    def __call__(self, output: tuple[Any, Any]) -> tuple[Any, Any]:
        y_pred, y = output
        return part_of(y_pred, self.head), part_of(y, self.head, "y")


def make_head_metrics(metrics: Any, loss: HeadsLoss, task: Task) -> dict[str, Metric]:
    """Creates the metrics of each head, a group whose values are named ``HEAD_METRIC``.

    Args:
        metrics: a dictionary by head, or a tuple or list in the order of the heads, of names,
            metrics and functions, or lists of these.
        loss: the losses of the heads.
        task: their tasks.

    Raises:
        ValueError: there is no such head.
        TypeError: the metrics are not by head.
    """
    if not isinstance(metrics, Mapping) and any(isinstance(head, str) for head in loss.heads):
        raise TypeError(
            f"metrics should be a dictionary by head, {list(loss.heads)}, such as "
            f"{{{next(iter(loss.heads))!r}: ['accuracy']}}, but given {metrics!r}"
        )
    found: dict[str, Metric] = {}
    tasks = dict(task.heads)
    for head, chosen in _by_head(metrics).items():
        if head not in loss.heads:
            raise ValueError(f"metrics should be for the heads {list(tasks)}, but given {head!r}")
        its, options = tasks[head], {"has_logits": loss.heads[head].name != "bce"}
        several = chosen if isinstance(chosen, list | tuple | Mapping) else [chosen]
        members = make_metrics(
            several, its.kind, ignored=its.ignored, skips_for_objects=False, **options
        )
        named = {f"{head}_{name}": metric for name, metric in members.items()}
        if named:
            found[f"head {head}"] = MetricGroup(
                named, _Pair(head), skip_unrolling=True, metrics_result_mode="flatten"
            )
    return found


@dataclass(frozen=True)
class _WeightedPair:
    """Selects the output and the target of a head, with the weights of the samples."""

    head: Any
    transform: Callable[[Any], tuple[Any, Any]]

    def __call__(self, output: Any) -> tuple[Any, Any]:
        y_pred, target = self.transform(output)
        y, weight = target if type(target) is Weighted else (target, None)
        its = part_of(y, self.head, "y")
        return part_of(y_pred, self.head), its if weight is None else Weighted(its, weight)


def epoch_losses(
    loss: HeadsLoss, transform: Callable[[Any], tuple[Any, Any]], device: torch.device
) -> dict[str, Metric]:
    """Returns the loss over all batches, and that of each head, ``HEAD_loss``."""
    parts = {
        head: EpochLoss(one, _WeightedPair(head, transform), device)
        for head, one in loss.heads.items()
    }
    total: Any = None
    for head, part in parts.items():
        term: Any = part * loss.weights[head]
        total = term if total is None else total + term
    total.higher_is_better = False
    return {"loss": total, **{f"{head}_loss": part for head, part in parts.items()}}
