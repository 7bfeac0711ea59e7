"""Definitions of metrics in float64 with numpy, scipy and scikit-learn; shares no code with any metrics library.

Each function takes the predictions p and the targets y of all samples, and returns a number or an array.
"""

import numpy as np
import sklearn.metrics
from scipy import linalg, stats
from scipy.ndimage import correlate1d
from scipy.spatial.distance import cdist
from scipy.special import log_softmax, rel_entr


def quotient(a, b):
    return np.where(a == 0, 0.0, a / np.where(b == 0, 1, b))


def matrix(p, y, num_classes=None):
    """Counts pairs of classes; rows are the true classes."""
    num_classes = num_classes or p.shape[1]
    found = p.argmax(1) if p.ndim > 1 else p
    return np.bincount(num_classes * y + found, minlength=num_classes**2).reshape(num_classes, -1)


def accuracy(p, y):
    return (p.argmax(1) == y).mean()


def top_5(p, y):
    return (p.argsort(1)[:, -5:] == y[:, None]).any(1).mean()


def precision(p, y):
    counts = matrix(p, y)
    return quotient(counts.diagonal(), counts.sum(0))


def recall(p, y):
    counts = matrix(p, y)
    return quotient(counts.diagonal(), counts.sum(1))


def balanced_accuracy(p, y):
    return sklearn.metrics.balanced_accuracy_score(y, p.argmax(1))


def f1(p, y):
    return sklearn.metrics.f1_score(y, p.argmax(1), average="macro")


def specificity(p, y):
    counts = matrix(p, y)
    others = counts.sum() - counts.sum(1)
    return quotient(others - counts.sum(0) + counts.diagonal(), others)


def jaccard(p, y):
    return sklearn.metrics.jaccard_score(y, p.argmax(1), average=None)


def mean_jaccard(p, y):
    return jaccard(p, y).mean()


def dice(p, y):
    return sklearn.metrics.f1_score(y, p.argmax(1), average=None)


def hamming(p, y):
    return (p.argmax(1) != y).mean()


def cohen_kappa(p, y):
    return sklearn.metrics.cohen_kappa_score(y, p)


def matthews(p, y):
    return sklearn.metrics.matthews_corrcoef(y, p)


def label_matrices(p, y):
    return sklearn.metrics.multilabel_confusion_matrix(y, p)


def calibration(p, y, num_bins=15):
    surest, is_right = p.max(1), p.argmax(1) == y
    place = np.clip(np.ceil(surest * num_bins) - 1, 0, None)
    return sum(
        abs((is_right[place == i] - surest[place == i]).sum()) for i in range(num_bins)
    ) / len(y)


def roc_auc(p, y):
    return sklearn.metrics.roc_auc_score(y, p)


def average_precision(p, y):
    return sklearn.metrics.average_precision_score(y, p)


def cross_entropy(p, y):
    return -log_softmax(p, axis=1)[np.arange(len(y)), y].mean()


# Regression


def squared_error(p, y):
    return ((p - y) ** 2).sum() / len(y)  # of all elements of an example


def absolute_error(p, y):
    return abs(p - y).sum() / len(y)


def root_of_squared_error(p, y):
    return np.sqrt(squared_error(p, y))


def largest_error(p, y):
    return abs(p - y).max()


def manhattan(p, y):
    return abs(p - y).sum()


def mean_error(p, y):
    return (y - p).mean()


def median_error(p, y):
    return np.median(abs(p - y))


def log_cosh(p, y):
    return np.log(np.cosh(p - y)).mean()


def relative_error(p, y):
    return (abs(p - y) / abs(y)).mean()


def median_percentage(p, y):
    return 100 * np.median(abs(p - y) / abs(y))


def normalized_bias(p, y):
    return ((y - p) / y).mean()


def fractional_bias(p, y):
    return (2 * (y - p) / (y + p)).mean()


def wave_hedges(p, y):
    return (abs(y - p) / np.maximum(p, y)).sum()


def canberra(p, y):
    return (abs(y - p) / (abs(y) + abs(p))).sum()


def symmetric_error(p, y):
    return 2 * canberra(p, y) / len(y)


def geometric_error(p, y):
    return stats.gmean(abs(y - p))


def relative_to_mean(p, y):
    return abs(y - p) / abs(y - y.mean())


def geometric_error_to_mean(p, y):
    return stats.gmean(relative_to_mean(p, y))


def median_error_to_mean(p, y):
    return np.median(relative_to_mean(p, y))


def pearson(p, y):
    return stats.pearsonr(p, y).statistic


def spearman(p, y):
    return stats.spearmanr(p, y).statistic


def kendall(p, y):
    return stats.kendalltau(p, y).statistic


