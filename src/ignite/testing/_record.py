"""What a run did, written down so that it can be compared with another: batches, metrics, states."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ignite._core.seeding import capture_random_state
from ignite.engine import Engine, Events

_LAST = float("-inf")
_FIRST = float("inf")


class Recorder:
    """Writes down what a trainer does, from the moment it is made.

    Args:
        trainer: whose iterations are counted.
        objects: what is looked at beside it, by name. Engines among them have their metrics written
            down after each of their runs.
        tell: called with each entry ``(key, value)`` as it comes, so that it survives the process.
    """

    def __init__(
        self,
        trainer: Engine[Any, Any],
        objects: Mapping[str, Any],
        tell: Callable[[str, Any], None] | None = None,
    ) -> None:
        self.entries: dict[str, Any] = {}
        """What happened, by a key that names the iteration: batches as digests, metrics as values."""
        self.started_at: int | None = None
        """The iteration after which the run went on; None if it had nothing to do."""
        self._trainer = trainer
        self._objects = {name: thing for name, thing in objects.items() if thing is not trainer}
        self._tell = tell
        trainer.add_event_handler(Events.STARTED, self._note_start, priority=_FIRST)
        trainer.add_event_handler(Events.ITERATION_STARTED, self._note_batch, priority=_FIRST)
        trainer.add_event_handler(
            Events.EPOCH_COMPLETED, _MetricsNote(self, "trainer"), priority=_LAST
        )
        for name, thing in self._objects.items():
            if isinstance(thing, Engine):
                thing.add_event_handler(Events.COMPLETED, _MetricsNote(self, name), priority=_LAST)

    def final_state(self) -> dict[str, Any]:
        """Everything that has a state now: the trainer, the objects, the random number generators."""
        state: dict[str, Any] = {"trainer": _state_of(self._trainer)}
        for name, thing in self._objects.items():
            state[name] = _state_of(thing)
        state["random_state"] = dict(capture_random_state())
        return state

    def _note_start(self, engine: Engine[Any, Any]) -> None:
        self.started_at = engine.state.iteration

    def _note_batch(self, engine: Engine[Any, Any]) -> None:
        self._note(f"batch of iteration {engine.state.iteration}", digest(engine.state.batch))

    def note_metrics(self, name: str, metrics: Mapping[str, Any]) -> None:
        """Adds an entry with the metrics of an engine."""
        where, num = f" after iteration {self._trainer.state.iteration}", 1
        while (
            key := f"metrics of {name}{'' if num == 1 else f', run {num},'}{where}"
        ) in self.entries:
            num += 1
        self._note(key, dict(metrics))

    def _note(self, key: str, value: Any) -> None:
        self.entries[key] = value
        if self._tell is not None:
            self._tell(key, value)


class _MetricsNote:
    """A handler; no function with arguments, among which a checkpoint would look for what belongs to the run."""

    def __init__(self, recorder: Recorder, name: str) -> None:
        self._recorder = recorder
        self._name = name

    def __call__(self, engine: Engine[Any, Any]) -> None:
        self._recorder.note_metrics(self._name, engine.state.metrics)


def _state_of(thing: Any) -> Any:
    if isinstance(thing, Engine):
        state = thing.state
        return {
            "iteration": state.iteration,
            "epoch": state.epoch,
            "metrics": dict(state.metrics),
            "state_dict": thing.state_dict(),
        }
    return thing.state_dict() if hasattr(thing, "state_dict") else thing


def digest(batch: Any) -> str:
    """A short text that is the same for equal batches of tensors, arrays, numbers and strings in containers.

    Example:
        >>> import torch
        >>> digest([torch.zeros(2), 1]) == digest([torch.zeros(2), 1]) != digest([torch.ones(2), 1])
        True
    """
    sink = hashlib.blake2b(digest_size=16)
    _feed(sink, batch)
    return sink.hexdigest()


def _feed(sink: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous()
        sink.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
        sink.update(
            ctypes.string_at(plain.data_ptr(), plain.numel() * plain.element_size())
            if plain.numel()
            else b""
        )
    elif isinstance(value, Mapping):
        for key in value:
            _feed(sink, key)
            _feed(sink, value[key])
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        sink.update(f"{len(value)} of".encode())
        for item in value:
            _feed(sink, item)
    elif hasattr(value, "tobytes"):  # numpy's, which need not be installed
        sink.update(f"{value.dtype}{value.shape}".encode())
        sink.update(value.tobytes())
    else:
        sink.update(repr(value).encode() + b";")
