import math
import pickle

import pytest
import torch
from sklearn.metrics import median_absolute_error

from ignite.engine import Engine
from ignite.metrics import regression
from ignite.metrics.regression import (
    CanberraMetric,
    FractionalAbsoluteError,
    GeometricMeanRelativeAbsoluteError,
    KendallRankCorrelation,
    ManhattanDistance,
    MeanAbsolutePercentageError,
    MeanAbsoluteRelativeError,
    MeanError,
    MedianAbsoluteError,
    PearsonCorrelation,
    R2Score,
    SpearmanRankCorrelation,
    SymmetricMeanAbsolutePercentageError,
)
from ignite.metrics.regression._base import _BaseRegression, read_pair
from ignite.metrics.statistics._statistic import Copies

METRICS = [
    getattr(regression, name) for name in regression.__all__ if not name.endswith("_compute_fn")
]
MEDIANS = [create for create in METRICS if create.__name__.startswith("Median")]
each_metric = pytest.mark.parametrize("create", METRICS)
STRICT = [create for create in METRICS if create not in MEDIANS]


@pytest.mark.parametrize("create", STRICT)
@pytest.mark.parametrize(
    ("y_pred", "y", "error", "words"),
    [
        (
            torch.ones(2, 1, 1),
            torch.ones(2),
            ValueError,
            r"y_pred should have shape .* given \(2, 1, 1\)",
        ),
        (
            torch.ones(()),
            torch.ones(2),
            ValueError,
            r"Input data shapes should be the same, but given \(1,\) and \(2,\)",
        ),
        (
            torch.ones(2, 2),
            torch.ones(2, 2),
            ValueError,
            r"Input y_pred should have shape \(N,\) or \(N, 1\)",
        ),
        (
            torch.ones(2),
            torch.ones(2, 3),
            ValueError,
            r"Input y should have shape .*, but given \(2, 3\)",
        ),
        (
            torch.ones(2),
            torch.ones(3),
            ValueError,
            r"Input data shapes should be the same, but .* \(2,\) and \(3,\)",
        ),
        (torch.ones(2), torch.ones(2, 1), ValueError, "Input data shapes should be the same"),
        (
            torch.ones(2).long(),
            torch.ones(2),
            TypeError,
            "y_pred dtype should be float 16, 32 or 64.*torch.int64",
        ),
        (
            torch.ones(2),
            torch.ones(2).bool(),
            TypeError,
            "Input y dtype should be float 16, 32 or 64.*torch.bool",
        ),
    ],
)
def test_wrong_input_is_refused_with_what_was_given(create, y_pred, y, error, words):
    metric = create()
    with pytest.raises(error, match=words):
        metric.update((y_pred, y))
    metric.update((torch.tensor([1.0, 3.0, 5.0]), torch.tensor([1.0, 2.0, 4.0])))
    other = create()
    other.update((torch.tensor([1.0, 3.0, 5.0]), torch.tensor([1.0, 2.0, 4.0])))
    assert metric.compute() == other.compute()


@pytest.mark.parametrize("create", MEDIANS)
@pytest.mark.parametrize(
    ("y_pred", "y", "words"),
    [
        (
            torch.ones(2, 1, 1),
            torch.ones(2),
            r"Predictions should be of shape \(batch_size, n_targets\)",
        ),
        (
            torch.ones(2),
            torch.ones(2, 1, 1),
            r"Targets should be of shape \(batch_size, n_targets\)",
        ),
        (
            torch.ones(2, 3),
            torch.ones(2, 4),
            r"same shape \(N,\) or \(N, K\), but given \(2, 3\) and \(2, 4\)",
        ),
        (
            torch.ones(2),
            torch.ones(2, 3),
            r"same shape \(N,\) or \(N, K\), but given \(2,\) and \(2, 3\)",
        ),
        (torch.ones(3), torch.ones(2), "the same number of rows"),
    ],
)
def test_medians_refuse_other_columns_and_lengths(create, y_pred, y, words):
    with pytest.raises(ValueError, match=words):
        create().update((y_pred, y))


