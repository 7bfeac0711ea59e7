import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import top_k_accuracy_score

from ignite.metrics import TopKCategoricalAccuracy
from support.classification_oracles import (
    batch_sizes,
    check_refused,
    elsewhere,
    label_cases,
    seeds,
    zeros,
)
from support.classification_oracles import check as check_case

FIRST = (torch.tensor([[0.1, 0.6, 0.3], [0.7, 0.2, 0.1]]), torch.tensor([2, 2]))


def is_hit(scores, target, k):
    """Whether fewer than k others have at least its score; NaN never has, and is never beaten."""
    at_least = sum(not other < scores[target] for i, other in enumerate(scores) if i != target)
    return at_least < k


@given(case=label_cases(["multiclass"], extras=[()]), data=st.data())
def test_ties_count_against_the_example(case, data):
    k = data.draw(st.integers(1, case.num_classes))
    scores = torch.cat([y_pred for y_pred, _ in case.batches]).tolist()

    def expected(true, _):
        return float(
            np.mean([is_hit(row, target, k) for row, target in zip(scores, true, strict=False)])
        )

    check_case(lambda: TopKCategoricalAccuracy(k), expected, case)


@given(seeds, batch_sizes, st.integers(2, 6), st.data())
def test_without_ties_it_is_that_of_scikit_learn(seed, sizes, num_classes, data):
    rng, k = np.random.default_rng(seed), data.draw(st.integers(1, num_classes - 1))
    scores = rng.permuted(np.tile(np.arange(num_classes) / 8.0, (sum(sizes), 1)), axis=1)
    targets = rng.integers(num_classes, size=sum(sizes))
    metric = TopKCategoricalAccuracy(k)
    for y_pred, y in zip(
        torch.from_numpy(scores).split(sizes), torch.from_numpy(targets).split(sizes), strict=True
    ):
        metric.update((y_pred, y if len(y) % 2 else y.unsqueeze(1)))
    of_two = (
        {"y_score": scores[:, 1] - scores[:, 0] + 0.5} if num_classes == 2 else {"y_score": scores}
    )
    expected = top_k_accuracy_score(targets, **of_two, k=k, labels=np.arange(num_classes))
    assert metric.compute() == pytest.approx(expected)


@pytest.mark.parametrize(("k", "expected"), [(1, 0.0), (2, 1 / 3), (3, 1.0)])
def test_nan_is_a_miss_unless_all_count(k, expected):
    metric = TopKCategoricalAccuracy(k)
    scores = torch.tensor([[math.nan, 1.0, 2.0], [math.nan, 1.0, 2.0], [math.nan] * 3])
    metric.update((scores, torch.tensor([2, 0, 1])))
    assert metric.compute() == pytest.approx(expected)


def test_all_scores_equal_are_a_miss_unless_all_count():
    for k in (1, 2, 3):
        metric = TopKCategoricalAccuracy(k)
        metric.update((torch.ones(4, 3), torch.tensor([0, 1, 2, 0])))
        assert metric.compute() == (1.0 if k == 3 else 0.0)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ((torch.eye(3), torch.tensor([0, 3, 99])), "from 0 to 2, but 2 of those given are not"),
        ((torch.eye(3), torch.tensor([0, 1, -1])), "from 0 to 2, but 1 of those given are not"),
        ((torch.eye(3), zeros(2)), r"but given \(3, 3\) and \(2,\)"),
        ((torch.ones(3), zeros(3)), r"but given \(3,\) and \(3,\)"),
        ((torch.ones(3, 3, 2), zeros(3, 2)), r"but given \(3, 3, 2\) and \(3, 2\)"),
        (
            (torch.ones(2, 1), zeros(2)),
            "at most the number of classes, but given k=2 for 1 classes",
        ),
    ],
)
def test_invalid_outputs_are_refused_and_change_nothing(wrong, words):
    check_refused(TopKCategoricalAccuracy(2), FIRST, wrong, ValueError, words)


def test_compute_refuses_invalid_targets_on_an_accelerator():
    metric = TopKCategoricalAccuracy(1)
    metric.update(elsewhere(torch.eye(3), torch.tensor([0, 3, -1])))
    with pytest.raises(ValueError, match="from 0 to 2, but 2 of those given are not"):
        metric.compute()


@pytest.mark.parametrize("k", [0, -1, 2.0, "2", None])
def test_k_is_a_positive_integer(k):
    with pytest.raises(ValueError, match=f"k should be a positive integer, but given {k!r}"):
        TopKCategoricalAccuracy(k)
