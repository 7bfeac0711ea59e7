"""Reads the folders of runs into plain records, whoever has written them and whatever is missing."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ignite import storage
from ignite._core.systems import on_disk
from ignite.exceptions import CheckpointError

__all__ = [
    "Checkpoint",
    "Curve",
    "Run",
    "Verifier",
    "checkpoints_in",
    "find_runs",
    "names_of",
    "read_run",
    "read_runs",
]

RECORD, EVENTS, CHECKPOINTS = "run.json", "events.jsonl", "checkpoints"
_FORMAT = 1
_MAX_DEPTH = 3
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True)
class Curve:
    """Values of one name by step, with the time of each in seconds since 1970."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def add(self, step: int, value: float, time: float) -> None:
        """Appends a value. Values of this and later steps, from before a resume, are dropped."""
        while self.steps and self.steps[-1] >= step:
            for values in (self.steps, self.values, self.times):
                values.pop()
        self.steps.append(step)
        self.values.append(value)
        self.times.append(time)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file, and whether it is intact.

    Attributes:
        state: "verified", "foreign" (readable, not written by this library) or "damaged".
        problem: what is wrong with a damaged file.
    """

    file: str
    step: int | None
    epoch: int | None
    score: float | None
    score_name: str | None
    created: float | None
    size_bytes: int | None
    state: str
    problem: str = ""


@dataclass(frozen=True)
class Run:
    """What the folder of a run tells. What it does not tell is empty.

    Attributes:
        name: the folder, as short as it is unique among the runs that were read together.
        path: the folder.
        config: the configuration of the latest session.
        sessions: the environment of each session, oldest first.
        directions: for each metric, whether higher is better; None if unknown.
        events: what happened, oldest first: starts, resumes, epochs, failures, ends.
        curves: logged numbers by name, such as "training/loss".
        checkpoints: the checkpoints, newest first.
    """

    name: str
    path: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    sessions: Sequence[Mapping[str, Any]] = ()
    directions: Mapping[str, bool | None] = field(default_factory=dict)
    events: Sequence[Mapping[str, Any]] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)
    checkpoints: Sequence[Checkpoint] = ()

    @property
    def environment(self) -> Mapping[str, Any]:
        """The environment of the latest session."""
        return self.sessions[-1] if self.sessions else {}

    @property
    def epochs(self) -> list[Mapping[str, Any]]:
        """The event of each epoch, without those that were lost and trained again after a resume."""
        found: list[Mapping[str, Any]] = []
        for event in self.events:
            kind, step = event["event"], event["step"]
            if kind in ("started", "resumed", "epoch"):
                while found and found[-1]["step"] >= step + (kind == "resumed"):
                    found.pop()
            if kind == "epoch":
                found.append(event)
        return found


class Verifier:
    """Verifies checkpoints, and remembers the result until a file changes."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], str] = {}

    def problem_of(self, path: Path) -> str:
        """Returns what is wrong with a file; empty if it is intact.

        Raises:
            OSError: the file cannot be read.
        """
        status = path.stat()
        key = (str(path), status.st_size, status.st_mtime_ns)
        if key not in self._known:
            try:
                storage.verify(path)
                self._known[key] = ""
            except CheckpointError as error:
                # The file is named beside it.
                self._known[key] = str(error).removeprefix(f"{path} is damaged or no checkpoint: ")
        return self._known[key]


def find_runs(paths: Iterable[str | os.PathLike[str]]) -> tuple[list[Path], list[Path]]:
    """Finds the folders of runs among ``paths``, and below those that are no runs themselves.

    Returns:
        The folders of runs, and the paths where there is none.

    Example:
        >>> import tempfile
        >>> top = Path(tempfile.mkdtemp())
        >>> (top / "a").mkdir(), (top / "a" / "run.json").write_text("{}")
        (None, 2)
        >>> [path.name for path in find_runs([top])[0]]
        ['a']
    """
    runs: dict[Path, None] = {}
    others = []
    for path in map(on_disk, paths):
        found = list(_runs_below(path.expanduser(), _MAX_DEPTH))
        runs |= dict.fromkeys(found)
        if not found:
            others.append(path)
    return list(runs), others


def _runs_below(path: Path, depth: int) -> Iterator[Path]:
    if not path.is_dir():
        return
    if _is_run(path):
        yield path
    elif depth:
        for child in sorted(path.iterdir()):
            yield from _runs_below(child, depth - 1)


def _is_run(path: Path) -> bool:
    if path.name == CHECKPOINTS:
        return False
    if (path / RECORD).is_file() or (path / EVENTS).is_file() or any(_scalar_files(path)):
        return True
    return any(any(folder.glob("*.pt")) for folder in (path, path / CHECKPOINTS))


