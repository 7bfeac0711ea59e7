"""The names and signatures of Ignite 0.5.5 that exist so far, according to its specification."""

import importlib
import inspect

import pytest

NAMES = {
    "ignite.engine": "State create_supervised_trainer create_supervised_evaluator Engine DeterministicEngine Events "
    "EventsList EventEnum CallableEventWithFilter RemovableEventHandle supervised_training_step "
    "supervised_training_step_amp supervised_training_step_apex supervised_training_step_tpu "
    "supervised_evaluation_step supervised_evaluation_step_amp _prepare_batch _check_arg",
    "ignite.engine.engine": "Engine",
    "ignite.engine.events": "CallableEventWithFilter EventEnum Events State EventsList RemovableEventHandle",
    "ignite.engine.deterministic": "update_dataloader keep_random_state ReproducibleBatchSampler DeterministicEngine",
    "ignite.base": "Serializable ResettableHandler",
    "ignite.base.mixins": "Serializable ResettableHandler",
    "ignite.exceptions": "NotComputableError",
    "ignite.utils": "convert_tensor apply_to_tensor apply_to_type to_onehot setup_logger manual_seed hash_checkpoint "
    "deprecated _to_str_list _tree_map _tree_apply2 _CollectionItem",
    "ignite._utils": "apply_to_tensor apply_to_type convert_tensor to_onehot",
    "ignite.contrib.engines": "Tbptt_Events create_supervised_tbptt_trainer",
    "ignite.contrib.engines.tbptt": "Tbptt_Events create_supervised_tbptt_trainer",
    "ignite.metrics": "Metric Accuracy Loss Average VariableAccumulation MetricUsage EpochWise BatchWise BatchFiltered "
    "GeometricAverage MetricsLambda MetricGroup EpochMetric EpochMetricWarning RunningAverage Frequency GpuInfo "
    "Precision Recall Fbeta ConfusionMatrix IoU mIoU DiceCoefficient JaccardIndex cmAccuracy cmPrecision cmRecall "
    "MultiLabelConfusionMatrix ClassificationReport CohenKappa MatthewsCorrCoef ROC_AUC RocCurve AveragePrecision "
    "PrecisionRecallCurve TopKCategoricalAccuracy MeanAbsoluteError MeanSquaredError RootMeanSquaredError "
    "MeanPairwiseDistance CosineSimilarity Entropy MutualInformation KLDivergence JSDivergence HSIC "
    "MaximumMeanDiscrepancy PSNR SSIM FID InceptionScore regression clustering MeanAveragePrecision "
    "ObjectDetectionAvgPrecisionRecall CommonObjectDetectionMetrics coco_tensor_list_to_dict_list "
    "Bleu CharacterErrorRate Rouge RougeN RougeL Perplexity rec_sys HitRate NDCG fairness",
    "ignite.metrics.metric": "Metric sync_all_reduce reinit__is_reduced RunningEpochWise RunningBatchWise "
    "SingleEpochRunningBatchWise EpochWise BatchWise BatchFiltered MetricUsage",
    "ignite.metrics.accumulation": "Average GeometricAverage VariableAccumulation",
    "ignite.metrics.accuracy": "Accuracy _BaseClassification",
    "ignite.metrics.average_precision": "AveragePrecision average_precision_compute_fn",
    "ignite.metrics.classification_report": "ClassificationReport",
    "ignite.metrics.clustering": "CalinskiHarabaszScore DaviesBouldinScore SilhouetteScore",
    "ignite.metrics.clustering._base": "_ClusteringMetricBase",
    "ignite.metrics.clustering.calinski_harabasz_score": "CalinskiHarabaszScore _calinski_harabasz_score",
    "ignite.metrics.clustering.davies_bouldin_score": "DaviesBouldinScore _davies_bouldin_score",
    "ignite.metrics.clustering.silhouette_score": "SilhouetteScore",
    "ignite.metrics.cohen_kappa": "CohenKappa",
    "ignite.metrics.confusion_matrix": "ConfusionMatrix DiceCoefficient IoU JaccardIndex cmAccuracy cmPrecision "
    "cmRecall mIoU",
    "ignite.metrics.epoch_metric": "EpochMetric EpochMetricWarning",
    "ignite.metrics.gan": "FID InceptionScore",
    "ignite.metrics.gan.fid": "FID fid_score",
    "ignite.metrics.gan.inception_score": "InceptionScore",
    "ignite.metrics.gan.utils": "InceptionModel _BaseInceptionMetric",
    "ignite.metrics.matthews_corrcoef": "MatthewsCorrCoef matthews_corrcoef_compute_fn",
    "ignite.metrics.mean_average_precision": "MeanAveragePrecision",
    "ignite.metrics.metrics_lambda": "MetricsLambda",
    "ignite.metrics.nlp": "Bleu CharacterErrorRate Perplexity Rouge RougeN RougeL",
    "ignite.metrics.nlp.bleu": "Bleu",
    "ignite.metrics.nlp.character_error_rate": "CharacterErrorRate",
    "ignite.metrics.nlp.perplexity": "Perplexity",
    "ignite.metrics.nlp.rouge": "Rouge RougeN RougeL MultiRefAverageReducer MultiRefBestReducer MultiRefReducer Score "
    "compute_lcs_scores compute_ngram_scores",
    "ignite.metrics.nlp.utils": "ngrams lcs modified_precision",
    "ignite.metrics.precision_recall_curve": "PrecisionRecallCurve precision_recall_curve_compute_fn",
    "ignite.metrics.fairness": "DemographicParityDifference SelectionRate SubgroupAccuracyDifference "
    "SubgroupDifference SubgroupMetric",
    "ignite.metrics.fairness.accuracy_difference": "SubgroupAccuracyDifference",
    "ignite.metrics.fairness.base": "SubgroupDifference SubgroupMetric",
    "ignite.metrics.fairness.demographic_parity": "DemographicParityDifference SelectionRate",
    "ignite.metrics.rec_sys": "HitRate NDCG",
    "ignite.metrics.rec_sys.hitrate": "HitRate",
    "ignite.metrics.rec_sys.ndcg": "NDCG",
    "ignite.metrics.regression": "CanberraMetric FractionalAbsoluteError FractionalBias GeometricMeanAbsoluteError "
    "GeometricMeanRelativeAbsoluteError KendallRankCorrelation ManhattanDistance MaximumAbsoluteError "
    "MeanAbsoluteRelativeError MeanError MeanNormalizedBias MedianAbsoluteError MedianAbsolutePercentageError "
    "MedianRelativeAbsoluteError PearsonCorrelation R2Score SpearmanRankCorrelation WaveHedgesDistance",
    "ignite.metrics.regression.median_absolute_error": "MedianAbsoluteError median_absolute_error_compute_fn",
    "ignite.metrics.regression.median_absolute_percentage_error": "median_absolute_percentage_error_compute_fn",
    "ignite.metrics.regression.median_relative_absolute_error": "median_relative_absolute_error_compute_fn",
    "ignite.metrics.roc_auc": "ROC_AUC RocCurve roc_auc_compute_fn roc_auc_curve_compute_fn",
    "ignite.metrics.running_average": "RunningAverage",
    "ignite.metrics.vision": "ObjectDetectionAvgPrecisionRecall",
    "ignite.metrics.vision.object_detection_average_precision_recall": "CommonObjectDetectionMetrics "
    "ObjectDetectionAvgPrecisionRecall coco_tensor_list_to_dict_list",
    "ignite.handlers": "ModelCheckpoint Checkpoint DiskSaver Timer EarlyStopping TerminateOnNan "
    "global_step_from_engine TimeLimit EpochOutputStore ConcatScheduler CosineAnnealingScheduler "
    "LinearCyclicalScheduler LRScheduler "
    "ParamGroupScheduler ParamScheduler PiecewiseLinear CyclicalScheduler create_lr_scheduler_with_warmup EMAHandler "
    "BasicTimeProfiler HandlersTimeProfiler BaseParamScheduler BatchSizeScheduler StateParamScheduler "
    "LambdaStateScheduler PiecewiseLinearStateScheduler ExpStateScheduler StepStateScheduler MultiStepStateScheduler "
    "ReduceLROnPlateauScheduler FastaiLRFinder MLflowLogger ProgressBar TensorboardLogger",
    "ignite.handlers.base_logger": "BaseHandler BaseLogger BaseOptimizerParamsHandler BaseOutputHandler "
    "BaseWeightsHandler BaseWeightsScalarHandler",
    "ignite.handlers.ema_handler": "EMAHandler EMAWarmUp",
    "ignite.handlers.clearml_logger": "ClearMLLogger ClearMLSaver OptimizerParamsHandler OutputHandler "
    "WeightsScalarHandler WeightsHistHandler GradsScalarHandler GradsHistHandler global_step_from_engine",
    "ignite.handlers.logger_utils": "setup_tb_logging setup_visdom_logging setup_mlflow_logging "
    "setup_neptune_logging setup_wandb_logging setup_plx_logging setup_clearml_logging setup_trains_logging",
    "ignite.handlers.neptune_logger": "NeptuneLogger NeptuneSaver OptimizerParamsHandler OutputHandler "
    "WeightsScalarHandler GradsScalarHandler global_step_from_engine",
    "ignite.handlers.polyaxon_logger": "PolyaxonLogger OutputHandler OptimizerParamsHandler global_step_from_engine",
    "ignite.handlers.visdom_logger": "VisdomLogger OptimizerParamsHandler OutputHandler WeightsScalarHandler "
    "GradsScalarHandler global_step_from_engine",
    "ignite.handlers.wandb_logger": "WandBLogger OutputHandler OptimizerParamsHandler global_step_from_engine",
    "ignite.handlers.mlflow_logger": "MLflowLogger OutputHandler OptimizerParamsHandler global_step_from_engine",
    "ignite.handlers.stores": "EpochOutputStore",
    "ignite.handlers.tensorboard_logger": "TensorboardLogger OptimizerParamsHandler OutputHandler WeightsScalarHandler "
    "WeightsHistHandler GradsScalarHandler GradsHistHandler global_step_from_engine",
    "ignite.handlers.time_profilers": "BasicTimeProfiler HandlersTimeProfiler",
    "ignite.handlers.timing": "Timer",
    "ignite.handlers.tqdm_logger": "ProgressBar",
    "ignite.contrib.engines.common": "add_early_stopping_by_val_score empty_cuda_cache "
    "gen_save_best_models_by_val_score save_best_model_by_val_score setup_any_logging "
    "setup_common_distrib_training_handlers setup_common_training_handlers get_default_score_fn setup_tb_logging "
    "setup_mlflow_logging",
    "ignite.handlers.checkpoint": "Checkpoint DiskSaver ModelCheckpoint BaseSaveHandler CheckpointEvents Item",
    "ignite.handlers.utils": "global_step_from_engine",
    "ignite.distributed": "backend device get_rank get_world_size get_local_rank get_nnodes get_node_rank "
    "get_nproc_per_node hostname model_name available_backends all_reduce all_gather broadcast barrier one_rank_only "
    "one_rank_first initialize finalize show_config set_local_rank sync has_native_dist_support has_xla_support "
    "has_hvd_support spawn new_group all_gather_tensors_with_shapes",
}
STEP = "model optimizer loss_fn device=None non_blocking=False prepare_batch=* model_transform=* output_transform=*"
SIGNATURES = {
    "Engine": "process_function",
    "Engine.run": "self data=None max_epochs=None max_iters=None epoch_length=None",
    "Engine.terminate": "self skip_completed=False",
    "Engine.terminate_epoch": "self skip_epoch_completed=False",
    "Engine.interrupt": "self",
    "Engine.set_data": "self data",
    "Engine.fire_event": "self event_name",
    "Engine.on": "self event_name *args **kwargs",
    "Engine.add_event_handler": "self event_name handler *args **kwargs",
    "Engine.has_event_handler": "self handler event_name=None",
    "Engine.remove_event_handler": "self handler event_name",
    "Engine.register_events": "self *event_names event_to_attr=None",
    "Engine.has_registered_events": "self event",
    "Engine.load_state_dict": "self state_dict",
    "CallableEventWithFilter": "value event_filter=None name=None",
    "CallableEventWithFilter.__call__": "self event_filter=None every=None once=None before=None after=None",
    "RemovableEventHandle": "event_name handler engine",
    "State.get_event_attrib_value": "self event_name",
    "deterministic.ReproducibleBatchSampler": "batch_sampler start_iteration=None",
    "deterministic.update_dataloader": "dataloader new_batch_sampler",
    "deterministic.keep_random_state": "func",
    "supervised_training_step": f"{STEP} gradient_accumulation_steps=1 model_fn=*",
    "supervised_training_step_amp": f"{STEP} scaler=None gradient_accumulation_steps=1 model_fn=*",
    "supervised_training_step_apex": f"{STEP} gradient_accumulation_steps=1 model_fn=*",
    "supervised_training_step_tpu": f"{STEP} gradient_accumulation_steps=1 model_fn=*",
    "create_supervised_trainer": f"{STEP} deterministic=False amp_mode=None scaler=False gradient_accumulation_steps=1 "
    "model_fn=*",
    "supervised_evaluation_step": "model device=None non_blocking=False prepare_batch=* model_transform=* "
    "output_transform=* model_fn=*",
    "supervised_evaluation_step_amp": "model device=None non_blocking=False prepare_batch=* model_transform=* "
    "output_transform=* model_fn=*",
    "create_supervised_evaluator": "model metrics=None device=None non_blocking=False prepare_batch=* "
    "model_transform=* output_transform=* amp_mode=None model_fn=*",
    "_prepare_batch": "batch device=None non_blocking=False",
}
TRANSFORM, DEVICE = "output_transform=*", "device=None skip_unrolling=False"
PLAIN = f"{TRANSFORM} {DEVICE}"
LABELS = f"{TRANSFORM} is_multilabel=False {DEVICE}"
AVERAGED = f"{TRANSFORM} average=False is_multilabel=False {DEVICE}"
CURVE = f"{TRANSFORM} check_compute_fn=False {DEVICE}"
# Ignite's, but for the device: None means where outputs are, see docs/compatibility.md.
METRIC_SIGNATURES = {
    "Metric": f"{PLAIN} metrics_result_mode='both'",
    "Accuracy": LABELS,
    "Average": PLAIN,
    "AveragePrecision": CURVE,
    "ClassificationReport": f"beta=1 output_dict=False {TRANSFORM} device=None is_multilabel=False labels=None "
    "metrics_result_mode='both'",
    "Bleu": f"ngram=4 smooth='no_smooth' {TRANSFORM} device=None average='macro'",
    "CharacterErrorRate": f"{PLAIN} metrics_result_mode='both'",
    "CohenKappa": f"{TRANSFORM} weights=None check_compute_fn=False {DEVICE} num_classes=None",
    "CommonObjectDetectionMetrics": f"num_classes=80 {TRANSFORM} device=None skip_unrolling=True",
    "ConfusionMatrix": f"num_classes average=None {TRANSFORM} device=None skip_unrolling=True",
    "CosineSimilarity": f"eps=1e-08 {PLAIN}",
    "EpochMetric": f"compute_fn {TRANSFORM} check_compute_fn=True {DEVICE}",
    "FID": f"num_features=None feature_extractor=None {TRANSFORM} device=None",
    "Fbeta": "beta average=True precision=None recall=None output_transform=None device=None",
    "Frequency": PLAIN,
    "Frequency.attach": "self engine name event_name=*",
    "GeometricAverage": PLAIN,
    "HitRate": f"top_k=1 ignore_zero_hits=True {PLAIN}",
    "HSIC": f"sigma_x=-1 sigma_y=-1 ignore_invalid_batch=True {PLAIN}",
    "InceptionScore": f"num_features=None feature_extractor=None {TRANSFORM} device=None",
    "IoU": "cm ignore_index=None",
    "Loss": f"loss_fn {TRANSFORM} batch_size=* {DEVICE}",
    "MatthewsCorrCoef": CURVE,
    "MaximumMeanDiscrepancy": f"var=1.0 {PLAIN}",
    "MeanAbsoluteError": f"{PLAIN} metrics_result_mode='both'",
    "MeanAveragePrecision": f"rec_thresholds=None class_mean='macro' is_multilabel=False {PLAIN}",
    "MeanPairwiseDistance": f"p=2 eps=1e-06 {PLAIN}",
    "MetricGroup": f"metrics {TRANSFORM} skip_unrolling=False",
    "MultiLabelConfusionMatrix": f"num_classes {TRANSFORM} device=None normalized=False skip_unrolling=False",
    "ObjectDetectionAvgPrecisionRecall": "iou_thresholds=None rec_thresholds=None num_classes=80 "
    f"max_detections_per_image_per_class=100 area_range='all' {PLAIN}",
    "NDCG": f"top_k ignore_zero_hits=True relevance_threshold=1.0 gain_function='exp_rank' {PLAIN}",
    "PSNR": f"data_range {PLAIN}",
    "Precision": AVERAGED,
    "Perplexity": f"{TRANSFORM} device=None ignore_index=-100",
    "PrecisionRecallCurve": CURVE,
    "ROC_AUC": CURVE,
    "Recall": AVERAGED,
    "RocCurve": CURVE,
    "Rouge": f"variants=None multiref='average' alpha=0 {TRANSFORM} device=None",
    "RougeL": f"multiref='average' alpha=0 {TRANSFORM} device=None",
    "RougeN": f"ngram=4 multiref='average' alpha=0 {TRANSFORM} device=None",
    "RunningAverage": "src=None alpha=0.98 output_transform=None epoch_bound=None device=None skip_unrolling=False",
    "SSIM": f"data_range kernel_size=11 sigma=1.5 k1=0.01 k2=0.03 gaussian=True {PLAIN} ndims=2",
    "TopKCategoricalAccuracy": f"k=5 {PLAIN}",
    "VariableAccumulation": f"op {PLAIN}",
    "clustering.CalinskiHarabaszScore": f"{TRANSFORM} check_compute_fn=True {DEVICE}",
    "clustering.DaviesBouldinScore": f"{TRANSFORM} check_compute_fn=True {DEVICE}",
    "clustering.SilhouetteScore": f"{TRANSFORM} check_compute_fn=True {DEVICE} silhouette_kwargs=None",
    "cmPrecision": "cm average=True",
    "coco_tensor_list_to_dict_list": "output",
    "fairness.DemographicParityDifference": f"groups is_multilabel=False {TRANSFORM} device=None",
    "fairness.SelectionRate": LABELS,
    "fairness.SubgroupAccuracyDifference": f"groups is_multilabel=False {TRANSFORM} device=None",
    "fairness.SubgroupDifference": f"base_metric groups {TRANSFORM} device=None",
    "fairness.SubgroupMetric": f"base_metric groups {TRANSFORM} device=None",
    "regression.KendallRankCorrelation": f"variant='b' {TRANSFORM} check_compute_fn=True {DEVICE}",
    "regression.MedianAbsoluteError": f"{TRANSFORM} device=None",
    "regression.PearsonCorrelation": f"eps=1e-08 {TRANSFORM} device=None",
    "regression.R2Score": f"{PLAIN} metrics_result_mode='both'",
    "regression.SpearmanRankCorrelation": f"{TRANSFORM} check_compute_fn=True {DEVICE}",
}
SCORED = "score_function=None score_name=None n_saved=1"
NAMED = "global_step_transform=None filename_pattern=None include_self=False greater_or_equal=False save_on_rank=0"
HANDLER_SIGNATURES = {
    "checkpoint.BaseSaveHandler.__call__": "self checkpoint filename metadata=None",
    "checkpoint.BaseSaveHandler.remove": "self filename",
    "checkpoint.CheckpointEvents.SAVED_CHECKPOINT.__call__": "event_filter=None every=None once=None before=None "
    "after=None",
    "Checkpoint": f"to_save save_handler filename_prefix='' {SCORED} {NAMED}",
    "Checkpoint.__call__": "self engine *args **kwargs",
    "Checkpoint.get_default_score_fn": "metric_name score_sign=1.0",
    "Checkpoint.load_objects": "to_load checkpoint **kwargs",
    "Checkpoint.load_state_dict": "self state_dict",
    "Checkpoint.reload_objects": "self to_load load_kwargs=None **filename_components",
    "Checkpoint.reset": "self",
    "Checkpoint.setup_filename_pattern": "with_prefix=True with_score=True with_score_name=True with_global_step=True",
    "DiskSaver": "dirname atomic=True create_dir=True require_empty=True save_on_rank=0",
    "DiskSaver.__call__": "self checkpoint filename metadata=None",
    "DiskSaver.remove": "self filename",
    "ModelCheckpoint": f"dirname filename_prefix='' {SCORED} atomic=True require_empty=True create_dir=True {NAMED} "
    "**kwargs",
    "ModelCheckpoint.__call__": "self engine to_save",
    "global_step_from_engine": "engine custom_event_name=None fallback_attr='epoch'",
}


