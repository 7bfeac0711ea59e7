"""Metrics with a state, run with the library imported as ``ignite``; see stateful.py."""

import importlib

import torch

from ignite import metrics

SCORES = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3], [0.3, 0.3, 0.4], [0.2, 0.5, 0.3]])
CLASSES = torch.tensor([1, 2, 2, 0])
NUMBERS = torch.tensor([0.5, 2.0, 1.25, 0.75])
TARGETS = torch.tensor([0.75, 1.5, 2.0, 0.5])
BITS = torch.tensor([1, 0, 1, 1])
RIGHT_BITS = torch.tensor([1, 1, 0, 1])
LABELS = torch.tensor([[1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 1]])
RIGHT_LABELS = torch.tensor([[1, 1, 1], [0, 1, 0], [0, 1, 0], [1, 0, 1]])
OTHER_SCORES = SCORES.flip(0).contiguous()
IMAGES = torch.arange(2 * 1 * 12 * 12).reshape(2, 1, 12, 12) % 17 / 16
OTHER_IMAGES = torch.arange(2 * 1 * 12 * 12).reshape(2, 1, 12, 12) % 13 / 12
FEATURES = torch.tensor([[0.0, 1.0], [2.0, 1.5], [1.0, 0.25], [3.0, 2.0], [0.5, 3.0], [2.5, 0.5]])
CLUSTERS = torch.tensor([0, 1, 0, 1, 1, 0])
GROUPS = torch.tensor([0, 1, 0, 1])
CAT = ["the", "cat", "sat", "on", "the", "mat"]
TEXTS = ([["the", "cat", "sat", "on", "mats"], CAT[:3]], [[CAT], [["the", "cat", "ate"], CAT]])


def of(path, *args, **kwargs):
    """Returns what makes the metric at ``path``, below ``ignite.metrics``."""
    module, _, name = path.rpartition(".")

    def make():
        found = importlib.import_module(f"ignite.metrics.{module}" if module else "ignite.metrics")
        return getattr(found, name)(*args, **kwargs)

    return make


def keep(output):
    return output


def largest_error(y_pred, y):
    return (y_pred - y).abs().max().item()


def add(total, value):
    return total + value


def confusions(name, *args, **kwargs):
    return lambda: getattr(metrics, name)(metrics.ConfusionMatrix(3), *args, **kwargs)


def group():
    return metrics.MetricGroup({"accuracy": metrics.Accuracy(), "loss": of_nll()})


def of_nll():
    return metrics.Loss(torch.nn.functional.nll_loss)


def running_average():
    return metrics.RunningAverage(metrics.Accuracy(), alpha=0.75)


def running_average_of_outputs():
    return metrics.RunningAverage(output_transform=keep, alpha=0.75)


def arithmetic():
    precision, recall = metrics.Precision(average=False), metrics.Recall(average=False)
    return (precision * 2 + recall).mean()


class OwnMetric(metrics.Metric):
    """A metric of a program."""

    _state_dict_all_req_keys = ("_total", "_seen")

    def reset(self):
        self._total, self._seen = torch.zeros(2), 0

    def update(self, output):
        self._total += output[0].sum()
        self._seen += 1

    def compute(self):
        return (self._total / self._seen).tolist()


class OwnAccuracy(metrics.Accuracy):
    """A subclass of a program that accumulates by itself."""

    def update(self, output):
        y_pred, y = output[0].argmax(1), output[1]
        self._num_correct += 2 * (y_pred == y).sum()
        self._num_examples += len(y)


def with_average(name, averages, output):
    return {f"{name}, average={each}": (of(name, average=each), output) for each in averages}


