"""Records a run: its history, and the files that describe it in its folder."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import numbers
import platform
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from importlib import metadata
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ignite import distributed as idist
from ignite import storage
from ignite._core import clock
from ignite._core.systems import on_disk
from ignite.engine import Engine
from ignite.exceptions import CheckpointError
from ignite.learner._data.schema import Facts
from ignite.learner._losses import num_samples
from ignite.learner.history import History, plain_value

__all__ = [
    "FORMAT",
    "Provenance",
    "Recorder",
    "environment",
    "is_save_due",
    "learnt_in",
    "loss_of",
    "note_session",
    "numbers_in",
    "scalars_in",
    "values_in",
]

_logger = logging.getLogger(__name__)
_MAX_PENDING = 4096
FORMAT = 1
_NAME = "run.json"
_PACKAGES = ("reignition", "torch", "numpy", "scikit-learn", "pandas")


def loss_of(output: Any) -> Any:
    """Returns the loss from the output of a step: a number, a one-element tensor or the entry "loss"; else None."""
    if isinstance(
        output, Tensor
    ):  # the usual case first: isinstance with an abstract class is slow
        if output.numel() != 1:
            return None
        return output.detach() if output.requires_grad else output
    if isinstance(output, Mapping):
        return loss_of(output.get("loss"))
    return output if isinstance(output, int | float) else None


class Recorder:
    """Records a history.

    Losses stay on the accelerator until the epoch ends or some thousand are pending.

    Attributes:
        history: the history that is being recorded.
    """

    def __init__(self) -> None:
        self._watch = clock.Stopwatch()
        self.begin(History(), None)

    def begin(
        self, history: History, evaluator: Engine[Any, Any] | None, measured: Collection[str] = ()
    ) -> None:
        """Starts to record a training.

        Args:
            history: the history to fill.
            evaluator: the evaluator that runs in each epoch before this; or None.
            measured: names of the training metrics.
        """
        self.history = history
        self._evaluator = evaluator
        self._measured = measured
        self._pending: list[Any] = []
        self._num_before = 0
        self._sums: list[tuple[float, float]] = []
        self._is_open = False
        self._has_stepped = False
        self._left_out: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """State for copies, without the evaluator, which belongs to one training."""
        return {**vars(self), "_evaluator": None}

    @property
    def has_trained(self) -> bool:
        """Whether a step has been completed since the training began."""
        return self._has_stepped or bool(self._pending or self.history.steps or self.history.epochs)

    def begin_epoch(self, engine: Engine[Any, Any]) -> None:
        """Starts an epoch, or the rest of one."""
        self._watch.restart()
        self._num_before = len(self.history.steps)
        self._sums = []
        self._is_open, self._has_stepped = True, False

    def note_step(self, engine: Engine[Any, Any]) -> None:
        """Records the loss in the output of a step, if there is one, as a mean over samples."""
        self._has_stepped = True
        loss = loss_of(engine.state.output)
        if loss is not None:
            self.note(loss, num_samples(engine.state.batch))

    def note(self, loss: Any, num_counted: Any = 1, is_sum: bool = False) -> None:
        """Records the loss of a step.

        Args:
            loss: a number, or a tensor of one element that needs no gradient.
            num_counted: number of elements it is the mean of, a number or a tensor of one element.
            is_sum: whether it is their sum.
        """
        if type(loss) is Tensor and loss.is_cpu:
            # No synchronization is needed, and many small tensors would fragment memory.
            loss = loss.item()
            if not self._pending and not isinstance(num_counted, Tensor):
                self._add(loss, num_counted, is_sum)
                return
        self._pending.append((loss, num_counted, is_sum))
        if len(self._pending) >= _MAX_PENDING:
            self._settle()

    def end_epoch(self, engine: Engine[Any, Any]) -> None:
        """Adds the row of an epoch. All processes must call it."""
        found = {
            name: engine.state.metrics[name]
            for name in self._measured
            if name in engine.state.metrics
        }
        row = self._row(engine, is_shared=True) | self._kept(found)
        row |= self._valid()
        if "loss" in row:  # for displays and loggers, beside the other metrics
            engine.state.metrics["loss"] = row["loss"]
        self._close(row)

    def note_validation(self, engine: Engine[Any, Any]) -> None:
        """Adds the row of a validation, which may be in the middle of an epoch."""
        assert self._evaluator is not None
        state = engine.state
        self.history.validations.append(
            {"step": state.iteration, "epoch": state.epoch, **self._valid()}
        )

    def is_validated_at(self, step: int) -> bool:
        """Whether the last validation was after this step."""
        rows = self.history.validations
        return bool(rows) and rows[-1]["step"] == step

    def _valid(self) -> dict[str, Any]:
        if self._evaluator is None:
            return {}
        found = self._kept(self._evaluator.state.metrics)
        return {f"valid_{name}": value for name, value in found.items()}

    def _kept(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the values that a history can hold, and warns once about others."""
        found = {name: plain_value(value) for name, value in metrics.items()}
        for name, value in found.items():
            if value is None and name not in self._left_out:
                self._left_out.add(name)
                _logger.warning(
                    "The history leaves out %s, which is neither a number nor an array of at most "
                    "65,536 numbers: read it from evaluator.state.metrics", name,
                )  # fmt: skip
        return {name: value for name, value in found.items() if value is not None}

    def end_early(self, engine: Engine[Any, Any]) -> None:
        """Adds the row of an interrupted epoch.

        The row of the complete epoch replaces it if the run is resumed.

        The loss is that of this process, since others may have failed.
        """
        row = self._row(engine, is_shared=False)
        rows = self.history.validations
        if rows and rows[-1]["epoch"] == row["epoch"]:
            row |= {name: value for name, value in rows[-1].items() if name.startswith("valid_")}
        if self._is_open and (self._has_stepped or "loss" in row):
            self._close(row)

    def _row(self, engine: Engine[Any, Any], is_shared: bool) -> dict[str, Any]:
        row: dict[str, Any] = {"epoch": engine.state.epoch}
        self._settle()
        sums = self._sums
        if is_shared and idist.get_world_size() > 1:
            sums = [pair for pairs in idist.all_gather(sums) for pair in pairs]
        if sums:
            num_counted = math.fsum(map(itemgetter(1), sums))
            total = math.fsum(map(itemgetter(0), sums))
            row["loss"] = total / num_counted if num_counted else math.nan
        return row

    def _close(self, row: dict[str, Any]) -> None:
        if self.history.epochs and self.history.epochs[-1]["epoch"] == row["epoch"]:
            self.history.epochs.pop()
        self.history.add({**row, "seconds": round(self._watch.elapsed(), 3)})
        self._is_open = False

    def _settle(self) -> None:
        pending, self._pending = self._pending, []
        read = iter(
            _read(
                [
                    one
                    for loss, count, _ in pending
                    for one in (loss, count)
                    if isinstance(one, Tensor)
                ]
            )
        )
        for loss, count, is_sum in pending:
            loss = next(read) if isinstance(loss, Tensor) else float(loss)
            count = next(read) if isinstance(count, Tensor) else count
            self._add(loss, count, is_sum)

    def _add(self, loss: float, num_counted: float, is_sum: bool) -> None:
        self.history.steps.append(loss)
        self._sums.append((loss if is_sum else loss * num_counted, num_counted))

    def state_dict(self) -> dict[str, Any]:
        """Returns the history, and the first step of the current epoch with the sums for its loss.

        Uses no collective, since the state may be taken on one process alone. If several processes
        resume in the middle of an epoch, its loss covers the first part on rank 0 only.
        """
        self._settle()
        sums = [list(pair) for pair in self._sums]
        return {"history": self.history.state_dict(), "num_before": self._num_before, "sums": sums}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores the history and the sums of the current epoch."""
        self._pending = []
        self.history.load_state_dict(state_dict["history"])
        self._num_before = state_dict["num_before"]
        steps = self.history.steps[self._num_before :]
        sums = state_dict.get(
            "sums", [(loss, 1) for loss in steps]
        )  # files of earlier versions have none
        self._sums = [(total, count) for total, count in sums] if idist.get_rank() == 0 else []


def _read(tensors: list[Tensor]) -> list[float]:
    """Reads the values of tensors with one synchronization."""
    if not tensors:
        return []
    device = tensors[0].device
    wide = torch.float32 if device.type == "mps" else torch.float64
    values: list[float] = torch.stack(
        [tensor.reshape(()).to(device, wide) for tensor in tensors]
    ).tolist()
    return values


def numbers_in(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Returns the metrics that are single numbers."""
    return {name: float(value) for name, value in metrics.items() if _is_number(value)}


