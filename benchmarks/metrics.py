"""Cost of metrics: each alone, compared with peers that give the right value; seven together, compared with argmax."""

import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional as F

PEERS = ("pytorch-ignite", "torchmetrics")
NUM_BATCHES = 8  # different ones
PASSES = 4  # over them, without a reset
ROUNDS = 21
SLICE_S = 0.01  # measured at once; libraries take turns, so that all see the same machine
TOLERANCE = 1e-5  # of values, relative to the definition: float32 is enough
SUITE_BUDGET = 3.5  # times one argmax


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
}
SUITE = ("Accuracy", "TopK(5)", "Precision", "Recall", "Fbeta", "ConfusionMatrix", "Loss")


def batches_of(case, size):
    generator = torch.Generator().manual_seed(0)
    return [SIZES[case.data][size](generator) for _ in range(NUM_BATCHES)] * PASSES


def num_classes(batches):
    first = batches[0][0]
    return first.shape[-1] if isinstance(first, torch.Tensor) else None


# Workers: one process for each library, which measures on request.


class Names:
    """Combines the names of several modules; earlier modules take precedence."""

    def __init__(self, *modules):
        self._modules = modules

    def __getattr__(self, name):
        return next(getattr(module, name) for module in self._modules if hasattr(module, name))


def of_ignite(name, case, batches):
    """Returns a function that updates the metric with all batches and returns its value, or None."""
    import ignite.metrics
    from ignite.metrics import clustering, regression

    names = Names(
        ignite.metrics,
        clustering,
        regression,
        *(each for each in vars(regression).values() if hasattr(each, "__file__")),
    )
    try:
        made = (
            case.make(names, num_classes(batches)) if case.make else getattr(names, name.strip())()
        )
    except (StopIteration, ImportError):
        return None
    metric, update = made if isinstance(made, tuple) else (made, made.update)
    return lambda: fed(metric, batches, update)


def of_torchmetrics(name, case, batches):
    """Likewise."""
    import torchmetrics

    if case.peer is None:
        return None
    made = case.peer(torchmetrics, num_classes(batches))
    metric, update = made if isinstance(made, tuple) else (made, made.update)
    return lambda: fed(metric, batches, lambda pair: update(*pair))


def fed(metric, batches, update):
    metric.reset()
    for batch in batches:
        update(batch)
    return metric.compute()


def made_of_ignite(name, m, c):
    """Creates the metric of a case from the module ``m`` of the library imported as ``ignite``."""
    make = CASES[name].make
    return make(m, c) if make else getattr(m, name)()


def suite_of_ignite(batches):
    """Attaches the metrics of the suite to one engine."""
    from ignite import metrics as m
    from ignite.engine import Engine

    engine = Engine(lambda engine, batch: batch)
    for name in SUITE:
        made_of_ignite(name, m, num_classes(batches)).attach(engine, name)
    return lambda: engine.run(batches).metrics


def suite_of_torchmetrics(batches):
    import torchmetrics

    found = {name: CASES[name].peer(torchmetrics, num_classes(batches)) for name in SUITE}
    loss, update_loss = found.pop("Loss")
    collection = torchmetrics.MetricCollection(found)

    def run():
        collection.reset()
        loss.reset()
        for pair in batches:
            collection.update(*pair)
            update_loss(*pair)
        return {**collection.compute(), "Loss": loss.compute()}

    return run


def function_of(library, name, size):
    if name == "argmax":
        pairs = batches_of(CASES["Accuracy"], size)
        return lambda: [y_pred.argmax(1) for y_pred, _ in pairs]
    is_peer = library == "torchmetrics"
    if name == "suite":
        return (suite_of_torchmetrics if is_peer else suite_of_ignite)(
            batches_of(CASES["Accuracy"], size)
        )
    case = CASES[name]
    return (of_torchmetrics if is_peer else of_ignite)(name, case, batches_of(case, size))


def as_numbers(value):
    if isinstance(value, torch.Tensor):
        return value.double().flatten().tolist()
    if isinstance(value, dict):
        return [number for item in value.values() for number in as_numbers(item) or []]
    return [float(value)] if isinstance(value, int | float) else None


