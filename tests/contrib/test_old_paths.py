"""Old import paths, as programs of Ignite 0.1 to 0.5 write them."""

import importlib.util
import json
import subprocess
import sys
import textwrap

import pytest

REGRESSION = {
    "canberra_metric": "CanberraMetric",
    "fractional_absolute_error": "FractionalAbsoluteError",
    "fractional_bias": "FractionalBias",
    "geometric_mean_absolute_error": "GeometricMeanAbsoluteError",
    "geometric_mean_relative_absolute_error": "GeometricMeanRelativeAbsoluteError",
    "manhattan_distance": "ManhattanDistance",
    "maximum_absolute_error": "MaximumAbsoluteError",
    "mean_absolute_relative_error": "MeanAbsoluteRelativeError",
    "mean_error": "MeanError",
    "mean_normalized_bias": "MeanNormalizedBias",
    "median_absolute_error": "MedianAbsoluteError",
    "median_absolute_percentage_error": "MedianAbsolutePercentageError",
    "median_relative_absolute_error": "MedianRelativeAbsoluteError",
    "r2_score": "R2Score",
    "wave_hedges_distance": "WaveHedgesDistance",
}
# (old module, names, new module), as the specification's appendix and public programs have them.
TENSORBOARD = (
    "TensorboardLogger OptimizerParamsHandler OutputHandler WeightsScalarHandler WeightsHistHandler"
)
SCHEDULERS = "ConcatScheduler CosineAnnealingScheduler LinearCyclicalScheduler LRScheduler ParamGroupScheduler"
CURVES = "AveragePrecision CohenKappa GpuInfo PrecisionRecallCurve ROC_AUC RocCurve"
BASE = "BaseHandler BaseWeightsHandler BaseOptimizerParamsHandler BaseOutputHandler BaseWeightsScalarHandler BaseLogger"
PATHS = [
    (
        "ignite.engines",
        "Engine Events State create_supervised_trainer create_supervised_evaluator",
        "ignite.engine",
    ),
    ("ignite.engines.engine", "Engine State Events", "ignite.engine"),
    (
        "ignite.contrib.handlers",
        f"{SCHEDULERS} PiecewiseLinear create_lr_scheduler_with_warmup",
        "ignite.handlers",
    ),
    (
        "ignite.contrib.handlers",
        "ProgressBar TensorboardLogger MLflowLogger FastaiLRFinder",
        "ignite.handlers",
    ),
    ("ignite.contrib.handlers.lr_finder", "FastaiLRFinder", "ignite.handlers.lr_finder"),
    ("ignite.contrib.handlers", "EpochOutputStore global_step_from_engine", "ignite.handlers"),
    ("ignite.contrib.handlers", "BasicTimeProfiler HandlersTimeProfiler", "ignite.handlers"),
    ("ignite.contrib.handlers", "CustomPeriodicEvent", "ignite.contrib.custom_events"),
    (
        "ignite.contrib.handlers.custom_events",
        "CustomPeriodicEvent",
        "ignite.contrib.custom_events",
    ),
    ("ignite.contrib.handlers.base_logger", BASE, "ignite.handlers.base_logger"),
    ("ignite.contrib.handlers.base_logger", "global_step_from_engine", "ignite.handlers"),
    (
        "ignite.contrib.handlers.mlflow_logger",
        "MLflowLogger OutputHandler",
        "ignite.handlers.mlflow_logger",
    ),
    (
        "ignite.contrib.handlers.mlflow_logger",
        "OptimizerParamsHandler",
        "ignite.handlers.mlflow_logger",
    ),
    (
        "ignite.contrib.handlers.param_scheduler",
        f"{SCHEDULERS} ParamScheduler",
        "ignite.handlers.param_scheduler",
    ),
    (
        "ignite.contrib.handlers.param_scheduler",
        "PiecewiseLinear CyclicalScheduler",
        "ignite.handlers.param_scheduler",
    ),
    (
        "ignite.contrib.handlers.tensorboard_logger",
        TENSORBOARD,
        "ignite.handlers.tensorboard_logger",
    ),
    (
        "ignite.contrib.handlers.tensorboard_logger",
        "GradsHistHandler",
        "ignite.handlers.tensorboard_logger",
    ),
    ("ignite.contrib.handlers.tensorboard_logger", "global_step_from_engine", "ignite.handlers"),
    (
        "ignite.contrib.handlers.time_profilers",
        "BasicTimeProfiler",
        "ignite.handlers.time_profilers",
    ),
    (
        "ignite.contrib.handlers.time_profilers",
        "HandlersTimeProfiler",
        "ignite.handlers.time_profilers",
    ),
    ("ignite.contrib.handlers.tqdm_logger", "ProgressBar", "ignite.handlers.tqdm_logger"),
    ("ignite.contrib.metrics", CURVES, "ignite.metrics"),
    (
        "ignite.contrib.metrics.average_precision",
        "AveragePrecision",
        "ignite.metrics.average_precision",
    ),
    ("ignite.contrib.metrics.cohen_kappa", "CohenKappa", "ignite.metrics.cohen_kappa"),
    ("ignite.contrib.metrics.gpu_info", "GpuInfo", "ignite.metrics.gpu_info"),
    (
        "ignite.contrib.metrics.precision_recall_curve",
        "PrecisionRecallCurve",
        "ignite.metrics.precision_recall_curve",
    ),
    ("ignite.contrib.metrics.roc_auc", "ROC_AUC RocCurve", "ignite.metrics.roc_auc"),
    (
        "ignite.contrib.metrics.regression",
        " ".join(REGRESSION.values()),
        "ignite.metrics.regression",
    ),
    (
        "ignite.contrib.metrics.regression._base",
        "_BaseRegression",
        "ignite.metrics.regression._base",
    ),
    *(
        (f"ignite.contrib.metrics.regression.{module}", name, "ignite.metrics.regression")
        for module, name in REGRESSION.items()
    ),
]
LATER = ("clearml_logger", "neptune_logger", "polyaxon_logger", "visdom_logger", "wandb_logger")


