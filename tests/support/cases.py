"""All metrics with example inputs, over which the contract tests run."""

import inspect
import itertools
import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch.nn import functional as F

import ignite.metrics
import ignite.metrics.clustering
import ignite.metrics.fairness
import ignite.metrics.gan
import ignite.metrics.regression
from ignite import metrics as m
from ignite.metrics import clustering as c
from ignite.metrics import fairness as f
from ignite.metrics import regression as r
from ignite.utils import apply_to_tensor

FINELY = 1e-9
"""How far values may be apart that differ by rounding in float64 only."""


def iou_without_a_class() -> m.Metric:
    with warnings.catch_warnings():  # that Ignite's value is another one
        warnings.simplefilter("ignore", UserWarning)
        return m.IoU(m.ConfusionMatrix(5), ignore_index=1)


class Case(NamedTuple):
    name: str
    make: Callable[[], m.Metric]
    examples: Callable[[torch.Generator, int], tuple]
    """A batch of so many examples."""
    depends_on_batches: bool = False
    """Whether the value is a mean over batches, and other batches give another one."""
    empty_value: float | dict | None = None
    """The value without any example; None if that is an error."""


def scores(generator, n):
    return torch.randn(n, 5, generator=generator), torch.randint(5, (n,), generator=generator)


def binary(generator, n):
    return torch.randint(2, (n,), generator=generator), torch.randint(2, (n,), generator=generator)


def multilabel(generator, n):
    return torch.randint(2, (n, 4), generator=generator), torch.randint(
        2, (n, 4), generator=generator
    )


def labels(generator, n):
    return torch.randint(5, (n,), generator=generator), torch.randint(5, (n,), generator=generator)


def probabilities(generator, n):
    return torch.rand(n, generator=generator), torch.randint(2, (n,), generator=generator)


def distributions(generator, n):
    return scores(generator, n)[0].softmax(dim=1), torch.randint(5, (n,), generator=generator)


def vectors(generator, n):
    return torch.randn(n, 3, generator=generator), torch.randn(n, 3, generator=generator)


def wide_vectors(generator, n):
    """In float64: how a row of float32 is rounded depends on its place in the batch and on the CPU."""
    return wide(vectors(generator, n))


def positive(generator, n):
    return torch.rand(n, generator=generator) + 0.5, torch.rand(n, generator=generator) + 0.5


def images(generator, n):
    return torch.rand(n, 2, 12, 14, generator=generator), torch.rand(
        n, 2, 12, 14, generator=generator
    )


def wide_images(generator, n):
    return wide(images(generator, n))


def pixels(generator, n):
    """Scores of pixels, and their classes; some images lack classes."""
    y_pred = torch.randn(n, 5, 3, 4, generator=generator)
    return y_pred, torch.randint(5, (n, 3, 4), generator=generator)


def pixel_classes(generator, n):
    y_pred, y = pixels(generator, n)
    return y_pred.argmax(dim=1), y


def masks(generator, n):
    """Masks of five classes, which overlap."""
    drawn = torch.rand(2, n, 5, 3, 4, generator=generator) < 0.2
    return tuple(drawn.long())


def masks_and_classes(generator, n):
    return masks(generator, n)[0], pixels(generator, n)[1]


def clusters(generator, n):
    return torch.randn(n, 3, generator=generator), torch.randint(3, (n,), generator=generator)


def classified(generator, n):
    return distributions(generator, n)[0]


def boxes(generator, n):
    """Images with up to six boxes of three classes, predicted and true ones; some are crowds."""
    y_pred, y = [], []
    for _ in range(n):
        sizes = torch.randint(7, (2,), generator=generator).tolist()
        found = [torch.rand(size, 2, 2, generator=generator) for size in sizes]
        corners = [(60 * each.cumsum(1)).flatten(1) for each in found]
        labels = [torch.randint(3, (size,), generator=generator) for size in sizes]
        scores = torch.rand(sizes[0], generator=generator)
        crowd = torch.rand(sizes[1], generator=generator) < 0.2
        y_pred.append({"bbox": corners[0], "labels": labels[0], "scores": scores})
        y.append({"bbox": corners[1], "labels": labels[1], "iscrowd": crowd})
    return y_pred, y


def tagged(generator, n):
    return torch.rand(n, 4, generator=generator), torch.randint(2, (n, 4), generator=generator)


