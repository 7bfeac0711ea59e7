"""Cost of progress displays between two updates: ns per iteration, compared with an empty handler."""

import io
import statistics
import subprocess
import sys
import time
from pathlib import Path

NUM_ITERATIONS = 20_000
ROUNDS = 7
BUDGET_NS = 2_000


def make_engine():
    from ignite.engine import Engine

    return Engine(lambda engine, batch: batch)


def with_nothing():
    from ignite.engine import Events

    engine = make_engine()
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: None)
    return engine


def with_bar():
    from ignite.handlers import ProgressBar

    engine = make_engine()
    ProgressBar(file=io.StringIO(), mininterval=3600).attach(
        engine, output_transform=lambda output: {"loss": output}
    )
    return engine


def with_live():
    from rich.console import Console

    from ignite.handlers import LiveProgress

    engine = make_engine()
    progress = LiveProgress(console=Console(file=io.StringIO(), force_terminal=True))
    progress._every_s = 3600  # what is drawn is not what is measured
    progress.attach(engine)
    return engine


def ns_per_iteration(engine):
    data = range(NUM_ITERATIONS)
    started = time.perf_counter()
    engine.run(data, max_epochs=1)
    return (time.perf_counter() - started) / NUM_ITERATIONS * 1e9


def added(make):
    """Returns the median cost over rounds that ``make`` adds to an empty handler, measured in turns."""
    return statistics.median(
        ns_per_iteration(make()) - ns_per_iteration(with_nothing()) for _ in range(ROUNDS)
    )


def peer():
    """Measures the ProgressBar of pytorch-ignite, if its environment exists."""
    python = Path(__file__).parent / ".venv-pytorch-ignite" / "bin" / "python"
    if not python.exists():
        return None
    here = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {here!r}); import progress; print(progress.added(progress.with_bar))"
    result = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return float(result.stdout) if result.returncode == 0 else None


def main():
    is_within = True
    for name, make in (("ProgressBar", with_bar), ("LiveProgress", with_live)):
        cost = added(make)
        is_within &= cost < BUDGET_NS
        print(f"{name:<14} {cost:8.0f} ns per iteration between two drawings (budget {BUDGET_NS})")
    theirs = peer()
    print(
        "pytorch-ignite "
        + ("is not there to compare with" if theirs is None else f"{theirs:7.0f} ns (ProgressBar)")
    )
    return 0 if is_within else 1


if __name__ == "__main__":
    sys.exit(main())
