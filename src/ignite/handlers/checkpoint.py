"""Saves objects when it is called, and keeps the best, or the latest, of the files."""

from __future__ import annotations

import numbers
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from ignite import distributed as idist
from ignite.base import Serializable
from ignite.engine import Engine
from ignite.handlers._filenames import EXTENSION, FileNames, setup_filename_pattern
from ignite.handlers._in_dry_run import saved_elsewhere
from ignite.handlers._ledger import state_of_items
from ignite.handlers._loading import load_objects
from ignite.handlers._old_arguments import takes_archived, takes_old_arguments
from ignite.handlers._save_run import of
from ignite.handlers._saving import BaseSaveHandler, DiskSaver, Metadata, note_of
from ignite.handlers._shelf import CheckpointEvents, Shelf
from ignite.handlers._states import LEDGER, check_objects, get_default_score_fn, is_spread, states_of
from ignite.storage import check_name, ledger, place_in

__all__ = ["BaseSaveHandler", "Checkpoint", "CheckpointEvents", "DiskSaver", "ModelCheckpoint"]

AnyEngine = Engine[Any, Any]
Item = ledger.Item
SaveHandler = str | Path | Callable[..., Any] | BaseSaveHandler


class Checkpoint(Serializable):
    """Saves the states of objects each time it is called, and keeps the best, or the latest, ``n_saved`` files.

    A file is written before any other is removed, so that there is always one that can be loaded. If writing fails,
    the error is raised, and what was there, and what is known of it, is as it was. To save whatever belongs to a run,
    and to resume it exactly, use :meth:`of`.

    Args:
        to_save: objects with ``state_dict``, by name; dictionaries and lists of them may be nested. The state of a
            single object stands in the file as it is, several, or one with ``include_self``, under their names.
        save_handler: a folder, or what writes: ``f(checkpoint, filename)`` or ``f(checkpoint, filename, metadata)``,
            or a :class:`BaseSaveHandler`, which can also remove.
        filename_prefix: how the names of the files begin.
        score_function: of the engine; the highest scores are kept. Without it, the latest files are. NaN is the lowest.
        score_name: what the score is called in file names; without ``score_function``, the metric that is the score.
        n_saved: how many files to keep; None keeps all.
        global_step_transform: ``f(engine, event_name)``, the step in file names. See :func:`global_step_from_engine`.
        filename_pattern: with ``{filename_prefix}``, ``{name}``, ``{global_step}``, ``{score_name}``, ``{score}`` and
            ``{ext}``, instead of the usual one; see :meth:`setup_filename_pattern`.
        include_self: save the state of this handler, too, as "checkpointer": a resumed run goes on to remove files.
        greater_or_equal: replace a file by one with an equal score.
        save_on_rank: the process that writes.

    Raises:
        TypeError, ValueError: an argument is not what it should be, or file names would not be plain ones.

    State:
        ``_saved``: priorities and names of the files that are kept; ``_real``: their names, where a saver of the user's
        has given them others.

    Distributed:
        One process writes, and it may be the only one that has this handler. Processes do not wait for each other,
        unless the state is spread over them: with a ``ZeroRedundancyOptimizer`` in ``to_save``, make and call it in
        all processes; the score of the one that writes decides then.

    Example:
        >>> import tempfile, torch
        >>> from ignite.engine import Engine, Events
        >>> trainer, model = Engine(lambda engine, batch: batch), torch.nn.Linear(1, 1)
        >>> checkpoint = Checkpoint({"model": model}, tempfile.mkdtemp(), n_saved=2)
        >>> _ = trainer.add_event_handler(Events.EPOCH_COMPLETED, checkpoint), trainer.run([0, 0], max_epochs=3)
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
    dry_run_in = saved_elsewhere

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
            raise TypeError(f"global_step_transform should be a function, but given {global_step_transform!r}")
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
        self._shelf = Shelf(save_on_rank)
        self.save_handler = save_handler
        if self._shelf.is_on_disk:
            self._names.check()
        if to_save:
            self._shelf.look_around(self._names)

    @property
    def save_handler(self) -> Callable[..., Any]:
        """What writes."""
        return self._shelf.handler

    @save_handler.setter
    def save_handler(self, handler: SaveHandler) -> None:
        self._shelf.handler = handler

    @property
    def _saved(self) -> list[ledger.Item]:
        return self._shelf.items

    @_saved.setter
    def _saved(self, items: list[ledger.Item]) -> None:
        self._shelf.items = list(items)

    @property
    def last_checkpoint(self) -> Any:
        """The file with the highest priority: a path if it is in a folder, else its name; None if there is none."""
        if not self._saved:
            return None
        handler, name = self.save_handler, self._saved[-1].filename
        return handler._path_of(name) if isinstance(handler, DiskSaver) else name

    def __call__(self, engine: AnyEngine, *args: Any, **kwargs: Any) -> None:
        """Saves the objects, if there is room or they have a higher priority than the worst that is kept.

        Raises:
            ValueError: the score is not a number.
            Exception: whatever the save handler raises.
        """
        if not engine.has_registered_events(self.SAVED_CHECKPOINT):
            engine.register_events(self.SAVED_CHECKPOINT)
        self._shelf.settle()
        step, priority = self._measure(engine)
        names, score = self._names, None if self.score_function is None else priority
        self._shelf.look_around(names)
        self._shelf.take_over(priority if score is None else None)
        filename = names.fill(step, score)
        num_kept = None if self.n_saved is None else self.n_saved * self._files_per_save
        decision = place_in(self._saved, priority, filename, num_kept, self.greater_or_equal)
        if decision is None:
            return
        order = Metadata(basename=names.basename, score_name=self.score_name, priority=priority)
        order.note = note_of(engine, score, self.score_name, names.family, self._shelf.restarts)
        self._shelf.put(self._contents(decision.kept), filename, order, decision, engine)

    def wait(self) -> None:
        """Waits for what is written in the background.

        Raises:
            Exception: it could not be written, and is not tracked any more.
        """
        self._shelf.settle()

    def reset(self) -> None:
        """Forgets the files that are kept, and leaves them where they are."""
        self._shelf.forget()

    def state_dict(self) -> OrderedDict[str, Any]:
        """Which files are kept."""
        return state_of_items(self._saved, self._shelf.real_names)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Keeps the files that ``state_dict`` names.

        Raises:
            CheckpointError: they are not files of one folder. Nothing is changed.
        """
        super().load_state_dict(state_dict)
        self._shelf.load(state_dict["_saved"], state_dict.get("_real"))

    def reload_objects(
        self, to_load: Mapping[str, Any], load_kwargs: dict[str, Any] | None = None, **filename_components: Any
    ) -> None:
        """Loads a file that this handler has written, by what its name is made of.

        Args:
            to_load: as for :meth:`load_objects`.
            load_kwargs: for :meth:`load_objects`.
            **filename_components: ``global_step``, ``score`` and ``name``, as they are in the name of the file.

        Raises:
            AttributeError: the files are not written by a :class:`DiskSaver`.
        """
        saver = self.save_handler
        if not isinstance(saver, DiskSaver):
            raise AttributeError(f"Checkpoint's `save_handler` should be of type `DiskSaver`, but given {type(saver)}")
        self._shelf.settle()
        known = {key: filename_components.get(key) for key in ("global_step", "score", "name")}
        filename = check_name(self._names.fill(known["global_step"], known["score"], known["name"]))
        load_objects(to_load, saver._path_of(filename), **(load_kwargs or {}))

    def _measure(self, engine: AnyEngine) -> tuple[Any, Any]:
        """The step for file names, and the priority."""
        transform = self.global_step_transform
        step = None if transform is None else transform(engine, engine.last_event_name)
        if self.score_function is None and step is None:
            step = self._step_of(engine)
        priority = step if self.score_function is None else self.score_function(engine)
        if not isinstance(priority, numbers.Number):
            of_what = "global_step_transform" if self.score_function is None else "score_function"
            raise ValueError(f"Output of {of_what} should be a number, but given {priority!r}")
        if self.score_function is not None and idist.get_world_size() > 1 and is_spread(self.to_save):
            # All have to take part in what comes, or none: the score of the process that writes decides for all.
            priority = idist.all_gather(priority)[self._shelf.rank]
        return step, priority

    def _step_of(self, engine: AnyEngine) -> int:
        return engine.state.iteration

    def _contents(self, kept: list[ledger.Item]) -> Any:
        states = states_of(self.to_save, self._shelf.rank)
        if self.include_self:  # beside the state of a single object, not in the middle of it
            return {**states, LEDGER: state_of_items(kept, self._shelf.real_names)}
        return next(iter(states.values())) if len(states) == 1 else states

    @property
    def _names(self) -> FileNames:
        has_score = self.score_function is not None
        return FileNames(
            self.to_save, self.filename_prefix, has_score, self.score_name, self.filename_pattern, self.ext
        )


