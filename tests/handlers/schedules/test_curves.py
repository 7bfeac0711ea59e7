import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignite.handlers._schedules.interpolation import (
    half_cosine,
    linear,
    piecewise_linear,
    triangle,
)


def test_the_ends_and_the_middle():
    assert [linear(2.0, 4.0, x) for x in (0, 0.25, 1)] == [2.0, 2.5, 4.0]
    assert [triangle(2.0, 4.0, x) for x in (0, 0.25, 0.5, 0.75, 1)] == [2.0, 3.0, 4.0, 3.0, 2.0]
    assert [half_cosine(2.0, 4.0, x) for x in (0, 1 / 3, 0.5, 1)] == pytest.approx(
        [2.0, 2.5, 3.0, 4.0]
    )


@given(
    points=st.lists(
        st.tuples(st.integers(-5, 40), st.floats(-10, 10)),
        min_size=1,
        max_size=8,
        unique_by=lambda p: p[0],
    )
)
def test_lines_between_milestones_are_numpys(points):
    milestones, values = zip(*sorted(points), strict=True)
    found = [piecewise_linear(milestones, values, index) for index in range(45)]
    assert found == pytest.approx(np.interp(range(45), milestones, values).tolist(), abs=1e-9)


def test_a_milestone_that_is_there_twice_is_a_jump():
    points = [piecewise_linear([2, 2, 4], [1.0, 3.0, 1.0], index) for index in range(6)]
    assert points == [1.0, 1.0, 3.0, 2.0, 1.0, 1.0]


def test_the_cosine_is_steepest_in_the_middle():
    steps = np.diff([half_cosine(0.0, 1.0, i / 10) for i in range(11)])
    assert steps.argmax() in (4, 5)
    assert math.isclose(steps.sum(), 1.0)
