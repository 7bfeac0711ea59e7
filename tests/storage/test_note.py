"""The metadata of a checkpoint are read as written, or refused."""

import io
import json
import math
import sys
import zipfile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.exceptions import CheckpointError
from ignite.storage import Note, append_note, read_note

counts = st.integers(0, 2**63 - 1)
texts = st.text(max_size=1000)


@given(
    st.builds(
        Note, step=st.none() | counts, epoch=st.none() | counts, score=st.none() | st.floats(allow_nan=False),
        score_name=st.none() | texts, mode=st.sampled_from(["max", "min"]), family=texts, restarts=counts,
        created=st.floats(0, 1e12),
    )
)  # fmt: skip
def test_a_note_is_read_as_it_was_written(note):
    assert Note.from_json(note.to_json()) == note


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_non_finite_scores_are_read_as_written_and_the_json_is_standard(score):
    text = Note(score=score, created=0.0).to_json()
    json.loads(text, parse_constant=pytest.fail)
    assert str(Note.from_json(text).score) == str(score)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step": -1}, "step in the note should be an integer from 0 or null, but given -1"),
        ({"step": "3"}, "step in the note should be an integer"),
        ({"step": True}, "step in the note should be an integer"),
        ({"step": 1.5}, "step in the note should be an integer"),
        ({"step": 2**63}, "step in the note should be an integer"),
        ({"epoch": [1]}, "epoch in the note should be an integer"),
        ({"score": "high"}, "score in the note should be a number or null"),
        ({"score": 10**400}, "score in the note should be a number or null"),
        ({"score_name": 3}, "score_name in the note should be a string"),
        ({"score_name": "x" * 1001}, "score_name in the note should be a string of at most 1000"),
        ({"mode": "best"}, "mode in the note should be 'max' or 'min', but given 'best'"),
        ({"family": None}, "family in the note should be a string"),
        ({"restarts": -2}, "restarts in the note should be an integer from 0"),
        ({"created": None}, "created in the note should be a number"),
        ({"version": None}, "version in the note should be an integer from 1, but given None"),
        ({"version": 0}, "version in the note should be an integer from 1"),
        (
            {"version": 2},
            "written by a newer version: it has format 2, but this version reads formats up to 1",
        ),
        ({"version": 10**30}, "written by a newer version"),
    ],
)
def test_invalid_values_are_refused(values, message):
    with pytest.raises(CheckpointError, match=message):
        Note.from_json(json.dumps({"version": 1, **values}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "should be JSON"),
        ("{", "should be JSON"),
        (b"\xff", "should be JSON"),
        ('{"version": 1}'.encode("utf-32"), "should be JSON"),
        ("[" * 60000, "should be JSON"),
        ("1" * 5000, "should be JSON"),
        ("[]", "should be a JSON object, but is a list"),
        ("{}", "version in the note"),
        (" " * 70000, "should have at most 65536 bytes, but given 70000"),
    ],
)
def test_text_that_is_not_a_note_is_refused(text, message):
    with pytest.raises(CheckpointError, match=message):
        Note.from_json(text)


def test_an_invalid_note_is_not_written():
    with pytest.raises(CheckpointError, match="step in the note"):
        Note(step=-1).to_json()


def test_unknown_keys_are_ignored():
    assert Note.from_json('{"version": 1, "step": 4, "colour": "red"}') == Note(step=4, created=0.0)


def test_order_and_rating_find_the_newest_and_the_best():
    assert Note(step=9).order < Note(step=3, restarts=1).order
    assert Note().order < Note(step=0).order
    assert Note(score=1.0, mode="min").rating == -1.0
    assert Note(score=math.nan).rating is None
    assert Note().rating is None


@pytest.mark.parametrize("as_path", [True, False])
def test_torch_ignores_the_note(tmp_path, as_path):
    path, file = tmp_path / "a.pt", io.BytesIO()
    torch.save({"weight": torch.arange(3)}, path if as_path else file)
    target = path if as_path else file
    assert read_note(target) is None
    append_note(target, Note(step=7))
    assert read_note(target).step == 7
    if not as_path:
        file.seek(0)
    assert torch.load(target, weights_only=True)["weight"].tolist() == [0, 1, 2]


def test_files_of_old_versions_of_torch_have_no_note(tmp_path):
    torch.save([1], tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    assert read_note(tmp_path / "a.pt") is None


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.pt").write_text("hello")
    with pytest.raises(CheckpointError, match="does not start like a zip file"):
        read_note(tmp_path / "a.pt")


def test_a_note_that_is_too_long_or_damaged_is_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/.ignite.json", " " * 70000)
    with pytest.raises(CheckpointError, match="should have at most 65536 bytes"):
        read_note(file)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/.ignite.json", Note(step=7).to_json())
    damaged = io.BytesIO(file.getvalue().replace(b'"step": 7', b'"step": 8'))
    with pytest.raises(CheckpointError, match="checksum"):
        read_note(damaged)


@pytest.mark.parametrize("score", [1e308, -sys.float_info.max, 5e-324])
def test_extreme_scores_are_read_as_written(score):
    assert Note.from_json(Note(score=score).to_json()).score == score
