"""Slow definitions of distances, divergences and image metrics, number by number, and hard inputs for them.

`oracles_distances` has those over arrays, for many batches. Here nothing is an array: sums are exact, of fractions
or by `math.fsum`, distances are loops over pairs, and a window is a loop over its pixels.
"""

import itertools
import math
import statistics
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from ignite.exceptions import NotComputableError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LEVELS = (0.0, 1000.0, -(2.0**20), 2.0**40)
"""How far from the origin data may be."""


@st.composite
def hard_pairs(draw, shapes=((2,), (3,)), max_size=4):
    """A batch of any dtype: small and large numbers, equal ones, those far from the origin; and both in Python."""
    dtype, n = (
        draw(st.sampled_from((*FLOATS, torch.uint8, torch.int64))),
        draw(st.integers(1, max_size)),
    )
    shape = (n, *draw(st.sampled_from(shapes)))
    if dtype == torch.uint8:
        values, level = st.integers(0, 255), 0
    elif dtype == torch.int64:
        values, level = st.integers(-(2**30), 2**30), draw(st.sampled_from([0, 2**52]))
    elif dtype == torch.float16:
        values, level = st.floats(-3e4, 3e4, width=16), 0.0
    else:
        values = st.floats(-1e3, 1e3, width=32) | st.sampled_from([1e30, -1e30, 1e-30])
        level = draw(st.sampled_from(LEVELS))
    drawn = draw(st.lists(values, min_size=2 * math.prod(shape), max_size=2 * math.prod(shape)))
    wide = (
        torch.tensor(drawn, dtype=torch.int64 if isinstance(level, int) else torch.float64) + level
    )
    return tuple(wide.to(dtype).reshape(2, *shape))


def exact_rows(batch):
    """For each example the pairs of its numbers, as fractions."""
    for pair in zip(*(tensor.reshape(len(tensor), -1).tolist() for tensor in batch), strict=True):
        yield [(Fraction(a), Fraction(b)) for a, b in zip(*pair, strict=True)]


def rounding(batch):
    """How far apart values may be: pairs of float32 or less are subtracted, and their batch added up, in float32."""
    return 1e-6 if all(tensor.dtype in (*FLOATS[:3], torch.uint8) for tensor in batch) else 1e-12


def exact_error(batch, power):
    """The mean over examples of the sum of errors to a power."""
    sums = [sum(abs(a - b) ** power for a, b in row) for row in exact_rows(batch)]
    return float(sum(sums) / len(sums))


