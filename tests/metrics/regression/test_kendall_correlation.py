import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ignite.metrics.regression import KendallRankCorrelation
from support.regression_oracles import cases, check, check_needs_examples, kendall, numbers

variants = pytest.mark.parametrize("variant", ["b", "c"])
few = st.integers(0, 4).map(float)


@variants
@given(case=cases(few, few) | cases(numbers, few) | cases(numbers, numbers))
def test_it_is_the_coefficient_of_scipy(variant, case):
    check(partial(KendallRankCorrelation, variant), partial(kendall, variant=variant), case)


@variants
def test_many_examples(variant):
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(300, (5000,), generator=generator).double()
    y_pred = (y + 200 * torch.randn(5000, generator=generator)).round()
    metric = KendallRankCorrelation(variant)
    metric.update((y_pred, y))
    assert metric.compute() == pytest.approx(
        stats.kendalltau(y_pred, y, variant=variant).statistic, rel=1e-12
    )


def test_b_is_the_default():
    y_pred, y = torch.tensor([1.0, 1.0, 2.0]), torch.tensor([1.0, 2.0, 3.0])
    metric = KendallRankCorrelation()
    metric.update((y_pred, y))
    assert metric.compute() == pytest.approx(2 / math.sqrt(2 * 3))


def test_without_examples():
    check_needs_examples(KendallRankCorrelation)


def test_nan_gives_nan():
    for pair in ([1.0, math.nan, 3.0], [1.0, 2.0, 3.0]), ([1.0, 2.0, 3.0], [1.0, math.nan, 3.0]):
        metric = KendallRankCorrelation()
        metric.update(tuple(map(torch.tensor, pair)))
        assert math.isnan(metric.compute())


def test_other_variants_are_refused():
    with pytest.raises(ValueError, match="variant accepts 'b' or 'c', but given 'a'"):
        KendallRankCorrelation("a")


def test_equal_and_opposite_orders_give_exactly_one_and_minus_one():
    for n in range(2, 200):
        y = (
            torch.arange(n, dtype=torch.float64) // 3
            if n > 3
            else torch.arange(n, dtype=torch.float64)
        )
        for sign in (1, -1):
            metric = KendallRankCorrelation()
            metric.update((sign * y.exp2(), y))
            assert metric.compute() == sign


def test_arguments_are_handed_on():
    assert KendallRankCorrelation(skip_unrolling=True)._skip_unrolling
    assert KendallRankCorrelation(device="cpu")._accumulates_on == torch.device("cpu")
