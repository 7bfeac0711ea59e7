"""Who may import whom: the layers of the package, and what else holds for its imports. Read from the sources.

Each check is a function from a module's name and source to the faults in it, so that it can be tried on planted faults.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SRC = Path(__file__).parents[1] / "src"

# Lowest first. A room imports from the rows above its own, never from its own row.
LAYERS: list[list[str]] = [
    ["_core", "base", "exceptions"],
    ["distributed", "data", "storage"],
    ["engine"],
    ["metrics", "handlers"],
    ["learner", "report", "testing", "contrib", "cli", "utils", "_utils"],
    ["__main__"],
]
LEVEL = {room: level for level, row in enumerate(LAYERS) for room in row}

# What a function may import, because not everybody has it, and why it is not reached through _core.optional.
OPTIONAL_PACKAGES = {
    "apex": "one of the old ways to mixed precision",
    "numpy": "torch works without it, and so does seeding",
    "torch_xla": "exists on TPU hosts only",
}

# Who may import by a name that this file cannot see.
IMPORTS_BY_NAME = {
    "ignite._core.optional": "is the one door to optional packages",
}


class Import(NamedTuple):
    target: str  # "ignite.engine.events", "torch"
    line: int
    is_in_function: bool


def read_sources() -> dict[str, str]:
    names = {".".join(path.relative_to(SRC).with_suffix("").parts): path for path in sorted(SRC.rglob("*.py"))}
    return {name.removesuffix(".__init__"): path.read_text(encoding="utf-8") for name, path in names.items()}


SOURCES = read_sources()
PACKAGES = {".".join(path.parent.relative_to(SRC).parts) for path in SRC.rglob("__init__.py")}


def imports_of(source: str, modules: set[str]) -> Iterator[Import]:
    """All imports but those for type checkers; ``from package import module`` counts as importing the module."""
    pending: list[tuple[ast.AST, bool]] = [(ast.parse(source), False)]
    while pending:
        node, is_in_function = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            pending.extend((child, is_in_function) for child in node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, is_in_function) for alias in node.names)
        if isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                full_name = f"{node.module}.{alias.name}"
                yield Import(full_name if full_name in modules else str(node.module), node.lineno, is_in_function)
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        pending.extend((child, is_in_function or is_function) for child in ast.iter_child_nodes(node))


def room_of(module: str) -> str:
    """The room of ``ignite.engine._loop`` is ``engine``, that of ``ignite`` itself is empty."""
    return module.partition(".")[2].partition(".")[0]


def find_wrong_directions(name: str, source: str) -> list[str]:
    """Imports that point up or sideways; of the root, which loads its rooms when asked, only the version is free."""
    room, faults = room_of(name), []
    if room and room not in LEVEL:
        return [f"{name}: {room} has no layer; give it one in LAYERS, DESIGN and pyproject.toml"]
    modules = {*SOURCES, *(f"ignite.{known}" for known in LEVEL)}
    for imported in imports_of(source, modules):
        target = room_of(imported.target)
        if imported.target.partition(".")[0] != "ignite" or (room and target == room):
            continue
        if target == "" and _imports_version_only(source, imported.line):
            continue
        if target not in LEVEL or LEVEL[target] >= LEVEL.get(room, 0):
            faults.append(f"{name}:{imported.line}: imports {imported.target}, which is not below it")
    return faults


def _imports_version_only(source: str, line: int) -> bool:
    return source.splitlines()[line - 1].strip() == "from ignite import __version__"


def find_relative_imports(name: str, source: str) -> list[str]:
    return [
        f"{name}:{node.lineno}: imports relatively"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.level
    ]


def find_hidden_imports(name: str, source: str) -> list[str]:
    """Imports inside functions that are of no optional package."""
    return [
        f"{name}:{imported.line}: imports {imported.target} inside a function; only OPTIONAL_PACKAGES may be"
        for imported in imports_of(source, set())
        if imported.is_in_function and imported.target.partition(".")[0] not in OPTIONAL_PACKAGES
    ]


def find_hard_dependencies(name: str, source: str) -> list[str]:
    """Imports of anything but torch and the standard library when the module is loaded."""
    return [
        f"{name}:{imported.line}: needs {imported.target}; only torch is there for everybody, see _core.optional"
        for imported in imports_of(source, set())
        if not imported.is_in_function
        and imported.target.partition(".")[0] not in {*sys.stdlib_module_names, "torch", "ignite"}
    ]


def find_imports_by_name(name: str, source: str) -> list[str]:
    """Calls of ``import_module`` and ``__import__`` outside of packages, which load their own parts so."""
    if name in IMPORTS_BY_NAME or name in PACKAGES:
        return []
    return [
        f"{name}:{node.lineno}: imports by name; see IMPORTS_BY_NAME"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__")
    ]


def find_cycles(sources: dict[str, str]) -> list[str]:
    """Modules that import each other in a circle when they are loaded."""
    graph = {
        name: {i.target for i in imports_of(source, set(sources)) if not i.is_in_function and i.target in sources}
        for name, source in sources.items()
    }
    # Whatever imports nothing that is left can be in no circle.
    while True:
        graph = {name: targets & graph.keys() for name, targets in graph.items()}
        leaves = {name for name, targets in graph.items() if not targets}
        if not leaves:
            break
        graph = {name: targets for name, targets in graph.items() if name not in leaves}
    return [f"{name}: imports {', '.join(sorted(targets))}, in or before a circle" for name, targets in graph.items()]


CHECKS = [
    find_wrong_directions,
    find_relative_imports,
    find_hidden_imports,
    find_hard_dependencies,
    find_imports_by_name,
]


@pytest.mark.parametrize("check", CHECKS)
def test_the_sources_have_no_fault(check: Callable[[str, str], list[str]]) -> None:
    assert SOURCES
    faults = [fault for name, source in SOURCES.items() for fault in check(name, source)]
    assert not faults, "\n".join(["", *faults])


def test_the_sources_have_no_import_cycle() -> None:
    faults = find_cycles(SOURCES)
    assert not faults, "\n".join(["", *faults])


def test_every_exception_is_of_a_module_that_exists_and_needs_it() -> None:
    for name in IMPORTS_BY_NAME:
        assert "import_module(" in SOURCES[name]


PLANTED = [
    (find_wrong_directions, "ignite.engine._loop", "import ignite.metrics.loss", "imports ignite.metrics.loss"),
    (find_wrong_directions, "ignite.engine._loop", "from ignite import handlers", "imports ignite.handlers"),
    (find_wrong_directions, "ignite.engine._loop", "from ignite import Engine", "imports ignite, "),
    (find_wrong_directions, "ignite.engine._loop", "import ignite", "imports ignite, "),
    (find_wrong_directions, "ignite.metrics.loss", "from ignite.handlers import Timer", "imports ignite.handlers"),
    (find_wrong_directions, "ignite.metrics.loss", "from ignite.utils import to_onehot", "imports ignite.utils"),
    (find_wrong_directions, "ignite.storage.writer", "from ignite.data import x", "imports ignite.data"),
    (find_wrong_directions, "ignite.base.mixins", "def f():\n    import ignite.engine", ":2: imports ignite.engine"),
    (find_wrong_directions, "ignite.base.mixins", "try:\n    import ignite.data\nexcept E: ...", "ignite.data"),
    (find_wrong_directions, "ignite._utils", "from ignite.utils import to_onehot", "imports ignite.utils"),
    (find_wrong_directions, "ignite", "from ignite.engine import Engine", "imports ignite.engine"),
    (find_wrong_directions, "ignite.engine.x", "from ignite.cellar import x", "imports ignite.cellar"),
    (find_wrong_directions, "ignite.cellar.x", "", "cellar has no layer"),
    (find_relative_imports, "ignite.engine.x", "from . import events", ":1: imports relatively"),
    (find_relative_imports, "ignite.engine.x", "def f():\n    from ..base import x", ":2: imports relatively"),
    (find_hidden_imports, "ignite.engine.x", "def f():\n    import json", "imports json"),
    (find_hidden_imports, "ignite.engine.x", "class A:\n    async def f():\n        from ignite import x", ":3: "),
    (find_hard_dependencies, "ignite.engine.x", "import numpy as np", "needs numpy"),
    (find_hard_dependencies, "ignite.engine.x", "try:\n    from tqdm.auto import tqdm\nexcept E: ...", "needs tqdm"),
    (find_imports_by_name, "ignite.engine.x", "import importlib\nimportlib.import_module('a')", ":2: imports by name"),
    (find_imports_by_name, "ignite.engine.x", "x = __import__('ignite.metrics')", "imports by name"),
]


@pytest.mark.parametrize(("check", "name", "source", "expected"), PLANTED)
def test_a_planted_fault_is_found(
    check: Callable[[str, str], list[str]], name: str, source: str, expected: str
) -> None:
    (fault,) = check(name, source)
    assert fault.startswith(name)
    assert expected in fault


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("ignite.metrics.loss", "import ignite.engine.events\nfrom ignite.base import Serializable"),
        ("ignite.metrics.loss", "from ignite.metrics.metric import Metric\nfrom ignite import __version__"),
        ("ignite.engine.x", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ignite.metrics, numpy"),
        ("ignite.engine.x", "def f():\n    import torch_xla.core.xla_model as xm"),
        ("ignite.engine", "import importlib\n\ndef __getattr__(name):\n    return importlib.import_module(name)"),
    ],
)
def test_what_is_allowed_is_no_fault(name: str, source: str) -> None:
    assert [fault for check in CHECKS for fault in check(name, source)] == []


def test_a_planted_cycle_is_found_and_a_mere_tree_is_not() -> None:
    tree = {"ignite.a": "import ignite.b", "ignite.b": "import ignite.c\ndef f():\n    import ignite.a", "ignite.c": ""}
    assert find_cycles(tree) == []
    cycle = {**tree, "ignite.c": "from ignite import a"}
    assert [fault.partition(":")[0] for fault in find_cycles(cycle)] == ["ignite.a", "ignite.b", "ignite.c"]
