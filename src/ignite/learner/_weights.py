"""Weights of a model, out and in, and the model itself, out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from ignite import storage
from ignite.learner._data.arrays import inputs_of
from ignite.learner._data.facts import Facts, Learnt
from ignite.learner._data.task import wanted_by
from ignite.learner._data.trial import dtype_of
from ignite.learner._export import export_model
from ignite.learner._loss import TrainingLoss
from ignite.storage import formats, keys

if TYPE_CHECKING:
    from ignite.learner._assembly import Engines

__all__ = ["Portable", "load_weights", "save_weights"]


class Portable:
    """What of a learner goes into files, and comes back."""

    logger: logging.Logger
    _engines: Engines
    _learnt: Learnt

    @property
    def model(self) -> nn.Module:
        """What is trained. Its layers and weights may be changed; for another model, make another learner."""
        return self._engines.model

    @property
    def loss(self) -> TrainingLoss:
        """The loss of a step."""
        return self._engines.loss

    def save(self, path: str | Path) -> None:
        """Writes the weights that are evaluated, as safetensors if the name ends so, else as a file of torch.

        What was learnt from the data goes with them: the names of classes and columns, and the kind of problem.

        Raises:
            OSError: it cannot be written. What had the name has it still.
            ModuleNotFoundError: safetensors is not installed.
        """
        with self._engines.averaged():
            save_weights(self.model, Path(path), self._learnt.facts)

    def export(self, path: str | Path, example: Any) -> None:
        """Writes the model that is evaluated, for any number of samples, to run on the host without its Python code.

        The file is tried before it gets its name. "model.pt2" is for ``torch.export.load``, "model.onnx" (extra
        ``onnx``) for ONNX runtimes. ``example`` is inputs x as for :meth:`predict`: which values does not matter.

        Raises:
            ValueError: the name ends otherwise. RuntimeError: the file does not give what the model gives.
            Exception: whatever torch raises where it cannot follow the model.
        """
        known = replace(self._learnt.facts.known, dtype=dtype_of(self.model))
        with self._engines.averaged():
            export_model(self.model, Path(path), inputs_of(example, known))

    def load(self, path: str | Path) -> None:
        """Reads weights that :meth:`save` has written, or that are in a checkpoint of a run.

        With ``ema``, the average of the weights is set, too: to that of the checkpoint, or else to the weights. Without
        it, the average in a checkpoint of a run with ``ema`` becomes the weights: it is what was evaluated there.

        With them comes what was learnt from the data that they were trained on, which data from here on have to fit. A
        file without that leaves what this learner knows; it is learnt in the next ``fit`` if it knows nothing.

        Raises:
            CheckpointError: the file is damaged, or of another model. Nothing is changed.
            ValueError: it was trained for another kind of problem. Nothing is changed.
        """
        facts = load_weights(self._engines.restore, Path(path), self._check_facts)
        if facts is None:
            self.logger.warning(
                "%s does not say what classes and columns the model was trained on: they are %s", path,
                "those that this learner knows" if self._learnt.facts.is_learnt else "learnt in the next fit",
            )  # fmt: skip
            return
        self._learn(facts)

    def _check_facts(self, facts: Facts) -> None:
        """Raises a ValueError if weights that were trained so cannot be those of this learner."""
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
            told = mine or f"what the loss {self.loss.name} is for"
            raise ValueError(f"The file's problem should be the learner's, {told}, but it is {its}")

    def _learn(self, facts: Facts) -> None:
        """From here on, data have to fit these facts."""
        self._learnt.facts = facts
        self.loss.learn(facts.known.classes_of("y"), facts.balance)


def save_weights(model: nn.Module, path: Path, facts: Facts | None = None) -> None:
    """Writes weights and facts; the name stands for the whole file or for what was there before."""
    learnt = Learnt() if facts is None else Learnt(facts)
    place = storage.open_place(path.parent)
    if path.suffix == ".safetensors":
        text = learnt.facts.to_text() if learnt.facts.is_learnt else None
        formats.save_weights(place, path.name, keys.unwrap(model).state_dict(), text=text)
    else:
        state = {"model": keys.state_of(model)}
        storage.save(
            place, path.name, state | ({"learnt": learnt.state_dict()} if learnt.facts.is_learnt else {}), None
        )


def load_weights(
    restore: Callable[[Mapping[str, Any]], None], path: Path, check: Callable[[Facts], None] = lambda facts: None
) -> Facts | None:
    """Hands weights to ``restore``; returns the facts, if there are any and ``check`` raises nothing."""
    if path.suffix == ".safetensors":
        state: dict[str, Any] = {"model": formats.load_weights(path)}
        text = formats.read_text(path)
    else:
        state = storage.load(path).state
        state = state if "model" in state else {"model": state}
        text = state.get("learnt", {}).get("facts")
    facts = None if text is None else Facts.from_text(text)
    if facts is not None:
        check(facts)
    restore(state)
    return facts
