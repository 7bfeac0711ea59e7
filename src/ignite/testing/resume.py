"""Asserts that a resumed run is bit-identical to an uninterrupted one."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import select
import signal
import struct
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ignite._core import clock
from ignite._core.differences import first_difference
from ignite._core.rng import capture_random_state, manual_seed, restore_random_state
from ignite._core.torch_private import REBUILD_SPARSE, quiet_about_sparse
from ignite.engine import Engine, Events
from ignite.testing.faults import Fault, Kill, Raise
from ignite.testing.injection import inject

__all__ = [
    "Resumption",
    "Run",
    "assert_resume_is_exact",
]

_SIGKILL = getattr(signal, "SIGKILL", signal.SIGTERM)
_SEED = 0xD1CE
_NOT_REPEATABLE = "Two uninterrupted runs differ: make_run should seed all random numbers"


class Run:
    """A training run; returned by the function passed to :func:`assert_resume_is_exact`.

    Args:
        trainer: the engine with its handlers, including a :class:`~ignite.handlers.Checkpoint`.
        data: the data to run on.
        objects: objects to compare at the end, by name: objects with ``state_dict``, engines (whose
            metrics are also compared after each of their runs), and plain values such as a list
            that handlers append to.
        **arguments: passed to ``trainer.run``, such as ``max_epochs``.
    """

    def __init__(
        self,
        trainer: Engine[Any, Any],
        data: Any,
        objects: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> None:
        self.trainer = trainer
        self.data = data
        self.objects = dict(objects or {})
        self.arguments = arguments


class Resumption(NamedTuple):
    """A stopped run: the last iteration before the stop, and the one that it was resumed after."""

    stopped_at: int
    resumed_at: int


class _Record(NamedTuple):
    """Record of one call of ``trainer.run``, in plain values that can be sent between processes."""

    entries: dict[str, Any]
    started_at: int
    iteration: int
    """The last iteration."""
    state: dict[str, Any]


class _StopError(Exception):
    """Stops a run."""


def assert_resume_is_exact(
    make_run: Callable[[Path], Run],
    *,
    at: Iterable[int] | None = None,
    every: int = 1,
    kill: bool = False,
    timeout_s: float = 120.0,
) -> list[Resumption]:
    """Stops a run at chosen iterations, resumes it, and compares it with an uninterrupted run.

    For each iteration, creates a run, stops it after that iteration, creates the run again, and
    resumes it from its last checkpoint with ``trainer.run(..., resume="latest")``. Compares,
    without tolerance, each batch; the metrics of the trainer after each epoch, and of other engines
    after each run; and at the end the states of the trainer, all ``objects`` and the random number
    generators.

    Args:
        make_run: ``make_run(folder)`` creates data, model, optimizer, trainer and handlers as the
            training script does, with checkpoints in ``folder``. It must seed the random numbers
            that it draws itself, such as the initial weights: the random state differs for each
            resumed run, as in another process.
        at: the iterations after which to stop; 0 stops before the first. By default, every
            ``every``-th iteration and the last.
        every: interval of the default of ``at``.
        kill: whether to stop runs with SIGKILL instead of an exception. Each run then has its own
            process, forked from this one, where PyTorch uses one thread. States and metrics must be
            loadable with ``torch.load(weights_only=True)``.
        timeout_s: timeout of a single run with ``kill``.

    Returns:
        For each run, where it was stopped and where it was resumed.

    Raises:
        AssertionError: a run differs; the message names the first difference. Or no run was resumed
            from a checkpoint, so that nothing was tested.
        ValueError: ``every`` is not positive, or ``at`` has an iteration that the run does not
            reach.
        NotImplementedError: ``kill`` is given on a system that cannot fork processes, such as
            Windows.

    Example:
        >>> from ignite.handlers import Checkpoint
        >>> from ignite.engine import Events
        >>> def make_run(folder):
        ...     total = {"sum": 0}
        ...     def add(engine, batch):
        ...         total["sum"] += batch
        ...     trainer = Engine(add)
        ...     Checkpoint.of(trainer, folder, event=Events.ITERATION_COMPLETED)
        ...     return Run(trainer, [1, 2, 3], {"total": total}, max_epochs=2)
        >>> assert_resume_is_exact(make_run, at=[4])
        Traceback (most recent call last):
        AssertionError: Stopped after iteration 4 and resumed after 4: ... is 5 and should be 12
    """
    if every < 1:
        raise ValueError(f"every should be positive, but given {every}")
    before = capture_random_state()
    try:
        with tempfile.TemporaryDirectory() as name:
            return _Comparison(make_run, Path(name), kill, timeout_s).over(at, every)
    finally:
        restore_random_state(before)


class _Comparison:
    """The runs of one call of :func:`assert_resume_is_exact`."""

    def __init__(
        self, make_run: Callable[[Path], Run], folder: Path, kill: bool, timeout_s: float
    ) -> None:
        self._make_run = make_run
        self._folder = folder
        self._kill = kill
        self._timeout_s = timeout_s
        self._num_resumed = 0

    def over(self, at: Iterable[int] | None, every: int) -> list[Resumption]:
        reference = self._run(self._folder_of("reference"), None)
        last = reference.iteration
        stops = sorted({*range(every, last + 1, every), last}) if at is None else list(at)
        for stop in stops:
            if not 0 <= stop <= last:
                raise ValueError(
                    f"at should have iterations of the run, from 0 to {last}, but given {stop}"
                )
        resumptions = [self._stop_and_resume(stop, reference) for stop in stops]
        if stops and not any(resumed_at for _, resumed_at in resumptions):
            raise AssertionError(
                "No run was resumed from a checkpoint: make_run should attach one that saves "
                f"before iteration {max(stops)}"
            )
        return resumptions

    def _stop_and_resume(self, stop: int, reference: _Record) -> Resumption:
        folder = self._folder_of(f"stop_{stop}")
        stopped = self._run(folder, stop)
        if difference := _entries_differ(stopped, reference, last=stop):
            raise AssertionError(f"{_NOT_REPEATABLE}: {difference}")
        resumed = self._run(folder, None, is_new_process=True)
        found, expected = dict(resumed.state), dict(reference.state)
        if (
            resumed.started_at == 0
        ):  # not resumed: the random state differs unless make_run seeds it
            found["random_state"] = expected["random_state"] = None
        difference = _entries_differ(resumed, reference, last=reference.iteration)
        difference = difference or first_difference(found, expected, "final state")
        if difference and resumed.started_at == 0:
            raise AssertionError(f"{_NOT_REPEATABLE}: {difference}")
        if difference:
            raise AssertionError(
                f"Stopped after iteration {stop} and resumed after {resumed.started_at}: "
                f"{difference}"
            )
        return Resumption(stop, resumed.started_at)

    def _folder_of(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder

    def _run(self, folder: Path, stop: int | None, is_new_process: bool = False) -> _Record:
        # A resumed run starts with another seed, so that a random state that is not restored shows.
        self._num_resumed += is_new_process
        seed = _SEED + self._num_resumed * is_new_process
        if not self._kill:
            return _Record(**_run_here(self._make_run, folder, stop, seed))
        found = call_in_child(
            lambda send: _run_here(self._make_run, folder, stop, seed, send),
            is_killed=stop is not None,
            timeout_s=self._timeout_s,
        )
        if stop is None:
            return _Record(**found.result)
        return _Record(dict(found.sent), 0, stop, {})


def _run_here(
    make_run: Callable[[Path], Run],
    folder: Path,
    stop: int | None,
    seed: int,
    send: Callable[[str, Any], None] | None = None,
) -> dict[str, Any]:
    """Creates a run, and runs it to the end or up to ``stop``; returns the fields of a record."""
    manual_seed(seed)
    run = make_run(folder)
    trainer, recorder = run.trainer, Recorder(run.trainer, run.objects, send)
    if stop is None:
        trainer.run(run.data, **run.arguments, resume="latest")
    else:
        fault: Fault = Kill() if send is not None else Raise(_StopError(f"after iteration {stop}"))
        try:
            event = Events.ITERATION_COMPLETED(once=stop) if stop else Events.STARTED
            with inject(trainer, fault, at=event, priority=float("-inf")):
                trainer.run(run.data, **run.arguments, resume="latest")
        except _StopError:
            trainer.logger.debug("Stopped after iteration %s", stop)
    return {
        "entries": recorder.entries,
        "started_at": trainer.state.iteration
        if recorder.started_at is None
        else recorder.started_at,
        "iteration": trainer.state.iteration,
        "state": recorder.final_state() if stop is None else {},
    }


def _entries_differ(record: _Record, reference: _Record, last: int) -> str | None:
    """Describes the first difference of the entries of ``record``, up to iteration ``last``."""
    is_complete = last == reference.iteration and record.state
    for key, expected in reference.entries.items():
        if key in record.entries:
            if difference := first_difference(record.entries[key], expected, key):
                return difference
            continue
        iteration = int(re.findall(r"\d+", key)[-1])
        # Entries at the end of the iteration in which a run stopped may belong to the resumed run.
        is_due = record.started_at < iteration < last
        is_due |= iteration == last and bool(is_complete or key.startswith("batch"))
        if is_due and iteration > record.started_at:
            return f"there is no {key}"
    surplus = [key for key in record.entries if key not in reference.entries]
    return f"there should be no {surplus[0]}" if surplus else None


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


Send = Callable[[str, Any], None]

_SENT, _RESULT, _ERROR = "sent", "result", "error"
_LENGTH = struct.Struct("<Q")
_POLL_S = 0.02


class Found(NamedTuple):
    """Outcome of a call: the values that the function has sent, and its result."""

    sent: list[tuple[str, Any]]
    result: Any


def call_in_child(
    function: Callable[[Send], Any], *, is_killed: bool = False, timeout_s: float = 120.0
) -> Found:
    """Calls ``function(send)`` in a process that is forked from this one.

    Sent values and the result must be loadable with ``torch.load(weights_only=True)``. In the
    child, PyTorch uses one thread, because the threads of this process are not forked.

    Args:
        function: the function; ``send(key, value)`` sends a value to this process at once.
        is_killed: whether the child is expected to end by SIGKILL instead of returning.
        timeout_s: seconds after which the child is killed.

    Raises:
        RuntimeError: the function raised, the child ended in an unexpected way, or it timed out.
        NotImplementedError: this system cannot fork processes.
    """
    if not hasattr(os, "fork"):
        raise NotImplementedError(
            "kill=True needs processes that are forked, but this system has no os.fork: leave kill "
            "out, which stops runs with an exception"
        )
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Of Python 3.12 and later. The child does not need the threads, which are not forked.
        warnings.filterwarnings("ignore", message=".* is multi-threaded, use of fork")
        pid = os.fork()
    if pid == 0:
        os.close(reading)
        _work(function, writing)
    os.close(writing)
    try:
        data, status = _read_until_end(reading, pid, clock.now() + timeout_s)
    finally:
        os.close(reading)
        _kill_group(pid)
    if status is None:
        os.waitpid(pid, 0)
        raise RuntimeError(f"The run in process {pid} took longer than {timeout_s} s")
    messages = _parse(data)
    for kind, value in messages:
        if kind == _ERROR:
            raise RuntimeError(f"The run in process {pid} failed:\n{value}")
    code, wanted = os.waitstatus_to_exitcode(status), -_SIGKILL if is_killed else 0
    if code != wanted:
        raise RuntimeError(
            f"The run in process {pid} should end with exit code {wanted}, but ended with {code}"
        )
    results = [value for kind, value in messages if kind == _RESULT]
    return Found(
        [value for kind, value in messages if kind == _SENT], results[0] if results else None
    )


def _work(function: Callable[[Send], Any], writing: int) -> None:
    """Runs in the child. Never returns, so that the parent's program does not continue here."""
    code = 1
    try:
        os.setpgid(0, 0)
        torch.set_num_threads(1)
        result = function(lambda key, value: _send(writing, _SENT, (key, value)))
        _send(writing, _RESULT, result)
        code = 0
    except BaseException:
        _send(writing, _ERROR, traceback.format_exc())
    finally:
        os._exit(code)


