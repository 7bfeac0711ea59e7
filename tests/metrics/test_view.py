import copy
import gc
import weakref

import pytest
import torch

from ignite.engine import Engine, Events
from ignite.exceptions import NotComputableError
from ignite.metrics import (
    Accuracy,
    Average,
    BatchFiltered,
    ConfusionMatrix,
    EpochMetric,
    Loss,
    Precision,
    VariableAccumulation,
)

BATCHES = [1.0, 2.0, 6.0, 11.0]
"""Of which the means of the first 1, 2, 3 and 4 are 1, 1.5, 3 and 5."""


def echo():
    return Engine(lambda engine, batch: batch)


def accumulated(metric):
    (statistic,) = metric._statistics_in_use()
    return statistic


def attached(engine, *metrics):
    for i, metric in enumerate(metrics):
        metric.attach(engine, f"m{i}")
    return metrics


def test_metrics_with_unhashable_transforms_share_nothing():
    class Unhashable:
        __hash__ = None

        def __call__(self, output):
            return 2 * output

    transform, engine = Unhashable(), echo()
    first, second = attached(engine, Average(transform), Average(transform))
    assert engine.run([1.0, 3.0], max_epochs=2).metrics == {"m0": 4.0, "m1": 4.0}
    assert accumulated(first) is not accumulated(second)


def test_a_subclass_that_overrides_update_shares_nothing():
    class Doubled(Average):
        def update(self, output):
            super().update(2 * output)

    engine = echo()
    doubled, plain = attached(engine, Doubled(), Average())
    assert engine.run([1.0, 3.0], max_epochs=2).metrics == {"m0": 4.0, "m1": 2.0}
    assert accumulated(doubled) is not accumulated(plain)


def test_a_subclass_that_overrides_compute_shares():
    class Negative(Average):
        def compute(self):
            return -super().compute()

    engine = echo()
    negative, plain = attached(engine, Negative(), Average())
    assert engine.run([1.0, 3.0]).metrics == {"m0": -2.0, "m1": 2.0}
    assert accumulated(negative) is accumulated(plain)


def test_copies_of_a_sharing_metric_are_independent():
    engine = echo()
    original, other = attached(engine, Average(), Average())
    copies = []
    engine.add_event_handler(
        Events.ITERATION_COMPLETED(once=2), lambda: copies.append(copy.deepcopy(original))
    )
    found = engine.run(BATCHES).metrics
    copies[0].update(3.0)
    assert copies[0].compute() == 2.0
    assert found == {"m0": 5.0, "m1": 5.0}
    assert original.compute() == other.compute() == 5.0


def test_a_function_that_changes_its_arguments_affects_no_other_metric():
    engine = Engine(lambda engine, batch: (torch.tensor([1.0, 2.0]) * batch, torch.zeros(2)))
    attached(
        engine,
        EpochMetric(lambda y_pred, y: y_pred.mul_(-1).sum().item(), check_compute_fn=False),
        EpochMetric(lambda y_pred, y: y_pred.sum().item(), check_compute_fn=False),
    )
    assert engine.run([1, 2]).metrics == {"m0": -9.0, "m1": 9.0}


def test_metrics_outlive_their_engine():
    engine = echo()
    first, second = attached(engine, Average(), Average())
    engine.run(BATCHES)
    gone = weakref.ref(engine)
    gc.disable()
    try:
        del engine
        assert gone() is None
    finally:
        gc.enable()
    first.update(15.0)
    assert (first.compute(), second.compute()) == (7.0, 5.0)


@pytest.mark.parametrize(
    "make", [Accuracy, Precision, lambda: ConfusionMatrix(2), lambda: Loss(mean_error)]
)
def test_accumulated_values_do_not_change_with_the_output(make):
    """Outputs may live in memory that is used again for the next batch."""
    scores, y = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]), torch.tensor([0, 1, 1])
    metric, undisturbed = make(), make()
    undisturbed.update((scores.clone(), y.clone()))
    metric.update((scores, y))
    scores.fill_(0.5)
    y.zero_()
    assert torch.equal(torch.as_tensor(metric.compute()), torch.as_tensor(undisturbed.compute()))


def mean_error(y_pred, y):
    return (y_pred.argmax(dim=1) - y).double().abs().mean()


