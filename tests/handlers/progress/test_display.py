import io
import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
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

WIDE = """
epoch 2/3  5/10  ━━━━━━━━━━━╸             12.3 it/s  0:01:05 < 0:02:10  data 26%
loss 0.2  █▄▁
metric    training  validation    best  epoch
loss          0.25         0.5   0.375      1
accuracy     0.875        0.75  0.8125      1
"""
NARROW = """
epoch 2/3  5/10  ━━━━━━━━━━━━━━━
12.3 it/s  0:01:05 < 0:02:10  data 26%
loss 0.2  █▄▁
metric    training  validation    best  epoch
loss          0.25         0.5   0.375      1
accuracy     0.875        0.75  0.8125      1
"""


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


@settings(deadline=None, max_examples=60)
@given(
    width=st.integers(20, 160),
    names=st.lists(
        st.sampled_from(["loss", "accuracy", "a_very_long_name_of_a_metric" * 2]), max_size=4
    ),
    rate=st.floats(0.001, 1e7),
    running=st.sampled_from([None, "validation 1234/5678"]),
)
def test_it_is_never_wider_than_the_terminal(width, names, rate, running):
    rows = [
        Row(source, name, 1e-9, 123456.789, 100000)
        for source in ("training", "validation")
        for name in names
    ]
    state = STATE._replace(rows=rows, rate=rate, now_running=running, curve="▁" * 40, loss=0.1234)
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    with console.capture() as capture:
        console.print(Screen(console).render(state), soft_wrap=False, no_wrap=True)
    lines = re.sub("\x1b\\[[0-9;]*m", "", capture.get()).splitlines()
    assert all(cell_len(line) <= width for line in lines)
    # A terminal of 80 columns has room for all figures.
    if width >= 80 and rate < 1e5:
        assert any("0:01:05 < 0:02:10  data 26%" in line for line in lines)
    assert len(lines) <= 3 + bool(rows) + len(set(names))


@pytest.mark.parametrize(("width", "expected"), [(80, WIDE), (50, NARROW)])
def test_metrics_of_training_and_validation_are_side_by_side(width, expected):
    rows = [
        Row("training", "loss", 0.25, 0.25, 2, is_best=True),
        Row("training", "accuracy", 0.875, 0.875, 2),
        Row("validation", "loss", 0.5, 0.375, 1),
        Row("validation", "accuracy", 0.75, 0.8125, 1),
    ]
    state = STATE._replace(rows=rows, now_running=None, curve="█▄▁", loss=0.2)
    console = Console(file=io.StringIO(), width=width)
    console.print(Screen(console).render(state))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    assert lines == expected.strip("\n").splitlines()
