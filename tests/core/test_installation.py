"""Both distributions have the import name ``ignite``; each may have replaced or removed files of the other."""

import subprocess
import sys
import types
from pathlib import Path

import pytest

import ignite
from ignite._core import installation

SRC = Path(ignite.__file__).parent
ADVICE = "pip uninstall -y pytorch-ignite reignition && pip install reignition"


@pytest.fixture
def site(tmp_path):
    """A folder of installed packages, with links to the files of this one."""
    package = tmp_path / "site-packages" / "ignite"
    package.mkdir(parents=True)
    for entry in SRC.iterdir():
        if entry.name not in ("__pycache__", "contrib", "engine"):
            (package / entry.name).symlink_to(entry)
    for name in ("contrib", "engine"):
        (package / name).mkdir()
        for entry in (SRC / name).iterdir():
            (package / name / entry.name).symlink_to(entry)
    return package.parent


def run(site, code):
    """Runs a program without torch, which the package itself does not need to be imported."""
    program = f"import sys; sys.path[:0] = [{str(site)!r}]\n{code}"
    return subprocess.run(
        [sys.executable, "-S", "-E", "-W", "always", "-c", program], capture_output=True, text=True, timeout=60
    )  # fmt: skip


def install_metadata_of_ignite(site):
    (site / "pytorch_ignite-0.5.5.dist-info").mkdir()
    (site / "pytorch_ignite-0.5.5.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: pytorch-ignite\nVersion: 0.5.5\n"
    )


def test_a_separate_installation_is_silent(site):
    result = run(site, "import ignite; print(ignite.__version__)")
    assert (result.stdout, result.stderr) == (f"{ignite.__version__}\n", "")


@pytest.mark.parametrize("is_installed", [True, False])
@pytest.mark.parametrize("stray", ["contrib/handlers/__init__.py", "engine/utils.py"])
def test_files_of_ignite_beside_ours_are_a_warning(site, stray, is_installed):
    (site / "ignite" / stray).parent.mkdir(exist_ok=True)
    (site / "ignite" / stray).write_text("")
    if is_installed:
        install_metadata_of_ignite(site)
    result = run(site, "import ignite")
    version = "0.5.5" if is_installed else "(which is not installed any more)"
    assert f"also has files of pytorch-ignite {version}, such as {stray}" in result.stderr
    assert ADVICE in result.stderr
    assert "UserWarning" in result.stderr
    assert result.returncode == 0


@pytest.mark.parametrize("module", ["ignite.storage", "ignite.cli"])  # which need no torch first
def test_ignite_over_ours_is_an_error_where_ours_begins(site, module):
    (site / "ignite" / "__init__.py").unlink()
    (site / "ignite" / "__init__.py").write_text('__version__ = "0.5.5"\n')
    result = run(site, f"import ignite\nimport {module}")
    assert f"has files of reignition and of pytorch-ignite 0.5.5. {wrapped()}" in result.stderr
    assert result.returncode == 1


@pytest.mark.parametrize("module", ["ignite.storage", "ignite.cli"])  # which need no torch first
def test_what_is_left_when_ignite_was_uninstalled_is_an_error(site, module):
    (site / "ignite" / "__init__.py").unlink()
    result = run(site, f"import {module}")
    assert f"is incomplete, as after 'pip uninstall pytorch-ignite'. {wrapped()}" in result.stderr
    assert str(site / "ignite") in result.stderr
    assert result.returncode == 1


def wrapped():
    return installation._ADVICE


def test_the_advice_names_commands():
    assert ADVICE in installation._ADVICE


def test_an_installation_that_is_whole_looks_at_two_files_only(monkeypatch, tmp_path):
    looked_at = []
    monkeypatch.setattr("os.path.exists", lambda path: looked_at.append(path))
    monkeypatch.setattr(installation, "metadata", None)
    installation.check_folder(str(tmp_path))
    assert len(looked_at) == 2
    installation.check_package(types.SimpleNamespace(__distribution__="reignition"))
