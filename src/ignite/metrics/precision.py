"""The share of predictions of a class that are right."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ignite.metrics._classification import _BasePrecisionRecall

__all__ = ["Precision"]


class Precision(_BasePrecisionRecall):
    r"""The share of predictions of a class that are right, :math:`\frac{TP}{TP + FP}`; 0 for a class never predicted.

    Update with ``(y_pred, y)``, multiclass, binary or multilabel, of the shapes that
    :class:`Accuracy` takes.

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        average: False gives the value of each class, a tensor of shape (C,), and of binary data
            that of class 1, of shape (); None the same, but for both classes of binary data.
            "macro" or True is their mean, "weighted" the mean weighted by how many examples each
            class has, "micro" counts examples of all classes together, and "samples" is the mean
            over examples of the precision of their labels (multilabel only).
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
        >>> metric = Precision(average=False)
        >>> metric.update((torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.6, 0.4]]), torch.tensor([1, 0, 0])))
        >>> metric.compute()  # of those predicted as 0 one of one is right, as 1 one of two
        tensor([1.0000, 0.5000], dtype=torch.float64)
    """

    _of_samples = 0

    def _denominator(self, counts: Any) -> Tensor:
        found: Tensor = counts.num_predicted
        return found
