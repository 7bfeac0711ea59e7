"""Metrics of texts: generated sentences, transcripts and language models."""

from ignite.metrics.nlp.bleu import Bleu
from ignite.metrics.nlp.character_error_rate import CharacterErrorRate
from ignite.metrics.nlp.perplexity import Perplexity
from ignite.metrics.nlp.rouge import Rouge, RougeL, RougeN
from ignite.metrics.nlp.word_error_rate import WordErrorRate

__all__ = [
    "Bleu",
    "CharacterErrorRate",
    "Perplexity",
    "Rouge",
    "RougeL",
    "RougeN",
    "WordErrorRate",
]
