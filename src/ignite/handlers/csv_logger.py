"""Logging to a CSV file; requires no other packages."""

from __future__ import annotations

import csv
import io
import logging
import os
import time
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO, cast

from torch import Tensor

from ignite._core.systems import on_disk, replace
from ignite.handlers import trackers

__all__ = ["CSVLogger"]

_logger = logging.getLogger(__name__)
_FIRST = ["step", "time"]
# In a locale without UTF-8, Python escapes the bytes of paths and arguments that it cannot decode.
# The original bytes are written to the file.
_ERRORS = "surrogateescape"


class CSVLogger(trackers.TrackerLogger):
    """Logs scalars to a CSV file: one row per call, one column per name.

    The first columns are ``step`` and ``time``, in seconds since 1970. Missing values are left
    empty. A new name adds a column; the file is then replaced atomically. Histograms and images are
    skipped with a warning.

    Existing files are appended to. After ``trainer.run(..., resume="latest")``, the file is
    truncated to the rows that it had when the checkpoint was written. With several processes,
    create the logger on rank 0 only.

    Args:
        path: the file; missing folders are created.

    Raises:
        OSError: the file cannot be written.
        ValueError: the file exists, but was not written by this class.

    Example:
        >>> import tempfile
        >>> from ignite.engine import Engine, Events
        >>> trainer = Engine(lambda engine, batch: batch / 2)
        >>> path = Path(tempfile.mkdtemp()) / "log.csv"
        >>> with CSVLogger(path) as logger:
        ...     event = Events.ITERATION_COMPLETED(every=2)
        ...     _ = logger.attach_output_handler(
        ...         trainer, event, tag="train", output_transform=lambda x: {"loss": x}
        ...     )
        ...     _ = trainer.run([1.0, 2.0, 3.0, 4.0])
        >>> for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
        ...     print(row["step"], row["train/loss"])
        2 1.0
        4 2.0
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(_Table(on_disk(path)))


class _Table:
    """A :class:`~ignite.handlers.trackers.Tracker` on a file."""

    takes_text = True

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._columns, rows = self._read()
        self._num_rows = len(rows)
        self._last = rows[-1][:2] if rows else None
        self._file = self._replace(rows)  # removes a row that a killed run left incomplete

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        new = [name for name in values if name not in self._columns]
        if new:
            rows = self._read()[1]
            self._columns += new
            self._file.close()
            self._file = self._replace(rows)
        row = {"step": step, "time": repr(time.time()), **values}
        cells = [str(row.get(name, "")) for name in self._columns]
        self._file.write(_lines([cells]))
        self._file.flush()
        self._num_rows, self._last = self._num_rows + 1, cells[:2]

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        """Warns that histograms are not supported."""
        warnings.warn("CSVLogger does not support histograms: skipped", stacklevel=4)

    def close(self) -> None:
        self._file.close()

    def reopen(self) -> None:
        self._file = self._open("a")

    def elsewhere(self, folder: Path) -> _Table:
        return _Table(folder / self._path.name)

    def state_dict(self) -> dict[str, Any]:
        return {"num_rows": self._num_rows, "last": self._last}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        num_rows = state_dict["num_rows"]
        rows = self._read()[1]
        last = rows[num_rows - 1][:2] if 0 < num_rows <= len(rows) else None
        if last != state_dict["last"]:
            _logger.warning(
                "%s is not the file of the resumed run: new rows are appended", self._path
            )
            return
        self._file.close()
        self._file = self._replace(rows[:num_rows])
        self._num_rows, self._last = num_rows, last

    def _read(self) -> tuple[list[str], list[list[str]]]:
        """Returns the names and rows of the file; drops an incomplete last row."""
        if not self._path.exists():
            return list(_FIRST), []
        with self._open("r") as file:
            text = file.read()
        table = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))
        if not table:
            return list(_FIRST), []
        if table[0][:2] != _FIRST:
            raise ValueError(
                f"path should be a new file or one written by CSVLogger, but given {self._path}"
            )
        return table[0], table[1:]

    def _open(self, mode: str) -> TextIO:
        return cast(TextIO, self._path.open(mode, newline="", encoding="utf-8", errors=_ERRORS))

    def _replace(self, rows: Iterable[list[str]]) -> TextIO:
        """Replaces the file; returns it open for appending."""
        filled = [row + [""] * (len(self._columns) - len(row)) for row in rows]
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        try:
            text = _lines([self._columns, *filled])
            temporary.write_text(text, newline="", encoding="utf-8", errors=_ERRORS)
            replace(temporary, self._path)
        finally:
            temporary.unlink(missing_ok=True)
        return self._open("a")


def _lines(rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
