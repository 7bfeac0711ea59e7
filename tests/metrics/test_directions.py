"""``higher_is_better``: each metric that declares it is better for good predictions than for poor ones."""

import inspect

import pytest
import sklearn.metrics
import torch
import torchmetrics

import ignite.metrics as all_metrics
import ignite.metrics.gan
from ignite.engine import Engine
from ignite.metrics import (
    SSIM,
    Accuracy,
    Average,
    Best,
    Bootstrap,
    ConfusionMatrix,
    DiceCoefficient,
    Fbeta,
    InceptionScore,
    IoU,
    JaccardIndex,
    Loss,
    MeanSquaredError,
    Metric,
    MetricGroup,
    MetricsLambda,
    MultiLabelConfusionMatrix,
    RunningAverage,
    adapt,
    clustering,
    cmAccuracy,
    cmPrecision,
    cmRecall,
    mIoU,
    regression,
)

generator = torch.Generator().manual_seed(3)
LABELS = torch.randint(0, 3, (200,), generator=generator)
GOOD = 4.0 * torch.nn.functional.one_hot(LABELS, 3) + torch.randn(200, 3, generator=generator)
POOR = torch.randn(200, 3, generator=generator)
YES = (LABELS > 1).long()
GOOD_SCORES, POOR_SCORES = torch.sigmoid(8.0 * YES - 4), torch.rand(200, generator=generator)
NUMBERS = torch.rand(200, generator=generator) + 1
GOOD_NUMBERS = NUMBERS + 0.01 * torch.randn(200, generator=generator)
POOR_NUMBERS = torch.rand(200, generator=generator) + 1
IMAGES = torch.rand(2, 1, 32, 32, generator=generator)

CLASSES = (GOOD, POOR, LABELS)
SCORES = (GOOD_SCORES, POOR_SCORES, YES)
OF_NUMBERS = (GOOD_NUMBERS, POOR_NUMBERS, NUMBERS)
OF_ROWS = tuple(one.reshape(20, 10) for one in OF_NUMBERS)
OF_IMAGES = (IMAGES + 0.01, torch.rand(2, 1, 32, 32, generator=generator), IMAGES)
OF_LARGE_IMAGES = tuple(one.repeat(1, 1, 6, 6) for one in OF_IMAGES)
OF_PIXELS = (
    *(one.reshape(2, 10, 10, 3).movedim(-1, 1) for one in CLASSES[:2]),
    LABELS.reshape(2, 10, 10),
)
OF_DISTRIBUTIONS = (GOOD, POOR, 4.0 * torch.nn.functional.one_hot(LABELS, 3))
OF_TEXTS = (["the cat sat on it"], ["a dog slept under the bed"], ["the cat sat on the mat"])
OF_SENTENCES = (
    *([text.split() for text in texts] for texts in OF_TEXTS[:2]),
    [[text.split()] for text in OF_TEXTS[2]],
)

SQUARES = 9 * torch.arange(30)[:, None] + torch.tensor([0.0, 0, 8, 8])
BOXES = [{"bbox": SQUARES, "labels": LABELS[:30], "scores": NUMBERS[:30]}]
OF_BOXES = (BOXES, [{**BOXES[0], "bbox": SQUARES + 2 * POOR[:30, :1]}], BOXES)

