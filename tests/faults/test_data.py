"""Data that raise, hang or end; data that are continued after a stop, or that have changed."""

import itertools
import logging
import multiprocessing
import os
import random
import resource
import signal
import time
import traceback
from collections import defaultdict

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from ignite.data import resumable, seeded
from support.runs import Seen, row, rows_of

NUM_SAMPLES = 23


class Failing(Dataset):
    """Does something to whoever asks for one of its samples, in a worker or in this process."""

    def __init__(self, index, fail):
        self.index = index
        self.fail = fail

    def __len__(self):
        return NUM_SAMPLES

    def __getitem__(self, i):
        if i == self.index:
            self.fail()
        return i


class Augmented(Dataset):
    def __len__(self):
        return NUM_SAMPLES

    def __getitem__(self, i):
        return torch.tensor([i, random.random(), np.random.randn(), torch.rand(()).item()])


def raise_value_error():
    raise ValueError("cannot decode")


def raise_with_a_tensor():
    raise KeyError("no such label")


def collect_until_error(loader):
    """What was delivered, the error, and how long that took."""
    delivered, start = [], time.monotonic()
    try:
        for batch in loader:
            delivered.append(batch)  # noqa: PERF402 - has to be there when it raises
    except Exception as error:
        # Its frames would hold the loader, and those who hold it: a cycle, as long as somebody keeps the error.
        error.where = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        return delivered, error.with_traceback(None), time.monotonic() - start
    return delivered, None, time.monotonic() - start


@row(39, "the data set raises", small=4, full=16, bar="type kept; samples and epoch named; <= 1 s")
def raising(count, folder):
    cases = itertools.product(
        (0, 2), (raise_value_error, raise_with_a_tensor), (0, 7, 12, NUM_SAMPLES - 1)
    )
    passed = total = 0
    for num_workers, fail, index in itertools.islice(spread(list(cases), count), count):
        loader = resumable(
            DataLoader(Failing(index, fail), batch_size=4, shuffle=True, num_workers=num_workers),
            seed=1,
        )
        loader.set_epoch(3)
        delivered, error, seconds = collect_until_error(loader)
        total += error is not None
        notes = "\n".join(getattr(error, "__notes__", []))
        expected = f"in batch {len(delivered)} of epoch 3, with the samples ["
        named = expected in notes and index in map(
            int, notes.split("samples [")[1].split("]")[0].split(", ")
        )
        kind = {raise_value_error: ValueError, raise_with_a_tensor: KeyError}[fail]
        passed += (
            named
            and type(error).__name__ == kind.__name__
            and isinstance(error, kind)
            and seconds <= 1
        )
    return Seen(passed, total)


def spread(cases, count):
    """That many of the cases, the first and the last among them."""
    step = max(1, (len(cases) - 1) // max(1, count - 1))
    return cases[:: step or 1]


def kill_myself():
    os.kill(os.getpid(), signal.SIGKILL)


def leave():
    os._exit(3)


def run_out_of_memory():
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (0, hard))
    os.kill(os.getpid(), signal.SIGKILL)  # what the kernel does to a worker that has none left


def stays_in_shared_memory(before):
    """Whether files are there that were not, and still after a second: others on this machine come and go."""
    deadline = time.monotonic() + 1
    while left := set(os.listdir("/dev/shm")) - before:
        if time.monotonic() > deadline:
            return "PYTEST_XDIST_WORKER" not in os.environ and bool(
                left
            )  # there, other tests have theirs
        time.sleep(0.01)
    return False


@row(
    40,
    "a worker is killed, leaves, or runs out of memory",
    small=3,
    full=30,
    bar="<= 7 s; no process, no /dev/shm left",
)
def dying(count, folder):
    passed, total, faults = 0, 0, []
    cases = itertools.cycle(
        itertools.product((kill_myself, leave, run_out_of_memory), (False, True))
    )
    for fail, persistent in itertools.islice(cases, count):
        before = set(os.listdir("/dev/shm"))
        dataset = Failing(9, fail)
        loader = resumable(
            DataLoader(dataset, batch_size=4, num_workers=2, persistent_workers=persistent),
            seed=1,
            stall_warning_s=60,
        )
        delivered, error, seconds = collect_until_error(loader)
        total += error is not None
        notes = "\n".join(getattr(error, "__notes__", []))
        checks = {
            # OSError: it died while this process was taking a batch over from it.
            "type": isinstance(error, RuntimeError | OSError | EOFError)
            and "DataLoader worker" in f"{error} {notes}",
            "notes": "most often out of memory" in notes and "while waiting for batch " in notes,
            # torch is told by a signal; if that comes between two looks at it, it looks again after five seconds.
            "time": seconds <= 7,
            "children": multiprocessing.active_children() == [],
            "shared memory": not stays_in_shared_memory(before),
            "batches": [int(j) for batch in delivered for j in batch]
            == list(range(len(delivered) * 4)),
        }
        passed += all(checks.values())
        faults += [
            f"{name}: {error!r} in {error.where}, {seconds:.1f} s"
            for name, is_good in checks.items()
            if not is_good
        ]
    return Seen(passed, total, "; ".join(faults))


