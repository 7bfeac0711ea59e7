import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.metrics import AveragePrecision
from ignite.metrics.average_precision import average_precision_compute_fn
from support.classification_oracles import (
    check,
    check_constant_memory,
    check_refused,
)
from support.score_oracles import average_precision, check_scores_refused, rounded_down, score_cases


@given(case=score_cases(columns=(None, 2, 3)))
def test_it_is_that_of_scikit_learn(case):
    check(AveragePrecision, average_precision, case)
    value = average_precision_compute_fn(torch.tensor(case.predicted), torch.tensor(case.true))
    assert value == pytest.approx(average_precision(case.true, case.predicted))


@given(case=score_cases(columns=(None, 2, 3)), num_bins=st.integers(2, 70))
def test_in_bins_it_is_that_of_scores_rounded_down(case, num_bins):
    check(
        lambda: AveragePrecision(num_bins=num_bins),
        lambda true, scores: average_precision(true, rounded_down(scores, num_bins)),
        case,
    )


@given(st.permutations(range(8)), st.lists(st.booleans(), min_size=8, max_size=8))
def test_without_ties_it_is_the_mean_of_precisions_at_positives(order, targets):
    ranked = [targets[i] for i in np.argsort(order)[::-1]]
    precisions = [sum(ranked[: i + 1]) / (i + 1) for i in range(8) if ranked[i]]
    metric = AveragePrecision()
    metric.update((torch.tensor(order, dtype=torch.float32), torch.tensor(targets)))
    assert metric.compute() == pytest.approx(
        sum(precisions) / len(precisions) if precisions else 0.0
    )


def test_in_bins_memory_does_not_grow():
    def batch_of(n):
        return torch.linspace(0, 1, 2 * n).reshape(n, 2), torch.arange(2 * n).reshape(n, 2) % 2

    check_constant_memory(lambda: AveragePrecision(num_bins=30), batch_of, 2 * 2 * 30)


def test_what_does_not_fit_is_refused_and_changes_nothing():
    check_scores_refused(AveragePrecision)


@pytest.mark.parametrize("num_bins", [None, 10])
def test_another_number_of_labels_is_refused_and_changes_nothing(num_bins):
    first = (torch.tensor([[0.1, 0.9], [0.7, 0.2]]), torch.tensor([[0, 1], [1, 0]]))
    wrong = (torch.ones(2, 3), torch.ones(2, 3).long())
    check_refused(
        AveragePrecision(num_bins=num_bins), first, wrong, ValueError, r"given (-3|\(2, 3\))"
    )
