"""Loading a sharded checkpoint runs no code from it, and reads no file outside of its folder."""

import io
import json
import os
import pickle
import pickletools
import zipfile
import zlib

import pytest
import torch
import torch.distributed.checkpoint
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter

from ignite.exceptions import CheckpointError
from ignite.storage.sharded import _read_metadata, load_sharded, save_sharded
from support import malice


@pytest.fixture
def saved(tmp_path):
    save_sharded(tmp_path, "a", {"weight": torch.ones(3), "rate": 0.5})
    return tmp_path / "a"


def sign(folder, name):
    """Corrects the checksum, as an attacker would."""
    data = (folder / name).read_bytes()
    manifest = json.loads((folder / "ignite.json").read_text())
    manifest["files"][name] = [len(data), zlib.crc32(data)]
    (folder / "ignite.json").write_text(json.dumps(manifest))


class Evil:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


EVIL = {
    "os.mkdir": lambda path: Evil(os.mkdir, (str(path),)),
    "builtins.eval": lambda path: Evil(eval, (f"__import__('os').mkdir({str(path)!r})",)),
    "io.open": lambda path: Evil(io.open, (str(path), "w")),
    "builtins.getattr": lambda path: Evil(getattr, (str(path), "upper")),
    "torch.serialization.load": lambda path: Evil(torch.load, (str(path),)),
    "torch.distributed.checkpoint.filesystem.FileSystemWriter": lambda path: Evil(
        FileSystemWriter, (str(path),)
    ),
}


@pytest.mark.parametrize("name", EVIL)
def test_metadata_with_a_call_are_refused_and_nothing_is_called(saved, tmp_path, name):
    victim = tmp_path / "victim"
    (saved / ".metadata").write_bytes(pickle.dumps(EVIL[name](victim)))
    sign(saved, ".metadata")
    with pytest.raises(
        CheckpointError, match="should name classes of torch's checkpoints only, but names"
    ):
        load_sharded(saved, {"weight": torch.zeros(3), "rate": 0.0})
    assert not victim.exists()


def replace_value(folder, name, value, length=None):
    """Stores other bytes for a value, with the right place and checksum."""
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    (place,) = [place for index, place in metadata.storage_data.items() if index.fqn == name]
    file = folder / place.relative_path
    data = file.read_bytes()
    place.offset, place.length = len(data), len(value) if length is None else length
    file.write_bytes(data + value)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    sign(folder, ".metadata")
    sign(folder, file.name)


def test_a_value_with_a_call_is_refused_and_nothing_is_called(saved, tmp_path):
    victim = tmp_path / "victim"
    value = io.BytesIO()
    torch.save(Evil(os.mkdir, (str(victim),)), value)
    replace_value(saved, "rate", value.getvalue())
    with pytest.raises(CheckpointError, match="could not be loaded: rank 0: UnpicklingError"):
        load_sharded(saved, {"weight": torch.zeros(3), "rate": 0.0})
    assert not victim.exists()
    assert zipfile.is_zipfile(io.BytesIO(value.getvalue()))


# All but the first, torch would refuse, too; or not, in another version. It is not asked.
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (malice.zipped(malice.pickled(malice.tensor(malice.storage(3), size=(3,)))), "should have 12 bytes"),
        (malice.zipped(malice.pickled(malice.tensor(malice.storage(3 << 30)))), "should have 12884901888 bytes"),
        (malice.zipped(malice.pickled(malice.tensor(malice.storage(), offset=2, size=(3,)))), "is not inside of its"),
        (malice.zipped(malice.pickled(malice.called("builtins.bytearray", malice.number(10**10)))), "more memory"),
        (b"no archive", "does not start like a zip file"),
        (b"", "it is empty"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["weight", "rate"])
def test_values_that_ask_for_other_memory_than_theirs_are_refused(
    saved, monkeypatch, name, value, message
):
    replace_value(saved, name, value)
    monkeypatch.setattr(FileSystemReader, "read_data", None)
    with pytest.raises(CheckpointError, match=f"the value at .* is damaged: .*{message}"):
        load_sharded(saved, {"weight": torch.zeros(3), "rate": 0.0})


def test_the_end_of_a_value_is_not_that_of_its_file(saved):
    value = io.BytesIO()
    torch.save(torch.full((3,), 7.0), value)
    replace_value(saved, "weight", value.getvalue() + b"more", length=len(value.getvalue()))
    state = {"weight": torch.zeros(3), "rate": 0.0}
    load_sharded(saved, state)
    assert state["weight"].tolist() == [7.0] * 3
    replace_value(saved, "weight", value.getvalue(), length=len(value.getvalue()) - 1)
    with pytest.raises(CheckpointError, match="its end is missing"):
        load_sharded(saved, state)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", "", 3])
