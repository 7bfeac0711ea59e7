import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.typing import user_program

PROGRAM = Path(user_program.__file__)


def test_the_program_runs_up_to_its_mistakes(tmp_path):
    with pytest.raises(TypeError, match="max_epoch"):
        user_program.with_engines(tmp_path)
    with pytest.raises(TypeError, match="epochs should be an integer"):
        user_program.with_learner()
    user_program.other_names()


def test_pyright_agrees(tmp_path):
    pyright = shutil.which("pyright", path=os.path.dirname(sys.executable))
    if pyright is None:
        pytest.skip("pyright is not installed: scripts/install --integration")
    shutil.copy(PROGRAM, tmp_path)  # it takes no path outside of its folder
    config = {
        "include": [PROGRAM.name], "extraPaths": [str(PROGRAM.parents[2] / "src")],
        "typeCheckingMode": "standard", "reportUnnecessaryTypeIgnoreComment": "error",
        "enableTypeIgnoreComments": False,
    }  # fmt: skip
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    command = [pyright, "--project", tmp_path, "--pythonpath", sys.executable, "--outputjson"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)
    assert found["generalDiagnostics"] == []
    assert found["summary"]["filesAnalyzed"] == 1
