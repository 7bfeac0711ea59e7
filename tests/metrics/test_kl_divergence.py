import math
import re

import pytest
import torch
from hypothesis import given

from ignite.metrics import KLDivergence
from support.distance_oracles import (
    check_rejections,
    divergence_of,
    hard_logits,
    mean_of,
    near,
    rounding,
)
from support.oracles_distances import (
    FLOATS,
    cases,
    check,
    check_needs_examples,
    check_refused,
    kl_divergence,
)


@given(
    cases(
        shapes=((1,), (4,), (3, 2), (2, 2, 3)),
        dtypes=(*FLOATS, torch.int8),
        scales=(1e-3, 1.0, 10.0),
    )
)
def test_it_is_the_mean_divergence_of_predicted_from_true(case):
    check(KLDivergence, kl_divergence, case)


def value_of(y_pred, y):
    metric = KLDivergence()
    metric.update((torch.tensor([y_pred]), torch.tensor([y])))
    return metric.compute()


def test_it_is_not_symmetric():
    predicted, true = [math.log(3.0), 0.0], [0.0, 0.0]  # 3/4 and 1/4, 1/2 each
    assert value_of(predicted, true) == pytest.approx(math.log(4 / 3) / 2, rel=1e-6)
    assert value_of(true, predicted) == pytest.approx(math.log(27 / 16) / 4, rel=1e-6)


def test_it_is_finite_where_probabilities_underflow():
    assert value_of([2000.0, 0.0], [0.0, 2000.0]) == 2000.0
    assert value_of([0.0, 0.0], [0.0, -1e30]) == pytest.approx(math.log(2), rel=1e-6)


def test_classes_that_are_ruled_out():
    assert value_of([0.0, 0.0, -math.inf], [0.0, 0.0, -math.inf]) == 0.0
    assert value_of([0.0, 0.0], [0.0, -math.inf]) == pytest.approx(math.log(2), rel=1e-6)
    assert value_of([0.0, -math.inf], [0.0, 0.0]) == math.inf


def test_without_examples():
    check_needs_examples(KLDivergence, 3)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            (torch.ones(2, 3), torch.ones(2)),
            r"y_pred and y must be in the same shape, got \(2, 3\) != \(2,\)",
        ),
        (
            (torch.ones(3), torch.ones(3)),
            r"y_pred must be in the shape of \(B, C\) or \(B, C, ...\), got \(3,\)",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused(wrong, words):
    check_refused(KLDivergence(), (torch.eye(3), torch.ones(3, 3)), wrong, ValueError, words)


@given(hard_logits(num=2))
def test_extreme_logits_lose_nothing(pair):
    metric = KLDivergence()
    metric.update(pair)
    assert metric.compute() == near(mean_of(divergence_of, *pair[::-1]), rounding(pair))
    assert metric.compute() >= 0.0


def test_rounding_does_not_make_it_negative():
    """Its root is a distance."""
    logits = 3 * torch.randn(
        300, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    nudged = logits + 1e-9 * torch.randn(
        300, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    values = [
        value_of(*pair)
        for other in (logits, nudged)
        for pair in zip(logits.tolist(), other.tolist(), strict=True)
    ]
    assert min(values) >= 0.0


@pytest.mark.parametrize("row", [[math.nan, 0.0], [math.inf, 0.0], [-math.inf, -math.inf]])
def test_logits_of_no_distribution_stay_in_the_value(row):
    for pair in ((row, [0.0, 1.0]), ([0.0, 1.0], row)):
        metric = KLDivergence()
        for y_pred, y in (pair, ([0.0, 1.0], [1.0, 0.0])):
            metric.update((torch.tensor([y_pred]), torch.tensor([y])))
        assert math.isnan(metric.compute())


def test_any_rejection_leaves_the_value_alone():
    wrongs = [
        ((torch.ones(()), torch.ones(())), ValueError, r"\(B, C\) or \(B, C, ...\), got \(1,\)"),
        (
            (torch.ones(2, 3), torch.ones(3, 2)),
            ValueError,
            r"in the same shape, got \(2, 3\) != \(3, 2\)",
        ),
        (
            (torch.ones(2, 3), torch.ones(2, 3, 1)),
            ValueError,
            r"in the same shape, got \(2, 3\) != \(2, 3, 1\)",
        ),
        (
            (torch.ones(2, 3), torch.ones(1, 3)),
            ValueError,
            r"in the same shape, got \(2, 3\) != \(1, 3\)",
        ),
    ]
    check_rejections(
        KLDivergence, (torch.eye(3), torch.ones(3, 3)), (torch.ones(1, 3), torch.eye(3)[:1]), wrongs
    )


@pytest.mark.parametrize("shape", [(2, 0), (2, 0, 3)])
def test_logits_of_no_classes_are_refused(shape):
    words = r"y_pred must be in the shape of \(B, C\) or \(B, C, ...\), got " + re.escape(
        str(shape)
    )
    check_rejections(
        KLDivergence,
        (torch.eye(3), torch.ones(3, 3)),
        (torch.ones(1, 3), torch.eye(3)[:1]),
        [((torch.zeros(shape), torch.zeros(shape)), ValueError, words)],
    )
