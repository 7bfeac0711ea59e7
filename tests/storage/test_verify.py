"""Any damage to a checkpoint is detected."""

import io
import os
import random
import zipfile

import pytest
import torch

from ignite.exceptions import CheckpointError
from ignite.storage import Note, append_note, verify


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"x": torch.randn(100, 100), "y": [1, 2]}, path)
    append_note(path, Note(step=3))
    return path


def test_an_intact_file_passes_and_its_note_is_returned(path):
    assert verify(path).step == 3
    assert verify(str(path)).step == 3


def test_a_file_without_a_note_passes(path):
    torch.save([1], path)
    assert verify(path) is None


def test_truncation_to_any_length_is_detected(path):
    content = path.read_bytes()
    generator = random.Random(1)
    for length in (0, 1, len(content) - 1, *(generator.randrange(len(content)) for _ in range(50))):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="model.pt is damaged or no checkpoint: "):
            verify(path)


def test_flipped_bits_in_a_tensor_are_detected(path):
    content = path.read_bytes()
    generator = random.Random(1)
    start = content.index(torch.load(path, weights_only=True)["x"].numpy().tobytes()[:50])
    for _ in range(50):
        damaged = bytearray(content)
        damaged[start + generator.randrange(40_000)] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="the checksum of entry 'model/data/0' is wrong"):
            verify(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x03\x04", os.urandom(5000), b"PK\x05\x06" + bytes(18)]
)
def test_other_files_than_checkpoints_are_refused(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match="x.pt is damaged or no checkpoint"):
        verify(tmp_path / "x.pt")


def test_old_files_have_no_checksums(tmp_path):
    torch.save([1], tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="torch before 1.6, which stored no checksums"):
        verify(tmp_path / "x.pt")


def test_newer_versions_are_refused_and_not_called_damaged(tmp_path):
    file = io.BytesIO()
    torch.save([1], file)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("archive/.ignite.json", '{"version": 2}')
    (tmp_path / "x.pt").write_bytes(file.getvalue())
    with pytest.raises(
        CheckpointError, match="x.pt was written by a newer version: it has format 2"
    ) as raised:
        verify(tmp_path / "x.pt")
    assert "damaged" not in str(raised.value)


def test_pipes_and_folders_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "x.pt")
    for path in (tmp_path / "x.pt", tmp_path):
        with pytest.raises(CheckpointError, match="should be a regular file, but is not"):
            verify(path)
    with pytest.raises(FileNotFoundError):
        verify(tmp_path / "missing.pt")
