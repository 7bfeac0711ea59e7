"""The packages of each tracker's extra suffice to log without a server."""

import json
import tomllib
from pathlib import Path

import pytest

from support import servers

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]
ROOT = Path(__file__).parents[2]

PROGRAM = """
import importlib.metadata as metadata, json, re, sys, warnings

warnings.simplefilter("ignore")
requirements, program = json.loads(sys.argv[1]), sys.argv[2]
name_of = lambda text: re.match(r"[\\w.-]+", text)[0].lower().replace("_", "-").replace(".", "-")
wanted, found = {name_of(one) for one in requirements}, set()
while wanted:
    one = wanted.pop()
    try:
        needed = metadata.requires(one) or []
    except metadata.PackageNotFoundError:  # a marker excludes it, or it is of another system
        continue
    found.add(one)
    wanted |= {name_of(text) for text in needed if "extra ==" not in text} - found
others = {
    module
    for module, names in metadata.packages_distributions().items()
    if not found & {name_of(name) for name in names} and module != "ignite"
}

class Filtered:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in others and hasattr(self.finder, "find_spec"):
            return self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Filtered(one) for one in sys.meta_path]
exec(program)
"""

RUN = """
from ignite.engine import Engine, Events
from ignite.handlers import {name}

trainer = Engine(lambda engine, batch: batch)
with {name}({arguments}) as logger:
    logger.attach_output_handler(
        trainer, Events.ITERATION_COMPLETED, tag="t", output_transform=lambda x: {{"x": x}}
    )
    trainer.run([0.5, 1.5])
    {check}
print("logged")
"""

MLFLOW = """
    run_id = logger.active_run.info.run_id
    logger.flush()
    logger.log_param("lr", 0.5)
    history = logger.MlflowClient().get_metric_history(run_id, "t x")
    assert [(one.step, one.value) for one in history] == [(1, 0.5), (2, 1.5)], history
    assert logger.get_run(run_id).data.params == {"lr": "0.5"}
"""

CASES = {
    "mlflow": ("MLflowLogger", "", MLFLOW.strip()),
    "neptune": ("NeptuneLogger", 'mode="offline"', "pass"),
    "polyaxon": ("PolyaxonLogger", 'is_offline=True, artifacts_path="store"', "pass"),
    "swanlab": ("SwanLabLogger", 'mode="offline", project="p"', "pass"),
    "trackio": ("TrackioLogger", '"p", auto_log_cpu=False', "pass"),
    "wandb": ("WandBLogger", 'mode="offline", project="p"', "pass"),
}


@pytest.mark.parametrize("extra", CASES)
def test_an_extra_suffices_to_log_without_a_server(extra, tmp_path):
    servers.skip_without(extra)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"][extra]]
    name, arguments, check = CASES[extra]
    program = RUN.format(name=name, arguments=arguments, check=check)
    result = servers.run_python(
        "-c",
        PROGRAM,
        json.dumps(requirements),
        program,
        cwd=tmp_path,
        timeout_s=120,
        TRACKIO_DIR=str(tmp_path / "trackio"),
        WANDB_SILENT="true",
    )
    assert "logged\n" in result.stdout


def test_all_extras_are_part_of_all():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (everything,) = project["optional-dependencies"]["all"]
    for extra in CASES:
        assert f"{extra}," in everything.replace("]", ",").replace("[", ",")
