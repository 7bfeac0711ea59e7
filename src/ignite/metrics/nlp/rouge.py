"""ROUGE: the overlap of generated and reference texts, in n-grams or common subsequences."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import torch

from ignite.metrics._outputs import identity
from ignite.metrics._saved_state import StatisticPart, number
from ignite.metrics._views import View
from ignite.metrics.nlp._reading import Sentences, is_order, read_sentences
from ignite.metrics.nlp.utils import lcs, num_matches
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["Rouge", "RougeL", "RougeN"]

Variant: TypeAlias = int | Literal["L"]


class Score(NamedTuple):
    """Counts of one candidate, compared with one reference, or with several together."""

    match: int
    """Common n-grams, or the length of the longest common subsequence."""
    candidate: int
    """N-grams or tokens of the candidate."""
    reference: int
    """N-grams or tokens of the reference."""

    def precision(self) -> float:
        """Returns the fraction of the candidate that matches; 0 if it is empty."""
        return self.match / self.candidate if self.candidate else 0.0

    def recall(self) -> float:
        """Returns the fraction of the reference that matches; 0 if it is empty."""
        return self.match / self.reference if self.reference else 0.0


def compute_ngram_scores(candidate: Sequence[Any], reference: Sequence[Any], n: int = 4) -> Score:
    """Returns the numbers of common n-grams, and of those of both sequences.

    Example:
        >>> compute_ngram_scores("the cat sat".split(), "a cat sat down".split(), n=2)
        Score(match=1, candidate=2, reference=3)
    """
    sizes = [max(len(sequence) - n + 1, 0) for sequence in (candidate, reference)]
    return Score(num_matches([reference], candidate, n) if all(sizes) else 0, *sizes)


def compute_lcs_scores(candidate: Sequence[Any], reference: Sequence[Any]) -> Score:
    """Returns the length of the longest common subsequence, and those of both sequences.

    Example:
        >>> compute_lcs_scores("the cat sat".split(), "the dog sat down".split())
        Score(match=2, candidate=3, reference=4)
    """
    return Score(lcs(candidate, reference), len(candidate), len(reference))


class MultiRefReducer(metaclass=ABCMeta):
    """Combines the scores of a candidate against several references into one."""

    @abstractmethod
    def __call__(self, scores: Sequence[Score]) -> Score:
        """Returns one score for all."""


class MultiRefAverageReducer(MultiRefReducer):
    """Adds up the counts of all references.

    Example:
        >>> MultiRefAverageReducer()([Score(1, 3, 2), Score(2, 3, 4)])
        Score(match=3, candidate=6, reference=6)
    """

    def __call__(self, scores: Sequence[Score]) -> Score:
        """Returns the sums of the counts."""
        return Score(*map(sum, zip(*scores, strict=True)))


class MultiRefBestReducer(MultiRefReducer):
    """Chooses the reference with the highest recall, the first one of several.

    Example:
        >>> MultiRefBestReducer()([Score(1, 3, 4), Score(1, 3, 2)])
        Score(match=1, candidate=3, reference=2)
    """

    def __call__(self, scores: Sequence[Score]) -> Score:
        """Returns the score with the highest recall."""
        return max(scores, key=Score.recall)


_REDUCERS: dict[str, MultiRefReducer] = {
    "average": MultiRefAverageReducer(),
    "best": MultiRefBestReducer(),
}


class Rouge(View):
    r"""ROUGE scores of generated texts: precision, recall and F-score of several variants.

    .. math:: P = \frac{m}{c}, \quad R = \frac{m}{r}, \quad F = \frac{P R}{(1 - \alpha) P + \alpha R}

    For ROUGE-n, :math:`c` and :math:`r` are the numbers of n-grams of the candidate and the
    reference, and :math:`m` is the number of common ones, each as often as it occurs in both. For
    ROUGE-L, they are the lengths of both and of their longest common subsequence. A quotient with
    denominator 0 is 0. The value maps "Rouge-{variant}-P", "-R" and "-F" to the means over
    candidates.

    Update with ``(y_pred, y)``:

    - ``y_pred``: candidates, a list of B lists of tokens (words or token ids).
    - ``y``: for each candidate, a list of its references, each a list of tokens. A reference may be
      empty, but a list of references may not.

    Args:
        variants: orders of n-grams, and "L". By default 1, 2, 4 and "L".
        multiref: with several references, "average" adds up the counts of all of them, and "best"
            chooses the one with the highest recall.
        alpha: weight of precision in the F-score, from 0 (the F-score is the recall) to 1; 0.5 is
            the F1 score.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to accumulate.

    Raises:
        ValueError: an argument is out of range. In ``update``, the number of candidates differs from
            that of lists of references, or a candidate has no reference. The metric is unchanged.
        TypeError: in ``update``, lists are not nested as above, or hold strings instead of lists.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = Rouge(variants=["L", 2], alpha=0.5)
        >>> candidate, reference = "the cat sat".split(), "the cat sat on the mat".split()
        >>> metric.update(([candidate], [[reference]]))
        >>> metric.compute()
        {'Rouge-L-P': 1.0, 'Rouge-L-R': 0.5, 'Rouge-L-F': 0.66...,
         'Rouge-2-P': 1.0, 'Rouge-2-R': 0.4, 'Rouge-2-F': 0.57...}

    References:
        Lin, "ROUGE: a package for automatic evaluation of summaries", 2004.
    """

    higher_is_better = True

    def __init__(
        self,
        variants: Sequence[str | int] | None = None,
        multiref: str = "average",
        alpha: float = 0,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
    ) -> None:
        variants = variants or (1, 2, 4, "L")
        self._variants = [_checked_variant(each) for each in dict.fromkeys(variants)]
        self._args: tuple[str, float] = _checked_arguments(multiref, alpha)
        super().__init__(output_transform, device)

    def _ignite_names(self) -> tuple[str, ...]:
        return ("internal_metrics",)

    def _to_ignite(self) -> dict[str, Any]:
        members = []
        statistics: list[Any] = self._statistics_in_use()
        for totals in statistics:
            sums = [each.item() for each in totals.values] or [0.0] * 3
            members.append(
                {**dict(zip(_SUMS, sums, strict=True)), "_num_examples": totals.num_examples}
            )
        return {"internal_metrics": members}

    def _take_from_ignite(self, state: Mapping[str, Any]) -> None:
        members = state["internal_metrics"]
        if len(members) != len(self._own):
            raise ValueError(f"it should be of {len(self._own)} variants, but given {len(members)}")
        for totals, member in zip(self._own, members, strict=True):
            sums = {f"total_{i}": torch.as_tensor(member[name]) for i, name in enumerate(_SUMS)}
            totals.take({"num_examples": member["_num_examples"], **sums})

    def _declare(self) -> list[Statistic]:
        return [_totals(each, *self._args, self._accumulates_on) for each in self._variants]

    def _value(self, *statistics: Any) -> dict[str, float]:
        means: dict[str, float] = {}
        for variant, totals in zip(self._variants, statistics, strict=True):
            means |= _means(variant, totals)
        return means

    def _read_output(self, output: Any) -> Any:
        return read_sentences(output, type(self).__name__)

    def _directions(self, name: str) -> dict[str, bool | None]:
        keys = (key for variant in self._variants for key in _keys(variant))
        return super()._directions(name) | dict.fromkeys(keys, self.higher_is_better)


class RougeN(View):
    r"""ROUGE-n scores of generated texts: precision, recall and F-score of their n-grams.

    One variant of :class:`Rouge`, which describes the values and what to update with.

    Args:
        ngram: order of the n-grams.
        multiref: "average" or "best"; see :class:`Rouge`.
        alpha: weight of precision in the F-score, from 0 to 1.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to accumulate.

    Raises:
        ValueError, TypeError, NotComputableError: as in :class:`Rouge`.

    Example:
        >>> metric = RougeN(ngram=2)
        >>> metric.update((["the cat sat".split()], [["the cat sat on the mat".split()]]))
        >>> metric.compute()
        {'Rouge-2-P': 1.0, 'Rouge-2-R': 0.4, 'Rouge-2-F': 0.4}
    """

    higher_is_better = True

    _recall = number("total_1")
    _precision = number("total_0")
    _fmeasure = number("total_2")
    _num_examples = StatisticPart("num_examples")

    def __init__(
        self,
        ngram: int = 4,
        multiref: str = "average",
        alpha: float = 0,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
    ) -> None:
        if not is_order(ngram):
            raise ValueError(f"ngram should be an integer of at least 1, but given {ngram!r}")
        self._ngram = int(ngram)
        self._args: tuple[str, float] = _checked_arguments(multiref, alpha)
        super().__init__(output_transform, device)

    def _declare(self) -> list[Statistic]:
        return [_totals(self._ngram, *self._args, self._accumulates_on)]

    def _value(self, *statistics: Any) -> dict[str, float]:
        return _means(self._ngram, statistics[0])

    def _read_output(self, output: Any) -> Any:
        return read_sentences(output, type(self).__name__)

    def _directions(self, name: str) -> dict[str, bool | None]:
        keys = _keys(self._ngram)
        return super()._directions(name) | dict.fromkeys(keys, self.higher_is_better)


class RougeL(View):
    r"""ROUGE-L scores of generated texts, from the longest common subsequences with references.

    One variant of :class:`Rouge`, which describes the values and what to update with.

    Args:
        multiref: "average" or "best"; see :class:`Rouge`.
        alpha: weight of precision in the F-score, from 0 to 1.
        output_transform: turns ``engine.state.output`` into ``(y_pred, y)``.
        device: device on which to accumulate.

    Raises:
        ValueError, TypeError, NotComputableError: as in :class:`Rouge`.

    Example:
        >>> metric = RougeL()
        >>> metric.update((["the mat sat".split()], [["the cat sat on the mat".split()]]))
        >>> metric.compute()
        {'Rouge-L-P': 0.66..., 'Rouge-L-R': 0.33..., 'Rouge-L-F': 0.33...}
    """

    higher_is_better = True

    _recall = number("total_1")
    _precision = number("total_0")
    _fmeasure = number("total_2")
    _num_examples = StatisticPart("num_examples")

    def __init__(
        self,
        multiref: str = "average",
        alpha: float = 0,
        output_transform: Callable[[Any], Any] = identity,
        device: str | torch.device | None = None,
    ) -> None:
        self._args: tuple[str, float] = _checked_arguments(multiref, alpha)
        super().__init__(output_transform, device)

    def _declare(self) -> list[Statistic]:
        return [_totals("L", *self._args, self._accumulates_on)]

    def _value(self, *statistics: Any) -> dict[str, float]:
        return _means("L", statistics[0])

    def _read_output(self, output: Any) -> Any:
        return read_sentences(output, type(self).__name__)

    def _directions(self, name: str) -> dict[str, bool | None]:
        return super()._directions(name) | dict.fromkeys(_keys("L"), self.higher_is_better)


def _checked_variant(variant: Any) -> Variant:
    if variant == "L":
        return "L"
    if not is_order(variant):
        raise ValueError(f"variants should be 'L' or integers of at least 1, but given {variant!r}")
    return int(variant)


def _checked_arguments(multiref: str, alpha: float) -> tuple[str, float]:
    if multiref not in _REDUCERS:
        raise ValueError(f"multiref should be one of {list(_REDUCERS)}, but given {multiref!r}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha should be from 0 to 1, but given {alpha!r}")
    return multiref, float(alpha)


def _totals(variant: Variant, multiref: str, alpha: float, device: torch.device | None) -> Totals:
    """Returns the statistic of a variant. Metrics with the same variant and arguments share it."""
    return Totals(_sum_scores, (variant, multiref, alpha), num_values=3, device=device)


def _sum_scores(
    sentences: Sentences, variant: Variant, multiref: str, alpha: float
) -> tuple[int, float, float, float]:
    """Returns the number of candidates, and the sums of precision, recall and F-score."""
    reduce = _REDUCERS[multiref]
    precisions = recalls = fs = 0.0
    for candidate, references in zip(*sentences, strict=True):
        scores = [
            compute_lcs_scores(candidate, reference)
            if variant == "L"
            else compute_ngram_scores(candidate, reference, variant)
            for reference in references
        ]
        score = scores[0] if len(scores) == 1 else reduce(scores)
        precision, recall = score.precision(), score.recall()
        weighted = (1 - alpha) * precision + alpha * recall
        precisions += precision
        recalls += recall
        fs += precision * recall / weighted if weighted else 0.0
    return len(sentences[0]), precisions, recalls, fs


_SUMS = ("_precision", "_recall", "_fmeasure")
"""Names of the sums in Ignite's states."""


def _means(variant: Variant, totals: Totals) -> dict[str, float]:
    means = (float(total) / totals.num_examples for total in totals.values)
    return dict(zip(_keys(variant), means, strict=True))


def _keys(variant: Variant) -> list[str]:
    return [f"Rouge-{variant}-{letter}" for letter in "PRF"]
