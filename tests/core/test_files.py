import errno
import hashlib
import os

import pytest

from ignite.utils import hash_checkpoint


@pytest.mark.parametrize("as_text", [False, True])
def test_the_file_is_moved_to_a_name_with_its_checksum(tmp_path, as_text):
    source = tmp_path / "model.pt"
    source.write_bytes(b"weights")
    folder = tmp_path / "new" / "folder"
    path, digest = hash_checkpoint(
        str(source) if as_text else source, str(folder) if as_text else folder
    )
    assert digest == hashlib.sha256(b"weights").hexdigest()
    assert path == folder / f"model-{digest[:8]}.pt"
    assert path.read_bytes() == b"weights"
    assert not source.exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"should be a file, but given .*nothing.pt, which does not exist"
    ):
        hash_checkpoint(tmp_path / "nothing.pt", tmp_path)


def test_between_disks_the_file_is_copied_and_then_removed(tmp_path, monkeypatch):
    source, fired = tmp_path / "model.pt", []
    source.write_bytes(b"weights")
    replace = os.replace

    def other_disk(path, target):
        if path == source:
            fired.append(target)
            raise OSError(errno.EXDEV, "cross-device link")
        return replace(path, target)

    monkeypatch.setattr(os, "replace", other_disk)
    path, _ = hash_checkpoint(source, tmp_path / "disk")
    assert fired == [path]
    assert path.read_bytes() == b"weights"
    assert not source.exists()
    assert list(path.parent.iterdir()) == [path]


def test_other_errors_are_raised_and_leave_the_file(tmp_path, monkeypatch):
    source = tmp_path / "model.pt"
    source.write_bytes(b"weights")

    def full(path, target):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        hash_checkpoint(source, tmp_path / "disk")
    assert source.read_bytes() == b"weights"