class Counted(Average):
    """Counts how often its value is computed."""

    num_computed = 0

    def _value(self, found):
        self.num_computed += 1
        return super()._value(found)


def test_a_value_is_cached_until_the_next_update():
    metric = Counted()
    metric.update(2.0)
    assert [metric.compute().item(), metric.compute().item(), metric.num_computed] == [2.0, 2.0, 1]
    metric.update(4.0)
    assert [metric.compute().item(), metric.compute().item(), metric.num_computed] == [3.0, 3.0, 2]


def test_an_attached_metric_under_two_names_computes_once_and_again_in_the_next_epoch():
    engine, metric = echo(), Counted()
    metric.attach(engine, "a")
    metric.attach(engine, "b")
    engine.run(BATCHES, max_epochs=3)
    assert metric.num_computed == 3
    assert engine.state.metrics == {"a": 5.0, "b": 5.0}


def test_an_invalid_output_changes_nothing():
    metric = Accuracy()
    metric.update((torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0])))
    with pytest.raises(ValueError, match="y_pred must be comprised of 0's and 1's., but given 2"):
        metric.update((torch.tensor([2, 1]), torch.tensor([0, 1])))
    with pytest.raises(RuntimeError, match="has changed from binary to multiclass"):
        metric.update((torch.eye(3), torch.arange(3)))
    assert metric.compute() == pytest.approx(2 / 3)


def test_an_output_that_one_metric_refuses_changes_no_other():
    outputs = [(torch.eye(3), torch.arange(3)), (torch.eye(4), torch.arange(4))]
    engine = Engine(lambda engine, batch: outputs[batch])
    accuracy, precision = attached(engine, Accuracy(), Precision(average=True))
    with pytest.raises(ValueError, match="number of classes has changed from 3 to 4"):
        engine.run([0, 1])
    assert (accuracy.compute(), precision.compute()) == (1.0, 1.0)
    assert accumulated(accuracy).num_examples == 3


def test_errors_of_missing_examples_name_the_subclass():
    class MeanSpeed(Average): ...

    engine = echo()
    with pytest.raises(
        NotComputableError,
        match="MeanSpeed must have at least one example before it can be computed",
    ):
        MeanSpeed().compute()
    MeanSpeed().attach(engine, "speed", BatchFiltered(every=2))
    with pytest.raises(NotComputableError, match="MeanSpeed must have at least one example"):
        engine.run([1.0])


def test_values_go_to_the_device_of_the_metric_and_statistics_stay_with_the_outputs():
    metric = VariableAccumulation(lambda total, x: total + x)
    metric.update(torch.ones(2, device="meta"))
    assert accumulated(metric).accumulator.device.type == "meta"
    on_device = Average(device="meta")
    on_device.update(torch.ones(2))
    assert accumulated(on_device).accumulator.device.type == "meta"
    assert on_device.compute().device.type == "meta"


def test_a_terminated_epoch_has_the_value_of_what_was_seen():
    engine, seen = echo(), []
    Average().attach(engine, "before")
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: engine.terminate_epoch())
    Average().attach(engine, "after")
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: seen.append(dict(engine.state.metrics))
    )
    engine.run(BATCHES, max_epochs=2)
    assert seen == [{"before": 1.5, "after": 1.5}, {"before": 5.0, "after": 5.0}]


def test_an_interrupted_epoch_continues_to_accumulate():
    engine = echo()
    leaving, staying = attached(engine, Average(), Average())
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: engine.interrupt())
    engine.run(BATCHES)
    assert engine.state.metrics == {}
    leaving.detach(engine)
    assert engine.run(BATCHES).metrics == {"m1": 5.0}
    assert (leaving.compute(), staying.num_examples) == (1.5, 4)


def test_metrics_of_different_epochs_and_runs_are_not_mixed():
    engine, seen = echo(), []
    first, second = attached(engine, Average(), Average())
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: seen.append(dict(engine.state.metrics))
    )
    data = iter([1.0, 3.0, 10.0, 20.0])
    engine.run(data, max_epochs=2, epoch_length=2)
    assert seen == [{"m0": 2.0, "m1": 2.0}, {"m0": 15.0, "m1": 15.0}]
    first.detach(engine)
    engine.state.max_epochs = None
    engine.run([7.0])
    assert (first.compute(), second.compute()) == (15.0, 7.0)
