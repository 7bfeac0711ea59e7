"""Files written by ClearML's client, and values that it sends to a server."""

import functools
import json
import logging
import os
import subprocess
import sys
import warnings

import pytest
import torch

from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, logger_utils
from ignite.handlers.clearml_logger import (
    ClearMLLogger,
    ClearMLSaver,
    GradsHistHandler,
    GradsScalarHandler,
    OptimizerParamsHandler,
    OutputHandler,
    WeightsHistHandler,
    WeightsScalarHandler,
)
from support import clearml_server, harness, servers, tracked_run

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore"),  # of the client and of what it is made of
]
clearml = pytest.importorskip("clearml", reason='not installed: pip install -e ".[clearml]"')


@pytest.fixture
def make_logger(tmp_path, monkeypatch):
    """Makes loggers of offline tasks."""
    monkeypatch.setenv("CLEARML_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(ClearMLLogger, "_bypasses", None)
    monkeypatch.delenv("CLEARML_API_HOST", raising=False)
    return functools.partial(tracked_run.clearml, tmp_path)


def events_of(logger):
    """The events in the files of an offline task, in their order."""
    path = logger.get_task().get_offline_mode_folder() / "metrics.jsonl"
    return [event for line in path.read_text().splitlines() for event in json.loads(line)]


def scalars_of(logger):
    events = events_of(logger)
    return [(f"{e['metric']}/{e['variant']}", e["iter"], e["value"]) for e in events]


def attach_output(logger, trainer):
    logger.attach_output_handler(
        trainer, Events.ITERATION_COMPLETED, tag="t", output_transform=lambda x: {"x": x}
    )


def expected(num_steps):
    return [("t/x", step, (0.5, 1.5)[(step - 1) % 2]) for step in range(1, num_steps + 1)]


def test_names_of_all_handlers_are_those_of_ignite(make_logger):
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)

    def step(engine, batch):
        model(batch).sum().backward()
        engine.state.metrics = {"v": torch.tensor([1.0, 2.0]), "d": {"a": {"b": 3}}}
        engine.state.alpha = 0.5
        return 1.5

    trainer = Engine(step)
    event = Events.ITERATION_COMPLETED
    with make_logger() as logger:
        for handler in (
            WeightsScalarHandler(model, tag="w"),
            WeightsHistHandler(model),
            GradsScalarHandler(model, reduction=torch.sum),
            GradsHistHandler(model, tag="g"),
            OptimizerParamsHandler(optimizer, tag="o"),
            OutputHandler("t", "all", lambda x: x, state_attributes=["alpha"]),
        ):
            logger.attach(trainer, handler, event)
        trainer.run([torch.ones(1, 2)])
    events = events_of(logger)
    found = {(e["metric"], e["variant"]): e["value"] for e in events if "value" in e}
    weights, bias = model[0].weight, model[0].bias
    assert found == pytest.approx(
        {
            ("w/weights_norm/0", "weight"): weights.norm().item(),
            ("w/weights_norm/0", "bias"): bias.norm().item(),
            ("grads_sum/0", "weight"): 2.0,
            ("grads_sum/0", "bias"): 1.0,
            ("o/lr", "0"): 0.25,
            ("t/v", "0"): 1.0,
            ("t/v", "1"): 2.0,
            ("t/d", "a/b"): 3.0,
            ("t", "output"): 1.5,
            ("t", "alpha"): 0.5,
        }
    )
    plots = {
        (e["metric"], e["variant"]): json.loads(e["plot_str"]) for e in events if "value" not in e
    }
    assert set(plots) == {
        *(("weights_0", name) for name in ("weight", "bias")),
        *(("g/grads_0", name) for name in ("weight", "bias")),
    }
    counts = {name: sum(plot["data"][0]["y"]) for name, plot in plots.items()}
    assert counts == {name: 2 if name[1] == "weight" else 1 for name in plots}


def test_values_of_the_program_and_of_handlers_are_in_order(make_logger):
    trainer = Engine(lambda engine, batch: batch)
    with make_logger() as logger:
        assert logger.clearml_task is logger.get_task() is clearml.Task.current_task()
        attach_output(logger, trainer)
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED,
            lambda engine: logger.clearml_logger.report_scalar(
                "own", "a", 0, trainer.state.iteration
            ),
        )
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED,
            lambda engine: logger.report_scalar("own", "b", 0, trainer.state.iteration),
        )
        trainer.run([0.5, 1.5])
    names = [(name, step) for name, step, _ in scalars_of(logger)]
    assert names == [(name, step) for step in (1, 2) for name in ("t/x", "own/a", "own/b")]