def names_of(folders: Sequence[Path]) -> list[str]:
    """Returns short names of folders: their paths below the folder that contains them all.

    Example:
        >>> names_of([Path("runs/a/seed0"), Path("runs/b/seed0")])
        ['a/seed0', 'b/seed0']
        >>> names_of([Path("runs/a")])
        ['a']
    """
    full = [folder.resolve() for folder in folders]
    try:
        top = os.path.commonpath([folder.parent for folder in full])
    except ValueError:  # none, or on several drives
        return list(map(str, full))
    return [folder.relative_to(top).as_posix() for folder in full]


def read_runs(
    paths: Iterable[str | os.PathLike[str]],
) -> list[Run]:
    """Reads all runs among ``paths``, and below those that are no runs themselves.

    Raises:
        ValueError: a ``run.json`` is no record of a run.
    """
    folders, _ = find_runs(paths)
    return [read_run(path, name) for path, name in zip(folders, names_of(folders), strict=True)]


def read_run(
    path: str | os.PathLike[str], name: str | None = None, verifier: Verifier | None = None
) -> Run:
    r"""Reads the folder of a run, which may be going on. Incomplete lines are skipped.

    Args:
        path: the folder that ``Learner.fit`` was given as ``run_dir``, or one with checkpoints or a
            file of :class:`~ignite.handlers.JSONLLogger`.
        name: the name to show; by default the name of the folder.
        verifier: verifies the checkpoints; pass the same one again when a run is followed.

    Raises:
        ValueError: there is no such folder, or ``run.json`` is no record of a run.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> line = '{"time": 7.5, "step": 1, "scalars": {"training/loss": 0.5}}'
        >>> _ = (folder / "scalars.jsonl").write_text('{"format": 1, "id": "a"}\n' + line)
        >>> read_run(folder).curves["training/loss"].values
        [0.5]
    """
    path = on_disk(path).expanduser()
    if not path.is_dir():
        raise ValueError(f"path should be the folder of a run, but given {path}, which is none")
    record = _record(path)
    return Run(
        name=name or path.resolve().name,
        path=path,
        config=record.get("config", {}),
        sessions=[one for one in record.get("sessions", ()) if isinstance(one, dict)],
        directions=record.get("directions", {}),
        events=_events(path),
        curves=_curves(path),
        checkpoints=list(_checkpoints(path, verifier or Verifier())),
    )


def _record(path: Path) -> Mapping[str, Any]:
    try:
        record = json.loads((path / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        record = None
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise ValueError(f"{path / RECORD} should be the record of a run in format {_FORMAT}")
    return record


def _events(path: Path) -> list[Mapping[str, Any]]:
    if not (path / EVENTS).is_file():
        return []
    return [
        {"step": 0, "time": 0.0, **event}
        for event in storage.read_lines(path / EVENTS)
        if isinstance(event.get("event"), str)
        and isinstance(event.get("step", 0), int)
        and isinstance(event.get("time", 0.0), int | float)
    ]


def _scalar_files(path: Path) -> Iterator[Path]:
    for file in sorted(path.glob("*.jsonl")):
        first = next(storage.read_lines(file), {}) if file.is_file() else {}
        if "format" in first and "id" in first:
            yield file


def _curves(path: Path) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    for file in _scalar_files(path):
        for line in storage.read_lines(file):
            step, scalars, time = line.get("step"), line.get("scalars"), line.get("time")
            if not (
                isinstance(step, int)
                and isinstance(scalars, dict)
                and isinstance(time, int | float)
            ):
                continue
            for name, value in scalars.items():
                value = _NOT_FINITE.get(value, value) if isinstance(value, str) else value
                if isinstance(value, int | float):
                    curves.setdefault(name, Curve()).add(step, float(value), time)
    return curves


def _checkpoints(path: Path, verifier: Verifier) -> Iterator[Checkpoint]:
    for folder in (path, path / CHECKPOINTS):
        if folder.is_dir():
            yield from checkpoints_in(storage.Folder(folder), verifier)


def checkpoints_in(place: storage.Place, verifier: Verifier | None = None) -> Iterator[Checkpoint]:
    """Yields the checkpoints in a place, newest first, and verifies each.

    Files that are removed in the meantime are left out.
    """
    verifier = verifier or Verifier()
    for found in storage.scan(place):
        note, size, problem = found.note, None, ""
        try:
            with place.local(found.name) as file:
                size = file.stat().st_size
                problem = verifier.problem_of(file)
        except FileNotFoundError:
            continue
        except (CheckpointError, OSError) as error:
            problem = str(error)
        state = "damaged" if problem else "foreign" if note is None else "verified"
        if note is None:
            yield Checkpoint(found.name, found.step, None, None, None, None, size, state, problem)
            continue
        yield Checkpoint(
            file=found.name,
            step=found.step,
            epoch=note.epoch,
            score=note.score,
            score_name=note.score_name,
            created=note.created,
            size_bytes=size,
            state=state,
            problem=problem,
        )
