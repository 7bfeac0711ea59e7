"""The share of examples of a class that are found."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ignite.metrics._classification import _BasePrecisionRecall

__all__ = ["Recall"]


class Recall(_BasePrecisionRecall):
    r"""The share of examples of a class that are found, :math:`\frac{TP}{TP + FN}`; 0 for a class without any.

    Update with ``(y_pred, y)``, multiclass, binary or multilabel, of the shapes that
    :class:`Accuracy` takes.

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        average: False gives the value of each class, a tensor of shape (C,), and of binary data
            that of class 1, of shape (); None the same, but for both classes of binary data.
            "macro" or True is their mean, "weighted" the mean weighted by how many examples each
            class has, "micro" counts examples of all classes together, and "samples" is the mean
            over examples of the recall of their labels (multilabel only).
        is_multilabel: whether equal shapes mean labels, not binary predictions.
        device: where to count; by default, where the predictions are.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: ``average`` is none of the above or does not go with the data; in ``update``,
            see :class:`Accuracy`.
        RuntimeError: in ``update``, the kind of classification has changed.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> import torch
        >>> metric = Recall(average=False)
        >>> metric.update((torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.6, 0.4]]), torch.tensor([1, 0, 0])))
        >>> metric.compute()  # of those that are 0 one of two is found, of those that are 1 one of one
        tensor([0.5000, 1.0000], dtype=torch.float64)
    """

    _of_samples = 1

    def _denominator(self, counts: Any) -> Tensor:
        found: Tensor = counts.num_true
        return found