@pytest.mark.parametrize("module", NAMES)
def test_names_are_where_ignite_has_them(module):
    found = importlib.import_module(module)
    assert [name for name in NAMES[module].split() if not hasattr(found, name)] == []


@pytest.mark.parametrize(
    ("module", "path", "signature"),
    [
        *(("ignite.engine", path, signature) for path, signature in SIGNATURES.items()),
        *(("ignite.metrics", path, signature) for path, signature in METRIC_SIGNATURES.items()),
        *(("ignite.handlers", path, signature) for path, signature in HANDLER_SIGNATURES.items()),
    ],
)
def test_signatures_are_ignites_with_new_parameters_only_by_keyword_and_at_the_end(
    module, path, signature
):
    thing = importlib.import_module(module)
    for part in path.split("."):
        thing = getattr(thing, part)
    found = []
    for parameter in inspect.signature(thing).parameters.values():
        default = parameter.default
        text = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(
            parameter.kind, ""
        ) + parameter.name
        if default is not parameter.empty:
            is_long = callable(default) or type(default).__module__.startswith("ignite")
            text += "=*" if is_long else f"={default!r}"
        found.append((text, parameter.kind))
    expected = signature.split()
    assert [text for text, _ in found[: len(expected)]] == expected
    assert all(
        kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
        for _, kind in found[len(expected) :]
    )
