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
    assert moments.joined().tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert (moments.num_examples, moments.joined().dtype) == (len(pairs), torch.float64)


def test_large_means_do_not_cancel():
    x, y = far_pairs(20_000)
    moments = Moments(pair)
    for batch in batches_of(x, y, 333):
        moments.update(Reading(batch))
    assert moments.joined().tolist() == pytest.approx(expected_moments(x, y), rel=1e-9)


@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_joined_from_processes_they_go_on(num_processes):
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
    seen = [batch for rank in range(num_processes) for batch in batches[rank : 20 : num_processes + 1]]
    for more in ([], batches[20:22], batches[22:]):
        for batch in more:
            metric.update(batch)
        seen += more
        expected = expected_moments(*(torch.cat(values).numpy() for values in zip(*seen, strict=True)))
        (moments,) = metric._statistics_in_use()
        assert moments.joined().tolist() == pytest.approx(expected, rel=1e-9)
        assert moments.num_examples == expected[0]
        assert metric.compute() == pytest.approx(expected[5] / math.sqrt(expected[3] * expected[4]), rel=1e-9)


def test_nothing_changes_nothing():
    moments = Moments(pair)
    moments.update(Reading((torch.ones(0), torch.ones(0))))
    assert moments.parts() == {"num_examples": 0, "rows": None}
    moments.update(Reading((torch.tensor([2.0]), torch.tensor([3.0]))))
    moments.update(Reading((torch.ones(0), torch.ones(0))))
    assert moments.joined().tolist() == [1, 2, 3, 0, 0, 0]
    moments.reset()
    assert moments.parts() == {"num_examples": 0, "rows": None}


def test_a_process_has_one_row_of_constant_size():
    moments = Moments(pair)
    for batch in batches_of(*far_pairs(100), 7):
        moments.update(Reading(batch))
        assert moments.rows.shape == (1, 6)
    assert [part.op for part in moments.to_combine()] == ["SUM", "ROWS"]


def test_other_arguments_are_other_moments():
    assert Moments(pair, (1,)).key == Moments(pair, (1,)).key != Moments(pair, (2,)).key
