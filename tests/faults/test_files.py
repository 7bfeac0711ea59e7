"""Checkpoint files under faults of the disk, process and machine: complete or absent, and damage is detected.

Each row is also run with a saver that is known to be bad, and has to find it so.
"""

import errno
import logging
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch

from ignite.exceptions import CheckpointError
from ignite.storage import (
    Folder,
    Note,
    hold,
    is_temporary,
    load,
    load_latest,
    open_place,
    save,
    scan,
    verify,
)
from support import disk
from support.disk import (
    ALL,
    Rig,
    forked,
    in_place,
    is_consistent,
    newest,
    ours,
    spread,
    state_of,
    syncs,
    unlinks_first,
)
from support.runs import Seen, row, rows_of


def temporaries(folder):
    return [name for name in os.listdir(folder) if name.startswith(".") and name != ".lock"]


def all_is_well(folder, at_least):
    """The newest one is consistent and no older than that, and nothing under a final name is damaged."""
    state, damaged = newest(folder)
    return state is not None and state["step"] >= at_least and damaged is None


# 1, 2: killed


def kill_at_random_times(count, folder, saver, seed=1):
    generator, num_good, num_in_save = random.Random(seed), 0, 0
    for i in range(count):
        here = folder / str(i)
        here.mkdir()
        saver(here, 0, 200_000)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                for step in range(1, 1000):
                    os.write(writing, bytes([0]))
                    saver(here, step, 200_000)
                    os.write(writing, bytes([1]))
            finally:
                os._exit(1)
        os.read(reading, 1)
        time.sleep(generator.uniform(0.0, 0.02))
        os.kill(pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
        num_in_save += not told.endswith(b"\1")
        is_good = all_is_well(here, told.count(1))
        open_place(here).sweep()
        num_good += is_good and (saver is not ours or temporaries(here) == [])
        shutil.rmtree(here)
    return Seen(num_good, count, f"{num_in_save} of them during a save")


@row(1, "SIGKILL at a random time during saves, n_saved=1", small=10, full=100)
def killed_at_a_random_time(count, folder):
    return kill_at_random_times(count, folder, ours)


def kill_at_each_call(count, folder, saver):
    num_calls = calls_of(folder, saver)
    num_good, cases = (
        0,
        [(n, act) for n in spread(num_calls, count) for act in (disk.die_before, disk.die_after)],
    )
    for number, act in cases:
        here = prepared(folder / "here", saver)

        def save_and_die(here=here, number=number, act=act):
            with Rig(number, act):
                saver(here, 2)

        assert forked(save_and_die) == -signal.SIGKILL
        num_good += all_is_well(here, 1)
        saver(here, 3)
        open_place(here).sweep()
        num_good -= not (all_is_well(here, 3) and (saver is not ours or temporaries(here) == []))
    return Seen(num_good, len(cases), f"{num_calls} calls")


def prepared(here, saver):
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    saver(here, 1)
    return here


def calls_of(folder, saver):
    here = prepared(folder / "count", saver)
    return disk.count_calls(lambda: saver(here, 2))


@row(2, "SIGKILL before and in the middle of each system call of a save", small=12, full=ALL)
def killed_at_each_call(count, folder):
    return kill_at_each_call(count, folder, ours)


def wait_for_tracer():
    while "TracerPid:\t0\n" in Path("/proc/self/status").read_text():
        time.sleep(0.001)


def kill_by_strace(folder, saver, call, number):
    """True if the child was killed at the n-th call; False if there were less."""

    def act():
        wait_for_tracer()
        saver(folder, 2)

    pid = disk.start(act)
    command = [
        "strace",
        "-qq",
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:signal=SIGKILL:when={number}",
    ]
    tracer = subprocess.Popen(
        [*command, "-o", "/dev/null", "-p", str(pid)], stderr=subprocess.DEVNULL
    )
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    tracer.wait()
    assert code in (0, -signal.SIGKILL)
    return code != 0


if shutil.which("strace") is not None:

    @row(2, "SIGKILL at system calls, by strace", small=1, full=ALL)
    def killed_by_strace(count, folder):
        num_good = total = 0
        for call in ("fsync", "rename", "unlink", "openat", "write"):
            for number in range(1, count + 1):
                here = prepared(folder / "here", ours)
                if not kill_by_strace(here, ours, call, number):
                    break
                total += 1
                num_good += all_is_well(here, 1)
        return Seen(num_good, total)


# 3: errors


def fail_at_each_call(count, folder, saver):
    errors = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EINTR)
    num_calls = calls_of(folder, saver)
    cases = [
        (n, error, once)
        for n in range(1, num_calls + 1)
        for error in errors
        for once in (True, False)
    ]
    random.Random(3).shuffle(cases)
    num_good = total = 0
    for number, error, once in cases[:count]:
        here = prepared(folder / "here", ours)
        with disk.FailEver(number, error, once) as rig:
            try:
                saver(here, 2)
                raised = None
            except Exception as caught:
                raised = caught
        assert rig.has_fired
        total += 1
        # What was there is as it was; if the folder could not be synced, or the old file not removed, both are there.
        names = [name for name in os.listdir(here) if not name.startswith(".")]
        is_good = (
            isinstance(raised, OSError)
            and raised.errno == error
            and str(here) in str(raised.filename)
        )
        is_good &= "m_000001.pt" in names and all_is_well(here, 1)
        saver(here, 3)
        open_place(here).sweep()
        num_good += is_good and all_is_well(here, 3)
    return Seen(num_good, total, f"{num_calls} calls")