def run_to(num_epochs, logger, state=None):
    trainer = Engine(lambda engine, batch: batch)
    attach_output(logger, trainer)
    if state is not None:
        trainer.load_state_dict({**state, "max_epochs": num_epochs})
    trainer.run([0.5, 1.5], max_epochs=None if state else num_epochs)
    return trainer.state_dict()


def test_a_line_that_a_killed_process_left_incomplete_is_cut_off(make_logger):
    with make_logger() as logger:
        state = run_to(1, logger), logger.state_dict()
    path = logger.get_task().get_offline_mode_folder() / "metrics.jsonl"
    with path.open("a") as file:
        file.write('[{"task": "')
    with make_logger() as logger:
        logger.load_state_dict(state[1])
        run_to(2, logger, state[0])
    assert scalars_of(logger) == expected(4)


@pytest.mark.parametrize("is_written", [True, False])
def test_values_that_clearml_had_in_memory_are_logged_after_a_resume(is_written, make_logger):
    with make_logger() as logger:
        state = run_to(1, logger), logger.state_dict()
    assert state[1]["tracker"]["unsent"] == []
    state[1]["tracker"]["unsent"] = [(1, {"t\nx": 0.5}), (2, {"t\nx": 1.5})]
    if not is_written:
        (logger.get_task().get_offline_mode_folder() / "metrics.jsonl").unlink()
    with make_logger() as logger:
        logger.load_state_dict(state[1])
        run_to(2, logger, state[0])
    assert scalars_of(logger) == expected(4)


def test_a_logger_that_was_closed_continues_its_task(make_logger):
    logger = make_logger()
    state = run_to(1, logger)
    logger.close()
    run_to(2, logger, state)
    logger.close()
    assert scalars_of(logger) == expected(4)


def test_a_task_of_the_program_is_used(make_logger):
    clearml.Task.set_offline(offline_mode=True)
    off = {"auto_connect_frameworks": {"detect_repository": False}, "reuse_last_task_id": False}
    task = clearml.Task.init("p", "own", auto_connect_streams=False, **off)
    with make_logger() as logger:
        assert logger.get_task() is task
        run_to(1, logger)
    assert scalars_of(logger) == expected(2)


def test_the_setups_attach_to_trainer_and_optimizer(make_logger, tmp_path):
    trainer, _, optimizer, data = tracked_run.make_training()
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda: trainer.state.metrics.update(loss=trainer.state.iteration),
    )
    clearml.Task.set_offline(offline_mode=True)
    with pytest.warns(UserWarning, match="setup_trains_logging was renamed"):
        logger = logger_utils.setup_trains_logging(
            trainer,
            optimizer,
            log_every_iters=2,
            project_name="p",
            task_name="t",
            auto_connect_frameworks={"detect_repository": False},
            auto_connect_streams=False,
        )
    trainer.run(data)
    logger.close()
    lr = [("lr/0", step, 0.125) for step in (2, 4)]
    assert sorted(scalars_of(logger)) == [
        *lr,
        *(("training/loss", step, float(step)) for step in (2, 4)),
    ]


def test_checkpoints_of_an_offline_task_are_in_the_folder(make_logger, tmp_path):
    trainer = Engine(lambda engine, batch: batch)
    with make_logger() as logger:
        saver = ClearMLSaver(logger, None, str(tmp_path / "c"), True, require_empty=False)
        checkpoint = Checkpoint({"trainer": trainer}, saver, n_saved=1)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, checkpoint)
        trainer.run([0.5], max_epochs=2)
        name = os.path.basename(checkpoint.last_checkpoint)
        assert saver.get_local_copy(name) == str(tmp_path / "c" / name)
        assert saver.get_local_copy("none.pt") is None
    with warnings.catch_warnings(), pytest.raises(RuntimeError, match="requires a ClearML Task"):
        ClearMLSaver(dirname=str(tmp_path))


def run_online(function, port, folder, **variables):
    """Runs a function of this module in a process, with the client of a server."""
    code = f"import sys\nfrom integration import test_clearml as t\nt.{function}(sys.argv[1])"
    cache = {"CLEARML_CACHE_DIR": str(folder / "cache")}
    variables = {**clearml_server.variables(port), **cache, **variables}
    return servers.run_python("-c", code, folder, cwd=folder, **variables)


def test_an_offline_task_that_was_killed_and_resumed_has_each_step_once(tmp_path):
    state = tracked_run.run_twice("clearml", tmp_path)
    path = tmp_path / "cache/offline" / state["task_id"] / "metrics.jsonl"
    events = [event for line in path.read_text().splitlines() for event in json.loads(line)]
    found = [(f"{e['metric']}/{e['variant']}", e["iter"], e["value"]) for e in events]
    tracked_run.check(found, "lr/0")


