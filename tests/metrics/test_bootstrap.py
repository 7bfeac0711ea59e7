import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import (
    Accuracy,
    Average,
    Bootstrap,
    MeanAbsoluteError,
    MeanPairwiseDistance,
    Precision,
)


def errors(n=400):
    """Predictions whose absolute errors against zeros are their own values."""
    return torch.rand(n, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def fed(batches, **arguments):
    metric = Bootstrap(MeanAbsoluteError(), **arguments)
    for batch in batches:
        metric.update((batch, torch.zeros_like(batch)))
    return metric


@pytest.mark.parametrize("num_batches", [1, 7])
def test_mean_and_deviation_are_those_that_statistics_expects(num_batches):
    """The standard error of a mean; over 2000 resamples, the deviation is known to about 1 / sqrt(4000) = 1.6 %."""
    values = errors()
    found = fed(values.chunk(num_batches), num_resamples=2000).compute()
    standard_error = values.numpy().std() / np.sqrt(len(values))
    assert found["mean"] == pytest.approx(
        values.numpy().mean(), abs=4 * standard_error / np.sqrt(2000)
    )
    assert found["std"] == pytest.approx(standard_error, rel=0.07)
    # Of a normal distribution, 95 % are within 1.96 deviations.
    assert found["q2.5"] == pytest.approx(
        values.mean().item() - 1.96 * standard_error, abs=0.2 * standard_error
    )
    assert found["q97.5"] == pytest.approx(
        values.mean().item() + 1.96 * standard_error, abs=0.2 * standard_error
    )


def test_deviation_and_quantiles_agree_with_numpy_over_the_resamples():
    metric = fed([errors(30)], num_resamples=40, quantiles=(0.0, 0.1, 0.5, 1.0))
    values = np.array([resample.compute() for resample in metric._resamples])
    expected = {"mean": values.mean(), "std": values.std(ddof=1)}
    expected |= {f"q{q}": np.quantile(values, q / 100) for q in (0, 10, 50, 100)}
    assert metric.compute() == pytest.approx(expected)


def test_each_example_is_drawn_once_on_average_and_independently_in_each_resample():
    """Poisson numbers have mean and variance 1."""
    counts = torch.zeros(300, 50)
    drawn = Bootstrap(Average(), num_resamples=300)
    for i, resample in enumerate(drawn._resamples):
        resample.update = lambda chosen, i=i: counts[i].index_add_(
            0, chosen[0], torch.ones(len(chosen[0]))
        )
    drawn._probe.update = lambda output: None
    drawn.update((torch.arange(50),))
    assert counts.mean().item() == pytest.approx(1.0, abs=4 / np.sqrt(counts.numel()))
    assert counts.var().item() == pytest.approx(1.0, abs=0.1)
    assert len({tuple(row.tolist()) for row in counts}) == 300


def test_the_seed_determines_the_draws():
    same = [fed(errors(40).chunk(3), seed=3, num_resamples=20).compute() for _ in range(2)]
    assert same[0] == same[1]
    assert fed(errors(40).chunk(3), seed=4, num_resamples=20).compute() != same[0]
    torch.rand(5)
    metric = fed(errors(40).chunk(2), seed=3, num_resamples=20)
    metric.reset()
    for batch in errors(40).chunk(3):
        metric.update((batch, torch.zeros_like(batch)))
    assert metric.compute() == same[0]


def test_the_global_generator_is_not_used():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    fed([errors(10)], num_resamples=3)
    assert torch.equal(torch.rand(3), expected)


def test_batches_are_drawn_differently_from_each_other():
    """Otherwise the examples of equal places would come and go together, and the deviation be larger."""
    batch = errors(20)
    once, often = (
        fed([batch], num_resamples=500).compute(),
        fed([batch] * 16, num_resamples=500).compute(),
    )
    assert often["std"] == pytest.approx(once["std"] / 4, rel=0.2)


def test_values_of_several_elements_have_a_deviation_each():
    scores = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]] * 20)
    metric = Bootstrap(Precision(average=False), num_resamples=30, quantiles=[0.5])
    metric.update((scores, torch.tensor([0, 1, 1, 1] * 20)))
    found = metric.compute()
    values = np.array([resample.compute().tolist() for resample in metric._resamples])
    assert found["mean"].tolist() == pytest.approx(values.mean(axis=0).tolist())
    assert found["std"].tolist() == pytest.approx(values.std(axis=0, ddof=1).tolist())
    assert found["q50"].tolist() == pytest.approx(np.median(values, axis=0).tolist())
    assert found["std"][1] == 0.0  # all that are taken for the second class are of it


