"""A regressor for scikit-learn."""

from __future__ import annotations

from typing import Any, Self

from ignite._core.optional import import_optional
from ignite.sklearn._estimator import LearnerEstimator, Targets

__all__ = ["Regressor"]

np = import_optional("numpy", extra="sklearn")
RegressorMixin: Any = import_optional("sklearn.base", extra="sklearn").RegressorMixin


class Regressor(RegressorMixin, LearnerEstimator):  # type: ignore[misc] # of untyped scikit-learn
    """Predicts one or several numbers per sample with a PyTorch model.

    A fit with the same ``random_state`` gives bit-identical weights on the same machine. The
    random generators of the program are not used, except for a seed from numpy's with
    ``random_state=None``.

    Args:
        model: a ``torch.nn.Module``, which each fit copies; a function or class that makes one,
            called with those of the arguments ``in_features`` and ``out_features`` that it takes;
            or None for linear layers with ReLU.
        hidden: widths of the hidden layers of the default model.
        model_options: further arguments of the function or class.
        loss: as for :class:`~ignite.learner.Learner`; None for "mse".
        epochs: number of passes over the data of a fit.
        valid: data to validate on after each epoch: (X, y), (X, y, sample_weight), or the fraction
            of the samples to hold out.
        warm_start: whether a further fit continues to train the same model.
        random_state: seed of the initial weights, of the order of samples and of dropout: an
            integer, a ``numpy.random.RandomState``, or None.
        progress: as for :meth:`.Learner.fit`; by default, nothing is shown.

        The other parameters are those of :class:`~ignite.learner.Learner` and its ``fit``.
        ``run_dir`` is for a single fit: a search would train all its candidates into one folder,
        which is refused.

    Attributes:
        learner_: the learner; ``learner_.model`` is the model.
        history_: metrics by epoch of the last fit.
        n_features_in_: number of columns of X.
        feature_names_in_: names of the columns, if X had any.

    Raises:
        In ``fit``: ValueError and TypeError, see there.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(200, 3))
        >>> y = X @ [1.0, -2.0, 0.5]
        >>> regressor = Regressor(epochs=20, lr=0.01, random_state=0).fit(X, y)
        >>> regressor.score(X, y) > 0.95
        True
    """

    _target_shape: tuple[int, ...]
    """Of one sample: () or (L,)."""

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Trains for one epoch, and continues with the same model if there is one.

        Args:
            X: samples, as for :meth:`fit`.
            y: targets.
            sample_weight: weight of each sample.
        """
        is_new = not hasattr(self, "learner_")
        return self._train(X, y, sample_weight, is_new=is_new, epochs=1)

    def predict(self, X: Any) -> Any:
        """Returns the predicted numbers, float64, in the shape of the targets: (N,) or (N, L).

        Raises:
            NotFittedError: the estimator is not fitted.
            ValueError: ``X`` has other columns than the training data.
        """
        out = self._outputs(X).numpy()
        return out.reshape(len(out), *self._target_shape)

    def _targets(self, y: Any, classes: Any, is_new: bool) -> Targets:
        if hasattr(y, "toarray"):
            y = y.toarray()
        y = np.asarray(y)
        if y.dtype.kind in "OSU":
            y = y.astype(np.float64)  # raises for text
        if y.dtype.kind in "iub":
            y = y.astype(np.float64)
        if not is_new and y.shape[1:] != self._target_shape:
            raise ValueError(
                f"y should have shape {('N', *self._target_shape)} as in the first fit, but given "
                f"{y.shape}"
            )
        num_outputs = y.shape[1] if y.ndim > 1 else 1
        return Targets(y, num_outputs, {"_target_shape": y.shape[1:]})

    def _learner_options(self, targets: Targets) -> dict[str, Any]:
        return {"loss": self.loss or "mse", "task": "regression"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
