"""Writes are atomic under all failures."""

import errno
import os
import stat
import tempfile
import zlib
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.storage import commit, is_temporary, naming, sweep, temporary_name
from ignite.storage import commit as front

MODULE = __import__("sys").modules["ignite.storage.commit"]


def write_text(text):
    return lambda file: file.write(text.encode())


def test_a_written_file_has_its_content_size_and_checksum(tmp_path):
    written = commit(tmp_path, "a", write_text("hello"))
    assert (tmp_path / "a").read_text() == "hello"
    assert written == (5, zlib.crc32(b"hello"))
    assert os.listdir(tmp_path) == ["a"]
    assert front is commit


def test_the_file_supports_seek_read_and_truncate(tmp_path):
    def write(file):
        file.write(memoryview(bytearray(b"0123456789")))
        file.seek(2)
        assert file.read(3) == b"234"
        assert file.seekable()
        assert file.readable()
        assert file.writable()
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
        file.truncate(11)
        file.seek(4)
        file.truncate()
        assert os.fstat(file.fileno()).st_size == 4

    assert commit(tmp_path, "a", write).size_bytes == 4


def test_the_folder_may_be_a_string_or_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    commit(str(tmp_path / "link"), "a", write_text("x"))
    assert (tmp_path / "real" / "a").read_text() == "x"


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize(
    ("umask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0, 0o666)]
)
def test_the_umask_determines_the_permissions(tmp_path, umask, expected, atomic):
    before = os.umask(umask)
    try:
        commit(tmp_path, "a", write_text("x"), atomic=atomic)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == expected


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("target", ["victim", "missing"])
def test_a_link_of_this_name_is_replaced_and_not_followed(tmp_path, target, atomic):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "a").symlink_to(target)
    commit(tmp_path, "a", write_text("x"), atomic=atomic)
    assert (tmp_path / "victim").read_text() == "precious"
    assert not (tmp_path / "a").is_symlink()
    assert not (tmp_path / "missing").exists()


def test_a_link_that_is_created_again_is_not_followed_either(tmp_path, monkeypatch):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "a").symlink_to("victim")
    monkeypatch.setattr(os, "unlink", lambda path: None)  # as if somebody created it again at once
    with pytest.raises(OSError, match="symbolic links"):
        commit(tmp_path, "a", write_text("x"), atomic=False)
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / "victim").write_text("precious")
    monkeypatch.setattr(MODULE, "temporary_name", lambda name: "guessed")
    for name in ("victim", "missing"):
        (tmp_path / "guessed").unlink(missing_ok=True)
        (tmp_path / "guessed").symlink_to(name)
        with pytest.raises(FileExistsError):
            commit(tmp_path, "a", write_text("x"))
        assert (tmp_path / "guessed").is_symlink(), "it is not ours"
    assert (tmp_path / "victim").read_text() == "precious"
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".a", "a\n"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    (tmp_path / "inner").mkdir()
    with pytest.raises(ValueError, match="plain name"):
        commit(tmp_path / "inner", name, write_text("x"))
    assert os.listdir(tmp_path) == ["inner"]


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("error", [ValueError, Interrupted, FileExistsError, KeyboardInterrupt])
def test_an_error_of_the_writer_or_the_check_is_raised_unchanged(tmp_path, error, atomic):
    def fail(_):
        raise error

    commit(tmp_path, "a", write_text("old"))
    for write, check in ((fail, None), (write_text("new"), fail)):
        with pytest.raises(error):
            commit(tmp_path, "a", write, check=check, atomic=atomic)
        assert os.listdir(tmp_path) == (["a"] if atomic else [])
    assert not atomic or (tmp_path / "a").read_text() == "old"


def test_the_check_sees_the_file_before_it_has_its_name(tmp_path):
    seen = []
    commit(
        tmp_path,
        "a",
        write_text("x"),
        check=lambda path: seen.append((path.name, path.read_text(), os.listdir(tmp_path))),
    )
    [(name, text, names)] = seen
    assert is_temporary(name)
    assert text == "x"
    assert names == [name]


