"""Malicious files, and the observable effects of loading them."""

import codecs
import faulthandler
import gc
import io
import json
import os
import pickle
import random
import resource
import signal
import struct
import sys
import tarfile
import time
import zipfile

import torch

from ignite.exceptions import CheckpointError
from ignite.storage import Note, append_note, load

MB = 1 << 20
PARTS = {"byteorder": b"little", "version": b"3\n", "data/0": bytes(16)}


# Pickles, by hand.


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    return pickle.dumps(value, 2)[2:-1]


def numbers(*values):
    return b"(" + b"".join(map(number, values)) + b"t"


def called(path, *arguments, how=b"R"):
    module, _, name = path.rpartition(".")
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"t" + how


def named(path):
    module, _, name = path.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def storage(num=4, key="0", kind="torch.FloatStorage", where="cpu"):
    return b"(" + text("storage") + named(kind) + text(key) + text(where) + number(num) + b"tQ"


def tensor(stored, offset=0, size=(4,), stride=(1,)):
    return called(
        "torch._utils._rebuild_tensor_v2", stored, number(offset), numbers(*size), numbers(*stride), b"\x89",
        called("collections.OrderedDict"),
    )  # fmt: skip


def pickled(body):
    return b"\x80\x02" + body + b"."


def zipped(data, parts=PARTS, top="a", compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr(zipfile.ZipInfo(f"{top}/data.pkl"), data, compression)
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(f"{top}/{name}"), content, compression)
    return file.getvalue()


def saved(state, **kwargs):
    file = io.BytesIO()
    torch.save(state, file, **kwargs)
    return file.getvalue()


def noted(content, text=None):
    file = io.BytesIO(content)
    if text is None:
        append_note(file, Note(step=3, score=0.5))
    else:
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(archive.namelist()[0].partition("/")[0] + "/.ignite.json", text)
    return file.getvalue()


class Calls:
    """Pickled as a call of a function."""

    def __init__(self, function, *arguments):
        self._reduced = function, arguments

    def __reduce__(self):
        return self._reduced


def executing(victim):
    """What would be executed, in one slot of a state each."""
    command = f"touch {victim}"
    yield "system", {"model": Calls(os.system, command)}
    yield "popen", {"optimizer": {"state": [Calls(os.popen, command)]}}
    yield "eval", {"trainer": {"iteration": Calls(eval, f"open({str(victim)!r}, 'w')")}}
    yield "exec", {"metric": (Calls(exec, f"open({str(victim)!r}, 'w')"),)}
    yield "open", {"random": Calls(open, str(victim), "w")}
    yield "import", {Calls(__import__, "antigravity"): 1}
    yield "getattr", {"x": Calls(getattr, "x", "upper")}
    yield (
        "load_from_bytes",
        {"x": Calls(torch.storage._load_from_bytes, saved(Calls(os.system, command)))},
    )
    yield "hub", {"x": Calls(torch.hub.load, "x/y", "z")}
    yield "load", {"x": Calls(torch.load, str(victim))}
    yield "rmtree", {"x": Calls(os.rmdir, str(victim))}