def work(library):
    """Answers a line with case and size by the value, and a repeated line by us per batch."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    asked, function = None, None
    for line in sys.stdin:
        if line != asked:
            asked, function = line, function_of(library, *json.loads(line))
            value = None if function is None else as_numbers(function())
            answer = {"value": value, "is_there": function is not None}
        else:
            answer = time_us(function)
        print(json.dumps(answer), flush=True)


def time_us(function):
    num_runs, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < SLICE_S:
        function()
        num_runs += 1
    return elapsed / num_runs / (NUM_BATCHES * PASSES) * 1e6


# The main process: queries the workers in turns, and compares.


def start(name, python):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    if name in PEERS:
        environment.pop("PYTHONPATH", None)  # or ours might be found under the name of one of them
    command = [python, "-W", "ignore", __file__, "--worker", name]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def ask(worker, name, size):
    worker.stdin.write(json.dumps([name, size]) + "\n")
    worker.stdin.flush()
    return json.loads(worker.stdout.readline())


def is_right(value, expected):
    if value is None or len(value) != len(expected):
        return False
    return all(
        abs(a - b) <= TOLERANCE * max(abs(b), TOLERANCE)
        for a, b in zip(value, expected, strict=True)
    )


def expected_value(name, size):
    import _definitions as definitions
    import numpy as np

    case = CASES[name]
    arrays = [as_array(parts) for parts in zip(*batches_of(case, size), strict=True)]
    return np.ravel(getattr(definitions, case.definition)(*arrays, *case.arguments)).tolist()


def as_array(parts):
    """Joins tensors to an array, in float64 or integers, and lists to a list."""
    if isinstance(parts[0], list):
        return [item for part in parts for item in part]
    joined = torch.cat(parts)
    return (joined.double() if joined.is_floating_point() else joined).numpy()


def measure(workers, name, size):
    """Returns us per batch by library: the lower quartile of rounds, because noise only adds time."""
    times = {library: [] for library in workers}
    for _ in range(ROUNDS):
        for library, worker in workers.items():
            times[library].append(ask(worker, name, size))
    return {library: statistics.quantiles(found, n=4)[0] for library, found in times.items()}


def compare(workers, name, size):
    """Prints a row; returns whether ours is right and no peer that is right is faster."""
    expected = expected_value(name, size)
    answers = {library: ask(worker, name, size) for library, worker in workers.items()}
    right = {library: is_right(answer["value"], expected) for library, answer in answers.items()}
    there = {library: worker for library, worker in workers.items() if answers[library]["is_there"]}
    times = measure(there, name, size)
    rivals = [
        times["ours"] / times[library] for library in PEERS if library in there and right[library]
    ]
    worst = max(rivals, default=0.0)
    passed = right["ours"] and worst <= 1.0
    cells = [f"{name.strip():<37}{size:>11}{times['ours']:>9.1f}"]
    for library in PEERS:
        mark = " " if right[library] else "*"
        cells += [f"{times[library]:>15.1f}{mark}" if library in there else f"{'-':>15} "]
    words = "PASS" if passed else "FAIL" if right["ours"] else "WRONG"
    print("".join(cells), f"{worst:>7.2f}" if rivals else f"{'':>7}", words, flush=True)
    return passed


def compare_suite(workers, size):
    """Prints the cost of the suite in argmaxes; returns whether ours is within the budget."""
    times = {}
    for name in ("argmax", "suite"):
        for worker in workers.values():
            ask(worker, name, size)
        times[name] = measure(workers, name, size)
    costs = {library: times["suite"][library] / times["argmax"][library] for library in workers}
    passed = costs["ours"] <= SUITE_BUDGET
    cells = [f"{'seven together, in argmaxes':<37}{size:>11}{costs['ours']:>9.1f}"]
    cells += [f"{costs[library]:>15.1f} " for library in PEERS]
    print("".join(cells), f"{SUITE_BUDGET:>7} {'PASS' if passed else 'FAIL'}")
    return passed


def main():
    from _peers import peer_python

    pythons = {"ours": sys.executable, **{name: str(peer_python(name)) for name in PEERS}}
    workers = {name: start(name, python) for name, python in pythons.items()}
    chosen = [name for name in CASES if not sys.argv[1:] or name.strip() in sys.argv[1:]]
    print(
        "us per batch; * gives another value than the definition, and does not count; last: ours / fastest"
    )
    print(f"{'':<48}{'ours':>9}" + "".join(f"{name:>15} " for name in PEERS))
    failed = [
        name
        for name in chosen
        for size in SIZES[CASES[name].data]
        if not compare(workers, name, size)
    ]
    if not sys.argv[1:] and not compare_suite(workers, "256x100"):
        failed.append("suite")
    return 1 if failed else 0


if __name__ == "__main__":
    if "--worker" in sys.argv:
        work(sys.argv[-1])
    else:
        raise SystemExit(main())