def concordance(p, y):
    covariance = ((p - p.mean()) * (y - y.mean())).mean()
    return 2 * covariance / (p.var() + y.var() + (p.mean() - y.mean()) ** 2)


def explained_variance(p, y):
    return sklearn.metrics.explained_variance_score(y, p)


def squared_log_error(p, y):
    return sklearn.metrics.mean_squared_log_error(y, p)


def r2(p, y):
    return sklearn.metrics.r2_score(y, p)


def pairwise(p, y):
    return np.linalg.norm(p - y + 1e-6, axis=1).mean()


def cosine(p, y):
    return ((p * y).sum(1) / np.linalg.norm(p, axis=1) / np.linalg.norm(y, axis=1)).mean()


# Distributions


def divergence(p, q):
    """For distributions given by their logarithms."""
    return (np.exp(p) * (p - q)).sum(1).mean()


def kullback_leibler(p, y):
    return divergence(log_softmax(y, axis=1), log_softmax(p, axis=1))


def jensen_shannon(p, y):
    p, q = log_softmax(p, axis=1), log_softmax(y, axis=1)
    middle = np.log((np.exp(p) + np.exp(q)) / 2)
    return (divergence(p, middle) + divergence(q, middle)) / 2


def entropy(p, y):
    logarithms = log_softmax(p, axis=1)
    return -(np.exp(logarithms) * logarithms).sum(1).mean()


def mutual_information(p, y):
    mean = np.exp(log_softmax(p, axis=1)).mean(0)
    return -(mean * np.log(mean)).sum() - entropy(p, y)


def discrepancy(p, y, variance, num_batches):
    values = []
    for a, b in zip(np.split(p, num_batches), np.split(y, num_batches), strict=True):
        of_a, of_b, of_both = (
            np.exp(-cdist(*pair, "sqeuclidean") / (2 * variance))
            for pair in ((a, a), (b, b), (a, b))
        )
        n = len(a)
        values.append((of_a.sum() + of_b.sum() - 2 * n) / (n * (n - 1)) - 2 * of_both.mean())
    return np.sqrt(max(np.mean(values), 0))


def independence(p, y, num_batches):
    values = []
    for pair in zip(np.split(p, num_batches), np.split(y, num_batches), strict=True):
        squares = [cdist(x, x, "sqeuclidean") for x in pair]
        of_p, of_y = (np.exp(-each / (2 * np.median(each))) for each in squares)
        np.fill_diagonal(of_p, 0)
        np.fill_diagonal(of_y, 0)
        n, product = len(of_p), of_p @ of_y
        sums = of_p.sum() * of_y.sum() / ((n - 1) * (n - 2)) - 2 * product.sum() / (n - 2)
        values.append(max((np.trace(product) + sums) / (n * (n - 3)), 0))
    return np.mean(values)


# Clusterings and generative models


def silhouette(p, y):
    return sklearn.metrics.silhouette_score(p, y)


def davies_bouldin(p, y):
    return sklearn.metrics.davies_bouldin_score(p, y)


def calinski_harabasz(p, y):
    return sklearn.metrics.calinski_harabasz_score(p, y)


def frechet(p, y):
    of_p, of_y = np.cov(p.T), np.cov(y.T)
    root = linalg.sqrtm(of_p @ of_y).real
    return ((p.mean(0) - y.mean(0)) ** 2).sum() + np.trace(of_p + of_y - 2 * root)


def inception(p, y):
    return np.exp(rel_entr(p, p.mean(0)).sum(1).mean())


# Images


def peak_signal_to_noise(p, y, data_range):
    errors = ((p - y) ** 2).reshape(len(p), -1).mean(1)
    return (10 * np.log10(data_range**2 / errors)).mean()


def structural_similarity(p, y, data_range):
    """With a Gaussian window of 11 pixels and sigma 1.5, images reflected at their borders, over all pixels."""
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))

    def smooth(x):
        for axis in (2, 3):
            x = correlate1d(x, weights / weights.sum(), axis=axis, mode="mirror")
        return x

    mean_p, mean_y = smooth(p), smooth(y)
    var_p, var_y, both = (
        smooth(p * p) - mean_p**2,
        smooth(y * y) - mean_y**2,
        smooth(p * y) - mean_p * mean_y,
    )
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    likeness = (2 * mean_p * mean_y + c1) * (2 * both + c2)
    return (likeness / ((mean_p**2 + mean_y**2 + c1) * (var_p + var_y + c2))).mean()


