"""A chain of ``kill -9``: a run is killed at random moments and started again until it ends, then compared.

``python chain.py FOLDER NUM_KILLS PRECISION SEED [sync]`` prints a report. It is a program of its own, so that each
process of the run can be forked from one that has imported everything, has computed nothing, and has one thread.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ignite._core.differences import first_difference
from ignite.engine import BackpropEvents, Events
from ignite.storage import reader
from ignite.testing import Kill, inject
from ignite.testing.resume import Recorder
from support import training
from support.training import EPOCH_LENGTH, Log, Plan, make_training, read_log, warm_up

NUM_ITERATIONS_PER_KILL = 6
SYSTEM_CALLS = ("fsync", "replace", "unlink")
EVENTS = {
    "evaluation": Events.ITERATION_COMPLETED,
    "in the window": BackpropEvents.BACKWARD_COMPLETED,
    "after the step": BackpropEvents.OPTIM_STEP_COMPLETED,
    "end of epoch": Events.EPOCH_COMPLETED,
    "in the fetch": Events.GET_BATCH_COMPLETED,
}
PHASES = ("time", "write", "sample", *SYSTEM_CALLS, *EVENTS)


@dataclass(frozen=True)
class Blow:
    """When a process is killed: at the n-th time in a phase, and at the latest after some iterations."""

    phase: str
    number: int
    budget: int
    seconds: float = 0.0


def draw_blow(generator, num_left, num_kills_left):
    fair_share = max(1, round(2 * num_left / (num_kills_left + 1)))
    budget = min(generator.randint(1, fair_share), num_left - 1)
    phase = generator.choice(PHASES)
    most = {"sample": 60, "evaluation": 5, "end of epoch": 1}.get(phase, 6)
    return Blow(
        phase, generator.randint(1, most), budget, generator.uniform(0.0, 0.05 + 0.01 * budget)
    )


def kill_at(number, marker, phase):
    """A function whose n-th call kills the run, also if it is called in a worker of the loader."""
    pid, calls = os.getpid(), Counter()

    def count(*args):
        calls[phase] += 1
        if calls[phase] == number:
            mark(marker, phase)
            os.kill(pid, signal.SIGKILL)

    return count


def mark(marker, phase):
    with marker.open("a") as file:
        file.write(phase + "\n")


def arm(blow, train, marker, stack):
    """Makes the process kill itself as the blow says."""
    count = kill_at(blow.number, marker, blow.phase)
    if blow.phase in SYSTEM_CALLS:
        original = getattr(os, blow.phase)
        setattr(os, blow.phase, lambda *args, **kwargs: (count(), original(*args, **kwargs))[1])
    elif blow.phase == "write":
        save = reader.write_state
        reader.write_state = lambda file, state, parts: save(Counting(file, count), state, parts)
    elif blow.phase == "sample":
        training.on_fetch = count
    elif blow.phase in EVENTS:
        engine = train.evaluator if blow.phase == "evaluation" else train.trainer
        engine.add_event_handler(EVENTS[blow.phase], lambda: count())

    @train.trainer.on(Events.STARTED)
    def set_limit(engine):
        limit = engine.state.iteration + blow.budget + 1
        fault = inject(engine, Kill(), at=Events.ITERATION_STARTED, count=limit, marker=marker)
        stack.callback(fault.remove)


class Counting:
    """A file that tells of each write, before its second half is written."""

    def __init__(self, file, count):
        self._file = file
        self._count = count

    def write(self, data):
        view = memoryview(data).cast("B")
        half = len(view) // 2
        self._file.write(view[:half])
        self._file.flush()
        self._count()
        self._file.write(view[half:])
        return len(view)

    def __getattr__(self, name):
        return getattr(self._file, name)


def child(folder, plan, blow, log_name):
    """One process of the run; never returns."""
    code = 1
    try:
        os.setpgid(0, 0)
        warnings.filterwarnings("ignore", "Detected call of")
        torch.set_num_threads(1)
        train = make_training(folder / "checkpoints", plan, Log(folder / log_name))
        recorder = Recorder(train.trainer, train.objects)
        with ExitStack() as stack:
            if blow is not None:
                arm(blow, train, folder / "marker", stack)
            train.run()
        torch.save(recorder.final_state(), folder / "final.pt")
        code = 0
    except BaseException:
        (folder / "error.txt").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def run_child(folder, plan, blow=None, log_name="log"):
    """Runs one process of the run and, if it is due at some time, kills it; returns its exit code."""
    pid = os.fork()
    if pid == 0:
        child(folder, plan, blow, log_name)
    if blow is not None and blow.phase == "time":
        time.sleep(blow.seconds)
        mark(folder / "marker", "time")
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(ProcessLookupError):
        os.killpg(
            pid, signal.SIGKILL
        )  # workers of the loader, which would take some seconds to see it
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(
            f"The run should be killed or end well, but: {(folder / 'error.txt').read_text()}"
        )
    return code


def run_chain(folder, plan, num_kills, seed):
    """Kills the run as often as that, then lets it end; returns in which places it was killed, how often."""
    generator, total = random.Random(seed), plan.max_epochs * EPOCH_LENGTH
    folder.mkdir()
    (folder / "log").touch()
    for number in range(num_kills):
        done = last_start(folder / "log")
        blow = draw_blow(generator, total - done, num_kills - number)
        code = run_child(folder, replace(plan, num_workers=number % 2 * 2), blow)
        if code != -signal.SIGKILL:
            raise RuntimeError(f"The run should be killed by {blow}, but came to its end")
    if run_child(folder, replace(plan, num_workers=num_kills % 2 * 2)) != 0:
        raise RuntimeError("The last process of the run should come to its end, but was killed")
    # Faults of ``ignite.testing`` leave lines of their own.
    places = [
        "limit" if line[0] == "{" else line for line in (folder / "marker").read_text().splitlines()
    ]
    assert len(places) >= num_kills, "something else has killed the run"
    return Counter(places)


def last_start(log):
    """The iteration that the last process went on after, as far as it has come to that."""
    return max((value for key, value in read_log(log) if key == "start"), default=0)


def compare(folder, reference):
    """The first difference between a run and the one that was not killed, also in what was done twice; or None."""
    expected = {str(key): value for key, value in read_log(reference / "log") if is_computed(key)}
    seen = set()
    for key, value in read_log(folder / "log"):
        if not is_computed(key):
            continue
        if value != expected.get(str(key)):
            return f"{key}: {value} should be {expected.get(str(key))}"
        seen.add(str(key))
    if seen != expected.keys():
        return f"never done: {sorted(expected.keys() - seen)[:5]}"
    states = [torch.load(one / "final.pt", weights_only=True) for one in (folder, reference)]
    return first_difference(*states, "final state")


def is_computed(key):
    """Whether a line of the log tells of an iteration or epoch, and not of the process."""
    return isinstance(key, int) or key.startswith("epoch")


def lost_work(log):
    """The most iterations that were done again after a kill."""
    done = most = 0
    for key, value in read_log(log):
        if key == "start":
            most = max(most, done - value)
            done = value
        elif isinstance(key, int):
            done = key
    return most


def main(folder, num_kills, precision, seed, *options):
    folder, num_kills = Path(folder), int(num_kills)
    max_epochs = max(3, -(-num_kills * NUM_ITERATIONS_PER_KILL // EPOCH_LENGTH))
    plan = Plan(precision=precision, max_epochs=max_epochs, background="sync" not in options)
    reference, chain = folder / "reference", folder / "chain"
    reference.mkdir()
    # With other checkpoints than the chain: they should not change what is computed.
    run_child(reference, replace(plan, save_every=EPOCH_LENGTH, background=False))
    killed_in = run_chain(chain, plan, num_kills, int(seed))
    difference = compare(chain, reference)
    files = sorted(path.name for path in (chain / "checkpoints").iterdir())
    report = {
        "num_kills": num_kills, "difference": difference, "lost": lost_work(chain / "log"),
        "killed_in": dict(killed_in), "files": files, "num_iterations": max_epochs * EPOCH_LENGTH,
    }  # fmt: skip
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        warm_up(Path(name))
    main(*sys.argv[1:])
