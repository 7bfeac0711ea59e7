"""Cost of the loop: ns per iteration of a plain loop, of this engine and of pytorch-ignite, in one run."""

import json
import subprocess
import sys
import time

NUM_ITERATIONS = 20_000
ROUNDS = 7
# (case, budget as a share of pytorch-ignite's time); for the empty loop also a multiple of the plain loop's.
BUDGETS = {"empty": 1 / 12, "two handlers": 1 / 8, "seven filtered": 1 / 10}
PLAIN_BUDGET = 4.0


def step(engine, batch):
    return batch


def handler(engine):
    pass


def make_engines():
    """Returns the cases, built with the library that is imported as ``ignite``."""
    from ignite.engine import Engine, Events

    empty, two, seven = Engine(step), Engine(step), Engine(step)
    two.add_event_handler(Events.ITERATION_STARTED, handler)
    two.add_event_handler(Events.ITERATION_COMPLETED, handler)
    for event in (
        Events.ITERATION_STARTED(every=50),
        Events.ITERATION_STARTED(every=10, after=3, before=1000),
        Events.ITERATION_COMPLETED(every=100),
        Events.ITERATION_COMPLETED(every=1000),
        Events.ITERATION_COMPLETED(once=5),
        Events.ITERATION_COMPLETED(before=10),
        Events.ITERATION_COMPLETED(after=NUM_ITERATIONS - 10),
    ):
        seven.add_event_handler(event, handler)
    return {"empty": empty, "two handlers": two, "seven filtered": seven}


def plain_loop(data):
    output = None
    for batch in data:
        output = step(None, batch)
    return output


def time_per_iteration(function, *args):
    started = time.perf_counter()
    function(*args)
    return (time.perf_counter() - started) / NUM_ITERATIONS * 1e9


def measure_once():
    """Returns ns per iteration of each case and of the plain loop."""
    data = list(range(NUM_ITERATIONS))
    found = {"plain": min(time_per_iteration(plain_loop, data) for _ in range(5))}
    for name, engine in make_engines().items():
        found[name] = min(time_per_iteration(engine.run, data) for _ in range(3))
    return found


def main():
    from _peers import peer_python

    pythons = {"ours": sys.executable, "pytorch-ignite": str(peer_python("pytorch-ignite"))}
    results = {name: [] for name in pythons}
    for _ in range(ROUNDS):  # in turns, so that both see the same machine
        for name, python in pythons.items():
            command = [python, __file__, "--worker"]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            results[name].append(json.loads(output))
    best = {
        name: {case: min(run[case] for run in runs) for case in runs[0]}
        for name, runs in results.items()
    }
    plain = best["ours"]["plain"]

    print(
        f"ns per iteration, best of {ROUNDS} interleaved rounds; the plain loop takes {plain:.0f}"
    )
    print(f"{'case':<16}{'ours':>8}{'pytorch-ignite':>16}{'ratio':>10}{'budget':>10}")
    is_good = True
    for case, budget in BUDGETS.items():
        ours, theirs = best["ours"][case], best["pytorch-ignite"][case]
        passed = ours <= budget * theirs
        is_good &= passed
        verdict = "PASS" if passed else "FAIL"
        print(
            f"{case:<16}{ours:>8.0f}{theirs:>16.0f}{f'1/{theirs / ours:.1f}':>10}{f'1/{1 / budget:.0f}':>10}  {verdict}"
        )
    ratio = best["ours"]["empty"] / plain
    is_good &= ratio <= PLAIN_BUDGET
    verdict = "PASS" if ratio <= PLAIN_BUDGET else "FAIL"
    print(
        f"{'empty / plain':<16}{'':>24}{f'{ratio:.2f}':>10}{f'{PLAIN_BUDGET:.0f}':>10}  {verdict}"
    )
    return 0 if is_good else 1


if __name__ == "__main__":
    if "--worker" in sys.argv:
        print(json.dumps(measure_once()))
    else:
        raise SystemExit(main())
