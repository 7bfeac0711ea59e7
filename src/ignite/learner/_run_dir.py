"""A folder that says by itself what was run.

``run.json`` holds ``{"format": 1, "config": {...}, "sessions": [...]}``: what the learner and ``fit`` were asked for,
and for each call of ``fit`` into this folder when it was, with which command, versions, code and device. Beside it are
``scalars.jsonl`` (see :class:`~ignite.handlers.JSONLLogger`), ``checkpoints/`` and, with TensorBoard, ``tensorboard/``.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ignite import storage
from ignite.exceptions import CheckpointError
from ignite.learner._data.facts import Facts

__all__ = ["FORMAT", "Provenance", "environment", "is_save_due", "learnt_in", "note_session"]

FORMAT = 1
_NAME = "run.json"
_PACKAGES = ("reignition", "torch", "numpy", "scikit-learn", "pandas")


def environment() -> dict[str, Any]:
    """What a result may depend on beside the program: versions, machine, code, command.

    Example:
        >>> environment()["torch"] == torch.__version__
        True
    """
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "accelerator": str(torch.accelerator.current_accelerator()) if torch.accelerator.is_available() else None,
        "cuda": torch.version.cuda,
    }
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    found["torch"] = torch.__version__
    return {**found, "command": list(sys.argv), **_git()}


def _git() -> dict[str, Any]:
    """The commit of the folder the program was started in, and whether files differ from it."""
    try:
        commit = _ask_git("rev-parse", "HEAD")
        return {"git_commit": commit, "git_is_dirty": bool(_ask_git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return {"git_commit": None, "git_is_dirty": None}


def _ask_git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def note_session(folder: Path, config: Mapping[str, Any], learnt: str | None = None) -> dict[str, Any]:
    """Adds this call of ``fit`` to ``run.json``, with what was learnt from the data as JSON; returns all of it.

    Raises:
        CheckpointError: the file is there, but of another kind.
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _NAME
    sessions = _sessions(path) if path.exists() else []
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    record = {"format": FORMAT, "config": dict(config), "sessions": [*sessions, {"started": started, **environment()}]}
    if learnt is not None:
        record["learnt"] = json.loads(learnt)
    text = json.dumps(record, indent=2, default=str).encode()
    storage.commit(folder, _NAME, lambda file: file.write(text))
    return record


def learnt_in(folder: Path | None, source: str | Path) -> Facts | None:
    """What was learnt from the data in the run that is to be resumed; None if there is no such run, or it is not told.

    Args:
        folder: of the run.
        source: "latest" or "best" of the folder; or the path of a checkpoint, or of a folder of them.
    """
    if source not in ("latest", "best"):
        path = Path(source)
        state = storage.load(path).state if path.is_file() else {}
        saved = state.get("learnt") if isinstance(state, Mapping) else None
        return None if saved is None else Facts.from_text(saved["facts"])
    if folder is None or not (folder / _NAME).exists() or not any((folder / "checkpoints").glob("*.pt")):
        return None
    learnt = json.loads((folder / _NAME).read_text()).get("learnt")
    return None if learnt is None else Facts.from_text(json.dumps(learnt))


def _sessions(path: Path) -> list[Any]:
    try:
        record = json.loads(path.read_text())
    except ValueError:
        record = None
    if not isinstance(record, dict) or record.get("format") != FORMAT or not isinstance(record.get("sessions"), list):
        raise CheckpointError(f"{path} should be the record of a run in format {FORMAT}: choose another folder")
    return list(record["sessions"])


def is_save_due(since_last_s: float | None, cost_s: float, share: float = 0.05, at_most_s: float = 300.0) -> bool:
    """Whether a run should be saved at the end of an epoch: if that costs little, or if much would be lost otherwise.

    Args:
        since_last_s: seconds since the last save of this session; None before the first, which is due at once.
        cost_s: seconds that the last one took.
        share: which part of the time saves may take.
        at_most_s: seconds after which one is due whatever it costs.

    Example:
        >>> is_save_due(0.9, cost_s=0.05), is_save_due(1.0, cost_s=0.05), is_save_due(300, cost_s=60)
        (False, True, True)
    """
    return since_last_s is None or since_last_s >= min(cost_s / share, at_most_s)


class Provenance:
    """Writes the record of the run when it begins, and puts it into each checkpoint.

    Args:
        folder: of the run.
        config: see :func:`note_session`.
        learnt: likewise.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], learnt: str | None = None) -> None:
        self.record: dict[str, Any] = {}
        self._folder, self._config, self._learnt = folder, config, learnt

    def note(self) -> None:
        """A session begins. One that is refused, or has nothing to do, is not noted."""
        record = note_session(self._folder, self._config, self._learnt)
        self.record = json.loads(json.dumps(record, default=str))  # plain values

    def state_dict(self) -> dict[str, Any]:
        """The record."""
        return {"record": json.dumps(self.record)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Keeps the record of this session: that of the one before is in ``run.json``, too."""
