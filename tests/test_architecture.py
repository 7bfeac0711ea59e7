"""Rules of the source tree that can be checked automatically: layers, limits, forbidden code."""

import ast
import functools
import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "ignite"
MODULES = sorted(SOURCE.rglob("*.py"))

LAYERS = [
    {"_core", "base", "exceptions"},
    {"distributed", "data", "storage"},
    {"engine"},
    {"metrics", "handlers"},
    {"learner", "report", "testing", "contrib", "utils", "_utils"},
    {"cli", "sklearn"},
    {"__main__"},
]
FRONT_DOOR = "utils"

MAX_MODULE_LINES = 600
MAX_FUNCTION_LINES = 50
MAX_PARAMETERS = 8
LONG_MODULES: dict[str, str] = {}
LONG_FUNCTIONS = {
    ("engine/_loop.py", "_iterate"): "the hot loop: a call costs as much as a moment",
}
# "module private module" or "module private attribute". Use the public extension surface (ignite.engine.extension).
PRIVATE_REACH: set[str] = set()
# Imported where they are used, because users may not have them.
OPTIONAL = {"numpy", "apex", "torch_xla", "torch_xla.core.xla_model"}


def name_of(path):
    return path.relative_to(SOURCE).as_posix()


def room_of(name):
    return name.split("/")[0].removesuffix(".py")


def imports(tree):
    """``(line, module, is_inside_function)`` of each import that happens at run time."""
    guarded = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            guarded.update(id(child) for statement in node.body for child in ast.walk(statement))
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    inside = {
        id(child) for function in functions for child in ast.walk(function) if child is not function
    }
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, id(node) in inside
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            # `from ignite import x` may mean a room, or a name of the package itself.
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "ignite" else [base]
            for name in names:
                yield node.lineno, name, id(node) in inside


def layer_of(room):
    return next(i for i, rooms in enumerate(LAYERS) if room in rooms)


def wrong_imports(name, tree):
    own = room_of(name)
    for line, module, is_inside in imports(tree):
        if module.startswith("."):
            yield f"{name}:{line} imports relatively: {module}"
        if is_inside and module not in OPTIONAL:
            yield f"{name}:{line} imports {module} inside a function"
        if module.split(".")[0] != "ignite" or own == "__init__":
            continue
        other = module.partition(".")[2].split(".")[0]
        if not any(other in rooms for rooms in LAYERS):
            yield f"{name}:{line} imports {module}, which is no room"
            continue
        if other == own:
            continue
        if other == FRONT_DOOR:
            yield f"{name}:{line} goes through the front door ignite.utils"
        elif layer_of(other) >= layer_of(own):
            yield f"{name}:{line} imports {module}, which is not below {own}"


def long_functions(name, tree):
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        has_docstring = ast.get_docstring(node) is not None
        body = (
            node.body[1:] if has_docstring else node.body
        )  # nor is a signature of a line a parameter complexity
        lines = node.end_lineno - body[0].lineno + 1 if body else 0
        if lines > MAX_FUNCTION_LINES and (name, node.name) not in LONG_FUNCTIONS:
            yield f"{name}:{node.lineno} {node.name} has {lines} lines"


def many_parameters(name, tree, source):
    lines = source.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args
            count = len(arguments.posonlyargs) + len(arguments.args) + len(arguments.kwonlyargs)
            count -= bool(arguments.args) and arguments.args[0].arg in ("self", "cls")
            if count > MAX_PARAMETERS and "noqa: PLR0913" not in lines[node.lineno - 1]:
                yield f"{name}:{node.lineno} {node.name} has {count} parameters"


