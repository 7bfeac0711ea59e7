"""Agreement of metrics with independent oracles, and over 1, 2 and 4 processes: the largest differences, as a table."""

import math
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import _definitions as definitions
import numpy as np
import torch
import torch.distributed as dist

# The examples and slow definitions of the tests.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from ignite import metrics as m
from ignite.metrics import clustering, fairness, regression
from ignite.metrics.gan.fid import fid_score
from support import cases, coco_oracle, image_oracles, ranking_oracles
from support.cases import as_plain, cut, wide
from support.ranks import SHARES, in_halves

NUM_EXAMPLES = 200  # data sets for each metric; another number may be given as argument
NUM_IN_PROCESSES = 5  # data sets for each way to share 23 examples between processes
LIMIT = 1e-6  # relative


class Row(NamedTuple):
    name: str
    oracle_name: str
    draw: Callable[[torch.Generator, int], Any]
    """So many examples."""
    oracle: Callable[..., Any]
    """The value, given all parts of the examples, tensors as arrays."""
    make: Callable[[], m.Metric]
    """Creates the metric."""


# Examples


def with_all_classes(draw: Callable[..., Any], num_classes: int) -> Callable[..., Any]:
    """Replaces the first values of the last part by all classes."""

    def make(generator: torch.Generator, n: int) -> Any:
        parts = draw(generator, n)
        parts[-1][:num_classes] = torch.arange(num_classes)
        return parts

    return make


def with_one_reference(generator: torch.Generator, n: int) -> Any:
    candidates, references = cases.sentences(generator, n)
    return candidates, [each[:1] for each in references]


def with_two_words(generator: torch.Generator, n: int) -> Any:
    """Nltk counts a bigram in candidates that are too short for one."""
    candidates, references = cases.sentences(generator, n)
    return [[*each, "mat"] for each in candidates], references


classes = with_all_classes(cases.distributions, 5)
clusters = with_all_classes(cases.clusters, 3)
people = with_all_classes(cases.people, 3)
people_with_numbers = with_all_classes(cases.people_with_numbers, 3)


# Oracles


def bleu_of_nltk(candidates: Any, references: Any, average: str) -> float:
    from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu, sentence_bleu

    smooth, weights = SmoothingFunction().method1, (0.5, 0.5)
    if average == "micro":
        return corpus_bleu(references, candidates, weights, smooth)
    pairs = zip(references, candidates, strict=True)
    return np.mean([sentence_bleu(*pair, weights, smooth) for pair in pairs])


def bleu_of_sacrebleu(candidates: Any, references: Any) -> float:
    import sacrebleu

    metric = sacrebleu.metrics.BLEU(
        tokenize="none", smooth_method="none", max_ngram_order=2, force=True
    )
    streams = [[" ".join(each) for (each,) in references]]
    return metric.corpus_score([" ".join(each) for each in candidates], streams).score / 100


def rouge(candidates: Any, references: Any, variants: tuple[str, ...]) -> dict[str, float]:
    values = definitions.rouge(candidates, references).reshape(3, 3)
    return {
        f"Rouge-{variant}-{letter}": values["12L".index(variant), i]
        for variant in variants
        for i, letter in enumerate("PRF")
    }


def one_against_others(function: str, p: Any, y: Any, average: str | None) -> Any:
    import sklearn.metrics

    columns = np.eye(5, dtype=int)[y] if y.ndim == 1 else y
    return getattr(sklearn.metrics, function)(columns, p, average=average)


def by_group(function: Any, p: Any, y: Any, groups: Any) -> Any:
    import fairlearn.metrics

    return fairlearn.metrics.MetricFrame(
        metrics=function, y_true=y, y_pred=p, sensitive_features=groups
    )


def accuracy_by_group(p: Any, y: Any, groups: Any) -> Any:
    from sklearn.metrics import accuracy_score

    return by_group(accuracy_score, p, y, groups)


def difference_of_errors(p: Any, y: Any, groups: Any) -> float:
    from sklearn.metrics import mean_absolute_error

    return by_group(mean_absolute_error, p, y, groups).difference()


def selection_rates(p: Any, y: Any) -> list[float]:
    import fairlearn.metrics

    rate = fairlearn.metrics.selection_rate(y, p)
    return [1 - rate, rate]


def parity_difference(p: Any, y: Any, groups: Any) -> float:
    import fairlearn.metrics

    return fairlearn.metrics.demographic_parity_difference(y, p, sensitive_features=groups)


