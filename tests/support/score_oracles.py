"""Examples of scores with targets of 0 and 1, and checks of each metric of them."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from support.classification_oracles import (
    DTYPES,
    Case,
    batch_sizes,
    check_refused,
    elsewhere,
    seeds,
)


@st.composite
def score_cases(draw, columns=(None,)):
    """Scores from 0 to 1 with targets; (N,) without columns; in dtypes that 1 / 64 is exact in, or drawn in float32."""
    sizes, num_columns = draw(batch_sizes), draw(st.sampled_from(columns))
    rng = np.random.default_rng(draw(seeds))
    shape = (sum(sizes),) if num_columns is None else (sum(sizes), num_columns)
    if draw(st.booleans()):
        scores = torch.from_numpy(rng.random(shape, dtype=np.float32))
    else:
        scores = torch.from_numpy(rng.integers(0, 64, size=shape, endpoint=True) / 64).to(
            draw(st.sampled_from(DTYPES))
        )
    targets = torch.from_numpy(
        (rng.random(shape) < rng.choice([0.0, 0.4, 1.0], p=[0.1, 0.8, 0.1])).astype(np.int64)
    )
    targets = targets.to(
        draw(st.sampled_from([torch.int64, torch.float32, torch.bool, torch.uint8]))
    )
    is_column = num_columns is None and draw(st.booleans())
    y_pred = scores.unsqueeze(1) if is_column else scores
    batches = list(zip(y_pred.split(sizes), targets.split(sizes), strict=True))
    return Case(
        "scores", num_columns or 1, batches, targets.long().numpy(), scores.double().numpy(), 1
    )


def rounded_down(scores, num_bins):
    """Each score to the lower edge of its bin, without rounding errors."""
    return np.vectorize(
        lambda x: min(math.floor(Fraction(x) * num_bins), num_bins - 1) / num_bins, [float]
    )(scores)


def mean_of_columns(function):
    """The oracle of (N, L): the mean of those of each column."""

    def mean(true, scores):
        if true.ndim == 1:
            return function(true, scores)
        return float(np.mean([function(*column) for column in zip(true.T, scores.T, strict=True)]))

    return mean


@mean_of_columns
def roc_auc(true, scores):
    """NaN if there are only positives or negatives, where scikit-learn warns."""
    return float(roc_auc_score(true, scores)) if 0 < true.sum() < len(true) else math.nan


@mean_of_columns
def average_precision(true, scores):
    """0 without positives, where scikit-learn warns."""
    return float(average_precision_score(true, scores)) if true.any() else 0.0


SCORES_REFUSED = [
    ((torch.full((2, 3), 0.5), torch.ones(2)), ValueError, r"given (-3|\(2, 3\))"),
    ((torch.full((2,), 0.5), torch.ones(2, 3)), ValueError, r"given \(2,\) and \(2, 3\)"),
    ((torch.full((3,), 0.5), torch.ones(2)), ValueError, r"given shapes \(3,\) and \(2,\)"),
    (
        (torch.full((2, 1, 1), 0.5), torch.ones(2)),
        ValueError,
        r"Predictions should be of shape .* given \(2, 1, 1\)",
    ),
    (
        (torch.full((2,), 0.5), torch.ones(2, 1, 1)),
        ValueError,
        r"Targets should be of shape .* given \(2, 1, 1\)",
    ),
]
SCORES_REFUSED_AT_ONCE = [
    (
        (torch.tensor([0.5, math.nan]), torch.ones(2)),
        ValueError,
        "given the score nan with the target 1.0",
    ),
    (
        (torch.tensor([0.5, 1.5]), torch.ones(2)),
        ValueError,
        "given the score 1.5 with the target 1.0",
    ),
    (
        (torch.tensor([-0.5, 1.0]), torch.ones(2)),
        ValueError,
        "given the score -0.5 with the target 1.0",
    ),
    (
        (torch.tensor([0.5, 0.25]), torch.tensor([1.0, 2.0])),
        ValueError,
        "given the score 0.25 with the target 2.0",
    ),
    ((torch.full((2, 3), 0.5), torch.ones(2, 3)), ValueError, "given (-3|.*2, 3)"),
]
SCORES_REFUSED_AT_ONCE_ON_THE_HOST = [
    ([math.nan, 0.5, math.nan], [0, 1, 1], "Scores should be numbers, but given 2 that are NaN"),
    ([0.25, 0.5], [0, 2], "Targets should be 0 or 1, but given 2.0"),
    ([0.25, 0.5], [0, math.inf], "Targets should be 0 or 1, but given inf"),
    ([0.25, 0.5], [0, math.nan], "Targets should be 0 or 1, but given nan"),
    ([0.25, 0.5], [0, 0.5], "Targets should be 0 or 1, but given 0.5"),
]
FIRST_SCORES = (torch.tensor([0.25, 0.75, 0.5]), torch.tensor([0.0, 1.0, 1.0]))


def check_scores_refused(create):
    """``create(num_bins=None)``."""
    for wrong in SCORES_REFUSED:
        check_refused(create(), FIRST_SCORES, *wrong)
    for wrong in SCORES_REFUSED + SCORES_REFUSED_AT_ONCE:
        check_refused(create(num_bins=10), FIRST_SCORES, *wrong)
    for scores, targets, words in SCORES_REFUSED_AT_ONCE_ON_THE_HOST:
        batch = (torch.tensor(scores), torch.tensor(targets, dtype=torch.float32))
        check_refused(create(), FIRST_SCORES, batch, ValueError, words)
        metric = create()
        metric.update(elsewhere(*batch))
        with pytest.raises(ValueError, match=words):
            metric.compute()
    metric = create(num_bins=10)
    metric.update(elsewhere(torch.tensor([math.nan, 0.5, 2.0]), torch.tensor([0, 1, 0])))
    with pytest.raises(
        ValueError, match="Scores should be from 0 to 1 and targets 0 or 1, but 2 were not"
    ):
        metric.compute()
    for num_bins in (1, 0, -3, 2.5, "10"):
        with pytest.raises(
            ValueError, match=f"num_bins should be an integer of at least 2, but given {num_bins!r}"
        ):
            create(num_bins=num_bins)
