"""Common properties of the Kullback-Leibler and the Jensen-Shannon divergence."""

import math
import re

import pytest
import torch

from ignite.metrics import JSDivergence, KLDivergence
from support.distance_oracles import check_rejections
from support.oracles_distances import check_needs_examples

pytestmark = pytest.mark.parametrize("create", [JSDivergence, KLDivergence])

FIRST = (torch.eye(3), torch.ones(3, 3))
LAST = (torch.ones(1, 3), torch.eye(3)[:1])


def value_of(create, *pairs):
    metric = create()
    for y_pred, y in pairs:
        metric.update((torch.tensor([y_pred]), torch.tensor([y])))
    return metric.compute()


def test_without_examples(create):
    check_needs_examples(create, 3)


def test_rounding_does_not_make_it_negative(create):
    """Its root is a distance."""
    logits, noise = (
        torch.randn(300, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for seed in (0, 1)
    )
    logits = 3 * logits
    values = [
        value_of(create, pair)
        for other in (logits, logits + 1e-9 * noise)
        for pair in zip(logits.tolist(), other.tolist(), strict=True)
    ]
    assert min(values) >= 0.0


@pytest.mark.parametrize("row", [[math.nan, 0.0], [math.inf, 0.0], [-math.inf, -math.inf]])
def test_logits_of_no_distribution_make_the_value_nan(create, row):
    for pair in ((row, [0.0, 1.0]), ([0.0, 1.0], row)):
        assert math.isnan(value_of(create, pair, ([0.0, 1.0], [1.0, 0.0])))


SHAPES_THAT_DIFFER = [((2, 3), (2,)), ((2, 3), (3, 2)), ((2, 3), (2, 3, 1)), ((2, 3), (1, 3))]
SHAPES_WITHOUT_CLASSES = [((), (1,)), ((3,), (3,)), ((2, 0), (2, 0)), ((2, 0, 3), (2, 0, 3))]
"""Given and, with a batch dimension, as the message shows it."""


def test_a_batch_without_examples_changes_nothing(create):
    metric = create()
    metric.update(FIRST)
    value = metric.compute()
    metric.update(tuple(tensor[:0] for tensor in FIRST))
    assert metric.compute() == value


def test_invalid_shapes_are_refused_and_change_nothing(create):
    differ = [
        (
            (torch.ones(shape), torch.ones(other)),
            ValueError,
            re.escape(f"y_pred and y must be in the same shape, got {shape} != {other}"),
        )
        for shape, other in SHAPES_THAT_DIFFER
    ]
    without_classes = [
        (
            (torch.ones(shape), torch.ones(shape)),
            ValueError,
            re.escape(f"y_pred must be in the shape of (B, C) or (B, C, ...), got {shown}"),
        )
        for shape, shown in SHAPES_WITHOUT_CLASSES
    ]
    check_rejections(create, FIRST, LAST, differ + without_classes)
