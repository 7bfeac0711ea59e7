"""Logging to a JSON Lines file; requires no other packages."""

from __future__ import annotations

import json
import logging
import math
import numbers
import os
import re
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ignite._core.systems import on_disk
from ignite.handlers import trackers

__all__ = ["JSONLLogger"]

_logger = logging.getLogger(__name__)
_NOT_IN_NAMES = re.compile(r'[<>:"/\\|?*\x00-\x1f]')  # of files, on any system


class JSONLLogger(trackers.TrackerLogger):
    """Logs to a file with one JSON object per line.

    All lines are complete, even if the program is killed.

    The first line of a file is ``{"format": 1, "id": ..., "time": ...}``. Each other line has
    ``time`` (seconds since 1970) and one of

    - ``step`` and ``scalars``: numbers and strings by name. Numbers that are not finite become the
      strings ``NaN``, ``Infinity`` or ``-Infinity``, because JSON has no such numbers;
    - ``step`` and ``histogram``: ``name``, ``counts`` of 64 bins between ``low`` and ``high``;
    - ``step`` and ``figure``: ``name`` and ``path`` of an image file in the same folder;
    - ``params``: values by name;
    - ``artifact``: the path of a file.

    Existing files are appended to. After ``trainer.run(..., resume="latest")``, the file is
    truncated to its size when the checkpoint was written, so that no step is logged twice. With
    several processes, create the logger on rank 0 only.

    Args:
        path: the file; missing folders are created.

    Raises:
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> from ignite.engine import Engine, Events
        >>> trainer = Engine(lambda engine, batch: batch / 2)
        >>> path = Path(tempfile.mkdtemp()) / "log.jsonl"
        >>> with JSONLLogger(path) as logger:
        ...     event = Events.ITERATION_COMPLETED(every=2)
        ...     _ = logger.attach_output_handler(
        ...         trainer, event, tag="train", output_transform=lambda x: {"loss": x}
        ...     )
        ...     _ = trainer.run([1.0, 2.0, 3.0, 4.0])
        >>> for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        ...     print(json.loads(line)["step"], json.loads(line)["scalars"])
        2 {'train/loss': 1.0}
        4 {'train/loss': 2.0}
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(_Lines(on_disk(path)))


class _Lines:
    """A :class:`~ignite.handlers.trackers.Tracker` on a file."""

    takes_text = True

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab+")
        self._cut_torn_line()
        self._id = self._read_id()
        if self._id is None:
            self._id = uuid.uuid4().hex
            self._write({"format": 1, "id": self._id})

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        self._write(
            {"step": step, "scalars": {name: _plain(value) for name, value in values.items()}}
        )

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        numbers = values.detach().cpu().double().flatten()
        numbers = numbers[numbers.isfinite()]
        low, high = (numbers.min().item(), numbers.max().item()) if len(numbers) else (0.0, 0.0)
        counts = torch.histc(numbers, 64, low, high).long().tolist()
        self._write(
            {"step": step, "histogram": {"name": name, "low": low, "high": high, "counts": counts}}
        )

    def figure(self, name: str, figure: Any, step: int) -> None:
        folder = self._path.parent / f"{self._path.stem}_figures"
        folder.mkdir(exist_ok=True)
        file = folder / f"{_NOT_IN_NAMES.sub('_', name)}_{step}.png"
        figure.savefig(file)
        path = str(file.relative_to(self._path.parent))
        self._write({"step": step, "figure": {"name": name, "path": path}})

    def params(self, values: Mapping[str, Any]) -> None:
        self._write({"params": {name: _plain(value) for name, value in values.items()}})

    def artifact(self, path: str | os.PathLike[str]) -> None:
        self._write({"artifact": os.fspath(path)})

    def close(self) -> None:
        self._file.close()

    def reopen(self) -> None:
        self._file = self._path.open("ab+")

    def elsewhere(self, folder: Path) -> _Lines:
        return _Lines(folder / self._path.name)

    def state_dict(self) -> dict[str, Any]:
        return {"id": self._id, "size_bytes": self._path.stat().st_size}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        size = state_dict["size_bytes"]
        if state_dict["id"] != self._id or size > self._path.stat().st_size:
            _logger.warning(
                "%s is not the file of the resumed run: new lines are appended", self._path
            )
            return
        self._file.truncate(size)

    def _write(self, entry: dict[str, Any]) -> None:
        line = json.dumps({"time": time.time(), **entry}, allow_nan=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()  # one write per line, so that readers see complete lines only

    def _cut_torn_line(self) -> None:
        """Removes an incomplete last line, which a machine that crashed while writing has left."""
        self._file.seek(0)
        content = self._file.read()
        size = content.rfind(b"\n") + 1
        if size < len(content):
            _logger.warning("Removed an incomplete last line from %s", self._path)
            self._file.truncate(size)

    def _read_id(self) -> str | None:
        self._file.seek(0)
        first = self._file.readline()
        if not first:
            return None
        try:
            return str(json.loads(first)["id"])
        except (ValueError, KeyError, TypeError) as error:
            self._file.close()
            raise ValueError(
                f"path should be a new file or one written by JSONLLogger, but given {self._path}"
            ) from error


def _plain(value: Any) -> Any:
    """Converts a value to one that JSON supports."""
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        number = float(value)
        return (
            number
            if math.isfinite(number)
            else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(number, "NaN")
        )
    return str(value)