def tags(generator, n):
    """As ``tagged``, with a positive and a negative label in each example."""
    y_pred, y = tagged(generator, n)
    y[:, 0], y[:, 1] = 1, 0
    return y_pred, y


def people(generator, n):
    """Binary predictions and targets of three groups."""
    return *binary(generator, n), torch.randint(3, (n,), generator=generator)


def people_with_scores(generator, n):
    return *scores(generator, n), torch.randint(3, (n,), generator=generator)


def people_with_labels(generator, n):
    return *multilabel(generator, n), torch.randint(3, (n,), generator=generator)


def people_with_numbers(generator, n):
    return *positive(generator, n), torch.randint(3, (n,), generator=generator)


def rankings(generator, n):
    return torch.randn(n, 7, generator=generator), torch.randint(
        1, 4, (n, 7), generator=generator
    ) * torch.randint(2, (n, 7), generator=generator)


def numbers(generator, n):
    return torch.rand(n, 2, generator=generator) + 0.5


WORDS = ("the", "cat", "dog", "sat", "ran", "on", "a", "mat", "down", "fast")


def sentence(generator, most=9):
    length = int(torch.randint(1, most, (), generator=generator))
    return [WORDS[i] for i in torch.randint(len(WORDS), (length,), generator=generator).tolist()]


def sentences(generator, n):
    """Candidates, and one or two references of each."""
    references = [[sentence(generator) for _ in range(1 + i % 2)] for i in range(n)]
    return [each[0][1:] + sentence(generator, 4) for each in references], references


def texts(generator, n):
    """Predicted and true texts."""
    candidates, references = sentences(generator, n)
    return [" ".join(each) for each in candidates], [" ".join(each[0]) for each in references]


def tokens(generator, n):
    """Logits of sequences, and targets."""
    return torch.randn(n, 5, 3, generator=generator), torch.randint(5, (n, 3), generator=generator)


def squared_error(y_pred, y):
    return ((y_pred - y) ** 2).mean().item()


def add_up(total, x):
    return total + x.sum(dim=0)


def f1_of_arrays(y_true, y_pred):
    return float(((y_pred > 0.5) == y_true).mean())


def averaged(kind, averages):
    for average in averages:
        for name, make in {"scores": scores, "binary": binary, "multilabel": multilabel}.items():
            if average != "samples" or name == "multilabel":
                arguments = {"average": average, "is_multilabel": name == "multilabel"}
                yield Case(
                    f"{kind.__name__}({average!r}) of {name}", partial(kind, **arguments), make
                )


