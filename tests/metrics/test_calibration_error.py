import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.metrics import CalibrationError
from support.classification_oracles import (
    DTYPES,
    Case,
    batch_sizes,
    check,
    check_constant_memory,
    check_refused,
    elsewhere,
    seeds,
    zeros,
)
from support.score_oracles import score_cases

each_norm = pytest.mark.parametrize("norm", ["l1", "l2", "max"])
num_bins = st.integers(1, 30)
FIRST = (torch.tensor([[0.25, 0.75], [0.75, 0.25]]), torch.tensor([1, 1]))


def calibration_error(right, confidence, num_bins, norm):
    """Bins of [i / num_bins, (i + 1) / num_bins), the last one with 1."""
    bins = [[] for _ in range(num_bins)]
    for pair in zip(right.tolist(), confidence.tolist(), strict=True):
        bins[min(math.floor(Fraction(pair[1]) * num_bins), num_bins - 1)].append(pair)
    gaps = [
        (len(found) / len(right), abs(np.mean(found, axis=0) @ [1, -1])) for found in bins if found
    ]
    if norm == "max":
        return float(max(gap for _, gap in gaps))
    total = sum(share * gap ** {"l1": 1, "l2": 2}[norm] for share, gap in gaps)
    return float(total if norm == "l1" else total**0.5)


@each_norm
@given(case=score_cases(columns=(None, 3)), num_bins=num_bins)
def test_of_binary_data_it_is_its_definition(norm, case, num_bins):
    check(
        lambda: CalibrationError(num_bins, norm),
        lambda true, scores: calibration_error(true.ravel(), scores.ravel(), num_bins, norm),
        case,
    )


@st.composite
def distributions(draw):
    """Probabilities of classes in 64ths, with ties; a prediction is right if it is the first of the highest."""
    sizes, num_classes = draw(batch_sizes), draw(st.integers(2, 4))
    extra, rng = draw(st.sampled_from([(), (3,), (2, 2)])), np.random.default_rng(draw(seeds))
    counts = rng.multinomial(64, [1 / num_classes] * num_classes, size=(sum(sizes), *extra))
    scores, y = (
        np.moveaxis(counts, -1, 1) / 64,
        rng.integers(num_classes, size=(sum(sizes), *extra)),
    )
    y_pred = torch.from_numpy(scores).to(draw(st.sampled_from(DTYPES)))
    batches = list(zip(y_pred.split(sizes), torch.from_numpy(y).split(sizes), strict=True))
    right, confidence = (scores.argmax(axis=1) == y).ravel(), scores.max(axis=1).ravel()
    return Case("multiclass", num_classes, batches, right, confidence, math.prod(extra))


@each_norm
@given(case=distributions(), num_bins=num_bins)
def test_of_classes_it_is_its_definition(norm, case, num_bins):
    check(
        lambda: CalibrationError(num_bins, norm),
        lambda right, confidence: calibration_error(right, confidence, num_bins, norm),
        case,
    )


def test_fifteen_bins_and_l1_are_the_defaults():
    metric = CalibrationError()
    metric.update((torch.tensor([1 / 16, 1 / 8, 0.75]), torch.tensor([0, 1, 1])))
    assert metric.compute() == pytest.approx((1 / 16 + 7 / 8 + 1 / 4) / 3)


