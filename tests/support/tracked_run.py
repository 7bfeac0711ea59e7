"""A training run with a tracker, which may kill itself: ``python -m support.tracked_run ...``."""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from ignite.engine import Events, create_supervised_trainer
from ignite.handlers import Checkpoint

NUM_BATCHES, NUM_EPOCHS = 5, 4


def neptune(folder):
    from ignite.handlers.neptune_logger import NeptuneLogger

    off = dict.fromkeys(
        ("capture_stdout", "capture_stderr", "capture_hardware_metrics", "capture_traceback"), False
    )
    return NeptuneLogger(mode="offline", source_files=[], git_ref=False, **off)


def polyaxon(folder):
    from ignite.handlers.polyaxon_logger import PolyaxonLogger

    off = dict.fromkeys(("track_code", "track_env", "collect_resources"), False)
    return PolyaxonLogger(
        is_offline=True, artifacts_path=str(folder / "store"), collect_artifacts=True, **off
    )


def wandb(folder):
    from ignite.handlers.wandb_logger import WandBLogger

    return WandBLogger(project="p", mode="offline", dir=str(folder))


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


def run(name, folder, killed_at=None):
    trainer, model, optimizer, data = make_training()
    Checkpoint.of(trainer, folder / "checkpoints", model=model, optimizer=optimizer)
    event = Events.ITERATION_COMPLETED
    with globals()[name](folder) as logger:
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


def main(name, folder):
    """Runs twice: a process is killed in the third epoch, and this one resumes its run."""
    child = os.fork()
    if not child:
        run(name, folder, killed_at=13)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), status
    run(name, folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
