import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import Max, Min, Sum

numbers = st.lists(st.floats(-100, 100) | st.integers(-100, 100), min_size=1, max_size=20)
AGGREGATES = [(Sum, math.fsum), (Max, max), (Min, min)]


@pytest.mark.parametrize(("create", "function"), AGGREGATES)
@given(numbers)
def test_of_numbers(create, function, values):
    engine = Engine(lambda engine, batch: batch)
    create().attach(engine, "value")
    assert engine.run(values).metrics["value"] == pytest.approx(function(values), abs=1e-9)


@pytest.mark.parametrize(("create", "function"), AGGREGATES)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5).filter(any))
def test_of_batches_column_by_column(create, function, sizes):
    generator = torch.Generator().manual_seed(sum(sizes))
    metric, rows = create(), []
    for size in sizes:
        batch = torch.randn(size, 3, generator=generator, dtype=torch.float64)
        rows += batch.tolist()
        metric.update(batch)
    expected = [function(column) for column in zip(*rows, strict=True)]
    assert metric.compute().tolist() == pytest.approx(expected)
    assert metric.num_examples == len(rows)


@pytest.mark.parametrize(("create", "function"), AGGREGATES)
def test_all_three_beside_each_other_do_not_mix(create, function):
    values = [3.0, -1.0, 7.0]
    engine = Engine(lambda engine, batch: batch)
    for other, _ in AGGREGATES:
        other().attach(engine, other.__name__)
    assert engine.run(values, max_epochs=2).metrics[create.__name__] == function(values)


@pytest.mark.parametrize("create", [Sum, Max, Min])
def test_nan_remains(create):
    metric = create()
    for value in (1.0, math.nan, 2.0):
        metric.update(value)
    assert math.isnan(metric.compute())


@pytest.mark.parametrize("create", [Sum, Max, Min])
def test_nothing_and_no_number_are_refused(create):
    metric = create()
    with pytest.raises(
        NotComputableError, match=f"{create.__name__} must have at least one example"
    ):
        metric.compute()
    metric.update(2.0)
    with pytest.raises(TypeError, match="Output should be a number or torch.Tensor"):
        metric.update("two")
    with pytest.raises(ValueError, match=r"Examples should be of shape \(\) as before"):
        metric.update(torch.ones(2, 3))
    assert metric.compute() == 2.0
