"""Faults that reach a run through ``Checkpoint``: its list matches the files, and it can always continue.

Each row is also run with a handler that is known to be bad, and has to find it so.
"""

import errno
import json
import logging
import math
import multiprocessing
import os
import random
import subprocess
import threading
import zipfile
from pathlib import Path

import pytest
import torch

from ignite import storage
from ignite.engine import Engine, State
from ignite.exceptions import CheckpointError
from ignite.handlers import Checkpoint, DiskSaver
from support import disk
from support.disk import ALL, FailEver, is_consistent, spread, state_of
from support.runs import Seen, row, rows_of

GOLDEN = Path(__file__).parents[1] / "handlers" / "golden"
ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EINTR)


class Model:
    """What it is of the size asked for, it says of itself."""

    def __init__(self, num_floats=disk.NUM_FLOATS):
        self.step = 0
        self.num_floats = num_floats

    def state_dict(self):
        return state_of(self.step, self.num_floats)

    def load_state_dict(self, state):
        self.step = state["step"]


class Trained:
    """A model that is trained step by step, and saved."""

    def __init__(self, make, folder, num_floats=disk.NUM_FLOATS, **options):
        self.folder = Path(folder)
        self.model = Model(num_floats)
        self.checkpoint = make({"m": self.model}, self.folder, **options)
        self.engine = Engine(lambda engine, batch: None)

    def save(self, step, score=None):
        self.model.step = step
        self.engine.state = State(iteration=step, epoch=1, metrics={"score": score})
        self.checkpoint(self.engine)

    def known(self):
        return list(self.checkpoint.state_dict()["_saved"]), str(self.checkpoint.last_checkpoint)

    def files(self):
        """Names and steps of those that are whole; others count as damaged, with -1."""
        steps = {}
        for path in sorted(self.folder.glob("*.pt")):
            try:
                state = storage.load(path).state
                steps[path.name] = state["step"] if is_consistent(state) else -1
            except CheckpointError:
                steps[path.name] = -1
        return steps

    def attempt(self, step):
        """Whether it could be saved."""
        try:
            self.save(step)
        except (OSError, ValueError, TypeError):
            return False
        return True

    def steps_there(self):
        """Steps of the files, while another process may remove them."""
        steps = []
        for path in sorted(self.folder.glob("*.pt")):
            try:
                steps.append(storage.load(path).state["step"])
            except FileNotFoundError:
                continue
            except CheckpointError:
                steps.append(-1)
        return steps

    def others(self):
        return [name for name in os.listdir(self.folder) if not name.endswith(".pt")]


def ours(to_save, folder, *, require_empty=True, background=False, **options):
    return Checkpoint(
        to_save, DiskSaver(folder, require_empty=require_empty, background=background), **options
    )


class Reckless:
    """Tracks before it writes, removes before it writes, writes in place, and believes what it is told."""

    def __init__(
        self,
        to_save,
        folder,
        *,
        n_saved=1,
        require_empty=True,
        background=False,
        score_name=None,
        **options,
    ):
        self.model, self.folder, self.n_saved, self.score_name = (
            to_save["m"],
            folder,
            n_saved,
            score_name,
        )
        self._saved = []
        os.makedirs(folder, exist_ok=True)

    def __call__(self, engine):
        step = engine.state.iteration
        priority = step if self.score_name is None else engine.state.metrics[self.score_name]
        if len(self._saved) >= self.n_saved and not priority > self._saved[0][0]:
            return
        while len(self._saved) >= self.n_saved:
            os.unlink(os.path.join(self.folder, self._saved.pop(0)[1]))
        name = f"m_{step}.pt"
        self._saved.append((priority, name))
        try:
            torch.save(self.model.state_dict(), os.path.join(self.folder, name))
        except RuntimeError as error:  # what torch makes of an error of the disk
            raise OSError(errno.ENOSPC, str(error)) from error

    def wait(self):
        pass

    def state_dict(self):
        return {"_saved": list(self._saved)}

    def load_state_dict(self, state):
        self._saved = list(state["_saved"])

    @property
    def last_checkpoint(self):
        return os.path.join(self.folder, self._saved[-1][1]) if self._saved else None


