from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import Engine, Events
from ignite.exceptions import NotComputableError
from ignite.metrics import Average, GeometricAverage, VariableAccumulation

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
    with pytest.raises(
        TypeError, match="Output should be a number or torch.Tensor, but given <class 'str'>"
    ):
        metric.update("two")
    assert metric.compute().item() == 2.0


def test_an_average_of_nothing_cannot_be_computed():
    with pytest.raises(NotComputableError, match="Average must have at least one example"):
        Average().compute()


def test_an_epoch_whose_iterations_were_all_skipped_says_so_and_the_next_run_has_its_average():
    engine = Engine(lambda engine, batch: batch)
    Average().attach(engine, "mean")
    skips = engine.add_event_handler(
        Events.ITERATION_STARTED, lambda engine: engine.skip_iteration()
    )
    with pytest.raises(NotComputableError) as error_info:
        engine.run([1.0, 2.0])
    assert "all iterations failed or were skipped" in " ".join(error_info.value.__notes__)
    assert "terminate_epoch(skip_epoch_completed=True)" in " ".join(error_info.value.__notes__)
    skips.remove()
    assert engine.run([1.0, 2.0]).metrics["mean"] == 1.5


def test_any_operation_accumulates():
    metric = VariableAccumulation(
        lambda total, x: torch.maximum(total, torch.as_tensor(x, dtype=torch.float64))
    )
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


@pytest.mark.parametrize("create", [Average, GeometricAverage])
@pytest.mark.parametrize(
    "kind", [np.float32, np.float64, np.int64, np.uint8, np.array, Fraction, torch.tensor]
)
def test_numbers_of_any_kind_are_numbers(create, kind):
    metric, plain = create(), create()
    for value in (2, 8, 4):
        metric.update(kind(value))
        plain.update(float(value))
    assert float(metric.compute()) == float(plain.compute())


@pytest.mark.parametrize("create", [Average, GeometricAverage])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (torch.arange(1.0, 5), torch.ones(1)),
        (torch.ones(1), torch.ones(4)),
        (torch.ones(2, 3), torch.ones(2)),
        (torch.ones(2, 3), torch.ones(2, 1)),
        (torch.ones(3), 2.0),
        (2.0, torch.ones(3)),
        (torch.ones(5, 2, 3), torch.ones(5, 3)),
    ],
)
def test_examples_of_other_shapes_are_refused_and_change_nothing(create, first, second):
    metric = create()
    metric.update(first)
    before = metric.compute()
    with pytest.raises(
        ValueError, match=r"Examples should be of shape .* as before, but given one of shape"
    ):
        metric.update(second)
    assert torch.equal(torch.as_tensor(metric.compute()), torch.as_tensor(before))


def test_a_number_and_a_tensor_of_one_go_together():
    metric = Average()
    for output in (1.0, torch.tensor([3.0]), torch.tensor(5.0)):
        metric.update(output)
    assert float(metric.compute()) == 3.0
