"""How long things may be, what no source may contain, and that every module has its test. Read from the sources.

Each check is a function from a module's name and source to the faults in it, so that it can be tried on planted faults.
"""

import ast
import io
import re
import tokenize
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 40
MAX_PARAMETERS = 8

# Modules without a test module of their own, and why.
TESTED_ELSEWHERE: dict[str, str] = {}

# Names that say nothing. These came with Ignite's import paths; new ones are not wanted.
VAGUE_NAMES = {"utils", "helpers", "common", "misc", "manager"}
VAGUE_BUT_GIVEN = {
    "ignite._utils",
    "ignite.contrib.engines.common",
    "ignite.distributed.utils",
    "ignite.engine.utils",
    "ignite.handlers.utils",
    "ignite.metrics.gan.utils",
    "ignite.metrics.nlp.utils",
    "ignite.utils",
}

UNWANTED_COMMENTS = {
    r"type:\s*ignore(?!\[)": "ignores types without a code",
    r"noqa(?!:)": "silences all of the linter",
    r"pragma: no cover(?! - \w)": "excludes from coverage without a reason",
    r"\b(TODO|FIXME|XXX)\b": "leaves something to do",
}


def read_sources(folder: str) -> dict[str, str]:
    paths = {
        path: ".".join(path.relative_to(ROOT / folder).with_suffix("").parts) for path in (ROOT / folder).rglob("*.py")
    }
    return {name: path.read_text(encoding="utf-8") for path, name in sorted(paths.items())}


SOURCES = read_sources("src")
TESTS = read_sources("tests")


def find_long_modules(name: str, source: str) -> list[str]:
    length = len(source.splitlines())
    return [f"{name}: has {length} lines; {MAX_MODULE_LINES} are allowed"] if length > MAX_MODULE_LINES else []


def find_long_functions(name: str, source: str) -> list[str]:
    return [
        f"{name}:{node.lineno}: {node.name} has {length} lines; {MAX_FUNCTION_LINES} are allowed"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := _length_without_docstring(node)) > MAX_FUNCTION_LINES
    ]


def _length_without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    length = _num_lines(node)
    return length if ast.get_docstring(node) is None else length - _num_lines(node.body[0])


