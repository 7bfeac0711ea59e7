"""Statistics, the accumulated values from which metrics are computed.

Metrics that are attached to the same engine share equal statistics.
"""

from ignite.metrics.statistics._statistic import Reading, Statistic
from ignite.metrics.statistics.boxes import Boxes, KeptBoxes
from ignite.metrics.statistics.feature_moments import FeatureMoments
from ignite.metrics.statistics.labels import LabelCounts
from ignite.metrics.statistics.moments import Moments
from ignite.metrics.statistics.rankings import Rankings
from ignite.metrics.statistics.ranks import RankCounts
from ignite.metrics.statistics.samples import KeptSamples
from ignite.metrics.statistics.scores import ScoreCounts
from ignite.metrics.statistics.subgroups import SubgroupCounts
from ignite.metrics.statistics.totals import Totals

__all__ = [
    "Boxes",
    "FeatureMoments",
    "KeptBoxes",
    "KeptSamples",
    "LabelCounts",
    "Moments",
    "RankCounts",
    "Rankings",
    "Reading",
    "ScoreCounts",
    "Statistic",
    "SubgroupCounts",
    "Totals",
]
