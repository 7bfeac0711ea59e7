"""Old import paths, as programs of Ignite 0.1 to 0.5 write them."""

import importlib
import importlib.util
import json
import random
import re
import subprocess
import sys
import textwrap

import pytest
import torch

import ignite.handlers.clearml_logger
import ignite.metrics.accuracy
from ignite.contrib import old_paths
from support import harness

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
        (
            f"ignite.contrib.handlers.{name.lower().removesuffix('logger')}_logger",
            f"{name} OutputHandler OptimizerParamsHandler",
            f"ignite.handlers.{name.lower().removesuffix('logger')}_logger",
        )
        for name in (
            "ClearMLLogger",
            "NeptuneLogger",
            "PolyaxonLogger",
            "VisdomLogger",
            "WandBLogger",
        )
    ),
    *(
        (f"ignite.contrib.metrics.regression.{module}", name, "ignite.metrics.regression")
        for module, name in REGRESSION.items()
    ),
]


def run(code, *arguments):
    """What ``code`` prints, as JSON, in a process of its own, because an import warns only once in one."""
    return json.loads(harness.run_program(textwrap.dedent(code), *arguments))


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


@pytest.mark.parametrize("name", ["nothing", "__wrapped__"])
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

    with pytest.warns(DeprecationWarning, match="write 'from ignite.metrics import Accuracy'"):
        assert getattr(metrics, name) is metrics.Accuracy


@pytest.mark.parametrize("module", ["ignite.contrib.handlers", "ignite.contrib.engines.common"])
def test_trains_is_clearml(module):
    new = "write 'from ignite.handlers.clearml_logger import ClearMLLogger'"
    with pytest.warns(DeprecationWarning, match=new) as found:
        exec(f"from {module} import TrainsLogger as one", space := {})
    assert space["one"] is ignite.handlers.clearml_logger.ClearMLLogger
    assert len(found) == 1


def test_the_module_of_trains_has_the_names_of_that_of_clearml():
    code = """
        import json, warnings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            from ignite.contrib.handlers.trains_logger import TrainsLogger, TrainsSaver
            from ignite.contrib.handlers.trains_logger import OutputHandler, GradsHistHandler
            import ignite.contrib.handlers.trains_logger as old
            import ignite.handlers.clearml_logger as new
        assert (TrainsSaver, OutputHandler) == (new.ClearMLSaver, new.OutputHandler)
        names = [name for name in ("TrainsLogger", "OutputHandler", "ClearMLSaver") if name in dir(old)]
        print(json.dumps([names, [str(one.message) for one in caught]]))
        """
    names, messages = run(code)
    assert names == ["TrainsLogger", "OutputHandler", "ClearMLSaver"]
    assert [message.partition(": ")[0].rpartition(".")[2] for message in messages] == [
        "TrainsLogger is an old name",
        "TrainsSaver is an old name",
        "trains_logger has moved",
    ]


def test_the_modules_of_events_and_states_know_each_other():
    from ignite.engine import engine, events

    assert (engine.Events, engine.EventEnum) == (events.Events, events.EventEnum)
    assert engine.CallableEventWithFilter is events.CallableEventWithFilter


PASSED_ON = [
    ("ignite.engine", "Metric", "ignite.metrics.metric"),
    ("ignite.engine", "convert_tensor", "ignite.utils"),
    ("ignite.engine.engine", "EventsList", "ignite.engine.events"),
    ("ignite.handlers.mlflow_logger", "BaseLogger", "ignite.handlers.base_logger"),
    ("ignite.metrics", "Timer", "ignite.handlers.timing"),
    ("ignite.metrics.accuracy", "reinit__is_reduced", "ignite.metrics.metric"),
    ("ignite.metrics.regression.r2_score", "sync_all_reduce", "ignite.metrics.metric"),
    ("ignite.contrib.metrics.roc_auc", "NotComputableError", "ignite.exceptions"),
    ("ignite.contrib.engines.common", "deprecated", "ignite.utils"),
]


