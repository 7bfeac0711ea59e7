"""A scikit-learn regressor."""

from __future__ import annotations

from typing import Any, Self

from ignite._core.optional import import_optional
from ignite.sklearn._estimator import LearnerEstimator, Targets

__all__ = ["Regressor"]

np = import_optional("numpy", extra="sklearn")
RegressorMixin: Any = import_optional("sklearn.base", extra="sklearn").RegressorMixin


class Regressor(RegressorMixin, LearnerEstimator):  # type: ignore[misc] # of untyped scikit-learn
    """Predicts one or several numbers per sample with a PyTorch model.

    Fits with the same ``random_state`` give bit-identical weights on the same machine. Global
    random generators are not used, except NumPy's for a seed if ``random_state=None``.

    Args:
        model: a ``torch.nn.Module``, which each fit copies; a function or class that creates one,
            called with ``in_features`` and ``out_features`` if it has parameters of these names; or
            None for linear layers with ReLU.
        hidden: widths of the hidden layers of the default model.
        model_options: further arguments of the function or class.
        loss: as for :class:`~ignite.learner.Learner`; None for "mse".
        epochs: number of epochs per fit.
        valid: validation data, evaluated after each epoch: (X, y), (X, y, sample_weight), or the
            fraction or number of samples to hold out, or a :class:`~ignite.learner.Holdout`.
        warm_start: whether another call of ``fit`` continues training the same model.
        random_state: seed for the initial weights, the order of samples, and dropout: an integer,
            a ``numpy.random.RandomState``, or None.
        progress: as for :meth:`.Learner.fit`; by default, nothing is shown.

        The other parameters are those of :class:`~ignite.learner.Learner` and its ``fit``. Use
        ``run_dir`` only for a single fit: in a search, all candidates would share the folder, which
        is an error.

    Attributes:
        learner_: the learner; ``learner_.model`` is the model.
        history_: metrics by epoch of the last fit.
        n_features_in_: number of columns of X.
        feature_names_in_: names of the columns of X, if it has any.

    Raises:
        ValueError, TypeError: in ``fit``, see there.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(200, 3))
        >>> y = X @ [1.0, -2.0, 0.5]
        >>> regressor = Regressor(epochs=20, lr=0.01, random_state=0).fit(X, y)
        >>> regressor.score(X, y) > 0.95
        True
    """

    _target_shape: tuple[int, ...]
    """Shape of the target of one sample: () or (L,)."""

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
