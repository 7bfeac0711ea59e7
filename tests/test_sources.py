"""What the sources may need and say, beyond the layers and limits of test_architecture: read from the files.

Each check is a function from a module's name and source to the faults in it, so that it can be tried on planted faults.
"""

import ast
import io
import re
import sys
import threading
import tokenize
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint import filesystem, metadata
from torch.nn.modules import batchnorm
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

SRC = Path(__file__).parents[1] / "src"

# Modules that import by a name that cannot be seen in their source; packages may, to load their parts when asked.
IMPORTS_BY_NAME = {
    "ignite._core.optional": "the one door to optional packages, and to modules imported at first use",
    "ignite.contrib.old_paths": "modules at their old paths, from a table",
}

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

# The one module that may use names of others that begin with an underscore.
HOME_OF_PRIVATE_NAMES = "ignite._core.torch_private"
# These are documented: of named tuples, of enumerations, of the module os, and the module _thread.
DOCUMENTED = {"_asdict", "_fields", "_make", "_replace", "_name_", "_exit", "_thread"}

UNWANTED_COMMENTS = {
    r"type:\s*ignore(?!\[)": "ignores types without a code",
    r"noqa(?!:)": "silences all of the linter",
    r"pragma: no cover(?! - \w)": "excludes from coverage without a reason",
    r"\b(TODO|FIXME|XXX)\b": "leaves something to do",
}


def read_sources():
    """Source by dotted name; packages keep their ``__init__``."""
    paths = sorted(SRC.rglob("*.py"))
    return {
        ".".join(path.relative_to(SRC).with_suffix("").parts): path.read_text(encoding="utf-8")
        for path in paths
    }


SOURCES = read_sources()


def imports_on_loading(source):
    """``(line, module, names)`` of the imports that happen when the module is loaded."""
    pending = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) in (
            "TYPE_CHECKING",
            "typing.TYPE_CHECKING",
        ):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, []) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield (
                node.lineno,
                "." * node.level + (node.module or ""),
                [alias.name for alias in node.names],
            )
        pending.extend(ast.iter_child_nodes(node))


def find_hard_dependencies(name, source):
    """Needs at loading that are neither torch nor in the standard library."""
    known = {*sys.stdlib_module_names, "torch", "ignite"}
    return [
        f"{name}:{line}: needs {module}; only torch is there for everybody, see _core.optional"
        for line, module, _ in imports_on_loading(source)
        if module.partition(".")[0] not in known
    ]


def find_imports_by_name(name, source):
    """Calls that load modules past every other check."""
    if name in IMPORTS_BY_NAME or name.endswith(".__init__"):
        return []
    return [
        f"{name}:{node.lineno}: imports by name; see IMPORTS_BY_NAME"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__")
    ]


def find_unsafe_loads(name, source):
    """Files that might be loaded as pickles that run code, other than by an argument of the user."""
    tree = ast.parse(source)
    defaults = [
        (argument, default)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for arguments, values in (
            (node.args.args[::-1], node.args.defaults[::-1]),
            (node.args.kwonlyargs, node.args.kw_defaults),
        )
        for argument, default in zip(arguments, values, strict=False)
        if argument.arg == "weights_only" and default is not None
    ]
    unsafe_defaults = [
        f"{name}:{argument.lineno}: loads by default with weights_only={ast.unparse(default)}"
        for argument, default in defaults
        if ast.unparse(default) != "True"
    ]
    return unsafe_defaults + [
        f"{name}:{node.lineno}: loads with weights_only={ast.unparse(keyword.value)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "weights_only"
        and ast.unparse(keyword.value) not in ("True", "weights_only", "self.weights_only")
    ]


def find_unwanted_comments(name, source):
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [
        f"{name}:{token.start[0]}: {reason}"
        for token in tokens
        if token.type == tokenize.COMMENT
        for pattern, reason in UNWANTED_COMMENTS.items()
        if re.search(pattern, token.string)
    ]