# 3: I/O errors


def fail_at_each_call(count, folder, make):
    num_good = num_seen = 0
    probe = Trained(make, folder / "probe")
    probe.save(1)
    total = disk.count_calls(lambda: probe.save(2))
    cases = [
        (number, error, once)
        for number in range(1, total + 1)
        for error in ERRORS
        for once in (True, False)
    ]
    for i in spread(len(cases), count):
        number, error, once = cases[i - 1]
        run = Trained(make, folder / str(i))
        run.save(1)
        before, raised = run.known(), None
        with FailEver(number, error, once) as rig:
            try:
                run.save(2)
            except OSError as found:
                raised = found
        assert rig.has_fired
        num_seen += 1
        files = run.files()
        # That a file could not be removed is no error; nor that a torn-off EINTR was tried again.
        is_good = run.known() == before if raised is not None else files.get("m_2.pt") == 2
        is_good &= -1 not in files.values() and Path(run.known()[1]).name in files
        run.save(3)
        is_good &= (
            run.known()[0] == [(3, "m_3.pt")]
            and run.files().get("m_3.pt") == 3
            and -1 not in files.values()
        )
        num_good += is_good
    return Seen(num_good, num_seen, f"{total} calls")


@row(3, "Checkpoint: I/O error at each system call of a save", small=40, full=ALL)
def save_fails(count, folder):
    return fail_at_each_call(count, folder, ours)


# 6, 7: disks that are full, or cannot be written to


def fill_the_disk(count, folder, make):
    num_good = 0
    for _ in range(count):
        with disk.tmpfs("6m") as small:
            run = Trained(make, small / "run", 500_000)
            run.save(1)
            before, message = run.known(), None
            run.model.num_floats = 2_000_000
            try:
                run.save(2)
            except OSError as error:
                message = " ".join([str(error), *getattr(error, "__notes__", [])])
            assert message is not None, "the disk was not full"
            is_good = run.known() == before and run.files() == {"m_1.pt": 1} and run.others() == []
            run.model.num_floats = 500_000
            run.save(3)
            num_good += is_good and run.files() == {"m_3.pt": 3} and "No space left" in message
    return Seen(num_good, count)


if disk.can_mount() is None:

    @row(6, "Checkpoint: disk full, n_saved=1", small=2, full=20)
    def disk_is_full(count, folder):
        return fill_the_disk(count, folder, ours)


def write_where_nobody_may(count, folder, make):
    num_good = 0
    for i, (forbid, allow) in enumerate(
        [
            (["mount", "-o", "remount,ro"], ["mount", "-o", "remount,rw"]),
            (["chattr", "+i"], ["chattr", "-i"]),
        ]
    ):
        with disk.ext4() as own:
            where = own.path if i == 0 else own.path / "run"
            run = Trained(make, own.path / "run")
            run.save(1)
            before, has_raised = run.known(), False
            disk.run(*forbid, str(where))
            try:
                run.save(2)
            except OSError:
                has_raised = True
            finally:
                disk.run(*allow, str(where))
            is_good = has_raised and run.known() == before and run.files() == {"m_1.pt": 1}
            run.save(3)
            num_good += is_good and run.files() == {"m_3.pt": 3}
    return Seen(num_good, 2)


if disk.can_mount() is None:

    @row(7, "Checkpoint: read-only file system, immutable folder", small=2, full=2)
    def folder_is_closed(count, folder):
        return write_where_nobody_may(count, folder, ours)


# 12: files that cannot be removed, or are gone; restarts


