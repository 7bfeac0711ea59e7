"""Inputs that every metric refuses without changing its state, tested over the list of all metrics."""

import itertools
import random
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite import metrics as m
from ignite.engine import Engine
from support.cases import (
    CASES,
    OF_TENSORS,
    as_plain,
    batch_of,
    binary,
    close,
    cut,
    distributions,
    every_metric,
    every_metric_of_tensors,
    fed,
    labels,
    multilabel,
    probabilities,
    scores,
    value_of,
)

ACCUMULATE = (
    "VariableAccumulation",
    "Average",
    "GeometricAverage",
    "Sum",
    "Max",
    "Min",
    "InceptionScore",
)
DETECT = ("ObjectDetectionAvgPrecisionRecall", "CommonObjectDetectionMetrics")
GROUPED = ("Subgroup", "DemographicParity")  # of triples
PAIRS = {
    name: case
    for name, case in OF_TENSORS.items()
    if name not in (*ACCUMULATE, *DETECT) and not name.startswith(GROUPED)
}
every_metric_of_pairs = pytest.mark.parametrize("case", PAIRS.values(), ids=PAIRS.keys())
TAKES_ANY_TARGETS = ("Entropy", "MutualInformation", "Loss")


def malformed(y_pred, y, case):
    """Name -> an output that is no pair of tensors, made of one that is."""
    found = {
        "None": None,
        "a number": 0.5,
        "a string": "ab",
        "one tensor": y_pred,
        "one tensor of two rows": torch.stack([y_pred, y_pred]),
        "nothing": (),
        "one item": (y_pred,),
        "three items": (y_pred, y, y),
        "a mask": (y_pred, y, torch.ones(len(y))),
        "no prediction": (None, y),
        "a list and a tensor": ([*y_pred], y),
        "arrays": (y_pred.numpy(), y.numpy()),
        "other keys": {"pred": y_pred, "target": y},
    }
    if not case.name.startswith(TAKES_ANY_TARGETS):
        found["keywords"] = (y_pred, y, {})
        found["no target"] = (y_pred, None)
    return found


@every_metric_of_pairs
def test_what_is_no_pair_of_tensors_is_refused_and_names_output_transform(case):
    metric = fed(case, [batch_of(case, 9)])
    before = value_of(metric)
    for name, output in malformed(*batch_of(case, 9, seed=1), case).items():
        if case.name == "Loss" and name in ("no prediction", "a list and a tensor", "arrays"):
            continue  # whatever the user's function takes
        with pytest.raises(
            (TypeError, ValueError), match="output_transform|adapt|tensors of the same length"
        ):
            metric.update(output)
        assert value_of(metric) == close(before), name
        engine, attached = Engine(lambda engine, batch, output=output: output), case.make()
        attached.attach(engine, "value")
        with pytest.raises((TypeError, ValueError), match="output_transform"):
            engine.run([0])


MODES = {"grad": nullcontext, "no_grad": torch.no_grad, "inference": torch.inference_mode}


def through_modes(case, batches, modes):
    """The values of a metric that is reset, fed, computed, saved and loaded in these modes, one after the other."""
    modes = iter(modes)
    with next(modes)():
        metric = case.make()
    with next(modes)():
        metric.reset()
    values = []
    for batch in batches:
        with next(modes)():
            metric.update(batch)
        with next(modes)():
            values.append(value_of(metric))
    with next(modes)():
        state = metric.state_dict()
        other = case.make()
        other.load_state_dict(state)
    with next(modes)():
        other.update(batches[0])
    values.append(value_of(other))
    return values


@every_metric
def test_modes_of_autograd_change_no_value(case):
    """Each step in each mode, and after a step in each other mode."""
    batches = cut(batch_of(case, 27), [9, 8, 10])
    expected = [close(value) for value in through_modes(case, batches, [nullcontext] * 10)]
    for modes in itertools.permutations(MODES):
        modes_of_steps = [MODES[mode] for mode in itertools.islice(itertools.cycle(modes), 10)]
        assert through_modes(case, batches, modes_of_steps) == expected, modes


