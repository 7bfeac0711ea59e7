import math

import numpy as np
import pytest
import torch

from ignite.handlers._schedules.scheduler import (
    check_count,
    check_milestones_and_values,
    check_number,
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (1, 1),
        (0.5, 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3.0),
        (torch.tensor([0.5]), 0.5),
        (10**30, 10**30),
    ],
    ids=str,
)
def test_numbers_become_plain_ones(given, expected):
    found = check_number("x", given)
    assert found == expected
    assert type(found) in (int, float)


@pytest.mark.parametrize("given", ["1", None, True, [1], torch.zeros(2), 1j], ids=str)
def test_what_is_no_number(given):
    with pytest.raises(TypeError, match="x should be a number, but given"):
        check_number("x", given)


@pytest.mark.parametrize("given", [math.nan, math.inf, -math.inf, torch.tensor(math.nan)], ids=str)
def test_what_is_no_finite_number(given):
    with pytest.raises(ValueError, match="x should be a finite number, but given"):
        check_number("x", given)


def test_counts():
    assert check_count("x", np.int64(3)) == 3
    assert type(check_count("x", np.int64(3))) is int
    assert check_count("x", 1, least=1) == 1
    with pytest.raises(ValueError, match="x should be at least 1, but given 0"):
        check_count("x", 0, least=1)
    for given in (1.0, True, None):
        with pytest.raises(TypeError, match=f"x should be an integer, but given {given}"):
            check_count("x", given)


def test_milestones_and_values():
    found = check_milestones_and_values([(np.int64(0), 1), [3, np.float64(0.5)], (3, 2.0)])
    assert found == ([0, 3, 3], [1, 0.5, 2.0])
    assert {type(milestone) for milestone in found[0]} == {int}
    assert {type(value) for value in found[1]} == {int, float}


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            None,
            TypeError,
            "milestones_values should be a list or tuple, but given <class 'NoneType'>",
        ),
        ([], ValueError, r"should be with at least one value, but given \[\]"),
        ([1], ValueError, "should be a list of pairs .* but given one with 1"),
        ([(1, 2, 3)], ValueError, r"should be a list of pairs .* but given one with \(1, 2, 3\)"),
        ([(1.0, 2)], TypeError, "Value of a milestone should be integer, but given 1.0"),
        ([(True, 2)], TypeError, "Value of a milestone should be integer, but given True"),
        (
            [(4, 1), (2, 3)],
            ValueError,
            "increasing integers, but given 2 is smaller than the previous milestone 4",
        ),
        ([(4, math.nan)], ValueError, "should be a finite number, but given nan"),
        ([(4, "1")], TypeError, "should be a number, but given '1'"),
    ],
)
def test_milestones_that_make_no_sense(given, error, message):
    with pytest.raises(error, match=message):
        check_milestones_and_values(given)
