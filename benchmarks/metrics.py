"""Cost of metrics: each alone, compared with peers that give the right value; seven together, compared with argmax."""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
import warnings

import torch
from _metric_cases import CASES, NUM_BATCHES, PASSES, SIZES, batches_of, num_classes

PEERS = ("pytorch-ignite", "torchmetrics", "fairlearn")
ROUNDS = 21
SLICE_S = 0.01  # measured at once; libraries take turns, so that all see the same machine
TOLERANCE = 1e-5  # of values, relative to the definition: float32 is enough
SUITE_BUDGET = 3.5  # times one argmax


SUITE = ("Accuracy", "TopK(5)", "Precision", "Recall", "Fbeta", "ConfusionMatrix", "Loss")


# Workers: one process for each library, which measures on request.


class Names:
    """Combines the names of several modules; earlier modules take precedence."""

    def __init__(self, *modules):
        self._modules = modules

    def __getattr__(self, name):
        return next(getattr(module, name) for module in self._modules if hasattr(module, name))


def of_ignite(name, case, batches):
    """Returns a function that updates the metric with all batches and returns its value, or None."""
    import ignite.metrics
    from ignite.metrics import clustering, regression

    rooms = (f"ignite.metrics.{room}" for room in ("fairness", "rec_sys"))
    names = Names(
        ignite.metrics,
        clustering,
        regression,
        *(importlib.import_module(room) for room in rooms if importlib.util.find_spec(room)),
        *(each for each in vars(regression).values() if hasattr(each, "__file__")),
    )
    try:
        made = (
            case.make(names, num_classes(batches)) if case.make else getattr(names, name.strip())()
        )
    except (StopIteration, ImportError):
        return None
    metric, update = made if isinstance(made, tuple) else (made, made.update)
    return lambda: fed(metric, batches, update)


def of_torchmetrics(name, case, batches):
    """Likewise."""
    import torchmetrics

    if case.peer is None:
        return None
    made = case.peer(torchmetrics, num_classes(batches))
    metric, update = made if isinstance(made, tuple) else (made, made.update)
    return lambda: fed(metric, batches, lambda pair: update(*pair))


def of_fairlearn(name, case, batches):
    """Likewise."""
    import fairlearn.metrics

    if case.frame is None:
        return None

    def value_of(batches):
        parts = (as_array(each) for each in zip(*batches, strict=True))
        return case.frame(fairlearn.metrics, *parts)

    if not case.is_mean:
        return lambda: value_of(batches)
    # Batches are of one size, so that the mean needs no weights.
    return lambda: [
        sum(numbers) / len(batches)
        for numbers in zip(*(value_of([batch]) for batch in batches), strict=True)
    ]


def fed(metric, batches, update):
    metric.reset()
    for batch in batches:
        update(batch)
    return metric.compute()


def made_of_ignite(name, m, c):
    """Creates the metric of a case from the module ``m`` of the library imported as ``ignite``."""
    make = CASES[name].make
    return make(m, c) if make else getattr(m, name)()


def suite_of_ignite(batches):
    """Attaches the metrics of the suite to one engine."""
    from ignite import metrics as m
    from ignite.engine import Engine

    engine = Engine(lambda engine, batch: batch)
    for name in SUITE:
        made_of_ignite(name, m, num_classes(batches)).attach(engine, name)
    return lambda: engine.run(batches).metrics


def suite_of_torchmetrics(batches):
    import torchmetrics

    found = {name: CASES[name].peer(torchmetrics, num_classes(batches)) for name in SUITE}
    loss, update_loss = found.pop("Loss")
    collection = torchmetrics.MetricCollection(found)

    def run():
        collection.reset()
        loss.reset()
        for pair in batches:
            collection.update(*pair)
            update_loss(*pair)
        return {**collection.compute(), "Loss": loss.compute()}

    return run


def function_of(library, name, size):
    if name == "argmax":
        pairs = batches_of(CASES["Accuracy"], size)
        return lambda: [y_pred.argmax(1) for y_pred, _ in pairs]
    if name == "suite":
        suite = suite_of_torchmetrics if library == "torchmetrics" else suite_of_ignite
        return suite(batches_of(CASES["Accuracy"], size))
    of_library = {"torchmetrics": of_torchmetrics, "fairlearn": of_fairlearn}
    case = CASES[name]
    return of_library.get(library, of_ignite)(name, case, batches_of(case, size))


def as_numbers(value):
    if isinstance(value, torch.Tensor):
        return value.double().flatten().tolist()
    if isinstance(value, dict):
        return [number for item in value.values() for number in as_numbers(item) or []]
    if isinstance(value, list):
        return [float(item) for item in value]
    return [float(value)] if isinstance(value, int | float) else None


