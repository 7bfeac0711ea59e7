"""A program that trains, saves, resumes and inspects a run, in a process that looks like one on Windows.

Called with the folder of the run. Prints what each part found, one line of JSON each.
"""

import contextlib
import importlib
import io
import json
import logging
import multiprocessing
import os
import pkgutil
import signal
import sys
import sysconfig
import zoneinfo  # noqa: F401 - reads where the system has its time zones
from pathlib import Path

import numpy
import torch
import torch.distributed.checkpoint.filesystem
import torch.distributed.checkpoint.state_dict_loader
import torch.utils.data

from support import without_posix

importlib.import_module("tqdm.auto")
with contextlib.suppress(ImportError):
    importlib.import_module("colorama")  # which would look for the terminal of Windows
multiprocessing.get_all_start_methods()
sysconfig.get_config_vars()
without_posix.apply()

import ignite  # noqa: E402 - what it imports is to be chosen on this system
from ignite import storage, testing  # noqa: E402
from ignite.engine import Engine, Events  # noqa: E402
from ignite.handlers import Checkpoint, DiskSaver, ModelCheckpoint, Preemption  # noqa: E402
from ignite.learner import Learner  # noqa: E402

FOLDER = Path(sys.argv[1])
LOG = io.StringIO()


def every_module():
    """The modules that cannot be imported."""
    failed = []
    for module in pkgutil.walk_packages(ignite.__path__, "ignite."):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except Exception as error:
            failed.append(f"{module.name}: {error!r}")
    return failed


def make_learner():
    torch.manual_seed(0)
    return Learner(
        torch.nn.Sequential(torch.nn.Linear(4, 3)), loss="cross_entropy", lr=0.1, metrics=["accuracy"]
    )  # fmt: skip


def data():
    random = numpy.random.default_rng(0)
    return random.normal(size=(60, 4)).astype("float32"), random.integers(0, 3, 60)


def fit_and_resume():
    """Whether a resumed run has the weights of one that was not stopped, and what its folder holds."""
    whole = make_learner()
    whole.fit(data(), valid=0.2, epochs=4, batch_size=8, run_dir=FOLDER / "whole")
    make_learner().fit(data(), valid=0.2, epochs=2, batch_size=8, run_dir=FOLDER / "fit")
    resumed = make_learner()
    resumed.fit(data(), valid=0.2, epochs=4, batch_size=8, run_dir=FOLDER / "fit", resume="latest")
    best = make_learner()
    best.load(FOLDER / "fit" / "checkpoints" / "best.pt")
    folder = FOLDER / "fit" / "checkpoints"
    return {
        "is_equal": all(
            torch.equal(one, two)
            for one, two in zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
        ),
        "links": [path.name for path in folder.iterdir() if path.is_symlink()],
        "last": storage.read_index(storage.open_place(folder)).last,
        "follows": storage.follow(folder / "last.pt").name,
    }


def counting_trainer(folder, **arguments):
    total = {"sum": 0}

    def add(engine, batch):
        total["sum"] += batch
        return total["sum"]

    trainer = Engine(add)
    Checkpoint.of(trainer, folder, event=Events.ITERATION_COMPLETED, **arguments)
    return trainer


def checkpoint_of():
    """The iterations from which runs go on: of a path to a pointer, and of "latest"."""
    trainer = counting_trainer(FOLDER / "of")
    trainer.run([1, 2, 3])
    found = []
    for num_epochs, source in ((2, FOLDER / "of" / "last.pt"), (3, "latest")):
        again = counting_trainer(FOLDER / "of")
        again.add_event_handler(Events.STARTED, lambda engine: found.append(engine.state.iteration))
        again.run([1, 2, 3], max_epochs=num_epochs, resume=source)
    return found


def disk_saver():
    """Names of files; temporary ones of a process that has ended are removed, of one that lives are not."""
    folder = FOLDER / "saver"
    folder.mkdir()
    other = storage.temporary_name("a.pt").replace(f".{os.getpid()}.", ".1234567.")
    living = storage.temporary_name("a.pt").replace(f".{os.getpid()}.", ".7654321.")
    without_posix.living.add(7654321)
    for name in (other, living):
        (folder / name).write_bytes(b"")
    model = torch.nn.Linear(1, 1)
    trainer = Engine(lambda engine, batch: batch)
    handler = Checkpoint({"model": model}, DiskSaver(folder, require_empty=False), n_saved=1)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, handler)
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED,
        ModelCheckpoint(FOLDER / "saver2", "net", n_saved=1, create_dir=True),
        {"model": model},
    )
    trainer.run([1, 2, 3])
    Checkpoint.load_objects({"model": model}, folder / "model_3.pt")
    storage.open_place(folder).sweep()
    return {
        "names": sorted(path.name for path in folder.glob("*.pt")),
        "is_dead_swept": not (folder / other).exists(),
        "is_living_kept": (folder / living).exists(),
    }


