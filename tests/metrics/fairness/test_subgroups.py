"""Metrics in groups of examples, against fairlearn, and against the metric of each group alone."""

import math

import fairlearn.metrics
import pytest
import sklearn.metrics
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite import metrics as m
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics.fairness import (
    DemographicParityDifference,
    SelectionRate,
    SubgroupAccuracyDifference,
    SubgroupDifference,
    SubgroupMetric,
)
from support.cases import close

NAMES = ("a", "b", "c", "d")


def computed(metric, *batches):
    for batch in batches:
        metric.update(batch)
    return metric.compute()


def halves(*items):
    middle = len(items[0]) // 2
    return tuple(item[:middle] for item in items), tuple(item[middle:] for item in items)


@st.composite
def decisions(draw):
    """Binary predictions, targets and groups, of which some are rare."""
    n, num_groups = draw(st.integers(6, 60)), draw(st.integers(2, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    y_pred, y = (torch.randint(2, (n,), generator=generator) for _ in range(2))
    groups = (torch.rand(n, generator=generator) ** 2 * num_groups).long()
    groups[:2] = torch.tensor([0, 1])
    return y_pred, y, groups


@given(decisions())
def test_differences_equal_those_of_fairlearn(triple):
    y_pred, y, groups = (tensor.numpy() for tensor in triple)
    every = sorted(set(groups.tolist()))
    frame = fairlearn.metrics.MetricFrame(
        metrics={
            "accuracy": sklearn.metrics.accuracy_score,
            "selected": fairlearn.metrics.selection_rate,
        },
        y_true=y,
        y_pred=y_pred,
        sensitive_features=groups,
    )
    by_group = frame.by_group.to_dict()
    assert computed(SubgroupMetric(m.Accuracy(), every), *halves(*triple)) == pytest.approx(
        by_group["accuracy"], abs=1e-12
    )
    selected = computed(SubgroupMetric(SelectionRate(), every), *halves(*triple))
    assert {group: rate[1].item() for group, rate in selected.items()} == pytest.approx(
        by_group["selected"], abs=1e-12
    )
    difference = frame.difference(method="between_groups")
    assert computed(SubgroupAccuracyDifference(every), *halves(*triple)) == pytest.approx(
        difference["accuracy"], abs=1e-12
    )
    expected = fairlearn.metrics.demographic_parity_difference(y, y_pred, sensitive_features=groups)
    assert computed(DemographicParityDifference(every), *halves(*triple)) == pytest.approx(
        expected, abs=1e-12
    )


BASES = {
    "accuracy": (m.Accuracy, "scores"),
    "precision": (lambda: m.Precision(average=False), "scores"),
    "recall": (lambda: m.Recall(average="weighted"), "scores"),
    "matrix": (lambda: m.ConfusionMatrix(4), "outside"),
    "rows": (lambda: m.ConfusionMatrix(4, average="samples"), "images"),
    "images": (lambda: m.Precision(average="macro"), "images"),
    "binary": (m.HammingDistance, "binary"),
    "exact": (lambda: m.Accuracy(is_multilabel=True), "labels"),
    "of labels": (lambda: m.Recall(average=None, is_multilabel=True), "labels"),
    "samples": (lambda: m.Recall(average="samples", is_multilabel=True), "label maps"),
    "label maps": (lambda: m.Accuracy(is_multilabel=True), "label maps"),
    "errors": (m.MeanAbsoluteError, "numbers"),
    "curve": (m.ROC_AUC, "probabilities"),
    "lambda": (lambda: m.Precision() + m.Recall(), "scores"),
    "f score": (lambda: m.Fbeta(1), "scores"),
    "group": (lambda: m.MetricGroup({"x": m.Accuracy(), "y": m.Recall()}), "scores"),
    "user": (lambda: Largest(), "numbers"),
}


class Largest(m.Metric):
    """Written for Ignite."""

    def reset(self):
        self._largest = -math.inf

    def update(self, output):
        self._largest = max(self._largest, float((output[0] - output[1]).abs().max()))

    def compute(self):
        return self._largest


def pair_of(kind, n, generator):
    def integers(high, *shape):
        return torch.randint(high, (n, *shape), generator=generator)

    if kind == "outside":
        return torch.randn(n, 4, generator=generator), integers(6) - 1
    if kind == "numbers":
        return torch.randn(n, generator=generator), torch.randn(n, generator=generator)
    if kind == "probabilities":
        return torch.rand(n, generator=generator), torch.arange(n) // 3 % 2
    return {
        "scores": (torch.randn(n, 4, generator=generator), integers(4)),
        "images": (torch.randn(n, 4, 2, 3, generator=generator), integers(4, 2, 3)),
        "binary": (integers(2), integers(2)),
        "labels": (integers(2, 3), integers(2, 3)),
        "label maps": (integers(2, 3, 2, 2), integers(2, 3, 2, 2)),
    }[kind]


@pytest.mark.parametrize("name", BASES)
@given(st.integers(0, 10**6), st.booleans())
def test_each_group_has_the_value_of_the_metric_of_its_examples_alone(name, seed, is_list):
    make, kind = BASES[name]
    generator = torch.Generator().manual_seed(seed)
    y_pred, y = pair_of(kind, 24, generator)
    groups = torch.arange(24) % 3  # the last one is not asked for
    labels = [NAMES[group] for group in groups] if is_list else groups
    found = computed(
        SubgroupMetric(make(), [*NAMES[:2], "d"] if is_list else [0, 1, 7]),
        *halves(y_pred, y, labels),
    )
    expected = {
        NAMES[i] if is_list else i: computed(make(), (y_pred[groups == i], y[groups == i]))
        for i in range(2)
    }
    plain = {group: _plain(value) for group, value in found.items()}
    assert plain == {group: close(_plain(value)) for group, value in expected.items()}
    if name != "group":
        values = [torch.as_tensor(value, dtype=torch.float64) for value in expected.values()]
        difference = SubgroupDifference(make(), [*NAMES[:2]] if is_list else [1, 0])
        assert computed(difference, (y_pred, y, labels)) == pytest.approx(
            (values[0] - values[1]).abs().max().item()
        )


def _plain(value):
    return value.tolist() if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize(
    ("labels", "groups"),
    [
        (torch.tensor([0, 0, 1, 1, 9]), [0, 1]),
        (torch.tensor([[0], [0], [1], [1], [9]]), torch.tensor([0, 1])),
        (torch.tensor([0.5, 0.5, 1.5, 1.5, math.nan]), [0.5, 1.5]),
        (torch.tensor([True, True, False, False, False])[:4], [True, False]),
        (["x", "x", ("y", 1), ("y", 1), None], ["x", ("y", 1), "x"]),
        (torch.tensor([0, 0, 1, 1, 9]).numpy(), (0, 1, 0)),
    ],
    ids=str,
)
def test_kinds_of_group_labels(labels, groups):
    n = len(labels)
    y_pred, y = torch.tensor([1, 1, 0, 1, 1])[:n], torch.tensor([1, 1, 0, 0, 0])[:n]
    found = computed(SubgroupMetric(m.Accuracy(), groups), (y_pred, y, labels))
    assert list(found.values()) == [1.0, 0.5]
    assert computed(SubgroupMetric(m.Accuracy(), list(found)), (y_pred, y, labels)) == found


def test_metrics_of_one_engine_share_the_counts_of_groups():
    batches = [
        (torch.randn(9, 3), torch.randint(3, (9,)), torch.randint(2, (9,))) for _ in range(4)
    ]
    metrics = {
        "accuracy": SubgroupAccuracyDifference([0, 1]),
        "parity": DemographicParityDifference([0, 1]),
        "each": SubgroupMetric(m.Recall(), [0, 1]),
        "matrix": SubgroupMetric(m.ConfusionMatrix(3), [0, 1]),
    }
    engine = Engine(lambda engine, batch: batch)
    for name, metric in metrics.items():
        metric.attach(engine, name)
    found = engine.run(batches).metrics
    assert len({id(metric._statistics_in_use()[0]) for metric in metrics.values()}) == 1
    for name, metric in metrics.items():
        alone = metric._fresh_copy()
        other = metric._fresh_copy()
        other.load_state_dict(metric.state_dict())
        for value in (computed(alone, *batches), other.compute()):
            if isinstance(value, dict):
                for group in value:
                    assert torch.equal(value[group], found[name][group])
            else:
                assert value == found[name]
    assert "label counts of 2 groups" in str(engine.describe())
    assert m.Metric.directions(engine)["accuracy"] is False


def test_outputs_may_be_mappings_and_values_are_published_by_group():
    engine = Engine(lambda engine, batch: batch)
    SubgroupMetric(m.Accuracy(), ["a", "b"]).attach(engine, "accuracy")
    batch = {"y_pred": torch.ones(2), "y": torch.tensor([1, 0]), "group_labels": ["a", "b"]}
    found = engine.run([batch]).metrics
    assert found == {"accuracy": {"a": 1.0, "b": 0.0}, "a": 1.0, "b": 0.0}
    assert m.Metric.directions(engine) == {"accuracy": None, "a": True, "b": True}


@pytest.mark.parametrize("base", [m.Accuracy, lambda: m.Accuracy() * 1], ids=["counts", "copies"])
def test_too_few_groups_have_no_difference(base):
    metric = SubgroupDifference(base(), [0, 1])
    with pytest.raises(NotComputableError, match="must have at least one example"):
        metric.compute()
    metric.update((torch.ones(2), torch.ones(2), torch.tensor([0, 5])))
    with pytest.raises(NotComputableError, match="at least two unique subgroups .* examples of 0"):
        metric.compute()
    metric.update((torch.ones(1), torch.zeros(1), torch.tensor([1])))
    assert metric.compute() == 1.0
    metric.reset()
    assert computed(SubgroupMetric(base(), [0, 1])) == {}


@pytest.mark.parametrize("base", [m.Accuracy, lambda: m.Accuracy() * 1], ids=["counts", "copies"])
def test_wrong_outputs_are_refused_by_all_groups(base):
    y_pred, y, groups = torch.eye(3), torch.tensor([0, 1, 1]), torch.tensor([0, 1, 1])
    metric = SubgroupMetric(base(), [0, 1])
    metric.update((y_pred, y, groups))
    before, state = metric.compute(), repr(metric.state_dict())
    for output, error, words in [
        ((y_pred, y, groups[:2]), ValueError, r"must have the same batch size.* and \(2,\)"),
        ((y_pred, y[:2], groups), ValueError, "must have the same batch size"),
        ((y_pred, y, torch.ones(3, 2)), ValueError, r"same batch size.* and \(3, 2\)"),
        ((y_pred, y, ["a"]), ValueError, "must have the same batch size"),
        ((y_pred, y), TypeError, "given .y_pred, y, group_labels., but given 2 items; choose"),
        (y_pred, TypeError, "given .y_pred, y, group_labels., but given Tensor; choose"),
        ((y_pred, y, 5), TypeError, "group_labels should be a tensor or a list .* given int"),
        ((y_pred, y, [[], [], []]), TypeError, "unhashable"),
        ((None, y, groups), TypeError, "should be given .* choose them in output_transform"),
        ({"y_pred": y_pred, "y": y}, ValueError, "should contain .*group_labels"),
        ((y_pred, torch.tensor([0, 1, 7]), groups), ValueError, "1 of those given are not"),
        ((torch.randn(3, 4), torch.zeros(3).long(), groups), ValueError, "has changed from 3 to 4"),
    ]:
        with pytest.raises(error, match=words):
            metric.update(output)
        assert metric.compute() == before
        assert repr(metric.state_dict()) == state
    engine = Engine(lambda engine, batch: (y_pred, y))
    metric.attach(engine, "x")
    with pytest.raises(TypeError, match="given .y_pred, y, group_labels., but given 2 items"):
        engine.run([0])


def test_a_tensor_has_no_labels_that_are_names():
    with pytest.raises(
        ValueError, match=r"a list of labels for the groups \('a',\), but given a t"
    ):
        SubgroupMetric(m.Accuracy(), ["a"]).update((torch.ones(1), torch.ones(1), torch.ones(1)))


def test_what_the_base_metric_refuses_is_refused():
    with pytest.raises(ValueError, match="average='samples' is incompatible"):
        SubgroupMetric(m.Recall(average="samples", is_multilabel=False), [0]).update(
            (torch.ones(1), torch.ones(1), torch.zeros(1))
        )
    with pytest.raises(ValueError, match="y_pred should have 5 classes|number of classes|5"):
        SubgroupMetric(m.ConfusionMatrix(5), [0]).update(
            (torch.eye(3), torch.arange(3), torch.zeros(3))
        )
    metric = SubgroupMetric(m.ConfusionMatrix(3), [0])
    metric.update((torch.eye(3), torch.arange(3), torch.zeros(3)))
    with pytest.raises(ValueError, match="state_dict"):
        SubgroupMetric(m.Accuracy(), [0]).load_state_dict(metric.state_dict())
    for other in (
        SubgroupMetric(m.ConfusionMatrix(3), [1]),
        SubgroupMetric(m.ConfusionMatrix(4), [0]),
        SubgroupMetric(m.Accuracy() * 1, [0]),
    ):
        with pytest.raises(ValueError, match="state_dict"):
            other.load_state_dict(metric.state_dict())


def test_arguments_are_checked():
    for wrong in (m.Accuracy, None, 5):
        with pytest.raises(TypeError, match="base_metric should be a Metric, but given"):
            SubgroupMetric(wrong, [0, 1])
    for wrong in (5, "ab", None):
        with pytest.raises(TypeError, match=f"groups should be a sequence .* given {wrong!r}"):
            SubgroupMetric(m.Accuracy(), wrong)
    with pytest.raises(ValueError, match="groups should have at least one label"):
        SubgroupDifference(m.Accuracy(), [])
    with pytest.raises(TypeError, match="unhashable"):
        SubgroupDifference(m.Accuracy(), [[1], [2]])


def test_values_that_are_no_numbers_have_no_difference():
    metric = SubgroupDifference(m.MetricGroup({"x": m.Accuracy()}), [0, 1])
    metric.update((torch.ones(2), torch.ones(2), torch.tensor([0, 1])))
    with pytest.raises(TypeError, match="should be numbers or tensors .* given dict for the group"):
        metric.compute()


def test_a_metric_that_is_given_stays_as_it_is():
    base = m.Accuracy()
    base.update((torch.ones(4), torch.zeros(4)))
    assert computed(SubgroupMetric(base, [0]), (torch.ones(1), torch.ones(1), torch.zeros(1))) == {
        0: 1.0
    }
    assert base.compute() == 0.0


def test_wrong_labels_on_accelerators_are_reported_by_compute():
    metric = SubgroupAccuracyDifference([0, 1])
    metric.update((torch.ones(2), torch.ones(2), torch.tensor([0, 1])))
    metric._own[0].num_outside = torch.tensor(3)  # what an accelerator counts
    with pytest.raises(ValueError, match="comprised of 0's and 1's., but 3 are not"):
        metric.compute()


@pytest.mark.parametrize(
    ("pair", "arguments", "expected"),
    [
        ((torch.tensor([0, 1, 1, 0, 1, 1]), torch.zeros(6)), {}, [1 / 3, 2 / 3]),
        (
            (torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]), torch.tensor([0, 1])),
            {},
            [0.5, 0, 0.5],
        ),
        (
            (torch.tensor([[0, 1, 1], [0, 1, 0]]), torch.ones(2, 3)),
            {"is_multilabel": True},
            [0, 1, 0.5],
        ),
    ],
)
def test_selection_rates(pair, arguments, expected):
    assert computed(SelectionRate(**arguments), pair).tolist() == pytest.approx(expected)
    with pytest.raises(NotComputableError, match="SelectionRate must have at least one example"):
        SelectionRate().compute()
