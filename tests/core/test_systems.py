"""Behavior on Windows, with a simulated platform, its errors and its kernel."""

import ctypes
import errno
import os
import subprocess
import sys

import pytest

from ignite._core import systems


@pytest.fixture
def windows(monkeypatch):
    """A kernel that knows the process 7, and the calls of it."""
    calls = []

    class Kernel:
        error = 0

        def __init__(self):
            def open_process(access, inherits, pid):
                calls.append(("open", pid))
                Kernel.error = {7: 0, 8: 0, 9: 5}.get(pid, 87)  # 9 is of another user
                return pid if pid in (7, 8) else None

            self.OpenProcess = open_process

        def GetExitCodeProcess(self, process, code):
            code._obj.value = 259 if process.value == 7 else 1
            return 1

        def CloseHandle(self, process):
            calls.append(("close", process.value))

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "WinDLL", lambda name, use_last_error: Kernel(), raising=False)
    monkeypatch.setattr(ctypes, "get_last_error", lambda: Kernel.error, raising=False)
    monkeypatch.setattr(os, "kill", lambda *args: pytest.fail("a signal was sent"))
    monkeypatch.setattr(systems, "_WAITS_S", (0.0, 0.0, 0.0))
    return calls


def refused(winerror, number=errno.EACCES):
    error = PermissionError(number, "refused")
    error.winerror = winerror
    return error


def test_a_process_is_running_until_it_has_ended():
    process = subprocess.Popen(["sleep", "60"])
    try:
        assert systems.is_running(process.pid)
    finally:
        process.kill()
        process.wait()
    assert not systems.is_running(process.pid)
    assert systems.is_running(1)  # of another user, unless we are root
    assert not systems.is_running(10**12)


@pytest.mark.parametrize(("pid", "expected"), [(7, True), (8, False), (9, True), (10, False)])
def test_on_windows_no_signal_asks_whether_a_process_is_running(windows, pid, expected):
    assert systems.is_running(pid) is expected
    assert windows == [("open", pid), *([("close", pid)] if pid in (7, 8) else [])]


@pytest.mark.parametrize("num_refusals", [0, 1, 3])
def test_on_windows_a_file_is_replaced_when_other_programs_have_closed_it(
    windows, tmp_path, monkeypatch, num_refusals
):
    refusals, replace = [refused(32)] * num_refusals, os.replace

    def replace_or_refuse(*args):
        if refusals:
            raise refusals.pop()
        replace(*args)

    monkeypatch.setattr(os, "replace", replace_or_refuse)
    (tmp_path / "new").write_text("new")
    systems.replace(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "new"


@pytest.mark.parametrize("platform", ["win32", "linux"])
def test_a_file_that_stays_open_is_an_error(windows, tmp_path, monkeypatch, platform):
    tries = []

    def refuse(*args):
        tries.append(args)
        raise refused(5)

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(PermissionError, match="refused") as caught:
        systems.unlink(tmp_path / "a")
    noted = (
        "Windows does not replace or remove a file that a program has open: close it and try again"
    )
    is_windows = platform == "win32"
    assert getattr(caught.value, "__notes__", []) == [noted] * is_windows
    assert len(tries) == (4 if is_windows else 1)


def test_another_refusal_is_not_waited_for(windows, tmp_path, monkeypatch):
    tries = []

    def refuse(*args):
        tries.append(args)
        raise refused(1314)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError, match="refused"):
        systems.replace(tmp_path / "a", tmp_path / "b")
    assert len(tries) == 1


@pytest.mark.parametrize("platform", ["win32", "linux"])
def test_files_are_synced_and_folders_where_they_can_be(tmp_path, monkeypatch, platform):
    synced, opened, open_ = [], [], os.open
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.setattr(os, "open", lambda path, flags: opened.append(flags) or open_(path, flags))
    (tmp_path / "a").write_text("x")
    systems.sync(tmp_path / "a")
    systems.sync(tmp_path)
    assert len(synced) == (1 if platform == "win32" else 2)
    assert opened[0] & os.O_RDWR, "Windows syncs only files that are open for writing"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_file_systems_may_be_unable_to_sync_folders(tmp_path, monkeypatch, number):
    def refuse(descriptor):
        raise OSError(number, "refused")

    monkeypatch.setattr(os, "fsync", refuse)
    systems.sync(tmp_path)
    (tmp_path / "a").write_text("x")
    with pytest.raises(OSError, match="refused"):
        systems.sync(tmp_path / "a")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (refused(1314, errno.EINVAL), True),
        (OSError(errno.EPERM, "x"), True),
        (OSError(errno.ENOSYS, "x"), True),
        (OSError(errno.EINVAL, "x"), False),
        (OSError(errno.ENOSPC, "x"), False),
    ],
)
def test_some_folders_and_users_have_no_links(error, expected):
    assert systems.cannot_link(error) is expected


FORBIDDEN = {
    "a<b.pt": "has '<', which Windows forbids",
    "loss=0:1.pt": "has ':', which Windows forbids",
    'a".pt': "has '\"', which Windows forbids",
    "best?": "has '?', which Windows forbids",
    "model.": "ends with '.', which Windows drops",
    "model ": "ends with ' ', which Windows drops",
    "CON": "is 'CON', a device name on Windows",
    "nul.tar.pt": "is 'nul', a device name on Windows",
    "com1.pt": "is 'com1', a device name on Windows",
    "lpt¹": "is 'lpt¹', a device name on Windows",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_names_that_windows_forbids_are_refused_there_only(monkeypatch, name):
    assert systems.forbidden_in_name(name) is None
    monkeypatch.setattr(sys, "platform", "win32")
    assert systems.forbidden_in_name(name) == FORBIDDEN[name]


@pytest.mark.parametrize(
    "name", ["model_0.95.pt", "console.pt", "com10.pt", "a con.pt", ".hidden", "ä b.pt"]
)
def test_other_names_are_allowed_on_windows(monkeypatch, name):
    monkeypatch.setattr(sys, "platform", "win32")
    assert systems.forbidden_in_name(name) is None
