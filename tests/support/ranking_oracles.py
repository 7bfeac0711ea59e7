"""Slow definitions of ranking metrics, one user after the other."""

import math


def ranked(scores, relevance):
    """The relevance of items by rank: higher scores first, and of equal scores lower relevance."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], relevance[i]))
    return [relevance[i] for i in order]


def hit_rate(relevances, k):
    return float(any(r > 0 for r in relevances[:k]))


def reciprocal_rank(relevances, k=None):
    for rank, r in enumerate(relevances[:k], start=1):
        if r > 0:
            return 1 / rank
    return 0.0


def recall(relevances, k):
    num_relevant = sum(r > 0 for r in relevances)
    return sum(r > 0 for r in relevances[:k]) / num_relevant if num_relevant else 0.0


def precision(relevances, k):
    return sum(r > 0 for r in relevances[:k]) / k


def ndcg(relevances, k, threshold=1.0, gain="exp_rank"):
    def discounted(values):
        gains = [2.0**r - 1 if gain == "exp_rank" else float(r) for r in values[:k]]
        return sum(g / math.log2(i + 2) for i, g in enumerate(gains))

    counted = [r if r >= threshold else 0.0 for r in relevances]
    ideal = discounted(sorted(counted, reverse=True))
    return discounted(counted) / ideal if ideal > 0 else 0.0


def mean_over_users(measure, scores, relevance, ignore_zero_hits, threshold=0.0):
    """The mean of ``measure(ranked relevances)``; None if no user counts."""
    values = [
        measure(ranked(s, r))
        for s, r in zip(scores, relevance, strict=True)
        if not ignore_zero_hits or any(x > 0 and x >= threshold for x in r)
    ]
    return sum(values) / len(values) if values else None