def test_pairs_are_read_without_gradients():
    y = torch.tensor([[0.1], [3.0]], dtype=torch.bfloat16, requires_grad=True)
    pair = read_pair((y, y))
    assert [(tensor.dtype, tensor.shape, tensor.requires_grad) for tensor in pair] == [
        (y.dtype, (2,), False)
    ] * 2
    assert pair[0].tolist() == [0.10009765625, 3.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_sums_of_narrow_numbers_are_those_of_wide_ones(dtype):
    generator = torch.Generator().manual_seed(0)
    y_pred, y = (100 * torch.randn(2, 20000, generator=generator)).to(dtype)
    metric = ManhattanDistance()
    for batch in zip(y_pred.split(999), y.split(999), strict=True):
        metric.update(batch)
    expected = math.fsum(abs(a - p) for p, a in zip(y_pred.tolist(), y.tolist(), strict=True))
    assert metric.compute() == pytest.approx(expected, rel=1e-6)


@each_metric
def test_updates_do_not_wait_for_an_accelerator(create):
    metric = create()
    for _ in range(2):  # meta tensors have no values: whatever looked at them would raise
        metric.update((torch.ones(3, device="meta"), torch.ones(3, device="meta")))
    assert metric._statistics_in_use()[0].num_examples == 6


@each_metric
def test_copies_continue_independently(create):
    metric = create()
    metric.update((torch.tensor([1.0, 3.0]), torch.tensor([2.0, 5.0])))
    copy = pickle.loads(pickle.dumps(metric))
    more = (torch.tensor([7.0, 9.0, 8.0]), torch.tensor([6.0, 1.0, 3.0]))
    copy.update(more)
    before = metric.compute()
    metric.update(more)
    assert copy.compute() == metric.compute() != before


def statistics_of(creates):
    """How many statistics the metrics of an engine have together."""
    metrics = [create() for create in creates]
    engine = Engine(
        lambda engine, batch: (torch.tensor([1.0, 3.0, 2.0]), torch.tensor([1.0, 2.0, 4.0]))
    )
    for i, metric in enumerate(metrics):
        metric.attach(engine, str(i))
    values = engine.run([0]).metrics
    for i, create in enumerate(creates):
        alone = create()
        alone.update(engine.state.output)
        assert values[str(i)] == alone.compute()
    return len({id(statistic) for metric in metrics for statistic in metric._statistics_in_use()})


@pytest.mark.parametrize(
    ("creates", "num_statistics"),
    [
        (
            [
                *MEDIANS,
                GeometricMeanRelativeAbsoluteError,
                SpearmanRankCorrelation,
                KendallRankCorrelation,
            ],
            1,
        ),
        ([CanberraMetric, FractionalAbsoluteError, SymmetricMeanAbsolutePercentageError], 1),
        ([MeanAbsoluteRelativeError, MeanAbsolutePercentageError], 1),
        ([PearsonCorrelation, R2Score], 1),
        ([MeanError, ManhattanDistance, MedianAbsoluteError], 3),
    ],
)
def test_what_is_the_same_is_accumulated_once(creates, num_statistics):
    assert statistics_of(creates) == num_statistics


def test_the_output_is_copied_once_for_all_metrics_of_an_engine(monkeypatch):
    calls = []
    monkeypatch.setattr(Copies, "__init__", counted(Copies.__init__, calls))
    engine = Engine(lambda engine, batch: (torch.tensor([1.0, 3.0]), torch.tensor([1.0, 2.0])))
    creates = [PearsonCorrelation, R2Score, CanberraMetric, ManhattanDistance, MeanError]
    for create in creates:
        create().attach(engine, create.__name__)
    engine.run([0, 1, 2])
    assert len(calls) == 3


def counted(function, calls):
    def call(*args):
        calls.append(args)
        return function(*args)

    return call


@pytest.mark.parametrize("create", MEDIANS)
@pytest.mark.parametrize("num_outputs", [2, 3])
def test_of_several_outputs_it_is_the_mean_of_medians(create, num_outputs):
    y_pred, y = (
        torch.rand(
            2, 11, num_outputs, generator=torch.Generator().manual_seed(0), dtype=torch.float64
        )
        + 0.5
    )
    metric = create()
    for batch in zip(y_pred.split(4), y.split(4), strict=True):
        metric.update(batch)
    each = [create() for _ in range(num_outputs)]
    for i, single in enumerate(each):
        single.update((y_pred[:, i], y[:, i]))
    assert metric.compute() == pytest.approx(sum(single.compute() for single in each) / num_outputs)
    if create is MedianAbsoluteError:
        assert metric.compute() == pytest.approx(median_absolute_error(y, y_pred))


class Bias(_BaseRegression):
    """As it is written for Ignite."""

    def reset(self):
        self.total = 0.0

    def _update(self, output):
        y_pred, y = output
        assert y_pred.shape == y.shape == (2,)
        self.total += (y - y_pred).sum().item()

    def compute(self):
        return self.total


def test_subclasses_written_for_ignite_get_checked_and_flat_pairs():
    metric = Bias()
    metric.update((torch.ones(2, 1), torch.tensor([[2.0], [4.0]])))
    assert metric.compute() == 4.0
    with pytest.raises(TypeError, match="Input y dtype should be float 16, 32 or 64"):
        metric.update((torch.ones(2), torch.ones(2).long()))
