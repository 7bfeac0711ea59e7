import io
import sys

import pytest
from rich.console import Console

from ignite.handlers._progress_display import DisplayState, Row, Screen, as_line

STATE = DisplayState(
    epoch=2,
    max_epochs=3,
    iteration=5,
    length=10,
    rate=12.34,
    elapsed=65.0,
    left=130.0,
    waiting=0.256,
    curve="█▁",
    now_running="validation 1/4",
    rows=[
        Row("validation", "accuracy", 0.98765, 0.99, 1),
        Row("training", "loss", 0.5, 0.5, 2, is_best=True),
    ],
)


def test_a_line():
    assert as_line(STATE) == (
        "epoch 2/3  5/10  [validation 1/4]  12.3 it/s  0:01:05 < 0:02:10  data 26%  "
        "validation accuracy 0.9877  training loss 0.5*"
    )
    unknown = STATE._replace(
        max_epochs=None, length=None, rate=None, left=None, waiting=None, now_running=None, rows=[]
    )
    assert as_line(unknown) == "epoch 2  5/?  0:01:05 < ?"


def test_lines_where_there_is_no_terminal():
    file = io.StringIO()
    screen = Screen(Console(file=file))
    screen.show(STATE)
    screen.close()
    assert (screen.is_live, file.getvalue()) == (False, f"{as_line(STATE)}\n")


def test_a_display_is_drawn_in_place_and_the_cursor_given_back():
    file = io.StringIO()
    screen = Screen(Console(file=file, force_terminal=True, width=110))
    screen.show(STATE)
    screen.show(STATE)
    assert "\x1b[?25l" in file.getvalue()
    screen.close()
    screen.close()
    text = file.getvalue()
    assert text.endswith("\x1b[?25h")
    for part in (
        "epoch 2/3",
        "5/10",
        "12.3 it/s",
        "data 26%",
        "validation 1/4",
        "█▁",
        "accuracy",
        "0.9877",
        "0.99",
    ):
        assert part in text


def test_without_rich(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "reignition\[progress\]"'):
        Screen()
