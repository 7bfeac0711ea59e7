"""Calls functions in forked processes, which may be killed."""

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

Send = Callable[[str, Any], None]

_SENT, _RESULT, _ERROR = "sent", "result", "error"
_LENGTH = struct.Struct("<Q")
_POLL_S = 0.02


class Found(NamedTuple):
    """Outcome of a call: the values that the function has sent, and its result."""

    sent: list[tuple[str, Any]]
    result: Any


def call_in_child(
    function: Callable[[Send], Any], *, is_killed: bool = False, timeout_s: float = 120.0
) -> Found:
    """Calls ``function(send)`` in a process that is forked from this one.

    Sent values and the result must be loadable with ``torch.load(weights_only=True)``. In the
    child, PyTorch uses one thread, because the threads of this process are not forked.

    Args:
        function: the function; ``send(key, value)`` sends a value to this process at once.
        is_killed: whether the child is expected to end by SIGKILL instead of returning.
        timeout_s: seconds after which the child is killed.

    Raises:
        RuntimeError: the function raised, the child ended in an unexpected way, or it timed out.
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
        raise RuntimeError(f"The run in process {pid} took longer than {timeout_s} s")
    messages = _parse(data)
    for kind, value in messages:
        if kind == _ERROR:
            raise RuntimeError(f"The run in process {pid} failed:\n{value}")
    code, wanted = os.waitstatus_to_exitcode(status), -signal.SIGKILL if is_killed else 0
    if code != wanted:
        raise RuntimeError(
            f"The run in process {pid} should end with exit code {wanted}, but ended with {code}"
        )
    results = [value for kind, value in messages if kind == _RESULT]
    return Found(
        [value for kind, value in messages if kind == _SENT], results[0] if results else None
    )


def _work(function: Callable[[Send], Any], writing: int) -> None:
    """Runs in the child. Never returns, so that the parent's program does not continue here."""
    code = 1
    try:
        os.setpgid(0, 0)
        torch.set_num_threads(1)
        result = function(lambda key, value: _send(writing, _SENT, (key, value)))
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
    """Returns the data from the child, and its exit status, which is None after a timeout."""
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
                _kill_group(pid)  # loader workers of the child hold the pipe open
    return bytes(data), status


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _parse(data: bytes) -> list[tuple[str, Any]]:
    """Returns all complete messages; a killed child may leave an incomplete one."""
    messages, place = [], 0
    while len(data) >= place + _LENGTH.size:
        (length,) = _LENGTH.unpack_from(data, place)
        place += _LENGTH.size
        if len(data) >= place + length:
            messages.append(torch.load(BytesIO(data[place : place + length]), weights_only=True))
        place += length
    return messages
