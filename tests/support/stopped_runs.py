"""A training run with a tracker, which fails or kills itself: ``python -m support.stopped_runs ...``."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from ignite.engine import Events
from ignite.handlers import Checkpoint
from support import servers, tracked_run

RUN_ID = "0123456789abcdef0123456789abcdef"


def aim(folder, **named):
    from ignite.handlers.aim_logger import AimLogger

    off = {"system_tracking_interval": None, "capture_terminal_logs": False}
    return AimLogger(repo=str(folder), **off, **named)


def comet_ml(folder, **named):
    import comet_ml

    from ignite.handlers.comet_logger import CometLogger

    off = dict.fromkeys(
        ("log_code", "log_git_metadata", "log_git_patch", "log_env_details", "auto_output_logging"),
        False,
    )
    config = comet_ml.ExperimentConfig(offline_directory=str(folder / "comet"), **off)
    return CometLogger(project_name="p", online=False, experiment_config=config, **named)


def swanlab(folder, **named):
    from ignite.handlers.swanlab_logger import SwanLabLogger

    return SwanLabLogger(project="p", mode="offline", log_dir=str(folder / "swanlab"), **named)


def trackio(folder, **named):
    from ignite.handlers.trackio_logger import TrackioLogger

    return TrackioLogger("p", auto_log_cpu=False, auto_log_gpu=False, **named)


NAMED = {
    "comet_ml": {"experiment_key": RUN_ID},
    "swanlab": {"id": RUN_ID, "resume": "allow"},
    "trackio": {"name": RUN_ID},  # without resume="allow", the same name is another run
}


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def fail():
    raise RuntimeError("as planned")


def run(name, folder, named, stop=None, stops_at=None):
    trainer, model, optimizer, data = tracked_run.make_training()
    Checkpoint.of(trainer, folder / "checkpoints", model=model, optimizer=optimizer)
    event = Events.ITERATION_COMPLETED
    with globals()[name](folder, **named) as logger:
        logger.attach_output_handler(
            trainer, event, tag="train", output_transform=lambda loss: {"loss": loss}
        )
        logger.attach_opt_params_handler(trainer, event, optimizer)
        if stop is not None:
            trainer.add_event_handler(event(once=stops_at), stop, priority=-1)
        trainer.run(data, max_epochs=tracked_run.NUM_EPOCHS, resume="latest")
        state = logger.state_dict()["tracker"]
    (folder / "state.json").write_text(json.dumps(state))


def main(name, folder, stops, is_named):
    """Runs until the end; before, processes stop as in ("kill", 13): in the third epoch."""
    named = NAMED[name] if is_named else {}
    for how, stops_at in stops:
        child = os.fork()
        if not child:
            run(name, folder, named, {"kill": kill, "fail": fail}[how], stops_at)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) if how == "kill" else os.WEXITSTATUS(status) == 1, status
    run(name, folder, named)


def state_of(name, folder, stops, is_named):
    """Runs :func:`main` in a process; returns the state of the tracker at the end."""
    program = ("-m", "support.stopped_runs", name, folder, json.dumps(stops))
    servers.run_python(
        *program,
        *["named"] * is_named,
        cwd=folder,
        timeout_s=200,
        TRACKIO_DIR=str(folder / "trackio"),
    )
    return json.loads((folder / "state.json").read_text())


def check(found):
    """Whether ``found`` has the losses and learning rates of an undisturbed run, each once."""
    losses = tracked_run.losses()
    expected = sorted(
        [("train/loss", step, loss) for step, loss in losses]
        + [("lr/group_0", step, 0.125) for step, _ in losses]
    )
    found = sorted(found)
    assert [one[:2] for one in found] == [one[:2] for one in expected]
    assert [one[2] for one in found] == pytest.approx([one[2] for one in expected])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]), len(sys.argv) > 4)