DATA = {
    "CosineSimilarity": OF_ROWS, "MeanPairwiseDistance": OF_ROWS, "SSIM": OF_IMAGES, "PSNR": OF_IMAGES,
    "MultiScaleSSIM": OF_LARGE_IMAGES, "MeanIoU": OF_PIXELS, "DiceScore": OF_PIXELS,
    "GeneralizedDiceScore": OF_PIXELS,
    "ROC_AUC": SCORES, "AveragePrecision": SCORES, "KLDivergence": OF_DISTRIBUTIONS, "JSDivergence": OF_DISTRIBUTIONS,
    "MeanAbsoluteError": OF_NUMBERS, "MeanSquaredError": OF_NUMBERS, "RootMeanSquaredError": OF_NUMBERS,
    "MaximumMeanDiscrepancy": (OF_ROWS[0], 3 * OF_ROWS[1], OF_ROWS[2]),
    "CalibrationError": (GOOD.softmax(1), (9 * POOR).softmax(1), LABELS),
    "FID": (GOOD + 0.1, POOR, GOOD), "InceptionScore": (GOOD.softmax(1), POOR.softmax(1), LABELS),
    **dict.fromkeys(clustering.__all__, (GOOD, POOR, LABELS)),
    **dict.fromkeys(
        ("HitRate", "MeanReciprocalRank", "NDCG", "PrecisionAtK", "RecallAtK"),
        (GOOD, POOR, torch.nn.functional.one_hot(LABELS)),
    ),
    "CohenKappa": (GOOD.argmax(1), POOR.argmax(1), LABELS),
    "ObjectDetectionAvgPrecisionRecall": OF_BOXES, "Bleu": OF_SENTENCES, "Rouge": OF_SENTENCES,
    "RougeL": OF_SENTENCES, "RougeN": OF_SENTENCES, "CharacterErrorRate": OF_TEXTS, "WordErrorRate": OF_TEXTS,
}  # fmt: skip
MADE = {
    "Loss": lambda: Loss(torch.nn.functional.cross_entropy),
    "FID": lambda: all_metrics.FID(3),
    "InceptionScore": lambda: InceptionScore(3),
    "PSNR": lambda: all_metrics.PSNR(1.0),
    "NDCG": lambda: all_metrics.NDCG([1]),
    "SSIM": lambda: SSIM(1.0),
    "MultiScaleSSIM": lambda: all_metrics.MultiScaleSSIM(1.0),
    "MeanIoU": lambda: all_metrics.MeanIoU(3),
    "DiceScore": lambda: all_metrics.DiceScore(3),
    "GeneralizedDiceScore": lambda: all_metrics.GeneralizedDiceScore(3),
    "TopKCategoricalAccuracy": lambda: all_metrics.TopKCategoricalAccuracy(1),
}
UNKNOWN = {
    "Average", "Best", "Bootstrap", "CommonObjectDetectionMetrics", "ConfusionMatrix", "Entropy", "EpochMetric",
    "Frequency", "GeometricAverage", "Max", "Min", "Sum",
    "GpuInfo", "HSIC", "Metric", "MetricGroup", "MetricsLambda", "MultiLabelConfusionMatrix", "PrecisionRecallCurve",
    "RocCurve", "RunningAverage", "VariableAccumulation", "FractionalBias", "MeanError", "MeanNormalizedBias",
}  # fmt: skip
CLASSES_OF_METRICS = {
    name: one
    for module in (all_metrics, clustering, ignite.metrics.gan, regression)
    for name in module.__all__
    if inspect.isclass(one := getattr(module, name)) and issubclass(one, Metric)
}


def value_of(metric, y_pred, y):
    metric.reset()
    metric.update(y_pred if isinstance(metric, InceptionScore) else (y_pred, y))
    value = metric.compute()
    value = value[0] if isinstance(value, tuple) else value
    if isinstance(value, dict):
        return sum(value.values())
    return float(torch.as_tensor(value, dtype=torch.float64).mean())


def is_better_for_the_good(metric, data):
    good, poor, y = data
    better, worse = value_of(metric, good, y), value_of(metric, poor, y)
    return better > worse if metric.higher_is_better else better < worse


def test_each_metric_has_a_direction_or_is_known_to_have_none():
    assert {
        name for name, one in CLASSES_OF_METRICS.items() if one.higher_is_better is None
    } == UNKNOWN