def remove_in_its_place(count, folder, make, seed=2):
    generator, num_good = random.Random(seed), 0
    for i in range(count):
        n_saved, run, step, is_good = generator.randint(1, 3), None, 0, True
        for _ in range(4):
            run = Trained(make, folder / str(i), n_saved=n_saved, require_empty="resume")
            for _ in range(generator.randint(1, 4)):
                step += 1
                if generator.random() < 0.3 and run.files():
                    (run.folder / generator.choice(sorted(run.files()))).unlink()
                is_good &= run.attempt(step)
            step -= generator.randint(0, 1)  # resumed from an earlier one
        for _ in range(n_saved):
            step += 1
            is_good &= run.attempt(step)
        num_good += is_good and len(run.files()) == n_saved and f"m_{step}.pt" in run.files()
    return Seen(num_good, count)


@row(12, "files deleted by somebody else, and restarts: n_saved holds", small=10, full=200)
def files_are_gone(count, folder):
    return remove_in_its_place(count, folder, ours)


def hold_on_to_files(count, folder, make):
    num_good = 0
    for i in range(count):
        run = Trained(make, folder / str(i))
        run.save(1)
        num_held = 0

        def refuse(name, real, path, *args, **kwargs):
            nonlocal num_held
            if not os.fspath(path).endswith(".pt"):
                return real(path, *args, **kwargs)
            num_held += 1
            raise PermissionError(errno.EPERM, "Operation not permitted", path)

        is_good = True
        with disk.Rig(act=refuse, calls=("unlink",)):
            for step in (2, 3):
                is_good &= run.attempt(step)
        assert num_held >= 1
        run.save(4)
        num_good += is_good and run.files() == {"m_4.pt": 4}
    return Seen(num_good, count)


@row(12, "files cannot be removed: a warning, and n_saved holds when they can", small=5, full=50)
def files_are_held(count, folder):
    return hold_on_to_files(count, folder, ours)


# 13: two processes, one folder


def save_many(make, folder, num_saves, results, both):
    """Both begin each save at once: else one may be through before the other has started, and nothing is tried."""
    logging.disable(logging.WARNING)
    num_errors = num_damaged = 0
    run = Trained(make, folder, require_empty=False)
    for step in range(1, num_saves + 1):
        both.wait(timeout=100)
        num_errors += not run.attempt(step)
        num_damaged += -1 in run.steps_there()
    results.put((num_errors, num_damaged))