def failing(monkeypatch, function, number, error):
    real, calls = getattr(os, function), []

    def fail(*args, **kwargs):
        calls.append(args)
        if len(calls) == number:
            raise OSError(error, os.strerror(error))
        return real(*args, **kwargs)

    monkeypatch.setattr(os, function, fail)
    return calls


@pytest.mark.parametrize("number", [1, 3, 10])
def test_torch_does_not_hide_that_the_disk_is_full(tmp_path, monkeypatch, number):
    calls = failing(monkeypatch, "write", number, errno.ENOSPC)
    words = r"No space left on device, \d+ bytes or more needed, \d+ bytes free: '.*/a'"
    with pytest.raises(OSError, match=words) as raised:
        commit(
            tmp_path, "a", lambda file: torch.save([torch.ones(1 << 19) for _ in range(12)], file)
        )
    assert raised.value.errno == errno.ENOSPC
    assert len(calls) == number, "nothing is written after an error"
    assert os.listdir(tmp_path) == []


def test_an_error_that_the_writer_swallows_is_raised(tmp_path, monkeypatch):
    def write(file):
        for _ in range(3):
            try:
                file.write(b"x" * (1 << 20))
            except OSError:
                continue

    failing(monkeypatch, "write", 2, errno.EIO)
    with pytest.raises(OSError, match="Input/output error: '.*/a'"):
        commit(tmp_path, "a", write)
    assert os.listdir(tmp_path) == []


def test_a_partial_write_is_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    assert commit(tmp_path, "a", write_text("0123456789")).size_bytes == 10
    assert (tmp_path / "a").read_text() == "0123456789"


def test_a_failed_sync_of_the_folder_is_an_error_unless_it_is_unsupported(tmp_path, monkeypatch):
    for error in (errno.EINVAL, errno.EIO):
        failing(monkeypatch, "fsync", 2, error)
        if error == errno.EINVAL:
            commit(tmp_path, "a", write_text("x"))
        else:
            with pytest.raises(OSError, match="Input/output error"):
                commit(tmp_path, "a", write_text("y"))
        monkeypatch.undo()
        assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "y", "it is whole, and may be lost in a power cut"


def test_the_message_of_a_full_disk_works_without_its_free_space(tmp_path, monkeypatch):
    def refuse(path):
        raise OSError

    monkeypatch.setattr("shutil.disk_usage", refuse)
    failing(monkeypatch, "fsync", 1, errno.EDQUOT)
    with pytest.raises(OSError, match="quota exceeded, an unknown number of bytes free"):
        commit(tmp_path, "a", write_text("x"))


def test_sweep_removes_files_of_dead_processes(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(naming, "_TOKEN", "00000000")  # an earlier process with our pid
        file, folder, link = (temporary_name(name) for name in ("file", "folder", "link"))
    (tmp_path / "victim").write_text("precious")
    (tmp_path / file).write_text("x")
    (tmp_path / folder / "inner").mkdir(parents=True)
    (tmp_path / folder / "link").symlink_to(tmp_path / "victim")
    (tmp_path / link).symlink_to("victim")
    own = temporary_name("own")
    (tmp_path / own).write_text("x")
    (tmp_path / ".other.tmp").write_text("x")
    assert sweep(tmp_path) == sorted([file, folder, link])
    assert sorted(os.listdir(tmp_path)) == sorted([own, ".other.tmp", "victim"])
    assert sweep(tmp_path) == []


@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.just("write"), st.binary(max_size=9) | st.integers(1 << 19, 3 << 19).map(bytes)
            ),
            st.tuples(st.just("seek"), st.integers(0, 40)),
            st.tuples(st.just("read"), st.integers(0, 9)),
            st.tuples(st.just("truncate"), st.none()),
        ),
        max_size=8,
    )
)
def test_size_and_checksum_are_those_of_the_file_however_it_was_written(steps):
    found = []

    def write(file):
        for what, argument in steps:
            for each in (file, reference):
                result = getattr(each, what)(*([] if argument is None else [argument]))
                found.append(bytes(result) if what == "read" else each.tell())

    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile(buffering=0) as reference:
        written = commit(Path(folder), "a", write)
        content = (Path(folder) / "a").read_bytes()
        reference.seek(0)
        assert content == reference.read()
    assert found[::2] == found[1::2]
    assert written == (len(content), zlib.crc32(content))
