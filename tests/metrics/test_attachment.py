import pickle
import weakref

import pytest

from ignite.engine import Engine, Events
from ignite.metrics import (
    Average,
    BatchFiltered,
    BatchWise,
    EpochWise,
    Metric,
    MetricGroup,
    MetricUsage,
    RunningBatchWise,
    RunningEpochWise,
    SingleEpochRunningBatchWise,
)

DATA = [1.0, 2.0, 6.0, 11.0]
"""Means of the first 1, 2, 3, 4: 1, 1.5, 3, 5; of the second and fourth: 6.5; of all but the first: 19 / 3."""


def echo():
    return Engine(lambda engine, batch: batch)


class Sum(Metric):
    """Written by a user: shares nothing, and counts what is called."""

    required_output_keys = None

    def __init__(self):
        self.num_updated = self.num_computed = 0
        super().__init__()

    def reset(self):
        self.total = 0.0

    def update(self, output):
        self.num_updated += 1
        self.total += output

    def compute(self):
        self.num_computed += 1
        return self.total


USAGES = {
    "epoch": EpochWise(),
    "run": RunningEpochWise(),
    "batch": BatchWise(),
    "so_far": RunningBatchWise(),
    "epoch_so_far": SingleEpochRunningBatchWise(),
    "every_second": BatchFiltered(every=2),
}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            Average,
            {
                "epoch": 5,
                "run": 11,
                "batch": 11,
                "so_far": 5,
                "epoch_so_far": 5,
                "every_second": 6.5,
            },
        ),
        (
            Sum,
            {
                "epoch": 20,
                "run": 22,
                "batch": 11,
                "so_far": 40,
                "epoch_so_far": 20,
                "every_second": 13,
            },
        ),
        (
            lambda: 2 * Average(),
            {
                "epoch": 10,
                "run": 22,
                "batch": 22,
                "so_far": 10,
                "epoch_so_far": 10,
                "every_second": 13,
            },
        ),
    ],
    ids=["shared", "user's", "lambda"],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_each_of_several_usages_has_its_value(make, expected, backwards):
    """At the end of the second epoch over the same data."""
    engine, metric = echo(), make()
    for name in sorted(USAGES, reverse=backwards):
        metric.attach(engine, name, USAGES[name])
    assert engine.run(DATA, max_epochs=2).metrics == expected


@pytest.mark.parametrize(
    "make", [Average, Sum, lambda: 2 * Average()], ids=["shared", "user's", "lambda"]
)
@pytest.mark.parametrize("first", USAGES)
def test_usages_are_detached_separately(make, first):
    engine, metric = echo(), make()
    for name, usage in USAGES.items():
        metric.attach(engine, name, usage)
    engine.run(DATA)
    remaining = dict(USAGES)
    for name in (first, *(other for other in USAGES if other != first)):
        usage = remaining.pop(name)
        assert metric.is_attached(engine, usage)
        metric.detach(engine, usage)
        assert not metric.is_attached(engine, usage)
        assert all(metric.is_attached(engine, other) for other in remaining.values())
        engine.state.metrics.clear()
        engine.state.max_epochs = None
        assert set(engine.run(DATA).metrics) == set(remaining)
    assert not any(table.entries for table in engine._tables.values())


@pytest.mark.parametrize("usage", ["batch_wise", BatchFiltered(every=2), RunningEpochWise()])
def test_detaching_what_was_not_attached_changes_nothing(usage):
    engine, metric = echo(), Average()
    metric.detach(engine)
    metric.attach(engine, "mean")
    metric.detach(engine, usage)
    metric.detach(echo())
    assert metric.is_attached(engine)
    assert engine.run(DATA).metrics == {"mean": 5.0}


def test_usages_with_the_same_events_are_equal():
    engine, metric = echo(), Average()
    metric.attach(engine, "second", BatchFiltered(every=2))
    assert metric.is_attached(engine, BatchFiltered(every=2))
    assert not metric.is_attached(engine, BatchFiltered(every=3))
    metric.attach(engine, "third", BatchFiltered(every=3))
    metric.detach(engine, BatchFiltered(every=2))
    assert engine.run(DATA).metrics == {"third": 6.0}
    same = MetricUsage(Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, Events.ITERATION_COMPLETED)
    metric.attach(engine, "epoch", same)
    assert metric.is_attached(engine, EpochWise())


def test_attaching_twice_under_one_name_computes_once():
    engine, metric = echo(), Sum()
    for name in ("sum", "sum", "total"):
        metric.attach(engine, name)
    assert engine.run(DATA).metrics == {"sum": 20.0, "total": 20.0}
    assert (metric.num_computed, metric.num_updated) == (2, 4)
    metric.detach(engine)
    assert engine.run(DATA).metrics == {"sum": 20.0, "total": 20.0}
    assert (metric.num_computed, metric.num_updated) == (2, 4)


@pytest.mark.parametrize("event", ["no_event", Events.ITERATION_COMPLETED | Events.EPOCH_COMPLETED])
def test_a_span_may_end_at_any_known_event(event):
    engine, metric = echo(), Average()
    usage = MetricUsage(Events.EPOCH_STARTED, event, Events.ITERATION_COMPLETED)
    if event == "no_event":
        with pytest.raises(ValueError, match="no_event"):
            metric.attach(engine, "mean", usage)
        assert not any(table.entries for table in engine._tables.values())
        return
    metric.attach(engine, "mean", usage)
    assert metric.is_attached(engine, usage)
    engine.run(DATA)
    metric.detach(engine, usage)
    assert not metric.is_attached(engine, usage)
    assert not any(table.entries for table in engine._tables.values())


