"""Names that a package imports when they are first used."""

import compileall
import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ignite

PACKAGES = [
    "ignite",
    "ignite.distributed",
    "ignite.engine",
    "ignite.handlers",
    "ignite.metrics",
    "ignite.metrics.regression",
]


def run(code, *options):
    done = subprocess.run(
        [sys.executable, *options, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("name", PACKAGES)
def test_each_public_name_is_there_and_listed(name):
    package = importlib.import_module(name)
    for public in package.__all__:
        assert getattr(package, public) is getattr(package, public)
    assert set(package.__all__) <= set(dir(package))


def test_a_package_imports_a_module_when_one_of_its_names_is_used_and_finds_submodules():
    code = """
import sys, ignite, ignite.handlers, ignite.metrics
def loaded(): return sorted(n for n in sys.modules if n.startswith(("ignite.handlers.", "ignite.metrics.")))
print(len(loaded()))
ignite.handlers.Timer
print(*(name for name in loaded() if name.count(".") == 2))
print(ignite.metrics.accuracy.Accuracy is ignite.metrics.Accuracy)
"""
    assert run(code) == ["0", "ignite.handlers.timing", "True"]


def test_names_are_found_in_a_program_of_bytecode_alone(tmp_path):
    root = Path(ignite.__file__).parent
    shutil.copytree(root, tmp_path / "ignite", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(tmp_path, legacy=True, quiet=1)
    for source in tmp_path.rglob("*.py"):
        source.unlink()
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import ignite
print(ignite.__file__.endswith(".pyc"), ignite.metrics.Accuracy.__module__, ignite.Learner.__module__)
print(ignite.metrics.regression.R2Score.__module__, hasattr(ignite.metrics, "nothing"))
"""
    assert run(code) == [
        "True",
        "ignite.metrics.accuracy",
        "ignite.learner.learner",
        "ignite.metrics.regression.r2_score",
        "False",
    ]


@pytest.mark.parametrize("name", ["ignite", "ignite.handlers", "ignite.metrics"])
def test_an_unknown_name_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nothing'"):
        getattr(importlib.import_module(name), "nothing")  # noqa: B009