def of_pickles():
    yield "posix_system", pickled(called("posix.system", text("true")))
    yield "nt_system", pickled(called("nt.system", text("true")))
    yield "sys_modules", pickled(named("sys.modules"))
    yield "old_name_of_builtins", pickled(called("__builtin__.eval", text("1")))
    yield "tensor_of_a_size", pickled(called("torch.Tensor", number(10**9)))
    yield "new_tensor_of_a_size", pickled(called("torch.Tensor", number(10**9), how=b"\x81"))
    yield "float_tensor_of_a_size", pickled(called("torch.FloatTensor", number(10**9)))
    yield "bytearray_of_a_size", pickled(called("builtins.bytearray", number(10**10)))
    yield "storage_of_a_size", pickled(called("torch.storage.UntypedStorage", number(10**10)))
    yield "quantized_of_a_size", pickled(
        called(
            "torch._utils._rebuild_qtensor", storage(), number(0), numbers(10**9), numbers(1),
            b"(" + named("torch.per_tensor_affine") + b"G" + bytes(8) + number(0) + b"t", b"\x89",
            called("collections.OrderedDict"),
        )
    )  # fmt: skip
    yield "storage_larger_than_its_part", pickled(tensor(storage(10**9), size=(10**9,)))
    yield "storage_smaller_than_its_part", pickled(tensor(storage(2), size=(2,)))
    yield "tensor_larger_than_its_storage", pickled(tensor(storage(), size=(10**9,)))
    yield "storage_of_another_dtype", pickled(tensor(storage(4, kind="torch.DoubleStorage")))
    yield "storage_of_half_its_part", pickled(tensor(storage(4, kind="torch.HalfStorage")))
    yield "storage_of_a_negative_size", pickled(tensor(storage(-4), size=(0,), stride=(1,)))
    yield (
        "one_storage_of_two_sizes",
        pickled(b"(" + tensor(storage()) + tensor(storage(8), size=(8,)) + b"t"),
    )
    yield "tensor_a_little_larger", pickled(tensor(storage(), size=(5,)))
    yield "stride_behind_the_storage", pickled(tensor(storage(), size=(2, 2), stride=(100, 1)))
    yield "product_that_overflows", pickled(tensor(storage(), size=(2**62, 4), stride=(4, 1)))
    yield (
        "state_of_another_size",
        pickled(tensor(storage()) + b"(" + storage() + number(0) + numbers(9) + numbers(1) + b"tb"),
    )
    yield "offset_before_the_storage", pickled(tensor(storage(), offset=-100))
    yield "offset_behind_the_storage", pickled(tensor(storage(), offset=2**62))
    yield "negative_size", pickled(tensor(storage(), size=(-4,)))
    yield "negative_stride", pickled(tensor(storage(), stride=(-1,)))
    yield "part_that_is_missing", pickled(tensor(storage(key="7")))
    yield "part_of_another_name", pickled(tensor(storage(key="../data.pkl")))
    yield "storage_of_another_kind", pickled(tensor(storage(kind="os.system")))
    yield "no_storage", pickled(b"(" + text("module") + text("os") + b"tQ")
    yield "tuples_in_tuples", pickled(b")" + b"\x85" * MB)
    yield "tuples_in_tuples_as_key", pickled(b"}" + b")" + b"\x85" * 300_000 + b"Ns")
    yield "setstate", pickled(tensor(storage()) + b"}" + text("__class__") + number(1) + b"sb")
    yield "codec", pickled(called("_codecs.encode", text("x"), text("idna" * 1000)))
    yield "wrong_indices", pickled(
        called(
            "torch._utils._rebuild_sparse_tensor", called("torch.serialization._get_layout", text("torch.sparse_coo")),
            b"(" + tensor(storage(2, kind="torch.LongStorage"), size=(1, 2), stride=(2, 1))
            + tensor(storage(2, "1"), size=(2,)) + called("torch.Size", numbers(1)) + b"\x88t",
        )
    )  # fmt: skip
    yield "nothing", b""
    yield "no_end", b"\x80\x02}"
    yield "empty_stack", pickled(b"")
    yield "unknown_opcode", pickled(b"\xfe")
    yield "long_string", pickled(b"X\xff\xff\xff\xff")
    yield "codec_that_is_imported", pickled(called("_codecs.encode", text("x"), text("bz2_codec")))
    yield "text_protocol", b"cos\nsystem\n(S'true'\ntR."


