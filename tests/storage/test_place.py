"""A local folder as a storage backend: names cannot lead outside of it."""

import errno
import os

import pytest

from ignite.storage import Bucket, Folder, follow, open_place, temporary_name


def put(place, name, text="x"):
    return place.write(name, lambda file: file.write(text.encode()))


@pytest.fixture
def place(tmp_path):
    return open_place(tmp_path / "run")


def test_files_are_written_listed_read_and_removed(place):
    assert put(place, "b.pt", "hello").size_bytes == 5
    put(place, "a.pt")
    assert place.names() == ["a.pt", "b.pt"]
    assert place.size("b.pt") == 5
    with place.local("b.pt") as path:
        assert path.read_text() == "hello"
    with place.open("b.pt") as file:
        assert file.read() == b"hello"
    assert place.remove("b.pt")
    assert not place.remove("b.pt")
    assert place.names() == ["a.pt"]
    with pytest.raises(FileNotFoundError):
        place.size("b.pt")


def test_only_regular_files_are_listed(place):
    put(place, "a.pt")
    (place.path / "folder.pt").mkdir()
    (place.path / "link.pt").symlink_to("a.pt")
    (place.path / temporary_name("c.pt")).write_text("x")
    (place.path / ".lock").write_text("x")
    (place.path / "bad\nname.pt").write_text("x")
    assert place.names() == ["a.pt"]
    for name in ("folder.pt", "link.pt"):
        with pytest.raises(FileNotFoundError, match="should be a regular file, but is not"):
            place.size(name)


def test_a_folder_can_be_written_without_atomic_renames(tmp_path):
    place, seen = Folder(tmp_path, atomic=False), []

    def write(file):
        file.write(b"x")
        seen.extend(os.listdir(tmp_path))

    place.write("a.pt", write)
    assert seen == ["a.pt"]


@pytest.mark.parametrize(
    "name", ["../victim", "/etc/passwd", "..", "", "a/../../victim", "~", "x\0"]
)
def test_names_cannot_lead_outside_of_the_folder(place, name):
    (place.path.parent / "victim").write_text("precious")
    for act in (
        lambda: put(place, name),
        lambda: place.remove(name),
        lambda: place.size(name),
        lambda: place.local(name).__enter__(),
        lambda: place.open(name),
        lambda: place.point(name, "a"),
        lambda: place.point("a", name),
    ):
        with pytest.raises(ValueError, match="plain name"):
            act()
    assert place.read_link(name) is None
    assert (place.path.parent / "victim").read_text() == "precious"


def test_removing_a_link_does_not_remove_its_target(place):
    (place.path.parent / "victim").write_text("precious")
    (place.path / "a.pt").symlink_to("../victim")
    assert place.remove("a.pt")
    assert (place.path.parent / "victim").read_text() == "precious"
    (place.path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        place.remove("folder")


def test_links_point_to_files(place):
    for name in ("a.pt", "b.pt"):
        put(place, name, name)
        place.point("last.pt", name)
        assert place.read_link("last.pt") == name
        assert (place.path / "last.pt").read_text() == name
    assert place.names() == ["a.pt", "b.pt"]
    assert sorted(os.listdir(place.path)) == ["a.pt", "b.pt", "last.pt"]
    place.remove("b.pt")
    assert place.read_link("last.pt") is None
    assert place.read_link("a.pt") is None
    assert place.read_link("missing.pt") is None


@pytest.mark.parametrize("target", ["../victim", "/etc/passwd", "folder", "last.pt"])
def test_a_link_to_another_folder_is_not_read(place, target):
    (place.path.parent / "victim").write_text("precious")
    (place.path / "folder").mkdir()
    (place.path / "last.pt").symlink_to(target)
    assert place.read_link("last.pt") is None
    put(place, "a.pt")
    place.point("last.pt", "a.pt")
    assert place.read_link("last.pt") == "a.pt"


def test_a_file_is_not_replaced_by_a_link(place, caplog):
    put(place, "a.pt")
    put(place, "last.pt", "precious")
    place.point("last.pt", "a.pt")
    assert (place.path / "last.pt").read_text() == "precious"
    assert "last.pt should be a link to a.pt, but is a file, and is not replaced" in caplog.text


def refusal(number, winerror=None):
    error = OSError(number, "Operation not permitted")
    error.winerror = winerror
    return error


@pytest.mark.parametrize(
    "error", [refusal(errno.EPERM), refusal(errno.ENOSYS), refusal(errno.EINVAL, 1314)]
)
def test_without_links_the_index_names_their_targets(place, monkeypatch, error):
    def refuse(*args):
        raise error

    monkeypatch.setattr(os, "symlink", refuse)
    put(place, "a.pt", "a")
    place.point("last.pt", "a.pt")
    assert os.listdir(place.path) == ["a.pt"]
    link = place.path / "last.pt"
    assert follow(link) == link
    put(place, "index.json", '{"last": "a.pt", "best": null}')
    assert follow(link).read_text() == "a"
    assert follow(place.path / "best.pt") == place.path / "best.pt"


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"last": 3}', '{"last": "../victim"}', '{"last": "/etc/passwd"}']
)
def test_a_damaged_index_is_not_followed(place, content):
    (place.path.parent / "victim").write_text("precious")
    put(place, "index.json", content)
    assert follow(place.path / "last.pt") == place.path / "last.pt"


def test_an_existing_file_or_link_is_not_looked_up(place):
    put(place, "index.json", '{"last": "a.pt", "other": "a.pt"}')
    put(place, "last.pt")
    assert follow(place.path / "last.pt") == place.path / "last.pt"
    assert follow(place.path / "other.pt") == place.path / "other.pt"


@pytest.mark.parametrize("function", ["symlink", "replace"])
def test_a_failed_link_is_an_error_and_leaves_no_temporary_file(place, monkeypatch, function):
    def refuse(*args):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(OSError, match="Input/output"):
        place.point("last.pt", "a.pt")
    assert os.listdir(place.path) == []


def test_where_may_be_a_path_or_a_url(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_place(f"file://{tmp_path}/a%20b").path == tmp_path / "a b"
    assert open_place("~/c").path == tmp_path / "c"
    assert isinstance(open_place("memory://test-place"), Bucket)
    assert str(open_place(tmp_path)) == str(tmp_path)
    assert repr(open_place(tmp_path)) == f"Folder('{tmp_path}')"
    assert sorted(os.listdir(tmp_path)) == ["a b", "c"]


def test_a_missing_folder_is_created_or_refused(tmp_path):
    with pytest.raises(ValueError, match="is not found"):
        open_place(tmp_path / "a", create=False)
    assert open_place(tmp_path / "a" / "b").names() == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        ValueError, match="where should be a folder, but given .*file, which is a file"
    ):
        open_place(tmp_path / "file")


def test_sweep_removes_temporary_files_of_the_folder(place):
    assert place.sweep() == []
