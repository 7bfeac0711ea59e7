"""Checkpoints of objects: saves them when called, and keeps the best or the latest files."""

from __future__ import annotations

import numbers
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

from ignite import distributed as idist
from ignite import storage
from ignite._core.calls import nearest
from ignite.base import Serializable
from ignite.engine import Engine
from ignite.handlers._checkpoints.earlier_signature import takes_archived, takes_old_arguments
from ignite.handlers._checkpoints.object_states import (
    HANDLER_KEY,
    check_objects,
    check_same,
    is_sharded,
    load_objects,
    states_of,
)
from ignite.handlers._checkpoints.run_checkpoint import of
from ignite.handlers._checkpoints.save_handlers import (
    BaseSaveHandler,
    DiskSaver,
    Metadata,
    note_of,
    remove_each,
)
from ignite.handlers._checkpoints.tracked_files import (
    EXTENSION,
    CheckpointEvents,
    FileNames,
    TrackedFiles,
    setup_filename_pattern,
    state_of_items,
)
from ignite.storage import check_name, ledger, place_in

__all__ = ["BaseSaveHandler", "Checkpoint", "CheckpointEvents", "DiskSaver", "ModelCheckpoint"]

AnyEngine = Engine[Any, Any]
Item = ledger.Item
SaveHandler = str | Path | Callable[..., Any] | BaseSaveHandler


def get_default_score_fn(
    metric_name: str, score_sign: float = 1.0
) -> Callable[[Engine[Any, Any]], float]:
    """Returns a score function that reads a metric of the engine.

    Args:
        metric_name: the name in ``engine.state.metrics``.
        score_sign: -1 if lower is better.

    Raises:
        ValueError: ``score_sign`` is neither 1 nor -1.
        KeyError: when called, the engine has no such metric.

    Example:
        >>> engine = Engine(lambda engine, batch: None)
        >>> engine.state.metrics["loss"] = 0.25
        >>> get_default_score_fn("loss", -1)(engine)
        -0.25
    """
    if score_sign not in (1.0, -1.0):
        raise ValueError(f"Argument score_sign should be 1 or -1, but given {score_sign!r}")

    def score(engine: Engine[Any, Any]) -> float:
        metrics = engine.state.metrics
        if metric_name not in metrics:
            raise KeyError(
                f"The score should be one of the metrics {list(metrics)}, but given {metric_name!r}"
                f"{nearest(metric_name, metrics)}"
            )
        value: float = score_sign * metrics[metric_name]
        return value

    return score


