"""A journal of scalars that survives a killed process, and the base of trackers that need one."""

from __future__ import annotations

import json
import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from ignite.handlers._trackers.resumed import Discarding, LoggedSteps

__all__ = ["ClientRun", "Journal", "journaled", "plain"]


class Journal:
    """A file to which scalars are appended, and in which they survive if the process is killed.

    Processes that resume a run append to the same file.

    Args:
        folder: where the client keeps the files of the run.
        name: the name of the run.

    Raises:
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> journal = Journal(Path(tempfile.mkdtemp()), "run")
        >>> journal.add({"loss": 0.5}, step=1)
        >>> end = journal.size_bytes
        >>> journal.add({"loss": 0.25}, step=2)
        >>> list(journal.rows(end=end)), list(journal.rows(start=end))
        ([(1, {'loss': 0.5})], [(2, {'loss': 0.25})])
        >>> journal.close()
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._path = _path_of(folder, name)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("ab", buffering=0)
        self.size_bytes = self._path.stat().st_size

    def add(self, values: Mapping[str, Any], step: int) -> None:
        """Appends the numbers and strings among ``values``."""
        kept = {name: v for name, v in values.items() if isinstance(v, int | float | str)}
        if kept:
            # The line break ends the previous row, which may be incomplete after a kill.
            self.size_bytes += self._file.write(b"\n" + json.dumps([step, kept]).encode())

    def rows(self, start: int = 0, end: int | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields the step and the values of each row between two byte offsets."""
        return _rows(self._path, start, end)

    def truncate(self, size_bytes: int) -> None:
        """Removes the rows after a byte offset."""
        self.size_bytes = min(size_bytes, self.size_bytes)
        self._file.truncate(self.size_bytes)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def journaled(folder: Path, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the step and the values of each row in the :class:`Journal` of a run, if it exists."""
    path = _path_of(folder, name)
    if path.exists():
        yield from _rows(path)


def _path_of(folder: Path, name: str) -> Path:
    return folder / ".ignite" / f"{quote(name, safe='')}.jsonl"


def _rows(
    path: Path, start: int = 0, end: int | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    for line in path.read_bytes()[start:end].splitlines():
        try:
            step, values = json.loads(line)
        except ValueError:  # empty, or incomplete because the process was killed
            continue
        yield step, values


class ClientRun(ABC):
    """Base class of trackers whose client buffers values in memory before it writes them.

    The buffered values are lost if the process is killed, so scalars are also written to a
    :class:`Journal`. A process that resumes the run reads the client's files, logs again the values
    up to the checkpoint that are missing, and skips steps that have already been logged.

    Subclasses implement the abstract methods, and further methods of
    :class:`~ignite.handlers.trackers.Tracker`.

    Args:
        arguments: the arguments with which the client starts a run.

    Attributes:
        client: the run object of the client.
        id_argument: the argument that names a run.
    """

    client: Any
    id_argument: ClassVar[str] = "id"

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = arguments
        self._logged = LoggedSteps()
        self._journal: Journal | None = None
        self._open(None)

    @abstractmethod
    def _start(self, run_id: str | None) -> str:
        """Sets ``client`` to the run with this id, or to a new run, and returns its id.

        If names are not unique, the id consists of a unique word, a space, and the name.
        """

    @abstractmethod
    def _log(self, values: Mapping[str, Any], step: int) -> None:
        """Passes values to the client."""

    @abstractmethod
    def _end(self) -> None:
        """Ends the run and writes all values."""

    @abstractmethod
    def _folder(self) -> Path | None:
        """Returns the folder of the client's files; None if only a server stores the values."""

    @abstractmethod
    def _stored(self) -> Iterable[tuple[str, int]]:
        """Yields the names and steps of the values in the client's files for the run."""

    def _open(self, run_id: str | None) -> None:
        self._id = self._start(run_id)
        folder = self._folder()
        try:
            self._journal = None if folder is None else Journal(folder, self._id)
        except OSError:
            self._end()
            raise
        # The client of this process gets all rows after this offset.
        self._opened_at = 0 if self._journal is None else self._journal.size_bytes
        self._is_open = True

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        """Logs the values that no earlier process logged."""
        new = self._log_new(plain(values), step)
        if self._journal is not None:
            self._journal.add(new, step)

    def _log_new(self, values: Mapping[str, Any], step: int) -> dict[str, Any]:
        """Logs the values that no earlier process logged; returns them."""
        new = self._logged.new(values, step)
        if new:
            self._log(new, step)
        return new

    def close(self) -> None:
        """Ends the run. May be called twice."""
        if not self._is_open:
            return
        self._is_open = False
        if self._journal is not None:
            self._journal.close()
        self._end()

    def reopen(self) -> None:
        """Reopens the run after it was ended."""
        self._open(self._id)

    def elsewhere(self, folder: Path) -> Discarding:
        """Returns a tracker for dry runs, which discards all values."""
        return Discarding(self.client)

    def state_dict(self) -> dict[str, Any]:
        """Returns the id of the run and the current size of its journal."""
        size_bytes = 0 if self._journal is None else self._journal.size_bytes
        return {"id": self._id, "journal_bytes": size_bytes}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continues the run of a checkpoint, unless the user has named another one."""
        if state_dict["id"] != self._id:
            if self._arguments.get(self.id_argument) not in (None, _name_of(state_dict["id"])):
                return
            self.close()
            self._logged = LoggedSteps()
            self._open(state_dict["id"])
        for name, step in self._stored():
            self._logged.note(name, step)
        if self._journal is not None:
            self._restore(self._journal, state_dict["journal_bytes"])

    def _restore(self, journal: Journal, size_bytes: int) -> None:
        """Logs again the values up to the checkpoint that are missing from the client's files."""
        own = list(journal.rows(start=self._opened_at))
        for step, values in own:
            self._note(values, step)
        if size_bytes < self._opened_at:
            # Values logged after the checkpoint are in the client's files, or will be logged again.
            journal.truncate(size_bytes)
            for step, values in own:
                journal.add(values, step)
        for step, values in list(journal.rows()):
            self._note(self._log_new(values, step), step)
        self._opened_at = 0

    def _note(self, names: Iterable[str], step: int) -> None:
        for name in names:
            self._logged.note(name, step)


def _name_of(run_id: str) -> str:
    """Returns the part of an id that users know."""
    return run_id.partition(" ")[2] or run_id


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Converts numbers to Python numbers, which clients and JSON accept; keeps other values.

    Example:
        >>> import numpy as np
        >>> plain({"loss": np.float32(0.5), "name": "first"})
        {'loss': 0.5, 'name': 'first'}
    """
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else value
