"""Fréchet distances against scipy's root of a matrix in float64, numpy's covariances, and closed forms."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import FID
from ignite.metrics.gan.fid import fid_score

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def moments(x):
    """Mean and covariance, in 80 bits, so that an offset of the data costs no digits."""
    wide = x.double().numpy().astype(np.longdouble)
    mean = wide.mean(axis=0)
    return mean, (wide - mean).T @ (wide - mean) / (len(x) - 1)


def distance_by_scipy(x, y):
    (mean_x, of_x), (mean_y, of_y) = moments(x), moments(y)
    of_x, of_y = of_x.astype(np.float64), of_y.astype(np.float64)
    root = scipy.linalg.sqrtm(of_x @ of_y)
    return float(((mean_x - mean_y) ** 2).sum() + np.trace(of_x + of_y - 2 * root.real))


def value_of(metric, x, y, num_batches=1):
    for batch in zip(x.chunk(num_batches), y.chunk(num_batches), strict=True):
        metric.update(batch)
    return metric.compute()


@st.composite
def samples(draw):
    """Two sets of correlated features, of a scale and far from 0; full rank."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    d, num_batches = draw(st.integers(1, 8)), draw(st.integers(1, 5))
    n = num_batches * draw(st.integers(4, 30)) + 2 * d
    dtype = draw(st.sampled_from(DTYPES))
    offset = draw(st.sampled_from([0.0, -30.0]))
    if dtype == torch.float64:
        offset = draw(st.sampled_from([0.0, 1e4, -(2.0**40)]))
    mix = torch.randn(2, d, d, generator=generator, dtype=torch.float64)
    x, y = torch.randn(2, n, d, generator=generator, dtype=torch.float64) @ mix
    y = y + torch.rand(d, generator=generator)
    return (x + offset).to(dtype), (y + offset).to(dtype), num_batches


@given(samples())
def test_it_is_the_value_of_scipy_for_any_batches_and_offset(case):
    x, y, num_batches = case
    # Otherwise scipy's root has too few digits.
    assume(all(np.linalg.cond(moments(each)[1].astype(float)) < 1e5 for each in (x, y)))
    scale = float(np.trace(moments(x)[1] + moments(y)[1]))
    found = value_of(FID(x.shape[1]), x, y, num_batches)
    assert found == pytest.approx(distance_by_scipy(x, y), rel=1e-9, abs=1e-9 * scale)


@given(st.integers(0, 2**32), st.integers(2, 6), st.integers(2, 6), st.sampled_from([0.0, 1e5]))
def test_with_fewer_samples_than_features_it_is_accurate(seed, num_x, num_y, offset):
    """Of covariances X'X and Y'Y, the trace of the root is the sum of the singular values of XY'."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (
        torch.randn(n, 12, generator=generator, dtype=torch.float64).mul(2**20).round() / 2**20
        for n in (num_x, num_y)
    )
    of_x, of_y = ((z - z.mean(0)).numpy() / math.sqrt(len(z) - 1) for z in (x, y))
    root = np.linalg.svd(of_x @ of_y.T, compute_uv=False).sum()
    means = ((x.mean(0) - y.mean(0)) ** 2).sum()
    expected = float(means) + (of_x**2).sum() + (of_y**2).sum() - 2 * root
    metric = FID(12)
    metric.update((x + offset, y + offset))
    assert metric.compute() == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 2**32), st.integers(1, 6), st.lists(st.integers(1, 700), max_size=4))
def test_states_of_processes_are_joined_without_losing_digits(seed, d, sizes):
    """What a process has accumulated is loaded from the states of others, at an offset of 2**40, and goes on."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [2, *sizes, 3]
    drawn = torch.randn(2, sum(sizes), d, generator=generator, dtype=torch.float64)
    x, y = drawn.mul(2**8).round() / 2**8  # so that the offset is exact
    x, y = x + 2.0**40, y * 2 + 2.0**40
    states = []
    for pieces in list(zip(x.split(sizes), y.split(sizes), strict=True))[:-1]:
        metric = FID(d)
        metric.update(pieces)
        states.append(metric.state_dict()["__metric_state_per_rank"][0])
    metric = FID(d)
    metric.load_state_dict({"__metric_state_per_rank": states})
    metric.update((x[-3:], y[-3:]))
    assert metric.compute() == pytest.approx(value_of(FID(d), x - 2.0**40, y - 2.0**40), rel=1e-9)


def test_of_the_same_samples_it_is_0():
    x = torch.randn(100, 5, generator=torch.Generator().manual_seed(0)) + 100
    assert value_of(FID(5), x, x.flip(0), 7) == pytest.approx(0, abs=1e-12)


def test_constant_features_have_the_distance_of_their_means():
    assert value_of(FID(2), torch.zeros(4, 2), torch.full((4, 2), 3.0)) == 18


