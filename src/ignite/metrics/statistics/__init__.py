"""What is accumulated: each metric is a view on one or more of these, and metrics share those that are equal."""

from ignite.metrics.statistics._statistic import Reading, Statistic
from ignite.metrics.statistics.labels import LabelCounts
from ignite.metrics.statistics.moments import Moments
from ignite.metrics.statistics.ranks import RankCounts
from ignite.metrics.statistics.samples import KeptSamples
from ignite.metrics.statistics.scores import ScoreCounts
from ignite.metrics.statistics.totals import Totals

__all__ = [
    "KeptSamples",
    "LabelCounts",
    "Moments",
    "RankCounts",
    "Reading",
    "ScoreCounts",
    "Statistic",
    "Totals",
]
