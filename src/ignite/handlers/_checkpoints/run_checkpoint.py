"""Saves everything that belongs to a run, so that it resumes exactly: ``Checkpoint.of``."""

from __future__ import annotations

import functools
import logging
import math
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

from ignite import distributed as idist
from ignite import storage
from ignite._core import clock
from ignite._core.files import check_writable
from ignite._core.rng import RandomState
from ignite._core.trees import replaced
from ignite.data import OwnState
from ignite.engine import Engine, Events, EventsList
from ignite.engine.extension import Unfinished
from ignite.engine.resume.belongings import collect
from ignite.engine.resume.resumption import other_data, random_state_of, rows_of, run_state_dict
from ignite.engine.resume.unsaved import Unsaved, watched_steps
from ignite.exceptions import CheckpointError
from ignite.handlers._checkpoints.object_states import check_round_trip
from ignite.handlers._checkpoints.score import Score

AnyEngine = Engine[Any, Any]
T = TypeVar("T")

_BOUNDARIES = (Events.EPOCH_COMPLETED, Events.ITERATION_COMPLETED, Events.COMPLETED)
_LAST = float("-inf")
_SKIP, _KEEP, _SAVE = range(3)
_KEPT_TIMES = 50


class _Copy(NamedTuple):
    """A copied state that is written with the next checkpoint."""

    states: Any
    note: storage.Note


class _Timing:
    """End and duration of the last save, in the foreground and in the background."""

    def __init__(self) -> None:
        self.is_writing = False
        self._began = self._in_foreground_s = self._in_background_s = 0.0
        self._ended: float | None = None
        self._earlier_s: deque[float] = deque(maxlen=_KEPT_TIMES)

    @property
    def all_s(self) -> tuple[float, ...]:
        """Seconds that the latest saves took."""
        return () if self._ended is None else (*self._earlier_s, self.cost_s)

    @property
    def cost_s(self) -> float:
        """Seconds that the last save took, summed over threads."""
        return self._in_foreground_s + self._in_background_s

    @property
    def since_last_s(self) -> float | None:
        """Seconds since the last save; None before the first."""
        return None if self._ended is None else clock.now() - self._ended

    def begin(self) -> None:
        """Marks the start of a save."""
        if self._ended is not None:
            self._earlier_s.append(self.cost_s)
        self._began, self._in_background_s = clock.now(), 0.0

    def end_foreground(self) -> None:
        """Marks that training continues."""
        self._ended = clock.now()
        self._in_foreground_s = self._ended - self._began

    def end_background(self, in_background_s: float) -> None:
        """Marks that the files are written."""
        self._in_background_s = in_background_s
        self.is_writing = False


