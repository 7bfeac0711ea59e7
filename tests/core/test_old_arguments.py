"""Arguments of earlier versions: converted, and reported at the line of the program."""

import inspect
import warnings

import pytest

from ignite._core.old_arguments import Old, OldOrder, dropped, renamed, takes_old, warn_program


def has_text_second(values):
    return len(values) > 1 and isinstance(values[1], str)


@takes_old(
    OldOrder("x unit length", has_text_second),
    arguments={
        "length": renamed("length", "size"),
        "color": dropped("color", "remove color"),
        "both": Old("pass size and unit", lambda given: given.update(size=given.pop("both"))),
    },
)
def measure(x, size=0, unit="m", *, exact=False):
    return x, size, unit, exact


class Thing:
    @takes_old(OldOrder("unit x", lambda values: bool(values) and isinstance(values[0], str)))
    def __init__(self, x=0, unit="m"):
        self.given = x, unit


class Special(Thing):
    def __init__(self, *args):
        super().__init__(*args)


def caught(call):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        result = call()
    assert all(one.category is DeprecationWarning for one in found)
    return result, [str(one.message).partition("Ignite: ")[2] for one in found]


@pytest.mark.parametrize(
    ("call", "result", "advice"),
    [
        (lambda: measure(1, 2, "cm", exact=True), (1, 2, "cm", True), []),
        (lambda: measure(x=1), (1, 0, "m", False), []),
        (lambda: measure(1, "cm", 2), (1, 2, "cm", False), ["pass arguments by name: x=, unit=, size="]),
        (lambda: measure(1, "cm"), (1, 0, "cm", False), ["pass arguments by name: x=, unit="]),
        (lambda: measure(1, length=2), (1, 2, "m", False), ["write size= instead of length="]),
        (lambda: measure(1, 2, color=3), (1, 2, "m", False), ["remove color"]),
        (lambda: measure(1, both=2), (1, 2, "m", False), ["pass size and unit"]),
        (
            lambda: measure(1, length=2, color=3),
            (1, 2, "m", False),
            ["write size= instead of length=; remove color"],
        ),
        (lambda: Thing("cm", 3).given, (3, "cm"), ["pass arguments by name: unit=, x="]),
        (lambda: Special("cm").given, (0, "cm"), ["pass arguments by name: unit="]),
        (lambda: Thing(3, "cm").given, (3, "cm"), []),
    ],
)  # fmt: skip
def test_old_calls_give_what_new_calls_give_with_one_warning(call, result, advice):
    assert caught(call) == (result, advice)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: measure(1, "cm", x=2), "takes each of .* once"),
        (lambda: measure(1, "cm", 2, 3), "takes each of .x, unit, length. once"),
        (lambda: measure(1, size=2, length=3), "length and size are the same argument"),
        (lambda: measure(1, colour=2), "unexpected keyword argument 'colour'"),
        (lambda: measure(), "missing 1 required positional argument: 'x'"),
    ],
)
def test_calls_that_are_neither_are_refused(call, words):
    with pytest.raises(TypeError, match=words):
        call()


def test_one_warning_for_each_line_of_the_program():
    def program():
        for _ in range(3):
            measure(1, length=2)
        measure(1, length=2)

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("default")
        program()
    first = program.__code__.co_firstlineno
    assert [(one.filename, one.lineno - first) for one in found] == [(__file__, 2), (__file__, 3)]


def test_a_warning_points_to_the_line_where_the_program_calls_the_library():
    with pytest.warns(DeprecationWarning, match="told directly") as found:
        assert warn_program("told directly")
    assert [one.filename for one in found] == [__file__]


def test_signatures_and_names_are_those_of_today():
    assert str(inspect.signature(measure)) == "(x, size=0, unit='m', *, exact=False)"
    assert measure.__name__ == "measure"
