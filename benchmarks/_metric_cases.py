"""Metrics to measure, with their batches, definitions and peers."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional as F

NUM_BATCHES = 8  # different ones
PASSES = 4  # over them, without a reset


# Batches


def scores(b, c):
    return lambda g: (torch.randn(b, c, generator=g), torch.randint(c, (b,), generator=g))


def labels(b, c):
    return lambda g: (torch.randint(c, (b,), generator=g), torch.randint(c, (b,), generator=g))


def tags(b, c):
    return lambda g: (torch.randint(2, (b, c), generator=g), torch.randint(2, (b, c), generator=g))


def probabilities(b, c):
    return lambda g: (
        (3 * torch.randn(b, c, generator=g)).softmax(1),
        torch.randint(c, (b,), generator=g),
    )


def decisions(b):
    return lambda g: (torch.rand(b, generator=g), torch.randint(2, (b,), generator=g))


def vectors(*shape):
    return lambda g: (torch.randn(shape, generator=g), torch.randn(shape, generator=g) + 0.5)


def similar(*shape):
    """Returns targets that are not near 0, and predictions near them."""

    def make(g):
        y = 0.1 + 0.8 * torch.rand(shape, generator=g)
        return 0.9 * y + 0.1 * torch.rand(shape, generator=g), y

    return make


def tokens(b, v, s):
    """Returns logits of a language model, and targets."""
    return lambda g: (torch.randn(b, v, s, generator=g), torch.randint(v, (b, s), generator=g))


def sentences(b, length):
    """Returns candidates, in which a fifth of the words is wrong, and a reference of each."""

    def words(n, g):
        return [f"w{rank}" for rank in torch.rand(n, generator=g).pow(4).mul(2000).long().tolist()]

    def make(g):
        references = [words(length, g) for _ in range(b)]
        candidates = [
            [
                true if kept else wrong
                for true, wrong, kept in zip(
                    each,
                    words(length, g),
                    (torch.rand(length, generator=g) < 0.8).tolist(),
                    strict=True,
                )
            ]
            for each in references
        ]
        return candidates, [[each] for each in references]

    return make


def texts(b, length):
    def make(g):
        candidates, references = sentences(b, length)(g)
        return [" ".join(each) for each in candidates], [" ".join(each) for (each,) in references]

    return make


def people(b):
    """Returns binary predictions, targets and groups."""
    return lambda g: tuple(torch.randint(n, (b,), generator=g) for n in (2, 2, 4))


def rankings(users, items):
    """Returns scores, and graded relevance of about one item in ten."""

    def make(g):
        is_relevant = torch.rand(users, items, generator=g) < 0.1
        return torch.randn(users, items, generator=g), is_relevant * torch.randint(
            1, 4, (users, items), generator=g
        )

    return make


def pixels(b, c, side):
    def make(g):
        y = torch.randint(c, (b, side, side), generator=g)
        likely = 2.0 * F.one_hot(y, c).movedim(-1, 1)
        return torch.randn(b, c, side, side, generator=g) + likely, y

    return make


SIZES = {
    "scores": {"64x10": scores(64, 10), "256x100": scores(256, 100)},
    "labels": {"64x10": labels(64, 10), "256x100": labels(256, 100)},
    "tags": {"64x10": tags(64, 10), "256x100": tags(256, 100)},
    "probabilities": {"64x10": probabilities(64, 10), "256x100": probabilities(256, 100)},
    "decisions": {"64": decisions(64), "2048": decisions(2048)},
    "numbers": {"64": similar(64), "4096": similar(4096)},
    "vectors": {"64x10": vectors(64, 10), "256x100": vectors(256, 100)},
    "clusters": {"64x10": scores(64, 10), "128x100": scores(128, 100)},
    "features": {"64x64": vectors(64, 64), "64x512": vectors(64, 512)},
    "tokens": {"8x100x16": tokens(8, 100, 16), "8x1000x64": tokens(8, 1000, 64)},
    "sentences": {"4x20": sentences(4, 20), "16x20": sentences(16, 20)},
    "texts": {"4x20": texts(4, 20), "16x20": texts(16, 20)},
    "decided": {"64": labels(64, 2), "2048": labels(2048, 2)},
    "people": {"64": people(64), "2048": people(2048)},
    "rankings": {"64x100": rankings(64, 100), "256x1000": rankings(256, 1000)},
    "pixels": {"8x5x32x32": pixels(8, 5, 32), "8x21x64x64": pixels(8, 21, 64)},
    "large images": {"2x3x176x176": similar(2, 3, 176, 176)},
    "images": {"8x3x32x32": similar(8, 3, 32, 32), "8x3x64x64": similar(8, 3, 64, 64)},
}
VARIANCE = 50.0  # of the kernel: near half of squared distances, so that it tells examples apart


class Case(NamedTuple):
    data: str
    definition: str
    arguments: tuple = ()
    """Further arguments of the definition."""
    make: Callable | None = None
    """``make(m, c)`` creates the metric from the module ``m`` with Ignite's API, for ``c`` classes."""
    frame: Callable | None = None
    """``frame(f, *arrays)`` is the value of fairlearn for the examples that it is given."""
    is_mean: bool = False
    """Whether the value of fairlearn is the mean of its values for batches, so that none is kept.

    Otherwise batches are collected, and it is given all examples at once."""
    peer: Callable | None = None
    """``peer(t, c)`` creates the metric of torchmetrics, optionally with a function that updates it."""


