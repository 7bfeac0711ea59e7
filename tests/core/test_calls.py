import functools
import inspect
import re
import sys
import types
from pathlib import Path

import pytest

from ignite._core.calls import (
    accepts,
    describe_signature,
    name_of,
    nearest,
    signature_of,
    source_location,
)
from ignite.engine import Engine, Events


def function(a, b=1, *, c=2): ...


class Thing:
    def method(self, x): ...

    def __call__(self, y): ...


@pytest.mark.parametrize(
    ("func", "args", "kwargs", "fits"),
    [
        (function, (1,), {}, True),
        (function, (), {}, False),
        (function, (1, 2, 3), {}, False),
        (function, (1,), {"c": 3}, True),
        (function, (1,), {"d": 3}, False),
        (Thing().method, (1,), {}, True),
        (Thing(), (), {}, False),
        (functools.partial(function, 1), (), {}, True),
        (dict.fromkeys, (1, 2), {}, True),
    ],
)
def test_accepts_agrees_with_python(func, args, kwargs, fits):
    assert accepts(func, *args, **kwargs) is fits


def test_built_in_functions_without_a_signature_accept_everything():
    assert accepts(max, 1, 2)


@pytest.mark.parametrize(
    ("func", "name"),
    [(function, "function"), (Thing().method, "Thing.method"), (Thing(), "Thing"),
     (functools.partial(function, 1), "partial(function)")],
)  # fmt: skip
def test_names_identify_the_definition(func, name):
    assert name_of(func) == name
    assert source_location(func).startswith(__file__)


def test_a_signature_is_shown_as_it_was_written():
    def annotated(a: int, b: "str" = "x") -> None: ...

    assert describe_signature(annotated) == "(a, b='x')"
    assert source_location(len) == ""


def test_a_close_match_is_suggested():
    assert nearest("n_save", ["atomic", "n_saved"]) == ". Did you mean 'n_saved'?"
    assert nearest("colour", ["atomic", "n_saved"]) == ""


@pytest.fixture
def python_3_14(monkeypatch):
    """``inspect.signature`` evaluates annotations, and leaves names that do not exist if told to.

    Here, strings stand for annotations that are not evaluated yet.
    """
    evaluated, signature = [], inspect.signature

    class Format:
        FORWARDREF = "names that exist, others as they are"

    def evaluating(func, *, annotation_format=None, **options):
        found = signature(func, **options)
        for parameter in found.parameters.values():
            if isinstance(parameter.annotation, str):
                try:
                    evaluated.append(eval(parameter.annotation, {}))
                except NameError:
                    if annotation_format is not Format.FORWARDREF:
                        raise
        return found

    monkeypatch.setattr(sys, "version_info", (3, 14, 0, "final", 0))
    monkeypatch.setitem(sys.modules, "annotationlib", types.SimpleNamespace(Format=Format))
    monkeypatch.setattr(inspect, "signature", evaluating)
    return evaluated


def annotated(engine: "Engine", batch: "1 / 0" = 1, *, every: "NotThere" = 2) -> "Nothing": ...  # noqa: F821


def undefined(engine: "Engine", batch=1, *, every: "NotThere" = 2): ...  # noqa: F821


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


class Annotated:
    def __init__(self, engine: "1 / 0", every=1):
        self.engine = engine

    def method(self, engine: "1 / 0", every: "1 / 0" = 1): ...

    @classmethod
    def of(cls, engine: "1 / 0", every=1): ...

    @staticmethod
    def static(engine: "1 / 0", every=1): ...

    def __call__(self, engine: "1 / 0", every=1): ...


class Made:
    def __new__(cls, engine: "1 / 0", every=1):
        return super().__new__(cls)


def closing_over(variable):
    def function(engine: "1 / 0", every=1):
        return variable

    return function


ANNOTATED = {
    "undefined": (undefined, "(engine, batch=1, *, every=2)"),
    "function": (annotated, "(engine, batch=1, *, every=2)"),
    "decorated": (decorated(annotated), "(engine, batch=1, *, every=2)"),
    "partial": (functools.partial(annotated, every=3), "(engine, batch=1, *, every=3)"),
    "partial by position": (functools.partial(annotated, None), "(batch=1, *, every=2)"),
    "partial of a method": (functools.partial(Annotated(1).method, 2), "(every=1)"),
    "class": (Annotated, "(engine, every=1)"),
    "class by __new__": (Made, "(engine, every=1)"),
    "method": (Annotated(1).method, "(engine, every=1)"),
    "class method": (Annotated.of, "(engine, every=1)"),
    "static method": (Annotated.static, "(engine, every=1)"),
    "callable": (Annotated(1), "(engine, every=1)"),
    "closure": (closing_over(1), "(engine, every=1)"),
}


@pytest.mark.parametrize("name", ANNOTATED)
def test_annotations_that_cannot_be_evaluated_do_not_matter(name, python_3_14):
    func, expected = ANNOTATED[name]
    with pytest.raises((NameError, ZeroDivisionError)):
        inspect.signature(func)
    assert describe_signature(func) == expected
    assert ("every" in signature_of(func).parameters) is ("every" in expected)
    assert accepts(func, **{"every": 3} if "engine" not in expected else {"engine": 1})
    assert not accepts(func, nothing=1)


def test_a_signature_is_unknown_or_no_function_is_given(python_3_14):
    with pytest.raises(TypeError, match="not a callable object"):
        signature_of(3)
    with pytest.raises(ValueError, match="no signature found"):
        signature_of(min)


def test_handlers_with_any_annotations_are_attached_and_called(python_3_14):
    called = []

    def handler(engine: "TYPE_CHECKING_ONLY", every: "1 / 0" = 1):  # noqa: F821
        called.append(every)

    trainer = Engine(lambda engine, batch: None)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, handler)
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED(event_filter=lambda engine, event: event == 2), handler, every=3
    )
    trainer.on(Events.COMPLETED)(functools.partial(handler, every=4))
    trainer.run([1, 2])
    assert called == [1, 1, 3, 4]


def test_nothing_else_asks_for_signatures_or_annotations_of_functions():
    src = Path(__file__).parents[2] / "src"
    asking = re.compile(
        r"inspect\.(signature|get_annotations|getfullargspec)\((?!lambda)|get_type_hints|\.__annotations__"
    )
    found = {
        str(path.relative_to(src)): line.strip()
        for path in src.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if asking.search(line) and not line.lstrip().startswith(('"""', "#"))
    }
    # The one helper, and a copy between functions of this library.
    assert set(found) <= {"ignite/_core/calls.py", "ignite/engine/_supervised/factories.py"}
