"""Only zip archives of torch are read."""

import io
import struct
import zipfile

import pytest
import torch

from ignite.exceptions import CheckpointError
from ignite.storage._archive import MAX_ENTRIES, Archive, ArchiveWriter, is_legacy


def archive_of(*parts, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in parts:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return file


def saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    return file


def changed(file, old, new, count=-1):
    content = file.getvalue()
    assert old in content
    return io.BytesIO(content.replace(old, new, count))


GOOD = [("a/data.pkl", b"pickled"), ("a/data/0", b"12345678")]


def test_entries_of_torch_files_are_found_and_verified():
    archive = Archive(saved({"x": torch.arange(4), "y": [1, 2]}))
    archive.check()
    assert {"data.pkl", "data/0", "version", "byteorder"} <= set(archive.entries)
    assert archive.content("byteorder", 10) == b"little"
    assert archive.content("missing", 10) is None
    with pytest.raises(
        CheckpointError, match="entry 'archive/data/0' should have at most 31 bytes, but has 32"
    ):
        archive.content("data/0", 31)


def test_entries_of_4_gb_are_found(tmp_path):
    """A sparse file with a large offset and large sizes in extra fields."""
    path = tmp_path / "large.pt"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("a/data/0")
        info.file_size = 5 << 30
        with archive.open(info, "w", force_zip64=True) as part:
            part.write(b"12345")
        archive.writestr(zipfile.ZipInfo("a/data.pkl"), b"pickled")
        # The first entry claims to have 5 GB: the second one comes after a hole in the file.
    with path.open("rb") as file:
        entries = Archive(file).entries
        assert entries["data/0"].size == 5
    extra = struct.pack("<2H3Q", 1, 24, 5 << 30, 5 << 30, 6 << 30)
    entry = struct.pack(
        "<4s6H3L5H2L",
        b"PK\x01\x02",
        45,
        45,
        0,
        0,
        0,
        0,
        7,
        *[0xFFFFFFFF] * 2,
        8,
        len(extra),
        *[0] * 4,
        0xFFFFFFFF,
    )
    table = entry + b"a/data/0" + extra
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(table), 4, 0)
    archive = Archive(io.BytesIO(b"PK\x03\x04" + table + end))
    assert archive.entries["data/0"][1:4] == (6 << 30, 5 << 30, 7)
    with pytest.raises(CheckpointError, match="the size of an entry is missing"):
        Archive(io.BytesIO(b"PK\x03\x04" + table.replace(extra, bytes([9]) + extra[1:]) + end))


@pytest.mark.parametrize("length", [0, 1, 3, 10, 21, 22, 60, 500, -100, -43, -23, -22, -1])
def test_truncated_files_are_refused(length):
    content = saved({"x": torch.arange(4)}).getvalue()
    with pytest.raises(
        CheckpointError, match="empty|does not start|truncated|central directory|entry"
    ):
        Archive(io.BytesIO(content[:length])).check()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([*GOOD, ("a/data/0", b"")], "two entries have the same name"),
        ([*GOOD, ("a/DATA/0", b"")], "two entries have the same name"),
        ([*GOOD, ("a/../b", b"")], "the entry name 'a/../b' is not one that torch writes"),
        ([*GOOD, ("a/./b", b"")], "the entry name .* is not one that torch writes"),
        ([*GOOD, ("a//b", b"")], "the entry name .* is not one that torch writes"),
        ([*GOOD, ("a/b/", b"")], "the entry name .* is not one that torch writes"),
        ([*GOOD, ("a/b\\c", b"")], "the entry name .* is not one that torch writes"),
        ([*GOOD, ("b/data.pkl", b"")], "the entry name 'b/data.pkl' is not one that torch writes"),
        ([("/etc/passwd", b"")], "the entry name '/etc/passwd' is not one that torch writes"),
        ([("../data.pkl", b"")], "the entry name .* is not one that torch writes"),
        ([("data.pkl", b"")], "the entry name .* is not one that torch writes"),
        ([*GOOD, ("a/" + "b/" * 30 + "c", b"")], "the entry name .* is not one that torch writes"),
        ([("a/data/0", b"")], "it has no entry data.pkl"),
        ([], "does not start like a zip file"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_torch_never_writes_are_refused(parts, message):
    file = archive_of(*parts)
    with pytest.raises(CheckpointError, match=message):
        Archive(file).check()


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_entries_are_refused(compression):
    with pytest.raises(CheckpointError, match="is compressed, which torch never does"):
        Archive(archive_of(("a/data.pkl", b"0" * 10000), compression=compression))


def test_encrypted_entries_are_refused():
    file = archive_of(*GOOD)
    at = file.getvalue().index(b"PK\x01\x02") + 8
    file.getbuffer()[at] |= 1
    with pytest.raises(CheckpointError, match="is encrypted"):
        Archive(file)


def test_a_million_entries_are_refused_before_they_are_listed():
    num = 1_000_000
    end_64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, num, num, 46 * num, 4)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 4 + 46 * num, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 46 * num, 4, 0)
    with pytest.raises(
        CheckpointError, match=f"at most {MAX_ENTRIES} entries, but claims to have 1000000"
    ):
        Archive(io.BytesIO(b"PK\x03\x04" + bytes(46 * num) + end_64 + locator + end))


