"""What differs between Linux, macOS and Windows: processes, open files, folders, file names."""

from __future__ import annotations

import errno
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ignite._core.optional import LazyModule

__all__ = [
    "as_text",
    "cannot_link",
    "forbidden_in_name",
    "is_running",
    "is_windows",
    "on_disk",
    "path_of_url",
    "replace",
    "sync",
    "unlink",
]

ctypes = LazyModule("ctypes")
url_request = LazyModule("urllib.request")

_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP)
"""Errors of file systems that cannot sync a folder."""
_LINKS_UNSUPPORTED = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
_ACCESS_DENIED, _SHARING_VIOLATION, _PRIVILEGE_NOT_HELD = 5, 32, 1314
"""Errors of Windows: a file is open in another program, or links need a privilege."""
_INVALID_PARAMETER, _QUERY_LIMITED_INFORMATION, _STILL_ACTIVE = 87, 0x1000, 259

_FORBIDDEN = re.compile(r'[<>:"|?*]')
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(?=\.|$)", re.I)

_WAITS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Waits for another program to close a file, such as a virus scanner or a program that reads it."""


def is_windows() -> bool:
    """Whether this is Windows."""
    return sys.platform == "win32"


def is_running(pid: int) -> bool:
    """Whether a process of this machine is running; True if that is not known.

    Sends nothing to the process: on Windows, the signal 0 is Ctrl-C.

    Example:
        >>> is_running(os.getpid())
        True
    """
    if is_windows():
        return _is_running_on_windows(pid)
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # a process of another user
        return True
    return True


def _is_running_on_windows(pid: int) -> bool:
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = ctypes.c_void_p
    process = kernel.OpenProcess(_QUERY_LIMITED_INFORMATION, False, pid)
    if not process:
        return bool(ctypes.get_last_error() != _INVALID_PARAMETER)
    process = ctypes.c_void_p(process)
    try:
        code = ctypes.c_ulong()
        is_known = kernel.GetExitCodeProcess(process, ctypes.byref(code))
        return not is_known or code.value == _STILL_ACTIVE
    finally:
        kernel.CloseHandle(process)


def replace(source: str | Path, target: str | Path) -> None:
    """Renames a file and replaces an existing one atomically, like ``os.replace``.

    Windows refuses that while a program has one of the files open; it is then tried again for 1.6
    seconds.
    """
    _patiently(lambda: os.replace(source, target))


def unlink(path: str | Path) -> None:
    """Removes a file, like ``os.unlink``, and waits like :func:`replace` on Windows."""
    _patiently(lambda: os.unlink(path))


def _patiently(work: Callable[[], object]) -> None:
    for wait_s in _WAITS_S if is_windows() else ():
        try:
            work()
        except PermissionError as error:
            if getattr(error, "winerror", None) not in (_ACCESS_DENIED, _SHARING_VIOLATION):
                raise
            threading.Event().wait(wait_s)
        else:
            return
    try:
        work()
    except PermissionError as error:
        if is_windows():
            error.add_note("Windows does not replace or remove a file that a program has open")
        raise


def sync(path: str | Path) -> None:
    """Writes a file, or the names in a folder, through to the disk.

    Does nothing for a folder on Windows, which cannot open folders, and on file systems that cannot
    sync them.
    """
    is_folder = os.path.isdir(path)
    if is_folder and is_windows():
        return
    # Windows syncs only files that are open for writing.
    flags = os.O_RDONLY if is_folder else os.O_RDWR
    descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not is_folder or error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(descriptor)


def cannot_link(error: OSError) -> bool:
    """Whether symbolic links cannot be made: not in this folder, or not by this user."""
    if getattr(error, "winerror", None) == _PRIVILEGE_NOT_HELD:
        return True
    return error.errno in _LINKS_UNSUPPORTED


def on_disk(path: str | os.PathLike[str]) -> Path:
    """Returns a path that functions of the system accept in any locale: names are UTF-8 on disk.

    In a locale without UTF-8, Python cannot encode a name such as "Läufe", and marks the bytes of
    the name in the paths that it gets from the system. Such a path is also what is returned.
    """
    text = os.fspath(path)
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        text = os.fsdecode(text.encode(errors="surrogateescape"))
    return Path(text)


def as_text(path: str | os.PathLike[str]) -> str:
    """Returns a path of the system as text, the inverse of :func:`on_disk`."""
    text = os.fspath(path)
    return text if text.isascii() else os.fsencode(text).decode(errors="surrogateescape")


def path_of_url(url: str) -> str:
    """Returns the path in a URL of a file, such as ``file:///runs/1`` or ``file:///C:/runs``.

    Example:
        >>> path_of_url("file:///runs/my%20run")
        '/runs/my run'
    """
    path = urlsplit(url).path
    # Windows has a drive in it.
    return str(url_request.url2pathname(path)) if is_windows() else unquote(path)


def forbidden_in_name(name: str) -> str | None:
    """Returns what makes ``name`` no name of a file on this system, or None.

    Windows forbids some characters and names of devices, and drops dots and spaces at the end.
    """
    if not is_windows():
        return None
    if found := _FORBIDDEN.search(name):
        return f"has {found[0]!r}, which Windows forbids"
    if name[-1:] in (".", " "):
        return f"ends with {name[-1]!r}, which Windows drops"
    if found := _RESERVED.match(name):
        return f"is {found[0]!r}, a device of Windows"
    return None
