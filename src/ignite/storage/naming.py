"""File names: checks that a name is safe, and names temporary files."""

import hashlib
import itertools
import os
import re
import secrets
import socket
import unicodedata
from pathlib import PureWindowsPath

__all__ = ["MAX_NAME_BYTES", "check_name", "is_temporary", "owner_is_dead", "temporary_name"]

MAX_NAME_BYTES = 255
"""What file systems take, in UTF-8."""

_TEMPORARY = re.compile(r"\..*\.([0-9a-f]{8})\.([0-9]{1,10})\.([0-9a-f]{8})[0-9]+\.tmp", re.DOTALL)
_LINE_ENDS = ("Cc", "Zl", "Zp")
# Of this process and, because it is inherited, of its children, which have other numbers: tells the
# files of a living process from those of a dead one with the same number, as happens in containers.
_TOKEN = secrets.token_hex(4)
_counter = itertools.count()


def check_name(name: str) -> str:
    """Returns ``name`` if it is the plain name of a file, one that cannot lead out of its folder.

    Raises:
        TypeError: it is no string.
        ValueError: it is empty, begins with ``.`` or ``~``, contains separators, a drive or control
            characters, cannot be encoded, or is longer than 255 bytes.

    Example:
        >>> check_name("model_0.9500.pt")
        'model_0.9500.pt'
        >>> check_name("../model.pt")
        Traceback (most recent call last):
        ValueError: name should be the plain name of a file, but given '../model.pt', which has a separator
    """
    if not isinstance(name, str):
        raise TypeError(f"name should be a string, but given {name!r}")
    fault = _fault_of(name)
    if fault is not None:
        shown = name if len(name) <= 100 else f"{name[:97]}..."
        raise ValueError(
            f"name should be the plain name of a file, but given {shown!r}, which {fault}"
        )
    return name


def _fault_of(name: str) -> str | None:
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
    """A new name for ``name`` while it is being written: says on which host and by which process.

    Example:
        >>> is_temporary(temporary_name("model.pt"))
        True
    """
    end = f".{_host()}.{os.getpid()}.{_TOKEN}{next(_counter)}.tmp"
    start = name.encode()[: MAX_NAME_BYTES - len(end) - 1].decode(errors="ignore")
    return f".{start}{end}"


def is_temporary(name: str) -> bool:
    """Whether ``name`` is one that :func:`temporary_name` has made.

    Example:
        >>> is_temporary("model.tmp")
        False
    """
    return _TEMPORARY.fullmatch(name) is not None


def owner_is_dead(name: str) -> bool:
    """Whether the process that writes the temporary ``name`` ran on this host and is gone; False if nobody knows."""
    found = _TEMPORARY.fullmatch(name)
    if found is None or found[1] != _host():
        return False
    pid = int(found[2])
    if pid == os.getpid():
        return found[3] != _TOKEN
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
