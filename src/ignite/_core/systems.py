"""Differences between Linux, macOS and Windows: processes, open files, folders, file names."""

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
"""Waits between attempts, while another program, such as a virus scanner, has the file open."""


def is_windows() -> bool:
    """Whether this is Windows."""
    return sys.platform == "win32"


def is_running(pid: int) -> bool:
    """Whether a process of this machine is running; True if that is unknown.

    Does not send signal 0 on Windows, where it is Ctrl-C.

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

    Windows refuses this while a program has one of the files open; the call is then retried for
    1.6 seconds.
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
            error.add_note(
                "Windows does not replace or remove a file that a program has open: close it and try again"
            )
        raise


def sync(path: str | Path) -> None:
    """Syncs a file, or the names in a folder, to disk.

    Does nothing for a folder on Windows, which cannot open folders, and on file systems that cannot
    sync folders.
    """
    is_folder = os.path.isdir(path)
    if is_folder and is_windows():
        return
    # Windows only syncs files that are open for writing.
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
    """Whether symbolic links cannot be created in this folder, or by this user."""
    if getattr(error, "winerror", None) == _PRIVILEGE_NOT_HELD:
        return True
    return error.errno in _LINKS_UNSUPPORTED


def on_disk(path: str | os.PathLike[str]) -> Path:
    """Returns a path that system functions accept in any locale, for a name in UTF-8 on disk.

    In a locale without UTF-8, Python cannot encode a name such as "Läufe"; in paths that it gets
    from the system, it escapes the bytes of the name. The result is such a path.
    """
    text = os.fspath(path)
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        text = os.fsdecode(text.encode(errors="surrogateescape"))
    return Path(text)


def as_text(path: str | os.PathLike[str]) -> str:
    """Returns a system path as text; the inverse of :func:`on_disk`."""
    text = os.fspath(path)
    return text if text.isascii() else os.fsencode(text).decode(errors="surrogateescape")


if sys.getfilesystemencoding() == "utf-8":  # everywhere but in some locales: nothing to convert
    on_disk = Path
    as_text = os.fspath  # type: ignore[assignment]


def path_of_url(url: str) -> str:
    """Returns the path in a file URL, such as ``file:///runs/1`` or ``file:///C:/runs``.

    Example:
        >>> path_of_url("file:///runs/my%20run")
        '/runs/my run'
    """
    path = urlsplit(url).path
    # On Windows, the URL contains a drive.
    return str(url_request.url2pathname(path)) if is_windows() else unquote(path)


def forbidden_in_name(name: str) -> str | None:
    """Returns the reason why ``name`` is not a valid file name on this system, or None.

    Windows forbids some characters and device names, and drops dots and spaces at the end.
    """
    if not is_windows():
        return None
    if found := _FORBIDDEN.search(name):
        return f"has {found[0]!r}, which Windows forbids"
    if name[-1:] in (".", " "):
        return f"ends with {name[-1]!r}, which Windows drops"
    if found := _RESERVED.match(name):
        return f"is {found[0]!r}, a device name on Windows"
    return None
