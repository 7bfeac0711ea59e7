"""Definitions of the metrics in float64, and checks of each metric against them."""

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from scipy import stats

from ignite.exceptions import NotComputableError

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
STATES = "__metric_state_per_rank"

eighths = st.integers(-2000, 2000).map(lambda i: i / 8)
"""With ties, and exact in all dtypes but bfloat16."""
numbers = eighths | st.floats(-1000, 1000, width=16)
nonzero = st.integers(1, 2000).map(lambda i: i / 8) | st.integers(-2000, -1).map(lambda i: i / 8)
positive = st.floats(0, 1000, width=16)


@dataclass
class Case:
    y_pred: np.ndarray
    y: np.ndarray
    batches: list


@st.composite
def cases(draw, y_pred=numbers, y=numbers):
    """Pairs of numbers in any dtype and shape, cut into batches of any size, and the same in float64."""
    sizes = draw(st.lists(st.integers(0, 7), min_size=1, max_size=5).filter(any))
    dtype, has_columns = draw(st.sampled_from(DTYPES)), draw(st.booleans())
    n = sum(sizes)
    drawn = [draw(st.lists(values, min_size=n, max_size=n)) for values in (y_pred, y)]
    tensors = [torch.tensor(values, dtype=torch.float64).to(dtype) for values in drawn]
    parts = [(tensor.unsqueeze(1) if has_columns else tensor).split(sizes) for tensor in tensors]
    return Case(*(tensor.double().numpy() for tensor in tensors), list(zip(*parts, strict=True)))


def check(create, oracle, case, rel=1e-9):
    """After each batch, after a wrong one, and joined from what two processes have seen."""
    metric, seen = create(), 0
    for batch in case.batches:
        metric.update(batch)
        seen += len(batch[0])
        if seen:
            assert metric.compute() == near(oracle(case.y_pred[:seen], case.y[:seen]), rel)
    value = metric.compute()
    for wrong in (torch.ones(2, 2), torch.ones(2, dtype=torch.int64)):
        with pytest.raises((TypeError, ValueError), match="but given"):
            metric.update((wrong, wrong))
    assert metric.compute() == near(value, 0.0)
    cut = len(case.batches) // 2
    states = [state_of(create(), batches) for batches in (case.batches[:cut], case.batches[cut:])]
    joined = create()
    joined.load_state_dict({STATES: states})
    assert joined.compute() == near(oracle(case.y_pred, case.y), rel)


def near(value, rel):
    return pytest.approx(value, rel=rel, abs=rel, nan_ok=True)


def state_of(metric, batches):
    for batch in batches:
        metric.update(batch)
    return metric.state_dict()[STATES][0]


def check_needs_examples(create):
    metric = create()
    for batches in ([], [(torch.ones(0), torch.ones(0))]):
        state_of(metric, batches)
        with pytest.raises(
            NotComputableError, match=f"{type(metric).__name__} must have at least one example"
        ):
            metric.compute()


def check_is_zero_without_examples(create):
    metric = create()
    assert metric.compute() == 0.0
    metric.update((torch.ones(0), torch.ones(0)))
    assert metric.compute() == 0.0


def check_refuses_zeros(create):
    """On the CPU at once; elsewhere they are counted, which the state shows."""
    metric = create()
    metric.update((torch.tensor([3.0]), torch.tensor([2.0])))
    value = metric.compute()
    with pytest.raises(NotComputableError, match=r"The ground truth has 0\."):
        metric.update((torch.tensor([3.0, 1.0]), torch.tensor([2.0, 0.0])))
    assert metric.compute() == value
    state = metric.state_dict()[STATES][0]
    metric.load_state_dict({STATES: [{**state, "0.total_1": torch.tensor(1)}]})
    with pytest.raises(NotComputableError, match=r"The ground truth has 0\."):
        metric.compute()


def quotients(numerator, denominator):
    """0/0 is 0, x/0 infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(numerator == 0, 0.0, numerator / denominator)


def symmetric(p, a):
    return quotients(abs(a - p), abs(a) + abs(p))


def relative_to_mean(p, a):
    return quotients(abs(a - p), abs(a - a.mean()))


def geometric_mean(values):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.exp(np.mean(np.log(values)))


def middle(values):
    values = sorted(values)
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2


def by_scipy(function, p, a, **kwargs):
    """A correlation of `scipy.stats`; NaN where it is not defined, without warnings."""
    if len(p) < 2 or np.ptp(p) == 0 or np.ptp(a) == 0:
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(p, a, **kwargs).statistic


def pearson(p, a):
    if np.ptp(p) == 0 or np.ptp(a) == 0:
        return 0.0
    p, a = p - p.mean(), a - a.mean()
    return np.mean(p * a) / (np.sqrt(np.mean(p * p)) * np.sqrt(np.mean(a * a)))


def spearman(p, a):
    return by_scipy(stats.spearmanr, p, a)


def kendall(p, a, variant="b"):
    return by_scipy(stats.kendalltau, p, a, variant=variant)