def run(code, *arguments):
    """What ``code`` prints, as JSON, in a process of its own, because an import warns only once in one."""
    command = [sys.executable, "-W", "always", "-c", textwrap.dedent(code), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_every_old_path_has_todays_objects_and_warns_once_in_the_line_of_the_program():
    found = run(
        """
        import importlib, json, sys, warnings
        found, warned = [], {}
        for old, names, new in json.loads(sys.argv[1]):
            for name in names.split():
                line = f"from {old} import {name} as one"
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    space = {}
                    exec(compile(line, "<program>", "exec"), space)
                for one in caught:
                    warned.setdefault(old, []).append([one.category.__name__, str(one.message), one.filename])
                found.append([old, name, space["one"] is getattr(importlib.import_module(new), name)])
        print(json.dumps([found, warned]))
        """,
        json.dumps(PATHS),
    )
    same, warned = found
    assert [entry for entry in same if not entry[2]] == []
    assert len(same) == sum(len(names.split()) for _, names, _ in PATHS)
    assert {old: len(entries) for old, entries in warned.items()} == {old: 1 for old, _, _ in PATHS}
    for old, [(category, message, filename)] in warned.items():
        assert (category, filename) == ("DeprecationWarning", "<program>")
        assert message.startswith(f"{old} has moved: import from ignite.")


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (
            "import ignite.contrib.handlers.tqdm_logger as m; found = m.ProgressBar.__module__",
            "ignite.handlers",
        ),
        (
            "from ignite.contrib.handlers.tqdm_logger import *; found = ProgressBar.__module__",
            "ignite.handlers",
        ),
        ("from ignite.contrib.metrics import *; found = ROC_AUC.__module__", "ignite.metrics"),
        (
            "from ignite.contrib.handlers import tqdm_logger; found = tqdm_logger.ProgressBar.__module__",
            "ignite.",
        ),
        (
            "import ignite.contrib.handlers; found = ignite.contrib.handlers.ProgressBar.__module__",
            "ignite.handlers",
        ),
        (
            "import pickle; found = pickle.loads(b'cignite.contrib.metrics\\nROC_AUC\\n.').__module__",
            "ignite.metrics",
        ),
    ],
)
def test_other_ways_to_import(program, expected):
    code = f"""
        import json, warnings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            {program}
        print(json.dumps([found, [str(one.category.__name__) for one in caught]]))
        """
    found, warned = run(code)
    assert found.startswith(expected)
    assert warned == ["DeprecationWarning"]


def test_packages_are_silent_until_something_is_taken_from_them():
    code = "import ignite.contrib.handlers, ignite.contrib.metrics.regression, ignite.engines; print('[]')"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stderr == ""


@pytest.mark.parametrize("name", ["nothing", "__wrapped__", *LATER])
def test_what_is_nowhere_is_missing_there_too(name):
    if importlib.util.find_spec(f"ignite.handlers.{name}") is not None:
        pytest.fail(f"{name} exists now: it belongs into PATHS")
    code = f"""
        import json
        found = []
        for line in ("import ignite.contrib.handlers.{name}", "from ignite.contrib.handlers import {name}"):
            try:
                exec(line)
            except ImportError as error:
                found.append(type(error).__name__)
        print(json.dumps(found))
        """
    assert run(code) == ["ModuleNotFoundError", "ImportError"]


def test_installing_twice_leaves_one_finder():
    code = """
        import json, sys, ignite
        from ignite.contrib.old_paths import OldPathFinder, install
        install()
        print(json.dumps(sum(isinstance(finder, OldPathFinder) for finder in sys.meta_path)))
        """
    assert run(code) == 1


@pytest.mark.parametrize("name", ["BinaryAccuracy", "CategoricalAccuracy"])
def test_accuracies_of_0_1_are_accuracy(name):
    from ignite import metrics

    with pytest.warns(DeprecationWarning, match="use ignite.metrics.Accuracy"):
        assert getattr(metrics, name) is metrics.Accuracy


def test_the_modules_of_events_and_states_know_each_other():
    from ignite.engine import engine, events

    assert (engine.Events, engine.EventEnum) == (events.Events, events.EventEnum)
    assert engine.CallableEventWithFilter is events.CallableEventWithFilter
