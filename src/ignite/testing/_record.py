"""Record of a run, to compare it with another run: batches, metrics and states."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ignite._core.rng import capture_random_state
from ignite.engine import Engine, Events

_LAST = float("-inf")
_FIRST = float("inf")


class Recorder:
    """Records the batches and metrics of a trainer, starting when it is created.

    Args:
        trainer: the trainer.
        objects: further objects by name. The metrics of engines are recorded after each of their
            runs.
        send: called with each entry ``(key, value)`` at once, so that it survives the process.
    """

    def __init__(
        self,
        trainer: Engine[Any, Any],
        objects: Mapping[str, Any],
        send: Callable[[str, Any], None] | None = None,
    ) -> None:
        self.entries: dict[str, Any] = {}
        """Digests of batches, and metrics, by keys that contain the iteration."""
        self.started_at: int | None = None
        """The iteration after which the run continued; None if it was already complete."""
        self._trainer = trainer
        self._objects = {name: thing for name, thing in objects.items() if thing is not trainer}
        self._send = send
        trainer.add_event_handler(Events.STARTED, self._record_start, priority=_FIRST)
        trainer.add_event_handler(Events.ITERATION_STARTED, self._record_batch, priority=_FIRST)
        trainer.add_event_handler(
            Events.EPOCH_COMPLETED, _RecordMetrics(self, "trainer"), priority=_LAST
        )
        for name, thing in self._objects.items():
            if isinstance(thing, Engine):
                thing.add_event_handler(
                    Events.COMPLETED, _RecordMetrics(self, name), priority=_LAST
                )

    def final_state(self) -> dict[str, Any]:
        """Returns the states of the trainer, the objects and the random number generators."""
        state: dict[str, Any] = {"trainer": _state_of(self._trainer)}
        for name, thing in self._objects.items():
            state[name] = _state_of(thing)
        state["random_state"] = dict(capture_random_state())
        return state

    def _record_start(self, engine: Engine[Any, Any]) -> None:
        self.started_at = engine.state.iteration

    def _record_batch(self, engine: Engine[Any, Any]) -> None:
        self._record(f"batch of iteration {engine.state.iteration}", digest(engine.state.batch))

    def record_metrics(self, name: str, metrics: Mapping[str, Any]) -> None:
        """Adds an entry with the metrics of an engine."""
        where, num = f" after iteration {self._trainer.state.iteration}", 1
        while (
            key := f"metrics of {name}{'' if num == 1 else f', run {num},'}{where}"
        ) in self.entries:
            num += 1
        self._record(key, dict(metrics))

    def _record(self, key: str, value: Any) -> None:
        self.entries[key] = value
        if self._send is not None:
            self._send(key, value)


class _RecordMetrics:
    """Handler that records the metrics of an engine.

    A class, because a checkpoint looks for objects to save among the arguments of functions.
    """

    def __init__(self, recorder: Recorder, name: str) -> None:
        self._recorder = recorder
        self._name = name

    def __call__(self, engine: Engine[Any, Any]) -> None:
        self._recorder.record_metrics(self._name, engine.state.metrics)


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
    """Returns a hash of a batch: nested containers of tensors, arrays, numbers and strings.

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
    elif hasattr(value, "tobytes"):  # arrays of NumPy, which may not be installed
        sink.update(f"{value.dtype}{value.shape}".encode())
        sink.update(value.tobytes())
    else:
        sink.update(repr(value).encode() + b";")
