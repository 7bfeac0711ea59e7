"""The index lists the checkpoints, and loading does not depend on it."""

import json
import math
import os

import pytest
import torch

from ignite.exceptions import CheckpointError
from ignite.storage import (
    Note,
    Row,
    build_index,
    load_latest,
    open_place,
    read_index,
    save,
    scan,
    write_index,
)


@pytest.fixture
def place(tmp_path):
    return open_place(tmp_path / "run")


def put(place, step, score=None, **values):
    note = Note(step=step, epoch=step // 10, score=score, created=1.5, **values)
    return Row(f"m_{step}.pt", note, save(place, f"m_{step}.pt", {"step": step}, note))


def values_of(place):
    return json.loads((place.path / "index.json").read_text(), parse_constant=pytest.fail)


def test_the_index_describes_each_checkpoint(place):
    rows = [
        put(place, 30, 0.2, score_name="acc"),
        put(place, 10, 0.9),
        put(place, 20, math.nan),
        put(place, 5),
    ]
    index = write_index(place, rows)
    assert (index.best, index.last) == ("m_10.pt", "m_30.pt")
    values = values_of(place)
    assert {key: values[key] for key in ("version", "best", "last")} == {
        "version": 1,
        "best": "m_10.pt",
        "last": "m_30.pt",
    }
    assert [row["file"] for row in values["checkpoints"]] == [
        "m_5.pt",
        "m_10.pt",
        "m_20.pt",
        "m_30.pt",
    ]
    assert [row["rank"] for row in values["checkpoints"]] == [None, 1, None, 2]
    assert values["checkpoints"][3] == {
        "file": "m_30.pt", "rank": 2, "step": 30, "epoch": 3, "score": 0.2, "score_name": "acc", "mode": "max",
        "restarts": 0, "created": 1.5, "size_bytes": place.size("m_30.pt"), "crc32": rows[0].written.crc32,
    }  # fmt: skip
    assert values["checkpoints"][2]["score"] == "NaN"
    assert place.read_link("best.pt") == "m_10.pt"
    assert place.read_link("last.pt") == "m_30.pt"


def test_the_index_is_read_as_it_was_written(place):
    rows = [
        put(place, 10, 0.9),
        put(place, 20, -math.inf, mode="min"),
        Row("m_5.pt", put(place, 5).note),
    ]
    written = write_index(place, rows)
    assert read_index(place) == written
    assert written.rows[0].written is None


def test_without_a_score_there_is_no_best_checkpoint(place):
    assert write_index(place, [put(place, 1)]).best is None
    assert place.read_link("best.pt") is None
    assert write_index(place, []) == ([], None, None)


def test_removed_files_are_left_out(place):
    rows = [put(place, 1, 0.1), put(place, 2, 0.9)]
    place.remove("m_2.pt")
    index = write_index(place, rows)
    assert (index.best, index.last, len(index.rows)) == ("m_1.pt", "m_1.pt", 1)


def test_the_checksum_of_a_replaced_file_is_left_out(place):
    row = put(place, 1)
    save(place, "m_1.pt", {"step": [1] * 100}, row.note)
    write_index(place, [row])
    assert values_of(place)["checkpoints"][0]["crc32"] is None


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.update(best="../../victim"),
        lambda values: values.update(last="/etc/passwd"),
        lambda values: values["checkpoints"][0].update(file="../victim"),
        lambda values: values["checkpoints"][0].update(file=["a"]),
        lambda values: values["checkpoints"][0].update(step=-1),
        lambda values: values["checkpoints"][0].pop("step"),
        lambda values: values.update(checkpoints="none"),
        lambda values: values.update(checkpoints=[3]),
        lambda values: values.update(version=2),
        lambda values: values.pop("best"),
    ],
)
def test_an_invalid_index_is_refused(place, change):
    write_index(place, [put(place, 1, 0.5)])
    values = values_of(place)
    change(values)
    (place.path / "index.json").write_text(json.dumps(values))
    with pytest.raises(
        CheckpointError, match=r"index.json in .* is damaged: .*ignite doctor --repair"
    ):
        read_index(place)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"null", b"1" * 10_000]
)
def test_a_damaged_index_does_not_prevent_loading(place, content):
    row = put(place, 1, 0.5)
    write_index(place, [row])
    (place.path / "index.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="index.json in .* is damaged"):
        read_index(place)
    assert load_latest(place).state == {"step": 1}
    assert build_index(place).best == "m_1.pt"
    assert read_index(place).best == "m_1.pt"


def test_a_missing_index_does_not_prevent_loading(place):
    put(place, 1)
    with pytest.raises(FileNotFoundError):
        read_index(place)
    assert load_latest(place).state == {"step": 1}


def test_a_huge_index_is_not_read(place, monkeypatch):
    write_index(place, [])
    os.truncate(place.path / "index.json", 1 << 27)
    with pytest.raises(CheckpointError, match="it has more than"):
        read_index(place)


def test_the_index_is_rebuilt_from_the_intact_files(place, caplog):
    put(place, 1, 0.9)
    put(place, 2, 0.1)
    put(place, 3, 0.5)
    torch.save([1], place.path / "ignite_4.pt")
    (place.path / "m_3.pt").write_bytes((place.path / "m_3.pt").read_bytes()[:-1])
    index = build_index(place)
    assert [row.file for row in index.rows] == ["m_1.pt", "m_2.pt"]
    assert (index.best, index.last) == ("m_1.pt", "m_2.pt")
    assert "m_3.pt is omitted from the index" in caplog.text
    assert read_index(place).best == place.read_link("best.pt") == "m_1.pt"
    assert len(scan(place)) == 4
