import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite.engine import Engine, Events
from ignite.exceptions import NotComputableError
from ignite.metrics import Average, Best, MetricGroup


def by_epoch(values):
    """An engine whose output, in each epoch, is the value of that epoch."""
    return Engine(lambda engine, batch: values[engine.state.epoch - 1])


def run(engine, num_epochs):
    engine.state.max_epochs = None
    return engine.run([0, 0], max_epochs=num_epochs).metrics


numbers = st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=8)


@given(numbers, st.sampled_from(["min", "max"]))
def test_the_best_is_the_first_of_the_extreme_values_so_far(values, mode):
    values = [1e7 if mode == "min" else -1e7, *values]
    engine, best, seen, expected = by_epoch(values), Best(Average(), mode), [], []
    best.attach(engine, "best")
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: seen.append((engine.state.metrics["best"], best.epoch))
    )
    for i in range(len(values)):
        known = [value for value in values[: i + 1] if value == value]
        extreme = min(known) if mode == "min" else max(known)
        expected.append((extreme, values.index(extreme) + 1))
    run(engine, len(values))
    assert seen == expected
    assert (best.best, best.epoch) == expected[-1]


def test_the_metric_can_be_attached_too():
    engine, mean = by_epoch([2.0, 5.0, 3.0]), Average()
    mean.attach(engine, "mean")
    Best(mean, "max").attach(engine, "best")
    Best(1 - mean, "min").attach(engine, "worst")
    assert run(engine, 3) == {"mean": 3.0, "best": 5.0, "worst": -4.0}


def test_it_works_as_an_ingredient_and_in_a_group():
    engine = by_epoch([2.0, 5.0, 3.0])
    (Best(Average(), "max") * 2).attach(engine, "double")
    MetricGroup({"best": Best(Average(), "max")}).attach(engine, "group")
    found = run(engine, 3)
    assert found["double"] == 10.0
    assert found["group"] == {"best": 5.0}


def test_each_usage_has_its_own_best_value():
    engine, best = by_epoch([5.0, 3.0]), Best(Average(), "max")
    best.attach(engine, "epoch")
    run(engine, 1)
    best.attach(engine, "batch", "batch_wise")
    engine.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: seen.append(engine.state.metrics["batch"])
    )
    seen = []
    engine._process_function = lambda engine, batch: 1.0
    run(engine, 1)
    assert seen == [1.0, 1.0]
    assert engine.state.metrics == {"epoch": 5.0, "batch": 1.0}


def test_compute_includes_the_present_value():
    best = Best(Average(), "max")
    best.update(3.0)
    assert best.compute() == 3.0
    assert best.best is None
    best.update(1.0)
    assert best.compute() == 2.0


def test_reset_keeps_the_best_value_and_forget_clears_it():
    engine, best = by_epoch([5.0, 3.0]), Best(Average(), "max")
    best.attach(engine, "best")
    run(engine, 2)
    best.reset()
    assert (best.best, best.epoch) == (5.0, 1)
    best.forget()
    assert (best.best, best.epoch) == (None, None)
    engine._process_function = lambda engine, batch: 1.0
    assert run(engine, 1) == {"best": 1.0}


def test_state_dicts_and_pickles_keep_the_best_value():
    engine, best = by_epoch([3.0, 5.0, 4.0]), Best(Average(), "max")
    best.attach(engine, "best")
    run(engine, 3)
    loaded = Best(Average(), "max")
    loaded.load_state_dict(best.state_dict())
    for other in (loaded, pickle.loads(pickle.dumps(best))):
        assert (other.best, other.epoch) == (5.0, 2)
        later = by_epoch([1.0])
        other.attach(later, "best")
        assert run(later, 1) == {"best": 5.0}
        assert other.epoch == 2


@pytest.mark.parametrize("value", [torch.tensor(2.0), torch.tensor([2.0]), 2, 2.0])
def test_values_of_one_element_are_numbers(value):
    best = Best(Average(), "max")
    best.update(value)
    assert best.compute() == 2.0
    assert type(best.compute()) is float


def test_without_a_number_there_is_no_best():
    best = Best(Average(), "max")
    best.update(float("nan"))
    with pytest.raises(
        NotComputableError, match="Best must have at least one value that is a number"
    ):
        best.compute()
    with pytest.raises(NotComputableError, match="Average must have at least one example"):
        Best(Average(), "max").compute()


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="metric should be a Metric, but given <class 'str'>"):
        Best("accuracy")
    with pytest.raises(ValueError, match="mode should be 'min' or 'max', but given 'highest'"):
        Best(Average(), "highest")
