"""Cost of the end of an epoch over 2 processes: collectives and ms for seven metrics, compared with pytorch-ignite."""

import json
import os
import socket
import subprocess
import sys
import time

from metrics import SUITE, made_of_ignite

NUM_EXAMPLES, NUM_CLASSES = 256, 100
NUM_TIMES = 50
ROUNDS = 5
MAX_COLLECTIVES = 2
BUDGET = 1 / 5
COLLECTIVES = (
    "all_reduce",
    "all_gather",
    "all_gather_object",
    "broadcast",
    "all_gather_into_tensor",
    "barrier",
)


def make_output():
    import torch

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(NUM_EXAMPLES, NUM_CLASSES, generator=generator)
    return scores, torch.randint(NUM_CLASSES, (NUM_EXAMPLES,), generator=generator)


def count_collectives(dist, calls):
    for name in COLLECTIVES:
        original = getattr(dist, name)

        def call(*args, original=original, name=name, **kwargs):
            calls.append(name)
            return original(*args, **kwargs)

        setattr(dist, name, call)


def work(rank, port):
    """Attaches the metrics, processes a batch, and fires the end of the epoch repeatedly."""
    import torch.distributed as dist

    from ignite import metrics
    from ignite.engine import Engine, Events

    output = make_output()
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    calls = []
    count_collectives(dist, calls)
    engine = Engine(lambda engine, batch: output)
    for name in SUITE:
        made_of_ignite(name, metrics, NUM_CLASSES).attach(engine, name)
    engine.run([0])
    calls.clear()
    engine.fire_event(Events.EPOCH_COMPLETED)
    found = {"collectives": len(calls)}
    times = []
    for _ in range(5):
        dist.barrier()
        started = time.perf_counter()
        for _ in range(NUM_TIMES):
            engine.fire_event(Events.EPOCH_COMPLETED)
        times.append((time.perf_counter() - started) / NUM_TIMES * 1e3)
    found["ms"] = min(times)
    dist.destroy_process_group()
    return found


def measure_once(python):
    """Runs both processes with this Python, and returns the result of the first one."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "LOCAL_RANK": "0"}
    commands = [[python, __file__, "--worker", str(rank), port] for rank in range(2)]
    processes = [
        subprocess.Popen(c, stdout=subprocess.PIPE, text=True, env=environment) for c in commands
    ]
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError(f"a process of {python} failed")
    return json.loads(outputs[0].splitlines()[-1])


def main():
    from _peers import peer_python

    pythons = {"ours": sys.executable, "pytorch-ignite": str(peer_python("pytorch-ignite"))}
    results = {name: [] for name in pythons}
    for _ in range(ROUNDS):  # in turns, so that both see the same machine
        for name, python in pythons.items():
            results[name].append(measure_once(python))
    best = {name: min(run["ms"] for run in runs) for name, runs in results.items()}
    collectives = {name: runs[0]["collectives"] for name, runs in results.items()}
    ratio = best["ours"] / best["pytorch-ignite"]
    print(
        f"the end of an epoch with seven metrics of {NUM_CLASSES} classes, 2 gloo processes, best of {ROUNDS} rounds"
    )
    for name in pythons:
        print(f"{name:<16}{collectives[name]:>4} collectives{best[name]:>10.3f} ms")
    is_good = collectives["ours"] <= MAX_COLLECTIVES and ratio <= BUDGET
    verdict = "PASS" if is_good else "FAIL"
    print(
        f"ratio 1/{1 / ratio:.1f} (budget 1/{1 / BUDGET:.0f}, at most {MAX_COLLECTIVES} collectives)  {verdict}"
    )
    return 0 if is_good else 1


if __name__ == "__main__":
    if "--worker" in sys.argv:
        print(json.dumps(work(int(sys.argv[-2]), int(sys.argv[-1]))))
    else:
        raise SystemExit(main())
