"""Asserts that a run that was stopped and resumed is the run that was never stopped, to the last bit."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ignite._core.differences import first_difference
from ignite._core.seeding import capture_random_state, manual_seed, restore_random_state
from ignite.engine import Engine, Events
from ignite.testing._children import call_in_child
from ignite.testing._record import Recorder
from ignite.testing.faults import Fault, Kill, Raise
from ignite.testing.injection import inject

__all__ = ["Resumption", "Run", "assert_resume_is_exact"]


_SEED = 0xD1CE
_NOT_REPEATABLE = "Two runs that were not resumed differ, so make_run should seed more"


class Run:
    """A training run that is ready to begin: what the function given to :func:`assert_resume_is_exact` makes.

    Args:
        trainer: the engine, with its handlers, a :class:`~ignite.handlers.Checkpoint` among them.
        data: what it is run on.
        objects: what to compare at the end, by name: things with ``state_dict``, engines (whose
            metrics are compared after each of their runs, too), and plain values such as a list
            that handlers add to.
        **arguments: for ``trainer.run``, such as ``max_epochs``.
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
    """One of the runs that were stopped: after which iteration, and after which one the new run went on."""

    stopped_at: int
    resumed_at: int


class _Record(NamedTuple):
    """What is known of one call of ``trainer.run``.

    Plain values, so that it travels between processes.
    """

    entries: dict[str, Any]
    started_at: int
    iteration: int
    """Of the last entry, or of the state if the run had nothing to do."""
    state: dict[str, Any]


class _StopError(Exception):
    """What stops a run."""


def assert_resume_is_exact(
    make_run: Callable[[Path], Run],
    *,
    at: Iterable[int] | None = None,
    every: int = 1,
    kill: bool = False,
    timeout_s: float = 120.0,
) -> list[Resumption]:
    """Stops a run after chosen iterations, resumes it from its last checkpoint, and compares it with one never stopped.

    For each of the iterations, all is made anew, run until then, stopped, made anew again, and run
    to the end with ``trainer.run(..., resume="latest")``. Compared, with no tolerance, are: each
    batch; the metrics of the trainer after each epoch, and of other engines after each run; and at
    the end the state of the trainer, of all ``objects`` and of the random number generators.

    Args:
        make_run: ``make_run(folder)`` makes everything as the training script does: data, model,
            optimizer, trainer and handlers, with checkpoints in ``folder``. It seeds what it draws
            itself, such as the first weights: where a run is to be resumed, the generators stand
            elsewhere, as in another process.
        at: the iterations after which to stop, 0 for before the first; by default every
            ``every``-th, and the last.
        every: see there.
        kill: stop the run with SIGKILL instead of an exception. All runs are then made in processes
            of their own, forked from this one, where torch computes with one thread. States and
            metrics have to be such that ``torch.load(weights_only=True)`` reads them.
        timeout_s: for ``kill``: how long a single run may take.

    Returns:
        For each of the runs where it stopped, and from where it went on.

    Raises:
        AssertionError: a run differs; the message says where first, and in what. Or no run went on
            from a checkpoint, so that nothing was tested.
        ValueError: ``every`` is not positive, or ``at`` has an iteration that the run does not
            have.

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
        AssertionError: Stopped after iteration 4 and resumed after 4: final state['total']['sum'] is 5 and should be 12
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
                    f"at should have iterations from 0 to {last}, those of the run, but given {stop}"
                )
        resumptions = [self._stop_and_resume(stop, reference) for stop in stops]
        if stops and not any(resumed_at for _, resumed_at in resumptions):
            raise AssertionError(
                "No run went on from a checkpoint, all began anew: make_run should attach one that saves before "
                f"iteration {max(stops)}"
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
        ):  # begun anew, with generators that differ unless make_run has seeded them
            found["random_state"] = expected["random_state"] = None
        difference = _entries_differ(resumed, reference, last=reference.iteration)
        difference = difference or first_difference(found, expected, "final state")
        if difference and resumed.started_at == 0:
            raise AssertionError(f"{_NOT_REPEATABLE}: {difference}")
        if difference:
            raise AssertionError(
                f"Stopped after iteration {stop} and resumed after {resumed.started_at}: {difference}"
            )
        return Resumption(stop, resumed.started_at)

    def _folder_of(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder

    def _run(self, folder: Path, stop: int | None, is_new_process: bool = False) -> _Record:
        # What make_run does not seed is as it was in the run that is compared with, unless it is
        # restored.
        self._num_resumed += is_new_process
        seed = _SEED + self._num_resumed * is_new_process
        if not self._kill:
            return _Record(**_run_here(self._make_run, folder, stop, seed))
        found = call_in_child(
            lambda tell: _run_here(self._make_run, folder, stop, seed, tell),
            is_killed=stop is not None,
            timeout_s=self._timeout_s,
        )
        if stop is None:
            return _Record(**found.result)
        return _Record(dict(found.told), 0, stop, {})


def _run_here(
    make_run: Callable[[Path], Run],
    folder: Path,
    stop: int | None,
    seed: int,
    tell: Callable[[str, Any], None] | None = None,
) -> dict[str, Any]:
    """Makes a run and runs it to the end, or up to ``stop``; returns the fields of a record."""
    manual_seed(seed)
    run = make_run(folder)
    trainer, recorder = run.trainer, Recorder(run.trainer, run.objects, tell)
    if stop is None:
        trainer.run(run.data, **run.arguments, resume="latest")
    else:
        fault: Fault = Kill() if tell is not None else Raise(_StopError(f"after iteration {stop}"))
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
    """Where the entries after the start of ``record``, up to iteration ``last``, differ from those of ``reference``."""
    is_complete = last == reference.iteration and record.state
    for key, expected in reference.entries.items():
        if key in record.entries:
            if difference := first_difference(record.entries[key], expected, key):
                return difference
            continue
        iteration = int(re.findall(r"\d+", key)[-1])
        # What comes after the iteration in which a run stopped may have been left to the one that
        # went on.
        is_due = record.started_at < iteration < last
        is_due |= iteration == last and bool(is_complete or key.startswith("batch"))
        if is_due and iteration > record.started_at:
            return f"there is no {key}"
    surplus = [key for key in record.entries if key not in reference.entries]
    return f"there should be no {surplus[0]}" if surplus else None
