from hypothesis import given
from scipy.spatial.distance import canberra

from ignite.metrics.regression import CanberraMetric
from support.regression_oracles import cases, check, check_is_zero_without_examples


@given(cases())
def test_it_is_the_distance_of_scipy(case):
    check(CanberraMetric, canberra, case)


def test_without_examples():
    check_is_zero_without_examples(CanberraMetric)
