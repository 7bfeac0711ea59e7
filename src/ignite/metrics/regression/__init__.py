"""Metrics for regression."""

from typing import TYPE_CHECKING

from ignite._core.optional import names_when_used

if TYPE_CHECKING:
    from ignite.metrics.regression.canberra_metric import CanberraMetric
    from ignite.metrics.regression.concordance_corrcoef import ConcordanceCorrCoef
    from ignite.metrics.regression.explained_variance import ExplainedVariance
    from ignite.metrics.regression.fractional_absolute_error import FractionalAbsoluteError
    from ignite.metrics.regression.fractional_bias import FractionalBias
    from ignite.metrics.regression.geometric_mean_absolute_error import GeometricMeanAbsoluteError
    from ignite.metrics.regression.geometric_mean_relative_absolute_error import (
        GeometricMeanRelativeAbsoluteError,
    )
    from ignite.metrics.regression.kendall_correlation import KendallRankCorrelation
    from ignite.metrics.regression.log_cosh_error import LogCoshError
    from ignite.metrics.regression.manhattan_distance import ManhattanDistance
    from ignite.metrics.regression.maximum_absolute_error import MaximumAbsoluteError
    from ignite.metrics.regression.mean_absolute_percentage_error import MeanAbsolutePercentageError
    from ignite.metrics.regression.mean_absolute_relative_error import MeanAbsoluteRelativeError
    from ignite.metrics.regression.mean_error import MeanError
    from ignite.metrics.regression.mean_normalized_bias import MeanNormalizedBias
    from ignite.metrics.regression.mean_squared_log_error import MeanSquaredLogError
    from ignite.metrics.regression.median_absolute_error import (
        MedianAbsoluteError,
        median_absolute_error_compute_fn,
    )
    from ignite.metrics.regression.median_absolute_percentage_error import (
        MedianAbsolutePercentageError,
        median_absolute_percentage_error_compute_fn,
    )
    from ignite.metrics.regression.median_relative_absolute_error import (
        MedianRelativeAbsoluteError,
        median_relative_absolute_error_compute_fn,
    )
    from ignite.metrics.regression.pearson_correlation import PearsonCorrelation
    from ignite.metrics.regression.r2_score import R2Score
    from ignite.metrics.regression.spearman_correlation import SpearmanRankCorrelation
    from ignite.metrics.regression.symmetric_mean_absolute_percentage_error import (
        SymmetricMeanAbsolutePercentageError,
    )
    from ignite.metrics.regression.wave_hedges_distance import WaveHedgesDistance

__all__ = [
    "CanberraMetric",
    "ConcordanceCorrCoef",
    "ExplainedVariance",
    "FractionalAbsoluteError",
    "FractionalBias",
    "GeometricMeanAbsoluteError",
    "GeometricMeanRelativeAbsoluteError",
    "KendallRankCorrelation",
    "LogCoshError",
    "ManhattanDistance",
    "MaximumAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanAbsoluteRelativeError",
    "MeanError",
    "MeanNormalizedBias",
    "MeanSquaredLogError",
    "MedianAbsoluteError",
    "MedianAbsolutePercentageError",
    "MedianRelativeAbsoluteError",
    "PearsonCorrelation",
    "R2Score",
    "SpearmanRankCorrelation",
    "SymmetricMeanAbsolutePercentageError",
    "WaveHedgesDistance",
    "median_absolute_error_compute_fn",
    "median_absolute_percentage_error_compute_fn",
    "median_relative_absolute_error_compute_fn",
]

__getattr__, __dir__ = names_when_used(__name__)