def save_side_by_side(count, folder, make):
    context = multiprocessing.get_context("fork")
    results, both = context.SimpleQueue(), context.Barrier(2)
    processes = [
        context.Process(target=save_many, args=(make, folder, count, results, both))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    found = [results.get() for _ in processes]
    for process in processes:
        process.join()
    num_bad = sum(errors + damaged for errors, damaged in found)
    is_whole = -1 not in Trained(ours, folder, require_empty=False).steps_there()
    return Seen(
        2 * count - num_bad if is_whole else 0, 2 * count, f"errors and damaged files: {found}"
    )


@row(13, "Checkpoint: two processes save to one folder, n_saved=1", small=30, full=200)
def two_processes(count, folder):
    return save_side_by_side(count, folder, ours)


# 15: what would not load


class Custom:
    pass


def save_what_does_not_load(count, folder, make):
    num_good, things = 0, {"function": lambda: 0, "lock": threading.Lock(), "object": Custom()}
    for name, thing in things.items():
        run = Trained(make, folder / name)
        run.save(1)
        before, message = run.known(), ""
        run.model.state_dict = lambda thing=thing: {"step": 2, "inner": {"thing": thing}}
        try:
            run.save(2)
        except Exception as error:
            message = str(error)
        is_good = "['inner']['thing']" in message
        num_good += (
            is_good
            and run.known() == before
            and run.files() == {"m_1.pt": 1}
            and run.others() == []
        )
    return Seen(num_good, len(things))


@row(15, "Checkpoint: a state that would not be loaded", small=3, full=3)
def state_does_not_load(count, folder):
    return save_what_does_not_load(count, folder, ours)


# 17: in the background


def fail_behind(count, folder, make, seed=3):
    """Some writes fail; each failure is raised once, and what is tracked is what is there."""
    generator, num_raised, num_failed, num_good = random.Random(seed), 0, 0, 0
    for i in range(count):
        run = Trained(make, folder / str(i), background=True, n_saved=2)
        is_good, last_good = True, {}
        for step in range(1, 8):
            is_failing = generator.random() < 0.4
            calls = ("fsync",) if is_failing else ()

            def fail(*args, **kwargs):
                raise OSError(errno.EIO, "Input/output error")

            with disk.Rig(act=fail, calls=calls) as rig:
                run.save(step)
                try:
                    run.checkpoint.wait()
                except OSError:
                    num_raised += 1
            num_failed += len(rig.names) > 0
            if not rig.names:
                last_good[step] = f"m_{step}.pt"
            kept = list(last_good)[-2:]
            is_good &= [name for _, name in run.known()[0]] == [last_good[step] for step in kept]
            is_good &= run.files() == {last_good[step]: step for step in kept}
        num_good += is_good
    assert num_failed > 0 or make is not ours, "no write has failed"
    return Seen(
        num_good if num_raised == num_failed > 0 else 0,
        count,
        f"{num_raised} of {num_failed} reported",
    )


@row(17, "Checkpoint in the background: some writes fail", small=3, full=50)
def writes_fail_behind(count, folder):
    return fail_behind(count, folder, ours)


PROGRAM = """
import sys
from faults import test_checkpoint_handler as tests
run = tests.Trained(tests.{make}, {folder!r}, 2_000_000, background=True, n_saved=3)
for step in (1, 2, 3):
    run.save(step)
print("pending", flush=True)
sys.exit(0)
"""


def exit_while_pending(count, folder, make="ours"):
    num_good = 0
    for i in range(count):
        code = PROGRAM.format(make=make, folder=str(folder / str(i)))
        done = subprocess.run(
            [os.sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True
        )
        assert "pending" in done.stdout
        run = Trained(ours, folder / str(i), 2_000_000, require_empty=False)
        num_good += (
            run.files() == {f"m_{step}.pt": step for step in (1, 2, 3)} and run.others() == []
        )
    return Seen(num_good, count)


@row(17, "Checkpoint in the background: the program ends while a file is written", small=1, full=20)
def program_ends(count, folder):
    return exit_while_pending(count, folder)


# 43, 44: NaN among the scores


def iteration_of(engine, event):
    return engine.state.iteration


def keep_the_best(count, folder, make, seed=4):
    generator, num_good = random.Random(seed), 0
    sequences = [
        [math.nan, 0.1, 0.9, 0.95],
        [0.5, math.nan, 0.4],
        [math.nan, math.nan, -1.0],
    ]  # 43, 44, and one more
    while len(sequences) < count:
        scores = [
            generator.choice([math.nan, math.inf, generator.uniform(-1, 1)]) for _ in range(8)
        ]
        sequences.append(scores)
    for i, scores in enumerate(sequences):
        n_saved = 1 if i < 3 else generator.randint(1, 3)
        run = Trained(
            make,
            folder / str(i),
            score_name="score",
            n_saved=n_saved,
            global_step_transform=iteration_of,
        )
        for step, score in enumerate(scores, start=1):
            run.save(step, score)
        numbers = sorted((score for score in scores if not math.isnan(score)), reverse=True)
        kept = [priority for priority, _ in run.known()[0] if not math.isnan(priority)]
        num_good += sorted(kept, reverse=True) == numbers[:n_saved]
    return Seen(num_good, len(sequences))


@row(43, "Checkpoint: NaN among the scores is never kept as the best", small=30, full=1000)
def scores_are_nan(count, folder):
    return keep_the_best(count, folder, ours)


# 54: files that do not fit


def objects():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(4, 2)).sum().backward()
    optimizer.step()
    return {
        "model": model,
        "optimizer": optimizer,
        "counter": Model(2),
        "engine": Engine(lambda engine, batch: None),
    }


def damaged_states():
    """A name for each, and the states with one fault in them."""

    def change(name, fault):
        states = {key: one.state_dict() for key, one in objects().items()}
        states["model"] = {key: value + 1 for key, value in states["model"].items()}
        fault(states)
        return name, states

    weight = "0.weight"
    yield change("model missing", lambda states: states.pop("model"))
    yield change("optimizer missing", lambda states: states.pop("optimizer"))
    yield change("engine missing", lambda states: states.pop("engine"))
    yield change("key missing", lambda states: states["model"].pop(weight))
    yield change("key left over", lambda states: states["model"].update(other=torch.zeros(1)))
    yield change("other shape", lambda states: states["model"].update({weight: torch.zeros(3, 3)}))
    yield change("other dimension", lambda states: states["model"].update({weight: torch.zeros(6)}))
    yield change("no tensor", lambda states: states["model"].update({weight: "text"}))
    yield change("model is a list", lambda states: states.update(model=[1, 2]))
    yield change("model is None", lambda states: states.update(model=None))
    yield change("no groups", lambda states: states["optimizer"].update(param_groups=[]))
    yield change(
        "more groups", lambda states: states["optimizer"]["param_groups"].append({"params": []})
    )
    yield change(
        "fewer parameters", lambda states: states["optimizer"]["param_groups"][0]["params"].pop()
    )
    yield change("no state", lambda states: states["optimizer"].pop("state"))
    yield change(
        "moments of another shape",
        lambda states: states["optimizer"]["state"][0].update(exp_avg=torch.ones(7)),
    )
    yield change("optimizer is a number", lambda states: states.update(optimizer=3))
    yield change("counter without its key", lambda states: states["counter"].pop("step"))
    yield change("counter is None", lambda states: states.update(counter=None))
    yield change("negative iteration", lambda states: states["engine"].update(iteration=-5))
    yield change("iteration is text", lambda states: states["engine"].update(iteration="many"))


def take_all_or_nothing(load):
    num_good, left = 0, []
    for name, states in damaged_states():
        to_load = objects()
        before = {key: storage.Snapshot().take(one.state_dict()) for key, one in to_load.items()}
        has_raised = False
        try:
            load(to_load, states)
        except Exception:
            has_raised = True
        after = {key: one.state_dict() for key, one in to_load.items()}
        is_good = has_raised and is_same(before, after)
        num_good += is_good
        left += [] if is_good else [name]
    return Seen(num_good, num_good + len(left), ", ".join(left))


def is_same(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(is_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(is_same, a, b))
    return a == b


@row(54, "load_objects: 20 states that do not fit", small=20, full=20)
def states_do_not_fit(count, folder):
    return take_all_or_nothing(Checkpoint.load_objects)


@row(54, "files of Ignite are loaded, files of a newer version refused", small=4, full=4)
def other_versions(count, folder):
    num_good = 0
    for name in (
        "single_model_10.pt",
        "single_with_self_model_10.pt",
        "several_with_self_checkpoint_20.pt",
    ):
        model = torch.nn.Linear(2, 1)
        Checkpoint.load_objects({"model": model}, GOLDEN / name)
        num_good += len(set(model.weight.flatten().tolist())) == 1
    newer = folder / "newer.pt"
    torch.save({"weight": torch.ones(1, 2), "bias": torch.ones(1)}, newer)
    with zipfile.ZipFile(newer, "a", zipfile.ZIP_STORED) as archive:
        top = archive.namelist()[0].split("/")[0]
        archive.writestr(f"{top}/.ignite.json", json.dumps({"version": storage.VERSION + 1}))
    try:
        Checkpoint.load_objects({"model": torch.nn.Linear(2, 1)}, newer)
    except CheckpointError as error:
        num_good += "newer version" in str(error)
    return Seen(num_good, 4)


# 56: paths

EVIL = [
    "../victim.pt", "../../victim.pt", "a/../../victim.pt", "/victim.pt", "~/victim.pt", "..", ".", "", "a\0b.pt",
    "a\nb.pt", "a\x7fb.pt", "..\\victim.pt", ".hidden.pt", "x" * 300 + ".pt", "\ud800.pt", "é" * 200, "a/b.pt", 5, None,
    b"m_0.pt",
]  # fmt: skip


def lead_astray(count, folder, make):
    num_good = 0
    for i, name in enumerate(EVIL):
        here = folder / str(i)
        here.mkdir()
        victims = [here / "victim.pt", folder / "victim.pt"]
        for victim in victims:
            victim.write_text("precious")
        if name == "/victim.pt":
            name = str(victims[0])
        run = Trained(make, here / "run", n_saved=2)
        run.save(1)
        before, is_refused = run.known(), False
        try:
            run.checkpoint.load_state_dict({"_saved": [(0, name), *before[0]]})
        except CheckpointError:
            is_refused = True
        is_good = is_refused and run.known() == before
        for step in (2, 3):
            is_good &= run.attempt(step)
        num_good += (
            is_good
            and all(victim.exists() for victim in victims)
            and sorted(run.files()) == ["m_2.pt", "m_3.pt"]
        )
    return Seen(num_good, len(EVIL))


@row(56, "Checkpoint: a state that names files to be removed elsewhere", small=20, full=20)
def state_leads_astray(count, folder):
    return lead_astray(count, folder, ours)


@row(56, "Checkpoint: prefixes, score names and patterns that lead elsewhere", small=20, full=20)
def names_lead_astray(count, folder):
    evil = [name for name in EVIL if isinstance(name, str) and name]
    cases = [
        (key, name)
        for name in evil
        for key in ("filename_prefix", "score_name", "filename_pattern")
    ]
    num_good, total = 0, 0
    for i, (key, name) in enumerate(cases):
        is_plain = key == "score_name" and name[0] in ".~" and "/" not in name and "\\" not in name
        if is_plain or (key == "filename_prefix" and name in ("é" * 200,)):
            continue  # in the middle of a name they do no harm
        total += 1
        here = folder / str(i) / "run"
        try:
            Trained(ours, here, **{key: name}).save(1, 0.5)
        except (ValueError, OSError):
            num_good += sorted(p.name for p in folder.rglob("*.pt")) == []
    return Seen(num_good, total)


@pytest.mark.parametrize("each", rows_of(__name__), ids=str)
def test_the_row_holds(each, tmp_path):
    each.check(tmp_path)


def load_one_by_one(to_load, states):
    for key, one in to_load.items():
        one.load_state_dict(states[key])


@pytest.mark.parametrize(
    "provoke",
    [
        lambda folder: fail_at_each_call(20, folder, Reckless),
        lambda folder: remove_in_its_place(10, folder, Reckless),
        lambda folder: hold_on_to_files(1, folder, Reckless),
        lambda folder: save_side_by_side(30, folder, Reckless),
        lambda folder: save_what_does_not_load(3, folder, Reckless),
        lambda folder: fail_behind(2, folder, Reckless),
        lambda folder: keep_the_best(3, folder, Reckless),
        lambda folder: take_all_or_nothing(load_one_by_one),
        lambda folder: lead_astray(20, folder, Reckless),
    ],
)
def test_a_bad_handler_is_found_out(provoke, tmp_path):
    seen = provoke(tmp_path)
    assert seen.passed < seen.total


@pytest.mark.skipif(disk.can_mount() is not None, reason=str(disk.can_mount()))
def test_a_bad_handler_is_found_out_when_the_disk_is_full_or_closed(tmp_path):
    assert fill_the_disk(1, tmp_path, Reckless).passed == 0
    assert write_where_nobody_may(2, tmp_path, Reckless).passed < 2
