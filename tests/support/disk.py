"""Failing disks: system calls that are counted, fail or kill; simulated and real power failures; file systems."""

import fcntl
import itertools
import os
import shutil
import signal
import stat
import struct
import subprocess
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from ignite.storage import Note, load, open_place, save

CALLS = ("open", "write", "fsync", "close", "replace", "unlink", "symlink", "ftruncate")
ALL = 10**9
NUM_FLOATS = 2000


# What is saved, and how. A saver gets a folder and a step; what it has saved before may be there.


def state_of(step, num_floats=NUM_FLOATS):
    return {"step": step, "x": torch.full((num_floats,), float(step)), "names": [f"n{step}"]}


def is_consistent(state):
    step = state["step"]
    return bool((state["x"] == step).all()) and state["names"] == [f"n{step}"]


def ours(folder, step, num_floats=NUM_FLOATS):
    """Saves, and then removes what was there before, as a handler with n_saved=1 does."""
    place = open_place(folder)
    old = place.names()
    name = f"m_{step:06d}.pt"
    save(place, name, state_of(step, num_floats), Note(step=step))
    for other in old:
        if other != name:
            place.remove(other)


def raw_save(path, step, num_floats, flags=0, sync=True):
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | flags, 0o666)
    with Raw(descriptor) as file:
        torch.save(state_of(step, num_floats), file)
        if sync:
            os.fsync(descriptor)


class Raw:
    """A file that is written with ``os.write``, so that writes can be counted."""

    def __init__(self, descriptor):
        self._descriptor = descriptor

    def write(self, data):
        data = bytes(data)
        os.write(self._descriptor, data)
        return len(data)

    def flush(self):
        """Nothing is kept back."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        os.close(self._descriptor)


def unlinks_first(folder, step, num_floats=NUM_FLOATS):
    """Removes the old file before the new one is there."""
    for path in Path(folder).glob("m_*.pt"):
        os.unlink(path)
    raw_save(Path(folder, f"m_{step:06d}.pt"), step, num_floats)


def in_place(folder, step, num_floats=NUM_FLOATS):
    """Writes into the file that is there."""
    for path in Path(folder).glob("m_*.pt"):
        os.replace(path, Path(folder, f"m_{step:06d}.pt"))
    raw_save(Path(folder, f"m_{step:06d}.pt"), step, num_floats)


def syncs(file, directory):
    """Temporary file and rename, with and without the two syncs."""

    def save_so(folder, step, num_floats=NUM_FLOATS):
        old = list(Path(folder).glob("m_*.pt"))
        path = Path(folder, f"m_{step:06d}.pt")
        raw_save(Path(folder, ".tmp"), step, num_floats, sync=file)
        os.replace(Path(folder, ".tmp"), path)
        if directory:
            descriptor = os.open(folder, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        for other in old:
            if other != path:
                os.unlink(other)

    return save_so


# System calls that are counted, and at the n-th of them something happens.


class Rig:
    """Replaces functions of ``os`` by ones that count, and act at the n-th call.

    Args:
        number: which call; None to count only.
        act: called with the name of the function, the real one and its arguments, in place of it.
        calls: the functions.
    """

    def __init__(self, number=None, act=None, calls=CALLS):
        self.names = []
        self._number, self._act, self._calls = number, act, calls
        self._real = {}

    def __enter__(self):
        for name in self._calls:
            self._real[name] = getattr(os, name)
            setattr(os, name, self._rigged(name, self._real[name]))
        return self

    def __exit__(self, *error):
        for name, real in self._real.items():
            setattr(os, name, real)

    @property
    def has_fired(self):
        return self._number is not None and len(self.names) >= self._number

    def _rigged(self, name, real):
        def call(*args, **kwargs):
            self.names.append(name)
            if self._act is not None and (self._number is None or len(self.names) == self._number):
                return self._act(name, real, *args, **kwargs)
            return real(*args, **kwargs)

        return call


def count_calls(act, calls=CALLS):
    with Rig(calls=calls) as rig:
        act()
    return len(rig.names)


class FailEver(Rig):
    """From the n-th call on, all fail."""

    def __init__(self, number, error, once):
        super().__init__(number)
        self._error, self._once = error, once

    def _rigged(self, name, real):
        def call(*args, **kwargs):
            self.names.append(name)
            is_due = (
                len(self.names) == self._number if self._once else len(self.names) >= self._number
            )
            if is_due:
                if name == "close":
                    real(*args, **kwargs)
                path = args[0] if name in ("open", "replace", "unlink", "symlink") else None
                raise OSError(self._error, os.strerror(self._error), path)
            return real(*args, **kwargs)

        return call


def die_before(name, real, *args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


def die_after(name, real, *args, **kwargs):
    if name == "write":
        real(args[0], bytes(args[1])[: len(args[1]) // 2])  # in the middle of it
    else:
        real(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)


def start(act):
    """Runs ``act`` in a child; returns its number."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    return pid


def forked(act):
    """Runs ``act`` in a child; returns how it ended: 0, or minus the signal, or 1 after an error."""
    return os.waitstatus_to_exitcode(os.waitpid(start(act), 0)[1])