class ModelCheckpoint(Checkpoint):
    """A :class:`Checkpoint` of objects that are given when it is called, to a folder.

    Arguments of Ignite 0.1 to 0.4 are taken, too, with a DeprecationWarning. With ``save_interval=k`` every ``k``-th
    call saves, each object to a file of its own that is numbered by calls, as it was then: ``run_model_4.pth``.

    Args:
        dirname: the folder. For it and ``atomic``, ``require_empty`` and ``create_dir`` see :class:`DiskSaver`, for the
            others :class:`Checkpoint`.
        **kwargs: for :class:`DiskSaver`, too.

    Raises:
        TypeError: there is no such argument.
        ValueError: ``save_as_state_dict=False`` asks for whole objects, which run code when they are loaded; or an
            argument is not what it should be.

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
        self._iteration = 0  # how often it was called; programs that resume set it
        if interval is not None:
            if score_function is not None or score_name is not None:
                raise ValueError("One of save_interval and score_function should be given, but given both")
            filename_pattern = filename_pattern or "{filename_prefix}_{name}_{global_step}.{ext}"
        saver = DiskSaver(dirname, atomic, create_dir, require_empty, save_on_rank, **kwargs)
        super().__init__(
            {}, saver, filename_prefix, score_function, score_name, n_saved, global_step_transform, filename_pattern,
            include_self, greater_or_equal, save_on_rank,
        )  # fmt: skip
        if interval is not None:
            self.ext = "pth"
            if require_empty is True:
                saver._check_is_empty(".pth", filename_prefix)

    @property
    def last_checkpoint(self) -> Any:
        """The path of the file with the highest priority; None if there is none."""
        if self._saved and not isinstance(self.save_handler, DiskSaver):
            raise RuntimeError(f"Internal error, save_handler should be DiskSaver, but has {type(self.save_handler)}.")
        return super().last_checkpoint

    def __call__(self, engine: AnyEngine, to_save: Mapping[str, Any]) -> None:
        """Saves ``to_save``, if there is room or it has a higher priority than the worst that is kept.

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
        """Which files are kept; with ``save_interval``, also the number of calls."""
        state = super().state_dict()
        if self._save_interval is not None:
            state["_iteration"] = self._iteration
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Keeps the files that ``state_dict`` names.

        Raises:
            CheckpointError: they are not files of one folder. Nothing is changed.
        """
        super().load_state_dict(state_dict)
        self._iteration = state_dict.get("_iteration", self._iteration)
