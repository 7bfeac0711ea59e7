"""BLEU: the precision of the n-grams of generated sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ignite.metrics._outputs import identity
from ignite.metrics._views import View
from ignite.metrics.nlp._reading import Sentences, Tokens, is_order, read_sentences
from ignite.metrics.nlp.utils import modified_precision
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["Bleu"]

_SMOOTHINGS = ("no_smooth", "smooth1", "nltk_smooth2", "smooth2")


class Bleu(View):
    r"""BLEU score of generated sentences, from 0 to 1.

    .. math:: \min\bigl(1, e^{1 - r/c}\bigr) \Bigl( \prod_{n=1}^{N} \frac{m_n}{t_n} \Bigr)^{1/N}

    where :math:`t_n` is the number of n-grams of the candidate and :math:`m_n` the number of those
    that match: each at most as often as it occurs in one reference. :math:`c` is the number of
    tokens of the candidate, :math:`r` that of the reference closest in length (for ties, the shorter
    one). Without a matching token, the score is 0 for any smoothing.

    With ``average="macro"`` the value is the mean of the scores of sentences, a tensor; with
    "micro" it is the score of the corpus, a number, for which all four counts are summed over
    sentences.

    Update with ``(y_pred, y)``:

    - ``y_pred``: candidates, a list of B lists of tokens (words or token ids).
    - ``y``: for each candidate, a list of its references, each a list of tokens. A reference may be
      empty, but a list of references may not.

    Args:
        ngram: largest order :math:`N` of n-grams, which all have the same weight.
        smooth: smoothing if no n-gram of an order matches, in which case the score would be 0.
            "smooth1" replaces :math:`m_n = 0` with 0.1. "smooth2" adds 1 to :math:`m_n` and
            :math:`t_n` of orders above 1. "nltk_smooth2" is the same, but first replaces
            :math:`t_n = 0` of a candidate with fewer than n tokens with 1. "no_smooth" disables it.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to accumulate.
        average: "macro" or "micro".

    Raises:
        ValueError: an argument is out of range. In ``update``, the number of candidates differs from
            that of lists of references, or a candidate has no reference. The metric is unchanged.
        TypeError: in ``update``, lists are not nested as above, or hold strings instead of lists.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = Bleu(ngram=2, average="micro")
        >>> candidate, reference = "the cat sat on it".split(), "the cat sat on the mat".split()
        >>> metric.update(([candidate], [[reference]]))
        >>> round(metric.compute(), 4)  # exp(1 - 6/5) * sqrt(4/5 * 3/4)
        0.6342

    References:
        Papineni et al., "BLEU: a method for automatic evaluation of machine translation", 2002.
        Chen and Cherry, "A systematic comparison of smoothing techniques for sentence-level BLEU",
        2014 (smoothing). Lin and Och, "ORANGE: a method for evaluating automatic evaluation metrics
        for machine translation", 2004 ("smooth2").
    """

    higher_is_better = True

    def __init__(
        self,
        ngram: int = 4,
        smooth: str = "no_smooth",
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
        average: str = "macro",
    ) -> None:
        if not is_order(ngram):
            raise ValueError(f"ngram should be an integer of at least 1, but given {ngram!r}")
        if smooth not in _SMOOTHINGS:
            raise ValueError(f"smooth should be one of {list(_SMOOTHINGS)}, but given {smooth!r}")
        if average not in ("macro", "micro"):
            raise ValueError(f"average should be 'macro' or 'micro', but given {average!r}")
        self.ngrams_order = int(ngram)
        self.weights = [1 / self.ngrams_order] * self.ngrams_order
        self.smooth = smooth
        self.average = average
        super().__init__(output_transform, device)

    def _ignite_names(self) -> tuple[str, ...]:
        return _OF_SENTENCES if self.average == "macro" else _OF_CORPUS

    def _to_ignite(self) -> dict[str, Any]:
        totals: Any = self._statistics_in_use()[0]
        n = self.ngrams_order
        dtype, device = self._double_dtype, self._device
        if self.average == "macro":
            total = (
                totals.values[0] if totals.values else torch.zeros((), dtype=dtype, device=device)
            )
            return {"_sum_of_bleu": total, "_num_sentences": totals.num_examples}
        counts = totals.values[0].tolist() if totals.values else [0] * (2 * n + 2)
        orders = (
            torch.tensor([0, *part], dtype=dtype, device=device)
            for part in (counts[:n], counts[n:-2])
        )
        return dict(zip(_OF_CORPUS, (*orders, *counts[-2:]), strict=True))

    def _take_from_ignite(self, state: Mapping[str, Any]) -> None:
        if self.average == "macro":
            num_examples, total = state["_num_sentences"], torch.as_tensor(state["_sum_of_bleu"])
        else:
            matches, totals, *lengths = (state[name] for name in _OF_CORPUS)
            num_examples = int(any(lengths))  # only whether there are examples matters
            total = torch.cat((matches[1:], totals[1:], matches.new_tensor(lengths))).long()
        self._own_statistic().take({"num_examples": num_examples, "total_0": total})

    def _declare(self) -> list[Statistic]:
        if self.average == "macro":
            args = (self.ngrams_order, self.smooth)
            return [Totals(_sum_sentence_scores, args, device=self._accumulates_on)]
        return [Totals(_sum_counts, (self.ngrams_order,), device=self._accumulates_on)]

    def _value(self, *statistics: Any) -> Tensor | float:
        totals: Totals = statistics[0]
        if self.average == "macro":
            return torch.tensor(totals.mean, dtype=self._double_dtype)
        return _score(totals.values[0].tolist(), self.smooth)

    def _read_output(self, output: Any) -> Any:
        return read_sentences(output, type(self).__name__)


_OF_SENTENCES = ("_sum_of_bleu", "_num_sentences")
_OF_CORPUS = ("p_numerators", "p_denominators", "hyp_length_sum", "ref_length_sum")
"""Names in Ignite's states. Of the tensors, item n is the number of n-grams."""