def test_files_outside_of_the_folder_are_not_read(saved, name):
    metadata = pickle.loads((saved / ".metadata").read_bytes())
    for place in metadata.storage_data.values():
        place.relative_path = name
    (saved / ".metadata").write_bytes(pickle.dumps(metadata))
    sign(saved, ".metadata")
    with pytest.raises(CheckpointError, match="should name files in its folder, but names"):
        load_sharded(saved, {"weight": torch.zeros(3), "rate": 0.0})


@pytest.mark.parametrize(
    "data",
    [b"", b"nonsense", pickle.dumps(3), pickle.dumps({"a": 1}), pickle.dumps(torch.Size([1]))],
)
def test_invalid_metadata_are_refused(tmp_path, data):
    (tmp_path / ".metadata").write_bytes(data)
    with pytest.raises(CheckpointError, match="is damaged|should describe a checkpoint, but holds"):
        _read_metadata(tmp_path)


def test_all_metadata_of_torch_are_read(tmp_path):
    state = {
        str(dtype): torch.ones(2).to(dtype)
        for dtype in (torch.float16, torch.bfloat16, torch.bool, torch.int8)
    }
    state |= {
        "channels": torch.ones(1, 2, 3, 3).to(memory_format=torch.channels_last),
        "number": 1,
        "empty": torch.ones(0),
    }
    save_sharded(tmp_path, "a", state)
    assert sorted(_read_metadata(tmp_path / "a").state_dict_metadata) == sorted(state)


PATHS = [
    (module, name)
    for module in ("pathlib", "pathlib._local")
    for name in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path", "PurePath")
]


class Named:
    """Pickled as a call of a class by its name, as another version of Python or system does it."""

    def __init__(self, module, name, *parts):
        self.call = (module, name, parts)

    @staticmethod
    def pickle(value):
        """Pickles by hand the calls of names that need not exist here."""
        out = io.BytesIO()
        pickler = pickle._Pickler(out, protocol=4)
        save = pickler.save

        def save_named(obj, save_persistent_id=True):
            if not isinstance(obj, Named):
                save(obj, save_persistent_id)
                return
            module, name, parts = obj.call
            save(module)
            save(name)
            pickler.write(pickle.STACK_GLOBAL)
            save(parts)
            pickler.write(pickle.REDUCE)

        pickler.save = save_named
        pickler.dump(value)
        return out.getvalue()


@pytest.mark.parametrize(("module", "name"), PATHS)
def test_paths_of_other_versions_and_systems_are_read(saved, module, name):
    metadata = pickle.loads((saved / ".metadata").read_bytes())
    parts = ("C:\\", "runs") if "Windows" in name else ("/", "runs")
    metadata.storage_meta.checkpoint_id = Named(module, name, *parts)
    (saved / ".metadata").write_bytes(Named.pickle(metadata))
    sign(saved, ".metadata")
    state = {"weight": torch.zeros(3), "rate": 0.0}
    load_sharded(saved, state)
    assert state["weight"].tolist() == [1, 1, 1]
    read = _read_metadata(saved).storage_meta.checkpoint_id
    assert str(read) == ("C:\\runs" if "Windows" in name else "/runs")
    assert not hasattr(read, "exists"), "a path of the file system of the reader"


@pytest.mark.parametrize(
    "name", ["Path.home", "os", "PosixPath.cwd", "_PosixFlavour", "urlquote_from_bytes"]
)
@pytest.mark.parametrize("module", ["pathlib", "pathlib._local", "os.path", "posixpath"])
def test_other_names_of_pathlib_are_refused(saved, module, name):
    (saved / ".metadata").write_bytes(Named.pickle(Named(module, name)))
    sign(saved, ".metadata")
    with pytest.raises(CheckpointError, match="should name classes of torch's checkpoints only"):
        load_sharded(saved, {"weight": torch.zeros(3), "rate": 0.0})


def test_what_is_written_names_no_path_so_that_any_version_of_python_can_read_it(saved):
    """torch's own reader, too, which unpickles what it finds."""
    names = [
        argument
        for opcode, argument, _ in pickletools.genops((saved / ".metadata").read_bytes())
        if "STRING" in opcode.name or "UNICODE" in opcode.name or opcode.name == "GLOBAL"
    ]
    assert any("torch.distributed.checkpoint.metadata" in name for name in names)
    assert not [
        name for name in names if "pathlib" in name or "Path" in name or str(saved.parent) in name
    ]
    state = {"weight": torch.zeros(3), "rate": 0.0}
    with pytest.warns(UserWarning, match="single process"):
        torch.distributed.checkpoint.load(state, checkpoint_id=saved, no_dist=True)
    assert (state["weight"].tolist(), state["rate"]) == ([1, 1, 1], 0.5)
