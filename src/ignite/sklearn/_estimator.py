"""Base class of the estimators: their parameters, data validation, and training."""

from __future__ import annotations

import contextlib
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ignite._core.optional import import_optional
from ignite._core.rng import capture_random_state, manual_seed, restore_random_state
from ignite.learner import Learner
from ignite.sklearn._models import make_model

__all__ = ["LearnerEstimator", "Targets"]

np = import_optional("numpy", extra="sklearn")
BaseEstimator: Any = import_optional("sklearn.base", extra="sklearn").BaseEstimator
sklearn_utils = import_optional("sklearn.utils", extra="sklearn")
validation = import_optional("sklearn.utils.validation", extra="sklearn")

_MAX_SEED = 2**31 - 1
_OF_FIT = (
    "batch_size", "shuffle", "schedule", "warmup", "early_stopping", "min_delta", "monitor", "mode",
    "restore_best", "steps_per_epoch", "validate_every", "callbacks", "run_dir", "resume",
    "save_every", "drop_last", "progress",
)  # fmt: skip
_OF_LEARNER = (
    "optimizer", "lr", "metrics", "device", "precision", "accumulation", "clip_grad_norm", "compile",
    "ema", "freeze", "param_groups", "optimizer_options",
)  # fmt: skip


class SparseRows(Dataset[Any]):
    """Dataset of samples ``(x, ...)``, where x is a row of a sparse matrix as a dense tensor.

    Args:
        x: sparse matrix in CSR format, shape (N, F).
        others: further parts of the samples, each of length N, such as targets and weights.
        dtype: dtype of the rows.

    Example:
        >>> from scipy.sparse import csr_array
        >>> rows = SparseRows(csr_array([[0, 2], [1, 0]]), [torch.tensor([5, 6])])
        >>> len(rows), rows[1]
        (2, (tensor([1., 0.]), tensor(6)))
    """

    def __init__(
        self, x: Any, others: Sequence[Tensor] = (), dtype: torch.dtype = torch.float32
    ) -> None:
        self.x = x
        self.others = tuple(others)
        self.dtype = dtype

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, ...]]:
        """Returns several samples, whose rows are converted together."""
        rows = torch.from_numpy(np.asarray(self.x[indices].toarray())).to(self.dtype)
        return [
            (row, *(part[index] for part in self.others))
            for row, index in zip(rows, indices, strict=True)
        ]


class Targets:
    """Targets in the form that the model is trained on.

    Args:
        y: numbers, class indices, or zeros and ones, shape (N,) or (N, L).
        num_outputs: number of outputs of the model.
        fitted: fitted attributes of the estimator, by name.
    """

    def __init__(self, y: Any, num_outputs: int, fitted: Mapping[str, Any]) -> None:
        self.y = y
        self.num_outputs = num_outputs
        self.fitted = dict(fitted)


