from collections import OrderedDict

import pytest
import torch

from ignite.metrics import (
    Accuracy,
    Average,
    Best,
    Bootstrap,
    ConfusionMatrix,
    Metric,
    MetricGroup,
    Precision,
    RunningAverage,
)


class Holder(Metric):
    """Holds whatever it is given."""

    _state_dict_all_req_keys = ("held",)

    def __init__(self, held=None):
        self.held = held
        super().__init__()

    def reset(self): ...

    def update(self, output): ...

    def compute(self):
        return self.held


def mean_of(*values):
    metric = Average()
    for value in values:
        metric.update(value)
    return metric


def moved(held, into=None):
    """What a metric holds that has loaded the state of one that holds ``held``."""
    other = Holder(into)
    other.load_state_dict(Holder(held).state_dict())
    return other.held


@pytest.mark.parametrize(
    "held",
    [
        3,
        2.5,
        True,
        None,
        "word",
        [1, 2.0, None],
        {"a": 1, "b": {"c": [1, {"d": 2}]}},
        [],
        {},
        [[], {}],
    ],
    ids=str,
)
def test_plain_values_and_containers_of_them(held):
    assert moved(held) == held
    assert moved(held, into=[9, 9]) == held
    assert moved(held, into={"a": 9}) == held


def test_tensors_in_lists_and_dictionaries_are_copies():
    inside = torch.ones(2, requires_grad=True)
    holder = Holder({"a": [inside, (torch.tensor(3),)]})
    saved = holder.state_dict()
    with torch.no_grad():
        inside.fill_(7)
    (state,) = saved["__metric_state_per_rank"]
    assert state["held"]["a"][0].tolist() == [1.0, 1.0]
    assert not state["held"]["a"][0].requires_grad
    other = Holder()
    other.load_state_dict(saved)
    other.held["a"][0].fill_(5)
    assert state["held"]["a"][0].tolist() == [1.0, 1.0]
    assert other.held["a"][1][0].item() == 3


def test_metrics_in_containers_load_their_state_in_place():
    into = {
        "means": [Average(), Average()],
        "deep": {"group": MetricGroup({"mean": Average()})},
        "count": 0,
    }
    held = {
        "means": [mean_of(1.0, 3.0), mean_of(5.0)],
        "deep": {"group": MetricGroup({"mean": Average()})},
        "count": 4,
    }
    held["deep"]["group"].update(8.0)
    members = [*into["means"], into["deep"]["group"]]
    found = moved(held, into)
    assert [*found["means"], found["deep"]["group"]] == members
    assert [metric.compute() for metric in members] == [2.0, 5.0, {"mean": 8.0}]
    assert found["count"] == 4
    found["means"][0].update(5.0)
    assert found["means"][0].compute() == 3.0
    assert held["means"][0].compute() == 2.0


def test_several_attributes_are_saved_in_order():
    class Two(Holder):
        _state_dict_all_req_keys = ("held", "other")

    metric = Two(1)
    metric.other = torch.tensor(2)
    (state,) = metric.state_dict()["__metric_state_per_rank"]
    assert state == OrderedDict(held=1, other=torch.tensor(2))
    assert list(state) == ["held", "other"]


@pytest.mark.parametrize(
    ("held", "kind"),
    [(object(), "object"), ([1, {2}], "set"), ({"a": [1j]}, "complex"), (b"x", "bytes")],
    ids=["object", "set", "complex", "bytes"],
)
def test_unsupported_values_are_refused_at_any_depth(held, kind):
    with pytest.raises(TypeError, match=f"Found attribute of unsupported type: held is a {kind}"):
        Holder(held).state_dict()


def test_an_attribute_that_is_missing_is_named():
    class Lacking(Holder):
        _state_dict_all_req_keys = ("held", "total")

    with pytest.raises(ValueError, match="not among metric attributes: total of Lacking"):
        Lacking().state_dict()
    with pytest.raises(ValueError, match="not among metric attributes: total of Lacking"):
        Lacking().load_state_dict({"__metric_state_per_rank": [{"held": 1, "total": 2}]})


def labelled(metric):
    metric.update((torch.eye(3), torch.tensor([0, 1, 1])))
    return metric


def one_of_each():
    """A metric that has seen something, and a state that is not its own."""
    means = MetricGroup({"a": Average(), "b": Average()})
    means.update(3.0)
    other = MetricGroup({"a": Average(), "c": Average()})
    other.update(4.0)
    best = Best(Average(), "max")
    best.update(2.0)
    running = RunningAverage(Average())
    running.update(2.0)
    resampled = labelled(Bootstrap(Accuracy(), num_resamples=2))
    return {
        "another metric": (mean_of(3.0), labelled(Accuracy())),
        "another count": (labelled(ConfusionMatrix(3)), labelled(Accuracy())),
        "less than needed": (labelled(Precision()), labelled(Accuracy())),
        "another group": (means, other),
        "a lambda of others": (mean_of(3.0) + 1, labelled(Accuracy()) + 1),
        "a best of another": (best, Best(labelled(Accuracy()))),
        "a running average of another": (running, RunningAverage(labelled(Accuracy()))),
        "another number of resamples": (
            resampled,
            labelled(Bootstrap(Accuracy(), num_resamples=3)),
        ),
    }


def as_lists(value):
    return value.tolist() if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize("case", one_of_each())
def test_a_state_of_another_metric_is_refused_and_changes_nothing(case):
    metric, other = one_of_each()[case]
    before = as_lists(metric.compute())
    with pytest.raises(ValueError, match="state"):
        metric.load_state_dict(other.state_dict())
    assert as_lists(metric.compute()) == before


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ([1], TypeError, "state_dict should be a dictionary, but given <class 'list'>"),
        ({}, ValueError, r"provided by Metric.state_dict.., but given one with the keys \[\]"),
        ({"__metric_state_per_rank": {"held": 1}}, ValueError, "provided by Metric.state_dict"),
        ({"__metric_state_per_rank": []}, ValueError, "size equal world_size 1, but given 0"),
        (
            {"__metric_state_per_rank": [{"other": 1}]},
            ValueError,
            r"have the key 'held', but given one with \['other'",
        ),
        ({"__metric_state_per_rank": [3]}, (TypeError, ValueError), "state_dict should .*3"),
    ],
)
def test_invalid_states_are_refused_and_change_nothing(state, error, words):
    metric = Holder(5)
    with pytest.raises(error, match=words):
        metric.load_state_dict(state)
    assert metric.held == 5


def test_a_state_is_not_changed_by_the_metric_that_loaded_it():
    saved = labelled(ConfusionMatrix(3)).state_dict()
    for _ in range(2):
        metric = ConfusionMatrix(3)
        metric.load_state_dict(saved)
        labelled(metric)
        assert metric.compute().tolist() == [[2, 0, 0], [0, 2, 2], [0, 0, 0]]


def test_one_process_merges_the_states_of_several():
    states = [labelled(Accuracy()).state_dict()["__metric_state_per_rank"][0] for _ in range(3)]
    metric = Accuracy()
    metric.load_state_dict({"__metric_state_per_rank": states})
    labelled(metric)
    assert (metric.compute(), metric._num_examples) == (2 / 3, 12)