def multiclass(name, **kwargs):
    return lambda t, c: getattr(t.classification, f"Multiclass{name}")(num_classes=c, **kwargs)


def binary(name):
    return lambda t, c: getattr(t.classification, f"Binary{name}")()


def plain(name, **kwargs):
    return lambda t, c: getattr(t, name)(**kwargs)


def mean_loss(t, c):
    metric = t.MeanMetric()
    return metric, lambda p, y: metric.update(F.cross_entropy(p, y), len(y))


def of_logits(name, **kwargs):
    """torchmetrics expects distributions or their logarithms, the true one first."""

    def make(t, c):
        metric = getattr(t.regression, name)(log_prob=True, **kwargs)
        return metric, lambda p, y: metric.update(y.log_softmax(1), p.log_softmax(1))

    return make


def text(name, **kwargs):
    return lambda t, c: getattr(t.text, name)(**kwargs)


def bleu(t, c):
    """torchmetrics splits texts itself."""
    metric = t.text.BLEUScore()
    return metric, lambda p, y: metric.update(
        [" ".join(each) for each in p], [[" ".join(each) for each in of] for of in y]
    )


def perplexity(t, c):
    metric = t.text.Perplexity(ignore_index=-100)
    return metric, lambda p, y: metric.update(p.movedim(1, -1), y)


def psnr(t, c):
    return t.image.PeakSignalNoiseRatio(data_range=1.0, dim=(1, 2, 3))


def probabilities_of(metric):
    """Ignite's metric takes probabilities alone."""
    return metric, lambda pair: metric.update(pair[0])


def features_as_they_are(c):
    module = torch.nn.Identity()
    module.num_features = c
    return module


def frechet_distance(t, c):
    from torchmetrics.image import fid  # which torchmetrics.image leaves out without torch-fidelity

    metric = fid.FrechetInceptionDistance(feature=features_as_they_are(c))

    def update(p, y):
        metric.update(p, real=True)
        metric.update(y, real=False)

    return metric, update


def inception_score(t, c):
    """Torchmetrics takes logits."""
    from torchmetrics.image import inception

    metric = inception.InceptionScore(feature=features_as_they_are(c), splits=1)
    return metric, lambda p, y: metric.update(p.log())


def clustering(name):
    def make(t, c):
        from torchmetrics import clustering

        return getattr(clustering, name)()

    return make


def retrieval(name, **kwargs):
    """Torchmetrics takes items of all users in one row, with the number of their user."""

    def make(t, c):
        from torchmetrics import retrieval

        metric = getattr(retrieval, name)(empty_target_action="skip", **kwargs)
        num_users = 0

        def update(p, y):
            nonlocal num_users
            users = torch.arange(num_users, num_users + len(p))
            num_users += len(p)
            grades = y if "NDCG" in name or "DCG" in name else y > 0
            metric.update(p.flatten(), grades.flatten(), users.repeat_interleave(p.shape[1]))

        return metric, update

    return make


