"""The display in a notebook: what a saved notebook contains, and what it shows."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from ignite.handlers._notebook_display import as_html
from ignite.handlers._progress_display import DisplayState, Row

PROGRAM = """
import torch
from ignite import Learner
torch.manual_seed(0)
x = torch.randn(64, 3)
learner = Learner(torch.nn.Linear(3, 2), "cross_entropy", lr=0.1, metrics=["accuracy"])
history = learner.fit((x, (x[:, 0] > 0).long()), valid=0.25, epochs=2)
"""
STATE = DisplayState(
    2,
    3,
    5,
    None,
    12.5,
    8,
    15,
    None,
    "█▁",
    "<b>",
    [Row("validation", "a<b", 0.5, 0.5, 1, True)],
    0.25,
)


def text_of(html):
    return re.sub(" +", " ", re.sub("<[^>]*>", " ", html))


def test_names_are_escaped_and_figures_are_there():
    html = as_html(STATE)
    assert "<b><b>" not in html
    assert "a&lt;b" in html
    assert "<progress></progress>" in html
    assert "color: inherit" in html  # readable on light and dark pages
    assert "loss 0.25 █▁" in text_of(html)
    assert "metric validation best epoch" in text_of(html).replace("  ", " ")


@pytest.mark.slow
def test_an_executed_notebook_keeps_the_display():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(PROGRAM)])
    NotebookClient(notebook, timeout=120).execute()
    outputs = notebook.cells[0].outputs
    assert [one.output_type for one in outputs] == ["display_data"]
    shown = text_of(outputs[0].data["text/html"])
    assert "epoch 2/2" in shown
    assert "metric training validation best epoch" in shown
    assert all(name in shown for name in ("loss", "accuracy"))
    assert "epoch 2/2" in outputs[0].data["text/plain"]
