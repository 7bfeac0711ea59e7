"""Commands to a running program, as small files in a folder: works on any disk that both see, without a port.

A sender writes a command file, which appears complete or not at all. The receiver reads it, and
obeys it only if it could remove it: whoever removes a file, receiver or sender, owns the command,
so each one is obeyed at most once. The answer is a file of its own, which the sender removes.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ignite._core import clock, systems
from ignite.storage.commit import commit, sweep

__all__ = ["Answer", "Letter", "Mailbox"]

FORMAT = 1
_COMMAND, _ANSWER, _SUFFIX = "command-", "answer-", ".json"
_MAX_BYTES = 1 << 16
_MAX_ANSWERS = 100
"""Answers that nobody has read, of which the oldest are removed."""
_LOOK_AGAIN_S = 0.1
_waiter = threading.Event()
"""Never set: waits, as ``time.sleep`` would."""


class Letter(NamedTuple):
    """A command that has been taken.

    Attributes:
        key: identifies the command; keys sort in the order in which commands were sent.
        command: its name.
        arguments: its arguments by name.
        fault: why the file is no command; "" for a command.
    """

    key: str
    command: str
    arguments: Mapping[str, Any]
    fault: str = ""


class Answer(NamedTuple):
    """What has become of a command."""

    is_done: bool
    """False if it was refused or has failed."""
    text: str


class Mailbox:
    """The commands in a folder, for senders and for the one receiver.

    Args:
        folder: the folder; the receiver makes it.

    Example:
        >>> import tempfile
        >>> mailbox = Mailbox(Path(tempfile.mkdtemp()))
        >>> key = mailbox.send("set", {"lr": 0.1})
        >>> [letter] = mailbox.take()
        >>> letter.command, letter.arguments
        ('set', {'lr': 0.1})
        >>> mailbox.reply(key, Answer(True, "lr was 0.2"))
        >>> mailbox.answer_to(key)
        Answer(is_done=True, text='lr was 0.2')
        >>> mailbox.take()
        []
    """

    _counter = itertools.count()

    def __init__(self, folder: Path) -> None:
        self.folder = systems.on_disk(folder)

    def send(self, command: str, arguments: Mapping[str, Any] | None = None) -> str:
        """Sends a command; returns its key.

        Raises:
            OSError: the folder does not exist, or cannot be written to.
        """
        number = next(Mailbox._counter)
        key = f"{time.time_ns():020d}-{number:06d}-{secrets.token_hex(4)}"
        content = {"format": FORMAT, "command": command, "arguments": dict(arguments or {})}
        self._write(_COMMAND + key, content)
        return key

    def ask(
        self, command: str, arguments: Mapping[str, Any] | None = None, *, timeout_s: float = 60.0
    ) -> Answer:
        """Sends a command, and waits for the answer.

        Raises:
            TimeoutError: there was none in time; the message says whether the command was taken.
            OSError: the folder does not exist, or cannot be written to.
        """
        key, deadline = self.send(command, arguments), clock.now() + timeout_s
        while (answer := self.answer_to(key)) is None:
            if clock.now() >= deadline:
                if self.withdraw(key):
                    text = "nobody has taken the command, which is withdrawn: is the run going on?"
                else:
                    text = "the run has taken the command, and has not finished it"
                raise TimeoutError(f"No answer within {timeout_s:g} s: {text}")
            _waiter.wait(_LOOK_AGAIN_S)
        return answer

    def withdraw(self, key: str) -> bool:
        """Removes a command; returns False if it has been taken already."""
        return self._remove(_COMMAND + key)

    def answer_to(self, key: str) -> Answer | None:
        """Returns the answer to a command, and removes it; None if there is none yet."""
        try:
            content = json.loads(self._read(_ANSWER + key))
        except (OSError, ValueError):
            return None
        self._remove(_ANSWER + key)
        return Answer(bool(content["is_done"]), str(content["text"]))

    def begin(self) -> list[Letter]:
        """Makes the folder, and removes what is left of earlier runs; returns the commands among it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)
        for name in self._names(_ANSWER)[:-_MAX_ANSWERS]:
            self._remove(name)
        return self.take()

    def take(self) -> list[Letter]:
        """Takes the commands that have been sent, in their order. Lists the folder once."""
        try:
            names = self._names(_COMMAND)
        except FileNotFoundError:
            return []
        return [letter for name in names if (letter := self._taken(name)) is not None]

    def reply(self, key: str, answer: Answer) -> None:
        """Answers a command.

        Raises:
            OSError: the answer cannot be written.
        """
        self._write(_ANSWER + key, answer._asdict())

    def _taken(self, name: str) -> Letter | None:
        key = name.removeprefix(_COMMAND)
        try:
            text = self._read(name)
        except (OSError, ValueError) as error:
            text, fault = "", f"the file cannot be read: {error}"
        else:
            fault = ""
        if not self._remove(name):
            return None  # withdrawn
        return Letter(key, "", {}, fault) if fault else _letter_of(key, text)

    def _names(self, prefix: str) -> list[str]:
        """Sorted names, without their suffix, of regular files: opening a pipe would wait."""
        with os.scandir(self.folder) as entries:
            return sorted(
                entry.name.removesuffix(_SUFFIX)
                for entry in entries
                if entry.name.startswith(prefix)
                and entry.name.endswith(_SUFFIX)
                and entry.is_file(follow_symlinks=False)
            )

    def _read(self, name: str) -> str:
        with (self.folder / (name + _SUFFIX)).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError(f"it should have at most {_MAX_BYTES} bytes, but has more")
        return content.decode()

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        text = json.dumps(content).encode()
        commit(self.folder, name + _SUFFIX, lambda file: file.write(text))

    def _remove(self, name: str) -> bool:
        with suppress(FileNotFoundError):
            systems.unlink(self.folder / (name + _SUFFIX))
            return True
        return False


def _letter_of(key: str, text: str) -> Letter:
    """Reads a command from its file; a fault says what is wrong with it."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Letter(key, "", {}, f"the file should contain JSON, but: {error}")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return Letter(key, "", {}, f"the file should be a command in format {FORMAT}")
    command, arguments = content.get("command"), content.get("arguments", {})
    if not isinstance(command, str) or not isinstance(arguments, dict):
        return Letter(
            key, "", {}, "the file should have a string 'command' and a dictionary 'arguments'"
        )
    return Letter(key, command, arguments)
