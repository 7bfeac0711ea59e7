import logging
import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def test_the_first_program_of_the_readme_runs(capsys):
    exec(PROGRAMS[0], {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("epoch ")] == ["epoch 5", "epoch 10", "epoch 12"]
    assert any(line.startswith("      - validate  [every=5, last=True]  (") for line in lines)


def test_the_second_one_saves_and_a_second_life_of_it_finds_nothing_left_to_do(tmp_path, monkeypatch, caplog):
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