def test_a_task_on_a_server_that_was_killed_and_resumed_has_each_step_once(tmp_path):
    with clearml_server.serving() as (server, variables):
        state = tracked_run.run_twice("clearml", tmp_path, **variables)
        found = server.scalars(state["task_id"])
        others = [task for task in server.tasks if task != state["task_id"]]
    tracked_run.check(found, "lr/0")
    assert len(others) == 1
    assert server.scalars(others[0]) == []
    assert {task["status"] for task in server.tasks.values()} == {"completed"}
    assert "tasks.reset" not in server.calls


def save_models(folder):
    logger = tracked_run.clearml(folder)
    saver = ClearMLSaver(
        logger, f"file://{folder}/uploads", f"{folder}/checkpoints", require_empty="resume"
    )
    trainer, model, _, data = tracked_run.make_training()
    checkpoint = Checkpoint(
        {"model": model}, saver, n_saved=2, global_step_transform=lambda *_: trainer.state.epoch
    )
    trainer.add_event_handler(Events.EPOCH_COMPLETED, checkpoint)
    path = f"{folder}/logger.json"
    if os.path.exists(path):
        with open(path) as file:
            logger.load_state_dict(json.load(file))
        trainer.state.epoch = 4
        trainer.load_state_dict({"epoch_length": 5, "max_epochs": 5, "iteration": 20})
        trainer.run(data)
    else:
        trainer.run(data, max_epochs=4)
    with open(path, "w") as file:
        json.dump(logger.state_dict(), file)
    logger.close()
    path = f"{folder}/checkpoints/model_{trainer.state.epoch}.pt"
    os.rename(path, f"{path}.hidden")
    copy = saver.get_local_copy(os.path.basename(path))
    assert sorted(torch.load(copy, weights_only=True)) == ["bias", "weight"], copy
    os.rename(f"{path}.hidden", path)


def test_checkpoints_are_models_of_the_task_and_use_the_models_of_removed_ones(tmp_path):
    (tmp_path / "uploads").mkdir()
    with clearml_server.serving() as (server, variables):
        port = int(variables["CLEARML_API_HOST"].rsplit(":", 1)[1])
        for last in (4, 5):
            run_online("save_models", port, tmp_path)
            assert {one["name"] for one in server.models.values()} <= NAMES
            assert len(server.models) <= len(NAMES)
            comments = {
                "\n".join(one["comment"].splitlines()[:2]) for one in server.models.values()
            }
            assert comments >= {
                f"filename: model_{i}.pt\n"
                f"Checkpoint Metadata: basename=model, priority={i}, score_name=None"
                for i in (last - 1, last)
            }
    assert {path.name for path in (tmp_path / "uploads").rglob("*.pt")} <= {
        f"{n}.pt" for n in NAMES
    }


NAMES = {f"model_{i}" for i in range(3)}  # one more than n_saved


def train_without_server(folder):
    logging.basicConfig()
    trainer = Engine(lambda engine, batch: batch)
    with tracked_run.clearml(folder) as logger:
        attach_output(logger, trainer)
        trainer.run([0.5, 1.5])
    assert scalars_of(logger) == expected(2)


def test_a_server_that_is_down_makes_the_task_offline(tmp_path):
    result = run_online("train_without_server", harness.free_port(), tmp_path)
    assert result.stderr.count("Cannot reach the ClearML server: the task is offline") == 1


def say(what):
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def train_until_after_the_end_of_the_server(folder):
    from ignite.handlers._trackers import clearml_task

    clearml_task._CLOSE_TIMEOUT_S = 1.0
    logging.basicConfig()
    trainer = Engine(lambda engine, batch: batch)
    logger = tracked_run.clearml(folder)
    attach_output(logger, trainer)
    say("started")
    input()
    saver = ClearMLSaver(logger, None, f"{folder}/checkpoints")
    trainer.add_event_handler(Events.EPOCH_COMPLETED, Checkpoint({"trainer": trainer}, saver))
    trainer.run([0.5, 1.5], max_epochs=100)
    say(len(logger.state_dict()["tracker"]["unsent"]))
    logger.close()
    say("ended")


@pytest.mark.slow
def test_a_server_that_goes_down_stops_nothing(tmp_path):
    code = "from integration import test_clearml as t\nt.train_until_after_the_end_of_the_server"
    with clearml_server.serving() as (_, variables):
        process = subprocess.Popen(
            [sys.executable, "-c", f"{code}({str(tmp_path)!r})"],
            cwd=tmp_path,
            env={**servers.environment(), **variables, "CLEARML_CACHE_DIR": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while "started" not in process.stdout.readline():
            pass
    output, errors = process.communicate("\n")
    assert process.returncode == 0, errors
    lines = output.splitlines()
    assert lines[-2:] == ["200", "ended"]
    assert errors.count("Cannot reach the ClearML server: the task is not closed") == 1
