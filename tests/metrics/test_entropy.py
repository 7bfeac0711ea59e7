import math

import pytest
import torch
from hypothesis import given
from oracles_distances import FLOATS, cases, check, check_needs_examples, check_refused, entropy

from ignite.metrics import Entropy

LOGITS = ((1,), (4,), (3, 2), (2, 2, 3))


@given(cases(shapes=LOGITS, dtypes=(*FLOATS, torch.int64)))
def test_it_is_the_mean_entropy(case):
    check(Entropy, entropy, case)


def value_of(*logits):
    metric = Entropy()
    for each in logits:
        metric.update((each, torch.zeros(len(each))))
    return metric.compute()


def test_targets_do_not_count():
    metric = Entropy()
    metric.update((torch.zeros(2, 4), None))
    assert metric.compute() == pytest.approx(math.log(4), rel=1e-12)


def test_classes_that_are_ruled_out_count_nothing():
    assert value_of(torch.tensor([[0.0, 0.0, -math.inf]])) == pytest.approx(math.log(2), rel=1e-12)
    assert value_of(torch.tensor([[1e5, 0.0, -1e5]])) == 0.0


def test_shifted_logits_are_the_same():
    assert value_of(torch.full((1, 4), 1e6)) == pytest.approx(math.log(4), rel=1e-12)


def test_the_number_of_classes_may_change():
    value = value_of(torch.zeros(1, 2), torch.zeros(3, 8))
    assert value == pytest.approx((math.log(2) + 3 * math.log(8)) / 4, rel=1e-12)


def test_without_examples():
    check_needs_examples(Entropy, 3)
    check_needs_examples(Entropy, 3, 2)


def test_logits_without_classes_are_refused():
    words = r"y_pred must be in the shape of \(B, C\) or \(B, C, ...\), got \(3,\)"
    check_refused(Entropy(), (torch.eye(3), torch.zeros(3)), (torch.ones(3), torch.ones(3)), ValueError, words)
