"""Character error rate: the edit distance of texts, per character."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ignite.metrics._views import View
from ignite.metrics.nlp._reading import count_errors, error_rate, read_texts
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["CharacterErrorRate"]


class CharacterErrorRate(View):
    r"""Character error rate (CER) of predicted texts; 0 for equal texts.

    .. math:: \frac{\sum_i d(p_i, y_i)}{\sum_i |y_i|}

    where :math:`d` is the least number of characters to insert, delete or substitute to change one
    text into the other, and :math:`|y_i|` is the number of characters of the true text. It can be
    larger than 1. If there is no character in true texts, it is 0 if there is none in predicted
    texts either, else 1.

    Characters are code points: normalize texts first, for example with
    ``unicodedata.normalize``, if a letter with an accent may be one code point or two.

    Update with ``(y_pred, y)``:

    - ``y_pred``: a predicted text, or a list of B of them.
    - ``y``: the true text, or a list of B of them.

    Arguments are those of :class:`Metric`.

    Raises:
        TypeError: in ``update``, the output is not two strings or two lists of strings. The metric
            is unchanged.
        ValueError: in ``update``, the lists differ in length.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = CharacterErrorRate()
        >>> metric.update((["sitting", "cat"], ["kitten", "cat"]))
        >>> round(metric.compute(), 4)  # 3 errors in 6 + 3 characters
        0.3333

    References:
        Morris, Maier, Green, "From WER and RIL to MER and WIL: improved evaluation measures for
        connected speech recognition", 2004.
    """

    higher_is_better = False

    def _declare(self) -> list[Statistic]:
        return [Totals(_count_character_errors, num_values=2, device=self._accumulates_on)]

    def _value(self, *statistics: Any) -> float:
        return error_rate(statistics[0])

    def _read_output(self, output: Any) -> Any:
        return read_texts(output, type(self).__name__, takes_words=False)


def _count_character_errors(texts: tuple[Sequence[str], Sequence[str]]) -> tuple[int, int, int]:
    return count_errors(texts, str)