class RunCheckpoint:
    """Saves a run between iterations; created by :meth:`ignite.handlers.Checkpoint.of`."""

    saves_runs: ClassVar[bool] = True
    needs_all_processes = "Checkpoint.of"

    def __init__(
        self,
        trainer: AnyEngine,
        dirname: str | Path,
        given: Mapping[str, Any],
        score: Score,
        num_best: int,
        num_last: int,
        background: bool,
    ) -> None:
        for name, number, least in (("n_saved", num_best, 0), ("keep_last", num_last, 1)):
            if not isinstance(number, int) or number < least:
                text = f"{name} should be an integer of at least {least}, but given {number!r}"
                raise ValueError(text)
        self.given = dict(given)
        self.weights_only = True
        """False pickles objects that could not be loaded safely, instead of refusing them.

        Resuming then runs the code that the files in the folder name.
        """
        self.place = storage.open_place(dirname)
        self.logger = logging.getLogger(f"{__name__}.{type(self).__name__}")
        # Weak, because a reference cycle would keep the model alive.
        self._trainer_ref = weakref.ref(trainer)
        self._unsaved = Unsaved(self.logger)
        self.data: dict[str, Any] = {}
        """Data that the run uses beside its own, by name; those that handlers use are found."""
        self._generators: Mapping[str, Any] = {}
        self._other_data: OwnState | None = None
        self._score = score
        self._num_best = num_best if score.source is not None else 0
        self._num_last = num_last
        self._snapshot = storage.Snapshot()
        self._writer = storage.Writer() if background else None
        self._rows: list[storage.Row] = []
        self._restarts, self._is_due = 0, False
        self.pace: Callable[[float | None, float], bool] | None = None
        """``f(seconds since the last save or None, seconds it took)``, returns whether to save."""
        self._timing = _Timing()
        self._best: _Copy | None = None
        """The best state that is not written yet."""
        self._snapshot_of_best = storage.Snapshot()

    @property
    def _trainer(self) -> AnyEngine:
        trainer = self._trainer_ref()
        if trainer is None:
            raise RuntimeError(
                "Cannot save the run: its trainer has been deleted. Keep a reference to the trainer"
            )
        return trainer

    def attach(self, event: Any) -> None:
        """Saves at ``event``, after all its other handlers, and at the end of the run.

        Raises:
            ValueError: the run cannot be resumed at this event.
            RuntimeError: another checkpoint already saves the run.
        """
        within = getattr(self._trainer.step_function, "resumes_within", ())
        for one in event if isinstance(event, EventsList) else [event]:
            if one not in _BOUNDARIES and one not in within:
                raise ValueError(
                    "event should be ITERATION_COMPLETED or EPOCH_COMPLETED, with or without a "
                    f"filter, so that a run can be resumed from it, but given {one!r}"
                )
        trainer = self._trainer
        if trainer.run_saver is not None:
            raise RuntimeError(
                "A trainer should have one Checkpoint.of, but this trainer already has one that "
                f"writes to {trainer.run_saver.place}. Join several events with | instead"
            )
        trainer.add_event_handler(event, self, priority=_LAST)
        for end in (Events.TERMINATE, Events.COMPLETED):
            trainer.add_event_handler(end, self._save_the_end, priority=_LAST)
        trainer.add_run_context(self._frame)
        trainer.run_saver = self

    @property
    def save_times(self) -> tuple[float, ...]:
        """Seconds that the latest saves took, the newest last, with writing in the background."""
        return self._timing.all_s

    @property
    def is_in_background(self) -> bool:
        """Whether files are written while training continues."""
        return self._writer is not None

    @property
    def last_checkpoint(self) -> Path | str | None:
        """Path or URL of the newest complete file; None if there is none."""
        rows = rows_of(self.place, storage.RUN_FAMILY)
        return self._path_of(rows[0].file) if rows else None

    @property
    def best_checkpoint(self) -> Path | str | None:
        """Path or URL of the file with the best score; None if there is none."""
        best = storage.best(rows_of(self.place, storage.RUN_FAMILY))
        return None if best is None else self._path_of(best.file)

    def _path_of(self, name: str) -> Path | str:
        if isinstance(self.place, storage.Folder):
            return self.place.path / name
        return f"{self.place}/{name}"

    def __call__(self, engine: AnyEngine, *args: Any, **kwargs: Any) -> None:
        """Saves the run now or, with several processes, after the current gradient accumulation.

        With ``pace``, saves only if it says so; a new best state is copied and written with the
        next checkpoint.
        """
        if self.pace is not None and (what := self._choose_action()) != _SAVE:
            if what == _KEEP:
                self._keep_best()
            return
        if self._is_accumulating_on_ranks():
            if not self._is_due:
                self._is_due = True
                engine.add_event_handler(
                    Events.ITERATION_COMPLETED, self._save_if_possible, priority=_LAST
                )
            return
        within = getattr(engine.step_function, "resumes_within", ())
        self.save(
            Unfinished(Events.ITERATION_COMPLETED.name, 0)
            if engine.last_event_name in within
            else None
        )

    def save(
        self,
        unfinished: Unfinished | None = None,
        random: RandomState | None = None,
        is_finished: bool = False,
    ) -> None:
        """Saves the run. A collective: call it on all ranks; rank 0 writes.

        Raises:
            OSError: writing failed; in the background, writing the previous checkpoint failed.
            TypeError: an object cannot be saved; the message names its place.
        """
        raise_together(self._wait)
        self._timing.begin()
        states, note = self._run_state(unfinished, random, is_finished)
        raise_together(functools.partial(self._write, states, note))
        self._timing.end_foreground()

    def _run_state(
        self, unfinished: Unfinished | None, random: RandomState | None, is_finished: bool
    ) -> tuple[dict[str, Any], storage.Note]:
        trainer, state = self._trainer, self._trainer.state
        belongings = collect(trainer, self.given)
        belongings.check(self.given)
        self._unsaved.compare(belongings.plain)
        self._generators = belongings.generators
        random = self.random_state() if random is None else random
        score = self._score.of(trainer, belongings.engines)
        states = run_state_dict(trainer, belongings, unfinished, random, is_finished)
        note = storage.Note(
            step=state.iteration,
            epoch=state.epoch,
            score=score,
            score_name=self._score.name,
            mode=self._score.mode,
            family=storage.RUN_FAMILY,
            restarts=self._restarts,
            created=time.time(),
        )
        return states, note

    def random_state(self) -> RandomState:
        """Captures the state of all random generators of the run, and of data that it uses beside its own."""
        return random_state_of(self._generators, self._other_data)

    def _choose_action(self) -> int:
        """Returns what to do at an event. Rank 0 decides, because clocks differ."""
        what = _SKIP
        if idist.get_rank() == 0:
            assert self.pace is not None
            is_due = not self._timing.is_writing and self.pace(
                self._timing.since_last_s, self._timing.cost_s
            )
            what = _SAVE if is_due else _KEEP if self._is_new_best() else _SKIP
        return what if idist.get_world_size() == 1 else int(idist.all_gather(what)[0])

    def _is_new_best(self) -> bool:
        if not self._num_best:
            return False
        engines = {} if callable(self._score.source) else collect(self._trainer, self.given).engines
        score = self._score.of(self._trainer, engines)
        notes = [row.note for row in self._rows] + ([] if self._best is None else [self._best.note])
        return (
            score is not None
            and not math.isnan(score)
            and all(self._is_better(score, note) for note in notes)
        )

    def _is_better(self, score: float | None, note: storage.Note) -> bool:
        """Whether a score is better than that of another checkpoint, which may have none."""
        if score is None or math.isnan(score):
            return False
        if note.score is None or math.isnan(note.score):
            return True
        return score > note.score if self._score.mode == "max" else score < note.score

    def _keep_best(self) -> None:
        states, note = self._run_state(None, None, is_finished=False)
        if idist.get_rank() == 0:
            self._best = None  # its memory is reused
            copied = self._snapshot_of_best.take(states, weights_only=self.weights_only)
            self._best = _Copy(copied, note)

    def wait(self) -> None:
        """Waits until everything is written. A collective: call it on all ranks.

        Raises:
            OSError: writing failed.
        """
        raise_together(self._wait)

    def _write(self, states: dict[str, Any], note: storage.Note) -> None:
        if idist.get_rank() != 0:
            return
        best, self._best = self._best, None
        if best is not None and (
            best.note.step == note.step or self._is_better(note.score, best.note)
        ):
            best = None
        if self._writer is None:
            self._commit_all(best, storage.plain(states, weights_only=self.weights_only), note)
        else:
            snapshot = self._snapshot.take(states, weights_only=self.weights_only)
            self._timing.is_writing = True
            self._writer.submit(functools.partial(self._commit_all, best, snapshot, note))

    def _commit_all(self, best: _Copy | None, states: Any, note: storage.Note) -> None:
        began = clock.now()
        try:
            if best is not None:
                self._commit(best.states, best.note)
            self._commit(states, note)
        finally:
            self._timing.end_background(clock.now() - began if self._writer is not None else 0.0)

    def _commit(self, states: Any, note: storage.Note) -> None:
        name = f"checkpoint_{note.step:08d}.pt"
        written = storage.save(
            self.place, name, states, note, is_plain=True, weights_only=self.weights_only
        )
        row = storage.Row(name, note, written)
        rows = [known for known in self._rows if known.file != name]
        self._rows = storage.kept([*rows, row], self._num_best, self._num_last)
        storage.write_index(self.place, self._rows)
        for old in rows:
            if old not in self._rows:
                self._remove(old.file)
        self.logger.info("Saved %s in %s (score: %s)", name, self.place, note.score)

    def _remove(self, name: str) -> None:
        try:
            self.place.remove(name)
        except OSError as error:
            self.logger.warning("Cannot remove checkpoint %s: %s", name, error)

    def _wait(self) -> None:
        if self._writer is not None:
            self._writer.wait()

    def _save_if_possible(self, engine: AnyEngine) -> None:
        if not self._is_accumulating_on_ranks():
            self._is_due = False
            engine.remove_event_handler(self._save_if_possible, Events.ITERATION_COMPLETED)
            self.save()

    def _is_accumulating_on_ranks(self) -> bool:
        """Whether each rank has gradients of its own, which only rank 0 would save."""
        return (
            idist.get_world_size() > 1
            and getattr(self._trainer.step_function, "num_accumulated", 0) > 0
        )

    def _save_the_end(self, engine: AnyEngine) -> None:
        """Saves the finished run, so that a restarted job does not train further."""
        if (
            engine.last_event_name is Events.COMPLETED
            or engine.should_terminate == "skip_completed"
        ):
            self.save(is_finished=not engine.will_resume)

    @contextmanager
    def held(self, is_new: bool) -> Iterator[None]:
        """Locks the folder during a run.

        Raises:
            CheckpointError: another process writes to the folder.
            ValueError: a new run starts, but there are checkpoints of an earlier one.
        """
        with ExitStack() as stack:
            raise_together(lambda: stack.enter_context(self._held()))
            raise_together(functools.partial(self._find_earlier, is_new))
            yield

    @contextmanager
    def _frame(self, trainer: AnyEngine, is_new: bool) -> Iterator[None]:
        """Waits at the end of each run until everything is written."""
        found = collect(trainer, self.given)
        self._unsaved.compare(found.plain)
        self._generators = found.generators
        self._other_data = other_data(trainer, found)
        try:
            with watched_steps(trainer, found.objects):
                yield
        except BaseException:
            self._wait_without_raising()
            raise
        finally:
            self._best = None
        self.wait()

    def _held(self) -> AbstractContextManager[Any]:
        folder = getattr(self.place, "path", None) if idist.get_rank() == 0 else None
        return nullcontext() if folder is None else storage.hold(folder)

    def _find_earlier(self, is_new: bool) -> None:
        if idist.get_rank() != 0:
            return
        self.place.sweep()
        found = rows_of(self.place, storage.RUN_FAMILY)
        if is_new and found:
            raise ValueError(
                f"{self.place} should be empty when a new run starts, but contains checkpoints of "
                f"an earlier run, such as {found[0].file}. Call run(..., resume='latest') to "
                "resume it, or use another folder"
            )
        self._rows = found[::-1]
        self._restarts = max((row.note.restarts for row in found), default=-1) + 1

    def _wait_without_raising(self) -> None:
        try:
            self._wait()
            if self._best is not None:  # copied before the run failed
                self._commit(self._best.states, self._best.note)
        except Exception:
            self.logger.exception("Cannot write the last checkpoint")

    @contextmanager
    def dry_run_in(self, folder: Path) -> Iterator[Callable[[], None]]:
        """In a dry run: saves to ``folder``; yields a function that reads the checkpoint back."""
        check_writable(getattr(self.place, "path", None))
        self._rows = []
        with replaced(self, place=storage.open_place(folder)):
            yield self._read_back

    def _read_back(self) -> None:
        """Loads the checkpoint on all processes: states of metrics are gathered from all of them."""
        states, error = None, None
        try:
            if rows := rows_of(self.place, storage.RUN_FAMILY):
                file = self.place, rows[0].file
                states = storage.load(file, weights_only=self.weights_only).state
        except Exception as raised:  # the other processes wait for this one
            error = raised
        has_file = states is not None
        if idist.get_world_size() > 1:
            gathered: Any = idist.all_gather({"states": states})
            states = next((one["states"] for one in gathered if one["states"] is not None), None)
        if error is not None:
            raise error
        if states is not None:
            objects = collect(self._trainer, self.given).objects
            saved = {name: states[name] for name in objects}
            check_round_trip(objects, saved, is_compared=has_file)

    def describe_handler(self, engine: AnyEngine, handler: str) -> str:
        """Returns the text for ``engine.describe()``: the saved objects and the folder."""
        if handler != "__call__":
            return ""
        return f"{', '.join(collect(self._trainer, self.given).objects)} -> {self.place}"


