"""Saved checkpoints are loaded safely, by us and by torch; damaged ones are skipped."""

import errno
import os
import warnings

import pytest
import torch

from ignite.exceptions import CheckpointError
from ignite.storage import Note, load, load_latest, open_place, reader, save, scan

STATE = {"model": {"weight": torch.arange(6.0).view(2, 3)}, "epoch": 3, "names": ["a", None, 0.5]}


@pytest.fixture
def place(tmp_path):
    return open_place(tmp_path)


def put(place, step, family="run", **values):
    name = f"checkpoint_{step}.pt"
    save(place, name, {"step": step}, Note(step=step, family=family, **values))
    return name


def damage(place, name):
    path = place.path / name
    content = bytearray(path.read_bytes())
    content[content.index(b"\x80\x02") + 4] ^= 1
    path.write_bytes(content)


def test_a_state_is_loaded_as_it_was_saved(place):
    written = save(place, "a.pt", STATE, Note(step=3, score=0.5))
    assert written.size_bytes == place.size("a.pt")
    for source in ((place, "a.pt"), place.path / "a.pt", str(place.path / "a.pt")):
        state, note, name = load(source)
        assert (note.step, note.score, name) == (3, 0.5, "a.pt")
        assert torch.equal(state["model"].pop("weight"), STATE["model"]["weight"])
        assert state == {**STATE, "model": {}}


def test_torch_reads_our_files_and_we_read_files_of_torch(place):
    save(place, "a.pt", STATE, Note(step=3))
    assert torch.load(place.path / "a.pt", weights_only=True)["epoch"] == 3
    torch.save(STATE, place.path / "b.pt")
    assert load((place, "b.pt")).note is None
    assert load((place, "b.pt")).state["epoch"] == 3


@pytest.mark.parametrize(
    "options", [{"map_location": "meta"}, {"mmap": True}, {"weights_only": True}]
)
def test_options_are_passed_to_torch(place, options):
    save(place, "a.pt", STATE, None)
    weight = load((place, "a.pt"), **options).state["model"]["weight"]
    assert weight.device.type == options.get("map_location", "cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights_only": None}, "weights_only should be True or False, but given None"),
        ({"pickle_module": os}, "pickle_module should be None"),
    ],
)
def test_other_unpicklers_are_refused(place, options, message):
    save(place, "a.pt", STATE, None)
    with pytest.raises(ValueError, match=message):
        load((place, "a.pt"), **options)


def test_a_state_that_could_not_be_loaded_is_not_written(place):
    save(place, "a.pt", STATE, Note(step=1))
    before = (place.path / "a.pt").read_bytes()
    with pytest.raises(TypeError, match=r"state\['hooks'\]\[0\]"):
        save(place, "a.pt", {"hooks": [lambda: None]}, Note(step=2))
    with pytest.raises(CheckpointError, match="step in the note"):
        save(place, "a.pt", STATE, Note(step=-1))
    assert (place.path / "a.pt").read_bytes() == before
    assert place.names() == ["a.pt"]


def test_a_file_is_read_back_before_it_gets_its_name(place, monkeypatch):
    real = os.write
    monkeypatch.setattr(
        os,
        "write",
        lambda descriptor, data: real(descriptor, bytes(data).replace(b"weight", b"wEight")),
    )
    with pytest.raises(CheckpointError, match="checksum"):
        save(place, "a.pt", STATE, None)
    assert os.listdir(place.path) == []


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/executed",)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_all_errors_of_a_file_have_the_same_class(place):
    path = place.path / "a.pt"
    torch.save(Evil(), path)
    with pytest.raises(
        CheckpointError, match="a.pt cannot be loaded safely: UnpicklingError"
    ) as raised:
        load(path)
    assert raised.value.__cause__ is not None
    path.write_text("hello")
    with pytest.raises(CheckpointError, match="a.pt is damaged or no checkpoint"):
        load(path)
    torch.jit.save(torch.jit.trace(torch.nn.Linear(1, 1), torch.zeros(1)), path)
    with pytest.raises(
        CheckpointError, match="a.pt is damaged or no checkpoint|cannot be loaded safely"
    ):
        load(path)


def test_loading_sparse_tensors_is_quiet(place, monkeypatch):
    """Since 2.14, torch says that it checks them."""
    text = "Validating sparse tensor invariants because weights_only=True; this may be slow"

    def load_with_remark(*args, **kwargs):
        warnings.warn(text, UserWarning, stacklevel=2)
        return torchs_load(*args, **kwargs)

    save(place, "sparse.pt", {"x": torch.eye(2).to_sparse()}, None)
    save(place, "dense.pt", {"x": torch.eye(2)}, None)
    assert load((place, "sparse.pt")).state["x"].to_dense().tolist() == [[1, 0], [0, 1]]
    torchs_load = torch.load
    monkeypatch.setattr(torch, "load", load_with_remark)
    before = list(warnings.filters)
    load((place, "sparse.pt"))
    with pytest.raises(CheckpointError, match="UserWarning: Validating sparse"):
        load((place, "dense.pt"))
    assert warnings.filters == before


