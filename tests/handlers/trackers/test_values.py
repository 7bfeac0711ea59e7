import warnings
from collections import namedtuple

import numpy as np
import pytest
import torch

from ignite.handlers._trackers.scalars import expand, named_leaves, on_host

Point = namedtuple("Point", "x y")


def test_everything_is_taken_apart_as_ignite_does():
    # As pytorch-ignite 0.5.5 has it, recorded for the same values.
    values = {
        "a": 1,
        "b": torch.tensor(2.5),
        "v": torch.tensor([1.0, 2.0]),
        "d": {"e": [1, "t", {"z": 3}]},
        "n": Point(1, 2),
        "flag": True,
        "c": 1 + 2j,
        "e": [],
        "np": np.float64(3.0),
    }
    expected = {
        ("tag", "a"): 1,
        ("tag", "b"): 2.5,
        ("tag", "v", "0"): 1.0,
        ("tag", "v", "1"): 2.0,
        ("tag", "d", "e", "0"): 1,
        ("tag", "d", "e", "1"): "t",
        ("tag", "d", "e", "2", "z"): 3,
        ("tag", "n", "0"): 1,
        ("tag", "n", "1"): 2,
        ("tag", "flag"): True,
        ("tag", "c"): 1 + 2j,
        ("tag", "np"): 3.0,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert on_host(named_leaves(values, ("tag",), with_text=True)) == expected


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (torch.ones(2, 2), r"Tensor of shape \(2, 2\)"),
        ("text", "str"),
        (None, "NoneType"),
        (np.array([1, 2]), r"ndarray of shape \(2,\)"),
    ],
    ids=["matrix", "text", "none", "array"],
)
def test_what_is_no_number_is_passed_over_with_a_warning(value, kind):
    with pytest.warns(
        UserWarning, match=f"tag/m/x should be a number, .* but given {kind}: it is not logged"
    ):
        assert list(named_leaves({"m": {"x": value}, "n": 1}, ("tag",), with_text=False)) == [
            (("tag", "n"), 1)
        ]


def test_lists_are_expanded():
    assert dict(expand(("a",), [1, 2])) == {("a", "0"): 1, ("a", "1"): 2}
    assert dict(expand(("a",), "text")) == {("a",): "text"}
