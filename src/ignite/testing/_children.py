"""Calls functions in forked processes, which may be killed on the way."""

from __future__ import annotations

import os
import select
import signal
import struct
import traceback
from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple

import torch

from ignite._core import clock

Tell = Callable[[str, Any], None]

_TOLD, _RESULT, _ERROR = "told", "result", "error"
_LENGTH = struct.Struct("<Q")
_POLL_S = 0.02


class Found(NamedTuple):
    """What came of a call: what the function has told before its end, and what it has returned."""

    told: list[tuple[str, Any]]
    result: Any


def call_in_child(
    function: Callable[[Tell], Any], *, is_killed: bool = False, timeout_s: float = 120.0
) -> Found:
    """Calls ``function(tell)`` in a process that is forked from this one.

    What is told and returned travels in a form that ``torch.load(weights_only=True)`` reads. In the
    child, torch computes with one thread: those of this process are not there.

    Args:
        function: ``tell(key, value)`` in it hands a value over at once.
        is_killed: whether the child should end by SIGKILL, and not return.
        timeout_s: after which the child is killed.

    Raises:
        RuntimeError: the function has raised, the child has ended in another way than it should, or
            it took too long.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _work(function, writing)
    os.close(writing)
    try:
        data, status = _read_until_end(reading, pid, clock.now() + timeout_s)
    finally:
        os.close(reading)
        _kill_group(pid)
    if status is None:
        os.waitpid(pid, 0)
        raise RuntimeError(f"The run in process {pid} took more than {timeout_s} s")
    messages = _parse(data)
    for kind, value in messages:
        if kind == _ERROR:
            raise RuntimeError(f"The run in process {pid} has failed:\n{value}")
    code, wanted = os.waitstatus_to_exitcode(status), -signal.SIGKILL if is_killed else 0
    if code != wanted:
        raise RuntimeError(
            f"The run in process {pid} should end with exit code {wanted}, but ended with {code}"
        )
    results = [value for kind, value in messages if kind == _RESULT]
    return Found(
        [value for kind, value in messages if kind == _TOLD], results[0] if results else None
    )


def _work(function: Callable[[Tell], Any], writing: int) -> None:
    """The child. Never returns, so that nothing of the parent's program is run twice."""
    code = 1
    try:
        os.setpgid(0, 0)
        torch.set_num_threads(1)
        result = function(lambda key, value: _send(writing, _TOLD, (key, value)))
        _send(writing, _RESULT, result)
        code = 0
    except BaseException:
        _send(writing, _ERROR, traceback.format_exc())
    finally:
        os._exit(code)


def _send(writing: int, kind: str, value: Any) -> None:
    buffer = BytesIO()
    torch.save((kind, value), buffer)
    data = _LENGTH.pack(buffer.tell()) + buffer.getvalue()
    while data:
        data = data[os.write(writing, data) :]


def _read_until_end(reading: int, pid: int, deadline: float) -> tuple[bytes, int | None]:
    """All that the child has written, and its exit status; None if it was not done in time."""
    data, status = bytearray(), None
    while clock.now() < deadline:
        if select.select([reading], [], [], _POLL_S)[0]:
            chunk = os.read(reading, 1 << 20)
            data += chunk
            if not chunk:
                return bytes(data), os.waitpid(pid, 0)[1] if status is None else status
        elif status is None:
            done, found = os.waitpid(pid, os.WNOHANG)
            if done:
                status = found
                _kill_group(pid)  # the child's own children, who hold the pipe: loaders' workers
    return bytes(data), status


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _parse(data: bytes) -> list[tuple[str, Any]]:
    """All whole messages; a killed child may leave half of one."""
    messages, place = [], 0
    while len(data) >= place + _LENGTH.size:
        (length,) = _LENGTH.unpack_from(data, place)
        place += _LENGTH.size
        if len(data) >= place + length:
            messages.append(torch.load(BytesIO(data[place : place + length]), weights_only=True))
        place += length
    return messages
