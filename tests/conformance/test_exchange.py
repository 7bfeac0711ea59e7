"""Files of this library are loaded and continued in the real pytorch-ignite, and the reverse.

It needs an environment with pytorch-ignite, which ``python benchmarks/_peers.py`` makes, or the path of
such a Python in REIGNITION_IGNITE_PYTHON.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.test_states import GROUPS, INCOMPLETE, is_like

HERE = Path(__file__).parent
PEER = HERE.parents[1] / "benchmarks" / ".venv-pytorch-ignite" / "bin" / "python"
IGNITE = os.environ.get("REIGNITION_IGNITE_PYTHON") or (str(PEER) if PEER.exists() else None)
TRUSTED = ["ReduceLROnPlateauScheduler", "DeterministicEngine"]
"""Ignite saves a method and numpy arrays with these, which ``weights_only`` does not load, there neither."""
NOT_CONTINUED_BY_IGNITE = {*INCOMPLETE, "EMAHandler"}
"""Also if Ignite has saved the state: it saves or reads less than it needs."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(IGNITE is None, reason="needs an environment with pytorch-ignite"),
]


def ours(*args):
    paths = os.pathsep.join([str(HERE.parents[1] / "src"), str(HERE.parent)])
    return run(sys.executable, args, {**os.environ, "PYTHONPATH": paths})


def theirs(*args):
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if path := os.environ.get("REIGNITION_IGNITE_PATH"):
        env["PYTHONPATH"] = path
    return run(IGNITE, args, env)


def run(python, args, env):
    done = subprocess.run(
        [python, HERE / "exchange.py", *args], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def is_error(result):
    return isinstance(result, str)


def test_files_of_ignite_are_continued_here(tmp_path):
    wanted, found = theirs("save", tmp_path), ours("load", tmp_path, *TRUSTED)
    others = {
        name for name in found if is_error(found[name]) or not is_like(found[name], wanted[name])
    }
    assert others == NOT_CONTINUED_BY_IGNITE - {"MutualInformation"} | GROUPS
    assert all("but given one of Ignite" in found[name] for name in GROUPS)
    assert len(found) > 120


def test_our_files_are_continued_by_ignite(tmp_path):
    theirs_of_its_own = tmp_path / "theirs"
    theirs_of_its_own.mkdir()
    wanted, found = ours("save", tmp_path), theirs("load", tmp_path)
    cannot_save = {
        name for name, result in theirs("save", theirs_of_its_own).items() if is_error(result)
    }
    own = theirs("load", theirs_of_its_own, *TRUSTED)
    cannot_load = {name for name, result in own.items() if is_error(result)}
    others = {
        name for name in found if is_error(found[name]) or not is_like(found[name], wanted[name])
    }
    assert others - cannot_save - cannot_load == NOT_CONTINUED_BY_IGNITE | GROUPS
    assert len(found) - len(others) > 100
