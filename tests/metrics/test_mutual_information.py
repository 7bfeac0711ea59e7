import math
import re

import pytest
import torch
from hypothesis import given

from ignite.engine import Engine
from ignite.metrics import Entropy, MutualInformation
from support.distance_oracles import check_rejections, hard_logits, information_of, near, value_of
from support.oracles_distances import (
    FLOATS,
    assert_state_goes_on,
    cases,
    check,
    check_needs_examples,
    check_refused,
    mutual_information,
)

FIRST = (torch.tensor([[99.0, 0.0, 0.0], [0.0, 99.0, 0.0]]), torch.zeros(2))


@given(cases(shapes=((1,), (4,), (3, 2)), dtypes=FLOATS))
def test_it_is_the_mean_divergence_from_the_mean(case):
    check(MutualInformation, mutual_information, case)


def test_equal_predictions_have_no_information():
    metric = MutualInformation()
    metric.update((torch.tensor([[0.1, 0.7, 0.3]]).expand(1000, 3), torch.zeros(1000)))
    assert metric.compute() == pytest.approx(0.0, abs=1e-12)
    assert metric.compute() >= 0.0


def test_classes_that_are_ruled_out_count_nothing():
    metric = MutualInformation()
    metric.update(
        (torch.tensor([[0.0, -math.inf, -math.inf], [-math.inf, 0.0, -math.inf]]), torch.zeros(2))
    )
    assert metric.compute() == pytest.approx(math.log(2), rel=1e-12)


def test_its_state_holds_everything():
    generator = torch.Generator().manual_seed(0)
    batches = [(3 * torch.randn(n, 4, generator=generator), torch.zeros(n)) for n in (5, 2, 7)]
    assert_state_goes_on(MutualInformation, batches)


def test_it_is_an_entropy_and_may_be_attached_beside_one():
    engine = Engine(lambda engine, batch: batch)
    assert isinstance(MutualInformation(), Entropy)
    Entropy().attach(engine, "entropy")
    MutualInformation().attach(engine, "information")
    found = engine.run([FIRST, FIRST]).metrics
    assert found == {
        "entropy": pytest.approx(0.0, abs=1e-9),
        "information": pytest.approx(math.log(2), rel=1e-9),
    }


def test_without_examples():
    check_needs_examples(MutualInformation, 3)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((3,), r"y_pred must be in the shape of \(B, C\) or \(B, C, ...\), got \(3,\)"),
        ((2, 4), r"y_pred should have 3 classes as before, but given \(2, 4\)"),
        ((2, 1), r"y_pred should have 3 classes as before, but given \(2, 1\)"),
    ],
)
def test_logits_that_do_not_fit_are_refused(shape, words):
    check_refused(MutualInformation(), FIRST, (torch.ones(shape), torch.ones(2)), ValueError, words)


@given(hard_logits())
def test_extreme_logits_lose_nothing(logits):
    value = value_of(MutualInformation(), (*logits, None))
    assert value == near(max(information_of(*logits), 0.0), 1e-9)
    assert 0.0 <= value <= math.log(logits[0].shape[1]) + 1e-12


@pytest.mark.parametrize("row", [[math.nan, 0.0], [math.inf, 0.0], [-math.inf, -math.inf]])
def test_logits_of_no_distribution_stay_in_the_value(row):
    batches = [(torch.tensor([each]), None) for each in (row, [0.0, 1.0])]
    assert math.isnan(value_of(MutualInformation(), *batches))


def test_any_rejection_leaves_the_value_alone():
    wrongs = [
        ((torch.ones(()), None), ValueError, r"\(B, C\) or \(B, C, ...\), got \(\)"),
        ((torch.ones(2), None), ValueError, r"\(B, C\) or \(B, C, ...\), got \(2,\)"),
    ]
    check_rejections(MutualInformation, FIRST, (torch.eye(3), None), wrongs)


def test_another_number_of_classes_leaves_the_value_alone():
    metric = MutualInformation()
    metric.update(FIRST)
    for shape in ((2, 4), (2, 1, 3)):
        with pytest.raises(
            ValueError, match=f"have 3 classes as before, but given {re.escape(str(shape))}"
        ):
            metric.update((torch.ones(shape), None))
    more = (torch.ones(1, 3, 5), None)
    assert value_of(metric, more) == value_of(MutualInformation(), FIRST, more)


@pytest.mark.parametrize("shape", [(2, 0), (2, 0, 3)])
def test_logits_of_no_classes_are_refused(shape):
    words = r"y_pred must be in the shape of \(B, C\) or \(B, C, ...\), got " + re.escape(
        str(shape)
    )
    check_rejections(
        MutualInformation,
        FIRST,
        (torch.eye(3), None),
        [((torch.zeros(shape), torch.zeros(shape)), ValueError, words)],
    )
