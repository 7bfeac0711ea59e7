import logging
import os
import subprocess
import threading
from pathlib import Path

import pytest
import torch

from ignite import storage
from ignite.exceptions import CheckpointError
from ignite.handlers import DiskSaver
from ignite.handlers._checkpoints.save_handlers import (
    BaseSaveHandler,
    Metadata,
    remove_each,
    takes_metadata,
)

STATE = {"weight": torch.arange(4.0), "epoch": 3}


def names_in(folder):
    return sorted(os.listdir(folder))


def test_written_files_are_read_back_with_their_type(tmp_path):
    saver = DiskSaver(tmp_path)
    note = storage.Note(step=7, score=0.5, family="f")
    metadata = Metadata(basename="b")
    metadata.note = note
    saver(STATE, "a.pt", metadata)
    saver(STATE, "b.pt")
    saver(STATE, "c.pt", {"basename": "c"})
    assert saver.dirname == tmp_path
    assert storage.read_note(tmp_path / "a.pt") == note
    assert storage.read_note(tmp_path / "c.pt").family == "c"
    for name in ("a.pt", "b.pt", "c.pt"):
        loaded = torch.load(tmp_path / name, weights_only=True)
        assert loaded["weight"].tolist() == [0, 1, 2, 3]
    saver.remove("a.pt")
    assert names_in(tmp_path) == ["b.pt", "c.pt"]
    with pytest.raises(FileNotFoundError, match=r"a\.pt"):
        saver.remove("a.pt")


def test_the_folder_is_made_or_has_to_be_there(tmp_path):
    assert DiskSaver(tmp_path / "a" / "b").dirname.is_dir()
    with pytest.raises(ValueError, match=r"Directory path '.*c' is not found"):
        DiskSaver(tmp_path / "c", create_dir=False)
    (tmp_path / "file").write_text("")
    with pytest.raises((ValueError, OSError)):
        DiskSaver(tmp_path / "file")


def test_the_folder_may_be_given_in_several_ways(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for where in ("~/a", Path("~/a"), str(tmp_path / "a"), (tmp_path / "a").as_uri()):
        assert DiskSaver(where).dirname == tmp_path / "a"


def test_a_folder_with_checkpoints_is_refused_unless_that_is_meant(tmp_path):
    (tmp_path / "old.pt").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    with pytest.raises(
        ValueError,
        match=r"Files \['old.pt'\] with extension '.pt' are already present in the directory",
    ):
        DiskSaver(tmp_path)
    for choice in (False, "resume"):
        DiskSaver(tmp_path, require_empty=choice)
    with pytest.raises(
        ValueError, match="require_empty should be True, False or 'resume', but given 'maybe'"
    ):
        DiskSaver(tmp_path, require_empty="maybe")
    assert names_in(tmp_path) == ["notes.txt", "old.pt"]


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("background", [True, False])
def test_options_go_to_torch_and_unknown_ones_leave_nothing_behind(tmp_path, atomic, background):
    saver = DiskSaver(tmp_path, atomic=atomic, background=background, no_such_option=1)
    assert saver.kwargs == {"no_such_option": 1}
    with pytest.raises(TypeError, match="no_such_option"):
        (saver(STATE, "a.pt"), saver.wait())
    assert names_in(tmp_path) == []
    DiskSaver(tmp_path, atomic=atomic, _use_new_zipfile_serialization=False)(STATE, "old.pt")
    assert storage.load(tmp_path / "old.pt").state["epoch"] == 3


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o027])
def test_who_may_read_a_file_is_the_users_choice(tmp_path, umask):
    before = os.umask(umask)
    try:
        DiskSaver(tmp_path)(STATE, "a.pt")
    finally:
        os.umask(before)
    assert (tmp_path / "a.pt").stat().st_mode & 0o777 == 0o666 & ~umask


def test_what_killed_writers_have_left_is_cleaned_up_and_what_others_are_writing_is_not(tmp_path):
    child = subprocess.Popen(["true"])
    child.wait()
    own = storage.temporary_name("a.pt")
    dead = own.replace(f".{os.getpid()}.", f".{child.pid}.")
    for name in (own, dead, ".mine.tmp"):
        (tmp_path / name).write_bytes(b"")
    DiskSaver(tmp_path)
    assert names_in(tmp_path) == sorted([own, ".mine.tmp"])


@pytest.mark.parametrize(
    "name",
    [
        "../victim.pt",
        "/tmp/victim.pt",
        "a/b.pt",
        "..",
        ".",
        "",
        "a\0.pt",
        "a\n.pt",
        "~a.pt",
        ".a.pt",
        "x" * 300,
    ],
)
@pytest.mark.parametrize("background", [True, False])
def test_names_that_are_not_plain_are_neither_written_nor_removed(tmp_path, name, background):
    victim = tmp_path / "victim.pt"
    victim.write_text("precious")
    saver = DiskSaver(tmp_path / "run", background=background)
    for act in (lambda: saver(STATE, name), lambda: saver.remove(name)):
        with pytest.raises(ValueError, match="plain name of a file"):
            act()
    saver.wait()
    assert victim.read_text() == "precious"
    assert names_in(tmp_path / "run") == []


