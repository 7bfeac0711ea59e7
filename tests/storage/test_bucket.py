"""Files in object stores: in memory, and in a local S3 server."""

import os

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from ignite.storage.bucket import Bucket
from ignite.storage.naming import temporary_name
from ignite.storage.verify import verify


@pytest.fixture(scope="module")
def s3_options():
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "key": "k",
        "secret": "s",
        "client_kwargs": {"endpoint_url": f"http://{host}:{port}"},
    }
    fs = fsspec.filesystem("s3", **options, skip_instance_cache=True)
    fs.mkdir("bucket")
    yield options
    server.stop()


@pytest.fixture(params=["memory", "s3"])
def bucket(request, tmp_path):
    name = tmp_path.name  # unique for each test
    if request.param == "memory":
        return Bucket(f"memory://{name}/run")
    return Bucket(f"s3://bucket/{name}/run", **request.getfixturevalue("s3_options"))


def write(bucket, name, data=b"data"):
    return bucket.write(name, lambda file: file.write(data))


def read(bucket, name):
    with bucket.local(name) as path:
        return path.read_bytes()


def test_a_written_file_exists(bucket):
    assert bucket.names() == []
    written = write(bucket, "b.pt", b"hello")
    write(bucket, "a.pt", b"")
    assert written.size_bytes == bucket.size("b.pt") == 5
    assert bucket.names() == ["a.pt", "b.pt"]
    assert read(bucket, "b.pt") == b"hello"


def test_another_client_sees_writes_and_removals_at_once(bucket, request):
    options = request.getfixturevalue("s3_options") if "s3" in str(bucket) else {}
    other = Bucket(str(bucket), **options, skip_instance_cache=True)
    assert other.names() == []
    write(bucket, "a.pt", b"1")
    assert (other.names(), other.size("a.pt")) == (["a.pt"], 1)
    write(bucket, "a.pt", b"22")
    assert (read(other, "a.pt"), other.size("a.pt")) == (b"22", 2)
    other.remove("a.pt")
    assert bucket.names() == []


def test_a_file_is_replaced(bucket):
    write(bucket, "a.pt", b"old")
    write(bucket, "a.pt", b"newer")
    assert read(bucket, "a.pt") == b"newer"
    assert bucket.names() == ["a.pt"]


def test_a_state_is_verified_before_the_upload_and_loads(bucket):
    bucket.write("a.pt", lambda file: torch.save({"a": torch.ones(3)}, file), verify)
    with bucket.local("a.pt") as path:
        assert path.name == "a.pt"
        assert torch.load(path, weights_only=True)["a"].sum() == 3
    assert not path.exists()


def test_a_file_that_fails_the_check_is_not_uploaded(bucket):
    write(bucket, "a.pt", b"old")

    def refuse(path):
        assert path.read_bytes() == b"new"
        raise ValueError("torn")

    with pytest.raises(ValueError, match="torn"):
        bucket.write("a.pt", lambda file: file.write(b"new"), refuse)
    assert read(bucket, "a.pt") == b"old"
    assert bucket.names() == ["a.pt"]


def test_a_file_is_removed_once(bucket):
    write(bucket, "a.pt")
    write(bucket, "b.pt")
    assert bucket.remove("a.pt")
    assert not bucket.remove("a.pt")
    assert bucket.names() == ["b.pt"]


def test_a_missing_file_is_not_found(bucket):
    with pytest.raises(FileNotFoundError), bucket.local("a.pt"):
        pytest.fail("there is nothing to read")
    with pytest.raises(FileNotFoundError):
        bucket.size("a.pt")


@pytest.mark.parametrize(
    "name", ["../victim", "/victim", "a/../../victim", "a\0", ".hidden", "", "..", "~a"]
)
def test_names_cannot_lead_outside_of_the_folder(bucket, name):
    for act in (
        lambda: write(bucket, name),
        lambda: bucket.remove(name),
        lambda: bucket.size(name),
        lambda: bucket.local(name).__enter__(),
        lambda: bucket.point("last", name),
        lambda: bucket.point(name, "a.pt"),
        lambda: bucket.read_link(name),
    ):
        with pytest.raises(ValueError, match="name should be the plain name of a file"):
            act()


