"""A ClearML task as a tracker, and the values that it has not sent yet."""

from __future__ import annotations

import io
import itertools
import json
import logging
import os
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ignite._core import clock
from ignite._core.optional import import_optional
from ignite.handlers._trackers.outbox import Outbox, why_unreachable
from ignite.handlers._trackers.resumed import (
    Discarding,
    LoggedSteps,
    bin_counts,
    last_steps,
    pixels,
)

__all__ = ["BETWEEN", "ClearMLTask", "is_reachable", "wait_for_uploads"]

BETWEEN = "\n"
"""Separates the title and the series of a name."""
_CLOSE_TIMEOUT_S = 30.0
_CHECK_EVERY_S = 10.0
_GIVES_UP_AFTER_S = 5.0  # less than the 10 seconds after which ClearML stops waiting for its thread
_MAX_UNSENT = 10_000
# Number of connection attempts, with pauses of 2, 4, 8 ... seconds. With ClearML's default, a server
# that is down blocks the end of the program for hours.
_MAX_RETRIES, _CLEARML_RETRIES = 3, 240
_OFFLINE_ID = "offline-"


class ClearMLTask:
    """A :class:`~ignite.handlers.trackers.Tracker` on a task.

    Args:
        clearml: the package.
        arguments: arguments of ``Task.init``.
        logger_name: the name of the logger for warnings.
    """

    def __init__(self, clearml: Any, arguments: dict[str, Any], logger_name: str) -> None:
        self._clearml = clearml
        self._arguments = arguments
        self._logger_name = logger_name
        self._logged = LoggedSteps()
        self._unsent = Unsent()
        self.uploads: weakref.WeakSet[Outbox] = weakref.WeakSet()  # of models, by savers
        current = clearml.Task.current_task()
        self._is_ours = current is None
        self.task = current if current is not None else self._start()

    @property
    def client(self) -> Any:
        """The logger of the task."""
        return self.task.get_logger()

    def _start(self, **kwargs: Any) -> Any:
        # ClearML reports from a thread, because a subprocess may go on writing after the training
        # process was killed. The subprocess is also forked while ClearML runs git, which then
        # delays the end of the task by minutes.
        settings = import_optional("clearml.config", extra="clearml").config_obj
        development, retries = settings.get("sdk.development"), settings.get("api.http.retries")
        if "report_use_subprocess" not in development:
            development.put("report_use_subprocess", False)
        if retries.get("connect", _CLEARML_RETRIES) == _CLEARML_RETRIES:
            retries.put("connect", _MAX_RETRIES)
        task_class = self._clearml.Task
        if not task_class.is_offline() and not is_reachable():
            warnings.warn("Cannot reach the ClearML server: the task is offline", stacklevel=5)
            task_class.set_offline(offline_mode=True)
        # By default, ClearML may clear and reuse the task of an earlier run of the program, which a
        # checkpoint may continue.
        return task_class.init(**{"reuse_last_task_id": False, **self._arguments, **kwargs})

    def reopen(self) -> None:
        """Continues the task that was closed."""
        self._continue(self.task.id)

    def _continue(self, task_id: str) -> None:
        # 0: steps are counted from the start of the first process, and need no offset.
        self.task = self._start(reuse_last_task_id=task_id, continue_last_task=0)

    def scalars(self, values: Mapping[str, Any], step: int) -> None:
        new = self._logged.new(values, step)
        logger = self.client
        for name, value in new.items():
            title, series = _parts_of(name)
            logger.report_scalar(title=title, series=series, iteration=step, value=float(value))
        if new:
            self._unsent.add(step, {name: float(value) for name, value in new.items()})
            self._unsent.check(self.task)

    def histogram(self, name: str, values: Tensor, step: int) -> None:
        if self._logged.has(name, step):
            return
        title, series = _parts_of(name)
        counts, edges = bin_counts(values)
        labels = [f"{(low + high) / 2:.4g}" for low, high in itertools.pairwise(edges)]
        self.client.report_histogram(
            title=title, series=series, iteration=step, values=counts, xlabels=labels
        )

    def params(self, values: Mapping[str, Any]) -> None:
        self.task.connect(dict(values))

    def image(self, name: str, image: Tensor, step: int) -> None:
        title, series = _parts_of(name)
        self.client.report_image(title=title, series=series, iteration=step, image=pixels(image))

    def figure(self, name: str, figure: Any, step: int) -> None:
        title, series = _parts_of(name)
        self.client.report_matplotlib_figure(
            title=title, series=series, figure=figure, iteration=step
        )

    def artifact(self, path: str | os.PathLike[str]) -> None:
        self.task.upload_artifact(name=Path(path).name, artifact_object=os.fspath(path))

    def flush(self) -> None:
        """Writes the values of an offline task, or starts to send those of another."""
        self._unsent.check(self.task, at_once=True)

    def close(self) -> None:
        for outbox in list(self.uploads):
            wait_for_uploads(outbox)
        if self.task.is_offline():
            self.task.close()
            return
        # While the server is down, ClearML would try for hours.
        thread = threading.Thread(target=self.task.close, daemon=True)
        thread.start()
        thread.join(_CLOSE_TIMEOUT_S)
        if thread.is_alive():
            logging.getLogger(self._logger_name).warning(
                "Cannot reach the ClearML server: the task is not closed, and up to %d entries "
                "were not sent",
                len(self._unsent.entries()),
            )

    def elsewhere(self, folder: Path) -> Discarding:
        return Discarding(self.client)

    def state_dict(self) -> dict[str, Any]:
        self.flush()
        return {"task_id": self.task.id, "unsent": self._unsent.entries()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        task_id = state_dict["task_id"]
        if task_id == self.task.id:
            if self._unsent.has_any:  # logged by this process: the task is not resumed
                return
        elif not self._is_ours:
            return
        elif task_id.startswith(_OFFLINE_ID) and not self.task.is_offline():
            warnings.warn(
                f"The task of the checkpoint, {task_id}, was offline, and {self.task.id} is not: "
                "values of the resumed run are logged to the latter. Task.import_offline_session "
                "uploads the former",
                stacklevel=4,
            )
            return
        else:
            self.close()
            if self.task.is_offline():
                _repair(_events_of(task_id))
            self._continue(task_id)
        self._logged = last_steps(self._reported())
        for step, values in state_dict["unsent"]:
            self.scalars(values, step)

    def _reported(self) -> Iterator[tuple[str, int]]:
        """Yields names and steps of the task."""
        if self.task.is_offline():
            for events in _read(_events_of(self.task.id)):
                for event in events:
                    yield f"{event['metric']}{BETWEEN}{event['variant']}", int(event["iter"])
        else:
            for title, by_series in self.task.get_all_reported_scalars().items():
                for series, points in by_series.items():
                    yield f"{title}{BETWEEN}{series}", int(max(points["x"], default=-1))


class Unsent:
    """Latest values that ClearML may hold only in memory, and would lose if the process is killed.

    They are saved with the run, so that saving a checkpoint does not wait for ClearML.
    """

    def __init__(self) -> None:
        self._entries: deque[tuple[int, int, dict[str, float]]] = deque(maxlen=_MAX_UNSENT)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._throttle = clock.Throttle(_CHECK_EVERY_S)
        self._num_added = 0

    @property
    def has_any(self) -> bool:
        """Whether any value has ever been added."""
        return self._num_added > 0

    def add(self, step: int, values: dict[str, float]) -> None:
        """Adds values that have just been passed to ClearML."""
        with self._lock:
            self._entries.append((self._num_added, step, values))
            self._num_added += 1

    def entries(self) -> list[tuple[int, dict[str, float]]]:
        """Returns steps and values."""
        with self._lock:
            return [(step, values) for _, step, values in self._entries]

    def check(self, task: Any, at_once: bool = False) -> None:
        """Drops the values that an offline task has written, or that an online task has sent.

        Args:
            task: the task.
            at_once: whether to check now. Otherwise, it checks at intervals.
        """
        if not at_once and not self._throttle.is_due():
            return
        if task.is_offline():
            self._wait(task)
        elif self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._wait, args=(task,), daemon=True)
            self._thread.start()

    def _wait(self, task: Any) -> None:
        end, start = self._num_added, clock.now()
        # Waits twice, because the first wait may end with a write that had begun before it.
        for _ in range(2):
            task.flush(wait_for_uploads=True)
        if clock.now() - start > _GIVES_UP_AFTER_S:  # ClearML does not report a time-out
            return
        with self._lock:
            while self._entries and self._entries[0][0] < end:
                self._entries.popleft()


