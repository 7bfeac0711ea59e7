import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_program_of_the_readme_runs(capsys):
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    exec(program, {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("epoch ")] == ["epoch 5", "epoch 10", "epoch 12"]
    assert any(line.startswith("      - validate  [every=5, last=True]  (") for line in lines)