SUMS = ("CanberraMetric", "ManhattanDistance", "WaveHedgesDistance")
_CASES = [
    Case("Accuracy", m.Accuracy, scores),
    Case("Accuracy of binary", m.Accuracy, binary),
    Case("Accuracy of multilabel", lambda: m.Accuracy(is_multilabel=True), multilabel),
    *averaged(m.Precision, (False, None, "macro", "micro", "weighted", "samples")),
    *averaged(m.Recall, (False, None, "macro", "micro", "weighted", "samples")),
    *averaged(m.Specificity, (False, "macro", "micro", "weighted")),
    Case("Fbeta", lambda: m.Fbeta(2), scores),
    Case("Fbeta of each class", lambda: m.Fbeta(0.5, average=False), scores),
    Case("TopKCategoricalAccuracy", lambda: m.TopKCategoricalAccuracy(2), scores),
    *[
        Case(
            f"ConfusionMatrix({average!r})",
            lambda a=average: m.ConfusionMatrix(5, average=a),
            scores,
        )
        for average in (None, "samples", "recall", "precision")
    ],
    *[
        Case(function.__name__, lambda f=function: f(m.ConfusionMatrix(5)), scores)
        for function in (
            m.IoU,
            m.mIoU,
            m.JaccardIndex,
            m.DiceCoefficient,
            m.cmAccuracy,
            m.cmPrecision,
            m.cmRecall,
        )
    ],
    Case("IoU without a class", iou_without_a_class, scores),
    Case("MultiLabelConfusionMatrix", lambda: m.MultiLabelConfusionMatrix(4), multilabel),
    Case(
        "MultiLabelConfusionMatrix normalized",
        lambda: m.MultiLabelConfusionMatrix(4, normalized=True),
        multilabel,
    ),
    Case("ClassificationReport", lambda: m.ClassificationReport(output_dict=True), scores),
    Case(
        "ClassificationReport of multilabel",
        lambda: m.ClassificationReport(is_multilabel=True),
        multilabel,
    ),
    Case("CohenKappa", m.CohenKappa, labels),
    Case("CohenKappa counted", lambda: m.CohenKappa(weights="quadratic", num_classes=5), labels),
    Case("MatthewsCorrCoef", m.MatthewsCorrCoef, labels),
    Case("MatthewsCorrCoef of scores", m.MatthewsCorrCoef, scores),
    Case("MatthewsCorrCoef counted", lambda: m.MatthewsCorrCoef(num_classes=5), labels),
    *[
        Case(
            f"{kind.__name__}(num_bins={num_bins})",
            lambda k=kind, b=num_bins: k(num_bins=b),
            probabilities,
        )
        for kind in (m.ROC_AUC, m.RocCurve, m.AveragePrecision, m.PrecisionRecallCurve)
        for num_bins in (None, 20)
    ],
    *[
        Case(
            f"{kind.__name__}({average!r}) of {name}",
            partial(kind, num_bins=num_bins, average=average),
            examples,
        )
        for kind in (m.ROC_AUC, m.AveragePrecision)
        for average, num_bins in (("macro", None), ("weighted", 20), ("micro", None), (None, 20))
        for name, examples in (("classes", distributions), ("labels", tagged))
    ],
    *[
        Case(f"{kind.__name__}('samples') of {name}", partial(kind, average="samples"), examples)
        for kind in (m.ROC_AUC, m.AveragePrecision)
        for name, examples in (("classes", distributions), ("labels", tags))
    ],
    *[
        Case(
            f"MeanAveragePrecision({class_mean!r})",
            lambda c=class_mean: m.MeanAveragePrecision(class_mean=c),
            distributions,
        )
        for class_mean in ("macro", "micro", "weighted", None)
    ],
    Case(
        "MeanAveragePrecision at recalls",
        lambda: m.MeanAveragePrecision([0.2, 0.5, 1.0]),
        probabilities,
    ),
    Case(
        "MeanAveragePrecision of multilabel",
        lambda: m.MeanAveragePrecision(is_multilabel=True),
        tagged,
    ),
    Case(
        "ObjectDetectionAvgPrecisionRecall",
        lambda: m.ObjectDetectionAvgPrecisionRecall([0.1, 0.3], num_classes=3),
        boxes,
        empty_value=-1.0,
    ),
    Case(
        "CommonObjectDetectionMetrics",
        lambda: m.CommonObjectDetectionMetrics(3),
        boxes,
        empty_value=-1.0,
    ),
    Case("HammingDistance", m.HammingDistance, scores),
    Case(
        "HammingDistance of multilabel", lambda: m.HammingDistance(is_multilabel=True), multilabel
    ),
    Case("BalancedAccuracy", m.BalancedAccuracy, scores),
    *[
        Case(
            f"CalibrationError({norm})",
            lambda n=norm: m.CalibrationError(num_bins=5, norm=n),
            distributions,
        )
        for norm in ("l1", "l2", "max")
    ],
    Case("CalibrationError of binary", m.CalibrationError, probabilities),
    Case("Loss", lambda: m.Loss(F.cross_entropy), scores),
    Case("EpochMetric", lambda: m.EpochMetric(squared_error), positive),
    Case("adapt", lambda: m.adapt(f1_of_arrays), probabilities),
    Case("VariableAccumulation", lambda: m.VariableAccumulation(add_up), numbers, empty_value=0.0),
    Case("Average", m.Average, numbers),
    Case("GeometricAverage", m.GeometricAverage, numbers),
    Case("Sum", m.Sum, numbers),
    Case("Max", m.Max, numbers),
    Case("Min", m.Min, numbers),
    Case("MetricsLambda", lambda: (m.Precision() * m.Recall()).mean() - 2 * m.Accuracy(), scores),
    Case(
        "MetricGroup",
        lambda: m.MetricGroup({"accuracy": m.Accuracy(), "recall": m.Recall()}),
        scores,
    ),
    Case("MeanAbsoluteError", m.MeanAbsoluteError, vectors),
    Case("MeanSquaredError", m.MeanSquaredError, vectors),
    Case("RootMeanSquaredError", m.RootMeanSquaredError, vectors),
    Case("MeanPairwiseDistance", m.MeanPairwiseDistance, vectors),
    Case("CosineSimilarity", m.CosineSimilarity, vectors),
    Case("Entropy", m.Entropy, scores),
    Case("MutualInformation", m.MutualInformation, scores),
    Case("KLDivergence", m.KLDivergence, wide_vectors),
    Case("JSDivergence", m.JSDivergence, vectors),
    Case("HSIC", m.HSIC, vectors, depends_on_batches=True),
    Case("MaximumMeanDiscrepancy", m.MaximumMeanDiscrepancy, vectors, depends_on_batches=True),
    Case("FID", lambda: m.FID(3), vectors),
    Case("InceptionScore", lambda: m.InceptionScore(5), classified),
    *[Case(name, getattr(c, name), clusters) for name in c.__all__],
    Case("HitRate", lambda: m.HitRate([1, 3]), rankings),
    Case("NDCG", lambda: m.NDCG([1, 3]), rankings),
    Case("NDCG of all users", lambda: m.NDCG([9], False, 2, "linear_rank"), rankings),
    Case("MeanReciprocalRank", m.MeanReciprocalRank, rankings),
    Case("MeanReciprocalRank of 2", lambda: m.MeanReciprocalRank(2), rankings),
    Case("RecallAtK", lambda: m.RecallAtK([1, 3]), rankings),
    Case("PrecisionAtK", lambda: m.PrecisionAtK([1, 9]), rankings),
    Case("SelectionRate", f.SelectionRate, scores),
    Case("SelectionRate of multilabel", lambda: f.SelectionRate(is_multilabel=True), multilabel),
    *[
        Case(f"SubgroupMetric of {name}", partial(f.SubgroupMetric, base, [0, 2]), kind, False, {})
        for name, base, kind in (
            ("accuracy", m.Accuracy(), people),
            ("matrix", m.ConfusionMatrix(5), people_with_scores),
            ("precision", m.Precision(average="samples", is_multilabel=True), people_with_labels),
            ("errors", m.MeanSquaredError(), people_with_numbers),
            ("products", m.Precision() * m.Recall(), people_with_scores),
        )
    ],
    Case(
        "SubgroupDifference",
        lambda: f.SubgroupDifference(m.Recall(), [0, 1, 2]),
        people_with_scores,
    ),
    Case(
        "SubgroupDifference of errors",
        lambda: f.SubgroupDifference(m.MeanAbsoluteError(), [0, 1, 2]),
        people_with_numbers,
    ),
    Case("SubgroupAccuracyDifference", lambda: f.SubgroupAccuracyDifference([0, 1, 2]), people),
    Case("DemographicParityDifference", lambda: f.DemographicParityDifference([0, 1, 2]), people),
    Case(
        "DemographicParityDifference of multilabel",
        lambda: f.DemographicParityDifference([0, 1, 2], is_multilabel=True),
        people_with_labels,
    ),
    Case("PSNR", lambda: m.PSNR(1.0), images),
    Case("SSIM", lambda: m.SSIM(1.0), images),
    Case(
        "MultiScaleSSIM",
        lambda: m.MultiScaleSSIM(1.0, kernel_size=5, betas=(0.2, 0.8)),
        wide_images,
    ),
    *[
        Case(f"MeanIoU of {name}", partial(m.MeanIoU, 5, input_format=name, **given), kind)
        for name, kind, given in (
            ("scores", pixels, {}),
            ("index", pixel_classes, {"per_class": True}),
            ("one-hot", masks, {"include_background": False}),
            ("mixed", masks_and_classes, {"ignore_index": 2}),
        )
    ],
    *[
        Case(
            f"DiceScore({average!r}, {level})",
            partial(m.DiceScore, 5, True, average, level),
            pixels,
        )
        for average in ("macro", "micro", "weighted", None)
        for level in ("samplewise", "global")
    ],
    Case("DiceScore of masks", lambda: m.DiceScore(5, False, input_format="one-hot"), masks),
    *[
        Case(
            f"GeneralizedDiceScore({weight_type}, {level})",
            partial(m.GeneralizedDiceScore, 5, True, weight_type, level),
            pixels,
        )
        for weight_type, level in (("square", "samplewise"), ("simple", "global"))
    ],
    Case(
        "GeneralizedDiceScore of masks",
        lambda: m.GeneralizedDiceScore(5, False, "linear", input_format="one-hot"),
        masks,
    ),
    *[
        Case(
            f"Bleu of {average} and {smooth}",
            partial(m.Bleu, 3, smooth, average=average),
            sentences,
        )
        for average in ("macro", "micro")
        for smooth in ("no_smooth", "smooth1", "nltk_smooth2", "smooth2")
    ],
    *[
        Case(f"Rouge of {multiref}", partial(m.Rouge, multiref=multiref, alpha=0.5), sentences)
        for multiref in ("average", "best")
    ],
    Case("RougeN", lambda: m.RougeN(2), sentences),
    Case("RougeL", m.RougeL, sentences),
    Case("CharacterErrorRate", m.CharacterErrorRate, texts),
    Case("WordErrorRate", m.WordErrorRate, texts),
    Case("Perplexity", m.Perplexity, tokens),
    *[
        Case(name, getattr(r, name), positive, empty_value=0.0 if name in SUMS else None)
        for name in r.__all__
        if inspect.isclass(getattr(r, name))
    ],
    Case("KendallRankCorrelation c", lambda: r.KendallRankCorrelation("c"), positive),
]
CASES = {case.name: case for case in _CASES}