OPENS_TEXT = {"open", "read_text", "write_text", "TextIOWrapper", "FileHandler", "fdopen"}
RUNS_PROGRAMS = {"run", "Popen", "check_output", "check_call", "getoutput"}
OPENS_NO_TEXT = {
    "_open",  # of a CSV file, which names it
    "formats.read_text",  # text within a file of weights
    "os.open",
    "place.open",
    "self._fs.open",
}


def find_unnamed_encodings(name, source):
    """Text that is read or written in the encoding of the locale, which is ASCII on some servers."""
    return [
        f"{name}:{node.lineno}: should name the encoding in {ast.unparse(node)[:60]}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and _leaves_encoding_open(node)
    ]


def _leaves_encoding_open(call):
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    function = ast.unparse(call.func)
    last = function.rpartition(".")[2]
    if "encoding" in named or function in OPENS_NO_TEXT or last.startswith("_"):
        return False
    if last in RUNS_PROGRAMS:
        return {"text", "universal_newlines", "errors"} & named.keys() or last == "getoutput"
    if last not in OPENS_TEXT:
        return False
    modes = [named["mode"]] if "mode" in named else call.args
    constants = [one.value for one in modes if isinstance(one, ast.Constant)]
    is_binary = any(
        isinstance(value, str) and "b" in value and set(value) <= set("rwxab+")
        for value in constants
    )
    return not is_binary or last in ("read_text", "write_text")


def find_jumps_out_of_finally(name, source):
    """Statements that would swallow an exception; Python 3.14 warns of them."""
    return [
        f"{name}:{jump.lineno}: leaves a finally block"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Try | ast.TryStar)
        for statement in node.finalbody
        for jump in _jumps_in(statement, is_in_loop=False)
    ]


def _jumps_in(node, is_in_loop):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
        return
    if isinstance(node, ast.Return) or (
        isinstance(node, ast.Break | ast.Continue) and not is_in_loop
    ):
        yield node
    is_in_loop = is_in_loop or isinstance(node, ast.For | ast.AsyncFor | ast.While)
    for child in ast.iter_child_nodes(node):
        yield from _jumps_in(child, is_in_loop)


def is_private(name):
    return (
        name.startswith("_") and not name.startswith("__") and name.isidentifier() and name != "_"
    )


def names_given(tree):
    """The names that a module gives to something: functions, classes, variables, attributes, arguments, imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]


def private_names_of_others():
    """Private names of objects of torch and Python that the library uses or could use."""
    loader, weight = DataLoader([0]), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    things = [
        torch, torch._C, torch._utils, weight, weight.untyped_storage(), weight.mean().grad_fn, nn.Module(), batchnorm,
        nn.CrossEntropyLoss()(torch.zeros(1, 2, requires_grad=True), torch.zeros(1, dtype=torch.long)).grad_fn,
        nn.functional, loader, iter(loader), _MultiProcessingDataLoaderIter, optimizer,
        torch.optim.lr_scheduler.StepLR(optimizer, 1), torch.optim.swa_utils, torch.serialization, torch.autograd,
        torch.amp.GradScaler(enabled=False), torch.accelerator, torch.cuda, dist, dist.distributed_c10d, filesystem,
        metadata, nn.parallel.DistributedDataParallel, sys, threading, threading.Thread(), io, tokenize, ast,
    ]  # fmt: skip
    return {name for thing in things for name in dir(thing) if is_private(name)}


OWN_NAMES = {name for source in SOURCES.values() for name in names_given(ast.parse(source))}
# Our classes have attributes of these names, too, which subclasses in other modules use.
OUR_NAMES_TOO = {"_device", "_started"}
FOREIGN_NAMES = private_names_of_others() - OUR_NAMES_TOO | {
    "_fsdp_flattened", "_get_file_writer", "_handle_fromlist", "_orig_mod", "_use_new_zipfile_serialization",
}  # fmt: skip


def private_names(tree):
    """``(line, name, whether it is surely another's)`` of each private name that may be another's."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            root = ast.unparse(node.value).partition(".")[0]
            is_surely = root in ("torch", "nn", "dist", "sys", "os", "threading")
            yield node.lineno, node.attr, is_surely
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] != "ignite":
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            yield from ((node.lineno, name, True) for name in names if is_private(name))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            is_path = node.value.startswith("torch.") and all(
                map(str.isidentifier, node.value.split("."))
            )
            names = node.value.split(".") if is_path else [node.value]
            yield from ((node.lineno, name, is_path) for name in names if is_private(name))


