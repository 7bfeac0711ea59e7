"""Large float32 batches are computed in float32 if the result is right to 1e-6, otherwise in float64."""

import pytest
import torch

from ignite import metrics as m
from ignite.metrics import regression as r

NUMBERS = [
    getattr(r, name)
    for name in r.__all__
    if isinstance(getattr(r, name), type) and name != "MeanSquaredLogError"  # of numbers above -1
]
NUMBERS += [m.MeanAbsoluteError, m.MeanSquaredError, m.RootMeanSquaredError]
POWERS = {m.MeanSquaredError: 2, r.LogCoshError: None}
SLOW = {r.KendallRankCorrelation}  # ranks, which know no precision
VECTORS = [
    m.CosineSimilarity,
    m.MeanPairwiseDistance,
    m.KLDivergence,
    m.JSDivergence,
    m.Entropy,
    m.MutualInformation,
    lambda: m.MaximumMeanDiscrepancy(var=60.0),
    lambda: m.PSNR(1.0),
]


def value_of(create, pair, dtype):
    metric = create()
    metric.update(tuple(tensor.to(dtype) for tensor in pair))
    return metric.compute()


def close(value):
    return pytest.approx(value, rel=1e-6, nan_ok=True)


def numbers(seed, n=6000):
    generator = torch.Generator().manual_seed(seed)
    y = 0.2 + torch.rand(n, generator=generator)
    return y + 0.1 * torch.randn(n, generator=generator), y


@pytest.mark.parametrize("create", [create for create in NUMBERS if create not in SLOW])
@pytest.mark.parametrize("exponent", [-100, -40, 0, 40, 100])
def test_of_numbers_of_any_scale(create, exponent):
    pair = tuple(tensor * 2.0**exponent for tensor in numbers(0))
    assert value_of(create, pair, torch.float32) == close(value_of(create, pair, torch.float64))


@pytest.mark.parametrize("create", [create for create in NUMBERS if create not in SLOW])
@pytest.mark.parametrize(
    "change", ["offset", "equal", "zeros", "largest", "outlier", "infinite", "nan"]
)
def test_of_numbers_that_are_hard(create, change):
    y_pred, y = numbers(1)
    if change == "offset":
        y_pred, y = y_pred + 1e4, y + 1e4
    elif change == "equal":
        y_pred = y.clone()
    elif change == "zeros" and create not in (
        r.MeanAbsolutePercentageError,
        r.MeanAbsoluteRelativeError,
    ):
        y_pred[:10] = y[:10] = 0
        if create is r.MeanNormalizedBias:
            y[:10] = y_pred[:10] = 1e-30
    elif change == "largest":
        y_pred, y = y_pred * 2.5e38, y * 2.5e38
    elif change == "outlier":
        y[0], y_pred[1] = 1e20, -1e20
    elif change == "infinite":
        y_pred[5] = float("inf")
    elif change == "nan":
        y_pred[5] = float("nan")
    expected = value_of(create, (y_pred, y), torch.float64)
    # Where targets are the mean but for rounding, or all errors 0, an error of the value is one of 1e-7 of the data.
    assert value_of(create, (y_pred, y), torch.float32) == pytest.approx(
        expected, rel=1e-6, abs=1e-12, nan_ok=True
    )


@pytest.mark.parametrize("create", VECTORS)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 10.0])
@pytest.mark.parametrize("shape", [(200, 40), (600, 8), (8, 9000)])
def test_of_vectors(create, scale, shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator) * scale
    pair = x, x + torch.randn(shape, generator=generator) * scale + scale / 2
    expected = value_of(create, pair, torch.float64)
    assert value_of(create, pair, torch.float32) == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("create", VECTORS[:4])
def test_of_equal_vectors(create):
    x = torch.randn(200, 40, generator=torch.Generator().manual_seed(0))
    assert value_of(create, (x, x), torch.float32) == pytest.approx(
        value_of(create, (x, x), torch.float64), abs=1e-9
    )


@pytest.mark.parametrize("create", VECTORS[2:4])
def test_of_classes_that_are_ruled_out(create):
    logits = torch.randn(2, 300, 40, generator=torch.Generator().manual_seed(0))
    logits[1, :, 3] = logits[0, :, 3] = float("-inf")
    assert value_of(create, logits, torch.float32) == close(value_of(create, logits, torch.float64))
    assert value_of(m.Entropy, logits, torch.float32) == close(
        value_of(m.Entropy, logits, torch.float64)
    )