def forbidden_calls(name, tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in (
                "print",
                "eval",
                "exec",
                "pickle.load",
                "pickle.loads",
                "logging.basicConfig",
            ):
                yield f"{name}:{node.lineno} calls {called}"
            if any(
                k.arg == "weights_only" and ast.unparse(k.value) == "False" for k in node.keywords
            ):
                yield f"{name}:{node.lineno} loads without weights_only"
        if isinstance(node, ast.ExceptHandler) and all(
            isinstance(child, ast.Pass) for child in node.body
        ):
            yield f"{name}:{node.lineno} swallows an exception"


def missing_all(name, tree):
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            found = ast.literal_eval(node.value)
            if not all(isinstance(public, str) for public in found):
                yield f"{name} has an __all__ that is not a list of strings"
            return
    yield f"{name} has no __all__"


def load_structure():
    """The script that measures the tree: what it counts as private reach is what is forbidden here."""
    loader = SourceFileLoader("structure", str(ROOT / "scripts" / "structure"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("structure", loader))
    loader.exec_module(module)
    return module


STRUCTURE = load_structure()


def private_reach(trees):
    """Imports of another room's private module, also for types, and uses of another room's private attribute."""
    found = [*STRUCTURE.private_imports(trees), *STRUCTURE.private_uses(trees)]
    return [
        f"{place.partition(':')[0]} {private}"
        for place, _, private in (line.partition(" ") for line in found)
    ]


@functools.cache
def parsed():
    return [(name_of(path), ast.parse(path.read_text()), path.read_text()) for path in MODULES]


def all_trees():
    names = map(STRUCTURE.module_name, MODULES)
    return {name: tree for name, (_, tree, _) in zip(names, parsed(), strict=True)}


def test_imports_point_down_and_stand_at_the_top():
    assert [fault for name, tree, _ in parsed() for fault in wrong_imports(name, tree)] == []


def test_rooms_use_the_public_surface_of_each_other():
    trees = all_trees()
    assert sorted(set(private_reach(trees)) - PRIVATE_REACH) == []


def circles(trees):
    """Groups of modules that import each other, also for types; packages only re-export."""
    packages = {name for name in trees if any(other.startswith(f"{name}.") for other in trees)}
    graph = {
        name: {other for other, _ in STRUCTURE.imported_by(name, tree, trees)} - packages
        for name, tree in trees.items()
    }
    return STRUCTURE.cycles(graph)


def test_no_modules_import_each_other_even_for_types():
    trees = all_trees()
    assert circles(trees) == []


def test_a_planted_circle_of_type_imports_is_found():
    trees = {
        "ignite.engine.a": ast.parse("from ignite.engine.b import B"),
        "ignite.engine.b": ast.parse("if TYPE_CHECKING:\n    from ignite.engine.a import A"),
    }
    assert circles(trees) == [["ignite.engine.a", "ignite.engine.b"]]


@pytest.mark.parametrize(
    "source",
    [
        "from ignite.engine._loop import run",
        "import ignite.engine._loop",
        "if TYPE_CHECKING:\n    from ignite.engine._loop import run",
        "def f(engine):\n    engine._cursor = None",
        "def f(engine):\n    return engine._obey()",
    ],
)
def test_the_check_of_private_reach_finds_a_planted_fault(source):
    loop = (
        "class Engine:\n    def __init__(self):\n        self._cursor = 0\n    def _obey(self): ..."
    )
    trees = {"ignite.engine._loop": ast.parse(loop), "ignite.handlers.x": ast.parse(source)}
    assert len(private_reach(trees)) == 1


def test_private_reach_within_a_room_and_to_the_tools_passes():
    trees = {
        "ignite.engine._loop": ast.parse(
            "class Engine:\n    _cursor = 0\ndef f(engine):\n    engine._cursor = 1"
        ),
        "ignite.engine.x": ast.parse("from ignite.engine._loop import Engine\nEngine()._cursor"),
        "ignite._core.calls": ast.parse("from collections import namedtuple"),
        "ignite.handlers.x": ast.parse(
            "from ignite._core.calls import name_of\nself._cursor\npoint._replace(x=1)"
        ),
    }
    assert private_reach(trees) == []


def too_deep(trees, of_ignite):
    """Classes more than three levels deep; one more is allowed below a class that is public in Ignite."""
    return [
        f"{name} is {depth} levels deep"
        for name, depth, is_forced in STRUCTURE.deep_classes(trees, of_ignite)
        if depth > STRUCTURE.MAX_DEPTH + is_forced
    ]


def test_classes_inherit_over_three_levels_or_four_below_a_class_of_ignite():
    trees = all_trees()
    of_ignite = STRUCTURE.classes_of_ignite(trees)
    assert {
        "ignite.metrics.epoch_metric.EpochMetric",
        "ignite.metrics._classification._BaseClassification",
    } < of_ignite
    assert too_deep(trees, of_ignite) == []


FAMILY = {
    "ignite.base.x": "class Saved: ...\nclass Serializable(Saved): ...",
    "ignite.metrics.metric": "from ignite.base.x import Serializable\n"
    "class Arithmetic: ...\nclass Metric(Arithmetic, Serializable): ...",
    "ignite.metrics.family": "from ignite.metrics import metric\n"
    "class View(metric.Metric): ...\nclass Family(View): ...\nclass Accuracy(Family): ...",
}


@pytest.mark.parametrize(
    ("of_ignite", "source", "expected"),
    [
        (set(), "", ["ignite.metrics.family.Accuracy is 4 levels deep"]),
        ({"ignite.metrics.family.View"}, "", ["ignite.metrics.family.Accuracy is 4 levels deep"]),
        ({"ignite.metrics.family.Family"}, "", []),
        (
            {"ignite.metrics.family.Family", "ignite.metrics.family.Accuracy"},
            "class Fifth(Accuracy): ...",
            ["ignite.metrics.family.Fifth is 5 levels deep"],
        ),
    ],
)
def test_depth_is_counted_within_a_room_without_mixins(of_ignite, source, expected):
    trees = {name: ast.parse(text) for name, text in FAMILY.items()}
    trees["ignite.metrics.family"].body += ast.parse(source).body
    assert STRUCTURE.depths(trees)["ignite.metrics.metric.Metric"] == 1
    assert too_deep(trees, of_ignite) == expected


def test_modules_and_functions_fit_their_limits():
    faults = [fault for name, tree, _ in parsed() for fault in long_functions(name, tree)]
    faults += [
        fault for name, tree, source in parsed() for fault in many_parameters(name, tree, source)
    ]
    lengths = {name: len(source.splitlines()) for name, _, source in parsed()}
    faults += [
        f"{name} has {num_lines} lines"
        for name, num_lines in lengths.items()
        if num_lines > MAX_MODULE_LINES and name not in LONG_MODULES
    ]
    assert faults == []
    assert [name for name in LONG_MODULES if lengths[name] <= MAX_MODULE_LINES] == [], (
        "no longer exceptions"
    )


def test_the_library_neither_prints_nor_swallows_nor_loads_what_it_should_not():
    assert [fault for name, tree, _ in parsed() for fault in forbidden_calls(name, tree)] == []


def test_public_modules_say_what_they_export():
    public = [
        (name, tree)
        for name, tree, _ in parsed()
        if not any(part.startswith("_") for part in Path(name).parts)
    ]
    packages = [
        (name, tree)
        for name, tree, _ in parsed()
        if name.endswith("/__init__.py")
        and name[0] != "_"
        and any(isinstance(x, ast.ImportFrom) for x in tree.body)
    ]
    assert [fault for name, tree in [*public, *packages] for fault in missing_all(name, tree)] == []


@pytest.mark.parametrize(
    ("check", "name", "source"),
    [
        (wrong_imports, "engine/x.py", "from ignite.metrics import Loss"),
        (wrong_imports, "engine/x.py", "from ignite import metrics"),
        (wrong_imports, "metrics/x.py", "import ignite.handlers.base"),
        (wrong_imports, "engine/x.py", "from ignite.utils import convert_tensor"),
        (wrong_imports, "engine/x.py", "from . import events"),
        (wrong_imports, "engine/x.py", "import ignite"),
        (wrong_imports, "engine/x.py", "from ignite import Engine"),
        (wrong_imports, "engine/x.py", "def f():\n    import json"),
        (long_functions, "x.py", "def f():\n    '''Doc.'''\n" + "    a = 1\n" * 51),
        (forbidden_calls, "x.py", "print(1)"),
        (forbidden_calls, "x.py", "torch.load(path, weights_only=False)"),
        (forbidden_calls, "x.py", "try:\n    f()\nexcept OSError:\n    pass"),
        (missing_all, "x.py", "__all__ = [1]"),
        (missing_all, "x.py", "a = 1"),
    ],
)
def test_the_checks_find_planted_faults(check, name, source):
    assert len(list(check(name, ast.parse(source)))) == 1


def test_the_check_of_parameters_finds_a_planted_fault():
    source = "def f(a, b, c, d, e, f, g, h, i): ..."
    assert len(list(many_parameters("x.py", ast.parse(source), source))) == 1


def test_the_checks_let_right_things_pass():
    source = "if TYPE_CHECKING:\n    from ignite.metrics import Loss\ndef f():\n    import numpy"
    assert list(wrong_imports("engine/x.py", ast.parse(source))) == []
    assert list(long_functions("x.py", ast.parse("def f():\n" + "    a = 1\n" * 50))) == []