def multi_scale_similarity(p, y, data_range, betas):
    """As above, without the pixels at the border; all scales but the last leave out the means."""
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))

    def smooth(x):
        for axis in (2, 3):
            x = correlate1d(x, weights / weights.sum(), axis=axis)
        return x[:, :, 5:-5, 5:-5]

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    product = 1.0
    for i, beta in enumerate(betas):
        mean_p, mean_y = smooth(p), smooth(y)
        var_p, var_y = smooth(p * p) - mean_p**2, smooth(y * y) - mean_y**2
        likeness = (2 * (smooth(p * y) - mean_p * mean_y) + c2) / (var_p + var_y + c2)
        if i == len(betas) - 1:
            likeness *= (2 * mean_p * mean_y + c1) / (mean_p**2 + mean_y**2 + c1)
        product = product * np.maximum(likeness.reshape(len(p), -1).mean(1), 0) ** beta
        if i < len(betas) - 1:
            p, y = (
                x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).mean((3, 5))
                for x in (p, y)
            )
    return product.mean()


def overlaps(p, y):
    """Returns pixels in both, and pixels predicted and true, of each image and class."""
    num_images, num_classes = p.shape[:2]
    found, true = p.argmax(1).reshape(num_images, -1), y.reshape(num_images, -1)
    both, predicted, targets = np.zeros((3, num_images, num_classes))
    for i in range(num_classes):
        both[:, i] = ((found == i) & (true == i)).sum(1)
        predicted[:, i], targets[:, i] = (found == i).sum(1), (true == i).sum(1)
    return both, predicted, targets


def mean_iou_of_images(p, y):
    both, predicted, targets = overlaps(p, y)
    union = predicted + targets - both
    return (both[union > 0] / union[union > 0]).mean()


def dice_of_images(p, y):
    both, predicted, targets = overlaps(p, y)
    sizes = predicted + targets
    return (quotient(2 * both, sizes).sum(1) / (sizes > 0).sum(1)).mean()


def generalized_dice_of_images(p, y):
    both, predicted, targets = overlaps(p, y)  # all classes are in all images
    weights = targets**-2.0
    return (2 * (weights * both).sum(1) / (weights * (predicted + targets)).sum(1)).mean()


# Groups


def by_group(values, groups):
    return np.array([values[groups == group].mean() for group in np.unique(groups)])


def accuracies_of_groups(p, y, groups):
    return by_group(p == y, groups)


def difference_of_accuracies(p, y, groups):
    return np.ptp(accuracies_of_groups(p, y, groups))


def difference_of_selection(p, y, groups):
    return np.ptp(by_group(p, groups))


def selection(p, y):
    return [(p == 0).mean(), (p == 1).mean()]


# Rankings


def ranked(p, y):
    """Relevance by rank, of users with a relevant item."""
    p, y = p[(y > 0).any(1)], y[(y > 0).any(1)]
    return np.take_along_axis(y, (-p).argsort(1), axis=1)


def hit_rate(p, y, k):
    return (ranked(p, y)[:, :k] > 0).any(1).mean()


def reciprocal_rank(p, y):
    return (1 / ((ranked(p, y) > 0).argmax(1) + 1)).mean()


def recall_at(p, y, k):
    relevance = ranked(p, y) > 0
    return (relevance[:, :k].sum(1) / relevance.sum(1)).mean()


def precision_at(p, y, k):
    return (ranked(p, y)[:, :k] > 0).mean()


def ndcg(p, y, k):
    is_used = (y > 0).any(1)
    return sklearn.metrics.ndcg_score(y[is_used], p[is_used], k=k, ignore_ties=True)


# Of texts, by the packages that define them.


def mean_bleu(p, y):
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    function = SmoothingFunction().method0
    scores = [sentence_bleu(y, p, smoothing_function=function) for p, y in zip(p, y, strict=True)]
    return np.mean(scores)


def corpus_bleu(p, y):
    import sacrebleu

    references = [" ".join(each) for (each,) in y]
    return (
        sacrebleu.metrics.BLEU(tokenize="none", smooth_method="none", force=True)
        .corpus_score([" ".join(each) for each in p], [references])
        .score
        / 100
    )


def rouge(p, y):
    from rouge_score import rouge_scorer

    class WhiteSpace:
        tokenize = staticmethod(str.split)

    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=WhiteSpace())
    scores = [scorer.score(" ".join(y), " ".join(p)) for p, (y,) in zip(p, y, strict=True)]
    return np.mean([list(each.values()) for each in scores], axis=0)


def character_errors(p, y):
    import jiwer

    return jiwer.cer(y, p)


def word_errors(p, y):
    import jiwer

    return jiwer.wer(y, p)


def perplexity(p, y):
    picked = np.take_along_axis(log_softmax(p, axis=1), y[:, None], axis=1)
    return np.exp(-picked.mean())
