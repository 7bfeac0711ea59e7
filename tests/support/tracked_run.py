"""A training run with a tracker, which may kill itself: ``python -m support.tracked_run ...``."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch

from ignite.engine import Events, create_supervised_trainer
from ignite.handlers import Checkpoint
from support import servers

NUM_BATCHES, NUM_EPOCHS = 5, 4
# Without what clients collect beside values.
NEPTUNE = {
    "source_files": [],
    "git_ref": False,
    "capture_stdout": False,
    "capture_stderr": False,
    "capture_hardware_metrics": False,
    "capture_traceback": False,
}
POLYAXON = {
    "is_offline": True,
    "collect_artifacts": True,
    "collect_resources": False,
    "track_code": False,
    "track_env": False,
}


CLEARML = {
    "project_name": "p",
    "task_name": "t",
    "auto_connect_frameworks": {"detect_repository": False},
    "auto_connect_arg_parser": False,
    "auto_connect_streams": False,
    "auto_resource_monitoring": False,
}


def clearml(folder):
    from ignite.handlers.clearml_logger import ClearMLLogger

    ClearMLLogger.set_bypass_mode("CLEARML_API_HOST" not in os.environ)
    return ClearMLLogger(**CLEARML)


def neptune(folder, run_id=None):
    from ignite.handlers.neptune_logger import NeptuneLogger

    named = {} if run_id is None else {"custom_run_id": run_id}
    return NeptuneLogger(mode="offline", **NEPTUNE, **named)


def polyaxon(folder, run_id=None):
    from ignite.handlers.polyaxon_logger import PolyaxonLogger

    return PolyaxonLogger(run_uuid=run_id, artifacts_path=str(folder / "store"), **POLYAXON)


def visdom(folder):
    from ignite.handlers.visdom_logger import VisdomLogger

    return VisdomLogger(env="tests", use_incoming_socket=False)


def wandb(folder, run_id=None):
    from ignite.handlers.wandb_logger import WandBLogger

    named = {} if run_id is None else {"id": run_id, "resume": "allow"}
    return WandBLogger(project="p", mode="offline", dir=str(folder), **named)


def make_training():
    torch.manual_seed(1)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.125)
    trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.mse_loss)
    data = [(torch.randn(4, 2), torch.randn(4, 1)) for _ in range(NUM_BATCHES)]
    return trainer, model, optimizer, data


def losses():
    """The losses of an undisturbed run without a tracker, by step."""
    trainer, _, _, data = make_training()
    found = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda: found.append((trainer.state.iteration, trainer.state.output)),
    )
    trainer.run(data, max_epochs=NUM_EPOCHS)
    return found


def run(name, folder, run_id, killed_at=None):
    trainer, model, optimizer, data = make_training()
    Checkpoint.of(trainer, folder / "checkpoints", model=model, optimizer=optimizer)
    event = Events.ITERATION_COMPLETED
    with globals()[name](folder, **({} if run_id is None else {"run_id": run_id})) as logger:
        logger.attach_output_handler(
            trainer, event, tag="train", output_transform=lambda loss: {"loss": loss}
        )
        logger.attach_opt_params_handler(trainer, event, optimizer)
        if killed_at is not None:
            trainer.add_event_handler(
                event(once=killed_at), lambda: os.kill(os.getpid(), signal.SIGKILL), priority=-1
            )
        trainer.run(data, max_epochs=NUM_EPOCHS, resume="latest")
        state = logger.state_dict()["tracker"]
    (folder / "state.json").write_text(json.dumps(state))


def run_twice(name, folder, *run_id, **variables):
    """Runs this program: a process that is killed, and one that resumes its run."""
    silent = {"CLEARML_CACHE_DIR": str(folder / "cache"), "WANDB_SILENT": "true"}
    servers.run_python(
        "-m",
        "support.tracked_run",
        name,
        folder,
        *run_id,
        cwd=folder,
        timeout_s=200,
        **{**silent, **variables},
    )
    return json.loads((folder / "state.json").read_text())


def check(found, lr):
    """Whether ``found`` has the losses and learning rates of an undisturbed run, each once."""
    steps = losses()
    expected = sorted(
        [("train/loss", step, loss) for step, loss in steps]
        + [(lr, step, 0.125) for step, _ in steps]
    )
    found = sorted(found)
    assert [one[:2] for one in found] == [one[:2] for one in expected]
    assert [one[2] for one in found] == pytest.approx([one[2] for one in expected])


def main(name, folder, run_id=None):
    """Runs twice: a process is killed in the third epoch, and this one resumes its run.

    With ``run_id``, the program itself names the run of the tracker.
    """
    child = os.fork()
    if not child:
        run(name, folder, run_id, killed_at=13)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), status
    run(name, folder, run_id)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