@pytest.mark.parametrize("name", sorted(set(CLASSES_OF_METRICS) - UNKNOWN))
def test_good_predictions_are_better_than_poor_ones(name):
    made = CLASSES_OF_METRICS[name]
    metric = MADE.get(name, made)()
    default = OF_NUMBERS if name in regression.__all__ else CLASSES
    assert is_better_for_the_good(metric, DATA.get(name, default))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Fbeta(2.0),
        lambda: Fbeta(1.0, average=False),
        lambda: IoU(ConfusionMatrix(3)),
        lambda: mIoU(ConfusionMatrix(3)),
        lambda: JaccardIndex(ConfusionMatrix(3), exclude_index=0),
        lambda: DiceCoefficient(ConfusionMatrix(3)),
        lambda: cmAccuracy(ConfusionMatrix(3)),
        lambda: cmPrecision(ConfusionMatrix(3)),
        lambda: cmRecall(ConfusionMatrix(3), average=False),
        lambda: 1 - Accuracy(),
        lambda: -Accuracy(),
        lambda: 2 - (1 - Accuracy()) * 3,
        lambda: Accuracy() - (1 - Accuracy()),
        lambda: (Accuracy() + 1) / -2,
        lambda: 0.5 * cmRecall(ConfusionMatrix(3), average=False)[1],
        lambda: cmRecall(ConfusionMatrix(3), average=False).min().sqrt(),
        lambda: RunningAverage(1 - Accuracy()),
        lambda: adapt(torchmetrics.classification.MulticlassAccuracy(3)),
        lambda: adapt(torchmetrics.classification.MulticlassHingeLoss(3)),
        lambda: adapt(
            sklearn.metrics.f1_score, prediction="labels", average="macro", higher_is_better=True
        ),
        lambda: adapt(sklearn.metrics.zero_one_loss, prediction="labels", higher_is_better=False),
    ],
)
def test_composed_metrics_derive_their_direction(make):
    assert make().higher_is_better is not None
    assert is_better_for_the_good(make(), CLASSES)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Accuracy() - MeanSquaredError() * -1 * -1 + MeanSquaredError(),
        lambda: Accuracy() * MeanSquaredError(),
        lambda: 1 / Accuracy(),
        lambda: Accuracy() * 0,
        lambda: Accuracy() ** 2,
        lambda: Average() + 1,
        lambda: ConfusionMatrix(3)[0, 0],
        lambda: Accuracy() > 0.5,
        lambda: MetricsLambda(lambda a: 1 - a, Accuracy()),
        lambda: MetricsLambda(lambda a: 1 - a, a=Accuracy()),
        lambda: Accuracy() + MeanSquaredError(),
        lambda: adapt(sklearn.metrics.f1_score),
        lambda: adapt(torchmetrics.MeanMetric()),
        lambda: MultiLabelConfusionMatrix(3).mean(),
        lambda: RunningAverage(output_transform=float),
    ],
)
def test_other_directions_are_unknown(make):
    assert make().higher_is_better is None


def test_the_directions_of_all_values_of_an_engine():
    engine = Engine(lambda engine, batch: batch)
    group = MetricGroup({"accuracy": Accuracy(), "error": MeanSquaredError(), "mean": Average()})
    group.attach(engine, "group")
    Bootstrap(MeanSquaredError(), num_resamples=2, quantiles=[0.5]).attach(engine, "drawn")
    (1 - Accuracy()).attach(engine, "mistakes")
    RunningAverage(Accuracy()).attach(engine, "running")
    own = Average()
    own.higher_is_better = False
    own.attach(engine, "own")
    assert Metric.directions(engine) == {
        "group": None, "accuracy": True, "error": False, "drawn": None, "mean": False, "q50": False,
        "mistakes": False, "running": True, "own": False,
    }  # fmt: skip


def test_best_uses_the_direction_of_the_metric():
    assert Best(Accuracy()).mode == "max"
    assert Best(MeanSquaredError()).mode == "min"
    assert Best(MeanSquaredError(), "max").mode == "max"
    assert Best(1 - Accuracy()).higher_is_better is False
    with pytest.raises(
        ValueError,
        match="mode should be 'min' or 'max', as Average does not say .*, but given None",
    ):
        Best(Average())
