"""Length of code paths: files entered, functions called and changes of file, for five everyday programs."""

import io
import sys
import tempfile
from pathlib import Path

import torch

import ignite
from ignite.engine import Engine, Events, create_supervised_evaluator
from ignite.handlers import Checkpoint
from ignite.metrics import Accuracy

ROOT = str(Path(ignite.__file__).parent)
AIMS = {  # files, changes of file
    "run of two batches with one handler": (10, 90),
    "save": (28, None),
    "resume": (30, None),
    "evaluator with Accuracy": (20, None),
    "Learner.fit((x, y), valid=.25)": (40, 600),
}


class Walk:
    """Records the functions of the library that are entered within the context."""

    def __init__(self):
        self.files, self.functions, self.num_changes = set(), set(), 0
        self._last = None

    def _profile(self, frame, event, arg):
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(ROOT):
            return
        self.files.add(code.co_filename)
        self.functions.add((code.co_filename, code.co_firstlineno))
        self.num_changes += code.co_filename != self._last
        self._last = code.co_filename

    def __enter__(self):
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *exception):
        sys.setprofile(None)


def run_of_two_batches():
    engine = Engine(lambda engine, batch: batch)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: None)
    with Walk() as walk:
        engine.run([1, 2])
    return walk


def trainer_of(folder):
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine, batch):
        optimizer.zero_grad()
        loss = model(batch).sum()
        loss.backward()
        optimizer.step()
        return loss.item()

    trainer = Engine(step)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, Checkpoint.of(trainer, folder))
    return trainer


def save_and_resume(is_resume):
    with tempfile.TemporaryDirectory() as folder:
        with Walk() as walk:
            trainer_of(folder).run([torch.ones(1, 2)] * 2, max_epochs=1)
        if is_resume:
            trainer = trainer_of(folder)
            with Walk() as walk:
                trainer.run([torch.ones(1, 2)] * 2, max_epochs=2, resume="latest")
    return walk


def evaluator_with_accuracy():
    evaluator = create_supervised_evaluator(torch.nn.Linear(2, 2))
    Accuracy().attach(evaluator, "accuracy")
    with Walk() as walk:
        evaluator.run([(torch.ones(3, 2), torch.zeros(3, dtype=torch.long))] * 2)
    return walk


def fit_of_learner():
    x, y = torch.randn(64, 4), torch.randint(2, (64,))
    learner = ignite.Learner(torch.nn.Linear(4, 2), loss="cross_entropy", optimizer="sgd", lr=0.1)
    with Walk() as walk:
        learner.fit((x, y), valid=0.25, epochs=1, progress=False)
    return walk


WALKS = {
    "run of two batches with one handler": run_of_two_batches,
    "save": lambda: save_and_resume(False),
    "resume": lambda: save_and_resume(True),
    "evaluator with Accuracy": evaluator_with_accuracy,
    "Learner.fit((x, y), valid=.25)": fit_of_learner,
}


def main():
    is_good = True
    print(f"{'':<38}{'files':>7}{'functions':>11}{'changes':>9}   aims")
    for name, function in WALKS.items():
        walk = function()
        files, changes = AIMS[name]
        passed = len(walk.files) <= files and (changes is None or walk.num_changes <= changes)
        is_good &= passed
        aims = f"{files} files" + ("" if changes is None else f", {changes} changes")
        counts = f"{len(walk.files):>7}{len(walk.functions):>11}{walk.num_changes:>9}"
        print(f"{name:<38}{counts}   {aims} {'PASS' if passed else 'FAIL'}")
    return 0 if is_good else 1


if __name__ == "__main__":
    torch.manual_seed(0)
    # torch imports hundreds of modules at the first optimizer and step, and asks the import finder
    # of the library for each.
    torch.optim.SGD([torch.zeros(1)]).step()
    torch.save(torch.zeros(1), buffer := io.BytesIO())
    buffer.seek(0)
    torch.load(buffer)
    raise SystemExit(main())