@row(
    3,
    "I/O error at each system call, once and for ever: EIO, ENOSPC, EDQUOT, EINTR",
    small=60,
    full=ALL,
)
def failing_calls(count, folder):
    return fail_at_each_call(count, folder, ours)


# 4, 5: power cuts


def cut_anywhere(folder, saver):
    """All states that could be on the disk after a power cut at any call of a save, and after it."""
    here, there = prepared(folder / "here", saver), folder / "there"
    imagined = disk.ImaginedDisk(here)
    imagined.follow(lambda: saver(here, 2))
    after = disk.ImaginedDisk.__new__(disk.ImaginedDisk)
    after.__dict__ = {**imagined.__dict__, "states": set()}
    after._note_states()
    num_good = 0
    for states, at_least in ((imagined.states, 1), (after.states, 2)):
        for files in states:
            disk.build(files, there)
            state, _ = newest(there)
            num_good += state is not None and state["step"] >= at_least
    return Seen(num_good, len(imagined.states) + len(after.states))


@row(
    5,
    "power cut at each call of a save and after it, imagined: any unsynced part is lost",
    small=1,
    full=1,
)
def imagined_power_cut(count, folder):
    return cut_anywhere(folder, ours)


MOUNTS = [(), ("noauto_da_alloc",), ("data=writeback",)]


def cut_after_save(count, saver, is_foreign):
    num_good = 0
    for i in range(count):
        with disk.ext4(*MOUNTS[i % len(MOUNTS)]) as drive:
            here = prepared(drive.path / "run", saver)
            os.sync()
            saver(here, 2)
            if is_foreign(i):
                disk.sync_foreign(drive.path)
            drive.cut()
            drive.back()
            num_good += all_is_well(here, 2)
    return Seen(num_good, count)


def cut_in_save(count, saver):
    with disk.ext4() as drive:
        num_calls = calls_of(drive.path, saver)
    num_good = total = 0
    for number in spread(num_calls, count):
        with disk.ext4(*MOUNTS[number % len(MOUNTS)]) as drive:
            here = prepared(drive.path / "run", saver)
            os.sync()

            def cut(name, real, *args, drive=drive, **kwargs):
                drive.cut()
                return real(*args, **kwargs)

            with Rig(number, cut) as rig, suppress(OSError):  # what the disk says when it is off
                saver(here, 2)
            assert rig.has_fired
            total += 1
            drive.back()
            num_good += all_is_well(here, 1)
    return Seen(num_good, total)


if disk.can_mount() is None:

    @row(
        4,
        "power cut right after save, on ext4 (3 mount options, with and without a foreign fsync)",
        small=2,
        full=60,
    )
    def power_cut_after_save(count, folder):
        return cut_after_save(count, ours, lambda i: i % 2 == 1)

    @row(5, "power cut at each call of a save, on ext4", small=3, full=ALL)
    def power_cut_in_save(count, folder):
        return cut_in_save(count, ours)

    @row(6, "disk full: 8 MB on a tmpfs of 6 MB, again and again", small=3, full=20)
    def full_disk(count, folder):
        with disk.tmpfs("6m") as here:
            return fill_up(count, here, 500_000, 2_000_000)

    @row(7, "read-only file system, immutable folder, no permission", small=3, full=3)
    def not_writable(count, folder):
        return Seen(sum(refused(folder, how) for how in (read_only, immutable, forbidden)), 3)


