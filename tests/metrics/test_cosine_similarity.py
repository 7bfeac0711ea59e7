import math

import pytest
import torch
from distance_oracles import check_rejections, exact_rows, hard_pairs, near, value_of
from hypothesis import given
from hypothesis import strategies as st
from oracles_distances import FLOATS, INTEGERS, cases, check, check_needs_examples, check_refused, cosine_similarity

from ignite.metrics import CosineSimilarity


@given(cases(shapes=((), (1,), (4,), (2, 3)), dtypes=FLOATS + INTEGERS), st.sampled_from([1e-8, 0.5]))
def test_it_is_the_mean_cosine(case, eps):
    check(lambda: CosineSimilarity(eps=eps), lambda *both: cosine_similarity(*both, eps), case)


@pytest.mark.parametrize("scale", [1e-7, 1.0, 1e30])
def test_length_does_not_matter(scale):
    metric = CosineSimilarity()
    metric.update((torch.tensor([[1.0, 1.0], [1.0, 0.0]]) * scale, torch.tensor([[3.0, 3.0], [-2.0, 0.0]]) * scale))
    assert metric.compute() == pytest.approx(0.0, abs=1e-12)
    metric.update((torch.tensor([[3.0, 4.0]]) * scale, torch.tensor([[4.0, 3.0]]) * scale))
    assert metric.compute() == pytest.approx(0.32, rel=1e-6)


def test_zeros_give_zero():
    metric = CosineSimilarity()
    metric.update((torch.zeros(1, 2), torch.ones(1, 2)))
    assert metric.compute() == 0.0


def test_unsigned_integers_do_not_wrap():
    metric = CosineSimilarity()
    metric.update((torch.tensor([[200, 0]], dtype=torch.uint8), torch.tensor([[3, 4]], dtype=torch.uint8)))
    assert metric.compute() == pytest.approx(0.6, rel=1e-12)


def test_without_examples():
    check_needs_examples(CosineSimilarity, 3)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ((torch.ones(2, 3), torch.ones(2)), r"same shape \(batch_size, ...\), got \(2, 3\) != \(2,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(wrong, words):
    check_refused(CosineSimilarity(), (torch.eye(3), torch.ones(3, 3)), wrong, ValueError, words)


def exact_cosine(batch, eps):
    values = []
    for row in exact_rows(batch):
        lengths = [max(math.sqrt(sum(pair[k] ** 2 for pair in row)), eps) for k in (0, 1)]
        values.append(float(sum(a * b for a, b in row)) / lengths[0] / lengths[1])
    return math.fsum(values) / len(values)


@given(hard_pairs(shapes=((), (3,), (2, 2))), st.sampled_from([1e-8, 0.5, 1e6]))
def test_numbers_far_from_the_origin_or_from_each_other_lose_nothing(batch, eps):
    assert value_of(CosineSimilarity(eps), batch) == near(exact_cosine(batch, eps), 1e-12)


def test_rounding_does_not_exceed_one():
    """An angle is the inverse cosine of it."""
    vectors = torch.randn(200, 1, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = [value_of(CosineSimilarity(), (x, sign * x)) for x in vectors for sign in (1, -1)]
    assert values == near([1.0, -1.0] * 200, 1e-12)
    assert max(map(abs, values)) <= 1.0


@pytest.mark.parametrize("eps", [-1.0, math.nan])
def test_the_least_length_is_not_negative(eps):
    with pytest.raises(ValueError, match=f"eps should .*given {eps}"):
        CosineSimilarity(eps=eps)


def test_the_least_length_may_be_zero():
    assert value_of(CosineSimilarity(eps=0.0), (torch.full((1, 2), 1e-30), torch.ones(1, 2))) == near(1.0)


@pytest.mark.parametrize("wrong", [math.inf, math.nan])
def test_what_is_not_finite_stays_in_the_value(wrong):
    first, second = (torch.tensor([[1.0, wrong]]), torch.ones(1, 2)), (torch.ones(3, 2), torch.ones(3, 2))
    assert math.isnan(value_of(CosineSimilarity(), first, second))


def test_any_rejection_leaves_the_value_alone():
    wrongs = [
        ((torch.ones(2, 1), torch.ones(2)), ValueError, r"got \(2, 1\) != \(2,\)"),
        ((torch.ones(2, 3), torch.ones(3, 2)), ValueError, r"got \(2, 3\) != \(3, 2\)"),
        ((torch.ones(0, 3), torch.ones(0, 2)), ValueError, r"got \(0, 3\) != \(0, 2\)"),
    ]
    first, second = (torch.eye(3), torch.ones(3, 3)), (torch.ones(1, 3), -torch.ones(1, 3))
    check_rejections(CosineSimilarity, first, second, wrongs)
