"""Contents of the source archive and the wheel, and the promises of their messages and README."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# What no test and no user needs.
LEFT_OUT = {".ci"}


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Source archive and wheel; the wheel is built from the former, as an index's users build it."""
    pytest.importorskip("hatchling", reason="needs hatchling: scripts/install")
    folder = tmp_path_factory.mktemp("dist")
    _build("sdist", ROOT, folder)
    (source,) = folder.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    _build("wheel", unpacked, folder)
    (wheel,) = folder.glob("*.whl")
    return unpacked, wheel


def _build(target, project, folder):
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "-d", str(folder)]
    result = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def _versioned_files():
    """The files under version control; all but caches where the project is an unpacked archive."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}


def test_the_source_archive_holds_all_files_under_version_control(archives):
    unpacked, _ = archives
    found = {
        path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()
    }
    wanted = {name for name in _versioned_files() if name.partition("/")[0] not in LEFT_OUT}
    assert found - {"PKG-INFO"} == wanted


def test_scripts_of_the_source_archive_can_be_run(archives):
    unpacked, _ = archives
    for path in (ROOT / "scripts").iterdir():
        if path.is_file() and os.access(path, os.X_OK):
            assert os.access(unpacked / "scripts" / path.name, os.X_OK), path.name


def test_the_wheel_holds_the_package_alone(archives):
    _, wheel = archives
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
    inside = {name for name in names if ".dist-info/" not in name}
    package = ROOT / "src" / "ignite"
    wanted = {
        f"ignite/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == wanted
    assert "ignite/py.typed" in inside
    assert {name.rpartition("/")[2] for name in set(names) - inside} == {
        "METADATA", "RECORD", "WHEEL", "LICENSE", "entry_points.txt",
    }  # fmt: skip
    assert text.partition("\n\n")[2].strip() == README.strip()


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(os.name == "nt", reason="environments have other folders there")
def test_the_unpacked_source_archive_passes_its_tests_against_the_installed_wheel(
    archives, tmp_path
):
    """A part of them: those that read files beside the package, and a few that compute."""
    unpacked, wheel = archives
    python = _environment_with(wheel, tmp_path / "venv")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import ignite, ignite.cli; print(ignite.__file__)"
    where = subprocess.run(
        [python, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(tmp_path / "venv"))
    tests = [
        "tests/examples/test_readme.py",
        "tests/examples/test_guide.py",
        "tests/test_architecture.py",
        "tests/test_exceptions.py",
        "tests/metrics/test_accuracy.py",
    ]
    result = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *tests],
        cwd=unpacked,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"\d+ passed", result.stdout)


def _environment_with(wheel, folder):
    """A virtual environment with the wheel, which finds all other packages in ours; needs no network."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # Our own folder of packages has an editable install of this project; `.pth` files in it are not read from here.
    others = [path for path in sys.path if path.endswith("site-packages")]
    (site / "others.pth").write_text("\n".join(others), encoding="utf-8")
    return str(folder / "bin" / "python")


def test_no_link_or_picture_of_the_readme_is_relative():
    """A package index shows the README without the repository."""
    places = re.findall(r"\]\(\s*<?([^)\s>]+)", README)
    places += re.findall(r"""(?:src|href|srcset)\s*=\s*["']([^"']+)""", README)
    places += re.findall(r"^\[[^\]]+\]:\s*(\S+)", README, flags=re.MULTILINE)
    assert places
    assert [place for place in places if not place.startswith("https://")] == []


def test_the_readme_names_extras_that_exist():
    (named,) = re.findall(r"with the extras (.*?), or `all`", README, flags=re.DOTALL)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(re.findall(r"`(\w+)`", named)) <= project["optional-dependencies"].keys()
