"""Weights of a model, out and in, and the model itself, out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from ignite import storage
from ignite.learner._export import export_model
from ignite.storage import formats, keys

if TYPE_CHECKING:
    from ignite.learner._assembly import Engines

__all__ = ["Portable", "load_weights", "save_weights"]


class Portable:
    """What of a learner goes into files, and comes back."""

    model: nn.Module
    _engines: Engines

    def save(self, path: str | Path) -> None:
        """Writes the weights that are evaluated, as safetensors if the name ends so, else as a file of torch.

        Raises:
            OSError: it cannot be written. What had the name has it still.
            ModuleNotFoundError: safetensors is not installed.
        """
        with self._engines.averaged():
            save_weights(self.model, Path(path))

    def export(self, path: str | Path, example: Any) -> None:
        """Writes the model that is evaluated, for any number of samples, to run on the host without its Python code.

        The file is tried before it gets its name. "model.pt2" is for ``torch.export.load``, "model.onnx" (extra
        ``onnx``) for ONNX runtimes. ``example`` is inputs x as for :meth:`predict`: which values does not matter.

        Raises:
            ValueError: the name ends otherwise. RuntimeError: the file does not give what the model gives.
            Exception: whatever torch raises where it cannot follow the model.
        """
        with self._engines.averaged():
            export_model(self.model, Path(path), example)

    def load(self, path: str | Path) -> None:
        """Reads weights that :meth:`save` has written, or that are in a checkpoint of a run.

        Raises:
            CheckpointError: the file is damaged, or of another model. Nothing is changed.
        """
        load_weights(self.model, Path(path))


def save_weights(model: nn.Module, path: Path) -> None:
    """Writes the weights; the name stands for the whole file or for what was there before."""
    place = storage.open_place(path.parent)
    if path.suffix == ".safetensors":
        formats.save_weights(place, path.name, keys.unwrap(model).state_dict())
    else:
        storage.save(place, path.name, {"model": keys.state_of(model)}, None)


def load_weights(model: nn.Module, path: Path) -> None:
    """Reads weights, all of them or none."""
    if path.suffix == ".safetensors":
        state = {"model": formats.load_weights(path)}
    else:
        state = storage.load(path).state
        state = state if "model" in state else {"model": state}
    storage.restore({"model": model}, {"model": state["model"]})
