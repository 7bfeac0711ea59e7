"""Files of weights, with what was learned from the data, and the history."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from ignite import storage
from ignite.learner._data.schema import Facts, Learnt
from ignite.learner.history import History, checkpoints_in
from ignite.storage import formats, keys

__all__ = ["Saved", "load_weights", "save_weights"]


class Saved(NamedTuple):
    """What a file contains beside the weights; None for what it lacks."""

    facts: Facts | None
    history: History | None


def save_weights(
    model: nn.Module, path: Path, facts: Facts | None = None, history: History | None = None
) -> None:
    """Saves weights, facts and history atomically; a safetensors file has no losses of steps."""
    learnt = Learnt() if facts is None else Learnt(facts)
    place = storage.open_place(path.parent)
    if path.suffix == ".safetensors":
        text = _text_of(learnt.facts, history)
        formats.save_weights(place, path.name, keys.unwrap(model).state_dict(), text=text)
        return
    state = {"model": keys.state_of(model)}
    if learnt.facts.is_learnt:
        state["learnt"] = learnt.state_dict()
    if history is not None and len(history):
        state["history"] = history.state_dict()
    storage.save(place, path.name, state, None)


def _text_of(facts: Facts, history: History | None) -> str | None:
    if not facts.is_learnt:
        return None
    found = json.loads(facts.to_text())
    if history is not None and len(history):
        found["history"] = {"epochs": history.epochs, "directions": history.directions}
    return json.dumps(found)


def load_weights(
    restore: Callable[[Mapping[str, Any]], None],
    path: Path,
    check: Callable[[Facts], None] = lambda facts: None,
) -> Saved:
    """Loads a file, checks its facts with ``check``, and passes the state to ``restore``.

    Args:
        restore: loads the state.
        path: a file of :func:`save_weights`, a checkpoint, or the folder of a run, of which the best
            weights are loaded, or the latest ones without validation.
        check: raises an error if the facts do not match.

    Raises:
        FileNotFoundError: there is no file, or no checkpoint in the folder.
    """
    if path.is_dir():
        found = load_weights(restore, _weights_in(path), check)
        return found._replace(history=History.from_run(path))
    if path.suffix == ".safetensors":
        state: dict[str, Any] = {"model": formats.load_weights(path)}
        text = formats.read_text(path)
        epochs = None if text is None else json.loads(text).get("history")
    else:
        state = storage.load(path).state
        state = state if "model" in state else {"model": state}
        text = state.get("learnt", {}).get("facts")
        epochs = state.get("history", state.get("recorder", {}).get("history"))
    facts = None if text is None else Facts.from_text(text)
    if facts is not None:
        check(facts)
    restore(state)
    return Saved(facts, None if epochs is None else History.of(epochs))


def _weights_in(folder: Path) -> Path:
    """Returns the best checkpoint of a run, else the latest one."""
    checkpoints = checkpoints_in(folder)
    for name in ("best.pt", "last.pt"):
        path = storage.follow(checkpoints / name)
        if path.exists():
            return path
    raise FileNotFoundError(
        f"{folder} should be the folder of a run, with checkpoints, but it has none"
    )
