import pickle

import pytest
import torch

from ignite.engine import Engine, Events
from ignite.metrics import (
    Accuracy,
    Average,
    EpochMetric,
    Frequency,
    MeanAbsoluteError,
    Metric,
    MetricsLambda,
    Precision,
    Recall,
    _output_arrays,
)

DATA = [1.0, 2.0, 6.0, 11.0]
"""Of mean 5."""


def echo():
    return Engine(lambda engine, batch: batch)


class Sum(Metric):
    """Counts what is called."""

    required_output_keys = None
    _state_dict_all_req_keys = ("total",)

    def __init__(self, output_transform=lambda output: output):
        self.calls = []
        super().__init__(output_transform)

    def reset(self):
        self.calls.append("reset")
        self.total = 0.0

    def update(self, output):
        self.calls.append("update")
        self.total += output

    def compute(self):
        self.calls.append("compute")
        return self.total


def test_metrics_among_the_arguments_are_replaced_by_their_values():
    mean, total = Average(), Sum()
    seen = []

    def function(*args, **kwargs):
        seen.append((args, kwargs))
        return 7

    metric = MetricsLambda(function, mean, "word", total, [mean], by_name=total, other=None)
    metric.update(4.0)
    metric.update(8.0)
    assert metric.compute() == 7
    assert seen == [((6.0, "word", 12.0, [mean]), {"by_name": 12.0, "other": None})]


def test_by_hand_each_ingredient_is_reset_and_updated_once():
    leaf, other = Sum(), Sum()
    leaf.calls.clear()
    metric = MetricsLambda(lambda *values: sum(values), leaf + 1, leaf, leaf * other, leaf)
    assert leaf.calls == []
    metric.update(3.0)
    assert (leaf.calls, other.calls) == (["update"], ["reset", "update"])
    assert metric.compute() == 4 + 3 + 9 + 3
    metric.reset()
    assert (leaf.total, other.total) == (0.0, 0.0)
    assert set(leaf.calls[5:]) == {"reset"}


def test_creating_one_does_not_reset_its_ingredients():
    mean = Average()
    mean.update(4.0)
    assert (mean + 1).compute() == 5.0
    assert mean.compute() == 4.0


def test_attaching_updates_ingredients_once_and_publishes_one_value():
    leaf, engine = Sum(), echo()
    metric = MetricsLambda(lambda a, b, c: a + b + c, leaf, leaf + 1, 2 * leaf)
    metric.attach(engine, "value")
    assert metric.is_attached(engine)
    assert engine.run(DATA, max_epochs=2).metrics == {"value": 20.0 + 21.0 + 40.0}
    assert leaf.calls.count("update") == 8


def test_ingredients_that_are_attached_too_are_updated_once():
    leaf, engine = Sum(), echo()
    leaf.attach(engine, "leaf")
    (leaf * 2).attach(engine, "double")
    (leaf * 2 + leaf).attach(engine, "triple")
    assert engine.run(DATA).metrics == {"leaf": 20.0, "double": 40.0, "triple": 60.0}
    assert leaf.calls.count("update") == 4


def test_each_ingredient_reads_outputs_in_its_own_way():
    engine = Engine(lambda engine, batch: {"a": batch, "b": 2 * batch})
    first, second = Average(lambda output: output["a"]), Sum(lambda output: output["b"])
    (second - first).attach(engine, "difference")
    assert engine.run(DATA).metrics == {"difference": 40.0 - 5.0}


def test_ingredients_with_attachments_of_their_own():
    """A frequency has its own events, when attached itself."""
    engine = echo()
    seen = []
    MetricsLambda(lambda f, mean: seen.append(f >= 0) or mean, Frequency(), Average()).attach(
        engine, "value"
    )
    assert engine.run(DATA).metrics == {"value": 5.0}
    assert seen == [True]


def test_without_ingredients_it_is_a_function():
    engine = echo()
    MetricsLambda(lambda a, b: a + b, 3, b=4).attach(engine, "seven")
    assert engine.run(DATA).metrics == {"seven": 7}


def test_a_function_is_called_at_the_end_of_each_span_only():
    calls, engine = [], echo()
    metric = MetricsLambda(lambda mean: calls.append(engine.state.iteration) or mean, Average())
    metric.attach(engine, "value")
    engine.run(DATA, max_epochs=2)
    assert calls == [4, 8]


def test_attaching_and_updating_by_hand_exclude_each_other():
    metric, engine = Average() + 1, echo()
    metric.attach(engine, "value")
    with pytest.raises(
        ValueError, match="already attached to an engine, and MetricsLambda can't use update API"
    ):
        metric.update(3.0)
    metric.detach(engine)
    metric.update(3.0)
    assert metric.compute() == 4.0
    with pytest.raises(
        ValueError, match="already updated, can't attach while using reset/update/compute API"
    ):
        metric.attach(engine, "value")
    assert not metric.is_attached(engine)
    assert not any(table.entries for table in engine._tables.values())
    metric.reset()
    metric.attach(engine, "value")
    assert engine.run(DATA).metrics == {"value": 6.0}


def test_an_engine_that_is_gone_does_not_keep_it_from_being_updated():
    metric, engine = Average() + 1, echo()
    metric.attach(engine, "value")
    del engine
    metric.update(3.0)
    assert metric.compute() == 4.0


