"""Time that `import ignite`, its engine, handlers and metrics take in addition to `import torch`, here and there."""

import statistics
import subprocess
import sys

ROUNDS = 7
BUDGET_S = 0.15
# The garbage that importing torch has left is collected first: a full collection takes longer than the import, and
# the next module that is imported, whichever it is, would pay for it.
CODE = """
import gc, sys, time
import torch
gc.collect()
before = set(sys.modules)
started = time.perf_counter()
import ignite, ignite.engine, ignite.handlers, ignite.metrics
print(time.perf_counter() - started)
print(*sorted(name for name in set(sys.modules) - before if name.split(".")[0] == "torch"))
"""


def main():
    from _peers import peer_python

    pythons = {"ours": sys.executable, "pytorch-ignite": str(peer_python("pytorch-ignite"))}
    found = {name: [] for name in pythons}
    modules = {}
    for _ in range(ROUNDS):
        for name, python in pythons.items():
            run = subprocess.run(
                [python, "-W", "ignore", "-c", CODE], check=True, capture_output=True, text=True
            )
            seconds, _, of_torch = run.stdout.partition("\n")
            found[name].append(float(seconds))
            modules[name] = of_torch.split()
    for name, seconds in found.items():
        print(
            f"{name:<16} best {min(seconds):.3f} s   median {statistics.median(seconds):.3f} s   "
            f"modules of torch that torch does not import: {len(modules[name])} {modules[name][:8]}"
        )
    passed = statistics.median(found["ours"]) <= BUDGET_S
    print(f"budget {BUDGET_S} s: {'PASS' if passed else 'FAIL'}")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
