import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignite._core.printable import in_encoding, printable

ENCODINGS = ["ascii", "latin-1", "cp1252", "cp437", "utf-8", "utf-16", None, "no such encoding"]


@given(st.text(st.characters() | st.characters(categories=["Cs"])), st.sampled_from(ENCODINGS))
def test_any_text_can_be_written_to_any_stream(text, encoding):
    shown = in_encoding(text, encoding)
    shown.encode(encoding if encoding not in (None, "no such encoding") else "utf-8")


@given(st.text(), st.sampled_from(["utf-8", "utf-16", None]))
def test_what_a_stream_can_show_is_not_changed(text, encoding):
    assert in_encoding(text, encoding) == text


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("Güte", "ascii", r"G\xfcte"),
        ("Güte", "latin-1", "Güte"),
        ("▁█", "cp1252", r"\u2581\u2588"),
        ("L\udcc3\udca4ufe", "utf-8", "Läufe"),  # as Python marks undecoded bytes
        ("L\udcc3\udca4ufe", "ascii", r"L\xe4ufe"),
        ("\ud800", "utf-8", r"\ud800"),
    ],
)
def test_other_characters_become_escapes(text, encoding, expected):
    assert in_encoding(text, encoding) == expected


def test_the_stream_determines_the_encoding():
    assert printable("é", io.TextIOWrapper(io.BytesIO(), "ascii")) == r"\xe9"
    assert printable("é", io.StringIO()) == "é"
    assert os.fsdecode("é".encode()) == "é", "this test runs in UTF-8"
