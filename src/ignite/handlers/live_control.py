"""Live control of a run through files in its folder: the receiving end of ``ignite ctl``."""

from __future__ import annotations

import functools
import itertools
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ignite import distributed as idist
from ignite._core.systems import on_disk
from ignite.distributed.appointments import Appointments
from ignite.engine import Engine
from ignite.engine.extension import Command, Done
from ignite.storage import append_line
from ignite.storage.mailbox import Answer, Letter, Mailbox

__all__ = ["LiveControl"]

AnyEngine = Engine[Any, Any]
FOLDER, RECORD = "control", "events.jsonl"
_TOO_LATE = "it was given before this run began"
_numbers = itertools.count()


class LiveControl:
    """Lets ``ignite ctl FOLDER pause|go|save|stop|validate|set lr=...`` control a run.

    Commands are files in the subfolder ``control``, each of which appears complete or not at all,
    so this works on a shared disk, without a port. A thread looks there once per ``poll_s``; the
    loop itself does nothing. What was done, and what was refused and why, is written to
    ``events.jsonl``, one line per command, also for commands of
    :attr:`~ignite.engine.Engine.control` in Python. Commands given before the run began are
    refused. Whoever may write to the folder may control the run; commands are data, and never code.

    ``Learner.fit(run_dir=...)`` attaches it.

    Args:
        folder: the folder of the run.
        poll_s: seconds between two looks.

    Distributed:
        Attach it on all ranks. Rank 0 reads; all ranks carry a command out in the same iteration,
        on which they agree through the store of the process group, without a collective.

    Example:
        >>> import tempfile
        >>> trainer = Engine(lambda engine, batch: engine.control.stop() if batch == 2 else None)
        >>> folder = Path(tempfile.mkdtemp())
        >>> LiveControl(folder).attach(trainer)
        >>> trainer.run(range(9)).iteration
        3
        >>> json.loads((folder / "events.jsonl").read_text())["command"]
        'stop'
    """

    needs_all_processes = "LiveControl"

    def __init__(self, folder: str | Path, *, poll_s: float = 1.0) -> None:
        if not poll_s > 0:
            raise ValueError(f"poll_s should be positive, but given {poll_s}")
        self.folder = on_disk(folder)
        self.poll_s = poll_s
        self.logger = logging.getLogger(f"{__name__}.{type(self).__name__}")

    def attach(self, engine: AnyEngine) -> None:
        """Listens during each run of ``engine``, normally the trainer."""
        engine.add_run_context(self._frame)

    @contextmanager
    def _frame(self, engine: AnyEngine, is_new: bool) -> Iterator[None]:
        listener = _Listener(self, engine)
        remove = engine.control.add_listener(listener.write_down)
        try:
            listener.start()
            yield
        finally:
            listener.stop()
            remove()


class _Listener:
    """The thread that listens during one run."""

    def __init__(self, handler: LiveControl, engine: AnyEngine) -> None:
        self._handler, self._engine = handler, engine
        self._is_first = idist.get_rank() == 0
        self._mailbox = Mailbox(handler.folder / FOLDER)
        self._appointments: Appointments | None = None
        self._has_ended = threading.Event()
        self._wakes = threading.Event()
        self._asks = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Refuses what is left of earlier runs, and begins to listen."""
        if idist.get_world_size() > 1:
            try:
                self._appointments = Appointments(str(next(_numbers)))
            except RuntimeError as error:
                self._handler.logger.warning("The run cannot be controlled: %s", error)
                return
            self._engine.control.when_woken(self._ask_to_go_on)
        if self._is_first:
            for letter in self._mailbox.begin():
                self._refuse(letter, _TOO_LATE)
        self._thread = threading.Thread(target=self._listen, name="ignite-control", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, and refuses commands that have come too late."""
        self._has_ended.set()
        self._wakes.set()
        if self._appointments is not None:
            self._appointments.leave()
            self._engine.control.when_woken(None)
        if self._thread is None:
            return
        self._thread.join(timeout=10.0)
        self._engine.control.refuse_late()
        try:
            if self._appointments is not None:
                self._appointments.close()
            if self._is_first:
                for letter in self._mailbox.take():
                    self._refuse(letter, "the run has ended before")
        except (
            OSError,
            RuntimeError,
        ) as error:  # the disk, or the store of a failed group, is gone
            self._handler.logger.warning("Cannot end the control of the run: %s", error)

    def write_down(self, done: Done) -> None:
        """Adds a line to the record."""
        if not self._is_first:
            return
        position = {"time": done.time, "step": done.iteration, "epoch": done.epoch}
        entry = {name: getattr(done, name) for name in ("command", "arguments", "is_done", "text")}
        try:
            append_line(self._handler.folder / RECORD, {"event": "control", **position, **entry})
        except OSError as error:
            self._handler.logger.warning("Cannot write to the record of the run: %s", error)

    def _listen(self) -> None:
        has_warned = False
        while not self._has_ended.is_set():
            try:
                self._look()
                has_warned = False
            except (OSError, RuntimeError) as error:  # a shared disk may come back
                if not has_warned and not self._has_ended.is_set():
                    self._handler.logger.warning("Cannot look for commands to the run: %s", error)
                has_warned = True
            self._wakes.wait(self._handler.poll_s)
            self._wakes.clear()

    def _look(self) -> None:
        if not self._engine.is_running:
            return
        letters = self._mailbox.take() if self._is_first else []
        if self._appointments is None:
            for letter in letters:
                self._engine.control.give(self._command_of(letter))
            return
        for letter in letters:
            self._appointments.announce(json.dumps(letter._asdict()))
        if self._asks.is_set():
            self._asks.clear()
            self._appointments.ask()
        if self._is_first and self._engine.control.is_paused and self._appointments.was_asked():
            self._appointments.announce(json.dumps(Letter("", "go", {})._asdict()))
        while (meeting := self._appointments.next()) is not None:
            letter = Letter(**json.loads(meeting.message))
            self._engine.control.give(self._command_of(letter, meeting.iteration))
            # Read after the command is given: see the appointments.
            self._appointments.propose(meeting, self._engine.state.iteration)

    def _command_of(
        self, letter: Letter, meeting: Callable[[], int | None] | None = None
    ) -> Command:
        return Command(
            letter.command,
            letter.arguments,
            meeting,
            functools.partial(self._reply, letter.key) if self._is_first and letter.key else None,
            letter.fault,
        )

    def _reply(self, key: str, done: Done) -> None:
        try:
            self._mailbox.reply(key, Answer(done.is_done, done.text))
        except OSError as error:
            self._handler.logger.warning("Cannot answer a command to the run: %s", error)

    def _refuse(self, letter: Letter, why: str) -> None:
        command = self._command_of(letter._replace(fault=letter.fault or why))
        self._engine.control.refuse(command)

    def _ask_to_go_on(self) -> None:
        """Ends the pause on all ranks. Called by the run."""
        self._asks.set()
        self._wakes.set()
