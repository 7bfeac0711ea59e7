"""The programs on the pages about hyperparameter search run unchanged."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def programs_of(name):
    return re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(), flags=re.DOTALL)


def test_the_page_with_optuna_and_scikit_learn(tmp_path, monkeypatch, capsys):
    optuna = pytest.importorskip("optuna", reason="needs Optuna, of the test group")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    programs = programs_of("search.md")
    for program in programs:
        exec(program, names)
    study = names["study"]
    assert len(study.get_trials(states=names["FINISHED"])) == names["NUM_TRIALS"]
    assert (tmp_path / "runs" / "trial-0" / "run.json").exists()
    assert names["search"].best_score_ > 0.4
    num_trials = len(study.trials)
    exec(programs[0], names)  # started again, it finds nothing left to do
    assert len(names["study"].trials) == num_trials
    capsys.readouterr()


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: it is 240 MB"
)
@pytest.mark.timeout(300)
def test_the_page_with_ray_tune(tmp_path):
    (program,) = programs_of("ray_tune.md")
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert "{'lr': 0.1}" in done.stdout
    assert list(tmp_path.glob("tune/search/*/run/checkpoints/*.pt"))
