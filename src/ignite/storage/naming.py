"""File names: checks that a name is safe, and names temporary files."""

import hashlib
import itertools
import os
import re
import secrets
import socket
import sys
import unicodedata
from pathlib import PureWindowsPath

from ignite._core.systems import forbidden_in_name, is_running

__all__ = ["MAX_NAME_BYTES", "check_name", "is_temporary", "owner_is_dead", "temporary_name"]

MAX_NAME_BYTES = 255
"""The longest name that file systems support, in bytes of UTF-8."""

_TEMPORARY = re.compile(r"\..*\.([0-9a-f]{8})\.([0-9]{1,10})\.([0-9a-f]{8})[0-9]+\.tmp", re.DOTALL)
_LINE_ENDS = ("Cc", "Zl", "Zp")
# Distinguishes this process from an earlier one with the same pid, which is common in containers.
# Forked children inherit the token and have other pids.
_TOKEN = secrets.token_hex(4)
_counter = itertools.count()


def check_name(name: str) -> str:
    """Returns ``name`` if it is a plain file name, which cannot refer to a file in another folder.

    Raises:
        TypeError: ``name`` is not a string.
        ValueError: ``name`` is empty, begins with ``.`` or ``~``, contains separators, a drive or
            control characters, cannot be encoded, is longer than 255 bytes, or is forbidden by the
            system: on Windows, names such as ``loss<1.pt`` and ``aux.pt``.

    Example:
        >>> check_name("model_0.9500.pt")
        'model_0.9500.pt'
        >>> check_name("../model.pt")
        Traceback (most recent call last):
        ValueError: name should be the plain name of a file, but given '../model.pt', which has a separator
    """
    if not isinstance(name, str):
        raise TypeError(f"name should be a string, but given {name!r}")
    problem = _find_problem(name)
    if problem is not None:
        shown = name if len(name) <= 100 else f"{name[:97]}..."
        raise ValueError(
            f"name should be the plain name of a file, but given {shown!r}, which {problem}"
        )
    return name


def _find_problem(name: str) -> str | None:
    if not name:
        return "is empty"
    if "/" in name or "\\" in name:
        return "has a separator"
    if name[0] in ".~":
        return f"begins with {name[0]!r}"
    if PureWindowsPath(name).drive:
        return "has a drive"
    if any(unicodedata.category(character) in _LINE_ENDS for character in name):
        return "has a control character"
    if sys.platform == "win32" and (forbidden := forbidden_in_name(name)) is not None:
        return forbidden
    try:
        num_bytes = len(name.encode())
    except UnicodeEncodeError:
        return "cannot be encoded"
    return (
        f"has {num_bytes} bytes, of at most {MAX_NAME_BYTES}"
        if num_bytes > MAX_NAME_BYTES
        else None
    )


def temporary_name(name: str) -> str:
    """Returns a new temporary name for ``name``, which contains the host and the process id.

    Example:
        >>> is_temporary(temporary_name("model.pt"))
        True
    """
    end = f".{_host()}.{os.getpid()}.{_TOKEN}{next(_counter)}.tmp"
    start = name.encode()[: MAX_NAME_BYTES - len(end) - 1].decode(errors="ignore")
    return f".{start}{end}"


def is_temporary(name: str) -> bool:
    """Whether ``name`` is a result of :func:`temporary_name`.

    Example:
        >>> is_temporary("model.tmp")
        False
    """
    return _TEMPORARY.fullmatch(name) is not None


def owner_is_dead(name: str) -> bool:
    """Whether the process that created the temporary ``name`` is known to have ended on this host."""
    found = _TEMPORARY.fullmatch(name)
    if found is None or found[1] != _host():
        return False
    pid = int(found[2])
    if pid == os.getpid():
        return found[3] != _TOKEN
    return not is_running(pid)


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode(errors="surrogateescape")).hexdigest()[:8]