def nested(metric, at, count=None):
    """A trainer that runs an evaluator over [100] in a handler; the metric is attached to both."""
    trainer, evaluator = echo(), echo()
    metric.attach(evaluator, "value")
    event = at(once=count) if count else at
    trainer.add_event_handler(event, lambda: evaluator.run([100.0]))
    metric.attach(trainer, "value")
    return trainer, evaluator


@pytest.mark.parametrize(
    ("at", "count"),
    [
        (Events.EPOCH_STARTED, None),
        (Events.ITERATION_STARTED, 3),
        (Events.ITERATION_COMPLETED, 2),
        (Events.ITERATION_COMPLETED, 4),
        (Events.EPOCH_COMPLETED, None),
    ],
)
@pytest.mark.parametrize(
    ("make", "factor"),
    [
        (Average, 1),
        (lambda: 2 * Average(), 2),
        (lambda: (Average() + Average() * 2) - 1 * Average(), 2),
    ],
    ids=["metric", "lambda", "deep lambda"],
)
def test_one_metric_on_two_nested_engines(make, factor, at, count):
    trainer, evaluator = nested(make(), at, count)
    assert trainer.run(DATA, max_epochs=2).metrics == {"value": factor * 5.0}
    assert evaluator.state.metrics == {"value": factor * 100.0}


@pytest.mark.parametrize("make", [Average, lambda: 1 * Average()], ids=["metric", "lambda"])
def test_detaching_from_an_inner_engine_changes_nothing(make):
    trainer, metric = echo(), make()
    metric.attach(trainer, "value")

    @trainer.on(Events.ITERATION_COMPLETED(once=2))
    def evaluate():
        evaluator = echo()
        metric.attach(evaluator, "value")
        assert evaluator.run([100.0]).metrics == {"value": 100.0}
        metric.detach(evaluator)

    assert trainer.run(DATA).metrics == {"value": 5.0}


def test_an_engine_attached_in_mid_epoch_starts_empty():
    first, second, metric = echo(), echo(), Average()
    metric.attach(first, "value")
    first.run(DATA)
    second.add_event_handler(
        Events.ITERATION_STARTED(once=2), lambda: metric.attach(second, "value")
    )
    assert second.run([7.0, 8.0, 10.0]).metrics == {"value": 9.0}


def test_detaching_a_lambda_detaches_unused_ingredients():
    engine, metric = echo(), Sum()
    double = metric * 2
    double.attach(engine, "double")
    assert not metric.is_attached(engine)
    double.detach(engine)
    engine.run(DATA)
    assert metric.num_updated == 0
    assert not any(table.entries for table in engine._tables.values())


@pytest.mark.parametrize("keeps", ["attached", "another lambda", "deeper lambda"])
@pytest.mark.parametrize("later", [False, True])
def test_detaching_a_lambda_keeps_ingredients_in_use(keeps, later):
    engine, metric = echo(), Sum()
    double = metric * 2
    other = {"attached": metric, "another lambda": metric + 1, "deeper lambda": double + 1}[keeps]
    for each, name in ((other, "other"), (double, "double"))[:: -1 if later else 1]:
        each.attach(engine, name)
    double.detach(engine)
    assert (double.is_attached(engine), other.is_attached(engine)) == (False, True)
    expected = {"attached": 20.0, "another lambda": 21.0, "deeper lambda": 41.0}[keeps]
    assert engine.run(DATA).metrics == {"other": expected}
    assert metric.num_updated == 4
    other.detach(engine)
    assert not any(table.entries for table in engine._tables.values())


def test_detaching_a_metric_keeps_the_metrics_computed_from_it():
    engine, metric = echo(), Average()
    metric.attach(engine, "mean")
    (metric * 2).attach(engine, "double")
    metric.detach(engine)
    assert not metric.is_attached(engine)
    assert engine.run(DATA).metrics == {"double": 10.0}


def test_detaching_a_lambda_from_another_span_does_not_open_it_for_updates():
    engine, double = echo(), 2 * Average()
    double.attach(engine, "double")
    double.detach(engine, "batch_wise")
    assert double.is_attached(engine)
    with pytest.raises(ValueError, match="already attached to an engine"):
        double.update(3.0)
    assert engine.run(DATA).metrics == {"double": 10.0}


def test_a_copy_pickled_in_mid_epoch_is_not_attached_and_continues():
    engine, pickled = echo(), []
    metric = Average() * 2
    metric.attach(engine, "double")
    metric.attach(engine, "batch", "batch_wise")
    engine.add_event_handler(
        Events.ITERATION_COMPLETED(once=2), lambda: pickled.append(pickle.dumps(metric))
    )
    assert engine.run(DATA).metrics == {"double": 10.0, "batch": 22.0}
    other = pickle.loads(pickled[0])
    assert not other.is_attached(engine)
    assert not other.is_attached(engine, "batch_wise")
    other.update(12.0)
    assert other.compute() == 2 * (1 + 2 + 12) / 3


def test_a_group_with_several_usages():
    engine, group = echo(), MetricGroup({"mean": Average(), "sum": Sum()})
    group.attach(engine, "epoch")
    group.attach(engine, "batch", "batch_wise")
    found = engine.run(DATA).metrics
    assert (found["epoch"], found["batch"]) == (
        {"mean": 5.0, "sum": 20.0},
        {"mean": 11.0, "sum": 11.0},
    )


def test_an_unreferenced_metric_is_freed_with_its_engine():
    engine = echo()
    metric = Sum()
    gone = weakref.ref(metric)
    (metric * 2).attach(engine, "double")
    del metric
    assert gone() is not None
    del engine
    assert gone() is None