def spread(total, count):
    """``count`` numbers from 1 to ``total``, as evenly as they can be, the last one among them."""
    if count >= total:
        return list(range(1, total + 1))
    return sorted({total - int(i * total / count) for i in range(count)})


# A power cut, imagined: what is on the disk is what was synced, and any part of the rest.


class ImaginedDisk:
    """Follows what is done in a folder, and makes up all that could be there after a power cut at any moment.

    Content of a file is what it was when it was synced last; or what it is; or nothing, if it was never synced. Of the
    changes to the folder since it was synced last, any ones are there, in their order.
    """

    def __init__(self, folder):
        self._folder = Path(folder)
        self._synced, self._paths = {}, {}
        self._entries = self._list()
        for inode, _ in self._entries.values():
            self._synced[inode] = self._content(inode)
        self._pending = []
        self.states = set()

    def follow(self, act):
        with Rig(act=self._call):
            act()
        self._note_states()

    def _call(self, name, real, *args, **kwargs):
        before = self._list()
        result = real(*args, **kwargs)
        if name == "open":
            self._paths[result] = os.fspath(args[0])
        if name == "fsync":
            status = os.fstat(args[0])
            if stat.S_ISDIR(status.st_mode):
                self._entries, self._pending = self._list(), []
            else:
                self._synced[status.st_ino] = self._content(status.st_ino)
        after = self._list()
        if after != before:
            self._pending.append((before, after))
        if name != "write" or len(self.states) == 0:
            self._note_states()
        return result

    def _list(self):
        with os.scandir(self._folder) as entries:
            return {
                entry.name: (entry.inode(), os.readlink(entry.path) if entry.is_symlink() else None)
                for entry in entries
            }

    def _content(self, inode):
        with os.scandir(self._folder) as entries:
            paths = [
                entry.path for entry in entries if entry.inode() == inode and not entry.is_symlink()
            ]
        return Path(paths[0]).read_bytes() if paths else None

    def _note_states(self):
        now = {inode: self._content(inode) for inode, _ in self._list().values()}
        for size in range(min(len(self._pending), 8) + 1):
            for chosen in itertools.combinations(self._pending, size):
                entries = dict(self._entries)
                for before, after in chosen:
                    for name in before.keys() - after.keys():
                        entries.pop(name, None)
                    entries.update(
                        {name: after[name] for name in after if before.get(name) != after[name]}
                    )
                for is_lost in (False, True):
                    self.states.add(
                        frozenset(
                            (
                                name,
                                self._left(inode, now, is_lost) if link is None else link,
                                link is not None,
                            )
                            for name, (inode, link) in entries.items()
                        )
                    )

    def _left(self, inode, now, is_lost):
        synced = self._synced.get(inode, b"")
        return synced if is_lost or now.get(inode) is None else now[inode]


def build(files, folder):
    """Puts an imagined state into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content, is_link in files:
        if is_link:
            (folder / name).symlink_to(content)
        else:
            (folder / name).write_bytes(content)


# Real file systems, for those who may mount them.

EXT4_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2


@cache
def can_mount():
    """None, or why nothing can be mounted."""
    if os.geteuid() != 0:
        return "only root mounts file systems"
    for tool in ("mount", "umount", "mkfs.ext4"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    try:
        with ext4() as disk:
            disk.cut()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no loop device can be mounted here: {error}"
    return None


def run(*command):
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def tmpfs(size="6m"):
    folder = Path(tempfile.mkdtemp(prefix="tmpfs-"))
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        run("umount", "-l", str(folder))
        folder.rmdir()


class Ext4:
    """A file system of its own, whose power can be cut."""

    def __init__(self, image, folder, options):
        self._image, self.path, self._options = image, folder, options

    def mount(self):
        run("mount", "-o", ",".join(["loop", *self._options]), str(self._image), str(self.path))

    def cut(self):
        descriptor = os.open(self.path, os.O_RDONLY)
        fcntl.ioctl(descriptor, EXT4_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        os.close(descriptor)

    def back(self):
        run("umount", str(self.path))
        self.mount()


@contextmanager
def ext4(*options):
    base = Path(tempfile.mkdtemp(prefix="ext4-"))
    image, folder = base / "image", base / "mounted"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    run("mkfs.ext4", "-q", "-F", str(image))
    disk = Ext4(image, folder, options)
    disk.mount()
    try:
        yield disk
    finally:
        run("umount", "-l", str(folder))
        shutil.rmtree(base)


def sync_foreign(folder):
    """Somebody else syncs another file, which commits the journal."""
    with Path(folder, ".foreign").open("wb") as file:
        file.write(b"x")
        os.fsync(file.fileno())


def newest(folder):
    """The newest state that can be read, and how many could not."""
    good = bad = None
    for path in sorted(Path(folder).glob("m_*.pt"), reverse=True):
        try:
            state = load(path).state
        except Exception:
            bad = path.name
            continue
        good = good or (state if is_consistent(state) else None)
    return good, bad
