"""Word error rate: the edit distance of texts in words, per word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ignite.metrics._views import View
from ignite.metrics.nlp._reading import count_errors, error_rate, read_texts
from ignite.metrics.statistics import Statistic, Totals

__all__ = ["WordErrorRate"]


class WordErrorRate(View):
    r"""Word error rate (WER) of predicted texts; 0 for equal texts.

    .. math:: \frac{\sum_i d(p_i, y_i)}{\sum_i |y_i|}

    where :math:`d` is the least number of words to insert, delete or substitute to change one text
    into the other, and :math:`|y_i|` is the number of words of the true text. It can be larger than
    1. If there is no word in true texts, it is 0 if there is none in predicted texts either, else
    1.

    Words are separated by white space. Case and punctuation count; to ignore them, normalize texts
    first.

    Update with ``(y_pred, y)``:

    - ``y_pred``: a predicted text, or a list of B of them. In a list, each text is a string or a
      list of words.
    - ``y``: the true text, or a list of B of them, in the same form.

    Arguments are those of :class:`Metric`.

    Raises:
        TypeError: in ``update``, the output is not two strings or two lists of texts. The metric is
            unchanged.
        ValueError: in ``update``, the lists differ in length.
        NotComputableError: in ``compute``, the metric has not been updated.

    Example:
        >>> metric = WordErrorRate()
        >>> metric.update((["the cat sat", "hello"], ["the cat sat down", "hallo"]))
        >>> metric.compute()  # 2 errors in 5 words
        0.4

    References:
        Morris, Maier, Green, "From WER and RIL to MER and WIL: improved evaluation measures for
        connected speech recognition", 2004.
    """

    higher_is_better = False

    def _declare(self) -> list[Statistic]:
        return [Totals(_count_word_errors, num_values=2, device=self._accumulates_on)]

    def _value(self, *statistics: Any) -> float:
        return error_rate(statistics[0])

    def _read_output(self, output: Any) -> Any:
        return read_texts(output, type(self).__name__, takes_words=True)


def _count_word_errors(texts: tuple[Sequence[Any], Sequence[Any]]) -> tuple[int, int, int]:
    return count_errors(texts, _words)


def _words(text: str | Sequence[Any]) -> Sequence[Any]:
    return text.split() if isinstance(text, str) else list(text)