def test_subfolders_and_their_files_are_not_listed(bucket):
    write(bucket, "a.pt")
    inner = Bucket.__new__(Bucket)
    inner.__dict__.update(bucket.__dict__, _root=f"{bucket._root}/inner")
    write(inner, "b.pt")
    neighbour = Bucket.__new__(Bucket)
    neighbour.__dict__.update(bucket.__dict__, _root=f"{bucket._root}2")
    write(neighbour, "c.pt")
    assert bucket.names() == ["a.pt"]
    assert not bucket.remove("inner")
    with pytest.raises(FileNotFoundError):
        bucket.size("inner")
    assert inner.names() == ["b.pt"]


def test_there_are_no_links(bucket):
    write(bucket, "a.pt")
    bucket.point("last", "a.pt")
    assert bucket.read_link("last") is None
    assert bucket.names() == ["a.pt"]


def test_sweep_removes_files_of_dead_processes_and_not_those_of_living_ones(bucket):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    dead = temporary_name("a.pt").replace(f".{os.getpid()}.", f".{pid}.")
    alive = temporary_name("b.pt")
    write(bucket, "a.pt")
    for name in (dead, alive):
        bucket._fs.pipe_file(f"{bucket._root}/{name}", b"half")
    assert bucket.names() == ["a.pt"]
    assert bucket.sweep() == [dead]
    assert bucket.sweep() == []
    assert bucket._fs.exists(f"{bucket._root}/{alive}")


def test_no_local_file_remains(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    write(bucket, "a.pt")
    read(bucket, "a.pt")
    with pytest.raises(ZeroDivisionError):
        bucket.write("b.pt", lambda file: 1 / 0)
    assert os.listdir(tmp_path) == []


def test_a_failed_upload_leaves_neither_an_incomplete_nor_a_temporary_file(bucket, monkeypatch):
    write(bucket, "old.pt")
    num_broken = 0

    def broken(source, target, **kwargs):
        nonlocal num_broken
        num_broken += 1
        bucket._fs.pipe_file(target, b"ha")
        raise ConnectionError("gone")

    monkeypatch.setattr(bucket._fs, "put_file", broken)
    with pytest.raises(ConnectionError, match="gone") as raised:
        write(bucket, "new.pt", b"half")
    assert num_broken == 1
    assert raised.value.__notes__ == [f"while writing {bucket}/new.pt"]
    assert bucket._all_names() == ["old.pt"]


def test_an_upload_that_silently_loses_bytes_is_an_error(bucket, monkeypatch):
    def lossy(source, target, **kwargs):
        bucket._fs.pipe_file(target, b"x")

    monkeypatch.setattr(bucket._fs, "put_file", lossy)
    with pytest.raises(OSError, match="new.pt should have 4 bytes after it was written, but has 1"):
        write(bucket, "new.pt", b"full")
    assert bucket._all_names() == []


def test_if_the_cleanup_fails_too_the_first_error_is_raised(bucket, monkeypatch, caplog):
    def broken(*args, **kwargs):
        raise ConnectionError("gone")

    for method in ("put_file", "info", "rm_file"):
        monkeypatch.setattr(bucket._fs, method, broken)
    caplog.set_level("DEBUG", logger="ignite")
    with pytest.raises(ConnectionError, match="gone"):
        write(bucket, "new.pt")
    assert "was not removed: ConnectionError: gone" in caplog.messages[-1]


def test_remove_returns_false_if_another_process_was_faster(bucket, monkeypatch):
    write(bucket, "a.pt")
    removed = []

    def gone(path):
        removed.append(path)
        raise FileNotFoundError(path)

    monkeypatch.setattr(bucket._fs, "rm_file", gone)
    assert not bucket.remove("a.pt")
    assert len(removed) == 1


def test_where_incomplete_uploads_are_visible_they_have_a_temporary_name(monkeypatch, tmp_path):
    bucket = Bucket(f"memory://{tmp_path.name}")
    write(bucket, "a.pt", b"old")
    original, seen = MemoryFileSystem.put_file, []

    def put_file(self, source, target, **kwargs):
        original(self, source, target, **kwargs)
        seen.append((bucket.names(), read(bucket, "a.pt"), target))

    monkeypatch.setattr(MemoryFileSystem, "put_file", put_file)
    write(bucket, "a.pt", b"new")
    assert [(names, data) for names, data, _ in seen] == [(["a.pt"], b"old")]
    assert not seen[0][2].endswith("a.pt")
    assert read(bucket, "a.pt") == b"new"


def test_access_keys_are_not_in_the_text(s3_options):
    assert str(Bucket("s3://bucket/run", **s3_options)) == "s3://bucket/run"


def test_a_store_that_is_not_installed_is_named():
    with pytest.raises((ImportError, ValueError), match="unknown-store|Protocol not known"):
        Bucket("unknown-store://a")