def of_users(measure: Callable[..., float], ks: tuple[int, ...]) -> Callable[..., list[float]]:
    def mean(p: Any, y: Any) -> list[float]:
        return [
            ranking_oracles.mean_over_users(
                lambda ranked, k=k: measure(ranked, k), p.tolist(), y.tolist(), True
            )
            for k in ks
        ]

    return mean


def ndcg_of_sklearn(p: Any, y: Any) -> list[float]:
    from sklearn.metrics import ndcg_score

    counted = y[(y > 0).any(1)], p[(y > 0).any(1)]
    return [ndcg_score(2.0 ** counted[0] - 1, counted[1], k=k, ignore_ties=True) for k in (1, 3)]


def of_masks(definition: Callable[..., Any], *args: Any) -> Callable[..., Any]:
    def value(p: Any, y: Any) -> Any:
        pairs = zip(*(np.eye(5, dtype=bool)[each] for each in (p.argmax(1), y)), strict=True)
        images = [tuple(np.moveaxis(each, -1, 0).reshape(5, -1) for each in pair) for pair in pairs]
        return definition(images, *args)

    return value


def multi_scale_ssim(p: Any, y: Any) -> float:
    return image_oracles.multi_scale_ssim(p, y, (0.2, 0.8), image_oracles.window_of(5, 1.5))


class OfMoments(m.EpochMetric):
    """``fid_score`` as a metric."""

    def __init__(self) -> None:
        super().__init__(self._score, check_compute_fn=False)

    @staticmethod
    def _score(x: torch.Tensor, y: torch.Tensor) -> float:
        return fid_score(x.mean(0), y.mean(0), x.T.cov(), y.T.cov())


