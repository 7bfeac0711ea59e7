import functools

import pytest

from ignite._core.calls import (
    accepts,
    describe_signature,
    name_of,
    nearest,
    source_location,
)


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