def _send(writing: int, kind: str, value: Any) -> None:
    buffer = BytesIO()
    torch.save((kind, value), buffer)
    data = _LENGTH.pack(buffer.tell()) + buffer.getvalue()
    while data:
        data = data[os.write(writing, data) :]


def _read_until_end(reading: int, pid: int, deadline: float) -> tuple[bytes, int | None]:
    """Returns the data from the child, and its exit status, which is None after a timeout."""
    data, status = bytearray(), None
    while clock.now() < deadline:
        if select.select([reading], [], [], _POLL_S)[0]:
            chunk = os.read(reading, 1 << 20)
            data += chunk
            if not chunk:
                return bytes(data), os.waitpid(pid, 0)[1] if status is None else status
        elif status is None:
            done, found = os.waitpid(pid, os.WNOHANG)
            if done:
                status = found
                _kill_group(pid)  # loader workers of the child hold the pipe open
    return bytes(data), status


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, _SIGKILL)
    except ProcessLookupError:
        return


def _parse(data: bytes) -> list[tuple[str, Any]]:
    """Returns all complete messages; a killed child may leave an incomplete one."""
    messages, place = [], 0
    while len(data) >= place + _LENGTH.size:
        (length,) = _LENGTH.unpack_from(data, place)
        place += _LENGTH.size
        if len(data) >= place + length:
            content = data[place : place + length]
            with quiet_about_sparse(REBUILD_SPARSE.encode() in content):
                messages.append(torch.load(BytesIO(content), weights_only=True))
        place += length
    return messages