def test_sets_may_have_different_sizes():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(30, 3, generator=generator), torch.rand(50, 3, generator=generator)
    metric = FID(3)
    metric.update((x, y[:20]))
    metric.update((x[:0], y[20:]))
    assert metric.compute() == pytest.approx(distance_by_scipy(x, y), rel=1e-9)


def test_many_small_batches_are_joined_before_they_take_memory():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 2100, 200, generator=generator, dtype=torch.float64)
    metric = FID(200)
    for batch in zip(x.split(7), y.split(7), strict=True):
        metric.update(batch)
        assert sum(map(len, metric._own[0]._pending)) < 512
    assert metric.compute() == pytest.approx(value_of(FID(200), x, y), rel=1e-10)


def test_a_batch_may_be_overwritten_by_its_owner():
    x, y = torch.rand(2, 9, 2, generator=torch.Generator().manual_seed(0))
    metric = FID(2)
    metric.update((x, y))
    expected = FID(2)
    expected.update((x.clone(), y.clone()))
    x.zero_(), y.zero_()
    assert metric.compute() == expected.compute()


class Recording(nn.Module):
    """Remembers how it was called."""

    def __init__(self):
        super().__init__()
        self.linear, self.dropout, self.calls = nn.Linear(12, 3), nn.Dropout(), []
        self.frozen = nn.BatchNorm1d(3).eval()

    def forward(self, x):
        modes = self.training, self.dropout.training, torch.is_grad_enabled(), x.requires_grad
        self.calls.append((modes, x.device.type, x.dtype, tuple(x.shape)))
        return self.dropout(self.frozen(self.linear(x.flatten(1))))


def test_an_extractor_is_called_in_evaluation_mode_without_gradients_and_keeps_its_modes():
    torch.manual_seed(0)
    extractor = Recording()
    images = torch.rand(2, 10, 3, 2, 2).requires_grad_()
    metric = FID(3, extractor)
    metric.update((images[0], images[1]))
    called = ((False, False, False, False), "cpu", torch.float32, (10, 3, 2, 2))
    assert extractor.calls == [called] * 2
    assert (extractor.training, extractor.dropout.training, extractor.frozen.training) == (
        True,
        True,
        False,
    )
    with torch.no_grad():
        x, y = (extractor.eval()(each) for each in images)
    assert metric.compute() == pytest.approx(distance_by_scipy(x, y), rel=1e-7)


def test_modes_of_an_extractor_that_fails_are_restored():
    extractor = Recording()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        FID(3, extractor).update((torch.rand(2, 5), torch.rand(2, 5)))
    assert extractor.training
    assert extractor.dropout.training


def test_a_given_device_is_that_of_the_extractor_and_of_the_moments():
    extractor = nn.Linear(4, 2)
    metric = FID(2, extractor, device="meta")
    metric.update((torch.rand(3, 4), torch.rand(3, 4)))
    assert extractor.weight.device.type == "meta"
    assert metric._own[0].scatter.device.type == "meta"


def test_attached_it_has_the_value_of_each_epoch():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 40, 3, generator=generator)
    engine = Engine(lambda engine, batch: batch)
    FID(3).attach(engine, "fid")
    for _ in range(2):
        found = engine.run(list(zip(x.split(9), y.split(9), strict=True))).metrics["fid"]
        assert found == pytest.approx(distance_by_scipy(x, y), rel=1e-9)


GOOD = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 5.0]])


class Returning(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return self.value


@pytest.mark.parametrize(
    ("num_features", "extractor", "batch", "error", "message"),
    [
        (2, None, (GOOD[None], GOOD), ValueError, "a tensor of dim 2, got: 3"),
        (2, None, (GOOD, GOOD[:, 0]), ValueError, "a tensor of dim 2, got: 1"),
        (3, None, (GOOD, GOOD), ValueError, "num_features returned by feature_extractor should be 3, got: 2"),
        (2, None, (GOOD, GOOD * math.nan), ValueError, r"Features should be finite, but given nan .*\(3, 2\)"),
        (2, None, (GOOD / 0, GOOD), ValueError, "Features should be finite, but given"),
        (2, None, (GOOD + 0j, GOOD), TypeError, "output must be real, got: torch.complex64"),
        (2, Returning(GOOD[:2]), (GOOD, GOOD), ValueError, "a row for each of 3 samples, got: 2"),
        (2, Returning([GOOD]), (GOOD, GOOD), TypeError, "output must be a tensor, got: <class 'list'>"),
    ],
)  # fmt: skip
def test_bad_batches_are_refused_and_change_nothing(num_features, extractor, batch, error, message):
    metric = FID(num_features, extractor)
    if num_features == 2 and extractor is None:
        metric.update((GOOD, 2 * GOOD))
    before = repr(metric.state_dict())
    with pytest.raises(error, match=message):
        metric.update(batch)
    assert repr(metric.state_dict()) == before


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_features": 0}, ValueError, "num_features must be greater to zero, got: 0"),
        ({"num_features": -1}, ValueError, "num_features must be greater to zero, got: -1"),
        ({"num_features": 1.5}, TypeError, "num_features must be an integer, got: 1.5"),
        ({"feature_extractor": nn.Identity()}, ValueError, "num_features must be provided, if feature_extractor"),
        ({"num_features": 2, "feature_extractor": len}, TypeError, "of type torch.nn.Module, got <class 'builtin"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_with_the_words_of_ignite(arguments, error, message):
    with pytest.raises(error, match=message):
        FID(**arguments)


def test_one_sample_has_no_covariance():
    metric = FID(2)
    metric.update((GOOD, GOOD[:1]))
    message = "FID must have at least two examples of each set .*, but given 3 and 1"
    with pytest.raises(NotComputableError, match=message):
        metric.compute()


def test_without_samples_there_is_no_value():
    with pytest.raises(NotComputableError, match="FID must have at least one example"):
        FID(2).compute()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.num_examples": 7}, "means should be of 7 examples, but given those of 3"),
        ({"0.means": None}, "means should be of 3 examples, but given those of 0"),
        ({"0.scatter": torch.eye(3)}, r"scatter should be a tensor of shape \(2, 2\), but given \(3, 3\)"),
        ({"0.means": torch.tensor([[3.0, 0.0]])}, r"means should be a tensor of shape \(1, 5\)"),
    ],
)  # fmt: skip
def test_states_that_do_not_fit_are_refused(change, message):
    metric = FID(2)
    metric.update((GOOD, 2 * GOOD))
    (state,) = metric.state_dict()["__metric_state_per_rank"]
    other = FID(2)
    with pytest.raises(ValueError, match=message):
        other.load_state_dict({"__metric_state_per_rank": [{**state, **change}]})