def values_in(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Returns all metrics, single numbers as floats and others unchanged."""
    return {name: float(value) if _is_number(value) else value for name, value in metrics.items()}


def scalars_in(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the metrics that trackers of scalars take: all but matrices and reports.

    Example:
        >>> scalars_in({"a": 0.5, "by_class": torch.ones(2), "matrix": torch.eye(2), "text": "b"})
        {'a': 0.5, 'by_class': tensor([1., 1.])}
    """
    return {
        name: value
        for name, value in metrics.items()
        if isinstance(value, numbers.Real)
        or (isinstance(value, Tensor) and value.ndim <= 1)
        or (getattr(value, "ndim", 2) == 0)
    }


def _is_number(value: Any) -> bool:
    if isinstance(value, numbers.Real):
        return True
    return (
        getattr(value, "ndim", None) is not None and math.prod(value.shape) == 1
    )  # of torch, or of numpy


def environment() -> dict[str, Any]:
    """Returns the environment of a run: versions, platform, git commit and command line.

    Example:
        >>> environment()["torch"] == torch.__version__
        True
    """
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "accelerator": str(torch.accelerator.current_accelerator())
        if torch.accelerator.is_available()
        else None,
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
    """Returns the commit of the working directory, and whether it has uncommitted changes."""
    try:
        commit = _ask_git("rev-parse", "HEAD")
        changed = _ask_git("status", "--porcelain")
        found = {"git_commit": commit, "git_is_dirty": bool(changed)}
        if changed:  # tells two runs apart that have the same commit and other changes
            changed += _ask_git("diff", "HEAD")
            found["git_changes"] = hashlib.sha256(changed.encode()).hexdigest()[:16]
    except (OSError, subprocess.SubprocessError):
        return {"git_commit": None, "git_is_dirty": None}
    return found


def _ask_git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=True,
        timeout=10,
    ).stdout.strip()


