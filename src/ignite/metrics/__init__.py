"""What is measured: metrics attach to an engine and put their values into ``engine.state.metrics``."""

from ignite.metrics.accumulation import Average, VariableAccumulation
from ignite.metrics.accuracy import Accuracy
from ignite.metrics.loss import Loss
from ignite.metrics.metric import (
    BatchFiltered,
    BatchWise,
    EpochWise,
    Metric,
    MetricUsage,
    RunningBatchWise,
    RunningEpochWise,
    SingleEpochRunningBatchWise,
)

__all__ = [
    "Accuracy",
    "Average",
    "BatchFiltered",
    "BatchWise",
    "EpochWise",
    "Loss",
    "Metric",
    "MetricUsage",
    "RunningBatchWise",
    "RunningEpochWise",
    "SingleEpochRunningBatchWise",
    "VariableAccumulation",
]
