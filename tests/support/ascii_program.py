"""A program with names that are not ASCII, for a locale that has ASCII only.

Called with a folder, whose name Python cannot decode in such a locale, and a file for what the parts found, as one
line of JSON each. Writes to standard output, too.
"""

import json
import logging
import os
import sys
import traceback
import warnings
from pathlib import Path

import numpy
import torch
from rich.console import Console

from ignite import cli, storage
from ignite.engine import Engine, Events
from ignite.handlers import (
    BasicTimeProfiler,
    Checkpoint,
    CSVLogger,
    DiskSaver,
    HandlersTimeProfiler,
    JSONLLogger,
    LiveProgress,
    ProgressBar,
    TensorboardLogger,
)  # fmt: skip
from ignite.learner import Learner

FOLDER = Path(sys.argv[1])
VALUES = {"Größe": 1.5, "名": 2.5}
TEXTS = {**VALUES, "Name": "ü"}


def größe(engine):
    """A handler whose name is shown."""


def encodings():
    """What Python chose for this locale."""
    return [sys.getfilesystemencoding(), sys.stdout.encoding, sys.stdout.errors]


def log(logger, values):
    trainer = Engine(lambda engine, batch: values)
    with logger:
        logger.attach_output_handler(
            trainer, Events.ITERATION_COMPLETED, tag="é", output_transform=lambda output: output
        )  # fmt: skip
        trainer.run([1, 2])
    return trainer


def csv_file():
    """Rows are appended to a file, by another logger, too."""
    log(CSVLogger(FOLDER / "log.csv"), TEXTS)
    log(CSVLogger(FOLDER / "log.csv"), {**TEXTS, "Spät": os.fsdecode("日".encode())})


def jsonl_file():
    """Lines of JSON."""
    log(JSONLLogger(FOLDER / "log.jsonl"), TEXTS)


def tensorboard():
    """Event files; TensorBoard itself opens them by their path."""
    log(TensorboardLogger(log_dir=FOLDER / "tensorboard"), VALUES)


def checkpoints():
    """Saves and loads, with names of objects that are not ASCII."""
    model = torch.nn.Linear(1, 1)
    trainer = Engine(lambda engine, batch: None)
    saver = DiskSaver(FOLDER / "saver", create_dir=True)
    trainer.add_event_handler(Events.COMPLETED, Checkpoint({"netz_ä": model}, saver))
    Checkpoint.of(trainer, FOLDER / "run", model=model)
    trainer.run([1, 2])
    (file,) = (FOLDER / "saver").glob("*.pt")
    Checkpoint.load_objects({"netz_ä": model}, file)
    return len(list((FOLDER / "run").glob("checkpoint_*.pt")))


def make_learner():
    torch.manual_seed(0)
    return Learner(torch.nn.Linear(2, 2), loss="cross_entropy", metrics={"Güte": "accuracy"})


def fit():
    """Trains with classes and metrics that are not ASCII; resumes; shows the history."""
    data = torch.randn(20, 2).numpy(), numpy.array(["ä", "日"] * 10)
    for epochs in (1, 2):
        learner = make_learner()
        history = learner.fit(
            data, valid=0.2, epochs=epochs, run_dir=FOLDER / "fit", resume="latest", progress=True
        )  # fmt: skip
    learner.save(FOLDER / "weights.pt")
    again = make_learner()
    again.load(FOLDER / "weights.pt")
    return [again.classes, sorted(name for name in history.names if "Güte" in name)]


def progress():
    """Bars on standard output."""
    trainer = Engine(lambda engine, batch: {"é": 1.0, "ü": "ö"})
    bar = ProgressBar(desc="Läufe", file=sys.stdout)
    bar.attach(trainer, output_transform=lambda output: output)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: bar.log_message("日"))
    for terminal in (True, False):
        console = Console(file=sys.stdout, force_terminal=terminal, width=200)
        LiveProgress(console=console).attach(trainer, output_transform=lambda output: output["é"])
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED,
        lambda engine: engine.state.metrics.update({"Güte": 0.5, "Art": "日"}),
    )
    trainer.run([1.0, 3.0, 2.0])


def profilers():
    """Tables with the names of handlers."""
    for profiler in (BasicTimeProfiler(), HandlersTimeProfiler()):
        trainer = Engine(lambda engine, batch: None)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, größe)
        profiler.attach(trainer)
        trainer.run([1])
        profiler.print_results(profiler.get_results())
        profiler.write_results(str(FOLDER / "times.csv"))


def commands():
    """Exit codes of commands that show the name of a folder."""
    return [
        cli.main(["doctor", str(FOLDER / "fit")]),
        cli.main(["doctor", str(FOLDER)]),
        cli.main(["env"]),
    ]


def paths_in_the_program():
    """Paths that were not given by the system, but are written in the program."""
    folder = FOLDER / "weitere_Läufe"
    DiskSaver(folder, create_dir=True)({"a": 1}, "best_日.pt")
    log(CSVLogger(folder / "ä.csv"), TEXTS)
    log(JSONLLogger(folder / "ä.jsonl"), TEXTS)
    assert storage.load(folder / "best_日.pt").state == {"a": 1}
    assert storage.open_place(folder).names() == ["best_日.pt", "ä.csv", "ä.jsonl"]


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    warnings.filterwarnings("error", category=EncodingWarning, module=r"ignite\.")
    with open(sys.argv[2], "w", encoding="ascii") as results:
        for part in (
            encodings, csv_file, jsonl_file, tensorboard, checkpoints, fit, progress, profilers, commands,
            paths_in_the_program,
        ):  # fmt: skip
            try:
                found = part()
            except BaseException as error:
                found = f"{traceback.format_exc(limit=-6)} {error!r}"
            results.write(json.dumps({part.__name__: found}) + "\n")