def refused_names():
    """The errors for names of files that Windows forbids."""
    errors = []
    for name in ("model_loss<1.pt", "aux.pt", "model.", "a*b.pt"):
        try:
            DiskSaver(FOLDER / "names", create_dir=True, require_empty=False)({}, name)
        except ValueError as error:
            errors.append(str(error))
    return errors


def open_files():
    """A file that another program has open is replaced and removed when that program has closed it."""
    place = storage.open_place(FOLDER / "open")
    place.write("a.pt", lambda file: file.write(b"old"))
    without_posix.open_in_other_programs.add(str(FOLDER / "open" / "a.pt"))
    place.write("a.pt", lambda file: file.write(b"new"))
    without_posix.open_in_other_programs.add(str(FOLDER / "open" / "a.pt"))
    content = (FOLDER / "open" / "a.pt").read_bytes().decode()
    return [content, place.remove("a.pt"), sorted(without_posix.open_in_other_programs)]


def preemption():
    """The iteration at which a run stopped, and the signal."""

    def step(engine, batch):
        if batch == 2:
            signal.raise_signal(signal.SIGBREAK)

    trainer, handler = Engine(step), Preemption(raise_exit=False)
    handler.attach(trainer, lambda engine: None)
    trainer.run([1, 2, 3])
    return [trainer.state.iteration, handler.received == signal.SIGBREAK]


def faults():
    """Exact resume by exceptions; a clear error for killed processes; a signal as a fault."""

    def make_run(folder):
        total = {"sum": torch.zeros(1)}
        trainer = Engine(lambda engine, batch: total["sum"].add_(batch))
        Checkpoint.of(trainer, folder, event=Events.ITERATION_COMPLETED, total=Counter(total))
        return testing.Run(trainer, [1, 2, 3], {"total": Counter(total)})

    found = [list(one) for one in testing.assert_resume_is_exact(make_run)]
    try:
        testing.assert_resume_is_exact(make_run, kill=True)
    except NotImplementedError as error:
        found.append(str(error))
    return [*found, testing.Kill().signal == signal.SIGTERM]


class Counter:
    def __init__(self, total):
        self.total = total

    def state_dict(self):
        return {"sum": self.total["sum"].clone()}

    def load_state_dict(self, state):
        self.total["sum"].copy_(state["sum"])


def sharded():
    """A sharded checkpoint is written and read."""
    from ignite.storage.sharded import load_sharded, save_sharded

    save_sharded(FOLDER, "shards", {"weight": torch.ones(3), "rate": 0.5})
    state = {"weight": torch.zeros(3), "rate": 0.0}
    load_sharded(FOLDER / "shards", state)
    return [state["weight"].tolist(), state["rate"]]


def doctor():
    """Exit code and last line of the command, and whether the environment is shown."""
    from ignite import cli

    out = io.StringIO()
    code = cli.main(["doctor", str(FOLDER / "fit")], out)
    return [code, out.getvalue().splitlines()[-1], cli.main(["env"], io.StringIO())]


def logs():
    """The logged warnings, and what was sent to processes."""
    expected = (
        "SIGABRT: saving after iteration 2",
        "Current run is terminating due to exception: _StopError",
    )
    lines = [line for line in LOG.getvalue().splitlines() if not line.startswith(expected)]
    return [lines, without_posix.killed]


if __name__ == "__main__":
    logging.basicConfig(stream=LOG, level=logging.WARNING, format="%(message)s")
    for part in (
        every_module, fit_and_resume, checkpoint_of, disk_saver, refused_names, open_files, preemption, faults,
        sharded, doctor, logs,
    ):  # fmt: skip
        try:
            found = part()
        except Exception as error:
            import traceback

            found = f"{traceback.format_exc(limit=-6)} {error!r}"
        sys.stdout.write(json.dumps({part.__name__: found}) + "\n")