@pytest.mark.parametrize(
    ("y_pred", "y", "words"),
    [
        ([0.5, 1.5], [0, 1], "given y_pred .*to 1.5 and y from 0 to 1"),
        ([0.5, math.nan], [0, 1], "given y_pred .*to nan and y from 0 to 1"),
        ([0.5, 0.25], [0, 2], "given y_pred .*to 0.5 and y from 0 to 2"),
        ([0.5, 0.25], [-1, 1], "given y_pred .*to 0.5 and y from -1 to 1"),
        ([0.5, 0.25], [0.5, 1.0], "and y from 0.5 to 1"),
        ([[0.5, 0.5], [0.2, 3.0]], [0, 1], "given y_pred .*to 3 and y from 0 to 1"),
        ([[0.5, 0.5], [0.25, 0.75]], [0, 2], "given y_pred .*to 0.75 and y from 0 to 2"),
        ([[0.5, 0.5], [0.25, 0.75]], [0, -1], "given y_pred .*to 0.75 and y from -1 to 0"),
        (
            [[0.9, -2.0], [0.25, 0.75]],
            [0, 1],
            "given y_pred from -2 .*1 examples are invalid; apply softmax",
        ),
        (
            [[0.9, 0.4], [0.25, 0.75]],
            [0, 1],
            "which add up to 1 over classes, .*1 examples are invalid",
        ),
        (
            [[0.1, 0.2], [0.25, 0.75]],
            [0, 1],
            "which add up to 1 over classes, .*1 examples are invalid",
        ),
        (
            [[0.5, 0.5], [math.nan, 0.75]],
            [0, 1],
            "which add up to 1 over classes, .*1 examples are invalid",
        ),
        ([[0.5, 0.5], [0.25, 0.75]], [0, 0.5], "and y from 0 to 0.5"),
        ([[0.5, 0.5], [0.25, 0.75]], [0, math.nan], "1 examples are invalid"),
    ],
)
def test_values_out_of_range_are_refused_and_change_nothing(y_pred, y, words):
    check_refused(
        CalibrationError(), FIRST, (torch.tensor(y_pred), torch.tensor(y)), ValueError, words
    )


def test_the_error_shows_a_negative_probability():
    wrong = (torch.tensor([-0.5, 0.25]), torch.tensor([0, 1]))
    check_refused(CalibrationError(), FIRST, wrong, ValueError, "-0.5")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ((torch.ones(2), zeros(3)), r"given y_pred of shape \(2,\) and y of shape \(3,\)"),
        ((torch.ones(2, 3), zeros(3)), r"given y_pred of shape \(2, 3\) and y of shape \(3,\)"),
        (
            (torch.ones(2, 3, 4, 5), zeros(2)),
            r"given y_pred of shape \(2, 3, 4, 5\) and y of shape \(2,\)",
        ),
    ],
)
def test_invalid_outputs_are_refused_and_change_nothing(wrong, words):
    check_refused(CalibrationError(), FIRST, wrong, ValueError, words)


def test_compute_refuses_values_out_of_range_on_an_accelerator():
    metric = CalibrationError()
    metric.update(elsewhere(torch.tensor([0.5, 1.5, math.nan, 0.25]), torch.tensor([0, 1, 1, 2])))
    with pytest.raises(ValueError, match="but 3 values are out of range"):
        metric.compute()


def test_wrong_arguments():
    for number in (0, -1, 2.0, None):
        with pytest.raises(
            ValueError, match=f"num_bins should be a positive integer, but given {number!r}"
        ):
            CalibrationError(num_bins=number)
    with pytest.raises(ValueError, match="norm should be 'l1', 'l2' or 'max', but given 'l3'"):
        CalibrationError(norm="l3")


def test_its_memory_does_not_grow():
    def batch_of(n):
        return torch.linspace(0, 1, n), torch.arange(n) % 2

    check_constant_memory(lambda: CalibrationError(20), batch_of, 3 * 20)


@pytest.mark.parametrize("num_bins", [3, 7, 10, 15, 100])
def test_a_probability_on_an_edge_is_in_the_bin_above(num_bins):
    """Edges and products with the number of bins are rounded: 0.29 * 100 is less than 29."""
    for i in range(num_bins):
        edge = i / num_bins
        metric = CalibrationError(num_bins, norm="max")
        # Above the edge in the same bin, always right: together less far off than the edge alone.
        above = edge + 0.5 / num_bins
        metric.update((torch.tensor([edge, above], dtype=torch.float64), torch.tensor([0, 1])))
        assert metric.compute() == pytest.approx(abs(0.5 - (edge + above) / 2), abs=1e-12)