def work(library):
    """Answers a line with case and size by the value, and a repeated line by us per batch."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    asked, function = None, None
    for line in sys.stdin:
        if line != asked:
            asked, function = line, function_of(library, *json.loads(line))
            value = None if function is None else as_numbers(function())
            answer = {"value": value, "is_there": function is not None}
        else:
            answer = time_us(function)
        print(json.dumps(answer), flush=True)


def time_us(function):
    num_runs, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < SLICE_S:
        function()
        num_runs += 1
    return elapsed / num_runs / (NUM_BATCHES * PASSES) * 1e6


# The main process: queries the workers in turns, and compares.


def start(name, python):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    if name in PEERS:
        environment.pop("PYTHONPATH", None)  # or ours might be found under the name of one of them
    command = [python, "-W", "ignore", __file__, "--worker", name]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def ask(worker, name, size):
    worker.stdin.write(json.dumps([name, size]) + "\n")
    worker.stdin.flush()
    return json.loads(worker.stdout.readline())


def is_right(value, expected):
    if value is None or len(value) != len(expected):
        return False
    return all(
        abs(a - b) <= TOLERANCE * max(abs(b), TOLERANCE)
        for a, b in zip(value, expected, strict=True)
    )


def expected_value(name, size):
    import _definitions as definitions
    import numpy as np

    case = CASES[name]
    arrays = [as_array(parts) for parts in zip(*batches_of(case, size), strict=True)]
    return np.ravel(getattr(definitions, case.definition)(*arrays, *case.arguments)).tolist()


def as_array(parts):
    """Joins tensors to an array, in float64 or integers, and lists to a list."""
    if isinstance(parts[0], list):
        return [item for part in parts for item in part]
    joined = torch.cat(parts)
    return (joined.double() if joined.is_floating_point() else joined).numpy()


def measure(workers, name, size):
    """Returns us per batch by library: the lower quartile of rounds, because noise only adds time."""
    times = {library: [] for library in workers}
    for _ in range(ROUNDS):
        for library, worker in workers.items():
            times[library].append(ask(worker, name, size))
    return {library: statistics.quantiles(found, n=4)[0] for library, found in times.items()}


def compare(workers, name, size):
    """Prints a row; returns whether ours is right and no peer that is right is faster."""
    expected = expected_value(name, size)
    answers = {library: ask(worker, name, size) for library, worker in workers.items()}
    right = {library: is_right(answer["value"], expected) for library, answer in answers.items()}
    there = {library: worker for library, worker in workers.items() if answers[library]["is_there"]}
    times = measure(there, name, size)
    rivals = [
        times["ours"] / times[library] for library in PEERS if library in there and right[library]
    ]
    worst = max(rivals, default=0.0)
    passed = right["ours"] and worst <= 1.0
    cells = [f"{name.strip():<37}{size:>11}{times['ours']:>9.1f}"]
    for library in PEERS:
        mark = " " if right[library] else "*"
        cells += [f"{times[library]:>15.1f}{mark}" if library in there else f"{'-':>15} "]
    words = "PASS" if passed else "FAIL" if right["ours"] else "WRONG"
    print("".join(cells), f"{worst:>7.2f}" if rivals else f"{'':>7}", words, flush=True)
    return passed


def compare_suite(workers, size):
    """Prints the cost of the suite in argmaxes; returns whether ours is within the budget."""
    times = {}
    for name in ("argmax", "suite"):
        for worker in workers.values():
            ask(worker, name, size)
        times[name] = measure(workers, name, size)
    costs = {library: times["suite"][library] / times["argmax"][library] for library in workers}
    passed = costs["ours"] <= SUITE_BUDGET
    cells = [f"{'seven together, in argmaxes':<37}{size:>11}{costs['ours']:>9.1f}"]
    cells += [
        f"{costs[library]:>15.1f} " if library in costs else f"{'-':>15} " for library in PEERS
    ]
    print("".join(cells), f"{SUITE_BUDGET:>7} {'PASS' if passed else 'FAIL'}")
    return passed


def main():
    from _peers import peer_python

    pythons = {"ours": sys.executable, **{name: str(peer_python(name)) for name in PEERS}}
    workers = {name: start(name, python) for name, python in pythons.items()}
    chosen = [name for name in CASES if not sys.argv[1:] or name.strip() in sys.argv[1:]]
    print(
        "us per batch; * gives another value than the definition, and does not count; last: ours / fastest"
    )
    print(f"{'':<48}{'ours':>9}" + "".join(f"{name:>15} " for name in PEERS))
    failed = [
        name
        for name in chosen
        for size in SIZES[CASES[name].data]
        if not compare(workers, name, size)
    ]
    workers.pop("fairlearn")  # has none of the seven
    if not sys.argv[1:] and not compare_suite(workers, "256x100"):
        failed.append("suite")
    return 1 if failed else 0


if __name__ == "__main__":
    if "--worker" in sys.argv:
        work(sys.argv[-1])
    else:
        raise SystemExit(main())