def segmentation(name, **kwargs):
    def make(t, c):
        from torchmetrics import segmentation

        metric = getattr(segmentation, name)(num_classes=c, input_format="index", **kwargs)
        return metric, lambda p, y: metric.update(p.argmax(1), y)

    return make


def group_accuracies(f, p, y, groups):
    return f.MetricFrame(
        metrics=lambda y, p: (y == p).mean(), y_true=y, y_pred=p, sensitive_features=groups
    )


def selection(f, p, y):
    rate = f.selection_rate(y, p)
    return [1 - rate, rate]


def parity(f, p, y, groups):
    return f.demographic_parity_difference(y, p, sensitive_features=groups)


GROUPS = [0, 1, 2, 3]
BETAS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
CASES = {
    "Accuracy": Case("scores", "accuracy", peer=multiclass("Accuracy", average="micro")),
    "TopK(5)": Case(
        "scores",
        "top_5",
        make=lambda m, c: m.TopKCategoricalAccuracy(5),
        peer=multiclass("Accuracy", average="micro", top_k=5),
    ),
    "Precision": Case("scores", "precision", peer=multiclass("Precision", average=None)),
    "Recall": Case("scores", "recall", peer=multiclass("Recall", average=None)),
    "Fbeta": Case("scores", "f1", make=lambda m, c: m.Fbeta(1), peer=multiclass("F1Score")),
    "Specificity": Case("scores", "specificity", peer=multiclass("Specificity", average=None)),
    "BalancedAccuracy": Case("scores", "balanced_accuracy", peer=multiclass("Recall")),
    "HammingDistance": Case(
        "scores", "hamming", peer=multiclass("HammingDistance", average="micro")
    ),
    "ConfusionMatrix": Case(
        "scores",
        "matrix",
        make=lambda m, c: m.ConfusionMatrix(c),
        peer=multiclass("ConfusionMatrix"),
    ),
    "JaccardIndex": Case(
        "scores",
        "jaccard",
        make=lambda m, c: m.JaccardIndex(m.ConfusionMatrix(c)),
        peer=multiclass("JaccardIndex", average=None),
    ),
    "mIoU": Case(
        "scores",
        "mean_jaccard",
        make=lambda m, c: m.mIoU(m.ConfusionMatrix(c)),
        peer=multiclass("JaccardIndex"),
    ),
    "DiceCoefficient": Case(
        "scores",
        "dice",
        make=lambda m, c: m.DiceCoefficient(m.ConfusionMatrix(c)),
        peer=multiclass("F1Score", average=None),
    ),
    "CohenKappa": Case("labels", "cohen_kappa", peer=multiclass("CohenKappa")),
    "CohenKappa(num_classes)": Case(
        "labels",
        "cohen_kappa",
        make=lambda m, c: m.CohenKappa(num_classes=c),
        peer=multiclass("CohenKappa"),
    ),
    "MatthewsCorrCoef": Case("labels", "matthews", peer=multiclass("MatthewsCorrCoef")),
    "MultiLabelConfusionMatrix": Case(
        "tags",
        "label_matrices",
        make=lambda m, c: m.MultiLabelConfusionMatrix(c),
        peer=lambda t, c: t.classification.MultilabelConfusionMatrix(num_labels=c),
    ),
    "CalibrationError": Case(
        "probabilities", "calibration", peer=multiclass("CalibrationError", n_bins=15)
    ),
    "ROC_AUC": Case("decisions", "roc_auc", peer=binary("AUROC")),
    "AveragePrecision": Case("decisions", "average_precision", peer=binary("AveragePrecision")),
    "Loss": Case(
        "scores", "cross_entropy", make=lambda m, c: m.Loss(F.cross_entropy), peer=mean_loss
    ),
    "MeanSquaredError": Case("numbers", "squared_error", peer=plain("MeanSquaredError")),
    "MeanSquaredError ": Case("vectors", "squared_error", make=lambda m, c: m.MeanSquaredError()),
    "MeanAbsoluteError": Case("numbers", "absolute_error", peer=plain("MeanAbsoluteError")),
    "MeanAbsoluteError ": Case(
        "vectors", "absolute_error", make=lambda m, c: m.MeanAbsoluteError()
    ),
    "RootMeanSquaredError": Case(
        "numbers", "root_of_squared_error", peer=plain("MeanSquaredError", squared=False)
    ),
    "CanberraMetric": Case("numbers", "canberra"),
    "ConcordanceCorrCoef": Case("numbers", "concordance", peer=plain("ConcordanceCorrCoef")),
    "ExplainedVariance": Case("numbers", "explained_variance", peer=plain("ExplainedVariance")),
    "FractionalAbsoluteError": Case(
        "numbers", "symmetric_error", peer=plain("SymmetricMeanAbsolutePercentageError")
    ),
    "FractionalBias": Case("numbers", "fractional_bias"),
    "GeometricMeanAbsoluteError": Case("numbers", "geometric_error"),
    "GeometricMeanRelativeAbsoluteError": Case("numbers", "geometric_error_to_mean"),
    "KendallRankCorrelation": Case("numbers", "kendall", peer=plain("KendallRankCorrCoef")),
    "LogCoshError": Case("numbers", "log_cosh", peer=plain("LogCoshError")),
    "ManhattanDistance": Case("numbers", "manhattan", peer=plain("MinkowskiDistance", p=1)),
    "MaximumAbsoluteError": Case("numbers", "largest_error"),
    "MeanAbsolutePercentageError": Case(
        "numbers", "relative_error", peer=plain("MeanAbsolutePercentageError")
    ),
    "MeanAbsoluteRelativeError": Case(
        "numbers", "relative_error", peer=plain("MeanAbsolutePercentageError")
    ),
    "MeanError": Case("numbers", "mean_error"),
    "MeanNormalizedBias": Case("numbers", "normalized_bias"),
    "MeanSquaredLogError": Case("numbers", "squared_log_error", peer=plain("MeanSquaredLogError")),
    "MedianAbsoluteError": Case("numbers", "median_error"),
    "MedianAbsolutePercentageError": Case("numbers", "median_percentage"),
    "MedianRelativeAbsoluteError": Case("numbers", "median_error_to_mean"),
    "PearsonCorrelation": Case("numbers", "pearson", peer=plain("PearsonCorrCoef")),
    "R2Score": Case("numbers", "r2", peer=plain("R2Score")),
    "SpearmanRankCorrelation": Case("numbers", "spearman", peer=plain("SpearmanCorrCoef")),
    "SymmetricMeanAbsolutePercentageError": Case(
        "numbers", "symmetric_error", peer=plain("SymmetricMeanAbsolutePercentageError")
    ),
    "WaveHedgesDistance": Case("numbers", "wave_hedges"),
    "MeanPairwiseDistance": Case("vectors", "pairwise"),
    "CosineSimilarity": Case("vectors", "cosine", peer=plain("CosineSimilarity", reduction="mean")),
    "KLDivergence": Case("vectors", "kullback_leibler", peer=of_logits("KLDivergence")),
    "JSDivergence": Case("vectors", "jensen_shannon", peer=of_logits("JensenShannonDivergence")),
    "Entropy": Case("scores", "entropy"),
    "MutualInformation": Case("scores", "mutual_information"),
    "MaximumMeanDiscrepancy": Case(
        "vectors",
        "discrepancy",
        (VARIANCE, NUM_BATCHES * PASSES),
        make=lambda m, c: m.MaximumMeanDiscrepancy(var=VARIANCE),
    ),
    "HSIC": Case("vectors", "independence", (NUM_BATCHES * PASSES,)),
    "SilhouetteScore": Case("clusters", "silhouette"),
    "DaviesBouldinScore": Case("clusters", "davies_bouldin", peer=clustering("DaviesBouldinScore")),
    "CalinskiHarabaszScore": Case(
        "clusters", "calinski_harabasz", peer=clustering("CalinskiHarabaszScore")
    ),
    "FID": Case("features", "frechet", make=lambda m, c: m.FID(c), peer=frechet_distance),
    "InceptionScore": Case(
        "probabilities",
        "inception",
        make=lambda m, c: probabilities_of(m.InceptionScore(c)),
        peer=inception_score,
    ),
    "Bleu": Case("sentences", "mean_bleu"),
    "Bleu(micro)": Case(
        "sentences", "corpus_bleu", make=lambda m, c: m.Bleu(average="micro"), peer=bleu
    ),
    "Rouge": Case("sentences", "rouge", make=lambda m, c: m.Rouge([1, 2, "L"], alpha=0.5)),
    "CharacterErrorRate": Case("texts", "character_errors", peer=text("CharErrorRate")),
    "WordErrorRate": Case("texts", "word_errors", peer=text("WordErrorRate")),
    "Perplexity": Case("tokens", "perplexity", peer=perplexity),
    "PSNR": Case(
        "images", "peak_signal_to_noise", (1.0,), make=lambda m, c: m.PSNR(1.0), peer=psnr
    ),
    "SSIM": Case(
        "images",
        "structural_similarity",
        (1.0,),
        make=lambda m, c: m.SSIM(1.0),
        peer=lambda t, c: t.image.StructuralSimilarityIndexMeasure(data_range=1.0),
    ),
    "MultiScaleSSIM": Case(
        "large images",
        "multi_scale_similarity",
        (1.0, BETAS),
        make=lambda m, c: m.MultiScaleSSIM(1.0),
        peer=lambda t, c: t.image.MultiScaleStructuralSimilarityIndexMeasure(data_range=1.0),
    ),
    "MeanIoU": Case(
        "pixels",
        "mean_iou_of_images",
        make=lambda m, c: m.MeanIoU(c),
        peer=segmentation("MeanIoU"),
    ),
    "DiceScore": Case(
        "pixels",
        "dice_of_images",
        make=lambda m, c: m.DiceScore(c),
        peer=segmentation("DiceScore", average="macro", aggregation_level="samplewise"),
    ),
    "GeneralizedDiceScore": Case(
        "pixels",
        "generalized_dice_of_images",
        make=lambda m, c: m.GeneralizedDiceScore(c),
        peer=segmentation("GeneralizedDiceScore"),
    ),
    "SubgroupMetric": Case(
        "people",
        "accuracies_of_groups",
        make=lambda m, c: m.SubgroupMetric(m.Accuracy(), GROUPS),
        frame=lambda f, *arrays: group_accuracies(f, *arrays).by_group.tolist(),
    ),
    "SubgroupAccuracyDifference": Case(
        "people",
        "difference_of_accuracies",
        make=lambda m, c: m.SubgroupAccuracyDifference(GROUPS),
        frame=lambda f, *arrays: group_accuracies(f, *arrays).difference(),
    ),
    "DemographicParityDifference": Case(
        "people",
        "difference_of_selection",
        make=lambda m, c: m.DemographicParityDifference(GROUPS),
        frame=parity,
    ),
    "SelectionRate": Case(
        "decided",
        "selection",
        frame=selection,
        is_mean=True,
    ),
    "HitRate": Case(
        "rankings",
        "hit_rate",
        (10,),
        make=lambda m, c: m.HitRate([10]),
        peer=retrieval("RetrievalHitRate", top_k=10),
    ),
    "MeanReciprocalRank": Case("rankings", "reciprocal_rank", peer=retrieval("RetrievalMRR")),
    "RecallAtK": Case(
        "rankings",
        "recall_at",
        (10,),
        make=lambda m, c: m.RecallAtK([10]),
        peer=retrieval("RetrievalRecall", top_k=10),
    ),
    "PrecisionAtK": Case(
        "rankings",
        "precision_at",
        (10,),
        make=lambda m, c: m.PrecisionAtK([10]),
        peer=retrieval("RetrievalPrecision", top_k=10),
    ),
    "NDCG": Case(
        "rankings",
        "ndcg",
        (10,),
        make=lambda m, c: m.NDCG([10], gain_function="linear_rank"),
        peer=retrieval("RetrievalNormalizedDCG", top_k=10),
    ),
}


def batches_of(case, size):
    generator = torch.Generator().manual_seed(0)
    return [SIZES[case.data][size](generator) for _ in range(NUM_BATCHES)] * PASSES


def num_classes(batches):
    first = batches[0][0]
    if not isinstance(first, torch.Tensor):
        return None
    is_of_pixels = batches[0][-1].ndim == 3 and first.ndim == 4
    return first.shape[1 if is_of_pixels else -1]
