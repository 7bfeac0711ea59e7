import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.metrics import MaximumMeanDiscrepancy
from support.distance_oracles import (
    check_rejections,
    discrepancy_by_loops,
    hard_pairs,
    near,
    value_of,
)
from support.oracles_distances import (
    FLOATS,
    INTEGERS,
    cases,
    check_mean_over_batches,
    check_needs_examples,
    check_refused,
    discrepancy,
)


@given(
    cases(shapes=((), (1,), (3,), (2, 2)), dtypes=FLOATS + INTEGERS, max_size=6, scales=(1.0, 3.0)),
    st.sampled_from([0.3, 1.0, 100.0]),
)
def test_it_is_the_root_of_the_mean_over_batches(case, var):
    # The root of a mean that rounding has moved by 1e-16 from 0 is 1e-8; of batches of float32 that
    # cancel, it is moved more.
    check_mean_over_batches(
        lambda: MaximumMeanDiscrepancy(var),
        lambda seen: discrepancy(seen, var),
        case,
        min_size=2,
        rel=1e-6,
    )


def test_samples_far_apart_have_nothing_in_common():
    metric = MaximumMeanDiscrepancy()
    metric.update((torch.zeros(5, 2), torch.full((5, 2), 100.0)))
    assert metric.compute() == pytest.approx(math.sqrt(2), rel=1e-12)


def test_far_from_the_origin_it_does_not_cancel():
    x, y = torch.randn(2, 10, 2, dtype=torch.float64)
    values = []
    for shift in (0.0, 2.0**20):
        metric = MaximumMeanDiscrepancy()
        metric.update((x + shift, y + 1 + shift))
        values.append(metric.compute())
    assert values[1] == pytest.approx(values[0], rel=1e-6)


def test_the_same_sample_twice_gives_zero():
    metric = MaximumMeanDiscrepancy()
    metric.update((torch.eye(4), torch.eye(4)))
    assert metric.compute() == 0.0


def test_batches_of_one_example_are_skipped():
    metric = MaximumMeanDiscrepancy()
    metric.update((torch.zeros(5, 2), torch.ones(5, 2)))
    value = metric.compute()
    metric.update((torch.zeros(1, 2), torch.ones(1, 2)))
    assert metric.compute() == value


def test_without_examples():
    check_needs_examples(MaximumMeanDiscrepancy, 3)


@pytest.mark.parametrize("var", [0.0, -1.0, math.nan])
def test_variances_are_positive(var):
    with pytest.raises(ValueError, match=f"Argument var should be positive, but given {var}"):
        MaximumMeanDiscrepancy(var)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            (torch.ones(3, 2), torch.ones(2, 2)),
            r"x and y must be in the same shape, got \(3, 2\) != \(2, 2\)",
        ),
    ],
)
def test_invalid_shapes_are_refused(wrong, words):
    check_refused(
        MaximumMeanDiscrepancy(), (torch.eye(3), torch.ones(3, 3)), wrong, ValueError, words
    )


@given(
    hard_pairs(shapes=((), (2,), (2, 2))).filter(lambda batch: len(batch[0]) > 1),
    st.sampled_from([1e-3, 1.0, 1e6]),
)
def test_it_is_that_of_loops_over_pairs(batch, var):
    # The root of what rounding has moved by 1e-15 from 0.
    assert value_of(MaximumMeanDiscrepancy(var), batch) == near(
        discrepancy_by_loops(*batch, var), 1e-7
    )


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
def test_the_unit_of_the_data_does_not_matter(scale):
    x, y = torch.randn(2, 9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = value_of(MaximumMeanDiscrepancy(), (x, y + 1))
    assert expected > 0.1
    assert value_of(MaximumMeanDiscrepancy(scale**2), (x * scale, (y + 1) * scale)) == near(
        expected
    )


@pytest.mark.parametrize(
    ("var", "expected"), [(1e-300, math.sqrt(2 / 12)), (1e300, 0.0), (math.inf, 0.0)]
)
def test_very_narrow_and_very_wide_kernels(var, expected):
    batch = (
        torch.tensor([0.0, 1.0, 2.0, 2.0]),
        torch.tensor([5.0, 6.0, 7.0, 8.0]),
    )  # one pair of six is equal
    assert value_of(MaximumMeanDiscrepancy(var), batch) == near(expected)


def test_nan_propagates():
    wrong = torch.tensor([[1.0], [math.nan]])
    assert math.isnan(
        value_of(
            MaximumMeanDiscrepancy(),
            (wrong, torch.ones(2, 1)),
            (torch.ones(2, 1), torch.ones(2, 1)),
        )
    )


def test_invalid_outputs_do_not_change_the_value():
    wrongs = [
        ((torch.ones(3, 2), torch.ones(3, 1)), ValueError, r"same shape, got \(3, 2\) != \(3, 1\)"),
        ((torch.ones(3), torch.ones(3, 1)), ValueError, r"same shape, got \(3,\) != \(3, 1\)"),
        ((torch.ones(0, 2), torch.ones(1, 2)), ValueError, r"same shape, got \(0, 2\) != \(1, 2\)"),
    ]
    check_rejections(
        MaximumMeanDiscrepancy,
        (torch.eye(3), torch.ones(3, 3)),
        (torch.ones(2, 3), torch.zeros(2, 3)),
        wrongs,
    )
