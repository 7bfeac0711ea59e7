"""Extras named in messages exist and suffice."""

import ast
import functools
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

# The packages of modules whose names differ, and are not always installed here.
PACKAGES = {
    "aimrocks": "aimrocks",
    "comet_ml": "comet-ml",
    "mlflow": "mlflow-skinny",
    "pynvml": "nvidia-ml-py",
    "rich": "rich",
    "sklearn": "scikit-learn",
}
# Tried first, and replaced by the module on the right, which the message then names.
ALTERNATIVES = {"tensorboardX": "tensorboard"}
# Installed by what an extra names, where that is not installed here.
BROUGHT_BY = {"aimrocks": "aim", "urllib3": "polyaxon"}
# Used in a notebook only, whose kernel has imported them.
ALREADY_IMPORTED = {"IPython"}
# Imported when an object of the user is from there, or if they are there, without a message.
WITHOUT_MESSAGE = {
    "apex": "the step of amp_mode='apex'; not on the index",
    "numpy": "comes with every source of arrays",
    "pandas": "the user gave a data frame",
    "polars": "the user gave a data frame",
    "torch_xla": "comes with its device",
}


TREES = {
    path: ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((SRC / "ignite").rglob("*.py"))
}
DISTRIBUTIONS = metadata.packages_distributions()


def is_name(node, name):
    return isinstance(node, ast.Name) and node.id == name


def calls_of_import_optional():
    """(module, extra, place) of all calls; the name of a module that a loop gives is the loop's."""
    for path, tree in TREES.items():
        loops = {
            node.target.id: [
                item.value for item in node.iter.elts if isinstance(item, ast.Constant)
            ]
            for node in ast.walk(tree)
            if isinstance(node, ast.For)
            and isinstance(node.target, ast.Name)
            and isinstance(node.iter, ast.Tuple)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not is_name(node.func, "import_optional"):
                continue
            given, (extra,) = node.args[0], [each.value for each in node.keywords]
            modules = [given.value] if isinstance(given, ast.Constant) else loops[given.id]
            for module in modules:
                yield module, extra.value, f"{path.relative_to(SRC)}:{node.lineno}"


CALLS = list(calls_of_import_optional())


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def names_of(requirements):
    """The packages that lines of requirements name, with those of extras of this project."""
    for line in requirements:
        name = re.match(r"[\w.-]+", line)[0]
        if name != "reignition":
            yield normal(name)
            continue
        for extra in re.search(r"\[(.*?)\]", line)[1].split(","):
            yield from names_of(EXTRAS[extra])


@functools.cache
def installed_with(extra):
    """The packages of an extra and those that they need, as far as they are installed here."""
    wanted, found = {*names_of(EXTRAS[extra]), *names_of(PROJECT["dependencies"])}, set()
    while wanted:
        one = wanted.pop()
        found.add(one)
        try:
            needed = metadata.requires(one) or []
        except metadata.PackageNotFoundError:
            continue
        wanted |= {*names_of(line for line in needed if "extra ==" not in line)} - found
    return found


@functools.cache
def packages_of(module):
    """The packages that install a module: here, or by the table above."""
    known = {PACKAGES[module]} if module in PACKAGES else set()
    here = DISTRIBUTIONS.get(module, [])
    return known | {normal(name) for name in here} or {normal(module)}


def is_sufficient(module, extra):
    top = module.partition(".")[0]
    top = ALTERNATIVES.get(top, top)
    found = installed_with(extra)
    return (
        top in {"torch", *ALREADY_IMPORTED}
        or bool(packages_of(top) & found)
        or BROUGHT_BY.get(top) in found
    )


def test_the_calls_are_found():
    assert {("sklearn.datasets", "demo"), ("onnxscript", "onnx"), ("rich.live", "progress")} <= {
        call[:2] for call in CALLS
    }
    assert len(CALLS) > 40


@pytest.mark.parametrize(("module", "extra"), sorted({call[:2] for call in CALLS}))
def test_the_extra_that_a_message_names_installs_the_module(module, extra):
    places = [place for *what, place in CALLS if what == [module, extra]]
    assert extra in EXTRAS, places
    assert is_sufficient(module, extra), places


def test_a_wrong_extra_would_be_found():
    assert not is_sufficient("sklearn.datasets", "progress")
    assert not is_sufficient("matplotlib.pyplot", "numpy")
    assert is_sufficient("sklearn.datasets", "demo")


def texts():
    for folder, endings in (
        ("src", ".py"),
        ("docs", ".md"),
        ("examples", ".py .md"),
        ("scripts", ""),
    ):
        for path in sorted((ROOT / folder).rglob("*")):
            if (
                path.is_file()
                and "__pycache__" not in path.parts
                and path.suffix in endings.split(" ")
            ):
                yield path
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))


def test_extras_that_texts_name_exist():
    named = {
        (extra.strip(), path.relative_to(ROOT).as_posix())
        for path in texts()
        for found in re.findall(
            r"(?:reignition|pip install \S*\.)\[([^\]{]*)\]", path.read_text(encoding="utf-8")
        )
        for extra in found.split(",")
    }
    assert len(named) > 3
    assert [(extra, path) for extra, path in sorted(named) if extra not in EXTRAS] == []


def test_no_message_tells_to_install_a_package_by_itself():
    """Only extras know the versions; what is no extra is listed here."""
    found = [
        f"{path.relative_to(SRC)}: {line.strip()}"
        for path in TREES
        for line in path.read_text(encoding="utf-8").splitlines()
        if "pip install" in line and "reignition[" not in line
    ]
    of_themselves = ("visdom_logger", "_core/installation")
    assert [line for line in found if not any(name in line for name in of_themselves)] == []


def test_packages_without_a_message_are_known():
    """Every other import of an optional package goes through ``import_optional``."""
    standard = sys.stdlib_module_names | {"torch", "ignite", "__future__"}
    found = {}
    for path, tree in TREES.items():
        for_types = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and is_name(node.test, "TYPE_CHECKING")
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if id(node) in for_types or not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
            for name in names:
                top = name.partition(".")[0]
                if top not in standard:
                    found.setdefault(top, []).append(f"{path.relative_to(SRC)}:{node.lineno}")
    assert {name: places for name, places in found.items() if name not in WITHOUT_MESSAGE} == {}


def test_all_has_every_extra_but_two():
    (everything,) = EXTRAS["all"]
    inside = re.search(r"\[(.*)\]", everything)[1].split(",")
    assert EXTRAS.keys() - {"all", "demo", *inside} == {"aim", "visdom"}
    assert set(names_of(EXTRAS["demo"])) <= set(names_of(EXTRAS["all"]))
