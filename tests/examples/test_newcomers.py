"""The three short programs: a table, images and text, and what the README says that they print."""

import contextlib
import io
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("name", "least"), [("tabular", 0.95), ("image", 0.95), ("text", 0.85)])
def test_a_short_program_learns_and_prints_what_the_readme_says(name, least):
    path = ROOT / "examples" / f"{name}.py"
    lines = path.read_text().split('"""')[2].splitlines()
    assert len([line for line in lines if line.strip()]) <= 15
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        found = runpy.run_path(str(path))
    history = found["learner"].history
    assert max(history["valid_accuracy"]) >= least
    assert len(err.getvalue().splitlines()) == len(history)
    # Figures may differ between machines in their last digits: the shape of what is printed is the same.
    shown = re.search(rf"<!-- {name} -->\n```\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    assert _words(shown) == _words(out.getvalue())


def _words(text):
    return re.findall(r"[A-Za-z_]{3,}", text)