# What no value over examples can be asked of, and where it is tested.
NOT_HERE = {
    "Best": "remembers values of earlier spans: test_best",
    "Bootstrap": "draws at random: test_bootstrap",
    "Frequency": "measures time: test_frequency",
    "GpuInfo": "measures devices: test_gpu_info",
    "RunningAverage": "depends on the order of batches: test_running_average",
}


def all_metric_classes():
    for module in (
        ignite.metrics,
        ignite.metrics.clustering,
        ignite.metrics.fairness,
        ignite.metrics.gan,
        ignite.metrics.regression,
    ):
        for name in module.__all__:
            found = getattr(module, name)
            if (
                inspect.isclass(found)
                and issubclass(found, m.Metric)
                and not inspect.isabstract(found)
            ):
                yield name


def as_plain(value):
    """Numbers and lists, to compare values of any form."""
    if isinstance(value, torch.Tensor):
        return value.double().tolist()
    if isinstance(value, tuple | list):
        return [as_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: as_plain(item) for name, item in value.items()}
    return value


def wide(batch):
    """With floats in float64, whose sums over a batch are float64, too."""
    return in_dtype(batch, torch.float64)


def in_dtype(batch, dtype):
    """With all floats in ``dtype``."""
    return apply_to_tensor(batch, lambda x: x.to(dtype) if x.is_floating_point() else x)


