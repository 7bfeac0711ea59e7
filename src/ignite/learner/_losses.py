"""The loss of a learner: the weighted sum over elements, divided by the number not ignored."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor, nn

from ignite._core.averages import num_averaged
from ignite._core.calls import signature_of
from ignite._core.torch_private import total_weight_of
from ignite._core.trees import in_float32, map_leaves
from ignite.engine import CountedLoss
from ignite.exceptions import NotComputableError
from ignite.learner._by_name import LOSSES, find
from ignite.learner._data.inspection import described, tensors_in
from ignite.learner._data.schema import known_loss
from ignite.learner._data.targets import check_numbers, one_row, same_shape
from ignite.learner._data.weighting import (
    ClassWeight,
    Weighted,
    balanced,
    class_table,
    shaped_weight,
)
from ignite.metrics import Metric
from ignite.metrics.metric import sync_all_reduce

__all__ = ["EpochLoss", "TrainingLoss", "make_training_loss", "num_samples"]

_MAX_EXACT = 2**24
"""Largest range of integers that float32 represents exactly."""


def make_training_loss(
    loss: Any, class_weight: Any, device: torch.device | None = None
) -> TrainingLoss:
    """Returns the loss of a learner, given by name or as ``loss(y_pred, y)``.

    Its own buffers are moved to ``device``.

    Raises:
        ValueError: the name is not known.
        TypeError: the loss cannot be called, or cannot be weighted.
    """
    if isinstance(loss, str):
        return TrainingLoss(find("loss", loss, LOSSES)(), class_weight)
    if isinstance(loss, type):
        raise TypeError(
            f"loss should be an object, but given the class {loss.__name__}: pass {loss.__name__}()"
        )
    if not callable(loss):
        raise TypeError(f"loss should be a name or loss(y_pred, y), but given {loss!r}")
    if isinstance(loss, nn.Module) and device is not None:
        loss.to(device)
    return TrainingLoss(loss, class_weight)


class TrainingLoss:
    r"""The loss of a batch in training and validation, with weights of samples and classes.

    .. math:: \frac{1}{n} \sum_i w_i \, c_i \, l_i

    over the elements :math:`i` of the batch (samples, pixels, tokens, labels), where :math:`w_i` is
    the weight of the element's sample, :math:`c_i` the weight of its class, and :math:`n` the
    number of elements that are not ignored, regardless of their weights. The loss is 0 if all
    elements are ignored. The loss of several batches is the sum of their numerators divided by the
    sum of their :math:`n`.

    A PyTorch loss with its own class weights is divided by their sum, as in PyTorch. With
    ``reduction="sum"`` the loss of a batch remains a sum; only the loss of an epoch is divided. A
    custom loss can be weighted if it returns one value for each element or has an argument
    ``reduction``. If it returns a mean, it cannot be weighted; :math:`n` is the number of elements
    that were averaged according to autograd, else the number of samples.

    Args:
        loss: a function ``loss(y_pred, y)`` that returns the mean, or one value for each element.
        class_weight: a weight for each class, shape (C,); or a dictionary by class name or index,
            where the default is 1; "balanced" for the weights of :meth:`balance_of`; or None. If
            targets are probabilities, the contribution of each class is weighted.

    Raises:
        ValueError: when called, the number of weights differs from the number of classes, or a
            class is unknown.
        TypeError: the loss has no classes; or, when called, it returns a mean, which cannot be
            weighted.
    """

    def __init__(
        self, loss: Callable[..., Tensor], class_weight: ClassWeight | None = None
    ) -> None:
        self.loss = loss
        known = known_loss(loss)
        self.name = None if known is None else known.name
        """Name of a PyTorch loss, see :func:`~ignite.learner._data.schema.known_loss`.

        None for custom losses.
        """
        self._options = {} if known is None else known.options
        self._has_classes = self.name in ("cross_entropy", "nll")
        self._is_of_numbers = self.name in ("bce", "bce_with_logits", "difference")
        self._reduction, self._each = _unreduced(loss)
        self._class_weight = _checked(class_weight, self.name)
        self._is_weighing = class_weight is not None
        self._classes: Sequence[Any] = ()
        self._balance: Sequence[float] = ()
        self._table: Tensor | None = None

    @property
    def is_balanced(self) -> bool:
        """Whether weights of classes are to be found in the training data."""
        return isinstance(self._class_weight, str)

    def __call__(self, y_pred: Any, target: Any) -> Tensor:
        return self.counted(y_pred, target).loss

    def counted(self, y_pred: Any, target: Any) -> CountedLoss:
        """Returns the loss and the number of elements that count.

        Args:
            y_pred: the output of the model.
            target: y, or :class:`Weighted`.
        """
        y, weight = target if type(target) is Weighted else (target, None)
        y_pred, y = self._ready(y_pred, y)
        if weight is None and not self._is_weighing and self._reduction != "none":
            loss = self.loss(y_pred, y) if self._is_noted() else _with_grad(self.loss, y_pred, y)
            if loss.ndim == 0 or loss.numel() == 1:
                return self._plain(loss, y_pred, y)
            losses = loss
        else:
            losses = self._losses(y_pred, y)
        count = self._num_elements(losses, y_pred, y)
        if self._is_weighing:
            losses = self._weighted_by_class(losses, y_pred, y)
        if weight is not None:
            losses = losses * shaped_weight(weight, losses)
        total = losses.sum()
        if self._reduction == "sum":
            return CountedLoss(total, count, is_sum=True)
        return CountedLoss(total / (count + (count == 0)), count)

    def check(self, y_pred: Any, target: Any) -> Any:
        """Raises the errors about weights that the first step would raise.

        Returns the targets in the form that the loss expects.
        """
        y, weight = target if type(target) is Weighted else (target, None)
        y_pred, y = self._ready(y_pred, y)
        if weight is None and not self._is_weighing:
            return y
        with torch.no_grad():
            losses = self._losses(y_pred, y)
            if self._is_weighing:
                self._weighted_by_class(losses, y_pred, y)
            if weight is not None:
                shaped_weight(weight, losses)
            if self.name is None and self._reduction == "mean":
                mean, found = losses.double().mean(), self.loss(y_pred, y).double()
                if not torch.allclose(mean, found, rtol=1e-3, atol=1e-6, equal_nan=True):
                    raise TypeError(
                        "loss should be the mean of what it gives with reduction='none' to be "
                        f"weighted, but given {self.loss!r}, which gives {found.item():g} where "
                        f"that mean is {mean.item():g}: leave out weights"
                    )
        return y

    def check_learnt(self) -> None:
        """Raises a ValueError if balanced class weights are needed before there was training data."""
        if self.is_balanced and not self._balance:
            raise ValueError(
                "class_weight='balanced' is computed from training data, but there was none: call "
                "fit first, or pass a weight for each class"
            )

    def learn(self, classes: Sequence[Any], balance: Sequence[float] = ()) -> None:
        """Sets the class names and balanced weights learned from the training data.

        Args:
            classes: class names in the order of the class indices, to look up weights by name.
            balance: the result of :meth:`balance_of`.
        """
        self._classes, self._balance, self._table = classes, balance, None

    def balance_of(self, y: Any) -> tuple[float, ...]:
        """Returns weights that make all classes of these targets count equally.

        Raises:
            TypeError: the targets are not classes.
        """
        ignored = self._options.get("ignore_index", -100) if self._has_classes else None
        return tuple(
            balanced(y, ignored, is_binary=self.name in ("bce", "bce_with_logits")).tolist()
        )

    def row_kept(self, y_pred: Any, y: Any) -> Any:
        """Returns predictions in float32, with the dimension of samples if the model has squeezed it for one sample."""
        if type(y_pred) is not Tensor or y_pred.dtype is not torch.float32:
            y_pred = in_float32(y_pred)
        if self.name is None or not isinstance(y, Tensor) or y.ndim == 0 or y.shape[0] != 1:
            return y_pred
        return one_row(y_pred, 1)

    def fitted(self, y_pred: Any, y: Any) -> Any:
        """Returns targets in the dtype and shape that the loss expects, where this is unambiguous."""
        if self.name is None or not isinstance(y, Tensor) or not isinstance(y_pred, Tensor):
            return y
        if self._has_classes:
            return y if y.dtype == torch.int64 or y.dtype.is_floating_point else y.long()
        y = same_shape(y_pred, y)[1]
        return y if y.dtype == y_pred.dtype else y.to(y_pred.dtype)

    def _ready(self, y_pred: Any, y: Any) -> tuple[Any, Any]:
        if (
            self._has_classes
            and type(y_pred) is type(y) is Tensor
            and y_pred.dtype is torch.float32
            and y.dtype is torch.int64
            and y.ndim
            and y.shape[0] != 1
        ):  # the usual case: nothing has to be converted
            return y_pred, y
        y_pred = self.row_kept(y_pred, y)
        y = self.fitted(y_pred, y)
        if self._is_of_numbers and y_pred.shape != y.shape:
            check_numbers(str(self.name), y_pred, y)  # torch would broadcast outputs and targets
        return y_pred, y

    def _losses(self, y_pred: Any, y: Any) -> Tensor:
        losses = (self._each or self.loss)(y_pred, y)
        if losses.ndim == 0 and not (isinstance(y, Tensor) and y.ndim == 0):
            raise TypeError(
                "loss should be a name, a loss of torch, or a function that gives one value for "
                f"each sample to be weighted, but given {self.loss!r}, which gives their mean: "
                "leave out weights"
            )
        return losses

    # Counting elements

    def _is_noted(self) -> bool:
        """Whether autograd records what the loss averages, or this is not needed."""
        return self.name is not None or torch.is_grad_enabled()

    def _plain(self, loss: Tensor, y_pred: Any, y: Any) -> CountedLoss:
        if self._has_classes:
            count = self._num_of_classes(loss, y_pred, y)
        elif self._is_of_numbers:
            count = y_pred.numel()
        else:
            noted = num_averaged(loss)
            count = num_samples(y, y_pred) if noted is None else noted
        if self._reduction == "sum":
            return CountedLoss(loss, count, is_sum=True)
        if isinstance(count, Tensor):
            return CountedLoss(torch.where(count == 0, torch.zeros_like(loss), loss), count)
        return CountedLoss(loss if count else _zero(loss), count)

    def _num_elements(self, losses: Tensor, y_pred: Any, y: Any) -> Any:
        if self._has_classes:
            return self._num_of_classes(losses, y_pred, y)
        return num_samples(y, y_pred) if self._reduction == "batchmean" else losses.numel()

    def _num_of_classes(self, loss: Tensor, y_pred: Tensor, y: Tensor) -> Any:
        """Number of targets that are not ignored.

        If the loss has class weights, the sum of these.
        """
        if y.is_floating_point():  # probabilities of classes
            return y.numel() // (y.shape[1] if y.ndim > 1 else y.numel())
        node = loss.grad_fn if y.numel() < _MAX_EXACT else None
        noted = total_weight_of(node)
        if noted is not None and loss.ndim == 0:
            return noted.item() if noted.is_cpu else noted
        counts = y != self._options.get("ignore_index", -100)
        weight = self._options.get("weight")
        count = (
            weight.double()[torch.where(counts, y, 0)] * counts if weight is not None else counts
        ).sum()
        return count.item() if count.is_cpu else count

    # Class weights

    def _weighted_by_class(self, losses: Tensor, y_pred: Any, y: Any) -> Tensor:
        if self._has_classes:
            table = self._weights_of(y_pred.shape[1 if y_pred.ndim > 1 else 0]).to(losses)
            if y.is_floating_point():
                own = self._options.get("weight")
                smoothing = self._options.get("label_smoothing", 0.0)
                table = table if own is None else table * own
                return F.cross_entropy(
                    y_pred, y, table, reduction="none", label_smoothing=smoothing
                )
            return losses * table[torch.where(y == self._options.get("ignore_index", -100), 0, y)]
        if self.name in ("bce", "bce_with_logits"):
            no, yes = self._weights_of(2).to(losses)
            assert self._each is not None
            # The loss is linear in the target: the contributions of both classes are weighted.
            of_yes, of_no = (
                self._each(y_pred, like(y)) for like in (torch.ones_like, torch.zeros_like)
            )
            return torch.addcmul(yes * y * of_yes, 1 - y, no * of_no)
        is_index = isinstance(y, Tensor) and not y.is_floating_point() and y.shape == losses.shape
        if (
            not is_index
            or not isinstance(y_pred, Tensor)
            or y_pred.ndim not in (y.ndim, y.ndim + 1)
        ):
            raise TypeError(
                "y should hold class indices, one for each value of the loss, for class_weight, "
                f"but given {described(y)} for losses of {described(losses)}"
            )
        return (
            losses
            * self._weights_of(2 if y_pred.ndim == y.ndim else y_pred.shape[1]).to(losses)[
                y.clamp(min=0)
            ]
        )

    def _weights_of(self, num_classes: int) -> Tensor:
        if self._table is None or len(self._table) != num_classes:
            self.check_learnt()
            if self.is_balanced:
                known = [*self._balance, *[1.0] * num_classes][:num_classes]
                self._table = torch.tensor(known, dtype=torch.float64)
            else:
                self._table = class_table(self._class_weight, num_classes, self._classes)
        return self._table


def num_samples(*data: Any) -> int:
    """Returns the number of samples, from the first tensor with a dimension; 1 if there is none.

    Example:
        >>> num_samples({"a": torch.zeros(3, 2), "b": torch.zeros(3)})
        3
    """
    lengths = [len(tensor) for one in data for tensor in tensors_in(one) if tensor.ndim]
    return lengths[0] if lengths else 1


def _checked(class_weight: Any, name: str | None) -> Any:
    if class_weight is None:
        return None
    if name in ("difference", "gaussian_nll"):
        raise TypeError(
            "class_weight should be left out for a regression loss, which has no classes, but "
            f"given {class_weight!r:.100}: use sample weights, (x, y, w)"
        )
    if isinstance(class_weight, str) and class_weight != "balanced":
        raise ValueError(
            f"class_weight should be 'balanced', or weights by class, but given {class_weight!r}"
        )
    return class_weight


def _unreduced(loss: Any) -> tuple[str | None, Callable[..., Tensor] | None]:
    """Returns the reduction of a loss, and the loss with ``reduction="none"``.

    Both are None if it has no reduction.
    """
    if isinstance(loss, nn.Module):
        if not isinstance(getattr(loss, "reduction", None), str):
            return None, None
        each = copy.copy(loss)  # with the same parameters and buffers
        each.reduction = "none"  # type: ignore[assignment]
        return str(loss.reduction), each
    try:
        parameter = signature_of(loss).parameters.get("reduction")
    except (TypeError, ValueError):  # built in
        return None, None
    if parameter is None or not isinstance(parameter.default, str):
        return None, None
    return parameter.default, functools.partial(loss, reduction="none")


def _with_grad(loss: Callable[..., Tensor], y_pred: Any, y: Any) -> Tensor:
    """Computes the loss with gradients, as in training, so that autograd records what it averages."""

    def tracked(leaf: Tensor) -> Tensor:
        # A copy: functions may modify their inputs.
        return leaf.detach().requires_grad_().clone() if leaf.is_floating_point() else leaf

    with torch.enable_grad():
        return loss(map_leaves(y_pred, Tensor, tracked) if tensors_in(y_pred) else y_pred, y)


def _zero(loss: Tensor) -> Tensor:
    """Returns 0 with zero gradients instead of NaN, the mean over no elements."""
    return torch.where(torch.zeros_like(loss, dtype=torch.bool), loss, torch.zeros_like(loss))


class EpochLoss(Metric):
    """The loss over all batches: the sum over elements divided by the number that are not ignored.

    NaN if all elements are ignored.

    Update with ``(y_pred, y)`` or ``(y_pred, Weighted(y, weight))``.

    Args:
        loss: the loss of a batch.
        output_transform: converts ``engine.state.output`` to the above.
        device: device on which to accumulate.
    """

    higher_is_better = False
    required_output_keys = None
    _state_dict_all_req_keys = ("_total", "_num_counted", "_num_batches")

    def __init__(
        self,
        loss: TrainingLoss,
        output_transform: Callable[[Any], Any],
        device: str | torch.device = "cpu",
    ) -> None:
        self._loss = loss
        super().__init__(output_transform, device, skip_unrolling=True)

    def reset(self) -> None:
        self._total = torch.zeros((), dtype=self._double_dtype, device=self._device)
        self._num_counted = torch.zeros((), dtype=self._double_dtype, device=self._device)
        self._num_batches = 0

    def update(self, output: Any) -> None:
        found, count, is_sum = self._loss.counted(*output)
        value = found.detach().to(self._total)
        self._total = self._total + (value if is_sum else value * count)
        self._num_counted = self._num_counted + count
        self._num_batches += 1

    @sync_all_reduce("_total", "_num_counted", "_num_batches")
    def compute(self) -> float:
        if self._num_batches == 0:
            raise NotComputableError(
                "The loss must have at least one batch before it can be computed."
            )
        return (self._total / self._num_counted).item()