@pytest.mark.slow
@every_metric
@given(st.lists(st.sampled_from(list(MODES)), min_size=10, max_size=10))
def test_any_modes_of_autograd_change_no_value(case, modes):
    batches = cut(batch_of(case, 27), [9, 8, 10])
    expected = through_modes(case, batches, [nullcontext] * 10)
    assert through_modes(case, batches, [MODES[mode] for mode in modes]) == [
        close(value) for value in expected
    ]


@every_metric
@pytest.mark.parametrize(
    "first",
    [
        "inference",
        pytest.param("grad", marks=pytest.mark.slow),
        pytest.param("no_grad", marks=pytest.mark.slow),
    ],
)
def test_runs_in_different_modes_give_the_same_values(case, first):
    """Seven runs of one engine, with each change of mode among them."""
    start = list(MODES).index(first)
    modes = [list(MODES)[(start + step) % 3] for step in (0, 1, 2, 0, 2, 1, 0)]
    batches = cut(batch_of(case, 27), [9, 8, 10])
    engine = Engine(lambda engine, batch: batch)
    case.make().attach(engine, "value")
    m.MetricGroup({"value": case.make()}).attach(engine, "group")
    expected = close(value_of(fed(case, batches)))
    for mode in modes:
        with MODES[mode]():
            metrics = engine.run(batches).metrics
        assert as_plain(metrics["value"]) == expected
        assert as_plain(metrics["group"])["value"] == expected


@every_metric
def test_a_batch_without_examples_adds_nothing(case):
    batch, none = batch_of(case, 9), batch_of(case, 0)
    expected = value_of(fed(case, [batch]))
    assert value_of(fed(case, [none, batch, none])) == close(expected)


@every_metric_of_tensors
def test_a_last_batch_of_one_may_be_squeezed(case):
    first, last = cut(batch_of(case, 10), [9, 1])
    if not isinstance(last, tuple) or isinstance(last[1], list) or last[1].ndim != 1:
        pytest.skip("squeezed vectors look like several numbers")
    expected = value_of(fed(case, [first, last]))
    y_pred, y, *rest = (tensor.squeeze() for tensor in last)
    assert value_of(fed(case, [first, (y_pred, y, *rest)])) == close(expected)
    if last[0].ndim == 1:
        assert value_of(fed(case, [first, (y_pred, last[1], *rest)])) == close(expected)
        assert value_of(fed(case, [first, (last[0], y, *rest)])) == close(expected)


class Refusing(m.Metric):
    """Refuses each second batch."""

    def reset(self):
        self.num_seen = torch.tensor(0)

    def update(self, output):
        if self.num_seen == 1:
            raise ValueError("not this one")
        self.num_seen += 1

    def compute(self):
        return int(self.num_seen)


@every_metric
def test_a_batch_that_one_metric_of_a_group_refuses_is_counted_by_none(case):
    first, second, third = cut(batch_of(case, 30), [9, 8, 13])
    group = m.MetricGroup(
        {"a": case.make(), "refusing": Refusing(), "b": case.make(), "again": Refusing()}
    )
    group.update(first)
    before = as_plain(group.compute())
    with pytest.raises(ValueError, match="not this one"):
        group.update(second)
    assert as_plain(group.compute()) == close(before)
    group.metrics["refusing"].reset()
    with pytest.raises(ValueError, match="not this one"):
        group.update(second)
    group.metrics["again"].reset()
    group.metrics["refusing"].reset()
    group.update(third)
    expected = close(value_of(fed(case, [first, third])))
    assert as_plain(group.compute()) == {"a": expected, "b": expected, "refusing": 1, "again": 1}


