"""What a trained model is used for: evaluation, predictions, reports, files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ignite._core.systems import on_disk
from ignite._core.trees import moved
from ignite.engine import Engine
from ignite.learner._data.in_memory import Names, inputs_of
from ignite.learner._data.inspection import can_shuffle, dtype_of, holds_arrays
from ignite.learner._data.schema import Facts, Learnt, Task, wanted_by
from ignite.learner._engines import Engines
from ignite.learner._losses import TrainingLoss
from ignite.learner._optimizers import Rates
from ignite.learner._prediction import (
    Form,
    classes_in,
    export_model,
    named_classes,
    predictions,
    summary,
)
from ignite.learner._prediction import joined as joined_parts
from ignite.learner._preparation import Batching, load, load_to_evaluate
from ignite.learner._runs import Recorder, values_in
from ignite.learner._weights import load_weights, save_weights
from ignite.learner.class_reports import ClassReport, ConfusionTable
from ignite.learner.history import History

__all__ = ["TrainedModel"]


class TrainedModel:
    """The methods of :class:`~ignite.learner.Learner` that use the model and do not train it."""

    logger: logging.Logger
    device: torch.device
    seed: int
    config: dict[str, Any]
    _engines: Engines
    _recorder: Recorder
    _rates: Rates | None
    _learnt: Learnt
    _made_of: tuple[Any, Any]
    _example: Any
    _collate_fn: Callable[[list[Any]], Any] | None

    @property
    def model(self) -> nn.Module:
        """The model. Its layers and weights may be changed.

        To use another model, create another learner.
        """
        return self._engines.model

    @property
    def loss(self) -> TrainingLoss:
        """The loss, with the weights of classes and samples."""
        return self._engines.loss

    @property
    def optimizer(self) -> Any:
        """The optimizer.

        Its options may be changed between two fits. To use another one, create another learner.
        """
        return self._engines.optimizer

    @property
    def trainer(self) -> Engine[Any, Any]:
        """The engine that ``fit`` runs."""
        return self._engines.trainer

    @property
    def evaluator(self) -> Engine[Any, Any]:
        """The engine that ``evaluate`` runs, and that ``fit`` runs after each epoch."""
        return self._engines.evaluator

    @property
    def task(self) -> Task | None:
        """The task, such as "multiclass"; None if it is not known yet."""
        return self._learnt.facts.task

    @property
    def history(self) -> History:
        """The history of the latest fit or of what was loaded.

        It is up to date while a fit runs, and after Ctrl-C or an error has stopped it.
        """
        return self._recorder.history

    @property
    def classes(self) -> tuple[Any, ...]:
        """Names of the classes by index, if the data have names; else empty."""
        return self._learnt.facts.known.classes_of("y")

    def evaluate(
        self, data: Any, *, batch_size: int | None = None, target: Names | None = None
    ) -> dict[str, Any]:
        """Returns the loss and the metrics on ``data``, of any kind that ``fit`` accepts.

        Raises:
            ValueError: the data does not match the training data.
        """
        loader = load_to_evaluate(self, data, self._batching(data, batch_size, target))
        return values_in(self.evaluator.run(loader.batches).metrics)

    def report(
        self,
        data: Any,
        *,
        batch_size: int | None = None,
        target: Names | None = None,
        threshold: Any = None,
        head: Any = None,
    ) -> ClassReport:
        """Returns precision, recall, F1 and support by class, with averages.

        The report is a dictionary, ``{class: {"precision": ..., ...}}``; it prints as a table, and
        ``plot()`` draws it. ``threshold`` is that of :meth:`predict`; ``head`` is the key or index
        of one of several heads.

        Raises:
            ValueError: the task is not a classification, or ``data`` is empty.
        """
        return ClassReport.of(*self._classes_in(data, batch_size, target, threshold, head))

    def confusion_matrix(
        self,
        data: Any,
        *,
        batch_size: int | None = None,
        target: Names | None = None,
        threshold: Any = None,
        head: Any = None,
    ) -> ConfusionTable:
        """Returns how often each true class was predicted as each class.

        The matrix is ``counts``, shape (C, C), true classes in rows, or (L, 2, 2) for several
        labels; it prints as a table, and ``plot()`` draws it. ``threshold`` is that of
        :meth:`predict`.

        Raises:
            ValueError: the task is not a classification, or ``data`` is empty.
        """
        return ConfusionTable.of(*self._classes_in(data, batch_size, target, threshold, head))

    def _classes_in(
        self, data: Any, batch_size: int | None, target: Names | None, threshold: Any, head: Any
    ) -> tuple[Tensor, Tensor, tuple[Any, ...]]:
        batching = self._batching(data, batch_size, target, is_shared=False)
        form = Form.of(True, False, threshold)
        return classes_in(self, load_to_evaluate(self, data, batching), form, head)

    def predict(
        self,
        data: Any,
        *,
        batch_size: int | None = None,
        decide: bool = False,
        proba: bool = False,
        threshold: Any = None,
    ) -> Any:
        """Returns the output of the model for each sample, in the order of the data, on the CPU.

        Args:
            data: x alone, or data of any kind that ``fit`` takes. A tuple is (x,), (x, y) or (x, y,
                w).
            batch_size: samples per batch, for data that are not yet in batches.
            decide: whether to return classes instead of scores: their names in the training data,
                otherwise indices.
            proba: whether to return probabilities: the softmax or sigmoid of the scores, or the
                exponential for "nll". For "bce" and "nll" the model has computed them or their
                logarithms; the outputs for every other loss are taken to be logits.
            threshold: probability above which a binary class or a label is chosen, 0.5 by default,
                or one for each label; with it, classes are returned.

        Returns:
            A tensor, shape (N, ...); a tuple or dictionary of tensors if the model returns one. Of
            class names, a list.

        Raises:
            ValueError: ``data`` is empty; the task is not a classification; or the arguments
                contradict each other.
        """
        form = Form.of(decide, proba, threshold)
        parts = list(self._predictions(data, batch_size, form))
        if not parts:
            raise ValueError("data should have at least one sample, but given none")
        joined = joined_parts(parts)
        return named_classes(joined, self._learnt.facts.known) if form.decide else joined

    def predict_batches(
        self,
        data: Any,
        *,
        batch_size: int | None = None,
        decide: bool = False,
        proba: bool = False,
        threshold: Any = None,
    ) -> Iterator[Any]:
        """Yields the predictions batch by batch, so that memory does not grow with the data."""
        return self._predictions(data, batch_size, Form.of(decide, proba, threshold))

    def _predictions(self, data: Any, batch_size: int | None, form: Form) -> Iterator[Any]:
        batching = self._batching(data, batch_size, None, is_shared=False)
        loader = load(self, data, batching, self._learnt.facts, is_target_needed=False)
        return predictions(self, loader, form)

    def save(self, path: str | Path) -> None:
        """Saves the weights, averaged with ``ema``, as .safetensors or in the format of torch.

        The file also contains the facts learned from the data (names of classes and columns, the
        task, shapes and dtypes) and the history.

        Raises:
            OSError: the file cannot be written. An existing file is unchanged.
            ModuleNotFoundError: safetensors is not installed.
        """
        with self._engines.averaged():
            save_weights(self.model, on_disk(path), self._learnt.facts, self.history)

    def export(self, path: str | Path, example: Any) -> None:
        """Exports the model for any batch size, to run on the CPU without its Python code.

        The file is verified before it gets its name. "model.pt2" is for ``torch.export.load``,
        "model.onnx" (extra ``onnx``) for ONNX runtimes. ``example`` holds inputs x as for
        :meth:`predict`; its values do not matter.

        Raises:
            ValueError: the name has another suffix.
            RuntimeError: the outputs of the exported model differ.
            Exception: raised by torch if it cannot trace the model.
        """
        known = replace(self._learnt.facts.known, dtype=dtype_of(self.model))
        with self._engines.averaged():
            export_model(self.model, on_disk(path), inputs_of(example, known))

    def load(self, path: str | Path) -> None:
        """Loads weights from a file of :meth:`save`, a checkpoint, or the folder of a run.

        Of a run, the best weights are loaded, or the latest ones without validation;
        :attr:`history` is then that of the run or of the file.

        With ``ema``, the averaged weights are loaded, too; if the file has none, the average
        restarts from the loaded weights. Without ``ema``, averaged weights in the file become the
        weights of the model.

        The facts learned from the training data are loaded as well, and later data must match them.
        If the file does not contain them, the learner keeps its own, or learns them in the next
        ``fit``.

        Raises:
            FileNotFoundError: there is no file, or the folder has no checkpoint.
            CheckpointError: the file is damaged or belongs to another model. Nothing is changed.
            ValueError: the weights were trained for another task. Nothing is changed.
        """
        facts, history = load_weights(self._engines.restore, on_disk(path), self._check_facts)
        if history is not None:
            self._recorder.begin(history, None)
        if facts is None:
            self.logger.warning(
                "%s does not contain the classes and columns that the model was trained on: %s", path,
                "using those of this learner" if self._learnt.facts.is_learnt else "they are learned in the next fit",
            )  # fmt: skip
            return
        self._learn(facts)

    def _batching(
        self, data: Any, batch_size: int | None, target: Names | None, is_shared: bool = True
    ) -> Batching:
        if batch_size is None and can_shuffle(data):
            batch_size = 256
        is_of_items = isinstance(data, list) or (can_shuffle(data) and not holds_arrays(data))
        collate_fn = self._collate_fn if is_of_items else None
        return Batching(batch_size, is_shared=is_shared, target=target, collate_fn=collate_fn)

    def summary(self, example: Any = None) -> str:
        """Returns a table of the layers of the model, with the shapes of their outputs.

        Args:
            example: inputs x, shape (N, ...), as for :meth:`predict`. By default two samples of the
                training data; before the first ``fit``, the table has no shapes.
        """
        return summary(self.model, self._inputs(self._example if example is None else example))

    def _inputs(self, example: Any) -> Any:
        if example is None:
            return None
        known = replace(self._learnt.facts.known, dtype=dtype_of(self.model))
        return moved(inputs_of(example, known), self.device)

    def _check_facts(self, facts: Facts) -> None:
        """Raises a ValueError if weights trained for this task do not match this learner."""
        mine, its = self._learnt.facts.task, facts.task
        wanted = wanted_by(self.loss.loss)
        is_other = (
            its is not None
            and its.kind != "unknown"
            and (
                (mine is not None and mine.kind not in ("unknown", its.kind))
                or (wanted is not None and (wanted == "numbers") != (its.kind == "regression"))
            )
        )
        if is_other:
            expected = mine or f"one for the loss {self.loss.name}"
            raise ValueError(
                f"The task of the file should be that of the learner, {expected}, but it is {its}"
            )

    def _learn(self, facts: Facts) -> None:
        """Sets the facts learned from data; later data must match them."""
        self._learnt.facts = facts
        self.loss.learn(facts.known.classes_of("y"), facts.balance)
