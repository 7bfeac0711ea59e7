"""Signals during a run: ``python stops.py FOLDER ROW COUNT SEED`` prints the results.

A program of its own for the same reason as ``chain.py``.
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
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from ignite.engine import BackpropEvents, Events
from ignite.handlers import Preemption
from ignite.storage import reader
from ignite.testing.resume import Recorder
from support import chain, training
from support.training import EPOCH_LENGTH, Log, Plan, make_training, read_log, warm_up

PLAN = Plan(max_epochs=3, save_every=5)
NUM_ITERATIONS = PLAN.max_epochs * EPOCH_LENGTH
MAX_S = 5.0
"""How long a process may take from the signal to its end; torchrun gives it 30 s."""
PLACES = ("step", "evaluation", "handler", "fetch", "save", "time", "last handler")


def send_once(log, signum, number=1):
    """A function whose n-th call sends the signal to this process."""
    calls = []

    def send(*args):
        calls.append(None)
        if len(calls) == number:
            log.add("sent", time.monotonic())
            os.kill(os.getpid(), signum)

    return send


def arm(train, log, place, signum, generator):
    """Lets the process send itself a signal in some place."""
    trainer, number = train.trainer, generator.randint(1, NUM_ITERATIONS - 1)
    if place == "step":
        trainer.add_event_handler(BackpropEvents.BACKWARD_COMPLETED, send_once(log, signum, number))
    elif place == "handler":
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED, send_once(log, signum, number), priority=1
        )
    elif place == "last handler":
        event = generator.choice([Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED])
        trainer.add_event_handler(event, send_once(log, signum, 2), priority=-1)
    elif place == "evaluation":
        event = generator.choice(
            [Events.ITERATION_STARTED, Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED]
        )
        train.evaluator.add_event_handler(event, send_once(log, signum, generator.randint(1, 2)))
    elif place == "fetch":
        before, send = training.on_fetch, send_once(log, signum, number * training.BATCH_SIZE - 3)
        training.on_fetch = lambda index: (before(index), send())
    elif place == "save":
        fsync, send = os.fsync, send_once(log, signum, generator.randint(1, 4))
        os.fsync = lambda *args: (send(), fsync(*args))[1]


def child(folder, plan, act):
    """One process of the run: ``act(train, log)`` runs it. Never returns."""
    code = 1
    try:
        os.setpgid(0, 0)
        warnings.filterwarnings("ignore", "Detected call of")
        torch.set_num_threads(1)
        log = Log(folder / "log")
        count_saves(folder)
        train = make_training(folder / "checkpoints", plan, log)
        train.trainer.add_event_handler(
            Events.TERMINATE, lambda: log.add("terminate", train.trainer.state.iteration)
        )
        train.trainer.add_event_handler(
            Events.COMPLETED, lambda: log.add("completed", train.trainer.state.iteration)
        )
        recorder = Recorder(train.trainer, train.objects)
        act(train, log)
        torch.save(recorder.final_state(), folder / "final.pt")
        code = 0
    except KeyboardInterrupt:
        code = 77
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        (folder / "error.txt").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def count_saves(folder):
    """Writes down which process has saved something."""
    save = reader.write_state
    (folder / "savers").touch()

    def noted(*args, **kwargs):
        with (folder / "savers").open("a") as file:
            file.write(f"{os.getpid()}\n")
        return save(*args, **kwargs)

    reader.write_state = noted


def start(folder, plan, act):
    """Starts one process of the run."""
    folder.mkdir(exist_ok=True)
    pid = os.fork()
    if pid == 0:
        child(folder, plan, act)
    with suppress(PermissionError):
        os.setpgid(pid, pid)  # the child does so, too; whoever is first
    return pid


def end(pid, timeout_s=60.0):
    """Waits for the process; returns its exit code and when it ended."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            now = time.monotonic()
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # workers that are left
            return os.waitstatus_to_exitcode(status), now
        time.sleep(0.002)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None, deadline


