import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.metrics.regression import PearsonCorrelation
from ignite.metrics.statistics import Moments, Reading

STATES = "__metric_state_per_rank"


def pair(output):
    return output


def expected_moments(x, y):
    """In two passes, in long double."""
    x, y = x.astype(np.longdouble), y.astype(np.longdouble)
    dx, dy = x - x.mean(), y - y.mean()
    return [float(value) for value in (len(x), x.mean(), y.mean(), dx @ dx, dy @ dy, dx @ dy)]


def found_moments(moments):
    """The same, from what is held."""
    found = moments.joined()
    product = found.correlation * found.norms[0] * found.norms[1]
    return [found.num_examples, *found.means, *(norm**2 for norm in found.norms), product]


def far_pairs(n, seed=0):
    """Means of 1e6, standard deviations of 1, correlated."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return 1e6 + x, -1e6 + 0.6 * x + 0.8 * rng.normal(size=n)


def batches_of(x, y, size):
    return list(zip(torch.from_numpy(x).split(size), torch.from_numpy(y).split(size), strict=True))


@given(
    st.lists(st.tuples(*[st.integers(-100, 100)] * 2), min_size=1, max_size=20),
    st.lists(st.integers(1, 5), min_size=20, max_size=20),
    st.sampled_from([torch.float16, torch.float32, torch.float64]),
)
def test_they_are_those_of_all_pairs(pairs, sizes, dtype):
    moments, rest = Moments(pair), torch.tensor(pairs).to(dtype)
    for size in sizes:
        moments.update(Reading(tuple(rest[:size].T)))  # empty at the end
        rest = rest[size:]
    expected = expected_moments(*np.array(pairs, dtype=float).T)
    assert found_moments(moments) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert (moments.num_examples, moments.rows.dtype) == (len(pairs), torch.float64)


def test_large_means_do_not_cancel():
    x, y = far_pairs(20_000)
    moments = Moments(pair)
    for batch in batches_of(x, y, 333):
        moments.update(Reading(batch))
    assert found_moments(moments) == pytest.approx(expected_moments(x, y), rel=1e-9)


@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_moments_joined_from_processes_continue(num_processes):
    x, y = far_pairs(9_000, seed=1)
    batches = batches_of(x, y, 300)
    states = []
    for rank in range(num_processes):
        metric = PearsonCorrelation()
        for batch in batches[rank : 20 : num_processes + 1]:
            metric.update(batch)
        states += metric.state_dict()[STATES]
    states.append(PearsonCorrelation().state_dict()[STATES][0])  # of one that has seen nothing
    metric = PearsonCorrelation()
    metric.load_state_dict({STATES: states})
    seen = [
        batch for rank in range(num_processes) for batch in batches[rank : 20 : num_processes + 1]
    ]
    for more in ([], batches[20:22], batches[22:]):
        for batch in more:
            metric.update(batch)
        seen += more
        expected = expected_moments(
            *(torch.cat(values).numpy() for values in zip(*seen, strict=True))
        )
        (moments,) = metric._statistics_in_use()
        assert found_moments(moments) == pytest.approx(expected, rel=1e-9)
        assert moments.num_examples == expected[0]
        assert metric.compute() == pytest.approx(
            expected[5] / math.sqrt(expected[3] * expected[4]), rel=1e-9
        )


def test_an_empty_batch_changes_nothing():
    moments = Moments(pair)
    moments.update(Reading((torch.ones(0), torch.ones(0))))
    assert moments.parts() == {"num_examples": 0, "rows": None}
    moments.update(Reading((torch.tensor([2.0]), torch.tensor([3.0]))))
    moments.update(Reading((torch.ones(0), torch.ones(0))))
    assert found_moments(moments) == [1, 2, 3, 0, 0, 0]
    moments.reset()
    assert moments.parts() == {"num_examples": 0, "rows": None}


def test_a_process_has_one_row_of_constant_size():
    moments = Moments(pair)
    for batch in batches_of(*far_pairs(100), 7):
        moments.update(Reading(batch))
        assert moments.rows.shape == (1, 8)
    assert [part.op for part in moments.to_combine()] == ["SUM", "ROWS"]


def test_other_arguments_are_other_moments():
    assert Moments(pair, (1,)).key == Moments(pair, (1,)).key != Moments(pair, (2,)).key


def whole(values):
    """Floating point numbers as integers, in units of the smallest power of two that they need."""
    pairs = [value.as_integer_ratio() for value in values]
    unit = max(denominator for _, denominator in pairs)
    return [numerator * (unit // denominator) for numerator, denominator in pairs]


def exact_correlation(x, y):
    """Of floating point numbers as they are, in integers."""
    x, y = (
        [len(values) * value - total for value in values]
        for values, total in ((each, sum(each)) for each in (whole(x), whole(y)))
    )
    product = sum(a * b for a, b in zip(x, y, strict=True))
    size = math.sqrt(product**2 / (sum(a * a for a in x) * sum(b * b for b in y)))
    return size if product > 0 else -size


@pytest.mark.parametrize("scale", [1e-280, 1e-30, 1.0, 1e30, 1e280])
@pytest.mark.parametrize("offset", [0.0, 1e12])
@pytest.mark.parametrize("size", [3, 100, 4500])
def test_neither_units_nor_offsets_matter(scale, offset, size):
    """In batches that wait, that do not, and in more of them than are held."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=2 * size if size > 3 else 900)
    y = 0.8 * x + 0.6 * rng.normal(size=len(x))
    x, y = (x + offset) * scale, (offset / 2 - y) / scale
    moments = Moments(pair)
    for batch in batches_of(x, y, size):
        moments.update(Reading(batch))
    expected = exact_correlation(x.tolist(), y.tolist())
    assert moments.joined().correlation == pytest.approx(expected, rel=1e-9)


def test_an_outlier_in_front_costs_no_digits():
    x = np.array([1e6, *np.arange(1000.0)])
    y = np.array([0.0, *(np.arange(1000.0) ** 2)])
    for size in (1001, 1, 7):
        moments = Moments(pair)
        for batch in batches_of(x, y, size):
            moments.update(Reading(batch))
        assert found_moments(moments) == pytest.approx(expected_moments(x, y), rel=1e-9)


@pytest.mark.parametrize("value", [0.1, 1e15 + 0.3, -1e-200])
def test_equal_numbers_do_not_deviate_at_all(value):
    moments = Moments(pair)
    for n in (3, 10, 7, 5000):
        moments.update(
            Reading(
                (torch.full((n,), value, dtype=torch.float64), torch.rand(n, dtype=torch.float64))
            )
        )
    found = moments.joined()
    assert found.norms[0] == 0.0 != found.norms[1]
    assert found.correlation == 0.0
