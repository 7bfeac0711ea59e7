import os

import pytest

from ignite.testing import tear

CONTENT = bytes(range(1, 101))


def different(one, other):
    return [i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]


def test_truncating_cuts_the_rest_off(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(CONTENT)
    assert tear(file, "truncate", place=0.25).read_bytes() == CONTENT[:25]


def test_flipping_changes_one_bit(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(CONTENT)
    tear(file, "flip", place=0.99)
    (place,) = different(file.read_bytes(), CONTENT)
    assert place == 99
    assert (file.read_bytes()[99] ^ CONTENT[99]).bit_count() == 1


def test_zeros_take_the_place_of_a_block(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"x" * 20_000)
    tear(file, "zero")
    assert file.read_bytes() == b"x" * 10_000 + bytes(4096) + b"x" * 5904


def test_of_a_folder_the_newest_file_is_damaged_and_links_are_not_followed(tmp_path):
    for seconds, name in enumerate(("old", "new")):
        (tmp_path / name).write_bytes(CONTENT)
        os.utime(tmp_path / name, (seconds, seconds))
    (tmp_path / "link").symlink_to("old")
    assert tear(tmp_path).name == "new"
    assert (tmp_path / "old").read_bytes() == CONTENT


def test_what_cannot_be_damaged_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="should have a file to damage"):
        tear(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="should not be empty, but has no byte to damage"):
        tear(tmp_path / "empty")
    with pytest.raises(ValueError, match="place should be at least 0 and less than 1, but given 1"):
        tear(tmp_path / "empty", place=1)
