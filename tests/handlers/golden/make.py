"""Creates the files in this folder: ``benchmarks/.venv-pytorch-ignite/bin/python make.py`` (pytorch-ignite 0.5.5)."""

from pathlib import Path

import torch
from torch import nn

from ignite.engine import Engine, State
from ignite.handlers import Checkpoint, DiskSaver

FOLDER = Path(__file__).parent


def linear(value):
    model = nn.Linear(2, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model


def save(name, to_save, iteration, **options):
    """Saves twice, so that the handler's state has two files in it."""
    saver = DiskSaver(FOLDER, require_empty=False)
    checkpoint = Checkpoint(to_save, saver, filename_prefix=name, n_saved=2, **options)
    trainer = Engine(lambda engine, batch: None)
    for step in (1, 2):
        trainer.state = State(
            iteration=iteration * step, epoch=step, epoch_length=iteration, max_epochs=9
        )
        checkpoint(trainer)
    saver.remove(f"{name}_{'model' if len(to_save) == 1 else 'checkpoint'}_{iteration}.pt")


def several():
    model = linear(3.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    trainer = Engine(lambda engine, batch: None)
    trainer.state = State(iteration=20, epoch=2, epoch_length=10, max_epochs=9)
    return {"model": model, "trainer": trainer, "nested": {"optimizers": [optimizer]}}


if __name__ == "__main__":
    save("single", {"model": nn.DataParallel(linear(1.0))}, 5)
    save("single_with_self", {"model": linear(2.0)}, 5, include_self=True)
    save("several_with_self", several(), 10, include_self=True)