def find_private_names_of_others(name, source):
    """Uses of private names of torch, Python and numpy outside of the module that has fallbacks for them.

    A name that the library gives itself is its own, unless an object of torch or Python has it, too.
    """
    if name == HOME_OF_PRIVATE_NAMES:
        return []
    tree = ast.parse(source)
    given = set(names_given(tree))
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return [
        f"{name}:{line}: uses {found}; look it up in _core.torch_private, with a fallback"
        for line, found, is_others in private_names(tree)
        if found not in DOCUMENTED
        and (
            is_others
            or (found in FOREIGN_NAMES and found not in given)
            or (found in attributes and found not in OWN_NAMES)
        )
    ]


def find_vague_names(name, source):
    is_vague = name.rpartition(".")[2].strip("_") in VAGUE_NAMES and name not in VAGUE_BUT_GIVEN
    return [f"{name}: should say what it holds"] if is_vague else []


def find_cycles(sources):
    """Modules that import each other in a circle when they are loaded."""
    graph = {name.removesuffix(".__init__"): source for name, source in sources.items()}
    for name, source in graph.items():
        targets = set()
        for _, module, names in imports_on_loading(source):
            inner = {f"{module}.{part}" for part in names}
            targets |= {part if part in graph else module for part in inner} or {module}
        graph[name] = targets & graph.keys()
    # Whatever imports nothing that is left can be in no circle.
    while leaves := {name for name, targets in graph.items() if not targets}:
        graph = {name: targets - leaves for name, targets in graph.items() if name not in leaves}
    return [
        f"{name}: imports {', '.join(sorted(targets))}, in or before a circle"
        for name, targets in graph.items()
    ]


CHECKS = [
    find_hard_dependencies,
    find_imports_by_name,
    find_jumps_out_of_finally,
    find_unnamed_encodings,
    find_unsafe_loads,
    find_unwanted_comments,
    find_vague_names,
    find_private_names_of_others,
]


@pytest.mark.parametrize("check", CHECKS)
def test_the_sources_have_no_fault(check):
    assert SOURCES
    faults = [fault for name, source in SOURCES.items() for fault in check(name, source)]
    assert not faults, "\n".join(["", *faults])


def test_no_modules_import_each_other_in_a_circle():
    faults = find_cycles(SOURCES)
    assert not faults, "\n".join(["", *faults])


@pytest.mark.parametrize("name", IMPORTS_BY_NAME)
def test_every_exception_is_of_a_module_that_exists_and_needs_it(name):
    assert "import_module(" in SOURCES[name]
    assert IMPORTS_BY_NAME[name]


