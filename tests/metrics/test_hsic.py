import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.metrics import HSIC
from support.distance_oracles import (
    check_rejections,
    hard_pairs,
    independence_by_loops,
    near,
    value_of,
)
from support.oracles_distances import (
    FLOATS,
    assert_near,
    cases,
    check_mean_over_batches,
    check_needs_examples,
    check_refused,
    independence,
    squared_distances,
)

widths = st.sampled_from([-1.0, 0.7, 2.0])


@given(
    cases(shapes=((), (2,), (2, 2)), dtypes=FLOATS, max_size=7, scales=(1.0, 3.0)), widths, widths
)
def test_it_is_the_mean_over_batches_of_the_unbiased_estimate(case, sigma_x, sigma_y):
    check_mean_over_batches(
        lambda: HSIC(sigma_x, sigma_y),
        lambda seen: independence(seen, sigma_x, sigma_y),
        case,
        min_size=4,
    )


def dependent(n, seed=0, noise=0.1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return x, x[:, :1] ** 2 + noise * torch.randn(n, 1, generator=generator, dtype=torch.float64)


def test_variables_may_have_different_shapes():
    x, y = dependent(6)
    metric = HSIC()
    metric.update((x, y))
    assert_near(metric.compute(), independence([(x.numpy(), y.numpy())]), 1e-8)


def test_dependent_variables_have_a_larger_value():
    x, y = dependent(300)
    values = []
    for other in (y, y.roll(7, dims=0)):
        metric = HSIC()
        metric.update((x, other))
        values.append(metric.compute())
    assert values[0] > 10 * values[1] >= 0.0


def test_of_many_examples():
    """Equation 5 of Song et al., with the traces and products of matrices as they stand there."""
    n = 200
    x, y = dependent(n)
    metric = HSIC(1.0, 0.5)
    metric.update((x, y))
    of_x, of_y = (
        np.exp(-squared_distances(v.numpy(), v.numpy()) / (2 * sigma**2)) * (1 - np.eye(n))
        for v, sigma in ((x, 1.0), (y, 0.5))
    )
    ones = np.ones(n)
    sums = (ones @ of_x @ ones) * (ones @ of_y @ ones) / ((n - 1) * (n - 2))
    expected = (np.trace(of_x @ of_y) + sums - 2 / (n - 2) * ones @ of_x @ of_y @ ones) / (
        n * (n - 3)
    )
    assert_near(metric.compute(), expected, 1e-8)


def test_far_from_the_origin_it_does_not_cancel():
    x, y = dependent(20)
    values = []
    for shift in (0.0, 2.0**20):
        metric = HSIC(1.0, 1.0)
        metric.update((x + shift, y + shift))
        values.append(metric.compute())
    assert values[1] == pytest.approx(values[0], rel=1e-6)


def test_constant_variables_are_independent():
    metric = HSIC()
    metric.update((torch.ones(5, 2), torch.arange(5.0)))
    assert metric.compute() == pytest.approx(0.0, abs=1e-9)


def test_small_batches_are_skipped():
    metric = HSIC()
    metric.update(dependent(8))
    value = metric.compute()
    metric.update(dependent(3))
    assert metric.compute() == value


def test_without_examples():
    check_needs_examples(HSIC, 3)
    check_needs_examples(lambda: HSIC(ignore_invalid_batch=False), 3)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            (torch.ones(5, 2), torch.ones(4, 2)),
            r"same number of examples, but given \(5, 2\) and \(4, 2\)",
        ),
        (
            (torch.ones(3, 2), torch.ones(3, 2)),
            "A batch must contain more than four samples, got only 3 samples",
        ),
    ],
)
def test_invalid_batches_are_refused(wrong, words):
    check_refused(HSIC(ignore_invalid_batch=False), dependent(6), wrong, ValueError, words)


shapes_of_variables = st.sampled_from([(), (1,), (3,), (2, 2)])


@st.composite
def variables(draw):
    """Of different shapes and dtypes, some values drawn twice, in one batch."""
    n, rng = draw(st.integers(4, 9)), np.random.default_rng(draw(st.integers(0, 2**16)))
    batch = []
    for _ in range(2):
        drawn = rng.normal(size=(n, *draw(shapes_of_variables))) * draw(
            st.sampled_from([1e-2, 1.0, 100.0])
        )
        if draw(st.booleans()):
            drawn[1:3] = drawn[0]
        batch.append(torch.from_numpy(drawn).to(draw(st.sampled_from(FLOATS))))
    return tuple(batch)


@given(variables(), widths, widths)
def test_it_is_that_of_loops_over_pairs(batch, sigma_x, sigma_y):
    value = value_of(HSIC(sigma_x, sigma_y), batch)
    assert value == near(independence_by_loops(*batch, sigma_x, sigma_y), 1e-9)
    assert value >= 0.0


@pytest.mark.parametrize("scale", [1e-3, 1e-6, 1e-12, 1e6, 1e12])
def test_the_unit_of_the_data_does_not_matter(scale):
    x, y = dependent(20)
    batch = (x * scale, y * scale)
    assert value_of(HSIC(), batch) == near(value_of(HSIC(), (x, y)), 1e-7)
    assert value_of(HSIC(scale, scale), batch) == near(value_of(HSIC(1.0, 1.0), (x, y)), 1e-7)


@pytest.mark.parametrize("sigmas", [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_a_kernel_of_width_zero_separates_equal_from_different(sigmas):
    x = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 2.0])
    batch = (x, x + torch.tensor([0.0, 0.0, 0.1, 0.0, 0.0, 0.0, 0.5]))
    expected = independence_by_loops(*batch, *sigmas)
    assert expected > 0.01
    assert value_of(HSIC(*sigmas), batch) == near(expected)


def test_most_examples_may_be_equal():
    """The median of their distances is zero."""
    x = torch.tensor([3.0, 3.0, 3.0, 3.0, 3.0, 7.0, 7.0])
    expected = independence_by_loops(x, -x, -1, -1)
    assert expected > 0.01
    assert value_of(HSIC(), (x, -x)) == near(expected)


@given(hard_pairs(shapes=((), (2,))).filter(lambda batch: len(batch[0]) == 4))
def test_distant_numbers_give_a_finite_value(batch):
    assert value_of(HSIC(), batch) == near(independence_by_loops(*batch, -1, -1), 1e-7)


def test_nan_propagates():
    wrong = torch.tensor([[1.0], [math.nan], [0.0], [2.0]])
    assert math.isnan(value_of(HSIC(1.0, 1.0), (wrong, wrong), dependent(6)))


def test_invalid_outputs_do_not_change_the_value():
    wrongs = [
        ((torch.ones(5, 2), torch.ones(6, 2)), ValueError, r"given \(5, 2\) and \(6, 2\)"),
        ((torch.ones(5, 2), torch.ones(())), ValueError, r"given \(5, 2\) and \(1,\)"),
        ((torch.ones(0, 2), torch.ones(1, 2)), ValueError, r"given \(0, 2\) and \(1, 2\)"),
        *(
            ((torch.ones(n, 2), torch.ones(n)), ValueError, f"got only {n} samples")
            for n in (1, 2, 3)
        ),
    ]
    check_rejections(
        lambda: HSIC(ignore_invalid_batch=False), dependent(6), dependent(4, seed=1), wrongs
    )
