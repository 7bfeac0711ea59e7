"""States that almost match, and batches that are rolled back."""

import copy

import pytest
import torch

from ignite.metrics import (
    Accuracy,
    CalibrationError,
    ConfusionMatrix,
    Metric,
    MetricGroup,
    TopKCategoricalAccuracy,
)

KEY = "__metric_state_per_rank"
BATCH = (torch.eye(3), torch.tensor([0, 1, 1]))


def fed(metric, output=BATCH):
    metric.update(output)
    return metric


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        (ConfusionMatrix(3), ConfusionMatrix(5), "it should be of 5 classes, but given 3"),
        (
            TopKCategoricalAccuracy(2),
            TopKCategoricalAccuracy(4),
            "it should be of at least k=4 classes, but given 3",
        ),
        (
            MetricGroup({"a": Accuracy()}),
            MetricGroup({"b": Accuracy()}),
            r"metrics \['b'\], but given one of \['a'\]",
        ),
        (
            MetricGroup({"a": Accuracy(), "b": Accuracy()}),
            MetricGroup({"a": Accuracy()}),
            r"metrics \['a'\], but given",
        ),
    ],
)
def test_states_of_other_sizes_are_refused_and_change_nothing(source, target, words):
    state, before = fed(source).state_dict(), repr(target.state_dict())
    with pytest.raises(ValueError, match=words):
        target.load_state_dict(state)
    assert repr(target.state_dict()) == before


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("0.more", 1, "given '0.more', too"),
        ("0.num_examples", -1, "num_examples should be a count, but given -1"),
        ("0.correct", torch.ones(2), r"correct should be a tensor of shape \(\), but given \(2,\)"),
        (
            "0.kind",
            "other",
            "kind should be 'binary', 'multiclass' or 'multilabel', but given 'other'",
        ),
        ("metric", "Precision(False,)", "but given one of Precision"),
    ],
)
def test_a_state_with_one_wrong_value_is_refused_and_changes_nothing(key, value, words):
    metric = fed(Accuracy())
    state = copy.deepcopy(metric.state_dict())
    state[KEY][0][key] = value
    with pytest.raises(ValueError, match=words):
        metric.load_state_dict(state)
    assert metric.compute() == pytest.approx(2 / 3)


class Refusing(Metric):
    def reset(self):
        self.refuses = False

    def update(self, output):
        if self.refuses:
            raise ValueError("not this one")

    def compute(self):
        return 0


def test_large_batches_are_taken_back_and_no_value_of_them_is_kept():
    """More examples than wait to be counted, in the first group and in a second batch after it was refused."""
    group = MetricGroup({"matrix": ConfusionMatrix(3), "refusing": Refusing()})
    classes = torch.arange(6000) % 3
    large = (torch.eye(3)[classes], classes)
    group.update(large)
    group.metrics["refusing"].refuses = True
    with pytest.raises(ValueError, match="not this one"):
        group.update(large)
    assert group.compute()["matrix"].tolist() == [[2000, 0, 0], [0, 2000, 0], [0, 0, 2000]]
    statistic = group.metrics["matrix"]._own[0]
    undo, version = statistic._rollback_point(), statistic.version
    group.metrics["refusing"].refuses = False
    group.update(BATCH)
    assert group.compute()["matrix"].sum() == 6003
    undo()
    assert statistic.version not in (version, version + 1)
    assert group.compute()["matrix"].sum() == 6000


def test_a_negative_number_is_no_probability_even_if_all_add_up_to_1():
    with pytest.raises(ValueError, match="y_pred should be probabilities"):
        CalibrationError().update((torch.tensor([[0.75, 0.5, -0.25]]), torch.tensor([0])))