def test_attached_it_reads_outputs_as_the_metric_does():
    engine = Engine(
        lambda engine, batch: {"y_pred": batch, "y": torch.zeros_like(batch), "more": None}
    )
    Bootstrap(MeanAbsoluteError(), num_resamples=20, seed=3).attach(engine, "error")
    nested = Engine(lambda engine, batch: {"all": (batch, torch.zeros_like(batch))})
    metric = Bootstrap(MeanAbsoluteError(lambda output: output["all"]), num_resamples=20, seed=3)
    metric.attach(nested, "error")
    expected = fed(errors(40).chunk(4), num_resamples=20, seed=3).compute()
    for each in (engine, nested):
        found = each.run(errors(40).chunk(4), max_epochs=2).metrics
        assert found == {**expected, "error": expected}


def test_the_metric_itself_can_be_used_too():
    metric = MeanAbsoluteError()
    bootstrap = Bootstrap(metric, num_resamples=5)
    bootstrap.update((torch.ones(30), torch.zeros(30)))
    metric.update((torch.full((2,), 7.0), torch.zeros(2)))
    assert metric.compute() == 7.0
    assert bootstrap.compute() == {"mean": 1.0, "std": 0.0, "q2.5": 1.0, "q97.5": 1.0}


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_examples_have_a_value_although_some_resamples_are_empty(n):
    metric = Bootstrap(Accuracy(), num_resamples=100)
    metric.update((torch.ones(n), torch.ones(n)))
    assert metric.compute() == {"mean": 1.0, "std": 0.0, "q2.5": 1.0, "q97.5": 1.0}


def test_of_metrics_that_are_computed_from_others():
    metric = Bootstrap(2 * MeanPairwiseDistance() + 1, num_resamples=50)
    metric.update((torch.zeros(40, 2), torch.tensor([3.0, 4.0]).expand(40, 2)))
    assert metric.compute()["mean"] == pytest.approx(11.0, abs=1e-4)


def test_state_dicts_and_pickles_continue_with_the_same_draws():
    first, second = errors(40).chunk(2)
    expected = fed([first, second], num_resamples=10).compute()
    metric, loaded = fed([first], num_resamples=10), fed([], num_resamples=10)
    loaded.load_state_dict(metric.state_dict())
    for other in (loaded, pickle.loads(pickle.dumps(metric))):
        other.update((second, torch.zeros_like(second)))
        assert other.compute() == pytest.approx(expected, rel=1e-12)


def test_without_examples_there_is_no_value():
    with pytest.raises(NotComputableError, match="must have at least one example"):
        fed([]).compute()


@given(st.integers(max_value=1))
def test_at_least_two_resamples_are_needed(number):
    with pytest.raises(ValueError, match=f"num_resamples should be at least 2, but given {number}"):
        Bootstrap(Accuracy(), num_resamples=number)


@given(st.lists(st.floats(0, 1)), st.floats().filter(lambda value: not 0 <= value <= 1))
def test_quantiles_are_checked(good, bad):
    with pytest.raises(ValueError, match="quantiles should be from 0 to 1, but given") as raised:
        Bootstrap(Accuracy(), quantiles=[*good, bad])
    assert repr(bad) in str(raised.value)


@pytest.mark.parametrize(
    "output",
    [
        (torch.ones(3), torch.ones(2)),
        (torch.ones(3), [1, 1, 1]),
        (torch.ones(3), torch.ones(3), {"weight": 1}),
        torch.ones(3, 2),
        3.0,
        (),
    ],
    ids=str,
)
def test_outputs_that_cannot_be_drawn_from_are_refused(output):
    metric = Bootstrap(Accuracy(), num_resamples=3)
    with pytest.raises(
        (TypeError, ValueError), match="of the same length, but given|in output_transform"
    ):
        metric.update(output)


def test_a_batch_with_one_invalid_example_is_in_no_resample():
    metric = Bootstrap(Accuracy(), num_resamples=60)
    metric.update((torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])))
    before = metric.compute()
    for wrong in (0.5, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="must be comprised of 0's and 1's"):
            metric.update((torch.tensor([1.0, 1.0, wrong]), torch.ones(3)))
    assert metric.compute() == before
    one = (torch.tensor(1.0), torch.tensor(1.0))
    for mode in (torch.inference_mode, torch.no_grad, torch.inference_mode):
        with mode():
            metric.update(one)
    assert metric.compute()["mean"] > before["mean"]


def test_it_is_of_a_metric():
    with pytest.raises(TypeError, match="metric should be a Metric, but given <class 'function'>"):
        Bootstrap(lambda y_pred, y: 0)
