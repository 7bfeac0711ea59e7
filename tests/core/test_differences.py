import collections

import numpy as np
import pytest
import torch

from ignite._core.differences import first_difference

NAN = float("nan")


@pytest.mark.parametrize(
    "value",
    [
        1, 1.5, NAN, "text", None, b"x", [1, [2, 3]], (1, 2), {"a": {"b": 1}}, {1, 2}, torch.tensor([1.0, NAN]),
        torch.tensor(3), torch.tensor([True, False]), torch.zeros(0), torch.tensor([1 + 2j, complex(NAN, 0)]),
        torch.ones(2, 3, dtype=torch.bfloat16), torch.eye(3).to_sparse(), np.array([1, 2]), torch.float32,
        collections.OrderedDict(a=1),
    ],
)  # fmt: skip
def test_equal_values_have_no_difference(value):
    assert first_difference(value, value, "x") is None


@pytest.mark.parametrize(
    ("found", "expected", "words"),
    [
        (1, 2, "x is 1 and should be 2"),
        (1, 1.0, "x is a int and should be a float"),
        (True, 1, "x is a bool and should be a int"),
        (0.0, -0.0, "x is 0.0 and should be -0.0"),
        (NAN, 1.0, "x is nan and should be 1.0"),
        ([1, 2], [1, 3], "x[1] is 2 and should be 3"),
        ([1, 2], [1], "x has 2 items and should have 1"),
        ({"a": 1}, {"a": 1, "b": 2}, "x['b'] is missing"),
        ({"a": 1, "b": 2}, {"a": 1}, "x['b'] should not be there"),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, "x['a'][0]['b'] is 1 and should be 2"),
        (torch.zeros(2), torch.zeros(3), "x has shape torch.Size([2]) and should have torch.Size([3])"),
        (torch.zeros(2), torch.zeros(2).double(), "x has dtype torch.float32 and should have torch.float64"),
        (torch.tensor([0.0]), torch.tensor([-0.0]), "x[0] is 0.0 and should be -0.0 (1 of 1 numbers differ)"),
        (torch.tensor([[1, 2], [5, 6]]), torch.tensor([[1, 2], [3, 4]]), "x[1, 0] is 5 and should be 3 (2 of 4 num"),
        (torch.tensor(1.0), torch.tensor(NAN), "x is 1.0 and should be nan (1 of 1"),
        (np.array([1, 2]), np.array([1, 3]), "x[1] is 2 and should be 3"),
        ("a" * 100, "b", "x is 'aaaa"),
    ],
)  # fmt: skip
def test_the_first_difference_is_named(found, expected, words):
    assert first_difference(found, expected, "x").startswith(words)


def test_mappings_may_differ_in_order():
    assert first_difference({"a": 1, "b": 2}, collections.OrderedDict(b=2, a=1)) is None
