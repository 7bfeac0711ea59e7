import logging
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


def programs_of(path):
    return re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL)


PROGRAMS = programs_of(README)


def test_the_first_program_of_the_readme_runs(capsys):
    exec(PROGRAMS[0], {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("epoch ")] == [
        "epoch 5",
        "epoch 10",
        "epoch 12",
    ]
    assert any(line.startswith("      - validate  [every=5, last=True]  (") for line in lines)


def test_the_second_signal_saves_and_the_resumed_run_has_nothing_left_to_do(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.chdir(tmp_path)
    for life in range(2):
        names = {}
        for program in PROGRAMS:
            exec(program, names)
        assert names["trainer"].state.epoch == 20
        assert (tmp_path / "runs" / "first" / "last.pt").exists()
        if life == 0:
            caplog.set_level(logging.INFO)
    assert "Nothing to run: the loaded state is finished (epoch 20" in caplog.text


@pytest.mark.parametrize("number", range(4), ids=["metric", "handler", "tracker", "event"])
def test_the_examples_for_contributors_run(number):
    exec(programs_of(ROOT / "CONTRIBUTING.md")[number], {})


def test_links_of_the_readme_lead_somewhere():
    """On a package index, too, where only whole addresses do."""
    home = "https://github.com/reignition/reignition/blob/main/"
    links = re.findall(r"\]\(([^)]+)\)", README.read_text())
    assert links
    for link in links:
        assert link.startswith("https://"), link
        if link.startswith(home):
            assert (ROOT / link.removeprefix(home).partition("#")[0]).exists(), link
