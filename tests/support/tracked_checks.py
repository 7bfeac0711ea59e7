"""Runs with a real client in a separate process: ``python -m support.tracked_checks CHECK NAME FOLDER``.

W&B and Polyaxon keep settings and threads for as long as a process lives. So no check can change what another
one sees, and one that hangs is ended.
"""

import base64
import contextlib
import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path

import torch

from ignite.contrib.engines import common
from ignite.engine import Engine, Events, create_supervised_trainer
from ignite.handlers import Checkpoint, neptune_logger
from ignite.metrics import Sum
from support import harness, servers, tracked_run, tracker_files, wandb_server

NUM_ITERATIONS = 20


def result_of(check, name, folder, timeout_s=100, **variables):
    """Runs a check in a new process; also returns the values in the files that it leaves."""
    program = ("-m", "support.tracked_checks", check, name, folder)
    variables = {"WANDB_SILENT": "true", **variables}
    servers.run_python(*program, cwd=folder, timeout_s=timeout_s, **variables)
    found = json.loads((folder / "result.json").read_text())
    return found, tracker_files.READERS[name](folder, found["state"])


def without_server(name, folder):
    """Logs to a server of which nobody answers."""
    url = f"http://127.0.0.1:{harness.free_port()}"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.monotonic()
        with TO_NOWHERE[name](url, folder) as logger:
            ready = time.monotonic()
            count = log_outputs(logger)
            state = logger.state_dict()["tracker"]
            logged = time.monotonic()
    return {
        "url": url,
        "state": state,
        "iterations": count,
        "warnings": [str(one.message) for one in caught if one.category is UserWarning],
        "seconds": [ready - start, logged - ready, time.monotonic() - logged],
    }


def log_outputs(logger):
    trainer = Engine(lambda engine, batch: batch)
    logger.attach_output_handler(
        trainer, Events.ITERATION_COMPLETED, tag="t", output_transform=lambda x: {"x": x}
    )
    return trainer.run([i / 4 for i in range(NUM_ITERATIONS)]).iteration


def wandb(url, folder):
    from ignite.handlers import WandBLogger

    os.environ["WANDB_API_KEY"] = "0" * 40
    os.environ["WANDB_BASE_URL"] = url
    return WandBLogger(project="p", dir=str(folder))


def neptune(url, folder):
    from ignite.handlers import NeptuneLogger

    token = {"api_address": url, "api_url": url, "api_key": "k"}
    return NeptuneLogger(
        api_token=base64.b64encode(json.dumps(token).encode()).decode(),
        project="w/p",
        **tracked_run.NEPTUNE,
    )


def polyaxon(url, folder):
    os.environ["POLYAXON_HOST"] = url
    from ignite.handlers import PolyaxonLogger

    quiet = {**tracked_run.POLYAXON, "is_offline": None}
    return PolyaxonLogger(owner="o", project="p", artifacts_path=str(folder / "store"), **quiet)


TO_NOWHERE = {"wandb": wandb, "neptune": neptune, "polyaxon": polyaxon}


def online(name, folder):
    return to_server(folder)


def outage(name, folder):
    """The server goes down in the middle of the run, and stays down."""
    return to_server(folder, goes_down=True)


def to_server(folder, goes_down=False):
    server = wandb_server.Server()
    trainer = Engine(lambda engine, batch: batch)
    if goes_down:
        trainer.add_event_handler(Events.ITERATION_COMPLETED(once=10), server.go_down)
    os.environ["WANDB_FINISH_TIMEOUT"] = "3"
    logger = wandb(server.url, folder)
    logger.attach_output_handler(
        trainer, Events.ITERATION_COMPLETED, tag="t", output_transform=lambda x: {"x": x}
    )
    count = trainer.run([i / 4 for i in range(NUM_ITERATIONS)]).iteration
    state = logger.state_dict()["tracker"]
    start = time.monotonic()
    logger.close()
    return {
        "state": state,
        "iterations": count,
        "seconds": time.monotonic() - start,
        "served": [[row["_step"], row["t/x"]] for row in server.rows],
    }


def with_dead_service(name, folder):
    """The background process of the client dies during the run."""
    trainer = Engine(lambda engine, batch: batch)
    logger = getattr(tracked_run, name)(folder)
    logger.attach_output_handler(
        trainer, Events.ITERATION_COMPLETED, tag="t", output_transform=lambda x: {"x": x}
    )
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=10), kill_service)
    count = trainer.run([i / 4 for i in range(NUM_ITERATIONS)]).iteration
    state = logger.state_dict()["tracker"]
    logger.close()
    return {"state": state, "iterations": count}


def kill_service():
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, name, _, parent = path.read_text().split()[:4]
            if name == "(wandb-core)" and int(parent) == os.getpid():
                os.kill(int(pid), signal.SIGKILL)
                return
    raise AssertionError("wandb-core does not run")


def directly(name, folder):
    """Handlers of the program log with the client itself, between ours."""
    trainer = Engine(lambda engine, batch: batch)
    with getattr(tracked_run, name)(folder) as logger:
        event = Events.ITERATION_COMPLETED
        logger.attach_output_handler(
            trainer, event, tag="t", output_transform=lambda x: {"first": x}
        )
        trainer.add_event_handler(
            event,
            lambda: DIRECTLY[name](logger, "own", trainer.state.output, trainer.state.iteration),
        )
        logger.attach_output_handler(
            trainer, event, tag="t", output_transform=lambda x: {"last": x}
        )
        trainer.run([i / 4 for i in range(NUM_ITERATIONS)])
        state = logger.state_dict()["tracker"]
    return {"state": state, "setup": set_up(name, folder)}


def set_up(name, folder):
    """A run of a logger that the recipe for training and validation makes."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.mse_loss)
    evaluator = Engine(lambda engine, batch: batch)
    Sum().attach(trainer, "sum")
    Sum().attach(evaluator, "sum")
    (folder / "setup").mkdir()
    with getattr(common, f"setup_{SHORT.get(name, name)}_logging")(
        trainer, optimizer, {"test": evaluator}, 2, **ARGUMENTS[name](folder / "setup")
    ) as logger:
        if name == "neptune":
            use_all_of_neptune(logger, trainer, model)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0.5, 1.0]))
        trainer.run([(torch.ones(1, 1), torch.ones(1, 1))] * 4, max_epochs=2)
        return logger.state_dict()["tracker"]


def use_all_of_neptune(logger, trainer, model):
    for handler in (neptune_logger.WeightsScalarHandler, neptune_logger.GradsScalarHandler):
        logger.attach(trainer, handler(model, tag="m"), Events.ITERATION_COMPLETED(once=1))
    saver = neptune_logger.NeptuneSaver(logger)
    checkpoint = Checkpoint({"model": model}, saver, filename_prefix="c", n_saved=1)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, checkpoint)


SHORT = {"polyaxon": "plx"}
ARGUMENTS = {
    "wandb": lambda folder: {"project": "p", "mode": "offline", "dir": str(folder)},
    "neptune": lambda folder: {**tracked_run.NEPTUNE, "mode": "offline"},
    "polyaxon": lambda folder: {**tracked_run.POLYAXON, "artifacts_path": str(folder / "store")},
}
DIRECTLY = {
    "wandb": lambda logger, name, value, step: logger.log({name: value}, step=step),
    "neptune": lambda logger, name, value, step: logger[name].append(value, step=step),
    "polyaxon": lambda logger, name, value, step: logger.log_metric(name, value, step=step),
}


if __name__ == "__main__":
    found = globals()[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
    (Path(sys.argv[3]) / "result.json").write_text(json.dumps(found))