def is_reachable() -> bool:
    """Whether the server accepts connections. ClearML itself would retry for hours."""
    session = import_optional("clearml.backend_api", extra="clearml").Session
    return why_unreachable(session.get_api_server_host()) is None


def wait_for_uploads(outbox: Outbox) -> None:
    """Waits until all models are uploaded, or the server is unreachable."""
    while not outbox.wait() and is_reachable():
        pass


def _events_of(task_id: str) -> Path:
    """Returns the path of the event file of an offline task."""
    config = import_optional("clearml.config", extra="clearml")
    return Path(config.get_offline_dir(task_id)) / "metrics.jsonl"


def _read(path: Path) -> Iterator[list[dict[str, Any]]]:
    """Yields the events of each line."""
    with path.open(encoding="utf-8") if path.exists() else io.StringIO() as file:
        for line in file:
            yield json.loads(line)


def _repair(path: Path) -> None:
    """Removes an incomplete last line, which a process that was killed has left.

    Otherwise, ClearML would append to this line, and could not read it afterwards.
    """
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = 0
        for line in file:
            if not line.endswith(b"\n"):
                break
            end += len(line)
        file.truncate(end)


def _parts_of(name: str) -> tuple[str, str]:
    """Returns the title and the series."""
    title, separator, series = name.partition(BETWEEN)
    return title, series if separator else title
