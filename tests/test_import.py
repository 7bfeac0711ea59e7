import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ignite

OPTIONAL = [
    "fsspec",
    "safetensors",
    "tqdm",
    "tensorboard",
    "tensorboardX",
    "sklearn",
    "scipy",
    "pandas",
    "matplotlib",
    "numpy",
]


def run(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )


def test_importing_is_silent_and_starts_nothing():
    code = (
        "import torch, ignite, ignite.engine, ignite.metrics, ignite.utils, ignite.distributed\n"
        "import ignite.contrib.engines\n"
        "assert not torch.cuda.is_initialized()\n"
        "assert not torch.distributed.is_initialized()\n"
        "import logging; assert not logging.getLogger('ignite').handlers and not logging.getLogger().handlers"
    )
    result = run(code)
    assert (result.stdout, result.stderr) == ("", "")


def test_importing_brings_no_optional_package_and_saving_and_data_when_a_run_is_saved():
    code = (
        "import json, sys, torch\n"
        "before = set(sys.modules)\n"
        "import ignite.engine, ignite.metrics\n"
        "rooms = {name.split('.')[1] for name in sys.modules if name.startswith('ignite.')}\n"
        "import ignite.utils\n"
        "brought = sorted(set(sys.modules) - before)\n"
        "import ignite.handlers\n"
        "ignite.engine.Engine(lambda engine, batch: None).run([1])\n"
        "print(json.dumps([sorted(rooms), brought]))"
    )
    rooms, brought = json.loads(run(code).stdout)
    assert {*rooms} & {"storage", "data", "handlers", "testing"} == set()
    assert [name for name in brought if name.split(".")[0] in OPTIONAL] == []


def test_importing_the_packages_imports_few_modules_and_none_of_torch():
    code = "import sys, json, torch\nbefore = set(sys.modules)\n"
    code += "import ignite, ignite.engine, ignite.handlers, ignite.metrics\n"
    code += "print(json.dumps(sorted(set(sys.modules) - before)))"
    brought = json.loads(run(code).stdout)
    assert [name for name in brought if name.partition(".")[0] == "torch"] == []
    ours = [name for name in brought if name.partition(".")[0] == "ignite"]
    assert len(ours) <= 60, ours
    assert len(brought) - len(ours) <= 10, sorted(set(brought) - set(ours))


def test_rooms_are_reached_from_ignite_alone():
    code = "import ignite; print(ignite.metrics.Loss.__name__, ignite.engine.Engine.__name__, ignite.__version__)"
    assert run(code).stdout == "Loss Engine 0.6.0\n"


def test_arithmetic_needs_no_other_import():
    code = (
        "import sys, ignite\nprecision = ignite.metrics.Precision(average=False)\n"
        "assert 'ignite.metrics.metrics_lambda' not in sys.modules\n"
        "print(type(2 * precision).__name__, type(precision.mean()).__name__)"
    )
    assert run(code).stdout == "MetricsLambda MetricsLambda\n"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'ignite' has no attribute 'nothing'"):
        ignite.nothing  # noqa: B018


def test_the_version_satisfies_programs_that_ask_for_an_ignite():
    pyproject = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert ignite.__version__ == pyproject["project"]["version"]
    release = tuple(int(part) for part in ignite.__version__.split("."))
    assert release > (0, 5, 5), "clients ask for 'ignite >= 0.4.11' before they import anything"
