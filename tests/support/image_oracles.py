"""Definitions of metrics of images in numpy, image after image."""

import math

import numpy as np


def ratio(a, b):
    return a / b if b else math.nan


def mean(values):
    values = [value for value in values if not math.isnan(value)]
    return sum(values) / len(values) if values else math.nan


def counts(pred, true):
    """(intersection, predicted, true) pixels of each class, of masks (C, P)."""
    return [
        (int((p & t).sum()), int(p.sum()), int(t.sum())) for p, t in zip(pred, true, strict=True)
    ]


def average_of(found, average):
    """A Dice score of a list of counts; NaN if no class is present."""
    scores = [ratio(2 * both, p + t) for both, p, t in found]
    if average == "macro":
        return mean(scores)
    if average == "micro":
        return ratio(2 * sum(f[0] for f in found), sum(f[1] + f[2] for f in found))
    if all(math.isnan(score) for score in scores):
        return math.nan
    weights = [t for *_, t in found]
    pairs = zip(scores, weights, strict=True)
    return sum(s * w for s, w in pairs if w) / (sum(weights) or 1)


def dice_by_definition(images, average, level):
    found = [counts(*image) for image in images]
    if level == "global":
        found = [[tuple(map(sum, zip(*each, strict=True))) for each in zip(*found, strict=True)]]
    if average is None:
        return [
            mean([ratio(2 * f[i][0], f[i][1] + f[i][2]) for f in found])
            for i in range(len(found[0]))
        ]
    return mean([average_of(each, average) for each in found])


def iou_by_definition(images, per_class):
    found = [[ratio(b, p + t - b) for b, p, t in counts(*image)] for image in images]
    if per_class:
        return [mean(each) for each in zip(*found, strict=True)]
    return mean([value for each in found for value in each])


def generalized_dice_of(found, weight_type):
    """A generalized Dice score of a list of counts; NaN if no class is present."""
    power = {"square": 2, "simple": 1, "linear": 0}[weight_type]
    weights = [t**-power if t else None for *_, t in found]
    largest = max((w for w in weights if w is not None), default=1)
    weights = [largest if w is None else w for w in weights]
    hits = sum(w * both for w, (both, _, _) in zip(weights, found, strict=True))
    return ratio(2 * hits, sum(w * (p + t) for w, (_, p, t) in zip(weights, found, strict=True)))


def generalized_dice_by_definition(images, weight_type, level):
    found = [counts(*image) for image in images]
    if level == "global":
        found = [[tuple(map(sum, zip(*each, strict=True))) for each in zip(*found, strict=True)]]
    return mean([generalized_dice_of(each, weight_type) for each in found])


def window_of(size, sigma):
    if sigma is None:
        return np.full(size, 1 / size)
    weights = np.exp(-(((np.arange(size) - (size - 1) / 2) / sigma) ** 2) / 2)
    return weights / weights.sum()


def smoothed(images, window, ndims):
    for axis in range(-ndims, 0):
        images = np.apply_along_axis(np.convolve, axis, images, window, "valid")
    return images


def multi_scale_ssim(y_pred, y, betas, window, k1=0.01, k2=0.03, ndims=2):
    """Wang, Simoncelli, Bovik 2003: images of shape (B, C, H, W) with the range 1."""
    c1, c2, product = k1**2, k2**2, np.ones(len(y))
    for scale, beta in enumerate(betas, start=1):
        mean_p, mean_y = smoothed(y_pred, window, ndims), smoothed(y, window, ndims)
        variance_p = smoothed(y_pred**2, window, ndims) - mean_p**2
        variance_y = smoothed(y**2, window, ndims) - mean_y**2
        covariance = smoothed(y_pred * y, window, ndims) - mean_p * mean_y
        of_pixels = (2 * covariance + c2) / (variance_p + variance_y + c2)
        if scale == len(betas):
            of_pixels = of_pixels * (2 * mean_p * mean_y + c1) / (mean_p**2 + mean_y**2 + c1)
        product *= np.maximum(of_pixels.reshape(len(y), -1).mean(axis=1), 0) ** beta
        y_pred, y = halved(y_pred, ndims), halved(y, ndims)
    return product.mean()


def halved(images, ndims):
    for axis in range(-ndims, 0):
        half = images.shape[axis] // 2
        even, odd = (images.take(range(i, 2 * half, 2), axis=axis) for i in (0, 1))
        images = (even + odd) / 2
    return images