def wait_for(folder, key, pid):
    """Waits until the log has the key, at the latest until the process ends."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (folder / "log").exists() and any(
            line[0] == key for line in read_complete(folder / "log")
        ):
            return
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.001)


def read_complete(path):
    text = path.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def run(train, log, place=None, signum=signal.SIGTERM, seed=0, **options):
    """Runs with :class:`Preemption` and, if there is a place, a signal there."""
    Preemption(**options).attach(train.trainer)
    if place is not None:
        arm(train, log, place, signum, random.Random(seed))
    train.run()


def values(folder, key):
    return [value for found, value in read_log(folder / "log") if found == key]


def make_reference(folder):
    reference = folder / "reference"
    assert end(start(reference, replace(PLAN, save_every=EPOCH_LENGTH), run))[0] == 0, error_of(
        reference
    )
    return reference


def error_of(folder):
    error = folder / "error.txt"
    return error.read_text()[-2000:] if error.exists() else ""


def resume_and_compare(folder, reference, plan):
    """Runs to the end; says what is wrong, or None."""
    done = max((key for key, value in read_log(folder / "log") if isinstance(key, int)), default=0)
    code, _ = end(start(folder, replace(plan, num_workers=2 - plan.num_workers), run))
    if code != 0:
        return f"the resumed run ended with {code}: {error_of(folder)}"
    if values(folder, "start")[1:] != [done] and done < NUM_ITERATIONS:
        return f"resumed after {values(folder, 'start')[1:]} and not after {done}, the last finished iteration"
    return chain.compare(folder, reference)


def stop_once(folder, reference, place, seed):
    """A run that is stopped by SIGTERM and resumed; says what is wrong, or None."""
    plan = replace(PLAN, num_workers=0 if place == "fetch" else seed % 2 * 2)
    pid = start(folder, plan, partial(run, place=None if place == "time" else place, seed=seed))
    sent = None
    if place == "time":
        wait_for(folder, "start", pid)
        time.sleep(random.Random(seed).uniform(0, 0.15))
        sent = time.monotonic()
        os.kill(pid, signal.SIGTERM)
    code, ended = end(pid)
    if code != 143:
        return f"exit code {code} and not 143: {error_of(folder)}"
    took = ended - (values(folder, "sent")[0] if sent is None else sent)
    if took > MAX_S:
        return f"took {took:.1f} s"
    if len(values(folder, "terminate")) != 1 or values(folder, "completed"):
        return "TERMINATE should be fired once, and COMPLETED not"
    return resume_and_compare(folder, reference, plan)


def row_19(folder, count, seed):
    """SIGTERM in each place."""
    reference = make_reference(folder)
    places = [PLACES[i % len(PLACES)] for i in range(count)]
    return [
        (place, stop_once(folder / f"stop_{i}", reference, place, seed + i))
        for i, place in enumerate(places)
    ]


def row_20(folder, count, seed):
    """SIGUSR1 again and again in one run, which only saves and goes on."""
    reference = make_reference(folder)

    def act(train, log):
        generator = random.Random(seed)
        for place in ("step", "handler", "fetch"):
            for _ in range(count // 3 + 1):
                arm(train, log, place, signal.SIGUSR1, generator)
        run(train, log, save_on=(signal.SIGUSR1,), stop_on=(signal.SIGTERM,))

    code, _ = end(start(folder / "run", PLAN, act))
    num_sent = len(values(folder / "run", "sent"))
    wrong = (
        f"exit code {code}: {error_of(folder / 'run')}"
        if code != 0
        else chain.compare(folder / "run", reference)
    )
    return [(f"signal {i}", wrong) for i in range(num_sent)]


def row_21(folder, count, seed):
    """SIGINT once, twice, and with a handler that takes exceptions over."""
    reference = make_reference(folder)
    results = []
    for i in range(count):
        kind, place = ("once", "twice", "logger")[i % 3], folder / f"stop_{i}"
        if kind == "twice":
            results.append((kind, interrupt_twice(place)))
            continue

        def act(train, log, kind=kind, seed=seed + i):
            if kind == "logger":
                train.trainer.add_event_handler(Events.EXCEPTION_RAISED, lambda error: None)
            run(train, log, PLACES[seed % 5], signal.SIGINT, seed)

        code, _ = end(start(place, PLAN, act))
        wrong = (
            f"exit code {code}: {error_of(place)}"
            if code != 77
            else resume_and_compare(place, reference, PLAN)
        )
        results.append((kind, wrong))
    return results


def interrupt_twice(folder):
    """The first one finds the run in a step that takes half a minute; the second should not wait for it."""

    def act(train, log):
        def sleep(engine):
            log.add("sleeping", True)
            until = time.monotonic() + 30
            while time.monotonic() < until:
                time.sleep(0.1)

        train.trainer.add_event_handler(Events.ITERATION_STARTED(once=3), sleep)
        run(train, log)

    pid = start(folder, PLAN, act)
    wait_for(folder, "sleeping", pid)
    os.kill(pid, signal.SIGINT)
    time.sleep(0.3)
    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
        return "the first signal should wait for the end of the iteration"
    sent = time.monotonic()
    os.kill(pid, signal.SIGINT)
    code, ended = end(pid)
    if code not in (-signal.SIGINT, 130, 77):
        return f"exit code {code}: {error_of(folder)}"
    return None if ended - sent < 1.0 else f"took {ended - sent:.1f} s after the second signal"


def row_26(folder, count, seed):
    """Signals to the workers of a loader, alone or with all of the process group."""
    reference = make_reference(folder)
    results = []
    for i in range(count):
        place, to_all = folder / f"stop_{i}", i % 2 == 1
        signum = (signal.SIGTERM, signal.SIGINT)[i // 2 % 2]
        pid = start(place, replace(PLAN, num_workers=2), run)
        wait_for(place, random.Random(seed + i).randint(2, 20), pid)
        workers = [] if to_all else children_of(pid)
        for target in workers:
            with suppress(ProcessLookupError):
                os.kill(target, signum)
        if to_all:
            os.killpg(pid, signum)
        code, _ = end(pid)
        results.append((f"{signal.Signals(signum).name} to {'all' if to_all else 'workers'}",
                        judge_workers(place, pid, code, to_all, signum, reference)))  # fmt: skip
    return results


def judge_workers(folder, pid, code, to_all, signum, reference):
    savers = {int(line) for line in (folder / "savers").read_text().splitlines()}
    if savers - {pid}:
        return f"saved by {savers} and not only by {pid}"
    expected = {signal.SIGTERM: 143, signal.SIGINT: 77}[signum]
    if to_all and code != expected:
        return f"exit code {code} and not {expected}: {error_of(folder)}"
    if (
        not to_all and code == 1
    ):  # the run has failed with its loader; it is where it was saved last
        code, _ = end(start(folder, PLAN, run))
    if not to_all:
        return (
            f"exit code {code}: {error_of(folder)}"
            if code != 0
            else chain.compare(folder, reference)
        )
    return resume_and_compare(folder, reference, replace(PLAN, num_workers=2))


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def row_24(folder, count, seed):
    """The process of the run is killed, and the workers of its loader end by themselves."""
    results = []
    for i in range(count):
        pid = start(folder / f"stop_{i}", replace(PLAN, num_workers=2), run)
        wait_for(folder / f"stop_{i}", 2, pid)
        workers = children_of(pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and any(map(is_alive, workers)):
            time.sleep(0.05)
        left = [worker for worker in workers if is_alive(worker)]
        results.append(("killed", f"left: {left}" if left else None if workers else "no workers"))
    return results


def is_alive(pid):
    stat = Path(f"/proc/{pid}/stat")
    with suppress(FileNotFoundError, ProcessLookupError):
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    return False


ROWS = {"19": row_19, "20": row_20, "21": row_21, "24": row_24, "26": row_26}


def main(folder, number, count, seed):
    sys.stdout.write(json.dumps(ROWS[number](Path(folder), int(count), int(seed))) + "\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        warm_up(Path(name))
    main(*sys.argv[1:])
