import math

import pytest
import torch
from hypothesis import given
from oracles_distances import (
    FLOATS,
    assert_state_goes_on,
    cases,
    check,
    check_needs_examples,
    check_refused,
    mutual_information,
)

from ignite.engine import Engine
from ignite.metrics import Entropy, MutualInformation

FIRST = (torch.tensor([[99.0, 0.0, 0.0], [0.0, 99.0, 0.0]]), torch.zeros(2))


@given(cases(shapes=((1,), (4,), (3, 2)), dtypes=FLOATS))
def test_it_is_the_mean_divergence_from_the_mean(case):
    check(MutualInformation, mutual_information, case)


def test_predictions_that_are_all_the_same_tell_nothing():
    metric = MutualInformation()
    metric.update((torch.tensor([[0.1, 0.7, 0.3]]).expand(1000, 3), torch.zeros(1000)))
    assert metric.compute() == pytest.approx(0.0, abs=1e-12)
    assert metric.compute() >= 0.0


def test_classes_that_are_ruled_out_count_nothing():
    metric = MutualInformation()
    metric.update((torch.tensor([[0.0, -math.inf, -math.inf], [-math.inf, 0.0, -math.inf]]), torch.zeros(2)))
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
    assert found == {"entropy": pytest.approx(0.0, abs=1e-9), "information": pytest.approx(math.log(2), rel=1e-9)}


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