def test_a_link_is_replaced_and_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    saver = DiskSaver(tmp_path / "run")
    (tmp_path / "run" / "a.pt").symlink_to(victim)
    saver(STATE, "a.pt")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "run" / "a.pt").is_symlink()


def test_what_would_not_load_is_refused_before_the_disk_is_touched(tmp_path):
    saver = DiskSaver(tmp_path)
    with pytest.raises(TypeError, match=r"state\['hook'\]"):
        saver({"hook": print}, "a.pt")
    assert names_in(tmp_path) == []


def test_numbers_of_other_kinds_are_saved_as_plain_ones(tmp_path):
    class Rate(float):
        pass

    DiskSaver(tmp_path)({"a": Rate(0.5), "b": True + 1}, "a.pt")
    assert torch.load(tmp_path / "a.pt", weights_only=True) == {"a": 0.5, "b": 2}


def test_another_process_writes_and_this_one_does_nothing(tmp_path):
    saver = DiskSaver(tmp_path / "never made", save_on_rank=1, create_dir=False)
    saver({"a": print}, "a.pt")
    saver.remove("a.pt")
    assert not (tmp_path / "never made").exists()


def test_in_the_background_the_state_is_that_of_the_call(tmp_path):
    saver, go, real = DiskSaver(tmp_path, background=True), threading.Event(), storage.Folder.write
    weight = torch.zeros(4)

    def write(name, write, check=None):
        assert go.wait(10)
        return real(saver._opened, name, write, check)

    saver._opened.write = write
    saver({"weight": weight}, "a.pt")
    weight.fill_(9)
    assert names_in(tmp_path) == []
    go.set()
    saver.wait()
    assert storage.load(tmp_path / "a.pt").state["weight"].tolist() == [0] * 4


def test_there_are_never_two_copies_of_a_state(tmp_path):
    saver, was_busy, take = DiskSaver(tmp_path, background=True), [], storage.Snapshot.take

    def look(state, **options):
        was_busy.append(saver._writer.is_busy)
        return take(saver._snapshot, state, **options)

    saver._snapshot.take = look
    for i in range(4):
        saver({"weight": torch.zeros(200_000)}, f"{i}.pt")
    saver.wait()
    assert was_busy == [False] * 4


def test_an_error_in_the_background_is_raised_once_by_the_next_call(tmp_path):
    saver, real = DiskSaver(tmp_path, background=True), storage.Folder.write

    def fail(*args):
        raise OSError("disk is gone")

    saver._opened.write = fail
    order = Metadata()
    saver(STATE, "a.pt", order)
    with pytest.raises(OSError, match="disk is gone"):
        saver(STATE, "b.pt")
    assert order.has_failed
    saver.wait()
    saver._opened.write = lambda *args: real(saver._opened, *args)
    saver(STATE, "c.pt")
    saver.wait()
    assert names_in(tmp_path) == ["c.pt"]


def test_in_the_background_files_are_removed_after_the_new_one_is_there(tmp_path):
    saver = DiskSaver(tmp_path, background=True)
    for name in ("a.pt", "b.pt"):
        saver(STATE, name)
    order = Metadata()
    order.dropped = ("a.pt", "never there.pt")
    seen, remove = [], saver.remove
    saver.remove = lambda name: (seen.append(names_in(tmp_path)), remove(name))
    saver(STATE, "c.pt", order)
    saver.wait()
    assert seen[0] == ["a.pt", "b.pt", "c.pt"]
    assert names_in(tmp_path) == ["b.pt", "c.pt"]
    assert order.remaining == ()


class Stubborn(BaseSaveHandler):
    def __call__(self, checkpoint, filename, metadata=None):
        pass

    def remove(self, filename):
        raise (FileNotFoundError if filename == "gone" else PermissionError)(filename)


def test_a_file_that_cannot_be_removed_is_a_warning(caplog):
    with caplog.at_level(logging.WARNING, "ignite.handlers._checkpoints.save_handlers"):
        assert remove_each(Stubborn(), ["gone", "held"]) == ("held",)
    assert "Checkpoint gone has already been removed" in caplog.text
    assert "Cannot remove checkpoint held" in caplog.text


def test_handlers_are_called_with_what_they_take():
    assert takes_metadata(lambda checkpoint, filename, metadata: None)
    assert takes_metadata(lambda *args: None)
    assert takes_metadata(Stubborn())
    assert not takes_metadata(lambda checkpoint, filename: None)
    assert not takes_metadata(lambda checkpoint, filename, *, metadata=None: None)
    for handler in (lambda checkpoint: None, lambda a, b, c, d: None):
        with pytest.raises(
            TypeError,
            match=r"should accept \(checkpoint, filename\) or \(checkpoint, filename, metada",
        ):
            takes_metadata(handler)


def test_a_store_is_written_to_as_a_folder_is():
    pytest.importorskip("fsspec")
    saver = DiskSaver("memory://test-of-saving/run/")
    saver(STATE, "a.pt")
    assert saver.dirname == "memory://test-of-saving/run"
    with pytest.raises(ValueError, match=r"Files \['a.pt'\] with extension"):
        DiskSaver("memory://test-of-saving/run")
    with pytest.raises(CheckpointError):
        storage.load((saver._opened, "a.pt")) and storage.load(__file__)
    saver.remove("a.pt")
    assert saver._opened.names() == []
