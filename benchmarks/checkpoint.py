"""Cost of a checkpoint of 400 MB: seconds for which training is blocked, compared with torch.save, and memory."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

NUM_BYTES = 400_000_000
NUM_TENSORS = 100
ROUNDS = 5
NUM_WARM = 3
STALL_BUDGET = 0.3  # times a bare torch.save
MEMORY_BUDGET = 1.0  # copies of the state
MEMORY_SLACK = 0.02  # of a copy, for everything else that the process does meanwhile


def make_state():
    import torch

    torch.set_num_threads(1)
    num_elements = NUM_BYTES // 4 // NUM_TENSORS
    generator = torch.Generator().manual_seed(0)
    return {
        f"layer{i}.weight": torch.randn(num_elements, generator=generator)
        for i in range(NUM_TENSORS)
    }


def timed(function, *args, **kwargs):
    started = time.perf_counter()
    function(*args, **kwargs)
    return time.perf_counter() - started


def measure_times(folder):
    """Returns the best time of each case in this process; the first snapshot is measured once."""
    import torch

    from ignite.storage.note import Note
    from ignite.storage.place import Folder
    from ignite.storage.reader import load, save
    from ignite.storage.snapshot import Snapshot
    from ignite.storage.writer import Writer

    state, place, path = make_state(), Folder(folder), folder / "bare.pt"
    snapshot, writer = Snapshot(), Writer()

    def save_behind():
        taken = snapshot.take(state)
        writer.submit(lambda: save(place, "ours.pt", taken, Note(step=1)))

    copy = {name: torch.empty_like(tensor) for name, tensor in state.items()}

    def copy_all():
        for name, tensor in state.items():
            copy[name].copy_(tensor)

    found = {"bare": [], "ours": [], "copy": [], "stall": [], "load bare": [], "load ours": []}
    first = timed(save_behind)
    writer.wait()
    for _ in range(NUM_WARM):
        path.unlink(missing_ok=True)
        found["bare"].append(timed(torch.save, state, path))
        found["ours"].append(timed(save, place, "ours.pt", state, Note(step=1)))
        found["copy"].append(timed(copy_all))
        found["stall"].append(timed(save_behind))
        writer.wait()
        found["load bare"].append(timed(torch.load, path, weights_only=True))
        found["load ours"].append(timed(load, folder / "ours.pt"))
    return {**{name: min(times) for name, times in found.items()}, "first stall": first}


class PeakMemory:
    """Measures the peak memory of the process within the block, above that before it, in bytes."""

    def __enter__(self):
        self.before = self.most = self.now()
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.is_over.wait(0.001):
            self.most = max(self.most, self.now())

    def now(self):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def __exit__(self, *error):
        self.is_over.set()
        self.thread.join()
        self.extra = max(self.most, self.now()) - self.before


def measure_memory(folder):
    """Returns the memory of background saves as a multiple of the state."""
    from ignite.storage.note import Note
    from ignite.storage.place import Folder
    from ignite.storage.reader import save
    from ignite.storage.snapshot import Snapshot
    from ignite.storage.writer import Writer

    state, place = make_state(), Folder(folder)
    snapshot, writer = Snapshot(), Writer()
    save(
        place, "warm.pt", {"a": 1}, Note(step=0)
    )  # what is imported and set up at first use is not counted
    with PeakMemory() as memory:
        for step in range(NUM_WARM):
            writer.wait()
            taken = snapshot.take(state)
            writer.submit(
                lambda taken=taken, step=step: save(place, f"{step}.pt", taken, Note(step=step))
            )
            del taken
        writer.wait()
    return {"copies": memory.extra / NUM_BYTES}


def run_worker(kind):
    with tempfile.TemporaryDirectory(prefix="ignite-bench-") as folder:
        command = [sys.executable, __file__, kind, folder]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(run.stdout.splitlines()[-1])


def main():
    runs = [run_worker("--times") for _ in range(ROUNDS)]
    best = {name: min(run[name] for run in runs) for name in runs[0]}
    copies = max(run_worker("--memory")["copies"] for _ in range(2))
    print(
        f"a state of {NUM_BYTES / 1e6:.0f} MB in {NUM_TENSORS} tensors, best of {ROUNDS} processes, one thread"
    )
    rows = [
        ("torch.save, no fsync", "bare", "bare"),
        ("ours, synced, verified", "ours", "bare"),
        ("stall behind, first", "first stall", "bare"),
        ("stall behind", "stall", "bare"),
        ("a copy of all tensors", "copy", "bare"),
        ("torch.load", "load bare", "load bare"),
        ("ours, verified", "load ours", "load bare"),
    ]
    for text, name, base in rows:
        print(f"{text:<26}{best[name]:>8.3f} s{best[name] / best[base]:>8.2f} x")
    stall = best["stall"] / best["bare"]
    is_short, is_small = stall <= STALL_BUDGET, copies <= MEMORY_BUDGET + MEMORY_SLACK
    verdicts = {True: "PASS", False: "FAIL"}
    print(f"stall / torch.save {stall:.2f} (budget {STALL_BUDGET})  {verdicts[is_short]}")
    print(f"peak extra memory {copies:.2f} copies (budget {MEMORY_BUDGET})  {verdicts[is_small]}")
    return 0 if is_short and is_small else 1


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure = {"--times": measure_times, "--memory": measure_memory}[sys.argv[1]]
        print(json.dumps(measure(Path(sys.argv[2]))))
    else:
        raise SystemExit(main())