def fill_up(count, here, num_fitting, num_too_many):
    num_good = 0
    for i in range(count):
        step = 2 * i + 1
        ours(here, step, num_fitting)
        try:
            ours(here, step + 1, num_too_many)
        except OSError as error:
            text = str(error)
            is_good = (
                error.errno in (errno.ENOSPC, errno.EFBIG)
                and "needed" in text
                and "bytes free" in text
            )
        else:
            raise AssertionError("the disk was not full")
        is_good &= all_is_well(here, step) and os.listdir(here) == [f"m_{step:06d}.pt"]
        num_good += is_good
    return Seen(num_good, count, text)


def limit_file_size():
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6 << 20, resource.RLIM_INFINITY))


@row(6, "files limited to 6 MB, 8 MB are saved", small=2, full=20)
def limited_file(count, folder):
    def act():
        limit_file_size()
        seen = fill_up(count, folder, 500_000, 2_000_000)
        assert seen.passed == seen.total

    return Seen(count if forked(act) == 0 else 0, count)


# 7: not writable


@contextmanager
def read_only(folder):
    with disk.tmpfs() as here:
        ours(here, 1)
        disk.run("mount", "-o", "remount,ro", str(here))
        yield here


@contextmanager
def immutable(folder):
    here = prepared(folder / "immutable", ours)
    disk.run("chattr", "+i", str(here))
    try:
        yield here
    finally:
        disk.run("chattr", "-i", str(here))


@contextmanager
def forbidden(folder):
    here = prepared(folder / "forbidden", ours)
    for path in (here, *here.parents[:-2]):
        path.chmod(0o755)
    yield here


def refused(folder, how, saver=ours):
    """Whether a save in a process without rights raises an error of permission, and changes nothing."""
    with how(folder) as here:

        def act():
            if how is forbidden:
                os.setegid(65534)
                os.seteuid(65534)
            with pytest.raises(OSError, match="Read-only|Permission|not permitted"):
                saver(here, 2)

        return forked(act) == 0 and all_is_well(here, 1)


# 8, 9, 10: damaged


@contextmanager
def counted_warnings():
    class Counter(logging.Handler):
        def emit(self, record):
            seen.append(record.getMessage())

    seen, counter, logger = [], Counter(logging.WARNING), logging.getLogger("ignite.storage.reader")
    logger.addHandler(counter)
    try:
        yield seen
    finally:
        logger.removeHandler(counter)


def two_checkpoints(folder, num_floats=3000):
    place = open_place(folder)
    for step in (1, 2):
        save(place, f"m_{step}.pt", state_of(step, num_floats), Note(step=step))
    return place, folder / "m_2.pt", (folder / "m_2.pt").read_bytes()


def falls_back(place):
    with counted_warnings() as seen:
        loaded = load_latest(place)
    return (
        loaded.state["step"] == 1
        and is_consistent(loaded.state)
        and len(seen) == 1
        and "m_2.pt" in seen[0]
    )


@row(8, "newest file cut off at random lengths: falls back with one warning", small=20, full=50)
def truncated(count, folder):
    place, path, content = two_checkpoints(folder)
    generator, num_good = random.Random(8), 0
    for i in range(count):
        path.write_bytes(content[: 0 if i == 0 else generator.randrange(len(content))])
        num_good += falls_back(place)
    return Seen(num_good, count)


def flip_bits(count, folder, read):
    """How often a flipped bit was found or harmless: half of them anywhere, half of them in headers and table."""
    _, path, content = two_checkpoints(folder, 300)
    generator, num_found, num_good = random.Random(9), 0, 0
    outside = [i for i in range(len(content)) if not 600 < i < 1800 or i % 7 == 0]
    for i in range(count):
        at = generator.choice(outside) if i % 2 else generator.randrange(len(content))
        damaged = bytearray(content)
        damaged[at] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            state = read(path)
        except Exception:
            num_found += 1
            num_good += 1
            continue
        num_good += (
            state.keys() == state_of(2).keys() and state["step"] == 2 and is_consistent(state)
        )
    return Seen(num_good, count, f"{num_found} found, the others harmless")


@row(9, "single bits flipped, anywhere and in headers: never silently wrong", small=60, full=600)
def flipped(count, folder):
    def read(path):
        try:
            return load(path).state
        except CheckpointError:
            raise
        except Exception as error:
            raise AssertionError("only CheckpointError") from error

    return flip_bits(count, folder, read)


