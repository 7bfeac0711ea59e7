import math

import torch
from hypothesis import given

from ignite.metrics.regression import SpearmanRankCorrelation
from support.regression_oracles import (
    cases,
    check,
    check_needs_examples,
    eighths,
    numbers,
    spearman,
)


@given(cases(eighths, numbers))
def test_it_is_the_coefficient_of_scipy(case):
    check(SpearmanRankCorrelation, spearman, case)


def test_without_examples():
    check_needs_examples(SpearmanRankCorrelation)


def test_nan_gives_nan():
    for pair in ([1.0, math.nan, 3.0], [1.0, 2.0, 3.0]), ([1.0, 2.0, 3.0], [1.0, math.nan, 3.0]):
        metric = SpearmanRankCorrelation()
        metric.update(tuple(map(torch.tensor, pair)))
        assert math.isnan(metric.compute())


def test_the_function_is_not_tried_on_the_first_batch():
    metric = SpearmanRankCorrelation(
        lambda output: output, check_compute_fn=True, device="cpu", skip_unrolling=True
    )
    metric.compute_fn = lambda y_pred, y: 1 / 0
    metric.update((torch.ones(1), torch.ones(1)))  # would warn


def test_equal_and_opposite_orders_give_exactly_one_and_minus_one():
    for n in range(2, 200):
        y = (
            torch.arange(n, dtype=torch.float64) // 3
            if n > 3
            else torch.arange(n, dtype=torch.float64)
        )
        for sign in (1, -1):
            metric = SpearmanRankCorrelation()
            metric.update((sign * y.exp2(), y))
            assert metric.compute() == sign


def test_arguments_are_handed_on():
    assert SpearmanRankCorrelation(skip_unrolling=True)._skip_unrolling
    assert SpearmanRankCorrelation(device="cpu")._accumulates_on == torch.device("cpu")
