from hypothesis import given
from scipy.spatial.distance import cityblock

from ignite.metrics.regression import ManhattanDistance
from support.regression_oracles import cases, check, check_is_zero_without_examples


@given(cases())
def test_it_is_the_distance_of_scipy(case):
    check(ManhattanDistance, cityblock, case)


def test_without_examples():
    check_is_zero_without_examples(ManhattanDistance)
