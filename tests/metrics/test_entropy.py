import math
import re

import pytest
import torch
from hypothesis import given

from ignite.metrics import Entropy
from support.distance_oracles import (
    check_rejections,
    entropy_of,
    hard_logits,
    mean_of,
    near,
    rounding,
    value_of,
)
from support.oracles_distances import (
    FLOATS,
    cases,
    check,
    check_needs_examples,
    check_refused,
    entropy,
)

LOGITS = ((1,), (4,), (3, 2), (2, 2, 3))


@given(cases(shapes=LOGITS, dtypes=(*FLOATS, torch.int64)))
def test_it_is_the_mean_entropy(case):
    check(Entropy, entropy, case)


def entropy_after(*logits):
    metric = Entropy()
    for each in logits:
        metric.update((each, torch.zeros(len(each))))
    return metric.compute()


def test_targets_do_not_count():
    metric = Entropy()
    metric.update((torch.zeros(2, 4), None))
    assert metric.compute() == pytest.approx(math.log(4), rel=1e-6)


def test_classes_that_are_ruled_out_count_nothing():
    assert entropy_after(torch.tensor([[0.0, 0.0, -math.inf]])) == pytest.approx(
        math.log(2), rel=1e-6
    )
    assert entropy_after(torch.tensor([[1e5, 0.0, -1e5]])) == 0.0


def test_shifted_logits_are_the_same():
    assert entropy_after(torch.full((1, 4), 1e6)) == pytest.approx(math.log(4), rel=1e-6)


def test_the_number_of_classes_may_change():
    value = entropy_after(torch.zeros(1, 2), torch.zeros(3, 8))
    assert value == pytest.approx((math.log(2) + 3 * math.log(8)) / 4, rel=1e-6)


def test_without_examples():
    check_needs_examples(Entropy, 3)
    check_needs_examples(Entropy, 3, 2)


def test_logits_without_classes_are_refused():
    words = r"y_pred must be in the shape of \(B, C\) or \(B, C, ...\), got \(3,\)"
    check_refused(
        Entropy(), (torch.eye(3), torch.zeros(3)), (torch.ones(3), torch.ones(3)), ValueError, words
    )


@given(hard_logits())
def test_extreme_logits_lose_nothing(logits):
    value = value_of(Entropy(), (*logits, None))
    assert value == near(mean_of(entropy_of, *logits), rounding(logits))
    assert 0.0 <= value <= math.log(logits[0].shape[1]) + 1e-6


@pytest.mark.parametrize("row", [[math.nan, 0.0], [math.inf, 0.0], [-math.inf, -math.inf]])
def test_logits_of_no_distribution_stay_in_the_value(row):
    batches = [(torch.tensor([each]), None) for each in (row, [0.0, 1.0])]
    assert math.isnan(value_of(Entropy(), *batches))


def test_any_rejection_leaves_the_value_alone():
    wrongs = [
        ((torch.ones(()), None), ValueError, r"\(B, C\) or \(B, C, ...\), got \(\)"),
        ((torch.ones(0), None), ValueError, r"\(B, C\) or \(B, C, ...\), got \(0,\)"),
    ]
    check_rejections(Entropy, (torch.eye(3), None), (torch.ones(1, 3), None), wrongs)


@pytest.mark.parametrize("shape", [(2, 0), (2, 0, 3)])
def test_logits_of_no_classes_are_refused(shape):
    words = r"y_pred must be in the shape of \(B, C\) or \(B, C, ...\), got " + re.escape(
        str(shape)
    )
    check_rejections(
        Entropy,
        (torch.eye(3), None),
        (torch.ones(1, 3), None),
        [((torch.zeros(shape), torch.zeros(shape)), ValueError, words)],
    )
