import pytest
import torch
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
        ((torch.tensor(1.0), torch.tensor(1.0)), r"got \(\) != \(\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(wrong, words):
    check_refused(CosineSimilarity(), (torch.eye(3), torch.ones(3, 3)), wrong, ValueError, words)
