"""Metrics, which attach to an engine and store their values in ``engine.state.metrics``.

Letters in shapes: B batch, C classes, L labels, N all samples so far, S sequence, H W image.
"""

from typing import TYPE_CHECKING

from ignite._core.optional import names_when_used

if TYPE_CHECKING:
    from ignite.metrics import clustering, fairness, rec_sys, regression
    from ignite.metrics.accumulation import Average, GeometricAverage, VariableAccumulation
    from ignite.metrics.accuracy import Accuracy
    from ignite.metrics.adapters import adapt
    from ignite.metrics.aggregates import Max, Min, Sum
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
    from ignite.metrics.cosine_similarity import CosineSimilarity
    from ignite.metrics.entropy import Entropy
    from ignite.metrics.epoch_metric import EpochMetric, EpochMetricWarning
    from ignite.metrics.fbeta import Fbeta
    from ignite.metrics.frequency import Frequency
    from ignite.metrics.gan.fid import FID
    from ignite.metrics.gan.inception_score import InceptionScore
    from ignite.metrics.gpu_info import GpuInfo
    from ignite.metrics.hamming_distance import HammingDistance
    from ignite.metrics.hsic import HSIC
    from ignite.metrics.js_divergence import JSDivergence
    from ignite.metrics.kl_divergence import KLDivergence
    from ignite.metrics.loss import Loss
    from ignite.metrics.matthews_corrcoef import MatthewsCorrCoef
    from ignite.metrics.maximum_mean_discrepancy import MaximumMeanDiscrepancy
    from ignite.metrics.mean_absolute_error import MeanAbsoluteError
    from ignite.metrics.mean_average_precision import MeanAveragePrecision
    from ignite.metrics.mean_pairwise_distance import MeanPairwiseDistance
    from ignite.metrics.mean_squared_error import MeanSquaredError
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
    from ignite.metrics.multi_scale_ssim import MultiScaleSSIM
    from ignite.metrics.multilabel_confusion_matrix import MultiLabelConfusionMatrix
    from ignite.metrics.mutual_information import MutualInformation
    from ignite.metrics.nlp.bleu import Bleu
    from ignite.metrics.nlp.character_error_rate import CharacterErrorRate
    from ignite.metrics.nlp.perplexity import Perplexity
    from ignite.metrics.nlp.rouge import Rouge, RougeL, RougeN
    from ignite.metrics.nlp.word_error_rate import WordErrorRate
    from ignite.metrics.precision import Precision
    from ignite.metrics.precision_recall_curve import PrecisionRecallCurve
    from ignite.metrics.psnr import PSNR
    from ignite.metrics.rec_sys import NDCG, HitRate, MeanReciprocalRank, PrecisionAtK, RecallAtK
    from ignite.metrics.recall import Recall
    from ignite.metrics.roc_auc import ROC_AUC, RocCurve
    from ignite.metrics.root_mean_squared_error import RootMeanSquaredError
    from ignite.metrics.running_average import RunningAverage
    from ignite.metrics.specificity import Specificity
    from ignite.metrics.ssim import SSIM
    from ignite.metrics.top_k_categorical_accuracy import TopKCategoricalAccuracy
    from ignite.metrics.vision import (
        CommonObjectDetectionMetrics,
        DiceScore,
        GeneralizedDiceScore,
        MeanIoU,
        ObjectDetectionAvgPrecisionRecall,
        coco_tensor_list_to_dict_list,
    )

__all__ = [
    "FID",
    "HSIC",
    "NDCG",
    "PSNR",
    "ROC_AUC",
    "SSIM",
    "Accuracy",
    "Average",
    "AveragePrecision",
    "BalancedAccuracy",
    "BatchFiltered",
    "BatchWise",
    "Best",
    "Bleu",
    "Bootstrap",
    "CalibrationError",
    "CharacterErrorRate",
    "ClassificationReport",
    "CohenKappa",
    "CommonObjectDetectionMetrics",
    "ConfusionMatrix",
    "CosineSimilarity",
    "DiceCoefficient",
    "DiceScore",
    "Entropy",
    "EpochMetric",
    "EpochMetricWarning",
    "EpochWise",
    "Fbeta",
    "Frequency",
    "GeneralizedDiceScore",
    "GeometricAverage",
    "GpuInfo",
    "HammingDistance",
    "HitRate",
    "InceptionScore",
    "IoU",
    "JSDivergence",
    "JaccardIndex",
    "KLDivergence",
    "Loss",
    "MatthewsCorrCoef",
    "Max",
    "MaximumMeanDiscrepancy",
    "MeanAbsoluteError",
    "MeanAveragePrecision",
    "MeanIoU",
    "MeanPairwiseDistance",
    "MeanReciprocalRank",
    "MeanSquaredError",
    "Metric",
    "MetricGroup",
    "MetricUsage",
    "MetricsLambda",
    "Min",
    "MultiLabelConfusionMatrix",
    "MultiScaleSSIM",
    "MutualInformation",
    "ObjectDetectionAvgPrecisionRecall",
    "Perplexity",
    "Precision",
    "PrecisionAtK",
    "PrecisionRecallCurve",
    "Recall",
    "RecallAtK",
    "RocCurve",
    "RootMeanSquaredError",
    "Rouge",
    "RougeL",
    "RougeN",
    "RunningAverage",
    "RunningBatchWise",
    "RunningEpochWise",
    "SingleEpochRunningBatchWise",
    "Specificity",
    "Sum",
    "TopKCategoricalAccuracy",
    "VariableAccumulation",
    "WordErrorRate",
    "adapt",
    "clustering",
    "cmAccuracy",
    "cmPrecision",
    "cmRecall",
    "coco_tensor_list_to_dict_list",
    "fairness",
    "mIoU",
    "rec_sys",
    "regression",
]

__getattr__, __dir__ = names_when_used(__name__)
