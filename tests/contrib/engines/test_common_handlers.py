import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.contrib.engines.common import averages_of
from ignite.engine import Engine


def run(outputs, names, max_epochs=1):
    """The metrics of an engine that puts these out."""
    engine = Engine(lambda engine, output: output)
    for name, average in averages_of(names):
        average.attach(engine, name)
    return engine.run(outputs, max_epochs=max_epochs).metrics


OUTPUTS = {
    "number": (4.0, {"a": 4.0, "b": 4.0}),
    "tensor": (torch.tensor(4.0), {"a": 4.0, "b": 4.0}),
    "tuple": ((1.0, 2.0), {"a": 1.0, "b": 2.0}),
    "list": ([1.0, 2.0, 3.0], {"a": 1.0, "b": 2.0}),
    "dictionary": ({"b": 2.0, "a": 1.0, "c": 3.0}, {"a": 1.0, "b": 2.0}),
}


@pytest.mark.parametrize(("output", "expected"), OUTPUTS.values(), ids=OUTPUTS.keys())
def test_outputs_are_averaged_by_key_or_place(output, expected):
    # Recorded from pytorch-ignite 0.5.5.
    assert run([output, output], (name for name in "ab")) == expected


@given(values=st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8))
def test_averages_decay_slowly_and_continue_over_epochs(values):
    found = run([{"loss": value} for value in values], ["loss"], max_epochs=2)
    expected = values[0]
    for value in [*values[1:], *values]:
        expected = 0.98 * expected + 0.02 * value
    assert found == {"loss": pytest.approx(expected, abs=1e-9)}


def test_a_string_is_one_name():
    assert run([2.0], "loss") == {"loss": 2.0}


@pytest.mark.parametrize(
    ("output", "names", "error", "match"),
    [
        ({"a": 1.0}, ["b"], KeyError, r"keys of the output of the trainer, \['a'\], but given 'b'"),
        (
            (1.0,),
            ["a", "b"],
            IndexError,
            "as many names as the trainer has outputs, 1, but given 'b' as number 2",
        ),
        (None, ["a"], TypeError, "Unhandled type of update_function's output.* but given NoneType"),
        ("text", ["a"], TypeError, "Unhandled type of update_function's output.* but given str"),
    ],
    ids=["key", "place", "none", "string"],
)
def test_outputs_without_a_part_say_so(output, names, error, match):
    with pytest.raises(error, match=match):
        run([output], names)


def test_without_names_nothing_is_averaged():
    assert averages_of(None) == averages_of([]) == []
