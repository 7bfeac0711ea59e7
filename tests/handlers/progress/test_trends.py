import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignite.handlers._progress_display import Best, Curve, Pace, lower_is_better, sparkline


def test_pace_of_a_steady_run():
    pace = Pace(100.0, 20)
    assert (pace.per_second, pace.left(20, 50)) == (None, None)
    for second in range(1, 6):
        pace.update(100.0 + second, 20 + 4 * second)
    assert (pace.per_second, pace.elapsed, pace.left(40, 50), pace.left(40, None)) == (
        4.0,
        5.0,
        2.5,
        None,
    )
    pace.update(105.0, 41)  # the clock stands still
    assert pace.per_second == 4.0


def test_newer_intervals_weigh_more():
    pace = Pace(0.0, 0)
    pace.update(10.0, 100)
    pace.update(20.0, 120)  # 2 a second for ten seconds: half of the weight
    assert pace.per_second == pytest.approx(6.0)


@given(values=st.lists(st.floats(allow_infinity=False), max_size=10), lower=st.booleans())
def test_best_is_the_first_of_the_best(values, lower):
    best = Best(lower)
    for epoch, value in enumerate(values):
        best.update(value, epoch)
    known = [value for value in values if not math.isnan(value)]
    expected = (min if lower else max)(known) if known else None
    assert best.value == expected
    assert best.epoch == (values.index(expected) if known else None)


@given(values=st.lists(st.floats(-100, 100), max_size=200), capacity=st.sampled_from([2, 4, 8]))
def test_a_curve_is_means_of_neighbours_in_bounded_memory(values, capacity):
    curve = Curve(capacity)
    for value in values:
        curve.add(value)
    points = curve.points()
    assert len(points) <= capacity
    if values:
        stride = curve._stride
        expected = [values[i : i + stride] for i in range(0, len(values), stride)]
        assert points == pytest.approx([sum(part) / len(part) for part in expected])


def test_what_is_not_finite_is_no_point():
    curve = Curve()
    for value in (1.0, math.nan, math.inf, 2.0):
        curve.add(value)
    assert curve.points() == [1.0, 2.0]


@given(values=st.lists(st.floats(-1e6, 1e6), max_size=50), width=st.integers(0, 20))
def test_a_sparkline_has_its_width_and_its_highest_bar(values, width):
    text = sparkline(values, width)
    assert len(text) == min(width, len(values))
    assert set(text) <= set("▁▂▃▄▅▆▇█")
    if len(set(values)) > 1 and len(text) == len(values):
        assert text[values.index(max(values))] == "█"


def test_a_flat_sparkline():
    assert (sparkline([3, 3], 2), sparkline([], 5)) == ("▁▁", "")


@pytest.mark.parametrize(
    ("name", "lower"),
    [
        ("loss", True),
        ("val_loss", True),
        ("train/nll", True),
        ("glossy", False),
        ("f1", False),
        ("mean error", True),
    ],
)
def test_guesses_by_name(name, lower):
    assert lower_is_better(name) is lower