@pytest.mark.parametrize("mode", ["flatten", "named", "both"])
def test_a_mapping_is_published_according_to_the_mode(mode):
    engine = echo()
    metric = MetricsLambda(
        lambda mean: {"low": mean - 1, "high": mean + 1}, Average(), metrics_result_mode=mode
    )
    metric.attach(engine, "band")
    flat, named = {"low": 4.0, "high": 6.0}, {"band": {"low": 4.0, "high": 6.0}}
    assert engine.run(DATA).metrics == {
        **(flat if mode != "named" else {}),
        **(named if mode != "flatten" else {}),
    }


def outputs():
    scores = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    return Engine(lambda engine, batch: (scores, torch.tensor([0, 1, 1, 2])))


def test_f1_from_precision_and_recall():
    """Precision 1/2, 1, 1 and recall 1, 1/2, 1: harmonic means 2/3, 2/3, 1."""
    precision, recall, engine = Precision(), Recall(), outputs()
    (2 * precision * recall / (precision + recall)).mean().attach(engine, "f1")
    MetricsLambda(lambda p, r: (2 * p * r / (p + r)).mean(), precision, recall).attach(
        engine, "again"
    )
    assert engine.run([0, 0]).metrics == {"f1": pytest.approx(7 / 9), "again": pytest.approx(7 / 9)}


def test_tensors_come_on_the_cpu():
    class Elsewhere(Sum):
        def compute(self):
            return torch.empty(2, device="meta")

    with pytest.raises(
        NotImplementedError, match="meta"
    ):  # which has no values to bring to the CPU
        (Elsewhere() + 1).compute()


def test_an_error_of_the_function_names_the_handler_and_leaves_the_engine_usable():
    engine, failures = echo(), [ZeroDivisionError("by hand")]

    def function(mean):
        if failures:
            raise failures.pop()
        return mean

    MetricsLambda(function, Average()).attach(engine, "value")
    with pytest.raises(ZeroDivisionError, match="by hand") as raised:
        engine.run(DATA)
    assert any("MetricsLambda.completed" in note for note in raised.value.__notes__)
    engine.state.max_epochs = None
    assert engine.run(DATA).metrics == {"value": 5.0}


def test_the_state_holds_those_of_its_ingredients():
    metric, other = Sum() + 2 * Average(), Sum() + 2 * Average()
    metric.update(3.0)
    metric.update(5.0)
    other.load_state_dict(metric.state_dict())
    assert other.compute() == 8 + 2 * 4
    other.update(7.0)
    assert other.compute() == 15 + 2 * 5


def test_pickles_keep_shared_ingredients_shared():
    mean = Average()
    metric = pickle.loads(pickle.dumps(mean + 2 * mean))
    metric.update(3.0)
    assert metric.compute() == 9.0


def test_a_function_or_argument_of_the_user_is_not_copied_for_another_usage():
    """A module may be in training."""
    scale, engine = torch.nn.Linear(1, 1), echo()

    def scaled(mean, module):
        return module.weight.item() * mean

    metric = MetricsLambda(scaled, Average(), module=scale)
    metric.attach(engine, "epoch")
    metric.attach(engine, "batch", "batch_wise")
    with torch.no_grad():
        scale.weight.fill_(3.0)
    assert engine.run(DATA).metrics == {"epoch": 15.0, "batch": 33.0}


def test_over_several_usages_and_engines():
    train, test, metric = echo(), echo(), 2 * Average()
    metric.attach(train, "batch", "batch_wise")
    metric.attach(test, "epoch")
    train.add_event_handler(Events.EPOCH_COMPLETED, lambda: test.run([100.0]))
    assert train.run(DATA, max_epochs=2).metrics == {"batch": 22.0}
    assert test.state.metrics == {"epoch": 200.0}


def test_of_metrics_that_keep_all_samples():
    engine = outputs()
    hits = EpochMetric(
        lambda y_pred, y: (y_pred.argmax(dim=1) == y).sum().item(), check_compute_fn=False
    )
    (hits / Accuracy()).attach(engine, "examples")
    assert engine.run([0, 0, 0]).metrics == {"examples": 12.0}


def test_a_batch_that_one_ingredient_refuses_is_counted_by_none():
    precision, error = Precision(average=True), MeanAbsoluteError()
    both = precision + error
    right = (torch.tensor([0, 1]), torch.tensor([0, 1]))
    both.update(right)
    with pytest.raises(
        ValueError, match="For binary cases, y_pred must be comprised of 0's and 1's"
    ):
        (error + precision).update((torch.tensor([2, 1]), torch.tensor([0, 1])))
    assert both.compute() == 1.0


def test_ingredients_that_read_alike_read_outputs_once(monkeypatch):
    calls = []
    monkeypatch.setattr(
        _output_arrays, "argmax", lambda scores: calls.append(1) or scores.argmax(1)
    )
    monkeypatch.setattr(_output_arrays, "_read_quickly", lambda scores, y: None)
    metric = Precision(average=False) * Recall(average=False)
    metric.update((torch.eye(3), torch.tensor([0, 1, 1])))
    assert len(calls) == 1


def test_the_engine_of_a_computed_metric_can_be_read():
    first, second = (Engine(lambda engine, batch: batch) for _ in range(2))
    metric = MetricsLambda(lambda value: value, Accuracy())
    assert metric.engine is None
    metric.attach(first, "a")
    assert metric.engine is first
    metric.attach(second, "a")
    assert metric.engine is second
    metric.detach(second)
    assert metric.engine is first
    metric.detach(first)
    assert metric.engine is None
