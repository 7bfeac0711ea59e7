"""Time of `import ignite, ignite.engine` in addition to `import torch`, here and for pytorch-ignite."""

import statistics
import subprocess
import sys

ROUNDS = 7
BUDGET_S = 0.15
CODE = """
import time
import torch
started = time.perf_counter()
import ignite, ignite.engine
print(time.perf_counter() - started)
"""


def main():
    from _peers import peer_python

    pythons = {"ours": sys.executable, "pytorch-ignite": str(peer_python("pytorch-ignite"))}
    found = {name: [] for name in pythons}
    for _ in range(ROUNDS):
        for name, python in pythons.items():
            run = subprocess.run(
                [python, "-W", "ignore", "-c", CODE], check=True, capture_output=True, text=True
            )
            found[name].append(float(run.stdout))
    for name, seconds in found.items():
        print(f"{name:<16} best {min(seconds):.3f} s   median {statistics.median(seconds):.3f} s")
    passed = statistics.median(found["ours"]) <= BUDGET_S
    print(f"budget {BUDGET_S} s: {'PASS' if passed else 'FAIL'}")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