def of_archives():
    good = saved({"x": torch.zeros(4)})
    data = pickled(tensor(storage()))
    yield "bomb", zipped(data, {"data/0": bytes(100 * MB)}, compression=zipfile.ZIP_DEFLATED)
    yield "way_out", zipped(data, {**PARTS, "../../victim": b"x"})
    yield "absolute", zipped(data, top="/etc")
    yield "two_tops", zipped(data, {"../b/data.pkl": data})
    yield "backslashes", zipped(data, {**PARTS, "..\\victim": b"x"})
    yield "same_name_twice", zipped(data, {**PARTS, "DATA/0": bytes(16)})
    yield "no_pickle", zipped(data).replace(b"data.pkl", b"data.pkx")
    yield (
        "size_of_2_gb",
        zipped(data).replace(struct.pack("<2L", 16, 16), struct.pack("<2L", 2**31, 2**31)),
    )
    yield (
        "alignment",
        zipped(data, {**PARTS, ".format_version": b"1", ".storage_alignment": b"x" * 9}),
    )
    yield "version", zipped(data, {**PARTS, "version": b"9" * 5000})
    yield "byteorder", zipped(data, {**PARTS, "byteorder": b"middle"})
    yield "torchscript", zipped(data, {**PARTS, "constants.pkl": data, "code/x.py": b"import os"})
    yield "million_parts", _million()
    yield "million_parts_untold", _million(told=5)
    for field in range(4):
        values = [44, 7, 400, 900]
        values[field] = 2**63 - 1
        end = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, *values)
        yield f"end_{field}", good[:-98] + end + good[-42:]
    yield "newer", noted(good, json.dumps({"version": 2}))
    yield "note_of_lists", noted(good, "[" * 60000)
    yield "note_of_1_mb", noted(good, '{"version": 1, "family": "' + "x" * MB + '"}')
    yield "note_of_nonsense", noted(good, '{"version": 1, "step": -5}')
    yield "note_of_other_types", noted(good, '{"version": 1, "step": "3", "score": [1e999]}')
    yield "no_file_of_torch", b"PK\x05\x06" + bytes(18)
    yield "yaml", b"!!python/object/apply:os.system ['true']\n"
    yield "metadata_of_dcp", pickle.dumps(Calls(os.system, "true"))
    yield "tar", _tar()
    old = saved({"x": torch.zeros(4)}, _use_new_zipfile_serialization=False)
    yield "old_and_evil", saved(Calls(os.system, "true"), _use_new_zipfile_serialization=False)
    yield "old_and_large", old.replace(number(4) + b"N", number(2**30) + b"N")
    yield "old_and_short", old[:-5]
    yield (
        "old_and_larger_than_its_storage",
        old.replace(number(4) + b"\x85", number(2**27) + b"\x85"),
    )
    yield "old_and_smaller_than_told", old.replace(number(4) + b"N", number(3) + b"N")


def _million(told=1_000_000):
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, *[0] * 7, 0, 3, *[0] * 4, 4) + b"a/b"
    table = entry * 1_000_000
    end = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, told, told, len(table), 4)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 4 + len(table), 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(table), 4, 0)
    return b"PK\x03\x04" + table + end + locator + last


def _tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("../../victim")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    return file.getvalue()


def corpus(victim):
    """Name and content of files that should all be refused."""
    for name, state in executing(victim):
        yield name, saved(state)
    for name, data in of_pickles():
        yield name, zipped(data)
    yield from of_archives()


# Files that are changed at random.


def originals():
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": 3,
        "b": b"x",
        "s": {1, (2, 3)},
    }
    yield noted(saved(state))
    yield saved(
        {
            "list": [1.5, None, True, "text", 2**70],
            "t": torch.ones(2, dtype=torch.bfloat16),
            "a": bytearray(b"ab"),
        }
    )
    yield noted(saved(torch.eye(3).to_sparse()))
    yield saved(state, _use_new_zipfile_serialization=False)


def mutated(content, generator):
    """The file with some bytes changed; with a right checksum of what was changed, if that is a part."""
    is_zip = content[:2] == b"PK"
    kind = generator.choice(
        ["bytes", "pickle", "pickle", "pickle", "note", "numbers", "length"]
        if is_zip
        else ["bytes"]
    )
    if kind in ("pickle", "note"):
        return _with_part(content, "data.pkl" if kind == "pickle" else ".ignite.json", generator)
    changed = bytearray(content)
    if kind == "length":
        at = generator.randrange(len(changed))
        return (
            bytes(changed[:at])
            if generator.random() < 0.5
            else bytes(changed[:at] + changed[at // 2 :])
        )
    if kind == "numbers":
        # Sizes, places and counts are where the table is.
        at = generator.randrange(content.rindex(b"PK\x01\x02") - 200, len(content) - 8)
        value = generator.choice([0, 1, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1])
        width = generator.choice([2, 4, 8])
        changed[at : at + width] = (value % 256**width).to_bytes(width, "little")
        return bytes(changed)
    return _scrambled(changed, generator)


OPCODES = b"0123(.}])NRQbcFGIJKLMSTUVXadeghijlopqrstu\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8e\x90\x92\x93\x94"


def _scrambled(data, generator):
    data = bytearray(data)
    for _ in range(generator.randint(1, 4)):
        if not data:
            break
        at, other = generator.randrange(len(data)), generator.randrange(len(data))
        length = generator.randint(1, 20)
        act = generator.randrange(5)
        if act == 0:
            data[at] = generator.choice(OPCODES)
        elif act == 1:
            data[at] ^= 1 << generator.randrange(8)
        elif act == 2:
            data[at:at] = data[other : other + length]
        elif act == 3:
            del data[at : at + length]
        else:
            data[at : at + 4] = struct.pack(
                "<I", generator.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1])
            )
    return bytes(data)