NLTK, SKLEARN, COCO = "nltk", "scikit-learn", "pycocotools"
AVERAGES = ("macro", "weighted", "micro", None)
ROWS = [
    *[
        Row(
            f"Bleu, {average}",
            NLTK,
            with_two_words,
            partial(bleu_of_nltk, average=average),
            partial(m.Bleu, 2, "smooth1", average=average),
        )
        for average in ("macro", "micro")
    ],
    Row(
        "Bleu, micro, one reference",
        "sacrebleu",
        with_one_reference,
        bleu_of_sacrebleu,
        lambda: m.Bleu(2, average="micro"),
    ),
    *[
        Row(name, "rouge-score", with_one_reference, partial(rouge, variants=variants), make)
        for name, variants, make in (
            ("Rouge", ("1", "2", "L"), lambda: m.Rouge([1, 2, "L"], alpha=0.5)),
            ("RougeN", ("2",), lambda: m.RougeN(2, alpha=0.5)),
            ("RougeL", ("L",), lambda: m.RougeL(alpha=0.5)),
        )
    ],
    Row("Perplexity", "scipy", cases.tokens, definitions.perplexity, m.Perplexity),
    Row(
        "CharacterErrorRate",
        "jiwer",
        cases.texts,
        definitions.character_errors,
        m.CharacterErrorRate,
    ),
    Row("WordErrorRate", "jiwer", cases.texts, definitions.word_errors, m.WordErrorRate),
    Row("FID", "scipy sqrtm", cases.vectors, definitions.frechet, lambda: m.FID(3)),
    Row("fid_score", "scipy sqrtm", cases.vectors, definitions.frechet, OfMoments),
    Row(
        "InceptionScore",
        "scipy",
        cases.classified,
        lambda p: definitions.inception(p, p),
        lambda: m.InceptionScore(5),
    ),
    Row(
        "ObjectDetectionAvgPrecisionRecall",
        COCO,
        cases.boxes,
        lambda p, y: coco_oracle.precision_recall(p, y, 3),
        lambda: m.ObjectDetectionAvgPrecisionRecall(num_classes=3),
    ),
    Row(
        "CommonObjectDetectionMetrics",
        COCO,
        cases.boxes,
        lambda p, y: coco_oracle.common(p, y, 3),
        lambda: m.CommonObjectDetectionMetrics(3),
    ),
    *[
        Row(
            f"MeanAveragePrecision, {average}",
            SKLEARN,
            classes,
            partial(one_against_others, "average_precision_score", average=average),
            partial(m.MeanAveragePrecision, class_mean=average),
        )
        for average in AVERAGES
    ],
    *[
        Row(name, SKLEARN, clusters, getattr(definitions, definition), getattr(clustering, name))
        for name, definition in (
            ("SilhouetteScore", "silhouette"),
            ("DaviesBouldinScore", "davies_bouldin"),
            ("CalinskiHarabaszScore", "calinski_harabasz"),
        )
    ],
    Row("SelectionRate", "fairlearn", cases.binary, selection_rates, fairness.SelectionRate),
    Row(
        "SubgroupMetric of Accuracy",
        "fairlearn",
        people,
        lambda *parts: accuracy_by_group(*parts).by_group.to_dict(),
        lambda: fairness.SubgroupMetric(m.Accuracy(), [0, 1, 2]),
    ),
    Row(
        "SubgroupDifference of MeanAbsoluteError",
        "fairlearn",
        people_with_numbers,
        difference_of_errors,
        lambda: fairness.SubgroupDifference(m.MeanAbsoluteError(), [0, 1, 2]),
    ),
    Row(
        "SubgroupAccuracyDifference",
        "fairlearn",
        people,
        lambda *parts: accuracy_by_group(*parts).difference(),
        lambda: fairness.SubgroupAccuracyDifference([0, 1, 2]),
    ),
    Row(
        "DemographicParityDifference",
        "fairlearn",
        people,
        parity_difference,
        lambda: fairness.DemographicParityDifference([0, 1, 2]),
    ),
    Row(
        "HitRate",
        "definition",
        cases.rankings,
        of_users(ranking_oracles.hit_rate, (1, 3)),
        lambda: m.HitRate([1, 3]),
    ),
    Row(
        "RecallAtK",
        "definition",
        cases.rankings,
        of_users(ranking_oracles.recall, (1, 3)),
        lambda: m.RecallAtK([1, 3]),
    ),
    Row(
        "PrecisionAtK",
        "definition",
        cases.rankings,
        of_users(ranking_oracles.precision, (1, 9)),
        lambda: m.PrecisionAtK([1, 9]),
    ),
    Row(
        "MeanReciprocalRank",
        "definition",
        cases.rankings,
        lambda p, y: of_users(ranking_oracles.reciprocal_rank, (7,))(p, y)[0],
        m.MeanReciprocalRank,
    ),
    Row(
        "NDCG",
        "definition",
        cases.rankings,
        of_users(ranking_oracles.ndcg, (1, 3)),
        lambda: m.NDCG([1, 3]),
    ),
    Row("NDCG", SKLEARN, cases.rankings, ndcg_of_sklearn, lambda: m.NDCG([1, 3])),
    *[
        Row(
            f"{kind.__name__}, {average}",
            SKLEARN,
            cases.tags if average == "samples" else classes,
            partial(one_against_others, function, average=average),
            partial(kind, average=average),
        )
        for kind, function in (
            (m.ROC_AUC, "roc_auc_score"),
            (m.AveragePrecision, "average_precision_score"),
        )
        for average in (*AVERAGES, "samples")
    ],
    *[
        Row(
            f"MeanIoU{', of each class' * per_class}",
            "definition",
            cases.pixels,
            of_masks(image_oracles.iou_by_definition, per_class),
            partial(m.MeanIoU, 5, per_class=per_class),
        )
        for per_class in (False, True)
    ],
    *[
        Row(
            f"DiceScore, {average}, {level}",
            "definition",
            cases.pixels,
            of_masks(image_oracles.dice_by_definition, average, level),
            partial(m.DiceScore, 5, True, average, level),
        )
        for average in AVERAGES
        for level in ("samplewise", "global")
    ],
    *[
        Row(
            f"GeneralizedDiceScore, {weight_type}, {level}",
            "definition",
            cases.pixels,
            of_masks(image_oracles.generalized_dice_by_definition, weight_type, level),
            partial(m.GeneralizedDiceScore, 5, True, weight_type, level),
        )
        for weight_type in ("square", "simple", "linear")
        for level in ("samplewise", "global")
    ],
    Row(
        "ConcordanceCorrCoef",
        "definition",
        cases.positive,
        definitions.concordance,
        regression.ConcordanceCorrCoef,
    ),
    Row(
        "MeanSquaredLogError",
        SKLEARN,
        cases.positive,
        definitions.squared_log_error,
        regression.MeanSquaredLogError,
    ),
    Row(
        "ExplainedVariance",
        SKLEARN,
        cases.positive,
        definitions.explained_variance,
        regression.ExplainedVariance,
    ),
    Row("Sum", "numpy", cases.numbers, lambda x: x.sum(0).tolist(), m.Sum),
    Row("Max", "numpy", cases.numbers, lambda x: x.max(0).tolist(), m.Max),
    Row("Min", "numpy", cases.numbers, lambda x: x.min(0).tolist(), m.Min),
    Row(
        "MultiScaleSSIM",
        "definition",
        cases.wide_images,
        multi_scale_ssim,
        lambda: m.MultiScaleSSIM(1.0, kernel_size=5, betas=(0.2, 0.8)),
    ),
]


# Differences


