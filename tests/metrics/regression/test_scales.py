"""The value does not depend on the unit of the numbers or, where the definition has none, on their offset."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import r2_score

from ignite.metrics import (
    CosineSimilarity,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
)
from ignite.metrics import regression as r

# How the value changes with the unit: its power. What does not change with an offset of both, or of each, is marked.
POWERS = {
    r.CanberraMetric: 0,
    r.FractionalAbsoluteError: 0,
    r.FractionalBias: 0,
    r.GeometricMeanAbsoluteError: 1,
    r.GeometricMeanRelativeAbsoluteError: 0,
    r.KendallRankCorrelation: 0,
    r.ManhattanDistance: 1,
    r.MaximumAbsoluteError: 1,
    r.MeanAbsolutePercentageError: 0,
    r.MeanAbsoluteRelativeError: 0,
    r.MeanError: 1,
    r.MeanNormalizedBias: 0,
    r.MedianAbsoluteError: 1,
    r.MedianAbsolutePercentageError: 0,
    r.MedianRelativeAbsoluteError: 0,
    r.PearsonCorrelation: 0,
    r.R2Score: 0,
    r.ConcordanceCorrCoef: 0,
    r.ExplainedVariance: 0,
    r.SpearmanRankCorrelation: 0,
    r.SymmetricMeanAbsolutePercentageError: 0,
    r.WaveHedgesDistance: 0,
    MeanAbsoluteError: 1,
    MeanSquaredError: 2,
    RootMeanSquaredError: 1,
    CosineSimilarity: 0,
}
OF_DIFFERENCES = [
    r.GeometricMeanRelativeAbsoluteError,
    r.MedianRelativeAbsoluteError,
    r.R2Score,
    r.PearsonCorrelation,
    r.ManhattanDistance,
    r.MeanError,
    MeanSquaredError,
]
SIZES = ([300], [7, 1, 292], [50] * 6)


def value_of(create, y_pred, y, sizes):
    """Of examples of two numbers where vectors are compared."""
    metric, shape = create(), (-1, 2) if create is CosineSimilarity else (-1,)
    for pair in zip(y_pred.split(sizes), y.split(sizes), strict=True):
        metric.update(
            tuple(
                tensor.repeat_interleave(2).reshape(shape) if len(shape) > 1 else tensor
                for tensor in pair
            )
        )
    return metric.compute()


def numbers(seed=0):
    """Integers of 20 bits, which stay exact beside an offset and are multiplied by powers of two without rounding."""
    rng = np.random.default_rng(seed)
    y = rng.integers(1, 2**20, size=300)
    y_pred = y + rng.integers(-(2**16), 2**16, size=300)
    return torch.from_numpy(np.where(y_pred == y, y + 1, y_pred)).double(), torch.from_numpy(
        y
    ).double()


def test_every_metric_of_numbers_is_here():
    found = {getattr(r, name) for name in r.__all__ if isinstance(getattr(r, name), type)} - {
        r.LogCoshError,
        r.MeanSquaredLogError,
    }
    assert found <= POWERS.keys()


@pytest.mark.parametrize("create", POWERS)
@pytest.mark.parametrize("exponent", [-480, -100, 100, 480])
@pytest.mark.parametrize("sizes", SIZES)
def test_the_unit_does_not_matter(create, exponent, sizes):
    power = POWERS[create]
    if power == 2 and abs(exponent) > 450:
        pytest.skip("the value itself is no floating point number")
    y_pred, y = numbers()
    expected = value_of(create, y_pred, y, sizes)
    assert 0 < abs(expected) < math.inf
    unit = 2.0**exponent
    assert value_of(create, y_pred * unit, y * unit, sizes) / unit**power == pytest.approx(
        expected, rel=1e-9
    )


@pytest.mark.parametrize("create", POWERS)
@pytest.mark.parametrize("exponent", [-100, -60, 60, 90])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nor_in_float32(create, exponent, dtype):
    """Whose squares, and those of their differences, are no numbers of float32."""
    power, unit = POWERS[create], 2.0**exponent
    y_pred, y = (tensor.to(dtype) for tensor in numbers())
    y_pred = torch.where(y_pred == y, 2 * y, y_pred)
    expected = value_of(create, y_pred.double(), y.double(), [300])
    found = value_of(create, y_pred * unit, y * unit, [300])
    assert found / unit**power == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("create", OF_DIFFERENCES)
@pytest.mark.parametrize("offset", [2.0**30, -(2.0**50)])
@pytest.mark.parametrize("sizes", SIZES)
def test_an_offset_of_both_does_not_matter(create, offset, sizes):
    y_pred, y = numbers()
    expected = value_of(create, y_pred / 4, y / 4, sizes)
    assert value_of(create, y_pred / 4 + offset, y / 4 + offset, sizes) == pytest.approx(
        expected, rel=1e-9
    )


@pytest.mark.parametrize(
    "create", [r.PearsonCorrelation, r.SpearmanRankCorrelation, r.KendallRankCorrelation]
)
@pytest.mark.parametrize(
    ("slope", "offset"), [(2.0**-300, 0.0), (8.0, 2.0**50), (-(2.0**300), 0.0)]
)
@pytest.mark.parametrize("sizes", SIZES)
def test_a_straight_line_changes_no_correlation_but_its_sign(create, slope, offset, sizes):
    y_pred, y = numbers()
    expected = value_of(create, y_pred, y, sizes)
    assert value_of(create, slope * y_pred + offset, y, sizes) == pytest.approx(
        math.copysign(1, slope) * expected
    )


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1.0, 1e30, 1e150])
def test_they_are_those_of_scipy_and_scikit_learn(scale):
    y_pred, y = numbers()
    arrays = y_pred.numpy(), y.numpy()
    for create, expected in (
        (r.PearsonCorrelation, stats.pearsonr(*arrays).statistic),
        (r.SpearmanRankCorrelation, stats.spearmanr(*arrays).statistic),
        (r.KendallRankCorrelation, stats.kendalltau(*arrays).statistic),
        (r.R2Score, r2_score(*arrays[::-1])),
    ):
        assert value_of(create, y_pred * scale, y * scale, [100, 200]) == pytest.approx(
            expected, rel=1e-9
        )


@pytest.mark.parametrize("number", [0.0, 0.1, 1e15 + 0.3, -1e-300])
def test_equal_numbers_have_the_values_that_are_documented(number):
    """R2 as scikit-learn has it; no correlation."""
    y = torch.full((300,), number, dtype=torch.float64)
    other = torch.arange(300.0, dtype=torch.float64)
    for sizes in SIZES:
        assert value_of(r.R2Score, y, y, sizes) == 1.0
        assert value_of(r.R2Score, other, y, sizes) == 0.0
        assert value_of(r.R2Score, y, other, sizes) == pytest.approx(r2_score(other, y), rel=1e-9)
        for pair in ((y, other), (other, y), (y, y)):
            assert value_of(r.PearsonCorrelation, *pair, sizes) == 0.0
            assert math.isnan(value_of(r.SpearmanRankCorrelation, *pair, sizes))
            assert math.isnan(value_of(r.KendallRankCorrelation, *pair, sizes))
