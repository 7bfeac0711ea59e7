"""What the files of real clients hold, also of a run that was killed and resumed."""

import csv
import json
import os
import struct
import subprocess
import sys

import pytest

from ignite.engine import Engine, Events
from support import harness, servers, tracked_run

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore"),  # of the clients and of what they are made of
]


def read_wandb(folder, state):
    """All rows of all files of the run, in the order in which ``wandb sync`` uploads them."""
    from wandb.proto.wandb_internal_pb2 import Record

    rows = []
    for path in sorted(folder.glob(f"wandb/*-{state['id']}/*.wandb")):
        for content in leveldb_records(path.read_bytes()[7:]):
            history = Record.FromString(content).history
            rows += [
                ("/".join(item.nested_key) or item.key, history.step.num, item.value_json)
                for item in history.item
            ]
    return [(n, step, json.loads(v)) for n, step, v in rows if not n.startswith("_")]


def leveldb_records(data):
    """The contents of a short log: https://github.com/google/leveldb/blob/main/doc/log_format.md"""
    assert len(data) < 32768 - 7  # a single block
    while data:
        _, size, kind = struct.unpack("<IHB", data[:7])
        assert kind == 1
        yield data[7 : 7 + size]
        data = data[7 + size :]


def read_neptune(folder, state):
    found = []
    for path in sorted(folder.glob(".neptune/offline/*/data-1.log"), key=os.path.getmtime):
        operations = [json.loads(line)["obj"] for line in path.read_text().splitlines()]
        if not any(one.get("value") == state["run_id"] for one in operations):
            continue
        for one in operations:
            if one["type"] == "LogFloats":
                values = [("/".join(one["path"]), v["step"], v["value"]) for v in one["values"]]
                found += values
    return found


def read_polyaxon(folder, state):
    found = []
    for path in (folder / "store/events/metric").iterdir():
        with path.open() as file:
            rows = list(csv.DictReader(file, delimiter="|"))
        name = path.stem.replace("__", "/")
        found += [(name, int(row["step"]), float(row["metric"])) for row in rows]
    return found


CASES = [
    pytest.param("wandb", read_wandb, "lr/group_0", id="wandb"),
    pytest.param("neptune", read_neptune, "lr/group_0", id="neptune"),
    pytest.param("polyaxon", read_polyaxon, "lr/group_0", id="polyaxon"),
]


def run_twice(name, folder, **variables):
    """A process that is killed, and one that resumes its run."""
    result = subprocess.run(
        [sys.executable, "-m", "support.tracked_run", name, str(folder)],
        cwd=folder,
        env={
            **servers.environment(),
            "WANDB_SILENT": "true",
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads((folder / "state.json").read_text())


@pytest.mark.parametrize(("name", "read", "lr"), CASES)
def test_a_run_that_was_killed_and_resumed_has_each_step_once(name, read, lr, tmp_path):
    servers.skip_without(name)
    check(read(tmp_path, run_twice(name, tmp_path)), lr)


def check(found, lr):
    """Whether ``found`` has the losses and learning rates of an undisturbed run, each once."""
    losses = tracked_run.losses()
    expected = sorted(
        [("train/loss", step, loss) for step, loss in losses]
        + [(lr, step, 0.125) for step, _ in losses]
    )
    found = sorted(found)
    assert [one[:2] for one in found] == [one[:2] for one in expected]
    assert [one[2] for one in found] == pytest.approx([one[2] for one in expected])


def test_values_of_the_program_and_of_handlers_are_in_order(tmp_path, monkeypatch):
    servers.skip_without("wandb")
    from ignite.handlers.wandb_logger import WandBLogger

    monkeypatch.setenv("WANDB_SILENT", "true")
    trainer = Engine(lambda engine, batch: batch)
    with WandBLogger(project="p", mode="offline", dir=str(tmp_path)) as logger:
        logger.config.update({"lr": 0.1})
        logger.attach_output_handler(
            trainer, Events.ITERATION_COMPLETED, tag="t", output_transform=lambda x: {"x": x}
        )
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED,
            lambda engine: logger.log({"own": engine.state.output}, step=engine.state.iteration),
        )
        trainer.run([0.5, 1.5])
        state = logger.state_dict()["tracker"]
    assert read_wandb(tmp_path, state) == [
        *(("t/x", 1, 0.5), ("own", 1, 0.5)),
        *(("t/x", 2, 1.5), ("own", 2, 1.5)),
    ]


def test_a_wandb_server_that_is_down_makes_the_run_offline(tmp_path, monkeypatch):
    servers.skip_without("wandb")
    from ignite.handlers.wandb_logger import WandBLogger

    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "2")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{harness.free_port()}")
    with pytest.warns(UserWarning, match="Cannot reach the W&B server, the run is offline"):
        logger = WandBLogger(project="p", dir=str(tmp_path))
    with logger:
        assert logger.run.offline
