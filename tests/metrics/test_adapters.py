import pickle

import numpy as np
import pytest
import sklearn.metrics
import torch
import torchmetrics
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import Bootstrap, RunningAverage, adapt


def batches(n=60, num_batches=4):
    generator = torch.Generator().manual_seed(11)
    scores, y = torch.randn(n, 3, generator=generator), torch.randint(3, (n,), generator=generator)
    return list(zip(scores.split(n // num_batches), y.split(n // num_batches), strict=True))


def whole():
    """All predicted labels and targets, for numpy."""
    scores, y = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    return scores.argmax(dim=1).numpy(), y.numpy()


def echo():
    return Engine(lambda engine, batch: batch)


@pytest.mark.parametrize(
    ("metric", "oracle"),
    [
        (MulticlassAccuracy(3, average="micro"), lambda y_pred, y: (y_pred == y).mean()),
        (
            MulticlassF1Score(3, average="macro"),
            lambda y_pred, y: np.mean(
                [
                    2 * ((y_pred == c) & (y == c)).sum() / ((y_pred == c).sum() + (y == c).sum())
                    for c in range(3)
                ]
            ),
        ),
    ],
    ids=["accuracy", "f1"],
)
def test_metrics_of_torchmetrics_attached(metric, oracle):
    engine = echo()
    adapt(metric).attach(engine, "value")
    assert engine.run(batches(), max_epochs=2).metrics["value"] == pytest.approx(
        oracle(*whole()), rel=1e-6
    )


def test_by_name_by_place_and_alone():
    pairs = [
        (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])),
        (torch.tensor([0.0]), torch.tensor([1.0])),
    ]
    by_place, by_name = (
        adapt(torchmetrics.MeanSquaredError()),
        adapt(torchmetrics.MeanSquaredError()),
    )
    alone = adapt(torchmetrics.MeanMetric())
    for y_pred, y in pairs:
        by_place.update([y_pred, y])
        by_name.update({"target": y, "preds": y_pred})
        alone.update(y)
    assert (by_place.compute().item(), by_name.compute().item()) == pytest.approx((5 / 3, 5 / 3))
    assert alone.compute().item() == 2.0
    engine = Engine(lambda engine, batch: {"out": pairs[batch]})
    adapt(
        torchmetrics.MeanSquaredError(),
        lambda output: dict(zip(("preds", "target"), output["out"], strict=True)),
    ).attach(engine, "mse")
    assert engine.run([0, 1]).metrics == {"mse": pytest.approx(5 / 3)}


def test_a_collection_gives_several_values():
    collection = torchmetrics.MetricCollection(
        {"mse": torchmetrics.MeanSquaredError(), "mae": torchmetrics.MeanAbsoluteError()}
    )
    engine = Engine(lambda engine, batch: (torch.tensor([0.0, 0.0]), torch.tensor([1.0, 3.0])))
    adapt(collection).attach(engine, "errors")
    found = engine.run([0, 0]).metrics
    assert (found["mse"], found["mae"]) == (5.0, 2.0)
    assert {name: value.item() for name, value in found["errors"].items()} == {
        "mse": 5.0,
        "mae": 2.0,
    }


class Longest:
    """Somebody's metric that knows of no library."""

    def __init__(self):
        self.longest = 0

    def reset(self):
        self.longest = 0

    def update(self, word):
        self.longest = max(self.longest, len(word))

    def compute(self):
        return self.longest


def test_any_object_with_the_three_methods():
    engine = Engine(lambda engine, batch: batch)
    adapt(Longest()).attach(engine, "longest")
    assert engine.run(["one", "three", "four"]).metrics == {"longest": 5}
    assert engine.run(["to", "be"]).metrics == {"longest": 2}


@pytest.mark.parametrize(
    "make", [Longest, lambda: torchmetrics.SumMetric()], ids=["object", "module"]
)
def test_each_of_several_usages_has_its_value(make):
    engine = Engine(lambda engine, batch: "x" * batch if make is Longest else float(batch))
    metric = adapt(make())
    metric.attach(engine, "epoch")
    metric.attach(engine, "batch", "batch_wise")
    expected = 5 if make is Longest else 9.0
    assert engine.run([1, 5, 3]).metrics == {"epoch": expected, "batch": 3}


def test_metrics_that_copy_it_have_their_own():
    engine, metric = echo(), adapt(torchmetrics.MeanSquaredError())
    metric.attach(engine, "mse")
    RunningAverage(metric, alpha=0.5).attach(engine, "average")
    data = [(torch.tensor([value]), torch.zeros(1)) for value in (1.0, 3.0)]
    assert engine.run(data).metrics == {"mse": 5.0, "average": 5.0}
    bootstrap = Bootstrap(adapt(torchmetrics.MeanAbsoluteError()), num_resamples=50)
    bootstrap.update((torch.arange(40.0), torch.zeros(40)))
    found = bootstrap.compute()
    assert 12 < found["mean"] < 27
    assert found["std"] > 0.5


def test_a_state_dict_continues():
    metric, loaded = adapt(torchmetrics.MeanSquaredError()), adapt(torchmetrics.MeanSquaredError())
    metric.update((torch.tensor([1.0]), torch.zeros(1)))
    loaded.load_state_dict(metric.state_dict())
    for each in (metric, loaded, pickle.loads(pickle.dumps(metric))):
        each.update((torch.tensor([3.0]), torch.zeros(1)))
        assert each.compute().item() == 5.0


def test_an_object_without_a_state_cannot_be_saved():
    class Count:
        def reset(self): ...

        def update(self, output): ...

        def compute(self): ...

    with pytest.raises(
        TypeError, match="Count should have the attribute metric_state.*to be saved, but given none"
    ):
        adapt(Count()).state_dict()


def test_it_moves_to_the_device_of_the_outputs():
    metric = adapt(torchmetrics.MeanSquaredError())
    metric.update((torch.ones(2, device="meta"), torch.ones(2, device="meta")))
    assert metric.adapted.device.type == "meta"


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_functions_of_labels_with_arguments(average):
    engine, (y_pred, y) = echo(), whole()
    adapt(sklearn.metrics.f1_score, prediction="labels", average=average).attach(engine, "f1")
    expected = sklearn.metrics.f1_score(y, y_pred, average=average)
    assert engine.run(batches(), max_epochs=2).metrics["f1"] == pytest.approx(expected)


def test_functions_of_scores():
    generator = torch.Generator().manual_seed(2)
    scores, y = torch.rand(40, generator=generator), torch.randint(2, (40,), generator=generator)
    engine = echo()
    adapt(sklearn.metrics.average_precision_score).attach(engine, "ap")
    adapt(sklearn.metrics.brier_score_loss, lambda output: (output[0] / 2, output[1])).attach(
        engine, "brier"
    )
    found = engine.run(list(zip(scores.split(10), y.split(10), strict=True))).metrics
    assert found["ap"] == pytest.approx(
        sklearn.metrics.average_precision_score(y.numpy(), scores.numpy())
    )
    assert found["brier"] == pytest.approx(np.mean((scores.numpy() / 2 - y.numpy()) ** 2))


def test_labels_that_are_labels_already_stay_and_bfloat16_is_read():
    def agreement(y_true, y_pred):
        return (y_true == y_pred).mean()

    metric = adapt(agreement, prediction="labels")
    metric.update((torch.tensor([2, 0, 1]), torch.tensor([2, 1, 1])))
    assert metric.compute() == pytest.approx(2 / 3)
    assert type(metric.compute()) is float
    scores = adapt(agreement)
    scores.update((torch.tensor([0.5, 0.0], dtype=torch.bfloat16), torch.tensor([0.5, 1.0])))
    assert scores.compute() == 0.5


def test_a_function_is_given_the_true_values_first_and_its_value_as_it_is():
    seen = []

    def function(y_true, y_pred, *, scale):
        seen.append((y_true.tolist(), y_pred.tolist(), scale))
        return np.array([1.0, 2.0])

    metric = adapt(function, scale=3)
    metric.update((torch.tensor([1.0]), torch.tensor([0.0])))
    assert metric.compute().tolist() == [1.0, 2.0]
    assert seen == [([0.0], [1.0], 3)]


def test_functions_are_pickled():
    metric = adapt(sklearn.metrics.f1_score, prediction="labels", average="macro")
    for batch in batches():
        metric.update(batch)
    assert pickle.loads(pickle.dumps(metric)).compute() == metric.compute()


def test_functions_need_examples():
    with pytest.raises(NotComputableError, match="EpochMetric must have at least one example"):
        adapt(sklearn.metrics.f1_score).compute()


@pytest.mark.parametrize("metric", [3, "f1", MulticlassAccuracy, object()])
def test_other_objects_are_refused(metric):
    with pytest.raises(
        TypeError, match="reset, update and compute, or a function of .y_true, y_pred."
    ) as raised:
        adapt(metric)
    assert repr(metric) in str(raised.value)


def test_invalid_arguments_are_refused():
    with pytest.raises(
        ValueError, match="prediction should be 'scores' or 'labels', but given 'classes'"
    ):
        adapt(sklearn.metrics.f1_score, prediction="classes")
    with pytest.raises(
        TypeError,
        match="MulticlassAccuracy should be given its arguments in its constructor.*'average': 'macro'",
    ):
        adapt(MulticlassAccuracy(3), average="macro")
    with pytest.raises(
        TypeError,
        match="MulticlassAccuracy should be given its arguments in its constructor.*labels",
    ):
        adapt(MulticlassAccuracy(3), prediction="labels")
    with pytest.raises(TypeError, match="output_transform should be callable, got <class 'int'>"):
        adapt(sklearn.metrics.f1_score, 3)