def cut(batch, sizes):
    """A batch in pieces of these sizes."""
    tensors = batch if isinstance(batch, tuple) else (batch,)
    pieces = zip(*(_split(tensor, sizes) for tensor in tensors), strict=True)
    return [piece if isinstance(batch, tuple) else piece[0] for piece in pieces]


def _split(part, sizes):
    """A tensor, or a list with an item for each example, in pieces."""
    if isinstance(part, torch.Tensor):
        return part.split(sizes)
    ends = itertools.accumulate(sizes)
    return [part[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def close(value, tolerance=FINELY):
    """``value``, to be compared up to rounding; NaN equals NaN, a report in JSON only itself."""
    if isinstance(value, dict):
        return {name: close(item, tolerance) for name, item in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], list | dict):
        return [close(item, tolerance) for item in value]
    return (
        value
        if isinstance(value, str)
        else pytest.approx(value, rel=tolerance, abs=tolerance, nan_ok=True)
    )


def is_of_tensors(case):
    """Whether outputs are tensors, not lists of texts."""
    return case.examples not in (sentences, texts)


OF_TENSORS = {name: case for name, case in CASES.items() if is_of_tensors(case)}
every_metric_of_tensors = pytest.mark.parametrize(
    "case", OF_TENSORS.values(), ids=OF_TENSORS.keys()
)
every_metric = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def batch_of(case, n, seed=0):
    return case.examples(torch.Generator().manual_seed(seed), n)


def value_of(metric):
    return as_plain(metric.compute())


def fed(case, batches):
    metric = case.make()
    for batch in batches:
        metric.update(batch)
    return metric
