"""Logs everything that a tracker supports, and to a server that is down: ``python -m support.tracked_things ...``."""

import json
import os
import sys
import warnings
from pathlib import Path

import torch

from ignite.engine import Engine, Events
from support import stopped_runs


def log_all(name, folder):
    """Logs one thing of each kind; the kinds that the tracker lacks are warned about."""
    artifact = folder / "artifact.txt"
    artifact.write_text("content")
    with getattr(stopped_runs, name)(folder) as logger:
        logger.params({"lr": 0.125})
        logger.log({"own": 0.5}, 3)
        logger.histogram("histogram", torch.tensor([0.0, 1.0, 1.0, 3.0]), 3)
        logger.image("image", torch.tensor([0.0, 1.0]).expand(3, 4, 2), 3)
        logger.artifact(artifact)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            logger.params({"late": 1})
        run = logger.experiment if name == "comet_ml" else logger.run
        assert run is logger.tracker.client
    return logger.state_dict()["tracker"]


def aim_without_server(folder, url):
    from ignite.handlers.aim_logger import AimLogger

    return AimLogger(
        repo=url.replace("http", "aim"), system_tracking_interval=None, capture_terminal_logs=False
    )


def comet_ml_without_server(folder, url):
    os.environ.update(
        COMET_URL_OVERRIDE=f"{url}/clientlib/",
        COMET_API_KEY="x" * 25,
        COMET_OFFLINE_DIRECTORY=str(folder / "comet"),
    )
    from ignite.handlers.comet_logger import CometLogger

    return CometLogger(project_name="p")


def swanlab_without_server(folder, url):
    os.environ.update(SWANLAB_API_HOST=f"{url}/api", SWANLAB_API_KEY="x" * 21)
    from ignite.handlers.swanlab_logger import SwanLabLogger

    return SwanLabLogger(project="p", log_dir=str(folder / "swanlab"), mode="online")


def trackio_without_server(folder, url):
    from ignite.handlers.trackio_logger import TrackioLogger

    return TrackioLogger("p", server_url=f"{url}/?write_token=x", auto_log_cpu=False)


def train(name, folder, url):
    """Trains with a tracker whose server is down."""
    trainer = Engine(lambda engine, batch: batch)
    with globals()[f"{name}_without_server"](folder, url) as logger:
        logger.attach_output_handler(
            trainer, Events.ITERATION_COMPLETED, tag="train", output_transform=lambda x: {"loss": x}
        )
        trainer.run([0.5, 1.5], max_epochs=2)
    return {**logger.state_dict()["tracker"], "num_iterations": trainer.state.iteration}


if __name__ == "__main__":
    function, name, folder, *urls = sys.argv[1:]
    state = globals()[function](name, Path(folder), *urls)
    sys.stdout.write(f"\n{json.dumps(state)}\n")
