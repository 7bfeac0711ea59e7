"""Saves the state of a run as a dictionary, and resumes a run from it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ignite import data as flow
from ignite import distributed as idist
from ignite import storage
from ignite._core.rng import (
    RandomState,
    capture_random_state,
    generator_state,
    restore_random_state,
    set_generator_state,
)
from ignite._core.systems import on_disk
from ignite._core.trees import items_restorer
from ignite.engine import _fetch
from ignite.engine._cursor import Request, describe_progress
from ignite.engine._emitter import Unfinished
from ignite.engine._state import load_user_values
from ignite.engine.resume.belongings import RESERVED, Belongings, collect
from ignite.engine.resume.by_rank import BY_RANK, states_by_rank, states_of_rank
from ignite.engine.resume.unsaved import accumulate, accumulated
from ignite.exceptions import CheckpointError

if TYPE_CHECKING:
    from ignite.engine._controls import Controls

__all__ = [
    "Resumption",
    "other_data",
    "random_state_of",
    "resumable",
    "resume",
    "rows_of",
    "run_state_dict",
]

_STABLE_NAMES = ("latest", "last", "best")


def run_state_dict(
    engine: Controls,
    belongings: Belongings,
    unfinished: Unfinished | None = None,
    random: RandomState | None = None,
    is_finished: bool = False,
) -> dict[str, Any]:
    """Returns everything that is needed to resume a run. All processes must call it.

    Args:
        engine: the trainer.
        belongings: the objects that belong to its run.
        unfinished: the event between whose handlers the run was stopped.
        random: random states at the start of the interrupted handler; by default, the current
            states.
        is_finished: whether the run is over, even if it has not reached its limit.

    Returns:
        ``trainer``, the objects by name, ``data``, ``random``, ``results``, ``is_finished``;
        ``accumulated`` gradients, if there are any; between two handlers of an event, ``event``;
        and ``by_rank``, what differs between processes. Tensors are not copied.

    Raises:
        ValueError: the data were replaced in the run, so that a resumed run would have other data;
            or an object is sharded over processes.
    """
    if engine._is_running and engine.state.dataloader is not engine._source.data:
        raise ValueError(
            "The data of a saved run should be passed to run(), or set by set_data() in a handler "
            "of STARTED, which a resumed run calls again, but they were replaced later, so that a "
            "resumed run would have other batches. Pass data to run() that change by themselves, or "
            "do not use Checkpoint.of"
        )
    gathered = _alone if idist.get_world_size() == 1 else idist.all_gather
    objects, engines = belongings.objects, belongings.engines
    states: dict[str, Any] = {"trainer": engine.state_dict(), "is_finished": is_finished}
    for name, one in objects.items():
        states[name] = storage.state_of(one)
        storage.check_whole(name, one, states[name])
    if gradients := accumulated(engine, objects):
        states["accumulated"] = gradients
    position = getattr(engine.state.dataloader, "state_dict", None)
    if callable(position):
        if engine._source.is_set:
            states["is_data_set"] = True
        states["data"] = gathered(position())  # each process has its own streams and buffers
    mine = random_state_of(belongings.generators) if random is None else random
    states["random"] = gathered(mine)  # a list with one entry per process
    states["results"] = {name: _savable(one.state.metrics) for name, one in engines.items()}
    if unfinished is not None:
        output = _savable({"output": engine.state.output})
        states["event"] = {"name": unfinished.event, "num_done": unfinished.num_done, **output}
    if idist.get_world_size() > 1 and (differing := states_by_rank(states, objects)):
        states[BY_RANK] = differing
    return states


def random_state_of(
    generators: Mapping[str, Any], data: flow.OwnState | None = None
) -> RandomState:
    """Captures the random state of this process.

    Args:
        generators: those of the program, by the path to them.
        data: of data that the run uses beside its own, such as those of an evaluation.
    """
    state = capture_random_state()
    if generators:
        state["own"] = {path: generator_state(one) for path, one in generators.items()}
    if data is not None and not data.is_empty:
        state["data"] = data.take()
    return state


def other_data(engine: Controls, belongings: Belongings) -> flow.OwnState:
    """Returns what takes down the state of data that a run uses beside its own.

    The data of the run save their state with their position.
    """
    data: Any = engine._source.coming
    loader = data.wrapped if isinstance(data, flow.ResumableLoader) else data
    own = [loader, *(getattr(loader, name, None) for name in ("sampler", "batch_sampler"))]
    found = {**belongings.data, **getattr(engine.run_saver, "data", {})}
    return flow.OwnState(
        {path: one for path, one in found.items() if not any(one is other for other in own)}
    )


def _alone(value: Any) -> list[Any]:
    return [value]


def _savable(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if _is_savable(value)}


def _is_savable(value: Any) -> bool:
    try:
        storage.check_storable(value)
    except TypeError:
        return False
    return True


def resumable(engine: Controls, data: Iterable[Any] | None) -> Iterable[Any] | None:
    """Wraps data so that they have a position.

    The same data get the same wrapper, so that a second run continues at its position.
    """
    if data is None or isinstance(data, flow.ResumableLoader):
        return data
    known: Any = engine.state.dataloader
    if isinstance(known, flow.ResumableLoader) and known.wrapped is data:
        return known
    has_own_seed = (
        isinstance(data, flow.ArrayLoader)
        or hasattr(getattr(data, "sampler", None), "num_replicas")
        or getattr(data, "generator", None) is not None
    )
    seed = None
    if idist.get_world_size() > 1 and not has_own_seed:
        # Processes may have different torch seeds; the seed of rank 0 is saved.
        seed = idist.all_gather(torch.initial_seed())[0]
    loader: Iterable[Any] = flow.resumable(data, seed=seed, rank=idist.get_rank())
    return loader


class Resumption:
    """Restores a run in three steps: the counters and data position, the objects, the random states.

    Args:
        engine: the trainer.
        states: from :func:`run_state_dict`.
        belongings: the objects of the resumed run.
        data: the data of the resumed run.
        source: name of the checkpoint.
    """

    def __init__(
        self,
        engine: Controls,
        states: Mapping[str, Any],
        belongings: Belongings,
        data: Any,
        source: str,
    ) -> None:
        self.is_inside_epoch = False
        self._engine = engine
        self._source = source
        states = states_of_rank(states, idist.get_rank(), idist.get_world_size())
        positions = states.get("data", [])
        self._states = (
            {**states, "data": positions[min(idist.get_rank(), len(positions) - 1)]}
            if positions
            else {**states}
        )
        self._engines = belongings.engines
        self._generators = belongings.generators
        self._other_data = other_data(engine, belongings)
        known = _names_in(states, belongings)
        self._objects = {name: one for name, one in belongings.objects.items() if name in known}
        self._states |= {name: self._states[saved] for name, saved in known.items()}
        self._data_is_due = bool(states.get("is_data_set"))
        has_place = (
            "data" in states and isinstance(data, flow.ResumableLoader) and not self._data_is_due
        )
        self._data = data if has_place else None
        self._before = [items_restorer(vars(one)) for one in (engine, engine.state, engine._source)]
        self._before += [items_restorer(one.state.metrics) for one in self._engines.values()]
        self._before.append(_undo_gradients(self._objects.values()))
        if self._data is not None:
            self._before.append(self._data.bookmark())
        self.missing = [name for name in belongings.objects if name not in known]
        self.left_over = [
            name for name in states if name not in known.values() and name not in RESERVED
        ]
        _check_numbers(self.left_over, belongings, source)

    def is_over(self, request: Request) -> bool:
        """Whether the run is finished, and ``run`` has not been given a higher limit."""
        state = self._engine.state
        is_same = request.max_epochs in (None, state.max_epochs) and request.max_iters in (
            None,
            state.max_iters,
        )
        return bool(self._states.get("is_finished")) and is_same

    def begin(self) -> None:
        """Restores the trainer and the position in the data, or raises and changes nothing.

        Objects are restored later by :meth:`restore`, because some, such as the files of a logger,
        cannot be restored twice.
        """
        data = {} if self._data is None else {"data": self._data}
        try:
            storage.restore({**data, "trainer": self._engine}, self._states)
            self._convert_position()
        except BaseException:
            self.take_back()
            raise
        cursor, event = self._engine._cursor, self._states.get("event")
        self.is_inside_epoch = cursor.carried > 0
        if event is not None:
            cursor.unfinished = Unfinished(event["name"], event["num_done"])
            cursor.is_failed = (
                True  # there are handlers left to call, even if the event is the last
            )

    def take_data(self, data: Any) -> None:
        """Restores the position in data that a handler of STARTED has set.

        Raises:
            ValueError: the data differ from those of the saved run.
        """
        if self._data_is_due and isinstance(data, flow.ResumableLoader):
            data.load_state_dict(self._states["data"])
            self._data = data

    def check_data(self) -> None:
        """Checks that handlers of STARTED have set the data if, and only if, they did in the saved run.

        Raises:
            CheckpointError: only one of the two runs has set the data.
        """
        if self._data_is_due != self._engine._source.is_set and "data" in self._states:
            was, has = ("", " not") if self._data_is_due else (" not", "")
            raise CheckpointError(
                "set_data() should be called in a handler of STARTED if, and only if, the saved "
                f"run did, but it was{was} called there and was{has} called here"
            )

    def restore(self) -> None:
        """Restores all objects, or raises and changes none of them. Later steps do not fail."""
        # Files cannot be rolled back if another object refuses its state: objects that write files
        # come last.
        in_order = sorted(
            self._objects.items(), key=lambda item: hasattr(type(item[1]), "dry_run_in")
        )
        self._before.append(storage.restore(dict(in_order), self._states))
        accumulate(self._states.get("accumulated", {}), self._objects)
        self._apply_results()
        is_complete = not (self.missing or self.left_over)
        self._engine.logger.log(
            logging.INFO if is_complete else logging.WARNING,
            "Resuming from %s (%s):\n%s", self._source, describe_progress(self._engine.state), self.report(),
        )  # fmt: skip

    def take_back(self) -> None:
        """Undoes :meth:`begin` and :meth:`restore`."""
        for put_back in reversed(self._before):
            put_back()

    def apply(self) -> None:
        """Restores again what handlers of STARTED and EPOCH_STARTED may have changed."""
        storage.restore(self._objects, self._states)
        accumulate(self._states.get("accumulated", {}), self._objects)
        load_user_values(self._engine, self._states["trainer"])
        if self._data is not None:
            self._data.reload()
        self._apply_results()
        self.apply_random()

    def apply_random(self) -> None:
        """Restores the random states of this process, if the saved run had a process of this rank."""
        per_rank = self._states.get("random", [])
        rank = idist.get_rank()
        if rank < len(per_rank):
            restore_random_state(per_rank[rank])
            own = per_rank[rank].get("own", {})
            for path in self._generators.keys() & own.keys():
                set_generator_state(self._generators[path], own[path])
            if "data" in per_rank[rank]:
                self._other_data.put(per_rank[rank]["data"])

    def report(self) -> str:
        """Returns a table of what was restored and what was not."""
        rows = [("trainer", "restored"), *((name, "restored") for name in self._objects)]
        rows += [
            (
                "data",
                "restored"
                if self._data is not None
                else "not in the checkpoint, or data without position",
            )
        ]
        rows += [("random", "restored" if "random" in self._states else "not in the checkpoint")]
        rows += [(name, "NOT RESTORED: not in the checkpoint") for name in self.missing]
        rows += [
            (name, "NOT RESTORED: in the checkpoint, but not in this program")
            for name in self.left_over
        ]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"  {name:{width}}  {what}" for name, what in rows)

    def _apply_results(self) -> None:
        for name, values in self._states.get("results", {}).items():
            if name in self._engines:
                self._engines[name].state.metrics.update(values)
        if "output" in self._states.get("event", {}):
            self._engine.state.output = self._states["event"]["output"]

    def _convert_position(self) -> None:
        """Converts the number of samples seen to iterations if the global batch size has changed."""
        state, cursor, data = self._engine.state, self._engine._cursor, self._data
        old, saved = state.epoch_length, self._states.get("data", {}).get("fingerprint")
        length = _fetch.length_of(data)
        if (
            data is None
            or length is None
            or old in (None, length)
            or data.state_dict()["fingerprint"] == saved
        ):
            return
        num_left = data.num_batches_left() or 0
        state.epoch_length = length
        epoch, carried = cursor.position(state)
        cursor.carried = length - num_left if carried else 0
        state.iteration = cursor.known_iteration = epoch * length + cursor.carried
        self._engine.logger.warning(
            "The global batch size has changed: an epoch has %s iterations instead of %s. The run "
            "continues after the "
            "last sample seen, at iteration %s", state.epoch_length, old, state.iteration
        )  # fmt: skip


def _names_in(states: Mapping[str, Any], belongings: Belongings) -> dict[str, str]:
    """Maps the name of each object in this program to its name in a checkpoint, which may differ."""
    known = {name: name for name in belongings.objects if name in states}
    wanted = [
        other for name, others in belongings.others.items() if name not in known for other in others
    ]
    for name in belongings.objects:
        for other in [] if name in known else belongings.others.get(name, []):
            is_free = (
                other in states and other not in known.values() and other not in belongings.objects
            )
            if (
                is_free
                and wanted.count(other) == 1
                and f"{other}#2" not in states
                and other not in RESERVED
            ):
                known[name] = other
                break
    return known


def _check_numbers(left_over: list[str], belongings: Belongings, source: str) -> None:
    """Refuses checkpoints of earlier versions, which numbered objects in the order of attachment."""
    bases = {
        *belongings.objects,
        *(other for others in belongings.others.values() for other in others),
    }
    numbered = [name for name in left_over if "#" in name and name.rpartition("#")[0] in bases]
    if numbered:
        base = numbered[0].rpartition("#")[0]
        raise CheckpointError(
            f"The states in {source} should have names that identify their objects, but "
            f"{', '.join([base, *numbered])} are numbered in the order in which they were "
            "attached. Name them: Checkpoint.of(trainer, folder, "
            f"**{{{base!r}: first, {numbered[0]!r}: second}})"
        )


def _undo_gradients(objects: Iterable[Any]) -> Callable[[], None]:
    """Returns a function that restores the gradients of modules, which loading an accumulation window changes."""
    before = [
        (p, p.grad) for one in objects if isinstance(one, torch.nn.Module) for p in one.parameters()
    ]

    def put_back() -> None:
        for parameter, gradient in before:
            parameter.grad = gradient

    return put_back


def resume(engine: Controls, source: str | Path, data: Any) -> Resumption | None:
    """Begins to resume a run: restores its trainer and data. Returns None if there is no checkpoint yet.

    Raises:
        CheckpointError: no checkpoint is usable, or it does not match. Nothing is changed.
        FileNotFoundError: there is no such file or folder.
        ValueError: ``source`` is "latest" or "best", and no ``Checkpoint.of`` is attached.
    """
    found = _find(engine, source)
    if found is None:
        engine.logger.info("No checkpoint to resume from: a new run begins")
        return None
    states = found.state
    if not isinstance(states, Mapping) or "trainer" not in states:
        raise CheckpointError(
            f"{found.name} should be the checkpoint of a run, with the state of a trainer, but "
            "contains "
            f"{list(states)[:5] if isinstance(states, Mapping) else type(states).__name__}. To "
            "load the states of single objects, use Checkpoint.load_objects"
        )
    if "data" in states and data is None:
        raise CheckpointError(
            f"data should be passed to resume {found.name}, which is the checkpoint of a run with data, "
            "but given None"
        )
    given = {} if engine.run_saver is None else engine.run_saver.given
    resumption = Resumption(engine, states, collect(engine, given), data, found.name)
    resumption.begin()
    return resumption


def _find(engine: Controls, source: str | Path) -> storage.Loaded | None:
    weights_only = getattr(engine.run_saver, "weights_only", True)
    if source not in _STABLE_NAMES:
        path = storage.follow(on_disk(source))
        if "://" not in str(source) and path.is_file():
            return storage.load(path, weights_only=weights_only)
        if "://" not in str(source) and not path.exists():
            raise FileNotFoundError(
                f"resume should be 'latest', 'best' or a path, but given {source}, which does not "
                "exist"
            )
        return _agree_on_latest(storage.open_place(source), weights_only)
    if engine.run_saver is None:
        raise ValueError(
            f"resume={str(source)!r} needs a folder: attach Checkpoint.of(trainer, folder, ...) "
            "before, or pass the path of the folder"
        )
    if source != "best":
        return _agree_on_latest(engine.run_saver.place, weights_only)
    best = storage.best(rows_of(engine.run_saver.place))
    if best is None:
        return None
    return storage.load((engine.run_saver.place, best.file), weights_only=weights_only)


def rows_of(place: storage.Place, family: str | None = None) -> list[storage.Row]:
    """Returns the checkpoints in a folder, newest first, from their notes, because an index may be missing."""
    return [
        storage.Row(found.name, found.note)
        for found in storage.scan(place, family)
        if found.note is not None
    ]


def runs_in(place: storage.Place) -> list[storage.Found]:
    """Returns the checkpoints of a run in a folder, newest first; if there are none, all candidates.

    Other files, such as weights of a model, may have higher numbers in their names. Checkpoints of
    Ignite have no notes.
    """
    of_runs = storage.scan(place, storage.RUN_FAMILY)  # includes damaged ones
    return of_runs if any(one.error is None for one in of_runs) else storage.scan(place)


def _agree_on_latest(place: storage.Place, weights_only: bool) -> storage.Loaded | None:
    """Loads the newest checkpoint that all processes can read. All processes must call it."""
    gathered = _alone if idist.get_world_size() == 1 else idist.all_gather
    names = gathered([found.name for found in runs_in(place)])[0]  # as seen by rank 0
    for name in names:
        loaded = _load_or_none(place, name, weights_only)
        if all(gathered(loaded is not None)):
            return loaded
    if names:
        raise CheckpointError(
            f"{place} should have a readable checkpoint, but all of {', '.join(names[:5])} are "
            "damaged, see the log. Move or remove them to begin a new run"
        )
    return None


def _load_or_none(place: storage.Place, name: str, weights_only: bool) -> storage.Loaded | None:
    try:
        return storage.load((place, name), weights_only=weights_only)
    except (CheckpointError, OSError) as error:
        logging.getLogger(__name__).warning("Skipping %s: %s", name, error)
        return None
