import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from ignite.metrics import Accuracy, Average, Loss, MeanSquaredError
from ignite.metrics.statistics import Reading, Totals
from support.classification_oracles import elsewhere

STATES = "__metric_state_per_rank"
NUM_EXAMPLES, BATCH = 10_000_000, 250_000


class WithoutDoubles(torch.Tensor):
    """A tensor that says it is on a device that has no float64."""

    device = torch.device("mps")
    is_cpu = False

    def to(self, device, dtype):
        assert torch.device(device) == self.device
        assert dtype != torch.float64
        return super().to(dtype)


def size_and_sum(output):
    return len(output), output.sum()


def one_and_value(output):
    return 1, output


def added_without_doubles(values):
    totals = Totals(one_and_value)
    for value in torch.tensor(values, dtype=torch.float32).as_subclass(WithoutDoubles):
        totals.update(Reading(value))
    (total,) = totals.values
    assert total.dtype == torch.float32
    return total.item()


@given(
    st.lists(st.lists(st.integers(-1000, 1000), max_size=5), min_size=1, max_size=6), st.booleans()
)
def test_integers_are_added_exactly(batches, is_elsewhere):
    totals = Totals(size_and_sum)
    for batch in batches:
        tensor = torch.tensor(batch, dtype=torch.int32)
        totals.update(Reading(elsewhere(tensor)[0] if is_elsewhere else tensor))
    (total,) = totals.values
    assert (int(total), total.dtype) == (sum(map(sum, batches)), torch.int64)
    assert totals.num_examples == sum(map(len, batches))


@given(st.lists(st.floats(-100, 100, width=16), min_size=1, max_size=20), st.booleans())
def test_floats_are_added_in_float64(values, is_elsewhere):
    totals = Totals(one_and_value)
    for value in torch.tensor(values, dtype=torch.float16):
        totals.update(Reading(elsewhere(value)[0] if is_elsewhere else value))
    (total,) = totals.values
    assert total.dtype == torch.float64
    assert total.item() == pytest.approx(math.fsum(values), rel=1e-12, abs=1e-12)


def test_without_float64_sums_are_compensated():
    assert added_without_doubles([2.0**24] + [1.0] * 5000) == 2**24 + 5000
    assert added_without_doubles([1.0, 2.0**60, 1.0, -(2.0**60)]) == 2.0


def test_without_float64_many_sums_are_as_exact_as_float32_allows():
    values = (1000 * torch.rand(6_000, generator=torch.Generator().manual_seed(0))).tolist()
    assert added_without_doubles(values) == pytest.approx(math.fsum(values), rel=1e-7)
    plain = torch.tensor(0.0)
    for value in values:
        plain = plain + value
    assert plain.item() != pytest.approx(math.fsum(values), rel=1e-7)  # the numbers are hard enough


def test_a_state_from_a_device_without_float64_continues_in_float64():
    metric = MeanSquaredError()
    metric.update((torch.zeros(1), torch.zeros(1)))
    (state,) = metric.state_dict()[STATES]
    metric.load_state_dict(
        {STATES: [{**state, "0.total_0": torch.tensor(2.0**24, dtype=torch.float32)}]}
    )
    for _ in range(1000):
        metric.update((torch.ones(1), torch.zeros(1)))
    assert metric.compute() == (2**24 + 1000) / 1001


@given(st.lists(st.floats(-100, 100, width=32) | st.just(math.nan), min_size=1), st.booleans())
def test_the_largest_is_kept_and_nan_propagates(values, is_elsewhere):
    totals = Totals(one_and_value, op="MAX")
    for value in torch.tensor(values, dtype=torch.float64):
        totals.update(Reading(elsewhere(value)[0] if is_elsewhere else value))
    expected = math.nan if any(map(math.isnan, values)) else max(values)
    assert totals.values[0].item() == pytest.approx(expected, rel=0, nan_ok=True)
    assert [part.op for part in totals.to_combine()] == ["SUM", "MAX"]


def test_an_update_that_raises_changes_nothing():
    def measure(output):
        if len(output) == 3:
            raise ValueError(f"no three: {len(output)}")
        return len(output), output.sum(), torch.tensor(1)

    totals = Totals(measure, num_values=2)
    assert totals.parts() == {"num_examples": 0, "total_0": None, "total_1": None}
    totals.update(Reading(torch.ones(2)))
    before = repr(totals.parts())
    with pytest.raises(ValueError, match="no three: 3"):
        totals.update(Reading(torch.ones(3)))
    assert repr(totals.parts()) == before
    other = Totals(measure, num_values=2)
    other.load(totals.parts())
    other.update(Reading(torch.ones(2)))
    assert [value.item() for value in other.values] == [4.0, 2]


def test_other_arguments_or_operations_are_other_totals():
    assert Totals(one_and_value).key == Totals(one_and_value).key
    others = [
        Totals(one_and_value),
        Totals(size_and_sum),
        Totals(one_and_value, (1,)),
        Totals(one_and_value, op="MAX"),
    ]
    assert len({totals.key for totals in others}) == 4
    assert str(others[0]) == "totals of one_and_value"


def large_sample(seed):
    """Numbers far from 0, for which plain sums in float32 are wrong."""
    return 1000 + torch.rand(NUM_EXAMPLES, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("create", [lambda: Loss(F.mse_loss), MeanSquaredError])
def test_errors_of_ten_million_examples(create):
    y_pred, y = large_sample(1), torch.zeros(NUM_EXAMPLES)
    metric = create()
    for batch in zip(y_pred.split(BATCH), y.split(BATCH), strict=True):
        metric.update(batch)
    assert metric.compute() == pytest.approx(np.mean(y_pred.double().numpy() ** 2), rel=1e-6)


def test_the_average_of_ten_million_examples():
    values, metric = large_sample(2), Average()
    for batch in values.unsqueeze(1).split(BATCH):
        metric.update(batch)
    assert metric.compute().item() == pytest.approx(np.mean(values.double().numpy()), rel=1e-6)


def test_the_accuracy_of_ten_million_examples():
    y_pred = (large_sample(3) > 1000.25).long()
    y, metric = torch.ones_like(y_pred), Accuracy()
    for batch in zip(y_pred.split(BATCH), y.split(BATCH), strict=True):
        metric.update(batch)
    assert metric.compute() == np.count_nonzero(y_pred.numpy()) / NUM_EXAMPLES