class LearnerEstimator(BaseEstimator):  # type: ignore[misc] # of untyped scikit-learn
    """Base class of the estimators; see :class:`ignite.sklearn.Regressor` for the parameters."""

    learner_: Learner
    _random: Any

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
        self.model = model
        self.hidden = hidden
        self.model_options = model_options
        self.loss = loss
        self.optimizer = optimizer
        self.lr = lr
        self.epochs = epochs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.valid = valid
        self.metrics = metrics
        self.schedule = schedule
        self.warmup = warmup
        self.early_stopping = early_stopping
        self.min_delta = min_delta
        self.monitor = monitor
        self.mode = mode
        self.restore_best = restore_best
        self.steps_per_epoch = steps_per_epoch
        self.validate_every = validate_every
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.accumulation = accumulation
        self.clip_grad_norm = clip_grad_norm
        self.compile = compile
        self.ema = ema
        self.freeze = freeze
        self.param_groups = param_groups
        self.optimizer_options = optimizer_options
        self.run_dir = run_dir
        self.resume = resume
        self.save_every = save_every
        self.progress = progress

    @abstractmethod
    def _targets(self, y: Any, classes: Any, is_new: bool) -> Targets:
        """Checks targets and converts them to the form that the model is trained on."""

    @abstractmethod
    def _learner_options(self, targets: Targets) -> dict[str, Any]:
        """Returns the loss and further arguments of the learner."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Trains a new model, or with ``warm_start`` continues training the current one.

        Args:
            X: samples, shape (N, F) or (N, ...): an array, a data frame of numbers, or a sparse
                matrix, which is converted to a dense one batch by batch.
            y: targets, shape (N,) or (N, L).
            sample_weight: weight of each sample in the loss, shape (N,).

        Returns:
            The estimator, with ``learner_``, ``history_`` and ``n_features_in_``.

        Raises:
            ValueError: the data are inconsistent with each other, the parameters, or earlier data.
            TypeError: a parameter has the wrong type.
        """
        is_new = not (self.warm_start and hasattr(self, "learner_"))
        return self._train(X, y, sample_weight, is_new=is_new, epochs=self.epochs)

    def _train(
        self, X: Any, y: Any, sample_weight: Any, *, is_new: bool, epochs: int, classes: Any = None
    ) -> Self:
        """Trains a new model, or continues training the current one.

        If the arguments are refused, the estimator is unchanged. If training is interrupted, the
        estimator keeps the weights trained so far.
        """
        before = dict(self.__dict__)
        learner = None if is_new else self.learner_
        history = None if learner is None else learner.history
        try:
            X, y = validation.validate_data(self, X, y, reset=is_new, multi_output=True, **_CHECKS)
            targets = self._targets(y, classes, is_new)
            weight = None if sample_weight is None else _checked_weight(sample_weight, X.shape[0])
            random = sklearn_utils.check_random_state(self.random_state) if is_new else self._random
            seed = int(random.randint(_MAX_SEED))
            with _seeded(seed):
                if learner is None:
                    learner = self._new_learner(X, targets)
                    history = learner.history
                learner.seed = seed
                learner.fit(
                    _data_of(X, learner.model, targets.y, weight),
                    self._valid_data(targets, learner.model),
                    epochs=epochs,
                    **{name: getattr(self, name) for name in _OF_FIT},
                )
        finally:
            if learner is None or learner.history is history:
                self.__dict__.clear()
                self.__dict__.update(before)
            else:
                self.__dict__.update(targets.fitted)
                self.learner_, self.history_, self._random = learner, learner.history, random
        return self

    def _new_learner(self, X: Any, targets: Targets) -> Learner:
        sizes = math.prod(X.shape[1:]), targets.num_outputs
        model = make_model(self.model, *sizes, self.hidden, self.model_options)
        options = {name: getattr(self, name) for name in _OF_LEARNER}
        return Learner(model, **self._learner_options(targets), **options)

    def _valid_data(self, targets: Targets, model: nn.Module) -> Any:
        """Returns the validation data, with targets converted like those of the training data."""
        if not isinstance(self.valid, tuple | list):
            return self.valid
        if len(self.valid) not in (2, 3):
            raise ValueError(
                "valid should be a fraction of the samples, (X, y) or (X, y, sample_weight), but "
                f"given {len(self.valid)} parts"
            )
        X, y, *given = self.valid
        X, y = validation.validate_data(self, X, y, reset=False, multi_output=True, **_CHECKS)
        classes = targets.fitted.get("classes_")
        converted = self._targets(y, classes, is_new=True)
        weight = [_checked_weight(one, X.shape[0]) for one in given]
        return _data_of(X, model, converted.y, *weight)

    def _outputs(self, X: Any) -> Tensor:
        """Returns the output of the model for each sample, on the CPU, shape (N, ...)."""
        validation.check_is_fitted(self, "learner_")
        X = validation.validate_data(self, X, reset=False, **_CHECKS)
        size = max(self.batch_size, _PREDICTED_TOGETHER)
        out = self.learner_.predict(_data_of(X, self.learner_.model), batch_size=size)
        if not isinstance(out, Tensor):
            raise TypeError(
                f"The model's output should be one tensor, but is a {type(out).__name__}: use "
                "learner_.predict for models with several outputs"
            )
        return out.to(torch.float64) if out.is_floating_point() else out

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


_CHECKS: Mapping[str, Any] = {"accept_sparse": "csr", "dtype": "numeric", "allow_nd": True}
_PREDICTED_TOGETHER = 1024


def _data_of(X: Any, model: nn.Module, y: Any = None, weight: Any = None) -> Any:
    """Returns data for a learner; a sparse matrix becomes a dataset of its rows.

    Integers are kept for a model with an embedding, and converted to floats for all others.
    """
    others = [part for part in (y, weight) if part is not None]
    if not hasattr(X, "toarray"):
        has_codes = any(
            isinstance(part, nn.Embedding | nn.EmbeddingBag) for part in model.modules()
        )
        return (X if X.dtype.kind == "f" or has_codes else X.astype(np.float32), *others)
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    tensors = [torch.from_numpy(np.ascontiguousarray(part)) for part in others]
    tensors = [part.to(dtype) if part.is_floating_point() else part for part in tensors]
    return SparseRows(X, tensors, dtype)


def _checked_weight(weight: Any, num_samples: int) -> Any:
    """Returns the weights of samples, float32 of shape (N,); a single number is used for all."""
    weight = np.asarray(weight, dtype=np.float32)
    if weight.ndim == 0:
        weight = np.full(num_samples, weight)
    if weight.shape != (num_samples,):
        raise ValueError(
            f"sample_weight should have shape ({num_samples},), a weight per sample, but given "
            f"{weight.shape}"
        )
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError("sample_weight should be finite and at least 0, but is not everywhere")
    if not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weight


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds all random generators inside the block, and restores their states on exit."""
    before = capture_random_state()
    manual_seed(seed)
    try:
        yield
    finally:
        restore_random_state(before)