def test_states_of_another_number_of_features_are_refused():
    with pytest.raises(ValueError, match=r"it should be of FID\(.*3.*, but given one of FID\(.*2"):
        FID(3).load_state_dict(FID(2).state_dict())


# fid_score


def covariance(generator, d, rank):
    factor = torch.randn(d, rank, generator=generator, dtype=torch.float64)
    return factor @ factor.T


@given(st.integers(0, 2**32), st.integers(1, 10))
def test_the_score_of_moments_is_that_of_scipy(seed, d):
    generator = torch.Generator().manual_seed(seed)
    first, second = (covariance(generator, d, 2 * d + 2) for _ in range(2))
    means = torch.randn(2, d, generator=generator, dtype=torch.float64)
    root = scipy.linalg.sqrtm((first @ second).numpy())
    traces = first.trace() + second.trace() - 2 * np.trace(root.real)
    expected = ((means[0] - means[1]) ** 2).sum() + traces
    assert fid_score(*means, first, second) == pytest.approx(float(expected), rel=1e-9)
    assert fid_score(*means, second, first, eps=0.1) == pytest.approx(float(expected), rel=1e-9)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1, max_size=8))
def test_of_diagonal_covariances_it_is_the_distance_of_deviations(variances):
    """Including variances of 0. The relative error is that of the largest variance."""
    first, second = torch.tensor(variances, dtype=torch.float64).T
    expected = math.fsum((math.sqrt(a) - math.sqrt(b)) ** 2 for a, b in variances)
    mean = torch.zeros(len(variances), dtype=torch.float64)
    found = fid_score(mean, mean, first.diag(), second.diag())
    largest = max(max(pair) for pair in variances)
    # Variances below the rounding error of the largest count as 0.
    assert found == pytest.approx(expected, abs=1e-5 * largest + 1e-300)


def test_float32_moments_are_accepted_and_read_in_float64():
    generator = torch.Generator().manual_seed(0)
    sigma = covariance(
        generator, 50, 20
    ).float()  # its least eigenvalue is a negative rounding error
    assert fid_score(torch.zeros(50), torch.zeros(50), sigma, sigma) == pytest.approx(0, abs=1e-3)


EYE, ZERO = torch.eye(2), torch.zeros(2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((ZERO, ZERO, EYE, torch.eye(3)), r"sigma2 of shape \(D, D\), but given \(2,\) and \(3, 3\)"),
        ((ZERO, torch.zeros(3), EYE, torch.eye(3)), r"given \(3,\) and \(3, 3\) for mu1 of shape \(2,\)"),
        ((EYE, ZERO, EYE, EYE), r"mu1 should be of shape \(D,\)"),
        ((ZERO, ZERO, EYE, EYE * math.nan), "mu2 and sigma2 should be finite"),
        ((ZERO + math.inf, ZERO, EYE, EYE), "mu1 and sigma1 should be finite"),
        ((ZERO, ZERO, torch.tensor([[1.0, 1.0], [0.0, 1.0]]), EYE), "sigma1 should be symmetric, but given .* 1"),
        ((ZERO, ZERO, EYE, -EYE), "sigma2 should be positive semidefinite, but given .* eigenvalue -1"),
    ],
)  # fmt: skip
def test_what_is_no_mean_or_covariance_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fid_score(*arguments)
