import gc
import itertools
import weakref

import pytest
import torch

from ignite.engine import Engine, Events
from ignite.metrics import (
    Accuracy,
    Average,
    BatchFiltered,
    ConfusionMatrix,
    EpochMetric,
    Fbeta,
    MeanAbsoluteError,
    Precision,
    Recall,
)
from ignite.metrics.statistics import LabelCounts

SCORES = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
CLASSES = torch.tensor([0, 1, 1, 2])


def echo():
    return Engine(lambda engine, batch: batch)


def classifying():
    return Engine(lambda engine, batch: (SCORES, CLASSES))


def accumulated(metric):
    (statistic,) = metric._statistics_in_use()
    return statistic


def attached(engine, *metrics):
    for i, metric in enumerate(metrics):
        metric.attach(engine, f"m{i}")
    return metrics


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_metrics_of_labels_share_one_count_in_any_order(order):
    engine = classifying()
    metrics = {
        0: Accuracy(),
        1: Precision(average=False),
        2: Recall(average="macro"),
        3: ConfusionMatrix(3),
    }
    for i in order:
        metrics[i].attach(engine, str(i))
    found = engine.run([0, 0]).metrics
    assert len({id(accumulated(metric)) for metric in metrics.values()}) == 1
    # Of the four examples one is wrong: the third, of class 1, is taken for 0.
    assert found["0"] == 0.75
    assert found["1"].tolist() == [0.5, 1.0, 1.0]
    assert found["2"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert found["3"].tolist() == [[2, 0, 0], [2, 2, 0], [0, 0, 2]]


def test_fbeta_shares_the_count(monkeypatch):
    updates = []
    original = LabelCounts._update

    def counting(self, reading):
        updates.append(id(self))
        original(self, reading)

    monkeypatch.setattr(LabelCounts, "_update", counting)
    engine = classifying()
    attached(engine, Fbeta(1), Precision(), Recall(), ConfusionMatrix(3), Accuracy())
    found = engine.run([0, 0, 0]).metrics
    assert len(updates) == 3
    assert len(set(updates)) == 1
    # Precision 1/2, 1, 1 and recall 1, 1/2, 1.
    assert found["m0"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


def test_metrics_that_read_alike_read_outputs_once_an_iteration():
    calls = []

    def half(output):
        calls.append("half")
        return output[0][:2], output[1][:2]

    def whole(output):
        calls.append("whole")
        return output

    engine = classifying()
    attached(
        engine,
        Accuracy(half),
        Recall(half, average="micro"),
        Accuracy(whole),
        EpochMetric(largest, half),
    )
    found = engine.run([0, 0, 0]).metrics
    assert sorted(calls) == ["half"] * 3 + ["whole"] * 3
    assert found == {"m0": 1.0, "m1": 1.0, "m2": 0.75, "m3": 0.9}


@pytest.mark.parametrize("form", ["number", "tensor", "pair", "list", "mapping"])
@pytest.mark.parametrize("how_many", [1, 3])
def test_a_transform_is_called_once_an_iteration_for_any_output(form, how_many):
    """It may be dear, or not the same each time."""
    calls = []

    def transform(output):
        calls.append(output)
        one = torch.tensor([float(len(calls))])
        pairs = {"pair": (one, one), "list": [one, one], "mapping": {"y_pred": one, "y": one}}
        return {"number": len(calls), "tensor": one, **pairs}[form]

    engine = echo()
    is_pair = form in ("pair", "list", "mapping")
    metrics = [
        EpochMetric(total, transform) if is_pair else Average(transform) for _ in range(how_many)
    ]
    attached(engine, *metrics)
    engine.run(BATCHES)
    assert calls == BATCHES
    assert [float(metric.compute()) for metric in metrics] == [10.0 if is_pair else 2.5] * how_many


def total(y_pred, y):
    return y_pred.sum().item()


def largest(y_pred, y):
    return round(y_pred.max().item(), 6)


def test_metrics_that_read_or_accumulate_differently_share_nothing():
    engine = echo()
    metrics = attached(
        engine,
        Average(),
        Average(lambda output: output),
        Average(lambda output: output),
        Average(device="cpu"),
        Average(skip_unrolling=True),
    )
    Average().attach(engine, "filtered", BatchFiltered(every=2))
    found = engine.run([1.0, 5.0]).metrics
    assert len({id(accumulated(metric)) for metric in metrics}) == len(metrics)
    assert found == {**{f"m{i}": 3.0 for i in range(len(metrics))}, "filtered": 5.0}


BATCHES = [1.0, 2.0, 6.0, 11.0]
"""Of which the means of the first 1, 2, 3 and 4 are 1, 1.5, 3 and 5."""


@pytest.mark.parametrize("leaves", [0, 1, 2])
@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_detaching_one_metric_in_mid_epoch_does_not_affect_others(leaves, turn):
    """Also if it leaves after some have had their turn in an iteration, and some have not."""
    engine, metrics = echo(), [Average() for _ in range(3)]
    for place in range(4):
        if place == turn:
            engine.add_event_handler(
                Events.ITERATION_COMPLETED(once=2), lambda: metrics[leaves].detach(engine)
            )
        if place < 3:
            metrics[place].attach(engine, f"m{place}")
    found = engine.run(BATCHES).metrics
    stay = [i for i in range(3) if i != leaves]
    assert found == {f"m{i}": 5.0 for i in stay}
    assert [metrics[i].num_examples for i in stay] == [4, 4]
    # Handlers that are removed during a firing are still called in it.
    assert metrics[leaves].num_examples == 2
    assert metrics[leaves].compute() == 1.5


def test_a_detached_metric_is_independent():
    engine = echo()
    leaving, staying = attached(engine, Average(), Average())
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: leaving.detach(engine))
    engine.run(BATCHES)
    leaving.update(9.0)
    assert leaving.compute() == (1 + 2 + 9) / 3
    assert staying.compute() == 5.0
    staying.update(15.0)
    assert staying.compute() == (20 + 15) / 5
    assert leaving.compute() == 4.0


def test_a_metric_attached_in_mid_epoch_counts_from_there():
    engine = echo()
    early, late = Average(), Average()
    early.attach(engine, "early")
    engine.add_event_handler(Events.ITERATION_STARTED(once=3), lambda: late.attach(engine, "late"))
    seen = []
    engine.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: seen.append(dict(engine.state.metrics)), priority=-1
    )
    engine.run(BATCHES, max_epochs=2)
    assert seen == [{"early": 5.0, "late": 8.5}, {"early": 5.0, "late": 5.0}]
    assert accumulated(early) is accumulated(late)