def test_a_directory_with_more_or_fewer_entries_than_it_claims_is_refused():
    content = bytearray(archive_of(*GOOD).getvalue())
    for num, message in (
        (1, "its central directory has more entries"),
        (3, "its central directory is too short"),
    ):
        content[-14:-10] = struct.pack("<2H", num, num)
        with pytest.raises(CheckpointError, match=message):
            Archive(io.BytesIO(content))


def test_each_relevant_byte_of_directory_and_headers_is_checked():
    """Each changed byte is detected, or names, sizes, checksums and contents are the same."""
    content = saved({"x": torch.arange(4)}).getvalue()

    def read(data):
        archive = Archive(io.BytesIO(data))
        archive.check()
        return {name: archive.content(name, len(data)) for name in archive.entries}

    expected, num_found = read(content), 0
    for at in range(len(content)):
        for change in (1, 0x80):
            damaged = bytearray(content)
            damaged[at] ^= change
            try:
                assert read(damaged) == expected, at
            except CheckpointError:
                num_found += 1
    assert num_found > len(content)


def test_bytes_around_the_directory_are_refused():
    content = archive_of(*GOOD).getvalue()
    for around in (
        content[:-22] + b"junk" + content[-22:],
        content[:-2] + b"\4\0junk",
        content[:-2] + b"\4\0",
    ):
        with pytest.raises(
            CheckpointError,
            match="its central directory is not where it should be|its end is missing",
        ):
            Archive(io.BytesIO(around))


def test_a_header_with_another_length_of_the_name_is_refused():
    content = bytearray(archive_of(("a/data.pkl", b"")).getvalue())
    content[26:28] = struct.pack("<H", 9)
    with pytest.raises(CheckpointError, match="the header of entry 'a/data.pkl' is damaged"):
        Archive(io.BytesIO(content)).check()


def test_overlapping_entries_are_refused():
    file = archive_of(("a/data.pkl", archive_of(("a/data/0", b"1234")).getvalue()))
    table = bytearray(file.getvalue()[file.getvalue().rindex(b"PK\x01\x02") : -22])
    inner = archive_of(("a/data/0", b"1234")).getvalue()
    second = bytearray(inner[inner.index(b"PK\x01\x02") : -22])
    second[42:46] = struct.pack("<L", file.getvalue().index(b"PK\x03\x04", 1))
    start = len(file.getvalue()) - 22 - len(table)
    both = bytes(table + second)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(both), start, 0)
    with pytest.raises(CheckpointError, match="entry 'a/data/0' overlaps another entry"):
        Archive(io.BytesIO(file.getvalue()[:start] + both + end)).check()


def test_an_entry_that_claims_to_be_larger_than_the_file_is_refused():
    file = archive_of(("a/data.pkl", b"x" * 8))
    size, larger = struct.pack("<2L", 8, 8), struct.pack("<2L", 1 << 31, 1 << 31)
    with pytest.raises(CheckpointError, match="claims to be larger than the file"):
        Archive(changed(file, size, larger)).check()


def test_files_of_old_versions_of_torch_are_recognized():
    file = io.BytesIO()
    torch.save([1], file, _use_new_zipfile_serialization=False)
    assert is_legacy(file)
    assert file.tell() == 0
    assert not is_legacy(saved([1]))


def test_more_entries_than_fit_into_16_bits_are_written_and_read():
    file = io.BytesIO()
    writer = ArchiveWriter(file)
    writer.add("data.pkl", b"N.")
    for i in range(70_000):
        writer.add(f"data/{i}", b"%d" % i)
    writer.close()
    archive = Archive(file)
    archive.check()
    assert len(archive.entries) == 70_001
    assert archive.content("data/69999", 9) == b"69999"
    with zipfile.ZipFile(file) as other:
        assert len(other.infolist()) == 70_001
        assert other.read("archive/data/123") == b"123"
