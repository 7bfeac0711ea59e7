"""The share of examples that are classified rightly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ignite.exceptions import NotComputableError
from ignite.metrics._classification import _BaseClassification
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce

__all__ = ["Accuracy"]


class Accuracy(_BaseClassification):
    """The share of examples whose prediction equals the target.

    Update with ``(y_pred, y)``:

    - multiclass: ``y_pred`` scores of shape (B, C, ...), of which the highest counts, ``y`` classes of shape (B, ...).
    - binary: both 0 or 1, of shape (B, ...), or one of them (B, 1, ...). Turn probabilities into 0 and 1 in
      ``output_transform``.
    - multilabel: both 0 or 1, of shape (B, C, ...); an example is right if all its C labels are.

    Further dimensions are taken for further examples.

    Args:
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        is_multilabel: whether equal shapes mean labels, not binary predictions.
        device: where to count.
        skip_unrolling: see :class:`Metric`.

    Raises:
        ValueError: in ``update``, shapes do not fit, values are not 0 or 1, or the number of classes has changed.
        RuntimeError: in ``update``, the kind of classification has changed.
        NotComputableError: in ``compute``, no example was seen.

    Example:
        >>> metric = Accuracy()
        >>> metric.update((torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.6, 0.4]]), torch.tensor([1, 0, 1])))
        >>> round(metric.compute(), 4)
        0.6667
    """

    _state_dict_all_req_keys = ("_num_correct", "_num_examples", "_type", "_num_classes")

    @reinit__is_reduced
    def reset(self) -> None:
        """Forgets all that was seen."""
        self._num_correct = torch.tensor(0, device=self._device)
        self._num_examples = 0
        super().reset()

    @reinit__is_reduced
    def update(self, output: Sequence[Tensor]) -> None:
        """Takes in ``(y_pred, y)``."""
        y_pred, y = self._read(output)
        classes = y_pred.argmax(dim=1) if self._type == "multiclass" else y_pred
        correct = classes == y
        if self._type == "multilabel":
            correct = correct.all(dim=1)  # (B, ...)
        self._num_correct += correct.sum().to(self._device)
        self._num_examples += correct.numel()

    @sync_all_reduce("_num_correct", "_num_examples")
    def compute(self) -> float:
        """The share, from 0 to 1."""
        if self._num_examples == 0:
            raise NotComputableError("Accuracy must have at least one example before it can be computed.")
        return self._num_correct.item() / self._num_examples