class Release(logging.Handler):
    """Lets the worker go on when the warning is there, and takes down when that was."""

    def __init__(self, event):
        super().__init__()
        self.event = event
        self.texts = []
        self.time = None

    def emit(self, record):
        self.time = time.monotonic()
        self.texts.append(record.getMessage())
        self.event.set()


@row(41, "a worker hangs", small=1, full=5, bar="one warning at T +- 1 s that names the process")
def hanging(count, folder):
    passed = total = 0
    logger = logging.getLogger("ignite.data._passes")
    for _ in range(count):
        event = multiprocessing.Event()
        handler = Release(event)
        logger.addHandler(handler)
        try:
            loader = resumable(
                DataLoader(
                    Failing(5, lambda event=event: event.wait(20)), batch_size=4, num_workers=2
                ),
                seed=1,
                stall_warning_s=0.4,
            )
            iterator = iter(loader)
            next(iterator)
            pids = [child.pid for child in multiprocessing.active_children()]
            start = time.monotonic()
            batch = next(iterator)
            rest = list(iterator)
        finally:
            logger.removeHandler(handler)
        total += event.is_set() and handler.time is not None
        good = (
            handler.time is not None
            and 0.4 <= handler.time - start + 0.01 <= 1.4
            and len(handler.texts) == 1
        )
        good &= (
            "batch 1 of epoch 0, with the samples [4, 5, 6, 7], which worker 1 (pid "
            in handler.texts[0]
        )
        good &= all(str(pid) in handler.texts[0] for pid in pids)
        passed += good and batch.tolist() == [4, 5, 6, 7] and len(rest) == 4
    return Seen(passed, total)


@row(
    50,
    "stopped in mid-pass, with workers",
    small=8,
    full=96,
    bar="bit-equal, with what was drawn in workers",
)
def resuming(count, folder):
    reference = defaultdict(list)
    kinds = {"batch seeds": Augmented(), "sample seeds": seeded(Augmented(), 3)}
    for kind, dataset in kinds.items():
        loader = resumable(DataLoader(dataset, batch_size=4, shuffle=True), seed=7)
        reference[kind] = [*loader, *loader]
    length = len(reference["batch seeds"]) // 2
    cases = list(
        itertools.product(kinds, (1, 2), (False, True), (2, 4), (0, 1, length - 1, length))
    )
    cases += list(itertools.product(kinds, (0,), (False,), (None,), (0, 1, length - 1, length)))
    random.Random(1).shuffle(cases)
    passed = total = 0
    for kind, num_workers, persistent, prefetch, stop in cases[:count]:

        def make(kind=kind, num_workers=num_workers, persistent=persistent, prefetch=prefetch):
            options = {
                "num_workers": num_workers,
                "persistent_workers": persistent,
                "prefetch_factor": prefetch,
            }
            return resumable(DataLoader(kinds[kind], batch_size=4, shuffle=True, **options), seed=7)

        first = make()
        iterator = iter(first)
        delivered = [next(iterator) for _ in range(stop)]
        state = first.state_dict()
        del iterator, first
        second = make()
        second.load_state_dict(state)
        delivered += [*second, *second]
        total += 1
        expected = reference[kind][: len(delivered)]
        passed += len(delivered) == 2 * length and all(map(torch.equal, delivered, expected))
    return Seen(passed, total)


@row(
    53,
    "resumed with other data",
    small=5,
    full=5,
    bar="named by default; another number of workers stays exact",
)
def changing(count, folder):
    def make(num_samples=NUM_SAMPLES, **options):
        dataset = torch.arange(num_samples)
        return resumable(
            DataLoader(dataset, **{"batch_size": 4, "shuffle": True} | options), seed=2
        )

    loader = make()
    expected = list(loader)
    iterator = iter(make())
    first = make()
    iterator = iter(first)
    next(iterator)
    state = first.state_dict()
    changes = [
        ({"batch_size": 5}, "batch_size was 4 and is 5"),
        ({"num_samples": 24}, "the length of the dataset was 23 and is 24"),
        ({"drop_last": True}, "drop_last was False and is True"),
        ({"num_workers": 1}, None),
        ({"num_workers": 2}, None),
    ]
    passed = 0
    for options, text in changes[:count]:
        other = make(**options)
        try:
            other.load_state_dict(state)
        except ValueError as error:
            passed += (
                text is not None and text in str(error) and other.state_dict()["num_batches"] == 0
            )
        else:
            passed += text is None and all(map(torch.equal, other, expected[1:]))
    return Seen(passed, min(count, len(changes)))


@pytest.mark.parametrize("each", rows_of(__name__), ids=str)
def test_the_row_holds(each, tmp_path):
    each.check(tmp_path)