@pytest.mark.parametrize(
    ("check", "source", "expected"),
    [
        (find_hard_dependencies, "import numpy as np", ":1: needs numpy"),
        (
            find_hard_dependencies,
            "try:\n    from tqdm.auto import tqdm\nexcept E: ...",
            ":2: needs tqdm.auto",
        ),
        (find_hard_dependencies, "class A:\n    import scipy", ":2: needs scipy"),
        (
            find_imports_by_name,
            "import importlib\nimportlib.import_module('a')",
            ":2: imports by name",
        ),
        (find_imports_by_name, "x = __import__('ignite.metrics')", ":1: imports by name"),
        (
            find_unsafe_loads,
            "torch.load(f, weights_only=False)",
            ":1: loads with weights_only=False",
        ),
        (
            find_unsafe_loads,
            "torch.load(f, weights_only=not safe)",
            ":1: loads with weights_only=not safe",
        ),
        (
            find_unsafe_loads,
            "def load(f, *, weights_only=False):\n    pass",
            ":1: loads by default with weights_only=False",
        ),
        (find_unwanted_comments, "x = f()  # type: ignore", ":1: ignores types"),
        (find_unwanted_comments, "x = f()  # noqa", ":1: silences"),
        (find_unwanted_comments, "x = f()  # pragma: no cover", ":1: excludes"),
        (find_unwanted_comments, "x\n# TODO: later", ":2: leaves"),
        (find_vague_names, "", "should say what it holds"),
        (find_jumps_out_of_finally, "def f():\n try: g()\n finally: return 1", ":3: leaves"),
        (
            find_jumps_out_of_finally,
            "for i in x:\n try: g()\n finally:\n  if i: break",
            ":4: leaves",
        ),
        (find_unnamed_encodings, "open(p)", ":1: should name the encoding in open(p)"),
        (find_unnamed_encodings, "x.open('w')", ":1: should name the encoding"),
        (find_unnamed_encodings, "p.open(mode='a+', newline='')", ":1: should name the encoding"),
        (find_unnamed_encodings, "p.read_text()", ":1: should name the encoding"),
        (find_unnamed_encodings, "p.write_text('b')", ":1: should name the encoding"),
        (find_unnamed_encodings, "io.TextIOWrapper(f)", ":1: should name the encoding"),
        (find_unnamed_encodings, "logging.FileHandler(p)", ":1: should name the encoding"),
        (find_unnamed_encodings, "subprocess.run(c, text=True)", ":1: should name the encoding"),
        *(
            (find_private_names_of_others, source, f":1: uses {name}; look it up")
            for source, name in [
                ("torch._C.f()", "_C"),
                ("from torch.nn.modules.batchnorm import _NormBase", "_NormBase"),
                ("from numpy._core import x", "_core"),
                ("module._modules", "_modules"),
                ("getattr(loss.grad_fn, '_saved_reduction')", "_saved_reduction"),
                ("vars(loader)['_iterator']", "_iterator"),
                ("sys._getframe(1)", "_getframe"),
                ("writer._get_file_writer()", "_get_file_writer"),
                ("find('torch._dynamo.eval_frame')", "_dynamo"),
                (
                    "torch.save(x, f, **{'_use_new_zipfile_serialization': False})",
                    "_use_new_zipfile_serialization",
                ),
            ]
        ),
    ],
)
def test_a_planted_fault_is_found(check, source, expected):
    (fault,) = check("ignite.engine._helpers", source)
    assert fault.startswith("ignite.engine._helpers")
    assert expected in fault


@pytest.mark.parametrize(
    "source",
    [
        "from __future__ import annotations\nimport torch.nn\nfrom ignite.base import Serializable",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy",
        "def f():\n    import torch_xla.core.xla_model as xm",
        "torch.load(f, weights_only=True)",
        "open(p, 'rb')\np.open('ab', buffering=0)\np.open(encoding='utf-8')\nos.open(p, flags)",
        "try: g()\nfinally:\n    for i in x: continue\n    f = lambda: 1",
        "subprocess.run(c)\nsubprocess.run(c, text=True, encoding='utf-8')\nengine.run(data)",
        "x = f()  # type: ignore[arg-type]  # noqa: E501\ny = '# TODO'  # pragma: no cover - needs a GPU",
        "point._fields\nself._iterator = iter(x)\nreturn self._iterator",
    ],
)
def test_what_is_allowed_is_no_fault(source):
    assert [fault for check in CHECKS for fault in check("ignite.engine.planted", source)] == []


def test_packages_may_import_by_name():
    assert find_imports_by_name("ignite.engine.__init__", "import_module(name)") == []


def test_a_planted_circle_is_found_and_a_mere_tree_is_not():
    tree = {
        "i.a.__init__": "import i.b",
        "i.b": "from i import c\ndef f():\n    import i.a",
        "i.c": "",
    }
    assert find_cycles(tree) == []
    circle = find_cycles({**tree, "i.c": "from i.a import x"})
    assert [fault.partition(":")[0] for fault in circle] == ["i.a", "i.b", "i.c"]