def note_session(
    folder: Path,
    config: Mapping[str, Any],
    learnt: str | None = None,
    directions: Mapping[str, bool | None] | None = None,
    data: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Adds this call of ``fit`` to ``run.json``, and returns the whole content.

    Args:
        folder: the folder of the run.
        config: the configuration of the learner and of ``fit``.
        learnt: the facts learned from the data, as JSON.
        directions: for each metric, whether higher is better.
        data: fingerprints of the data for training and validation.

    Raises:
        CheckpointError: the file exists, but is not the record of a run.
        OSError: the file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _NAME
    sessions = _sessions(path) if path.exists() else []
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    record = {
        "format": FORMAT,
        "config": dict(config),
        "directions": dict(directions or {}),
        "sessions": [*sessions, {"started": started, **environment(), "data": dict(data or {})}],
    }
    if learnt is not None:
        record["learnt"] = json.loads(learnt)
    text = json.dumps(record, indent=2, default=str).encode()
    storage.commit(folder, _NAME, lambda file: file.write(text))
    return record


def learnt_in(folder: Path | None, source: str | Path) -> Facts | None:
    """Returns the facts learned from the data of the run to resume.

    None if there is no such run, or no record of it.

    Args:
        folder: the folder of the run.
        source: "latest" or "best" for a checkpoint in the folder, or the path of a checkpoint or of
            a folder of checkpoints.
    """
    if source not in ("latest", "best"):
        path = storage.follow(on_disk(source))
        state = storage.load(path).state if path.is_file() else {}
        saved = state.get("learnt") if isinstance(state, Mapping) else None
        return None if saved is None else Facts.from_text(saved["facts"])
    if (
        folder is None
        or not (folder / _NAME).exists()
        or not any((folder / "checkpoints").glob("*.pt"))
    ):
        return None
    learnt = json.loads((folder / _NAME).read_text(encoding="utf-8")).get("learnt")
    return None if learnt is None else Facts.from_text(json.dumps(learnt))


def _sessions(path: Path) -> list[Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        record = None
    if (
        not isinstance(record, dict)
        or record.get("format") != FORMAT
        or not isinstance(record.get("sessions"), list)
    ):
        raise CheckpointError(
            f"{path} should be the record of a run in format {FORMAT}: choose another folder"
        )
    return list(record["sessions"])


def is_save_due(
    since_last_s: float | None, cost_s: float, share: float = 0.05, at_most_s: float = 300.0
) -> bool:
    """Whether to save at the end of an epoch: if saving is cheap, or the last save is too long ago.

    Args:
        since_last_s: seconds since the last save of this session; None before the first, which is
            always due.
        cost_s: seconds that the last save took.
        share: fraction of the time that saving may take.
        at_most_s: seconds after which a save is always due.

    Example:
        >>> is_save_due(0.9, cost_s=0.05), is_save_due(1.0, cost_s=0.05), is_save_due(300, cost_s=60)
        (False, True, True)
    """
    return since_last_s is None or since_last_s >= min(cost_s / share, at_most_s)


class Provenance:
    """Writes the record of the run when it begins, and saves it in each checkpoint.

    Args:
        folder: the folder of the run.
        config: see :func:`note_session`, as for the others.
        **facts: further arguments of :func:`note_session`.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], **facts: Any) -> None:
        self.record: dict[str, Any] = {}
        self._folder, self._config, self._facts = folder, config, facts

    def note(self) -> None:
        """Records the start of a session.

        Sessions that fail earlier or have nothing to do are not recorded.
        """
        record = note_session(self._folder, self._config, **self._facts)
        self.record = json.loads(json.dumps(record, default=str))  # plain values

    def state_dict(self) -> dict[str, Any]:
        """Returns the record as JSON."""
        return {"record": json.dumps(self.record)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Does nothing: earlier sessions are already in ``run.json``."""