def of(
    trainer: AnyEngine,
    dirname: str | Path,
    *,
    event: Any = Events.EPOCH_COMPLETED,
    score: str | Callable[[AnyEngine], float] | None = None,
    mode: Literal["max", "min"] = "max",
    n_saved: int = 1,
    keep_last: int = 2,
    background: bool = True,
    **objects: Any,
) -> RunCheckpoint:
    """Saves everything that belongs to a run, so that it can be resumed exactly.

    Resume it with ``trainer.run(data, resume="latest")``.

    What belongs to the run is found automatically: the model, optimizer, scaler and accumulated
    gradients of a supervised trainer; attached handlers and metrics with a state; and the objects
    that the step and the handlers use from the surrounding script, under their variable names:
    models, optimizers, the gradients that they accumulate, schedulers, weight averages, trained
    tensors, random number generators, evaluators with their handlers. Also saved are the position
    in the data, with what samplers, datasets and iterables hold and change, global random states,
    counters and the latest metrics. ``trainer.describe()`` lists the names. Numbers and tensors in
    plain variables of the step and handlers are not saved; a warning names those that change during
    the run.

    Data passed to ``run`` is made resumable, see :func:`ignite.data.resumable`: the order of
    samples and the random numbers drawn for them are then functions of the seed and the epoch.

    Files are complete or absent, even if the process or the machine stops. ``last.pt`` and
    ``best.pt`` point to checkpoints, and ``index.json`` lists them. The end of the run is saved,
    too; a run resumed from there is finished.

    Args:
        trainer: the trainer; only one such checkpoint per trainer.
        dirname: a folder for this run only, or a URL that fsspec supports, such as
            "s3://bucket/run".
        event: when to save: ITERATION_COMPLETED or EPOCH_COMPLETED, with or without a filter, or
            both joined with ``|``. Called after all other handlers of the event. Steps that can be
            resumed within, such as those of ``create_supervised_tbptt_trainer``, support further
            events.
        score: the name of a metric of an evaluator or of the trainer, or a function of the trainer.
            A checkpoint has the score of an evaluation that ended in the same iteration. NaN counts
            as no score.
        mode: whether a higher ("max") or a lower ("min") score is better.
        n_saved: how many checkpoints with the best scores to keep.
        keep_last: how many of the newest to keep, at least 1. With two, a damaged file has a
            fallback.
        background: whether to copy the state and write it while training continues. One checkpoint
            is written at a time; the next save waits for it. Needs the memory of one copy.
        **objects: further objects with ``state_dict`` and ``load_state_dict``, or other names for
            objects that are found; None excludes one.

    Returns:
        The attached handler, with ``save()``, ``wait()``, ``last_checkpoint`` and
        ``best_checkpoint``. Set its ``weights_only`` to False if objects have states that could not
        be loaded safely; resuming then runs the code that files in the folder name.

    Raises:
        TypeError: an object has no state, or ``score`` is of the wrong kind.
        ValueError: a number, the mode or the event is invalid.
        RuntimeError: the trainer already has one.
        During the run: ValueError if a new run starts in a folder with another run; CheckpointError
            if another process writes to the folder; OSError if writing fails (in the background,
            raised by the next save or at the end).

    Distributed:
        Create it on all ranks. Rank 0 writes, and an error is raised on all ranks. Random states,
        and what else differs between ranks, are saved for each of them: entries of states are
        compared at each save, of models in DDP a sample. With another number of ranks, all get
        those of rank 0, which the log says; accumulated gradients are averaged. A save waits for
        the end of the gradient accumulation of a supervised step.

    Example:
        >>> import tempfile
        >>> folder, seen = tempfile.mkdtemp(), []
        >>> def program(max_epochs):
        ...     trainer = Engine(lambda engine, batch: seen.append(batch))
        ...     Checkpoint.of(trainer, folder)
        ...     trainer.run([1, 2, 3], max_epochs=max_epochs, resume="latest")
        >>> from ignite.handlers import Checkpoint
        >>> program(max_epochs=1)
        >>> program(max_epochs=2)
        >>> seen
        [1, 2, 3, 1, 2, 3]
    """
    checkpoint = RunCheckpoint(
        trainer, dirname, objects, Score(score, mode), n_saved, keep_last, background
    )
    checkpoint.attach(event)
    return checkpoint


def raise_together(act: Callable[[], T]) -> T:
    """Calls ``act``; raises on all ranks if it raises on one. A collective: call it on all ranks.

    Returns:
        The result of ``act``.

    Raises:
        Exception: the exception of ``act`` on this rank.
        CheckpointError: ``act`` raised on another rank; the message names the rank and the
            exception.

    Example:
        >>> raise_together(lambda: "written")
        'written'
    """
    if idist.get_world_size() == 1:
        return act()
    error: Exception | None = None
    try:
        result = act()
    except Exception as raised:
        error = raised
    gathered = idist.all_gather(None if error is None else f"{type(error).__name__}: {error}")
    if error is not None:
        try:
            raise error
        finally:
            del error  # its traceback holds this frame: a reference cycle
    for rank, text in enumerate(gathered):
        if text is not None:
            raise CheckpointError(f"Cannot save the checkpoint: rank {rank} raised {text}")
    return result