def _sum_sentence_scores(sentences: Sentences, max_n: int, smooth: str) -> tuple[int, float]:
    """Returns the number of candidates and the sum of their scores."""
    scores = (_score(_counts(*each, max_n), smooth) for each in zip(*sentences, strict=True))
    return len(sentences[0]), math.fsum(scores)


def _sum_counts(sentences: Sentences, max_n: int) -> tuple[int, Tensor]:
    """Returns the number of candidates and the sums of :func:`_counts` over them."""
    rows = [_counts(*each, max_n) for each in zip(*sentences, strict=True)]
    sums = [sum(column) for column in zip(*rows, strict=True)] or [0] * (2 * max_n + 2)
    return len(rows), torch.tensor(sums)


def _counts(candidate: Tokens, references: Sequence[Tokens], max_n: int) -> list[int]:
    """Returns the numbers of matched and of all n-grams for each order, and two lengths.

    These are the length of the candidate, and that of the reference closest in length.
    """
    length = len(candidate)
    matches, totals = [0] * max_n, [max(length - n, 0) for n in range(max_n)]
    for n in range(1, min(max_n, length) + 1):
        matches[n - 1] = modified_precision(references, candidate, n)[0]
        if not matches[n - 1]:  # then no longer one matches either
            break
    closest = min(map(len, references), key=lambda other: (abs(other - length), other))
    return [*matches, *totals, length, closest]


def _score(counts: Sequence[int], smooth: str) -> float:
    """Returns BLEU, from the counts of a sentence or of a corpus."""
    *pairs, candidate_length, reference_length = counts
    max_n = len(pairs) // 2
    matches, totals = pairs[:max_n], pairs[max_n:]
    if not matches[0]:
        return 0.0
    precisions = list(map(_SMOOTHED[smooth], range(max_n), matches, totals))
    if not all(precisions):
        return 0.0
    mean = math.exp(math.fsum(map(math.log, precisions)) / max_n)
    if candidate_length >= reference_length:
        return mean
    return mean * math.exp(1 - reference_length / candidate_length)


_SMOOTHED: dict[str, Callable[[int, int, int], float]] = {
    "no_smooth": lambda i, num_matches, total: num_matches / max(total, 1),
    "smooth1": lambda i, num_matches, total: (num_matches or 0.1) / max(total, 1),
    "nltk_smooth2": lambda i, num_matches, total: (
        (num_matches + (i > 0)) / (max(total, 1) + (i > 0))
    ),
    "smooth2": lambda i, num_matches, total: (num_matches + (i > 0)) / (total + (i > 0)),
}
"""smoothing -> ``precision(i, num_matches, total)`` of n-grams of order i + 1."""