def numbers_of(value: Any) -> list[float]:
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else as_plain(value)
    if isinstance(value, dict):
        return [number for name in sorted(value) for number in numbers_of(value[name])]
    if isinstance(value, list):
        return [number for item in value for number in numbers_of(item)]
    return [float(value)]


def differences(value: Any, expected: Any) -> tuple[float, float]:
    """Returns the largest difference, and the largest relative to a number that is not 0."""
    found, right = numbers_of(value), numbers_of(expected)
    pairs = [
        (a, b)
        for a, b in zip(found, right, strict=True)
        if not (a == b or (math.isnan(a) and math.isnan(b)))
    ]
    if any(math.isnan(a) or math.isnan(b) for a, b in pairs):
        return math.inf, math.inf
    return (
        max((abs(a - b) for a, b in pairs), default=0.0),
        max((abs(a - b) / abs(b) for a, b in pairs if b), default=0.0),
    )


def value_of(row: Row, batches: list[Any]) -> Any:
    metric = row.make()
    for batch in batches:
        metric.update(batch)
    return as_plain(metric.compute())


def as_arrays(batch: Any) -> list[Any]:
    parts = batch if isinstance(batch, tuple) else (batch,)
    return [each.numpy() if isinstance(each, torch.Tensor) else each for each in parts]


def data_set(row: Row, seed: int, n: int) -> Any:
    return wide(row.draw(torch.Generator().manual_seed(seed), n))


def random_sizes(n: int, seed: int) -> list[int]:
    """Returns the sizes of up to four batches, some of them perhaps empty."""
    rng = np.random.default_rng(seed)
    ends = [0, *np.sort(rng.integers(0, n + 1, rng.integers(0, 4))).tolist(), n]
    return np.diff(ends).tolist()


def from_oracle(row: Row, num_examples: int) -> tuple[float, float]:
    found = []
    for seed in range(num_examples):
        n = 6 + seed % 25
        batch = data_set(row, seed, n)
        sizes = random_sizes(n, seed)
        pieces = zip(cut(batch, sizes), sizes, strict=True)
        batches = [piece for piece, size in pieces if size]
        found.append(differences(value_of(row, batches), row.oracle(*as_arrays(batch))))
    return tuple(map(max, zip(*found, strict=True)))


def over_processes(rank: int) -> list[list[Any]]:
    """Returns the values of each row, for all ways to share the examples and all data sets."""
    warnings.simplefilter("ignore")
    found = []
    for row in ROWS:
        values = []
        for seed in range(NUM_IN_PROCESSES):
            for shares in SHARES[dist.get_world_size()]:
                piece = cut(data_set(row, seed, sum(shares)), shares)[rank]
                # A process without examples has not even seen an empty batch.
                values.append(value_of(row, in_halves(piece) if shares[rank] else []))
        found.append(values)
    return found


def from_one_process(row: Row, size: int, found: list[Any]) -> float:
    """Returns the largest difference of the values on ``size`` processes, relative or absolute."""
    seeds = [seed for seed in range(NUM_IN_PROCESSES) for _ in SHARES[size]]
    alone = [value_of(row, [data_set(row, seed, sum(SHARES[size][0]))]) for seed in seeds]
    return max(
        min(differences(value, expected))
        for of_rank in found
        for value, expected in zip(of_rank, alone, strict=True)
    )


def main() -> int:
    from support import harness

    warnings.simplefilter("ignore")
    num_examples = int(sys.argv[1]) if sys.argv[1:] else NUM_EXAMPLES
    shared = {size: harness.run(over_processes, size) for size in SHARES}
    counts = {size: NUM_IN_PROCESSES * len(SHARES[size]) for size in SHARES}
    print(
        f"{num_examples} data sets of 6 to 30 examples for each metric, float64, in one to four batches; over processes"
        f" (gloo), {counts[2]} on 2 and {counts[4]} on 4 with uneven and empty shares, against one process"
    )
    print("| metric | oracle | largest difference | relative | 2 processes | 4 processes |")
    print("|---|---|---|---|---|---|")
    is_right = True
    for index, row in enumerate(ROWS):
        absolute, relative = from_oracle(row, num_examples)
        by_size = [
            from_one_process(row, size, [of_rank[index] for of_rank in shared[size]])
            for size in SHARES
        ]
        cells = [f"{value:.1e}" if value else "0" for value in (absolute, relative, *by_size)]
        print(f"| {row.name} | {row.oracle_name} | {' | '.join(cells)} |", flush=True)
        is_right &= max(min(absolute, relative), *by_size) <= LIMIT
    print("PASS" if is_right else f"FAIL: a difference is above {LIMIT}")
    return 0 if is_right else 1


if __name__ == "__main__":
    raise SystemExit(main())
