"""Weights of a model, out and in."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ignite import storage
from ignite.storage import formats, keys

__all__ = ["load_weights", "save_weights"]


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
