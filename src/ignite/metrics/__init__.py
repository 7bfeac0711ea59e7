"""What is measured: metrics attach to an engine and put their values into ``engine.state.metrics``.

Letters in shapes: B batch, C classes, L labels, N all samples so far, S sequence, H W image.
"""

from ignite.metrics.accumulation import Average, GeometricAverage, VariableAccumulation
from ignite.metrics.accuracy import Accuracy
from ignite.metrics.adapters import adapt
from ignite.metrics.average_precision import AveragePrecision
from ignite.metrics.balanced_accuracy import BalancedAccuracy
from ignite.metrics.best import Best
from ignite.metrics.bootstrap import Bootstrap
from ignite.metrics.calibration_error import CalibrationError
from ignite.metrics.classification_report import ClassificationReport
from ignite.metrics.cohen_kappa import CohenKappa
from ignite.metrics.confusion_matrix import (
    ConfusionMatrix,
    DiceCoefficient,
    IoU,
    JaccardIndex,
    cmAccuracy,
    cmPrecision,
    cmRecall,
    mIoU,
)
from ignite.metrics.epoch_metric import EpochMetric, EpochMetricWarning
from ignite.metrics.fbeta import Fbeta
from ignite.metrics.frequency import Frequency
from ignite.metrics.hamming_distance import HammingDistance
from ignite.metrics.loss import Loss
from ignite.metrics.matthews_corrcoef import MatthewsCorrCoef
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
from ignite.metrics.metric_group import MetricGroup
from ignite.metrics.metrics_lambda import MetricsLambda
from ignite.metrics.multilabel_confusion_matrix import MultiLabelConfusionMatrix
from ignite.metrics.precision import Precision
from ignite.metrics.precision_recall_curve import PrecisionRecallCurve
from ignite.metrics.recall import Recall
from ignite.metrics.roc_auc import ROC_AUC, RocCurve
from ignite.metrics.running_average import RunningAverage
from ignite.metrics.specificity import Specificity
from ignite.metrics.top_k_categorical_accuracy import TopKCategoricalAccuracy

__all__ = [
    "ROC_AUC",
    "Accuracy",
    "Average",
    "AveragePrecision",
    "BalancedAccuracy",
    "BatchFiltered",
    "BatchWise",
    "Best",
    "Bootstrap",
    "CalibrationError",
    "ClassificationReport",
    "CohenKappa",
    "ConfusionMatrix",
    "DiceCoefficient",
    "EpochMetric",
    "EpochMetricWarning",
    "EpochWise",
    "Fbeta",
    "Frequency",
    "GeometricAverage",
    "HammingDistance",
    "IoU",
    "JaccardIndex",
    "Loss",
    "MatthewsCorrCoef",
    "Metric",
    "MetricGroup",
    "MetricUsage",
    "MetricsLambda",
    "MultiLabelConfusionMatrix",
    "Precision",
    "PrecisionRecallCurve",
    "Recall",
    "RocCurve",
    "RunningAverage",
    "RunningBatchWise",
    "RunningEpochWise",
    "SingleEpochRunningBatchWise",
    "Specificity",
    "TopKCategoricalAccuracy",
    "VariableAccumulation",
    "adapt",
    "cmAccuracy",
    "cmPrecision",
    "cmRecall",
    "mIoU",
]
