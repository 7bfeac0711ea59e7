"""Signals that request a save, or a save and a stop: nothing is lost, changed or swallowed."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from ignite.engine import Engine, Events
from ignite.handlers import Preemption
from support.runs import ONE_THREAD, Seen, row, rows_of

SCRIPT = Path(__file__).parents[1] / "support" / "stops.py"


def provoke(number, count, folder, seed=3):
    command = [sys.executable, SCRIPT, folder, number, str(count), str(seed)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **ONE_THREAD}
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    wrong = [f"{kind}: {text}" for kind, text in results if text is not None]
    kinds = ", ".join(
        f"{number} x {kind}" for kind, number in Counter(kind for kind, _ in results).items()
    )
    return Seen(len(results) - len(wrong), len(results), "; ".join(wrong) or kinds)


@row(
    19,
    "SIGTERM in a step, an evaluation, a handler, a fetch, a save",
    small=5,
    full=50,
    bar="all, < 5 s",
)
def stopped_by_sigterm(count, folder):
    return provoke("19", count, folder)


@row(20, "SIGUSR1 again and again in one run: saves, changes nothing", small=3, full=20)
def saved_by_sigusr1(count, folder):
    return provoke("20", count, folder)._replace(text=f"{count} signals, same weights")


@row(21, "SIGINT once, twice, with a logger of exceptions", small=3, full=21, bar="all, < 1 s")
def interrupted(count, folder):
    return provoke("21", count, folder)


@row(22, "earlier signal handlers: called, and put back", small=3, full=30)
def handlers_are_put_back(count, folder):
    num_good = 0
    for i in range(count):
        signum = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)[i % 3]
        received, before = (
            [],
            {number: signal.getsignal(number) for number in (signum, signal.SIGTERM)},
        )
        own = signal.signal(
            signum, lambda number, frame, received=received: received.append(number)
        )
        try:
            mine = signal.getsignal(signum)
            preemption = Preemption(raise_exit=False)
            trainer = Engine(
                lambda engine, batch, signum=signum: (
                    signal.raise_signal(signum) if batch == 2 else None
                )
            )
            preemption.attach(trainer, checkpoint=lambda engine: None)
            trainer.run([1, 2, 3])
            is_good = (
                received == [signum]
                and preemption.received == signum
                and trainer.state.iteration == 2
            )
            num_good += is_good and signal.getsignal(signum) is mine
        finally:
            signal.signal(signum, own)
        num_good -= {number: signal.getsignal(number) for number in before} != before
    return Seen(num_good, count)


@row(24, "process killed: its loader's workers end by themselves", small=1, full=5)
def orphans_end(count, folder):
    return provoke("24", count, folder)


@row(26, "SIGTERM and SIGINT to the workers of a loader: they do not save", small=2, full=20)
def workers_do_not_save(count, folder):
    return provoke("26", count, folder)


def marks_of(each):
    return (
        [pytest.mark.slow] if each.number == 24 else []
    )  # torch's workers look every five seconds


@pytest.mark.parametrize(
    "each", [pytest.param(each, marks=marks_of(each), id=str(each)) for each in rows_of(__name__)]
)
def test_the_row_holds(each, tmp_path):
    each.check(tmp_path)


@pytest.mark.parametrize("error", [None, ValueError])
def test_handlers_are_restored_however_the_run_ends(error):
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    }
    inside = {}

    def step(engine, batch):
        inside.update({number: signal.getsignal(number) for number in before})
        if error is not None:
            raise error("planned")

    trainer = Engine(step)
    Preemption().attach(trainer, checkpoint=lambda engine: None)
    if error is None:
        trainer.run([1])
    else:
        with pytest.raises(error, match="planned"):
            trainer.run([1])
    assert all(inside[number] is not before[number] for number in before)
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_run_in_a_thread_touches_no_signal():
    before, inside = signal.getsignal(signal.SIGTERM), []
    trainer = Engine(lambda engine, batch: inside.append(signal.getsignal(signal.SIGTERM)))
    Preemption().attach(trainer, checkpoint=lambda engine: None)
    thread = threading.Thread(target=trainer.run, args=([1, 2],))
    thread.start()
    thread.join()
    assert inside == [before, before]


def test_a_handler_of_exceptions_does_not_see_the_stop():
    seen = []
    trainer = Engine(lambda engine, batch: signal.raise_signal(signal.SIGINT))
    trainer.add_event_handler(Events.EXCEPTION_RAISED, lambda error: seen.append(error))
    Preemption().attach(trainer, checkpoint=lambda engine: None)
    with pytest.raises(KeyboardInterrupt):
        trainer.run([1, 2])
    assert seen == []