def _num_lines(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def find_many_parameters(name: str, source: str) -> list[str]:
    """Functions with too many parameters, ``self`` and ``cls`` not counted; the line of the ``def`` may excuse it."""
    lines = source.splitlines()
    faults = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "# noqa: PLR0913" not in lines[node.lineno - 1]:
            arguments = node.args
            names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
            num_parameters = len([argument for argument in names if argument not in ("self", "cls")])
            if num_parameters > MAX_PARAMETERS:
                text = f"{node.name} has {num_parameters} parameters; {MAX_PARAMETERS} are allowed"
                faults.append(f"{name}:{node.lineno}: {text}")
    return faults


def find_missing_all(name: str, source: str) -> list[str]:
    """Public modules without a plain ``__all__``; that it is sorted, and its names exist, is checked by ruff."""
    is_public = name == "ignite._utils" or not any(
        part.startswith("_") and part != "__init__" for part in name.split(".")
    )
    if not is_public or name == "ignite.__init__":
        return []
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            value = getattr(node, "value", None)
            if isinstance(value, ast.List) and all(isinstance(element, ast.Constant) for element in value.elts):
                return []
            return [f"{name}:{node.lineno}: __all__ should be a list of strings written out"]
    return [f"{name}: has no __all__"]


def find_unwanted_calls(name: str, source: str) -> list[str]:
    """Calls of ``print`` and ``logging.basicConfig``, and loading of pickles that may run code."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        function = ast.unparse(node.func)
        if function in ("print", "builtins.print"):
            faults.append(f"{name}:{node.lineno}: prints")
        if function.rpartition(".")[2] == "basicConfig":
            faults.append(f"{name}:{node.lineno}: configures logging")
        for keyword in node.keywords:
            if keyword.arg == "weights_only" and ast.unparse(keyword.value) != "True":
                faults.append(f"{name}:{node.lineno}: loads with weights_only={ast.unparse(keyword.value)}")
    return faults


def find_unwanted_comments(name: str, source: str) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [
        f"{name}:{token.start[0]}: {reason}"
        for token in tokens
        if token.type == tokenize.COMMENT
        for pattern, reason in UNWANTED_COMMENTS.items()
        if re.search(pattern, token.string)
    ]


def find_vague_names(name: str, source: str) -> list[str]:
    is_vague = name.rpartition(".")[2].strip("_") in VAGUE_NAMES and name not in VAGUE_BUT_GIVEN
    return [f"{name}: should say what it holds"] if is_vague else []


def name_of_test(module: str) -> str:
    """``ignite._core.trees`` is tested by ``core.test_trees``."""
    *rooms, name = [part.lstrip("_") for part in module.split(".")[1:]]
    return ".".join([*rooms, f"test_{name}"])


def find_missing_test(name: str, source: str) -> list[str]:
    if name.endswith("__init__") or name in TESTED_ELSEWHERE or name_of_test(name) in TESTS:
        return []
    return [f"{name}: has no tests/{name_of_test(name).replace('.', '/')}.py"]


FOR_SOURCES = [
    find_long_modules,
    find_long_functions,
    find_many_parameters,
    find_missing_all,
    find_unwanted_calls,
    find_unwanted_comments,
    find_vague_names,
    find_missing_test,
]
FOR_TESTS = [find_long_modules, find_long_functions, find_many_parameters]


@pytest.mark.parametrize("check", FOR_SOURCES)
def test_the_sources_have_no_fault(check: Callable[[str, str], list[str]]) -> None:
    assert SOURCES
    faults = [fault for name, source in SOURCES.items() for fault in check(name, source)]
    assert not faults, "\n".join(["", *faults])


@pytest.mark.parametrize("check", FOR_TESTS)
def test_the_tests_obey_the_same_limits(check: Callable[[str, str], list[str]]) -> None:
    faults = [fault for name, source in TESTS.items() for fault in check(f"tests.{name}", source)]
    assert not faults, "\n".join(["", *faults])


@pytest.mark.parametrize("name", TESTED_ELSEWHERE)
def test_every_exception_is_of_a_module_that_exists_and_has_no_test(name: str) -> None:
    assert name in SOURCES
    assert name_of_test(name) not in TESTS
    assert TESTED_ELSEWHERE[name]


def function(num_lines: int, parameters: str = "", docstring: str = "") -> str:
    """A function of so many lines, its docstring not counted."""
    return "\n".join(
        [f"def f({parameters}):", *[f'    """{docstring}"""'] * bool(docstring), *["    x"] * (num_lines - 1)]
    )


NINE = "a, b, /, c, d, *args, e, f, g, h, i"
PLANTED = [
    (find_long_modules, "x = 1\n" * 301, "has 301 lines"),
    (find_long_functions, function(41), ":1: f has 41 lines"),
    (
        find_long_functions,
        "class A:\n  @d\n  async " + function(41, docstring="one\ntwo").replace("\n", "\n  "),
        ":3: f ",
    ),
    (find_many_parameters, function(2, NINE), ":1: f has 9 parameters"),
    (find_many_parameters, "class A:\n  def f(self, " + NINE + "): ...", ":2: f has 9 parameters"),
    (find_missing_all, "", "has no __all__"),
    (find_missing_all, "def f():\n    __all__ = []", "has no __all__"),
    (find_missing_all, "__all__ = sorted(globals())", "should be a list of strings"),
    (find_unwanted_calls, "def f():\n    print(1)", ":2: prints"),
    (find_unwanted_calls, "import logging\nlogging.basicConfig()", ":2: configures logging"),
    (find_unwanted_calls, "torch.load(f, weights_only=False)", ":1: loads with weights_only=False"),
    (find_unwanted_calls, "torch.load(f, weights_only=not safe)", ":1: loads with weights_only=not safe"),
    (find_unwanted_comments, "x = f()  # type: ignore", ":1: ignores types"),
    (find_unwanted_comments, "x = f()  # noqa", ":1: silences"),
    (find_unwanted_comments, "x = f()  # pragma: no cover", ":1: excludes"),
    (find_unwanted_comments, "# TODO: later", ":1: leaves"),
]


@pytest.mark.parametrize(("check", "source", "expected"), PLANTED)
def test_a_planted_fault_is_found(check: Callable[[str, str], list[str]], source: str, expected: str) -> None:
    (fault,) = check("ignite.engine.planted", source)
    assert fault.startswith("ignite.engine.planted")
    assert expected in fault


def test_vague_and_untested_modules_are_found() -> None:
    assert find_vague_names("ignite.engine._helpers", "") == ["ignite.engine._helpers: should say what it holds"]
    assert find_missing_test("ignite._core.planted", "") == ["ignite._core.planted: has no tests/core/test_planted.py"]


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (find_long_modules, "x = 1\n" * 300),
        (find_long_functions, function(40, docstring="one\ntwo\nthree")),
        (find_many_parameters, function(2, "self, a, b, c, d, e, f, *args, g, h, **kwargs")),
        (find_many_parameters, f"def f({NINE}):  # noqa: PLR0913 - Ignite's signature\n    x"),
        (find_missing_all, '__all__ = ["a", "b"]'),
        (find_missing_all, '__all__: list[str] = ["a", "b"]'),
        (find_unwanted_calls, "printer.print(1)\ntorch.load(f, weights_only=True)"),
        (find_unwanted_comments, "x = f()  # type: ignore[arg-type]\ny = '# TODO'  # pragma: no cover - needs a GPU"),
    ],
)
def test_what_is_allowed_is_no_fault(check: Callable[[str, str], list[str]], source: str) -> None:
    assert check("ignite.engine.planted", source) == []


@pytest.mark.parametrize("name", ["ignite.__init__", "ignite._core.trees", "ignite.engine._loop", "ignite.__main__"])
def test_private_modules_and_the_root_need_no_list_of_names(name: str) -> None:
    assert find_missing_all(name, "") == []


@pytest.mark.parametrize("name", ["ignite._utils", "ignite.engine.__init__", "ignite.exceptions"])
def test_public_modules_and_packages_need_a_list_of_names(name: str) -> None:
    assert find_missing_all(name, "") == [f"{name}: has no __all__"]