class Checkpoint(Serializable):
    """Saves the states of objects at each call, and keeps the best or the latest ``n_saved`` files.

    A new file is written before an old one is removed, so that a loadable file always exists. If
    writing fails, the error is raised; existing files and the list of tracked files do not change.
    To save everything that belongs to a run, and to resume it exactly, use :meth:`of`.

    Args:
        to_save: objects with ``state_dict``, by name; may contain nested dictionaries and lists.
            The state of a single object is saved without its name; several objects, or one with
            ``include_self``, are saved by name.
        save_handler: a folder; a function ``f(checkpoint, filename)`` or ``f(checkpoint, filename,
            metadata)`` that writes; or a :class:`BaseSaveHandler`, which can also remove files.
        filename_prefix: prefix of the file names.
        score_function: ``f(engine)``; files with the highest scores are kept. Without it, the
            latest files are kept. NaN is the lowest score.
        score_name: name of the score in file names; without ``score_function``, the metric to use
            as the score.
        n_saved: number of files to keep; None keeps all.
        global_step_transform: ``f(engine, event_name)``, returns the step for file names. See
            :func:`global_step_from_engine`.
        filename_pattern: custom pattern with ``{filename_prefix}``, ``{name}``, ``{global_step}``,
            ``{score_name}``, ``{score}`` and ``{ext}``; see :meth:`setup_filename_pattern`.
        include_self: whether to save the state of this handler, too, as "checkpointer", so that a
            resumed run continues to remove old files.
        greater_or_equal: whether a file replaces one with an equal score.
        save_on_rank: the rank that writes.

    Raises:
        TypeError, ValueError: an argument is invalid, or file names would contain a path.

    State:
        ``_saved``: priorities and names of the tracked files; ``_real``: their actual names, if a
        custom saver renamed them.

    Distributed:
        One rank writes, and may be the only one with this handler. Ranks do not wait for each
        other, except with a ``ZeroRedundancyOptimizer`` in ``to_save``: create and call the handler
        on all ranks then; the score of the rank that writes decides.

    Example:
        >>> import tempfile, torch
        >>> from ignite.engine import Engine, Events
        >>> trainer, model = Engine(lambda engine, batch: batch), torch.nn.Linear(1, 1)
        >>> checkpoint = Checkpoint({"model": model}, tempfile.mkdtemp(), n_saved=2)
        >>> _ = trainer.add_event_handler(Events.EPOCH_COMPLETED, checkpoint)
        >>> _ = trainer.run([0, 0], max_epochs=3)
        >>> checkpoint.last_checkpoint.name
        'model_6.pt'
        >>> Checkpoint.load_objects({"model": model}, checkpoint.last_checkpoint)
    """

    SAVED_CHECKPOINT = CheckpointEvents.SAVED_CHECKPOINT
    Item = ledger.Item
    of = staticmethod(of)
    load_objects = staticmethod(load_objects)
    setup_filename_pattern = staticmethod(setup_filename_pattern)
    get_default_score_fn = staticmethod(get_default_score_fn)
    _state_dict_all_req_keys = ("_saved",)

    @takes_archived
    def __init__(  # noqa: PLR0913 - Ignite's signature
        self,
        to_save: Mapping[str, Any],
        save_handler: SaveHandler,
        filename_prefix: str = "",
        score_function: Callable[[AnyEngine], float] | None = None,
        score_name: str | None = None,
        n_saved: int | None = 1,
        global_step_transform: Callable[[AnyEngine, Any], int] | None = None,
        filename_pattern: str | None = None,
        include_self: bool = False,
        greater_or_equal: bool = False,
        save_on_rank: int = 0,
    ) -> None:
        if not (global_step_transform is None or callable(global_step_transform)):
            raise TypeError(
                f"global_step_transform should be a function, but given {global_step_transform!r}"
            )
        if n_saved is not None and (n_saved < 1 or n_saved != int(n_saved)):
            raise ValueError(f"n_saved must be a positive integer or None, but given {n_saved!r}")
        check_objects(to_save, include_self)
        if score_function is None and score_name is not None:
            score_function = get_default_score_fn(score_name)
        self.to_save = to_save
        self.filename_prefix = filename_prefix
        self.score_function = score_function
        self.score_name = score_name
        self.n_saved = None if n_saved is None else int(n_saved)
        self.ext = EXTENSION
        self.global_step_transform = global_step_transform
        self.filename_pattern = filename_pattern
        self.include_self = include_self
        self.greater_or_equal = greater_or_equal
        self.save_on_rank = save_on_rank
        self._files_per_save = 1
        self._files = TrackedFiles(save_on_rank)
        self.save_handler = save_handler
        if self._files.is_on_disk:
            self._names.check()
        if to_save:
            self._files.find_earlier(self._names)

    @property
    def save_handler(self) -> Callable[..., Any]:
        """The save handler."""
        return self._files.handler

    @save_handler.setter
    def save_handler(self, handler: SaveHandler) -> None:
        self._files.handler = handler

    @property
    def _saved(self) -> list[ledger.Item]:
        return self._files.items

    @_saved.setter
    def _saved(self, items: list[ledger.Item]) -> None:
        self._files.items = list(items)

    @property
    def last_checkpoint(self) -> Any:
        """The file with the highest priority: a path in a folder, otherwise a name, or None."""
        if not self._saved:
            return None
        handler, name = self.save_handler, self._saved[-1].filename
        return handler._path_of(name) if isinstance(handler, DiskSaver) else name

    def __call__(self, engine: AnyEngine, *args: Any, **kwargs: Any) -> None:
        """Saves the objects, unless ``n_saved`` files with a higher priority exist.

        Raises:
            ValueError: the score is not a number.
            Exception: any error of the save handler.
        """
        if not engine.has_registered_events(self.SAVED_CHECKPOINT):
            engine.register_events(self.SAVED_CHECKPOINT)
        self._files.wait()
        step, priority = self._measure(engine)
        names, score = self._names, None if self.score_function is None else priority
        self._files.find_earlier(names)
        self._files.adopt(priority if score is None else None)
        filename = names.fill(step, score)
        num_kept = None if self.n_saved is None else self.n_saved * self._files_per_save
        decision = place_in(self._saved, priority, filename, num_kept, self.greater_or_equal)
        if decision is None:
            return
        order = Metadata(basename=names.basename, score_name=self.score_name, priority=priority)
        order.note = note_of(engine, score, self.score_name, names.family, self._files.restarts)
        self._files.save(self._contents(decision.kept), filename, order, decision, engine)

    def wait(self) -> None:
        """Waits for the background write.

        Raises:
            Exception: writing failed; the file is no longer tracked.
        """
        self._files.wait()

    def reset(self) -> None:
        """Forgets all files without removing them."""
        self._files.reset()

    def state_dict(self) -> OrderedDict[str, Any]:
        """Returns the tracked files."""
        return state_of_items(self._saved, self._files.real_names)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Tracks the files of ``state_dict``, which Ignite before 0.4.13 may have saved.

        Raises:
            CheckpointError: the files are not in one folder. Nothing is changed.
        """
        if isinstance(state_dict, Mapping) and "saved" in state_dict:
            state_dict = {"_saved": state_dict["saved"], **state_dict}
        super().load_state_dict(state_dict)
        self._files.load(state_dict["_saved"], state_dict.get("_real"))

    def reload_objects(
        self,
        to_load: Mapping[str, Any],
        load_kwargs: dict[str, Any] | None = None,
        **filename_components: Any,
    ) -> None:
        """Loads a file that this handler wrote, found by the parts of its name.

        Args:
            to_load: as for :meth:`load_objects`.
            load_kwargs: for :meth:`load_objects`.
            **filename_components: ``global_step``, ``score`` and ``name``, as they are in the name
                of the file.

        Raises:
            AttributeError: the save handler is not a :class:`DiskSaver`.
        """
        saver = self.save_handler
        if not isinstance(saver, DiskSaver):
            raise AttributeError(
                "Checkpoint's `save_handler` should be of type `DiskSaver`, "
                f"but given {type(saver)}"
            )
        self._files.wait()
        known = {key: filename_components.get(key) for key in ("global_step", "score", "name")}
        filename = check_name(self._names.fill(known["global_step"], known["score"], known["name"]))
        load_objects(to_load, saver._path_of(filename), **(load_kwargs or {}))

    def _measure(self, engine: AnyEngine) -> tuple[Any, Any]:
        """Returns the step for the file name, and the priority."""
        transform = self.global_step_transform
        step = None if transform is None else transform(engine, engine.last_event_name)
        if self.score_function is None and step is None:
            step = self._step_of(engine)
        priority = step if self.score_function is None else self.score_function(engine)
        if not isinstance(priority, numbers.Number):
            of_what = "global_step_transform" if self.score_function is None else "score_function"
            raise ValueError(f"Output of {of_what} should be a number, but given {priority!r}")
        if (
            self.score_function is not None
            and idist.get_world_size() > 1
            and is_sharded(self.to_save)
        ):
            # Saving is a collective here, so the score of the writing rank decides for all ranks.
            priority = idist.all_gather(priority)[self._files.rank]
        return step, priority

    def _step_of(self, engine: AnyEngine) -> int:
        return engine.state.iteration

    def _setup_checkpoint(self) -> Any:
        """The states of the objects, for programs that call this name of Ignite."""
        return states_of(self.to_save, self._files.rank)

    def _contents(self, kept: list[ledger.Item]) -> Any:
        states = states_of(self.to_save, self._files.rank)
        if self.include_self:  # beside the state of a single object, not among its entries
            return {**states, HANDLER_KEY: state_of_items(kept, self._files.real_names)}
        return next(iter(states.values())) if len(states) == 1 else states

    @property
    def _names(self) -> FileNames:
        has_score = self.score_function is not None
        return FileNames(
            self.to_save,
            self.filename_prefix,
            has_score,
            self.score_name,
            self.filename_pattern,
            self.ext,
        )

    @contextmanager
    def dry_run_in(self, folder: Path) -> Iterator[Callable[[], None]]:
        """In a dry run: saves to ``folder``; yields a function that reads the checkpoint back.

        Custom save handlers save where they always do; what they have saved is removed, if they can
        remove it.
        """
        handler = self.save_handler
        elsewhere = getattr(type(handler), "dry_run_in", None)
        self.reset()  # tracked files must not prevent a save
        with nullcontext() if elsewhere is None else elsewhere(handler, folder):
            try:
                yield self._read_back
            finally:
                if elsewhere is None and isinstance(handler, BaseSaveHandler):
                    remove_each(handler, [item.filename for item in self._saved])

    def _read_back(self) -> None:
        self.wait()
        path = self.last_checkpoint
        if not isinstance(path, Path) or not path.exists():
            return
        saved = storage.load(path).state
        load_objects(self.to_save, saved)
        states = {
            name: state for name, state in states_of(self.to_save, 0).items() if name != HANDLER_KEY
        }
        is_alone = len(states) == 1 and not self.include_self
        check_same(states, {name: saved if is_alone else saved[name] for name in states})


class ModelCheckpoint(Checkpoint):
    """A :class:`Checkpoint` to a folder; takes the objects to save at each call.

    Accepts the arguments of Ignite 0.1 to 0.4, with a DeprecationWarning. With ``save_interval=k``,
    every ``k``-th call saves each object to its own file, numbered by calls: ``run_model_4.pth``.

    Args:
        dirname: the folder. See :class:`DiskSaver` for this, ``atomic``, ``require_empty`` and
            ``create_dir``, and :class:`Checkpoint` for the others.
        **kwargs: passed to :class:`DiskSaver`.

    Raises:
        TypeError: an argument is unknown.
        ValueError: ``save_as_state_dict=False`` requests pickled objects, which run code when
            loaded; or an argument is invalid.

    Example:
        >>> import tempfile, torch
        >>> from ignite.engine import Engine, Events
        >>> trainer, model = Engine(lambda engine, batch: batch), torch.nn.Linear(1, 1)
        >>> checkpoint = ModelCheckpoint(tempfile.mkdtemp(), "run")
        >>> _ = trainer.add_event_handler(Events.EPOCH_COMPLETED, checkpoint, {"model": model})
        >>> _ = trainer.run([0, 0])
        >>> checkpoint.last_checkpoint.name
        'run_model_2.pt'
    """

    @takes_old_arguments
    def __init__(  # noqa: PLR0913 - Ignite's signature
        self,
        dirname: str | Path,
        filename_prefix: str = "",
        score_function: Callable[[AnyEngine], float] | None = None,
        score_name: str | None = None,
        n_saved: int | None = 1,
        atomic: bool = True,
        require_empty: bool | Literal["resume"] = True,
        create_dir: bool = True,
        global_step_transform: Callable[[AnyEngine, Any], int] | None = None,
        filename_pattern: str | None = None,
        include_self: bool = False,
        greater_or_equal: bool = False,
        save_on_rank: int = 0,
        **kwargs: Any,
    ) -> None:
        interval = self._save_interval = kwargs.pop("save_interval", None)
        self._iteration = 0  # number of calls; programs that resume set it
        if interval is not None:
            if score_function is not None or score_name is not None:
                raise ValueError(
                    "Either save_interval or score_function should be given, but given both"
                )
            filename_pattern = filename_pattern or "{filename_prefix}_{name}_{global_step}.{ext}"
        saver = DiskSaver(dirname, atomic, create_dir, require_empty, save_on_rank, **kwargs)
        super().__init__(
            {},
            saver,
            filename_prefix,
            score_function,
            score_name,
            n_saved,
            global_step_transform,
            filename_pattern,
            include_self,
            greater_or_equal,
            save_on_rank,
        )
        if interval is not None:
            self.ext = "pth"
            if require_empty is True:
                saver._check_is_empty(".pth", filename_prefix)

    @property
    def last_checkpoint(self) -> Any:
        """Path of the file with the highest priority; None if there is none."""
        if self._saved and not isinstance(self.save_handler, DiskSaver):
            raise RuntimeError(
                "Internal error, save_handler should be DiskSaver, "
                f"but has {type(self.save_handler)}."
            )
        return super().last_checkpoint

    def __call__(self, engine: AnyEngine, to_save: Mapping[str, Any]) -> None:
        """Saves ``to_save``, unless ``n_saved`` files with a higher priority exist.

        Raises:
            RuntimeError: ``to_save`` is empty.
        """
        if len(to_save) == 0:
            raise RuntimeError("No objects to checkpoint found.")
        check_objects(to_save, self.include_self)
        if self._save_interval is None:
            self.to_save = to_save
            super().__call__(engine)
            return
        self._iteration += 1
        if self._iteration % self._save_interval == 0:
            self._files_per_save = len(to_save)
            for name, one in to_save.items():
                self.to_save = {name: one}
                super().__call__(engine)

    def _step_of(self, engine: AnyEngine) -> int:
        return super()._step_of(engine) if self._save_interval is None else self._iteration

    def state_dict(self) -> OrderedDict[str, Any]:
        """Returns the tracked files and, with ``save_interval``, the number of calls."""
        state = super().state_dict()
        if self._save_interval is not None:
            state["_iteration"] = self._iteration
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Tracks the files of ``state_dict``, which Ignite before 0.4.13 may have saved.

        Raises:
            CheckpointError: the files are not in one folder. Nothing is changed.
        """
        if isinstance(state_dict, Mapping) and "saved" in state_dict:
            state_dict = {"_saved": state_dict["saved"], **state_dict}
        super().load_state_dict(state_dict)
        self._iteration = state_dict.get("_iteration", self._iteration)
