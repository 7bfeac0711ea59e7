import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.metrics import CosineSimilarity
from support.distance_oracles import (
    check_rejections,
    exact_rows,
    hard_pairs,
    near,
    rounding,
    value_of,
)
from support.oracles_distances import (
    FLOATS,
    INTEGERS,
    cases,
    check,
    check_needs_examples,
    check_refused,
    cosine_similarity,
)


@given(cases(shapes=((1,), (4,), (2, 3)), dtypes=FLOATS + INTEGERS), st.sampled_from([2e-8, 0.5]))
def test_it_is_the_mean_cosine(case, eps):
    check(lambda: CosineSimilarity(eps=eps), lambda *both: cosine_similarity(*both, eps), case)


@pytest.mark.parametrize("scale", [1e-45, 1e-30, 1e-7, 1.0, 1e18, 1e30, 1e37])
def test_the_norm_does_not_matter(scale):
    scale = torch.tensor(scale, dtype=torch.float32)  # or a few times the smallest number
    metric = CosineSimilarity()
    metric.update(
        (
            torch.tensor([[1.0, 1.0], [1.0, 0.0]]) * scale,
            torch.tensor([[3.0, 3.0], [-2.0, 0.0]]) * scale,
        )
    )
    assert metric.compute() == pytest.approx(0.0, abs=1e-6)
    metric.update((torch.tensor([[3.0, 4.0]]) * scale, torch.tensor([[4.0, 3.0]]) * scale))
    assert metric.compute() == pytest.approx(0.32, rel=1e-6)


def test_zeros_give_zero():
    metric = CosineSimilarity()
    metric.update((torch.zeros(1, 2), torch.ones(1, 2)))
    assert metric.compute() == 0.0


def test_unsigned_integers_do_not_wrap():
    metric = CosineSimilarity()
    metric.update(
        (torch.tensor([[200, 0]], dtype=torch.uint8), torch.tensor([[3, 4]], dtype=torch.uint8))
    )
    assert metric.compute() == pytest.approx(0.6, rel=1e-12)


def test_without_examples():
    check_needs_examples(CosineSimilarity, 3)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ((torch.ones(2, 3), torch.ones(2)), r"same shape, got \(2, 3\) != \(2,\)"),
    ],
)
def test_invalid_shapes_are_refused(wrong, words):
    check_refused(CosineSimilarity(), (torch.eye(3), torch.ones(3, 3)), wrong, ValueError, words)


def exact_cosine(batch, eps):
    values = []
    for row in exact_rows(batch):
        lengths = [max(math.sqrt(sum(pair[k] ** 2 for pair in row)), eps) for k in (0, 1)]
        values.append(float(sum(a * b for a, b in row)) / lengths[0] / lengths[1])
    return math.fsum(values) / len(values)


@given(hard_pairs(shapes=((1,), (3,), (2, 2))), st.sampled_from([2e-8, 0.5, 1e6]))
def test_numbers_far_from_the_origin_or_from_each_other_lose_nothing(batch, eps):
    assert value_of(CosineSimilarity(eps), batch) == near(exact_cosine(batch, eps), rounding(batch))


def test_rounding_does_not_exceed_one():
    """An angle is the inverse cosine of it."""
    vectors = torch.randn(
        200, 1, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    values = [value_of(CosineSimilarity(), (x, sign * x)) for x in vectors for sign in (1, -1)]
    assert values == near([1.0, -1.0] * 200, 1e-12)
    assert max(map(abs, values)) <= 1.0


@pytest.mark.parametrize("eps", [-1.0, math.nan])
def test_eps_is_not_negative(eps):
    with pytest.raises(ValueError, match=f"eps should .*given {eps}"):
        CosineSimilarity(eps=eps)


def test_eps_may_be_zero():
    assert value_of(
        CosineSimilarity(eps=0.0), (torch.full((1, 2), 1e-30), torch.ones(1, 2))
    ) == near(1.0)


@pytest.mark.parametrize("wrong", [math.inf, math.nan])
def test_values_that_are_not_finite_propagate(wrong):
    first, second = (
        (torch.tensor([[1.0, wrong]]), torch.ones(1, 2)),
        (torch.ones(3, 2), torch.ones(3, 2)),
    )
    assert math.isnan(value_of(CosineSimilarity(), first, second))


def test_invalid_outputs_do_not_change_the_value():
    wrongs = [
        ((torch.ones(2, 1), torch.ones(2)), ValueError, r"got \(2, 1\) != \(2,\)"),
        ((torch.ones(2, 3), torch.ones(3, 2)), ValueError, r"got \(2, 3\) != \(3, 2\)"),
        ((torch.ones(0, 3), torch.ones(0, 2)), ValueError, r"got \(0, 3\) != \(0, 2\)"),
    ]
    first, second = (torch.eye(3), torch.ones(3, 3)), (torch.ones(1, 3), -torch.ones(1, 3))
    check_rejections(CosineSimilarity, first, second, wrongs)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-30, 1e160, 1e300])
@pytest.mark.parametrize("num", [3, 3000])
def test_no_norm_is_too_small_or_too_large(scale, num):
    x, y = torch.randn(2, num, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = (
        (x.numpy() * y.numpy()).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    )
    assert value_of(CosineSimilarity(), (x * scale, y / scale)) == near(expected.mean(), 1e-12)


@pytest.mark.parametrize("short", [0, 1])
def test_a_short_vector_among_long_ones_keeps_its_direction(short):
    x, y = torch.ones(5, 2), torch.ones(5, 2)
    (x, y)[short][2] = torch.tensor([1e-30, 0.0])
    assert value_of(CosineSimilarity(), (x, y)) == near((4 + math.sqrt(0.5)) / 5, 1e-6)


def test_two_vectors_are_not_a_batch():
    with pytest.raises(
        ValueError, match=r"one vector in each row, but given \(3,\) and \(3,\); use x.unsqueeze"
    ):
        CosineSimilarity().update((torch.tensor([1.0, 2.0, 3.0]), torch.tensor([3.0, -2.0, 0.5])))