def _with_part(content, name, generator):
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(file, "w") as target:
        for info in source.infolist():
            data = source.read(info)
            if info.filename.endswith(name):
                data = _scrambled(data, generator)
            target.writestr(zipfile.ZipInfo(info.filename), data)
    return file.getvalue()


def mutants(count, seed=55):
    generator, sources = random.Random(seed), list(originals())
    for i in range(count):
        yield f"mutant_{i}", mutated(generator.choice(sources), generator)


# Loading them, in a process of which everything is watched.

FORBIDDEN = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "subprocess.Popen", "socket.",
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.link", "os.symlink", "os.truncate",
    "os.kill", "os.putenv", "shutil.", "webbrowser.open", "urllib.Request", "ftplib.", "smtplib.", "builtins.input",
    "ctypes.dlopen", "ctypes.call_function", "sys.settrace", "sys.setprofile", "code.__new__", "function.__new__",
    "pty.spawn",
)  # fmt: skip
KNOWN_CODE = (os.path.dirname(torch.__file__), os.path.dirname(os.__file__))


class Watch:
    """Notes what is executed, imported or opened for writing, while it is armed."""

    def __init__(self):
        self.seen = []
        self.is_armed = False
        sys.addaudithook(self._hook)

    def _hook(self, event, arguments):
        if self.is_armed and self._is_bad(event, arguments):
            self.seen.append(f"{event}{arguments!r:.100}")

    def _is_bad(self, event, arguments):
        if event == "open":
            flags = arguments[2]
            return bool(
                isinstance(flags, int)
                and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            )
        if event == "import":
            return not arguments[0].startswith("torch")
        if event == "exec":
            return not arguments[0].co_filename.startswith((*KNOWN_CODE, "<frozen"))
        if event == "compile":
            return arguments[1] is not None and not str(arguments[1]).startswith(KNOWN_CODE)
        return event.startswith(FORBIDDEN)


def limit_memory(num_bytes):
    """What this process may have more than it has now."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + num_bytes, resource.RLIM_INFINITY))


def load_one(path, watch, read):
    size = os.path.getsize(path)
    started = time.perf_counter()
    limit_memory(2 * size + 64 * MB)
    watch.is_armed = True
    try:
        read(path)
        outcome = "loaded"
    except CheckpointError as error:
        is_memory = any(
            words in f"{error}{error.__cause__!r}"
            for words in ("MemoryError", "can't allocate", "bad alloc")
        )
        outcome = "refused when memory was out" if is_memory else "refused"
    except BaseException as error:
        outcome = f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
    finally:
        watch.is_armed = False
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    if watch.seen:
        outcome = f"executed: {watch.seen[0]}"
        watch.seen.clear()
    elif time.perf_counter() - started > 2:
        outcome = "too slow"
    return outcome


def examine(paths, read=load, warm_up=()):
    """What happens to each file, in a process that may die of it."""
    outcomes = []
    while len(outcomes) < len(paths):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            gc.freeze()  # what other tests have left, such as workers of loaders, is not for this process to end
            code = 1
            try:
                os.close(reading)
                _child(paths[len(outcomes) :], writing, read, warm_up)
                code = 0
            except BaseException as error:  # also of the warm-up: says why there is no outcome
                os.write(writing, f"failed: {error!r:.300}\n".replace("\n", " ").encode() + b"\n")
            finally:
                os._exit(code)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            outcomes += [line.rstrip("\n") for line in pipe]
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if len(outcomes) < len(paths):
            outcomes.append("too slow" if code == -signal.SIGALRM else f"died: {code}")
    return outcomes


def _child(paths, writing, read, warm_up):
    faulthandler.disable()  # a reader that dies should do so quietly
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    for path in warm_up:
        read(path)  # so that torch imports what it imports when it is first used
    codecs.lookup("raw_unicode_escape")  # which pickletools uses
    repr(torch.ones(1))  # in messages of torch; imports a part of it
    watch = Watch()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for path in paths:
        signal.alarm(10)
        outcome = load_one(path, watch, read)
        signal.alarm(0)
        os.write(writing, outcome.encode(errors="replace") + b"\n")