@st.composite
def hard_logits(draw, num=1):
    """So many tensors of logits (B, C, ...): up to 6e4 apart, and minus infinity for some but not all classes."""
    dtype = draw(st.sampled_from(FLOATS))
    shape = draw(st.sampled_from([(1, 2), (3, 4), (2, 3, 2), (4, 1), (2, 2, 1, 3)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    values = draw(
        st.lists(
            st.sampled_from([0.0, 1.0, -2.5, 30.0, 1e4, -1e4, 6e4, -6e4, -math.inf]), min_size=1
        )
    )
    drawn = rng.choice(values, size=(num, *shape))
    impossible = np.isneginf(drawn).all(axis=2)
    drawn[:, :, 0][impossible] = 0.0
    return tuple(torch.from_numpy(drawn).to(dtype))


def log_distributions(logits):
    """The logarithms of probabilities of each example and place."""
    for row in logits.double().movedim(1, -1).reshape(-1, logits.shape[1]).tolist():
        top = max(row)
        norm = math.log(math.fsum(math.exp(x - top) for x in row))
        yield [x - top - norm for x in row]


def entropy_of(logarithms):
    return -math.fsum(math.exp(x) * x for x in logarithms if math.exp(x) > 0)


def divergence_of(true, predicted):
    """Infinite if what is true now and then is never predicted."""
    return math.fsum(
        math.exp(t) * (t - p) for t, p in zip(true, predicted, strict=True) if math.exp(t) > 0
    )


def symmetric_divergence_of(a, b):
    middle = [(math.exp(x) + math.exp(y)) / 2 for x, y in zip(a, b, strict=True)]
    logarithms = [math.log(q) if q > 0 else -math.inf for q in middle]
    return (divergence_of(a, logarithms) + divergence_of(b, logarithms)) / 2


def mean_of(function, *logits):
    return statistics.fmean(
        function(*rows) for rows in zip(*map(log_distributions, logits), strict=True)
    )


def information_of(logits):
    rows = list(log_distributions(logits))
    mean = [statistics.fmean(math.exp(x) for x in column) for column in zip(*rows, strict=True)]
    of_mean = -math.fsum(q * math.log(q) for q in mean if q > 0)
    return of_mean - statistics.fmean(map(entropy_of, rows))


def as_rows(tensor):
    return tensor.double().reshape(len(tensor), -1).tolist()


def square(a, b):
    """The squared distance of two rows."""
    return math.fsum((p - q) ** 2 for p, q in zip(a, b, strict=True))


def similarity(square, variance):
    """The Gaussian kernel; of no width, whether both are equal."""
    if variance == 0:
        return float(square == 0)
    return math.exp(-square / (2 * variance))


def discrepancy_by_loops(x, y, variance):
    """The unbiased estimate within the samples, the mean over all pairs between them."""
    x, y, n = as_rows(x), as_rows(y), len(x)
    within = between = 0.0
    for i, j in itertools.product(range(n), repeat=2):
        between += similarity(square(x[i], y[j]), variance)
        if i != j:
            within += similarity(square(x[i], x[j]), variance) + similarity(
                square(y[i], y[j]), variance
            )
    return math.sqrt(max(within / (n * (n - 1)) - 2 * between / n**2, 0.0))


def independence_by_loops(x, y, sigma_x, sigma_y):
    """Equation 5 of Song et al., 2012, sum by sum."""
    n, pairs = len(x), list(itertools.product(range(len(x)), repeat=2))
    kernels = []
    for rows, sigma in ((as_rows(x), sigma_x), (as_rows(y), sigma_y)):
        squares = {(i, j): square(rows[i], rows[j]) for i, j in pairs}
        variance = statistics.median(squares.values()) if sigma < 0 else sigma**2
        kernels.append({(i, j): similarity(squares[i, j], variance) * (i != j) for i, j in pairs})
    of_x, of_y = kernels
    trace = math.fsum(of_x[i, j] * of_y[j, i] for i, j in pairs)
    sums = math.fsum(of_x.values()) * math.fsum(of_y.values()) / ((n - 1) * (n - 2))
    products = math.fsum(of_x[i, j] * of_y[j, k] for i, j in pairs for k in range(n))
    return max((trace + sums - 2 * products / (n - 2)) / (n * (n - 3)), 0.0)


def gaussian(size, sigma):
    weights = [math.exp(-((i - size // 2) ** 2) / (2 * sigma**2)) for i in range(size)]
    return [weight / sum(weights) for weight in weights]


def similarity_by_loops(batch, windows, data_range, k1=0.01, k2=0.03):
    """The mean over images, channels and pixels; `windows` has the weights along each dimension."""
    values = []
    for p, y in zip(*(tensor.double().flatten(0, 1).numpy() for tensor in batch), strict=True):
        for pixel in np.ndindex(p.shape):
            around = list(_window_around(pixel, p.shape, windows))
            values.append(
                _similarity_of_pixels([(w, p[i], y[i]) for w, i in around], data_range, k1, k2)
            )
    return math.fsum(values) / len(values)


def _window_around(pixel, shape, windows):
    """Weights and places; beyond the border those inside, as in a mirror that stands on the last pixel."""
    for offsets in itertools.product(*(range(len(window)) for window in windows)):
        weight = math.prod(window[k] for window, k in zip(windows, offsets, strict=True))
        place = [
            i + k - len(window) // 2 for i, k, window in zip(pixel, offsets, windows, strict=True)
        ]
        yield weight, tuple(n - 1 - abs(n - 1 - abs(i)) for i, n in zip(place, shape, strict=True))


def _similarity_of_pixels(weighted, data_range, k1, k2):
    c1, c2 = (k1 * data_range) ** 2, (k2 * data_range) ** 2
    mean_p, mean_y = sum(w * p for w, p, _ in weighted), sum(w * y for w, _, y in weighted)
    var_p = sum(w * (p - mean_p) ** 2 for w, p, _ in weighted)
    var_y = sum(w * (y - mean_y) ** 2 for w, _, y in weighted)
    covariance = sum(w * (p - mean_p) * (y - mean_y) for w, p, y in weighted)
    luminance = (2 * mean_p * mean_y + c1) / (mean_p**2 + mean_y**2 + c1)
    return luminance * (2 * covariance + c2) / (var_p + var_y + c2)


def value_of(metric, *batches):
    for batch in batches:
        metric.update(batch)
    return metric.compute()


def near(value, tolerance=1e-9):
    return pytest.approx(value, rel=tolerance, abs=tolerance, nan_ok=True)


def check_rejections(create, first, second, wrongs):
    """Each `(output, error, words)` is refused at any time, and all of them leave the value as if they had not come."""
    metric = create()
    _check_refused(metric, wrongs)
    with pytest.raises(NotComputableError, match=f"{type(metric).__name__} must have at least one"):
        metric.compute()
    for batch in (first, second):
        metric.update(batch)
        _check_refused(metric, wrongs)
    assert metric.compute() == value_of(create(), first, second)


def _check_refused(metric, wrongs):
    for output, error, words in wrongs:
        with pytest.raises(error, match=words):
            metric.update(output)
