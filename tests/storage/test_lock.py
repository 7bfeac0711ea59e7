"""Only one program can write to a folder."""

import errno
import fcntl
import os
import signal
import socket

import pytest

from ignite.exceptions import CheckpointError
from ignite.storage import hold, lock


def in_child(act):
    """Runs a function in a forked process and returns its exit code."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(act())
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def try_to_hold(folder):
    try:
        with hold(folder):
            return 0
    except CheckpointError:
        return 1


def test_another_process_is_refused_and_the_holder_is_named(tmp_path):
    with hold(tmp_path):
        assert in_child(lambda: try_to_hold(tmp_path)) == 1
        words = (
            f"its lock is held by process {os.getpid()} on {socket.gethostname()}. End that program"
        )
        with pytest.raises(CheckpointError, match=words), hold(tmp_path):
            pass
        assert in_child(lambda: try_to_hold(tmp_path)) == 1, "the attempt has not let go of it"
    assert in_child(lambda: try_to_hold(tmp_path)) == 0
    assert try_to_hold(tmp_path) == 0


def test_the_lock_is_released_when_the_holder_is_killed(tmp_path):
    reading, writing = os.pipe()

    def hold_for_ever():
        with hold(tmp_path):
            os.write(writing, b"x")
            signal.pause()

    pid = os.fork()
    if pid == 0:
        hold_for_ever()
    os.read(reading, 1)
    assert try_to_hold(tmp_path) == 1
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert try_to_hold(tmp_path) == 0
    os.close(reading)
    os.close(writing)


def test_a_worker_that_outlives_the_holder_does_not_keep_the_lock(tmp_path):
    reading, writing = os.pipe()

    def hold_and_fork():
        with hold(tmp_path):
            if os.fork() == 0:
                # Written by the worker, which has closed the lock by then.
                os.write(writing, str(os.getpid()).encode())
                signal.pause()
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(hold_and_fork) == -signal.SIGKILL
    worker = int(os.read(reading, 20))
    try:
        os.kill(worker, 0)
        assert try_to_hold(tmp_path) == 0
    finally:
        os.kill(worker, signal.SIGKILL)
        os.close(reading)
        os.close(writing)


def test_a_child_that_exits_the_context_does_not_release_the_lock(tmp_path):
    def leave():
        return 0

    with hold(tmp_path):
        assert in_child(leave) == 0
        assert try_to_hold(tmp_path) == 1
    context = hold(tmp_path)
    context.__enter__()
    assert in_child(lambda: context.__exit__(None, None, None) or 0) == 0
    assert try_to_hold(tmp_path) == 1
    context.__exit__(None, None, None)
    assert try_to_hold(tmp_path) == 0


def test_the_lock_is_released_after_an_error(tmp_path):
    with pytest.raises(KeyError), hold(tmp_path):
        raise KeyError
    assert try_to_hold(tmp_path) == 0


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".lock").symlink_to("victim")
    with pytest.raises(OSError, match="symbolic links"), hold(tmp_path):
        pass
    assert (tmp_path / "victim").read_text() == "precious"


def test_without_locks_there_is_a_warning(tmp_path, monkeypatch, caplog):
    def refuse(descriptor, operation):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with hold(tmp_path):
        assert "make sure that no other program writes to it" in caplog.text


class FakeMsvcrt:
    """Replaces ``msvcrt.locking`` by locks of one byte that belong to open files, as on Windows."""

    LK_NBLCK = 2
    error = None

    def locking(self, descriptor, mode, num_bytes):
        assert mode == self.LK_NBLCK
        if self.error is not None:
            raise self.error
        assert os.lseek(descriptor, 0, os.SEEK_CUR) > 200, "the name of the holder is not locked"
        assert num_bytes == 1
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None


@pytest.fixture
def windows(monkeypatch):
    msvcrt = FakeMsvcrt()
    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.setattr(lock, "msvcrt", msvcrt)
    return msvcrt


@pytest.mark.usefixtures("windows")
def test_on_windows_another_process_is_refused_and_the_holder_is_named(tmp_path):
    test_another_process_is_refused_and_the_holder_is_named(tmp_path)


@pytest.mark.usefixtures("windows")
def test_on_windows_the_lock_is_released_when_the_holder_is_killed(tmp_path):
    test_the_lock_is_released_when_the_holder_is_killed(tmp_path)


def test_on_windows_other_errors_are_raised(tmp_path, windows):
    windows.error = OSError(errno.EIO, "Input/output error")
    with pytest.raises(OSError, match="Input/output"), hold(tmp_path):
        pass


@pytest.mark.usefixtures("windows")
def test_without_any_module_for_locks_there_is_a_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(lock, "msvcrt", None)
    with hold(tmp_path):
        assert "cannot be locked" in caplog.text
        assert "the system has no file locks" in caplog.text


def test_other_errors_are_raised(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(5, "Input/output error")

    with pytest.raises(FileNotFoundError), hold(tmp_path / "missing"):
        pass
    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Input/output"), hold(tmp_path):
        pass