def test_modules_pass_on_names_of_others():
    code = """
        import importlib, json, sys
        found = []
        for module, name, home in json.loads(sys.argv[1]):
            space = {}
            exec(f"from {module} import {name} as one", space)
            found.append(space["one"] is getattr(importlib.import_module(home), name))
        print(json.dumps(found))
        """
    assert run(code, json.dumps(PASSED_ON)) == [True] * len(PASSED_ON)


def test_every_row_of_passed_on_names_leads_somewhere():
    missing = [
        (row, name, home)
        for row, names in old_paths.PASSED_ON.items()
        for name, home in names.items()
        if getattr(importlib.import_module(row), name)
        is not getattr(importlib.import_module(home), name)
    ]
    assert missing == []


def test_modules_that_pass_on_names_miss_all_others():
    with pytest.raises(
        AttributeError, match="module 'ignite.metrics.accuracy' has no attribute 'Metrik'"
    ):
        ignite.metrics.accuracy.Metrik  # noqa: B018
    with pytest.raises(AttributeError, match="module 'ignite.metrics' has no attribute 'Metrik'"):
        ignite.metrics.Metrik  # noqa: B018


def test_names_are_passed_on_without_a_warning_and_modules_keep_sources_and_reload():
    code = """
        import importlib, inspect, json, sys, warnings
        warnings.simplefilter("error")
        import ignite.engine
        before = [name for name in sys.modules if name.startswith("ignite.handlers")]
        from ignite.engine import Metric
        import ignite.metrics.accuracy as m
        source = inspect.getsource(m.Accuracy)
        m = importlib.reload(m)
        same = m.Metric is Metric and m.__spec__.origin == m.__file__
        print(json.dumps([before, same, "class Accuracy" in source]))
        """
    assert run(code) == [[], True, True]


# Private functions of Ignite.


@pytest.mark.filterwarnings("ignore:ignite.engine.utils has moved:DeprecationWarning")
def test_check_signature_names_the_arguments():
    from ignite.engine.utils import _check_signature

    assert _check_signature(lambda a, b, *, c: ..., "handler", 1, 2, c=3) is None
    with pytest.raises(
        ValueError, match=re.escape("takes parameters ['a'] but will be called with [1, 2, 'k']")
    ):
        _check_signature(lambda a: ..., "handler", 1, 2, k=3)


def test_random_states_are_those_of_ignite():
    from ignite.engine.deterministic import _get_rng_states, _set_rng_states

    states = _get_rng_states()
    drawn = random.random(), torch.rand(1)
    _set_rng_states(states)
    assert (random.random(), torch.rand(1)) == drawn
    numpy = pytest.importorskip("numpy")
    of_ignite = [states[0], states[1], numpy.random.RandomState(3).get_state()]
    _set_rng_states(of_ignite)
    assert (random.random(), torch.rand(1)) == drawn
    assert numpy.random.rand() == numpy.random.RandomState(3).rand()


def test_small_private_functions_give_what_ignites_give():
    from ignite.contrib.engines.tbptt import _detach_hidden
    from ignite.engine.engine import _to_hours_mins_secs
    from ignite.metrics.metric import _is_list_of_tensors_or_numbers, _to_batched_tensor

    assert (_to_hours_mins_secs(3661.5), _to_hours_mins_secs(59)) == ((1, 1, 1.5), (0, 0, 59))
    hidden = (torch.ones(1, requires_grad=True), [torch.ones(2, requires_grad=True)])
    assert not _detach_hidden(hidden)[1][0].requires_grad
    values = ([1, 2.0], [torch.ones(1)], (1,), [1, [2]], 1, [], ["a"])
    found = [_is_list_of_tensors_or_numbers(value) for value in values]
    assert found == [True, True, True, False, False, True, False]  # as Ignite 0.5.5
    assert _to_batched_tensor(2.5).tolist() == [2.5]
    assert _to_batched_tensor(torch.ones(3)).shape == (1, 3)
