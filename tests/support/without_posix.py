"""Makes this process look like one on Windows, as far as Python code can tell.

What POSIX has and Windows lacks is removed, and what behaves differently there refuses or behaves so.
The standard library and torch are imported before, because they choose their code for the system at
import.
"""

import builtins
import ctypes
import errno
import fcntl
import os
import shutil
import signal
import sys

_OF_OS = [
    "fork", "forkpty", "getuid", "geteuid", "getgid", "getegid", "getpgid", "getpgrp", "getsid", "killpg",
    "setpgid", "setsid", "setuid", "setgid", "sysconf", "sysconf_names", "uname", "sched_getaffinity",
    "register_at_fork",
    "mkfifo", "mknod", "nice", "pipe2", "posix_spawn", "wait", "wait3", "wait4", "waitid", "chown", "fchown", "lchown",
    "pread", "pwrite", "sync", "statvfs", "fstatvfs", "setpriority", "getpriority", "getloadavg", "posix_fallocate",
    "posix_fadvise", "sendfile", "fdatasync", "O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK",
    "O_SYNC", "O_DSYNC", "openpty", "ttyname", "confstr",
]  # fmt: skip
_OF_SIGNAL = [
    "SIGKILL", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGALRM", "SIGPIPE", "SIGCONT", "SIGSTOP",
    "SIGTSTP", "SIGWINCH", "setitimer", "getitimer", "alarm", "pause", "pthread_kill", "pthread_sigmask", "sigwait",
    "sigpending", "siginterrupt",
]  # fmt: skip
_flock, _LOCK = fcntl.flock, fcntl.LOCK_EX | fcntl.LOCK_NB
_MODULES = ["fcntl", "resource", "termios", "tty", "pty", "pwd", "grp", "syslog", "readline"]
_SIGNALS = {
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGABRT,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
}

killed: list[tuple[int, int]] = []
"""What was passed to ``os.kill``: on Windows, this sends Ctrl-C or ends the process."""
open_in_other_programs: set[str] = set()
"""Files that a program has open, which Windows does not replace; each refuses twice."""
living: set[int] = {os.getpid()}
"""The processes that ``OpenProcess`` finds."""


def apply() -> None:
    """Changes this process. Irreversible: call it in a process of its own."""
    for name in _OF_OS:
        if hasattr(os, name):
            delattr(os, name)
    for name in _OF_SIGNAL:
        if hasattr(signal, name):
            delattr(signal, name)
    for name in _MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    os.kill = lambda pid, signum: killed.append((pid, signum))
    os.symlink = _refuse_link
    os.open = _opening(os.open)
    os.replace, os.unlink = _refusing(os.replace), _refusing(os.unlink)
    os.remove = os.unlink
    builtins.open = _forbidding(builtins.open)
    signal.signal, signal.getsignal = _only_known(signal.signal), _only_known(signal.getsignal)
    signal.SIGBREAK = signal.SIGABRT  # of Windows only; needs the number of a signal that exists
    ctypes.WinDLL = lambda name, *args, **options: _Kernel()
    sys.modules["msvcrt"] = _Msvcrt()  # type: ignore[assignment]
    shutil._use_fd_functions = False
    ctypes.get_last_error = lambda: _Kernel.error
    sys.platform = "win32"


def _windows_error(number: int, code: int, text: str, path: object) -> OSError:
    error = (
        PermissionError(number, text, path)
        if number == errno.EACCES
        else OSError(number, text, path)
    )
    error.winerror = code  # type: ignore[attr-defined]
    return error


def _refuse_link(source, target, target_is_directory=False, *, dir_fd=None):
    raise _windows_error(
        errno.EINVAL, 1314, "A required privilege is not held by the client", target
    )


def _opening(open_):
    def opening(path, flags, mode=0o777, *, dir_fd=None):
        if os.path.isdir(path):
            raise _windows_error(errno.EACCES, 5, "Access is denied", path)
        _check_name(path)
        return open_(path, flags, mode)

    return opening


def _forbidding(open_):
    def opening(file, *args, **kwargs):
        if not isinstance(file, int):
            _check_name(file)
        return open_(file, *args, **kwargs)

    return opening


def _check_name(path):
    name = os.path.basename(os.fsdecode(path))
    if set('<>:"|?*') & set(name) or name.rstrip(". ") != name:
        raise _windows_error(errno.EINVAL, 123, "The filename, directory name is incorrect", path)


def _refusing(change):
    def changing(path, *args, **kwargs):
        for one in (path, *args[:1]):
            if (known := os.fspath(one)) in open_in_other_programs:
                open_in_other_programs.remove(known)
                raise _windows_error(errno.EACCES, 32, "The process cannot access the file", one)
        return change(path, *args, **kwargs)

    return changing


def _only_known(function):
    def checked(signum, *args):
        if signum not in _SIGNALS:
            raise ValueError(f"invalid signal value: {signum}")
        return function(signum, *args)

    return checked


class _Msvcrt:
    """The module that locks bytes of files."""

    LK_NBLCK = 2

    @staticmethod
    def locking(descriptor, mode, num_bytes):
        assert os.lseek(descriptor, 0, os.SEEK_CUR) > 1000, "the text cannot be read by others"
        try:
            _flock(descriptor, _LOCK)
        except BlockingIOError:
            raise _windows_error(
                errno.EACCES, 33, "The process cannot access the file", ""
            ) from None


class _Kernel:
    """The functions of kernel32 that tell whether a process lives."""

    error = 0

    def __init__(self):
        def open_process(access, inherits, pid):
            _Kernel.error = 0 if pid in living else 87
            return pid if pid in living else None

        self.OpenProcess = open_process

    def GetExitCodeProcess(self, process, code):
        code._obj.value = 259
        return 1

    def CloseHandle(self, process):
        return 1