@pytest.mark.parametrize("num_others", [10, pytest.param(len(CASES) - 1, marks=pytest.mark.slow)])
def test_no_metric_continues_from_the_state_of_another(num_others):
    """But for those whose parts are the same metrics: what is made of their values is not a part of the state."""
    generator = random.Random(0)
    metrics = {
        name: fed(case, [batch_of(case, 9)]) for name, case in CASES.items() if name != "adapt"
    }
    states = {name: metric.state_dict() for name, metric in metrics.items()}
    values = {name: value_of(metric) for name, metric in metrics.items()}
    num_refused = 0
    for name, metric in metrics.items():
        others = [other for other in states if other != name]
        for other in generator.sample(others, min(num_others, len(others))):
            if identity_of(states[name]) == identity_of(states[other]):
                continue
            with pytest.raises(ValueError, match="state_dict"):
                metric.load_state_dict(states[other])
            num_refused += 1
    assert num_refused > 0.9 * len(CASES) * num_others
    assert {name: value_of(metric) for name, metric in metrics.items()} == {
        name: close(value) for name, value in values.items()
    }


def identity_of(state):
    """Which metrics have saved a state: names and numbers without what was accumulated."""
    (own,) = state["__metric_state_per_rank"]
    return identity_in(own)


def identity_in(own):
    if isinstance(own, list):
        return [identity_in(item) for item in own]
    if not isinstance(own, dict):
        return own
    if "metric" in own:
        return own["metric"].partition("(")[0], "0.samples" in own and own["0.samples"] is None
    return [identity_in(item) for name, item in own.items() if not name.startswith("_")]


OF_MATRIX = (
    "IoU",
    "mIoU",
    "JaccardIndex",
    "DiceCoefficient",
    "cmAccuracy",
    "cmPrecision",
    "cmRecall",
)
LEAVE_OUT = tuple(name for name in PAIRS if name.startswith(("ConfusionMatrix", *OF_MATRIX)))
OF_LABELS = {
    name: case
    for name, case in PAIRS.items()
    if case.examples in (scores, binary, multilabel, labels, probabilities, distributions)
    and not name.startswith((*TAKES_ANY_TARGETS, "adapt", "EpochMetric"))
}


NO_LABELS = (0.5, -0.9, float("nan"), float("inf"), -float("inf"), -100.0)


@pytest.mark.parametrize("case", OF_LABELS.values(), ids=OF_LABELS.keys())
def test_what_is_no_label_is_refused_in_update(case):
    """The first target, or the first prediction where predictions are labels; as floats, as fractions are."""
    metric = fed(case, [batch_of(case, 9)])
    before, state = close(value_of(metric)), repr(metric.state_dict())
    right = dict(zip(("y_pred", "y"), batch_of(case, 9, seed=1), strict=True))
    places = ["y"] if right["y_pred"].is_floating_point() else ["y", "y_pred"]
    for wrong, place in itertools.product(NO_LABELS, places):
        if case.name in LEAVE_OUT and wrong == -100.0:
            continue  # as any target that is no class
        output = right | {place: right[place].to(torch.float64, copy=True)}
        output[place].view(-1)[0] = wrong
        with pytest.raises(ValueError, match="should be|must be"):
            metric.update((output["y_pred"], output["y"]))
        assert (value_of(metric), repr(metric.state_dict())) == (before, state), (wrong, place)


@pytest.mark.parametrize("case", OF_LABELS.values(), ids=OF_LABELS.keys())
def test_scores_that_are_nan_are_refused_in_update_or_never_a_hit(case):
    y_pred, y = (tensor.clone() for tensor in batch_of(case, 9, seed=1))
    if not y_pred.is_floating_point():
        pytest.skip("predictions are labels")
    y_pred.view(-1)[3] = float("nan")
    metric = fed(case, [batch_of(case, 9)])
    before = value_of(metric)
    if case.name == "TopKCategoricalAccuracy":
        y_pred[:] = float("nan")
        metric.update((y_pred, y))
        assert value_of(metric) == pytest.approx(before / 2)
        return
    with pytest.raises(ValueError, match="NaN|nan|probabilities"):
        metric.update((y_pred, y))
    assert value_of(metric) == close(before)
