import pickle

import pytest
import torch

from ignite.engine import Engine
from ignite.metrics import Accuracy, Average, Loss, Metric, MetricGroup, Precision, Recall
from ignite.metrics.statistics import LabelCounts

SCORES = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
CLASSES = torch.tensor([0, 1, 1, 2])
"""Of which the third is taken for class 0: precision 1/2, 1, 1; recall 1, 1/2, 1."""


def classifying():
    return Engine(lambda engine, batch: (SCORES, CLASSES))


def members():
    return {
        "accuracy": Accuracy(),
        "precision": Precision(average=True),
        "recall": Recall(average=False),
    }


def plain(value):
    return {
        name: item.tolist() if isinstance(item, torch.Tensor) else item
        for name, item in value.items()
    }


EXPECTED = {"accuracy": 0.75, "precision": pytest.approx(2.5 / 3), "recall": [1.0, 0.5, 1.0]}


def test_attached_members_appear_alone_and_together():
    engine = classifying()
    MetricGroup(members()).attach(engine, "all")
    found = dict(engine.run([0, 0], max_epochs=2).metrics)
    assert plain(found.pop("all")) == EXPECTED
    assert plain(found) == EXPECTED


def test_members_share_equal_statistics(monkeypatch):
    updates = []
    original = LabelCounts._update

    def counting(self, reading):
        updates.append(id(self))
        original(self, reading)

    monkeypatch.setattr(LabelCounts, "_update", counting)
    group = MetricGroup(members())
    for _ in range(3):
        group.update((SCORES, CLASSES))
    assert len(updates) == 3
    assert len(set(updates)) == 1
    assert plain(group.compute()) == EXPECTED


def test_transforms_of_members_follow_that_of_the_group():
    engine = Engine(lambda engine, batch: {"a": batch, "b": 10.0})
    calls = []

    def doubled(output):
        calls.append(output)
        return 2 * output

    group = MetricGroup(
        {"plain": Average(), "doubled": Average(doubled), "again": Average(doubled)},
        output_transform=lambda output: output["a"] + output["b"],
    )
    group.attach(engine, "group")
    assert engine.run([1.0, 3.0]).metrics["group"] == {
        "plain": 12.0,
        "doubled": 24.0,
        "again": 24.0,
    }
    assert calls == [11.0, 13.0]


def test_ingredients_of_members_have_their_own_transforms():
    first, second = Average(lambda output: output[0]), Average(lambda output: output[1])
    engine = Engine(lambda engine, batch: {"pair": (batch, 10.0)})
    group = MetricGroup({"ratio": second / first, "first": first}, lambda output: output["pair"])
    group.attach(engine, "group")
    assert engine.run([1.0, 3.0]).metrics["group"] == {"ratio": 5.0, "first": 2.0}


class Sum(Metric):
    """Written by a user."""

    def reset(self):
        self.total = 0.0

    def update(self, output):
        self.total += output

    def compute(self):
        return self.total


def test_members_of_all_kinds_and_groups_of_groups():
    engine = Engine(lambda engine, batch: batch)
    inner = MetricGroup({"mean": Average(), "sum": Sum()})
    outer = MetricGroup(
        {"inner": inner, "sum": Sum(lambda output: -output), "double": 2 * Average()}
    )
    outer.attach(engine, "outer")
    expected = {"inner": {"mean": 2.0, "sum": 4.0}, "sum": -4.0, "double": 4.0}
    assert engine.run([1.0, 3.0], max_epochs=2).metrics["outer"] == expected


def test_its_items_are_metrics():
    engine, group = classifying(), MetricGroup(members())
    group["recall"].max().attach(engine, "highest")
    (1 - group["accuracy"]).attach(engine, "error")
    assert engine.run([0, 0]).metrics == {"highest": 1.0, "error": 0.25}


def test_mappings_are_read_by_the_keys_of_metrics():
    engine = Engine(lambda engine, batch: {"y_pred": SCORES, "y": CLASSES, "loss": 1.0})
    MetricGroup(members()).attach(engine, "all")
    assert plain(engine.run([0]).metrics["all"]) == EXPECTED


def test_reset_resets_all_members_and_they_share_again():
    group = MetricGroup(members())
    group.update((SCORES[[2]], CLASSES[[2]]))
    group.reset()
    group.update((SCORES, CLASSES))
    assert plain(group.compute()) == EXPECTED


def test_an_output_that_one_member_refuses_changes_no_member():
    group = MetricGroup({"accuracy": Accuracy(), "loss": Loss(wrong)})
    group.update((SCORES, CLASSES))
    with pytest.raises(
        ValueError, match="loss_fn did not return the average loss.*but given one of shape .2,."
    ):
        group.update((SCORES[:2], CLASSES[:2]))
    group.update((SCORES, CLASSES))
    assert group.metrics["loss"].compute() == 1.0


def wrong(y_pred, y):
    return torch.ones(()) if len(y) == 4 else torch.ones(len(y))


def test_state_dicts_and_pickles_continue():
    group, loaded = MetricGroup(members()), MetricGroup(members())
    group.update((SCORES[:2], CLASSES[:2]))
    loaded.update((SCORES[[2]], CLASSES[[2]]))
    loaded.load_state_dict(group.state_dict())
    for each in (group, loaded, pickle.loads(pickle.dumps(group))):
        each.update((SCORES[2:], CLASSES[2:]))
        assert plain(each.compute()) == EXPECTED


@pytest.mark.parametrize("kind", ["group", "lambda"])
def test_an_incomplete_state_changes_no_member(kind):
    def make():
        means = {"a": Average(), "b": Average(lambda output: 2 * output)}
        return MetricGroup(means) if kind == "group" else means["a"] + means["b"]

    metric, other = make(), make()
    metric.update(3.0)
    other.update(7.0)
    state = other.state_dict()
    (saved,) = state["__metric_state_per_rank"]
    before = metric.compute()
    member = saved["metrics"]["b"] if kind == "group" else saved["args"][1]
    del member["0.num_examples"]
    with pytest.raises(ValueError, match="state_dict should have the key"):
        metric.load_state_dict(state)
    assert metric.compute() == before


def test_its_name_may_not_be_that_of_a_member():
    engine = classifying()
    MetricGroup(members()).attach(engine, "recall")
    with pytest.raises(ValueError, match="Argument name 'recall' is conflicting with mapping keys"):
        engine.run([0])


@pytest.mark.parametrize("metrics", [[Average()], {"mean": Average}, {"mean": 3}, None])
def test_members_are_metrics(metrics):
    with pytest.raises(
        TypeError, match="metrics should be a dictionary of metrics, but given"
    ) as raised:
        MetricGroup(metrics)
    assert repr(metrics) in str(raised.value)


def test_the_group_copies_the_given_dictionary():
    given = members()
    group = MetricGroup(given)
    given.clear()
    group.update((SCORES, CLASSES))
    assert plain(group.compute()) == EXPECTED