@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize(
    "what", ["reset", "update", "started", "iteration_completed", "load_state_dict"]
)
def test_calling_one_metric_by_hand_does_not_affect_others(who, what):
    engine = echo()
    metrics = attached(engine, Average(), Average())
    by_hand = {
        "reset": lambda metric: metric.reset(),
        "update": lambda metric: metric.update(100.0),
        "started": lambda metric: metric.started(engine),
        "iteration_completed": lambda metric: metric.iteration_completed(engine),
        "load_state_dict": lambda metric: metric.load_state_dict(Average().state_dict()),
    }
    engine.add_event_handler(
        Events.ITERATION_COMPLETED(once=2), lambda: by_hand[what](metrics[who])
    )
    own = {"update": (20 + 100) / 5, "iteration_completed": (20 + 2) / 5}.get(what, (6 + 11) / 2)
    assert engine.run(BATCHES).metrics == {f"m{who}": own, f"m{1 - who}": 5.0}


@pytest.mark.parametrize("who", [0, 1])
def test_a_metric_changed_by_hand_shares_again_from_the_next_epoch_on(who):
    engine = echo()
    metrics = attached(engine, Average(), Average())
    engine.run(BATCHES)
    metrics[who].update(100.0)
    assert metrics[who].compute() == (20 + 100) / 5
    assert metrics[1 - who].compute() == 5.0
    assert engine.run([4.0, 6.0]).metrics == {"m0": 5.0, "m1": 5.0}
    assert accumulated(metrics[0]) is accumulated(metrics[1])


@pytest.mark.parametrize("event", [Events.EPOCH_STARTED, Events.ITERATION_COMPLETED])
def test_a_run_after_an_exception_between_two_metrics_is_right(event):
    engine, failures = echo(), [ValueError("once")]
    Average().attach(engine, "before")

    def fail():
        if failures and engine.state.epoch == 2:
            raise failures.pop()

    engine.add_event_handler(event, fail)
    leaving = Average()
    leaving.attach(engine, "leaving")
    Average().attach(engine, "after")
    with pytest.raises(ValueError, match="once"):
        engine.run(BATCHES, max_epochs=2)
    leaving.detach(engine)
    Average().attach(engine, "new")
    engine.state.max_epochs = None
    found = engine.run([4.0, 8.0]).metrics
    assert {name: found[name] for name in ("before", "after", "new")} == dict.fromkeys(
        ("before", "after", "new"), 6.0
    )


def test_a_run_after_an_unreadable_output_is_right():
    failures = [KeyError("no such key")]

    def fragile(output):
        if output == 6.0 and failures:
            raise failures.pop()
        return output

    engine = echo()
    attached(engine, Average(fragile), Average(fragile))
    with pytest.raises(KeyError, match="no such key"):
        engine.run(BATCHES)
    engine.state.max_epochs = None
    assert engine.run(BATCHES).metrics == {"m0": 5.0, "m1": 5.0}


@pytest.mark.parametrize("by_hand", [False, True])
def test_outputs_are_released_by_the_last_reader(by_hand):
    """Metrics read what a transform has made of the output; nobody else holds that."""
    made = []

    def make(output):
        found = torch.full((3,), output)
        made.append(weakref.ref(found))
        return found, torch.zeros(3)

    engine, alive = echo(), []
    metrics = attached(engine, *(MeanAbsoluteError(make) for _ in range(3)))
    if by_hand:
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), metrics[1].reset)
    engine.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: alive.append(sum(ref() is not None for ref in made))
    )
    gc.disable()
    try:
        engine.run(BATCHES)
    finally:
        gc.enable()
    assert alive == [0] * 4


def test_shared_statistics_are_freed_with_the_engine():
    engine = echo()
    metric = Average()
    attached(engine, metric, Average(), Average() / Average())
    metric.attach(engine, "batch", "batch_wise")
    engine.run(BATCHES)
    gone = [weakref.ref(thing) for thing in (engine, metric, accumulated(metric))]
    gc.disable()
    try:
        del engine, metric
        assert [ref() for ref in gone] == [None] * 3
    finally:
        gc.enable()
