import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import Average, VariableAccumulation

numbers = st.lists(st.floats(-100, 100), min_size=1, max_size=20)


@given(numbers)
def test_the_average_of_numbers_is_their_mean(values):
    engine = Engine(lambda engine, batch: batch)
    Average().attach(engine, "mean")
    assert engine.run(values).metrics["mean"] == pytest.approx(sum(values) / len(values))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_the_first_dimension_of_a_batch_counts_examples(sizes):
    metric, rows = Average(), []
    for i, size in enumerate(sizes):
        batch = torch.arange(size * 2, dtype=torch.float32).reshape(size, 2) + i
        rows += batch.tolist()
        metric.update(batch)
    expected = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    assert metric.compute().tolist() == pytest.approx(expected)
    assert metric.num_examples == len(rows)


def test_a_vector_is_one_example():
    metric = Average()
    metric.update(torch.tensor([1.0, 3.0]))
    metric.update(torch.tensor([3.0, 5.0]))
    assert metric.compute().tolist() == [2.0, 4.0]


def test_what_is_no_number_is_refused_and_changes_nothing():
    metric = Average()
    metric.update(2.0)
    with pytest.raises(TypeError, match="Output should be a number or torch.Tensor, but given <class 'str'>"):
        metric.update("two")
    assert metric.compute().item() == 2.0


def test_an_average_of_nothing_cannot_be_computed():
    with pytest.raises(NotComputableError, match="Average must have at least one example"):
        Average().compute()


def test_any_operation_accumulates():
    metric = VariableAccumulation(lambda total, x: torch.maximum(total, torch.as_tensor(x, dtype=torch.float64)))
    for value in (3.0, 7.0, 5.0):
        metric.update(value)
    total, count = metric.compute()
    assert (total.item(), count) == (7.0, 3)
    with pytest.raises(TypeError, match="Argument op should be a callable, but given"):
        VariableAccumulation(3)


def test_sums_do_not_lose_small_addends():
    metric = Average()
    metric.update(1e8)
    for _ in range(10):
        metric.update(torch.tensor(1.0))
    assert metric.compute().item() == (1e8 + 10) / 11