CLASSIFIED = (SCORES, CLASSES)
ANSWERS = (BITS, RIGHT_BITS)
TAGGED = (LABELS, RIGHT_LABELS)
VALUES = (NUMBERS, TARGETS)
CASES = {
    "Accuracy": (of("Accuracy"), CLASSIFIED),
    "Accuracy of binary data": (of("Accuracy"), ANSWERS),
    "Accuracy of labels": (of("Accuracy", is_multilabel=True), TAGGED),
    "own Accuracy": (lambda: OwnAccuracy(), CLASSIFIED),
    "own Metric": (lambda: OwnMetric(), CLASSIFIED),
    **with_average("Precision", [False, "macro", "micro", "weighted"], CLASSIFIED),
    **with_average("Recall", [False, "macro", "micro", "weighted"], CLASSIFIED),
    "Precision of binary data": (of("Precision"), ANSWERS),
    "Recall of binary data": (of("Recall"), ANSWERS),
    "Precision of binary data, weighted": (of("Precision", average="weighted"), ANSWERS),
    **{
        f"{name} of labels, average={average}": (
            of(name, average=average, is_multilabel=True),
            TAGGED,
        )
        for name in ("Precision", "Recall")
        for average in (False, "macro", "micro", "weighted", "samples")
    },
    "Fbeta": (of("Fbeta", 2), CLASSIFIED),
    "ClassificationReport": (of("ClassificationReport", output_dict=True), CLASSIFIED),
    "arithmetic": (arithmetic, CLASSIFIED),
    "ConfusionMatrix": (of("ConfusionMatrix", 3), CLASSIFIED),
    "ConfusionMatrix, averaged": (of("ConfusionMatrix", 3, average="samples"), CLASSIFIED),
    "MultiLabelConfusionMatrix": (of("MultiLabelConfusionMatrix", 3), TAGGED),
    **{
        name: (confusions(name), CLASSIFIED)
        for name in ("IoU", "mIoU", "DiceCoefficient", "JaccardIndex")
    },
    "TopKCategoricalAccuracy": (of("TopKCategoricalAccuracy", 2), CLASSIFIED),
    "Loss": (of_nll, CLASSIFIED),
    "CohenKappa": (of("CohenKappa"), ANSWERS),
    "CohenKappa, num_classes": (of("CohenKappa", num_classes=2), ANSWERS),
    "MatthewsCorrCoef": (of("MatthewsCorrCoef"), ANSWERS),
    "Entropy": (of("Entropy"), CLASSIFIED),
    "MutualInformation": (of("MutualInformation"), CLASSIFIED),
    "HitRate": (of("rec_sys.HitRate", [1, 2]), (SCORES, LABELS)),
    "NDCG": (of("rec_sys.NDCG", [1, 2]), (SCORES, LABELS)),
    **{
        name: (of(name), (NUMBERS / 2, RIGHT_BITS))
        for name in ("AveragePrecision", "ROC_AUC", "RocCurve", "PrecisionRecallCurve")
    },
    "EpochMetric": (of("EpochMetric", largest_error), VALUES),
    **{
        name: (of(name), VALUES)
        for name in ("MeanSquaredError", "RootMeanSquaredError", "MeanAbsoluteError")
    },
    **{
        name: (of(f"regression.{name}"), VALUES)
        for name in (
            "CanberraMetric",
            "FractionalAbsoluteError",
            "FractionalBias",
            "GeometricMeanAbsoluteError",
            "GeometricMeanRelativeAbsoluteError",
            "KendallRankCorrelation",
            "ManhattanDistance",
            "MaximumAbsoluteError",
            "MeanAbsoluteRelativeError",
            "MeanError",
            "MeanNormalizedBias",
            "MedianAbsoluteError",
            "MedianAbsolutePercentageError",
            "MedianRelativeAbsoluteError",
            "PearsonCorrelation",
            "R2Score",
            "SpearmanRankCorrelation",
            "WaveHedgesDistance",
        )
    },
    **{
        name: (of(name), (SCORES, OTHER_SCORES))
        for name in (
            "MeanPairwiseDistance",
            "KLDivergence",
            "JSDivergence",
            "CosineSimilarity",
            "HSIC",
        )
    },
    "MaximumMeanDiscrepancy": (of("MaximumMeanDiscrepancy"), (SCORES, 2 * SCORES + 1)),
    "PSNR": (of("PSNR", 1.0), (IMAGES, OTHER_IMAGES)),
    "SSIM": (of("SSIM", 1.0), (IMAGES, OTHER_IMAGES)),
    "Average": (of("Average"), NUMBERS),
    "Average of rows": (of("Average"), SCORES),
    "GeometricAverage": (of("GeometricAverage"), NUMBERS),
    "VariableAccumulation": (of("VariableAccumulation", add), NUMBERS),
    "Bleu": (of("nlp.Bleu", 2, smooth="smooth1"), TEXTS),
    "Bleu, micro": (of("nlp.Bleu", 2, average="micro"), TEXTS),
    "RougeN": (of("nlp.RougeN", ngram=1), TEXTS),
    "RougeL": (of("nlp.RougeL"), TEXTS),
    "Rouge": (of("nlp.Rouge", variants=["L", 2]), TEXTS),
    "Perplexity": (of("nlp.Perplexity"), (SCORES[None].transpose(1, 2), CLASSES[None])),
    "CharacterErrorRate": (of("nlp.CharacterErrorRate"), (["a cat", "mats"], ["a cap", "mat"])),
    "FID": (
        of("gan.FID", num_features=2, feature_extractor=torch.nn.Identity()),
        (FEATURES, FEATURES * 2),
    ),
    "InceptionScore": (
        of("gan.InceptionScore", num_features=3, feature_extractor=torch.nn.Identity()),
        SCORES,
    ),
    **{
        name: (of(f"clustering.{name}"), (FEATURES, CLUSTERS))
        for name in ("SilhouetteScore", "DaviesBouldinScore", "CalinskiHarabaszScore")
    },
    "SelectionRate": (of("fairness.SelectionRate"), CLASSIFIED),
    "DemographicParityDifference": (
        of("fairness.DemographicParityDifference", groups=[0, 1]),
        (SCORES, CLASSES, GROUPS),
    ),
    "SubgroupAccuracyDifference": (
        of("fairness.SubgroupAccuracyDifference", groups=[0, 1]),
        (SCORES, CLASSES, GROUPS),
    ),
    "SubgroupMetric": (
        lambda: of("fairness.SubgroupMetric", metrics.Accuracy(), groups=[0, 1])(),
        (SCORES, CLASSES, GROUPS),
    ),
    "MeanAveragePrecision": (of("MeanAveragePrecision"), CLASSIFIED),
    "MetricGroup": (group, CLASSIFIED),
}
"""Name -> (what makes the metric, the output of the first batch)."""
RUNNING = {
    "RunningAverage": (running_average, CLASSIFIED),
    "RunningAverage of outputs": (running_average_of_outputs, torch.tensor(2.0)),
    "RunningAverage of numbers": (running_average_of_outputs, 2.0),
}
"""Metrics that Ignite updates only if they are attached to an engine."""


def next_output(output):
    """Returns the output of the second batch."""
    if isinstance(output, torch.Tensor):
        return output.flip(0) * 1 if output.ndim == 2 else output + 1
    if isinstance(output, float):
        return output + 1
    first, *others = output
    return (first.flip(0) * 1 if isinstance(first, torch.Tensor) else first[::-1], *others)
