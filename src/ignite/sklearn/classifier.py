"""A scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from ignite._core.optional import import_optional
from ignite.sklearn._estimator import LearnerEstimator, Targets

__all__ = ["Classifier"]

np = import_optional("numpy", extra="sklearn")
ClassifierMixin: Any = import_optional("sklearn.base", extra="sklearn").ClassifierMixin
multiclass = import_optional("sklearn.utils.multiclass", extra="sklearn")
class_weights = import_optional("sklearn.utils.class_weight", extra="sklearn")
validation = import_optional("sklearn.utils.validation", extra="sklearn")

_LOSSES_OF_BITS = (
    "bce", "bce_with_logits", "BCELoss", "BCEWithLogitsLoss", "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
)  # fmt: skip


class Classifier(ClassifierMixin, LearnerEstimator):  # type: ignore[misc] # of untyped scikit-learn
    """Predicts a class per sample, or several labels, with a PyTorch model.

    Targets are class labels of any type, shape (N,), or multilabel zeros and ones, shape (N, L).
    The model has one output per class; for two classes with the loss "bce_with_logits" or "bce",
    it has a single output. Fits with the same ``random_state`` give bit-identical weights on the
    same machine.

    Args:
        class_weight: a dictionary of weights by label, a sequence of weights in the order of
            ``classes_``, or "balanced" for weights inversely proportional to class frequencies.
        loss: as for :class:`~ignite.learner.Learner`; None for "cross_entropy", or for
            "bce_with_logits" with multilabel targets. The outputs of the model are interpreted as
            log-probabilities for "nll", probabilities for "bce", and logits for every other loss.

        The other parameters are those of :class:`Regressor`.

    Attributes:
        classes_: the labels in the order of the model's outputs; 0, ..., L - 1 for multilabel
            targets.
        learner_: the learner; ``learner_.model`` is the model.
        history_: metrics by epoch of the last fit.
        n_features_in_: number of columns of X.
        feature_names_in_: names of the columns of X, if it has any.

    Raises:
        ValueError, TypeError: in ``fit``, see there.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(200, 3))
        >>> y = np.where(X[:, 0] > X[:, 1], "left", "right")
        >>> classifier = Classifier(hidden=(16,), epochs=20, lr=0.01, random_state=0).fit(X, y)
        >>> classifier.score(X, y) > 0.9, classifier.classes_.tolist()
        (True, ['left', 'right'])
    """

    def __init__(  # noqa: PLR0913 - the options of a training
        self,
        model: nn.Module | Callable[..., nn.Module] | None = None,
        *,
        hidden: Sequence[int] = (64,),
        model_options: Mapping[str, Any] | None = None,
        loss: str | Callable[..., Tensor] | None = None,
        optimizer: Any = "adamw",
        lr: float | None = None,
        epochs: int = 100,
        batch_size: int = 32,
        shuffle: bool = True,
        drop_last: bool = False,
        valid: Any = None,
        metrics: Any = (),
        schedule: Any = None,
        warmup: float = 0,
        early_stopping: int | None = None,
        min_delta: float = 0.0,
        monitor: str | None = None,
        mode: str | None = None,
        restore_best: bool = False,
        steps_per_epoch: int | None = None,
        validate_every: int | None = None,
        callbacks: Mapping[Any, Any] | None = None,
        class_weight: Mapping[Any, float] | Sequence[float] | Literal["balanced"] | None = None,
        warm_start: bool = False,
        random_state: Any = None,
        device: str | torch.device | None = None,
        precision: str = "fp32",
        accumulation: int | Literal["auto"] = 1,
        clip_grad_norm: float | None = None,
        compile: bool | Mapping[str, Any] = False,
        ema: float | None = None,
        freeze: Sequence[str] = (),
        param_groups: Mapping[str, Mapping[str, Any]] | None = None,
        optimizer_options: Mapping[str, Any] | None = None,
        run_dir: str | Path | None = None,
        resume: str | Path | None = None,
        save_every: int | None = None,
        progress: bool | str = False,
    ) -> None:
        given = {
            k: v for k, v in locals().items() if k not in ("self", "__class__", "class_weight")
        }
        super().__init__(**given)
        self.class_weight = class_weight

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Trains for one epoch, and continues with the same model if there is one.

        Args:
            X: samples, as for :meth:`fit`.
            y: targets.
            classes: all labels; required if ``y`` of the first call does not contain all of them.
            sample_weight: weight of each sample.

        Raises:
            ValueError: ``y`` has labels that were not known in the first call.
        """
        is_new = not hasattr(self, "learner_")
        return self._train(X, y, sample_weight, is_new=is_new, epochs=1, classes=classes)

    def predict(self, X: Any) -> Any:
        """Returns the label of each sample, shape (N,), or multilabel zeros and ones, shape (N, L).

        Raises:
            NotFittedError: the estimator is not fitted.
            ValueError: ``X`` has other columns than the training data.
        """
        scores = self.decision_function(X)
        if self._is_multilabel:
            return (scores > 0).astype(np.int64)
        indices = (scores > 0).astype(np.int64) if scores.ndim == 1 else scores.argmax(1)
        return self.classes_[indices]

    def predict_proba(self, X: Any) -> Any:
        """Returns the probability of each class, shape (N, C), or of each label, shape (N, L)."""
        out = self._class_outputs(X)
        name = self.learner_.loss.name
        if name == "nll":
            return out.exp().numpy()
        if self._is_multilabel or out.ndim == 1:
            found = (out if name == "bce" else out.sigmoid()).numpy()
            return found if self._is_multilabel else np.stack([1 - found, found], axis=1)
        return out.softmax(1).numpy()

    def decision_function(self, X: Any) -> Any:
        """Returns the logits: shape (N, C), (N, L) for multilabel targets, or (N,) for two classes.

        For two classes, positive values mean ``classes_[1]``.
        """
        out = self._class_outputs(X)
        if self.learner_.loss.name == "bce":
            out = out.logit()
        if not self._is_multilabel and out.ndim == 2 and out.shape[1] == 2:
            out = out[:, 1] - out[:, 0]
        return out.numpy()

    def _class_outputs(self, X: Any) -> Tensor:
        """Returns the output of the model, shape (N, C), (N, L) or, for one output, (N,)."""
        out = self._outputs(X)
        if self._is_multilabel:
            return out.reshape(len(out), len(self.classes_))
        if out.numel() == len(out) and len(self.classes_) == 2:
            return out.reshape(len(out))
        if out.shape[1:] != self.classes_.shape:
            raise ValueError(
                f"The model's output should have shape (N, {len(self.classes_)}), a score for each "
                f"class, but has {tuple(out.shape)}"
            )
        return out

    def _targets(self, y: Any, classes: Any, is_new: bool) -> Targets:
        multiclass.check_classification_targets(y)
        kind = multiclass.type_of_target(y)
        if kind.startswith("multilabel"):
            return self._bits(y, is_new)
        if kind.endswith("multioutput"):
            raise ValueError(
                "y should be one label per sample, or zeros and ones for several labels, but "
                f"given {kind}"
            )
        y = validation.column_or_1d(y, warn=True)
        if not is_new:
            self._check_same_kind(is_multilabel=False)
            known = self.classes_
        else:
            known = np.unique(y if classes is None else classes)
        if len(known) < 2:
            raise ValueError(
                f"y should have labels of at least 2 classes, but given 1 class, {known[0]!r}"
            )
        if not set(np.unique(y).tolist()) <= set(known.tolist()):
            raise ValueError(
                f"y should have labels from {known.tolist()}, but given "
                f"{sorted(set(y.tolist()) - set(known.tolist()))}"
            )
        indices = np.searchsorted(known, y)
        is_one_output = len(known) == 2 and _counts_bits(self.loss)
        target = indices.astype(np.float32) if is_one_output else indices.astype(np.int64)
        fitted = {"classes_": known, "_is_multilabel": False}
        return Targets(target, 1 if is_one_output else len(known), fitted)

    def _bits(self, y: Any, is_new: bool) -> Targets:
        y = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
        if not is_new:
            self._check_same_kind(is_multilabel=True, num_labels=y.shape[1])
        fitted = {"classes_": np.arange(y.shape[1]), "_is_multilabel": True}
        return Targets(y.astype(np.float32), y.shape[1], fitted)

    def _check_same_kind(self, is_multilabel: bool, num_labels: int | None = None) -> None:
        kinds = {
            True: f"{len(self.classes_)} labels for each sample",
            False: "one label for each sample",
        }
        if is_multilabel != self._is_multilabel or num_labels not in (None, len(self.classes_)):
            raise ValueError(
                f"y should have {kinds[self._is_multilabel]}, as in the first fit, but has "
                f"{'one' if num_labels is None else num_labels}"
            )

    def _learner_options(self, targets: Targets) -> dict[str, Any]:
        is_multilabel = targets.fitted["_is_multilabel"]
        loss = self.loss or ("bce_with_logits" if is_multilabel else "cross_entropy")
        num_classes = len(targets.fitted["classes_"])
        return {
            "loss": loss,
            "class_weight": self._weights_of_classes(targets),
            "task": "multilabel"
            if is_multilabel
            else "binary"
            if targets.num_outputs < num_classes
            else "multiclass",
        }

    def _weights_of_classes(self, targets: Targets) -> list[float] | None:
        given, classes = self.class_weight, targets.fitted["classes_"]
        if given is None:
            return None
        if targets.fitted["_is_multilabel"]:
            raise ValueError(
                f"class_weight should be None for several labels, but given {given!r:.100}: use "
                "sample_weight"
            )
        if isinstance(given, str | Mapping):
            y = classes[targets.y.astype(np.int64)]
            given = class_weights.compute_class_weight(given, classes=classes, y=y)
        return [float(weight) for weight in given]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _counts_bits(loss: Any) -> bool:
    """Whether a loss, given by name or as an object, compares each output with 0 or 1."""
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return name in _LOSSES_OF_BITS