@pytest.mark.parametrize(
    "error", [RecursionError, MemoryError, KeyError, EOFError, UnicodeDecodeError]
)
def test_errors_of_torch_about_a_file_are_in_the_message(place, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error(
            *(["utf-8", b"", 0, 1, "planned"] if error is UnicodeDecodeError else ["planned"])
        )

    save(place, "a.pt", STATE, None)
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(
        CheckpointError, match=f"cannot be loaded safely: {error.__name__}: .*planned"
    ):
        load((place, "a.pt"))


@pytest.mark.parametrize("error", [PermissionError, OSError, torch.OutOfMemoryError])
def test_errors_of_the_machine_are_not_converted(place, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error("planned")

    save(place, "a.pt", STATE, None)
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(error, match="planned"):
        load((place, "a.pt"))
    with pytest.raises(FileNotFoundError):
        load((place, "missing.pt"))
    with pytest.raises(FileNotFoundError):
        load(place.path / "missing.pt")


def test_old_files_of_torch_are_read_with_a_warning(place, caplog):
    torch.save(STATE, place.path / "a.pt", _use_new_zipfile_serialization=False)
    assert load((place, "a.pt")).state["epoch"] == 3
    assert "a.pt was written by a version of torch before 1.6, and has no checksums" in caplog.text
    torch.save(Evil(), place.path / "a.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="cannot be loaded safely|is damaged"):
        load((place, "a.pt"))
    save(place, "b.pt", STATE, Note(step=3), _use_new_zipfile_serialization=False)
    assert load((place, "b.pt")).note is None


def test_the_checked_file_is_the_one_that_is_loaded(place, monkeypatch):
    """Even if another file replaces it in between."""
    save(place, "a.pt", {"x": 1}, None)
    real = reader.verify_file

    def verify_and_replace(file):
        result = real(file)
        torch.save({"x": 2}, place.path / "a.pt.new")
        os.replace(place.path / "a.pt.new", place.path / "a.pt")
        return result

    monkeypatch.setattr(reader, "verify_file", verify_and_replace)
    assert load((place, "a.pt")).state == {"x": 1}


def test_the_newest_is_first_independent_of_modification_times(place):
    for step in (30, 4, 100):
        put(place, step)
        os.utime(place.path / f"checkpoint_{step}.pt", (0, 10**9 - step))
    put(place, 7, restarts=1)
    assert [found.step for found in scan(place)] == [7, 100, 30, 4]
    assert load_latest(place).state == {"step": 7}


def test_steps_of_files_without_a_note_are_guessed_from_their_names(place):
    names = {
        "m_3.pt": 3,
        "m_12.pt": 12,
        "best_m_5_acc=0.9500.pt": 5,
        "m_0.75.pt": None,
        "m.pt": None,
        "v2_m_7.pth": 7,
    }
    for name in names:
        torch.save([1], place.path / name)
    assert {found.name: found.step for found in scan(place)} == names
    assert [found.name for found in scan(place)][:2] == ["m_12.pt", "v2_m_7.pth"]


def test_only_checkpoints_are_listed(place):
    put(place, 1)
    for name in ("log.txt", "index.json", ".lock", "model.safetensors"):
        (place.path / name).write_text("x")
    (place.path / "last.pt").symlink_to("checkpoint_1.pt")
    (place.path / "folder.pt").mkdir()
    assert [found.name for found in scan(place)] == ["checkpoint_1.pt"]


def test_families_are_distinguished(place):
    put(place, 1, family="run")
    put(place, 2, family="batch")
    torch.save([1], place.path / "ignite_3.pt")
    (place.path / "broken_4.pt").write_text("x")
    assert [found.step for found in scan(place)] == [4, 3, 2, 1]
    assert [found.step for found in scan(place, "run")] == [4, 1]
    assert load_latest(place, "run").state == {"step": 1}


def test_a_file_that_cannot_be_read_is_listed_with_its_error(place):
    put(place, 1)
    (place.path / "checkpoint_2.pt").write_bytes(b"")
    found = scan(place)[0]
    assert (found.name, found.note, found.step) == ("checkpoint_2.pt", None, 2)
    assert "it is empty" in found.error
    assert scan(place)[1].error is None


def test_a_scan_reads_only_notes(place):
    put(place, 1)
    damage(place, "checkpoint_1.pt")
    assert scan(place)[0].error is None


def test_damaged_files_are_skipped_with_one_warning_each(place, caplog):
    for step in (1, 2, 3, 4):
        put(place, step)
    damage(place, "checkpoint_4.pt")
    (place.path / "checkpoint_3.pt").write_bytes(
        (place.path / "checkpoint_3.pt").read_bytes()[:-10]
    )
    assert load_latest(place).state == {"step": 2}
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "checkpoint_4.pt is skipped" in caplog.messages[0]
    assert "checksum" in caplog.messages[0]
    assert "checkpoint_3.pt is skipped" in caplog.messages[1]


def test_a_file_that_the_disk_cannot_read_is_skipped(place, monkeypatch, caplog):
    put(place, 1)
    put(place, 2)
    real = reader.open_file

    def fail(path):
        if path.name == "checkpoint_2.pt":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path)

    monkeypatch.setattr(reader, "open_file", fail)
    assert load_latest(place).state == {"step": 1}
    assert "Input/output error" in caplog.text


def test_without_checkpoints_nothing_is_loaded(place):
    assert load_latest(place) is None
    (place.path / "a.pt").write_text("x")
    assert load_latest(place) is None


def test_a_place_without_open_provides_local_files():
    place = open_place("memory://test-reader")
    save(place, "a_1.pt", {"x": 1}, Note(step=5))
    assert scan(place)[0].note.step == 5
    assert load_latest(place).state == {"x": 1}
