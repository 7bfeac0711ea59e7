"""What happens to a run with a folder, appended to a file: starts, resumes, epochs, failures, ends."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ignite import storage
from ignite.engine import Engine, Events
from ignite.handlers import Preemption
from ignite.learner._runs import Recorder

__all__ = ["EVENTS", "Journal", "attached_to"]

T = TypeVar("T")


EVENTS = "events.jsonl"
_MAX_TEXT = 2000

_logger = logging.getLogger(__name__)


class Journal:
    """Tells what happens to a run, in ``events.jsonl`` in its folder.

    A run whose last line is no end was killed, or is going on. Failing writes do not stop the run.

    Args:
        folder: the folder of the run.
        recorder: has the metrics of each epoch.
    """

    def __init__(self, folder: Path, recorder: Recorder) -> None:
        self._path = folder / EVENTS
        self._recorder = recorder
        self._has_begun = False

    @contextlib.contextmanager
    def told(self, trainer: Engine[Any, Any]) -> Iterator[None]:
        """Tells how the run in the block ends."""
        try:
            yield
        except BaseException as error:
            self._tell(trainer, **_failure(error))
            raise
        else:
            self._tell(trainer, **_end(trainer))

    def note_start(self, trainer: Engine[Any, Any]) -> None:
        """Tells that the run has begun, or has been resumed. Runs that are refused are not told of."""
        state, self._has_begun = trainer.state, True
        self._tell(
            trainer,
            "resumed" if state.iteration else "started",
            max_epochs=state.max_epochs,
            process=os.getpid(),
            host=socket.gethostname(),
        )

    def note_epoch(self, trainer: Engine[Any, Any]) -> None:
        """Tells the metrics of an epoch that has ended."""
        self._tell(trainer, "epoch", row=self._recorder.history.epochs[-1])

    def _tell(self, trainer: Engine[Any, Any], event: str, **values: Any) -> None:
        if not self._has_begun:
            return
        position = {"step": trainer.state.iteration, "epoch": trainer.state.epoch}
        try:
            storage.append_line(self._path, {"event": event, **position, **values})
        except OSError as error:
            _logger.warning("%s lacks %r: %s", self._path, event, error)


def attached_to(trainer: Engine[Any, Any], kind: type[T]) -> T | None:
    """Returns the first handler of a class among those around the runs of a trainer; or None."""
    for frame in trainer.run_contexts:
        owner = getattr(getattr(frame, "func", frame), "__self__", None)
        if isinstance(owner, kind):
            return owner
    return None


def _end(trainer: Engine[Any, Any]) -> Mapping[str, Any]:
    """Describes the end of a run that raised nothing."""
    preemption = attached_to(trainer, Preemption)
    stopped_by = None if preemption is None else preemption.received
    if stopped_by:
        return {"event": "stopped", "reason": signal.Signals(stopped_by).name}
    is_complete = trainer.last_event_name is Events.COMPLETED and not trainer.will_resume
    return {"event": "finished" if is_complete else "stopped"}


def _failure(error: BaseException) -> Mapping[str, Any]:
    """Describes the exception that ended a run; Ctrl-C and signals are no failures."""
    if isinstance(error, KeyboardInterrupt):
        return {"event": "stopped", "reason": "SIGINT"}
    if isinstance(error, SystemExit):
        return {"event": "stopped", "reason": _exit_reason(error.code)}
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None
    return {
        "event": "failed",
        "error": type(error).__name__,
        "message": str(error)[:_MAX_TEXT],
        "place": place,
    }


def _exit_reason(code: Any) -> str:
    if isinstance(code, int) and code > 128:
        with contextlib.suppress(ValueError):
            return signal.Signals(code - 128).name
    return f"exit {code}"
