"""Definitions of distances, divergences and image metrics, and checks of each metric against them.

Written out in numpy with float64, or taken from scipy and scikit-image. Arrays are all examples seen, shape (N, ...).
"""

import copy
import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from scipy import ndimage, special, stats
from scipy.spatial import distance
from skimage.metrics import structural_similarity

from ignite.engine import Engine
from ignite.exceptions import NotComputableError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int64)
STATES = "__metric_state_per_rank"
OF_FLOAT32 = 1e-6
"""How far values of float32 may be off: sums of a batch are float32, too, those over batches are not."""
FINELY = 1e-9


@dataclass
class Case:
    y_pred: np.ndarray
    y: np.ndarray
    """In float64, as the batches hold them."""
    batches: list


@st.composite
def cases(draw, shapes=((3,),), dtypes=FLOATS, max_size=5, scales=(1e-3, 1.0, 30.0)):
    """Pairs of tensors of any dtype and shape (B, ...), cut into batches of any size, some of them empty."""
    sizes = draw(st.lists(st.integers(0, max_size), min_size=1, max_size=4).filter(any))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    shape, dtype = (sum(sizes), *draw(st.sampled_from(shapes))), draw(st.sampled_from(dtypes))
    if dtype.is_floating_point:
        drawn = rng.normal(size=(2, *shape)) * draw(st.sampled_from(scales))
    else:
        limits = torch.iinfo(torch.uint8 if dtype == torch.int64 else dtype)
        drawn = rng.integers(limits.min, limits.max, size=(2, *shape), endpoint=True)
    if draw(st.booleans()):
        drawn[1, : shape[0] // 2] = drawn[0, : shape[0] // 2]  # some are equal
    y_pred, y = torch.from_numpy(drawn).to(dtype)
    batches = list(zip(y_pred.split(sizes), y.split(sizes), strict=True))
    return Case(y_pred.double().numpy(), y.double().numpy(), batches)


def check(create, oracle, case, rel=FINELY):
    """After each batch, and joined from what two processes have seen; `oracle(y_pred, y)`."""
    metric, seen = create(), 0
    if all(tensor.dtype in FLOATS[:3] for batch in case.batches for tensor in batch):
        rel = max(rel, OF_FLOAT32)
    for batch in case.batches:
        metric.update(batch)
        seen += len(batch[0])
        if seen:
            assert_near(metric.compute(), oracle(case.y_pred[:seen], case.y[:seen]), rel)
    assert_near(joined(create, case.batches).compute(), oracle(case.y_pred, case.y), rel)


def check_mean_over_batches(create, oracle, case, min_size, rel=1e-8):
    """As `check`, where each batch of at least `min_size` counts once; `oracle(list of pairs)`."""
    metric, seen = create(), []
    for batch in case.batches:
        metric.update(batch)
        if len(batch[0]) >= min_size:
            seen.append([tensor.double().numpy() for tensor in batch])
        if seen:
            assert_near(metric.compute(), oracle(seen), rel)
        else:
            assert_not_computable(metric)
    if seen:
        assert_near(joined(create, case.batches).compute(), oracle(seen), rel)


def joined(create, batches):
    """The metric of two processes that have seen the first and the second half."""
    states, cut = [], len(batches) // 2
    for part in (batches[:cut], batches[cut:]):
        metric = create()
        for batch in part:
            metric.update(batch)
        states.append(metric.state_dict()[STATES][0])
    both = create()
    both.load_state_dict({STATES: states})
    return both


def check_needs_examples(create, *shape):
    """None before the first batch, and none in a batch of `shape` without its first dimension."""
    metric = create()
    assert_not_computable(metric)
    metric.update((torch.ones(0, *shape), torch.ones(0, *shape)))
    assert_not_computable(metric)


def assert_not_computable(metric):
    with pytest.raises(NotComputableError, match=f"{type(metric).__name__} must have at least one"):
        metric.compute()


def check_refused(metric, first, wrong, error, words):
    """After `first`, `wrong` raises, and nothing has changed; nor does it with a batch of nothing."""
    metric.update(first)
    value, state = metric.compute(), repr(metric.state_dict())
    with pytest.raises(error, match=words):
        metric.update(wrong)
    assert repr(metric.state_dict()) == state
    metric.update(tuple(tensor[:0] for tensor in first))
    assert metric.compute() == value


def check_follows_wide_sums(create, oracle):
    """Ten million numbers in float32, whose float32 sum would be off in the fourth digit."""
    y_pred, y = torch.rand(2, 1_000_000, generator=torch.Generator().manual_seed(0))
    metric = create()
    for _ in range(10):
        metric.update((y_pred, y))
    assert_near(metric.compute(), oracle(y_pred.double().numpy(), y.double().numpy()), OF_FLOAT32)


def value_in_engine(metric, *outputs):
    engine = Engine(lambda engine, batch: batch)
    metric.attach(engine, "value")
    return engine.run(list(outputs)).metrics["value"]


def assert_near(value, expected, rel):
    assert isinstance(value, float)
    assert value == pytest.approx(float(expected), rel=rel, abs=rel)


def assert_state_goes_on(create, batches):
    """What is saved after the first batch suffices for the value after all of them."""
    metric = create()
    metric.update(batches[0])
    other = create()
    other.load_state_dict(copy.deepcopy(metric.state_dict()))
    for batch in batches[1:]:
        metric.update(batch)
        other.update(batch)
    assert other.compute() == metric.compute()


def mean_absolute_error(p, y):
    return abs(p - y.reshape(p.shape)).sum() / len(y)


def mean_squared_error(p, y):
    return ((p - y.reshape(p.shape)) ** 2).sum() / len(y)


def mean_pairwise_distance(p, y, degree=2, eps=1e-6):
    differences = abs(p - y + eps)
    if math.isinf(degree):
        return differences.max(axis=-1).sum() / len(p)
    return ((differences**degree).sum(axis=-1) ** (1 / degree)).sum() / len(p)


def cosine_similarity(p, y, eps):
    rows = [(a.ravel(), b.ravel()) for a, b in zip(p, y, strict=True)]
    return np.mean(
        [a @ b / (max(math.sqrt(a @ a), eps) * max(math.sqrt(b @ b), eps)) for a, b in rows]
    )


def probabilities(logits):
    """One row for each example and place, shape (M, C)."""
    return special.softmax(np.moveaxis(logits, 1, -1).reshape(-1, logits.shape[1]), axis=1)


def entropy(logits, _):
    return np.mean(stats.entropy(probabilities(logits), axis=1))


def mutual_information(logits, _):
    """The mean divergence of the distributions from their mean."""
    found = probabilities(logits)
    return np.mean(stats.entropy(found, np.broadcast_to(found.mean(axis=0), found.shape), axis=1))


def kl_divergence(p, y):
    return np.mean(stats.entropy(probabilities(y), probabilities(p), axis=1))


def js_divergence(p, y):
    return np.mean(distance.jensenshannon(probabilities(p), probabilities(y), axis=1) ** 2)


def squared_distances(x, y):
    return distance.cdist(x.reshape(len(x), -1), y.reshape(len(y), -1), "sqeuclidean")


def discrepancy(batches, var=1.0):
    """The kernel two-sample statistic, one pair of examples after the other."""
    values = []
    for x, y in batches:
        n = len(x)
        of_x, of_y, of_both = (
            np.exp(-squared_distances(*pair) / (2 * var)) for pair in ((x, x), (y, y), (x, y))
        )
        different = list(itertools.permutations(range(n), 2))
        within = sum(of_x[i, j] + of_y[i, j] for i, j in different) / len(different)
        values.append(within - 2 * sum(of_both[i, j] for i in range(n) for j in range(n)) / n**2)
    return math.sqrt(max(np.mean(values), 0.0))


def independence(batches, sigma_x=-1.0, sigma_y=-1.0):
    """The expectation that the unbiased criterion estimates, over all ways to draw four different examples."""
    values = []
    for x, y in batches:
        of_x, of_y = _gaussian(x, sigma_x), _gaussian(y, sigma_y)
        drawn = np.array(list(itertools.permutations(range(len(x)), 4)))
        i, j, q, r = drawn.T
        value = np.mean(
            of_x[i, j] * of_y[i, j] + of_x[i, j] * of_y[q, r] - 2 * of_x[i, j] * of_y[i, q]
        )
        values.append(max(value, 0.0))
    return np.mean(values)


def _gaussian(x, sigma):
    squares = squared_distances(x, x)
    variance = np.median(squares) if sigma < 0 else sigma**2
    return np.exp(-squares / (2 * variance))


def peak_signal_to_noise(p, y, data_range):
    errors = [((a - b) ** 2).mean() for a, b in zip(p, y, strict=True)]
    return np.mean([10 * math.log10(data_range**2 / (error or 1e-10)) for error in errors])


def similarity_of_scikit_image(p, y, radius, data_range, **window):
    """It leaves the border of the window's radius out, which here is the reflected one."""
    pad = [(radius, radius)] * (p.ndim - 2)
    values = [
        structural_similarity(
            *(np.pad(image, pad, mode="reflect") for image in pair),
            data_range=data_range,
            use_sample_covariance=False,
            **window,
        )
        for pair in zip(p.reshape(-1, *p.shape[2:]), y.reshape(-1, *y.shape[2:]), strict=True)
    ]
    return np.mean(values)


def similarity_by_definition(p, y, data_range, sizes, sigmas, k1=0.01, k2=0.03):
    """With a Gaussian window that may be of another size and width along each dimension."""

    def smooth(images):
        for axis, (size, sigma) in enumerate(zip(sizes, sigmas, strict=True), start=2):
            offsets = np.arange(size) - size // 2
            weights = np.exp(-(offsets**2) / (2 * sigma**2))
            images = ndimage.correlate1d(images, weights / weights.sum(), axis=axis, mode="mirror")
        return images

    c1, c2 = (k1 * data_range) ** 2, (k2 * data_range) ** 2
    mean_p, mean_y = smooth(p), smooth(y)
    var_p, var_y, cov = (
        smooth(p * p) - mean_p**2,
        smooth(y * y) - mean_y**2,
        smooth(p * y) - mean_p * mean_y,
    )
    luminance = (2 * mean_p * mean_y + c1) / (mean_p**2 + mean_y**2 + c1)
    return np.mean(luminance * (2 * cov + c2) / (var_p + var_y + c2))
