"""Cost of profilers: RunProfiler may take 1 % of a training step, even if the step takes only 0.7 ms.

The cost is smaller than the noise of a step. So each round compares neighboring measurements, and the result is the
median of many rounds. ``none again`` shows the error of such a median where there is no difference.
"""

import functools
import json
import random
import statistics
import subprocess
import sys
import time

BUDGET = 0.01
ROUNDS = 120
EMPTY_ITERATIONS = 20_000
STEP_ITERATIONS = 100
SHORT, LONG = 64, 256  # samples in a batch


def handler(engine):
    pass


def add_handlers(engine):
    """Adds handlers as in a typical program: two in each iteration, one from time to time."""
    from ignite.engine import Events

    engine.add_event_handler(Events.ITERATION_STARTED, handler)
    engine.add_event_handler(Events.ITERATION_COMPLETED, handler)
    engine.add_event_handler(Events.ITERATION_COMPLETED(every=50), handler)
    return engine


def make_empty():
    from ignite.engine import Engine

    return add_handlers(Engine(lambda engine, batch: batch)), range(EMPTY_ITERATIONS)


def make_training(batch_size):
    """The 784-128-10 net."""
    import torch
    from torch import nn

    from ignite.engine import create_supervised_trainer

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    trainer = create_supervised_trainer(
        model, optimizer, nn.CrossEntropyLoss(), output_transform=lambda *args: None
    )
    batch = (torch.randn(batch_size, 784), torch.randint(0, 10, (batch_size,)))
    return add_handlers(trainer), [batch] * STEP_ITERATIONS


def profilers():
    """Returns functions that attach a profiler, built with the library imported as ``ignite``."""
    from ignite.handlers import time_profilers

    found = {"none": None, "none again": None}
    try:
        from ignite.handlers.run_profiler import RunProfiler

        found["RunProfiler"] = RunProfiler
    except ModuleNotFoundError:  # pytorch-ignite has none
        del found["none again"]
    return {
        **found,
        "Basic": time_profilers.BasicTimeProfiler,
        "Handlers": time_profilers.HandlersTimeProfiler,
    }


def time_per_iteration(engine, data):
    started = time.perf_counter()
    engine.run(data)
    return (time.perf_counter() - started) / len(data)


def measure(make, rounds):
    """Returns seconds per iteration by profiler and round; the order of profilers differs by round."""
    cases = {}
    for name, profiler in profilers().items():
        cases[name] = make()
        if profiler is not None:
            profiler().attach(cases[name][0])
    times = {name: [] for name in cases}
    names, draw = list(cases), random.Random(0)
    for i in range(rounds + 2):
        for name in draw.sample(names, len(names)):
            seconds = time_per_iteration(*cases[name])
            if i >= 2:  # the first warm up
                times[name].append(seconds)
    return times


def measure_all():
    import torch

    torch.set_num_threads(1)
    steps = {
        name: functools.partial(make_training, size)
        for name, size in (("short step", SHORT), ("step", LONG))
    }
    return {
        "empty loop": measure(make_empty, 7),
        **{name: measure(make, ROUNDS) for name, make in steps.items()},
    }


def ratios(times, name):
    """Returns ratios to the mean without a profiler in the same round, so that slow phases cancel."""
    without = times.get("none again", times["none"]) if name != "none again" else times["none"]
    means = [(a + b) / 2 for a, b in zip(times["none"], without, strict=True)]
    return [with_it / mean for with_it, mean in zip(times[name], means, strict=True)]


def report(title, results):
    """Prints the cost of each profiler; returns their shares of each training step."""
    shares, steps = {}, ("short step", "step")
    bases = {name: statistics.median(results[name]["none"]) for name in steps}
    print(title)
    heads = "".join(f"{f'step of {bases[name] * 1e6:.0f} us':>24}" for name in steps)
    print(f"  {'profiler':<14}{'empty loop':>16}{heads}")
    for profiler in results["empty loop"]:
        if profiler == "none":
            continue
        empty = results["empty loop"]
        cells = f"{(min(empty[profiler]) - min(empty['none'])) * 1e9:>+13.0f} ns"
        for name in steps:
            share = shares[profiler, name] = statistics.median(ratios(results[name], profiler)) - 1
            cells += f"{share:>+13.2%} {share * bases[name] * 1e6:>+7.1f} us"
        print(f"  {profiler:<14}{cells}")
    return shares


def main():
    from _peers import HERE

    shares = report("ours", measure_all())
    python = HERE / ".venv-pytorch-ignite" / "bin" / "python"
    if python.exists():
        command = [str(python), __file__, "--worker"]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        report("pytorch-ignite", json.loads(output))
    is_within = True
    for step in ("short step", "step"):
        share, noise = shares["RunProfiler", step], shares["none again", step]
        is_within &= share <= BUDGET
        print(f"RunProfiler: {share:.2%} of the {step}, budget {BUDGET:.0%}", end="  ")
        print(
            "PASS" if share <= BUDGET else "FAIL", f"('none again' shows the noise: {noise:+.2%})"
        )
    return 0 if is_within else 1


if __name__ == "__main__":
    if "--worker" in sys.argv:
        print(json.dumps(measure_all()))
    else:
        raise SystemExit(main())