def damage_blocks(count, folder, is_found):
    place, path, content = two_checkpoints(folder, 10_000)
    other = (folder / "m_1.pt").read_bytes()
    generator, total, num_good = random.Random(10), 0, 0
    while total < count:
        damaged, kind = bytearray(content), generator.choice(["zeroed", "swapped", "mixed"])
        a, b = (4096 * generator.randrange(len(content) // 4096) for _ in range(2))
        if kind == "zeroed":
            damaged[a : a + 4096] = bytes(4096)
        elif kind == "swapped":
            damaged[a : a + 4096], damaged[b : b + 4096] = (
                content[b : b + 4096],
                content[a : a + 4096],
            )
        else:
            damaged[a:] = other[a:]
        if bytes(damaged) == content or bytes(damaged) == other:
            continue
        path.write_bytes(damaged)
        total += 1
        num_good += is_found(place)
    return Seen(num_good, total)


@row(10, "blocks of 4 KB zeroed or swapped, halves of two files mixed", small=30, full=200)
def damaged_blocks(count, folder):
    return damage_blocks(count, folder, falls_back)


# 11: what killed writers leave


@row(
    11,
    "temporaries of dead writers are removed, of living ones not, none is listed",
    small=5,
    full=50,
)
def stale_temporaries(count, folder):
    place, num_good = open_place(folder), 0
    reading, writing = os.pipe()

    def write_for_ever(file):
        file.write(b"half")
        os.write(writing, b"x")
        signal.pause()

    living = os.fork()
    if living == 0:
        place.write("m_7.pt", write_for_ever)
    os.read(reading, 1)
    [of_living] = temporaries(folder)
    try:
        for _ in range(count):

            def die(name, real, *args):
                os.kill(os.getpid(), signal.SIGKILL)

            def save_and_die(die=die):
                with Rig(1, die, calls=("write",)):
                    ours(folder, 2)

            assert forked(save_and_die) == -signal.SIGKILL
            left = [name for name in temporaries(folder) if name != of_living]
            assert len(left) == 1
            is_hidden = is_temporary(left[0]) and place.names() == [] and scan(place) == []
            num_good += is_hidden and place.sweep() == left and temporaries(folder) == [of_living]
    finally:
        os.kill(living, signal.SIGKILL)
        os.waitpid(living, 0)
        os.close(reading)
        os.close(writing)
    num_good += place.sweep() == [of_living] and temporaries(folder) == []
    return Seen(num_good, count + 1)


# 13, 14: several at once


def write_at_once(count, folder, saver):
    """Two processes save under names of their own and under the same one; how many saves went well."""
    reading, writing = os.pipe()

    def act(who):
        for step in range(count):
            try:
                saver(folder, f"m_{who}.pt", state_of(step))
                saver(folder, "m_shared.pt", state_of(step))
                is_good = is_consistent(load(folder / f"m_{who}.pt").state) and is_consistent(
                    load(folder / "m_shared.pt").state
                )
            except Exception:
                is_good = False
            os.write(writing, b"1" if is_good else b"0")

    pids = []
    for who in range(2):
        pid = os.fork()
        if pid == 0:
            try:
                act(who)
            finally:
                os._exit(0)
        pids.append(pid)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    for pid in pids:
        os.waitpid(pid, 0)
    return Seen(told.count(b"1"), 2 * count)


@row(
    13,
    "two processes save to one folder: none removes what is the other's, all files are whole",
    small=15,
    full=200,
)
def concurrent_writers(count, folder):
    return write_at_once(
        count, folder, lambda where, name, state: save(Folder(where), name, state, Note())
    )


@row(13, "two programs that hold the folder: the second is refused, clearly", small=5, full=50)
def concurrent_runs(count, folder):
    def second():
        with pytest.raises(CheckpointError, match=f"held by process {os.getppid()}"), hold(folder):
            raise AssertionError

    num_good = 0
    for _ in range(count):
        with hold(folder):
            num_good += forked(second) == 0
    return Seen(num_good, count)


def read_while_written(count, folder, saver):
    saver(folder, "m.pt", state_of(0))
    pid = os.fork()
    if pid == 0:
        try:
            for step in range(1, ALL):
                saver(folder, "m.pt", state_of(step))
        finally:
            os._exit(1)
    num_good, num_read, steps = 0, 0, set()
    deadline = time.monotonic() + 60
    try:
        while num_read < count or len(steps) < 3:
            try:
                state = load(folder / "m.pt").state
            except Exception:
                state = None
            num_read += 1
            num_good += state is not None and is_consistent(state)
            steps.add(None if state is None else state["step"])
            assert time.monotonic() < deadline, "the file was not replaced"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return num_good, num_read, steps


@row(
    14,
    "a reader while a writer replaces the file: the old one or the new one, never both",
    small=50,
    full=1000,
)
def reader_and_writer(count, folder):
    def saver(where, name, state):
        save(Folder(where), name, state, Note())

    num_good, num_read, steps = read_while_written(count, folder, saver)
    return Seen(num_good, num_read, f"{len(steps)} different files were seen")


# 15: what cannot be saved


class Custom:
    """Nothing that loads safely."""


@row(
    15,
    "states that would not be loaded: an error with the key, before the disk is touched",
    small=3,
    full=3,
)
def not_storable(count, folder):
    place, num_good = open_place(folder), 0
    ours(folder, 1)
    for what in (lambda: None, threading.Lock(), Custom()):
        with Rig() as rig:
            try:
                save(place, "m_000001.pt", {"optimizer": {"hooks": [0, what]}}, Note(step=2))
            except TypeError as error:
                num_good += (
                    "state['optimizer']['hooks'][1]" in str(error)
                    and rig.names == []
                    and all_is_well(folder, 1)
                )
    return Seen(num_good, 3)


# The tests


@pytest.mark.parametrize("each", rows_of(__name__), ids=str)
def test_the_row_holds(each, tmp_path):
    each.check(tmp_path, each.full if os.environ.get("REIGNITION_FAULTS") == "full" else None)


def test_file_systems_can_be_mounted():
    if disk.can_mount() is not None:
        pytest.skip(f"rows 4, 5 (partly), 6 (partly) and 7: {disk.can_mount()}")
    if shutil.which("strace") is None:
        pytest.skip("row 2 (partly): strace is not installed")


def is_bad(seen):
    assert seen.total > 0
    return seen.passed < seen.total


@pytest.mark.parametrize("saver", [unlinks_first, in_place])
def test_kills_find_a_bad_saver(tmp_path, saver):
    (tmp_path / "calls").mkdir()
    assert is_bad(kill_at_each_call(6, tmp_path / "calls", saver))
    assert is_bad(kill_at_random_times(6, tmp_path, saver))


def test_errors_find_a_bad_saver(tmp_path):
    assert is_bad(fail_at_each_call(10, tmp_path, in_place))
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()

    def swallows(folder, step):
        try:
            ours(folder, step)
        except OSError:
            return

    assert is_bad(fail_at_each_call(10, tmp_path, swallows))


@pytest.mark.parametrize(
    "saver", [unlinks_first, in_place, syncs(False, True), syncs(True, False), syncs(False, False)]
)
def test_imagined_power_cuts_find_a_bad_saver(tmp_path, saver):
    assert is_bad(cut_anywhere(tmp_path, saver))


def test_imagined_power_cuts_find_nothing_wrong_with_another_good_saver(tmp_path):
    assert not is_bad(cut_anywhere(tmp_path, syncs(True, True)))


@pytest.mark.skipif(disk.can_mount() is not None, reason="file systems cannot be mounted here")
def test_real_power_cuts_find_a_bad_saver():
    assert is_bad(cut_after_save(1, syncs(False, False), lambda i: True))


def test_a_full_disk_finds_a_bad_saver(tmp_path):
    def act():
        limit_file_size()
        unlinks_first(tmp_path, 1, 500_000)
        with pytest.raises((OSError, RuntimeError)):
            unlinks_first(tmp_path, 2, 2_000_000)
        assert not all_is_well(tmp_path, 1)

    assert forked(act) == 0


def test_flipped_bits_find_a_reader_that_does_not_look_at_checksums(tmp_path):
    assert is_bad(flip_bits(60, tmp_path, lambda path: torch.load(path, weights_only=True)))


def test_damaged_blocks_find_a_reader_that_does_not_look_at_checksums(tmp_path):
    def is_found(place):
        try:
            torch.load(place.path / "m_2.pt", weights_only=True)
        except Exception:
            return True
        return False

    assert is_bad(damage_blocks(20, tmp_path, is_found))


def test_two_at_once_find_a_bad_saver(tmp_path):
    def bad(folder, name, state):
        torch.save(state, folder / name)

    num_good, num_read, _ = read_while_written(100, tmp_path, bad)
    assert num_good < num_read


def test_whole_files_pass(tmp_path):
    ours(tmp_path, 1)
    assert verify(tmp_path / "m_000001.pt").step == 1
    assert all_is_well(tmp_path, 1)
    assert not all_is_well(tmp_path, 2)
